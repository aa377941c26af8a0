package primary

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
)

// EventKind says what happened to a bundle.
type EventKind string

// The kinds of events.
const (
	Installed    EventKind = "installed" // new, or updated
	Enabled      EventKind = "enabled"
	Disabled     EventKind = "disabled"
	Personalised EventKind = "personalised"
	Activated    EventKind = "activated"
	Deactivated  EventKind = "deactivated"
	Deleted      EventKind = "deleted"
	Faulted      EventKind = "fault"        // the bundle failed and was reset
	Told         EventKind = "bundle event" // what the bundle itself tells
)

// Event tells what happened. For Told, Name and Data are the bundle's; for
// Faulted, Why says what went wrong.
type Event struct {
	Kind EventKind
	Time time.Duration // by the clock of the platform
	ID   loader.UUID
	// Bundle is its name.
	Bundle string
	Name   string
	Data   []byte
	Why    error
}

// events brings events to watchers, in order, in a goroutine of its own.
type events struct {
	mu       sync.Mutex
	work     sync.Cond
	queue    []Event
	watchers []*func(Event)
	closed   bool
	done     chan struct{}
}

func newEvents() *events {
	e := &events{done: make(chan struct{})}
	e.work.L = &e.mu
	go e.run()
	return e
}

func (e *events) run() {
	defer close(e.done)
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		for len(e.queue) == 0 {
			if e.closed {
				return
			}
			e.work.Wait()
		}
		ev, watchers := e.queue[0], slices.Clone(e.watchers)
		e.queue = e.queue[1:]
		e.mu.Unlock()
		for _, w := range watchers {
			(*w)(ev)
		}
		e.mu.Lock()
	}
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.watchers) > 0 && !e.closed {
		e.queue = append(e.queue, ev)
		e.work.Signal()
	}
}

// close delivers what is queued and ends.
func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	e.work.Signal()
	e.mu.Unlock()
	<-e.done
}

// Watch has f called for every event from now on, one after the other, without
// any lock: f may use the Platform, but not close it. A slow f holds up other
// watchers and nothing else. cancel ends it; a call may still be under way then.
func (p *Platform) Watch(f func(Event)) (cancel func()) {
	e, w := p.events, &f
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers = append(e.watchers, w)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.watchers = slices.DeleteFunc(e.watchers, func(x *func(Event)) bool { return x == w })
	}
}

// tell sends an event to watchers, trace and log.
func (p *Platform) tell(b *bundle, ev Event) {
	ev.Time, ev.ID, ev.Bundle = p.clock.Now(), b.id, b.name
	p.events.add(ev)
	if p.tracer.On() {
		t := trace.Event{Layer: trace.Platform, Name: string(ev.Kind), Where: b.name, Data: ev.Data, Note: ev.Name}
		if ev.Why != nil {
			t.Note = ev.Why.Error()
		}
		p.tracer.Emit(t)
	}
	switch ev.Kind {
	case Faulted:
		p.log.Warn("bundle fault", "bundle", b.name, "why", ev.Why)
	case Told:
		p.log.Debug("bundle event", "bundle", b.name, "name", ev.Name, "data", fmt.Sprintf("%X", ev.Data))
	default:
		p.log.Info(string(ev.Kind), slog.String("bundle", b.name))
	}
}

// slogLevel is the level of a bundle's log line.
func slogLevel(l vm.Level) slog.Level {
	switch l {
	case vm.Debug:
		return slog.LevelDebug
	case vm.Warn:
		return slog.LevelWarn
	case vm.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}
