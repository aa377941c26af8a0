package bus

import (
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// A Wire seen by drivers of periph.io: its controller's end as SPI port or I2C bus
// and its lines as pins.

// SPI opens the controller's end for drivers of periph.io. Connect must ask for the
// mode and the words of the bus.
func (w *Wire) SPI() (spi.PortCloser, error) {
	if w.o.Physical != SPI {
		return nil, fmt.Errorf("%s: this is no SPI bus", w)
	}
	c, err := w.Controller()
	if err != nil {
		return nil, err
	}
	return &simPort{c: c.(*simController)}, nil
}

// I2C opens the controller's end for drivers of periph.io.
func (w *Wire) I2C() (i2c.BusCloser, error) {
	if w.o.Physical != I2C {
		return nil, fmt.Errorf("%s: this is no I2C bus", w)
	}
	c, err := w.Controller()
	if err != nil {
		return nil, err
	}
	return simBus{c.(*simController)}, nil
}

// hertz is f in Hz.
func hertz(f physic.Frequency) int64 { return int64(f / physic.Hertz) }

// simPort is the controller's end as an SPI port, and once connected as its Conn.
type simPort struct {
	c         *simController
	connected bool
	limit     int64 // of LimitSpeed
	device    int64 // of Connect
	w, r      []byte
}

var _ spi.Conn = (*simPort)(nil)
var _ conn.Limits = (*simPort)(nil)

func (p *simPort) String() string      { return p.c.String() }
func (p *simPort) Close() error        { return p.c.Close() }
func (p *simPort) Duplex() conn.Duplex { return conn.Full }
func (p *simPort) MaxTxSize() int      { return maxAccess }

// LimitSpeed implements spi.PortCloser.
func (p *simPort) LimitSpeed(f physic.Frequency) error {
	if f <= 0 {
		return fmt.Errorf("%s: a speed of %v", p, f)
	}
	p.limit = hertz(f)
	return p.speed()
}

func (p *simPort) speed() error {
	hz := p.c.w.o.Hz
	for _, f := range []int64{p.limit, p.device} {
		if f > 0 {
			hz = min(hz, f)
		}
	}
	return p.c.SetSpeed(hz)
}

// Connect implements spi.Port.
func (p *simPort) Connect(f physic.Frequency, mode spi.Mode, bits int) (spi.Conn, error) {
	o := p.c.w.o
	switch {
	case p.connected:
		return nil, fmt.Errorf("%s: Connect was called twice", p)
	case mode != spi.Mode(o.Mode):
		return nil, fmt.Errorf("%s: the bus is in %v, not in %v", p, spi.Mode(o.Mode), mode)
	case bits != o.Word:
		return nil, fmt.Errorf("%s: words on this bus have %d bits, not %d", p, o.Word, bits)
	}
	p.connected = true
	p.device = hertz(f)
	return p, p.speed()
}

// Tx implements conn.Conn.
func (p *simPort) Tx(w, r []byte) error {
	if len(w) == 0 {
		w = nil
	}
	if len(r) == 0 {
		r = nil
	}
	return p.c.Tx(w, r)
}

// TxPackets implements spi.Conn: packets with KeepCS and the one after them are one
// access.
func (p *simPort) TxPackets(packets []spi.Packet) error {
	begin := 0
	p.w, p.r = p.w[:0], p.r[:0]
	for i, k := range packets {
		n := max(len(k.W), len(k.R))
		if len(k.W) != n && len(k.W) != 0 || len(k.R) != n && len(k.R) != 0 {
			return errLengths
		}
		if k.BitsPerWord != 0 && int(k.BitsPerWord) != p.c.w.o.Word {
			return fmt.Errorf("%s: words on this bus have %d bits, not %d", p, p.c.w.o.Word, k.BitsPerWord)
		}
		p.w = append(append(p.w, k.W...), make([]byte, n-len(k.W))...)
		if k.KeepCS {
			continue
		}
		p.r = append(p.r[:0], p.w...)
		if err := p.c.Tx(p.w, p.r); err != nil {
			return err
		}
		for _, k := range packets[begin : i+1] {
			copy(k.R, p.r)
			p.r = p.r[max(len(k.W), len(k.R)):]
		}
		begin, p.w = i+1, p.w[:0]
	}
	if begin < len(packets) {
		return fmt.Errorf("%s: CS cannot stay low after the last packet", p)
	}
	return nil
}

// simBus is the controller's end as an I2C bus.
type simBus struct{ c *simController }

func (b simBus) String() string                    { return b.c.String() }
func (b simBus) Close() error                      { return b.c.Close() }
func (b simBus) SetSpeed(f physic.Frequency) error { return b.c.SetSpeed(hertz(f)) }
func (b simBus) Tx(addr uint16, w, r []byte) error { return b.c.tx(addr, w, r) }

// errDriven is the error of a pin that the other end drives.
var errDriven = errors.New("bus: the line is driven by the other end")

// simPin is what the pins of a Wire share.
type simPin struct {
	gpio.PinIO // INVALID: what a line of a bus cannot do
	w          *Wire
	l          Line
}

func (p simPin) String() string   { return p.w.String() + " " + p.l.String() }
func (p simPin) Name() string     { return p.l.String() }
func (p simPin) Number() int      { return -1 }
func (p simPin) Function() string { return p.l.String() }
func (p simPin) Halt() error      { return nil }

// IRQPin is the interrupt line for the controller: high when active. WaitForEdge
// passes in the time of the bus; below 0 it takes none.
func (w *Wire) IRQPin() gpio.PinIO {
	return &irqPin{simPin: simPin{gpio.INVALID, w, IRQ}}
}

type irqPin struct {
	simPin
	edge gpio.Edge
	seen int64 // edges before
}

// edges counts the edges of the wanted kind.
func (p *irqPin) edges() (n int64) {
	if p.edge&gpio.FallingEdge != 0 {
		n += p.w.irqEdges[0].Load()
	}
	if p.edge&gpio.RisingEdge != 0 {
		n += p.w.irqEdges[1].Load()
	}
	return n
}

// In implements gpio.PinIn.
func (p *irqPin) In(_ gpio.Pull, edge gpio.Edge) error {
	if p.w.o.NoIRQ {
		return ErrNoLine
	}
	p.edge = edge
	p.seen = p.edges()
	return nil
}

// Read implements gpio.PinIn.
func (p *irqPin) Read() gpio.Level { return gpio.Level(p.w.irqActive()) }

// WaitForEdge implements gpio.PinIn.
func (p *irqPin) WaitForEdge(timeout time.Duration) bool {
	done := func() bool { return p.edges() != p.seen }
	v := p.w.clock
	if timeout < 0 {
		v.await(done, func() bool { return false })
	} else {
		v.lock()
		v.advance(v.now+timeout, done, nil)
		v.mu.Unlock()
	}
	there := done()
	p.seen = p.edges()
	return there
}

// Out implements gpio.PinOut.
func (p *irqPin) Out(gpio.Level) error { return errDriven }

// ResetPin is the reset line for the controller: active low.
func (w *Wire) ResetPin() gpio.PinIO { return resetPin{simPin{gpio.INVALID, w, RST}} }

type resetPin struct{ simPin }

// In implements gpio.PinIn.
func (p resetPin) In(gpio.Pull, gpio.Edge) error { return nil }

// Read implements gpio.PinIn.
func (p resetPin) Read() gpio.Level {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return gpio.Level(!p.w.inReset)
}

// Out implements gpio.PinOut.
func (p resetPin) Out(l gpio.Level) error {
	if p.w.o.NoReset {
		return ErrNoLine
	}
	p.w.pullReset(!bool(l))
	return nil
}
