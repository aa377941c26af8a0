package scl

import (
	"encoding/binary"
	"errors"
	"sync"
)

// ErrFlood: more packets wait for a link than the network holds for it; this one
// was dropped.
var ErrFlood = errors.New("scl: the link does not take packets as fast as they come")

// maxWaiting bounds, in octets, the packets that wait for a link.
const maxWaiting = 1 << 20

// outbox keeps packets for a link until the lock of their network is free, since
// sending on a link may come back into it, and sends them in order.
//
//	inside the lock        outside
//	put ──> waiting ──> flush ──> send(packet), one goroutine at a time
//
// A packet that comes in is answered from inside of a send, maybe of this very
// outbox: then flush must not wait for its turn. It leaves the packets to the
// goroutine that sends.
type outbox struct {
	send func(packet []byte)

	turn sync.Mutex // held while sending

	mu      sync.Mutex
	waiting []byte // packets, each behind its length in 4 octets
	spare   []byte
	left    bool // by a flush that must not wait
}

func (o *outbox) put(packet []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting)+len(packet) > maxWaiting {
		return ErrFlood
	}
	o.waiting = append(binary.BigEndian.AppendUint32(o.waiting, uint32(len(packet))), packet...)
	return nil
}

// flush sends what waits. nested: this goroutine may be sending already.
func (o *outbox) flush(nested bool) {
	if !nested {
		o.turn.Lock()
	} else if !o.turn.TryLock() {
		o.mu.Lock()
		o.left = true
		o.mu.Unlock()
		if !o.turn.TryLock() {
			return // who has the turn sees left before it gives the turn away, or after
		}
	}
	for {
		o.batch()
		o.turn.Unlock()
		o.mu.Lock()
		left := o.left
		o.mu.Unlock()
		if !left || !o.turn.TryLock() {
			return
		}
	}
}

// batch sends what waits now; the turn is held.
func (o *outbox) batch() {
	o.mu.Lock()
	b := o.waiting
	o.waiting, o.spare, o.left = o.spare[:0], nil, false
	o.mu.Unlock()
	for rest := b; len(rest) > 0; {
		n := binary.BigEndian.Uint32(rest)
		o.send(rest[4 : 4+n])
		rest = rest[4+n:]
	}
	if cap(b) <= 1<<17 { // what a flood needed is given back
		o.mu.Lock()
		o.spare = b[:0]
		o.mu.Unlock()
	}
}

// Port joins a host that lives elsewhere, behind a link, to the network: its
// packets come in by Packet and go out by the function given to Attach. The host
// is unregistered until it sends ADM_REGISTER_HOST.
//
//	Domain ──> link ══════ link ──> Port.Packet ──> router
//	terminal host domain            SSP host domain
type Port struct {
	n    *Network
	host *Host
	out  outbox
}

// Attach makes a port. name is for people, mtu the longest packet the link
// carries; send is called outside the lock of the network, with one packet at a
// time, which it must not keep. Attach takes the lock itself.
func (n *Network) Attach(name string, mtu int, send func(packet []byte)) *Port {
	n.Lock()
	defer n.Unlock()
	port := &Port{n: n}
	port.out.send = send
	h := n.newHost(name, [16]byte{}, n.p.Host.NetworkController)
	h.state, h.port, h.mtu = HostUnregistered, port, min(mtu, n.p.Packet.MTU)
	port.host = h
	n.joinStatic(h)
	return port
}

// Host is the host behind the link.
func (p *Port) Host() *Host { return p.host }

// Packet takes a packet from the link; b is not kept. A bad one is counted
// (REC_ERROR of the link gate) and dropped. It takes the lock of the network
// itself.
func (p *Port) Packet(b []byte) {
	p.n.mu.Lock()
	if p.host.state != HostGone {
		if err := p.n.route(p.host, nil, b); err != nil {
			p.n.count(p.host)
		}
	}
	p.n.unlock(true)
}

// Close takes the host out: the link is gone. A second Close does nothing.
func (p *Port) Close() {
	p.n.Lock()
	defer p.n.Unlock()
	p.n.drop(p.host)
}
