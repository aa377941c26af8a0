package modem_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/terminal/modem"
)

// script is a card that expects commands and has their answers; "reset" is a reset.
type script struct {
	mu     sync.Mutex
	expect []step
	wrong  []string
}

type step struct{ command, answer string }

func (s *script) take(command string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.expect) == 0 || s.expect[0].command != command {
		s.wrong = append(s.wrong, command)
		return []byte{0x6F, 0}, nil
	}
	answer := s.expect[0].answer
	s.expect = s.expect[1:]
	switch answer {
	case "gone":
		return nil, fmt.Errorf("link: %w", modem.ErrNoCard)
	case "broken":
		return nil, errors.New("the link is broken")
	}
	return hex.DecodeString(answer)
}

func (s *script) Transmit(_ context.Context, c, dst []byte) ([]byte, error) {
	r, err := s.take(strings.ToUpper(hex.EncodeToString(c)))
	return append(dst, r...), err
}

// done tells whether all that was expected has come.
func (s *script) done() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.expect) == 0
}

func (s *script) Reset(context.Context) error {
	_, err := s.take("reset")
	return err
}

// wire is the device's end of a port in memory; a line is answered before Read is called
// again.
type wire struct {
	in  chan []byte
	out bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error) {
	b, ok := <-w.in
	if !ok {
		return 0, io.EOF
	}
	return copy(p, b), nil
}

func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

// send gives the modem something and waits until it reads again.
func (w *wire) send(s string) string {
	for len(s) > 0 {
		n := min(len(s), 1000)
		w.in <- []byte(s[:n])
		s = s[n:]
	}
	w.in <- nil // it has come back for more
	defer w.out.Reset()
	return w.out.String()
}

// dialogue is one of testdata/dialogue.txt.
type dialogue struct {
	title   string
	options modem.Options
	lines   []string
}

func dialogues(t testing.TB) (all []dialogue) {
	f, err := os.Open("testdata/dialogue.txt")
	require.NoError(t, err)
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		l := in.Text()
		switch {
		case l == "" || l[0] == '#':
		case l == "= fetch":
			all[len(all)-1].options.Fetch = true
		case l == "= bare":
			all[len(all)-1].options.Bare = true
		case l[0] == '=':
			all = append(all, dialogue{title: l[2:]})
		default:
			all[len(all)-1].lines = append(all[len(all)-1].lines, l)
		}
	}
	require.NoError(t, in.Err())
	return all
}

var unescape = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\b`, "\b")

func TestDialogues(t *testing.T) {
	for _, d := range dialogues(t) {
		t.Run(d.title, func(t *testing.T) {
			card, w := &script{}, &wire{in: make(chan []byte)}
			d.options.Revision = "1.0"
			done := make(chan error)
			go func() { done <- modem.New(card, d.options).Serve(t.Context(), w) }()
			sent, got := "", ""
			for _, l := range d.lines {
				switch rest := unescape.Replace(strings.TrimPrefix(l[1:], " ")); l[0] {
				case 'c':
					c, a, _ := strings.Cut(rest, "->")
					card.expect = append(card.expect, step{strings.ReplaceAll(c, " ", ""), strings.TrimSpace(a)})
				case '>':
					sent = rest
					if rest != "A/" {
						rest += "\r"
					}
					got = w.send(rest)
				case '<':
					require.Equal(t, rest, got, sent)
					require.Empty(t, card.wrong, sent)
					require.Empty(t, card.expect, sent)
				}
			}
			card.expect = nil
			close(w.in)
			require.NoError(t, <-done)
		})
	}
}

// ports are two ends of a connection: the device's, and the modem's, which a modem serves
// until the test ends.
func ports(t *testing.T, m *modem.Modem) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	device, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	end, err := l.Accept()
	require.NoError(t, err)
	done := make(chan error)
	go func() { done <- m.Serve(t.Context(), end) }()
	t.Cleanup(func() {
		_ = device.Close()
		require.NoError(t, <-done)
	})
	return device
}

// TestTE: the card behind a modem is a card, by AT+CSIM and by a session.
func TestTE(t *testing.T) {
	card := &script{}
	m := modem.New(card, modem.Options{})
	te, err := modem.NewTE(t.Context(), ports(t, m))
	require.NoError(t, err)
	ask := func(c interface {
		Transmit(context.Context, []byte, []byte) ([]byte, error)
	}, capdu string, steps ...step) (string, error) {
		t.Helper()
		card.expect = steps
		b, err := hex.DecodeString(capdu)
		require.NoError(t, err)
		r, err := c.Transmit(t.Context(), b, nil)
		require.Empty(t, card.wrong)
		require.Empty(t, card.expect)
		return strings.ToUpper(hex.EncodeToString(r)), err
	}
	r, err := ask(modem.CSIM{TE: te}, "00B0000002", step{"00B0000002", "AABB9000"})
	require.NoError(t, err)
	require.Equal(t, "AABB9000", r)
	_, err = ask(modem.CSIM{TE: te}, "00B0000002", step{"00B0000002", "gone"})
	require.EqualError(t, err, `modem: AT+CSIM=10,"00B0000002": +CME ERROR: 10`)
	_, err = ask(modem.CSIM{TE: te}, "00B0")
	require.EqualError(t, err, `modem: AT+CSIM=4,"00B0": +CME ERROR: 50`)

	c := &modem.CGLA{TE: te}
	_, err = ask(c, "80CB000000")
	require.ErrorContains(t, err, "needs a session")
	r, err = ask(c, "00A4040002A000", step{"0070000001", "019000"}, step{"01A4040002A00000", "6A82"}, step{"00708001", "9000"})
	require.NoError(t, err)
	require.Equal(t, "6A82", r)
	_, err = ask(c, "00A4040002A000", step{"0070000001", "gone"})
	require.EqualError(t, err, `modem: AT+CCHO="A000": +CME ERROR: 10`)
	r, err = ask(c, "00A4040002A00000", step{"0070000001", "019000"}, step{"01A4040002A00000", "9000"})
	require.NoError(t, err)
	require.Equal(t, "9000", r)
	r, err = ask(c, "80CB000000", step{"81CB000000", "AA9000"})
	require.NoError(t, err)
	require.Equal(t, "AA9000", r)
	r, err = ask(c, "00A4040002B00000", step{"00708001", "9000"}, step{"0070000001", "029000"}, step{"02A4040002B00000", "9000"})
	require.NoError(t, err)
	require.Equal(t, "9000", r)
	card.expect = []step{{"00708002", "9000"}}
	require.NoError(t, c.Close())
	require.Empty(t, card.expect)
}

// TestTakeOver: a device finds the port in the middle of a line, with echo and without
// result codes; sessions end with the port that opened them.
func TestTakeOver(t *testing.T) {
	card := &script{}
	m := modem.New(card, modem.Options{})
	p := ports(t, m)
	_, err := io.WriteString(p, "ATQ1E1V0\rAT+CSI")
	require.NoError(t, err)
	te, err := modem.NewTE(t.Context(), p)
	require.NoError(t, err)
	lines, err := te.Command(t.Context(), "AT+CGMI")
	require.NoError(t, err)
	require.Equal(t, []string{"sspemu"}, lines)
	card.expect = []step{{"0070000001", "019000"}, {"01A4040001A000", "9000"}}
	_, err = te.Command(t.Context(), `AT+CCHO="A0"`)
	require.NoError(t, err)

	other, err := modem.NewTE(t.Context(), ports(t, m))
	require.NoError(t, err)
	_, err = other.Command(t.Context(), `AT+CCHC=1`)
	require.EqualError(t, err, "modem: AT+CCHC=1: +CME ERROR: 21")
	card.expect = []step{{"00708001", "9000"}}
	require.NoError(t, te.Close())
	_, err = other.Command(t.Context(), "AT")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := other.Command(t.Context(), "AT+CFUN?") // waits for the modem
		return err == nil && card.done()
	}, modem.Greeting, modem.Greeting/1000)

	deaf, _ := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = modem.NewTE(ctx, deaf)
	require.ErrorIs(t, err, context.Canceled)
}

// TestLongLines: a line that is too long is an error, whatever is in it, and the next one
// is not.
func TestLongLines(t *testing.T) {
	card, w := &script{}, &wire{in: make(chan []byte)}
	done := make(chan error)
	go func() { done <- modem.New(card, modem.Options{}).Serve(t.Context(), w) }()
	w.send("ATE0\r")
	require.Equal(t, "\r\nERROR\r\n", w.send("AT+CSIM=100000,\""+strings.Repeat("0", 100000)+"\"\r"))
	require.Equal(t, "\r\nOK\r\n", w.send("A/"))
	longest := "00D6000000" + fmt.Sprintf("%04X", 4000) + strings.Repeat("00", 4000)
	card.expect = []step{{longest, "9000"}}
	require.Contains(t, w.send(fmt.Sprintf("AT+CSIM=%d,%q\r", len(longest), longest)), "9000")
	require.Empty(t, card.wrong)
	close(w.in)
	require.NoError(t, <-done)
}

// yes is a card that says yes to everything.
type yes struct{}

func (yes) Transmit(_ context.Context, c, dst []byte) ([]byte, error) {
	if c[1] == 0x70 && c[2] == 0 {
		return append(dst, 1, 0x90, 0), nil
	}
	return append(dst, 0x90, 0), nil
}

func (yes) Reset(context.Context) error { return nil }

// FuzzModem: whatever a device sends, the modem goes on, and there is at most one result
// code a line.
func FuzzModem(f *testing.F) {
	for _, d := range dialogues(f) {
		all := ""
		for _, l := range d.lines {
			if l[0] == '>' {
				all += unescape.Replace(strings.TrimPrefix(l[1:], " ")) + "\r"
			}
		}
		f.Add([]byte(all))
	}
	f.Add([]byte("ATS3=65\rATAATA/A/"))
	f.Add([]byte("AT+CPIN=\"12345678\";&FE0V0\x7F\x00\xC1\xD4\r"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		in := append([]byte("ATE0\r"), b...)
		require.NoError(t, modem.New(yes{}, modem.Options{Fetch: len(b)%2 == 0}).Serve(t.Context(), struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(in), &out}))
		require.LessOrEqual(t, bytes.Count(out.Bytes(), []byte("\r\nOK\r\n")), len(in))
	})
}

// says is a modem that says the same whatever it is asked.
type says struct{ *bytes.Reader }

func (says) Write(p []byte) (int, error) { return len(p), nil }
func (says) Close() error                { return nil }

// FuzzTE: whatever a modem says, the device has an answer of a card or an error.
func FuzzTE(f *testing.F) {
	for _, s := range []string{
		"\r\n+CSIM: 4,\"9000\"\r\n\r\nOK\r\n", "+CSIM: 4,9000\rOK\r", "\r\n+CCHO: 1\r\n\r\nOK\r\n\r\n+CGLA: 8,\"AABB9000\"\r\n\r\nOK\r\n", "1\r\nOK\r\n+CGLA:4,\"6A82\"\r\nOK\r\n",
		"+CCHO: 000000000385a7cf\r\nOK\r\n", "\r\n+CME ERROR: 10\r\n", "+CME ERROR: SIM busy\r\n", "ERROR\r\n", "OK\r\nOK\r\n", "+CSIM: 2,\"90\"\r\nOK\r\n", "+CSIM\r\nOK\r\n", "+CREG: 1\r\n+CSIM: 4,\"90 0\"\r\nOK\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		te := modem.Attach(says{bytes.NewReader(b)})
		r, err := modem.CSIM{TE: te}.Transmit(t.Context(), []byte{0, 0xA4, 0, 0}, nil)
		require.True(t, err != nil || len(r) >= 2)
		c := &modem.CGLA{TE: modem.Attach(says{bytes.NewReader(b)})}
		r, err = c.Transmit(t.Context(), []byte{0, 0xA4, 4, 0, 1, 0xA0}, nil)
		require.True(t, err != nil || len(r) == 2)
		r, err = c.Transmit(t.Context(), []byte{0, 0xB0, 0, 0, 0}, nil)
		require.True(t, err != nil || len(r) >= 2)
		_ = c.Close()
	})
}
