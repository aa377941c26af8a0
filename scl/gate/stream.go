package gate

import "github.com/sspemu/sspemu/scl"

// Why a connection or a socket ended: the octet of EVT_CLOSED.
const (
	Normal  byte = 0
	Reset   byte = 1 // with an error
	TimeOut byte = 2 // the bundle ran over its time
)

// StreamService is what the TCP and UDP gates ask of their host. It is called
// inside the network.
type StreamService interface {
	// Opened tells of a new pipe session; an error ends it at once.
	Opened(p *scl.Pipe) error
	// Data brings octets of the stream, or a peer and its datagram; valid during the
	// call.
	Data(p *scl.Pipe, data []byte)
	// Credit tells that n octets more may be sent.
	Credit(p *scl.Pipe, n int)
	// Closed tells that the session is over, for whatever reason the other end has.
	Closed(p *scl.Pipe, reason byte)
}

// Stream is the TCP gate or the UDP gate: each pipe session is a connection or a
// socket.
//
//	terminal                         gate                       service
//	ANY_OPEN_PIPE ────────────────────>│
//	<───────────────────────── ANY_OK ─│── Opened ────────────────>│
//	EVT_CREDIT n ─────────────────────>│── Credit n ──────────────>│
//	<────────────────────── EVT_CREDIT │<───────────────── Grant ──│ TCP: as it reads
//	EVT_DATA, EVT_DATAGRAM ───────────>│── Data ──────────────────>│
//	<────────── EVT_DATA, EVT_DATAGRAM │<───────────────── Send ───│
//	EVT_CLOSED, ADM_DELETE_PIPE ──────>│── Closed ────────────────>│
//
// At the UDP gate the gate grants, as what came in is taken at once.
//
// TS 103 666-1 clause 10 has TCP and UDP services; that a pipe is a connection, and
// all numbers, are ours.
type Stream struct {
	n           *scl.Network
	s           StreamService
	data, ender byte
	window      int // that the gate grants itself; 0: the service grants
	owed        map[*scl.Pipe]int
}

// udpWindow is what may come to the UDP gate before it is taken, in octets.
const udpWindow = 256 << 10

// NewTCP makes the TCP gate of a host of n.
func NewTCP(n *scl.Network, s StreamService) *Stream {
	e := &n.Profile().Event
	return &Stream{n: n, s: s, data: e.TCPData, ender: e.TCPClosed}
}

// NewUDP makes the UDP gate of a host of n.
func NewUDP(n *scl.Network, s StreamService) *Stream {
	e := &n.Profile().Event
	return &Stream{n: n, s: s, data: e.UDPDatagram, ender: e.UDPClosed, window: udpWindow, owed: map[*scl.Pipe]int{}}
}

// Opened takes every pipe.
func (g *Stream) Opened(*scl.Pipe) (scl.PipeReceiver, error) { return g, nil }

// Ready begins the session.
func (g *Stream) Ready(p *scl.Pipe) {
	if err := g.s.Opened(p); err != nil {
		g.End(p, Reset)
		return
	}
	if g.window > 0 && p.State() == scl.Open {
		_ = p.Grant(g.window)
	}
}

// Credit passes credit on.
func (g *Stream) Credit(p *scl.Pipe, n int) { g.s.Credit(p, n) }

// Message takes the events of the gate.
func (g *Stream) Message(p *scl.Pipe, m scl.Message) {
	switch {
	case m.Type == scl.Command:
		_ = p.Respond(g.n.Profile().Response.AnyECmdNotSupported, nil)
	case m.Type != scl.Event:
	case m.Instruction == g.data:
		g.s.Data(p, m.Data)
		if g.window > 0 && p.State() == scl.Open {
			if g.owed[p] += len(m.Data) + 1; g.owed[p] >= g.window/2 {
				_ = p.Grant(g.owed[p])
				g.owed[p] = 0
			}
		}
	case m.Instruction == g.ender:
		reason := Reset
		if len(m.Data) == 1 {
			reason = m.Data[0]
		}
		delete(g.owed, p)
		g.s.Closed(p, reason)
	}
}

// Closed tells that the other end left.
func (g *Stream) Closed(p *scl.Pipe) {
	delete(g.owed, p)
	g.s.Closed(p, Reset)
}

// Send sends data on a session of the gate. scl.ErrNoCredit.
func (g *Stream) Send(p *scl.Pipe, data []byte) error {
	return p.Send(scl.Message{Type: scl.Event, Instruction: g.data, Data: data})
}

// End ends a session from this side.
func (g *Stream) End(p *scl.Pipe, reason byte) {
	delete(g.owed, p)
	_ = p.Send(scl.Message{Type: scl.Event, Instruction: g.ender, Data: []byte{reason}}) // the other end may be gone
	_ = p.Delete()
}
