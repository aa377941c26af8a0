package clients

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/iot/ca"
	"github.com/sspemu/sspemu/bundles/iot/host"
	iot "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/pcscdtest"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/scl/terminal/modem"
)

// fleet is an applet behind a modem, and brokers that trust an authority of its persona:
//
//	paho ══ MQTT, TLS ══ mosquitto
//	 └── the key: host.Applet ── AT+CSIM, TCP ── bin/sspemu modem ── the applet
type fleet struct {
	applet    *host.Applet
	authority *ca.Authority
	port      string // of the modem
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{port: pcscdtest.FreeAddr(t)}
	cmd := exec.Command(sspemu(t), "modem", "--listen", "tcp:"+f.port, "--active", "iot", "--api", "off")
	cmd.Stderr = os.Stderr
	ready(t, cmd)
	t.Cleanup(func() { stop(t, cmd) })
	conn, err := net.Dial("tcp", f.port)
	require.NoError(t, err)
	te, err := modem.NewTE(t.Context(), conn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, te.Close()) })
	f.applet, err = host.Select(t.Context(), modem.CSIM{TE: te}, host.Options{})
	require.NoError(t, err)

	spb, err := bundles.Open("iot")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	p, err := iot.FromYAML(pkg.DefaultPersona, "persona", pkg.Schema)
	require.NoError(t, err)
	f.authority, err = ca.New(p, ca.Options{})
	require.NoError(t, err)
	return f
}

// identity is that of a key in the applet.
func (f *fleet) identity(t *testing.T, key, cert byte) tls.Certificate {
	k, err := f.applet.Key(host.ByID(key), host.ByID(key))
	require.NoError(t, err)
	id, err := f.applet.Certificate(k, host.ByID(cert))
	require.NoError(t, err)
	return id
}

// broker is a running mosquitto.
type broker struct {
	address string
	cmd     *exec.Cmd
	log     *bytes.Buffer // when it has ended
}

// broker starts one that takes certificates of the authority which are not on its list of
// revoked ones; a device may use the topics below its own name.
func (f *fleet) broker(t *testing.T, program string) *broker {
	dir := t.TempDir()
	write := func(name, kind string, der []byte) {
		b := der
		if kind != "" {
			b = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	id, err := f.authority.Server()
	require.NoError(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(id.PrivateKey)
	require.NoError(t, err)
	crl, err := f.authority.CRL()
	require.NoError(t, err)
	write("ca.pem", "CERTIFICATE", f.authority.Certificate().Raw)
	write("cert.pem", "CERTIFICATE", id.Certificate[0])
	write("key.pem", "PRIVATE KEY", key)
	write("crl.pem", "X509 CRL", crl)
	write("acl", "", []byte("pattern readwrite devices/%u/#\n"))
	b := &broker{address: pcscdtest.FreeAddr(t), log: new(bytes.Buffer)}
	_, port, err := net.SplitHostPort(b.address)
	require.NoError(t, err)
	write("conf", "", []byte(`listener `+port+` 127.0.0.1
cafile ca.pem
certfile cert.pem
keyfile key.pem
crlfile crl.pem
require_certificate true
use_identity_as_username true
acl_file acl
user root
`))
	b.cmd = exec.Command(program, "-c", "conf")
	b.cmd.Dir = dir
	b.cmd.Stderr = b.log
	require.NoError(t, b.cmd.Start())
	t.Cleanup(func() { b.kill() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", b.address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "mosquitto should listen")
	return b
}

// kill ends the broker at once, as a crash does.
func (b *broker) kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

// conf is what a device connects with; its random bytes are the applet's.
func (f *fleet) conf(id tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: f.authority.Pool(), ServerName: "localhost", Rand: f.applet,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id, nil }}
}

// refusal is why a broker does not take an identity. With TLS 1.3 a client hears it after
// its own handshake, when it reads.
func (f *fleet) refusal(b *broker, id tls.Certificate) error {
	c, err := tls.Dial("tcp", b.address, f.conf(id))
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	return err
}

// client is an MQTT client of a device.
type client struct {
	*paho.Client
	got  chan string
	lost chan error
}

func (f *fleet) connect(ctx context.Context, b *broker, id tls.Certificate, name string) (*client, error) {
	d := tls.Dialer{Config: f.conf(id)}
	conn, err := d.DialContext(ctx, "tcp", b.address)
	if err != nil {
		return nil, err
	}
	c := &client{got: make(chan string, 64), lost: make(chan error, 8)}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.got <- string(p.Packet.Payload)
			return true, nil
		}},
		OnClientError: func(err error) {
			select {
			case c.lost <- err:
			default:
			}
		},
	})
	_, err = c.Connect(ctx, &paho.Connect{ClientID: name, CleanStart: true, KeepAlive: 30})
	return c, err
}

// talk subscribes to a topic, publishes there and hears it again.
func (c *client) talk(ctx context.Context, topic string, n int) error {
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
		return err
	}
	for i := range n {
		text := fmt.Sprintf("%s %d", topic, i)
		if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(text)}); err != nil {
			return err
		}
		select {
		case got := <-c.got:
			if got != text {
				return fmt.Errorf("%q came, %q was sent", got, text)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func TestMosquitto(t *testing.T) {
	program := tool(t, "mosquitto", "mosquitto", "/usr/sbin/mosquitto")
	if program == "" {
		return
	}
	f := newFleet(t)
	b := f.broker(t, program)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := f.identity(t, 0x01, 0x02)
	mine := "devices/" + id.Leaf.Subject.CommonName + "/"

	t.Run("publish and subscribe", func(t *testing.T) {
		c, err := f.connect(ctx, b, id, "first")
		require.NoError(t, err)
		require.NoError(t, c.talk(ctx, mine+"temperature", 5))
		r, err := c.Publish(ctx, &paho.Publish{Topic: "devices/somebody/temperature", QoS: 1, Payload: []byte("0")})
		require.Error(t, err, "the name in the certificate decides")
		require.Equal(t, byte(packets.PubackNotAuthorized), r.ReasonCode)
		require.NoError(t, c.Disconnect(&paho.Disconnect{}))
	})
	t.Run("eight at a time share one applet", func(t *testing.T) {
		var all sync.WaitGroup
		failed := make([]error, 8)
		for i := range failed {
			all.Go(func() {
				name := fmt.Sprintf("device-%d", i)
				for range 3 {
					c, err := f.connect(ctx, b, id, name)
					if err == nil {
						err = c.talk(ctx, mine+name, 5)
					}
					if err == nil {
						err = c.Disconnect(&paho.Disconnect{})
					}
					if failed[i] = err; err != nil {
						return
					}
				}
			})
		}
		all.Wait()
		for i, err := range failed {
			require.NoError(t, err, i)
		}
	})
	t.Run("another cloud's device", func(t *testing.T) {
		require.ErrorContains(t, f.refusal(b, f.identity(t, 0x11, 0x12)), "tls: unknown certificate authority")
	})
	t.Run("no certificate", func(t *testing.T) {
		require.ErrorContains(t, f.refusal(b, tls.Certificate{}), "tls: certificate required")
	})
	t.Run("revoked", func(t *testing.T) {
		_, no := f.authority.Revoke(id.Leaf.SerialNumber.Text(16), "keyCompromise")
		require.Nil(t, no)
		require.ErrorContains(t, f.refusal(f.broker(t, program), id), "tls: revoked certificate")
	})
	t.Run("a broker that closes", func(t *testing.T) {
		b := f.broker(t, program) // with the list of revoked certificates
		other, err := f.authority.Issue(request(t, f.applet, 0x01, "device-2"))
		require.Nil(t, err)
		fresh := tls.Certificate{Certificate: [][]byte{other.Raw}, PrivateKey: id.PrivateKey, Leaf: other}
		c, cerr := f.connect(ctx, b, fresh, "last")
		require.NoError(t, cerr)
		require.NoError(t, c.talk(ctx, "devices/device-2/state", 1))
		b.kill()
		select {
		case err := <-c.lost:
			require.Regexp(t, "EOF|connection reset by peer", err)
		case <-ctx.Done():
			require.Fail(t, "the client does not hear that the broker is gone")
		}
		_, cerr = f.connect(ctx, b, fresh, "last")
		require.ErrorContains(t, cerr, "connection refused")
	})
}

// request is a certificate request by a key of the applet.
func request(t *testing.T, a *host.Applet, key byte, name string) []byte {
	k, err := a.Key(host.ByID(key), host.ByID(key))
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, k)
	require.NoError(t, err)
	return der
}

// TestBrokerThatCloses: sspemu iot connect says in one line what became of the session.
func TestBrokerThatCloses(t *testing.T) {
	f := newFleet(t)
	id, err := f.authority.Server()
	require.NoError(t, err)
	for _, c := range []struct {
		name, says string
		serve      func(net.Conn)
	}{
		{"at once", "the peer ended the connection before there was a TLS session", func(c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 5)
		}},
		{"in the middle", "the peer ended the connection without closing the TLS session", func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{id}, ClientAuth: tls.RequireAnyClientCert})
			_, _ = io.WriteString(s, "hello\n")
			_ = c.(*net.TCPConn).SetLinger(0) // a reset
		}},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go func() {
			if s, err := l.Accept(); err == nil {
				c.serve(s)
				_ = s.Close()
			}
		}()
		in, hold, err := os.Pipe()
		require.NoError(t, err)
		_, notes, code := run(t, in, sspemu(t), "iot", "connect", l.Addr().String(), "--server", "localhost", "--modem", "tcp:"+f.port)
		require.NoError(t, hold.Close())
		require.Equal(t, 1, code, c.name)
		require.Contains(t, notes, "sspemu: iot: "+l.Addr().String()+": "+c.says)
	}
}
