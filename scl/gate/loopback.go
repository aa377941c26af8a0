package gate

import "github.com/sspemu/sspemu/scl"

// Loopback is the loopback gate: EVT_POST_DATA comes back as it went, other
// events are dropped, commands are not supported. Basis: ETSI TS 102 622.
type Loopback struct{}

// Opened takes every pipe.
func (l Loopback) Opened(*scl.Pipe) (scl.PipeReceiver, error) { return l, nil }

// Closed has nothing to end.
func (Loopback) Closed(*scl.Pipe) {}

// Message sends EVT_POST_DATA back.
func (Loopback) Message(p *scl.Pipe, m scl.Message) {
	pr := p.Host().Network().Profile()
	switch {
	case m.Type == scl.Event && m.Instruction == pr.Event.PostData:
		_ = p.Send(m) // the other end is there: it is just sending
	case m.Type == scl.Command:
		_ = p.Respond(pr.Response.AnyECmdNotSupported, nil)
	}
}
