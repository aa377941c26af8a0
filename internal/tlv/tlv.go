// Package tlv reads and writes BER-TLV data objects with definite lengths, as
// smart cards use them: file control parameters, SIM toolkit data, EMV data.
//
//	bytes ──> Next / Find / Reader ──> Tag, value (a part of the bytes)
//	Tag, value ──> Append ──> bytes
//	Begin ──> Append ... ──> End       a template around what is appended between
//
// It is a leaf: it imports only errors and is safe inside a guest (no fmt, no
// reflection). Reading does not allocate and does not copy.
//
// Sources: ISO/IEC 7816-4 6.2 (tags of one to three bytes, lengths of one to
// five bytes), ISO/IEC 8825-1 8.1.
package tlv

import "errors"

// Tag is a tag as it is written, most significant byte first: 0x62, 0x9F27,
// 0x7F49, 0xDF8101. It is the minimal form; bit 6 of its first byte tells a
// constructed object.
type Tag uint32

// What reading refuses.
var (
	ErrShort    = errors.New("tlv: the data object is longer than the bytes that are there")
	ErrTag      = errors.New("tlv: the tag is longer than three bytes or not in its shortest form (ISO/IEC 7816-4 6.2)")
	ErrLength   = errors.New("tlv: the length is indefinite or longer than five bytes (ISO/IEC 7816-4 6.2)")
	ErrNotFound = errors.New("tlv: there is no data object with this tag")
)

// Constructed tells whether the value is itself made of data objects.
func (t Tag) Constructed() bool { return t.first()&0x20 != 0 }

func (t Tag) first() byte {
	for t > 0xFF {
		t >>= 8
	}
	return byte(t)
}

// Next splits the first data object off b; value and rest are parts of b. Bytes
// 00 before the object are skipped as filling (ISO/IEC 7816-4 6.2). At the end
// of b it returns tag 0 and no error.
func Next(b []byte) (t Tag, value, rest []byte, err error) {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, nil, nil, nil
	}
	t, b, err = tag(b)
	if err != nil {
		return 0, nil, nil, err
	}
	n, b, err := length(b)
	if err != nil {
		return 0, nil, nil, err
	}
	if n > uint64(len(b)) {
		return 0, nil, nil, ErrShort
	}
	return t, b[:n:n], b[n:], nil
}

func tag(b []byte) (t Tag, rest []byte, err error) {
	t = Tag(b[0])
	if b[0]&0x1F != 0x1F {
		return t, b[1:], nil
	}
	for i := 1; ; i++ {
		switch {
		case i == len(b):
			return 0, nil, ErrShort
		case i == 3, i == 1 && b[1]&0x7F == 0:
			return 0, nil, ErrTag
		}
		t = t<<8 | Tag(b[i])
		if b[i]&0x80 == 0 {
			return t, b[i+1:], nil
		}
	}
}

func length(b []byte) (n uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, ErrShort
	}
	first := b[0]
	b = b[1:]
	if first < 0x80 {
		return uint64(first), b, nil
	}
	k := int(first & 0x7F)
	if k == 0 || k > 4 {
		return 0, nil, ErrLength
	}
	if len(b) < k {
		return 0, nil, ErrShort
	}
	for _, c := range b[:k] {
		n = n<<8 | uint64(c)
	}
	return n, b[k:], nil
}

// Find is the value of the first data object in b with the given tag, at the
// outermost level.
func Find(b []byte, want Tag) ([]byte, error) {
	for len(b) > 0 {
		t, v, rest, err := Next(b)
		if err != nil {
			return nil, err
		}
		if t == want {
			return v, nil
		}
		b = rest
	}
	return nil, ErrNotFound
}

// Path is Find through templates, from the outside in.
func Path(b []byte, tags ...Tag) ([]byte, error) {
	for _, t := range tags {
		var err error
		if b, err = Find(b, t); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Reader walks over data objects:
//
//	for r := tlv.Read(b); r.Next(); {
//		use r.Tag, r.Value
//	}
//
// and Err tells afterwards whether it came to the end of well-formed data.
type Reader struct {
	Tag   Tag
	Value []byte
	rest  []byte
	err   error
}

// Read starts a walk over b.
func Read(b []byte) Reader { return Reader{rest: b} }

// Next goes to the next data object; false at the end and where it is malformed.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	r.Tag, r.Value, r.rest, r.err = Next(r.rest)
	return r.err == nil && r.Tag != 0
}

// Rest is what has not been walked over yet.
func (r *Reader) Rest() []byte { return r.rest }

// Err is what was wrong where Next stopped; nil at the end.
func (r *Reader) Err() error { return r.err }

// AppendHeader adds tag and length of a value of n bytes.
func AppendHeader(dst []byte, t Tag, n int) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		if t>>shift != 0 || shift == 0 {
			dst = append(dst, byte(t>>shift))
		}
	}
	switch {
	case n < 0x80:
		return append(dst, byte(n))
	case n <= 0xFF:
		return append(dst, 0x81, byte(n))
	case n <= 0xFFFF:
		return append(dst, 0x82, byte(n>>8), byte(n))
	case n <= 0xFFFFFF:
		return append(dst, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// Append adds one data object.
func Append(dst []byte, t Tag, value ...byte) []byte {
	return append(AppendHeader(dst, t, len(value)), value...)
}

// Begin opens a template; mark is for End, which closes it around what was
// appended in between. Templates nest.
func Begin(dst []byte, t Tag) (out []byte, mark int) {
	out = AppendHeader(dst, t, 0)
	return out, len(out)
}

// End closes the template that Begin opened with this mark: it puts the length
// in and, for 128 bytes and more, moves the value to make room.
func End(dst []byte, mark int) []byte {
	n := len(dst) - mark
	if n < 0x80 {
		dst[mark-1] = byte(n)
		return dst
	}
	extra := 1
	for m := n; m > 0; m >>= 8 {
		if m > 0xFF {
			extra++
		}
	}
	for range extra {
		dst = append(dst, 0)
	}
	copy(dst[mark+extra:], dst[mark:mark+n])
	dst[mark-1] = 0x80 | byte(extra)
	for i := range extra {
		dst[mark+i] = byte(n >> (8 * (extra - 1 - i)))
	}
	return dst
}
