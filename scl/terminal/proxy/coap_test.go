package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/scl/terminal/proxy"
	"github.com/sspemu/sspemu/transport"
)

// coapApp is a bundle that serves CoAP.
type coapApp struct {
	*coap.Server
	do func()
}

func (*coapApp) Personalise(*sdk.Doc) error                { return nil }
func (*coapApp) Init(sdk.Reason) error                     { return nil }
func (*coapApp) Signal(sdk.Signal)                         {}
func (a *coapApp) Gates() sdk.Gates                        { return sdk.Gates{UDP: a.Server} }
func (a *coapApp) APDU(*sdk.Command, *sdk.Response) sdk.SW { a.do(); return sdk.OK }

// coapSSP is a network with a terminal, in which an SPB serves CoAP once it joined.
type coapSSP struct {
	t        testing.TB
	n        *scl.Network
	terminal *terminal.Terminal

	// Guarded by the network.
	spb   *scl.Host
	udp   *gate.Stream
	app   *coapApp
	card  *sdktest.Card
	pipes map[*scl.Pipe]*sdktest.Pipe
	fault byte // reason with which the next datagram ends the session
}

func newCoAPSSP(t testing.TB) *coapSSP {
	s := &coapSSP{t: t, n: scl.NewNetwork(scl.DefaultProfile(), nil)}
	controller, target := transport.Mem()
	s.n.Exclusive(func() { require.NoError(t, gate.Standard(s.n.Controller(), gate.Info{VendorName: "controller"})) })
	adapter, err := terminal.NewAdapter(s.n, target)
	require.NoError(t, err)
	require.NoError(t, adapter.Open(context.Background()))
	s.terminal, err = terminal.Open(context.Background(), controller, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.terminal.Close())
		require.NoError(t, adapter.Close())
	})
	return s
}

// leaves is a fault that is none: another bundle becomes active.
const leaves = 99

// join brings an SPB in, with a UDP gate if there is a server.
func (s *coapSSP) join(server *coap.Server) {
	s.n.Exclusive(func() {
		p := s.n.Profile()
		var err error
		s.spb, err = s.n.Register("SPB", [16]byte{7}, p.Host.UICC)
		require.NoError(s.t, err)
		require.NoError(s.t, gate.Standard(s.spb, gate.Info{VendorName: "SPB"}))
		if server == nil {
			return
		}
		s.udp, s.pipes, s.app = gate.NewUDP(s.n, s), map[*scl.Pipe]*sdktest.Pipe{}, &coapApp{Server: server}
		require.NoError(s.t, s.spb.Publish(p.Gate.UDP, s.udp))
		s.card = sdktest.New(s.t, func() sdk.App { return s.app })
		s.card.PowerOn()
	})
}

// leave takes the SPB out.
func (s *coapSSP) leave() { s.n.Exclusive(func() { require.NoError(s.t, s.n.Deregister(s.spb)) }) }

// Opened makes a coapSSP the gate.StreamService of its SPB.
func (s *coapSSP) Opened(p *scl.Pipe) (err error) {
	s.pipes[p], err = s.card.Open(sdk.GateUDP, uint32(len(s.pipes)+1), 1<<40)
	return err
}

func (s *coapSSP) Data(p *scl.Pipe, data []byte) {
	if f := s.fault; f > 0 {
		s.fault = 0
		if f == leaves {
			require.NoError(s.t, s.n.Deregister(s.spb))
		} else {
			s.udp.End(p, f)
		}
		return
	}
	s.pipes[p].Send(data)
	s.pass()
}

func (s *coapSSP) Credit(*scl.Pipe, int) {}

func (s *coapSSP) Closed(p *scl.Pipe, reason byte) { require.NoError(s.t, s.pipes[p].Close(reason)) }

// pass takes what the bundle sent to the network.
func (s *coapSSP) pass() {
	for p, pipe := range s.pipes {
		for _, out := range pipe.Out {
			require.NoError(s.t, s.udp.Send(p, out))
		}
		pipe.Out = pipe.Out[:0]
	}
}

// during runs f in a call into the bundle.
func (s *coapSSP) during(f func()) {
	s.n.Exclusive(func() {
		s.app.do = f
		require.Equal(s.t, "9000", s.card.Transmit("00000000"))
		s.pass()
	})
}

// serve is a proxy.CoAP on a port of its own.
func (s *coapSSP) serve() *net.UDPAddr {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(s.t, err)
	s.run(func(ctx context.Context) error { return proxy.NewCoAP(s.terminal).Serve(ctx, conn) })
	return conn.LocalAddr().(*net.UDPAddr)
}

func (s *coapSSP) serveDTLS(conf proxy.DTLS) *net.UDPAddr {
	ln, err := proxy.ListenDTLS(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, conf)
	require.NoError(s.t, err)
	s.run(func(ctx context.Context) error { return proxy.NewCoAP(s.terminal).ServeDTLS(ctx, ln) })
	return ln.Addr().(*net.UDPAddr)
}

func (s *coapSSP) run(serve func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- serve(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		require.NoError(s.t, <-ended)
	})
}

// store is a server with one resource, which can be observed.
func store(value string) *coap.Server {
	s := coap.New()
	s.Handle("store", coap.Resource{
		Get: func(_ *coap.Request, w *coap.Response) { w.Text(value) },
		Put: func(r *coap.Request, _ *coap.Response) {
			value = string(r.Payload)
			s.Notify("store")
		},
		Observable: true,
	})
	return s
}

func body(t testing.TB, m *pool.Message, err error) string {
	t.Helper()
	require.NoError(t, err)
	b, err := m.ReadBody()
	require.NoError(t, err)
	return string(b)
}

func within10s(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestCoAPRelay: a client that knows nothing of cards gets, puts and observes.
func TestCoAPRelay(t *testing.T) {
	s := newCoAPSSP(t)
	s.join(store("one"))
	addr := s.serve().String()
	ctx := within10s(t)
	one, err := udp.Dial(addr)
	require.NoError(t, err)
	defer one.Close()
	other, err := udp.Dial(addr)
	require.NoError(t, err)
	defer other.Close()

	m, err := one.Get(ctx, "/store")
	require.Equal(t, "one", body(t, m, err))
	require.NoError(t, one.Ping(ctx))
	changes := make(chan string, 5)
	_, err = one.Observe(ctx, "/store", func(m *pool.Message) { changes <- body(t, m, nil) })
	require.NoError(t, err)
	require.Equal(t, "one", <-changes)
	long := strings.Repeat("0123456789abcdef", 1000)
	m, err = other.Put(ctx, "/store", message.TextPlain, strings.NewReader(long))
	require.NoError(t, err)
	require.Equal(t, codes.Changed, m.Code())
	require.Equal(t, long, <-changes)
	m, err = other.Get(ctx, "/store")
	require.Equal(t, long, body(t, m, err))
	s.during(func() { // nobody asks: a notification by itself
		s.app.Handle("store", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.Text("two") }, Observable: true})
		s.app.Notify("store")
	})
	require.Equal(t, "two", <-changes)
}

// TestCoAPNobody: what the proxy itself says, in octets, and that it finds the
// bundle that comes.
func TestCoAPNobody(t *testing.T) {
	s := newCoAPSSP(t)
	conn, err := net.DialUDP("udp", nil, s.serve())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	tell := func(datagram string) {
		b, err := hex.DecodeString(strings.ReplaceAll(datagram, " ", ""))
		require.NoError(t, err)
		_, err = conn.Write(b)
		require.NoError(t, err)
	}
	hear := func() string {
		in := make([]byte, 2000)
		n, err := conn.Read(in)
		require.NoError(t, err)
		head, text, _ := bytes.Cut(in[:n], []byte{0xFF})
		if head[0]>>4 == 5 {
			head[2], head[3] = 0, 0 // the message ID of a NON response
		}
		return strings.TrimSpace(hex.EncodeToString(head) + " " + string(text))
	}
	breaks := func(fault byte) func() { return func() { s.n.Exclusive(func() { s.fault = fault }) } }
	const path = "b573746f7265" // store
	for _, step := range []struct {
		do         func()
		ask, heard string
	}{
		{nil, "42010001 0107" + path, "62a300010107d10101 sspemu: no bundle is active"},
		{nil, "52010001 0107" + path, "52a300000107d10101 sspemu: no bundle is active"},
		{nil, "40030002", "60a30002d10101 sspemu: no bundle is active"},
		{nil, "40000003", "70000003"},
		{nil, "49010004 010203040506070809", "70000004"},
		{nil, "48010005 0102", "70000005"},
		{nil, "40450006", "70000006"},
		{func() { s.join(nil) }, "42010007 0107" + path, "62a300070107 sspemu: the active bundle does not serve CoAP"},
		{func() { s.leave(); s.join(store("one")) }, "42010008 0107" + path, "624500080107c0 one"},
		{func() { s.leave(); s.join(store("two")) }, "42010009 0107" + path, "624500090107c0 two"},
		{breaks(1), "4201000a 0107" + path, "62a2000a0107 sspemu: the bundle broke off, see the log"},
		{nil, "4201000a 0107" + path, "62a2000a0107 sspemu: the bundle broke off, see the log"}, // is not tried again
		{nil, "4201000b 0107" + path, "6245000b0107c0 two"},
		{breaks(2), "4201000c 0107" + path, "62a4000c0107 sspemu: the bundle ran over its time"},
		{nil, "4201000d 0107" + path, "6245000d0107c0 two"},
		{breaks(leaves), "4201000e 0107" + path, "62a3000e0107d10101 sspemu: the bundle left, ask again"},
		{nil, "4201000f 0107" + path, "62a3000f0107d10101 sspemu: no bundle is active"},
	} {
		for _, ignored := range []string{"60000001", "70000001", "50450001", "59010001", "8001", "80010001"} {
			tell(ignored)
		}
		tell("40000000") // they are done with when the answer to this is there
		require.Equal(t, "70000000", hear())
		if step.do != nil {
			step.do()
		}
		tell(step.ask)
		require.Equal(t, step.heard, hear(), step.ask)
	}
}

// keys has one client.
var keys = map[string][]byte{"client": []byte("secret")}

// pskClient is the other end.
func pskClient(identity, key string) []dtls.ClientOption {
	return []dtls.ClientOption{
		dtls.WithPSK(func([]byte) ([]byte, error) { return []byte(key), nil }),
		dtls.WithPSKIdentityHint([]byte(identity)),
		dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8),
	}
}

// dialDTLS is a CoAP client that has a session.
func dialDTLS(t testing.TB, addr string, o []dtls.ClientOption) *client.Conn {
	cc, err := coapdtls.Dial(addr, coapdtls.NewDTLSClientOptions(o...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// refused tries to get a session.
func refused(t testing.TB, addr string, o []dtls.ClientOption) error {
	conn, err := net.Dial("udp", addr)
	require.NoError(t, err)
	d, err := dtls.ClientWithOptions(dtlsnet.PacketConnFromConn(conn), conn.RemoteAddr(), o...)
	require.NoError(t, err)
	defer d.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // a wrong key is silence
	defer cancel()
	return d.HandshakeContext(ctx)
}

// logged is a log for a test to look at.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
	line chan struct{}
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	l.line <- struct{}{}
	return len(p), nil
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestCoAPSecurePSK(t *testing.T) {
	s := newCoAPSSP(t)
	s.join(store("one"))
	log := &logged{line: make(chan struct{}, 10)}
	addr := s.serveDTLS(proxy.DTLS{PSK: keys, Log: slog.New(slog.NewTextHandler(log, nil))}).String()
	ctx := within10s(t)
	one := dialDTLS(t, addr, pskClient("client", "secret"))
	m, err := one.Get(ctx, "/store")
	require.Equal(t, "one", body(t, m, err))
	changes := make(chan string, 5)
	_, err = one.Observe(ctx, "/store", func(m *pool.Message) { changes <- body(t, m, nil) })
	require.NoError(t, err)
	require.Equal(t, "one", <-changes)
	other := dialDTLS(t, addr, pskClient("client", "secret"))
	_, err = other.Put(ctx, "/store", message.TextPlain, strings.NewReader("two"))
	require.NoError(t, err)
	require.Equal(t, "two", <-changes)

	require.Error(t, refused(t, addr, pskClient("stranger", "secret")))
	require.Error(t, refused(t, addr, pskClient("client", "guess")))
	<-log.line
	require.Contains(t, log.String(), `level=WARN msg="DTLS: session refused" client=127.0.0.1:`)
	require.Contains(t, log.String(), `unknown identity`)

	// A client that leaves is no observer any longer, by the next notification.
	asked := 0
	s.during(func() {
		s.app.Handle("store", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { asked++; w.Text("x") }, Observable: true})
	})
	_ = one.Close()
	<-one.Done()
	for watched := true; watched; { // until the proxy has heard of it
		s.during(func() { asked = 0; s.app.Notify("store"); watched = asked > 0 })
		m, err = other.Get(ctx, "/store")
		require.Equal(t, "x", body(t, m, err))
	}
}

// certificate makes one, signed by parent, or by itself.
func certificate(t testing.TB, name string, parent *tls.Certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: parent == nil,
	}
	by, signer := c, any(key)
	if parent != nil {
		by, err = x509.ParseCertificate(parent.Certificate[0])
		require.NoError(t, err)
		signer = parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), signer)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes certificate and key in PEM.
func files(t testing.TB, c tls.Certificate) (cert, key string) {
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}

func TestCoAPSecureCertificates(t *testing.T) {
	s := newCoAPSSP(t)
	s.join(store("one"))
	ca := certificate(t, "ca", nil)
	caFile, _ := files(t, ca)
	cert, key := files(t, certificate(t, "card", &ca))
	psk := filepath.Join(t.TempDir(), "psk")
	require.NoError(t, os.WriteFile(psk, []byte("# clients\n\nclient:736563726574\n"), 0o600))
	conf, err := proxy.LoadDTLS(psk, cert, key, caFile)
	require.NoError(t, err)
	log := &logged{line: make(chan struct{}, 10)}
	conf.Log = slog.New(slog.NewTextHandler(log, nil))
	addr := s.serveDTLS(conf).String()
	ctx := within10s(t)

	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(ca.Certificate[0])
	require.NoError(t, err)
	roots.AddCert(parsed)
	card := []dtls.ClientOption{dtls.WithRootCAs(roots), dtls.WithServerName("card")}
	with := func(o ...dtls.ClientOption) []dtls.ClientOption { return append(slices.Clone(card), o...) }
	mine := dtls.WithCertificates(certificate(t, "me", &ca))
	for name, o := range map[string][]dtls.ClientOption{
		"CCM_8": with(mine, dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8)),
		"GCM":   with(mine),
		"PSK":   pskClient("client", "secret"),
	} {
		m, err := dialDTLS(t, addr, o).Get(ctx, "/store")
		require.NoError(t, err, name)
		require.Equal(t, "one", body(t, m, err), name)
	}
	for name, o := range map[string][]dtls.ClientOption{
		"none": card, "of somebody else": with(dtls.WithCertificates(certificate(t, "stranger", nil))),
	} {
		require.Error(t, refused(t, addr, o), name)
		<-log.line
	}
}

// TestCoAPSecureIdle: a session that nobody uses ends.
func TestCoAPSecureIdle(t *testing.T) {
	s := newCoAPSSP(t)
	s.join(store("one"))
	addr := s.serveDTLS(proxy.DTLS{PSK: keys, Idle: 200 * time.Millisecond}).String()
	ctx := within10s(t)
	cc := dialDTLS(t, addr, pskClient("client", "secret"))
	m, err := cc.Get(ctx, "/store")
	require.Equal(t, "one", body(t, m, err))
	<-cc.Done()
}

func TestDTLSConfiguration(t *testing.T) {
	ca := certificate(t, "ca", nil)
	cert, key := files(t, ca)
	bad := filepath.Join(t.TempDir(), "bad")
	require.NoError(t, os.WriteFile(bad, []byte("client=secret\n"), 0o600))
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tc := range []struct{ psk, cert, key, ca, why string }{
		{"", "", "", "", "no client could come in"},
		{missing, "", "", "", "pre-shared keys: open"},
		{bad, "", "", "", "line 1: want IDENTITY:KEY"},
		{"", cert, "", "", "needed together"},
		{"", cert, missing, "", "DTLS: certificate"},
		{"", cert, key, missing, "certificates of clients: open"},
		{"", cert, key, bad, "has no certificate in PEM"},
		{"", "", "", cert, "no client could come in"},
	} {
		_, err := proxy.LoadDTLS(tc.psk, tc.cert, tc.key, tc.ca)
		require.ErrorContains(t, err, tc.why)
	}
	for text, why := range map[string]string{
		"a:01\nb": "line 2: want", "a:0": "line 1: key:", "a:01\na:02": `line 2: identity "a" has a key already`,
	} {
		_, err := proxy.ReadPSK(strings.NewReader(text))
		require.ErrorContains(t, err, why)
	}
	got, err := proxy.ReadPSK(strings.NewReader(" urn:dev:1:0aFF \n#x:1\n"))
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"urn:dev:1": {0x0A, 0xFF}}, got)

	_, err = proxy.ListenDTLS(nil, proxy.DTLS{})
	require.ErrorContains(t, err, "no client could come in")
	_, err = proxy.ListenDTLS(nil, proxy.DTLS{PSK: map[string][]byte{"": {1}}})
	require.ErrorContains(t, err, "may be empty")
	_, err = proxy.ListenDTLS(nil, proxy.DTLS{PSK: keys, ClientCAs: x509.NewCertPool()})
	require.ErrorContains(t, err, "need one of the server")
	_, err = proxy.ListenDTLS(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)}, proxy.DTLS{PSK: keys})
	require.ErrorContains(t, err, "DTLS: listen at 192.0.2.1:0")
}

// BenchmarkCoAP is a GET by UDP through proxy, link, network and gate to a server in
// this process, 16 at a time.
func BenchmarkCoAP(b *testing.B) {
	s := newCoAPSSP(b)
	s.join(store("one"))
	conn, err := net.DialUDP("udp", nil, s.serve())
	require.NoError(b, err)
	defer conn.Close()
	req, err := hex.DecodeString("420100000107b573746f7265")
	require.NoError(b, err)
	in := make([]byte, 2000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		req[2], req[3] = byte(i>>8), byte(i)
		_, err = conn.Write(req)
		require.NoError(b, err)
		if i >= 16 {
			_, err = conn.Read(in)
			require.NoError(b, err)
		}
	}
}
