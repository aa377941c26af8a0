package iso7816

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// port is a stream of bytes that is open: a terminal device or a connection.
type port interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
}

// uart is a port with modem lines and a rate, whose stream marks wrong parity.
type uart interface {
	port
	// reset pulls the reset line, if down.
	reset(down bool) error
	// watch calls f whenever the reset line of the other end is released after it was
	// pulled, until the port is closed.
	watch(f func())
	rate(etu time.Duration, t byte) error
}

// stream is a line made of a port that may go and come back: signals are in-band,
// unless it is a uart.
type stream struct {
	// prepare is called by open and gives the function that makes the port, over and
	// over, with what ends it. An error of prepare is that of open.
	prepare func(ctx context.Context) (dial func(ctx context.Context) (port, error), stop func(), err error)
	time    bus.Clock

	mu     sync.Mutex
	p      port // nil while there is none
	why    error
	cancel context.CancelFunc
	stop   func()
	ended  chan struct{}

	wmu  sync.Mutex
	wbuf []byte
}

// Waiting times of streams.
const (
	// streamGrace is what waiting times are made longer by: a system with other things to do.
	streamGrace = time.Second
	// streamStall is how long the other end may take nothing.
	streamStall = 2 * time.Second
	// resetPulse is how long a reset line is pulled, more than 400 cycles of the clock.
	resetPulse = 10 * time.Millisecond
)

func (l *stream) clock() bus.Clock { return l.time }

func (l *stream) traits() traits {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, real := l.p.(uart)
	return traits{inband: !real, rates: real, parity: real, grace: streamGrace}
}

func (l *stream) idle(bell <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-bell:
	case <-t.C:
	}
}

func (l *stream) open(ctx context.Context, s sink) error {
	ctx, cancel := context.WithCancel(ctx)
	dial, stop, err := l.prepare(ctx)
	if err != nil {
		cancel()
		return err
	}
	l.mu.Lock()
	before := l.ended
	ended := make(chan struct{})
	l.cancel, l.stop, l.ended = cancel, stop, ended
	l.mu.Unlock()
	go func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		l.run(ctx, dial, s)
	}()
	return nil
}

func (l *stream) close() {
	l.mu.Lock()
	cancel, stop, p := l.cancel, l.stop, l.p
	l.cancel, l.stop, l.p = nil, nil, nil
	l.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	if p != nil {
		_ = p.Close() // nothing to learn from it
	}
	if stop != nil {
		stop()
	}
}

// run has a port, over and over.
func (l *stream) run(ctx context.Context, dial func(context.Context) (port, error), s sink) {
	wait := retryFirst
	for ctx.Err() == nil {
		p, err := dial(ctx)
		if err != nil {
			l.mu.Lock()
			l.why = err
			l.mu.Unlock()
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, retryMost)
			continue
		}
		wait = retryFirst
		l.mu.Lock()
		if ctx.Err() != nil {
			l.mu.Unlock()
			_ = p.Close()
			return
		}
		l.p, l.why = p, nil
		l.mu.Unlock()
		s.signalled(sigUp)
		err = l.serve(ctx, p, s)
		l.mu.Lock()
		mine := l.p == p
		if mine {
			l.p, l.why = nil, err
		}
		l.mu.Unlock()
		_ = p.Close()
		if mine {
			s.signalled(sigDown)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
	}
}

// serve reads p until it ends.
func (l *stream) serve(ctx context.Context, p port, s sink) error {
	buf := make([]byte, 4096)
	take := new(inband).take
	if u, ok := p.(uart); ok {
		take = new(marked).take
		go u.watch(func() {
			if ctx.Err() == nil {
				s.signalled(sigCold)
			}
		})
	}
	for {
		n, err := p.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		take(buf[:n], s)
		if err != nil {
			return err
		}
	}
}

func (l *stream) write(b []byte) error { return l.send(b, 0, false) }

func (l *stream) signal(s signal) error { return l.send(nil, s, true) }

func (l *stream) send(b []byte, sig signal, is bool) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.mu.Lock()
	p, why := l.p, l.why
	l.mu.Unlock()
	if p == nil {
		return errors.Join(transport.ErrNoPeer, why)
	}
	u, real := p.(uart)
	if real && is {
		return l.pull(u, sig)
	}
	switch l.wbuf = l.wbuf[:0]; {
	case is:
		l.wbuf = appendSignal(l.wbuf, sig)
	case real:
		l.wbuf = append(l.wbuf, b...)
	default:
		l.wbuf = appendChars(l.wbuf, b)
	}
	_ = p.SetWriteDeadline(time.Now().Add(streamStall)) // one that has none blocks
	if _, err := p.Write(l.wbuf); err != nil {
		return errors.Join(transport.ErrNoPeer, err)
	}
	return nil
}

// pull does with the reset line what a signal says; the others cannot be told so.
func (l *stream) pull(u uart, s signal) error {
	switch s {
	case sigCold, sigWarm:
		if err := u.reset(true); err != nil {
			return err
		}
		time.Sleep(resetPulse)
		return u.reset(false)
	case sigOff:
		return u.reset(true)
	}
	return nil
}

func (l *stream) rate(etu time.Duration, t byte) error {
	l.mu.Lock()
	u, ok := l.p.(uart)
	l.mu.Unlock()
	if !ok {
		return nil
	}
	return u.rate(etu, t)
}

// marked takes apart what a terminal device with PARMRK gives: FF 00 X is a character
// with wrong parity, FF FF the character FF.
type marked struct {
	state int // 1: after FF; 2: after FF 00
	out   []byte
}

func (d *marked) take(p []byte, s sink) {
	d.out = d.out[:0]
	for _, b := range p {
		switch {
		case d.state == 2:
			d.state = 0
			s.chars(append(d.out, b), true)
			d.out = d.out[:0]
		case d.state == 1 && b == 0:
			d.state = 2
		case d.state == 0 && b == 0xFF:
			d.state = 1
		default:
			d.state = 0
			d.out = append(d.out, b)
		}
	}
	if len(d.out) > 0 {
		s.chars(d.out, false)
	}
}

// tcpLine is a connection: the controller listens, the target connects.
func tcpLine(addr string, role transport.Role) *stream {
	l := &stream{time: bus.Real()}
	tune := func(c net.Conn, err error) (port, error) {
		if err != nil {
			return nil, err
		}
		t := c.(*net.TCPConn)
		if t.LocalAddr().String() == t.RemoteAddr().String() { // its own peer (simultaneous open)
			_ = t.Close()
			return nil, transport.ErrNoPeer
		}
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: lost / 2, Interval: lost / 4, Count: 2})
		return t, nil
	}
	l.prepare = func(ctx context.Context) (func(context.Context) (port, error), func(), error) {
		if role == transport.Target {
			return func(ctx context.Context) (port, error) {
				d := net.Dialer{Timeout: 5 * time.Second}
				return tune(d.DialContext(ctx, "tcp", addr))
			}, nil, nil
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		return func(context.Context) (port, error) { return tune(ln.Accept()) }, func() { _ = ln.Close() }, nil
	}
	return l
}
