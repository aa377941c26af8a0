package lds_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/tlv"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func protocol(t testing.TB, name string) lds.Protocol {
	for _, p := range lds.Protocols {
		if p.Name == name {
			return p
		}
	}
	t.Fatal(name)
	return lds.Protocol{}
}

// EF.COM as it is read in Doc 9303-11 appendix D.4.
func TestCOM(t *testing.T) {
	b := unhex(t, "60145F0104303130365F36063034303030305C026175")
	c := lds.COM{LDS: "0106", Unicode: "040000", Groups: []int{1, 2}}
	require.Equal(t, b, c.Build())
	got, err := lds.ParseCOM(append(b, 0, 0))
	require.NoError(t, err)
	require.Equal(t, c, *got)
	for in, want := range map[string]string{
		"":                   "EF.COM: is empty",
		"6114":               "EF.COM: tlv: the data object is longer",
		"610100":             "EF.COM: begins with another tag than 60",
		"6000":               "EF.COM: a data object that has to be there is missing",
		"60065F01033031375F": "EF.COM: 5F01 is not a version number",
	} {
		_, err := lds.ParseCOM(unhex(t, in))
		require.ErrorContains(t, err, want, in)
	}
}

func TestDG1(t *testing.T) {
	text := strings.ReplaceAll(specimens[0].text, "\n", "")
	b := lds.DG1(text)
	require.Equal(t, "615B5F1F58"+strings.ToUpper(hex.EncodeToString([]byte(text))), strings.ToUpper(hex.EncodeToString(b)))
	got, err := lds.ParseDG1(b)
	require.NoError(t, err)
	require.Equal(t, text, got)
}

// The example of Doc 9303-10 4.7.11 as its fifth edition printed it, with the length of
// its template mended (60 for 63).
func TestDG11(t *testing.T) {
	b := unhex(t, "6B605C0A5F0E5F115F425F125F135F0E0D534D4954483C3C4A4F484E3C4A5F110A414E59544F574E3C4D4E5F4217313233204D41504C452052443C414E59544F574E3C4D4E5F120B31363132353535313231325F130C54524156454C3C4147454E54")
	details := []lds.Detail{
		{Tag: lds.TagFullName, Value: []byte("SMITH<<JOHN<J")}, {Tag: lds.TagPlaceOfBirth, Value: []byte("ANYTOWN<MN")},
		{Tag: lds.TagAddress, Value: []byte("123 MAPLE RD<ANYTOWN<MN")}, {Tag: lds.TagTelephone, Value: []byte("16125551212")},
		{Tag: lds.TagProfession, Value: []byte("TRAVEL<AGENT")},
	}
	require.Equal(t, b, lds.BuildDetails(11, details))
	got, err := lds.ParseDetails(11, b)
	require.NoError(t, err)
	require.Equal(t, details, got)

	names := []lds.Detail{{Tag: lds.TagOtherName, Value: []byte("BROWN<<JOHN")}, {Tag: lds.TagOtherName, Value: []byte("GREEN<<JOHN")}, {Tag: lds.TagTitle, Value: []byte("DR")}}
	b = lds.BuildDetails(11, names)
	require.Equal(t, unhex(t, "6B2C 5C045F0F5F14 A01F 020102 5F0F0B42524F574E3C3C4A4F484E 5F0F0B475245454E3C3C4A4F484E 5F14024452"), b)
	got, err = lds.ParseDetails(11, b)
	require.NoError(t, err)
	require.Equal(t, names, got)
	_, err = lds.ParseDetails(12, lds.BuildDetails(12, names)[:10])
	require.Error(t, err)
	_, err = lds.ParseDetails(12, unhex(t, "6C045C025F19"))
	require.ErrorContains(t, err, "DG12: lists 5F19, which is not there")
}

func TestDG16(t *testing.T) {
	persons := []lds.Person{{"20260101", "SMITH<<CHARLES", "+1 555 0100", "123 Maple Rd, Anytown"}, {"20260102", "BROWN<<MARY", "+1 555 0101", "49 Reddin Ave"}}
	b := lds.BuildPersons(persons)
	require.Equal(t, unhex(t, "7081 80 020102 A1"), b[:7])
	got, err := lds.ParsePersons(b)
	require.NoError(t, err)
	require.Equal(t, persons, got)
	b[5] = 3
	_, err = lds.ParsePersons(b)
	require.ErrorContains(t, err, "another number of persons")
}

// Doc 9303-10 table 50 and table 51.
func TestBiometrics(t *testing.T) {
	b := lds.BuildBiometrics(3, nil, unhex(t, "0123456789ABCDEF"))
	require.Equal(t, unhex(t, "6310 7F6103020100 53080123456789ABCDEF"), b)
	got, err := lds.ParseBiometrics(3, b)
	require.NoError(t, err)
	require.Empty(t, got)

	one := lds.Biometric{Type: []byte{lds.TypeFinger}, Subtype: []byte{0x0A}, Owner: lds.OwnerSC37, Format: lds.FormatFinger, Data: []byte("FIR")}
	b = lds.BuildBiometrics(3, []lds.Biometric{one}, nil)
	require.Equal(t, unhex(t, "631F 7F611C 020101 7F6016 A10E 810108 82010A 87020101 88020007 5F2E03464952"), b)
	got, err = lds.ParseBiometrics(3, b)
	require.NoError(t, err)
	require.Equal(t, []lds.Biometric{one}, got)

	b = bytes.Replace(b, []byte{2, 1, 1}, []byte{2, 1, 2}, 1)
	_, err = lds.ParseBiometrics(3, b)
	require.ErrorContains(t, err, "DG3: has another number of templates than it says")
}

func TestFaces(t *testing.T) {
	f := lds.Face{
		Gender: 2, Eyes: 2, Hair: 4, Properties: 0x000001, Expression: 1, Pose: [3]byte{1, 2, 3}, Uncertainty: [3]byte{4, 5, 6},
		Points: []lds.Point{{1, 0xC1, 100, 200}, {1, 0xC2, 300, 201}}, Kind: 1, Type: lds.ImageJPEG, Width: 413, Height: 531, Colours: 1, Source: 2, Device: 7, Quality: 9,
		Image: []byte("JPEG"),
	}
	b := lds.BuildFaces(f)
	require.Equal(t, unhex(t, "46414300 30313000 00000042 0001"+"00000034 0002 02 02 04 000001 0001 010203 040506"+
		"01C1006400C80000 01C2012C00C90000"+"01 00 019D 0213 01 02 0007 0009"+"4A504547"), b)
	got, err := lds.ParseFaces(b)
	require.NoError(t, err)
	require.Equal(t, []lds.Face{f}, got)
	for n := range b {
		_, err := lds.ParseFaces(b[:n])
		require.Error(t, err)
	}
}

func TestFingers(t *testing.T) {
	f := lds.Fingers{Level: 31, Scale: 1, Scan: [2]uint16{500, 500}, Image: [2]uint16{500, 500}, Depth: 8, Compression: 3,
		Views: []lds.Finger{{Position: 7, Count: 1, Number: 1, Quality: 80, Width: 160, Height: 200, Image: []byte("JPEG")}}}
	b := f.Build()
	require.Equal(t, unhex(t, "46495200 30313000 000000000032 0000 001F 01 01 01F4 01F4 01F4 01F4 08 03 0000"+"00000012 07 01 01 50 00 00A0 00C8 00"+"4A504547"), b)
	got, err := lds.ParseFingers(b)
	require.NoError(t, err)
	require.Equal(t, f, *got)
	for n := range b {
		_, err := lds.ParseFingers(b[:n])
		require.Error(t, err)
	}
}

func TestImages(t *testing.T) {
	b := lds.BuildImages(7, []byte("JPEG"))
	require.Equal(t, unhex(t, "670A 020101 5F43044A504547"), b)
	got, err := lds.ParseImages(7, b)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("JPEG")}, got)
	got, err = lds.ParseImages(5, lds.BuildImages(5, []byte("1"), []byte("2")))
	require.NoError(t, err)
	require.Len(t, got, 2)
}

// EF.CardAccess of Doc 9303-11 appendix G (PACE with generic mapping over
// brainpoolP256r1), and one of a German identity card with protocols that are not of Doc
// 9303.
func TestSecurityInfos(t *testing.T) {
	gm := protocol(t, "id-PACE-ECDH-GM-AES-CBC-CMAC-128")
	b := unhex(t, "31143012060A04007F0007020204020202010202010D")
	require.Equal(t, b, lds.BuildSecurityInfos(lds.PACEInfo(gm, 13)))
	infos, err := lds.ParseSecurityInfos("EF.CardAccess", b)
	require.NoError(t, err)
	require.Len(t, infos, 1)
	require.Equal(t, gm, *infos[0].Protocol)
	require.Equal(t, 2, infos[0].Version)
	require.Equal(t, 13, infos[0].Parameters)

	b = unhex(t, "318182300D060804007F00070202020201023012060A04007F000702020302020201020201413012060A04007F0007020204020202010202010D301C060904007F000702020302300C060704007F0007010202010D020141302B060804007F0007020206161F655041202D2042447220476D6248202D20546573746B617274652076322E3004491715411928800A01B421FA07000000000000000000000000000000000000201010291010")
	infos, err = lds.ParseSecurityInfos("EF.CardAccess", b)
	require.NoError(t, err)
	require.Len(t, infos, 5)
	require.Equal(t, lds.KindTA, infos[0].Protocol.Kind)
	require.Equal(t, "id-CA-ECDH-AES-CBC-CMAC-128", infos[1].Protocol.Name)
	require.Equal(t, 0x41, infos[1].KeyID)
	require.Nil(t, infos[3].Protocol, "chip authentication domain parameters")
	require.Nil(t, infos[4].Protocol, "card info")

	// The public key of chip authentication mapping, appendix I.
	b = unhex(t, "31643062060904007F0007020201023052300C060704007F0007010202010D034200041872709494399E7470A6431BE25E83EEE24FEA568C2ED28DB48E05DB3A610DC884D256A40E35EFCB59BF6753D3A489D28C7A4D973C2DA138A6E7A4A08F68E16F02010D")
	infos, err = lds.ParseSecurityInfos("EF.CardSecurity", b)
	require.NoError(t, err)
	require.Len(t, infos, 1)
	require.Equal(t, lds.KindPublicKey, infos[0].Protocol.Kind)
	require.Equal(t, 13, infos[0].KeyID)
	require.Equal(t, b, lds.BuildSecurityInfos(lds.ChipAuthenticationPublicKeyInfo(lds.ECDH, infos[0].PublicKey, 13)))
	public, err := pki.ParsePublicKey(infos[0].PublicKey)
	require.NoError(t, err)
	require.Equal(t, infos[0].PublicKey, public.Info(pki.Standardized))

	key := unhex(t, "3003 020101")
	ca := protocol(t, "id-CA-ECDH-AES-CBC-CMAC-256")
	b = lds.DG14(lds.BuildSecurityInfos(lds.ChipAuthenticationInfo(ca, 1), lds.ChipAuthenticationPublicKeyInfo(lds.ECDH, key, 1), lds.ChipAuthenticationInfo(ca, -1),
		lds.TerminalAuthenticationInfo(), lds.ActiveAuthenticationInfo(lds.PlainECDSA(256))))
	infos, err = lds.ParseDG14(b)
	require.NoError(t, err)
	require.Len(t, infos, 5)
	for _, i := range infos {
		switch i.Protocol.Kind {
		case lds.KindCA:
			require.Equal(t, 1, i.Version)
		case lds.KindPublicKey:
			require.Equal(t, key, i.PublicKey)
			require.Equal(t, 1, i.KeyID)
		case lds.KindAA:
			require.Equal(t, 256, lds.PlainECDSAHash(i.Signature))
		}
	}
	require.Zero(t, lds.PlainECDSAHash([]byte{1}))
	require.Nil(t, lds.PlainECDSA(7))

	for in, want := range map[string]string{
		"3000":                                   "DG14: begins with another tag than 31",
		"310102":                                 "tlv:",
		"31020400":                               "is no SEQUENCE",
		"31023000":                               "without protocol",
		"310E300C060A04007F00070202040202":       "malformed SecurityInfo",
		"31113011060A04007F00070202040202040102": "tlv:",
		"3112300F060A04007F000702020402020401020000": "malformed SecurityInfo",
	} {
		_, err := lds.ParseSecurityInfos("DG14", unhex(t, in))
		require.ErrorContains(t, err, want, in)
	}
}

func TestProtocolsAreUnique(t *testing.T) {
	for _, p := range lds.Protocols {
		q, ok := lds.ProtocolByOID(p.OID)
		require.True(t, ok)
		require.Equal(t, p, q)
	}
	require.Len(t, lds.Protocols, 4*4+3+2*4+4)
}

func TestSecurityObject(t *testing.T) {
	sha256 := unhex(t, "608648016503040201")
	o := lds.SecurityObject{Hash: sha256, Groups: []lds.GroupHash{{1, []byte{1, 2}}, {16, []byte{3}}}}
	b := o.Build()
	require.Equal(t, unhex(t, "3023 020100 300B 0609608648016503040201 3011 3007 020101 04020102 3006 020110 040103"), b)
	got, err := lds.ParseSecurityObject(b)
	require.NoError(t, err)
	require.Equal(t, o, *got)
	o.Version, o.LDS, o.Unicode = 1, "0108", "040000"
	b = o.Build()
	got, err = lds.ParseSecurityObject(b)
	require.NoError(t, err)
	require.Equal(t, o, *got)
	// With parameters NULL, as many documents have them.
	null := bytes.Replace(b, append([]byte{0x30, 0x0B}, b[7:18]...), append(append([]byte{0x30, 0x0D}, b[7:18]...), 5, 0), 1)
	null[1] += 2
	got, err = lds.ParseSecurityObject(null)
	require.NoError(t, err)
	require.Equal(t, o, *got)
	for n := range b {
		_, err := lds.ParseSecurityObject(b[:n])
		require.Error(t, err)
	}
	cms, err := lds.ParseSOD(lds.SOD([]byte{0x30, 0}))
	require.NoError(t, err)
	require.Equal(t, []byte{0x30, 0}, cms)
}

func TestFiles(t *testing.T) {
	a := lds.ATRInfo{Capabilities: lds.Capabilities, Command: 65535, Response: 65536}
	b := a.Build()
	require.Equal(t, unhex(t, "4703 8401E0 7F660A 020300FFFF 0203010000"), b)
	got, err := lds.ParseATRInfo(b)
	require.NoError(t, err)
	require.Equal(t, a, *got)
	_, err = lds.ParseATRInfo(unhex(t, "7F66020201"))
	require.Error(t, err)

	d := lds.DIR(lds.AID)
	require.Equal(t, unhex(t, "6109 4F07A0000002471001"), d)
	aids, err := lds.ParseDIR(d)
	require.NoError(t, err)
	require.Equal(t, [][]byte{lds.AID}, aids)

	c := lds.CVCA("UTCVCA00002", "UTCVCA00001")
	require.Len(t, c, 36)
	names, err := lds.ParseCVCA(c)
	require.NoError(t, err)
	require.Equal(t, []string{"UTCVCA00002", "UTCVCA00001"}, names)
	_, err = lds.ParseCVCA([]byte{0x42, 0})
	require.Error(t, err)

	require.Equal(t, tlv.Tag(0x70), lds.GroupTag(16))
	require.Zero(t, lds.GroupTag(17))
	require.Equal(t, 2, lds.GroupByTag(0x75))
	require.Zero(t, lds.GroupByTag(0x77))
	require.Equal(t, uint16(0x0110), lds.GroupFID(16))

	key, err := lds.ParseDG15(lds.DG15(unhex(t, "30020500")))
	require.NoError(t, err)
	require.Equal(t, unhex(t, "30020500"), key)
	_, err = lds.ParseDG15(unhex(t, "6F020500"))
	require.Error(t, err)
}

// FuzzFiles: every parser, on anything.
func FuzzFiles(f *testing.F) {
	face := lds.BuildFaces(lds.Face{Points: []lds.Point{{1, 2, 3, 4}}, Image: []byte("x")})
	fingers := (&lds.Fingers{Views: []lds.Finger{{Image: []byte("x")}}}).Build()
	object := (&lds.SecurityObject{Version: 1, Hash: []byte{1}, Groups: []lds.GroupHash{{1, []byte{1}}}, LDS: "0108", Unicode: "040000"}).Build()
	for _, b := range [][]byte{
		(&lds.COM{LDS: "0108", Unicode: "040000", Groups: []int{1, 2, 14}}).Build(), lds.DG1("P<UTO"), face, fingers, object,
		lds.BuildBiometrics(2, []lds.Biometric{{Type: []byte{2}, Owner: 0x101, Format: 8, Data: face}}, nil), lds.BuildBiometrics(3, nil, []byte{1}),
		lds.BuildImages(5, []byte("x")), lds.BuildImages(7, []byte("x")), lds.BuildDetails(11, []lds.Detail{{lds.TagOtherName, []byte("x")}, {lds.TagTitle, []byte("y")}}),
		lds.BuildDetails(12, []lds.Detail{{lds.TagAuthority, []byte("x")}}), lds.BuildPersons([]lds.Person{{"a", "b", "c", "d"}}), lds.DG15([]byte{0x30, 0}), lds.SOD([]byte{0x30, 0}),
		lds.DG14(lds.BuildSecurityInfos(lds.PACEInfo(lds.Protocols[0], 2), lds.ChipAuthenticationPublicKeyInfo(lds.DH, []byte{0x30, 0}, 1), lds.ActiveAuthenticationInfo([]byte{1}))),
		(&lds.ATRInfo{Command: 1, Response: 1}).Build(), lds.DIR(lds.AID), lds.CVCA("UTCVCA00001"),
	} {
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = lds.ParseCOM(b)
		_, _ = lds.ParseDG1(b)
		for _, g := range []int{2, 3, 4} {
			_, _ = lds.ParseBiometrics(g, b)
		}
		if faces, err := lds.ParseFaces(b); err == nil {
			require.NotNil(t, lds.BuildFaces(faces...))
		}
		if fingers, err := lds.ParseFingers(b); err == nil {
			require.Len(t, fingers.Build(), len(b))
		}
		for _, g := range []int{5, 7} {
			_, _ = lds.ParseImages(g, b)
		}
		for _, g := range []int{11, 12} {
			_, _ = lds.ParseDetails(g, b)
		}
		_, _ = lds.ParsePersons(b)
		_, _ = lds.ParseDG14(b)
		_, _ = lds.ParseDG15(b)
		_, _ = lds.ParseSecurityInfos("x", b)
		if o, err := lds.ParseSecurityObject(b); err == nil && o.Version < 2 {
			_, err := lds.ParseSecurityObject(o.Build())
			require.NoError(t, err)
		}
		_, _ = lds.ParseSOD(b)
		_, _ = lds.ParseATRInfo(b)
		_, _ = lds.ParseDIR(b)
		_, _ = lds.ParseCVCA(b)
	})
}
