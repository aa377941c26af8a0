package iso7816_test

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
)

// ccidDriver is a driver of a serial CCID reader: it sends messages as they are, and has
// them echoed.
type ccidDriver struct {
	t    *testing.T
	f    *os.File
	seq  byte
	link transport.Link
}

// ccidCard opens a reader with a card that has an ATR, answers to READ BINARY
// zeros, and to everything else 9000; P1 99 takes longer than the driver likes to wait.
func ccidCard(t *testing.T, url string) *ccidDriver {
	return ccidCardATR(t, url, "3B 80 80 01 01")
}

func ccidCardATR(t *testing.T, url, hexATR string) *ccidDriver {
	l := open(t, url, transport.Target)
	atr := unhexed(t, hexATR)
	d := &ccidDriver{t: t, link: l}
	require.NoError(t, l.Open(t.Context(), receiver(func(k transport.Kind, p []byte) {
		switch k {
		case transport.PowerOn, transport.Reset:
			_ = l.Send(transport.ATR, atr)
		case transport.Block:
			var answer []byte
			if len(p) == 5 && p[1] == 0xB0 { // data out: P3 bytes, 256 for 00
				answer = make([]byte, (int(p[4])+255)%256+1)
			}
			if len(p) > 4 && p[2] == 0x99 {
				time.Sleep(1200 * time.Millisecond)
			}
			_ = l.Send(transport.Block, append(answer, 0x90, 0x00))
		}
	})))
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	name, ok := strings.CutPrefix(l.String(), "ccid:")
	require.True(t, ok)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	d.f = f
	return d
}

func unhexed(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// read takes n bytes.
func (d *ccidDriver) read(n int) []byte {
	d.t.Helper()
	b := make([]byte, n)
	for at := 0; at < n; {
		m, err := d.f.Read(b[at:])
		require.NoError(d.t, err)
		at += m
	}
	return b
}

// frame reads a frame and gives its message, after what comes before: slot changes and
// requests for time.
func (d *ccidDriver) frame() (before string, msg []byte) {
	d.t.Helper()
	for {
		b := d.read(1)[0]
		if b == 0x03 {
			break
		}
		if b == 0x50 {
			before += "50" + hex.EncodeToString(d.read(1))
		} else {
			before += hex.EncodeToString([]byte{b})
		}
	}
	require.Equal(d.t, byte(0x06), d.read(1)[0])
	head := d.read(10)
	msg = append(head, d.read(int(head[1])|int(head[2])<<8)...)
	check := byte(0x03 ^ 0x06)
	for _, b := range msg {
		check ^= b
	}
	require.Equal(d.t, check, d.read(1)[0])
	return before, msg
}

// ask sends a message: its type, 3 bytes of parameters, data. It gives what came before
// the answer, and the answer as type, status, error, last byte, data.
func (d *ccidDriver) ask(kind byte, parameters, data string) (before, answer string) {
	d.t.Helper()
	p, b := unhexed(d.t, parameters), unhexed(d.t, data)
	d.seq++
	msg := append([]byte{kind, byte(len(b)), byte(len(b) >> 8), 0, 0, 0, d.seq}, append(p, b...)...)
	frame := append([]byte{0x03, 0x06}, msg...)
	check := byte(0)
	for _, b := range frame {
		check ^= b
	}
	_, err := d.f.Write(append(frame, check))
	require.NoError(d.t, err)
	_, echo := d.frame()
	require.Equal(d.t, msg, echo, "the reader echoes")
	before, got := d.frame()
	require.Equal(d.t, d.seq, got[6])
	return before, strings.ToUpper(hex.EncodeToString(got[:1]) + " " + hex.EncodeToString(got[7:10]) + " " + hex.EncodeToString(got[10:]))
}

// TestCCID: messages of CCID revision 1.1 and what the reader says.
func TestCCID(t *testing.T) {
	d := ccidCard(t, "ccid:")
	require.Eventually(t, func() bool { // the card is put in
		_, a := d.ask(0x65, "000000", "")
		return a == "81 010000 "
	}, 5*time.Second, 10*time.Millisecond)
	for _, c := range []struct {
		what             string
		kind             byte
		parameters, data string
		want             string
	}{
		{"transfer to a card without power", 0x6F, "000000", "00A4040000", "80 41FE00 "},
		{"parameters of one", 0x6C, "000000", "", "82 41FE00 "},
		{"firmware", 0x6B, "000000", "02", "83 010000 " + hexUpper("sspemu serial CCID reader")},
		{"another escape", 0x6B, "000000", "010101", "83 010000 "},
		{"power on", 0x62, "000000", "", "80 000000 3B80800101"},
		{"warm reset", 0x62, "010000", "", "80 000000 3B80800101"},
		{"slot status", 0x65, "000000", "", "81 000000 "},
		{"parameters", 0x6C, "000000", "", "82 000000 110000 0A00"},
		{"parameters of T=0", 0x61, "000000", "1100000A00", "82 000000 110000 0A00"},
		{"too many of them", 0x61, "000000", "1100000A0000", "82 400100 "},
		{"T=2", 0x61, "020000", "1100000A00", "82 400700 "},
		{"T=0, data to the card", 0x6F, "000000", "00D6000003010203", "80 000000 9000"},
		{"T=0, data from the card", 0x6F, "000000", "00B0000004", "80 000000 000000009000"},
		{"T=0, 256 bytes from the card", 0x6F, "000000", "00B0000000", "80 000000" + strings.Repeat("00", 256) + "9000"},
		{"T=0, 255 bytes to the card", 0x6F, "000000", "00D60000FF" + strings.Repeat("AB", 255), "80 000000 9000"},
		{"T=0, no data", 0x6F, "000000", "00A40004", "80 000000 9000"},
		{"T=0, not a TPDU", 0x6F, "000000", "00D60000FF01", "80 400100 "},
		{"T=0, shorter than a header", 0x6F, "000000", "00", "80 400100 "},
		{"T=0, INS that could be SW1", 0x6F, "000000", "0060000000", "80 400B00 "},
		{"nothing", 0x6F, "000000", "", "80 400100 "},
		{"power on for a PPS", 0x62, "000000", "", "80 000000 3B80800101"},
		{"PPS", 0x6F, "000000", "FF01FE", "80 000000 FF01FE"},
		{"parameters of T=1", 0x61, "010000", "1110004D002000", "82 000001 1110004D002000"},
		{"S(IFS request)", 0x6F, "000000", "00C101FE3E", "80 000000 00E101FE1E"},
		{"I block", 0x6F, "000000", "000004 00D60000 D2", "80 000000 0000029000 92"},
		{"parameters reset", 0x6D, "000000", "", "82 000001 1110004D002000"},
		{"clock stopped", 0x6E, "010000", "", "81 000001 "},
		{"it stands still", 0x65, "000000", "", "81 000001 "},
		{"a block starts it", 0x6F, "000000", "004004 00D60000 92", "80 000000 0040029000 D2"},
		{"it runs", 0x65, "000000", "", "81 000000 "},
		{"clock started", 0x6E, "000000", "", "81 000000 "},
		{"clock, unknown", 0x6E, "020000", "", "81 400700 "},
		{"a voltage that is none", 0x62, "040000", "", "80 400700 "},
		{"slot status with data", 0x65, "000000", "00", "81 400100 "},
		{"power on with data", 0x62, "000000", "00", "80 400100 "},
		{"abort", 0x72, "000000", "", "81 000000 "},
		{"data rate", 0x73, "000000", "A00F0000 80250000", "84 000000 A00F000080250000"},
		{"data rate, short", 0x73, "000000", "A00F", "84 400100 "},
		{"secure: no PIN pad", 0x69, "000000", "00", "81 400000 "},
		{"mechanical", 0x71, "010000", "", "81 400000 "},
		{"an unknown message", 0x7F, "000000", "", "81 400000 "},
		{"power off", 0x63, "000000", "", "81 010000 "},
		{"power off again", 0x63, "000000", "", "81 010000 "},
		{"clock without power", 0x6E, "000000", "", "81 41FE00 "},
		{"set parameters without power", 0x61, "000000", "1100000A00", "82 41FE00 "},
	} {
		_, got := d.ask(c.kind, c.parameters, c.data)
		require.Equal(t, strings.ReplaceAll(c.want, " ", ""), strings.ReplaceAll(got, " ", ""), c.what)
	}
}

func hexUpper(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }

// TestCCIDSlot: the card goes and comes back, which the driver hears after its command and
// before the answer.
func TestCCIDSlot(t *testing.T) {
	d := ccidCard(t, "ccid:")
	until := func(want string) (changes string) {
		t.Helper()
		require.Eventually(t, func() bool {
			before, a := d.ask(0x65, "000000", "")
			changes += before
			return a == want
		}, 5*time.Second, 10*time.Millisecond)
		return changes
	}
	require.Equal(t, "5003", until("81 010000 "))
	_, a := d.ask(0x62, "000000", "")
	require.Equal(t, "80 000000 3B80800101", a)
	require.NoError(t, d.link.Send(transport.Removed, nil))
	require.Equal(t, "5002", until("81 020000 "))
	_, a = d.ask(0x62, "000000", "")
	require.Equal(t, "80 42FE00 ", a, "no card, no ATR")
	require.NoError(t, d.link.Send(transport.Inserted, nil))
	require.Equal(t, "5003", until("81 010000 "))
}

// TestCCIDTime: a card that works for long makes the reader ask the driver for time.
func TestCCIDTime(t *testing.T) {
	d := ccidCard(t, "ccid:")
	require.Eventually(t, func() bool {
		_, a := d.ask(0x62, "000000", "")
		return strings.HasPrefix(a, "80 0000")
	}, 5*time.Second, 10*time.Millisecond)
	before, a := d.ask(0x6F, "000000", "00D6990001AA")
	require.Contains(t, before, "80")
	require.Equal(t, "80 000000 9000", a)
}

// TestCCIDNoise: what is no frame is asked for again, or means nothing.
func TestCCIDNoise(t *testing.T) {
	d := ccidCard(t, "ccid:")
	send := func(s string) {
		_, err := d.f.Write(unhexed(t, s))
		require.NoError(t, err)
	}
	send("00 FF 15 03 07 06 03")
	_, a := d.ask(0x63, "000000", "")
	require.True(t, strings.HasPrefix(a, "81 "), a)
	send("03 06 65 00000000 00 01 000000 00") // the check is wrong
	require.Equal(t, unhexed(t, "031516"), d.read(3))
	send("03 06 6F FF0F0000 00 01 000000") // longer than a message can be
	require.Equal(t, unhexed(t, "031516"), d.read(3))
	_, a = d.ask(0x63, "000000", "")
	require.True(t, strings.HasPrefix(a, "81 "), a)
}

// TestCCIDTruncated: a frame that breaks off takes the beginning of the next one with it,
// never the reader: the driver's repetitions get through.
func TestCCIDTruncated(t *testing.T) {
	whole := "03066500000000000100000061"
	for n := 1; n < len(whole)/2; n++ {
		d := ccidCard(t, "ccid:")
		_, err := d.f.Write(unhexed(t, whole[:2*n]+whole+whole+whole))
		require.NoError(t, err)
		at := 0
		for b := d.read(1)[0]; ; b = d.read(1)[0] { // NAKs are no answers
			if at++; b == 0x81 {
				break
			}
			require.Less(t, at, 200)
		}
	}
}

// TestCCIDInverse: the reader finds the convention of the card by TS.
func TestCCIDInverse(t *testing.T) {
	d := ccidCardATR(t, "ccid:", "3F 00")
	require.Eventually(t, func() bool {
		_, a := d.ask(0x62, "000000", "")
		return a == "80 000000 3F00"
	}, 5*time.Second, 10*time.Millisecond)
	_, a := d.ask(0x6F, "000000", "00B0000002")
	require.Equal(t, "80 000000 00009000", a)
}

// TestCCIDProtocol: the reader says so when it knows none of the card's protocols.
func TestCCIDProtocol(t *testing.T) {
	d := ccidCardATR(t, "ccid:", "3B 80 02 82")
	require.Eventually(t, func() bool {
		_, a := d.ask(0x62, "000000", "")
		return a == "80 41F600 "
	}, 5*time.Second, 10*time.Millisecond)
}

// TestCCIDClose: the driver gets the answer to the command that the card works on when
// the reader goes, and reads it whole.
func TestCCIDClose(t *testing.T) {
	l := open(t, "ccid:", transport.Target)
	busy := make(chan struct{})
	release := make(chan struct{})
	require.NoError(t, l.Open(t.Context(), receiver(func(k transport.Kind, _ []byte) {
		switch k {
		case transport.PowerOn:
			_ = l.Send(transport.ATR, unhexed(t, "3B 80 80 01 01"))
		case transport.Block:
			close(busy)
			<-release
		}
	})))
	f, err := os.OpenFile(strings.TrimPrefix(l.String(), "ccid:"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	d := &ccidDriver{t: t, link: l, f: f}
	require.Eventually(t, func() bool {
		_, a := d.ask(0x62, "000000", "")
		return strings.HasPrefix(a, "80 0000")
	}, 5*time.Second, 10*time.Millisecond)
	closed := make(chan error, 1)
	go func() {
		<-busy
		closed <- l.Close()
	}()
	_, a := d.ask(0x6F, "000000", "00A4000402 3F00")
	require.Equal(t, "80 42FE00 ", a, "the card has gone")
	require.NoError(t, <-closed)
	close(release)
	require.NoError(t, l.Open(t.Context(), receiver(func(transport.Kind, []byte) {})), "and again")
	require.NoError(t, l.Close())
}

func TestCCIDRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"ccid:?protocol=t2": "protocol=t2 is not known (use one of t1, t0)",
		"ccid:?baud=9600":   "baud",
		"ccid://host:1":     "write ccid: for a reader on a new pseudo-terminal",
	} {
		_, err := transport.Open(url, transport.Target, iso7816.Schemes)
		require.ErrorContains(t, err, want, url)
	}
	_, err := transport.Open("ccid:", transport.Controller, iso7816.Schemes)
	require.ErrorContains(t, err, "is the reader's end; a terminal uses the reader through pcscd (pcsc:READER)")
}

func FuzzCCIDFrames(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, frame := range iso7816.CCIDFrames(b) {
			require.GreaterOrEqual(t, len(frame), 13)
			require.LessOrEqual(t, len(frame), 274)
		}
	})
}

// FuzzCCIDMessages: whatever the driver and the card say, each message has one answer of
// the form that revision 1.1 gives it.
func FuzzCCIDMessages(f *testing.F) {
	answers := map[byte]byte{0x62: 0x80, 0x6F: 0x80, 0x6C: 0x82, 0x6D: 0x82, 0x61: 0x82, 0x6B: 0x83, 0x73: 0x84}
	f.Fuzz(func(t *testing.T, messages, card []byte) {
		synctest.Test(t, func(t *testing.T) { // nobody waits for silent cards
			iso7816.CCIDConversation(messages, card, func(m, r []byte) {
				kind := answers[m[0]]
				if kind == 0 {
					kind = 0x81
				}
				require.Equal(t, kind, r[0])
				require.GreaterOrEqual(t, len(r), 10)
				require.LessOrEqual(t, len(r), 271)
				require.Equal(t, len(r)-10, int(binary.LittleEndian.Uint32(r[1:])))
				require.Equal(t, m[5:7], r[5:7], "slot and number")
				require.LessOrEqual(t, r[7]&3, byte(2))
				if r[7]&0x40 != 0 {
					require.Empty(t, r[10:])
				} else {
					require.Zero(t, r[8])
				}
			})
		})
	})
}
