package coap_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// app is a bundle with a CoAP server; an APDU calls do, as a command that changes a
// resource would.
type app struct {
	*coap.Server
	do func()
}

func (*app) Personalise(*sdk.Doc) error { return nil }
func (*app) Init(sdk.Reason) error      { return nil }
func (*app) Signal(sdk.Signal)          {}
func (a *app) Gates() sdk.Gates         { return sdk.Gates{UDP: a.Server} }
func (a *app) APDU(*sdk.Command, *sdk.Response) sdk.SW {
	a.do()
	return sdk.OK
}

// stage is a card with a server and pipes to its UDP gate.
type stage struct {
	*sdktest.Card
	t    testing.TB
	app  *app
	pipe *sdktest.Pipe
	last map[int]int // latest message ID to a peer
}

func newStage(t testing.TB, s *coap.Server, credit int) *stage {
	st := &stage{t: t, app: &app{Server: s}, last: map[int]int{}}
	st.Card = sdktest.New(t, func() sdk.App { return st.app })
	st.PowerOn()
	var err error
	st.pipe, err = st.Open(sdk.GateUDP, 1, credit)
	require.NoError(t, err)
	return st
}

// during runs f in a call into the bundle.
func (s *stage) during(f func()) {
	s.app.do = f
	require.Equal(s.t, "9000", s.Transmit("00000000"))
}

// peerAddr is the n-th peer: ::ffff:127.0.h.l, port 5000.
func peerAddr(n int) []byte {
	p := make([]byte, sdk.PeerLength)
	copy(p[10:], []byte{0xFF, 0xFF, 127, 0, byte(n >> 8), byte(n), 5000 >> 8, 5000 & 0xFF})
	return p
}

// tell sends a datagram from a peer, in the notation of encode; the message ID
// last-N is that of the latest datagram to the peer, less N.
func (s *stage) tell(peer int, text string) {
	s.t.Helper()
	if f := strings.Fields(text); len(f) > 1 && strings.HasPrefix(f[1], "last") {
		back, _ := strconv.Atoi(strings.TrimPrefix(f[1], "last"))
		text = strings.Replace(text, f[1], fmt.Sprintf("%#x", uint16(s.last[peer]+back)), 1)
	}
	s.pipe.Send(append(peerAddr(peer), encode(s.t, text)...))
}

// heard are the datagrams sent since, in the notation of decode; those to another
// peer than the first with its number in front.
func (s *stage) heard() (all []string) {
	s.t.Helper()
	for _, b := range s.pipe.Out {
		text, n := decode(s.t, b[sdk.PeerLength:]), int(b[14])<<8|int(b[15])
		s.last[n] = int(b[20])<<8 | int(b[21])
		if n != 1 {
			text = strconv.Itoa(n) + ": " + text
		}
		all = append(all, text)
	}
	s.pipe.Out = nil
	return all
}

// play runs a dialogue, a line a datagram: "> " to the server, "< " from it.
// "> 2: " is another peer, "| 3s" lets time pass.
func (s *stage) play(dialogue string) {
	s.t.Helper()
	var heard []string
	for _, line := range strings.Split(strings.TrimSpace(dialogue), "\n") {
		line = strings.TrimSpace(line)
		sign, text, _ := strings.Cut(line, " ")
		if sign != "<" {
			heard = append(heard, s.heard()...)
			require.Empty(s.t, heard, "before %s", line)
		}
		switch sign {
		case ">":
			peer := 1
			if n, rest, ok := strings.Cut(text, ": "); ok && len(n) < 5 {
				peer, _ = strconv.Atoi(n)
				text = rest
			}
			s.tell(peer, text)
		case "<":
			heard = append(heard, s.heard()...)
			require.NotEmpty(s.t, heard, "instead of %s; log: %q", line, s.Logs)
			require.Equal(s.t, text, heard[0])
			heard = heard[1:]
		case "|":
			d, err := time.ParseDuration(text)
			require.NoError(s.t, err)
			s.Advance(d)
		case "#", "":
		default:
			s.t.Fatalf("what is %q?", line)
		}
	}
	require.Empty(s.t, append(heard, s.heard()...), "at the end")
}

var types = []string{"CON", "NON", "ACK", "RST"}

var methods = []string{"EMPTY", "GET", "POST", "PUT", "DELETE", "FETCH"}

// names are the options of the notation; those in numbers are uint, those in hexed
// opaque.
var names = map[string]message.OptionID{
	"ifmatch": 1, "host": 3, "etag": 4, "ifnonematch": 5, "observe": 6, "port": 7, "location": 8, "path": 11, "ct": 12,
	"maxage": 14, "query": 15, "accept": 17, "block2": 23, "block1": 27, "size2": 28, "proxy": 35, "size1": 60, "tag": 292,
}

var numbers = []string{"observe", "ct", "maxage", "accept", "size1", "size2", "port"}

var hexed = []string{"ifmatch", "etag", "ifnonematch", "tag"}

// encode makes a datagram of "CON 0x7d34 GET token=20 path=a path=b block2=0/1/64
// 'payload'"; options in ascending order. An option by number is hexadecimal:
// 19=0A. What begins with 0x as a whole is the datagram in hexadecimal.
func encode(t testing.TB, text string) []byte {
	t.Helper()
	if raw, ok := strings.CutPrefix(text, "0x"); ok && !strings.Contains(text, "CON") {
		b, err := hex.DecodeString(strings.ReplaceAll(raw, " ", ""))
		require.NoError(t, err)
		return b
	}
	text, payload, has := strings.Cut(text, "'")
	f := strings.Fields(text)
	require.GreaterOrEqual(t, len(f), 3, text)
	id, err := strconv.ParseUint(f[1], 0, 16)
	require.NoError(t, err)
	b := []byte{0x40 | byte(slices.Index(types, f[0]))<<4, code(t, f[2]), byte(id >> 8), byte(id)}
	before := 0
	for _, o := range f[3:] {
		name, value, _ := strings.Cut(o, "=")
		v := []byte(value)
		if h, err := hex.DecodeString(value); err == nil {
			if name == "token" {
				b[0] |= byte(len(h))
				b = append(b, h...)
				continue
			}
			if slices.Contains(hexed, name) || name[0] <= '9' {
				v = h
			}
		}
		n, known := names[name]
		if !known {
			x, err := strconv.Atoi(name)
			require.NoError(t, err, o)
			n = message.OptionID(x)
		}
		switch {
		case slices.Contains(numbers, name):
			x, err := strconv.ParseUint(value, 10, 32)
			require.NoError(t, err)
			v = number(uint32(x))
		case strings.HasPrefix(name, "block"):
			var num, more, size int
			_, err := fmt.Sscanf(value, "%d/%d/%d", &num, &more, &size)
			require.NoError(t, err)
			szx := 0
			for 1<<(szx+4) < size {
				szx++
			}
			v = number(uint32(num<<4 | more<<3 | szx))
		}
		b = appendOption(b, int(n)-before, v)
		before = int(n)
	}
	if has {
		b = append(b, 0xFF)
		b = append(b, strings.TrimSuffix(payload, "'")...)
	}
	return b
}

// appendOption is RFC 7252 3.1, written a second time.
func appendOption(b []byte, delta int, v []byte) []byte {
	nibble := func(n int) (byte, []byte) {
		switch {
		case n < 13:
			return byte(n), nil
		case n < 269:
			return 13, []byte{byte(n - 13)}
		}
		return 14, []byte{byte((n - 269) >> 8), byte(n - 269)}
	}
	d, dx := nibble(delta)
	l, lx := nibble(len(v))
	return append(append(append(append(b, d<<4|l), dx...), lx...), v...)
}

func number(v uint32) []byte {
	return bytes.TrimLeft([]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}, "\x00")
}

func code(t testing.TB, s string) byte {
	if i := slices.Index(methods, s); i >= 0 {
		return byte(i)
	}
	var class, detail int
	_, err := fmt.Sscanf(s, "%d.%d", &class, &detail)
	require.NoError(t, err, s)
	return byte(class<<5 | detail)
}

// decode is a datagram in the notation of encode. Message IDs of the server's own
// messages and numbers of Observe are left out. Long payloads are
// shortened to their length.
func decode(t testing.TB, b []byte) string {
	t.Helper()
	m := message.Message{Options: make(message.Options, 0, 32)}
	_, err := coder.DefaultCoder.Decode(b, &m)
	require.NoError(t, err, "% X", b)
	var s strings.Builder
	s.WriteString(types[m.Type])
	if m.Type == message.Acknowledgement || m.Type == message.Reset {
		fmt.Fprintf(&s, " %#04x", m.MessageID)
	}
	if c := int(m.Code); c>>5 > 0 {
		fmt.Fprintf(&s, " %d.%02d", c>>5, c&31)
	} else {
		s.WriteString(" " + methods[c])
	}
	if len(m.Token) > 0 {
		fmt.Fprintf(&s, " token=%x", []byte(m.Token))
	}
	for _, o := range m.Options {
		name := strconv.Itoa(int(o.ID))
		for n, id := range names {
			if id == o.ID {
				name = n
			}
		}
		v := uint64(0)
		for _, x := range o.Value {
			v = v<<8 | uint64(x)
		}
		switch {
		case name == "observe":
			s.WriteString(" observe")
		case name == "etag" && len(o.Value) == 8:
			s.WriteString(" etag")
		case slices.Contains(hexed, name):
			fmt.Fprintf(&s, " %s=%x", name, o.Value)
		case slices.Contains(numbers, name):
			fmt.Fprintf(&s, " %s=%d", name, v)
		case strings.HasPrefix(name, "block"):
			fmt.Fprintf(&s, " %s=%d/%d/%d", name, v>>4, v>>3&1, 1<<(v&7+4))
		default:
			fmt.Fprintf(&s, " %s=%s", name, o.Value)
		}
	}
	if n := len(m.Payload); n > 200 {
		fmt.Fprintf(&s, " (%d)", n)
	} else if n > 0 {
		fmt.Fprintf(&s, " '%s'", m.Payload)
	}
	return s.String()
}

func TestGet(t *testing.T) {
	s := coap.New()
	s.Handle("temperature", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { _, _ = w.WriteString("22.3 C") }})
	st := newStage(t, s, 1<<20)
	// RFC 7252 Appendix A, figures 16 and 17: the bytes.
	for _, tc := range []struct{ req, resp string }{
		{"40017d34 bb 74656d7065726174757265", "60457d34 ff 32322e332043"},
		{"41017d35 20 bb 74656d7065726174757265", "61457d35 20 ff 32322e332043"},
	} {
		st.tell(1, "0x"+tc.req)
		require.Len(t, st.pipe.Out, 1)
		require.Equal(t, encode(t, "0x"+tc.resp), st.pipe.Out[0][sdk.PeerLength:])
		require.Equal(t, peerAddr(1), st.pipe.Out[0][:sdk.PeerLength])
		st.pipe.Out = nil
	}
	st.play(`
		> CON 0x1234 GET path=nothing
		< ACK 0x1234 4.04 'no such resource'
		> NON 0x1235 GET token=0102 path=temperature
		< NON 2.05 token=0102 '22.3 C'
		> CON 0x1236 EMPTY
		< RST 0x1236 EMPTY`)
}
