package pigpio

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/shdlc"
	"github.com/sspemu/sspemu/transport/t1"
)

// TestDouble: the daemon of these tests is one for Debian's real client.
func TestDouble(t *testing.T) {
	p := newFakePi(t)
	m := master{p, 0x48}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/check.py", strconv.Itoa(p.ln.Addr().(*net.TCPAddr).Port))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	last := ""
	for s := bufio.NewScanner(out); s.Scan(); {
		switch last = s.Text(); last {
		case "transact":
			r := make([]byte, 7)
			require.NoError(t, m.Tx([]byte{1, 2, 3}, r))
			require.Equal(t, "hello\x00\x00", string(r))
		case "irq":
			active, err := m.WaitIRQ(time.Second)
			require.NoError(t, err)
			require.True(t, active)
		case "reset":
			require.NoError(t, m.Reset())
		case "gone":
			require.ErrorIs(t, m.Tx([]byte{1}, nil), bus.ErrNACK)
		}
		if last != "end" {
			_, err = io.WriteString(in, "done\n")
			require.NoError(t, err)
		}
	}
	require.NoError(t, cmd.Wait(), "python3-pigpio: %s", &stderr)
	require.Equal(t, "end", last)
}

func parse(t testing.TB, url string) transport.URL {
	u, err := transport.Parse(url)
	require.NoError(t, err)
	return u
}

func (p *fakePi) url(params string) string {
	return "pigpio://" + p.ln.Addr().String() + "/i2c?addr=0x48" + params
}

// target is a bus.Target that keeps what it is told.
type target struct {
	mu      sync.Mutex
	pending []byte
	written [][]byte
	resets  int
	offs    int
}

func (t *target) Written(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written = append(t.written, append([]byte{}, p...))
}

func (t *target) Pending() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte{}, t.pending...)
}

func (t *target) Taken(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = t.pending[min(n, len(t.pending)):]
}

func (t *target) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resets++
}

func (t *target) PowerOff() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offs++
}

func (t *target) set(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = p
}

func (t *target) has(what func() bool) func() bool {
	return func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return what()
	}
}

func eventually(t *testing.T, what func() bool, msg string) {
	t.Helper()
	require.Eventually(t, what, 10*time.Second, time.Millisecond, msg)
}

func attach(t *testing.T, p *fakePi, params string) (*target, bus.Socket, bus.Lines) {
	s, err := Socket(parse(t, p.url(params)))
	require.NoError(t, err)
	d := &target{}
	l, err := s.Attach(d)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return d, s, l
}

func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	return b
}

func TestSocket(t *testing.T) {
	p := newFakePi(t)
	m := master{p, 0x48}
	d, s, l := attach(t, p, "&irq=24&reset=GPIO25")
	require.Equal(t, bus.I2C, s.Physical())
	_, err := s.Attach(d)
	require.ErrorContains(t, err, "attached already")

	for _, n := range []int{1, 15, 16, 17, 100, 600, 4089} { // accesses arrive whole
		require.NoError(t, m.Tx(ramp(n), nil))
		eventually(t, d.has(func() bool { return len(d.written) == 1 }), "a write")
		require.Equal(t, ramp(n), d.written[0])
		d.written = nil
	}
	r := make([]byte, 3)
	require.NoError(t, m.Tx(nil, r))
	require.Equal(t, make([]byte, 3), r, "nothing lies ready")
	for _, n := range []int{1, 16, 17, 512, 513, 4089} {
		d.set(ramp(n))
		l.SetIRQ(true)
		active, err := m.WaitIRQ(10 * time.Second)
		require.NoError(t, err)
		require.True(t, active)
		r := make([]byte, n)
		require.NoError(t, m.Tx(nil, r))
		require.Equal(t, ramp(n), r)
		eventually(t, d.has(func() bool { return len(d.pending) == 0 }), "all is taken")
		l.SetIRQ(false)
		eventually(t, func() bool { active, _ := m.WaitIRQ(0); return !active }, "the line is not active")
	}
	// What lies ready is changed before it is read.
	d.set(ramp(40))
	fifo := func(n int) func() bool {
		return func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.tx) == n }
	}
	eventually(t, fifo(16), "it is in the FIFO")
	require.NoError(t, m.Tx(nil, make([]byte, 5)))
	d.set([]byte{0xA5, 1, 2})
	eventually(t, fifo(3), "it is not there any more")
	r = make([]byte, 3)
	require.NoError(t, m.Tx(nil, r))
	require.Equal(t, []byte{0xA5, 1, 2}, r)

	require.NoError(t, m.Reset())
	eventually(t, d.has(func() bool { return d.resets == 1 }), "the reset line")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second time does nothing")
	require.ErrorIs(t, m.Tx([]byte{1}, nil), bus.ErrNACK, "the address is not there any more")
	require.False(t, p.modes[24], "the interrupt line is an input again")
}

func TestLowIRQ(t *testing.T) {
	p := newFakePi(t)
	_, _, l := attach(t, p, "&irq=24&irqlevel=low&poll=100ms")
	high := func(want uint32) func() bool {
		return func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.levels>>24&1 == want }
	}
	eventually(t, high(1), "idle")
	l.SetIRQ(true)
	eventually(t, high(0), "active")
}

func TestDaemonComesBack(t *testing.T) {
	p := newFakePi(t)
	d, _, _ := attach(t, p, "")
	addr := p.ln.Addr().String()
	p.stop()
	eventually(t, d.has(func() bool { return d.offs == 1 }), "it is lost")
	p.listen(t, addr)
	eventually(t, d.has(func() bool { return d.resets == 1 }), "it is back")
	require.NoError(t, master{p, 0x48}.Tx([]byte{1, 2}, nil))
	eventually(t, d.has(func() bool { return len(d.written) == 1 }), "a write")
}

func TestNoDaemon(t *testing.T) {
	attach := func(url string) error {
		s, err := Socket(parse(t, url))
		require.NoError(t, err)
		_, err = s.Attach(&target{})
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "pigpio://" + ln.Addr().String() + "/i2c"
	go func() { // a server of something else
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 mail.example.org ESMTP ready\r\n")
		}
	}()
	require.ErrorContains(t, attach(url), "is it pigpiod that listens there?")
	require.NoError(t, ln.Close())
	err = attach(url)
	require.ErrorContains(t, err, "connection refused")
	require.ErrorContains(t, err, "sudo pigpiod")
}

func TestURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		role transport.Role
		want string
	}{
		{"pigpio://pi", transport.Target, "write pigpio://HOST:8888/i2c?addr=0x48 (HOST is the Raspberry Pi that runs pigpiod)"},
		{"pigpio:i2c", transport.Target, "write pigpio://HOST:8888/i2c?addr=0x48 (HOST is the Raspberry Pi that runs pigpiod)"},
		{"pigpio://pi/spi", transport.Target, "write pigpio://HOST:8888/i2c?addr=0x48 (HOST is the Raspberry Pi that runs pigpiod)"},
		{"pigpio://pi/i2c", transport.Controller, "pigpio: is the SSP's end of the bus (the terminal's end on a Pi is i2c:/dev/i2c-1, on the Pi itself)"},
		{"pigpio://pi/i2c?addr=0x80", transport.Target, "addr=0x80: not an I2C address of 7 bits, 0x08 to 0x77"},
		{"pigpio://pi/i2c?irq=99", transport.Target, "irq=99 is not a GPIO of the Pi's header, 0 to 27"},
		{"pigpio://pi/i2c?reset=18", transport.Target, "reset=18: GPIO 18 and 19, on a Pi 4 10 and 11, are SDA and SCL of the I2C target"},
		{"pigpio://pi/i2c?reset=4&irq=4", transport.Target, "irq and reset are the same GPIO"},
		{"pigpio://pi/i2c?irqlevel=low", transport.Target, "irqlevel= says how the interrupt line is, but there is none (add irq=24)"},
		{"pigpio://pi/i2c?poll=1us", transport.Target, "poll=1us is not a time from 100us to 1s"},
		{"pigpio://pi/i2c?speed=1", transport.Target, `unknown parameter "speed" (pigpio: takes addr, irq, irqlevel, poll, reset, protocol, vendor, ifs, retries)`},
	} {
		_, err := transport.Open(c.url, c.role, Schemes)
		require.EqualError(t, err, `link "`+c.url+`": `+c.want)
	}
}

type receiver func(k transport.Kind, p []byte)

func (f receiver) Frame(k transport.Kind, p []byte) { f(k, p) }

// TestT1Prime: T=1' through the daemon, both ends ours; with the interrupt line, and
// without it, when the controller polls.
func TestT1Prime(t *testing.T) {
	for _, params := range []string{"&irq=24&reset=25", ""} {
		t.Run(params, func(t *testing.T) {
			p := newFakePi(t)
			if params == "" {
				p.irq, p.rst = -1, -1
			}
			card, err := transport.Open(p.url(params), transport.Target, Schemes)
			require.NoError(t, err)
			defer card.Close()
			require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, b []byte) {
				switch k {
				case transport.PowerOn, transport.Reset:
					_ = card.Send(transport.ATR, []byte{0x3B, 0x80, 0x01, 0x81})
				case transport.Block:
					_ = card.Send(transport.Block, b)
				}
			})))
			term, err := t1.NewController(func() (bus.Controller, error) { return master{p, 0x48}, nil }, t1.Options{}, "i2c:test")
			require.NoError(t, err)
			defer term.Close()
			got := make(chan []byte, 10)
			require.NoError(t, term.Open(context.Background(), receiver(func(k transport.Kind, b []byte) {
				if k == transport.Block || k == transport.ATR {
					got <- append([]byte{}, b...)
				}
			})))
			next := func() []byte {
				t.Helper()
				select {
				case b := <-got:
					return b
				case <-time.After(10 * time.Second):
					require.FailNow(t, "nothing came", "trouble: %v", transport.Trouble(term))
					return nil
				}
			}
			require.NoError(t, term.Send(transport.PowerOn, nil))
			require.Equal(t, byte(0x3B), next()[0])
			for _, n := range []int{5, 16, 17, 255, 1000, 4000, 9000} {
				require.NoError(t, term.Send(transport.Block, ramp(n)))
				require.Equal(t, ramp(n), next())
			}
		})
	}
}

// FuzzDaemon: whatever answers instead of pigpiod, the client ends with an answer or
// an error.
func FuzzDaemon(f *testing.F) {
	good := binary.LittleEndian.AppendUint32(nil, uint32(cmdBSCX))
	good = append(good, make([]byte, 8)...)
	good = binary.LittleEndian.AppendUint32(good, 7)
	f.Add(append(good, 0, 0, 0, 0, 1, 2, 3))
	f.Add([]byte("220 mail.example.org ESMTP ready\r\n"))
	f.Add([]byte{114, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &client{c: &canned{b: b}}
		for {
			s, rx, err := c.transfer(controlI2C, []byte{1})
			if err != nil {
				break
			}
			require.LessOrEqual(t, len(rx), fifo)
			require.LessOrEqual(t, s.transmitting(), 31)
		}
		c = &client{c: &canned{b: b}}
		for {
			r, err := c.report()
			if err != nil {
				return
			}
			n, event := r.event()
			require.False(t, event && r.edge())
			require.LessOrEqual(t, n, 31)
		}
	})
}

// canned is a connection that says b.
type canned struct {
	net.Conn
	b []byte
}

func (c *canned) SetDeadline(time.Time) error { return nil }
func (c *canned) Write(p []byte) (int, error) { return len(p), nil }
func (c *canned) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b)
	c.b = c.b[n:]
	return n, nil
}

// TestSHDLC: packets through the daemon, both ends ours.
func TestSHDLC(t *testing.T) {
	p := newFakePi(t)
	card, err := transport.Open(p.url("&irq=24&protocol=shdlc"), transport.Target, Schemes)
	require.NoError(t, err)
	defer card.Close()
	require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, b []byte) {
		if k == transport.Packet && len(b) > 0 {
			_ = card.Send(k, b)
		}
	})))
	term, err := shdlc.NewController(func() (bus.Controller, error) { return master{p, 0x48}, nil }, shdlc.Default(), "i2c:test")
	require.NoError(t, err)
	defer term.Close()
	got := make(chan []byte, 10)
	inserted := make(chan bool, 1)
	require.NoError(t, term.Open(context.Background(), receiver(func(k transport.Kind, b []byte) {
		switch {
		case k == transport.Inserted:
			inserted <- true
		case k == transport.Packet && len(b) > 0:
			got <- append([]byte{}, b...)
		}
	})))
	select {
	case <-inserted:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no target", "trouble: %v", transport.Trouble(term))
	}
	for _, n := range []int{1, 15, 100, term.(transport.PacketCarrier).PacketMTU()} {
		require.NoError(t, term.Send(transport.Packet, ramp(n)))
		select {
		case b := <-got:
			require.Equal(t, ramp(n), b)
		case <-time.After(10 * time.Second):
			require.FailNow(t, "nothing came", "trouble: %v", transport.Trouble(term))
		}
	}
}
