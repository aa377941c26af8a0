package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sspemu/sspemu/scl"
)

// Flow control of a stream, in octets.
const (
	window   = 64 << 10 // what the bundle may send before it is read
	maxChunk = 16 << 10 // longest message of data
)

// reasons are what EVT_CLOSED says (scl-profile-0, event.tcp.EVT_CLOSED).
var reasons = [...]error{0: io.EOF, 1: ErrReset, 2: ErrTimeout}

// reasonOf is the error that EVT_CLOSED stands for.
func reasonOf(data []byte) error {
	if len(data) == 1 && int(data[0]) < len(reasons) {
		return reasons[data[0]]
	}
	return ErrReset
}

// DialTCP opens a connection to the TCP gate of the active SPB: a pipe session that
// carries a stream of octets. ErrNoCard, ErrNoService; Read and Write of the
// connection give ErrRemoved, ErrTimeout and ErrReset.
func (t *Terminal) DialTCP(ctx context.Context) (net.Conn, error) {
	s := &stream{t: t}
	s.wake = sync.NewCond(t.d)
	err := t.do(ctx, func() (err error) {
		if s.p, err = t.open(t.p.Gate.TCP, s); err != nil {
			return err
		}
		return s.p.Grant(window)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// stream is a connection to the TCP gate (net.Conn).
//
//	Write ── EVT_DATA ──> gate, as far as EVT_CREDIT of the gate goes
//	Read <── EVT_DATA ─── gate, as far as the window goes; what was read is granted again
type stream struct {
	t    *Terminal
	p    *scl.Pipe
	wake *sync.Cond // of the domain's lock, which guards what follows

	in          []byte // what came, from at on
	at          int
	owed        int   // credit that the bundle used and has not got back
	err         error // why nothing comes any more
	closed      bool  // by this end
	read, write deadline
}

// deadline is a time and the timer that wakes who waits.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// Message takes what the gate sends (scl.PipeReceiver).
func (s *stream) Message(p *scl.Pipe, m scl.Message) {
	e := &s.t.p.Event
	switch {
	case m.Type == scl.Command:
		_ = p.Respond(s.t.p.Response.AnyECmdNotSupported, nil)
	case m.Type != scl.Event, s.closed: // what is still on its way when this end closes is nobody's
	case m.Instruction == e.TCPData:
		if s.at == len(s.in) || len(s.in)+len(m.Data) > cap(s.in) { // what was read makes room
			s.in, s.at = s.in[:copy(s.in, s.in[s.at:])], 0
		}
		s.in = append(s.in, m.Data...)
		s.owed++
		s.wake.Broadcast()
	case m.Instruction == e.TCPClosed:
		s.end(reasonOf(m.Data))
	}
}

// Credit lets a Write go on (scl.WithCredit).
func (s *stream) Credit(*scl.Pipe, int) { s.wake.Broadcast() }

// Closed tells that the SPB left, or its gate ended the session.
func (s *stream) Closed(*scl.Pipe) { s.end(ErrRemoved) }

func (s *stream) end(err error) {
	if s.err == nil {
		s.err = err
	}
	s.wake.Broadcast()
}

// Read reads what the bundle sent.
func (s *stream) Read(b []byte) (n int, err error) {
	s.t.d.Lock()
	defer s.t.d.Unlock()
	for {
		switch {
		case s.closed:
			return 0, s.fail("read", net.ErrClosed)
		case s.at < len(s.in):
			n = copy(b, s.in[s.at:])
			s.at += n
			s.owed += n
			if s.owed >= window/2 && s.p.State() == scl.Open {
				_ = s.p.Grant(s.owed)
				s.owed = 0
			}
			return n, nil
		case len(b) == 0:
			return 0, nil
		case s.err != nil:
			return 0, s.fail("read", s.err)
		case s.read.passed():
			return 0, s.fail("read", os.ErrDeadlineExceeded)
		}
		s.wake.Wait()
	}
}

// Write sends to the bundle, and waits for it to read when it has enough.
func (s *stream) Write(b []byte) (n int, err error) {
	s.t.d.Lock()
	defer s.t.d.Unlock()
	for len(b) > 0 {
		switch {
		case s.closed:
			return n, s.fail("write", net.ErrClosed)
		case s.err == io.EOF:
			return n, s.fail("write", ErrReset)
		case s.err != nil:
			return n, s.fail("write", s.err)
		case s.write.passed():
			return n, s.fail("write", os.ErrDeadlineExceeded)
		case s.p.Credit() < 2:
			s.wake.Wait()
			continue
		}
		k := min(len(b), maxChunk, s.p.Credit()-1)
		if err := s.p.Send(scl.Message{Type: scl.Event, Instruction: s.t.p.Event.TCPData, Data: b[:k]}); err != nil {
			if s.err == nil && !errors.Is(err, scl.ErrNoCredit) {
				s.end(fmt.Errorf("%w: %w", ErrRemoved, err))
			}
			continue
		}
		b, n = b[k:], n+k
	}
	return n, nil
}

// Close ends the connection.
func (s *stream) Close() error {
	s.t.d.Lock()
	defer s.t.d.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.in, s.at = nil, 0
	for _, d := range []*deadline{&s.read, &s.write} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	s.wake.Broadcast()
	if s.p.State() == scl.Open && s.err == nil {
		_ = s.p.Send(scl.Message{Type: scl.Event, Instruction: s.t.p.Event.TCPClosed, Data: []byte{0}})
	}
	_ = s.p.Delete() // the other side may have done so
	return nil
}

func (s *stream) fail(op string, err error) error {
	if err == io.EOF {
		return io.EOF
	}
	return &net.OpError{Op: op, Net: "scl", Addr: s.RemoteAddr(), Err: err}
}

// addr names an end of a stream.
type addr string

func (addr) Network() string  { return "scl" }
func (a addr) String() string { return string(a) }

// LocalAddr is the terminal.
func (s *stream) LocalAddr() net.Addr { return addr(s.t.d.Host().Name()) }

// RemoteAddr is the pipe to the TCP gate.
func (s *stream) RemoteAddr() net.Addr { return addr(s.p.String()) }

// SetDeadline bounds reads and writes.
func (s *stream) SetDeadline(at time.Time) error {
	_ = s.SetReadDeadline(at)
	return s.SetWriteDeadline(at)
}

// SetReadDeadline bounds reads.
func (s *stream) SetReadDeadline(at time.Time) error { return s.set(&s.read, at) }

// SetWriteDeadline bounds writes.
func (s *stream) SetWriteDeadline(at time.Time) error { return s.set(&s.write, at) }

func (s *stream) set(d *deadline, at time.Time) error {
	s.t.d.Lock()
	defer s.t.d.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), func() {
			s.t.d.Lock()
			s.wake.Broadcast()
			s.t.d.Unlock()
		})
	}
	s.wake.Broadcast()
	return nil
}
