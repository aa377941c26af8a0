package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/scl/terminal"
)

// lethal is how many requests are remembered that broke the bundle, and for how long
// a client may repeat one (EXCHANGE_LIFETIME, RFC 7252 4.8.2). The number is chosen.
const (
	lethal           = 64
	exchangeLifetime = 247 * time.Second
)

// readBuffer is the room for datagrams that come at once, in octets. Chosen.
const readBuffer = 4 << 20

// maxQueued is how many octets of datagrams may wait to be sent to clients; more
// are lost, as UDP may lose them. Chosen.
const maxQueued = 1 << 20

// CoAP relays the datagrams of CoAP clients, whose messages, retransmissions and
// observations are the business of the active bundle.
//
//	client ── UDP ── CoAP ── terminal.Datagrams ══ UDP gate of the active SPB
//	client ── DTLS ── CoAP ── another of them, each session a peer
//
// When there is nobody to relay to, a request gets an error (RFC 7252 5.9.3) and an
// Empty confirmable message a Reset (4.3):
//
//	5.03, Max-Age 1  no bundle is active, or it left while it was asked
//	5.03             the active bundle has no UDP gate
//	5.04             the bundle ran over its time
//	5.02             the bundle broke off
//
// The next datagram finds the bundle that is active by then. A request that broke
// the bundle is not given to the next one when the client repeats it: it gets the
// same answer again (RFC 7252 4.5).
type CoAP struct {
	t Opener
}

// Opener opens sockets of the active SPB: a *terminal.Terminal, or whoever has one.
type Opener interface {
	OpenUDP(ctx context.Context, recv func(peer netip.AddrPort, datagram []byte)) (*terminal.Datagrams, error)
}

// NewCoAP makes one for the bundles that t reaches.
func NewCoAP(t Opener) *CoAP { return &CoAP{t} }

// Serve serves clients that send to conn until ctx is done; it closes conn.
// Addresses with a zone (link-local IPv6) cannot be answered: the gate has no room
// for it.
func (c *CoAP) Serve(ctx context.Context, conn *net.UDPConn) error {
	r := newRelay(c.t, func(peer netip.AddrPort, b []byte) bool {
		_, _ = conn.WriteToUDPAddrPort(b, peer) // UDP may lose it
		return true
	})
	_ = conn.SetReadBuffer(readBuffer) // the system may give less
	return r.serve(ctx, conn.Close, func() error {
		b := make([]byte, terminal.MaxDatagram)
		for {
			n, peer, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return err
			}
			r.toBundle(ctx, peer, b[:n])
		}
	})
}

// relay is a socket at the UDP gate, opened when it is needed, and what comes from
// it for clients.
type relay struct {
	t     Opener
	write func(peer netip.AddrPort, b []byte) bool // false: there is no such client
	id    atomic.Uint32                            // latest message ID of ours

	open   sync.Mutex
	d      *terminal.Datagrams
	broken []breakage // oldest first

	mu           sync.Mutex
	queue, spare queue
	asking       atomic.Int32  // goroutines that will flush when the bundle returns
	wake         chan struct{} // for the goroutine that flushes otherwise
	writing      sync.Mutex    // keeps the order
}

// breakage is the answer to a request that broke the bundle.
type breakage struct {
	peer   netip.AddrPort
	head   [4]byte // of the request
	answer []byte
	at     time.Time
}

// queue is datagrams one after the other.
type queue struct {
	octets []byte
	list   []queued
}

type queued struct {
	peer netip.AddrPort
	n    int
}

func newRelay(t Opener, write func(netip.AddrPort, []byte) bool) *relay {
	return &relay{t: t, write: write, wake: make(chan struct{}, 1)}
}

// serve runs read until ctx is done, which shut ends.
func (r *relay) serve(ctx context.Context, shut func() error, read func() error) error {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = shut() })
	go func() {
		for {
			select {
			case <-r.wake:
				r.flush()
			case <-done:
				return
			}
		}
	}()
	err := read()
	stop()
	close(done)
	_ = shut()
	r.close()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *relay) close() {
	r.open.Lock()
	defer r.open.Unlock()
	if r.d != nil {
		_ = r.d.Close()
		r.d = nil
	}
}

// toBundle takes a datagram from a client to the bundle, and its answer back.
func (r *relay) toBundle(ctx context.Context, peer netip.AddrPort, b []byte) {
	if again := r.repeated(peer, b); again != nil {
		r.write(peer, again)
		return
	}
	r.asking.Add(1)
	err := r.send(ctx, peer, b)
	r.asking.Add(-1)
	r.flush()
	if err == nil {
		return
	}
	if answer := refusal(b, err, uint16(r.id.Add(1))); answer != nil {
		if errors.Is(err, terminal.ErrReset) || errors.Is(err, terminal.ErrTimeout) {
			r.open.Lock()
			r.broken = append(r.broken[max(0, len(r.broken)+1-lethal):], breakage{peer, [4]byte(b), answer, time.Now()})
			r.open.Unlock()
		}
		r.write(peer, answer)
	}
}

// repeated is the answer to a request that broke the bundle before, nil for others.
func (r *relay) repeated(peer netip.AddrPort, b []byte) []byte {
	r.open.Lock()
	defer r.open.Unlock()
	for i := range r.broken {
		x := &r.broken[i]
		if x.peer == peer && len(b) >= 4 && x.head == [4]byte(b) && time.Since(x.at) < exchangeLifetime {
			return x.answer
		}
	}
	return nil
}

// send sends b through the socket that is open, or a new one. nil: it is sent, or
// lost.
func (r *relay) send(ctx context.Context, peer netip.AddrPort, b []byte) error {
	for try := 0; ; try++ {
		d, err := r.socket(ctx)
		if err != nil {
			return err
		}
		if err = d.Send(peer, b); err == nil {
			select {
			case <-d.Done(): // while it was asked
				if err = d.Send(peer, nil); err == nil { // tells why
					err = terminal.ErrReset
				}
				try = 1
			default:
				return nil
			}
		}
		if errors.Is(err, terminal.ErrNoCredit) {
			return nil
		}
		r.drop(d)
		if try > 0 {
			return err
		}
	}
}

// socket is the one that is open, or a new one.
func (r *relay) socket(ctx context.Context) (*terminal.Datagrams, error) {
	r.open.Lock()
	defer r.open.Unlock()
	if r.d != nil {
		return r.d, nil
	}
	d, err := r.t.OpenUDP(ctx, r.fromBundle)
	if err != nil {
		return nil, err
	}
	r.d = d
	return d, nil
}

// drop forgets a socket that has ended.
func (r *relay) drop(d *terminal.Datagrams) {
	_ = d.Close()
	r.open.Lock()
	defer r.open.Unlock()
	if r.d == d {
		r.d = nil
	}
}

// fromBundle queues a datagram for a client. It is called with the terminal locked.
func (r *relay) fromBundle(peer netip.AddrPort, b []byte) {
	r.mu.Lock()
	if len(r.queue.octets)+len(b) <= maxQueued {
		r.queue.octets = append(r.queue.octets, b...)
		r.queue.list = append(r.queue.list, queued{peer, len(b)})
	}
	r.mu.Unlock()
	if r.asking.Load() > 0 {
		return // who asks flushes after that
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// flush sends what is queued. A client that has gone lets the bundle know with a
// Reset, so that it is no observer any longer (RFC 7641 3.6).
func (r *relay) flush() {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	q := r.queue
	r.queue = queue{r.spare.octets[:0], r.spare.list[:0]}
	r.spare = q
	r.mu.Unlock()
	octets := q.octets
	for _, e := range q.list {
		b := octets[:e.n]
		octets = octets[e.n:]
		if !r.write(e.peer, b) && len(b) >= 4 && b[1] > 0 && message.Type(b[0]>>4&3) <= message.NonConfirmable {
			if d, err := r.socket(context.Background()); err == nil {
				_ = d.Send(e.peer, empty(message.Reset, b))
			}
		}
	}
}

// empty is an Empty message in answer to b.
func empty(t message.Type, b []byte) []byte { return []byte{0x40 | byte(t)<<4, 0, b[2], b[3]} }

// refusal answers b because of err; nil: there is nothing to answer. id is the
// message ID to use where it is not that of b.
func refusal(b []byte, err error, id uint16) []byte {
	if len(b) < 4 || b[0]>>6 != 1 {
		return nil
	}
	typ, n, code := message.Type(b[0]>>4&3), int(b[0]&15), codes.Code(b[1])
	if code > 31 || n > message.MaxTokenSize || len(b) < 4+n || typ > message.NonConfirmable || code == 0 {
		if typ == message.Confirmable {
			return empty(message.Reset, b)
		}
		return nil
	}
	m := message.Message{Type: message.NonConfirmable, MessageID: int32(id), Token: b[4 : 4+n], Code: codes.ServiceUnavailable}
	if typ == message.Confirmable {
		m.Type, m.MessageID = message.Acknowledgement, int32(b[2])<<8|int32(b[3])
	}
	why := "sspemu: no bundle is active"
	switch {
	case errors.Is(err, terminal.ErrNoCard):
		m.Options = maxAge1
	case errors.Is(err, terminal.ErrRemoved):
		m.Options, why = maxAge1, "sspemu: the bundle left, ask again"
	case errors.Is(err, terminal.ErrNoService):
		why = "sspemu: the active bundle does not serve CoAP"
	case errors.Is(err, terminal.ErrTimeout):
		m.Code, why = codes.GatewayTimeout, "sspemu: the bundle ran over its time"
	case errors.Is(err, terminal.ErrReset):
		m.Code, why = codes.BadGateway, "sspemu: the bundle broke off, see the log"
	default:
		m.Code, why = codes.BadGateway, err.Error()
	}
	m.Payload = []byte(why)
	out := make([]byte, 32+len(why))
	k, err := coder.DefaultCoder.Encode(m, out)
	if err != nil {
		return nil // cannot be: the token is a good one
	}
	return out[:k]
}

var maxAge1 = message.Options{{ID: message.MaxAge, Value: []byte{1}}}
