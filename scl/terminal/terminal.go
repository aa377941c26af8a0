package terminal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/transport"
)

// Terminal is a terminal host at the controller end of a link that carries SCL
// packets. It is safe for use by several goroutines.
type Terminal struct {
	link transport.Link
	p    *scl.Profile
	d    *scl.Domain

	mu       sync.Mutex // guards what follows
	services map[scl.GateID]scl.HostID
	changed  bool // the list of hosts changed since services was filled
	closed   bool

	over  sync.Once
	ended chan struct{} // closed when the link is lost, or by Close
}

// Open opens the link, for as long as ctx lasts, and registers the terminal as a
// host of the network at its other end. nil for p stands for scl-profile-0.
// The host is called after the link and has a random UUID.
func Open(ctx context.Context, l transport.Link, p *scl.Profile) (*Terminal, error) {
	return OpenAs(ctx, l, p, "terminal "+l.String(), uuid.New())
}

// OpenAs is Open with a name, for people, and a UUID of the caller's, which no other
// host of the network may have.
func OpenAs(ctx context.Context, l transport.Link, p *scl.Profile, name string, id uuid.UUID) (*Terminal, error) {
	c, ok := l.(transport.PacketCarrier)
	if !ok {
		return nil, fmt.Errorf("terminal: link %s carries APDUs only, not SCL packets (mem: carries both)", l)
	}
	if p == nil {
		p = scl.DefaultProfile()
	}
	t := &Terminal{link: l, p: p, services: map[scl.GateID]scl.HostID{}, ended: make(chan struct{})}
	t.d = scl.NewDomain(p, name, id, c.PacketMTU(), t.send)
	t.d.OnHotPlug(t.hotPlug)
	if err := l.Open(ctx, (*frames)(t)); err != nil {
		return nil, fmt.Errorf("terminal: link %s: %w", l, err)
	}
	stop := context.AfterFunc(ctx, t.lost) // nobody waits for the network any more
	t.d.Lock()
	err := t.d.Register()
	if err == nil {
		err = gate.Standard(t.d.Host(), gate.Info{VendorName: "sspemu"})
	}
	t.d.Unlock()
	if !stop() {
		err = context.Cause(ctx)
	} else if why := transport.Trouble(l); err != nil && why != nil {
		err = why
	}
	if err != nil {
		return nil, fmt.Errorf("terminal: link %s: %w", l, errors.Join(err, t.Close()))
	}
	return t, nil
}

// frames takes what comes from the link (transport.Receiver).
type frames Terminal

func (f *frames) Frame(k transport.Kind, p []byte) {
	switch {
	case k != transport.Packet:
	case len(p) == 0:
		go (*Terminal)(f).lost() // this may be from within a send
	default:
		f.d.Packet(p)
	}
}

// send is called outside of the lock of the domain, but maybe from within a packet
// that comes in.
func (t *Terminal) send(packet []byte) {
	if t.link.Send(transport.Packet, packet) != nil {
		go t.lost()
	}
}

func (t *Terminal) lost() {
	t.over.Do(func() { close(t.ended) })
	t.d.Lock()
	defer t.d.Unlock()
	t.d.Lost()
}

// Done is closed when the link is lost, or by Close: nothing can be done with the
// terminal any more.
func (t *Terminal) Done() <-chan struct{} { return t.ended }

func (t *Terminal) hotPlug() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = true
}

// Close deregisters the terminal and closes the link. A second Close does nothing.
func (t *Terminal) Close() error {
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	t.mu.Unlock()
	if closed {
		return nil
	}
	defer t.over.Do(func() { close(t.ended) })
	t.d.Lock()
	if t.d.Host().State() == scl.HostRegistered {
		_ = t.d.Deregister() // the other end may be gone
	}
	t.d.Lost()
	t.d.Unlock()
	return t.link.Close()
}

// Host is a host of the network as a terminal finds it.
type Host struct {
	ID     scl.HostID
	UUID   uuid.UUID
	Vendor string
	Gates  []scl.GateID
}

// Hosts lists the hosts of the network with their gates, as their identity gates
// tell, without the terminal itself.
func (t *Terminal) Hosts(ctx context.Context) (list []Host, err error) {
	err = t.do(ctx, func() error {
		ids, err := t.hostList()
		if err != nil {
			return err
		}
		for _, id := range ids {
			h, err := t.identify(id)
			if err != nil {
				return err
			}
			list = append(list, h)
		}
		return nil
	})
	return list, err
}

// Capabilities exchanges capabilities with the network controller host: the
// terminal's first (TerminalCapability of the module SSPDefinitions in DER), then
// the answer is the SSP's (SSPCapability). Package scl/capability has both as Go
// values.
func (t *Terminal) Capabilities(ctx context.Context, terminal []byte) (ssp []byte, err error) {
	err = t.do(ctx, func() error {
		p, err := t.d.Host().Bind(t.p.Host.NetworkController, t.p.Gate.Identity, nil)
		if err != nil {
			return err
		}
		defer p.Delete()
		if err := p.Set(t.p.Registry.CapabilityExchange, terminal); err != nil {
			return err
		}
		v, err := p.Get(t.p.Registry.CapabilityExchange)
		ssp = slices.Clone(v)
		return err
	})
	return ssp, err
}

// do runs f with the domain locked.
func (t *Terminal) do(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	t.d.Lock()
	defer t.d.Unlock()
	if err := f(); err != nil {
		return fmt.Errorf("terminal: %s: %w", t.link, err)
	}
	return nil
}

// hostList is the list of hosts of the network without this one; the domain is
// locked.
func (t *Terminal) hostList() (ids []scl.HostID, err error) {
	b, err := t.d.Host().Admin().Get(t.p.Registry.HostList)
	if err != nil {
		return nil, err
	}
	for w := t.p.Width.Host; len(b) >= w; b = b[w:] {
		if id := t.p.HostIDOf(b); id != t.d.Host().ID() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// identify asks the identity gate of a host; the domain is locked.
func (t *Terminal) identify(id scl.HostID) (h Host, err error) {
	h.ID = id
	p, err := t.d.Host().Bind(id, t.p.Gate.Identity, nil)
	if err != nil {
		return h, err
	}
	defer p.Delete()
	b, err := p.Get(t.p.Registry.GatesList)
	if err != nil {
		return h, err
	}
	for w := t.p.Width.Gate; len(b) >= w; b = b[w:] {
		h.Gates = append(h.Gates, t.p.GateIDOf(b))
	}
	if b, err = p.Get(t.p.Registry.VendorName); err == nil {
		h.Vendor = string(b)
	}
	if b, err = p.Get(t.p.Registry.HostUUID); err == nil && len(b) == len(h.UUID) {
		h.UUID = uuid.UUID(b)
	}
	return h, nil
}

// open opens a pipe to a gate of the active SPB, or of whoever has it; the domain
// is locked.
func (t *Terminal) open(service scl.GateID, r scl.PipeReceiver) (*scl.Pipe, error) {
	for try := 0; ; try++ {
		id, fresh, err := t.find(service)
		if err != nil {
			return nil, err
		}
		p, err := t.d.Host().Bind(id, service, r)
		if err == nil || errors.Is(err, scl.ErrNoPipesAvailable) {
			return p, err
		}
		t.hotPlug() // what is known of the hosts may be old
		if fresh || try > 0 {
			if errors.Is(err, scl.ErrNotConnected) {
				err = fmt.Errorf("%w: %w", ErrNoCard, err)
			}
			return nil, err
		}
	}
}

// find is the host that has the gate; fresh tells that the network was asked. The
// domain is locked.
func (t *Terminal) find(service scl.GateID) (id scl.HostID, fresh bool, err error) {
	t.mu.Lock()
	if t.changed {
		clear(t.services)
		t.changed = false
	}
	id, ok := t.services[service]
	t.mu.Unlock()
	if ok {
		return id, false, nil
	}
	ids, err := t.hostList()
	if err != nil {
		return 0, true, err
	}
	for _, id := range ids {
		h, err := t.identify(id)
		if errors.Is(err, scl.ErrNoPipesAvailable) {
			return 0, true, err
		}
		if err != nil {
			continue // a host without an identity gate, or one that has just left
		}
		if slices.Contains(h.Gates, service) {
			t.mu.Lock()
			t.services[service] = id
			t.mu.Unlock()
			return id, true, nil
		}
	}
	if !slices.Contains(ids, t.p.Host.UICC) {
		return 0, true, ErrNoCard
	}
	return 0, true, ErrNoService
}
