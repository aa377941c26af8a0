package spectests

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/iot/host"
	iot "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/primary/loader"
)

// device is the IoT bundle over a mem: link, with its applet selected.
func device(t testing.TB) (*host.Applet, *iot.Profile) { return deviceWith(t, "", "") }

// deviceWith is a device with another persona: a text of the default one is replaced.
func deviceWith(t testing.TB, old, text string) (*host.Applet, *iot.Profile) {
	spb, err := bundles.Open("iot")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	persona := bytes.Replace(pkg.DefaultPersona, []byte(old), []byte(text), 1)
	p, err := iot.FromYAML(persona, "persona", pkg.Schema)
	require.NoError(t, err)
	target, end, err := InProcess{Engine: engine, Package: spb, Persona: persona}.Target(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, end()) })
	_, err = target.Terminal.Reset(context.Background(), true)
	require.NoError(t, err)
	a, err := host.Select(context.Background(), target.Terminal, host.Options{})
	require.NoError(t, err)
	return a, p
}

// identityOf is the identity with a key in the bundle, and the pool of its authority.
func identityOf(t testing.TB, a *host.Applet, key, cert, ca byte) (tls.Certificate, *x509.CertPool) {
	k, err := a.Key(host.ByID(key), host.ByID(key))
	require.NoError(t, err)
	id, err := a.Certificate(k, host.ByID(cert))
	require.NoError(t, err)
	x, err := a.X509(host.ByID(ca))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(x)
	return id, pool
}

// writePEM puts blocks of DER into a file.
func writePEM(t testing.TB, kind string, ders ...[]byte) string {
	name := filepath.Join(t.TempDir(), "pem")
	var b []byte
	for _, d := range ders {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: d})...)
	}
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name
}

// cloud is a server of an authority of the persona, outside of the card: certificate and
// key in PEM files.
func cloud(t testing.TB, p *iot.Profile, authority int) (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &p.Authorities[authority]
	der, err := p.Certify(&iot.Certificate{Authority: a, Name: "cloud", DNS: []string{"localhost"}, From: a.From, Until: a.Until}, &k.PublicKey)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return writePEM(t, "CERTIFICATE", der), writePEM(t, "PRIVATE KEY", private)
}

// authorityFile is the certificate of an authority in a PEM file.
func authorityFile(t testing.TB, p *iot.Profile, authority int) string {
	der, err := p.AuthorityCertificate(&p.Authorities[authority])
	require.NoError(t, err)
	return writePEM(t, "CERTIFICATE", der)
}

// devices are the identities of the default persona, with the index of their authority.
var devices = []struct {
	name          string
	key, cert, ca byte
	authority     int
}{{"public A", 0x01, 0x02, 0x03, 0}, {"public B", 0x11, 0x12, 0x13, 1}, {"private", 0x21, 0x22, 0x23, 2}, {"private RSA", 0x31, 0x32, 0x23, 2}}

// serverPort runs openssl s_server until the test ends and gives its address.
func serverPort(t *testing.T, args ...string) (addr string, lines *bufio.Reader, in io.Writer) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr = l.Addr().String()
	require.NoError(t, l.Close())
	cmd := exec.Command("openssl", append([]string{"s_server", "-accept", addr, "-brief"}, args...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	w, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "openssl s_server should listen")
	return addr, bufio.NewReader(out), w
}

// TestDeviceAtOpenSSL: the device opens mutually authenticated TLS 1.2 and 1.3 sessions to
// openssl s_server; its key is in the bundle. A certificate of another authority is
// refused, and so is a server of another one.
func TestDeviceAtOpenSSL(t *testing.T) {
	a, p := device(t)
	for _, d := range devices {
		id, pool := identityOf(t, a, d.key, d.cert, d.ca)
		cert, key := cloud(t, p, d.authority)
		addr, lines, in := serverPort(t, "-cert", cert, "-key", key, "-CAfile", authorityFile(t, p, d.authority), "-Verify", "1", "-verify_return_error")
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			name := fmt.Sprintf("%s, %s", d.name, tls.VersionName(version))
			c, err := tls.Dial("tcp", addr, &tls.Config{MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{id}, RootCAs: pool, ServerName: "localhost"})
			require.NoError(t, err, name)
			require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
			_, err = fmt.Fprintf(c, "hello from %s\n", name)
			require.NoError(t, err, name)
			var all strings.Builder
			for !strings.Contains(all.String(), "hello from "+name) {
				line, err := lines.ReadString('\n')
				require.NoError(t, err, all.String())
				all.WriteString(line)
			}
			require.Contains(t, all.String(), "Verification: OK", name)
			require.Contains(t, all.String(), "Peer certificate: CN = "+id.Leaf.Subject.CommonName, name)
			_, err = io.WriteString(in, "hello from the cloud\n")
			require.NoError(t, err)
			line, err := bufio.NewReader(c).ReadString('\n')
			require.NoError(t, err, name)
			require.Equal(t, "hello from the cloud\n", line)
			require.NoError(t, c.Close())
		}
		// A device of another cloud.
		other := devices[(d.authority+1)%2]
		wrong, _ := identityOf(t, a, other.key, other.cert, other.ca)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, err := tls.Dial("tcp", addr, &tls.Config{MinVersion: version, MaxVersion: version, RootCAs: pool, ServerName: "localhost",
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &wrong, nil }})
			if err == nil { // TLS 1.3 tells the client afterwards
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			require.ErrorContains(t, err, "unknown certificate authority", d.name)
		}
		// A server that the device does not trust.
		_, err := tls.Dial("tcp", addr, &tls.Config{Certificates: []tls.Certificate{wrong}, RootCAs: x509.NewCertPool(), ServerName: "localhost"})
		require.ErrorContains(t, err, "certificate signed by unknown authority", d.name)
	}
}

// TestOpenSSLAtDevice: openssl s_client opens sessions to a TLS server whose key is in the
// bundle; it verifies the certificate, and the server that of the client.
func TestOpenSSLAtDevice(t *testing.T) {
	a, p := device(t)
	for _, d := range devices {
		id, pool := identityOf(t, a, d.key, d.cert, d.ca)
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
		require.NoError(t, err)
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					line, err := bufio.NewReader(c).ReadString('\n')
					if err == nil {
						_, _ = io.WriteString(c, "echo "+line)
					}
					_ = c.Close()
				}()
			}
		}()
		cert, key := cloud(t, p, d.authority)
		other, otherKey := cloud(t, p, (d.authority+1)%3)
		run := func(args ...string) string {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", l.Addr().String(), "-servername", "localhost", "-brief", "-ign_eof", "-verify_return_error", "-verify_hostname", "localhost"}, args...)...)
			cmd.Stdin = strings.NewReader("hello\n")
			out, _ := cmd.CombinedOutput()
			return string(out)
		}
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			out := run(version, "-CAfile", authorityFile(t, p, d.authority), "-cert", cert, "-key", key)
			require.Contains(t, out, "Verification: OK", d.name)
			require.Contains(t, out, "echo hello", d.name)
			out = run(version, "-CAfile", authorityFile(t, p, d.authority), "-cert", other, "-key", otherKey)
			require.NotContains(t, out, "echo hello", "%s: a client of another authority", d.name)
			require.Contains(t, out, "alert", d.name)
			out = run(version, "-CAfile", authorityFile(t, p, (d.authority+1)%3), "-cert", cert, "-key", key)
			require.NotContains(t, out, "echo hello", "%s: a client that trusts another authority", d.name)
			require.Contains(t, out, "verify failed", d.name)
		}
	}
}
