package sdk

import (
	"iter"
	"strings"
	"unicode/utf8"
)

// Doc is one value of a persona document: a map, a list, a text, bytes, a whole
// number, a truth value or nothing. The document arrives as CBOR in core
// deterministic encoding (RFC 8949 4.2.1), already checked against the bundle's
// schema; what a schema cannot say, the App checks.
//
// Reading never fails at once. The first thing that is not as asked for (a
// member that lacks, another type, a number out of range) is kept by the
// document as a *PersonaError with the pointer of the place, the reading gives
// the zero value, and the installation is refused after Personalise:
//
//	for i, f := range doc.Get("files").Items() {
//		put(f.Get("fid").Hex(), f.Get("body").Hex())
//		if i > 99 {
//			return f.Refuse("more than 100 files")
//		}
//	}
type Doc struct {
	raw    []byte // one well-formed item; nil: absent
	root   *docRoot
	parent *Doc
	key    string
}

type docRoot struct{ err *PersonaError }

// Kind is the type of a value.
type Kind uint8

// The kinds of values of a persona.
const (
	Absent Kind = iota // there is no such member
	Null
	Bool
	Int
	Text
	Bytes
	List
	Map
)

var kindWords = [...]string{"nothing", "null", "a truth value", "a whole number", "a text", "bytes", "a list", "a map"}

// String is the kind with its article: "a list".
func (k Kind) String() string { return kindWords[k] }

// maxDepth bounds how deep lists and maps may lie in each other.
const maxDepth = 32

// docErrors of ParseDoc.
const (
	errDocTrunc = "persona: CBOR: ends in the middle of a value"
	errDocForm  = "persona: CBOR: not in core deterministic encoding, or of a type that personas do not have"
	errDocDepth = "persona: CBOR: nested too deep"
	errDocTrail = "persona: CBOR: bytes after the document"
)

// ParseDoc checks the whole of b, which must be one CBOR item in core
// deterministic encoding, of the kinds above, and gives it as a Doc. b must not
// change afterwards. It allocates only the Doc.
func ParseDoc(b []byte) (*Doc, error) {
	n, why := wellFormed(b, 0)
	if why == "" && n != len(b) {
		why = errDocTrail
	}
	if why != "" {
		return nil, &PersonaError{"", why}
	}
	return &Doc{raw: b, root: new(docRoot)}, nil
}

// Major types of RFC 8949 3.1 and simple values of 3.3.
const (
	majorUint  = 0
	majorNeg   = 1
	majorBytes = 2
	majorText  = 3
	majorList  = 4
	majorMap   = 5

	cborFalse = 0xF4
	cborTrue  = 0xF5
	cborNull  = 0xF6
)

// head reads the head of the item at the start of b: major type, argument and
// its length, 0 when it is cut off or not in the shortest form.
func head(b []byte) (major byte, arg uint64, n int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	major, info := b[0]>>5, b[0]&0x1F
	if info < 24 {
		return major, uint64(info), 1
	}
	if info > 27 {
		return 0, 0, 0
	}
	size := 1 << (info - 24)
	if len(b) < 1+size {
		return 0, 0, 0
	}
	for _, c := range b[1 : 1+size] {
		arg = arg<<8 | uint64(c)
	}
	if arg < 24 || size > 1 && arg>>(size*4) == 0 {
		return 0, 0, 0
	}
	return major, arg, 1 + size
}

// wellFormed gives the length of the item at the start of b, or why there is
// none.
func wellFormed(b []byte, depth int) (n int, why string) {
	if len(b) == 0 {
		return 0, errDocTrunc
	}
	if depth > maxDepth {
		return 0, errDocDepth
	}
	if b[0] == cborFalse || b[0] == cborTrue || b[0] == cborNull {
		return 1, ""
	}
	major, arg, n := head(b)
	if n == 0 || major > majorMap || major <= majorNeg && arg > 1<<63-1 {
		return 0, errDocForm
	}
	switch major {
	case majorBytes, majorText:
		if arg > uint64(len(b)-n) {
			return 0, errDocTrunc
		}
		if major == majorText && !utf8.Valid(b[n:n+int(arg)]) {
			return 0, errDocForm
		}
		return n + int(arg), ""
	case majorList, majorMap:
		// An element has at least one byte: a longer count is a lie.
		if arg > uint64(len(b)-n) {
			return 0, errDocTrunc
		}
		last := ""
		for i := range arg {
			if major == majorMap {
				m, why := wellFormed(b[n:], depth+1)
				if why != "" {
					return 0, why
				}
				key := string(b[n : n+m])
				if b[n]>>5 != majorText || i > 0 && key <= last {
					return 0, errDocForm
				}
				last = key
				n += m
			}
			m, why := wellFormed(b[n:], depth+1)
			if why != "" {
				return 0, why
			}
			n += m
		}
	}
	return n, ""
}

// skip is the length of the well-formed item at the start of b.
func skip(b []byte) int {
	if b[0] >= cborFalse {
		return 1
	}
	major, arg, n := head(b)
	switch major {
	case majorBytes, majorText:
		n += int(arg)
	case majorMap:
		arg *= 2
		fallthrough
	case majorList:
		for range arg {
			n += skip(b[n:])
		}
	}
	return n
}

// Kind tells what d is.
func (d *Doc) Kind() Kind {
	if len(d.raw) == 0 {
		return Absent
	}
	switch d.raw[0] {
	case cborNull:
		return Null
	case cborFalse, cborTrue:
		return Bool
	}
	return [...]Kind{Int, Int, Bytes, Text, List, Map}[d.raw[0]>>5]
}

// CBOR is d as it is encoded. It aliases the document.
func (d *Doc) CBOR() []byte { return d.raw }

// Exists tells whether there is a value, and it is not null.
func (d *Doc) Exists() bool { return d.Kind() > Null }

// Pointer is the place of d in the document as a JSON pointer (RFC 6901): "" is
// the whole document.
func (d *Doc) Pointer() string {
	if d.parent == nil {
		return ""
	}
	k := d.key
	if strings.ContainsAny(k, "~/") {
		k = strings.ReplaceAll(strings.ReplaceAll(k, "~", "~0"), "/", "~1")
	}
	return d.parent.Pointer() + "/" + k
}

// Refuse is a *PersonaError at d, for Personalise to return.
func (d *Doc) Refuse(reason string) error { return &PersonaError{d.Pointer(), reason} }

// Fail keeps reason as the error of the document, unless there is one already.
func (d *Doc) Fail(reason string) {
	if d.root.err == nil {
		d.root.err = &PersonaError{d.Pointer(), reason}
	}
}

// Err is the first thing that was not as asked for, a *PersonaError, or nil.
func (d *Doc) Err() error {
	if d.root.err == nil {
		return nil
	}
	return d.root.err
}

// want tells whether d is of kind k, and keeps the error if it is not.
func (d *Doc) want(k Kind) bool {
	is := d.Kind()
	if is == k {
		return true
	}
	if is == Absent {
		d.Fail("lacks; " + k.String() + " is needed")
	} else {
		d.Fail("is " + is.String() + "; " + k.String() + " is needed")
	}
	return false
}

// content is the payload of a text or bytes.
func (d *Doc) content() []byte {
	_, _, n := head(d.raw)
	return d.raw[n:]
}

func (d *Doc) child(key string, raw []byte) *Doc {
	return &Doc{raw: raw, root: d.root, parent: d, key: key}
}

// Get is the member key of a map. When there is none it gives an absent Doc:
// reading that is an error, asking it for Exists is not.
func (d *Doc) Get(key string) *Doc {
	if d.Kind() == Absent || !d.want(Map) {
		return d.child(key, nil)
	}
	for k, v := range d.pairs() {
		if string(k) == key {
			return d.child(key, v)
		}
	}
	return d.child(key, nil)
}

// Has tells whether the map d has a member key that is not null.
func (d *Doc) Has(key string) bool { return d.Get(key).Exists() }

// pairs walks keys (content) and values (raw) of a map.
func (d *Doc) pairs() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		_, count, n := head(d.raw)
		b := d.raw[n:]
		for range count {
			_, klen, n := head(b)
			key := b[n : n+int(klen)]
			b = b[n+int(klen):]
			n = skip(b)
			if !yield(key, b[:n:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// Members walks a map in the order of the encoding: shorter keys first, then by
// bytes. An absent map has none.
func (d *Doc) Members() iter.Seq2[string, *Doc] {
	return func(yield func(string, *Doc) bool) {
		if d.Kind() == Absent || !d.want(Map) {
			return
		}
		for k, v := range d.pairs() {
			key := string(k)
			if !yield(key, d.child(key, v)) {
				return
			}
		}
	}
}

// Items walks a list. An absent list has none.
func (d *Doc) Items() iter.Seq2[int, *Doc] {
	return func(yield func(int, *Doc) bool) {
		if d.Kind() == Absent || !d.want(List) {
			return
		}
		_, count, n := head(d.raw)
		b := d.raw[n:]
		for i := range int(count) {
			n := skip(b)
			if !yield(i, d.child(itoa(int64(i)), b[:n:n])) {
				return
			}
			b = b[n:]
		}
	}
}

// Len is the number of items of a list, members of a map, bytes of a text or of
// bytes; 0 for everything else.
func (d *Doc) Len() int {
	switch d.Kind() {
	case List, Map, Text, Bytes:
		_, n, _ := head(d.raw)
		return int(n)
	}
	return 0
}

// Text is the text d.
func (d *Doc) Text() string {
	if !d.want(Text) {
		return ""
	}
	return string(d.content())
}

// Bytes is the bytes d (YAML !!binary). It aliases the document.
func (d *Doc) Bytes() []byte {
	if !d.want(Bytes) {
		return nil
	}
	return d.content()
}

// Hex is the bytes that the text d writes as hexadecimal digits; spaces between
// them do not matter.
func (d *Doc) Hex() []byte {
	if !d.want(Text) {
		return nil
	}
	b, ok := unhex(d.content())
	if !ok {
		d.Fail("is not hexadecimal, two digits a byte")
	}
	return b
}

// unhex reads pairs of digits with spaces between them.
func unhex(text []byte) (b []byte, ok bool) {
	b = make([]byte, 0, len(text)/2)
	for i := 0; i < len(text); i++ {
		if text[i] == ' ' {
			continue
		}
		if i+1 == len(text) {
			return nil, false
		}
		hi, lo := digit(text[i]), digit(text[i+1])
		if hi|lo > 0x0F {
			return nil, false
		}
		b = append(b, hi<<4|lo)
		i++
	}
	return b, true
}

// digit is the value of a hexadecimal digit, 0xFF when c is none.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xFF
}

// Int is the whole number d, which must lie in lo to hi.
func (d *Doc) Int(lo, hi int64) int64 {
	if !d.want(Int) {
		return 0
	}
	major, arg, _ := head(d.raw)
	v := int64(arg)
	if major == majorNeg {
		v = -1 - v
	}
	if v < lo || v > hi {
		d.Fail("is " + itoa(v) + "; " + itoa(lo) + " to " + itoa(hi) + " is needed")
		return 0
	}
	return v
}

// Bool is the truth value d.
func (d *Doc) Bool() bool { return d.want(Bool) && d.raw[0] == cborTrue }
