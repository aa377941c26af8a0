package bus

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

// Pins are the lines beside the bus that go to one target.
type Pins struct {
	IRQ    gpio.PinIn // nil when it is not wired
	IRQLow bool       // it is active low
	Reset  gpio.PinOut
	Clock  Clock // Real by default
}

// How real lines are handled.
const (
	// hardReset is how long Reset pulls the line.
	hardReset = 10 * time.Millisecond
	// edgeSlice is how long one wait for an edge takes; a Halt that is not heard ends
	// after that.
	edgeSlice = time.Second
	// pollPin is how often a pin is looked at that cannot wait for edges.
	pollPin = 2 * time.Millisecond
)

// OverSPI is the controller's end of a bus that is a port of periph.io, such as a
// device of Linux. hz is the most that SetSpeed gives, and the speed at first. After an
// error the port is still the caller's to close.
func OverSPI(port spi.PortCloser, hz int64, mode uint8, p Pins) (Controller, error) {
	c, err := port.Connect(physic.Frequency(hz)*physic.Hertz, spi.Mode(mode), 8)
	if err != nil {
		return nil, err
	}
	return newHardware(&hardware{
		name: port.String(), physical: SPI, hz: hz, pins: p,
		tx: func(w, r []byte) error {
			if w != nil && r != nil && len(w) != len(r) {
				return errLengths
			}
			return c.Tx(w, r)
		},
		speed: func(hz int64) error { return port.LimitSpeed(physic.Frequency(hz) * physic.Hertz) },
		close: port.Close,
	})
}

// OverI2C is the controller's end of a bus of periph.io, such as a device of Linux,
// for the target at addr. Many buses of Linux cannot change their speed; they keep
// theirs, as all do when hz is 0. After an error the bus is still the caller's to close.
func OverI2C(b i2c.BusCloser, addr uint16, hz int64, p Pins) (Controller, error) {
	c := &hardware{
		name: b.String(), physical: I2C, hz: hz, pins: p,
		tx: func(w, r []byte) error { return acknowledged(b.Tx(addr, w, r)) },
		speed: func(hz int64) error {
			if err := b.SetSpeed(physic.Frequency(hz) * physic.Hertz); err != nil && !strings.Contains(err.Error(), "not supported") {
				return err
			}
			return nil
		},
		close: b.Close,
	}
	if hz > 0 {
		if err := c.speed(hz); err != nil {
			return nil, err
		}
	}
	return newHardware(c)
}

// acknowledged makes ErrNACK and ErrStuck of the errors of Linux, which periph.io
// gives as text (Linux, Documentation/i2c/fault-codes.rst: ENXIO and, of many
// drivers, EREMOTEIO; ETIMEDOUT).
func acknowledged(err error) error {
	if err == nil || errors.Is(err, ErrNACK) || errors.Is(err, ErrStuck) {
		return err
	}
	switch s := err.Error(); {
	case strings.Contains(s, "remote I/O error"), strings.Contains(s, "no such device or address"):
		return ErrNACK
	case strings.Contains(s, "timed out"):
		return fmt.Errorf("%w (%w)", ErrStuck, err)
	}
	return err
}

// hardware is a Controller over periph.io.
type hardware struct {
	name     string
	physical Physical
	hz       int64 // the most
	pins     Pins
	tx       func(w, r []byte) error
	speed    func(hz int64) error
	close    func() error

	once   sync.Once     // starts edges
	edge   chan struct{} // an edge, or time to look
	wake   chan struct{}
	closed chan struct{}
	end    sync.Once
	ended  error
}

func newHardware(h *hardware) (Controller, error) {
	if h.pins.Clock == nil {
		h.pins.Clock = Real()
	}
	h.edge, h.wake, h.closed = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	if p := h.pins.IRQ; p != nil {
		pull, edge := gpio.PullDown, gpio.RisingEdge
		if h.pins.IRQLow {
			pull, edge = gpio.PullUp, gpio.FallingEdge
		}
		if err := p.In(pull, edge); err != nil {
			// Not every pin has pull resistors of its own.
			if err = p.In(gpio.PullNoChange, edge); err != nil {
				return nil, fmt.Errorf("%s: interrupt line %s: %w", h.name, p, err)
			}
		}
	}
	if p := h.pins.Reset; p != nil {
		if err := p.Out(gpio.High); err != nil {
			return nil, fmt.Errorf("%s: reset line %s: %w", h.name, p, err)
		}
	}
	return h, nil
}

func (h *hardware) Physical() Physical { return h.physical }
func (h *hardware) Clock() Clock       { return h.pins.Clock }
func (h *hardware) String() string     { return h.name }

// Tx implements Controller.
func (h *hardware) Tx(w, r []byte) error {
	select {
	case <-h.closed:
		return ErrClosed
	default:
		return h.tx(w, r)
	}
}

// SetSpeed implements Controller.
func (h *hardware) SetSpeed(hz int64) error {
	if hz < 1 {
		return fmt.Errorf("bus: a speed of %d Hz", hz)
	}
	if h.hz > 0 {
		hz = min(hz, h.hz)
	}
	return h.speed(hz)
}

// active is the level of the interrupt line.
func (h *hardware) active() bool { return bool(h.pins.IRQ.Read()) != h.pins.IRQLow }

// WaitIRQ implements Controller.
func (h *hardware) WaitIRQ(timeout time.Duration) (bool, error) {
	if h.pins.IRQ == nil {
		return false, ErrNoLine
	}
	var over <-chan time.Time
	for {
		select {
		case <-h.closed:
			return false, ErrClosed
		case <-h.wake:
			return false, nil
		default:
		}
		if h.active() {
			return true, nil
		}
		if timeout == 0 {
			return false, nil
		}
		if timeout > 0 && over == nil {
			t := time.NewTimer(timeout)
			defer t.Stop()
			over = t.C
		}
		h.once.Do(func() { go h.edges() })
		select {
		case <-h.edge:
		case <-h.wake:
			return false, nil
		case <-h.closed:
			return false, ErrClosed
		case <-over:
			return h.active(), nil
		}
	}
}

// edges turns edges into something that can be waited for beside other things.
func (h *hardware) edges() {
	for {
		begun := time.Now()
		seen := h.pins.IRQ.WaitForEdge(edgeSlice)
		select {
		case <-h.closed:
			return
		default:
		}
		if !seen && time.Since(begun) < edgeSlice/2 {
			time.Sleep(pollPin) // it does not wait: look at the level instead
		}
		select {
		case h.edge <- struct{}{}:
		default:
		}
	}
}

// Wake implements Waker.
func (h *hardware) Wake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Reset implements Controller.
func (h *hardware) Reset() error {
	p := h.pins.Reset
	if p == nil {
		return ErrNoLine
	}
	if err := p.Out(gpio.Low); err != nil {
		return fmt.Errorf("%s: reset line %s: %w", h.name, p, err)
	}
	h.pins.Clock.Sleep(hardReset)
	if err := p.Out(gpio.High); err != nil {
		return fmt.Errorf("%s: reset line %s: %w", h.name, p, err)
	}
	return nil
}

// Close implements Controller.
func (h *hardware) Close() error {
	h.end.Do(func() {
		close(h.closed)
		if h.pins.IRQ != nil {
			_ = h.pins.IRQ.Halt() // ends a wait for an edge, where it can
		}
		h.ended = h.close()
	})
	return h.ended
}
