package iso7816_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
	"github.com/sspemu/sspemu/transport/linktest"
)

func open(t testing.TB, url string, role transport.Role) transport.Link {
	t.Helper()
	l, err := transport.Open(url, role, iso7816.Schemes)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestVPCD(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
		url := "vpcd://" + pcscdtest.FreeAddr(t)
		return open(t, url, transport.Controller), open(t, url, transport.Target)
	})
}

func TestVPCDURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		role transport.Role
		want string
	}{
		{"vpcd:", transport.Target, `link "vpcd:": write vpcd://HOST:PORT, such as vpcd://127.0.0.1:35963`},
		{"vpcd:127.0.0.1:35963", transport.Target, `link "vpcd:127.0.0.1:35963": write vpcd://HOST:PORT, such as vpcd://127.0.0.1:35963`},
		{"vpcd://h:1/x", transport.Target, `link "vpcd://h:1/x": write vpcd://HOST:PORT, such as vpcd://127.0.0.1:35963`},
		{"vpcd://h:0", transport.Target, `link "vpcd://h:0": port 0 cannot be connected to (the virtual reader listens on 35963)`},
		{"vpcd://h?protocol=t2", transport.Target, `link "vpcd://h?protocol=t2": protocol=t2 is not known (use one of t1, t0)`},
		{"vpcd://h?speed=1", transport.Target, `link "vpcd://h?speed=1": unknown parameter "speed" (vpcd: takes protocol)`},
		{"foo:", transport.Target, `link "foo:": unknown scheme "foo" (available: ccid, mem, pcsc, serial, tcp, vpcd)`},
		{"spi:/dev/spidev0.0", transport.Controller, `link "spi:/dev/spidev0.0": scheme spi: is not available in this version (available: ccid, mem, pcsc, serial, tcp, vpcd)`},
	} {
		_, err := transport.Open(c.url, c.role, iso7816.Schemes)
		require.EqualError(t, err, c.want)
	}
	require.Equal(t, "vpcd://127.0.0.1:35963", open(t, "vpcd://127.0.0.1", transport.Target).String())
	require.Equal(t, "vpcd://127.0.0.1:7?protocol=t0", open(t, "vpcd://127.0.0.1:7?protocol=t0", transport.Target).String())
	require.Equal(t, "vpcd://[::1]:35963", open(t, "vpcd://[::1]", transport.Target).String())
}

func TestVPCDPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	l := open(t, "vpcd://"+ln.Addr().String(), transport.Controller)
	err = l.Open(context.Background(), receiver(func(transport.Kind, []byte) {}))
	require.ErrorContains(t, err, "address already in use")
	require.ErrorContains(t, err, "pcscd's virtual reader may have the port")
}

// receiver is a function as a Receiver.
type receiver func(k transport.Kind, p []byte)

func (f receiver) Frame(k transport.Kind, p []byte) { f(k, p) }

// reader is the driver's side as bytes: what a test wants to send, exactly so.
type reader struct {
	t  *testing.T
	ln net.Listener
	c  net.Conn
}

// newCard opens a target link at a fresh reader. The card keeps the kinds of
// the frames it gets, answers resets with an ATR and commands with their length
// and 9000.
func newCard(t *testing.T) (*reader, transport.Link, chan transport.Kind) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	card := open(t, "vpcd://"+ln.Addr().String(), transport.Target)
	seen := make(chan transport.Kind, 100)
	require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		switch k {
		case transport.PowerOn, transport.Reset, transport.GetATR:
			_ = card.Send(transport.ATR, []byte{0x3B, 0x00}) // the reader may be gone
		case transport.Block:
			_ = card.Send(transport.Block, []byte{byte(len(p) >> 8), byte(len(p)), 0x90, 0x00})
		}
		seen <- k
	})))
	r := &reader{t: t, ln: ln}
	r.accept()
	return r, card, seen
}

func (r *reader) accept() {
	r.t.Helper()
	require.NoError(r.t, r.ln.(*net.TCPListener).SetDeadline(time.Now().Add(10*time.Second)))
	c, err := r.ln.Accept()
	require.NoError(r.t, err, "the card should connect")
	r.t.Cleanup(func() { c.Close() })
	require.NoError(r.t, c.SetDeadline(time.Now().Add(10*time.Second)))
	r.c = c
}

func (r *reader) send(p ...byte) {
	r.t.Helper()
	_, err := r.c.Write(p)
	require.NoError(r.t, err)
}

func (r *reader) expect(p ...byte) {
	r.t.Helper()
	got := make([]byte, len(p))
	_, err := io.ReadFull(r.c, got)
	require.NoError(r.t, err)
	require.Equal(r.t, p, got)
}

func (r *reader) expectEOF() {
	r.t.Helper()
	_, err := r.c.Read(make([]byte, 1))
	require.Error(r.t, err, "the card should hang up")
}

func TestVPCDOnlyATRRequestsAreAnswered(t *testing.T) {
	r, _, seen := newCard(t)
	r.send(0, 1, 1) // power on
	r.send(0, 1, 2) // reset
	r.send(0, 1, 0) // power off
	r.send(0, 1, 4) // ATR
	r.expect(0, 2, 0x3B, 0x00)
	r.send(0, 1, 4, 0, 1, 4)
	r.expect(0, 2, 0x3B, 0x00, 0, 2, 0x3B, 0x00)
	for _, k := range []transport.Kind{transport.PowerOn, transport.Reset, transport.PowerOff, transport.GetATR, transport.GetATR, transport.GetATR} {
		require.Equal(t, k, <-seen)
	}
}

func TestVPCDMalformedMessages(t *testing.T) {
	r, _, _ := newCard(t)
	for _, c := range []struct {
		name string
		send []byte
		want []byte
	}{
		{"empty message is a command of no bytes", []byte{0, 0}, []byte{0, 4, 0, 0, 0x90, 0}},
		{"unknown control 03 is a command of one byte", []byte{0, 1, 3}, []byte{0, 4, 0, 1, 0x90, 0}},
		{"unknown control FF is a command of one byte", []byte{0, 1, 0xFF}, []byte{0, 4, 0, 1, 0x90, 0}},
		{"two bytes", []byte{0, 2, 0, 0xA4}, []byte{0, 4, 0, 2, 0x90, 0}},
		{"longest message", append([]byte{0xFF, 0xFF}, make([]byte, 0xFFFF)...), []byte{0, 4, 0xFF, 0xFF, 0x90, 0}},
		{"many in one segment", []byte(strings.Repeat("\x00\x04abcd", 3)), []byte(strings.Repeat("\x00\x04\x00\x04\x90\x00", 3))},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			r.send(c.send...)
			r.expect(c.want...)
		})
	}
	t.Run("byte by byte", func(t *testing.T) {
		r.t = t
		for _, b := range []byte("\x00\x04abcd") {
			r.send(b)
		}
		r.expect(0, 4, 0, 4, 0x90, 0)
	})
}

func TestVPCDTruncatedMessage(t *testing.T) {
	r, _, seen := newCard(t)
	r.send(0, 200, 1, 2, 3)
	require.NoError(t, r.c.Close())
	require.Equal(t, transport.PowerOff, <-seen, "what was incomplete is dropped, the power is gone")
	r.accept()
	r.send(0, 4, 1, 2, 3, 4)
	r.expect(0, 4, 0, 4, 0x90, 0)
}

func TestVPCDComesBack(t *testing.T) {
	r, card, seen := newCard(t)
	addr := r.ln.Addr().String()
	for range 3 {
		r.send(0, 1, 4)
		r.expect(0, 2, 0x3B, 0x00)
		require.Equal(t, transport.GetATR, <-seen)
		// pcscd goes away, and the port with it.
		require.NoError(t, r.ln.Close())
		require.NoError(t, r.c.Close())
		require.Equal(t, transport.PowerOff, <-seen)
		require.ErrorIs(t, card.Send(transport.Block, []byte{0x90, 0x00}), transport.ErrNoPeer)
		ln, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { ln.Close() })
		r.ln = ln
		r.accept()
	}
}

func TestVPCDRemovedAndInserted(t *testing.T) {
	r, card, seen := newCard(t)
	r.send(0, 1, 4)
	r.expect(0, 2, 0x3B, 0x00)
	require.Equal(t, transport.GetATR, <-seen)
	require.NoError(t, card.Send(transport.Removed, nil))
	r.expectEOF()
	require.NoError(t, card.Send(transport.Inserted, nil))
	r.accept()
	r.send(0, 1, 4)
	r.expect(0, 2, 0x3B, 0x00)
	require.Equal(t, transport.GetATR, <-seen, "who removes the card needs no PowerOff")
}

func TestVPCDUnaskedResponse(t *testing.T) {
	r, card, _ := newCard(t)
	r.send(0, 1, 4)
	r.expect(0, 2, 0x3B, 0x00)
	err := card.Send(transport.Block, []byte{0x90, 0x00})
	require.ErrorIs(t, err, transport.ErrNoPeer)
	require.EqualError(t, err, "vpcd: no command waits for this response: transport: no peer on the link")
	r.send(0, 4, 0, 0xA4, 0, 0)
	r.expect(0, 4, 0, 4, 0x90, 0)
}

// The driver sends length and payload apart and its kernel holds the payload
// back until the length is acknowledged (Nagle).
func TestVPCDTwoSendsAreNotSlow(t *testing.T) {
	r, _, _ := newCard(t)
	require.NoError(t, r.c.(*net.TCPConn).SetNoDelay(false))
	const n = 100
	start := time.Now()
	for range n {
		r.send(0, 5)
		r.send(0x00, 0xB0, 0x00, 0x00, 0x0A)
		r.expect(0, 4, 0, 5, 0x90, 0)
	}
	require.Less(t, time.Since(start), n*20*time.Millisecond, "delayed acknowledgements cost 40 ms an exchange")
}

func TestVPCDExchangeDoesNotAllocate(t *testing.T) {
	exchange := echoPair(t)
	exchange()
	require.Zero(t, testing.AllocsPerRun(200, exchange))
}

func BenchmarkVPCDExchange(b *testing.B) {
	exchange := echoPair(b)
	b.ReportAllocs()
	for b.Loop() {
		exchange()
	}
}

// echoPair joins both ends of the protocol and returns one exchange.
func echoPair(t testing.TB) func() {
	url := "vpcd://" + pcscdtest.FreeAddr(t)
	ctl, tgt := open(t, url, transport.Controller), open(t, url, transport.Target)
	here, answered := make(chan struct{}), make(chan struct{})
	require.NoError(t, ctl.Open(context.Background(), receiver(func(k transport.Kind, _ []byte) {
		switch k {
		case transport.Inserted:
			close(here)
		case transport.Block:
			answered <- struct{}{}
		}
	})))
	require.NoError(t, tgt.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		_ = tgt.Send(k, p)
	})))
	<-here
	cmd := make([]byte, 12)
	return func() {
		if err := ctl.Send(transport.Block, cmd); err != nil {
			t.Error(err)
			return
		}
		<-answered
	}
}
