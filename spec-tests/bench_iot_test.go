package spectests

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/host"
)

// BenchmarkIoTHandshake is a mutual TLS 1.3 handshake over the loopback interface, server
// and all: with the key of the client in the bundle over a mem: link, and with a software
// key with a certificate of the same authority. The two take turns in the same run; more
// is what the bundle costs.
func BenchmarkIoTHandshake(b *testing.B) {
	a, p := device(b)
	id, pool := identityOf(b, a, 0x01, 0x02, 0x03)
	cert, key := cloud(b, p, 0)
	software, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(b, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{software}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	require.NoError(b, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = c.Write([]byte("a")); _, _ = c.Read(make([]byte, 1)); _ = c.Close() }()
		}
	}()
	connect := func(c tls.Certificate) time.Duration {
		begin := time.Now()
		s, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c}, RootCAs: pool, ServerName: "localhost"})
		if err == nil {
			_, err = io.ReadFull(s, make([]byte, 1)) // the server has taken the certificate
		}
		if err != nil {
			b.Fatal(err)
		}
		d := time.Since(begin)
		_ = s.Close()
		return d
	}
	var bundle, soft time.Duration
	for b.Loop() {
		bundle += connect(id)
		soft += connect(software)
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
	b.ReportMetric(ms(bundle), "bundle-ms")
	b.ReportMetric(ms(soft), "software-ms")
	b.ReportMetric(ms(bundle-soft), "more-ms")
}

// BenchmarkIoTSign is ECDSA with P-256, by the guest and by the platform, over a mem: link, through
// crypto.Signer: three commands a signature, session and all.
func BenchmarkIoTSign(b *testing.B) {
	for _, who := range []string{"bundle", "platform"} {
		b.Run(who, func(b *testing.B) {
			a, _ := deviceWith(b, "sessions: 4", "sessions: 4\ncryptography: "+who)
			k, err := a.Key(host.ByID(1), host.ByID(1))
			require.NoError(b, err)
			digest := make([]byte, 32)
			n := 0
			for b.Loop() {
				digest[0]++
				if _, err := k.Sign(nil, digest, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "sign/s")
		})
	}
}

// BenchmarkIoTECDH is what a handshake with an ephemeral key in the bundle asks for: a new
// pair, the key of the peer, the shared secret.
func BenchmarkIoTECDH(b *testing.B) {
	a, _ := device(b)
	peer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(b, err)
	for b.Loop() {
		if _, err := a.GenerateKeyPair(host.ByID(4)); err != nil {
			b.Fatal(err)
		}
		if _, err := a.ECDH(host.ByID(4), host.ByID(5), &peer.PublicKey); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms")
}

// TestManyDevices: eight TLS clients share one bundle, and none fails.
func TestManyDevices(t *testing.T) {
	a, _ := device(t)
	id, pool := identityOf(t, a, 0x01, 0x02, 0x03)
	config := &tls.Config{Certificates: []tls.Certificate{id}, ClientCAs: pool, RootCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "localhost"}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = c.Write([]byte("a")); _, _ = c.Read(make([]byte, 1)); _ = c.Close() }()
		}
	}()
	errs := make(chan error, 80)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				d := tls.Dialer{Config: config}
				c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
				if err == nil {
					_, err = io.ReadFull(c, make([]byte, 1))
					_ = c.Close()
				}
				errs <- err
			}
		})
	}
	all.Wait()
	for range 80 {
		require.NoError(t, <-errs)
	}
}
