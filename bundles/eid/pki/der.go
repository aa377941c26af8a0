package pki

import (
	"bytes"
	"errors"
	"sort"
	"strconv"
	"time"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Tags of ISO/IEC 8824-1.
const (
	tagBool      tlv.Tag = 0x01
	tagInteger   tlv.Tag = 0x02
	tagBits      tlv.Tag = 0x03
	tagOctets    tlv.Tag = 0x04
	tagNull      tlv.Tag = 0x05
	tagOID       tlv.Tag = 0x06
	tagEnum      tlv.Tag = 0x0A
	tagUTF8      tlv.Tag = 0x0C
	tagPrintable tlv.Tag = 0x13
	tagT61       tlv.Tag = 0x14
	tagIA5       tlv.Tag = 0x16
	tagUTCTime   tlv.Tag = 0x17
	tagGenTime   tlv.Tag = 0x18
	tagBMP       tlv.Tag = 0x1E
	tagSeq       tlv.Tag = 0x30
	tagSet       tlv.Tag = 0x31
)

// OID is the contents octets of an object identifier: OID("1.2.840.10045.2.1").
func OID(dotted string) []byte {
	var b []byte
	n, first, arc := uint64(0), uint64(0), 0
	for i := 0; i <= len(dotted); i++ {
		if i < len(dotted) && dotted[i] != '.' {
			n = 10*n + uint64(dotted[i]-'0')
			continue
		}
		if arc++; arc == 1 {
			first, n = n, 0
			continue
		}
		if arc == 2 {
			n += 40 * first
		}
		var t [10]byte
		at := len(t) - 1
		for t[at] = byte(n & 0x7F); n > 0x7F; {
			n >>= 7
			at--
			t[at] = byte(n&0x7F) | 0x80
		}
		b, n = append(b, t[at:]...), 0
	}
	return b
}

// Dotted writes contents octets of an object identifier as numbers with dots.
func Dotted(oid []byte) string {
	var s []byte
	n := uint64(0)
	for i, c := range oid {
		if n > 1<<56 {
			return "?"
		}
		if n = n<<7 | uint64(c&0x7F); c >= 0x80 {
			if i == len(oid)-1 {
				return "?"
			}
			continue
		}
		if s == nil {
			first := min(n/40, 2)
			s = strconv.AppendUint(s, first, 10)
			n -= 40 * first
		}
		s = strconv.AppendUint(append(s, '.'), n, 10)
		n = 0
	}
	return string(s)
}

// Writing.

func wrap(t tlv.Tag, parts ...[]byte) []byte {
	b, m := tlv.Begin(nil, t)
	for _, p := range parts {
		b = append(b, p...)
	}
	return tlv.End(b, m)
}

func seq(parts ...[]byte) []byte { return wrap(tagSeq, parts...) }

// set is a SET OF, in the order of DER (ISO/IEC 8825-1 11.6).
func set(parts ...[]byte) []byte {
	parts = append([][]byte(nil), parts...)
	sort.SliceStable(parts, func(i, j int) bool { return bytes.Compare(parts[i], parts[j]) < 0 })
	return wrap(tagSet, parts...)
}

// integer is a positive number, big-endian.
func integer(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 || b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return tlv.Append(nil, tagInteger, b...)
}

func number(n int) []byte {
	return integer([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func object(oid []byte) []byte { return tlv.Append(nil, tagOID, oid...) }
func octets(b []byte) []byte   { return tlv.Append(nil, tagOctets, b...) }
func bits(b []byte) []byte     { return tlv.Append(nil, tagBits, append([]byte{0}, b...)...) }

var (
	null    = []byte{0x05, 0x00}
	yes     = []byte{0x01, 0x01, 0xFF}
	utc     = "060102150405Z"
	general = "20060102150405Z"
)

// moment is a Time of X.509: UTCTime until 2049 (RFC 5280 4.1.2.5).
func moment(t time.Time) []byte {
	if t = t.UTC(); t.Year() >= 1950 && t.Year() < 2050 {
		return tlv.Append(nil, tagUTCTime, []byte(t.Format(utc))...)
	}
	return tlv.Append(nil, tagGenTime, []byte(t.Format(general))...)
}

// Reading. The encoding is DER: any other one is refused. Errors stay: after the first,
// everything is empty, and fail holds it.

var (
	errDER     = errors.New("it is not DER")
	errMissing = errors.New("something is missing or of another type than the standard says")
	errMore    = errors.New("there is more than the standard says")
)

type reader struct {
	b    []byte
	fail *error
}

// open reads the one data object that b has to be.
func open(b []byte, fail *error) reader { return reader{b, fail} }

func (r *reader) err(e error) {
	if *r.fail == nil {
		*r.fail = e
	}
	r.b = nil
}

// any is the next data object: its tag, value and whole.
func (r *reader) any() (t tlv.Tag, v, raw []byte) {
	if *r.fail != nil || len(r.b) == 0 {
		r.err(errMissing)
		return 0, nil, nil
	}
	t, v, rest, err := tlv.Next(r.b)
	if err != nil || r.b[0] == 0 {
		r.err(errDER)
		return 0, nil, nil
	}
	raw = r.b[:len(r.b)-len(rest)]
	var h [12]byte
	if head := tlv.AppendHeader(h[:0], t, len(v)); !bytes.HasPrefix(raw, head) || len(head)+len(v) != len(raw) {
		r.err(errDER)
		return 0, nil, nil
	}
	r.b = rest
	return t, v, raw
}

// is tells whether the next data object has this tag.
func (r *reader) is(t tlv.Tag) bool {
	if *r.fail != nil || len(r.b) == 0 {
		return false
	}
	next, _, _, err := tlv.Next(r.b)
	return err == nil && next == t
}

func (r *reader) more() bool { return *r.fail == nil && len(r.b) > 0 }

func (r *reader) value(want tlv.Tag) []byte {
	t, v, _ := r.any()
	if *r.fail == nil && t != want {
		r.err(errMissing)
		return nil
	}
	return v
}

func (r *reader) raw(want tlv.Tag) []byte {
	t, _, raw := r.any()
	if *r.fail == nil && t != want {
		r.err(errMissing)
		return nil
	}
	return raw
}

// in goes into a constructed object.
func (r *reader) in(want tlv.Tag) reader { return reader{r.value(want), r.fail} }

func (r *reader) end() {
	if *r.fail == nil && len(r.b) > 0 {
		r.err(errMore)
	}
}

// signed is the contents octets of an INTEGER.
func (r *reader) signed(t tlv.Tag) []byte {
	v := r.value(t)
	if *r.fail == nil && (len(v) == 0 || len(v) > 1 && (v[0] == 0 && v[1] < 0x80 || v[0] == 0xFF && v[1] >= 0x80)) {
		r.err(errDER)
	}
	return v
}

// positive is a number that is not below zero, without leading zeros.
func (r *reader) positive(t tlv.Tag) []byte {
	v := r.signed(t)
	if *r.fail != nil {
		return nil
	}
	if v[0] >= 0x80 {
		r.err(errMissing)
		return nil
	}
	if v[0] == 0 {
		v = v[1:]
	}
	return v
}

func (r *reader) small(t tlv.Tag) (n int) {
	v := r.positive(t)
	if len(v) > 3 {
		r.err(errMissing)
		return 0
	}
	for _, c := range v {
		n = n<<8 | int(c)
	}
	return n
}

func (r *reader) boolean() bool {
	v := r.value(tagBool)
	if *r.fail == nil && (len(v) != 1 || v[0] != 0 && v[0] != 0xFF) {
		r.err(errDER)
	}
	return len(v) == 1 && v[0] != 0
}

func (r *reader) oid() []byte {
	v := r.value(tagOID)
	if *r.fail == nil && (len(v) == 0 || v[len(v)-1] >= 0x80) {
		r.err(errDER)
	}
	return v
}

// bitString is a BIT STRING of whole octets.
func (r *reader) bitString() []byte {
	v := r.value(tagBits)
	if *r.fail != nil {
		return nil
	}
	if len(v) == 0 || v[0] != 0 {
		r.err(errMissing)
		return nil
	}
	return v[1:]
}

// flags is a BIT STRING of named bits, bit 0 the lowest of the result.
func (r *reader) flags() (n uint16) {
	v := r.value(tagBits)
	if *r.fail == nil && (len(v) == 0 || v[0] > 7 || len(v) == 1 && v[0] != 0) {
		r.err(errDER)
		return 0
	}
	for i := 8; i < 8*len(v) && i < 24; i++ {
		if v[i/8]>>(7-i%8)&1 == 1 {
			n |= 1 << (i - 8)
		}
	}
	return n
}

func (r *reader) moment() time.Time {
	if r.is(tagUTCTime) {
		t := r.time(r.value(tagUTCTime), utc)
		if t.Year() >= 2050 {
			t = t.AddDate(-100, 0, 0)
		}
		return t
	}
	return r.time(r.value(tagGenTime), general)
}

func (r *reader) time(v []byte, layout string) time.Time {
	t, err := time.Parse(layout, string(v))
	if *r.fail == nil && (err != nil || len(v) != len(layout)) {
		r.err(errDER)
	}
	return t
}
