package issue_test

import (
	"bytes"
	"image/jpeg"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
)

func file(t testing.TB, name string) string {
	b, err := os.ReadFile("../" + name)
	require.NoError(t, err)
	return string(b)
}

func fromYAML(t testing.TB, yaml string) (*sdk.Doc, error) {
	return issue.FromYAML([]byte(yaml), "persona", []byte(file(t, "persona.schema.json")))
}

func document(t testing.TB, yaml string) *sdk.Doc {
	t.Helper()
	doc, err := fromYAML(t, yaml)
	require.NoError(t, err)
	return doc
}

func chip(t testing.TB, yaml string) *issue.Chip {
	t.Helper()
	c, err := issue.NewWith(document(t, yaml), issue.Native)
	require.NoError(t, err)
	return c
}

// minimal is the shortest persona of a document.
const minimal = `mrtd:
  document: {format: td3, state: UTO, number: X1, issued: "20260105", expires: "20360104"}
  holder: {surname: Eriksson, given_names: Anna Maria, nationality: UTO, sex: F, birth: "19740812"}
`

func find(t testing.TB, c *issue.Chip, name string) *issue.File {
	t.Helper()
	for i := range c.Files {
		if c.Files[i].Name() == name {
			return &c.Files[i]
		}
	}
	require.Fail(t, name+" is not on the chip")
	return nil
}

func has(c *issue.Chip, name string) bool {
	for i := range c.Files {
		if c.Files[i].Name() == name {
			return true
		}
	}
	return false
}

// TestDefault: everything is on the default document, each file where and as Doc 9303-10
// has it, and it is about 20 KiB.
func TestDefault(t *testing.T) {
	c := chip(t, file(t, "persona.yaml"))
	require.Equal(t, "L898902C3674081223601040", c.Passwords.MRZ)
	require.Equal(t, "123456", c.Passwords.CAN)
	require.True(t, c.BAC)
	require.Len(t, c.PACE, 5)
	require.Len(t, c.CA, 3)
	require.Equal(t, 12, c.AA.Parameters)
	require.Len(t, c.TA.TrustPoints, 1)
	require.Equal(t, [6]byte{2, 6, 0, 1, 0, 5}, c.TA.Date)

	var names []string
	size := 0
	for i := range c.Files {
		f := &c.Files[i]
		names = append(names, f.Name())
		size += len(f.Data)
		switch f.Name() {
		case "EF.ATR/INFO", "EF.DIR", "EF.CardAccess":
			require.Equal(t, issue.Always, f.Access)
			require.Equal(t, issue.MF, f.DF)
		case "EF.CardSecurity":
			require.Equal(t, issue.AfterPACE, f.Access)
			require.Equal(t, issue.MF, f.DF)
		case "DG3":
			require.Equal(t, issue.Extended, f.Access)
			require.Equal(t, issue.RightDG3, f.Right)
		default:
			require.Equal(t, issue.AfterAccess, f.Access)
			require.Equal(t, issue.LDS1, f.DF)
		}
	}
	require.Equal(t, []string{"EF.ATR/INFO", "EF.DIR", "EF.CardAccess", "EF.CardSecurity", "EF.COM", "EF.SOD", "EF.CVCA",
		"DG1", "DG2", "DG3", "DG7", "DG11", "DG12", "DG13", "DG14", "DG15", "DG16"}, names)
	require.InDelta(t, 24<<10, size, 4<<10)

	text, err := lds.ParseDG1(find(t, c, "DG1").Data)
	require.NoError(t, err)
	require.Equal(t, []string{"PPUTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F3601040ZE184226B<<<<<18"}, lds.Lines(text))
	com, err := lds.ParseCOM(find(t, c, "EF.COM").Data)
	require.NoError(t, err)
	require.Equal(t, lds.COM{LDS: "0108", Unicode: "040000", Groups: []int{1, 2, 3, 7, 11, 12, 13, 14, 15, 16}}, *com)

	b, err := lds.ParseBiometrics(2, find(t, c, "DG2").Data)
	require.NoError(t, err)
	faces, err := lds.ParseFaces(b[0].Data)
	require.NoError(t, err)
	image, err := jpeg.DecodeConfig(bytes.NewReader(faces[0].Image))
	require.NoError(t, err)
	require.Equal(t, []int{int(faces[0].Width), int(faces[0].Height)}, []int{image.Width, image.Height})
	require.Len(t, faces[0].Points, 2)

	b, err = lds.ParseBiometrics(3, find(t, c, "DG3").Data)
	require.NoError(t, err)
	fingers, err := lds.ParseFingers(b[0].Data)
	require.NoError(t, err)
	_, err = jpeg.Decode(bytes.NewReader(fingers.Views[0].Image))
	require.NoError(t, err)

	// What data group 14 says is what the chip can do.
	infos, err := lds.ParseDG14(find(t, c, "DG14").Data)
	require.NoError(t, err)
	count := map[lds.Kind]int{}
	for _, i := range infos {
		count[i.Protocol.Kind]++
	}
	require.Equal(t, map[lds.Kind]int{lds.KindPACE: 5, lds.KindCA: 3, lds.KindPublicKey: 3, lds.KindTA: 1, lds.KindAA: 1}, count)
	for _, k := range c.CA {
		curve, ok := ec.ByID(k.Parameters)
		require.True(t, ok)
		p, err := curve.Base(k.Private)
		require.NoError(t, err)
		require.Equal(t, p.Bytes(), k.Public)
		require.True(t, bytes.Contains(find(t, c, "DG14").Data, k.Public))
	}
	access, err := lds.ParseSecurityInfos("EF.CardAccess", find(t, c, "EF.CardAccess").Data)
	require.NoError(t, err)
	require.Len(t, access, 5)
	references, err := lds.ParseCVCA(find(t, c, "EF.CVCA").Data)
	require.NoError(t, err)
	require.Equal(t, []string{"UTCVCA00001"}, references)
}

// TestSame: the same persona is the same document; another seed is another one.
func TestSame(t *testing.T) {
	yaml := file(t, "persona.yaml")
	a, b := chip(t, yaml), chip(t, yaml)
	require.Equal(t, a, b)
	c := chip(t, strings.Replace(yaml, "seed: sspemu eID test", "seed: another", 1))
	for _, n := range []string{"DG2", "DG3", "DG7", "DG14", "DG15", "EF.SOD", "EF.CardSecurity"} {
		require.NotEqual(t, find(t, a, n).Data, find(t, c, n).Data, n)
	}
	require.Equal(t, find(t, a, "DG1").Data, find(t, c, "DG1").Data)
}

func TestMinimal(t *testing.T) {
	c := chip(t, minimal)
	require.Equal(t, "X1<<<<<<<474081223601040", c.Passwords.MRZ)
	require.Empty(t, c.PACE)
	require.Nil(t, c.AA)
	require.Nil(t, c.TA)
	for _, n := range []string{"EF.CardAccess", "EF.CardSecurity", "EF.CVCA", "DG14", "DG15"} {
		require.False(t, has(c, n), n)
	}
}

func TestVariants(t *testing.T) {
	t.Run("td1 with a long number", func(t *testing.T) {
		c := chip(t, strings.NewReplacer("td3", "td1", "X1", "D23145890734").Replace(minimal))
		text, err := lds.ParseDG1(find(t, c, "DG1").Data)
		require.NoError(t, err)
		require.Equal(t, "IDUTOD23145890<7349<<<<<<<<<<<", lds.Lines(text)[0])
		require.Equal(t, "D23145890734974081223601040", c.Passwords.MRZ)
	})
	t.Run("unknown day of birth, no sex", func(t *testing.T) {
		c := chip(t, strings.NewReplacer("19740812", "19740800", "sex: F, ", "").Replace(minimal))
		text, err := lds.ParseDG1(find(t, c, "DG1").Data)
		require.NoError(t, err)
		m, wrong, err := lds.ParseMRZ(text)
		require.NoError(t, err)
		require.Empty(t, wrong)
		require.Equal(t, "7408<<", m.Birth)
		require.Empty(t, m.Sex)
	})
	t.Run("big portrait", func(t *testing.T) {
		for _, n := range []string{"0", "3", "4", "64999", "65000", "65001", "65003", "65004", "100000"} {
			c := chip(t, minimal+"  groups: {dg2: {padding: "+n+"}}\n")
			b, err := lds.ParseBiometrics(2, find(t, c, "DG2").Data)
			require.NoError(t, err)
			faces, err := lds.ParseFaces(b[0].Data)
			require.NoError(t, err)
			_, err = jpeg.Decode(bytes.NewReader(faces[0].Image))
			require.NoError(t, err, n)
		}
		big, small := chip(t, minimal+"  groups: {dg2: {padding: 100000}}\n"), chip(t, minimal)
		require.InDelta(t, 100000, len(find(t, big, "DG2").Data)-len(find(t, small, "DG2").Data), 8)
	})
	t.Run("jpeg 2000", func(t *testing.T) {
		c := chip(t, minimal+"  groups: {dg2: {image: jpeg2000}, dg5: {}}\n")
		b, err := lds.ParseBiometrics(2, find(t, c, "DG2").Data)
		require.NoError(t, err)
		faces, err := lds.ParseFaces(b[0].Data)
		require.NoError(t, err)
		require.Equal(t, lds.ImageJPEG2000, faces[0].Type)
		images, err := lds.ParseImages(5, find(t, c, "DG5").Data)
		require.NoError(t, err)
		require.Equal(t, faces[0].Image, images[0])
	})
	t.Run("rsa active authentication", func(t *testing.T) {
		c := chip(t, minimal+"  active_authentication: rsa 1024 sha-1\n")
		require.Len(t, c.AA.P, 64)
		require.Zero(t, c.AA.Parameters)
		key, err := lds.ParseDG15(find(t, c, "DG15").Data)
		require.NoError(t, err)
		require.NotEmpty(t, key)
	})
	t.Run("old security object, every hash", func(t *testing.T) {
		for _, h := range []string{"sha-1", "sha-224", "sha-256", "sha-384", "sha-512"} {
			c := chip(t, minimal+"  lds: \"0107\"\n  hash: "+h+"\n")
			require.True(t, has(c, "EF.SOD"))
		}
	})
	t.Run("empty fingers and irises, a big data group 13", func(t *testing.T) {
		c := chip(t, minimal+"  chip_authentication: [aes-128 P-256]\n  extended_access: {}\n  groups: {dg3: {fingers: 0}, dg4: {}, dg13: {size: 40000}}\n")
		for i, n := range []string{"DG3", "DG4"} {
			b, err := lds.ParseBiometrics(3+i, find(t, c, n).Data)
			require.NoError(t, err)
			require.Empty(t, b)
		}
		require.Greater(t, len(find(t, c, "DG13").Data), 40000)
		require.Equal(t, -1, c.CA[0].ID, "the only key has no reference")
	})
}

// TestRefuses: what a schema cannot say.
func TestRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"  pace: [ecdh-gm aes-128 P-255]":                        "persona:4: /mrtd/pace/0: names a curve that there is not; there are P-224",
		"  pace: [dh-gm aes-128 P-256]":                          "/mrtd/pace/0: names a group that there is not",
		"  pace: [dh-cam aes-128 dh-2048-256]":                   "/mrtd/pace/0: is no protocol of Doc 9303-11 9.2.1: dh-cam with aes-128",
		"  pace: [ecdh-cam 3des P-256]":                          "/mrtd/pace/0: is no protocol",
		"  pace: [ecdh-gm aes-128 P-256, ecdh-gm aes-128 P-256]": "/mrtd/pace/1: is there twice",
		"  can: \"123456\"":                                      "/mrtd/can: is a password of PACE, and the document has no PACE",
		"  chip_authentication: [aes-128 P-1]":                   "/mrtd/chip_authentication/0: names a curve",
		"  active_authentication: rsa 4096 sha-1":                "/mrtd/active_authentication: has not 1024 to 2048 bits",
		"  extended_access: {}":                                  "/mrtd/extended_access: needs chip_authentication",
		"  groups: {dg3: {}}":                                    "/mrtd/groups/dg3: is read after terminal authentication only",
		"  groups: {dg13: {}}":                                   "/mrtd/groups/dg13: needs content or size",
		"  groups: {dg2: {image: jpeg2000, padding: 5}}":         "/mrtd/groups/dg2: has quality or padding",
		"  csca: {algorithm: rsa 2047 sha-256}":                  "/mrtd/csca/algorithm: has an RSA key of another length",
		"  csca: {from: \"20400101\"}":                           "/mrtd/csca/to: is not after",
		"  document_signer: {algorithm: dsa P-256 sha-256}":      "/mrtd/document_signer/algorithm",
		"  defects: [nonsense]":                                  "/mrtd/defects/0",
		"  bac: maybe":                                           "/mrtd/bac",
	} {
		_, err := fromYAML(t, minimal+in+"\n")
		require.ErrorContains(t, err, want, in)
	}
	for change, want := range map[string]string{
		"Eriksson/山":                        "/mrtd/holder/surname: has a letter that is not in the tables",
		"X1/X123456789":                     "/mrtd/document: a passport number has nine characters at most",
		"20360104/20250104":                 "/mrtd/document/expires: is not after the date of issue",
		"state: UTO,/state: UTO, code: ID,": "/mrtd/document/code: begins with P in a passport",
		"mrtd:/piv:":                        "/piv",
	} {
		from, to, _ := strings.Cut(change, "/")
		_, err := fromYAML(t, strings.Replace(minimal, from, to, 1))
		require.ErrorContains(t, err, want, change)
	}
	for in, want := range map[string]string{
		"  tamper: [{file: dg9, remove: true}]":          "/mrtd/tamper/0/file: is not on the chip",
		"  tamper: [{file: dg1, at: 93, write: \"00\"}]": "/mrtd/tamper/0: is about octets that the file does not have",
		"  tamper: [{file: dg1, at: -94, xor: \"00\"}]":  "/mrtd/tamper/0: is about octets that the file does not have",
	} {
		_, err := issue.NewWith(document(t, minimal+in+"\n"), issue.Native)
		require.ErrorContains(t, err, want, in)
	}
}

// TestTampered: each word does what it says, and nothing else.
func TestTampered(t *testing.T) {
	yaml := file(t, "persona.yaml")
	good := chip(t, yaml)
	with := func(line string) *issue.Chip {
		return chip(t, strings.Replace(yaml, "mrtd:\n", "mrtd:\n  "+line+"\n", 1))
	}
	differ := func(c *issue.Chip) (names []string) {
		for i := range c.Files {
			if f := &c.Files[i]; !bytes.Equal(f.Data, find(t, good, f.Name()).Data) {
				names = append(names, f.Name())
			}
		}
		return names
	}
	for _, c := range []struct {
		line  string
		files []string
	}{
		{`tamper: [{file: dg2, at: 4000, xor: "01"}]`, []string{"DG2"}},
		{`tamper: [{file: dg11, at: 1, write: "847FFFFFFF"}]`, []string{"DG11"}},
		{`tamper: [{file: sod, at: -100, truncate: true}]`, []string{"EF.SOD"}},
		{`tamper: [{file: com, content: "6000"}]`, []string{"EF.COM"}},
		{`tamper: [{file: cardaccess, at: 1, write: "00"}, {file: dir, at: -1, xor: "FF"}]`, []string{"EF.DIR", "EF.CardAccess"}},
		{"defects: [com-lists-more]", []string{"EF.COM"}},
		{"defects: [com-lists-less]", []string{"EF.COM"}},
		{"defects: [sod-lists-less]", []string{"EF.SOD"}},
		{"defects: [wrong-sod-signature]", []string{"EF.SOD"}},
		{"defects: [wrong-sod-country]", []string{"EF.CardSecurity", "EF.SOD"}},
		{"defects: [unknown-csca]", []string{"EF.CardSecurity", "EF.SOD"}},
		{"defects: [cardsecurity-differs]", []string{"EF.CardSecurity", "EF.SOD", "DG14"}},
		{"defects: [wrong-check-digit]", []string{"EF.SOD", "DG1"}},
		{"defects: [revoked-ds, wrong-ssc, cloned-aa, cloned-ca, cloned-cam]", nil},
	} {
		require.Equal(t, c.files, differ(with(c.line)), c.line)
	}
	require.False(t, has(with("tamper: [{file: dg16, remove: true}]"), "DG16"))
	require.Equal(t, []issue.Defect{issue.DefectSSC}, with("defects: [wrong-ssc]").Defects)

	cloned := with("defects: [cloned-aa, cloned-ca, cloned-cam]")
	require.NotEqual(t, good.AA.Private, cloned.AA.Private)
	require.NotEqual(t, good.CA[0].Private, cloned.CA[0].Private)
	require.NotEqual(t, good.CA[0].Public, cloned.CA[0].Public)
	require.NotEqual(t, good.PACE[4].Static, cloned.PACE[4].Static)
	require.Nil(t, cloned.PACE[0].Static)

	com, err := lds.ParseCOM(find(t, with("defects: [com-lists-more]"), "EF.COM").Data)
	require.NoError(t, err)
	require.Contains(t, com.Groups, 10)
}

// TestWords: the schema knows each defect that there is, and no other.
func TestWords(t *testing.T) {
	schema := file(t, "persona.schema.json")
	source := file(t, "issue/chip.go")
	list := schema[strings.Index(schema, `"enum": ["wrong-ssc"`):]
	list = list[:strings.Index(list, "]")]
	words := 0
	for _, line := range strings.Split(source, "\n") {
		if _, value, ok := strings.Cut(line, ` Defect = "`); ok {
			word, _, _ := strings.Cut(value, `"`)
			require.Contains(t, list, `"`+word+`"`)
			words++
		}
	}
	require.Equal(t, words, strings.Count(list, `"`)/2-1)
}
