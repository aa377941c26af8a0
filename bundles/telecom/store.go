package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
)

// Keys of NVM. A body, a PIN and its tries have a value each; the tree never
// changes after personalisation.
const (
	keyTree = "tree"
	keyLife = "life" // life cycle status of the files by index, one byte each
	keyCAT  = "cat"  // proactive commands, each with its length in a byte before
	keyBody = "ef/"  // and the index of the file
	keyPIN  = "pin/" // and the index of the PIN
	keyTry  = "try/"
)

// treeVersion is the first byte of the tree.
const treeVersion = 1

const hexDigits = "0123456789abcdef"

// indexed is prefix with i in four digits.
func indexed(prefix string, i int) string {
	return prefix + string([]byte{hexDigits[i>>12&15], hexDigits[i>>8&15], hexDigits[i>>4&15], hexDigits[i&15]})
}

// none is the index of no file.
const none = 0xFFFF

func indexOf(f *file) int {
	if f == nil {
		return none
	}
	return f.index
}

func put16(b []byte, v int) []byte { return append(b, byte(v>>8), byte(v)) }

// save writes everything to NVM.
func (c *Card) save() error {
	b := []byte{treeVersion, c.chars.uicc, c.chars.power[0], c.chars.power[1], c.chars.power[2], c.chars.clock,
		byte(c.chars.memory >> 24), byte(c.chars.memory >> 16), byte(c.chars.memory >> 8), byte(c.chars.memory)}
	b = put16(b, len(c.files))
	for i := range c.files {
		f := &c.files[i]
		b = append(b, byte(f.kind))
		b = put16(b, indexOf(f.parent))
		b = put16(b, int(f.fid))
		b = append(b, f.sfi)
		b = put16(b, int(f.ruleFID))
		b = append(b, f.ruleRecord)
		b = put16(b, f.recordLen)
		b = append(b, byte(f.records), byte(len(f.aid)))
		b = append(b, f.aid...)
	}
	b = append(b, byte(len(c.pins)))
	for i := range c.pins {
		b = append(b, c.pins[i].ref)
		b = put16(b, indexOf(c.pins[i].app))
	}
	var cat []byte
	for _, p := range c.cat.commands {
		cat = append(append(cat, byte(len(p))), p...)
	}
	w := &writer{}
	w.put(keyTree, b)
	w.put(keyLife, c.life)
	w.put(keyCAT, cat)
	for i := range c.files {
		if f := &c.files[i]; !f.directory() {
			w.put(indexed(keyBody, i), f.body)
		}
	}
	for i := range c.pins {
		w.put(indexed(keyPIN, i), c.pins[i].state[:])
		w.put(indexed(keyTry, i), c.pins[i].tries[:])
	}
	return w.err
}

// writer keeps the first error.
type writer struct{ err error }

func (w *writer) put(key string, val []byte) {
	if w.err == nil {
		w.err = sdk.NVM.Put(key, val)
	}
}

// reader reads what save wrote; bad when it is something else.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte { return r.bytes(1)[0] }

func (r *reader) int16() int {
	p := r.bytes(2)
	return int(p[0])<<8 | int(p[1])
}

// file is the file with the index that comes next; it is one before limit.
func (r *reader) file(c *Card, limit int) *file {
	i := r.int16()
	if i == none {
		return nil
	}
	if i >= limit {
		r.bad = true
		return nil
	}
	return &c.files[i]
}

// load reads the card from NVM.
func (c *Card) load() error {
	tree, ok := sdk.NVM.Get(keyTree)
	life, ok2 := sdk.NVM.Get(keyLife)
	cat, ok3 := sdk.NVM.Get(keyCAT)
	r := &reader{b: tree}
	if !ok || !ok2 || !ok3 || r.byte() != treeVersion {
		return sdk.ErrInternal
	}
	c.chars.uicc = r.byte()
	copy(c.chars.power[:], r.bytes(3))
	c.chars.clock = r.byte()
	c.chars.memory = uint32(r.int16())<<16 | uint32(r.int16())
	n := r.int16()
	if n != len(life) || n == 0 {
		return sdk.ErrInternal
	}
	c.files, c.life = make([]file, n), life
	for i := range c.files {
		c.loadFile(r, i)
	}
	c.pins = make([]pin, r.byte())
	for i := range c.pins {
		p := &c.pins[i]
		p.ref, p.app = r.byte(), r.file(c, n)
		p.stateKey, p.triesKey = indexed(keyPIN, i), indexed(keyTry, i)
		if got, err := sdk.NVM.Read(p.stateKey, 0, p.state[:]); err != nil || got != len(p.state) {
			r.bad = true
		}
		if got, err := sdk.NVM.Read(p.triesKey, 0, p.tries[:]); err != nil || got != len(p.tries) {
			r.bad = true
		}
	}
	for c.cat.commands = nil; len(cat) > 0 && len(cat) > int(cat[0]); cat = cat[1+int(cat[0]):] {
		c.cat.commands = append(c.cat.commands, cat[1:1+int(cat[0])])
	}
	if r.bad || len(r.b) > 0 || c.files[0].kind != kindMF {
		return sdk.ErrInternal
	}
	c.mf = &c.files[0]
	c.link()
	return nil
}

func (c *Card) loadFile(r *reader, i int) {
	f := &c.files[i]
	f.index = i
	f.kind = kind(r.byte())
	f.parent = r.file(c, i)
	f.fid = uint16(r.int16())
	f.sfi = r.byte()
	f.ruleFID = uint16(r.int16())
	f.ruleRecord = r.byte()
	f.recordLen = r.int16()
	f.records = int(r.byte())
	f.aid = r.bytes(int(r.byte()))
	if f.parent == nil != (f.kind == kindMF) || f.kind > kindCyclic {
		r.bad = true
	}
	if f.directory() {
		return
	}
	f.key = indexed(keyBody, i)
	var ok bool
	f.body, ok = sdk.NVM.Get(f.key)
	if !ok || f.recordBased() && (len(f.body) == 0 || len(f.body) != f.recordLen*f.records) {
		r.bad = true
	}
}

// link works out what follows from the tree: the application and the access
// rules of each file, and the sizes of directories.
func (c *Card) link() {
	for i := range c.files {
		f := &c.files[i]
		switch {
		case f.kind == kindADF:
			f.app = f
		case f.parent != nil:
			f.app = f.parent.app
		}
		f.rules = c.nearest(f, f.ruleFID)
		for d := f.parent; d != nil; d = d.parent {
			d.total += len(f.body)
		}
	}
}

// nearest is the EF.ARR id in the directory of f, which is f itself when it is
// one, or else the next one upwards that has it (ETSI TS 102 221 9.2.7).
func (c *Card) nearest(f *file, id uint16) *file {
	d := f
	if !f.directory() {
		d = f.parent
	}
	for ; d != nil; d = d.parent {
		if e := c.child(d, id); e != nil && e.kind == kindLinear {
			return e
		}
	}
	return nil
}
