package scp80_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/scp80"
)

func unhex(t testing.TB, s string) []byte {
	if s == "-" {
		return nil
	}
	b, err := hex.DecodeString(s)
	require.NoError(t, err, s)
	return b
}

// lines are the data lines of a file by their first word.
func lines(t testing.TB, file, kind string) (l [][]string) {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 0 && f[0] == kind {
			l = append(l, f[1:])
		}
	}
	require.NotEmpty(t, l)
	return l
}

// known is a line of packets.txt.
func known(t testing.TB, f []string) (h scp80.Header, counter uint64, k scp80.Keys, data, packet []byte) {
	require.Len(t, f, 10)
	copy(h.SPI[:], unhex(t, f[1]))
	h.KIc, h.KID = unhex(t, f[2])[0], unhex(t, f[3])[0]
	copy(h.TAR[:], unhex(t, f[4]))
	counter, err := strconv.ParseUint(f[5], 16, 64)
	require.NoError(t, err)
	return h, counter, scp80.Keys{KIc: unhex(t, f[6]), KID: unhex(t, f[7])}, unhex(t, f[8]), unhex(t, f[9])
}

// TestKnownCommands: packets of other implementations are made and read.
func TestKnownCommands(t *testing.T) {
	for _, f := range lines(t, "testdata/packets.txt", "command") {
		t.Run(f[0], func(t *testing.T) {
			h, counter, k, data, packet := known(t, f)
			c := scp80.Command{Header: h, Counter: counter, Data: data}
			got, err := c.Append(nil, k)
			require.NoError(t, err)
			require.Equal(t, packet, got)
			back, s := scp80.Open(packet, k)
			require.Equal(t, scp80.OK, s)
			require.Equal(t, c, back)

			for i := range packet { // a bit of it is wrong
				if h.SPI.Check() == scp80.NoCheck {
					break
				}
				bad := bytes.Clone(packet)
				bad[i] ^= 0x40
				_, s := scp80.Open(bad, k)
				require.NotEqual(t, scp80.OK, s, "byte %d", i)
			}
			for i := range packet { // it is cut off
				_, s := scp80.Open(packet[:i], k)
				require.Equal(t, scp80.SecurityError, s)
			}
		})
	}
}

// TestKnownResponses: responses of real cards are made and read.
func TestKnownResponses(t *testing.T) {
	for _, f := range lines(t, "testdata/packets.txt", "response") {
		t.Run(f[0], func(t *testing.T) {
			h, counter, k, data, packet := known(t, f)
			r := scp80.Response{TAR: h.TAR, Counter: counter, Data: data}
			got, err := r.Append(nil, h, k)
			require.NoError(t, err)
			require.Equal(t, packet, got)
			back, plain, err := scp80.OpenResponse(packet, h, k)
			require.NoError(t, err)
			require.Equal(t, h.SPI.PoRCheck() == scp80.NoCheck && !h.SPI.PoRCiphered(), plain)
			require.Equal(t, r, back)
			if h.SPI.PoRCheck() == scp80.CC {
				bad := bytes.Clone(packet)
				bad[len(bad)-1] ^= 1
				_, _, err = scp80.OpenResponse(bad, h, k)
				require.ErrorIs(t, err, scp80.ErrResponse)
			}
		})
	}
}

// TestPlainResponse: only the report of an error may come without security.
func TestPlainResponse(t *testing.T) {
	h := scp80.Header{SPI: scp80.SPI{0x16, 0x19}, KIc: 0x12, KID: 0x12, TAR: scp80.TAR{1, 2, 3}}
	k := scp80.Keys{KIc: make([]byte, 16), KID: make([]byte, 16)}
	low := scp80.Response{TAR: h.TAR, Counter: 7, Status: scp80.CounterLow}
	r, plain, err := scp80.OpenResponse(low.AppendPlain(nil), h, k)
	require.NoError(t, err)
	require.True(t, plain)
	require.Equal(t, scp80.CounterLow, r.Status)
	for _, bad := range []scp80.Response{{TAR: h.TAR}, {TAR: h.TAR, Status: scp80.CheckFailed, Data: []byte{1}}} {
		_, _, err = scp80.OpenResponse(bad.AppendPlain(nil), h, k)
		require.ErrorIs(t, err, scp80.ErrUnprotected)
	}
	// O: a counter that is too low, without security.
	require.Equal(t, "000b0ab0000000000000070002", hex.EncodeToString((&scp80.Response{TAR: scp80.TAR{0xB0}, Counter: 7, Status: scp80.CounterLow}).AppendPlain(nil)))
}

// TestChecks: the example of TS 102 225 annex B (A) and those of gsm0348.
func TestChecks(t *testing.T) {
	h := func(kid byte) scp80.Header { return scp80.Header{SPI: scp80.SPI{1}, KID: kid} }
	for kid, size := range map[byte]int{1: 2, 5: 4} {
		c := scp80.Command{Header: h(kid), Data: []byte("data")}
		b, err := c.Append(nil, scp80.Keys{})
		require.NoError(t, err)
		require.Len(t, b, 2+8+6+size+4)
		_, s := scp80.Open(b, scp80.Keys{})
		require.Equal(t, scp80.OK, s)
		b[17] ^= 1
		_, s = scp80.Open(b, scp80.Keys{})
		require.Equal(t, scp80.CheckFailed, s)
	}
	require.Equal(t, []uint32{0x6DD4, 0x3FCA88C5}, scp80.Checks(unhex(t, "0102030405060708")))
	require.Equal(t, uint32(0x470B99F4), scp80.Checks(unhex(t, "0102030405"))[1])
}

// TestRefused: keys and algorithms that are not there.
func TestRefused(t *testing.T) {
	k := scp80.Keys{KIc: make([]byte, 15), KID: make([]byte, 15)}
	for _, c := range []struct {
		name     string
		spi      scp80.SPI
		kic, kid byte
		err      error
		opened   scp80.Status
	}{
		{"AES key", scp80.SPI{4}, 2, 0, scp80.ErrKey, scp80.CipheringError},
		{"3DES key", scp80.SPI{4}, 5, 0, scp80.ErrKey, scp80.CipheringError},
		{"single DES", scp80.SPI{4}, 1, 0, scp80.ErrAlgorithm, scp80.CipheringError},
		{"implicit", scp80.SPI{4}, 0, 0, scp80.ErrAlgorithm, scp80.CipheringError},
		{"CMAC key", scp80.SPI{2}, 0, 2, scp80.ErrKey, scp80.SecurityError},
		{"checksum with DES", scp80.SPI{2}, 0, 1, scp80.ErrAlgorithm, scp80.SecurityError},
		{"proprietary check", scp80.SPI{1}, 0, 3, scp80.ErrAlgorithm, scp80.SecurityError},
		{"signature", scp80.SPI{3}, 0, 2, scp80.ErrAlgorithm, scp80.SecurityError},
	} {
		h := scp80.Header{SPI: c.spi, KIc: c.kic, KID: c.kid}
		_, err := (&scp80.Command{Header: h}).Append(nil, k)
		require.ErrorIs(t, err, c.err, c.name)
		packet := append([]byte{0, 38, 21, c.spi[0], 0, c.kic, c.kid}, make([]byte, 33)...)
		if c.spi.Check() == 0 {
			packet[2] = 13
		}
		_, s := scp80.Open(packet, k)
		require.Equal(t, c.opened, s, c.name)
	}
	_, err := (&scp80.Command{Data: make([]byte, 65536)}).Append(nil, k)
	require.ErrorIs(t, err, scp80.ErrTooLong)
}

// TestEnough: what meets a minimum security level.
func TestEnough(t *testing.T) {
	for _, c := range []struct {
		spi, minimum byte
		want         bool
	}{
		{0x16, 0x16, true}, {0x1E, 0x16, true}, {0x12, 0x16, false}, {0x06, 0x16, false}, {0x15, 0x16, false}, {0x00, 0x00, true}, {0x02, 0x01, true}, {0x0E, 0x16, false},
	} {
		require.Equal(t, c.want, scp80.SPI{c.spi}.Enough(c.minimum), "%02X for %02X", c.spi, c.minimum)
	}
}

func TestShortMessages(t *testing.T) {
	for _, f := range lines(t, "testdata/sms.txt", "deliver") {
		d, err := scp80.ParseDeliver(unhex(t, f[2]))
		require.NoError(t, err)
		require.Equal(t, unhex(t, f[1]), d.UserData)
		want := unhex(t, f[2])
		want[0] = 0x40 // whether more messages wait is not kept
		require.Equal(t, want, d.Append(nil))
	}
	for _, f := range lines(t, "testdata/sms.txt", "envelope") {
		e, err := scp80.ParseEnvelope(unhex(t, f[2]))
		require.NoError(t, err)
		require.Equal(t, unhex(t, f[2]), e.Append(nil))
		d, err := scp80.ParseDeliver(e.TPDU)
		require.NoError(t, err)
		s, err := scp80.ParseUserData(d.UserData)
		require.NoError(t, err)
		packet, err := new(scp80.Assembler).Add(d.From, s)
		require.NoError(t, err)
		require.Equal(t, unhex(t, f[1]), packet)
	}
	for _, f := range lines(t, "testdata/sms.txt", "submit") {
		require.Equal(t, unhex(t, f[2]), scp80.Submit(unhex(t, "038119F0"), unhex(t, f[1])))
		ud, err := scp80.ParseSubmit(unhex(t, f[2]))
		require.NoError(t, err)
		require.Equal(t, unhex(t, f[1]), ud)
		s, err := scp80.ParseUserData(ud)
		require.NoError(t, err)
		require.True(t, s.Response)
	}
}

// TestConcatenation: a packet comes back in any order, whatever its length.
func TestConcatenation(t *testing.T) {
	from := []byte{3, 0x81, 0x21, 0xF3}
	for _, n := range []int{0, 1, 137, 138, 266, 267, 1000, 132 + 31*134} {
		packet := bytes.Repeat([]byte{0xA5, 1, 2}, n)[:n]
		parts, err := scp80.Split(packet, 9)
		require.NoError(t, err)
		for _, backwards := range []bool{false, true} {
			var a scp80.Assembler
			var got []byte
			for i := range parts {
				j := i
				if backwards {
					j = len(parts) - 1 - i
				}
				require.LessOrEqual(t, len(parts[j]), scp80.MaxUserData)
				s, err := scp80.ParseUserData(parts[j])
				require.NoError(t, err)
				if i > 0 {
					require.Equal(t, i, a.Pending())
				}
				got, err = a.Add(from, s)
				require.NoError(t, err)
				require.Equal(t, i == len(parts)-1, got != nil)
			}
			require.Equal(t, len(packet), len(got))
			require.True(t, bytes.Equal(packet, got))
			require.Zero(t, a.Pending())
		}
	}
	_, err := scp80.Split(make([]byte, 132+31*134+1), 0)
	require.ErrorIs(t, err, scp80.ErrTooMany)

	// Another message, another sender: the one before is dropped.
	one, err := scp80.Split(make([]byte, 300), 1)
	require.NoError(t, err)
	two, err := scp80.Split(make([]byte, 300), 2)
	require.NoError(t, err)
	var a scp80.Assembler
	for _, x := range []struct {
		from []byte
		ud   []byte
	}{{from, one[0]}, {from, two[0]}, {[]byte{1, 0x81, 1}, one[1]}} {
		s, err := scp80.ParseUserData(x.ud)
		require.NoError(t, err)
		packet, err := a.Add(x.from, s)
		require.NoError(t, err)
		require.Nil(t, packet)
		require.Equal(t, 1, a.Pending())
	}
}

// TestWrongMessages: what is no secured packet.
func TestWrongMessages(t *testing.T) {
	for _, c := range []struct {
		ud  string
		err error
	}{
		{"", scp80.ErrMessage}, {"03700000", scp80.ErrMessage}, {"027001AA", scp80.ErrMessage}, {"0170", scp80.ErrMessage}, {"05000201020000", scp80.ErrMessage},
		{"0500030103040000", scp80.ErrSegment}, {"0500030100010000", scp80.ErrSegment}, {"0500030103000000", scp80.ErrSegment}, {"0608040001030400", scp80.ErrSegment},
		{"02710000", scp80.ErrNoPacket}, {"0202000000", scp80.ErrNoPacket}, {"0003", scp80.ErrNoPacket}, {"050003010201AA", scp80.ErrNoPacket}, {"0500030121020000", scp80.ErrSegment},
	} {
		s, err := scp80.ParseUserData(unhex(t, c.ud))
		if err == nil {
			_, err = new(scp80.Assembler).Add(nil, s)
		}
		require.ErrorIs(t, err, c.err, c.ud)
	}
	for _, bad := range []string{"", "D1", "D200", "D10682028381", "D1048202838100", "D108820283828B020000", "D106820283818B0000"} {
		_, err := scp80.ParseEnvelope(unhex(t, bad))
		require.ErrorIs(t, err, scp80.ErrEnvelope, bad)
	}
	good := lines(t, "testdata/sms.txt", "deliver")[0][2]
	for i := range len(good) / 2 {
		_, err := scp80.ParseDeliver(unhex(t, good[:2*i]))
		require.ErrorIs(t, err, scp80.ErrMessage)
	}
	_, err := scp80.ParseDeliver(unhex(t, "00"+good[2:]))
	require.ErrorIs(t, err, scp80.ErrNoPacket)
}

func TestStatusWords(t *testing.T) {
	for s := scp80.OK; s <= scp80.ByUSSD; s++ {
		require.NotEqual(t, "reserved status", s.String())
	}
	require.Equal(t, "reserved status", scp80.Status(0x0D).String())
}

// FuzzOpen: whatever comes is read without a panic, and what is read makes the same packet.
func FuzzOpen(f *testing.F) {
	for _, l := range lines(f, "testdata/packets.txt", "command") {
		_, _, _, _, packet := known(f, l)
		f.Add(packet)
	}
	for _, l := range lines(f, "testdata/packets.txt", "response") {
		_, _, _, _, packet := known(f, l)
		f.Add(packet)
	}
	k := scp80.Keys{KIc: make([]byte, 16), KID: make([]byte, 16), Cipher: scp80.AES, Digest: scp80.AES}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, s := scp80.Open(b, k); s == scp80.OK && !c.SPI.Ciphered() {
			again, err := c.Append(nil, k)
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
		for _, spi := range []scp80.SPI{{}, {0, 0x08}, {0, 0x18}, {0, 0x14}} {
			_, _, _ = scp80.OpenResponse(b, scp80.Header{SPI: spi, KIc: 2, KID: 2}, k)
		}
	})
}

// FuzzShortMessage: what comes in an ENVELOPE is read without a panic, in bounded memory.
func FuzzShortMessage(f *testing.F) {
	for _, kind := range []string{"deliver", "envelope", "submit"} {
		for _, l := range lines(f, "testdata/sms.txt", kind) {
			f.Add(unhex(f, l[1]))
			f.Add(unhex(f, l[2]))
		}
	}
	var a scp80.Assembler
	f.Fuzz(func(_ *testing.T, b []byte) {
		if e, err := scp80.ParseEnvelope(b); err == nil {
			b = e.TPDU
		}
		_, _ = scp80.ParseSubmit(b)
		if d, err := scp80.ParseDeliver(b); err == nil {
			b = d.UserData
		}
		if s, err := scp80.ParseUserData(b); err == nil {
			_, _ = a.Add(nil, s)
		}
	})
}
