package shdlc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// How a controller behaves towards a target that is not there, in real time.
const (
	retryFirst = 50 * time.Millisecond  // pause before the link is set up again;
	retryMost  = 500 * time.Millisecond // it doubles up to this
	slice      = time.Millisecond       // of a wait for the interrupt line that cannot be ended (bus.Waker)
	aside      = 2 * time.Millisecond   // of an idle link, until time is given to the target's timers (see idle)
	leaving    = 250 * time.Millisecond // that Close waits for an access that is under way, and again once the bus is closed
)

// hunted is how much is read at once when the beginning of a frame was missed.
const hunted = 64

// controllerEnd is the terminal's end: a goroutine that makes accesses.
//
//	has something to send, or IRQ is active ── Tx ─> Engine
//	neither ── WaitIRQ, until a deadline of the Engine or until Send wakes it
//	no link ── a pause, then RSET again
type controllerEnd struct {
	end
	dial func() (bus.Controller, error)
	life sync.Mutex // one Open or Close at a time

	woken  atomic.Bool
	alarm  chan struct{} // the same, for pauses
	b      bus.Controller
	gone   chan struct{} // closed when the goroutine has gone
	pulled bool          // the reset line is to be pulled; guarded by mu
	off    bool          // PowerOff was sent; guarded by mu

	// Of the goroutine.
	out, got []byte
	noIRQ    bool // no line, or none that works
	rested   bool // idle has moved the time on since the last access
	nudge    *time.Timer
	nudged   atomic.Bool
	barren   int // accesses in a row that found nothing, but should have
}

// NewController makes the controller's end of a link on the bus that dial opens, as
// often as the link is opened.
//
// The Receiver gets Inserted when the target is there and Removed when it has left or
// has begun anew. PowerOn and Reset pull the reset line, if there is one, and set the
// link up again; PowerOff ends it until then. Until it is known whether there is a
// target Send waits, later it gives ErrNoPeer.
func NewController(dial func() (bus.Controller, error), cfg Config, url string) (transport.Link, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	c := &controllerEnd{dial: dial, alarm: make(chan struct{}, 1)}
	c.init(transport.Controller, cfg, url)
	c.push = c.wake
	return c, nil
}

// Open implements transport.Link.
func (c *controllerEnd) Open(ctx context.Context, r transport.Receiver) error {
	c.life.Lock()
	defer c.life.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		return transport.ErrOpen
	}
	b, err := c.dial()
	if err != nil {
		return fmt.Errorf("link %q: %w", c.url, err)
	}
	c.b, c.gone, c.noIRQ, c.off, c.pulled = b, make(chan struct{}), false, false, false
	c.in.idle()
	c.begin(ctx, r, c.leave)
	c.e.Connect()
	c.setup = true
	go c.run(b, c.session, c.gone)
	return nil
}

// Close implements transport.Link.
func (c *controllerEnd) Close() error {
	c.leave(0)
	return nil
}

func (c *controllerEnd) leave(session uint64) {
	c.life.Lock()
	defer c.life.Unlock()
	c.mu.Lock()
	if !c.finish(session) {
		c.mu.Unlock()
		return
	}
	b, gone := c.b, c.gone
	c.wake()
	c.mu.Unlock()
	select {
	case <-gone:
	case <-time.After(leaving):
	}
	_ = b.Close() // nothing to learn from it
	select {
	case <-gone:
	case <-time.After(leaving):
	}
}

// Send implements transport.Link.
func (c *controllerEnd) Send(k transport.Kind, p []byte) error {
	switch k {
	case transport.Packet:
		return c.sendPacket(p)
	case transport.PowerOn, transport.Reset, transport.PowerOff:
	default:
		return transport.ErrDirection
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return transport.ErrClosed
	}
	c.lose(errPower)
	c.e.Connect()
	c.off = k == transport.PowerOff
	c.pulled = !c.off
	c.setup = !c.off
	c.wake()
	return nil
}

// wake ends a wait of the goroutine.
func (c *controllerEnd) wake() {
	if c.woken.Swap(true) {
		return
	}
	select {
	case c.alarm <- struct{}{}:
	default:
	}
	if w, ok := c.b.(bus.Waker); ok {
		w.Wake()
	}
}

// run is the goroutine.
func (c *controllerEnd) run(b bus.Controller, session uint64, gone chan struct{}) {
	defer close(gone)
	if p, ok := b.(bus.Presence); ok {
		p.Presence(func(there bool) { c.presence(session, there) })
	}
	clock := b.Clock()
	pause := retryFirst
	look := false // a target without an interrupt line may have something
	for {
		c.woken.Store(false)
		active := !c.in.midway() && !c.noIRQ && c.irq(b, 0)
		c.mu.Lock()
		if c.session != session { // it has been given up
			c.mu.Unlock()
			return
		}
		if !c.open {
			c.farewell()
			c.mu.Unlock()
			if len(c.out) > 0 {
				_ = c.write(b, clock) // who hears it, hears it
			}
			return
		}
		if c.pulled {
			c.pulled = false
			c.mu.Unlock()
			_ = b.Reset() // without the line RSET has to do
			c.mu.Lock()
		}
		now := clock.Now()
		c.note(c.e.Expire(now))
		c.refill()
		c.out = c.out[:0]
		if f := c.e.Next(); f != nil {
			c.out = c.mac.append(c.out, f)
		}
		read := active || c.in.midway() || c.noIRQ && look
		deadline, timed := c.e.Deadline()
		idle, off := c.e.State() == Idle, c.off
		c.mu.Unlock()

		switch {
		case len(c.out) > 0 || read && !idle:
			wrote := len(c.out) > 0
			look = c.access(b, clock, read) || wrote
			if off {
				c.disconnect()
			}
		case off:
			<-c.alarm
		case idle:
			select {
			case <-c.alarm:
			case <-time.After(pause):
				pause = min(2*pause, retryMost)
			}
			c.reconnect()
		default:
			if timed {
				deadline = max(deadline-clock.Now(), 0)
			} else {
				deadline, pause = -1, retryFirst
			}
			look = c.wait(b, clock, deadline)
		}
	}
}

// farewell prepares the last frame: a RSET, so that the target knows; mu is held.
func (c *controllerEnd) farewell() {
	c.out = c.out[:0]
	if c.up {
		c.e.Connect()
		c.out = c.mac.append(c.out, c.e.Next())
	}
	c.e.Drop()
	c.lose(nil)
}

// disconnect is what PowerOff ends with.
func (c *controllerEnd) disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		c.e.Drop()
	}
}

// reconnect tries again, after a pause.
func (c *controllerEnd) reconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.e.State() == Idle && !c.off {
		c.e.Connect()
	}
}

// presence is told by buses that know it.
func (c *controllerEnd) presence(session uint64, there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open || c.session != session {
		return
	}
	if !there {
		c.e.Drop()
		c.lose(errAway)
	}
	c.wake()
}

// access makes one access and tells whether the target had something.
func (c *controllerEnd) access(b bus.Controller, clock bus.Clock, read bool) (found bool) {
	c.rested = false
	var got []byte
	wrote := len(c.out) > 0
	var err error
	if b.Physical() == bus.I2C {
		if wrote {
			err = c.write(b, clock)
		} else {
			got = c.buffer(c.need())
			err = b.Tx(nil, got)
		}
	} else {
		n := len(c.out)
		if read {
			n = max(n, c.need())
		}
		got = c.buffer(n)
		if wrote {
			for len(c.out) < n {
				c.out = append(c.out, bus.IdleByte)
			}
			err = b.Tx(c.out, got)
		} else {
			err = b.Tx(nil, got)
		}
	}
	found = err == nil && !blank(got)
	c.mu.Lock()
	now := clock.Now()
	c.fault = err
	if wrote {
		c.e.Sent(now) // also what failed: it is sent again in its time
	}
	if err == nil {
		c.arrived(now, got)
	}
	switch {
	case found || got == nil:
		c.barren = 0
	case !read:
	default:
		if c.barren++; c.barren >= barrenMost {
			c.quiet(now)
		}
	}
	c.mu.Unlock()
	if c.barren >= barrenMost && !c.noIRQ {
		clock.Sleep(c.cfg.Poll) // the line promises what is not there
	}
	return found
}

// barrenMost is how often in a row an access may find nothing where there should be
// something, before what has begun is given up.
const barrenMost = 3

// write writes c.out; a target that does not acknowledge is asked some times more.
func (c *controllerEnd) write(b bus.Controller, clock bus.Clock) error {
	for try := 1; ; try++ {
		err := b.Tx(c.out, nil)
		if !errors.Is(err, bus.ErrNACK) || try == barrenMost {
			return err
		}
		clock.Sleep(c.cfg.Poll)
	}
}

// need is how many octets to read.
func (c *controllerEnd) need() int {
	if c.in.hunt {
		return hunted
	}
	return c.in.missing()
}

func (c *controllerEnd) buffer(n int) []byte {
	c.got = slices.Grow(c.got[:0], n)[:n]
	return c.got
}

// blank tells whether p is that of a line that does not move.
func blank(p []byte) bool {
	for _, b := range p {
		if b != p[0] || b != 0 && b != bus.IdleByte {
			return false
		}
	}
	return true
}

// irq is WaitIRQ. A bus that cannot do it is polled from then on.
func (c *controllerEnd) irq(b bus.Controller, timeout time.Duration) bool {
	active, err := b.WaitIRQ(timeout)
	c.noIRQ = err != nil
	return active
}

// wait waits for the interrupt line, for wake or for d to pass, none when negative;
// it tells whether the target is to be looked at because nothing else would tell.
func (c *controllerEnd) wait(b bus.Controller, clock bus.Clock, d time.Duration) (look bool) {
	switch _, wakes := b.(bus.Waker); {
	case c.woken.Load():
	case c.noIRQ && d >= 0:
		clock.Sleep(min(d, c.cfg.Poll))
	case c.noIRQ:
		// There may be nothing for hours: half the wait is in real time, lest a virtual
		// clock races.
		select {
		case <-c.alarm:
		case <-time.After(c.cfg.Poll / 2):
			clock.Sleep(c.cfg.Poll / 2)
		}
	case wakes && d < 0:
		c.idle(b)
	case wakes || d >= 0 && d <= slice:
		c.irq(b, d)
	default:
		c.irq(b, slice)
	}
	return c.noIRQ
}

// idle waits when this end has nothing to wait for but the other end. A virtual clock
// stands still then, with all timers of the target; so it is moved on once, behind
// all of these, when nothing has happened for a little real time.
func (c *controllerEnd) idle(b bus.Controller) {
	if c.rested {
		c.irq(b, -1)
		return
	}
	c.nudged.Store(false)
	if c.nudge == nil {
		c.nudge = time.AfterFunc(aside, func() {
			c.nudged.Store(true)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.wake()
		})
	} else {
		c.nudge.Reset(aside)
	}
	active := c.irq(b, -1)
	c.nudge.Stop()
	if !active && c.nudged.Load() {
		c.rested = true
		c.irq(b, 2*c.cfg.T2)
	}
}
