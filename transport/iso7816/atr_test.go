package iso7816_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport/iso7816"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// ATRs of cards that are in use, as card lists publish them.
var realATRs = []struct {
	name, atr string
	inverse   bool
	protocols []byte
	history   string
}{
	{"UICC, T=0 and global bytes", "3B9F96801FC78031A073BE21136743200718000001A5", false, []byte{0}, "8031A073BE21136743200718000001"},
	{"identity card, T=0", "3B7F96000080318065B0850300EF120FFE829000", false, []byte{0}, "80318065B0850300EF120FFE829000"},
	{"identity card, T=0 then T=1", "3BFE1800008031FE454573744549442076657220312E30A8", false, []byte{0, 1}, "4573744549442076657220312E30"},
	{"identity card, T=0 with TC2", "3B9813400AA503010101AD1311", false, []byte{0}, "A503010101AD1311"},
	{"security key, T=1", "3BFC1300008131FE15597562696B65794E454F7233E1", false, []byte{1}, "597562696B65794E454F7233"},
	{"OpenPGP card, T=1 and global bytes", "3BDA18FF81B1FE751F030031F573C001600090001C", false, []byte{1}, "0031F573C00160009000"},
	{"contactless storage card", "3B8F8001804F0CA000000306030001000000006A", false, []byte{0, 1}, "804F0CA00000030603000100000000"},
	{"contactless card", "3B8180018080", false, []byte{0, 1}, "80"},
	{"bank card, inverse convention", "3F6525082204689000", true, []byte{0}, "2204689000"},
	{"the shortest", "3B00", false, []byte{0}, ""},
	{"the card of these tests", "3B80800101", false, []byte{0, 1}, ""},
}

func TestParseATR(t *testing.T) {
	for _, c := range realATRs {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.atr)
			a, err := iso7816.ParseATR(b)
			require.NoError(t, err)
			require.Equal(t, c.inverse, a.Inverse)
			require.Equal(t, c.protocols, a.Protocols())
			require.Equal(t, c.history, strings.ToUpper(hex.EncodeToString(a.Historical)))
			again, err := a.Bytes()
			require.NoError(t, err)
			require.Equal(t, b, again)
			var fields []byte
			for _, f := range a.Explain() {
				require.NotEmpty(t, f.Text, f.Name)
				fields = append(fields, f.Value...)
			}
			require.Equal(t, b, fields, "every byte is explained")
		})
	}
}

func TestParseATRRefuses(t *testing.T) {
	for _, c := range []struct {
		name, atr string
		want      error
	}{
		{"nothing", "", iso7816.ErrATRShort},
		{"TS only", "3B", iso7816.ErrATRShort},
		{"TS unknown", "3A00", iso7816.ErrATRTS},
		{"TA1 missing", "3B10", iso7816.ErrATRShort},
		{"TD1 missing", "3B80", iso7816.ErrATRShort},
		{"historical bytes missing", "3B0411", iso7816.ErrATRShort},
		{"TCK missing", "3B808001", iso7816.ErrATRShort},
		{"TCK wrong", "3B80800100", iso7816.ErrATRTCK},
		{"TCK where T=0 is alone", "3B0000", iso7816.ErrATRTrailing},
		{"bytes behind TCK", "3B8080010100", iso7816.ErrATRTrailing},
		{"T=15 first", "3B800F8F", iso7816.ErrATRFirst15},
		{"34 bytes", "3B" + strings.Repeat("00", 33), iso7816.ErrATRLong},
		{"a chain of TDs without end", "3B" + strings.Repeat("80", 32), iso7816.ErrATRShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := iso7816.ParseATR(unhex(t, c.atr))
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestATRBytes(t *testing.T) {
	both := iso7816.ATR{
		Groups: []iso7816.Group{
			{TA: new(byte(0x96))},
			{T: 0},
			{T: 1, TA: new(byte(0xFE)), TB: new(byte(0x45))},
			{T: 15, TA: new(byte(0xC7))},
		},
		Historical: []byte("sspemu"),
	}
	require.Equal(t, "3B 96 96 80 B1 FE 45 1F C7 73 73 70 65 6D 75 5F", both.String())
	require.Equal(t, []byte{0, 1}, both.Protocols())
	b, err := both.Bytes()
	require.NoError(t, err)
	back, err := iso7816.ParseATR(b)
	require.NoError(t, err)
	require.Equal(t, both, back)

	for _, c := range []struct {
		name string
		atr  iso7816.ATR
		want error
	}{
		{"16 historical bytes", iso7816.ATR{Historical: make([]byte, 16)}, iso7816.ErrATRHistorical},
		{"T=16", iso7816.ATR{Groups: []iso7816.Group{{}, {T: 16}}}, iso7816.ErrATRProtocol},
		{"T=15 first", iso7816.ATR{Groups: []iso7816.Group{{}, {T: 15}}}, iso7816.ErrATRFirst15},
		{"too many groups", iso7816.ATR{Groups: make([]iso7816.Group, 40)}, iso7816.ErrATRLong},
	} {
		_, err := c.atr.Bytes()
		require.ErrorIs(t, err, c.want, c.name)
		require.Equal(t, c.want.Error(), c.atr.String())
		require.Nil(t, c.atr.Explain())
	}
}

// TestATRExplain compares with testdata/atr.golden; UPDATE=1 writes it.
func TestATRExplain(t *testing.T) {
	odd := iso7816.ATR{
		Groups: []iso7816.Group{
			{TA: new(byte(0x7A)), TB: new(byte(1)), TC: new(byte(3))},
			{T: 0, TA: new(byte(0x81)), TB: new(byte(2)), TC: new(byte(0))},
			{T: 1, TA: new(byte(0)), TB: new(byte(0x21)), TC: new(byte(1))},
			{T: 14, TA: new(byte(0x55))},
			{T: 15, TA: new(byte(0x45)), TB: new(byte(0x80)), TC: new(byte(9))},
			{T: 15, TB: new(byte(0x01))},
		},
		Historical: []byte{0x00, 0x11, 0x22, 0x07, 0x90, 0x00},
	}
	list := []iso7816.ATR{odd, {Groups: []iso7816.Group{{}, {TA: new(byte(0x11))}}, Historical: []byte{0x10, 0x2F}}}
	for _, c := range realATRs {
		a, err := iso7816.ParseATR(unhex(t, c.atr))
		require.NoError(t, err)
		list = append(list, a)
	}
	var out strings.Builder
	for _, a := range list {
		out.WriteString(a.String() + "\n")
		for _, f := range a.Explain() {
			out.WriteString("  " + f.String() + "\n")
		}
		out.WriteString("\n")
	}
	const golden = "testdata/atr.golden"
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), out.String())
}

// What parses encodes to the same bytes and explains every one of them.
func FuzzATR(f *testing.F) {
	for _, c := range realATRs {
		f.Add(unhex(f, c.atr))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := iso7816.ParseATR(b)
		if err != nil {
			return
		}
		again, err := a.Bytes()
		require.NoError(t, err)
		require.Equal(t, b, again)
		var fields []byte
		for _, f := range a.Explain() {
			fields = append(fields, f.Value...)
		}
		require.Equal(t, b, fields)
	})
}
