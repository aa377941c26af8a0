package apdu_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/apdu"
)

func TestWords(t *testing.T) {
	for _, c := range []struct {
		sw   apdu.SW
		want string
	}{
		{0x9000, "ok"},
		{0x6100, "256 bytes more, GET RESPONSE fetches them"},
		{0x6101, "1 byte more, GET RESPONSE fetches them"},
		{0x611C, "28 bytes more, GET RESPONSE fetches them"},
		{0x6C00, "wrong Le, there are 256 bytes"},
		{0x6C0A, "wrong Le, there are 10 bytes"},
		{0x910B, "ok, a proactive command of 11 bytes waits for FETCH"},
		{0x9100, "ok, a proactive command waits for FETCH"},
		{0x9F10, "ok, 16 bytes of response data wait for GET RESPONSE"},
		{0x9201, "ok, after 1 internal retry"},
		{0x9203, "ok, after 3 internal retries"},
		{0x9240, "memory problem"},
		{0x9300, "toolkit is busy, try again later"},
		{0x9850, "INCREASE cannot be done, maximum reached"},
		{0x9862, "authentication error, incorrect MAC"},
		{0x6282, "end of file or record before Le bytes, or nothing found"},
		{0x6283, "selected file is deactivated"},
		{0x6210, "warning, the card has a query of 16 bytes"},
		{0x62FE, "warning, memory unchanged"},
		{0x63C0, "wrong, 0 tries left"},
		{0x63C1, "wrong, 1 try left"},
		{0x63CF, "wrong, 15 tries left"},
		{0x63EE, "warning, memory changed"},
		{0x6581, "memory problem"},
		{0x6601, "execution error, security problem"},
		{0x6700, "wrong length"},
		{0x6881, "logical channel not supported"},
		{0x6982, "security status not satisfied"},
		{0x69FE, "command not allowed"},
		{0x6A82, "file or application not found"},
		{0x6D00, "instruction not supported or invalid"},
		{0x6E00, "class not supported"},
		{0x6F00, "technical problem, no diagnosis"},
		{0x6001, "not a status word: NULL byte of T=0"},
		{0x98FF, "unknown status of an application"},
		{0x1234, "not a status word"},
	} {
		require.Equal(t, c.want, c.sw.Words(), "%04X", uint16(c.sw))
	}
}

func TestEveryStatusWordHasWords(t *testing.T) {
	for sw := range 0x10000 {
		require.NotEmpty(t, apdu.SW(sw).Words(), "%04X", sw)
	}
}

func TestINSName(t *testing.T) {
	for _, c := range []struct {
		cla, ins byte
		want     string
	}{
		{0x00, 0xA4, "SELECT"},
		{0x01, 0xB0, "READ BINARY"},
		{0x0C, 0xB1, "READ BINARY"},
		{0x00, 0x88, "AUTHENTICATE"},
		{0x80, 0xF2, "STATUS"},
		{0x80, 0x10, "TERMINAL PROFILE"},
		{0x00, 0x10, "PERFORM SCQL OPERATION"},
		{0x80, 0xAA, "TERMINAL CAPABILITY"},
		{0x80, 0x32, "INCREASE"},
		{0x80, 0xE2, "STORE DATA"},
		{0x00, 0xE2, "APPEND RECORD"},
		{0x80, 0xC2, "ENVELOPE"},
		{0x40, 0x70, "MANAGE CHANNEL"},
		{0xFF, 0xCA, ""},
		{0x00, 0x01, ""},
	} {
		require.Equal(t, c.want, apdu.INSName(c.cla, c.ins), "%02X %02X", c.cla, c.ins)
	}
}

func TestParse(t *testing.T) {
	long := make([]byte, 65535)
	for _, c := range []struct {
		name string
		in   []byte
		kase int
		nc   int
		ne   int
		ext  bool
		err  error
	}{
		{"1", []byte{0, 0xA4, 0, 0}, 1, 0, 0, false, nil},
		{"2S", []byte{0, 0xB0, 0, 0, 10}, 2, 0, 10, false, nil},
		{"2S, 256", []byte{0, 0xB0, 0, 0, 0}, 2, 0, 256, false, nil},
		{"3S", []byte{0, 0xA4, 0, 4, 2, 0x3F, 0}, 3, 2, 0, false, nil},
		{"4S", []byte{0, 0xA4, 0, 4, 2, 0x3F, 0, 0}, 4, 2, 256, false, nil},
		{"2E", []byte{0, 0xB0, 0, 0, 0, 1, 0}, 2, 0, 256, true, nil},
		{"2E, 65536", []byte{0, 0xB0, 0, 0, 0, 0, 0}, 2, 0, 65536, true, nil},
		{"3E", []byte{0, 0xD6, 0, 0, 0, 0, 2, 1, 2}, 3, 2, 0, true, nil},
		{"4E", []byte{0, 0xD6, 0, 0, 0, 0, 2, 1, 2, 0, 0}, 4, 2, 65536, true, nil},
		{"longest", append(append([]byte{0, 0xD6, 0, 0, 0, 0xFF, 0xFF}, long...), 0, 0), 4, 65535, 65536, true, nil},
		{"nothing", nil, 0, 0, 0, false, apdu.ErrShort},
		{"three bytes", []byte{0, 0xA4, 0}, 0, 0, 0, false, apdu.ErrShort},
		{"Lc too large", []byte{0, 0xA4, 0, 4, 3, 0x3F, 0}, 0, 0, 0, false, apdu.ErrLength},
		{"Lc too small", []byte{0, 0xA4, 0, 4, 1, 0x3F, 0, 0}, 0, 0, 0, false, apdu.ErrLength},
		{"00 and one byte", []byte{0, 0xA4, 0, 4, 0, 1}, 0, 0, 0, false, apdu.ErrLength},
		{"extended Lc of 0", []byte{0, 0xA4, 0, 4, 0, 0, 0, 1}, 0, 0, 0, false, apdu.ErrLength},
		{"extended Lc lies", []byte{0, 0xA4, 0, 4, 0, 0, 9, 1}, 0, 0, 0, false, apdu.ErrLength},
		{"extended with short Le", []byte{0, 0xA4, 0, 4, 0, 0, 1, 9, 0}, 0, 0, 0, false, apdu.ErrLength},
		{"too long", make([]byte, apdu.MaxCommand+1), 0, 0, 0, false, apdu.ErrLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := apdu.Parse(c.in)
			require.ErrorIs(t, err, c.err)
			if err != nil {
				require.NotEmpty(t, err.Error())
				return
			}
			require.Equal(t, c.kase, got.Case())
			require.Len(t, got.Data, c.nc)
			require.Equal(t, c.ne, got.Ne)
			require.Equal(t, c.ext, got.Extended)
			require.Equal(t, c.in, got.Append(nil))
		})
	}
}

func TestStatus(t *testing.T) {
	data, sw, ok := apdu.Status([]byte{1, 2, 0x90, 0})
	require.True(t, ok)
	require.Equal(t, []byte{1, 2}, data)
	require.Equal(t, apdu.OK, sw)
	require.Equal(t, []byte{9, 0x90, 0}, sw.Append([]byte{9}))
	_, _, ok = apdu.Status([]byte{0x90})
	require.False(t, ok)
}

func TestChannelAndChained(t *testing.T) {
	for _, c := range []struct {
		cla     byte
		channel int
		chained bool
	}{
		{0x00, 0, false}, {0x03, 3, false}, {0x10, 0, true}, {0x40, 4, false}, {0x4F, 19, false}, {0x5F, 19, true}, {0x81, 1, false}, {0xFF, 19, false},
	} {
		require.Equal(t, c.channel, apdu.Channel(c.cla), "%02X", c.cla)
		require.Equal(t, c.chained, apdu.Chained(c.cla), "%02X", c.cla)
	}
}

// What Parse takes, Append writes so that it parses to the same command, and to
// the same bytes: each command has one encoding, given short or extended.
func FuzzParse(f *testing.F) {
	f.Add([]byte{0, 0xA4, 0, 4, 2, 0x3F, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := apdu.Parse(b)
		if err != nil {
			return
		}
		again := c.Append(nil)
		require.Equal(t, b, again)
		d, err := apdu.Parse(again)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(c), fmt.Sprint(d))
		require.Equal(t, c.Case(), d.Case())
		require.LessOrEqual(t, len(c.Data), apdu.MaxExtendedNc)
		require.LessOrEqual(t, c.Ne, apdu.MaxExtendedNe)
	})
}
