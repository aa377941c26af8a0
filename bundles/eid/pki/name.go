package pki

import (
	"bytes"
	"strings"
	"unicode/utf16"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Attributes of names (RFC 5280 4.1.2.4).
var (
	oidCountry      = OID("2.5.4.6")
	oidState        = OID("2.5.4.8")
	oidLocality     = OID("2.5.4.7")
	oidOrganization = OID("2.5.4.10")
	oidUnit         = OID("2.5.4.11")
	oidCommonName   = OID("2.5.4.3")
	oidSerialNumber = OID("2.5.4.5")
)

var attributes = []struct {
	oid []byte
	key string
}{
	{oidCountry, "C"}, {oidState, "ST"}, {oidLocality, "L"}, {oidOrganization, "O"}, {oidUnit, "OU"},
	{oidCommonName, "CN"}, {oidSerialNumber, "serialNumber"},
}

// Name is a distinguished name.
type Name struct {
	Raw        []byte
	Attributes []Attribute
}

// Attribute is one part of a name.
type Attribute struct {
	Type  []byte // contents octets of the object identifier
	Value string
	set   int // which RelativeDistinguishedName
}

// MakeName is the name with the parts that are not empty, in this order: C, ST, L, O,
// OU, CN, serialNumber. Country and serial number are PrintableStrings (RFC 5280 A.1), so
// is the rest where its characters allow, else a UTF8String.
func MakeName(parts map[string]string) Name {
	var b []byte
	n := Name{}
	for _, a := range attributes {
		v := parts[a.key]
		if v == "" {
			continue
		}
		b = append(b, set(seq(object(a.oid), text(v)))...)
		n.Attributes = append(n.Attributes, Attribute{a.oid, v, len(n.Attributes)})
	}
	n.Raw = seq(b)
	return n
}

func text(s string) []byte {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(" '()+,-./:=?", c) >= 0) {
			return tlv.Append(nil, tagUTF8, []byte(s)...)
		}
	}
	return tlv.Append(nil, tagPrintable, []byte(s)...)
}

func (n Name) String() string {
	var s []string
	for _, a := range n.Attributes {
		key := Dotted(a.Type)
		for _, x := range attributes {
			if bytes.Equal(x.oid, a.Type) {
				key = x.key
			}
		}
		s = append(s, key+"="+a.Value)
	}
	return strings.Join(s, ",")
}

// Get is the first value of an attribute: C, O, CN ...
func (n Name) Get(key string) string {
	for _, x := range attributes {
		for _, a := range n.Attributes {
			if x.key == key && bytes.Equal(x.oid, a.Type) {
				return a.Value
			}
		}
	}
	return ""
}

// Equal compares as RFC 5280 7.1 says: without regard to case, to more white space than
// one, and to the type of string.
func (n Name) Equal(o Name) bool {
	if len(n.Attributes) != len(o.Attributes) {
		return false
	}
	plain := func(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
	for i, a := range n.Attributes {
		b := o.Attributes[i]
		if a.set != b.set || !bytes.Equal(a.Type, b.Type) || plain(a.Value) != plain(b.Value) {
			return false
		}
	}
	return true
}

func parseName(r *reader) (n Name) {
	n.Raw = r.raw(tagSeq)
	if *r.fail != nil {
		return n
	}
	all := open(n.Raw, r.fail)
	sets := all.in(tagSeq)
	for i := 0; sets.more(); i++ {
		one := sets.in(tagSet)
		for first := true; first || one.more(); first = false {
			a := one.in(tagSeq)
			x := Attribute{Type: a.oid(), set: i}
			t, v, _ := a.any()
			x.Value = characters(t, v)
			a.end()
			n.Attributes = append(n.Attributes, x)
		}
	}
	return n
}

// characters is the text of a string type; of any other, its octets in hexadecimal.
func characters(t tlv.Tag, v []byte) string {
	switch t {
	case tagT61: // as Latin-1, which is what it is in practice
		s := make([]rune, len(v))
		for i, c := range v {
			s[i] = rune(c)
		}
		return string(s)
	case tagBMP:
		s := make([]uint16, len(v)/2)
		for i := range s {
			s[i] = uint16(v[2*i])<<8 | uint16(v[2*i+1])
		}
		return string(utf16.Decode(s))
	case tagUTF8, tagPrintable, tagIA5:
		return strings.ToValidUTF8(string(v), "?")
	}
	const digits = "0123456789ABCDEF"
	s := []byte{'#'}
	for _, c := range v {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}
