package telecom

// kind is the type of a file. Directories come first.
type kind byte

const (
	kindMF kind = iota
	kindDF
	kindADF
	kindTransparent
	kindLinear
	kindCyclic
)

// file is a directory or an EF (ETSI TS 102 221 8.1 and 8.2).
type file struct {
	kind   kind
	sfi    byte   // 1 to 30, 0: none
	fid    uint16 // 0 for an ADF
	index  int    // in Card.files
	parent *file  // nil for the MF
	app    *file  // the ADF that it is or lies in, nil outside of one
	aid    []byte // of an ADF

	// Access rule: record ruleRecord of the EF.ARR ruleFID that is nearest
	// upwards (TS 102 221 9.2.7), which is rules.
	ruleFID    uint16
	ruleRecord byte
	rules      *file
	granted    grant // what the rule last allowed

	recordLen int // of linear fixed and cyclic EFs; record 1 of a cyclic EF is the newest
	records   int
	body      []byte
	key       string // of body in NVM
	total     int    // of a directory: bytes of all that is in it
}

func (f *file) directory() bool { return f.kind <= kindADF }

func (f *file) recordBased() bool { return f.kind >= kindLinear }

// record is record n of f, counted from 1.
func (f *file) record(n int) []byte { return f.body[(n-1)*f.recordLen : n*f.recordLen] }

// child is the file fid immediately under directory d, nil when there is none.
func (c *Card) child(d *file, fid uint16) *file {
	for i := d.index + 1; i < len(c.files); i++ {
		if f := &c.files[i]; f.parent == d && f.fid == fid && f.kind != kindADF {
			return f
		}
	}
	return nil
}

// bySFI is the EF with short file identifier sfi in directory d.
func (c *Card) bySFI(d *file, sfi byte) *file {
	if sfi == 0 {
		return nil
	}
	for i := d.index + 1; i < len(c.files); i++ {
		if f := &c.files[i]; f.parent == d && f.sfi == sfi {
			return f
		}
	}
	return nil
}

func (c *Card) activated(f *file) bool { return c.life[f.index] == lifeActivated }
