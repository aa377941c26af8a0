package tunnel

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/transport"
)

// Target makes the SSP's end of a link that carries APDUs a transport.PacketCarrier.
// Its Receiver sees no TRANSACT DATA of the tunnel's session, and a Packet of no bytes
// when another terminal begins.
func Target(l transport.Link, cfg Config) transport.Link {
	t := &target{Link: l, cfg: cfg}
	if w, ok := l.(transport.WholeAnswers); ok {
		t.whole = w.WholeAnswers()
	}
	return t
}

type target struct {
	transport.Link
	cfg   Config
	whole bool

	mu      sync.Mutex // guards what follows
	open    *visit     // nil while closed
	session bool       // a terminal has begun one
	out     []byte     // data objects that wait for the terminal
	taken   int        // octets of out that it has
}

// visit is what lasts from Open to Close: the Receiver of the link below. Its fields
// belong to the goroutine that calls Frame.
type visit struct {
	t      *target
	r      transport.Receiver
	end    context.CancelFunc // of the link below
	in     []byte             // blocks of a transfer that has more to come
	next   int                // P2 of the next block; -1: of a first one
	answer []byte
}

// PacketMTU implements transport.PacketCarrier.
func (t *target) PacketMTU() int { return t.cfg.MTU }

// WholeAnswers implements transport.WholeAnswers.
func (t *target) WholeAnswers() bool { return t.whole }

// Limits implements transport.Limiter.
func (t *target) Limits() (min, max int) { return transport.Limits(t.Link) }

// Open implements transport.Link.
func (t *target) Open(ctx context.Context, r transport.Receiver) error {
	v := &visit{t: t, r: r, next: -1}
	t.mu.Lock()
	if t.open != nil {
		t.mu.Unlock()
		return transport.ErrOpen
	}
	t.open = v
	t.forget()
	t.mu.Unlock()
	below, cancel := context.WithCancel(context.WithoutCancel(ctx))
	v.end = cancel
	if err := t.Link.Open(below, v); err != nil {
		t.leave(v)
		return err
	}
	context.AfterFunc(ctx, func() { t.leave(v) })
	return nil
}

// Close implements transport.Link.
func (t *target) Close() error {
	t.leave(nil)
	return t.Link.Close()
}

// leave ends a visit, if it is still the one; nil stands for whichever is.
func (t *target) leave(v *visit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open != nil && (v == nil || t.open == v) {
		t.open.end()
		t.open = nil
		t.forget()
	}
}

// forget ends the session; t.mu is held.
func (t *target) forget() {
	t.session, t.out, t.taken = false, nil, 0
}

var (
	errNoSession = fmt.Errorf("tunnel: no terminal has begun a session: %w", transport.ErrNoPeer)
	errSlow      = fmt.Errorf("tunnel: the terminal does not fetch its packets: %w", transport.ErrNoPeer)
)

// Send implements transport.Link. A terminal that leaves more than Config.Queue
// octets of packets waiting loses its session.
func (t *target) Send(k transport.Kind, p []byte) error {
	if k != transport.Packet {
		if k == transport.Removed {
			t.mu.Lock()
			t.forget()
			t.mu.Unlock()
		}
		return t.Link.Send(k, p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.open == nil:
		return transport.ErrClosed
	case len(p) == 0:
		return transport.ErrTooShort
	case len(p) > t.cfg.MTU:
		return transport.ErrTooLong
	case !t.session:
		return errNoSession
	case len(t.out)-t.taken+len(p) > t.cfg.Queue:
		t.forget()
		return errSlow
	}
	if t.taken > 0 && len(t.out)+len(p)+maxHeader > cap(t.out) {
		t.out = t.out[:copy(t.out, t.out[t.taken:])]
		t.taken = 0
	}
	t.out = t.cfg.appendPacket(t.out, p)
	return nil
}

// Frame takes what comes over the link (transport.Receiver).
func (v *visit) Frame(k transport.Kind, p []byte) {
	switch {
	case k == transport.PowerOff:
		v.in, v.next = nil, -1
		v.t.mu.Lock()
		v.t.forget()
		v.t.mu.Unlock()
	case k == transport.Block && v.t.cfg.mine(p):
		v.answer = v.answer[:0]
		sw := v.transact(p)
		v.answer = sw.Append(v.answer)
		_ = v.t.Link.Send(transport.Block, v.answer) // a terminal that is gone misses it
		return
	}
	v.r.Frame(k, p)
}

// transact carries out a command; the data of the answer is in v.answer then.
func (v *visit) transact(p []byte) apdu.SW {
	cfg := &v.t.cfg
	c, err := apdu.Parse(p)
	data := c.P1&cfg.Data != 0
	switch {
	case err != nil:
		return apdu.WrongLength
	case c.P1&rfu != 0:
		return apdu.WrongP1P2
	case c.P1&cfg.Abort != 0:
		return v.begin(c)
	case !v.begun():
		return apdu.ConditionsNotSatisfied
	case c.P1&retransmit != 0, !data && c.P2 != 0:
		return apdu.WrongP1P2
	case data && (len(c.Data) == 0 || c.Ne != 0), !data && (len(c.Data) != 0 || c.Ne == 0):
		return apdu.WrongLength
	case data:
		return v.block(int(c.P2), c.Data)
	}
	return v.fetch(c.Ne)
}

// begin forgets what was before. A command without data may have an Le here: T=0
// has no other form.
func (v *visit) begin(c apdu.Command) apdu.SW {
	switch {
	case c.P1&(v.t.cfg.Data|retransmit) != 0 || c.P2 != 0:
		return apdu.WrongP1P2
	case len(c.Data) != 0:
		return apdu.WrongLength
	}
	v.in, v.next = nil, -1
	v.t.mu.Lock()
	v.t.forget()
	v.t.session = v.t.open == v
	v.t.mu.Unlock()
	v.r.Frame(transport.Packet, nil)
	return v.status()
}

func (v *visit) begun() bool {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	return v.t.session
}

func (v *visit) status() apdu.SW {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	return v.t.cfg.status(len(v.t.out) > v.t.taken)
}

// block takes a block of a transfer; with the last one its packets are handed over.
func (v *visit) block(p2 int, data []byte) apdu.SW {
	inOrder := v.next < 0 || p2 == v.next
	if !inOrder || len(v.in)+len(data) > v.t.cfg.Queue {
		v.in, v.next = v.in[:0], -1
		if !inOrder {
			return apdu.WrongP1P2
		}
		return apdu.NotEnoughMemory
	}
	if p2 > 0 {
		v.in, v.next = append(v.in, data...), p2-1
		return v.status()
	}
	if len(v.in) > 0 {
		v.in = append(v.in, data...)
		data = v.in
	}
	v.in, v.next = v.in[:0], -1
	if v.each(data, func([]byte) {}) != nil {
		return apdu.WrongData
	}
	_ = v.each(data, func(packet []byte) { v.r.Frame(transport.Packet, packet) }) // looked at before
	return v.status()
}

// each hands over the packets in a transfer.
func (v *visit) each(b []byte, f func(packet []byte)) error {
	for len(b) > 0 {
		packet, rest, err := v.t.cfg.nextPacket(b)
		if err != nil {
			return err
		}
		if len(packet) == 0 {
			if len(rest) > 0 { // cut off
				return errors.New("tunnel: the last data object is not whole")
			}
			return nil // filling
		}
		f(packet)
		b = rest
	}
	return nil
}

// fetch gives what waits, ne octets at most.
func (v *visit) fetch(ne int) apdu.SW {
	t := v.t
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.out)-t.taken, ne, t.cfg.Response)
	if !t.whole && n > 0 && n != ne {
		return apdu.WrongLe | apdu.SW(byte(n)) // ISO/IEC 7816-3 12.2.3
	}
	v.answer = append(v.answer, t.out[t.taken:t.taken+n]...)
	if t.taken += n; t.taken == len(t.out) {
		t.out, t.taken = t.out[:0], 0
		if cap(t.out) > 1<<16 { // what a flood needed is given back
			t.out = nil
		}
	}
	return t.cfg.status(len(t.out) > t.taken)
}
