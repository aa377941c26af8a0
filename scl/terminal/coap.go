package terminal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/net/blockwise"
	"github.com/plgd-dev/go-coap/v3/udp/client"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

// Of CoAP; all chosen.
const (
	coapQueue    = 256                    // datagrams that wait for the client
	coapTransfer = 5 * time.Minute        // for a body in blocks, when a request has no deadline
	coapTick     = 500 * time.Millisecond // between looks at what is to be sent again
)

// coapPeer is who the client is to the bundle: the terminal itself.
var coapPeer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 5683)

// CoAP opens a CoAP client at the UDP gate of the active SPB: requests, block-wise
// transfer and observation (RFC 7252, 7959, 7641). It ends with Close, with ctx or
// with the bundle; what is under way then fails with an error that says why.
// ErrNoCard, ErrNoService.
func (t *Terminal) CoAP(ctx context.Context) (*client.Conn, error) {
	inner, end := context.WithCancelCause(ctx)
	s := &coapSession{end: end, in: make(chan []byte, coapQueue), done: make(chan struct{})}
	s.ctx = sessionContext{inner}
	d, err := t.OpenUDP(ctx, s.recv)
	if err != nil {
		end(err)
		return nil, err
	}
	s.d = d
	cfg := client.DefaultConfig
	cfg.Errors = func(error) {} // whoever made the request gets its error
	cfg.MessagePool = pool.New(0, 0)
	cfg.MaxMessageSize = MaxDatagram
	cfg.LimitClientParallelRequests, cfg.LimitClientEndpointParallelRequests = 0, 0 // NSTART is limit enough
	cc := client.NewConnWithOpts(s, &cfg, client.WithBlockWise(func(cc *client.Conn) *blockwise.BlockWise[*client.Conn] {
		return blockwise.New(cc, coapTransfer, cfg.Errors, func(token message.Token) (*pool.Message, bool) {
			return cc.GetObservationRequest(token)
		})
	}))
	go func() { _ = cc.Run() }()
	return cc, nil
}

// coapSession is a client.Session on Datagrams.
type coapSession struct {
	d    *Datagrams
	in   chan []byte
	end  context.CancelCauseFunc
	done chan struct{}

	mu      sync.Mutex
	ctx     context.Context
	onClose []func()
}

// sessionContext says why it ended instead of "context canceled".
type sessionContext struct{ context.Context }

func (c sessionContext) Err() error { return context.Cause(c.Context) }

// recv must not wait: what the client does not take in time is lost.
func (s *coapSession) recv(_ netip.AddrPort, datagram []byte) {
	select {
	case s.in <- slices.Clone(datagram):
	default:
	}
}

// Run hands the client what comes, until the end.
func (s *coapSession) Run(cc *client.Conn) error {
	defer func() {
		_ = s.d.Close()
		s.mu.Lock()
		fs := s.onClose
		s.mu.Unlock()
		for _, f := range fs {
			f()
		}
		close(s.done)
	}()
	tick := time.NewTicker(coapTick)
	defer tick.Stop()
	for {
		select {
		case b := <-s.in:
			_ = cc.Process(nil, b) // what is no CoAP is dropped
		case now := <-tick.C:
			cc.CheckExpirations(now)
		case <-s.d.Done():
			err := s.d.Send(coapPeer, nil) // tells why
			if err == nil {
				err = ErrReset
			}
			s.end(err)
			return err
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func (s *coapSession) WriteMessage(m *pool.Message) error {
	b, err := m.MarshalWithEncoder(coder.DefaultCoder)
	if err != nil {
		return fmt.Errorf("terminal: CoAP message: %w", err)
	}
	err = s.d.Send(coapPeer, b)
	if errors.Is(err, ErrNoCredit) {
		return nil // lost, as UDP may lose it: it is sent again
	}
	return err
}

func (s *coapSession) WriteMulticastMessage(*pool.Message, *net.UDPAddr, ...coapnet.MulticastOption) error {
	return errors.New("terminal: a bundle has no multicast address")
}

func (s *coapSession) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx
}

func (s *coapSession) SetContextValue(key, val any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = sessionContext{context.WithValue(s.ctx, key, val)}
}

func (s *coapSession) AddOnClose(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onClose = append(s.onClose, f)
}

func (s *coapSession) Close() error {
	s.end(net.ErrClosed)
	return nil
}

func (s *coapSession) Done() <-chan struct{}  { return s.done }
func (s *coapSession) MaxMessageSize() uint32 { return MaxDatagram }
func (s *coapSession) RemoteAddr() net.Addr   { return coapAddr("udp gate") }
func (s *coapSession) LocalAddr() net.Addr    { return net.UDPAddrFromAddrPort(coapPeer) }
func (s *coapSession) NetConn() net.Conn      { return nil }

// coapAddr is what the address of the bundle is called.
type coapAddr string

func (coapAddr) Network() string  { return "scl" }
func (a coapAddr) String() string { return string(a) }
