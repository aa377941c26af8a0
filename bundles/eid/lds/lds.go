// Package lds is the logical data structure of a travel document: the content of its
// files, built for a chip and read back by an inspection system.
//
//	issue ──> X.Build ──> octets of a file ──> chip ──> reader ──> ParseX ──> inspect
//
// It knows what stands in a file, not who may read it (issue), nor how signatures are
// made (pki). What a parser gives aliases its input; it never panics, and what it gives
// is bounded by its input.
//
// Sources: ICAO Doc 9303 part 3 (machine readable zone), 4 to 6 (TD3, TD1, TD2), 10
// (logical data structure), 11 (SecurityInfos); ISO/IEC 19794-4:2005 and -5:2005
// (images of fingers and faces) in the form that Doc 9303-10 takes them.
package lds

import (
	"errors"

	"github.com/sspemu/sspemu/internal/tlv"
)

// AID is the LDS1 eMRTD application (Doc 9303-10 4.1).
var AID = []byte{0xA0, 0x00, 0x00, 0x02, 0x47, 0x10, 0x01}

// Tags of the files (Doc 9303-10 tables 35, 36, 38).
const (
	TagCOM tlv.Tag = 0x60
	TagSOD tlv.Tag = 0x77
)

// Identifiers of the files beside the data groups, in the master file and in the LDS1
// application (Doc 9303-10 tables 28 to 38; EF.CVCA: TR-03110-3 A.3).
const (
	FIDCardAccess   uint16 = 0x011C // MF
	FIDCardSecurity uint16 = 0x011D // MF
	FIDATRInfo      uint16 = 0x2F01 // MF
	FIDDIR          uint16 = 0x2F00 // MF
	FIDCOM          uint16 = 0x011E
	FIDSOD          uint16 = 0x011D
	FIDCVCA         uint16 = 0x011C

	SFICardAccess   byte = 0x1C
	SFICardSecurity byte = 0x1D
	SFIATRInfo      byte = 0x01
	SFIDIR          byte = 0x1E
	SFICOM          byte = 0x1E
	SFISOD          byte = 0x1D
	SFICVCA         byte = 0x1C
)

// groups are the tags of data groups 1 to 16 (Doc 9303-10 table 38).
var groups = [...]tlv.Tag{0x61, 0x75, 0x63, 0x76, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x6F, 0x70}

// Groups is how many data groups there are.
const Groups = len(groups)

// GroupTag is the tag of data group n, 1 to 16; 0 for another number.
func GroupTag(n int) tlv.Tag {
	if n < 1 || n > Groups {
		return 0
	}
	return groups[n-1]
}

// GroupByTag is the number of the data group with this tag, 0: there is none.
func GroupByTag(t tlv.Tag) int {
	for i, g := range groups {
		if g == t {
			return i + 1
		}
	}
	return 0
}

// GroupFID is the file identifier of data group n; its short one is n.
func GroupFID(n int) uint16 { return 0x0100 | uint16(n) }

// Error is what is wrong with the content of a file.
type Error struct {
	What string // "DG2"
	Why  string
}

func (e *Error) Error() string { return e.What + ": " + e.Why }

func bad(what, why string) error { return &Error{what, why} }

// malformed tells what of a tlv error.
func malformed(what string, err error) error {
	if errors.Is(err, tlv.ErrNotFound) {
		return bad(what, "a data object that has to be there is missing")
	}
	return bad(what, err.Error())
}

// Unwrap is the value of the data object that a file is; octets behind it are ignored,
// as a file may be larger than its content.
func Unwrap(what string, file []byte, want tlv.Tag) ([]byte, error) {
	t, v, _, err := tlv.Next(file)
	switch {
	case err != nil:
		return nil, malformed(what, err)
	case t == 0:
		return nil, bad(what, "is empty")
	case t != want:
		return nil, bad(what, "begins with another tag than "+hexTag(want))
	}
	return v, nil
}

const digits = "0123456789ABCDEF"

func hexTag(t tlv.Tag) string {
	var s []byte
	for shift := 28; shift >= 0; shift -= 4 {
		if d := t >> shift & 15; d != 0 || s != nil || shift < 8 {
			s = append(s, digits[d])
		}
	}
	return string(s)
}

// Tags that many files have.
const (
	tagInteger tlv.Tag = 0x02
	tagOctets  tlv.Tag = 0x04
	tagOID     tlv.Tag = 0x06
	tagPrint   tlv.Tag = 0x13
	tagSeq     tlv.Tag = 0x30
	tagSet     tlv.Tag = 0x31
	tagList    tlv.Tag = 0x5C
)

// seq is a constructed data object around parts.
func seq(t tlv.Tag, parts ...[]byte) []byte {
	b, m := tlv.Begin(nil, t)
	for _, p := range parts {
		b = append(b, p...)
	}
	return tlv.End(b, m)
}

// integer is an INTEGER, not negative.
func integer(n int) []byte {
	var v []byte
	for shift := 24; shift >= 0; shift -= 8 {
		if c := byte(n >> shift); c != 0 || v != nil || shift == 0 {
			if v == nil && c >= 0x80 {
				v = append(v, 0)
			}
			v = append(v, c)
		}
	}
	return tlv.Append(nil, tagInteger, v...)
}

// number reads the content of an INTEGER; ok is false for none that fits 31 bits.
func number(v []byte) (n int, ok bool) {
	if len(v) == 0 || len(v) > 4 || v[0] >= 0x80 {
		return 0, false
	}
	for _, c := range v {
		n = n<<8 | int(c)
	}
	return n, true
}

// COM is EF.COM (Doc 9303-10 4.6.1).
type COM struct {
	LDS     string // "0108"
	Unicode string // "040000"
	Groups  []int  // those that are present; 0 for a tag that belongs to none
}

// Tags of EF.COM (Doc 9303-10 table 35).
const (
	tagLDSVersion     tlv.Tag = 0x5F01
	tagUnicodeVersion tlv.Tag = 0x5F36
)

// Build is the content of EF.COM.
func (c *COM) Build() []byte {
	var list []byte
	for _, g := range c.Groups {
		list = append(list, byte(GroupTag(g)))
	}
	b, m := tlv.Begin(nil, TagCOM)
	b = tlv.Append(b, tagLDSVersion, []byte(c.LDS)...)
	b = tlv.Append(b, tagUnicodeVersion, []byte(c.Unicode)...)
	b = tlv.Append(b, tagList, list...)
	return tlv.End(b, m)
}

// ParseCOM reads EF.COM.
func ParseCOM(file []byte) (*COM, error) {
	v, err := Unwrap("EF.COM", file, TagCOM)
	if err != nil {
		return nil, err
	}
	c := &COM{}
	for _, f := range []struct {
		tag tlv.Tag
		n   int
		to  *string
	}{{tagLDSVersion, 4, &c.LDS}, {tagUnicodeVersion, 6, &c.Unicode}} {
		s, err := tlv.Find(v, f.tag)
		if err != nil {
			return nil, malformed("EF.COM", err)
		}
		if len(s) != f.n || !decimal(s) {
			return nil, bad("EF.COM", hexTag(f.tag)+" is not a version number")
		}
		*f.to = string(s)
	}
	list, err := tlv.Find(v, tagList)
	if err != nil {
		return nil, malformed("EF.COM", err)
	}
	for _, t := range list {
		c.Groups = append(c.Groups, GroupByTag(tlv.Tag(t)))
	}
	return c, nil
}

func decimal(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// TagMRZ is the machine readable zone in data group 1 (Doc 9303-10 table 39).
const TagMRZ tlv.Tag = 0x5F1F

// DG1 is the content of data group 1 with a machine readable zone.
func DG1(mrz string) []byte {
	return seq(groups[0], tlv.Append(nil, TagMRZ, []byte(mrz)...))
}

// ParseDG1 is the machine readable zone in data group 1, without line breaks.
func ParseDG1(file []byte) (string, error) {
	v, err := Unwrap("DG1", file, groups[0])
	if err != nil {
		return "", err
	}
	if v, err = tlv.Find(v, TagMRZ); err != nil {
		return "", malformed("DG1", err)
	}
	return string(v), nil
}
