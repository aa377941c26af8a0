package t1

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

// minPoll is the least time between two looks for an answer, whatever the CIP says.
const minPoll = 50 * time.Microsecond

// controller is the terminal's end of T=1' on a bus. Each Send is one exchange, whose
// answer has arrived when Send returns (unless the Receiver was busy).
//
//	PowerOn   reset line, or S(COLD RESET request), or as Reset; then activation
//	Reset     S(SWR request); then activation
//	PowerOff  S(RELEASE request)
//	GetATR    the ATR made of the historical bytes in the CIP
//	Block     I-blocks, after activation if there was none
//
// Activation is: default parameters, S(CIP request), parameters of the CIP,
// S(RESYNCH request), S(IFS request).
type controller struct {
	dial func() (bus.Controller, error)
	o    Options
	url  string

	life  sync.Mutex      // one Open or Close at a time
	inbox transport.Inbox // of answers
	there atomic.Bool     // a target is on the bus, as far as one can know

	mu   sync.Mutex // guards sess; never held while bits move or a Receiver runs
	sess *session   // nil while closed
}

// session is what lasts from Open to Close. What exchanges use is guarded by busy.
type session struct {
	l      *controller
	b      bus.Controller
	clock  bus.Clock
	stop   func() bool // the watch of the context of Open
	closed atomic.Bool
	left   atomic.Bool // the target has left since the last exchange

	busy   sync.Mutex // one exchange at a time
	e      *Engine
	cip    CIP // the parameters in use
	atr    []byte
	active bool // S(RESYNCH) and all before it are done
	reset  bool // an exchange has failed: the target is to be reset
	narrow bool // S(IFS request) failed: it is left out
	seen   bool // Presence knows
	ever   bool // there has been an access
	last   time.Duration
	buf    []byte

	emu    sync.Mutex // guards what follows
	events []bool     // who came and went, not yet told
	bell   chan struct{}
}

// NewController makes the controller's end of a T=1' link on the bus that dial opens,
// as often as the link is opened.
//
// Inserted and Removed come from buses that know (bus.Presence); on others a target is
// there until an exchange fails for good, and again when a PowerOn succeeds.
func NewController(dial func() (bus.Controller, error), o Options, url string) (transport.Link, error) {
	return &controller{dial: dial, o: o, url: url}, nil
}

// String implements transport.Link.
func (l *controller) String() string { return l.url }

// WholeAnswers implements transport.WholeAnswers.
func (l *controller) WholeAnswers() bool { return true }

// Prober is an ability of a controller's end of T=1': CIP is what the target told
// last; false when it was not asked yet.
type Prober interface{ CIP() (CIP, bool) }

// CIP implements Prober.
func (l *controller) CIP() (CIP, bool) {
	l.mu.Lock()
	s := l.sess
	l.mu.Unlock()
	if s == nil {
		return CIP{}, false
	}
	s.busy.Lock()
	defer s.busy.Unlock()
	return s.cip, s.active
}

// Open implements transport.Link.
func (l *controller) Open(ctx context.Context, r transport.Receiver) error {
	l.life.Lock()
	defer l.life.Unlock()
	l.mu.Lock()
	open := l.sess != nil
	l.mu.Unlock()
	if open {
		return transport.ErrOpen
	}
	b, err := l.dial()
	if err != nil {
		return fmt.Errorf("link %q: %w", l.url, err)
	}
	s := &session{l: l, b: b, clock: b.Clock(), bell: make(chan struct{}, 1)}
	s.e = New(l.o.engine(transport.Controller))
	s.cip = DefaultCIP(b.Physical())
	l.there.Store(false)
	l.inbox.Receive(r)
	l.mu.Lock()
	l.sess = s
	l.mu.Unlock()
	s.stop = context.AfterFunc(ctx, func() { l.close(s) })
	if p, ok := b.(bus.Presence); ok {
		s.seen = true
		go s.tell()
		p.Presence(s.presence)
	} else {
		s.suppose(true)
	}
	return nil
}

// Close implements transport.Link.
func (l *controller) Close() error {
	l.close(nil)
	return nil
}

// close ends session s, or whichever is open.
func (l *controller) close(s *session) {
	l.life.Lock()
	defer l.life.Unlock()
	l.mu.Lock()
	if l.sess == nil || s != nil && s != l.sess {
		l.mu.Unlock()
		return
	}
	s = l.sess
	l.sess = nil
	l.mu.Unlock()
	s.stop()
	l.inbox.Receive(nil)
	if s.busy.TryLock() {
		if s.active && l.there.Load() {
			_ = s.write(s.e.f.Append(nil, s.e.nad, Release, nil), s.clock.Now()) // nobody waits for the answer
		}
		s.closed.Store(true)
		s.busy.Unlock()
	}
	s.closed.Store(true)
	_ = s.b.Close() // nothing to learn from it; it ends an access that is under way
	s.ring()
}

// presence is told by the bus who is there.
func (s *session) presence(there bool) {
	if s.closed.Load() || s.l.there.Swap(there) == there {
		return
	}
	if !there {
		s.left.Store(true)
	}
	s.emu.Lock()
	s.events = append(s.events, there)
	s.emu.Unlock()
	s.ring()
}

func (s *session) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// suppose tells the Receiver who seems to be there, on a bus that does not know.
func (s *session) suppose(there bool) {
	if s.seen || s.closed.Load() || s.l.there.Swap(there) == there {
		return
	}
	k := transport.Removed
	if there {
		k = transport.Inserted
	}
	s.l.inbox.Deliver(k, nil)
}

// tell is the goroutine that tells the Receiver who is there, where the bus knows.
func (s *session) tell() {
	for range s.bell {
		for {
			if s.closed.Load() {
				return
			}
			s.emu.Lock()
			if len(s.events) == 0 {
				s.emu.Unlock()
				break
			}
			k := transport.Removed
			if s.events[0] {
				k = transport.Inserted
			}
			s.events = s.events[1:]
			s.emu.Unlock()
			s.l.inbox.Deliver(k, nil)
		}
	}
}

// Send implements transport.Link.
func (l *controller) Send(k transport.Kind, p []byte) error {
	if err := transport.Check(transport.Controller, k, len(p), 0, transport.MaxFrame); err != nil {
		return err
	}
	l.mu.Lock()
	s := l.sess
	l.mu.Unlock()
	switch {
	case s == nil:
		return transport.ErrClosed
	case !l.there.Load() && (s.seen || k != transport.PowerOn):
		return transport.ErrNoPeer
	}
	s.busy.Lock()
	answer, err := s.serve(k, p)
	if err != nil {
		s.busy.Unlock()
		return s.explain(err)
	}
	if k == transport.PowerOff {
		s.busy.Unlock()
		return nil
	}
	// The next exchange may begin while the Receiver still reads this answer.
	buf := answers.Get().(*[]byte)
	*buf = append((*buf)[:0], answer...)
	s.busy.Unlock()
	if k != transport.Block {
		k = transport.ATR
	}
	s.suppose(true)
	l.inbox.Deliver(k, *buf)
	answers.Put(buf)
	return nil
}

var answers = sync.Pool{New: func() any { return new([]byte) }}

// explain makes the error of Send of what an exchange failed with.
func (s *session) explain(err error) error {
	switch {
	case s.closed.Load():
		return transport.ErrClosed
	case s.seen && !s.l.there.Load():
		return transport.ErrNoPeer
	case !s.seen && errors.Is(err, ErrReset):
		s.suppose(false)
		return fmt.Errorf("link %q: %w: %w", s.l.url, transport.ErrNoPeer, err)
	}
	return fmt.Errorf("link %q: %w", s.l.url, err)
}

// serve carries one frame out.
func (s *session) serve(k transport.Kind, p []byte) ([]byte, error) {
	if s.closed.Load() {
		return nil, transport.ErrClosed
	}
	if s.left.Swap(false) {
		s.begin() // whoever is there now is as after power-on
	}
	switch k {
	case transport.PowerOff:
		s.active = false
		s.e.Reset()
		_, err := s.ask(Release, nil)
		return nil, err
	case transport.PowerOn:
		if err := s.coldReset(); err != nil {
			return nil, err
		}
	case transport.Reset:
		if err := s.swr(); err != nil {
			return nil, err
		}
	default:
		if !s.active && s.reset {
			if err := s.coldReset(); err != nil {
				return nil, err
			}
		}
	}
	if !s.active {
		if err := s.activate(); err != nil {
			return nil, err
		}
	}
	if k != transport.Block {
		return s.atr, nil
	}
	a, err := s.e.Send(p)
	if err != nil {
		return nil, err
	}
	a, err = s.run(a)
	return a.INF, err
}

// coldReset resets the target as thoroughly as can be.
func (s *session) coldReset() error {
	err := s.b.Reset()
	if errors.Is(err, bus.ErrNoLine) {
		switch s.l.o.Vendor.ColdReset {
		case 0:
			return s.swr()
		case PowerOnReset: // not answered
			s.begin()
			err = s.write(s.e.f.Append(nil, s.e.nad, PowerOnReset, nil), s.clock.Now()+s.cip.BWT)
		default:
			s.begin()
			_, err = s.ask(s.l.o.Vendor.ColdReset, nil)
		}
	}
	if err == nil {
		s.begin()
		s.clock.Sleep(s.cip.PWT)
	}
	return err
}

// swr is the software reset.
func (s *session) swr() error {
	pwt := s.cip.PWT
	s.begin()
	_, err := s.ask(SWR, nil)
	if err == nil {
		s.begin()
		s.clock.Sleep(pwt)
	}
	return err
}

// begin puts everything where it is after a reset of the target.
func (s *session) begin() {
	s.active, s.reset = false, false
	s.e.Reset()
	s.apply(DefaultCIP(s.b.Physical()))
}

// apply uses the parameters of a CIP.
func (s *session) apply(c CIP) {
	s.cip = c
	s.e.SetPeerIFS(c.IFSC)
	if c.MCF > 0 {
		_ = s.b.SetSpeed(int64(c.MCF) * 1000) // a bus that cannot keeps its speed
	}
}

// activate asks for the CIP and what follows from it.
func (s *session) activate() error {
	for {
		s.begin()
		inf, err := s.ask(CIPRequest, nil)
		if err != nil {
			return err
		}
		c, err := ParseCIP(inf)
		if err != nil {
			return err
		}
		if c.Physical != s.b.Physical() {
			return fmt.Errorf("%w: the target says that it is on %s, and is on %s", ErrCIP, c.Physical, s.b.Physical())
		}
		s.apply(c)
		s.atr = atrOf(c.HB)
		if _, err = s.ask(Resynch, nil); err != nil {
			return err
		}
		if s.e.cfg.Own == primeIFSD || s.narrow {
			break
		}
		var b [2]byte
		if _, err = s.ask(IFS, appendIFS(b[:0], s.e.cfg.Own)); err == nil {
			break
		}
		if !errors.Is(err, ErrReset) || s.closed.Load() {
			return err
		}
		s.narrow = true // it may not know S(IFS request): again without
	}
	s.active = true
	return nil
}

// ask sends an S-block request and gives INF of its response.
func (s *session) ask(pcb PCB, inf []byte) ([]byte, error) {
	a, err := s.e.Request(pcb, inf)
	if err != nil {
		return nil, err
	}
	a, err = s.run(a)
	return a.INF, err
}

// run does what the engine says, until an exchange has come to an end.
func (s *session) run(a Action) (Action, error) {
	for a.Event == None {
		if s.closed.Load() {
			return a, s.fail(transport.ErrClosed)
		}
		if s.seen && !s.l.there.Load() {
			return a, s.fail(transport.ErrNoPeer)
		}
		until := s.clock.Now() + s.cip.BWT*time.Duration(a.Wait)
		var b []byte
		err := s.write(a.Block, until)
		if err == nil {
			b, err = s.read(s.clock.Now() + s.cip.BWT*time.Duration(a.Wait))
		}
		switch {
		case errors.Is(err, bus.ErrClosed):
			return a, s.fail(transport.ErrClosed)
		case errors.Is(err, ErrSilent), errors.Is(err, bus.ErrNACK):
			a = s.e.Timeout()
		default:
			a = s.e.Receive(b, err)
		}
	}
	switch a.Event {
	case Failed:
		return a, a.Err
	case Reset:
		return a, s.fail(fmt.Errorf("%w (BWT %v, %d tries)", a.Err, s.cip.BWT, s.e.cfg.Retries+1))
	}
	return a, nil
}

// fail notes that the target has to be reset before anything else.
func (s *session) fail(err error) error {
	s.active, s.reset = false, true
	s.e.Reset()
	return err
}

// guard waits until the next access may begin.
func (s *session) guard() {
	g := s.cip.SEGT
	if s.b.Physical() == bus.I2C {
		g = s.cip.RWGT
	}
	if wait := s.last + g - s.clock.Now(); s.ever && wait > 0 {
		s.clock.Sleep(wait)
	}
}

// tx is one access.
func (s *session) tx(w, r []byte) error {
	s.guard()
	err := s.b.Tx(w, r)
	s.ever, s.last = true, s.clock.Now()
	return err
}

// write writes a block, in as many accesses as SEAL wants, by the time until.
func (s *session) write(b []byte, until time.Duration) error {
	if s.b.Physical() == bus.I2C {
		for {
			err := s.tx(b, nil)
			if !errors.Is(err, bus.ErrNACK) || s.clock.Now() >= until {
				return err
			}
			s.pause()
		}
	}
	if s.cip.PST > 0 && s.ever && s.clock.Now()-s.last >= s.cip.PST { // it sleeps
		idle := [1]byte{}
		if err := s.tx(idle[:], nil); err != nil {
			return err
		}
		s.clock.Sleep(s.cip.WUT)
	}
	for len(b) > 0 {
		n := s.access(len(b))
		if err := s.tx(b[:n], nil); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// access is how much of n bytes one access may carry.
func (s *session) access(n int) int {
	if s.cip.SEAL > 0 && s.b.Physical() == bus.SPI {
		return min(n, s.cip.SEAL)
	}
	return n
}

func (s *session) pause() { s.clock.Sleep(max(s.cip.MPOT, minPoll)) }

// read polls until a block comes, by the time until, and reads it: on I2C the prologue
// and two bytes at once, then the rest; on SPI a byte at a time until it is not idle,
// the shortest block, then the rest. A target that cannot say NACK is idle. ErrSilent.
func (s *session) read(until time.Duration) ([]byte, error) {
	least := s.e.f.Overhead()
	s.buf = slices.Grow(s.buf[:0], s.e.f.Max())[:least]
	have := 0
	for {
		if s.closed.Load() {
			return nil, bus.ErrClosed
		}
		if s.seen && !s.l.there.Load() {
			return nil, ErrSilent
		}
		first := s.buf
		if s.b.Physical() == bus.SPI {
			first = s.buf[:1]
		}
		err := s.tx(nil, first)
		if err == nil && first[0] != 0 && first[0] != bus.IdleByte {
			have = len(first)
			break
		}
		if err != nil && !errors.Is(err, bus.ErrNACK) {
			return nil, err
		}
		if s.clock.Now() >= until {
			return nil, ErrSilent
		}
		s.pause()
	}
	if err := s.fill(s.buf[have:], until); err != nil {
		return nil, err
	}
	n := s.e.f.Size(s.buf)
	if n == 0 {
		return nil, ErrLength
	}
	s.buf = s.buf[:n]
	return s.buf, s.fill(s.buf[least:], until)
}

// fill reads what belongs to a block that has begun.
func (s *session) fill(r []byte, until time.Duration) error {
	for len(r) > 0 {
		n := s.access(len(r))
		err := s.tx(nil, r[:n])
		switch {
		case err == nil:
			r = r[n:]
		case !errors.Is(err, bus.ErrNACK):
			return err
		case s.clock.Now() >= until:
			return ErrLength
		default:
			s.pause()
		}
	}
	return nil
}
