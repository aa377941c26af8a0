package telecom

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// Limits of a persona that its schema cannot say.
const (
	maxFiles = 1000
	maxDepth = 6
	maxPINs  = 32
)

// compiler turns a persona into a Card in memory; save writes that to NVM.
type compiler struct {
	files []*file
	docs  []*sdk.Doc           // of files, by index
	rules map[*file]([]string) // names of the records of an EF.ARR
	pins  []pin
	refs  []ruleRef // key references in access rules
}

// ruleRef is a key reference that an access rule names, to be checked when all
// PINs are known.
type ruleRef struct {
	ref byte
	at  *sdk.Doc
}

// Personalise checks the persona and stores the card that it describes. The
// schema has checked types and ranges; what follows from several values
// together is checked here.
func (c *Card) Personalise(doc *sdk.Doc) error {
	k := &compiler{rules: map[*file][]string{}}
	if err := k.tree(doc.Get("mf")); err != nil {
		return err
	}
	for i := range k.files {
		if err := k.fill(i); err != nil {
			return err
		}
	}
	for i := range k.files {
		if err := k.reference(i); err != nil {
			return err
		}
	}
	for _, r := range k.refs {
		if !k.hasPIN(r.ref) {
			return r.at.Refuse("names a PIN that the card does not have")
		}
	}
	c.files = make([]file, len(k.files))
	c.life = make([]byte, len(k.files))
	for i, f := range k.files {
		c.files[i] = *f
		c.life[i] = lifeActivated
		if d := k.docs[i].Get("deactivated"); d.Exists() && d.Bool() {
			c.life[i] = lifeDeactivated
		}
	}
	c.pins = k.pins
	c.chars = readCharacteristics(doc.Get("card"))
	var err error
	if c.cat.commands, err = proactive(doc.Get("toolkit")); err != nil {
		return err
	}
	if err := doc.Err(); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		return err
	}
	return personaliseAKA(doc.Get("authentication"))
}

// tree makes the files of the MF and below, without content.
func (k *compiler) tree(mf *sdk.Doc) error {
	f := k.add(mf, nil, kindMF)
	f.fid = fidMF
	return k.directory(mf, f, 1)
}

func (k *compiler) add(d *sdk.Doc, parent *file, kd kind) *file {
	f := &file{kind: kd, parent: parent, index: len(k.files)}
	if kd == kindADF {
		f.app = f
	} else if parent != nil {
		f.app = parent.app
	}
	k.files, k.docs = append(k.files, f), append(k.docs, d)
	return f
}

// directory makes the PINs and files of directory f.
func (k *compiler) directory(d *sdk.Doc, f *file, depth int) error {
	for _, p := range d.Get("pins").Items() {
		if err := k.pin(p, f); err != nil {
			return err
		}
	}
	files := d.Get("files")
	if depth == maxDepth && files.Len() > 0 {
		return files.Refuse("lies more than " + strconv.Itoa(maxDepth) + " directories deep")
	}
	for _, e := range files.Items() {
		if len(k.files) == maxFiles {
			return e.Refuse("more than " + strconv.Itoa(maxFiles) + " files")
		}
		if err := k.entry(e, f, depth); err != nil {
			return err
		}
	}
	return nil
}

// Members of a file that belong to some types only.
var (
	forDirectory   = []string{"pins", "files"}
	forTransparent = []string{"size", "content"}
	forRecords     = []string{"record_length", "record_count", "records", "rules"}
	forEF          = []string{"sfi", "fill", "deactivated"}
)

// types are the words for the type of a file, what it needs and what it cannot
// have.
var types = []struct {
	word   string
	kind   kind
	needs  []string
	cannot [][]string
}{
	{"df", kindDF, []string{"fid"}, [][]string{forTransparent, forRecords, forEF, {"aid"}}},
	{"adf", kindADF, []string{"aid"}, [][]string{forTransparent, forRecords, forEF, {"fid"}}},
	{"transparent", kindTransparent, []string{"fid", "size"}, [][]string{forRecords, forDirectory, {"aid"}}},
	{"linear-fixed", kindLinear, []string{"fid", "record_length", "record_count"}, [][]string{forTransparent, forDirectory, {"aid"}}},
	{"cyclic", kindCyclic, []string{"fid", "record_length", "record_count"}, [][]string{forTransparent, forDirectory, {"aid", "rules"}}},
}

// entry makes one file under parent, and what is in it.
func (k *compiler) entry(d *sdk.Doc, parent *file, depth int) error {
	word := d.Get("type").Text()
	for _, t := range types {
		if t.word != word {
			continue
		}
		for _, m := range t.needs {
			if !d.Has(m) {
				return d.Refuse("lacks " + m + ", which a file of type " + word + " needs")
			}
		}
		for _, l := range t.cannot {
			for _, m := range l {
				if d.Has(m) {
					return d.Get(m).Refuse("does not belong to a file of type " + word)
				}
			}
		}
		f := k.add(d, parent, t.kind)
		if err := k.name(d, f); err != nil {
			return err
		}
		if !f.directory() {
			return nil
		}
		return k.directory(d, f, depth+1)
	}
	return d.Get("type").Refuse("is not a type of file")
}

// name reads what a file is found by and checks that nothing else is.
func (k *compiler) name(d *sdk.Doc, f *file) error {
	if f.kind == kindADF {
		f.aid = d.Get("aid").Hex()
		if len(f.aid) < 5 || len(f.aid) > 16 {
			return d.Get("aid").Refuse("is not 5 to 16 bytes")
		}
		if f.parent.kind != kindMF {
			return d.Refuse("is an ADF that does not lie directly under the MF")
		}
	} else {
		b := d.Get("fid").Hex()
		if len(b) != 2 {
			return d.Get("fid").Refuse("is not two bytes")
		}
		f.fid = fid(b)
		switch f.fid {
		case fidMF, fidCurrentADF, fidCurrentDF, fidRFU:
			return d.Get("fid").Refuse("is reserved (ETSI TS 102 221 8.6)")
		}
	}
	if s := d.Get("sfi"); s.Exists() {
		f.sfi = byte(s.Int(1, 30))
	}
	for _, o := range k.files[:f.index] {
		switch {
		case f.kind == kindADF && o.kind == kindADF && string(o.aid) == string(f.aid):
			return d.Get("aid").Refuse("is taken by another ADF")
		case o.parent != f.parent || f.kind == kindADF || o.kind == kindADF:
		case o.fid == f.fid:
			return d.Get("fid").Refuse("is taken by another file of the directory")
		case f.sfi != 0 && o.sfi == f.sfi:
			return d.Get("sfi").Refuse("is taken by another file of the directory")
		}
	}
	return nil
}

// fill makes the content of file i.
func (k *compiler) fill(i int) error {
	f, d := k.files[i], k.docs[i]
	if f.directory() {
		return nil
	}
	pattern := []byte{0xFF}
	if p := d.Get("fill"); p.Exists() {
		if pattern = p.Hex(); len(pattern) == 0 {
			return p.Refuse("is empty")
		}
	}
	if f.kind == kindTransparent {
		f.body = filled(int(d.Get("size").Int(1, 65535)), pattern)
		return put(f.body, d.Get("content"))
	}
	f.recordLen = int(d.Get("record_length").Int(1, 255))
	f.records = int(d.Get("record_count").Int(1, 254))
	if f.recordLen*f.records > 65535 {
		return d.Get("record_count").Refuse("makes the file longer than 65535 bytes")
	}
	f.body = make([]byte, 0, f.recordLen*f.records)
	for range f.records {
		f.body = append(f.body, filled(f.recordLen, pattern)...)
	}
	if err := d.Err(); err != nil {
		return err
	}
	if d.Has("rules") && d.Has("records") {
		return d.Get("rules").Refuse("and records exclude each other")
	}
	for _, name := range []string{"records", "rules"} {
		l := d.Get(name)
		if l.Len() > f.records {
			return l.Refuse("are " + strconv.Itoa(l.Len()) + "; the file has " + strconv.Itoa(f.records) + " records")
		}
		for n, e := range l.Items() {
			if err := k.record(f, n+1, name, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *compiler) record(f *file, n int, list string, e *sdk.Doc) error {
	if list == "records" {
		return put(f.record(n), e)
	}
	b, err := k.rule(e)
	if err != nil {
		return err
	}
	if len(b) > f.recordLen {
		return tooLong(e, len(b), f.recordLen)
	}
	name := e.Get("name").Text()
	for _, o := range k.rules[f] {
		if o == name {
			return e.Get("name").Refuse("is taken by another rule of the file")
		}
	}
	copy(f.record(n), b)
	k.rules[f] = append(k.rules[f], name)
	return nil
}

// filled is n bytes of the pattern, the last byte of which goes on.
func filled(n int, pattern []byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = pattern[min(i, len(pattern)-1)]
	}
	return b
}

// reference finds the access rule of file i by its name.
func (k *compiler) reference(i int) error {
	f, d := k.files[i], k.docs[i].Get("access")
	name := d.Text()
	dir := f
	if !f.directory() {
		dir = f.parent
	}
	var hidden []uint16
	for ; dir != nil; dir = dir.parent {
		for _, e := range k.files {
			if e.parent != dir || k.rules[e] == nil {
				continue
			}
			for n, r := range k.rules[e] {
				if r != name {
					continue
				}
				for _, h := range hidden {
					if h == e.fid {
						return d.Refuse("is a rule of an EF.ARR that a nearer one with the same FID hides")
					}
				}
				f.ruleFID, f.ruleRecord = e.fid, byte(n+1)
				return nil
			}
			hidden = append(hidden, e.fid)
		}
	}
	return d.Refuse("is not a rule of an EF.ARR here or further up")
}

func (k *compiler) hasPIN(ref byte) bool {
	for i := range k.pins {
		if k.pins[i].ref == ref {
			return true
		}
	}
	return false
}

// pin makes one PIN of directory f.
func (k *compiler) pin(d *sdk.Doc, f *file) error {
	if len(k.pins) == maxPINs {
		return d.Refuse("more than " + strconv.Itoa(maxPINs) + " PINs")
	}
	var p pin
	ref, ok := keyReference(d.Get("ref").Text())
	if !ok {
		return d.Get("ref").Refuse("is not the name of a PIN")
	}
	p.ref = ref
	switch local := ref&refLocal != 0; {
	case local && f.kind != kindADF:
		return d.Get("ref").Refuse("is a local PIN: it belongs to an ADF")
	case !local && f.kind != kindMF:
		return d.Get("ref").Refuse("is a global PIN: it belongs to the MF")
	case local:
		p.app = f
	}
	for i := range k.pins {
		if k.pins[i].ref == ref && k.pins[i].app == p.app {
			return d.Get("ref").Refuse("is there twice")
		}
	}
	return k.secrets(d, &p)
}

// secrets reads values, tries and flags of a PIN.
func (k *compiler) secrets(d *sdk.Doc, p *pin) error {
	p.state[pinFlags] = flagEnabled
	switch {
	case d.Has("value") == d.Has("key"):
		return d.Refuse("needs either value (digits) or key (8 bytes)")
	case d.Has("value"):
		v := d.Get("value").Text()
		copy(p.state[pinValue:], padded(v))
		if len(v) > pinSize || !digits(padded(v)) {
			return d.Get("value").Refuse("is not 4 to 8 digits")
		}
		p.set(flagDigits, 0)
	default:
		b := d.Get("key").Hex()
		if len(b) != pinSize {
			return d.Get("key").Refuse("is not 8 bytes")
		}
		copy(p.state[pinValue:], b)
	}
	p.tries[countPIN] = byte(d.Get("tries").Int(1, 15))
	if u := d.Get("puk"); u.Exists() {
		v := u.Text()
		if len(v) != pinSize || !digits([]byte(v)) {
			return u.Refuse("is not 8 digits")
		}
		copy(p.state[pukValue:], v)
		p.tries[countPUK] = byte(d.Get("puk_tries").Int(1, 15))
		p.set(flagUnblocks, 0)
	} else if t := d.Get("puk_tries"); t.Exists() {
		return t.Refuse("has no meaning without puk")
	}
	copy(p.state[pinMost:], p.tries[:])
	if e := d.Get("can_disable"); e.Exists() && e.Bool() {
		p.set(flagCanDisable, 0)
	}
	if e := d.Get("enabled"); e.Exists() && !e.Bool() {
		if !p.has(flagCanDisable) {
			return e.Refuse("is false, but can_disable is not true")
		}
		p.set(0, flagEnabled)
	}
	k.pins = append(k.pins, *p)
	return nil
}

// padded is the PIN value of digits: filled up with FF (ETSI TS 102 221 9.5.1).
func padded(digits string) []byte {
	b := filled(pinSize, []byte{0xFF})
	copy(b, digits)
	return b
}

// readCharacteristics reads the section "card".
func readCharacteristics(d *sdk.Doc) characteristics {
	c := characteristics{uicc: 0x71, power: [3]byte{0x01, 0x0A, 0x32}, memory: 0x00010000}
	if v := d.Get("characteristics"); v.Exists() {
		c.uicc = byte(v.Int(0, 255))
	}
	if v := d.Get("free_memory"); v.Exists() {
		c.memory = uint32(v.Int(0, 1<<32-1))
	}
	if v := d.Get("min_clock"); v.Exists() {
		c.clock = byte(v.Int(0, 255))
	}
	if v := d.Get("power"); v.Exists() {
		c.power[0] = byte(v.Get("voltage_class").Int(0, 255))
		c.power[1] = byte(v.Get("milliampere").Int(0, 255))
		c.power[2] = byte(v.Get("reference_clock").Int(0, 255))
	}
	return c
}

// proactive reads the section "toolkit": the menu, then commands as they are.
func proactive(d *sdk.Doc) ([][]byte, error) {
	var list [][]byte
	if m := d.Get("menu"); m.Exists() {
		b, err := menu(m)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	for _, e := range d.Get("commands").Items() {
		b := e.Hex()
		if len(b) < 2 || b[0] != tagProactive || len(b) > maxProactive {
			return nil, e.Refuse("is not a proactive command (D0 ...) of up to 255 bytes")
		}
		if _, ok := detailsOf(b); !ok {
			return nil, e.Refuse("is not well-formed, or has no command details")
		}
		list = append(list, b)
	}
	return list, nil
}
