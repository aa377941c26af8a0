package scl

import (
	"fmt"

	"github.com/sspemu/sspemu/internal/trace"
)

// joint is a line of the pipe table: the two hosts a pipe joins. Zero: no pipe.
type joint struct{ source, destination *Host }

// route takes a packet from a host and hands it to the end at the other host:
//
//	static pipe    from a host            the network controller host's end for that host
//	               from the controller    that host's end
//	dynamic pipe   in the pipe table      the other of its two hosts
//	               else                   refused, ErrNoPipe
func (n *Network) route(from *Pipe, b []byte) error {
	k, err := n.p.codec.packet(b)
	if err != nil {
		return err
	}
	to := n.destination(from, k.Pipe)
	if n.tr.On() {
		n.traceRoute(from, to, b)
	}
	if to == nil {
		return from.fail("route", ErrNoPipe)
	}
	return to.receive(k)
}

func (n *Network) destination(from *Pipe, id PipeID) *Pipe {
	switch j := &n.joints[id]; {
	case j.source == from.host:
		return j.destination.pipes[id]
	case j.destination == from.host && j.destination != nil:
		return j.source.pipes[id]
	}
	host, ends := from.host, 0
	if host == n.ctl {
		host = from.remote
	}
	switch id {
	case n.p.Pipe.Link:
		ends = link
	case n.p.Pipe.Administration:
		ends = administration
	default:
		return nil
	}
	if s := &host.static[ends]; from.host == n.ctl {
		return s.host
	} else {
		return s.controller
	}
}

// traceRoute tells about one packet. The direction is the gate's: in is towards
// the end that serves.
func (n *Network) traceRoute(from, to *Pipe, b []byte) {
	e := trace.Event{Layer: trace.SCL, Name: "packet", Where: from.String(), Data: b, Dir: trace.Out}
	if from.application {
		e.Dir = trace.In
	}
	k, _ := n.p.codec.packet(b)
	switch m, err := n.p.codec.message(k.Fragment); {
	case to == nil:
		e.Note = "no such pipe"
	case to.rx.chaining || to.rx.dropping:
		e.Note = "fragment"
	case err == nil:
		gate, out := from.far, false
		if !from.application {
			gate, out = from.gate, true
		}
		e.Note = n.p.messageName(m, gate, out)
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
// that the message comes from it.
func (p *Profile) messageName(m Message, gate GateID, out bool) string {
	ns := m.Type.String()
	if m.Type == Event {
		switch gate {
		case p.Gate.UICCAPDU:
			ns = "event.uicc_apdu"
			if out {
				ns += "_application"
			}
		case p.Gate.Administration:
			ns = "event.administration"
		default:
			ns = "event.loopback"
		}
	}
	for _, e := range p.entries {
		if e.Value == int(m.Instruction) && len(e.Name) > len(ns) && e.Name[:len(ns)+1] == ns+"." {
			return e.Name[len(ns)+1:]
		}
	}
	return fmt.Sprintf("%s %02X", m.Type, m.Instruction)
}
