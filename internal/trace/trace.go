// Package trace holds the one trace event of sspemu: every layer emits it, one
// correlation id joins everything that one exchange caused, and nothing is
// spent when nobody listens.
//
//	link ─┐
//	SCL  ─┤   Event{ID, Layer, ...}      ┌─> terminal text (text.go)
//	gate ─┼──────────> Tracer ───────────┤
//	bundle┤                              └─> further sinks
//	host ─┘
package trace

import (
	"sync"
	"sync/atomic"
	"time"
)

// Layer is where in the stack an event happened, from the outside in.
type Layer uint8

// The layers in the order in which a command passes them.
const (
	Link     Layer = iota // frames of a transport.Link
	SCL                   // packets and messages of the SSP Common Layer
	Gate                  // what a gate made of a message: C-APDU, R-APDU
	Bundle                // calls into the bundle
	Host                  // calls of the bundle to the platform: NVM, log, random
	Platform              // life cycle: install, activate, fault, reset
)

// String is the lower-case name of the layer.
func (l Layer) String() string {
	if int(l) < len(layerNames) {
		return layerNames[l]
	}
	return "?"
}

var layerNames = [...]string{"link", "scl", "gate", "bundle", "host", "platform"}

// Direction of what moved.
type Direction uint8

const (
	None Direction = iota // nothing moved
	In                    // towards the SSP
	Out                   // towards the terminal
)

// Event is one thing that happened. Data is only valid during Emit.
type Event struct {
	ID    uint64        // correlation id: one exchange from link to host call and back; 0 outside any
	Time  time.Duration // since the platform started, by the platform's clock
	Layer Layer
	Dir   Direction
	Name  string // what: "C-APDU", "packet", "nvm_write", "activate"
	Where string // which link, pipe, gate or bundle
	Data  []byte // the bytes that moved, if any
	Note  string // in words, when the bytes do not say it
}

// Sink takes events. Emit is never called by two goroutines at once and must
// not keep e or e.Data.
type Sink interface{ Emit(e *Event) }

// Tracer hands events to its sinks. The zero Tracer and the nil *Tracer are
// ready and silent.
type Tracer struct {
	on    atomic.Bool
	id    atomic.Uint64 // last id given
	cur   atomic.Uint64 // id of the exchange under way
	mu    sync.Mutex
	clock func() time.Duration
	sinks []Sink
}

// New makes a tracer that stamps events with now (time since start of the
// platform); nil means the events carry no time.
func New(now func() time.Duration) *Tracer { return &Tracer{clock: now} }

// Add attaches a sink; the returned function detaches it again.
func (t *Tracer) Add(s Sink) (remove func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sinks = append(t.sinks, s)
	t.on.Store(true)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for i, x := range t.sinks {
			if x == s {
				t.sinks = append(t.sinks[:i:i], t.sinks[i+1:]...)
				break
			}
		}
		t.on.Store(len(t.sinks) > 0)
	}
}

// On tells whether anybody listens. Guard the building of an Event with it.
func (t *Tracer) On() bool { return t != nil && t.on.Load() }

// Begin opens a new exchange and returns its id; events emitted until End carry
// it. Exchanges do not nest: an inner Begin keeps the outer id.
func (t *Tracer) Begin() (id uint64, outer bool) {
	if t == nil {
		return 0, false
	}
	if c := t.cur.Load(); c != 0 {
		return c, false
	}
	id = t.id.Add(1)
	t.cur.Store(id)
	return id, true
}

// End closes the exchange that Begin opened; call it only when Begin said outer.
func (t *Tracer) End() {
	if t != nil {
		t.cur.Store(0)
	}
}

// Emit stamps e with time and correlation id and hands it to every sink.
func (t *Tracer) Emit(e Event) {
	if !t.On() {
		return
	}
	if e.ID == 0 {
		e.ID = t.cur.Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.clock != nil {
		e.Time = t.clock()
	}
	for _, s := range t.sinks {
		s.Emit(&e)
	}
}
