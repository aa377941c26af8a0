package issue

import (
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/portrait"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// group is the content of a data group.
type group struct {
	number int
	data   []byte
}

// groups makes the data groups that follow from document, holder and persona; those with
// keys, 14 and 15, are not among them.
func (p *profile) groups() ([]group, error) {
	mrz := p.mrzText
	if p.has(DefectCheckDigit) {
		b := []byte(mrz)
		last := len(b) - 1
		if p.mrz.Format == lds.TD1 {
			last = 59
		}
		b[last] = '0' + (b[last]-'0'+1)%10
		mrz = string(b)
	}
	all := []group{{1, lds.DG1(mrz)}}
	add := func(n int, data []byte) { all = append(all, group{n, data}) }
	face, image, kind := p.face()
	add(2, lds.BuildBiometrics(2, []lds.Biometric{{
		Version: []byte{1, 1}, Type: []byte{lds.TypeFace}, Subtype: []byte{0}, Owner: lds.OwnerSC37, Format: lds.FormatFace,
		Data: lds.BuildFaces(p.faceRecord(face, image, kind)),
	}}, nil))
	if p.hasDG3 {
		add(3, lds.BuildBiometrics(3, p.fingerRecords(), derive(p.seed, "dg3", 16)))
	}
	if p.hasDG4 {
		add(4, lds.BuildBiometrics(4, nil, derive(p.seed, "dg4", 16)))
	}
	g := p.doc.Get("groups")
	if !g.Exists() {
		return all, nil
	}
	if g.Has("dg5") {
		add(5, lds.BuildImages(5, image))
	}
	if g.Has("dg7") {
		add(7, lds.BuildImages(7, portrait.Signature([]byte(p.seed))))
	}
	for _, n := range []int{11, 12} {
		if d := g.Get([]string{11: "dg11", 12: "dg12"}[n]); d.Exists() {
			details, err := readDetails(d, details[n])
			if err != nil {
				return nil, err
			}
			add(n, lds.BuildDetails(n, details))
		}
	}
	if d := g.Get("dg13"); d.Exists() {
		if c := d.Get("content"); c.Exists() {
			add(13, lds.DG13(c.Hex()))
		} else {
			add(13, lds.DG13(tlv.Append(nil, 0x53, pattern(int(d.Get("size").Int(1, 200000)))...)))
		}
	}
	if d := g.Get("dg16"); d.Exists() {
		var persons []lds.Person
		for _, i := range d.Items() {
			persons = append(persons, lds.Person{Recorded: i.Get("recorded").Text(), Name: i.Get("name").Text(), Telephone: i.Get("telephone").Text(), Address: i.Get("address").Text()})
		}
		add(16, lds.BuildPersons(persons))
	}
	return all, p.doc.Err()
}

// pattern is n octets that tell where one is: a big file is read in many pieces.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)
	}
	return b
}

// face is who the portrait shows, and the picture as a file.
func (p *profile) face() (*portrait.Portrait, []byte, byte) {
	if p.dg2Image == "jpeg2000" {
		face, image := portrait.JPEG2000()
		return face, image, lds.ImageJPEG2000
	}
	face := portrait.New([]byte(p.seed), p.mrz.Sex)
	quality := p.quality
	if quality == 0 {
		quality = portrait.Quality
	}
	return face, comments(face.JPEG(quality), p.padding), lds.ImageJPEG
}

// comments makes a file of JPEG n octets longer, by comments behind its JFIF marker
// (ISO/IEC 10918-1 B.2.4.5).
func comments(image []byte, n int) []byte {
	const head = 20
	var fill []byte
	for n >= 4 {
		k := min(n, 65000)
		if n-k > 0 && n-k < 4 {
			k -= 4
		}
		fill = append(fill, 0xFF, 0xFE, byte((k-2)>>8), byte(k-2))
		fill = append(fill, pattern(k-4)...)
		n -= k
	}
	return append(append(append([]byte(nil), image[:head]...), fill...), image[head:]...)
}

func (p *profile) faceRecord(face *portrait.Portrait, image []byte, kind byte) lds.Face {
	gender := map[string]byte{"M": 1, "F": 2}[p.mrz.Sex]
	return lds.Face{
		Gender: gender, Eyes: face.Eyes, Hair: face.Hair, Kind: 1, Type: kind, Width: portrait.Width, Height: portrait.Height, Colours: 1,
		Points: []lds.Point{ // centres of the pupils, MPEG-4 12.1 and 12.2 (ISO/IEC 19794-5:2005 5.6.3)
			{Type: 1, Code: 0xC1, X: portrait.LeftEyeX, Y: portrait.LeftEyeY}, {Type: 1, Code: 0xC2, X: portrait.RightEyeX, Y: portrait.RightEyeY},
		},
		Image: image,
	}
}

// fingerRecords are a left and a right pointer finger, one in a template (Doc 9303-10
// tables 51, 52).
func (p *profile) fingerRecords() (all []lds.Biometric) {
	for i, f := range []struct{ subtype, position byte }{{0x0A, 7}, {0x09, 2}} {
		if i >= p.fingers {
			break
		}
		record := lds.Fingers{
			Level: 31, Scale: 1, Scan: [2]uint16{500, 500}, Image: [2]uint16{500, 500}, Depth: 8, Compression: 3,
			Views: []lds.Finger{{Position: f.position, Count: 1, Number: 1, Width: portrait.FingerWidth, Height: portrait.FingerHeight, Image: portrait.Finger(derive(p.seed, "finger", 8+i))}},
		}
		all = append(all, lds.Biometric{Type: []byte{lds.TypeFinger}, Subtype: []byte{f.subtype}, Owner: lds.OwnerSC37, Format: lds.FormatFinger, Data: record.Build()})
	}
	return all
}

// detail is a word of the persona with its tag.
type detail struct {
	name string
	tag  tlv.Tag
}

// details are the elements of data groups 11 and 12 in the order of Doc 9303-10 tables
// 71 and 73.
var details = map[int][]detail{
	11: {
		{"full_name", lds.TagFullName}, {"other_names", lds.TagOtherName}, {"personal_number", lds.TagPersonalNumber}, {"birth", lds.TagDateOfBirth},
		{"place_of_birth", lds.TagPlaceOfBirth}, {"address", lds.TagAddress}, {"telephone", lds.TagTelephone}, {"profession", lds.TagProfession},
		{"title", lds.TagTitle}, {"summary", lds.TagSummary}, {"other_documents", lds.TagOtherDocuments}, {"custody", lds.TagCustody},
	},
	12: {
		{"authority", lds.TagAuthority}, {"issued", lds.TagIssued}, {"other_persons", lds.TagOtherPerson}, {"observations", lds.TagObservations},
		{"tax", lds.TagTax}, {"personalised", lds.TagPersonalised}, {"system", lds.TagSystem},
	},
}

func readDetails(d *sdk.Doc, names []detail) (all []lds.Detail, err error) {
	for _, n := range names {
		v := d.Get(n.name)
		switch v.Kind() {
		case sdk.List:
			for _, i := range v.Items() {
				all = append(all, lds.Detail{Tag: n.tag, Value: []byte(strings.ReplaceAll(i.Text(), " ", "<"))})
			}
		case sdk.Text:
			s := v.Text()
			if n.tag == lds.TagFullName { // fillers as in the machine readable zone
				s = strings.ReplaceAll(s, " ", "<")
			}
			all = append(all, lds.Detail{Tag: n.tag, Value: []byte(s)})
		}
	}
	return all, d.Err()
}
