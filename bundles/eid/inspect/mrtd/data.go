package mrtd

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// describe puts the data of the document into the report, and checks that they fit each
// other.
func (s *inspection) describe() {
	m := s.zone()
	s.portrait()
	s.details(m)
	s.images()
	s.protocols()
	f := s.r.Section("Files")
	for _, name := range s.order() {
		f.Add(name, fmt.Sprintf("%d octets", len(s.files[name])))
	}
}

// order are the names of the files that were read, as the standard lists them.
func (s *inspection) order() (all []string) {
	list := []string{"EF.ATR/INFO", "EF.DIR", "EF.CardAccess", "EF.CardSecurity", "EF.COM", "EF.SOD"}
	for n := 1; n <= lds.Groups; n++ {
		list = append(list, groupName(n))
	}
	for _, n := range list {
		if s.files[n] != nil {
			all = append(all, n)
		}
	}
	return all
}

// zone describes data group 1.
func (s *inspection) zone() *lds.MRZ {
	b := s.files["DG1"]
	if b == nil {
		if s.secured || len(s.files) > 4 {
			s.r.Fail("DG1", "Doc 9303-10 4.7.1", "the machine readable zone could not be read: DG1 is mandatory")
		}
		return nil
	}
	text, err := lds.ParseDG1(b)
	var wrong []string
	var m *lds.MRZ
	if err == nil {
		m, wrong, err = lds.ParseMRZ(text)
	}
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("wrong check digits: %s", strings.Join(wrong, ", "))
	}
	s.r.Is(err, "DG1: check digits", "Doc 9303-3 4.9", "all check digits of the machine readable zone are right")
	if m == nil {
		return nil
	}
	name := strings.TrimSpace(m.Secondary + " " + m.Primary)
	s.r.Title = name
	h := s.r.Section("Holder")
	h.Add("name", name)
	h.Add("nationality", m.Nationality)
	h.Add("date of birth", zoneDate(m.Birth, s.r.Date, true))
	h.Add("sex", map[string]string{"F": "female", "M": "male", "": "unspecified"}[m.Sex])
	d := s.r.Section("Document")
	d.Add("type", m.Code+", "+m.Format.String())
	d.Add("issuing state", m.State)
	d.Add("number", m.Number)
	d.Add("expires", zoneDate(m.Expiry, s.r.Date, false))
	d.Add("optional data", strings.TrimSpace(m.Optional+" "+m.Optional2))
	d.Add("machine readable zone", strings.Join(lds.Lines(text), "\n"))

	if p := &s.Passwords; p.MRZ != "" {
		const clause = "Doc 9303-11 4.2"
		switch {
		case p.zone != nil && *p.zone != *m:
			s.r.Fail("DG1: the zone that was shown", clause, "the machine readable zone in the chip is another one than the one on the document")
		case p.MRZ != m.Information():
			s.r.Fail("DG1: the zone that was shown", clause, "number, birth or expiry in the chip are others than those that were given")
		default:
			s.r.Pass("DG1: the zone that was shown", clause, "the chip holds what was read on the document")
		}
	}
	if e, ok := parseZoneDate(m.Expiry, s.r.Date, false); ok {
		if e.AddDate(0, 0, 1).After(s.r.Date) {
			s.r.Pass("Date of expiry", "Doc 9303-3 4.8", "the document is valid until %s", e.Format("2006-01-02"))
		} else {
			s.r.Fail("Date of expiry", "Doc 9303-3 4.8", "the document expired on %s", e.Format("2006-01-02"))
		}
	}
	return m
}

// parseZoneDate reads YYMMDD: a birth is not in the future, an expiry at most 50 years
// off (Doc 9303-3 4.8).
func parseZoneDate(s string, at time.Time, birth bool) (time.Time, bool) {
	t, err := time.Parse("20060102", "20"+s)
	if err != nil {
		return t, false
	}
	if birth && t.After(at) || !birth && t.After(at.AddDate(50, 0, 0)) {
		t = t.AddDate(-100, 0, 0)
	}
	return t, true
}

func zoneDate(s string, at time.Time, birth bool) string {
	if t, ok := parseZoneDate(s, at, birth); ok {
		return t.Format("2006-01-02")
	}
	return s
}

// media is the media type of an image, by its first octets.
func media(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte{0xFF, 0xD8, 0xFF}):
		return "image/jpeg"
	case bytes.HasPrefix(b, []byte("\x00\x00\x00\x0CjP  \r\n\x87\n")), bytes.HasPrefix(b, []byte{0xFF, 0x4F, 0xFF, 0x51}):
		return "image/jp2"
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n")):
		return "image/png"
	}
	return "application/octet-stream"
}

func picture(name string, b []byte) inspect.Picture {
	p := inspect.Picture{Name: name, Type: media(b), Data: b}
	if p.Type == "image/jp2" {
		p.Note = "few programs show JPEG 2000"
	}
	return p
}

func (s *inspection) portrait() {
	b := s.files["DG2"]
	if b == nil {
		return
	}
	all, err := lds.ParseBiometrics(2, b)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("DG2 has no face")
	}
	if err != nil {
		s.r.Fail("DG2", "Doc 9303-10 4.7.2", "%s", err)
		return
	}
	sec := s.r.Section("Portrait")
	n := 0
	for _, x := range all {
		if x.Newer {
			s.r.NotDone("DG2", "Doc 9303-10 4.7.2", "the face is encoded as ISO/IEC 39794, which is not read here")
			continue
		}
		faces, err := lds.ParseFaces(x.Data)
		if err != nil {
			s.r.Fail("DG2", "Doc 9303-10 4.7.2; ISO/IEC 19794-5 5", "%s", err)
			return
		}
		for _, f := range faces {
			p := picture("portrait", f.Image)
			if p.Type == "application/octet-stream" {
				s.r.Fail("DG2", "ISO/IEC 19794-5 5.8", "the image is neither JPEG nor JPEG 2000")
				return
			}
			n++
			sec.Pictures = append(sec.Pictures, p)
			sec.Add("size", fmt.Sprintf("%d x %d", f.Width, f.Height))
		}
	}
	if n > 0 {
		s.r.Pass("DG2", "Doc 9303-10 4.7.2", "the portrait has the form of ISO/IEC 19794-5")
	}
}

// words of the data elements of data groups 11 and 12.
var words = map[tlv.Tag]string{
	lds.TagFullName: "full name", lds.TagOtherName: "other name", lds.TagPersonalNumber: "personal number", lds.TagPlaceOfBirth: "place of birth",
	lds.TagTelephone: "telephone", lds.TagProfession: "profession", lds.TagTitle: "title", lds.TagSummary: "personal summary",
	lds.TagOtherDocuments: "other travel documents", lds.TagCustody: "custody", lds.TagDateOfBirth: "full date of birth", lds.TagAddress: "address",
	lds.TagAuthority: "issuing authority", lds.TagOtherPerson: "other person", lds.TagObservations: "observations", lds.TagTax: "tax, exit requirements",
	lds.TagIssued: "date of issue", lds.TagPersonalised: "time of personalisation", lds.TagSystem: "personalisation system",
}

// pictured are those whose value is an image.
var pictured = map[tlv.Tag]string{lds.TagCitizenship: "proof of citizenship", lds.TagFront: "front of the document", lds.TagRear: "rear of the document"}

// detail is a value for people.
func detail(t tlv.Tag, v []byte) string {
	switch t {
	case lds.TagDateOfBirth, lds.TagIssued, lds.TagPersonalised:
		d := string(v)
		if len(v) == 4 || len(v) == 7 { // BCD, of some issuers
			d = hex.EncodeToString(v)
		}
		if t, err := time.Parse("20060102", d); err == nil {
			return t.Format("2006-01-02")
		}
		if t, err := time.Parse("20060102150405", d); err == nil {
			return t.Format("2006-01-02 15:04:05")
		}
		return d
	case lds.TagFullName, lds.TagOtherName, lds.TagOtherPerson:
		primary, secondary, _ := strings.Cut(strings.ReplaceAll(string(v), "<<", "\x00"), "\x00")
		return strings.TrimSpace(strings.ReplaceAll(secondary+" "+primary, "<", " "))
	case lds.TagPlaceOfBirth, lds.TagAddress:
		return strings.ReplaceAll(string(v), "<", ", ")
	}
	return string(v)
}

func (s *inspection) details(m *lds.MRZ) {
	for i, name := range []string{"Holder", "Document"} {
		n := 11 + i
		b := s.files[groupName(n)]
		if b == nil {
			continue
		}
		clause := fmt.Sprintf("Doc 9303-10 4.7.%d", n)
		details, err := lds.ParseDetails(n, b)
		s.r.Is(err, groupName(n), clause, "its %d data elements are those that it lists", len(details))
		sec := s.r.Section(name)
		for _, d := range details {
			if what, ok := pictured[d.Tag]; ok {
				sec.Pictures = append(sec.Pictures, picture(what, d.Value))
				continue
			}
			what, ok := words[d.Tag]
			if !ok {
				what = fmt.Sprintf("data object %X", uint32(d.Tag))
			}
			sec.Add(what, detail(d.Tag, d.Value))
			if m == nil {
				continue
			}
			switch d.Tag {
			case lds.TagDateOfBirth:
				born := strings.ReplaceAll(detail(d.Tag, d.Value), "-", "")
				if len(born) == 8 && !strings.Contains(m.Birth, "<") && born[2:] != m.Birth {
					s.r.Fail("DG11: date of birth", clause, "%s is another date than %s in DG1", born, m.Birth)
				}
			case lds.TagFullName:
				if !sameName(string(d.Value), m) {
					s.r.Warn("DG11: name", clause, "the full name does not begin with the letters of the one in DG1: transliteration, or another person")
				}
			}
		}
	}
	if b := s.files["DG16"]; b != nil {
		persons, err := lds.ParsePersons(b)
		s.r.Is(err, "DG16", "Doc 9303-10 4.7.16", "%d persons to notify", len(persons))
		for _, p := range persons {
			s.r.Section("Persons to notify").Add(detail(lds.TagFullName, []byte(p.Name)), strings.TrimSpace(p.Telephone+" "+detail(lds.TagAddress, []byte(p.Address))))
		}
	}
	if b := s.files["DG13"]; b != nil {
		if v, err := lds.Unwrap("DG13", b, lds.GroupTag(13)); s.r.Is(err, "DG13", "Doc 9303-10 4.7.13", "%d octets that are the issuer's own", len(v)) {
			s.r.Section("Document").Add("optional details (DG13)", printable(v))
		}
	}
}

// printable is text as text, everything else in hexadecimal.
func printable(v []byte) string {
	for _, c := range v {
		if c < 0x20 || c > 0x7E {
			return hex.EncodeToString(v)
		}
	}
	return string(v)
}

// sameName compares the letters of the primary identifier, as far as no transliteration is
// between them.
func sameName(full string, m *lds.MRZ) bool {
	primary, _, _ := strings.Cut(full, "<<")
	primary = strings.ToUpper(strings.ReplaceAll(primary, "<", " "))
	for _, c := range primary {
		if c > 0x7E || c == '\'' || c == '-' {
			return true
		}
	}
	a, b := strings.Fields(primary), strings.Fields(m.Primary)
	return len(a) > 0 && len(b) > 0 && a[0][0] == b[0][0]
}

func (s *inspection) images() {
	if b := s.files["DG7"]; b != nil {
		images, err := lds.ParseImages(7, b)
		s.r.Is(err, "DG7", "Doc 9303-10 4.7.7", "%d signatures or usual marks", len(images))
		for _, i := range images {
			sec := s.r.Section("Signature")
			sec.Pictures = append(sec.Pictures, picture("signature or usual mark", i))
		}
	}
	if b := s.files["DG5"]; b != nil {
		images, err := lds.ParseImages(5, b)
		s.r.Is(err, "DG5", "Doc 9303-10 4.7.5", "%d portraits to display", len(images))
		for _, i := range images {
			sec := s.r.Section("Displayed portrait")
			sec.Pictures = append(sec.Pictures, picture("portrait", i))
		}
	}
	for i, what := range []string{"fingers", "irises"} {
		n := 3 + i
		b := s.files[groupName(n)]
		if b == nil {
			continue
		}
		all, err := lds.ParseBiometrics(n, b)
		s.r.Is(err, groupName(n), fmt.Sprintf("Doc 9303-10 4.7.%d", n), "%d templates of %s", len(all), what)
		s.r.Section("Biometrics").Add(what, fmt.Sprintf("%d templates", len(all)))
		for _, x := range all {
			if n == 3 && !x.Newer {
				if f, err := lds.ParseFingers(x.Data); err == nil {
					for _, v := range f.Views {
						sec := s.r.Section("Biometrics")
						sec.Pictures = append(sec.Pictures, picture(fmt.Sprintf("finger at position %d", v.Position), v.Image))
					}
				}
			}
		}
	}
}

// protocols tells what the chip can do.
func (s *inspection) protocols() {
	sec := s.r.Section("Protocols")
	infos14, _ := s.infos14()
	for at, infos := range [][]lds.SecurityInfo{s.access, infos14} {
		name := []string{"EF.CardAccess", "DG14"}[at]
		var lines []string
		for _, i := range infos {
			switch {
			case i.Protocol == nil:
				lines = append(lines, fmt.Sprintf("unknown protocol %X", i.OID))
			case i.Protocol.Kind == lds.KindPACE:
				on := fmt.Sprintf("parameters %d", i.Parameters)
				if c, ok := ec.ByID(i.Parameters); ok {
					on = c.Name
				}
				lines = append(lines, i.Protocol.Name+" on "+on)
			default:
				lines = append(lines, i.Protocol.Name)
			}
		}
		sec.Add(name, strings.Join(lines, "\n"))
	}
}
