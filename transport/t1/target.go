package t1

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// How a target asks for more time: a share of the block waiting time after it began
// to work it asks for extension times the block waiting time, and so on.
const (
	askAfter  = 0.6
	extension = 2
)

// target is the SSP's end of T=1' on a bus: what the controller may read lies ready,
// and a goroutine calls the Receiver.
//
//	Written ─> block ─> Engine ─> ready ─> Pending, Taken
//	                      └─ Delivered, resets ─> worker ─> Receiver.Frame ─> Send
//
// The Receiver gets PowerOn when the reset line is pulled or a cold reset is asked
// for, Reset for S(SWR request), PowerOff for S(RELEASE request) and when the power
// goes. The historical bytes of its last ATR are those of the CIP.
type target struct {
	o      Options
	url    string
	socket bus.Socket
	life   sync.Mutex // one Open, Close or move at a time

	mu       sync.Mutex // guards what follows; never held while a Receiver runs
	work     sync.Cond  // for the worker
	e        *Engine
	sess     *targetSession // nil while closed
	lines    bus.Lines      // nil while out of the socket
	attached chan struct{}  // closed when lines is set
	in       []byte         // a block that is coming in
	ready    []byte         // what the controller may read
	taken    int            // so much of it was read
	shown    []byte         // what the bus was given of it last
	cip      []byte         // INF of S(CIP response)
	hb       []byte
	asked    bool   // S(CIP request) waits until the worker has done
	off      bool   // the last the Receiver heard was PowerOff
	void     bool   // the answer that the Receiver works on is not wanted any more
	events   []work // for the worker
	spare    [][]byte
	held     bool // the time of the bus is held for the worker
	bwt      time.Duration
	timer    func() bool   // stops the timer that asks for more time; nil: none runs
	due      time.Duration // when it is
	onTimer  func()        // extend
	irq      bool
}

// targetSession is what lasts from Open to Close.
type targetSession struct {
	stop  func() bool
	ended chan struct{} // closed when the worker has gone
}

// work is one frame for the Receiver.
type work struct {
	k transport.Kind
	p []byte
}

// NewTarget makes the target's end of a T=1' link at a place on a bus.
func NewTarget(s bus.Socket, o Options, url string) (transport.Link, error) {
	if _, err := o.cip(s.Physical()).Bytes(); err != nil {
		return nil, fmt.Errorf("link %q: %w", url, err)
	}
	t := &target{o: o, url: url, socket: s, e: New(o.engine(transport.Target))}
	t.work.L = &t.mu
	t.onTimer = t.extend
	t.tell()
	return t, nil
}

// String implements transport.Link.
func (t *target) String() string { return t.url }

// WholeAnswers implements transport.WholeAnswers.
func (t *target) WholeAnswers() bool { return true }

// tell makes the CIP; mu is held, or nobody knows of t yet.
func (t *target) tell() {
	c := t.o.cip(t.socket.Physical())
	if t.hb != nil {
		c.HB = t.hb
	}
	t.bwt = c.BWT
	t.cip, _ = c.Bytes() // NewTarget has seen that it can be done
}

// Open implements transport.Link.
func (t *target) Open(ctx context.Context, r transport.Receiver) error {
	t.life.Lock()
	defer t.life.Unlock()
	t.mu.Lock()
	if t.sess != nil {
		t.mu.Unlock()
		return transport.ErrOpen
	}
	s := &targetSession{ended: make(chan struct{})}
	t.sess = s
	t.events, t.off, t.void = t.events[:0], false, false
	t.mu.Unlock()
	if err := t.attach(); err != nil {
		t.mu.Lock()
		t.sess = nil
		t.mu.Unlock()
		return fmt.Errorf("link %q: %w", t.url, err)
	}
	s.stop = context.AfterFunc(ctx, func() { t.close(s) })
	go t.serve(s, r)
	return nil
}

// attach puts the target into the socket; life is held.
func (t *target) attach() error {
	t.mu.Lock()
	t.attached = make(chan struct{})
	attached := t.attached
	t.restart()
	t.mu.Unlock()
	defer close(attached)
	lines, err := t.socket.Attach((*seat)(t))
	t.mu.Lock()
	t.lines = lines
	t.mu.Unlock()
	return err
}

// detach takes it out; life is held.
func (t *target) detach() {
	t.mu.Lock()
	out := t.lines == nil
	if !out {
		t.letGo()
		t.stopTimer()
		t.ready, t.taken = t.ready[:0], 0
		t.signal()
		t.lines = nil
	}
	t.mu.Unlock()
	if !out {
		_ = t.socket.Close() // nothing to learn from it
	}
}

// Close implements transport.Link.
func (t *target) Close() error {
	t.close(nil)
	return nil
}

// close ends session s, or whichever is open.
func (t *target) close(s *targetSession) {
	t.life.Lock()
	defer t.life.Unlock()
	t.mu.Lock()
	if t.sess == nil || s != nil && s != t.sess {
		t.mu.Unlock()
		return
	}
	s = t.sess
	t.sess = nil
	t.work.Broadcast()
	t.mu.Unlock()
	s.stop()
	t.detach()
}

// Send implements transport.Link.
func (t *target) Send(k transport.Kind, p []byte) error {
	if err := transport.Check(transport.Target, k, len(p), 0, transport.MaxFrame); err != nil {
		return err
	}
	if k == transport.Removed || k == transport.Inserted {
		return t.move(k)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.sess == nil:
		return transport.ErrClosed
	case t.lines == nil:
		return transport.ErrNoPeer
	case k == transport.ATR:
		t.hb = append(t.hb[:0:0], historical(p)...)
		t.tell()
		return nil
	case t.void:
		return errVoid
	}
	a, err := t.e.Send(p)
	if err != nil {
		return fmt.Errorf("%w: %w", transport.ErrNoPeer, err)
	}
	t.stopTimer()
	t.do(a)
	return nil
}

var errVoid = fmt.Errorf("%w: the controller has begun anew and does not want this answer", transport.ErrNoPeer)

// move takes the target out of the socket or puts it back.
func (t *target) move(k transport.Kind) error {
	t.life.Lock()
	defer t.life.Unlock()
	t.mu.Lock()
	closed, out := t.sess == nil, t.lines == nil
	t.mu.Unlock()
	switch {
	case closed:
		return transport.ErrClosed
	case k == transport.Removed:
		t.detach()
	case out:
		return t.attach()
	}
	return nil
}

// serve is the worker.
func (t *target) serve(s *targetSession, r transport.Receiver) {
	defer close(s.ended)
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.sess == s {
		if len(t.events) == 0 {
			if t.asked {
				t.respond(CIPRequest)
			}
			t.letGo()
			t.work.Wait()
			continue
		}
		w := t.events[0]
		t.events = t.events[:copy(t.events, t.events[1:])]
		if w.k == transport.Block {
			t.void = false
		}
		t.mu.Unlock()
		r.Frame(w.k, w.p)
		t.mu.Lock()
		if w.p != nil && len(t.spare) < 4 {
			t.spare = append(t.spare, w.p)
		}
	}
}

// push has the worker hand a frame to the Receiver; mu is held.
func (t *target) push(k transport.Kind, p []byte) {
	switch k {
	case transport.PowerOff:
		if t.off {
			return
		}
		t.off = true
	default:
		t.off = false
	}
	if t.sess == nil {
		return
	}
	w := work{k: k}
	if k == transport.Block {
		if n := len(t.spare); n > 0 {
			w.p, t.spare = t.spare[n-1][:0], t.spare[:n-1]
		}
		w.p = append(w.p, p...)
	}
	t.events = append(t.events, w)
	if !t.held && t.lines != nil {
		t.held = true
		t.lines.Clock().Hold()
	}
	t.work.Broadcast()
}

// letGo lets the time of the bus pass again; mu is held.
func (t *target) letGo() {
	if t.held {
		t.held = false
		t.lines.Clock().Release()
	}
}

// restart puts the protocol where it is after a reset; mu is held.
func (t *target) restart() {
	t.stopTimer()
	t.void = t.void || t.e.Working()
	t.e.Reset()
	t.in, t.asked = t.in[:0], false
	t.ready, t.taken = t.ready[:0], 0
	t.drop()
	t.signal()
}

// drop forgets commands that the worker has not begun with; mu is held.
func (t *target) drop() {
	kept := t.events[:0]
	for _, w := range t.events {
		if w.k != transport.Block {
			kept = append(kept, w)
		}
	}
	t.events = kept
}

// do does what the engine says; mu is held.
func (t *target) do(a Action) {
	switch a.Event {
	case Delivered:
		t.push(transport.Block, a.INF)
		t.arm(1)
	case Restarted:
		t.stopTimer()
		t.void = true // until the next command begins
		t.drop()
	case Asked:
		// The CIP waits for the historical bytes of an ATR that is on its way.
		if a.PCB == CIPRequest && (len(t.events) > 0 || t.held) {
			t.asked = true
		} else {
			t.respond(a.PCB)
		}
		return
	}
	if a.Block != nil {
		t.stage(a.Block)
	}
}

// respond answers an S-block request; mu is held.
func (t *target) respond(req PCB) {
	t.asked = false
	var inf []byte
	var k transport.Kind
	switch req {
	case CIPRequest:
		inf = t.cip
	case SWR:
		k = transport.Reset
	case Release, DeepPowerDown:
		k = transport.PowerOff
	case ColdReset, PowerOnReset:
		k = transport.PowerOn
	}
	a := t.e.Respond(req, inf)
	if k != 0 {
		t.restart()
	}
	if req != PowerOnReset {
		t.stage(a.Block)
	}
	if k != 0 {
		t.push(k, nil)
	}
}

// stage has a block ready; mu is held.
func (t *target) stage(b []byte) {
	t.ready, t.taken = append(t.ready[:0], b...), 0
	t.signal()
}

// signal moves the interrupt line; mu is held.
func (t *target) signal() {
	if irq := t.taken < len(t.ready); irq != t.irq && t.lines != nil {
		t.irq = irq
		t.lines.SetIRQ(irq)
	}
}

// arm runs the timer that asks for more time, within so many block waiting times; mu
// is held.
func (t *target) arm(times int) {
	t.stopTimer()
	if t.lines == nil {
		return
	}
	d := time.Duration(askAfter * float64(times) * float64(t.bwt))
	t.due = t.lines.Clock().Now() + d
	t.timer = t.lines.Clock().AfterFunc(d, t.onTimer)
}

func (t *target) stopTimer() {
	if t.timer != nil {
		t.timer()
		t.timer = nil
	}
}

// extend is the timer.
func (t *target) extend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	// One that could not be stopped any more comes before the next one is due.
	if t.timer == nil || t.lines == nil || t.lines.Clock().Now() < t.due || !t.e.Working() {
		return
	}
	if a := t.e.Extend(extension); a.Block != nil {
		t.stage(a.Block)
	}
	t.arm(extension)
}

// seat is the target as the bus sees it (bus.Target, bus.Powered).
type seat target

// lock waits until the target is in its place; false when it is not any more.
func (b *seat) lock() (*target, bool) {
	t := (*target)(b)
	t.mu.Lock()
	attached := t.attached
	t.mu.Unlock()
	<-attached
	t.mu.Lock()
	return t, t.lines != nil && t.sess != nil
}

// Pending implements bus.Target.
func (b *seat) Pending() []byte {
	t, ok := b.lock()
	defer t.mu.Unlock()
	if !ok {
		return nil
	}
	if t.socket.Physical() == bus.I2C && len(t.in) > 0 {
		t.broken() // who reads has written all
	}
	t.shown = append(t.shown[:0], t.ready[t.taken:]...) // ready may change while the bus moves it
	return t.shown
}

// Taken implements bus.Target.
func (b *seat) Taken(n int) {
	t, ok := b.lock()
	defer t.mu.Unlock()
	if !ok {
		return
	}
	t.taken = min(t.taken+n, len(t.ready))
	t.signal()
}

// Written implements bus.Target.
func (b *seat) Written(p []byte) {
	t, ok := b.lock()
	defer t.mu.Unlock()
	if !ok {
		return
	}
	spi := t.socket.Physical() == bus.SPI
	f := t.e.f
	if spi && idleBytes(p) {
		switch {
		case t.taken < len(t.ready), len(t.in) == 0: // the controller reads
			t.in = t.in[:0]
			return
		case len(p) == 1 && t.missing() > 1: // it looks for an answer: the block was cut
			t.broken()
			return
		}
	}
	if len(t.in) > 0 {
		if _, err := f.Parse(p); err == nil {
			t.in = t.in[:0] // a new block; what came before it was never whole
		}
	}
	if len(t.in) == 0 && spi {
		for len(p) > 0 && (p[0] == 0 || p[0] == bus.IdleByte) {
			p = p[1:]
		}
	}
	if len(p) == 0 {
		return
	}
	t.in = append(t.in, p[:min(len(p), f.Max()-len(t.in))]...)
	if t.missing() > 0 {
		return
	}
	n := len(t.in)
	if len(t.in) >= f.Prologue() {
		n = min(n, max(f.Size(t.in), f.Overhead()))
	}
	t.ready, t.taken = t.ready[:0], 0
	in := t.in[:n]
	t.in = t.in[:0]
	t.do(t.e.Receive(in, nil))
	t.signal()
}

// missing is how much of the block that is coming in is not there yet.
func (t *target) missing() int {
	f := t.e.f
	if len(t.in) < f.Prologue() {
		return f.Overhead() - len(t.in)
	}
	return max(0, f.Size(t.in)-len(t.in))
}

// broken drops what has come in of a block; mu is held.
func (t *target) broken() {
	t.in = t.in[:0]
	t.ready, t.taken = t.ready[:0], 0
	t.do(t.e.Receive(nil, ErrLength))
	t.signal()
}

func idleBytes(p []byte) bool {
	for _, b := range p {
		if b != 0 && b != bus.IdleByte {
			return false
		}
	}
	return true
}

// Reset implements bus.Target.
func (b *seat) Reset() {
	t := (*target)(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sess == nil {
		return
	}
	t.restart()
	t.push(transport.PowerOn, nil)
}

// PowerOff implements bus.Powered.
func (b *seat) PowerOff() {
	t := (*target)(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sess == nil {
		return
	}
	t.restart()
	t.push(transport.PowerOff, nil)
}
