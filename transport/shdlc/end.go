package shdlc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
)

// What bounds a link's user, in real time.
const (
	// patience is how long Send waits for room.
	patience = 10 * time.Second
	// maxBacklog is how many octets of packets wait for the Engine.
	maxBacklog = 256 << 10
)

// end is what both ends of a link share: an Engine, packets that wait for it, and a
// goroutine that hands to the Receiver what came.
//
//	Send ─> backlog ─> Engine ─> push: controller's goroutine, or what the target has ready
//	Receiver.Frame <─ worker <─ Engine <─ what arrived on the bus
type end struct {
	cfg           Config
	url           string
	role          transport.Role
	mac           mac
	sendWait      time.Duration // that Send takes at most: patience
	push          func()        // gets what is new onto the bus; mu is held
	hold, release func()        // keep the time of the bus while the worker works; may be nil

	mu      sync.Mutex // guards what follows; not held while bits move or a Receiver runs
	work    sync.Cond  // for the worker
	room    sync.Cond  // for senders
	e       *Engine
	in      decoder
	backlog backlog
	open    bool
	session uint64        // counts Opens
	ended   chan struct{} // closed when the worker of the last Open has gone
	stop    func() bool   // the watch of the context of Open
	up      bool          // packets pass
	setup   bool          // it will be known soon whether they do
	told    bool          // the Receiver knows of a link
	left    bool          // that link has gone
	fault   error         // of the last access
	trouble error         // why not, or nil
	senders int           // that wait for room
	held    bool          // the time of the bus is held for the worker
}

func (l *end) init(role transport.Role, cfg Config, url string) {
	l.cfg, l.url, l.role, l.mac, l.sendWait = cfg, url, role, newMAC(cfg), patience
	l.e, l.in = NewEngine(cfg, role == transport.Controller), newDecoder(l.mac)
	l.work.L, l.room.L = &l.mu, &l.mu
}

// String implements transport.Link.
func (l *end) String() string { return l.url }

// PacketMTU implements transport.PacketCarrier.
func (l *end) PacketMTU() int { return l.cfg.MTU() }

// Trouble implements transport.Troubled.
func (l *end) Trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble
}

// Why there is no link.
var (
	errReset = errors.New("shdlc: the other end has begun anew")
	errPower = errors.New("shdlc: the other end has no power, or was reset")
	errAway  = errors.New("shdlc: the other end is not on the bus")
)

// Stats is what the Engine has counted.
func (l *end) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.e.Stats()
}

// begin opens a session, whose end is leave; mu is held.
func (l *end) begin(ctx context.Context, r transport.Receiver, leave func(session uint64)) {
	before, ended := l.ended, make(chan struct{})
	l.session++
	session := l.session
	l.open, l.ended = true, ended
	l.up, l.setup, l.told, l.left, l.trouble = false, false, false, false, nil
	l.stop = context.AfterFunc(ctx, func() { leave(session) })
	go func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		l.serve(r, session)
	}()
}

// finish closes the session, or says that there is no such; 0 is whichever there is.
// mu is held.
func (l *end) finish(session uint64) bool {
	if !l.open || session != 0 && session != l.session {
		return false
	}
	l.stop()
	l.open = false
	l.work.Broadcast()
	l.room.Broadcast()
	return true
}

// serve is the worker: it calls the Receiver.
func (l *end) serve(r transport.Receiver, session uint64) {
	buf := make([]byte, 0, l.cfg.MTU())
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open && l.session == session {
		var k transport.Kind
		var p []byte
		switch {
		case l.told && l.left:
			l.told, l.left = false, false
			k = transport.PowerOff
			if l.role == transport.Controller {
				k = transport.Removed
				l.mu.Unlock()
				r.Frame(transport.Packet, nil) // whoever sent packets so far is gone
				l.mu.Lock()
				if !l.open || l.session != session {
					continue
				}
			}
		case l.up && !l.told:
			l.told = true
			if l.role == transport.Target {
				continue
			}
			k = transport.Inserted
		default:
			var ok bool
			p, ok = l.e.Take(buf)
			if l.e.Speaks() {
				l.push() // the user had been slow: RNR is over
			}
			if !ok {
				l.letGo()
				l.work.Wait()
				continue
			}
			k = transport.Packet
		}
		l.mu.Unlock()
		r.Frame(k, p)
		l.mu.Lock()
	}
	l.letGo()
}

// rouse has the worker look whether there is something for it; mu is held.
func (l *end) rouse() {
	if !l.open || !l.e.Waiting() && !(l.told && l.left) && !(l.up && !l.told) {
		return
	}
	if l.hold != nil && !l.held && l.senders == 0 {
		l.held = true
		l.hold()
	}
	l.work.Signal()
}

// letGo lets the time of the bus pass again; mu is held.
func (l *end) letGo() {
	if l.held {
		l.held = false
		l.release()
	}
}

// arrived takes octets that came in one access; mu is held.
func (l *end) arrived(now time.Duration, p []byte) {
	for len(p) > 0 {
		n, lpdu, f := l.in.next(p)
		p = p[n:]
		switch f {
		case whole:
			l.note(l.e.Receive(now, lpdu))
		case garbled:
			l.e.Garbled(now)
		}
	}
	l.rouse()
}

// quiet tells that nothing follows what came; mu is held.
func (l *end) quiet(now time.Duration) {
	if l.in.idle() {
		l.e.Garbled(now)
	}
}

// note does what an event of the Engine asks for; mu is held.
func (l *end) note(ev Event) {
	switch ev {
	case Up:
		l.up, l.setup, l.trouble = true, false, nil
		l.refill()
		l.room.Broadcast()
	case WasReset:
		l.lose(errReset)
	case Down:
		why := fmt.Errorf("shdlc: the other end does not answer (%d RSETs every %v, %d retransmissions every %v): is it on, and does it speak SHDLC?",
			l.cfg.ResetTries, l.cfg.T3, l.cfg.Retries, l.cfg.T2)
		if l.fault != nil {
			why = fmt.Errorf("%w (%w)", why, l.fault)
		}
		l.lose(why)
	}
}

// lose: there is no link any more, and why; mu is held.
func (l *end) lose(why error) {
	l.left, l.trouble = l.told, why
	l.up, l.setup = false, false
	l.backlog.clear()
	l.room.Broadcast()
	l.rouse()
}

// refill moves packets from the backlog to the Engine; mu is held.
func (l *end) refill() {
	moved := false
	for !l.backlog.empty() && l.e.Send(l.backlog.first()) {
		l.backlog.drop()
		moved = true
	}
	if moved {
		l.room.Broadcast()
	}
}

// sendPacket queues a packet, and waits while there is no room for it.
func (l *end) sendPacket(p []byte) error {
	switch {
	case len(p) == 0:
		return transport.ErrTooShort
	case len(p) > l.cfg.MTU():
		return transport.ErrTooLong
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var limit time.Time
	for {
		switch {
		case !l.open:
			return transport.ErrClosed
		case l.up && l.backlog.empty() && l.e.Send(p):
			l.push()
			return nil
		case l.up && l.backlog.take(p):
			return nil
		case !l.up && !l.setup:
			return transport.ErrNoPeer
		case limit.IsZero():
			limit = time.Now().Add(l.sendWait)
			defer time.AfterFunc(l.sendWait, func() {
				l.mu.Lock()
				l.room.Broadcast()
				l.mu.Unlock()
			}).Stop()
			l.senders++
			defer func() { l.senders-- }()
			l.letGo() // this may be the worker, and the other end needs time
		case !time.Now().Before(limit):
			return fmt.Errorf("%s: nothing was taken for %v: %w", l.url, l.sendWait, transport.ErrNoPeer)
		}
		l.room.Wait()
	}
}

// backlog is a queue of packets, each behind its length.
type backlog struct {
	b    []byte
	head int
}

const backlogHeader = 4

func (q *backlog) empty() bool { return q.head == len(q.b) }

func (q *backlog) clear() { q.b, q.head = nil, 0 }

// take queues p, if there is room.
func (q *backlog) take(p []byte) bool {
	if len(q.b)-q.head+len(p) > maxBacklog {
		return false
	}
	if q.head > 0 && len(q.b)+backlogHeader+len(p) > cap(q.b) {
		q.b = q.b[:copy(q.b, q.b[q.head:])]
		q.head = 0
	}
	q.b = append(binary.BigEndian.AppendUint32(q.b, uint32(len(p))), p...)
	return true
}

func (q *backlog) first() []byte {
	b := q.b[q.head:]
	n := binary.BigEndian.Uint32(b)
	return b[backlogHeader : backlogHeader+n]
}

func (q *backlog) drop() {
	q.head += backlogHeader + len(q.first())
	switch {
	case !q.empty():
	case cap(q.b) > maxBacklog/4: // what a rush needed is given back
		q.clear()
	default:
		q.b, q.head = q.b[:0], 0
	}
}
