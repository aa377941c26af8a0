package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// TestConformIoT plays the suite of the IoT bundle through the real reader, on a card that
// answers as on T=1: the suite wants whole answers.
func TestConformIoT(t *testing.T) {
	e := start(t, "?protocol=t1", "--active", "iot")
	if e == nil {
		return
	}
	out := e.run(t, e.binary, "conform", "--link", "pcsc:"+pcscdtest.Reader+" 00 00", "--bundle", "iot")
	require.Regexp(t, `[12]\d\d pass, 0 fail`, out)
}

// TestDeviceBehindReader: a TLS session whose key is behind a PC/SC reader, on T=0 and T=1.
//
//	openssl s_server ══ TLS ══ sspemu iot connect ── pcscd ── libifdvpcd.so ── bin/sspemu serve --active iot
func TestDeviceBehindReader(t *testing.T) {
	for _, protocol := range []string{"t0", "t1"} {
		t.Run(protocol, func(t *testing.T) {
			e := start(t, "?protocol="+protocol, "--active", "iot")
			if e == nil {
				return
			}
			addr := pcscdtest.FreeAddr(t)
			dir := t.TempDir()
			shell := exec.Command("bash", "-c", `set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out cert -subj /CN=localhost -addext subjectAltName=DNS:localhost -days 2 2>/dev/null
exec openssl s_server -accept "$1" -cert cert -key key -Verify 1 -rev -quiet`, "server", addr)
			shell.Dir = dir
			require.NoError(t, shell.Start())
			t.Cleanup(func() { _ = shell.Process.Kill(); _ = shell.Wait() })
			require.Eventually(t, func() bool {
				c, err := net.Dial("tcp", addr)
				if err == nil {
					_ = c.Close()
				}
				return err == nil
			}, 20*time.Second, 20*time.Millisecond, "openssl s_server should listen")
			link := "pcsc:" + pcscdtest.Reader + " 00 00"
			for key, cert := range map[string]string{"01": "02", "21": "22", "31": "32"} {
				connect := exec.Command(e.binary, "iot", "connect", addr, "--link", link, "--key", key, "--cert", cert, "--ca", dir+"/cert", "--server", "localhost")
				connect.Stdin = strings.NewReader("hello\n")
				out, err := connect.CombinedOutput()
				require.NoError(t, err, string(out))
				require.Contains(t, string(out), "olleh", key)
			}
		})
	}
}

// BenchmarkPCSCHandshake is a mutual TLS 1.3 handshake whose client key is behind a PC/SC
// reader: bin/sspemu in the virtual one. The key of the server is there too.
func BenchmarkPCSCHandshake(b *testing.B) {
	card := cardOf(b, "iot")
	if card == nil {
		return
	}
	ctx := context.Background()
	a, err := host.Select(ctx, card, host.Options{})
	require.NoError(b, err)
	k, err := a.Key(host.ByID(1), host.ByID(1))
	require.NoError(b, err)
	id, err := a.Certificate(k, host.ByID(2))
	require.NoError(b, err)
	ca, err := a.X509(host.ByID(3))
	require.NoError(b, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	s, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	require.NoError(b, err)
	defer s.Close()
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = c.Write([]byte("a")); _, _ = c.Read(make([]byte, 1)); _ = c.Close() }()
		}
	}()
	for b.Loop() {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{Certificates: []tls.Certificate{id}, RootCAs: pool, ServerName: "localhost"})
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/handshake")
}
