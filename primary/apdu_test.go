package primary

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/apdu"
)

// TestDialogues plays testdata/apdu/*.txt. A line is a comment (#), a reset of
// the card (reset), makes the bundle one that joins chains itself (parts), or
//
//	> what the terminal sends
//	  * what the bundle must see   = what it answers
//	< what the terminal must get
//
// in hexadecimal; "41*300" is 300 bytes 41. The bundle must be called exactly
// where it says so.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/apdu/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playDialogue(t, file) })
	}
}

func playDialogue(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var s apduService
	var in, want, answer []byte
	called := false
	send := func(where string) []byte {
		t.Helper()
		called = false
		s.bundle = func(got []byte) []byte {
			require.False(t, called, "%s: the bundle is called twice", where)
			called = true
			require.Equal(t, hexOf(want), hexOf(got), "%s: what the bundle sees", where)
			return bytes.Clone(answer)
		}
		out := s.APDU(in)
		require.Equal(t, answer != nil, called, "%s: whether the bundle is called", where)
		in, answer = nil, nil
		return out
	}
	for n, line := range strings.Split(string(text), "\n") {
		where := fmt.Sprintf("%s:%d", file, n+1)
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		switch rest := line[1:]; {
		case line == "reset":
			s.reset()
		case line == "parts":
			s.parts = true
		case line[0] == '>':
			in = unhex(t, where, rest)
		case line[0] == '*':
			see, say, ok := strings.Cut(rest, "=")
			require.True(t, ok, where)
			want, answer = unhex(t, where, see), unhex(t, where, say)
		case line[0] == '<':
			require.NotNil(t, in, where)
			require.Equal(t, hexOf(unhex(t, where, rest)), hexOf(send(where)), "%s: what the terminal gets", where)
		default:
			require.Fail(t, "what is this line", where)
		}
	}
}

func hexOf(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func unhex(t testing.TB, where, s string) []byte {
	t.Helper()
	out := []byte{}
	for _, w := range strings.Fields(s) {
		w, times, many := strings.Cut(w, "*")
		b, err := hex.DecodeString(w)
		require.NoError(t, err, where)
		n := 1
		if many {
			n, err = strconv.Atoi(times)
			require.NoError(t, err, where)
		}
		out = append(out, bytes.Repeat(b, n)...)
	}
	return out
}

// TestAnyWayToTheSameAnswer: whatever lengths a terminal asks for, the parts it
// gets make the whole answer, and whatever parts it sends, the bundle sees the
// whole command.
func TestAnyWayToTheSameAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		data, reply := make([]byte, r.IntN(1000)), make([]byte, r.IntN(1000))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		for i := range reply {
			reply[i] = byte(r.Uint32())
		}
		var seen []byte
		s := apduService{bundle: func(in []byte) []byte {
			c, err := apdu.Parse(in)
			require.NoError(t, err)
			require.Equal(t, byte(0x01), c.CLA)
			seen = bytes.Clone(c.Data)
			return append(bytes.Clone(reply), 0x91, 0x0C)
		}}
		var out []byte
		for rest := data; ; {
			n := min(len(rest), r.IntN(256))
			c := apdu.Command{CLA: 0x01, INS: 0xE2, P1: 1, P2: 2, Data: rest[:n]}
			rest = rest[n:]
			if len(rest) > 0 {
				c.CLA |= 0x10
			} else {
				c.Ne = r.IntN(257)
			}
			out = s.APDU(c.Append(nil))
			if len(rest) == 0 {
				break
			}
			require.Equal(t, []byte{0x90, 0}, out)
		}
		var got []byte
		for {
			part, sw, ok := apdu.Status(out)
			require.True(t, ok)
			got = append(got, part...)
			switch sw >> 8 {
			case 0x61:
				out = s.APDU([]byte{0x01, 0xC0, 0, 0, byte(r.IntN(256))})
				continue
			case 0x6C:
				out = s.APDU([]byte{0x01, 0xC0, 0, 0, byte(sw)})
				continue
			}
			require.Equal(t, apdu.SW(0x910C), sw)
			break
		}
		require.Equal(t, hexOf(data), hexOf(seen))
		require.Equal(t, hexOf(reply), hexOf(got))
	}
}

// FuzzAPDU: any sequence of byte strings gets answers with status words, and the
// bundle sees well-formed whole commands only. The input is cut at its lengths:
// two bytes, then a command.
func FuzzAPDU(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var s apduService
		s.bundle = func(in []byte) []byte {
			c, err := apdu.Parse(in)
			require.NoError(t, err)
			require.False(t, chained(c.CLA))
			require.NotEqual(t, byte(0xFF), c.CLA)
			return append(make([]byte, int(c.P1)<<8|int(c.P2)), 0x90, 0)
		}
		for len(b) >= 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			in := b[2 : 2+n]
			b = b[2+n:]
			out := s.APDU(in)
			data, _, ok := apdu.Status(out)
			require.True(t, ok)
			c, err := apdu.Parse(in)
			if err != nil {
				require.Equal(t, []byte{0x67, 0}, out)
			}
			require.LessOrEqual(t, len(data), c.Ne)
		}
	})
}

func TestPlainPathDoesNotAllocate(t *testing.T) {
	s := plainService()
	in := []byte{0x00, 0xB0, 0x00, 0x00, 0x0A}
	require.Zero(t, testing.AllocsPerRun(1000, func() { s.APDU(in) }))
}

func plainService() *apduService {
	out := append(make([]byte, 10), 0x90, 0)
	return &apduService{bundle: func([]byte) []byte { return out }}
}

func BenchmarkAPDUService(b *testing.B) {
	s := plainService()
	in := []byte{0x00, 0xB0, 0x00, 0x00, 0x0A}
	b.ReportAllocs()
	for b.Loop() {
		s.APDU(in)
	}
}
