package bridge

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func ramp(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from + i)
	}
	return b
}

func TestVectors(t *testing.T) {
	require.EqualValues(t, 0x29B1, crc([]byte("123456789")))
	long := hex.EncodeToString(ramp(1, 254))
	for _, c := range [][2]string{
		{"", "01"},
		{"00", "01 01"},
		{"00 00", "01 01 01"},
		{"00 11 00", "01 02 11 01"},
		{"11 22 00 33", "03 11 22 02 33"},
		{"11 22 33 44", "05 11 22 33 44"},
		{"11 00 00 00", "02 11 01 01 01"},
		{long, "FF" + long},
		{"00" + long, "01 FF" + long},
		{long + "FF", "FF" + long + "02 FF"},
		{long + "00", "FF" + long + "01 01"},
	} {
		coded := unhex(t, c[1])
		require.Equal(t, coded, appendCOBS(nil, unhex(t, c[0])), c[0])
		plain, ok := decodeCOBS(coded)
		require.True(t, ok)
		require.Equal(t, unhex(t, c[0]), append([]byte{}, plain...))
	}
	// The vectors of docs/bridge.md.
	f, _ := appendFrame(nil, nil, msgIRQ, 0, []byte{1})
	require.Equal(t, unhex(t, "00 02 15 04 01 74 2E 00"), f)
	h := hello{version, roleTarget, bus.I2C, lineIRQ | lineReset, 0x48, 4096, 0, "pico"}
	require.Equal(t, unhex(t, "53 53 50 42 01 01 02 03 00 48 10 00 00 00 00 00 70 69 63 6F"), h.bytes())
	got, err := parseHello(h.bytes())
	require.NoError(t, err)
	require.Equal(t, h, got)
}

type frame struct {
	t       message
	payload string
}

func TestNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var d decoder
	var got []frame
	each := func(t message, _ byte, p []byte) { got = append(got, frame{t, string(p)}) }
	want := 0
	for i := range 2000 {
		noise := make([]byte, r.IntN(40))
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		p := make([]byte, r.IntN(600))
		for i := range p {
			p[i] = byte(r.Uint32N(4))
		}
		f, _ := appendFrame(nil, nil, msgWritten, byte(i), p)
		all := append(noise, f...)
		for len(all) > 0 { // in pieces
			n := min(1+r.IntN(300), len(all))
			d.feed(all[:n], each)
			all = all[n:]
		}
		want++
		require.Len(t, got, want, "a frame after noise arrives")
		require.Equal(t, frame{msgWritten, string(p)}, got[want-1])
	}
	require.Positive(t, d.bad)
	d.feed(make([]byte, 10), each)
	d.feed(bytes.Repeat([]byte{1}, 10*maxCoded), each) // never a frame
	require.LessOrEqual(t, cap(d.buf), 4*maxCoded)
	f, _ := appendFrame(nil, nil, msgReady, 1, make([]byte, maxPayload))
	d.feed(f, each)
	require.Len(t, got, want+1, "the longest frame")
	// One wrong bit is no frame.
	for i := range 8 * len(f[:64]) {
		w := bytes.Clone(f[:64])
		short, _ := appendFrame(nil, nil, msgReady, 1, w[:40])
		short[1+i/8%(len(short)-2)] ^= 1 << (i % 8)
		n := len(got)
		d.feed(append(short, 0), each)
		require.Len(t, got, n)
	}
}

// pair is a bus in real time whose two ends are in this process.
type pair struct {
	p bus.Physical

	mu     sync.Mutex
	move   sync.Cond
	t      bus.Target
	irq    bool
	closed bool
	hz     int64
}

func newPair(p bus.Physical) *pair {
	b := &pair{p: p}
	b.move.L = &b.mu
	return b
}

type pairSocket struct{ *pair }
type pairController struct{ *pair }

func (b *pair) Physical() bus.Physical { return b.p }
func (b *pair) String() string         { return "the bus of the test" }
func (b *pair) Clock() bus.Clock       { return bus.Real() }

func (b pairSocket) Attach(t bus.Target) (bus.Lines, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.t = t
	return b, nil
}

func (b pairSocket) SetIRQ(active bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.irq = active
	b.move.Broadcast()
}

func (b pairSocket) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.t, b.irq = nil, false
	return nil
}

func (b pairController) Tx(w, r []byte) error {
	b.mu.Lock()
	t := b.t
	b.mu.Unlock()
	if t == nil {
		return bus.ErrNACK
	}
	if b.p == bus.SPI {
		p := t.Pending()
		n := len(w) + len(r)
		if len(w) > 0 && len(r) > 0 {
			n = len(w)
		}
		for i := range r {
			r[i] = bus.IdleByte
		}
		copy(r, p)
		if n = min(n, len(p)); n > 0 {
			t.Taken(n)
		}
		if w == nil {
			w = make([]byte, len(r))
		}
		t.Written(w)
		return nil
	}
	if len(w) > 0 {
		t.Written(w)
	}
	if len(r) > 0 {
		p := t.Pending()
		if len(p) == 0 {
			return bus.ErrNACK
		}
		for i := range r {
			r[i] = bus.IdleByte
		}
		t.Taken(copy(r, p))
	}
	return nil
}

func (b pairController) WaitIRQ(timeout time.Duration) (bool, error) {
	end := time.Now().Add(timeout)
	defer time.AfterFunc(timeout, func() {
		b.mu.Lock()
		b.move.Broadcast()
		b.mu.Unlock()
	}).Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.irq && !b.closed && time.Now().Before(end) {
		b.move.Wait()
	}
	if b.closed {
		return false, bus.ErrClosed
	}
	return b.irq, nil
}

func (b pairController) Reset() error {
	b.mu.Lock()
	t := b.t
	b.mu.Unlock()
	if t != nil {
		t.Reset()
	}
	return nil
}

func (b pairController) SetSpeed(hz int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hz = hz; hz == 1 {
		return errors.New("that is too slow")
	}
	return nil
}

func (b pairController) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.move.Broadcast()
	return nil
}

// listen has a board wait on a Unix socket, one host after the other.
func listen(t testing.TB, serve func(c io.ReadWriteCloser)) (url string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "board")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() { serve(c); c.Close() })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return "bridge:unix:" + path
}

func newPlaceOf(t testing.TB, url string) *place {
	u, err := transport.Parse(url)
	require.NoError(t, err)
	p, err := newPlace(u)
	require.NoError(t, err)
	return p
}

type receiver func(k transport.Kind, p []byte)

func (f receiver) Frame(k transport.Kind, p []byte) { f(k, p) }

// noisy turns over a bit of some writes, by a seed.
type noisy struct {
	io.ReadWriteCloser
	mu  sync.Mutex
	r   *rand.Rand
	one int // in so many
}

func (n *noisy) Write(p []byte) (int, error) {
	n.mu.Lock()
	if n.one > 0 && n.r.IntN(n.one) == 0 {
		p = bytes.Clone(p)
		p[n.r.IntN(len(p))] ^= 1 << n.r.IntN(8)
	}
	n.mu.Unlock()
	return n.ReadWriteCloser.Write(p)
}

// TestLink: a terminal and an SSP, each behind a board, on one bus; also when the
// streams are noisy.
//
//	terminal ── bridge: ── board ~~ bus ~~ board ── bridge: ── SSP
func TestLink(t *testing.T) {
	for _, c := range []struct {
		params   string
		physical bus.Physical
		noise    int
	}{
		{"?bus=i2c", bus.I2C, 0},
		{"?bus=spi", bus.SPI, 0},
		{"?protocol=shdlc", bus.I2C, 0},
		{"?bus=i2c&hz=400000", bus.I2C, 60},
	} {
		t.Run(c.params, func(t *testing.T) {
			wires := newPair(c.physical)
			t.Cleanup(func() { pairController{wires}.Close() })
			wrap := func(rw io.ReadWriteCloser, seed uint64) io.ReadWriteCloser {
				return &noisy{ReadWriteCloser: rw, r: rand.New(rand.NewPCG(seed, 1)), one: c.noise}
			}
			cardURL := listen(t, func(rw io.ReadWriteCloser) { _ = ServeSocket(wrap(rw, 1), pairSocket{wires}, "a") }) + c.params
			termURL := listen(t, func(rw io.ReadWriteCloser) { _ = ServeController(wrap(rw, 2), pairController{wires}, "b") }) + c.params
			card, err := transport.Open(cardURL, transport.Target, Schemes)
			require.NoError(t, err)
			defer card.Close()
			require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, b []byte) {
				switch k {
				case transport.PowerOn, transport.Reset:
					_ = card.Send(transport.ATR, []byte{0x3B, 0x80, 0x01, 0x81})
				case transport.Block, transport.Packet:
					_ = card.Send(k, b)
				}
			})))
			term, err := transport.Open(termURL, transport.Controller, Schemes)
			require.NoError(t, err)
			defer term.Close()
			got := make(chan []byte, 10)
			inserted := make(chan bool, 1)
			require.NoError(t, term.Open(context.Background(), receiver(func(k transport.Kind, b []byte) {
				switch {
				case k == transport.Inserted:
					select {
					case inserted <- true:
					default:
					}
				case len(b) > 0:
					got <- bytes.Clone(b)
				}
			})))
			next := func() []byte {
				t.Helper()
				select {
				case b := <-got:
					return b
				case <-time.After(20 * time.Second):
					require.FailNow(t, "nothing came", "trouble: %v", transport.Trouble(term))
					return nil
				}
			}
			k, most := transport.Block, 9000
			if c, ok := term.(transport.PacketCarrier); ok {
				k, most = transport.Packet, c.PacketMTU()
				<-inserted
			} else {
				require.NoError(t, term.Send(transport.PowerOn, nil))
				require.Equal(t, byte(0x3B), next()[0])
			}
			for _, n := range []int{5, 16, 17, 200, 255, 1000, 4000, 9000} {
				n = min(n, most)
				require.NoError(t, term.Send(k, ramp(n, n)))
				require.Equal(t, ramp(n, n), next())
			}
		})
	}
}

func TestController(t *testing.T) {
	wires := newPair(bus.I2C)
	t.Cleanup(func() { pairController{wires}.Close() })
	url := listen(t, func(rw io.ReadWriteCloser) { _ = ServeController(rw, pairController{wires}, "board") })
	c, err := newPlaceOf(t, url+"?hz=100000").dial()
	require.NoError(t, err)
	require.EqualValues(t, 100000, wires.hz)
	require.Equal(t, bus.I2C, c.Physical())
	require.ErrorIs(t, c.Tx([]byte{1}, nil), bus.ErrNACK)
	require.ErrorContains(t, c.SetSpeed(1), `the board says: "that is too slow"`)
	require.ErrorContains(t, c.Tx(make([]byte, 5000), nil), "the board can do 4600")
	active, err := c.WaitIRQ(0)
	require.NoError(t, err)
	require.False(t, active)
	time.AfterFunc(5*time.Millisecond, func() { pairSocket{wires}.SetIRQ(true) })
	active, err = c.WaitIRQ(10 * time.Second)
	require.NoError(t, err)
	require.True(t, active)
	pairSocket{wires}.SetIRQ(false)
	require.Eventually(t, func() bool { a, _ := c.WaitIRQ(0); return !a }, 10*time.Second, time.Millisecond)
	c.(bus.Waker).Wake()
	active, err = c.WaitIRQ(-1)
	require.NoError(t, err)
	require.False(t, active)
	time.AfterFunc(5*time.Millisecond, func() { c.Close() })
	_, err = c.WaitIRQ(-1)
	require.ErrorIs(t, err, bus.ErrClosed)
	require.ErrorIs(t, c.Tx([]byte{1}, nil), bus.ErrClosed)
	require.NoError(t, c.Close())
}

// target is a bus.Target that counts.
type target struct {
	mu           sync.Mutex
	resets, offs int
}

func (t *target) Written([]byte)  {}
func (t *target) Pending() []byte { return nil }
func (t *target) Taken(int)       {}
func (t *target) Reset()          { t.mu.Lock(); defer t.mu.Unlock(); t.resets++ }
func (t *target) PowerOff()       { t.mu.Lock(); defer t.mu.Unlock(); t.offs++ }

func TestBoardComesBack(t *testing.T) {
	wires := newPair(bus.I2C)
	var mu sync.Mutex
	var last io.Closer
	url := listen(t, func(rw io.ReadWriteCloser) {
		mu.Lock()
		last = rw
		mu.Unlock()
		_ = ServeSocket(rw, pairSocket{wires}, "board")
	})
	s := &socket{place: newPlaceOf(t, url)}
	d := &target{}
	_, err := s.Attach(d)
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Attach(d)
	require.ErrorContains(t, err, "attached already")
	mu.Lock()
	last.Close() // it is unplugged
	mu.Unlock()
	require.Eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.offs == 1 && d.resets == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, pairController{wires}.Reset())
	require.Eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.resets == 2 }, 10*time.Second, time.Millisecond)
}

func TestHandshake(t *testing.T) {
	dial := func(url string) error {
		c, err := newPlaceOf(t, url).dial()
		if err == nil {
			c.Close()
		}
		return err
	}
	says := func(t message, payload []byte) func(rw io.ReadWriteCloser) {
		return func(rw io.ReadWriteCloser) {
			s := &session{rw: rw}
			_ = s.read(func(message, []byte) error { return s.send(t, payload) })
		}
	}
	good := hello{version, roleController, bus.I2C, 0, 0, 4096, 0, "x"}
	other := func(change func(h *hello)) []byte {
		h := good
		change(&h)
		return h.bytes()
	}
	require.NoError(t, dial(listen(t, says(msgHello, good.bytes()))))
	for _, c := range []struct {
		name  string
		serve func(rw io.ReadWriteCloser)
		want  string
	}{
		{"another version", says(msgHello, other(func(h *hello) { h.version = 2 })), "the board speaks version 2, this is version 1"},
		{"another role", says(msgHello, other(func(h *hello) { h.role = roleTarget })), "the board (x) is a target, a controller is needed"},
		{"another bus", says(msgHello, other(func(h *hello) { h.physical = bus.SPI })), "the board (x) is on SPI, not on I2C (bus=spi)"},
		{"no room", says(msgHello, other(func(h *hello) { h.max = 1 })), "its longest access has 1 bytes"},
		{"too much room", says(msgHello, other(func(h *hello) { h.max = 0xFFFF })), "its longest access has 65535 bytes"},
		{"no role", says(msgHello, other(func(h *hello) { h.role = 7 })), "role 7 and bus 2, which are not known"},
		{"short", says(msgHello, good.bytes()[:8]), "HELLO has 8 bytes, not 16"},
		{"something else", says(msgHello, []byte("hello")), "HELLO is not one of this framing"},
		{"an error", says(msgError, []byte("no I2C here")), `the board says: "no I2C here"`},
		{"the end", func(io.ReadWriteCloser) {}, ""},
		{"silence", func(rw io.ReadWriteCloser) { _, _ = io.Copy(io.Discard, rw) }, "no HELLO from the board within 3s (is its program running? docs/bridge.md)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, dial(listen(t, c.serve)), c.want)
		})
	}
	t.Run("after noise", func(t *testing.T) { // of a console, and the first HELLO is lost
		require.NoError(t, dial(listen(t, func(rw io.ReadWriteCloser) {
			_, _ = io.WriteString(rw, "MicroPython v1.26\r\n>>> \x05")
			s := &session{rw: rw}
			n := 0
			_ = s.read(func(message, []byte) error {
				if n++; n < 2 {
					return nil
				}
				return s.send(msgHello, good.bytes())
			})
		})))
	})
}

func TestURL(t *testing.T) {
	for _, c := range [][2]string{
		{"bridge:", "write bridge:/dev/ttyACM0, bridge:unix:/PATH or bridge://HOST:PORT"},
		{"bridge:unix:", "write bridge:/dev/ttyACM0, bridge:unix:/PATH or bridge://HOST:PORT"},
		{"bridge://h", "write bridge://HOST:PORT"},
		{"bridge://h:1/x", "write bridge://HOST:PORT"},
		{"bridge:/dev/x?bus=can", "bus=can is not known (use one of i2c, spi)"},
		{"bridge:/dev/x?bus=spi&addr=0x48", "addr= is for I2C"},
		{"bridge:/dev/x?addr=1", "addr=1: not an I2C address of 7 bits, 0x08 to 0x77"},
		{"bridge:/dev/x?hz=0", "hz=0: not a speed in Hz, from 1 to 1000000000"},
		{"bridge:/dev/x?baud=1", `unknown parameter "baud" (bridge: takes addr, bus, hz, protocol, vendor, ifs, retries)`},
	} {
		for _, role := range []transport.Role{transport.Controller, transport.Target} {
			_, err := transport.Open(c[0], role, Schemes)
			require.EqualError(t, err, `link "`+c[0]+`": `+c[1])
		}
	}
	_, err := newPlaceOf(t, "bridge:/dev/none of these").dial()
	require.ErrorContains(t, err, "is the device plugged in?")
	_, err = newPlaceOf(t, "bridge:/dev/null").dial()
	require.ErrorContains(t, err, "/dev/null is no serial device")
}

// FuzzDecoder: whatever comes, no panic, bounded memory; what is encoded comes out
// again after it.
func FuzzDecoder(f *testing.F) {
	one, _ := appendFrame(nil, nil, msgReady, 7, []byte{1, 0, 2, 0})
	hi, _ := appendFrame(nil, nil, msgHello, 0, hello{version, roleTarget, bus.I2C, 3, 0x48, 4096, 0, "pico"}.bytes())
	f.Add(one)
	f.Add(append(hi, one...))
	f.Add([]byte{0, 0xFF, 1, 0, 0, 5, 1})
	f.Add(bytes.Repeat([]byte{1}, 6000))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		d.feed(b, func(m message, _ byte, p []byte) {
			require.LessOrEqual(t, len(p), maxPayload)
			if h, err := parseHello(p); m == msgHello && err == nil {
				require.Equal(t, p, h.bytes())
			}
		})
		p := b[:min(len(b), maxPayload)]
		f, _ := appendFrame(nil, nil, msgWritten, 1, p)
		got := 0
		d.feed(f, func(m message, n byte, q []byte) {
			if m == msgWritten && n == 1 && bytes.Equal(p, q) {
				got++
			}
		})
		require.Equal(t, 1, got)
	})
}

// FuzzBoard: whatever a board says after its HELLO, the host keeps its head.
func FuzzBoard(f *testing.F) {
	for _, m := range []message{msgHello, msgError, msgWritten, msgTaken, msgReset, msgPowerOff, msgDone, msgLine, 0xFF} {
		f.Add(byte(m), []byte{0, 0, 4})
		f.Add(byte(m), []byte{})
	}
	f.Fuzz(func(t *testing.T, m byte, p []byte) {
		d := &keeper{pending: []byte{1, 2, 3, 4}}
		l := &line{Outlet: bus.Outlet{Target: d}, sent: []byte{1, 2, 3, 4}}
		l.event(event{message(m), p})
		l.event(event{message(m), p}) // twice counts once
		require.LessOrEqual(t, l.taken, len(l.sent))
		require.Equal(t, l.left(), d.pending)
		c := &controller{done: make(chan event, 4), told: make(chan struct{})}
		for range 6 {
			_ = c.event(message(m), p)
		}
	})
}

// keeper is a bus.Target with something to read.
type keeper struct {
	target
	pending []byte
}

func (k *keeper) Pending() []byte { return k.pending }
func (k *keeper) Taken(n int)     { k.pending = k.pending[n:] }
