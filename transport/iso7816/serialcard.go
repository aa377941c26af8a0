package iso7816

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/t1"
)

// serialCard is the card's end of a link on characters.
//
//	line ─> PPS, T=0 or T=1 ─> worker ─> Receiver.Frame ─> Send ─> line
//
// The Receiver gets PowerOn and Reset for cold and warm resets, which it answers with
// an ATR, and PowerOff for deactivation. While it works on a command, NULL (T=0) or
// S(WTX request) (T=1) go out.
type serialCard struct {
	o    serialOptions
	url  string
	line line

	life  sync.Mutex    // one Open, Close at a time
	ended chan struct{} // closed when the worker of the last Open has gone; of life

	mu      sync.Mutex // guards what follows; never held while a Receiver runs
	wake    sync.Cond  // for the worker
	name    string     // what the line is called since it is open
	sess    *cardSession
	up      bool
	out     bool // Removed was sent
	off     bool // the last the Receiver heard was PowerOff
	events  []cardEvent
	held    bool
	resets  []signal // whose ATR is owed
	reading phase
	p       Parameters
	times   times
	inverse bool
	in      []byte // PPS or block that is coming in
	bad     bool   // with wrong parity
	lost    bool   // what comes is dropped until the line is silent
	t0      t0Card
	e       *t1.Engine
	void    bool        // the answer that the Receiver works on is not wanted any more
	asking  func() bool // stops the timer that asks for more time
	silence func() bool // stops the timer that notices that no more characters come
}

// phase is what the characters that come in are.
type phase uint8

const (
	dead  phase = iota // no ATR was sent yet
	fresh              // PPS, or the first protocol on offer
	speaking0
	speaking1
)

type cardSession struct{ stop func() bool }

// cardEvent is one frame for the Receiver.
type cardEvent struct {
	k transport.Kind
	p []byte
}

// A card asks for more time after such a share of what it has.
const cardAsks = 0.5

func (c *serialCard) called(name string) {
	c.mu.Lock()
	c.name = name
	c.mu.Unlock()
}

// String implements transport.Link. While the link is open it names the
// pseudo-terminal that was made.
func (c *serialCard) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sess != nil && c.name != "" {
		return c.name
	}
	return c.url
}

// WholeAnswers implements transport.WholeAnswers. Without protocol=t0 the link answers
// GET RESPONSE by itself where T=0 is spoken.
func (c *serialCard) WholeAnswers() bool { return c.o.protocol != 0 }

// Limits implements transport.Limiter.
func (c *serialCard) Limits() (min, max int) {
	if c.o.protocol == 0 {
		return 2, 258
	}
	return 0, transport.MaxFrame
}

// Open implements transport.Link.
func (c *serialCard) Open(ctx context.Context, r transport.Receiver) error {
	c.life.Lock()
	defer c.life.Unlock()
	s := &cardSession{}
	c.mu.Lock()
	if c.sess != nil {
		c.mu.Unlock()
		return transport.ErrOpen
	}
	c.sess, c.out, c.up, c.off = s, false, false, false
	c.events = nil
	c.restart()
	c.mu.Unlock()
	if err := c.line.open(context.WithoutCancel(ctx), (*cardSink)(c)); err != nil {
		c.mu.Lock()
		c.sess = nil
		c.mu.Unlock()
		return fmt.Errorf("link %q: %w", c.url, err)
	}
	s.stop = context.AfterFunc(ctx, func() { c.close(s) })
	before, ended := c.ended, make(chan struct{})
	c.ended = ended
	go func() {
		defer close(ended)
		if before != nil {
			<-before // the Receiver may still be in a Frame of the session before
		}
		c.serve(s, r)
	}()
	return nil
}

// Close implements transport.Link.
func (c *serialCard) Close() error {
	c.close(nil)
	return nil
}

func (c *serialCard) close(s *cardSession) {
	c.life.Lock()
	defer c.life.Unlock()
	c.mu.Lock()
	if c.sess == nil || s != nil && s != c.sess {
		c.mu.Unlock()
		return
	}
	s = c.sess
	c.sess, c.name = nil, ""
	c.restart()
	c.wake.Broadcast()
	out := c.out
	c.mu.Unlock()
	s.stop()
	if !out {
		_ = c.line.signal(sigGone) // nobody may be there
	}
	c.line.close()
}

// Send implements transport.Link.
func (c *serialCard) Send(k transport.Kind, p []byte) error {
	lo, hi := c.Limits()
	if err := transport.Check(transport.Target, k, len(p), lo, hi); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.sess == nil:
		return transport.ErrClosed
	case k == transport.Removed && !c.out:
		c.out = true
		c.restart()
		_ = c.line.signal(sigGone)
		return nil
	case k == transport.Inserted && c.out:
		c.out = false
		_ = c.line.signal(sigHere)
		return nil
	case k == transport.Removed, k == transport.Inserted:
		return nil
	case c.out, !c.up:
		return transport.ErrNoPeer
	case k == transport.ATR:
		return c.sendATR(p)
	case c.void:
		return errStale
	}
	switch {
	case c.reading == speaking1:
		a, err := c.e.Send(p)
		if err != nil {
			return fmt.Errorf("%w: %w", transport.ErrNoPeer, err)
		}
		c.stopAsking()
		return c.do(a)
	case c.reading == speaking0 && c.t0.work:
		c.stopAsking()
		return c.write(c.t0.answer(p))
	}
	return errStale
}

var errStale = fmt.Errorf("%w: no command waits for this answer", transport.ErrNoPeer)

// sendATR answers a reset; mu is held.
func (c *serialCard) sendATR(b []byte) error {
	if len(c.resets) == 0 {
		return nil // nobody waits for it
	}
	a, err := ParseATR(b)
	if err != nil {
		return fmt.Errorf("link %q: %w", c.url, err)
	}
	p, err := a.Parameters()
	if err != nil {
		return fmt.Errorf("link %q: %w", c.url, err)
	}
	sig := c.resets[0]
	if c.resets = c.resets[1:]; len(c.resets) > 0 {
		return nil // the next one is what the terminal waits for
	}
	c.p, c.inverse = p, a.Inverse
	c.reading = fresh
	fd := byte(fdDefault)
	if p.Specific {
		fd = p.FD
		c.speak(p.Protocols[0])
	}
	c.times = p.times(fd, c.o.baud)
	if c.line.traits().inband {
		_ = c.line.signal(sig)
	}
	if err := c.write(b); err != nil || !p.Specific {
		return err
	}
	return c.line.rate(c.times.etu, p.Protocols[0])
}

// speak begins with a protocol; mu is held.
func (c *serialCard) speak(t byte) {
	switch t {
	case 0:
		c.t0.reset()
		c.reading = speaking0
	case 1:
		cfg := t1.Config{Role: transport.Target, Own: c.p.IFSC}
		if c.p.CRC {
			cfg.Format.EDC = t1.CRC
		}
		c.e = t1.New(cfg)
		c.reading = speaking1
	default:
		c.reading = dead
	}
}

// restart puts the protocol where it is before an ATR; mu is held.
func (c *serialCard) restart() {
	c.stopAsking()
	c.stopSilence()
	c.reading, c.in, c.bad, c.lost = dead, c.in[:0], false, false
	c.resets = nil
	c.t0.reset()
	c.drop()
}

// drop forgets commands that the worker has not begun with, and the answer to the one
// that it has; mu is held.
func (c *serialCard) drop() {
	c.void = true
	c.events = slices.DeleteFunc(c.events, func(e cardEvent) bool { return e.k == transport.Block })
}

// serve is the worker.
func (c *serialCard) serve(s *cardSession, r transport.Receiver) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.sess == s {
		if len(c.events) == 0 {
			c.letGo()
			c.wake.Wait()
			continue
		}
		w := c.events[0]
		c.events = c.events[1:]
		if w.k == transport.Block {
			c.void = false
		}
		c.mu.Unlock()
		r.Frame(w.k, w.p)
		c.mu.Lock()
	}
	c.letGo()
}

func (c *serialCard) letGo() {
	if c.held {
		c.held = false
		c.line.clock().Release()
	}
}

// push has the worker hand a frame to the Receiver; mu is held.
func (c *serialCard) push(k transport.Kind, p []byte) {
	if c.sess == nil || k == transport.PowerOff && c.off {
		return
	}
	c.off = k == transport.PowerOff
	c.events = append(c.events, cardEvent{k, slices.Clone(p)})
	if !c.held {
		c.held = true
		c.line.clock().Hold()
	}
	c.wake.Broadcast()
}

// cardSink is the card as the line sees it.
type cardSink serialCard

// signalled implements sink.
func (k *cardSink) signalled(s signal) {
	c := (*serialCard)(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case sigUp, sigWho:
		c.up = c.sess != nil
		if c.up && !c.out {
			_ = c.line.signal(sigHere)
		}
	case sigDown:
		c.up = false
		c.restart()
		c.push(transport.PowerOff, nil)
	case sigOff:
		c.restart()
		_ = c.line.rate(time.Second/time.Duration(c.o.baud), 0)
		c.push(transport.PowerOff, nil)
	case sigCold, sigWarm:
		if c.out {
			return
		}
		owed := c.resets
		c.restart()
		c.resets = append(owed, s)
		_ = c.line.rate(time.Second/time.Duration(c.o.baud), 0) // a line that cannot is none that is reset
		if s == sigCold {
			c.push(transport.PowerOn, nil)
		} else {
			c.push(transport.Reset, nil)
		}
	}
}

// chars implements sink.
func (k *cardSink) chars(p []byte, bad bool) {
	c := (*serialCard)(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sess == nil || c.out {
		return
	}
	parity := c.line.traits().parity
	for i, b := range p {
		if c.inverse {
			one := [1]byte{b}
			invert(one[:])
			b = one[0]
		}
		c.take(b, (bad && i == len(p)-1) != (c.inverse && parity))
	}
	c.watch()
}

// take takes one character; mu is held.
func (c *serialCard) take(b byte, bad bool) {
	switch {
	case c.reading == dead, c.lost:
		return
	case c.reading == fresh && (b == ppss || len(c.in) > 0):
		c.in = append(c.in, b)
		if len(c.in) >= 2 && len(c.in) == sizePPS(c.in[1]) {
			c.negotiate()
		}
		return
	case c.reading == fresh:
		c.speak(c.p.Protocols[0])
	}
	switch {
	case c.reading == speaking0 && bad:
		c.t0.drop() // the terminal waits in vain, and says so
	case c.reading == speaking0:
		send, command := c.t0.take(b)
		_ = c.write(send) // the line says itself when it is gone
		if command != nil {
			c.push(transport.Block, command)
			c.ask(1)
		}
	case c.reading == speaking1:
		c.in = append(c.in, b)
		c.bad = c.bad || bad
		f := c.e.Format()
		if n := len(c.in); n >= f.Prologue() {
			size := f.Size(c.in)
			switch {
			case size == 0:
				c.lost = true
			case n == size:
				if _, err := f.Parse(c.in); err != nil || c.bad {
					c.lost = true // it may have been longer
					return
				}
				a := c.e.Receive(c.in, nil)
				c.in = c.in[:0]
				_ = c.do(a)
			}
		}
	}
}

// negotiate answers a PPS request; one that cannot be is not answered (9.3); mu is held.
func (c *serialCard) negotiate() {
	request, err := ParsePPS(c.in)
	c.in = c.in[:0]
	if err != nil || !c.p.offers(request.T) || request.T > 1 {
		return
	}
	answer := PPS{T: request.T}
	fd := byte(fdDefault)
	if request.PPS1 != nil {
		if *request.PPS1 == c.p.FD || *request.PPS1 == fdDefault {
			fd, answer.PPS1 = *request.PPS1, request.PPS1
		}
	}
	_ = c.write(answer.Bytes())
	c.times = c.p.times(fd, c.o.baud)
	c.speak(request.T)
	_ = c.line.rate(c.times.etu, request.T)
}

// watch notices when no more characters come of what has begun; mu is held.
func (c *serialCard) watch() {
	c.stopSilence()
	var wait time.Duration
	switch {
	case c.lost:
		wait = c.times.cwt
	case c.reading == speaking1 && len(c.in) > 0:
		wait = c.times.cwt + c.line.traits().grace
	case c.reading == speaking0 && c.t0.waits(), c.reading == fresh && len(c.in) > 0:
		wait = c.times.wwt + c.line.traits().grace
	default:
		return
	}
	c.silence = c.after(wait, func() {
		c.t0.drop()
		c.in, c.bad, c.lost = c.in[:0], false, false
		if c.reading == speaking1 {
			_ = c.do(c.e.Receive(nil, t1.ErrEDC))
		}
	})
}

// after calls f with mu held, unless it is stopped before.
func (c *serialCard) after(d time.Duration, f func()) (stop func() bool) {
	running := true
	end := c.line.clock().AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if running && c.sess != nil {
			f()
		}
	})
	return func() bool {
		running = false
		return end()
	}
}

func (c *serialCard) stopSilence() {
	if c.silence != nil {
		c.silence()
		c.silence = nil
	}
}

// ask asks for more time while the Receiver works; mu is held.
func (c *serialCard) ask(times int) {
	c.stopAsking()
	has := c.times.wwt
	if c.reading == speaking1 {
		has = c.times.bwt * time.Duration(times)
	}
	c.asking = c.after(time.Duration(cardAsks*float64(has)), func() {
		switch {
		case c.reading == speaking0 && c.t0.work:
			_ = c.write(c.t0.null())
		case c.reading == speaking1 && c.e.Working():
			_ = c.do(c.e.Extend(1))
		default:
			return
		}
		c.ask(1)
	})
}

func (c *serialCard) stopAsking() {
	if c.asking != nil {
		c.asking()
		c.asking = nil
	}
}

// do does what the engine of T=1 says; mu is held.
func (c *serialCard) do(a t1.Action) error {
	var err error
	if a.Block != nil {
		err = c.write(a.Block)
	}
	switch a.Event {
	case t1.Delivered:
		c.push(transport.Block, a.INF)
		c.ask(1)
	case t1.Restarted:
		c.stopAsking()
		c.drop()
	}
	return err
}

// write sends characters in the convention of the ATR; mu is held.
func (c *serialCard) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if c.inverse {
		p = slices.Clone(p)
		invert(p)
	}
	return c.line.write(p)
}
