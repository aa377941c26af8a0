package mdoc

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// Major types of RFC 8949 3.1.
const (
	majorUint  byte = 0
	majorNeg   byte = 1
	majorBytes byte = 2
	majorText  byte = 3
	majorArray byte = 4
	majorMap   byte = 5
	majorTag   byte = 6
	majorOther byte = 7
)

// Tags.
const (
	TagDateTime = 0    // tdate, RFC 8949 3.4.1
	TagEncoded  = 24   // bstr .cbor, RFC 8949 3.4.5.1
	TagFullDate = 1004 // RFC 8943
)

// Limits of what is decoded, so that nobody makes a card run out of memory.
const (
	maxDepth = 16
	maxItems = 2048 // data items of one message, all levels together
	maxPairs = 256  // of one map
)

// Errors of decoding.
var (
	ErrCBOR  = errors.New("mdoc: not well-formed CBOR (RFC 8949)")
	ErrLimit = errors.New("mdoc: CBOR with more data items or levels than are taken")
	ErrType  = errors.New("mdoc: a data item lacks or is of another type than the standard says")
)

// Value is a decoded data item. Nothing is copied: it aliases the message.
type Value struct {
	Raw   []byte // the item as it is encoded
	major byte
	n     uint64  // argument of the head
	b     []byte  // of bytes and text
	items []Value // of array and tag; of map: key, value, key, value
}

// Decode reads the one item that b has to be.
func Decode(b []byte) (Value, error) {
	d := decoder{left: maxItems}
	v, n, err := d.item(b, 0)
	if err != nil {
		return Value{}, err
	}
	if n != len(b) {
		return Value{}, ErrCBOR
	}
	return v, nil
}

type decoder struct{ left int }

// head reads the head of an item: 0 octets when there is none.
func head(b []byte) (major, info byte, arg uint64, n int) {
	if len(b) == 0 {
		return 0, 0, 0, 0
	}
	major, info = b[0]>>5, b[0]&0x1F
	switch {
	case info < 24:
		return major, info, uint64(info), 1
	case info <= 27:
		n = 1 << (info - 24)
		if len(b) < 1+n {
			return 0, 0, 0, 0
		}
		for _, c := range b[1 : 1+n] {
			arg = arg<<8 | uint64(c)
		}
		return major, info, arg, 1 + n
	case info == 31 && (major >= majorBytes && major <= majorMap || major == majorOther):
		return major, info, 0, 1
	}
	return 0, 0, 0, 0
}

func (d *decoder) item(b []byte, depth int) (v Value, n int, err error) {
	if d.left--; d.left < 0 || depth > maxDepth {
		return v, 0, ErrLimit
	}
	major, info, arg, n := head(b)
	if n == 0 {
		return v, 0, ErrCBOR
	}
	v.major, v.n = major, arg
	endless := info == 31
	switch major {
	case majorBytes, majorText:
		if endless {
			return v, 0, ErrLimit // strings in pieces: nobody needs them, and they would have to be copied
		}
		if arg > uint64(len(b)-n) {
			return v, 0, ErrCBOR
		}
		v.b = b[n : n+int(arg) : n+int(arg)]
		n += int(arg)
		if major == majorText && !utf8.Valid(v.b) {
			return v, 0, ErrCBOR
		}
	case majorArray, majorMap:
		per := 1
		if major == majorMap {
			per = 2
		}
		// Every item has at least one octet: a longer count is a lie.
		if arg > uint64(len(b)-n) {
			return v, 0, ErrCBOR
		}
		for i := uint64(0); endless || i < arg; i++ {
			if endless && n < len(b) && b[n] == 0xFF {
				n++
				break
			}
			for range per {
				x, m, err := d.item(b[n:], depth+1)
				if err != nil {
					return v, 0, err
				}
				v.items = append(v.items, x)
				n += m
			}
		}
		if major == majorMap {
			if err := v.unique(); err != nil {
				return v, 0, err
			}
		}
	case majorTag:
		x, m, err := d.item(b[n:], depth+1)
		if err != nil {
			return v, 0, err
		}
		v.items = []Value{x}
		n += m
	case majorOther:
		if endless || info == 24 && arg < 32 {
			return v, 0, ErrCBOR
		}
	}
	v.Raw = b[:n:n]
	return v, n, nil
}

// unique refuses a key that is there twice.
func (v *Value) unique() error {
	if len(v.items) > 2*maxPairs {
		return ErrLimit
	}
	for i := 0; i < len(v.items); i += 2 {
		for j := 0; j < i; j += 2 {
			if bytes.Equal(v.items[i].Raw, v.items[j].Raw) {
				return ErrCBOR
			}
		}
	}
	return nil
}

// Exists tells whether there is an item, and it is not null.
func (v Value) Exists() bool { return len(v.Raw) > 0 && v.Raw[0] != 0xF6 }

// Uint is an unsigned number.
func (v Value) Uint() (uint64, bool) { return v.n, len(v.Raw) > 0 && v.major == majorUint }

// Int is a number, if it is a small one.
func (v Value) Int() (int, bool) {
	if len(v.Raw) == 0 || v.n > 1<<30 {
		return 0, false
	}
	switch v.major {
	case majorUint:
		return int(v.n), true
	case majorNeg:
		return -1 - int(v.n), true
	}
	return 0, false
}

// Bytes is a byte string.
func (v Value) Bytes() ([]byte, bool) { return v.b, len(v.Raw) > 0 && v.major == majorBytes }

// Text is a text.
func (v Value) Text() (string, bool) { return string(v.b), len(v.Raw) > 0 && v.major == majorText }

// Bool is a truth value.
func (v Value) Bool() (val, ok bool) {
	if len(v.Raw) != 1 {
		return false, false
	}
	return v.Raw[0] == 0xF5, v.Raw[0] == 0xF4 || v.Raw[0] == 0xF5
}

// Array are the items of an array.
func (v Value) Array() ([]Value, bool) { return v.items, len(v.Raw) > 0 && v.major == majorArray }

// IsMap tells whether it is a map.
func (v Value) IsMap() bool { return len(v.Raw) > 0 && v.major == majorMap }

// Pairs are keys and values of a map: key, value, key, value.
func (v Value) Pairs() []Value {
	if !v.IsMap() {
		return nil
	}
	return v.items
}

// Get is the value of a text key of a map.
func (v Value) Get(key string) Value {
	p := v.Pairs()
	for i := 0; i+1 < len(p); i += 2 {
		if p[i].major == majorText && string(p[i].b) == key {
			return p[i+1]
		}
	}
	return Value{}
}

// At is the value of a number key of a map.
func (v Value) At(key int) Value {
	p := v.Pairs()
	for i := 0; i+1 < len(p); i += 2 {
		if n, ok := p[i].Int(); ok && n == key {
			return p[i+1]
		}
	}
	return Value{}
}

// Tagged is the content of a tag.
func (v Value) Tagged(tag uint64) (Value, bool) {
	if len(v.Raw) == 0 || v.major != majorTag || v.n != tag {
		return Value{}, false
	}
	return v.items[0], true
}

// Encoded are the octets in tag 24.
func (v Value) Encoded() ([]byte, bool) {
	in, ok := v.Tagged(TagEncoded)
	if !ok {
		return nil, false
	}
	return in.Bytes()
}

// Writing: each adds to b and gives the result. Heads are as short as can be; the order of
// members is the caller's, which is that of the standard's examples.

func appendHead(b []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n < 1<<8:
		return append(b, m|24, byte(n))
	case n < 1<<16:
		return append(b, m|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(b, m|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, m|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// AppendInt adds a number.
func AppendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, majorNeg, uint64(-1-n))
	}
	return appendHead(b, majorUint, uint64(n))
}

// AppendBytes adds a byte string.
func AppendBytes(b, v []byte) []byte { return append(appendHead(b, majorBytes, uint64(len(v))), v...) }

// AppendText adds a text.
func AppendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// AppendArray adds the head of an array of n items.
func AppendArray(b []byte, n int) []byte { return appendHead(b, majorArray, uint64(n)) }

// AppendMap adds the head of a map of n pairs.
func AppendMap(b []byte, n int) []byte { return appendHead(b, majorMap, uint64(n)) }

// AppendTag adds a tag.
func AppendTag(b []byte, tag uint64) []byte { return appendHead(b, majorTag, tag) }

// AppendBool adds a truth value.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 0xF5)
	}
	return append(b, 0xF4)
}

// AppendNull adds null.
func AppendNull(b []byte) []byte { return append(b, 0xF6) }

// Encoded24 is CBOR in tag 24.
func Encoded24(cbor []byte) []byte { return AppendBytes(AppendTag(nil, TagEncoded), cbor) }

// AppendFullDate adds a date like 2026-11-23.
func AppendFullDate(b []byte, date string) []byte { return AppendText(AppendTag(b, TagFullDate), date) }

// AppendDateTime adds a moment like 2026-11-23T00:00:00Z.
func AppendDateTime(b []byte, t string) []byte { return AppendText(AppendTag(b, TagDateTime), t) }
