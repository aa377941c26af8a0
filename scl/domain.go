package scl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrLinkLost: the link to the network is gone.
var ErrLinkLost = errors.New("scl: the link to the network is gone")

// Domain is a host domain elsewhere: one host, typically of a terminal, and a link
// to the network that has the network controller host.
//
// It has a lock of its own, taken at the outside as that of a Network. A command
// waits for its response with the lock given away, so Call, Create, Open, Close,
// Delete and all that use them must not be called from within the domain (from a
// receiver), but for what they are called by there.
type Domain struct {
	n    *Network
	host *Host
	out  outbox
}

// NewDomain makes a domain that sends its packets by send, outside of its lock,
// one at a time; send must not keep them. What comes from the link goes to Packet.
// mtu is the longest packet of the link.
func NewDomain(p *Profile, name string, uuid [16]byte, mtu int, send func(packet []byte)) *Domain {
	n := NewNetwork(p, nil)
	d := &Domain{n: n}
	d.out.send = send
	n.up, n.far = &d.out, map[HostID]*Host{}
	n.wake = sync.NewCond(&n.mu)
	h := n.newHost(name, uuid, 0)
	h.state, h.mtu = HostUnregistered, min(mtu, p.Packet.MTU)
	d.host = h
	n.joinStatic(h)
	return d
}

// Lock enters the domain from outside.
func (d *Domain) Lock() { d.n.Lock() }

// Unlock leaves it and sends what waits for the link.
func (d *Domain) Unlock() { d.n.Unlock() }

// Host is the host of the domain. Hosts of the network are known by their
// identifiers only.
func (d *Domain) Host() *Host { return d.host }

// Packet takes a packet from the link; b is not kept. It takes the lock itself.
func (d *Domain) Packet(b []byte) {
	n := d.n
	n.mu.Lock()
	if k, err := n.p.codec.packet(b); err == nil {
		var p *Pipe
		switch k.Pipe {
		case n.p.Pipe.Link:
			p = d.host.static[link].host
		case n.p.Pipe.Administration:
			p = d.host.static[administration].host
		default:
			p = d.host.pipes[k.Pipe]
		}
		if p == nil || p.receive(k) != nil {
			n.count(d.host)
		}
	} else {
		n.count(d.host)
	}
	n.wake.Broadcast()
	n.later(&d.out)
	n.unlock(true)
}

// Register registers the host with the network (ADM_REGISTER_HOST); the domain is
// locked.
func (d *Domain) Register() error {
	n, h := d.n, d.host
	if h.state == HostRegistered {
		return fmt.Errorf("register %s: %w", h, ErrTaken)
	}
	b := append([]byte(nil), h.uuid[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(min(h.mtu, 0xFFFF)))
	b = append(b, h.name[:min(len(h.name), maxHostName)]...)
	code, resp, err := h.Admin().Call(n.p.Command.AdmRegisterHost, b)
	if err == nil {
		err = n.p.Err(code)
	}
	if err != nil {
		return fmt.Errorf("register host %q: %w", h.name, err)
	}
	id, rest, ok := takeUint(resp, n.p.Width.Host)
	if !ok || len(rest) != 2 {
		return fmt.Errorf("register host %q: the answer has %d octets: %w", h.name, len(resp), ErrCmdParUnknown)
	}
	if err := h.become(register); err != nil {
		return err
	}
	h.id, h.mtu = HostID(id), min(h.mtu, int(binary.BigEndian.Uint16(rest)))
	return nil
}

// Deregister takes the host out of the network (ADM_DEREGISTER_HOST); its pipes are
// deleted. The domain is locked.
func (d *Domain) Deregister() error {
	h := d.host
	if h.state != HostRegistered {
		return fmt.Errorf("deregister %s: %w", h, ErrNotRegistered)
	}
	code, _, err := h.Admin().Call(d.n.p.Command.AdmDeregisterHost, nil)
	if err == nil {
		err = d.n.p.Err(code)
	}
	d.clear()
	if e := h.become(deregister); err == nil {
		err = e
	}
	return err
}

// Lost ends the domain: the link is gone. Whoever waits is told. The domain is
// locked.
func (d *Domain) Lost() {
	d.n.lost = true
	_ = d.host.become(lose)
	d.clear()
	for _, s := range d.host.static {
		_ = s.host.become(remove)
	}
	d.n.wake.Broadcast()
}

// clear deletes the ends of all dynamic pipes.
func (d *Domain) clear() {
	for _, p := range d.host.pipes {
		if p != nil {
			p.gone()
		}
	}
}

// OnHotPlug has f called, inside the domain, when the list of hosts of the network
// changed (EVT_HOT_PLUG).
func (d *Domain) OnHotPlug(f func()) { d.host.hotPlug = f }

// Never is no limit for Wait.
var Never time.Time

// Wait gives the lock away until something came in from the link, or until limit
// has passed (0: none); false then, and when the link is gone.
func (d *Domain) Wait(limit time.Time) bool { return d.n.wait(limit) }

// await waits until done, ResponseTime at most.
func (n *Network) await(done func() bool) {
	limit := time.Now().Add(ResponseTime)
	for first := true; !done(); first = false {
		if n.lost {
			return
		}
		if first { // send what there is; a link in this process answers at once
			n.later(n.up)
			n.Unlock()
			n.mu.Lock()
			continue
		}
		if !n.wait(limit) {
			return
		}
	}
}

// wait is Domain.Wait.
func (n *Network) wait(limit time.Time) bool {
	if n.lost || !limit.IsZero() && !time.Now().Before(limit) {
		return false
	}
	if len(n.dirty) > 0 || len(n.after) > 0 {
		n.Unlock()
		n.mu.Lock()
		return true
	}
	if !limit.IsZero() {
		t := time.AfterFunc(time.Until(limit), func() {
			n.mu.Lock()
			n.wake.Broadcast()
			n.mu.Unlock()
		})
		defer t.Stop()
	}
	n.wake.Wait()
	return !n.lost && (limit.IsZero() || time.Now().Before(limit))
}
