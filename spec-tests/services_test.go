package spectests_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
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
	"github.com/sspemu/sspemu/spec-tests/testdata/services"
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
	overTCP := proxy.NewHTTP(s.terminal(tb).HTTP())
	run(tb, func(ctx context.Context) error { return overTCP.Serve(ctx, ln) })
	conn, err := net.ListenUDP("udp", loopback())
	require.NoError(tb, err)
	s.coap = conn.LocalAddr().String()
	overUDP := proxy.NewCoAP(s.terminal(tb))
	run(tb, func(ctx context.Context) error { return overUDP.Serve(ctx, conn) })
	return s
}

// link is the controller end of one more link.
func (s *served) link(tb testing.TB) transport.Link {
	controller, target := transport.Mem()
	s.attach(tb, target)
	return controller
}

// attach joins the target end of a link to the platform.
func (s *served) attach(tb testing.TB, target transport.Link) {
	a, err := terminal.NewAdapter(s.network, target)
	require.NoError(tb, err)
	require.NoError(tb, a.Open(context.Background()))
	tb.Cleanup(func() { require.NoError(tb, a.Close()) })
}

// terminal is one more terminal host, at a link of its own.
func (s *served) terminal(tb testing.TB) *terminal.Terminal {
	t, err := terminal.Open(context.Background(), s.link(tb), nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, t.Close()) })
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

// get asks for /hello by HTTP and by CoAP, each with a client of its own.
func (s *served) get(tb testing.TB, why string) {
	tb.Helper()
	s.getHTTP(tb, why)
	s.getCoAP(tb, why)
}

func (s *served) getHTTP(tb testing.TB, why string) {
	tb.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	var b []byte
	for range 5 { // the bundle may have given the place of the connection away before its request came
		resp, err := c.Get("http://" + s.http + "/hello")
		require.NoError(tb, err, why)
		b, err = io.ReadAll(resp.Body)
		require.NoError(tb, err, why)
		require.NoError(tb, resp.Body.Close())
		if resp.StatusCode < 500 {
			break
		}
	}
	require.Equal(tb, services.Hello, string(b), why)
}

func (s *served) getCoAP(tb testing.TB, why string) {
	tb.Helper()
	l := dialCoAP(tb, s.coap)
	defer l.Close()
	var b []byte
	for range 5 { // a flood before may have cost this datagram, too
		if b = l.ask(tb, "42017D340102"+uriHello, 2*time.Second); b != nil {
			break
		}
	}
	require.Contains(tb, string(b), services.Hello, why)
}

// uriHello is the option Uri-Path of /hello when it is the first option.
const uriHello = "B568656C6C6F"

// coapLine is a socket to a CoAP server.
type coapLine struct{ *net.UDPConn }

func dialCoAP(tb testing.TB, addr string) coapLine {
	conn, err := net.Dial("udp", addr)
	require.NoError(tb, err)
	return coapLine{conn.(*net.UDPConn)}
}

// ask sends a datagram in hexadecimal and gives the next one that comes, nil when
// none does within d.
func (l coapLine) ask(tb testing.TB, datagram string, d time.Duration) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(datagram, " ", ""))
	require.NoError(tb, err)
	_, err = l.Write(b)
	require.NoError(tb, err)
	in := make([]byte, 2000)
	require.NoError(tb, l.SetReadDeadline(time.Now().Add(d)))
	n, err := l.Read(in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	require.NoError(tb, err)
	return in[:n]
}

var statusLine = regexp.MustCompile(`HTTP/1\.1 \d{3} `)

// TestBadHTTP: requests that are malformed, or much too long, are refused by the
// bundle at its gate and by the proxy in front of it, and the connection ends, so
// that nothing behind them is taken for a request.
func TestBadHTTP(t *testing.T) {
	s := serveServices(t, vm.Limits{})
	term := s.terminal(t)
	big := strings.Repeat("x", 1<<20)
	before := resident(t)
	for _, tc := range []struct {
		name, request string
		status        []int // one of them
	}{
		{"Content-Length twice", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", []int{400}},
		{"Content-Length is a list", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello", []int{400}},
		{"Content-Length is negative", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", []int{400}},
		{"an unknown transfer coding", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\n\r\n", []int{400, 501}},
		{"a chunk without a size", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", nil},
		{"a chunk longer than its size", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", nil},
		{"a chunk of 2^64 octets", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhello\r\n", nil},
		{"a field of 1 MiB", "GET /hello HTTP/1.1\r\nHost: a\r\nX: " + big + "\r\n\r\n", []int{431}},
		{"a request line of 1 MiB", "GET /" + big + " HTTP/1.1\r\nHost: a\r\n\r\n", []int{414, 431}},
		{"10,000 fields", "GET /hello HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("Xxxxxxxx: y\r\n", 10000) + "\r\n", []int{431}},
		{"no Host", "GET /hello HTTP/1.1\r\n\r\n", []int{400}},
		{"Host twice", "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", []int{400}},
		{"a space before the colon", "GET /hello HTTP/1.1\r\nHost : a\r\n\r\n", []int{400}},
		{"a field name of octets that are none", "GET /hello HTTP/1.1\r\nHost: a\r\nX\x00Y: b\r\n\r\n", []int{400}},
		{"HTTP/3.9", "GET /hello HTTP/3.9\r\nHost: a\r\n\r\n", []int{400, 505}},
		{"what is no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03\r\n\r\n", []int{400}},
	} {
		for at, dial := range map[string]func() (net.Conn, error){
			"the gate":  func() (net.Conn, error) { return term.DialTCP(context.Background()) },
			"the proxy": func() (net.Conn, error) { return net.Dial("tcp", s.http) },
		} {
			t.Run(tc.name+" at "+at, func(t *testing.T) {
				conn, err := dial()
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
				// What comes behind must not be answered.
				smuggled := "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
				go func() { _, _ = io.WriteString(conn, tc.request+smuggled) }() // the other end may have closed
				b, err := io.ReadAll(conn)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection stays open: %q", b)
				require.LessOrEqual(t, len(statusLine.FindAll(b, -1)), 1, "%q", b)
				if len(b) == 0 && at == "the proxy" {
					return // it closed on what was still coming, and the answer was lost
				}
				resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
				if tc.status == nil { // the answer may have begun before the chunk was there
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
					}
					require.True(t, err != nil || resp.StatusCode == 400, "%q", b)
					return
				}
				require.NoError(t, err, "%q", b)
				require.Contains(t, tc.status, resp.StatusCode, "%q", b)
			})
			s.get(t, tc.name)
		}
	}
	require.Less(t, resident(t)-before, 100.0, "MiB")
}

// TestBadCoAP: datagrams that are malformed get a Reset, an error or nothing.
func TestBadCoAP(t *testing.T) {
	s := serveServices(t, vm.Limits{})
	l := dialCoAP(t, s.coap)
	defer l.Close()
	const reset, none = "70", ""
	for i, tc := range []struct{ name, datagram, want string }{
		{"token of 15 octets", "4F01 000F 000102030405060708090A0B0C0D0E", reset},
		{"token of 9 octets", "4901 000F 000102030405060708", reset},
		{"token cut", "4801 000F 0001", reset},
		{"option delta 15", "4001 000F F0", reset},
		{"option length 15", "4001 000F BF", reset},
		{"option longer than the message", "4001 000F BD FF 68", reset},
		{"option number beyond 65535", "4001 000F E0FFFF E0FFFF", reset},
		{"options by the hundred", "4001 000F" + strings.Repeat("01 61", 300), reset + "|60"},
		{"payload marker without payload", "4001 000F FF", reset},
		{"Empty with a payload", "4000 000F FF 61", reset},
		{"Empty with a token", "4100 000F 61", reset},
		{"unknown critical option", "4001 000F D1 8C 00 ", "6082"},
		{"Block2 of 5 octets", "4001 000F" + uriHello + "C5 0000000000", "6080|6082"},
		{"Block2 of size 7", "4001 000F" + uriHello + "C1 07", "6080|6082"},
		{"Block1 cut", "4002 000F B5 636F756E74 D3 03 00", reset},
		{"Block1 without its beginning", "4002 000F B5 636F756E74 D1 03 16 FF 61", "6088"},
		{"unknown method", "401F 000F", "6085"},
		{"response that nobody waits for", "4045 000F FF 61", reset},
		{"reserved class", "4021 000F", reset},
		{"version 2", "8001 000F", none},
		{"three octets", "400100", none},
		{"no octets", "", none},
		{"NON that is malformed", "5001 000F FF", none},
	} {
		t.Run(tc.name, func(t *testing.T) {
			datagram := strings.Replace(tc.datagram, "000F", fmt.Sprintf("%04X", 0x0F00+i), 1)
			var got string
			if tc.want == none { // then the answer to a ping is the next that comes
				b, err := hex.DecodeString(strings.ReplaceAll(datagram, " ", ""))
				require.NoError(t, err)
				_, err = l.Write(b)
				require.NoError(t, err)
				require.Equal(t, []byte{0x70, 0, 0xEE, byte(i)}, l.ask(t, fmt.Sprintf("4000EE%02X", i), 10*time.Second))
			} else {
				got = hex.EncodeToString(l.ask(t, datagram, 10*time.Second))
				ok := false
				for want := range strings.SplitSeq(tc.want, "|") {
					ok = ok || strings.HasPrefix(got, want)
				}
				require.True(t, ok, "the answer is %q, expected %s", got, tc.want)
			}
			s.get(t, tc.name)
		})
	}
}

// TestBadBundle: a bundle that faults, takes all memory or does not end a call
// harms itself: its connections end, clients are told why, and the next of them are
// served. A panic of an http.Handler costs one request, as in net/http; that of a
// CoAP resource is a fault.
func TestBadBundle(t *testing.T) {
	s := serveServices(t, vm.Limits{Call: time.Second})
	before := resident(t)
	for _, tc := range []struct {
		path   string
		status int
		coap   string
		goes   bool // another connection that is served goes on
	}{
		{"/panic", 500, "60A2", true},
		{"/spin", 504, "60A4", false},
		{"/eat", 502, "60A2", false},
		{"/panic", 500, "60A2", true},
	} {
		t.Run(tc.path, func(t *testing.T) {
			const n = 8 << 20 // more than what fits between the bundle and a reader that does not read
			other, err := http.Get(fmt.Sprintf("http://%s/bytes?n=%d", s.http, n))
			require.NoError(t, err)
			defer other.Body.Close()
			resp, err := http.Get("http://" + s.http + tc.path)
			require.NoError(t, err)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, tc.status, resp.StatusCode, "%s", b)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), "%s", b)
			got, err := io.Copy(io.Discard, other.Body)
			if tc.goes {
				require.NoError(t, err)
				require.EqualValues(t, n, got)
			} else {
				require.Error(t, err, "half an answer is taken for a whole one")
			}
			s.get(t, tc.path+" by HTTP")

			l := dialCoAP(t, s.coap)
			defer l.Close()
			b = l.ask(t, fmt.Sprintf("40017001 B%X%X", len(tc.path)-1, tc.path[1:]), 10*time.Second)
			require.Equal(t, strings.ToLower(tc.coap), hex.EncodeToString(b[:2]), "%X", b)
			s.get(t, tc.path+" by CoAP")
		})
	}
	require.Less(t, resident(t)-before, 200.0, "MiB")
}

// stranger is a terminal host that keeps to no rules: a domain that is registered,
// and the link on which any packet can go.
type stranger struct {
	transport.Link
	d *scl.Domain
}

// Frame takes what comes (transport.Receiver).
func (s *stranger) Frame(k transport.Kind, p []byte) {
	if k == transport.Packet {
		s.d.Packet(p)
	}
}

func (s *served) stranger(tb testing.TB) *stranger {
	x := &stranger{Link: s.link(tb)}
	x.d = scl.NewDomain(scl.DefaultProfile(), "stranger", uuid.New(), 1024, func(p []byte) { _ = x.Send(transport.Packet, p) })
	require.NoError(tb, x.Open(context.Background(), x))
	tb.Cleanup(func() { _ = x.Close() })
	x.d.Lock()
	defer x.d.Unlock()
	require.NoError(tb, x.d.Register())
	return x
}

// bind opens a pipe to a gate of the active SPB.
func (x *stranger) bind(tb testing.TB, gate scl.GateID) byte {
	x.d.Lock()
	defer x.d.Unlock()
	p, err := x.d.Host().Bind(scl.DefaultProfile().Host.UICC, gate, nil)
	require.NoError(tb, err)
	return byte(p.ID())
}

// TestFlood: a terminal, or its clients, send more than anybody can use, and nothing
// of what they have to. Others are served while it lasts and afterwards, and memory
// stays bounded.
func TestFlood(t *testing.T) {
	s := serveServices(t, vm.Limits{})
	p := scl.DefaultProfile()
	event := func(pipe, instruction byte, n int) []byte {
		return append([]byte{0x80 | pipe, 0x40 | instruction}, make([]byte, n)...)
	}
	for _, tc := range []struct {
		name  string
		flood func(t *testing.T, stop <-chan struct{})
	}{
		{"packets of a host that is not registered", func(t *testing.T, stop <-chan struct{}) {
			l := s.link(t)
			require.NoError(t, l.Open(context.Background(), &stranger{d: scl.NewDomain(p, "", uuid.New(), 1024, func([]byte) {})}))
			t.Cleanup(func() { _ = l.Close() })
			until(stop, func() { _ = l.Send(transport.Packet, []byte{0x81, 0x11, 0, 2, 0x31}) })
		}},
		{"packets on pipes that are not there", func(t *testing.T, stop <-chan struct{}) {
			x := s.stranger(t)
			pipe := byte(0)
			until(stop, func() { _ = x.Send(transport.Packet, event(pipe&0x7F, 0x10, 100)); pipe++ })
		}},
		{"data without credit", func(t *testing.T, stop <-chan struct{}) {
			x := s.stranger(t)
			until(stop, func() {
				pipe := x.bind(t, p.Gate.TCP)
				for range 100 {
					_ = x.Send(transport.Packet, event(pipe, p.Event.TCPData, 1000))
				}
			})
		}},
		{"a message that does not end", func(t *testing.T, stop <-chan struct{}) {
			x := s.stranger(t)
			b := event(x.bind(t, p.Gate.Loopback), p.Event.PostData, 1000)
			b[0] &^= 0x80
			until(stop, func() { _ = x.Send(transport.Packet, b) })
		}},
		{"loopback of what is never read", func(t *testing.T, stop <-chan struct{}) {
			x := s.stranger(t)
			b := event(x.bind(t, p.Gate.Loopback), p.Event.PostData, 1000)
			until(stop, func() { _ = x.Send(transport.Packet, b) })
		}},
		{"pipes opened and dropped", func(t *testing.T, stop <-chan struct{}) {
			term := s.terminal(t)
			until(stop, func() {
				conn, err := term.DialTCP(context.Background())
				require.NoError(t, err)
				_, _ = io.WriteString(conn, "GET /bytes?n=1000000 HT")
				require.NoError(t, conn.Close())
			})
		}},
		{"connections that are kept", func(t *testing.T, stop <-chan struct{}) {
			term := s.terminal(t)
			var all []net.Conn
			defer func() {
				for _, c := range all {
					require.NoError(t, c.Close())
				}
			}()
			until(stop, func() {
				if conn, err := term.DialTCP(context.Background()); err == nil && len(all) < 1000 {
					all = append(all, conn)
				}
			})
			require.Greater(t, len(all), 64)
		}},
		{"clients that do not read", func(t *testing.T, stop <-chan struct{}) {
			for range 10 { // of the 32 connections of a proxy
				conn, err := net.Dial("tcp", s.http)
				require.NoError(t, err)
				defer conn.Close()
				_, err = io.WriteString(conn, "GET /bytes?n=100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
				require.NoError(t, err)
			}
			<-stop
		}},
		{"datagrams", func(t *testing.T, stop <-chan struct{}) {
			l := dialCoAP(t, s.coap)
			defer l.Close()
			id := 0
			until(stop, func() {
				_, _ = l.Write([]byte{0x40, 1, byte(id >> 8), byte(id)})
				id++
			})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := resident(t)
			stop := make(chan struct{})
			var flood sync.WaitGroup
			flood.Go(func() { tc.flood(t, stop) })
			for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
				s.getHTTP(t, "while it lasts")
				if tc.name != "datagrams" { // of which the socket of the proxy loses anybody's
					s.getCoAP(t, "while it lasts")
				}
			}
			more := resident(t) - before
			close(stop)
			flood.Wait()
			s.get(t, "afterwards")
			t.Logf("%.1f MiB more while it lasted", more)
			require.Less(t, more, 100.0, "MiB")
		})
	}
}

// TestClientsLeave: clients that go in the middle of an answer harm nobody.
func TestClientsLeave(t *testing.T) {
	s := serveServices(t, vm.Limits{})
	for i := range 200 {
		resp, err := http.Get(fmt.Sprintf("http://%s/bytes?n=1000000", s.http))
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, resp.Body, int64(i*100))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	s.get(t, "afterwards")
}

// TestLongBody: a body is passed on as it comes, however long it is.
func TestLongBody(t *testing.T) {
	const n = 200 << 20
	s := serveServices(t, vm.Limits{})
	s.get(t, "before")
	before := resident(t)
	resp, err := http.Get(fmt.Sprintf("http://%s/bytes?n=%d", s.http, n))
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.CopyN(io.Discard, resp.Body, n-1)
	require.NoError(t, err)
	require.Less(t, resident(t)-before, 30.0, "MiB")
	up, err := http.Post("http://"+s.http+"/echo", "application/octet-stream", io.LimitReader(zeros{}, n))
	require.NoError(t, err)
	defer up.Body.Close()
	_, err = io.CopyN(io.Discard, up.Body, n-1)
	require.NoError(t, err)
	require.Less(t, resident(t)-before, 30.0, "MiB")
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// until repeats f until stop is closed.
func until(stop <-chan struct{}, f func()) {
	for {
		select {
		case <-stop:
			return
		default:
			f()
		}
	}
}
