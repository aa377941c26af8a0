package bridge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sspemu/sspemu/transport/bus"
)

// socket is the bus.Socket of a board that is a target. What may be read is sent to
// the board with a number, its generation; the board says how much of which was read.
// Frames that noise has eaten are made good: READY is said again and again, TAKEN
// counts from the beginning of the generation. A lost access is left to the protocol.
type socket struct {
	*place
	mu   sync.Mutex
	line *line // nil: nobody is attached
}

// line is one attachment.
type line struct {
	s     *socket
	t     bus.Target
	clock bus.Clock
	kick  chan struct{} // has a token when there is something to do
	want  atomic.Bool   // the interrupt line, as the target wants it
	done  chan struct{} // closed by Close
	ended chan struct{} // closed when the goroutine has gone

	// of the goroutine only
	max   int
	gen   byte
	sent  []byte // of this generation
	taken int    // so much of it was read
	said  time.Time
	have  bool // the interrupt line, as the board was told
}

// poll is how often a target is asked for what it has not told by its interrupt line.
const poll = 2 * time.Millisecond

func (s *socket) Physical() bus.Physical { return s.want.physical }
func (s *socket) String() string         { return s.url }

// wire is a session of a line and what has come over it.
type wire struct {
	*session
	in    chan event
	ended <-chan struct{}
}

type event struct {
	t message
	p []byte
}

// Attach implements bus.Socket. The board must be there; when it is lost later, it is
// tried again until Close.
func (s *socket) Attach(t bus.Target) (bus.Lines, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil {
		return nil, fmt.Errorf("%s: a target is attached already", s.url)
	}
	l := &line{
		s: s, t: t, clock: bus.Real(), kick: make(chan struct{}, 1),
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	w, err := l.connect()
	if err != nil {
		return nil, err
	}
	s.line = l
	go l.run(w)
	return l, nil
}

// Close implements bus.Socket.
func (s *socket) Close() error {
	s.mu.Lock()
	l := s.line
	s.line = nil
	s.mu.Unlock()
	if l != nil {
		close(l.done)
		<-l.ended
	}
	return nil
}

// SetIRQ implements bus.Lines.
func (l *line) SetIRQ(active bool) {
	l.want.Store(active)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

func (l *line) Clock() bus.Clock { return l.clock }

func (l *line) connect() (*wire, error) {
	w := &wire{in: make(chan event, 64)}
	s, h, ended, err := l.s.greet(roleTarget, func(t message, p []byte) error {
		if t == msgError {
			return boardError(p)
		}
		select {
		case w.in <- event{t, append([]byte(nil), p...)}:
			return nil
		case <-l.done:
			return bus.ErrClosed
		}
	})
	if err != nil {
		return nil, err
	}
	w.session, w.ended = s, ended
	l.max, l.sent, l.taken, l.have = int(h.max), l.sent[:0], 0, false
	return w, nil
}

// run serves one connection after the other.
func (l *line) run(w *wire) {
	defer close(l.ended)
	pause := retryFirst
	for {
		if w != nil {
			pause = retryFirst
			if l.serve(w) {
				return
			}
			w = nil
			if p, ok := l.t.(bus.Powered); ok {
				p.PowerOff()
			}
		}
		select {
		case <-l.done:
			return
		case <-time.After(pause):
			pause = min(2*pause, retryMost)
		}
		if n, err := l.connect(); err == nil {
			w = n
			l.t.Reset()
		}
	}
}

// serve is for one connection; true when the line is to end.
func (l *line) serve(w *wire) bool {
	defer func() {
		_ = w.rw.Close() // nothing to learn from it
		for {
			select {
			case <-w.in: // it may wait for room
			case <-w.ended:
				return
			}
		}
	}()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if l.sync(w) != nil {
			return false
		}
		select {
		case e := <-w.in:
			l.event(e)
		case <-l.kick:
		case <-tick.C:
		case <-w.ended:
			for {
				select {
				case e := <-w.in:
					l.event(e)
				default:
					return false
				}
			}
		case <-l.done:
			_ = w.send(msgReady, []byte{l.gen + 1}) // nothing, from now on; an error is the end, too
			_ = w.send(msgIRQ, []byte{0})
			return true
		}
	}
}

func (l *line) left() []byte { return l.sent[l.taken:] }

// event is one message of the board.
func (l *line) event(e event) {
	switch {
	case e.t == msgWritten && len(e.p) > 0:
		l.t.Written(e.p)
	case e.t == msgTaken && len(e.p) == 3 && e.p[0] == l.gen:
		total := min(int(binary.BigEndian.Uint16(e.p[1:])), len(l.sent))
		n := total - l.taken
		if n <= 0 {
			return
		}
		same := bytes.HasPrefix(l.t.Pending(), l.left())
		l.taken = total
		if same { // else it is not what the target means any more
			l.t.Taken(n)
		}
	case e.t == msgReset:
		l.t.Reset()
	case e.t == msgPowerOff:
		if p, ok := l.t.(bus.Powered); ok {
			p.PowerOff()
		}
	}
}

// sync tells the board what may be read and how the interrupt line is.
func (l *line) sync(w *wire) error {
	want := l.want.Load() // before Pending: the line never says what is not ready
	p, left := l.t.Pending(), l.left()
	again := time.Since(l.said) >= refresh
	switch {
	case len(p) == 0 && len(left) == 0:
	case len(left) > 0 && bytes.HasPrefix(p, left):
		if again {
			if err := l.ready(w); err != nil {
				return err
			}
		}
	default:
		l.gen++
		l.sent, l.taken = append(l.sent[:0], p[:min(len(p), l.max)]...), 0
		if err := l.ready(w); err != nil {
			return err
		}
	}
	if want != l.have || again {
		l.have, l.said = want, time.Now()
		b := []byte{0}
		if want {
			b[0] = 1
		}
		return w.send(msgIRQ, b)
	}
	return nil
}

func (l *line) ready(w *wire) error {
	l.said = time.Now()
	return w.send(msgReady, []byte{l.gen}, l.sent)
}
