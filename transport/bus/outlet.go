package bus

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Remote is what Sockets of a bus elsewhere have in common, which a connection reaches
// that may be lost: one target at a time, and a goroutine that serves one connection
// after the other, from Attach to Close.
type Remote struct {
	mu  sync.Mutex
	out *Outlet // nil: nobody is attached
}

// Outlet is one attachment; it is the Lines of its target.
type Outlet struct {
	Target Target
	Kick   chan struct{} // has a token when there is something to do
	Done   chan struct{} // closed by Close
	want   atomic.Bool
	ended  chan struct{} // closed when the goroutine has gone
	clock  Clock
}

// How long to wait before a connection is tried again.
const (
	againFirst = 50 * time.Millisecond
	againMost  = time.Second
)

// Attach connects, and serves the connection by what connect gives, which returns true
// when it has seen Done. The first connection must succeed; one that is lost later is
// tried again until Close. The target learns that its power goes and comes back.
func (r *Remote) Attach(url string, t Target, o *Outlet, connect func() (serve func() bool, err error)) (Lines, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out != nil {
		return nil, fmt.Errorf("%s: a target is attached already", url)
	}
	o.Target, o.clock = t, Real()
	o.Kick, o.Done, o.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	serve, err := connect()
	if err != nil {
		return nil, err
	}
	r.out = o
	go o.run(serve, connect)
	return o, nil
}

// Close ends the attachment, if there is one, and waits for its goroutine.
func (r *Remote) Close() error {
	r.mu.Lock()
	o := r.out
	r.out = nil
	r.mu.Unlock()
	if o != nil {
		close(o.Done)
		<-o.ended
	}
	return nil
}

// SetIRQ implements Lines.
func (o *Outlet) SetIRQ(active bool) {
	o.want.Store(active)
	o.Wake()
}

// IRQ is the interrupt line as the target wants it.
func (o *Outlet) IRQ() bool { return o.want.Load() }

// Clock implements Lines.
func (o *Outlet) Clock() Clock { return o.clock }

// Wake leaves a token in Kick.
func (o *Outlet) Wake() {
	select {
	case o.Kick <- struct{}{}:
	default:
	}
}

// run serves one connection after the other.
func (o *Outlet) run(serve func() bool, connect func() (func() bool, error)) {
	defer close(o.ended)
	pause := againFirst
	for {
		if serve != nil {
			pause = againFirst
			if serve() {
				return
			}
			serve = nil
			if p, ok := o.Target.(Powered); ok {
				p.PowerOff() // what the controller sees from here on is not the target
			}
		}
		select {
		case <-o.Done:
			return
		case <-time.After(pause):
			pause = min(2*pause, againMost)
		}
		if next, err := connect(); err == nil {
			serve = next
			o.Target.Reset()
		}
	}
}
