package terminal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/sspemu/sspemu/scl"
)

// peerLength is the length of address and port in front of a datagram
// (scl-profile-0, event.udp.EVT_DATAGRAM).
const peerLength = 18

// MaxDatagram is the longest datagram: what UDP over IPv6 carries.
const MaxDatagram = 65527

// datagramWindow is what the bundle may send before it was taken, in octets.
const datagramWindow = 512 << 10

// ErrNoCredit: the bundle does not take datagrams as fast as they come; this one
// is lost, as UDP may lose it.
var ErrNoCredit = errors.New("terminal: the bundle does not take datagrams as fast as they come")

// Datagrams is a socket at the UDP gate of the active SPB. It carries the datagrams
// of any number of peers.
type Datagrams struct {
	t    *Terminal
	p    *scl.Pipe
	recv func(peer netip.AddrPort, datagram []byte)
	done chan struct{}
	once sync.Once
	buf  []byte // guarded by the lock of the domain
	owed int
	err  error
}

// OpenUDP opens a socket. recv is called for each datagram of the bundle, one at a
// time and with the terminal locked: it must not block nor use the terminal;
// datagram is valid during the call. ErrNoCard, ErrNoService.
func (t *Terminal) OpenUDP(ctx context.Context, recv func(peer netip.AddrPort, datagram []byte)) (*Datagrams, error) {
	d := &Datagrams{t: t, recv: recv, done: make(chan struct{})}
	err := t.do(ctx, func() (err error) {
		if d.p, err = t.open(t.p.Gate.UDP, d); err != nil {
			return err
		}
		return d.p.Grant(datagramWindow)
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Send sends a datagram of a peer to the bundle. ErrNoCredit, ErrRemoved,
// ErrTimeout, ErrReset.
func (d *Datagrams) Send(peer netip.AddrPort, datagram []byte) error {
	if len(datagram) > MaxDatagram {
		return fmt.Errorf("terminal: datagram of %d octets, %d at most", len(datagram), MaxDatagram)
	}
	d.t.d.Lock()
	defer d.t.d.Unlock()
	if d.p.State() != scl.Open {
		if d.err != nil {
			return d.err
		}
		return ErrRemoved
	}
	a := peer.Addr().As16()
	d.buf = append(d.buf[:0], a[:]...)
	d.buf = binary.BigEndian.AppendUint16(d.buf, peer.Port())
	d.buf = append(d.buf, datagram...)
	err := d.p.Send(scl.Message{Type: scl.Event, Instruction: d.t.p.Event.UDPDatagram, Data: d.buf})
	if errors.Is(err, scl.ErrNoCredit) {
		return ErrNoCredit
	}
	return err
}

// Done is closed when the bundle left or ended the socket.
func (d *Datagrams) Done() <-chan struct{} { return d.done }

// Close ends the socket.
func (d *Datagrams) Close() error {
	d.t.d.Lock()
	defer d.t.d.Unlock()
	if d.p.State() == scl.Open {
		_ = d.p.Send(scl.Message{Type: scl.Event, Instruction: d.t.p.Event.UDPClosed, Data: []byte{0}})
	}
	_ = d.p.Delete()
	d.end(ErrRemoved)
	return nil
}

func (d *Datagrams) end(err error) {
	d.once.Do(func() {
		d.err = err
		close(d.done)
	})
}

// Message takes what the gate sends (scl.PipeReceiver).
func (d *Datagrams) Message(p *scl.Pipe, m scl.Message) {
	e := &d.t.p.Event
	switch {
	case m.Type == scl.Command:
		_ = p.Respond(d.t.p.Response.AnyECmdNotSupported, nil)
	case m.Type != scl.Event:
	case m.Instruction == e.UDPDatagram:
		if d.owed += len(m.Data) + 1; d.owed >= datagramWindow/2 {
			_ = p.Grant(d.owed)
			d.owed = 0
		}
		if len(m.Data) < peerLength {
			return
		}
		a := netip.AddrFrom16([16]byte(m.Data)).Unmap()
		d.recv(netip.AddrPortFrom(a, binary.BigEndian.Uint16(m.Data[16:])), m.Data[peerLength:])
	case m.Instruction == e.UDPClosed:
		err := reasonOf(m.Data)
		if err != ErrTimeout {
			err = ErrReset
		}
		d.end(err)
	}
}

// Closed tells that the SPB left, or its gate ended the session.
func (d *Datagrams) Closed(*scl.Pipe) { d.end(ErrRemoved) }
