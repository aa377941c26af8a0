package lds

import "github.com/sspemu/sspemu/internal/tlv"

// Detail is one data element of data groups 11 and 12, by its tag. Texts are UTF-8, names
// have fillers like a machine readable zone, dates are eight digits; some issuers write
// dates as four octets of BCD.
type Detail struct {
	Tag   tlv.Tag
	Value []byte
}

// Tags of data group 11 (Doc 9303-10 table 71).
const (
	TagFullName       tlv.Tag = 0x5F0E
	TagOtherName      tlv.Tag = 0x5F0F // in A0
	TagPersonalNumber tlv.Tag = 0x5F10
	TagPlaceOfBirth   tlv.Tag = 0x5F11
	TagTelephone      tlv.Tag = 0x5F12
	TagProfession     tlv.Tag = 0x5F13
	TagTitle          tlv.Tag = 0x5F14
	TagSummary        tlv.Tag = 0x5F15
	TagCitizenship    tlv.Tag = 0x5F16
	TagOtherDocuments tlv.Tag = 0x5F17
	TagCustody        tlv.Tag = 0x5F18
	TagDateOfBirth    tlv.Tag = 0x5F2B
	TagAddress        tlv.Tag = 0x5F42
)

// Tags of data group 12 (Doc 9303-10 table 73).
const (
	TagAuthority    tlv.Tag = 0x5F19
	TagOtherPerson  tlv.Tag = 0x5F1A // in A0
	TagObservations tlv.Tag = 0x5F1B
	TagTax          tlv.Tag = 0x5F1C
	TagFront        tlv.Tag = 0x5F1D
	TagRear         tlv.Tag = 0x5F1E
	TagIssued       tlv.Tag = 0x5F26
	TagPersonalised tlv.Tag = 0x5F55
	TagSystem       tlv.Tag = 0x5F56
)

// tagOthers holds the elements that occur several times.
const tagOthers tlv.Tag = 0xA0

// BuildDetails is the content of data group 11 or 12: a list of the tags, then the
// elements in the order of details. Elements in A0 (other names, other persons) stand
// next to each other.
func BuildDetails(group int, details []Detail) []byte {
	var list, body []byte
	for i := 0; i < len(details); i++ {
		d := details[i]
		list = append(list, byte(d.Tag>>8), byte(d.Tag))
		if !repeats(d.Tag) {
			body = tlv.Append(body, d.Tag, d.Value...)
			continue
		}
		n, inner := 0, []byte(nil)
		for ; i < len(details) && details[i].Tag == d.Tag; i++ {
			inner = tlv.Append(inner, d.Tag, details[i].Value...)
			n++
		}
		i--
		body = append(body, seq(tagOthers, tlv.Append(nil, tagInteger, byte(n)), inner)...)
	}
	return seq(GroupTag(group), tlv.Append(nil, tagList, list...), body)
}

func repeats(t tlv.Tag) bool { return t == TagOtherName || t == TagOtherPerson }

// ParseDetails reads data group 11 or 12.
func ParseDetails(group int, file []byte) ([]Detail, error) {
	what := groupName(group)
	v, err := Unwrap(what, file, GroupTag(group))
	if err != nil {
		return nil, err
	}
	list, err := tlv.Find(v, tagList)
	if err != nil {
		return nil, malformed(what, err)
	}
	var details []Detail
	add := func(r tlv.Reader) error {
		for r.Next() {
			if r.Tag != tagList && r.Tag != tagOthers && r.Tag != tagInteger {
				details = append(details, Detail{r.Tag, r.Value})
			}
		}
		return r.Err()
	}
	r := tlv.Read(v)
	for r.Next() {
		if r.Tag == tagOthers {
			err = add(tlv.Read(r.Value))
		} else if r.Tag != tagList {
			details = append(details, Detail{r.Tag, r.Value})
		}
		if err != nil {
			return nil, malformed(what, err)
		}
	}
	if r.Err() != nil {
		return nil, malformed(what, r.Err())
	}
	for i := 0; i+1 < len(list); i += 2 {
		t := tlv.Tag(list[i])<<8 | tlv.Tag(list[i+1])
		if t>>8 == tagOthers { // an issuer that lists A0: one octet
			i--
			continue
		}
		found := false
		for _, d := range details {
			found = found || d.Tag == t
		}
		if !found {
			return details, bad(what, "lists "+hexTag(t)+", which is not there")
		}
	}
	return details, nil
}

// Person is somebody to notify (Doc 9303-10 table 80).
type Person struct{ Recorded, Name, Telephone, Address string }

// Tags of data group 16.
const (
	tagRecorded        tlv.Tag = 0x5F50
	tagPerson          tlv.Tag = 0x5F51
	tagPersonTelephone tlv.Tag = 0x5F52
	tagPersonAddress   tlv.Tag = 0x5F53
)

// BuildPersons is the content of data group 16; there are 15 persons at most.
func BuildPersons(persons []Person) []byte {
	b := tlv.Append(nil, tagInteger, byte(len(persons)))
	for i, p := range persons {
		var v []byte
		v = tlv.Append(v, tagRecorded, []byte(p.Recorded)...)
		v = tlv.Append(v, tagPerson, []byte(p.Name)...)
		v = tlv.Append(v, tagPersonTelephone, []byte(p.Telephone)...)
		v = tlv.Append(v, tagPersonAddress, []byte(p.Address)...)
		b = append(b, seq(0xA1+tlv.Tag(i), v)...)
	}
	return seq(GroupTag(16), b)
}

// ParsePersons reads data group 16.
func ParsePersons(file []byte) ([]Person, error) {
	v, err := Unwrap("DG16", file, GroupTag(16))
	if err != nil {
		return nil, err
	}
	count, err := tlv.Find(v, tagInteger)
	if err != nil {
		return nil, malformed("DG16", err)
	}
	var persons []Person
	r := tlv.Read(v)
	for r.Next() {
		if r.Tag < 0xA1 || r.Tag > 0xAF {
			continue
		}
		var p Person
		in := tlv.Read(r.Value)
		for in.Next() {
			switch in.Tag {
			case tagRecorded:
				p.Recorded = string(in.Value)
			case tagPerson:
				p.Name = string(in.Value)
			case tagPersonTelephone:
				p.Telephone = string(in.Value)
			case tagPersonAddress:
				p.Address = string(in.Value)
			}
		}
		if in.Err() != nil {
			return nil, malformed("DG16", in.Err())
		}
		persons = append(persons, p)
	}
	if r.Err() != nil {
		return nil, malformed("DG16", r.Err())
	}
	if n, ok := number(count); !ok || n != len(persons) {
		return nil, bad("DG16", "has another number of persons than it says")
	}
	return persons, nil
}

// DG13 is the content of data group 13, which is the issuer's own.
func DG13(content []byte) []byte { return seq(GroupTag(13), content) }

// DG15 is the content of data group 15 with a SubjectPublicKeyInfo.
func DG15(key []byte) []byte { return seq(GroupTag(15), key) }

// ParseDG15 is the SubjectPublicKeyInfo in data group 15.
func ParseDG15(file []byte) ([]byte, error) {
	v, err := Unwrap("DG15", file, GroupTag(15))
	if err != nil {
		return nil, err
	}
	if t, _, _, err := tlv.Next(v); err != nil || t != tagSeq {
		return nil, bad("DG15", "is not a SubjectPublicKeyInfo")
	}
	return v, nil
}
