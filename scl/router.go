package scl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sspemu/sspemu/internal/trace"
)

// joint is a line of the pipe table: the two hosts a pipe joins. Zero: no pipe.
type joint struct{ source, destination *Host }

// route takes a packet from a host and hands it to the end at the other host, or
// to the link behind which that host is:
//
//	static pipe    from a host            the network controller host's end for that host
//	               from the controller    that host's end; remote says which
//	dynamic pipe   in the pipe table      the other of its two hosts
//	               else                   refused, ErrNoPipe
func (n *Network) route(from, remote *Host, b []byte) error {
	if n.up != nil { // a domain has one way out
		n.later(n.up)
		return n.up.put(b)
	}
	k, err := n.p.codec.packet(b)
	if err != nil {
		return err
	}
	host, to := n.destination(from, remote, k.Pipe)
	if n.tr.On() {
		n.traceRoute(from, host, to, k, b)
	}
	switch {
	case host != nil && host.port != nil:
		n.later(&host.port.out)
		return host.port.out.put(b)
	case to == nil:
		return fmt.Errorf("route from %s on pipe %02X: %w", from, uint16(k.Pipe), ErrNoPipe)
	}
	return to.receive(k)
}

// destination is the host that a packet goes to and its end of the pipe, nil for
// a host behind a link, which keeps its own ends.
func (n *Network) destination(from, remote *Host, id PipeID) (*Host, *Pipe) {
	end := func(h *Host) (*Host, *Pipe) {
		if h.port != nil {
			return h, nil
		}
		return h, h.pipes[id]
	}
	switch j := &n.joints[id]; {
	case j.source == from && from != nil:
		return end(j.destination)
	case j.destination == from && from != nil:
		return end(j.source)
	}
	which := link
	switch id {
	case n.p.Pipe.Link:
	case n.p.Pipe.Administration:
		which = administration
	default:
		return nil, nil
	}
	if from != n.ctl {
		return n.ctl, from.static[which].controller
	}
	return remote, remote.static[which].host
}

// traceRoute tells about one packet. The direction is the gate's: in is towards
// the end that serves.
func (n *Network) traceRoute(from, host *Host, to *Pipe, k Packet, b []byte) {
	e := trace.Event{Layer: trace.SCL, Name: "packet", Data: b, Dir: trace.Out}
	if host == nil {
		e.Where, e.Note = fmt.Sprintf("pipe %02X %s", uint16(k.Pipe), from), "no such pipe"
		n.tr.Emit(e)
		return
	}
	e.Where = fmt.Sprintf("pipe %02X %s > %s", uint16(k.Pipe), from, host)
	end := to
	if end == nil { // behind a link: what is known is this side's end
		_, end = n.destination(host, from, k.Pipe)
	}
	if end == nil {
		n.tr.Emit(e)
		return
	}
	serves := !end.application == (to != nil) // the receiving end is the gate's
	if serves {
		e.Dir = trace.In
	}
	gate := end.gate
	if end.application {
		gate = end.far
	}
	switch m, err := n.p.codec.message(k.Fragment); {
	case to != nil && (to.rx.chaining || to.rx.dropping):
		e.Note = "fragment"
		if head, err := n.p.codec.message(to.rx.buf); gate == n.p.Gate.Accessor && (err != nil || n.p.secret(gate, head.Instruction)) {
			e.Data = hidden(k, false, b)
		}
	case err == nil:
		e.Note = n.p.messageName(m, gate, !serves)
		if m.Type == Command && n.p.secret(gate, m.Instruction) {
			e.Data, e.Note = hidden(k, true, b), e.Note+", its parameters are not shown"
		}
	}
	n.tr.Emit(e)
}

// gateName is the name of a gate for people.
func (p *Profile) gateName(id GateID) string {
	for _, e := range p.entries {
		if e.Value == int(id) && len(e.Name) > 5 && e.Name[:5] == "gate." && e.Name[5:] != "dynamic_first" && e.Name[5:] != "dynamic_last" {
			return "gate " + e.Name[5:]
		}
	}
	return fmt.Sprintf("gate %02X", uint16(id))
}

// messageName is a message in words; gate is the one that serves, out tells
// that the message comes from it. It looks for the entry of the gate first, then for
// that of every gate.
func (p *Profile) messageName(m Message, gate GateID, out bool) string {
	kind := m.Type.String()
	own := kind + strings.Replace(p.gateName(gate), "gate ", ".", 1)
	if m.Type == Event && out && gate == p.Gate.UICCAPDU {
		own += "_application"
	}
	any := kind
	if m.Type == Event {
		any = "event.any"
	}
	for _, ns := range [...]string{own, any} {
		for _, e := range p.entries {
			if e.Value == int(m.Instruction) && e.Name[:strings.LastIndexByte(e.Name, '.')] == ns {
				return e.Name[len(ns)+1:]
			}
		}
	}
	return fmt.Sprintf("%s %02X", m.Type, m.Instruction)
}

// secret tells whether the message, or the chain that it belongs to, has a credential
// in it, which no trace may show: AUTHENTICATE at the accessor gate.
func (p *Profile) secret(gate GateID, instruction byte) bool {
	return gate == p.Gate.Accessor && instruction == p.Command.AccessorAuthenticate
}

// hidden is a packet without the octets of its fragment behind the message header.
func hidden(k Packet, first bool, b []byte) []byte {
	out := slices.Clone(b)
	from := len(b) - len(k.Fragment)
	if first {
		from++
	}
	clear(out[min(from, len(out)):])
	return out
}
