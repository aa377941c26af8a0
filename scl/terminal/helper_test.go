package terminal_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// card is an APDUService: it answers with the command and 9000, or with what do
// gives.
type card struct {
	name  byte
	out   []byte
	colds int
	warms int
	do    func(in []byte) []byte
	noATR bool
}

func (c *card) APDU(in []byte) []byte {
	if c.do != nil {
		return c.do(in)
	}
	c.out = append(append(c.out[:0], in...), 0x90, 0x00)
	return c.out
}

func (c *card) Reset(cold bool) {
	if cold {
		c.colds++
	} else {
		c.warms++
	}
}

func (c *card) ATR() []byte {
	if c.noATR {
		return nil
	}
	return []byte{0x3B, 0x01, c.name}
}

// platform is what stands for the primary platform: a network on which one SPB
// at a time is active.
type platform struct {
	n   *scl.Network
	spb *scl.Host
}

func newPlatform(tr *trace.Tracer) *platform {
	return &platform{n: scl.NewNetwork(scl.DefaultProfile(), tr)}
}

// activate makes c the active SPB; nil for none. It wants the lock.
func (p *platform) activate(tb testing.TB, c *card) {
	if p.spb != nil {
		require.NoError(tb, p.n.Deregister(p.spb))
		p.spb = nil
	}
	if c == nil {
		return
	}
	h, err := p.n.Register("SPB", [16]byte{0x5B, c.name}, p.n.Profile().Host.UICC)
	require.NoError(tb, err)
	require.NoError(tb, gate.Standard(h, gate.Info{}))
	require.NoError(tb, h.Publish(p.n.Profile().Gate.UICCAPDU, gate.NewAPDU(p.n, c)))
	p.spb = h
}

func (p *platform) Activate(tb testing.TB, c *card) { p.n.Exclusive(func() { p.activate(tb, c) }) }

// seen collects what a Client or a bare receiver was told.
type seen struct {
	mu     sync.Mutex
	kinds  []transport.Kind
	frames [][]byte
}

func (s *seen) Frame(k transport.Kind, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds = append(s.kinds, k)
	s.frames = append(s.frames, bytes.Clone(p))
}

// take returns what came since the last take.
func (s *seen) take() []transport.Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kinds
	s.kinds, s.frames = nil, nil
	return k
}

// join puts an adapter and a client at the two ends of a mem: link.
func join(tb testing.TB, p *platform) (*terminal.Adapter, *terminal.Client) {
	controller, target := transport.Mem()
	a, err := terminal.NewAdapter(p.n, target)
	require.NoError(tb, err)
	require.NoError(tb, a.Open(tb.Context()))
	c := terminal.NewClient(controller)
	require.NoError(tb, c.Open(tb.Context()))
	tb.Cleanup(func() {
		require.NoError(tb, a.Close())
		require.NoError(tb, c.Close())
	})
	return a, c
}

// bare puts an adapter and a plain receiver at the two ends of a mem: link.
func bare(tb testing.TB, p *platform) (transport.Link, *seen) {
	controller, target := transport.Mem()
	a, err := terminal.NewAdapter(p.n, target)
	require.NoError(tb, err)
	require.NoError(tb, a.Open(tb.Context()))
	s := &seen{}
	require.NoError(tb, controller.Open(tb.Context(), s))
	tb.Cleanup(func() { require.NoError(tb, a.Close()) })
	s.take()
	return controller, s
}

func newGate(p *platform, c *card) scl.Gate { return gate.NewAPDU(p.n, c) }
