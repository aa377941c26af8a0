package transport

import "sync"

// Inbox hands frames to a Receiver in order and one at a time, in the goroutine
// of whoever brings them. A frame that is brought while the Receiver is busy
// (by the Receiver itself or by another goroutine) is copied and handed over by
// the goroutine that keeps it busy, as soon as it returns; so nobody waits and
// nothing can deadlock. Links without a goroutine of their own are made of it.
//
//	Deliver ──> idle? ──yes──> Receiver.Frame, then what has queued up
//	                └──no───> queue
//
// The zero value is ready and has no Receiver.
type Inbox struct {
	mu    sync.Mutex
	r     Receiver
	busy  bool
	queue []queued
}

type queued struct {
	k Kind
	p []byte
}

// Receive makes r the Receiver and forgets what has queued up. With nil nothing
// is handed over any more.
func (b *Inbox) Receive(r Receiver) {
	b.mu.Lock()
	b.r = r
	b.queue = nil
	b.mu.Unlock()
}

// Deliver hands one frame over and tells whether there is a Receiver. p is not
// kept. It does not allocate while the Receiver is idle.
func (b *Inbox) Deliver(k Kind, p []byte) bool {
	b.mu.Lock()
	r := b.r
	if r == nil {
		b.mu.Unlock()
		return false
	}
	if b.busy {
		b.queue = append(b.queue, queued{k, append([]byte(nil), p...)})
		b.mu.Unlock()
		return true
	}
	b.busy = true
	for {
		b.mu.Unlock()
		r.Frame(k, p)
		b.mu.Lock()
		if r = b.r; r == nil || len(b.queue) == 0 {
			break
		}
		k, p = b.queue[0].k, b.queue[0].p
		b.queue = b.queue[1:]
	}
	b.busy = false
	b.mu.Unlock()
	return true
}
