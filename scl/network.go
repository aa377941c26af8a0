package scl

import (
	"fmt"
	"slices"
	"sync"

	"github.com/sspemu/sspemu/internal/trace"
)

// Network is an SCL network in one process: the network controller host, its
// router and its pipe table.
//
// It is synchronous: Pipe.Send runs through the router, the other host and its
// gate in the goroutine of the caller, and an answer has arrived when Send
// returns, unless the other host answers later on its own.
//
// One lock guards the whole network, and it is taken at the outside: every
// method of Network, Host and Pipe wants it held, except Lock, Unlock, Exclusive,
// Profile, Tracer and the getters that say so. Code that runs inside the network
// (a gate, a receiver, a watcher) has it already and must not take it again. Who
// has a lock of its own takes it inside this one, never around it: a command
// comes in with the network locked.
type Network struct {
	p  *Profile
	tr *trace.Tracer

	mu       sync.Mutex
	up       *outbox          // of a domain: every packet goes there; nil: this is the network
	wake     *sync.Cond       // of a domain: something came in
	lost     bool             // of a domain: the link is gone
	far      map[HostID]*Host // of a domain: hosts of the network
	after    []func()
	dirty    []*outbox // have packets to send outside the lock
	ctl      *Host
	hosts    []*Host // by HostID, without the network controller host
	joints   []joint // the pipe table, by PipeID
	watchers []*func(HostEvent)
	access   func(from, to *Host, gate GateID) error
}

// NewNetwork makes a network with nothing but its network controller host, which
// has the link and administration gates. A nil Tracer is silent.
func NewNetwork(p *Profile, tr *trace.Tracer) *Network {
	n := &Network{p: p, tr: tr, joints: make([]joint, 1<<p.Packet.PipeBits)}
	n.ctl = n.newHost("network controller", [16]byte{}, p.Host.NetworkController)
	return n
}

// Lock enters the network from outside.
func (n *Network) Lock() { n.mu.Lock() }

// Unlock leaves the network, sends on links what waits for them, and then runs
// what was given to After.
func (n *Network) Unlock() { n.unlock(false) }

// unlock is Unlock; nested tells that a packet came in, maybe from within a send on
// the same link.
func (n *Network) unlock(nested bool) {
	after := n.after
	n.after = nil
	var links [4]*outbox
	dirty := append(links[:0], n.dirty...)
	n.dirty = n.dirty[:0]
	n.mu.Unlock()
	for _, o := range dirty {
		o.flush(nested)
	}
	for _, f := range after {
		f()
	}
}

// FlushNow sends what waits for links while the network stays locked. It is for
// what cannot wait until the lock is free: the sign of life of a bundle that works.
func (n *Network) FlushNow() {
	for _, o := range n.dirty {
		go o.flush(false)
	}
	n.dirty = n.dirty[:0]
}

// later has o sent when the lock is free.
func (n *Network) later(o *outbox) {
	if !slices.Contains(n.dirty, o) {
		n.dirty = append(n.dirty, o)
	}
}

// count counts a bad packet or message of h (REC_ERROR of the link gate).
func (n *Network) count(h *Host) {
	if h.errors < 0xFFFF {
		h.errors++
	}
}

// Exclusive runs f with the network to itself.
func (n *Network) Exclusive(f func()) {
	n.Lock()
	defer n.Unlock()
	f()
}

// After runs f outside the lock, in the goroutine that holds it now, as soon as
// it lets go. It is for what must not happen inside: sending on a link.
func (n *Network) After(f func()) { n.after = append(n.after, f) }

// Profile is the table of numbers of the network; no lock is needed.
func (n *Network) Profile() *Profile { return n.p }

// Tracer is what the network emits to; no lock is needed.
func (n *Network) Tracer() *trace.Tracer { return n.tr }

// Controller is the network controller host. It publishes gates like any host
// (gate.Standard gives it its identity and loopback gates).
func (n *Network) Controller() *Host { return n.ctl }

// Hosts are the registered hosts in the order of their identifiers, without the
// network controller host.
func (n *Network) Hosts() []*Host { return slices.Clone(n.hosts) }

// Host is the host with that identifier, nil if there is none.
func (n *Network) Host(id HostID) *Host {
	if id == n.p.Host.NetworkController {
		return n.ctl
	}
	if n.up != nil { // of the others a domain knows the identifier
		if n.far[id] == nil {
			n.far[id] = n.newHost("host", [16]byte{}, id)
		}
		return n.far[id]
	}
	for _, h := range n.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

// Find is the first host that publishes the gate, nil if none does. The network
// controller host is not looked at.
func (n *Network) Find(gate GateID) *Host {
	for _, h := range n.hosts {
		if h.gates[gate] != nil {
			return h
		}
	}
	return nil
}

// Register brings a host into the network (host registration): it gets an
// identifier, a port of the router, and the static pipes to the link and
// administration gates of the network controller host. want is the identifier it
// asks for, 0 for one of the dynamic range. name is for people; id is the
// host's UUID. ErrTaken tells that one of them is in use.
func (n *Network) Register(name string, id [16]byte, want HostID) (*Host, error) {
	want, err := n.admit(name, id, want)
	if err != nil {
		return nil, err
	}
	h := n.newHost(name, id, want)
	n.joinStatic(h)
	n.enter(h)
	return h, nil
}

// admit gives a host that wants to register its identifier.
func (n *Network) admit(name string, id [16]byte, want HostID) (HostID, error) {
	for _, h := range n.hosts {
		if h.uuid == id {
			return 0, fmt.Errorf("register host %q: its UUID is that of %q: %w", name, h.name, ErrTaken)
		}
	}
	if want == 0 {
		for want = n.p.Host.DynamicFirst; n.Host(want) != nil; want++ {
			if want == n.p.Host.DynamicLast {
				return 0, fmt.Errorf("register host %q: every dynamic host identifier is in use: %w", name, ErrTaken)
			}
		}
	} else if o := n.Host(want); o != nil {
		return 0, fmt.Errorf("register host %q: 0x%02X is %q: %w", name, want, o.name, ErrTaken)
	}
	return want, nil
}

// enter puts a host that is registered into the list.
func (n *Network) enter(h *Host) {
	i, _ := slices.BinarySearchFunc(n.hosts, h.id, func(a *Host, id HostID) int { return int(a.id) - int(id) })
	n.hosts = slices.Insert(n.hosts, i, h)
	n.hotPlug(h)
	n.emit(HostEvent{Kind: Registered, Host: h})
}

// Deregister takes a host out of the network (host deregistration). Its pipes
// are deleted; the hosts at their other ends are told by
// ADM_NOTIFY_ALL_PIPE_CLEARED, and their receivers by Closed.
func (n *Network) Deregister(h *Host) error {
	i := slices.Index(n.hosts, h)
	if i < 0 {
		return fmt.Errorf("deregister host %q: %w", h.name, ErrNotRegistered)
	}
	n.leave(h)
	return n.drop(h)
}

// leave takes a registered host out of the list and deletes its dynamic pipes.
func (n *Network) leave(h *Host) {
	n.hosts = slices.DeleteFunc(n.hosts, func(o *Host) bool { return o == h })
	n.clearAll(h)
	n.hotPlug(h)
	n.emit(HostEvent{Kind: Deregistered, Host: h})
}

// drop ends a host for good.
func (n *Network) drop(h *Host) error {
	if h.state == HostRegistered && slices.Contains(n.hosts, h) {
		n.leave(h)
	}
	if err := h.become(lose); err != nil {
		return err
	}
	for _, s := range h.static {
		_ = s.host.become(remove)
		_ = s.controller.become(remove)
	}
	return nil
}

// HostEventKind says what happened to a host.
type HostEventKind uint8

// What a watcher is told.
const (
	Registered   HostEventKind = iota // Host came
	Published                         // Host published Gate
	Deregistered                      // Host left
)

func (k HostEventKind) String() string {
	return [...]string{"registered", "published", "deregistered"}[k]
}

// HostEvent tells a watcher what happened.
type HostEvent struct {
	Kind HostEventKind
	Host *Host
	Gate GateID // with Published
}

// Watch calls f, inside the network, for every host that comes, publishes a gate
// or leaves. cancel ends that.
func (n *Network) Watch(f func(HostEvent)) (cancel func()) {
	w := &f
	n.watchers = append(n.watchers, w)
	return func() { n.watchers = slices.DeleteFunc(n.watchers, func(x *func(HostEvent)) bool { return x == w }) }
}

func (n *Network) emit(e HostEvent) {
	if n.tr.On() {
		note := e.Kind.String()
		if e.Kind == Published {
			note += " " + n.p.gateName(e.Gate)
		}
		n.tr.Emit(trace.Event{Layer: trace.SCL, Name: "host", Where: e.Host.String(), Note: note})
	}
	for _, w := range slices.Clone(n.watchers) {
		(*w)(e)
	}
}

// hotPlug tells every host but h that the list of hosts changed.
func (n *Network) hotPlug(h *Host) {
	for _, o := range slices.Clone(n.hosts) {
		if o != h {
			_ = o.static[administration].controller.Send(Message{Type: Event, Instruction: n.p.Event.HotPlug})
		}
	}
}
