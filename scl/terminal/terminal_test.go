package terminal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// echo is a gate.StreamService that sends back what comes, as far as credit goes,
// and grants what it has sent.
type echo struct {
	g    *gate.Stream
	udp  bool
	held map[*scl.Pipe][]byte
	most int // octets held at once
	on   func(p *scl.Pipe, data []byte) bool
}

func (e *echo) Opened(p *scl.Pipe) error {
	e.held[p] = nil
	if e.udp {
		return nil
	}
	return p.Grant(20000)
}

func (e *echo) Data(p *scl.Pipe, data []byte) {
	if e.on != nil && e.on(p, data) {
		return
	}
	if e.udp {
		_ = e.g.Send(p, data)
		return
	}
	e.held[p] = append(e.held[p], data...)
	e.most = max(e.most, len(e.held[p]))
	_ = p.Grant(1) // the message itself
	e.Credit(p, 0)
}

func (e *echo) Credit(p *scl.Pipe, _ int) {
	h := e.held[p]
	if k := min(len(h), p.Credit()-1); k > 0 {
		if e.g.Send(p, h[:k]) == nil {
			e.held[p] = append(h[:0], h[k:]...)
			_ = p.Grant(k)
		}
	}
}

func (e *echo) Closed(p *scl.Pipe, _ byte) { delete(e.held, p) }

// ssp is a network with an SPB that has a TCP and a UDP gate, and a terminal at the
// other end of a link.
type ssp struct {
	n        *scl.Network
	spb      *scl.Host
	tcp, udp *echo
	t        *terminal.Terminal
	adapter  *terminal.Adapter
}

func newSSP(t testing.TB) *ssp {
	s := &ssp{n: scl.NewNetwork(scl.DefaultProfile(), nil)}
	controller, target := transport.Mem()
	s.n.Exclusive(func() { require.NoError(t, gate.Standard(s.n.Controller(), gate.Info{VendorName: "controller"})) })
	s.join(t)
	var err error
	s.adapter, err = terminal.NewAdapter(s.n, target)
	require.NoError(t, err)
	require.NoError(t, s.adapter.Open(context.Background()))
	s.t, err = terminal.Open(context.Background(), controller, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.t.Close())
		require.NoError(t, s.adapter.Close())
	})
	return s
}

// join brings the SPB in.
func (s *ssp) join(t testing.TB) {
	s.n.Exclusive(func() {
		var err error
		p := s.n.Profile()
		s.spb, err = s.n.Register("SPB", [16]byte{7}, p.Host.UICC)
		require.NoError(t, err)
		require.NoError(t, gate.Standard(s.spb, gate.Info{VendorName: "SPB"}))
		s.tcp, s.udp = &echo{held: map[*scl.Pipe][]byte{}}, &echo{udp: true, held: map[*scl.Pipe][]byte{}}
		s.tcp.g, s.udp.g = gate.NewTCP(s.n, s.tcp), gate.NewUDP(s.n, s.udp)
		require.NoError(t, s.spb.Publish(p.Gate.TCP, s.tcp.g))
		require.NoError(t, s.spb.Publish(p.Gate.UDP, s.udp.g))
	})
}

// leave takes the SPB out.
func (s *ssp) leave(t testing.TB) {
	s.n.Exclusive(func() { require.NoError(t, s.n.Deregister(s.spb)) })
}

func (s *ssp) dial(t testing.TB) net.Conn {
	c, err := s.t.DialTCP(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestHosts(t *testing.T) {
	s := newSSP(t)
	hosts, err := s.t.Hosts(context.Background())
	require.NoError(t, err)
	g := s.n.Profile().Gate
	require.Len(t, hosts, 3, "controller, SPB, APDU adapter")
	require.Equal(t, terminal.Host{ID: 0, Vendor: "controller", Gates: []scl.GateID{g.Loopback, g.Identity}}, hosts[0])
	require.Equal(t, s.n.Profile().Host.UICC, hosts[1].ID)
	require.Equal(t, "SPB", hosts[1].Vendor)
	require.Equal(t, []scl.GateID{g.Loopback, g.Identity, g.TCP, g.UDP}, hosts[1].Gates)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.t.Hosts(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenNeedsPackets(t *testing.T) {
	_, err := terminal.Open(context.Background(), blocksOnly{}, nil)
	require.EqualError(t, err, "terminal: link blocks: carries APDUs only, not SCL packets (mem: carries both)")
}

type blocksOnly struct{ transport.Link }

func (blocksOnly) String() string { return "blocks:" }

// TestOpenEnds: nobody waits for a network that says nothing once the context has ended.
func TestOpenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user went away")
		begin := time.Now()
		l := silent{sent: func() { cancel(why) }}
		_, err := terminal.Open(ctx, l, nil)
		require.ErrorIs(t, err, why)
		require.EqualError(t, err, "terminal: link silent:: the user went away")
		require.Zero(t, time.Since(begin))

		_, err = terminal.Open(t.Context(), silent{sent: func() {}}, nil)
		require.ErrorIs(t, err, scl.ErrNoResponse)
		require.Equal(t, scl.ResponseTime, time.Since(begin))
	})
}

// silent is a link to nobody.
type silent struct {
	transport.Link
	sent func()
}

func (silent) String() string                                       { return "silent:" }
func (silent) PacketMTU() int                                       { return 255 }
func (silent) Open(ctx context.Context, r transport.Receiver) error { return nil }
func (silent) Close() error                                         { return nil }
func (l silent) Send(transport.Kind, []byte) error {
	l.sent()
	return nil
}

func TestStream(t *testing.T) {
	s := newSSP(t)
	c := s.dial(t)
	_, err := c.Write([]byte("over pipes"))
	require.NoError(t, err)
	b := make([]byte, 100)
	n, err := c.Read(b[:4])
	require.NoError(t, err)
	require.Equal(t, "over", string(b[:n]))
	n, err = c.Read(b)
	require.NoError(t, err)
	require.Equal(t, " pipes", string(b[:n]))

	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = c.Read(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err = c.Read(b)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = c.Write(b)
	require.ErrorIs(t, err, net.ErrClosed)
	s.n.Exclusive(func() { require.Empty(t, s.tcp.held, "the gate was told") })
}

// TestSlowReader: what nobody reads is held nowhere but within the windows.
func TestSlowReader(t *testing.T) {
	s := newSSP(t)
	c := s.dial(t)
	sent, stopped := 0, false
	for !stopped {
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		n, err := c.Write(make([]byte, 10000))
		sent += n
		stopped = errors.Is(err, os.ErrDeadlineExceeded)
	}
	require.Less(t, sent, 100000)
	s.n.Exclusive(func() { require.LessOrEqual(t, s.tcp.most, 20000) })
	require.NoError(t, c.SetWriteDeadline(time.Time{}))
	got, err := io.ReadAll(io.LimitReader(c, int64(sent)))
	require.NoError(t, err)
	require.Len(t, got, sent)
}

// TestLarge: 10 MiB there and back, by several connections at a time.
func TestLarge(t *testing.T) {
	s := newSSP(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := s.t.DialTCP(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			const size = 10 << 20
			r := rand.New(rand.NewSource(int64(i)))
			in, out := sha256.New(), sha256.New()
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = io.Copy(io.MultiWriter(c, in), io.LimitReader(r, size)) })
			if n, err := io.Copy(out, io.LimitReader(c, size)); err != nil || n != size {
				t.Error(n, err)
			}
			sending.Wait()
			if !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
				t.Error("other octets")
			}
		}()
	}
	wg.Wait()
	s.n.Exclusive(func() { require.LessOrEqual(t, s.tcp.most, 20000) })
}

func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		reason byte
		want   error
	}{{gate.Normal, io.EOF}, {gate.Reset, terminal.ErrReset}, {gate.TimeOut, terminal.ErrTimeout}, {77, terminal.ErrReset}} {
		t.Run(fmt.Sprint(tt.reason), func(t *testing.T) {
			s := newSSP(t)
			c := s.dial(t)
			s.tcp.on = func(p *scl.Pipe, data []byte) bool {
				_ = s.tcp.g.Send(p, data)
				s.tcp.g.End(p, tt.reason)
				return true
			}
			require.NoError(t, func() error { _, err := c.Write([]byte("last")); return err }())
			got := make([]byte, 4)
			_, err := io.ReadFull(c, got)
			require.NoError(t, err, "what was sent before the end arrives")
			_, err = c.Read(got)
			require.ErrorIs(t, err, tt.want)
			_, err = c.Write(got)
			require.Error(t, err)
		})
	}
}

func TestStreamsSwitch(t *testing.T) {
	s := newSSP(t)
	c := s.dial(t)
	d, err := s.t.OpenUDP(context.Background(), func(netip.AddrPort, []byte) {})
	require.NoError(t, err)
	s.leave(t)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, terminal.ErrRemoved)
	<-d.Done()
	require.ErrorIs(t, d.Send(netip.MustParseAddrPort("127.0.0.1:1"), nil), terminal.ErrRemoved)
	_, err = s.t.DialTCP(context.Background())
	require.ErrorIs(t, err, terminal.ErrNoCard)
	s.join(t)
	c2 := s.dial(t)
	_, err = c2.Write([]byte("x"))
	require.NoError(t, err)

	s.leave(t)
	s.n.Exclusive(func() {
		s.spb, err = s.n.Register("SPB", [16]byte{8}, s.n.Profile().Host.UICC)
		require.NoError(t, err)
		require.NoError(t, gate.Standard(s.spb, gate.Info{}))
	})
	_, err = s.t.DialTCP(context.Background())
	require.ErrorIs(t, err, terminal.ErrNoService)
	_, err = s.t.OpenUDP(context.Background(), nil)
	require.ErrorIs(t, err, terminal.ErrNoService)
}

func TestDatagrams(t *testing.T) {
	s := newSSP(t)
	type got struct {
		peer netip.AddrPort
		data string
	}
	var mu sync.Mutex
	var list []got
	d, err := s.t.OpenUDP(context.Background(), func(peer netip.AddrPort, b []byte) {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, got{peer, string(b)})
	})
	require.NoError(t, err)
	var want []got
	for i := range 5000 {
		peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(i))
		if i%2 == 1 {
			peer = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(i))
		}
		data := fmt.Sprint("datagram ", i, string(make([]byte, i%1200)))
		require.NoError(t, d.Send(peer, []byte(data)))
		want = append(want, got{peer, data})
	}
	require.Equal(t, want, list, "credit is granted again")
	require.Error(t, d.Send(netip.AddrPort{}, make([]byte, terminal.MaxDatagram+1)))
	require.NoError(t, d.Close())
	<-d.Done()
}

// TestDropped: sessions that come and go leave nothing behind.
func TestDropped(t *testing.T) {
	s := newSSP(t)
	for range 10000 {
		c, err := s.t.DialTCP(context.Background())
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	s.n.Exclusive(func() { require.Empty(t, s.tcp.held) })
	var open []net.Conn
	for {
		c, err := s.t.DialTCP(context.Background())
		if err != nil {
			require.ErrorIs(t, err, scl.ErrNoPipesAvailable)
			break
		}
		open = append(open, c)
	}
	require.Greater(t, len(open), 90)
	for _, c := range open {
		require.NoError(t, c.Close())
	}
	s.dial(t)
}

func TestTerminalCloses(t *testing.T) {
	s := newSSP(t)
	c := s.dial(t)
	require.NoError(t, s.t.Close())
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = s.t.DialTCP(context.Background())
	require.Error(t, err)
	s.n.Exclusive(func() { require.Len(t, s.n.Hosts(), 2) })
}

func BenchmarkStream(b *testing.B) {
	s := newSSP(b)
	c := s.dial(b)
	p := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, p); err != nil {
			b.Fatal(err)
		}
	}
}
