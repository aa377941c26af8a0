package bridge

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/sspemu/sspemu/transport/bus"
)

// socket is the bus.Socket of a board that is a target. What may be read is sent to
// the board with a number, its generation; the board says how much of which was read.
// Frames that noise has eaten are made good: READY is said again and again, TAKEN
// counts from the beginning of the generation. A lost access is left to the protocol.
type socket struct {
	*place
	bus.Remote
}

// line is one attachment.
type line struct {
	bus.Outlet
	s *socket

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
	l := &line{s: s}
	return s.Remote.Attach(s.url, t, &l.Outlet, func() (func() bool, error) {
		w, err := l.connect()
		return func() bool { return l.serve(w) }, err
	})
}

func (l *line) connect() (*wire, error) {
	w := &wire{in: make(chan event, 64)}
	s, h, ended, err := l.s.greet(roleTarget, func(t message, p []byte) error {
		if t == msgError {
			return boardError(p)
		}
		select {
		case w.in <- event{t, append([]byte(nil), p...)}:
			return nil
		case <-l.Done:
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
		case <-l.Kick:
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
		case <-l.Done:
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
		l.Target.Written(e.p)
	case e.t == msgTaken && len(e.p) == 3 && e.p[0] == l.gen:
		total := min(int(binary.BigEndian.Uint16(e.p[1:])), len(l.sent))
		n := total - l.taken
		if n <= 0 {
			return
		}
		same := bytes.HasPrefix(l.Target.Pending(), l.left())
		l.taken = total
		if same { // else it is not what the target means any more
			l.Target.Taken(n)
		}
	case e.t == msgReset:
		l.Target.Reset()
	case e.t == msgPowerOff:
		if p, ok := l.Target.(bus.Powered); ok {
			p.PowerOff()
		}
	}
}

// sync tells the board what may be read and how the interrupt line is.
func (l *line) sync(w *wire) error {
	want := l.IRQ() // before Pending: the line never says what is not ready
	p, left := l.Target.Pending(), l.left()
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
