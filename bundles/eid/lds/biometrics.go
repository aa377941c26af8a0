package lds

import "github.com/sspemu/sspemu/internal/tlv"

// Biometric is one biometric information template of data groups 2, 3 and 4 (Doc
// 9303-10 tables 44, 47, 54).
type Biometric struct {
	Version  []byte // 80, ICAO header version; nil: left out, like all of these
	Type     []byte // 81: 02 face, 08 fingerprint, 10 iris
	Subtype  []byte // 82: see SubtypeLeft
	Created  []byte // 83, 7 octets
	Validity []byte // 85, 8 octets
	Creator  []byte // 86
	Owner    uint16 // 87, format owner: 0101 is ISO/IEC JTC 1/SC 37
	Format   uint16 // 88, format type: FormatFace, FormatFinger
	Data     []byte // 5F2E or 7F2E
	Newer    bool   // 7F2E: encoded as ISO/IEC 39794
}

// Values of biometric headers (Doc 9303-10 tables 49, 51; ISO/IEC 19785 registrations).
const (
	OwnerSC37    uint16 = 0x0101
	FormatFace   uint16 = 0x0008 // ISO/IEC 19794-5:2005
	FormatFinger uint16 = 0x0007 // ISO/IEC 19794-4:2005
	FormatIris   uint16 = 0x0009 // ISO/IEC 19794-6:2005; unverified

	TypeFace   byte = 0x02
	TypeFinger byte = 0x08

	SubtypeRight byte = 0x01 // and the finger: 04 thumb, 08 pointer, 0C middle, 10 ring, 14 little
	SubtypeLeft  byte = 0x02
)

const (
	tagGroupTemplate tlv.Tag = 0x7F61
	tagBIT           tlv.Tag = 0x7F60
	tagBHT           tlv.Tag = 0xA1
	tagBDB           tlv.Tag = 0x5F2E
	tagBDBNewer      tlv.Tag = 0x7F2E
	tagRandom        tlv.Tag = 0x53
)

// BuildBiometrics is the content of data group 2, 3 or 4. random is what the issuer puts
// into an empty one, so that its hash tells nothing (Doc 9303-10 4.7.3.2.2).
func BuildBiometrics(group int, all []Biometric, random []byte) []byte {
	inner := tlv.Append(nil, tagInteger, byte(len(all)))
	for i := range all {
		b := &all[i]
		var head []byte
		for _, f := range []struct {
			tag   tlv.Tag
			value []byte
		}{{0x80, b.Version}, {0x81, b.Type}, {0x82, b.Subtype}, {0x83, b.Created}, {0x85, b.Validity}, {0x86, b.Creator}} {
			if f.value != nil {
				head = tlv.Append(head, f.tag, f.value...)
			}
		}
		head = tlv.Append(head, 0x87, byte(b.Owner>>8), byte(b.Owner))
		head = tlv.Append(head, 0x88, byte(b.Format>>8), byte(b.Format))
		t := tagBDB
		if b.Newer {
			t = tagBDBNewer
		}
		inner = append(inner, seq(tagBIT, seq(tagBHT, head), seq(t, b.Data))...)
	}
	out := seq(tagGroupTemplate, inner)
	if len(all) == 0 {
		out = tlv.Append(out, tagRandom, random...)
	}
	return seq(GroupTag(group), out)
}

// ParseBiometrics reads data group 2, 3 or 4.
func ParseBiometrics(group int, file []byte) ([]Biometric, error) {
	what := groupName(group)
	v, err := Unwrap(what, file, GroupTag(group))
	if err != nil {
		return nil, err
	}
	if v, err = tlv.Find(v, tagGroupTemplate); err != nil {
		return nil, malformed(what, err)
	}
	count, err := tlv.Find(v, tagInteger)
	if err != nil {
		return nil, malformed(what, err)
	}
	all := []Biometric{}
	r := tlv.Read(v)
	for r.Next() {
		if r.Tag != tagBIT {
			continue
		}
		b, err := parseBIT(what, r.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	if err := r.Err(); err != nil {
		return nil, malformed(what, err)
	}
	if n, ok := number(count); !ok || n != len(all) {
		return nil, bad(what, "has another number of templates than it says")
	}
	return all, nil
}

func parseBIT(what string, v []byte) (b Biometric, err error) {
	head, err := tlv.Find(v, tagBHT)
	if err != nil {
		return b, malformed(what, err)
	}
	two := func(v []byte) uint16 {
		if len(v) != 2 {
			err = bad(what, "the format is not two octets")
			return 0
		}
		return uint16(v[0])<<8 | uint16(v[1])
	}
	r := tlv.Read(head)
	for r.Next() {
		switch r.Tag {
		case 0x80:
			b.Version = r.Value
		case 0x81:
			b.Type = r.Value
		case 0x82:
			b.Subtype = r.Value
		case 0x83:
			b.Created = r.Value
		case 0x85:
			b.Validity = r.Value
		case 0x86:
			b.Creator = r.Value
		case 0x87:
			b.Owner = two(r.Value)
		case 0x88:
			b.Format = two(r.Value)
		}
	}
	if r.Err() != nil {
		return b, malformed(what, r.Err())
	}
	if err != nil {
		return b, err
	}
	if b.Data, err = tlv.Find(v, tagBDB); err == nil {
		return b, nil
	}
	b.Newer = true
	if b.Data, err = tlv.Find(v, tagBDBNewer); err != nil {
		return b, malformed(what, err)
	}
	return b, nil
}

func groupName(n int) string {
	if n > 9 {
		return "DG1" + string('0'+rune(n-10))
	}
	return "DG" + string('0'+rune(n))
}

// Face is one image of a face with what is told about it (ISO/IEC 19794-5:2005 5.5 to
// 5.8).
type Face struct {
	Gender      byte // 0 unspecified, 1 male, 2 female, FF unknown
	Eyes        byte // 1 black, 2 blue, 3 brown, 4 gray, 5 green, 6 multi-coloured, 7 pink
	Hair        byte // 1 bald, 2 black, 3 blonde, 4 brown, 5 gray, 6 white, 7 red, 8 green, 9 blue
	Properties  uint32
	Expression  uint16
	Pose        [3]byte // yaw, pitch, roll
	Uncertainty [3]byte
	Points      []Point
	Kind        byte // 0 basic, 1 full frontal, 2 token frontal
	Type        byte // ImageJPEG, ImageJPEG2000
	Width       uint16
	Height      uint16
	Colours     byte // 0 unspecified, 1 sRGB, 2 YUV 4:2:2, 3 grey
	Source      byte // 0 unspecified, 2 digital camera, ...
	Device      uint16
	Quality     uint16
	Image       []byte
}

// Point is a feature point: where an eye or the nose is.
type Point struct {
	Type, Code byte
	X, Y       uint16
}

// Types of image data in a face record (ISO/IEC 19794-5:2005 5.7.2).
const (
	ImageJPEG     byte = 0
	ImageJPEG2000 byte = 1
)

// faceHead is the identifier of the format and its version.
const faceHead = "FAC\x00010\x00"

func put16(b []byte, n uint16) []byte { return append(b, byte(n>>8), byte(n)) }
func put32(b []byte, n uint32) []byte { return put16(put16(b, uint16(n>>16)), uint16(n)) }

// BuildFaces is a facial record (ISO/IEC 19794-5:2005 5.4).
func BuildFaces(faces ...Face) []byte {
	var body []byte
	for i := range faces {
		f := &faces[i]
		body = put32(body, uint32(20+8*len(f.Points)+12+len(f.Image)))
		body = put16(body, uint16(len(f.Points)))
		body = append(body, f.Gender, f.Eyes, f.Hair, byte(f.Properties>>16), byte(f.Properties>>8), byte(f.Properties))
		body = put16(body, f.Expression)
		body = append(append(body, f.Pose[:]...), f.Uncertainty[:]...)
		for _, p := range f.Points {
			body = append(put16(put16(append(body, p.Type, p.Code), p.X), p.Y), 0, 0)
		}
		body = append(body, f.Kind, f.Type)
		body = append(put16(put16(body, f.Width), f.Height), f.Colours, f.Source)
		body = append(put16(put16(body, f.Device), f.Quality), f.Image...)
	}
	b := append([]byte(nil), faceHead...)
	b = put32(b, uint32(14+len(body)))
	return append(put16(b, uint16(len(faces))), body...)
}

// reader takes octets off a record; after the end it gives zeros and short is set.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short, r.b = true, nil
		return make([]byte, min(max(n, 0), 8))
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte { return r.take(1)[0] }
func (r *reader) u16() uint16 {
	v := r.take(2)
	return uint16(v[0])<<8 | uint16(v[1])
}
func (r *reader) u32() uint32 {
	hi := r.u16()
	return uint32(hi)<<16 | uint32(r.u16())
}

// ParseFaces reads a facial record.
func ParseFaces(record []byte) ([]Face, error) {
	const what = "face record"
	if len(record) < 14 || string(record[:len(faceHead)]) != faceHead {
		return nil, bad(what, "does not begin with FAC and version 010 (ISO/IEC 19794-5:2005)")
	}
	r := reader{b: record[len(faceHead):]}
	if n := r.u32(); uint64(n) != uint64(len(record)) {
		return nil, bad(what, "is not as long as it says")
	}
	count := int(r.u16())
	var faces []Face
	for range count {
		whole := len(r.b)
		var f Face
		length := int64(r.u32())
		points := int(r.u16())
		f.Gender, f.Eyes, f.Hair = r.u8(), r.u8(), r.u8()
		f.Properties = uint32(r.u8())<<16 | uint32(r.u16())
		f.Expression = r.u16()
		copy(f.Pose[:], r.take(3))
		copy(f.Uncertainty[:], r.take(3))
		for i := 0; i < points && !r.short; i++ {
			f.Points = append(f.Points, Point{r.u8(), r.u8(), r.u16(), r.u16()})
			r.take(2)
		}
		f.Kind, f.Type = r.u8(), r.u8()
		f.Width, f.Height, f.Colours, f.Source = r.u16(), r.u16(), r.u8(), r.u8()
		f.Device, f.Quality = r.u16(), r.u16()
		rest := length - int64(whole-len(r.b))
		if r.short || rest < 0 || rest > int64(len(r.b)) {
			return nil, bad(what, "an image is longer than the record")
		}
		f.Image = r.take(int(rest))
		faces = append(faces, f)
	}
	if len(r.b) > 0 {
		return nil, bad(what, "has octets behind its images")
	}
	return faces, nil
}

// Fingers is a finger image record (ISO/IEC 19794-4:2005 7).
type Fingers struct {
	Device      uint16
	Level       uint16 // acquisition level, 31: 500 pixels an inch
	Scale       byte   // 1 pixels an inch, 2 a centimetre
	Scan, Image [2]uint16
	Depth       byte
	Compression byte // 0 and 1 none, 2 WSQ, 3 JPEG, 4 JPEG 2000, 5 PNG
	Views       []Finger
}

// Finger is one image of a finger.
type Finger struct {
	Position   byte // 1 to 5 right thumb to little finger, 6 to 10 left
	Count      byte // views of this finger
	Number     byte
	Quality    byte
	Impression byte
	Width      uint16
	Height     uint16
	Image      []byte
}

const fingerHead = "FIR\x00010\x00"

// Build is the record.
func (f *Fingers) Build() []byte {
	n := 32
	for i := range f.Views {
		n += 14 + len(f.Views[i].Image)
	}
	b := append([]byte(nil), fingerHead...)
	b = put32(put16(b, 0), uint32(n))
	b = put16(put16(b, f.Device), f.Level)
	b = append(b, byte(len(f.Views)), f.Scale)
	for _, r := range [][2]uint16{f.Scan, f.Image} {
		b = put16(put16(b, r[0]), r[1])
	}
	b = append(b, f.Depth, f.Compression, 0, 0)
	for i := range f.Views {
		v := &f.Views[i]
		b = put32(b, uint32(14+len(v.Image)))
		b = append(b, v.Position, v.Count, v.Number, v.Quality, v.Impression)
		b = append(put16(put16(b, v.Width), v.Height), 0)
		b = append(b, v.Image...)
	}
	return b
}

// ParseFingers reads a finger image record.
func ParseFingers(record []byte) (*Fingers, error) {
	const what = "finger record"
	if len(record) < 32 || string(record[:len(fingerHead)]) != fingerHead {
		return nil, bad(what, "does not begin with FIR and version 010 (ISO/IEC 19794-4:2005)")
	}
	r := reader{b: record[len(fingerHead):]}
	if high, low := r.u16(), r.u32(); high != 0 || uint64(low) != uint64(len(record)) {
		return nil, bad(what, "is not as long as it says")
	}
	f := &Fingers{Device: r.u16(), Level: r.u16()}
	count := int(r.u8())
	f.Scale = r.u8()
	f.Scan, f.Image = [2]uint16{r.u16(), r.u16()}, [2]uint16{r.u16(), r.u16()}
	f.Depth, f.Compression = r.u8(), r.u8()
	r.take(2)
	for range count {
		length := int64(r.u32())
		v := Finger{Position: r.u8(), Count: r.u8(), Number: r.u8(), Quality: r.u8(), Impression: r.u8(), Width: r.u16(), Height: r.u16()}
		r.u8()
		if r.short || length < 14 || length-14 > int64(len(r.b)) {
			return nil, bad(what, "an image is longer than the record")
		}
		v.Image = r.take(int(length - 14))
		f.Views = append(f.Views, v)
	}
	if len(r.b) > 0 {
		return nil, bad(what, "has octets behind its images")
	}
	return f, nil
}

const (
	tagPortrait  tlv.Tag = 0x5F40
	tagSignature tlv.Tag = 0x5F43
)

// BuildImages is the content of data group 5 (portraits) or 7 (signatures or usual
// marks): images as files of JPEG or JPEG 2000 (Doc 9303-10 tables 58, 62).
func BuildImages(group int, images ...[]byte) []byte {
	b := tlv.Append(nil, tagInteger, byte(len(images)))
	for _, i := range images {
		b = tlv.Append(b, imageTag(group), i...)
	}
	return seq(GroupTag(group), b)
}

func imageTag(group int) tlv.Tag {
	if group == 5 {
		return tagPortrait
	}
	return tagSignature
}

// ParseImages reads data group 5 or 7.
func ParseImages(group int, file []byte) ([][]byte, error) {
	what := groupName(group)
	v, err := Unwrap(what, file, GroupTag(group))
	if err != nil {
		return nil, err
	}
	count, err := tlv.Find(v, tagInteger)
	if err != nil {
		return nil, malformed(what, err)
	}
	var images [][]byte
	r := tlv.Read(v)
	for r.Next() {
		if r.Tag == imageTag(group) {
			images = append(images, r.Value)
		}
	}
	if r.Err() != nil {
		return nil, malformed(what, r.Err())
	}
	if n, ok := number(count); !ok || n != len(images) {
		return nil, bad(what, "has another number of images than it says")
	}
	return images, nil
}
