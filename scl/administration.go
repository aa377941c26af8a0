package scl

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"
)

// pipeParameters are the parameters of ADM_CREATE_PIPE (source gate, destination
// host and gate), and of its response and of ADM_NOTIFY_PIPE_CREATED (source host
// and gate, destination host and gate, pipe).
//
// Basis: ETSI TS 102 622, as the structures of the linux source in the profile have it.
type pipeParameters struct {
	srcHost HostID
	srcGate GateID
	dstHost HostID
	dstGate GateID
	pipe    PipeID
}

func (a *pipeParameters) appendRequest(b []byte, p *Profile) []byte {
	b = appendUint(b, uint16(a.srcGate), p.Width.Gate)
	b = appendUint(b, uint16(a.dstHost), p.Width.Host)
	return appendUint(b, uint16(a.dstGate), p.Width.Gate)
}

func (a *pipeParameters) parseRequest(b []byte, p *Profile) error {
	return parseUints(b, []uintField{{p.Width.Gate, to(&a.srcGate)}, {p.Width.Host, to(&a.dstHost)}, {p.Width.Gate, to(&a.dstGate)}})
}

func (a *pipeParameters) append(b []byte, p *Profile) []byte {
	b = a.appendRequest(appendUint(b, uint16(a.srcHost), p.Width.Host), p)
	return appendUint(b, uint16(a.pipe), p.Width.Pipe)
}

func (a *pipeParameters) parse(b []byte, p *Profile) error {
	return parseUints(b, []uintField{
		{p.Width.Host, to(&a.srcHost)}, {p.Width.Gate, to(&a.srcGate)},
		{p.Width.Host, to(&a.dstHost)}, {p.Width.Gate, to(&a.dstGate)}, {p.Width.Pipe, to(&a.pipe)},
	})
}

type uintField struct {
	octets int
	set    func(int)
}

// parseUints reads exactly the fields from b; else ErrCmdParUnknown.
func parseUints(b []byte, fields []uintField) error {
	for _, f := range fields {
		v, rest, ok := takeUint(b, f.octets)
		if !ok {
			return ErrCmdParUnknown
		}
		f.set(int(v))
		b = rest
	}
	if len(b) != 0 {
		return ErrCmdParUnknown
	}
	return nil
}

func appendUint(b []byte, v uint16, octets int) []byte {
	if octets == 2 {
		b = append(b, byte(v>>8))
	}
	return append(b, byte(v))
}

func takeUint(b []byte, octets int) (v uint16, rest []byte, ok bool) {
	if len(b) < octets {
		return 0, nil, false
	}
	for _, o := range b[:octets] {
		v = v<<8 | uint16(o)
	}
	return v, b[octets:], true
}

// joinStatic gives a host its two static pipes. They are open from the start.
func (n *Network) joinStatic(h *Host) {
	for i, s := range []struct {
		id       PipeID
		gate     GateID
		registry Registry
		recv     PipeReceiver
		far      PipeReceiver
	}{
		link:           {n.p.Pipe.Link, n.p.Gate.Link, n.linkRegistry(h), nil, nil},
		administration: {n.p.Pipe.Administration, n.p.Gate.Administration, n.administrationRegistry(h), hostAdministration{h}, controllerAdministration{n, h}},
	} {
		host, ctl := n.newPipe(h, n.ctl, s.id, s.gate, s.gate), n.newPipe(n.ctl, h, s.id, s.gate, s.gate)
		host.application, host.state, host.recv = true, Open, s.recv
		ctl.state, ctl.recv, ctl.registry = Open, s.far, s.registry
		h.static[i].host, h.static[i].controller = host, ctl
	}
}

// linkRegistry is the registry of the link gate as host h sees it: what was wrong
// with its packets, and how long they may be.
func (n *Network) linkRegistry(h *Host) Registry {
	return Registry{
		n.p.Registry.RecError: {
			Get: func() []byte { return binary.BigEndian.AppendUint16(nil, h.errors) },
			Set: func(v []byte) error { // HCI: the counter may be set back
				if len(v) != 2 {
					return ErrCmdParUnknown
				}
				h.errors = binary.BigEndian.Uint16(v)
				return nil
			},
		},
		n.p.Registry.MTU: {Get: func() []byte { return binary.BigEndian.AppendUint16(nil, uint16(min(h.mtu, 0xFFFF))) }},
	}
}

// administrationRegistry is the registry of the administration gate as host h
// sees it.
func (n *Network) administrationRegistry(h *Host) Registry {
	r := &n.p.Registry
	return Registry{
		r.SessionIdentity: {
			Get: func() []byte { return h.session[:] },
			Set: func(v []byte) error {
				if len(v) != len(h.session) {
					return ErrCmdParUnknown
				}
				copy(h.session[:], v)
				return nil
			},
		},
		r.MaxPipe: Value([]byte{byte(min(255, int(n.p.Pipe.DynamicLast)-int(n.p.Pipe.DynamicFirst)+1))}),
		r.HostList: {Get: func() []byte {
			b := appendUint(nil, uint16(n.ctl.id), n.p.Width.Host)
			for _, o := range n.hosts {
				b = appendUint(b, uint16(o.id), n.p.Width.Host)
			}
			return b
		}},
		r.HostID: {Get: func() []byte { return appendUint(nil, uint16(h.id), n.p.Width.Host) }},
		r.Whitelist: {
			Get: func() []byte {
				b := []byte{}
				for _, o := range n.hosts { // of those that are there; with nobody listed yet, all
					if o != h && h.admits(o.id) {
						b = appendUint(b, uint16(o.id), n.p.Width.Host)
					}
				}
				return b
			},
			Set: h.setWhitelist,
		},
	}
}

// controllerAdministration is the administration gate of the network controller
// host, for one host.
type controllerAdministration struct {
	n *Network
	h *Host
}

func (a controllerAdministration) Closed(*Pipe) {}

func (a controllerAdministration) Message(p *Pipe, m Message) {
	pr := a.n.p
	if m.Type == Response {
		a.n.answered(a.h, m.Instruction)
	}
	if m.Type != Command {
		return
	}
	var resp []byte
	var err error
	if a.h.state != HostRegistered && m.Instruction != pr.Command.AdmRegisterHost {
		_ = p.Respond(pr.Code(ErrInhibited), nil)
		return
	}
	switch m.Instruction {
	case pr.Command.AdmRegisterHost:
		resp, err = a.n.register(a.h, m.Data)
	case pr.Command.AdmDeregisterHost:
		if len(m.Data) != 0 || a.h.port == nil { // a host of this process does not ask
			err = ErrCmdParUnknown
		} else if a.n.leave(a.h); true {
			err = a.h.become(deregister)
		}
	case pr.Command.AdmCreatePipe:
		var par pipeParameters
		if err = par.parseRequest(m.Data, pr); err == nil {
			if err = a.n.create(a.h, &par); err == nil {
				resp = par.append(nil, pr)
			}
		}
	case pr.Command.AdmDeletePipe:
		id, rest, ok := takeUint(m.Data, pr.Width.Pipe)
		if !ok || len(rest) != 0 {
			err = ErrCmdParUnknown
		} else {
			err = a.n.delete(a.h, PipeID(id))
		}
	case pr.Command.AdmClearAllPipe:
		a.n.clearAll(a.h)
	default:
		err = ErrCmdNotSupported
	}
	_ = p.Respond(pr.Code(err), resp)
}

// create carries out ADM_CREATE_PIPE for src and fills in par.
func (n *Network) create(src *Host, par *pipeParameters) error {
	dst := n.Host(par.dstHost)
	if dst == nil {
		return ErrNotConnected
	}
	if dst == src || !dst.admits(src.id) {
		return ErrPipeAccessDenied // a pipe joins gates of different hosts
	}
	if n.access != nil {
		if err := n.access(src, dst, par.dstGate); err != nil {
			return err
		}
	}
	id := n.p.Pipe.DynamicFirst
	for ; n.joints[id].source != nil; id++ {
		if id == n.p.Pipe.DynamicLast {
			return ErrNoPipesAvailable
		}
	}
	par.srcHost, par.pipe = src.id, id
	if dst == n.ctl {
		if err := dst.created(*par); err != nil {
			return err
		}
	} else {
		if err := n.notify(dst, n.p.Command.AdmNotifyPipeCreated, par.append(nil, n.p)); err != nil {
			return err
		}
	}
	n.joints[id] = joint{src, dst}
	return nil
}

// delete carries out ADM_DELETE_PIPE for host h; the other host is told.
func (n *Network) delete(h *Host, id PipeID) error {
	if int(id) >= len(n.joints) || n.joints[id].source == nil {
		return ErrNOK
	}
	j := &n.joints[id]
	other := j.source
	if other == h {
		other = j.destination
	} else if j.destination != h {
		return ErrPipeAccessDenied
	}
	*j = joint{}
	if other == n.ctl {
		other.pipes[id].gone()
		return nil
	}
	return n.notify(other, n.p.Command.AdmNotifyPipeDeleted, appendUint(nil, uint16(id), n.p.Width.Pipe))
}

// maxAsked bounds the commands that a host behind a link has not answered.
const maxAsked = 1024

// answered takes the response of a host behind a link to the oldest command of
// notify: a pipe that it does not want is deleted.
func (n *Network) answered(h *Host, code byte) {
	if len(h.asked) == 0 {
		return
	}
	id := h.asked[0]
	h.asked = h.asked[1:]
	j := &n.joints[id]
	if code == n.p.Response.AnyOK || j.destination != h || id < n.p.Pipe.DynamicFirst {
		return
	}
	source := j.source
	*j = joint{}
	if source.port != nil {
		_ = n.notify(source, n.p.Command.AdmNotifyPipeDeleted, appendUint(nil, uint16(id), n.p.Width.Pipe))
	} else if p := source.pipes[id]; p != nil {
		p.gone()
	}
}

// notify sends a host a command of the administration gate. A host behind a link
// answers when it likes, in the order of the commands (answered).
func (n *Network) notify(h *Host, command byte, data []byte) error {
	p := h.static[administration].controller
	if h.port != nil {
		if len(h.asked) >= maxAsked {
			return ErrInhibited
		}
		var created PipeID
		if command == n.p.Command.AdmNotifyPipeCreated {
			id, _, _ := takeUint(data[len(data)-n.p.Width.Pipe:], n.p.Width.Pipe)
			created = PipeID(id)
		}
		h.asked = append(h.asked, created)
		return p.send(Message{Type: Command, Instruction: command, Data: data})
	}
	code, _, err := p.call(command, data)
	if err == nil {
		err = n.p.Err(code)
	}
	return err
}

// clearAll deletes all dynamic pipes of h; the hosts at the other ends are told
// once each.
func (n *Network) clearAll(h *Host) {
	var others []*Host
	for id := range n.joints {
		j := &n.joints[id]
		other := j.source
		if other == h {
			other = j.destination
		} else if j.destination != h {
			continue
		}
		*j = joint{}
		if !slices.Contains(others, other) {
			others = append(others, other)
		}
	}
	for _, o := range others {
		if o == n.ctl {
			o.cleared(h.id)
			continue
		}
		_ = n.notify(o, n.p.Command.AdmNotifyAllPipeCleared, appendUint(nil, uint16(h.id), n.p.Width.Host))
	}
	for _, p := range slices.Clone(h.pipes) {
		if p != nil {
			p.gone()
		}
	}
}

// AppendHostID encodes a host identifier as it stands in the data of a message.
func (p *Profile) AppendHostID(b []byte, id HostID) []byte {
	return appendUint(b, uint16(id), p.Width.Host)
}

// AppendGateID encodes a gate identifier as it stands in the data of a message.
func (p *Profile) AppendGateID(b []byte, id GateID) []byte {
	return appendUint(b, uint16(id), p.Width.Gate)
}

// maxHostName bounds the name in ADM_REGISTER_HOST, in octets.
const maxHostName = 64

// register carries out ADM_REGISTER_HOST. The first host behind a link is the
// terminal host.
func (n *Network) register(h *Host, b []byte) (resp []byte, err error) {
	const fixed = 16 + 2
	if h.port == nil || len(b) < fixed || len(b) > fixed+maxHostName || !utf8.Valid(b[fixed:]) {
		return nil, ErrCmdParUnknown
	}
	mtu := int(binary.BigEndian.Uint16(b[16:]))
	if mtu < n.p.codec.octets+8 {
		return nil, ErrCmdParUnknown
	}
	if h.state != HostUnregistered {
		return nil, ErrInhibited
	}
	id := [16]byte(b)
	want := n.p.Host.Terminal
	if n.Host(want) != nil {
		want = 0
	}
	name := strings.Map(printable, string(b[fixed:]))
	if h.id, err = n.admit(name, id, want); err != nil {
		return nil, err
	}
	_ = h.become(register)
	h.uuid, h.mtu = id, min(h.mtu, mtu)
	for _, s := range h.static {
		s.controller.mtu = h.mtu
	}
	if name != "" {
		h.name = name
	}
	n.enter(h)
	return binary.BigEndian.AppendUint16(appendUint(nil, uint16(h.id), n.p.Width.Host), uint16(min(h.mtu, 0xFFFF))), nil
}

// printable leaves out what a name has no use for.
func printable(r rune) rune {
	if r < ' ' || r == 0x7F {
		return -1
	}
	return r
}

// setWhitelist sets which hosts may create pipes to h (WHITELIST of HCI).
func (h *Host) setWhitelist(v []byte) error {
	list := []HostID{}
	for len(v) > 0 {
		id, rest, ok := takeUint(v, h.n.p.Width.Host)
		if !ok || len(list) > 255 {
			return ErrCmdParUnknown
		}
		list, v = append(list, HostID(id)), rest
	}
	h.whitelist = list
	return nil
}

// admits tells whether a host may create pipes to h.
func (h *Host) admits(from HostID) bool {
	return h.whitelist == nil || slices.Contains(h.whitelist, from)
}

// SetAccess makes f decide which host may create pipes to which gate; an error
// refuses (Profile.Code). nil: every host to every gate. The white list of a host
// comes before it.
func (n *Network) SetAccess(f func(from, to *Host, gate GateID) error) { n.access = f }

// HostIDOf reads a host identifier from the data of a message that is long enough.
func (p *Profile) HostIDOf(b []byte) HostID {
	v, _, _ := takeUint(b, p.Width.Host)
	return HostID(v)
}

// GateIDOf reads a gate identifier likewise.
func (p *Profile) GateIDOf(b []byte) GateID {
	v, _, _ := takeUint(b, p.Width.Gate)
	return GateID(v)
}
