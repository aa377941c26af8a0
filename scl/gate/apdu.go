package gate

import (
	"time"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
)

// APDUService is what the UICC APDU gate asks of its host. It is called inside
// the network (scl.Network), one call at a time.
type APDUService interface {
	// APDU carries out a C-APDU, well-formed or not, and returns the R-APDU: data
	// and status word. It never fails: errors are status words. in is valid during
	// the call, out until the next one.
	APDU(in []byte) (out []byte)
	// Reset drops the session state of the card application: cold after power was
	// given (the pipe was opened), else a warm reset (EVT_ABORT).
	Reset(cold bool)
	// ATR is the Answer-to-Reset, complete with TCK; valid until the next call.
	ATR() []byte
}

// MaxWaitTime is what the registry tells a terminal to wait for an R-APDU before
// it gives up: the wall-time budget of a bundle's call.
const MaxWaitTime = 5 * time.Second

// maxCAPDU is MAX_C_APDU_SIZE in the registry; the parameter has two octets.
const maxCAPDU = 0xFFFF

// APDU is the UICC APDU gate.
//
//	terminal                       gate                        service
//	ANY_OPEN_PIPE ──────────────────>│── Reset(cold) ───────────>│
//	<──────────── ANY_OK, EVT_ATR ───│<─ ATR ────────────────────│
//	EVT_C_APDU ─────────────────────>│── APDU ──────────────────>│
//	<───────────────── EVT_R_APDU ───│<──────────────────────────│
//	<──────────────────── EVT_WTX ───│<─ Wait, from within APDU ─│   it takes longer
//	EVT_ABORT ──────────────────────>│── Reset(warm) ───────────>│
//	<──────────────────── EVT_ATR ───│<─ ATR ────────────────────│
//	EVT_END_OF_APDU_TRANSFER ───────>│   nothing is under way that could end
//	ANY_CLOSE_PIPE ─────────────────>│   power is gone
//
// So a pipe session is the time between power on and power off, and each pipe
// that opens resets the application, as power does. Several terminals may have
// pipes; they share one application.
//
// Basis: APDU gate of ETSI TS 102 622 Release 12. That opening the pipe stands
// for power is our reading.
type APDU struct {
	n        *scl.Network
	s        APDUService
	registry scl.Registry
	working  *scl.Pipe // a command is under way on it
}

// NewAPDU makes the UICC APDU gate of a host of n, over s.
func NewAPDU(n *scl.Network, s APDUService) *APDU {
	r := &n.Profile().Registry
	ms := uint16(MaxWaitTime / time.Millisecond)
	return &APDU{n: n, s: s, registry: scl.Registry{
		r.MaxCAPDUSize: scl.Value([]byte{maxCAPDU >> 8, maxCAPDU & 0xFF}),
		r.MaxWaitTime:  scl.Value([]byte{byte(ms >> 8), byte(ms)}),
	}}
}

// Wait tells the terminal of the command under way that it takes longer, if there
// is one: MAX_WAIT_TIME begins again (EVT_WTX). The service calls it from within
// APDU.
func (g *APDU) Wait() {
	if p := g.working; p != nil {
		_ = p.Send(scl.Message{Type: scl.Event, Instruction: g.n.Profile().Event.WTX})
		g.n.FlushNow()
	}
}

// Registry has MAX_C_APDU_SIZE and MAX_WAIT_TIME.
func (g *APDU) Registry() scl.Registry { return g.registry }

// Opened is power on: a cold reset.
func (g *APDU) Opened(*scl.Pipe) (scl.PipeReceiver, error) {
	g.s.Reset(true)
	return g, nil
}

// Ready answers power on.
func (g *APDU) Ready(p *scl.Pipe) { g.sendATR(p) }

// Closed is power off: what is left is dropped by the next reset.
func (g *APDU) Closed(*scl.Pipe) {}

// Message takes the events of the gate.
func (g *APDU) Message(p *scl.Pipe, m scl.Message) {
	pr := g.n.Profile()
	if m.Type == scl.Command {
		_ = p.Respond(pr.Response.AnyECmdNotSupported, nil)
		return
	}
	if m.Type != scl.Event {
		return
	}
	switch m.Instruction {
	case pr.Event.CAPDU:
		tr := g.n.Tracer()
		if tr.On() {
			tr.Emit(trace.Event{Layer: trace.Gate, Dir: trace.In, Name: "C-APDU", Where: p.Host().Name(), Data: m.Data, Note: commandNote(m.Data)})
		}
		g.working = p
		out := g.s.APDU(m.Data)
		g.working = nil
		if tr.On() {
			tr.Emit(trace.Event{Layer: trace.Gate, Dir: trace.Out, Name: "R-APDU", Where: p.Host().Name(), Data: out, Note: responseNote(out)})
		}
		// When the service took the pipe away meanwhile (another bundle became
		// active), nobody waits any more.
		_ = p.Send(scl.Message{Type: scl.Event, Instruction: pr.Event.RAPDU, Data: out})
	case pr.Event.Abort:
		g.s.Reset(false)
		g.sendATR(p)
	case pr.Event.EndOfAPDUTransfer:
		// Commands are carried out before Send returns: none is under way.
	}
}

func (g *APDU) sendATR(p *scl.Pipe) {
	atr := g.s.ATR()
	if tr := g.n.Tracer(); tr.On() {
		tr.Emit(trace.Event{Layer: trace.Gate, Dir: trace.Out, Name: "ATR", Where: p.Host().Name(), Data: atr})
	}
	_ = p.Send(scl.Message{Type: scl.Event, Instruction: g.n.Profile().Event.ATR, Data: atr})
}
