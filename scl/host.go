package scl

import (
	"errors"
	"fmt"
	"slices"
)

// Gate is a service of a host: what other hosts open pipes to.
type Gate interface {
	// Opened takes a new pipe session. The receiver gets what arrives on p; nil
	// means that the gate takes no messages of its own (its registry, if any, is
	// still served). An error refuses the session; it becomes the response to
	// ANY_OPEN_PIPE (Profile.Code).
	Opened(p *Pipe) (PipeReceiver, error)
}

// WithRegistry is a Gate with parameters.
type WithRegistry interface{ Registry() Registry }

// WithPipeRegistry is a Gate whose parameters depend on who asks.
type WithPipeRegistry interface{ PipeRegistry(p *Pipe) Registry }

// PipeReceiver takes what arrives at one end of a pipe.
type PipeReceiver interface {
	// Message takes one whole message. A command must be answered by p.Respond;
	// m.Data is valid until Message returns.
	Message(p *Pipe, m Message)
	// Closed tells that the other end closed or deleted the pipe, or left the
	// network. It is not called for what this end does itself.
	Closed(p *Pipe)
}

// WithReady is a PipeReceiver of a Gate that wants to speak first: Ready is
// called when the pipe is open at both ends.
type WithReady interface{ Ready(p *Pipe) }

// Indexes of Host.static.
const (
	link = iota
	administration
)

// Host is a member of the network: it publishes gates and has ends of pipes.
type Host struct {
	n         *Network
	id        HostID
	uuid      [16]byte
	name      string
	state     HostState
	mtu       int      // longest packet
	port      *Port    // the host lives behind a link; nil: in this process
	errors    uint16   // bad packets from this host: REC_ERROR
	whitelist []HostID // that may create pipes to this host; nil: all
	asked     []PipeID // commands of notify without a response yet: the pipe that was created, or 0
	hotPlug   func()   // the list of hosts changed
	gates     map[GateID]Gate
	pipes     []*Pipe // this host's ends of dynamic pipes, by PipeID
	static    [2]struct{ host, controller *Pipe }
	session   [8]byte // SESSION_IDENTITY
}

func (n *Network) newHost(name string, uuid [16]byte, id HostID) *Host {
	return &Host{n: n, id: id, uuid: uuid, name: name, state: HostRegistered, mtu: n.p.Packet.MTU, gates: map[GateID]Gate{}, pipes: make([]*Pipe, len(n.joints))}
}

// ID, UUID and Name never change; no lock is needed.
func (h *Host) ID() HostID { return h.id }

// UUID is the globally unique identifier the host registered with.
func (h *Host) UUID() [16]byte { return h.uuid }

// Name is for people.
func (h *Host) Name() string { return h.name }

// String is the name and the identifier.
func (h *Host) String() string { return fmt.Sprintf("%s (%02X)", h.name, uint16(h.id)) }

// Network is the network of the host; no lock is needed.
func (h *Host) Network() *Network { return h.n }

// Publish offers a gate to the other hosts. ErrTaken: it is published already.
func (h *Host) Publish(id GateID, g Gate) error {
	switch {
	case h.state != HostRegistered:
		return fmt.Errorf("publish %s: %w", h.n.p.gateName(id), ErrNotRegistered)
	case h.gates[id] != nil:
		return fmt.Errorf("publish %s at %s: %w", h.n.p.gateName(id), h, ErrTaken)
	}
	h.gates[id] = g
	h.n.emit(HostEvent{Kind: Published, Host: h, Gate: id})
	return nil
}

// Gates are the identifiers of the published gates, ascending.
func (h *Host) Gates() []GateID {
	ids := make([]GateID, 0, len(h.gates))
	for id := range h.gates {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Admin is the host's end of its pipe to the administration gate of the network
// controller host: for its registry and for ADM_ commands. nil at the network
// controller host itself.
func (h *Host) Admin() *Pipe { return h.static[administration].host }

// Link is the host's end of its pipe to the link gate of the network controller
// host. nil at the network controller host itself.
func (h *Host) Link() *Pipe { return h.static[link].host }

// Create makes a pipe from an application gate of this host, chosen by the host,
// to a gate of another host (ADM_CREATE_PIPE). It is not open yet.
func (h *Host) Create(dst HostID, gate GateID) (*Pipe, error) {
	n, c := h.n, h.n.p.Command
	fail := func(err error) (*Pipe, error) {
		return nil, fmt.Errorf("create pipe from %s to host %02X, %s: %w", h, uint16(dst), n.p.gateName(gate), err)
	}
	if h.state != HostRegistered || h.Admin() == nil {
		return fail(ErrNotRegistered)
	}
	source, err := h.freeGate()
	if err != nil {
		return fail(err)
	}
	par := pipeParameters{srcGate: source, dstHost: dst, dstGate: gate}
	var p *Pipe
	var made error
	if h.Admin().State() != Open {
		return fail(ErrNotRegistered)
	}
	_, _, err = h.Admin().callWith(c.AdmCreatePipe, par.appendRequest(nil, n.p), func(code byte, resp []byte) {
		if made = n.p.Err(code); made == nil {
			made = par.parse(resp, n.p)
		}
		if made == nil && (int(par.pipe) >= len(h.pipes) || h.pipes[par.pipe] != nil) {
			made = ErrTaken
		}
		if made == nil {
			p = n.newPipe(h, n.Host(dst), par.pipe, source, gate)
			p.application = true
			h.pipes[p.id] = p
		}
	})
	if err = errors.Join(err, made); err != nil || p == nil {
		return fail(err)
	}
	return p, nil
}

// Bind makes a pipe to a gate of another host and opens it: Create and Open. What
// arrives goes to r. Delete ends it.
func (h *Host) Bind(dst HostID, gate GateID, r PipeReceiver) (*Pipe, error) {
	p, err := h.Create(dst, gate)
	if err != nil {
		return nil, err
	}
	if err := p.Open(r); err != nil {
		_ = p.Delete()
		return nil, err
	}
	return p, nil
}

// freeGate is an identifier for a new application gate, from the top of the
// dynamic range down.
func (h *Host) freeGate() (GateID, error) {
	r := &h.n.p.Gate
	for id := r.DynamicLast; ; id-- {
		used := h.gates[id] != nil || h.n.p.service(id) || slices.ContainsFunc(h.pipes, func(p *Pipe) bool { return p != nil && p.gate == id })
		if !used {
			return id, nil
		}
		if id == r.DynamicFirst {
			return 0, fmt.Errorf("every dynamic gate identifier is in use: %w", ErrTaken)
		}
	}
}

// hostAdministration is the host's side of its administration pipe: it takes the
// notifications of the network controller host.
type hostAdministration struct{ h *Host }

func (a hostAdministration) Closed(*Pipe) {}

func (a hostAdministration) Message(p *Pipe, m Message) {
	pr := a.h.n.p
	if m.Type == Event && m.Instruction == pr.Event.HotPlug && a.h.hotPlug != nil {
		a.h.hotPlug()
	}
	if m.Type != Command {
		return
	}
	var err error
	switch m.Instruction {
	case pr.Command.AdmNotifyPipeCreated:
		var par pipeParameters
		if err = par.parse(m.Data, pr); err == nil {
			err = a.h.created(par)
		}
	case pr.Command.AdmNotifyPipeDeleted:
		id, rest, ok := takeUint(m.Data, pr.Width.Pipe)
		switch {
		case !ok || len(rest) != 0:
			err = ErrCmdParUnknown
		case int(id) >= len(a.h.pipes) || a.h.pipes[id] == nil:
			err = ErrNOK
		default:
			_ = p.Respond(pr.Response.AnyOK, nil)
			a.h.pipes[id].gone()
			return
		}
	case pr.Command.AdmNotifyAllPipeCleared:
		id, rest, ok := takeUint(m.Data, pr.Width.Host)
		if !ok || len(rest) != 0 {
			err = ErrCmdParUnknown
			break
		}
		_ = p.Respond(pr.Response.AnyOK, nil)
		a.h.cleared(HostID(id))
		return
	default:
		err = ErrCmdNotSupported
	}
	_ = p.Respond(pr.Code(err), nil)
}

// created makes this host's end of a pipe that another host asked for.
func (h *Host) created(par pipeParameters) error {
	g := h.gates[par.dstGate]
	if g == nil || int(par.pipe) >= len(h.pipes) || h.pipes[par.pipe] != nil {
		return ErrNOK
	}
	p := h.n.newPipe(h, h.n.Host(par.srcHost), par.pipe, par.dstGate, par.srcGate)
	switch w := g.(type) {
	case WithRegistry:
		p.registry = w.Registry()
	case WithPipeRegistry:
		p.registry = w.PipeRegistry(p)
	}
	h.pipes[par.pipe] = p
	return nil
}

// cleared deletes this host's ends of all pipes to the other host.
func (h *Host) cleared(other HostID) {
	for _, p := range slices.Clone(h.pipes) {
		if p != nil && p.remote.id == other {
			p.gone()
		}
	}
}

// State tells what the host is to the network.
func (h *Host) State() HostState { return h.state }
