package spectests

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/ca"
	"github.com/sspemu/sspemu/bundles/iot/host"
)

// udpAddr is a free UDP port of this machine.
func udpAddr(t *testing.T) *net.UDPAddr {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	return c.LocalAddr().(*net.UDPAddr)
}

// dtlsTime bounds a handshake and what follows it.
const dtlsTime = 20 * time.Second

func shake(t *testing.T, c *dtls.Conn, err error) error {
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), dtlsTime)
	defer cancel()
	return c.HandshakeContext(ctx)
}

// insisting is a client that shows its certificate even to a server that names other
// authorities.
func insisting(id tls.Certificate, pool *x509.CertPool) []dtls.ClientOption {
	return append(host.DTLS(id, pool, "localhost"), dtls.WithGetClientCertificate(func(*dtls.CertificateRequestInfo) (*tls.Certificate, error) { return &id, nil }))
}

// TestDeviceAtOpenSSLDTLS: the device opens mutually authenticated DTLS 1.2 sessions to
// openssl s_server; its key is in the bundle. A certificate of another authority is
// refused, and so is a server of another one.
func TestDeviceAtOpenSSLDTLS(t *testing.T) {
	a, p := device(t)
	for _, d := range devices {
		t.Run(d.name, func(t *testing.T) {
			id, pool := identityOf(t, a, d.key, d.cert, d.ca)
			cert, key := cloud(t, p, d.authority)
			addr := udpAddr(t)
			cmd := exec.Command("openssl", "s_server", "-dtls1_2", "-accept", addr.String(), "-cert", cert, "-key", key,
				"-CAfile", authorityFile(t, p, d.authority), "-Verify", "1", "-verify_return_error")
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			defer time.AfterFunc(3*dtlsTime, func() { _ = cmd.Process.Kill() }).Stop() // its lines end
			lines := bufio.NewReader(out)
			until := func(text string) {
				t.Helper()
				for {
					line, err := lines.ReadString('\n')
					require.NoError(t, err, text)
					if strings.Contains(line, text) {
						return
					}
				}
			}
			until("ACCEPT")

			c, err := dtls.DialWithOptions("udp", addr, host.DTLS(id, pool, "localhost")...)
			require.NoError(t, shake(t, c, err))
			require.NoError(t, c.SetDeadline(time.Now().Add(dtlsTime)))
			_, err = io.WriteString(c, "hello from the device\n")
			require.NoError(t, err)
			until("CN = " + id.Leaf.Subject.CommonName)
			until("hello from the device")
			_, err = io.WriteString(in, "hello from the cloud\n")
			require.NoError(t, err)
			b := make([]byte, 100)
			n, err := c.Read(b)
			require.NoError(t, err)
			require.Equal(t, "hello from the cloud\n", string(b[:n]))
			require.NoError(t, c.Close())
			until("DONE")

			other := devices[(d.authority+1)%2]
			wrong, _ := identityOf(t, a, other.key, other.cert, other.ca)
			c, err = dtls.DialWithOptions("udp", addr, insisting(wrong, pool)...)
			require.ErrorContains(t, shake(t, c, err), "UnknownCA")
			_ = c.Close()
			c, err = dtls.DialWithOptions("udp", addr, host.DTLS(id, x509.NewCertPool(), "localhost")...)
			require.ErrorContains(t, shake(t, c, err), "certificate signed by unknown authority")
			_ = c.Close()
		})
	}
}

// TestOpenSSLAtDeviceDTLS: openssl s_client opens sessions to a DTLS server whose key is in
// the bundle.
func TestOpenSSLAtDeviceDTLS(t *testing.T) {
	a, p := device(t)
	for _, d := range devices {
		t.Run(d.name, func(t *testing.T) {
			id, pool := identityOf(t, a, d.key, d.cert, d.ca)
			l, err := dtls.ListenWithOptions("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, host.DTLSServer(id, pool)...)
			require.NoError(t, err)
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						_ = c.SetDeadline(time.Now().Add(dtlsTime))
						b := make([]byte, 100)
						if n, err := c.Read(b); err == nil {
							_, _ = fmt.Fprintf(c, "echo %s", b[:n])
						}
						_ = c.Close()
					}()
				}
			}()
			run := func(authority int, cert, key string) string {
				ctx, cancel := context.WithTimeout(t.Context(), dtlsTime)
				defer cancel()
				cmd := exec.CommandContext(ctx, "openssl", "s_client", "-dtls1_2", "-connect", l.Addr().String(), "-servername", "localhost", "-brief", "-ign_eof",
					"-verify_return_error", "-verify_hostname", "localhost", "-CAfile", authorityFile(t, p, authority), "-cert", cert, "-key", key)
				cmd.Stdin = strings.NewReader("hello\n")
				out, _ := cmd.CombinedOutput()
				return string(out)
			}
			cert, key := cloud(t, p, d.authority)
			out := run(d.authority, cert, key)
			require.Contains(t, out, "Verification: OK")
			require.Contains(t, out, "echo hello")
			other, otherKey := cloud(t, p, (d.authority+1)%3)
			out = run(d.authority, other, otherKey)
			require.NotContains(t, out, "echo hello", "a client of another authority")
			require.Contains(t, out, "alert")
			out = run((d.authority+1)%3, cert, key)
			require.NotContains(t, out, "echo hello", "a client that trusts another authority")
			require.Contains(t, out, "verify failed")
		})
	}
}

// TestCoAPSWithKeyInApplet: CoAP over DTLS to libcoap's server, and EST-coaps: renewal, for
// which the authority wants the certificate of the device.
func TestCoAPSWithKeyInApplet(t *testing.T) {
	a, p := device(t)
	id, pool := identityOf(t, a, 1, 2, 3)
	authority, err := ca.New(p, ca.Options{})
	require.NoError(t, err)

	t.Run("libcoap", func(t *testing.T) {
		program, err := exec.LookPath("coap-server-openssl")
		require.NoError(t, err, "apt-get install libcoap3-bin")
		cert, key := cloud(t, p, 0)
		var addr *net.UDPAddr
		for addr == nil || addr.Port == 65535 {
			addr = udpAddr(t)
		}
		cmd := exec.Command(program, "-A", "127.0.0.1", "-p", fmt.Sprint(addr.Port), "-c", cert, "-j", key, "-C", authorityFile(t, p, 0), "-R", authorityFile(t, p, 0))
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		addr.Port++ // DTLS: libcoap takes the next one
		get := func(id tls.Certificate) (code codes.Code, body string, err error) {
			ctx, cancel := context.WithTimeout(t.Context(), dtlsTime)
			defer cancel()
			c, err := coapdtls.Dial(addr.String(), coapdtls.NewDTLSClientOptions(insisting(id, pool)...))
			if err != nil {
				return 0, "", err
			}
			defer c.Close()
			r, err := c.Get(ctx, "/")
			if err != nil {
				return 0, "", err
			}
			b, err := r.ReadBody()
			return r.Code(), string(b), err
		}
		var body string
		require.Eventually(t, func() bool { // it may not listen yet
			var code codes.Code
			code, body, err = get(id)
			return err == nil && code == codes.Content
		}, dtlsTime, 50*time.Millisecond)
		require.Contains(t, body, "libcoap")
		wrong, _ := identityOf(t, a, 0x11, 0x12, 0x13)
		_, _, err = get(wrong)
		require.Error(t, err)
	})
	t.Run("EST-coaps", func(t *testing.T) {
		server, err := authority.Server()
		require.NoError(t, err)
		s, err := authority.ListenCoAPS("127.0.0.1:0", server)
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- s.Serve() }()
		defer func() { require.NoError(t, s.Close()); <-done }()
		der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{RawSubject: id.Leaf.RawSubject, DNSNames: id.Leaf.DNSNames, URIs: id.Leaf.URIs}, id.PrivateKey)
		require.NoError(t, err)
		c, err := coapdtls.Dial(s.Addr.String(), coapdtls.NewDTLSClientOptions(host.DTLS(id, pool, "localhost")...))
		require.NoError(t, err)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), dtlsTime)
		defer cancel()
		r, err := c.Post(ctx, "/.well-known/est/sren", 286, strings.NewReader(string(der)))
		require.NoError(t, err)
		b, err := r.ReadBody()
		require.NoError(t, err)
		require.Equal(t, codes.Changed, r.Code(), "%s", b)
	})
}
