package shdlc

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/linktest"
)

// cable is a bus in real time, of which neither end can do more than it must: no Wake,
// no Presence, no PowerOff.
type cable struct {
	bus.Clock
	physical bus.Physical

	mu     sync.Mutex
	change sync.Cond
	irq    bool
	target bus.Target
}

func (c *cable) Physical() bus.Physical { return c.physical }
func (c *cable) String() string         { return "cable:" }

// plug is the controller's end.
type plug struct {
	*cable
	closed bool
}

func (p *plug) SetSpeed(int64) error { return nil }
func (p *plug) Clock() bus.Clock     { return p.cable.Clock }
func (p *plug) PhysicalBus() *cable  { return p.cable }
func (p *plug) Reset() error         { return bus.ErrNoLine }
func (p *plug) wake()                { p.mu.Lock(); p.change.Broadcast(); p.mu.Unlock() }
func (p *plug) Close() error         { p.mu.Lock(); p.closed = true; p.mu.Unlock(); p.wake(); return nil }
func (p *plug) Tx(out, in []byte) error {
	p.mu.Lock()
	t, closed := p.target, p.closed
	p.mu.Unlock()
	if closed {
		return bus.ErrClosed
	}
	for i := range in {
		in[i] = bus.IdleByte
	}
	if t == nil {
		if p.physical == bus.I2C {
			return bus.ErrNACK
		}
		return nil
	}
	if in != nil {
		n := copy(in, t.Pending())
		if n == 0 && p.physical == bus.I2C {
			return bus.ErrNACK
		}
		if n > 0 {
			t.Taken(n)
		}
	}
	if p.physical == bus.SPI && out == nil {
		out = make([]byte, len(in))
	}
	if out != nil {
		t.Written(out)
	}
	return nil
}

func (p *plug) WaitIRQ(timeout time.Duration) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := time.Now().Add(timeout)
	if timeout > 0 {
		defer time.AfterFunc(timeout, p.wake).Stop()
	}
	for !p.irq {
		if p.closed {
			return false, bus.ErrClosed
		}
		if timeout >= 0 && !time.Now().Before(end) {
			return false, nil
		}
		p.change.Wait()
	}
	return true, nil
}

// socket is the target's end.
type socket struct{ *cable }

func (s socket) Attach(t bus.Target) (bus.Lines, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target, s.irq = t, false
	return lines(s), nil
}

func (s socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target = nil
	return nil
}

type lines struct{ *cable }

func (l lines) Clock() bus.Clock { return l.cable.Clock }
func (l lines) SetIRQ(active bool) {
	l.mu.Lock()
	l.irq = active
	l.change.Broadcast()
	l.mu.Unlock()
}

// TestRealTime: the link on a bus in real time that can do the least.
func TestRealTime(t *testing.T) {
	for _, physical := range []bus.Physical{bus.SPI, bus.I2C} {
		t.Run(physical.String(), func(t *testing.T) {
			t.Parallel()
			linktest.RunPackets(t, func(t *testing.T) (controller, target transport.Link) {
				c := &cable{Clock: bus.Real(), physical: physical}
				c.change.L = &c.mu
				controller, err := NewController(func() (bus.Controller, error) { return &plug{cable: c}, nil }, Default(), "cable:")
				require.NoError(t, err)
				target, err = NewTarget(socket{c}, Default(), "cable:")
				require.NoError(t, err)
				return controller, target
			})
		})
	}
}
