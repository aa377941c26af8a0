package shdlc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// parting is how long Close of a target waits, in real time, until the controller
// has read that it leaves.
const parting = 100 * time.Millisecond

// targetEnd is the SSP's end. It has one frame ready at a time; what it does, it does in
// the calls of the bus and of a timer.
//
//	Written ─> Engine ─> push: Next ─> ready, IRQ ─> Pending, Taken ─> Sent
type targetEnd struct {
	end
	socket bus.Socket
	life   sync.Mutex // one Open or Close at a time

	// Guarded by mu.
	lines   bus.Lines // nil while out of the socket
	clock   bus.Clock
	ready   []byte        // the frame that the controller may read
	read    int           // so much of it has been read
	irq     bool          // the level of the line
	alarm   time.Duration // when the timer runs; never: it does not
	disarm  func() bool
	onAlarm func() // fire
}

// NewTarget makes the target's end of a link at a place on a bus.
//
// The Receiver gets PowerOff when the controller has left, has pulled the reset line
// or has begun anew. While it works the time of the bus stands still, unless it waits
// in Send for room.
func NewTarget(s bus.Socket, cfg Config, url string) (transport.Link, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	t := &targetEnd{socket: s, alarm: never}
	t.init(transport.Target, cfg, url)
	t.push, t.onAlarm = t.stage, t.fire
	t.hold, t.release = func() { t.clock.Hold() }, func() { t.clock.Release() }
	return t, nil
}

// Open implements transport.Link.
func (t *targetEnd) Open(ctx context.Context, r transport.Receiver) error {
	t.life.Lock()
	defer t.life.Unlock()
	t.mu.Lock()
	open := t.open
	t.mu.Unlock()
	if open {
		return transport.ErrOpen
	}
	lines, err := t.socket.Attach((*bench)(t))
	if err != nil {
		return fmt.Errorf("link %q: %w", t.url, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines, t.clock = lines, lines.Clock()
	t.ready, t.read, t.irq = t.ready[:0], 0, false
	t.in.idle()
	t.e.Drop()
	t.begin(ctx, r, t.leave)
	return nil
}

// Close implements transport.Link.
func (t *targetEnd) Close() error {
	t.leave(0)
	return nil
}

func (t *targetEnd) leave(session uint64) {
	t.life.Lock()
	defer t.life.Unlock()
	t.mu.Lock()
	if !t.finish(session) {
		t.mu.Unlock()
		return
	}
	t.letGo()
	if t.up {
		t.farewell()
	}
	t.e.Drop()
	t.lose(errPower)
	t.stopAlarm()
	t.lines.SetIRQ(false)
	t.lines, t.ready, t.read = nil, t.ready[:0], 0
	t.mu.Unlock()
	_ = t.socket.Close() // nothing to learn from it
}

// farewell has the controller read a RSET, so that it knows; mu is held.
func (t *targetEnd) farewell() {
	t.e.Connect()
	t.stage()
	over := false
	defer time.AfterFunc(parting, func() {
		t.mu.Lock()
		over = true
		t.room.Broadcast()
		t.mu.Unlock()
	}).Stop()
	for !over && (t.e.Speaks() || t.read < len(t.ready)) {
		t.room.Wait()
	}
}

// Send implements transport.Link.
func (t *targetEnd) Send(k transport.Kind, p []byte) error {
	if k != transport.Packet {
		return transport.ErrDirection
	}
	return t.sendPacket(p)
}

// stage has the next frame ready, tells by the interrupt line and arms the timer; mu
// is held.
func (t *targetEnd) stage() {
	if t.lines == nil {
		return
	}
	t.refill()
	if t.read == len(t.ready) {
		t.ready, t.read = t.ready[:0], 0
		if f := t.e.Next(); f != nil {
			t.ready = t.mac.append(t.ready, f)
		}
	}
	if irq := len(t.ready) > 0; irq != t.irq {
		t.irq = irq
		t.lines.SetIRQ(irq)
	}
	if d, ok := t.e.Deadline(); ok && d < t.alarm {
		t.stopAlarm()
		t.alarm = d
		t.disarm = t.clock.AfterFunc(d-t.clock.Now(), t.onAlarm)
	}
}

func (t *targetEnd) stopAlarm() {
	if t.alarm != never {
		t.disarm()
		t.alarm = never
	}
}

// fire is the timer.
func (t *targetEnd) fire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		return
	}
	now := t.clock.Now()
	if now >= t.alarm {
		t.alarm = never
	}
	t.note(t.e.Expire(now))
	t.stage()
}

// bench is the target as the bus sees it (bus.Target).
type bench targetEnd

// Pending implements bus.Target.
func (b *bench) Pending() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready[b.read:]
}

// Taken implements bus.Target.
func (b *bench) Taken(n int) {
	t := (*targetEnd)(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil || t.read == len(t.ready) {
		return
	}
	if t.read = min(t.read+n, len(t.ready)); t.read == len(t.ready) {
		t.e.Sent(t.clock.Now())
		t.stage()
		if !t.open {
			t.room.Broadcast()
		}
	}
}

// Written implements bus.Target.
func (b *bench) Written(p []byte) {
	t := (*targetEnd)(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil || !t.open {
		return
	}
	now := t.clock.Now()
	t.arrived(now, p)
	t.quiet(now) // the controller writes whole frames
	t.stage()
}

// Reset implements bus.Target.
func (b *bench) Reset() {
	t := (*targetEnd)(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil || !t.open {
		return
	}
	t.ready, t.read = t.ready[:0], 0
	t.e.Drop()
	t.lose(errPower)
	t.stage()
}

// PowerOff implements bus.Powered.
func (b *bench) PowerOff() { b.Reset() }
