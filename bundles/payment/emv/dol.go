package emv

import (
	"errors"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Tag is the tag of a data element.
type Tag = tlv.Tag

// Entry is what a data object list asks for: a data element and how many bytes of it.
type Entry struct {
	Tag Tag
	Len int
}

// ErrDOL says that a data object list is none.
var ErrDOL = errors.New("emv: a data object list is tags with one byte of length each (Book 3 5.4)")

// ParseDOL reads a data object list (Book 3 5.4): tags, each with a length of one byte.
func ParseDOL(b []byte) (entries []Entry, err error) {
	for len(b) > 0 {
		n := 1
		if b[0]&0x1F == 0x1F {
			for n++; n <= len(b) && b[n-1]&0x80 != 0; n++ {
			}
		}
		if n >= len(b) || n > 3 || b[0] == 0 {
			return nil, ErrDOL
		}
		var t Tag
		for _, c := range b[:n] {
			t = t<<8 | Tag(c)
		}
		entries = append(entries, Entry{t, int(b[n])})
		b = b[n+1:]
	}
	return entries, nil
}

// Length is how many bytes a list asks for.
func Length(dol []Entry) (n int) {
	for _, e := range dol {
		n += e.Len
	}
	return n
}

// Find is the value of t in the data that a terminal sent by a list; nil when the list
// does not ask for it, or the data ends before.
func Find(dol []Entry, data []byte, t Tag) []byte {
	for _, e := range dol {
		if e.Len > len(data) {
			return nil
		}
		if e.Tag == t {
			return data[:e.Len:e.Len]
		}
		data = data[e.Len:]
	}
	return nil
}

// Fill makes the data that a list asks for. get gives the value of a data element, nil
// when there is none. A value that is too long loses bytes at its beginning if it is
// numeric, else at its end; one that is too short is filled with zeros in front if it
// is numeric, with FF behind if it is compressed numeric, else with zeros behind; what
// there is not is zeros (Book 3 5.4).
func Fill(dol []Entry, get func(Tag) []byte) []byte {
	out := make([]byte, 0, Length(dol))
	for _, e := range dol {
		out = append(out, fit(get(e.Tag), e.Len, formOf(e.Tag))...)
	}
	return out
}

// form is how a data element is filled and cut.
type form byte

const (
	other      form = iota // a, an, ans, b
	numeric                // n
	compressed             // cn
)

func fit(v []byte, n int, f form) []byte {
	out := make([]byte, n)
	switch {
	case v == nil:
	case f == numeric && len(v) >= n:
		copy(out, v[len(v)-n:])
	case f == numeric:
		copy(out[n-len(v):], v)
	default:
		for i := copy(out, v); i < n && f == compressed; i++ {
			out[i] = 0xFF
		}
	}
	return out
}

// formOf is the format of the elements that terminals send: those of Book 3 annex A
// with format n or cn.
func formOf(t Tag) form {
	switch t {
	case 0x5A, 0x9F20:
		return compressed
	case 0x42, 0x5F24, 0x5F25, 0x5F28, 0x5F2A, 0x5F30, 0x5F34, 0x5F36, 0x5F57, 0x9A, 0x9C, 0x9F01, 0x9F02, 0x9F03, 0x9F0C, 0x9F11, 0x9F15,
		0x9F19, 0x9F1A, 0x9F21, 0x9F25, 0x9F35, 0x9F39, 0x9F3B, 0x9F3C, 0x9F3D, 0x9F41, 0x9F42, 0x9F43, 0x9F44, 0x9F50, 0x9F51, 0x9F54, 0x9F57, 0x9F6A:
		return numeric
	}
	return other
}
