package t1_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport/t1"
)

var (
	lrc   = t1.Format{}
	crc   = t1.Format{EDC: t1.CRC}
	prime = t1.Format{Wide: true, EDC: t1.CRCX25}
	older = t1.UM11225.Format
)

// unhex reads hexadecimal with blanks.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(s, " ", ""), "|", ""))
	require.NoError(t, err, s)
	return b
}

// Blocks that other implementations have made.
func TestKnownBlocks(t *testing.T) {
	for _, c := range []struct {
		format t1.Format
		hex    string
		want   string
	}{
		// Infineon's tests of T=1' and what follows from its algorithm
		{prime, "21 80 0000 | 63DA", "R(0)"},
		{prime, "21 C1 0002 0102 | B985", "S(IFS request) 01 02"},
		{prime, "21 C4 0000 | 06CD", "S(CIP request)"},
		{prime, "21 CF 0000 | 2F6B", "S(SWR request)"},
		{prime, "21 C0 0000 | 65AC", "S(RESYNCH request)"},
		{prime, "5A C4 0000 | 9C9D", "S(CIP request)"},
		// seen between Debian's libccid and a card with T=1 and CRC
		{crc, "00 C1 01 FE | 544E", "S(IFS request) FE"},
		{crc, "00 E1 01 FE | 5775", "S(IFS response) FE"},
		{crc, "00 00 05 00A4000000 | B8DA", "I(0,0) 00 A4 00 00 00"},
		{crc, "00 90 00 | 206E", "R(1)"},
		{crc, "00 60 07 00028A01AA9000 | A633", "I(1,1) 00 02 8A 01 AA 90 00"},
		{crc, "00 80 00 | B5FF", "R(0)"},
		{crc, "00 00 00 | 3933", "I(0,0)"},
		// T=1 with LRC
		{lrc, "12 C0 00 | D2", "S(RESYNCH request)"},
		{lrc, "21 E0 00 | C1", "S(RESYNCH response)"},
		{lrc, "12 E3 01 1E | EE", "S(WTX response) 1E"},
		{lrc, "21 92 00 | B3", "R(1) other error"},
	} {
		b := unhex(t, c.hex)
		require.Equal(t, len(b), c.format.Size(b), c.hex)
		block, err := c.format.Parse(b)
		require.NoError(t, err, c.hex)
		require.Equal(t, c.want, block.String(), c.hex)
		require.Equal(t, b, c.format.Append(nil, block.NAD, block.PCB, block.INF), c.hex)
	}
	// UM11225 has LEN of one byte and the CRC bytes swapped.
	b := older.Append(nil, 0x5A, t1.Resynch, nil)
	require.Len(t, b, 5)
	x25 := t1.Format{EDC: t1.CRCX25}.Append(nil, 0x5A, t1.Resynch, nil)
	require.Equal(t, []byte{x25[4], x25[3]}, b[3:])
}

func TestWrongBlocks(t *testing.T) {
	for _, c := range []struct {
		format t1.Format
		hex    string
		want   error
	}{
		{prime, "", t1.ErrLength},
		{prime, "21 80 0000 63", t1.ErrLength},
		{prime, "21 80 0001 63DA", t1.ErrLength},
		{prime, "21 80 FFFF 63DA", t1.ErrLength},
		{prime, "21 81 0000 63DA", t1.ErrEDC},
		{prime, "21 80 0000 63DA 00", t1.ErrLength},
		{lrc, "12 C0 FF D2", t1.ErrLength},
		{lrc, "12 C0 00 D3", t1.ErrEDC},
		{crc, "00 80 00 FFB5", t1.ErrEDC},
	} {
		_, err := c.format.Parse(unhex(t, c.hex))
		require.ErrorIs(t, err, c.want, c.hex)
	}
}

func FuzzBlock(f *testing.F) {
	for _, s := range []string{"2180000063DA", "00C101FE544E", "12C000D2", "21C4000006CD", "5A"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	formats := []t1.Format{lrc, crc, prime, older}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, format := range formats {
			if len(b) >= format.Prologue() {
				require.LessOrEqual(t, format.Size(b), format.Max())
			}
			block, err := format.Parse(b)
			if err != nil {
				continue
			}
			require.NotEmpty(t, block.String())
			require.Equal(t, b, format.Append(nil, block.NAD, block.PCB, block.INF))
		}
	})
}
