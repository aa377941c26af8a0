package pigpio

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport/bus"
)

// fakePi is pigpiod on a Pi with its BSC peripheral, for the commands that are used
// here, and the controller of the bus that is wired to it. TestDouble checks it with
// Debian's real client.
//
// The controller is slow: it waits for a FIFO that is full, or runs dry within an
// access, as a slow clock would have it.
type fakePi struct {
	ln net.Listener

	mu       sync.Mutex
	move     sync.Cond // something has changed
	control  uint32
	tx, rx   []byte
	busy     bool            // an access is under way
	levels   uint32          // of GPIO
	modes    map[uint32]bool // outputs
	notes    map[uint32]*note
	conns    map[net.Conn]bool
	handles  uint32
	commands int
	irq, rst int
}

type note struct {
	c            net.Conn
	bits, events uint32
	seq          uint16
}

const bscFIFO = 16

func newFakePi(t testing.TB) *fakePi {
	p := &fakePi{
		levels: 1 << 25, modes: map[uint32]bool{}, notes: map[uint32]*note{}, conns: map[net.Conn]bool{}, irq: 24, rst: 25,
	}
	p.move.L = &p.mu
	p.listen(t, "127.0.0.1:0")
	t.Cleanup(p.stop)
	return p
}

func (p *fakePi) listen(t testing.TB, addr string) {
	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	p.ln = ln
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns[c] = true
			p.mu.Unlock()
			go p.serve(c)
		}
	}()
}

// stop is the daemon killed.
func (p *fakePi) stop() {
	p.ln.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
	clear(p.notes)
	p.control, p.tx, p.rx = 0, nil, nil
	p.move.Broadcast()
}

func (p *fakePi) serve(c net.Conn) {
	defer c.Close()
	var h [16]byte
	for {
		if _, err := io.ReadFull(c, h[:]); err != nil {
			return
		}
		n := binary.LittleEndian.Uint32(h[12:])
		if n > 1<<16 {
			return
		}
		ext := make([]byte, n)
		if _, err := io.ReadFull(c, ext); err != nil {
			return
		}
		p.mu.Lock()
		p.commands++
		res, out := p.do(c, command(binary.LittleEndian.Uint32(h[:])), binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[8:]), ext)
		binary.LittleEndian.PutUint32(h[12:], uint32(res))
		_, err := c.Write(append(h[:], out...))
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// do carries out one command; mu is held.
func (p *fakePi) do(c net.Conn, cmd command, p1, p2 uint32, ext []byte) (int32, []byte) {
	defer p.move.Broadcast()
	switch cmd {
	case cmdModes:
		if p1 > 53 {
			return -3, nil
		}
		p.modes[p1] = p2 == modeOutput
		return 0, nil
	case cmdPUD, cmdNC:
		return 0, nil
	case 3: // READ
		return int32(p.levels >> p1 & 1), nil
	case cmdWrite:
		p.levels = p.levels&^(1<<p1) | p2<<p1
		return 0, nil
	case cmdBR1:
		return int32(p.levels), nil
	case cmdHWVER:
		return 0xA02082, nil
	case cmdPIGPV:
		return 79, nil
	case cmdNOIB:
		p.handles++
		p.notes[p.handles] = &note{c: c}
		return int32(p.handles), nil
	case cmdNB, cmdEVM:
		n := p.notes[p1]
		if n == nil {
			return -25, nil
		}
		if cmd == cmdNB {
			n.bits = p2
		} else {
			n.events = p2
		}
		return 0, nil
	case cmdBSCX:
		return p.bscx(p1, ext)
	}
	return -88, nil
}

// bscx is the transfer; while the controller reads, the FIFO is filled up again.
func (p *fakePi) bscx(control uint32, tx []byte) (int32, []byte) {
	p.control = control
	if control&controlBK != 0 || control == 0 {
		p.tx, p.rx = nil, nil
	}
	var rx []byte
	copied := 0
	for {
		rx, p.rx = append(rx, p.rx...), p.rx[:0]
		n := min(len(tx)-copied, bscFIFO-len(p.tx))
		p.tx = append(p.tx, tx[copied:copied+n]...)
		copied += n
		p.move.Broadcast()
		if !p.busy || copied == len(tx) || p.control == 0 {
			break
		}
		p.move.Wait()
	}
	st := uint32(len(p.tx))<<6 | uint32(copied)<<16
	for _, b := range []struct {
		bit uint32
		on  bool
	}{{1, true}, {2, len(p.tx) == bscFIFO}, {4, len(p.tx) == 0}, {5, p.busy}} {
		if b.on {
			st |= 1 << b.bit
		}
	}
	return int32(4 + len(rx)), append(binary.LittleEndian.AppendUint32(nil, st), rx...)
}

// notify sends a report to whoever wants it; mu is held.
func (p *fakePi) notify(flags uint16, want func(n *note) bool) {
	for _, n := range p.notes {
		if !want(n) {
			continue
		}
		b := binary.LittleEndian.AppendUint16(nil, n.seq)
		b = binary.LittleEndian.AppendUint16(b, flags)
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, p.levels)
		n.seq++
		_, _ = n.c.Write(b) // who has gone is told nothing
	}
}

// master is the controller of the bus.
type master struct {
	p    *fakePi
	addr uint32
}

func (m master) Physical() bus.Physical { return bus.I2C }
func (m master) SetSpeed(int64) error   { return nil }
func (m master) Clock() bus.Clock       { return bus.Real() }
func (m master) Close() error           { return nil }
func (m master) String() string         { return "the controller of the test" }

// until waits for something, no longer than d; mu is held.
func (p *fakePi) until(d time.Duration, what func() bool) bool {
	end := time.Now().Add(d)
	defer time.AfterFunc(d, func() {
		p.mu.Lock()
		p.move.Broadcast()
		p.mu.Unlock()
	}).Stop()
	for !what() {
		if !time.Now().Before(end) {
			return false
		}
		p.move.Wait()
	}
	return true
}

func (m master) Tx(w, r []byte) error {
	p := m.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.control&controlI2C != controlI2C || p.control>>controlAddr&127 != m.addr {
		return bus.ErrNACK
	}
	p.busy = true
	defer func() {
		p.busy = false
		p.move.Broadcast()
		p.notify(1<<7|eventBSC, func(n *note) bool { return n.events>>eventBSC&1 != 0 })
	}()
	for _, b := range w {
		if !p.until(time.Second, func() bool { return len(p.rx) < bscFIFO }) {
			return bus.ErrStuck
		}
		p.rx = append(p.rx, b)
		p.move.Broadcast()
	}
	clear(r)
	for i := range r {
		if len(p.tx) == 0 && (i == 0 || !p.until(20*time.Millisecond, func() bool { return len(p.tx) > 0 })) {
			return nil // 00 from here on
		}
		r[i], p.tx = p.tx[0], p.tx[1:]
		p.move.Broadcast()
	}
	return nil
}

func (m master) WaitIRQ(timeout time.Duration) (bool, error) {
	m.p.mu.Lock()
	defer m.p.mu.Unlock()
	if m.p.irq < 0 {
		return false, bus.ErrNoLine
	}
	return m.p.until(max(timeout, 0), func() bool { return m.p.levels>>m.p.irq&1 != 0 }), nil
}

func (m master) Reset() error {
	p := m.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rst < 0 {
		return bus.ErrNoLine
	}
	for _, level := range []uint32{0, 1} {
		p.levels = p.levels&^(1<<p.rst) | level<<p.rst
		p.notify(0, func(n *note) bool { return n.bits>>p.rst&1 != 0 })
	}
	return nil
}
