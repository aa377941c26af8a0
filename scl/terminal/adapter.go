package terminal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/transport"
)

// Adapter is the host that stands for the terminal at the other end of a link;
// the package comment has its states.
type Adapter struct {
	n    *scl.Network
	link transport.Link
	h    *scl.Host

	ports  sync.Mutex
	port   *scl.Port // the host behind a link that carries packets; nil until one came
	closed bool
	whole  *whole // of a terminal whom 61xx does not reach

	// The rest is guarded by the lock of the network.
	cancel  func()    // of the watch
	pipe    *scl.Pipe // nil: no card
	atr     []byte    // of this card; empty until first powered
	out     []byte    // R-APDU of the frame under way
	busy    bool      // a frame is under way: its goroutine has the lock
	changed bool      // cards came or went during that frame
	card    uint64    // counts cards; 0: no card ever

	// What the terminal was told, in order.
	telling  sync.Mutex
	told     uint64 // card
	inserted bool
}

// NewAdapter makes the adapter for the target end of a link and registers it as
// a host of n; it binds to the active SPB at once if there is one, else as soon
// as there is. Open starts it.
func NewAdapter(n *scl.Network, l transport.Link) (*Adapter, error) {
	a := &Adapter{n: n, link: l}
	if w, ok := l.(transport.WholeAnswers); ok && w.WholeAnswers() {
		a.whole = &whole{command: func(c, out []byte) []byte {
			a.out = out[:0]
			a.command(c)
			return a.out
		}}
	}
	n.Lock()
	defer n.Unlock()
	var err error
	for i := 1; ; i++ {
		name := "terminal " + l.String()
		if i > 1 {
			name = fmt.Sprintf("%s #%d", name, i)
		}
		a.h, err = n.Register(name, uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)), 0)
		if err == nil {
			break
		}
		if i > len(n.Hosts())+1 || !errors.Is(err, scl.ErrTaken) {
			return nil, fmt.Errorf("terminal adapter for %s: %w", l, err)
		}
	}
	if err := gate.Standard(a.h, gate.Info{VendorName: "sspemu"}); err != nil {
		return nil, fmt.Errorf("terminal adapter for %s: %w", l, err)
	}
	a.cancel = n.Watch(a.watch)
	a.bind()
	a.told, a.inserted = a.card, a.pipe != nil
	return a, nil
}

// Host is the adapter's host in the network.
func (a *Adapter) Host() *scl.Host { return a.h }

// Open opens the link, for as long as ctx lasts. The link shows a card from then
// on; when there is none, it is told so at once.
func (a *Adapter) Open(ctx context.Context) error {
	if err := a.link.Open(ctx, a); err != nil {
		return err
	}
	a.telling.Lock()
	defer a.telling.Unlock()
	if !a.inserted {
		_ = a.link.Send(transport.Removed, nil)
	}
	return nil
}

// Close closes the link and takes the host out of the network. A second Close
// does nothing.
func (a *Adapter) Close() error {
	err := a.link.Close()
	a.ports.Lock()
	a.closed = true
	a.ports.Unlock()
	a.unplug()
	a.n.Lock()
	defer a.n.Unlock()
	if a.cancel != nil {
		a.cancel()
		a.cancel = nil
		_ = a.n.Deregister(a.h)
	}
	return err
}

// Frame takes what the terminal sends (transport.Receiver).
func (a *Adapter) Frame(k transport.Kind, p []byte) {
	switch k {
	case transport.Packet:
		a.packet(p)
		return
	case transport.PowerOff:
		a.unplug()
	}
	a.n.Lock()
	tr := a.n.Tracer()
	traced := tr.On()
	if traced {
		tr.Begin()
		a.trace(trace.In, k, p)
	}
	a.busy = true
	answer, data := a.exchange(k, p)
	a.busy = false
	changed := a.changed
	a.changed = false
	if traced {
		if answer != none {
			a.trace(trace.Out, answer, data)
		}
		tr.End()
	}
	a.n.Unlock()
	// Outside the lock: a slow terminal must not hold up the network. data stays,
	// because the next frame of this link comes after this one.
	if answer != none {
		_ = a.link.Send(answer, data) // a terminal that is gone misses its answer
	}
	if changed {
		a.tell()
	}
}

// packet takes an SCL packet: a terminal host lives behind the link.
func (a *Adapter) packet(p []byte) {
	c, ok := a.link.(transport.PacketCarrier)
	if !ok {
		return
	}
	if len(p) == 0 { // another one takes its place
		a.unplug()
		return
	}
	a.ports.Lock()
	if a.port == nil && !a.closed {
		a.port = a.n.Attach("host at "+a.link.String(), c.PacketMTU(), func(b []byte) {
			_ = a.link.Send(transport.Packet, b) // a terminal that is gone misses it
		})
	}
	port := a.port
	a.ports.Unlock()
	if port != nil {
		port.Packet(p)
	}
}

// unplug takes the host behind the link out: the terminal is gone.
func (a *Adapter) unplug() {
	a.ports.Lock()
	port := a.port
	a.port = nil
	a.ports.Unlock()
	if port != nil {
		port.Close()
	}
}

// none is the answer to a frame that has none.
const none = transport.Kind(0xFF)

func (a *Adapter) exchange(k transport.Kind, p []byte) (transport.Kind, []byte) {
	switch k {
	case transport.Block:
		return transport.Block, a.transmit(p)
	case transport.PowerOn:
		if a.pipe != nil && a.pipe.State() == scl.Open {
			_ = a.pipe.Close()
		}
		return a.power()
	case transport.Reset:
		if a.pipe == nil || a.pipe.State() != scl.Open {
			return a.power()
		}
		_ = a.pipe.Send(scl.Message{Type: scl.Event, Instruction: a.n.Profile().Event.Abort})
		return a.answerATR()
	case transport.GetATR:
		if len(a.atr) == 0 {
			return a.power()
		}
		return a.answerATR()
	case transport.PowerOff:
		if a.pipe != nil && a.pipe.State() == scl.Open {
			_ = a.pipe.Send(scl.Message{Type: scl.Event, Instruction: a.n.Profile().Event.EndOfAPDUTransfer})
			_ = a.pipe.Close()
		}
	}
	return none, nil
}

// power opens the pipe; the gate answers with EVT_ATR.
func (a *Adapter) power() (transport.Kind, []byte) {
	if a.pipe != nil {
		_ = a.pipe.Open(a) // on failure there is no ATR, or the old one of the same card
	}
	return a.answerATR()
}

func (a *Adapter) answerATR() (transport.Kind, []byte) {
	if a.pipe == nil || len(a.atr) == 0 {
		return transport.Removed, nil
	}
	return transport.ATR, a.atr
}

// transmit sends a C-APDU through the network and returns the R-APDU.
func (a *Adapter) transmit(p []byte) []byte {
	a.out = a.out[:0]
	if len(p) > transport.MaxFrame {
		return apdu.WrongLength.Append(a.out)
	}
	a.command(p)
	if a.whole != nil {
		a.out = a.whole.answer(p, a.out)
	}
	if len(a.out) < 2 || len(a.out) > transport.MaxFrame { // no card, no power, no answer
		a.out = apdu.NoPreciseDiagnosis.Append(a.out[:0])
	}
	return a.out
}

// command sends a C-APDU; the R-APDU is in out afterwards.
func (a *Adapter) command(p []byte) {
	if a.pipe != nil && a.pipe.State() == scl.Open {
		_ = a.pipe.Send(scl.Message{Type: scl.Event, Instruction: a.n.Profile().Event.CAPDU, Data: p})
	}
}

// Message takes the events of the gate (scl.PipeReceiver).
func (a *Adapter) Message(p *scl.Pipe, m scl.Message) {
	e := &a.n.Profile().Event
	switch {
	case m.Type == scl.Command:
		_ = p.Respond(a.n.Profile().Response.AnyECmdNotSupported, nil)
	case m.Type != scl.Event || !a.busy || p != a.pipe:
		// Nobody asked: the terminal speaks first on this interface.
	case m.Instruction == e.RAPDU:
		a.out = append(a.out[:0], m.Data...)
	case m.Instruction == e.ATR:
		a.atr = append(a.atr[:0], m.Data...)
	}
}

// Closed: the card is gone, or its gate closed the session (scl.PipeReceiver).
func (a *Adapter) Closed(p *scl.Pipe) {
	if p == a.pipe && p.State() == scl.Deleted {
		a.unbind()
	}
}

// watch follows the active SPB.
func (a *Adapter) watch(e scl.HostEvent) {
	switch e.Kind {
	case scl.Published:
		if e.Gate == a.n.Profile().Gate.UICCAPDU && a.pipe == nil {
			a.bind()
		}
	case scl.Deregistered:
		if a.pipe != nil && a.pipe.Remote() == e.Host {
			a.unbind() // a pipe that was not open is not told Closed
		}
		if a.pipe == nil {
			a.bind()
		}
	}
}

// bind makes the pipe to the active SPB, if there is one.
func (a *Adapter) bind() {
	id := a.n.Profile().Gate.UICCAPDU
	spb := a.n.Find(id)
	if spb == nil {
		return
	}
	p, err := a.h.Create(spb.ID(), id)
	if err != nil {
		a.n.Tracer().Emit(trace.Event{Layer: trace.SCL, Name: "terminal", Where: a.h.Name(), Note: err.Error()})
		return
	}
	a.pipe = p
	a.card++
	a.announce()
}

func (a *Adapter) unbind() {
	a.pipe = nil
	a.atr = a.atr[:0]
	a.announce()
}

// announce has the terminal told, outside the lock.
func (a *Adapter) announce() {
	switch {
	case a.busy: // so this is the goroutine of Frame, which tells after its answer
		a.changed = true
	case a.cancel != nil:
		a.n.After(a.tell)
	}
}

// tell brings the terminal up to date: Removed for the card it knows, Inserted
// for a new one.
func (a *Adapter) tell() {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.n.Lock()
	card, present := a.card, a.pipe != nil
	removed := a.inserted && (!present || card != a.told)
	inserted := present && (!a.inserted || card != a.told)
	if a.n.Tracer().On() {
		if removed {
			a.trace(trace.Out, transport.Removed, nil)
		}
		if inserted {
			a.trace(trace.Out, transport.Inserted, nil)
		}
	}
	a.told, a.inserted = card, present
	a.n.Unlock()
	if removed {
		_ = a.link.Send(transport.Removed, nil)
	}
	if inserted {
		_ = a.link.Send(transport.Inserted, nil)
	}
}

func (a *Adapter) trace(d trace.Direction, k transport.Kind, p []byte) {
	a.n.Tracer().Emit(trace.Event{Layer: trace.Link, Dir: d, Name: k.String(), Where: a.link.String(), Data: p})
}
