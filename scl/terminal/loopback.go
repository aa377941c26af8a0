package terminal

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/scl"
)

// Loopback is a pipe session to the loopback gate of the network controller host:
// what it is sent comes back. One goroutine uses it at a time.
type Loopback struct {
	t    *Terminal
	p    *scl.Pipe
	wake *sync.Cond // of the domain's lock, which guards what follows
	back []byte
	came bool
	err  error
}

// Loopback opens one.
func (t *Terminal) Loopback(ctx context.Context) (l *Loopback, err error) {
	l = &Loopback{t: t, wake: sync.NewCond(t.d)}
	err = t.do(ctx, func() (err error) {
		l.p, err = t.d.Host().Bind(t.p.Host.NetworkController, t.p.Gate.Loopback, l)
		return err
	})
	return l, err
}

// Echo sends data and returns what comes back, which is valid until the next Echo.
// ErrTimeout when nothing does within scl.ResponseTime.
func (l *Loopback) Echo(ctx context.Context, data []byte) (back []byte, err error) {
	err = l.t.do(ctx, func() error {
		l.came, l.back = false, l.back[:0]
		if err := l.p.Send(scl.Message{Type: scl.Event, Instruction: l.t.p.Event.PostData, Data: data}); err != nil {
			return err
		}
		l.t.d.Unlock() // a link that answers at once has answered by the time the lock is back
		l.t.d.Lock()
		if !l.came {
			defer context.AfterFunc(ctx, l.nudge)()
			defer time.AfterFunc(scl.ResponseTime, l.nudge).Stop()
			for limit := time.Now().Add(scl.ResponseTime); !l.came; l.wake.Wait() {
				switch {
				case l.err != nil:
					return l.err
				case ctx.Err() != nil:
					return context.Cause(ctx)
				case !time.Now().Before(limit):
					return ErrTimeout
				}
			}
		}
		back = l.back
		return nil
	})
	return back, err
}

func (l *Loopback) nudge() {
	l.t.d.Lock()
	l.wake.Broadcast()
	l.t.d.Unlock()
}

// Close ends the session.
func (l *Loopback) Close() error {
	l.t.d.Lock()
	defer l.t.d.Unlock()
	return l.p.Delete()
}

// Message takes what comes back (scl.PipeReceiver).
func (l *Loopback) Message(p *scl.Pipe, m scl.Message) {
	switch {
	case m.Type == scl.Command:
		_ = p.Respond(l.t.p.Response.AnyECmdNotSupported, nil)
	case m.Type == scl.Event && m.Instruction == l.t.p.Event.PostData:
		l.back, l.came = slices.Grow(l.back[:0], len(m.Data)), true
		l.back = append(l.back, m.Data...)
	}
	l.wake.Broadcast()
}

// Closed tells that the host left, or the link (scl.PipeReceiver).
func (l *Loopback) Closed(*scl.Pipe) {
	l.err = ErrRemoved
	l.wake.Broadcast()
}
