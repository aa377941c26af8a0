package spectests_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/scl/terminal/proxy"
	"github.com/sspemu/sspemu/transport"
)

// served is a platform in memory with the bundle of testdata/services, active, and
// proxies on ports of this host.
//
//	client ── TCP, UDP ── proxy ── terminal ══ mem: ══ SCL ── platform ── bundle
type served struct {
	platform   *primary.Platform
	network    *scl.Network
	http, coap string // HOST:PORT
}

var servicesBundle = sync.OnceValues(func() ([]byte, error) { return loader.Build("testdata/services") })

func serveServices(tb testing.TB, limits vm.Limits) *served {
	spb, err := servicesBundle()
	require.NoError(tb, err)
	engine, err := vm.New(vm.Config{CacheDir: cacheDir(tb)})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = engine.Close() })
	s := &served{network: scl.NewNetwork(scl.DefaultProfile(), nil)}
	s.platform, err = primary.New(context.Background(), primary.Config{
		State: nvm.OpenMemory(nvm.Options{}), Engine: engine, Network: s.network, Active: "services", Limits: limits,
		Builtins: []primary.Builtin{{Name: "services", Enabled: true, Open: func() ([]byte, error) { return spb, nil }}},
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.platform.Close()) })

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	s.http = ln.Addr().String()
	run(tb, func(ctx context.Context) error { return proxy.NewHTTP(s.terminal(tb).HTTP()).Serve(ctx, ln) })
	conn, err := net.ListenUDP("udp", loopback())
	require.NoError(tb, err)
	s.coap = conn.LocalAddr().String()
	run(tb, func(ctx context.Context) error { return proxy.NewCoAP(s.terminal(tb)).Serve(ctx, conn) })
	return s
}

// terminal is one more terminal host, at a link of its own.
func (s *served) terminal(tb testing.TB) *terminal.Terminal {
	controller, target := transport.Mem()
	a, err := terminal.NewAdapter(s.network, target)
	require.NoError(tb, err)
	require.NoError(tb, a.Open(context.Background()))
	t, err := terminal.Open(context.Background(), controller, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, t.Close())
		require.NoError(tb, a.Close())
	})
	return t
}

// run runs f until the test ends.
func run(tb testing.TB, f func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	tb.Cleanup(func() {
		cancel()
		require.NoError(tb, <-ended)
	})
}

func loopback() *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// resident is the memory of this process in MiB, when what is free has been given
// back.
func resident(tb testing.TB) float64 {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(tb, err)
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(kb)[0])
			require.NoError(tb, err)
			return float64(n) / 1024
		}
	}
	tb.Skip("the system does not tell how much memory a process has")
	return 0
}

// observer is a CoAP client that observes /count (RFC 7641), a socket of its own.
type observer struct {
	conn  *net.UDPConn
	index int
}

// heard is a notification: what observer index was told.
type heard struct {
	index, value int
	err          error
}

// observeCount has n clients observe /count. What they are told, the first answer
// too, comes on the channel.
func (s *served) observeCount(tb testing.TB, n int) <-chan heard {
	told := make(chan heard, 2*n)
	var running sync.WaitGroup
	var all []*observer
	tb.Cleanup(func() {
		for _, o := range all {
			_ = o.conn.Close()
		}
		running.Wait()
	})
	for i := range n {
		conn, err := net.Dial("udp", s.coap)
		require.NoError(tb, err)
		o := &observer{conn.(*net.UDPConn), i}
		all = append(all, o)
		running.Go(func() { o.listen(told) })
		// CON GET /count, Observe 0, message ID and token of i.
		_, err = conn.Write(append([]byte{0x42, byte(codes.GET), byte(i >> 8), byte(i), byte(i >> 8), byte(i), 0x60, 0x55}, "count"...))
		require.NoError(tb, err)
		if h := hear(tb, told); h.index != i {
			tb.Fatalf("observer %d was told %d while %d registered", h.index, h.value, i)
		}
	}
	return told
}

// hear waits for the next notification.
func hear(tb testing.TB, told <-chan heard) (h heard) {
	select {
	case h = <-told:
		require.NoError(tb, h.err, "observer %d", h.index)
	case <-time.After(20 * time.Second):
		tb.Fatal("no notification came for 20 s")
	}
	return h
}

// listen acknowledges and passes on what comes.
func (o *observer) listen(told chan<- heard) {
	in := make([]byte, 1500)
	for {
		n, err := o.conn.Read(in)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		h := heard{index: o.index, err: err}
		if err == nil {
			h.value, h.err = o.take(in[:n])
		}
		told <- h
		if h.err != nil {
			return
		}
	}
}

func (o *observer) take(b []byte) (value int, err error) {
	m := message.Message{Options: make(message.Options, 0, 8)}
	if _, err := coder.DefaultCoder.Decode(b, &m); err != nil {
		return 0, err
	}
	if _, err := m.Options.Observe(); err != nil || m.Code != codes.Content || !bytes.Equal(m.Token, []byte{byte(o.index >> 8), byte(o.index)}) {
		return 0, fmt.Errorf("it was told %X", b)
	}
	if m.Type == message.Confirmable {
		if _, err := o.conn.Write([]byte{0x60, 0, b[2], b[3]}); err != nil {
			return 0, err
		}
	}
	return strconv.Atoi(string(m.Payload))
}

// change changes /count by HTTP and waits until each of n observers was told so.
func (s *served) change(tb testing.TB, told <-chan heard, n int) {
	resp, err := http.Post("http://"+s.http+"/count", "", nil)
	require.NoError(tb, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(tb, err)
	require.NoError(tb, resp.Body.Close())
	want, err := strconv.Atoi(string(b))
	require.NoError(tb, err)
	who := make([]bool, n)
	for range n {
		h := hear(tb, told)
		if h.value != want || who[h.index] {
			tb.Fatalf("observer %d was told %d (before: %t) when the count had become %d", h.index, h.value, who[h.index], want)
		}
		who[h.index] = true
	}
}

// TestObservers: each of a thousand clients is told of each change, once, and the
// bundle and its host stay small.
func TestObservers(t *testing.T) {
	const n, changes = 1000, 20 // every sixteenth notification is confirmable
	s := serveServices(t, vm.Limits{})
	before := resident(t)
	told := s.observeCount(t, n)
	for range changes {
		s.change(t, told, n)
	}
	more := resident(t) - before
	t.Logf("%d observers, %d notifications each: %.1f MiB more", n, changes, more)
	require.Less(t, more, 100.0, "MiB, of which the clients' own sockets and goroutines are a part")
	require.Empty(t, told)
}
