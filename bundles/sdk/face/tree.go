package face

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind is the type of a value.
type kind uint8

const (
	textual kind = iota
	octets       // JSON and HTML: hexadecimal
	integer
	truth
	list
	object
)

// value is a node of a description.
type value struct {
	kind    kind
	text    string // of a text, or octets
	integer int64  // of a number; 1 is the truth
	keys    []string
	items   []value // of a list, or an object, where keys name them
}

// text is s as a text: UTF-8 without control characters, whatever s is.
func text(s string) value { return value{kind: textual, text: clean(s)} }

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7F && r < 0xA0 {
			return utf8.RuneError
		}
		return r
	}, s)
}

func number[T int | int64](n T) value { return value{kind: integer, integer: int64(n)} }

func truthOf(b bool) value {
	if b {
		return value{kind: truth, integer: 1}
	}
	return value{kind: truth}
}

// set gives the object v a member, in place of one with the same key.
func (v *value) set(key string, m value) {
	key = clean(key)
	if i := slices.Index(v.keys, key); i >= 0 {
		v.items[i] = m
		return
	}
	v.keys, v.items = append(v.keys, key), append(v.items, m)
}

// get gives the member of the object v that has the key.
func (v value) get(key string) (m value, ok bool) {
	if i := slices.Index(v.keys, key); i >= 0 {
		return v.items[i], true
	}
	return m, false
}

// words is a value that has no members as people read it.
func (v value) words() string {
	switch {
	case v.kind == octets:
		b := make([]byte, 0, 2*len(v.text))
		for i := range len(v.text) {
			b = append(b, "0123456789ABCDEF"[v.text[i]>>4], "0123456789ABCDEF"[v.text[i]&15])
		}
		return string(b)
	case v.kind == integer:
		return strconv.FormatInt(v.integer, 10)
	case v.kind == truth && v.integer != 0:
		return "yes"
	case v.kind == truth:
		return "no"
	}
	return v.text
}

// appendJSON adds v as JSON (RFC 8259).
func appendJSON(b []byte, v value) []byte {
	switch v.kind {
	case integer:
		return strconv.AppendInt(b, v.integer, 10)
	case truth:
		return strconv.AppendBool(b, v.integer != 0)
	case list, object:
		b = append(b, "[{"[v.kind-list])
		for i, m := range v.items {
			if i > 0 {
				b = append(b, ',')
			}
			if v.kind == object {
				b = append(AppendText(b, v.keys[i]), ':')
			}
			b = appendJSON(b, m)
		}
		return append(b, "]}"[v.kind-list])
	}
	return AppendText(b, v.words())
}

// AppendText adds s as a JSON string (RFC 8259 7). What is not UTF-8 becomes
// U+FFFD.
func AppendText(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7F:
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&0xF])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// Major types of RFC 8949 3.1 and simple values of 3.3.
const (
	majorUnsigned = 0 << 5
	majorNegative = 1 << 5
	majorBytes    = 2 << 5
	majorText     = 3 << 5
	majorList     = 4 << 5
	majorMap      = 5 << 5
	simpleFalse   = 0xF4
	simpleTrue    = 0xF5
)

// appendHead adds a major type with its argument, in the shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return append(b, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(b, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// appendCBOR adds v as CBOR in core deterministic encoding (RFC 8949 4.2.1).
func appendCBOR(b []byte, v value) []byte {
	switch v.kind {
	case integer:
		if v.integer < 0 {
			return appendHead(b, majorNegative, uint64(^v.integer))
		}
		return appendHead(b, majorUnsigned, uint64(v.integer))
	case truth:
		return append(b, simpleFalse+byte(v.integer))
	case list:
		b = appendHead(b, majorList, uint64(len(v.items)))
		for _, m := range v.items {
			b = appendCBOR(b, m)
		}
		return b
	case object:
		order := make([]int, len(v.keys))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(i, j int) int { // a longer key has a greater head
			if d := len(v.keys[i]) - len(v.keys[j]); d != 0 {
				return d
			}
			return strings.Compare(v.keys[i], v.keys[j])
		})
		b = appendHead(b, majorMap, uint64(len(order)))
		for _, i := range order {
			b = append(appendHead(b, majorText, uint64(len(v.keys[i]))), v.keys[i]...)
			b = appendCBOR(b, v.items[i])
		}
		return b
	case octets:
		return append(appendHead(b, majorBytes, uint64(len(v.text))), v.text...)
	}
	return append(appendHead(b, majorText, uint64(len(v.text))), v.text...)
}
