package transport

import (
	"context"
	"sync"
	"sync/atomic"
)

// Mem makes the two ends of a link inside one process (URL "mem:"). It is
// synchronous and has no goroutine: Send of one end calls the Receiver of the
// other, whose answering Send calls the first one's Receiver, so that an answer
// that is given at once has arrived when Send returns.
//
//	controller.Send ──> target's Receiver.Frame
//	                       └─ target.Send ──> controller's Receiver.Frame
//
// An exchange does not allocate. Removed and Inserted of the target end take the
// card out of reach and back.
func Mem() (controller, target Link) {
	p := &memPair{}
	for i := range p.ends {
		e := &p.ends[i]
		e.pair, e.role, e.peer = p, Role(i), &p.ends[1-i]
	}
	return &p.ends[Controller], &p.ends[Target]
}

type memPair struct {
	mu   sync.Mutex  // one Open or Close at a time
	ends [2]memEnd   // by Role
	out  atomic.Bool // the target has said Removed and not yet Inserted
}

type memEnd struct {
	pair  *memPair
	peer  *memEnd
	role  Role
	open  atomic.Bool
	inbox Inbox
	gen   uint64 // counts Opens; guarded by pair.mu
	stop  func() bool
}

func (e *memEnd) String() string { return "mem:" }

// PacketMTU makes the link a PacketCarrier.
func (e *memEnd) PacketMTU() int { return MaxFrame }

func (e *memEnd) Open(ctx context.Context, r Receiver) error {
	p := e.pair
	p.mu.Lock()
	if e.open.Load() {
		p.mu.Unlock()
		return ErrOpen
	}
	e.gen++
	gen := e.gen
	e.inbox.Receive(r)
	e.open.Store(true)
	if e.role == Target {
		p.out.Store(false)
	}
	e.stop = context.AfterFunc(ctx, func() { e.close(gen) })
	meet := e.peer.open.Load() && !p.out.Load()
	p.mu.Unlock()
	if meet {
		p.ends[Controller].inbox.Deliver(Inserted, nil)
	}
	return nil
}

func (e *memEnd) Close() error { return e.close(0) }

// close ends the link if it still is the one that was opened as the gen-th; 0
// stands for whichever it is.
func (e *memEnd) close(gen uint64) error {
	p := e.pair
	p.mu.Lock()
	if !e.open.Load() || gen != 0 && gen != e.gen {
		p.mu.Unlock()
		return nil
	}
	e.open.Store(false)
	e.stop()
	e.inbox.Receive(nil)
	part := !p.out.Load()
	p.mu.Unlock()
	if part && e.role == Controller {
		e.peer.inbox.Deliver(PowerOff, nil)
	} else if part {
		e.peer.inbox.Deliver(Removed, nil)
	}
	return nil
}

func (e *memEnd) Send(k Kind, p []byte) error {
	if !e.open.Load() {
		return ErrClosed
	}
	if k == Packet {
		switch {
		case len(p) > MaxFrame:
			return ErrTooLong
		case len(p) == 0:
			return ErrTooShort
		case !e.peer.inbox.Deliver(k, p):
			return ErrNoPeer
		}
		return nil
	}
	if err := Check(e.role, k, len(p), 0, MaxFrame); err != nil {
		return err
	}
	switch k {
	case Removed:
		if e.pair.out.Swap(true) {
			return nil
		}
	case Inserted:
		if !e.pair.out.Swap(false) {
			return nil
		}
	default:
		if e.pair.out.Load() {
			return ErrNoPeer
		}
	}
	if e.peer.inbox.Deliver(k, p) || k == Removed || k == Inserted {
		return nil
	}
	return ErrNoPeer
}
