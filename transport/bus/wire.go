package bus

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Options describe a simulated bus. The zero value is an SPI bus of 10 MHz in mode 0
// with interrupt and reset lines.
type Options struct {
	Physical Physical // SPI by default
	Name     string   // for String
	Hz       int64    // the most that SetSpeed gives, and the speed at first: 10 MHz on SPI, 400 kHz on I2C
	Clock    *Virtual // of its own by default

	Mode  uint8         // SPI mode 0 to 3: CPOL<<1 | CPHA
	Word  int           // SPI: bits of a word, 8 (default), 16 or 32; an access is whole words
	Setup time.Duration // SPI: from CS to the first bit; half a bit by default
	Hold  time.Duration // SPI: from the last bit to CS; half a bit by default
	Guard time.Duration // the least time between two accesses

	Addr uint16 // I2C: the target's, 7 bits; 0x48 by default

	NoIRQ, NoReset bool // the line is not there

	Faults Faults
}

// resetPulse is how long Reset pulls the line.
const resetPulse = time.Millisecond

// maxAccess bounds one access.
const maxAccess = 1 << 16

// Wire is a simulated bus between a controller and a target in one process, in
// virtual time.
//
//	Controller.Tx ─> wait for Hold ─> time passes, bit by bit ─> Taken, Written
//	                                      │
//	                            Ledger, Faults, Watcher
//
// It is deterministic: the same accesses, the same Faults, the same bits at the same
// times. Bits are counted, and drawn one by one only for a Watcher.
type Wire struct {
	o     Options
	clock *Virtual

	access sync.Mutex // one access at a time; guards what follows
	hz     int64
	rem    int64         // what is left of the last nanosecond, in parts of 2*hz
	end    time.Duration // of the last access
	began  bool          // there was an access
	buf    []byte        // what arrives at the target

	draw drawing

	faults   atomic.Pointer[injector]
	irq      atomic.Bool
	irqEdges [2]atomic.Int64 // falling, rising
	irqStuck atomic.Int32    // 0, or 1 for low and 2 for high

	calls sync.Mutex // one method of the target at a time

	mu       sync.Mutex // guards what follows
	ledger   Ledger
	target   *seat
	ctl      *simController
	presence func(bool)
	inReset  bool // the reset line is low
	cut      bool // the power is cut
	lost     bool // the target was told that its power has gone
}

// NewWire makes a simulated bus.
func NewWire(o Options) (*Wire, error) {
	if o.Physical == 0 {
		o.Physical = SPI
	}
	if o.Hz == 0 {
		o.Hz = 10_000_000
		if o.Physical == I2C {
			o.Hz = 400_000
		}
	}
	if o.Word == 0 {
		o.Word = 8
	}
	if o.Addr == 0 {
		o.Addr = 0x48
	}
	if o.Clock == nil {
		o.Clock = &Virtual{}
	}
	switch {
	case o.Hz < 1 || o.Hz > 1e9:
		return nil, fmt.Errorf("bus: a speed of %d Hz cannot be simulated (use 1 to 1,000,000,000)", o.Hz)
	case o.Mode > 3:
		return nil, fmt.Errorf("bus: there is no SPI mode %d (use 0 to 3)", o.Mode)
	case o.Word != 8 && o.Word != 16 && o.Word != 32:
		return nil, fmt.Errorf("bus: words of %d bits do not carry whole bytes (use 8, 16 or 32)", o.Word)
	case o.Addr > 0x7F:
		return nil, fmt.Errorf("bus: %#x is not an I2C address of 7 bits", o.Addr)
	}
	w := &Wire{o: o, clock: o.Clock, hz: o.Hz}
	w.ledger.Physical = o.Physical
	w.SetFaults(o.Faults)
	return w, nil
}

// String names the bus.
func (w *Wire) String() string {
	scheme := "simspi:"
	if w.o.Physical == I2C {
		scheme = "simi2c:"
	}
	return scheme + w.o.Name
}

// Clock is the time of the bus.
func (w *Wire) Clock() *Virtual { return w.clock }

// Controller opens the controller's end. There is one at a time.
func (w *Wire) Controller() (Controller, error) {
	w.mu.Lock()
	if w.ctl != nil {
		w.mu.Unlock()
		return nil, fmt.Errorf("%s: there is a controller on this bus already", w)
	}
	c := &simController{w: w}
	c.quit = c.closed.Load
	c.done = func() bool { return c.woken.Load() || w.irqActive() }
	w.ctl = c
	back := w.lost && !w.cut && w.target != nil
	w.lost = w.lost && !back
	t := w.target
	w.mu.Unlock()
	if back {
		w.call(t.Reset)
	}
	return c, nil
}

// Socket is the place of the target.
func (w *Wire) Socket() Socket { return simSocket{w} }

// SetFaults replaces the faults from the next access on, and starts them anew.
func (w *Wire) SetFaults(f Faults) {
	i := newInjector(f)
	w.faults.Store(i)
	w.stick(i)
}

// stick makes the interrupt line stuck if it is its time.
func (w *Wire) stick(i *injector) {
	level := int32(0)
	if i.stuck(IRQ) {
		level = 1
		if i.StuckHigh {
			level = 2
		}
	}
	if w.irqStuck.Swap(level) != level {
		w.clock.wake()
	}
}

// Ledger tells what the bus did so far; during an access it waits.
func (w *Wire) Ledger() Ledger {
	w.access.Lock()
	defer w.access.Unlock()
	now := w.clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.ledger
	l.Hz = w.hz
	l.Time[Idle] = now - l.Busy
	for c := Select; c < Idle; c++ {
		l.Time[Idle] -= l.Time[c]
	}
	return l
}

// call runs one method of the target.
func (w *Wire) call(f func()) {
	w.calls.Lock()
	defer w.calls.Unlock()
	f()
}

// seat is a Target as long as it is in.
type seat struct{ Target }

// powerOff tells the target, if there is one, that its power has gone.
func (w *Wire) powerOff(s *seat) {
	if s == nil {
		return
	}
	if p, ok := s.Target.(Powered); ok {
		w.call(p.PowerOff)
	}
}

// alive is the target, when it is there and has power.
func (w *Wire) alive() *seat {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut || w.inReset {
		return nil
	}
	return w.target
}

// irqActive is the level of the interrupt line.
func (w *Wire) irqActive() bool {
	switch w.irqStuck.Load() {
	case 1:
		return false
	case 2:
		return true
	}
	return w.irq.Load()
}

func (w *Wire) setIRQ(active bool) {
	if w.o.NoIRQ || w.irq.Swap(active) == active {
		return
	}
	w.irqEdges[bit(active)].Add(1)
	w.edge(IRQ, active)
	w.clock.wake()
}

// cutPower takes the power from the target and gives it back later.
func (w *Wire) cutPower(d time.Duration) {
	w.mu.Lock()
	t := w.target
	w.cut, w.lost = true, true
	w.mu.Unlock()
	w.setIRQ(false)
	w.powerOff(t)
	w.clock.AfterFunc(d, func() {
		w.mu.Lock()
		w.cut = false
		back := w.target != nil && w.ctl != nil && w.lost
		w.lost = w.lost && !back
		t := w.target
		w.mu.Unlock()
		if back {
			w.call(t.Reset)
		}
	})
}

// pullReset pulls the reset line or lets it go.
func (w *Wire) pullReset(on bool) {
	w.mu.Lock()
	before := w.inReset
	w.inReset = on
	w.mu.Unlock()
	if before == on {
		return
	}
	w.edge(RST, !on)
	if on {
		w.setIRQ(false)
	} else if t := w.alive(); t != nil {
		w.call(t.Reset)
	}
}

// halves is the time of n half bits; what does not fit a nanosecond is kept for the
// next time. w.access is held.
func (w *Wire) halves(n int64) time.Duration {
	x := n*1_000_000_000 + w.rem
	w.rem = x % (2 * w.hz)
	return time.Duration(x / (2 * w.hz))
}

// guard lets the least time between two accesses pass and tells what time it is.
func (w *Wire) guard(quit func() bool) time.Duration {
	now := w.clock.pass(0, quit)
	if wait := w.end + w.o.Guard - now; w.began && wait > 0 {
		now = w.clock.pass(wait, quit)
		w.mu.Lock()
		w.ledger.Time[Guard] += wait
		w.mu.Unlock()
	}
	w.began = true
	return now
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// simController is the controller's end of a Wire.
type simController struct {
	w      *Wire
	closed atomic.Bool
	woken  atomic.Bool
	quit   func() bool // it is closed
	done   func() bool // nobody needs to wait for the interrupt line
}

func (c *simController) Physical() Physical { return c.w.o.Physical }
func (c *simController) Clock() Clock       { return c.w.clock }
func (c *simController) String() string     { return c.w.String() }

var errLengths = errors.New("bus: what is written and what is read on SPI have the same length")

// Tx implements Controller.
func (c *simController) Tx(out, in []byte) error { return c.tx(c.w.o.Addr, out, in) }

func (c *simController) tx(addr uint16, out, in []byte) error {
	w := c.w
	w.access.Lock()
	defer w.access.Unlock()
	if c.closed.Load() {
		return ErrClosed
	}
	if len(out) > maxAccess || len(in) > maxAccess {
		return fmt.Errorf("bus: an access of %d bytes (%d at most)", max(len(out), len(in)), maxAccess)
	}
	i := w.faults.Load()
	var err error
	if w.o.Physical == I2C {
		err = w.txI2C(i, addr, out, in, c.quit)
	} else {
		err = w.txSPI(i, out, in, c.quit)
	}
	i.accesses++
	if i.StuckFor > 0 {
		w.stick(i)
	}
	if c.closed.Load() {
		return ErrClosed
	}
	return err
}

// SetSpeed implements Controller.
func (c *simController) SetSpeed(hz int64) error {
	if hz < 1 {
		return fmt.Errorf("bus: a speed of %d Hz", hz)
	}
	w := c.w
	w.access.Lock()
	defer w.access.Unlock()
	w.hz, w.rem = min(hz, w.o.Hz), 0
	return nil
}

// WaitIRQ implements Controller.
func (c *simController) WaitIRQ(timeout time.Duration) (bool, error) {
	v := c.w.clock
	switch {
	case c.w.o.NoIRQ:
		return false, ErrNoLine
	case timeout < 0:
		v.await(c.done, c.quit)
	default:
		v.lock()
		v.advance(v.now+timeout, c.done, c.quit)
		v.mu.Unlock()
	}
	if c.closed.Load() {
		return false, ErrClosed
	}
	if c.woken.Swap(false) {
		return false, nil
	}
	return c.w.irqActive(), nil
}

// Wake implements Waker.
func (c *simController) Wake() {
	c.woken.Store(true)
	c.w.clock.wake()
}

// Reset implements Controller.
func (c *simController) Reset() error {
	w := c.w
	if w.o.NoReset {
		return ErrNoLine
	}
	w.access.Lock()
	defer w.access.Unlock()
	if c.closed.Load() {
		return ErrClosed
	}
	w.clock.pass(0, c.quit)
	w.pullReset(true)
	w.clock.pass(resetPulse, c.quit)
	w.pullReset(false)
	return nil
}

// Presence implements Presence.
func (c *simController) Presence(f func(there bool)) {
	w := c.w
	w.mu.Lock()
	if w.ctl != c {
		w.mu.Unlock()
		return
	}
	w.presence = f
	there := w.target != nil
	w.mu.Unlock()
	if there {
		f(true)
	}
}

// Close implements Controller.
func (c *simController) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	w := c.w
	w.mu.Lock()
	w.ctl, w.presence = nil, nil
	t := w.target
	w.lost = t != nil
	w.mu.Unlock()
	w.clock.wake()
	w.powerOff(t)
	return nil
}

// simSocket is the target's end of a Wire.
type simSocket struct{ w *Wire }

func (s simSocket) Physical() Physical { return s.w.o.Physical }
func (s simSocket) String() string     { return s.w.String() }

// Attach implements Socket.
func (s simSocket) Attach(t Target) (Lines, error) {
	w := s.w
	w.mu.Lock()
	if w.target != nil {
		w.mu.Unlock()
		return nil, fmt.Errorf("%s: there is a target on this bus already", w)
	}
	in := &seat{t}
	w.target, w.lost = in, false
	tell := w.presence
	w.mu.Unlock()
	w.irq.Store(false)
	if tell != nil {
		tell(true)
	}
	return &simLines{w, in}, nil
}

// Close implements Socket.
func (s simSocket) Close() error {
	w := s.w
	w.mu.Lock()
	there, tell := w.target != nil, w.presence
	w.target = nil
	w.mu.Unlock()
	if there {
		w.setIRQ(false)
		if tell != nil {
			tell(false)
		}
	}
	return nil
}

// simLines are what a target moves on a Wire, as long as it is in and has power.
type simLines struct {
	w *Wire
	t *seat
}

func (l *simLines) SetIRQ(active bool) {
	if !active || l.w.alive() == l.t {
		l.w.setIRQ(active)
	}
}

func (l *simLines) Clock() Clock { return l.w.clock }
