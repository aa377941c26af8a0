package emv_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/payment/emv"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestParseDOL(t *testing.T) {
	dol, err := emv.ParseDOL(unhex(t, "9F02 06 95 05 9A 03 DF8101 02"))
	require.NoError(t, err)
	require.Equal(t, []emv.Entry{{Tag: 0x9F02, Len: 6}, {Tag: 0x95, Len: 5}, {Tag: 0x9A, Len: 3}, {Tag: 0xDF8101, Len: 2}}, dol)
	require.Equal(t, 16, emv.Length(dol))
	data := unhex(t, "000000001234 0102030405 261123 AABB")
	require.Equal(t, unhex(t, "0102030405"), emv.Find(dol, data, 0x95))
	require.Nil(t, emv.Find(dol, data, 0x9C))
	require.Nil(t, emv.Find(dol, data[:8], 0x95), "the data end before")
	for _, bad := range []string{"9F", "9F02", "95", "0005", "9F818101 01", "9F8181"} {
		_, err := emv.ParseDOL(unhex(t, bad))
		require.ErrorIs(t, err, emv.ErrDOL, bad)
	}
}

// TestFill: EMV Book 3 5.4.
func TestFill(t *testing.T) {
	for _, c := range []struct{ name, dol, value, want string }{
		{"as it is", "9F02 06", "000000001234", "000000001234"},
		{"numeric, too long, loses its beginning", "9F02 03", "000000001234", "001234"},
		{"numeric, too short, gets zeros in front", "9F02 08", "000000001234", "0000000000001234"},
		{"compressed, too short, gets FF behind", "5A 0A", "9999990000000014", "9999990000000014FFFF"},
		{"compressed, too long, loses its end", "5A 02", "9999990000000014", "9999"},
		{"binary, too short, gets zeros behind", "95 07", "0102030405", "01020304050000"},
		{"binary, too long, loses its end", "95 02", "0102030405", "0102"},
		{"text, too short, gets zeros behind", "9F4E 04", "4142", "41420000"},
		{"unknown", "DF01 03", "", "000000"},
	} {
		dol, err := emv.ParseDOL(unhex(t, c.dol))
		require.NoError(t, err)
		got := emv.Fill(dol, func(emv.Tag) []byte {
			if c.value == "" {
				return nil
			}
			return unhex(t, c.value)
		})
		require.Equal(t, strings.ToLower(c.want), hex.EncodeToString(got), c.name)
	}
}

// TestDictionary: every element can be what its format says, templates are elements, and
// none is there twice within one template.
func TestDictionary(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range emv.Elements() {
		id := fmt.Sprintf("%X in %X", uint32(e.Tag), e.Template)
		require.False(t, seen[id], id)
		seen[id] = true
		require.LessOrEqual(t, e.Min, e.Max, e.Name)
		require.NotEmpty(t, e.Book, e.Name)
		require.Contains(t, []string{"ICC", "terminal", "issuer", "issuer or terminal"}, e.Source, e.Name)
		require.Contains(t, []string{"n", "cn", "a", "an", "ans", "b", "var"}, e.Format, e.Name)
		for _, in := range e.Template {
			_, ok := emv.Lookup(in)
			require.True(t, ok, "%s: template %X", e.Name, uint32(in))
		}
	}
	// What a terminal sends is filled as its format says.
	for _, e := range emv.Elements() {
		if common, _ := emv.Lookup(e.Tag); common.Name != e.Name {
			continue
		}
		got := hex.EncodeToString(emv.Fill([]emv.Entry{{Tag: e.Tag, Len: 3}}, func(emv.Tag) []byte { return []byte{0x12} }))
		want := map[string]string{"n": "000012", "cn": "12ffff"}[e.Format]
		if want == "" {
			want = "120000"
		}
		require.Equal(t, want, got, e.Name)
	}
}

func TestLookupIn(t *testing.T) {
	for _, c := range []struct {
		tag, template emv.Tag
		want          string
	}{
		{0x82, 0x77, "Application Interchange Profile"},
		{0x82, 0xA1, "Biometric Subtype"},
		{0x82, 0, "Application Interchange Profile"},
		{0xDF50, 0xBF4C, "Facial Try Counter"},
		{0xDF50, 0xBF4D, "Preferred Facial Attempts"},
	} {
		e, ok := emv.LookupIn(c.tag, c.template)
		require.True(t, ok)
		require.Equal(t, c.want, e.Name)
	}
	_, ok := emv.LookupIn(0xDF7F, 0x70)
	require.False(t, ok)
	require.Equal(t, "unknown data element", emv.Name(0xDF7F))
}

// TestGuestHasNoDictionary: a bundle that fills and reads lists does not carry names and
// words for people.
func TestGuestHasNoDictionary(t *testing.T) {
	spb, err := bundles.Open("payment")
	if errors.Is(err, bundles.ErrNone) {
		return // not built, as on a fresh clone: make bundles
	}
	require.NoError(t, err)
	require.Contains(t, string(spb), emv.ErrDOL.Error(), "the bundle reads lists")
	for _, s := range []string{"Merchant Category Code", "ICC data missing", "pound sterling", "unattended cash"} {
		require.NotContains(t, string(spb), s)
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		tag   emv.Tag
		value string
		want  []string
	}{
		{0x95, "8000000000", []string{"offline data authentication was not performed"}},
		{0x95, "0000000040", []string{"issuer authentication failed"}},
		{0x82, "2001", []string{"DDA supported", "relay resistance protocol supported"}},
		{0x9B, "0001", []string{"byte 2 bit 1, reserved"}},
		{0x82, "8000", []string{"XDA supported"}},
		{0x9F27, "80", []string{"ARQC: go online"}},
		{0x9F27, "02", []string{"AAC: declined, PIN try limit exceeded"}},
		{0x5A, "9999990000000014", []string{"999999******0014"}},
		{0x57, "9999990000000014D35122010000", []string{"999999******0014, expires 12/2035, service code 201"}},
		{0x9F02, "000000001005", []string{"10.05"}},
		{0x9F02, "000000000000", []string{"0.00"}},
		{0x5F2A, "0978", []string{"euro"}},
		{0x94, "08010100 10010201", []string{"file 1, records 1 to 1, 0 of them signed", "file 2, records 1 to 2, 1 of them signed"}},
		{0x8E, "00000000 00000000 4103 1F00", []string{"plaintext PIN by ICC, if the terminal supports it; else the next one", "no CVM required, always"}},
		{0x9F34, "010302", []string{"plaintext PIN by ICC, if the terminal supports it: successful"}},
		{0x9F38, "9F3704", []string{"9F37 (4): Unpredictable Number"}},
		{0x9F38, "9F37", []string{emv.ErrDOL.Error()}},
		{0x8E, "000003E8 00000000 0206", []string{"X is 1000", "enciphered PIN online, if in application currency and under X"}},
		{0x9F34, "3F0001", []string{"no CVM performed, always: failed"}},
		{0x9F34, "3F0003", []string{"no CVM performed, always: result 03"}},
		{0x9F33, "604820", []string{"magnetic stripe", "IC with contacts", "enciphered PIN online", "no CVM required", "card capture"}},
		{0x9F40, "4000A00001", []string{"goods", "numeric keys", "command keys", "code table 1"}},
		{0x9F35, "22", []string{"attended, offline with online capability, operated by the merchant"}},
		{0x9F35, "07", []string{"reserved"}},
		{0x9F66, "27000000", []string{"EMV mode supported", "online PIN supported", "signature supported", "offline data authentication for online supported"}},
		{0x9F6C, "2800", []string{"go online if offline data authentication fails", "go online if application expired"}},
		{0x9F07, "FFC0", []string{"valid for domestic cash", "valid for international cash", "valid for domestic goods", "valid for international goods", "valid for domestic services", "valid for international services", "valid at ATMs", "valid at terminals other than ATMs", "domestic cashback allowed", "international cashback allowed"}},
		{0x9F5B, "2000000001 1300000002", []string{"script successful, identifier 00000001", "script failed at command 3, identifier 00000002"}},
		{0x9F10, "06010A03A00000", []string{"cryptogram version 10, derivation key index 01"}},
		{0x9F10, "0102", nil},
		{0x8A, "5A33", []string{`"Z3", unable to go online, offline declined`}},
		{0x9C, "09", []string{"goods with cashback"}},
		{0x9F1A, "0276", []string{"Germany"}},
		{0x9F4D, "0B0A", []string{"file 11, 10 records"}},
		{0x9F6B, "9999990000000014D35122010000", []string{"999999******0014, expires 12/2035, service code 201"}},
		{0x56, "42393939393939303030303030303031345E544553545E33353132323031", []string{`999999******0014, "TEST", expires 12/2035, service code 201`}},
		{0x87, "81", []string{"priority 1", "cardholder has to confirm"}},
		{0x9F26, "0102030405060708", nil},
	} {
		require.Equal(t, c.want, emv.Words(c.tag, unhex(t, c.value)), "%X %s", uint32(c.tag), c.value)
	}
}

// TestNoPAN: whatever is printed of PAN and track 2 is masked, also when it is nonsense.
func TestNoPAN(t *testing.T) {
	lines, rest := emv.Lines(unhex(t, "70 18 5A 08 9999990000000014 57 0C 999999000000001435122010"))
	require.Empty(t, rest)
	for _, l := range lines {
		require.NotContains(t, l.Value, "990000000014")
		require.NotContains(t, strings.Join(l.Words, ""), "990000000014")
	}
	for _, c := range []struct {
		tag   emv.Tag
		value string
	}{{0x56, "42393939393939303030303030303031345E54"}, {0x57, "999999000000001435122010"}, {0x9F6B, "999999000000001435122010"}, {0x9F20, "99999900"}, {0x9F1F, "3939"}, {0x99, "1234"}} {
		require.Regexp(t, `^\*+$`, emv.Shown(c.tag, unhex(t, c.value)))
	}
}

func TestMaskPAN(t *testing.T) {
	for pan, want := range map[string]string{
		"9999990000000014": "999999******0014", "9999970000000000034": "999997*********0034", "99999900014": "999999*0014", "9999990014": "******0014", "123": "123", "": "",
	} {
		require.Equal(t, want, emv.MaskPAN(pan))
	}
}

// TestLinesIn: a tag means what it means within its template.
func TestLinesIn(t *testing.T) {
	lines, rest := emv.Lines(unhex(t, "7F60 08 A1 06 81 01 08 82 01 02"))
	require.Empty(t, rest)
	var names []string
	for _, l := range lines {
		names = append(names, fmt.Sprint(l.Depth, " ", l.Name, " ", l.Value, l.Words))
	}
	require.Equal(t, []string{"0 Biometric Information Template (BIT) []", "1 Biometric Header Template (BHT) []", "2 Biometric Type 08[]", "2 Biometric Subtype 02[]"}, names)
}

func TestFormat1(t *testing.T) {
	for _, c := range []struct {
		ins         byte
		value, want string
	}{
		{0xA8, "1800 08010100", "82 02 1800 94 04 08010100"},
		{0xA8, "18", ""},
		{0xAE, "80 0005 0102030405060708", "9F27 01 80 9F36 02 0005 9F26 08 0102030405060708"},
		{0xAE, "80 0005 0102030405060708 06010A", "9F27 01 80 9F36 02 0005 9F26 08 0102030405060708 9F10 03 06010A"},
		{0xAE, "80", ""},
		{0x88, "AABB", "9F4B 02 AABB"},
		{0xEA, "AABB", ""},
	} {
		require.Equal(t, strings.ToLower(strings.ReplaceAll(c.want, " ", "")), hex.EncodeToString(emv.Format1(c.ins, unhex(t, c.value))))
	}
}

func FuzzParseDOL(f *testing.F) {
	f.Add(unhex(f, "9F02069505"), []byte("data"))
	f.Fuzz(func(t *testing.T, b, data []byte) {
		dol, err := emv.ParseDOL(b)
		if err != nil {
			return
		}
		for _, e := range dol {
			if v := emv.Find(dol, data, e.Tag); v != nil {
				require.LessOrEqual(t, len(v), 255)
			}
		}
		require.Len(t, emv.Fill(dol, func(emv.Tag) []byte { return data }), emv.Length(dol))
	})
}

func FuzzLines(f *testing.F) {
	f.Add(unhex(f, "70045A029999"))
	f.Add(unhex(f, "8E0A000000000000000041039F34030103029406080101009F2701809F02060000000010009F3403010302"))
	f.Fuzz(func(_ *testing.T, b []byte) { emv.Lines(b) })
}
