package telecom

import (
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// nodes is the file system of the UICC at the file system gate (sdk.Files): the tree
// of ETSI TS 102 221 clause 8 with the MF as its root.
//
//	/2FE2                          EF.ICCID, by its file identifier
//	/7F10/6F3A                     an EF in a DF
//	/ADF.A0000000871002FF/6F07     an EF in the ADF with that AID
//
// A file is its body: the octets of a transparent EF, the records of a linear fixed
// or cyclic one one after the other. What its access rule allows to a terminal that
// has verified nothing can be read and written, and everything else is refused, also
// while a terminal with APDUs has verified a PIN. A cyclic EF is not written: an
// UPDATE there makes a new record.
//
// That these are the nodes of the gate, and their names, is ours.
type nodes struct{ c *Card }

// prefixADF is in front of the AID in the name of an ADF.
const prefixADF = "ADF."

// name is the name of a file in its directory.
func (f *file) name() string {
	if f.kind == kindADF {
		return prefixADF + hexOf(f.aid)
	}
	return hexOf([]byte{byte(f.fid >> 8), byte(f.fid)})
}

func hexOf(b []byte) string {
	var s strings.Builder
	for _, x := range b {
		s.WriteByte(hexUpper[x>>4])
		s.WriteByte(hexUpper[x&15])
	}
	return s.String()
}

// find is the file with that path.
func (n nodes) find(path string) (*file, error) {
	if path == "" || path[0] != '/' {
		return nil, sdk.ErrUnknownID
	}
	f := n.c.mf
next:
	for path = path[1:]; path != ""; {
		name, rest, _ := strings.Cut(path, "/")
		path = rest
		for i := f.index + 1; i < len(n.c.files); i++ {
			if e := &n.c.files[i]; e.parent == f && e.name() == name {
				f = e
				continue next
			}
		}
		return nil, sdk.ErrUnknownID
	}
	return f, nil
}

// permits tells whether anybody may do that to EF f.
func (c *Card) permits(f *file, mode byte) bool {
	if mode == amUpdate && f.kind == kindCyclic || !c.activated(f) {
		return false
	}
	c.security++ // neither what was remembered for a terminal counts here, nor the other way
	c.stranger = true
	ok := c.allowed(&channel{app: f.app}, f, mode, &sdk.Command{})
	c.stranger = false
	c.security++
	return ok
}

// List lists a directory.
func (n nodes) List(path string) ([]sdk.Node, error) {
	d, err := n.find(path)
	if err != nil {
		return nil, err
	}
	if !d.directory() {
		return nil, sdk.ErrIllegalParameter
	}
	var list []sdk.Node
	for i := range n.c.files {
		f := &n.c.files[i]
		switch {
		case f.parent != d:
		case f.directory():
			list = append(list, sdk.Node{Name: f.name(), Dir: true, Readable: true})
		default:
			list = append(list, sdk.Node{Name: f.name(), Size: len(f.body), Readable: n.c.permits(f, amRead), Writable: n.c.permits(f, amUpdate)})
		}
	}
	return list, nil
}

// file is the EF at path, when it may be accessed so from off on.
func (n nodes) file(path string, off int, mode byte) (*file, error) {
	f, err := n.find(path)
	switch {
	case err != nil:
		return nil, err
	case f.directory():
		return nil, sdk.ErrIllegalParameter
	case !n.c.permits(f, mode):
		return nil, sdk.ErrAccessDenied
	case off > len(f.body):
		return nil, sdk.ErrIllegalParameter
	}
	return f, nil
}

// Read reads a part of an EF.
func (n nodes) Read(path string, off, size int) ([]byte, error) {
	f, err := n.file(path, off, amRead)
	if err != nil {
		return nil, err
	}
	return f.body[off:min(len(f.body), off+size)], nil
}

// Write changes a part of an EF, as UPDATE BINARY and UPDATE RECORD do.
func (n nodes) Write(path string, off int, data []byte) error {
	f, err := n.file(path, off, amUpdate)
	if err != nil {
		return err
	}
	if off+len(data) > len(f.body) {
		return sdk.ErrIllegalParameter
	}
	if n.c.write(f, off, data) != apdu.OK {
		return sdk.ErrInternal
	}
	return nil
}
