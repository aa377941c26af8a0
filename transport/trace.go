package transport

import (
	"context"

	"github.com/sspemu/sspemu/internal/trace"
)

// Trace shows the frames that pass the end of a link in that role.
func Trace(l Link, role Role, t *trace.Tracer) Link {
	return around(l, &traced{Link: l, role: role, t: t})
}

type traced struct {
	Link
	role Role
	t    *trace.Tracer
}

func (l *traced) Open(ctx context.Context, r Receiver) error {
	return l.Link.Open(ctx, tracedFrames{l, r})
}

func (l *traced) Send(k Kind, p []byte) error {
	l.emit(k, p, true)
	return l.Link.Send(k, p)
}

func (l *traced) emit(k Kind, p []byte, sent bool) {
	if !l.t.On() {
		return
	}
	dir := trace.Out
	if towards(l.role, sent) {
		dir = trace.In
	}
	l.t.Emit(trace.Event{Layer: trace.Link, Dir: dir, Name: k.String(), Where: l.Link.String(), Data: p})
}

type tracedFrames struct {
	l *traced
	r Receiver
}

func (f tracedFrames) Frame(k Kind, p []byte) {
	f.l.emit(k, p, false)
	f.r.Frame(k, p)
}
