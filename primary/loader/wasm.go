package loader

import (
	"bytes"
	"fmt"
	"slices"
)

// Section numbers and export kinds of WebAssembly Core 2.0 clauses 5.5.2, 5.5.10.
const (
	sectionCustomID = 0
	sectionExportID = 7
	sectionLastID   = 12 // data count

	exportFunc   = 0
	exportMemory = 2
)

var magic = []byte("\x00asm\x01\x00\x00\x00")

// entryPoints are the exports that the bundle ABI asks of a bundle.
var entryPoints = []export{
	{"memory", exportMemory},
	{"vpp_abi", exportFunc},
	{"ipc_com_main", exportFunc},
	{"ipc_main_com", exportFunc},
	{"on_init", exportFunc},
	{"on_personalise", exportFunc},
	{"on_message", exportFunc},
	{"on_signal", exportFunc},
}

type export struct {
	name string
	kind byte
}

// module is what scan found. Everything aliases the scanned bytes.
type module struct {
	sections []section
	custom   map[string][]byte // content of the ssp.* sections
	exports  []export
}

type section struct {
	custom string // name of a custom section, "" for others
	raw    []byte // with head
}

// scan walks the sections of a module without looking into code. Sections lie
// behind each other as number, size and content.
func scan(b []byte) (*module, error) {
	if !bytes.HasPrefix(b, magic[:min(len(b), len(magic))]) || len(b) == 0 {
		return nil, ErrNotWasm
	}
	if len(b) < len(magic) {
		return nil, fmt.Errorf("%w: it ends in the first 8 bytes", ErrTruncated)
	}
	m := &module{custom: map[string][]byte{}}
	r := reader{b: b, at: len(magic)}
	for r.at < len(b) {
		start := r.at
		id := r.byte()
		content := r.bytes()
		if r.bad || id > sectionLastID {
			return nil, fmt.Errorf("%w: at byte %d", ErrTruncated, start)
		}
		s := section{raw: b[start:r.at:r.at]}
		inner := reader{b: content}
		switch id {
		case sectionCustomID:
			s.custom = string(inner.bytes())
			if _, twice := m.custom[s.custom]; twice && isOurs(s.custom) {
				return nil, fmt.Errorf("%w: section %s is there twice", ErrTruncated, s.custom)
			}
			if isOurs(s.custom) && !inner.bad {
				m.custom[s.custom] = content[inner.at:len(content):len(content)]
			}
		case sectionExportID:
			m.exports = inner.exports()
		}
		if inner.bad {
			return nil, fmt.Errorf("%w: in the section at byte %d", ErrTruncated, start)
		}
		m.sections = append(m.sections, s)
	}
	return m, nil
}

func isOurs(name string) bool {
	return name == sectionManifest || name == sectionPersona || name == sectionSchema
}

// lacking are the entry points that the module does not export.
func (m *module) lacking() (names []string) {
	for _, e := range entryPoints {
		if !slices.Contains(m.exports, e) {
			names = append(names, e.name)
		}
	}
	return names
}

// without is the module but for some custom sections.
func (m *module) without(names ...string) []byte {
	out := slices.Clone(magic)
	for _, s := range m.sections {
		if !slices.Contains(names, s.custom) {
			out = append(out, s.raw...)
		}
	}
	return out
}

func appendCustom(out []byte, name string, content []byte) []byte {
	n := appendULEB(nil, len(name))
	out = append(out, sectionCustomID)
	out = appendULEB(out, len(n)+len(name)+len(content))
	out = append(out, n...)
	out = append(out, name...)
	return append(out, content...)
}

func appendULEB(out []byte, n int) []byte {
	for ; n > 0x7F; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

// reader takes the values of the binary format off b. After the end it gives
// zeros and is bad.
type reader struct {
	b   []byte
	at  int
	bad bool
}

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.bad = true
		return 0
	}
	c := r.b[r.at]
	r.at++
	return c
}

// u32 is an unsigned LEB128 of at most 32 bits (clause 5.2.2).
func (r *reader) u32() int {
	var n uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		n |= uint64(c&0x7F) << shift
		if c < 0x80 {
			r.bad = r.bad || n > 1<<32-1
			return int(n)
		}
	}
	r.bad = true
	return 0
}

// bytes is a length and as many bytes.
func (r *reader) bytes() []byte {
	n := r.u32()
	if r.bad || n > len(r.b)-r.at {
		r.bad = true
		return nil
	}
	p := r.b[r.at : r.at+n]
	r.at += n
	return p
}

// exports reads the vector of the export section: name, kind, index.
func (r *reader) exports() (list []export) {
	for n := r.u32(); n > 0 && !r.bad; n-- {
		name := r.bytes()
		kind := r.byte()
		r.u32()
		list = append(list, export{string(name), kind})
	}
	return list
}
