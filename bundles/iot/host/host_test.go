package host_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot"
	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
)

// native is a card without platform and link; change may change its answers.
type native struct {
	*sdktest.Card
	change func(capdu, rapdu []byte) []byte
}

func (n *native) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	r := n.Send(capdu)
	if n.change != nil {
		r = n.change(capdu, r)
	}
	return append(dst[:0], r...), nil
}

// newCard is a card of the default persona with some text of it replaced.
func newCard(t testing.TB, replace ...string) *native {
	yaml, err := os.ReadFile("../persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("../persona.schema.json")
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(yaml), replace[i])
	}
	card := sdktest.New(t, func() sdk.App { return iot.New() })
	require.NoError(t, card.PersonaliseYAML([]byte(strings.NewReplacer(replace...).Replace(string(yaml))), schema))
	return &native{Card: card}
}

func open(t testing.TB, card host.Card) *host.Applet {
	a, err := host.Select(context.Background(), card, host.Options{})
	require.NoError(t, err)
	return a
}

// identity is the key of a cloud with its certificate, and the pool of its authority.
func identity(t testing.TB, a *host.Applet, key, cert, ca byte) (tls.Certificate, *x509.CertPool) {
	k, err := a.Key(host.ByID(key), host.ByID(key))
	require.NoError(t, err)
	c, err := a.Certificate(k, host.ByID(cert))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	x, err := a.X509(host.ByID(ca))
	require.NoError(t, err)
	pool.AddCert(x)
	return c, pool
}

// clouds are the identities of the default persona.
var clouds = []struct {
	name          string
	key, cert, ca byte
}{{"public A", 0x01, 0x02, 0x03}, {"public B", 0x11, 0x12, 0x13}, {"private", 0x21, 0x22, 0x23}, {"private RSA", 0x31, 0x32, 0x23}}

// handshake is a TLS connection with one message each way.
func handshake(client, server *tls.Config) error {
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		s, err := l.Accept()
		if err == nil {
			b := make([]byte, 5)
			if _, err = io.ReadFull(s, b); err == nil {
				_, err = s.Write(b)
			}
			err = errors.Join(err, s.Close())
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		if _, err = c.Write([]byte("hello")); err == nil {
			_, err = io.ReadFull(c, make([]byte, 5))
		}
		_ = c.Close()
	}
	return errors.Join(err, <-done, l.Close())
}

// TestTLS: mutual authentication in TLS 1.2 and 1.3, the device as client and as server,
// with each identity; an authority that the peer does not trust is refused.
func TestTLS(t *testing.T) {
	a := open(t, newCard(t))
	for _, c := range clouds {
		id, pool := identity(t, a, c.key, c.cert, c.ca)
		_, wrong := identity(t, a, 0x11, 0x12, 0x13)
		if c.key == 0x11 {
			_, wrong = identity(t, a, 0x01, 0x02, 0x03)
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{id}, RootCAs: pool, ServerName: "localhost"}
			server := &tls.Config{MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{id}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
			require.NoError(t, handshake(client, server), "%s %x", c.name, version)
			bad := server.Clone()
			bad.ClientCAs = wrong
			stubborn := client.Clone() // it sends its certificate whatever the server asks for
			stubborn.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id, nil }
			require.ErrorContains(t, handshake(stubborn, bad), "unknown authority", c.name)
			distrust := client.Clone()
			distrust.RootCAs = wrong
			require.ErrorContains(t, handshake(distrust, server), "unknown authority", c.name)
		}
	}
}

// TestTampered: certificates that a persona has tampered with are refused, by Certificate
// or by the peer.
func TestTampered(t *testing.T) {
	const cert = `key: "01", name: device-0001.cloud-a.example`
	for defect, want := range map[string]string{
		"defect: signature": "ECDSA verification failure",
		"defect: issuer":    "ECDSA verification failure",
		`until: "20260101"`: "expired",
		`from: "20490101"`:  "not yet valid",
		"defect: other-key": "the certificate is for another key than 01",
		"from: '20250101'":  "",
	} {
		a := open(t, newCard(t, cert, cert+", "+defect))
		k, err := a.Key(host.ByID(1), host.ByID(1))
		require.NoError(t, err)
		id, err := a.Certificate(k, host.ByID(2))
		if strings.Contains(defect, "other-key") {
			require.ErrorContains(t, err, want)
			continue
		}
		require.NoError(t, err)
		pool := x509.NewCertPool()
		ca, err := a.X509(host.ByID(3))
		require.NoError(t, err)
		pool.AddCert(ca)
		err = handshake(&tls.Config{Certificates: []tls.Certificate{id}, InsecureSkipVerify: true},
			&tls.Config{Certificates: []tls.Certificate{id}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, Time: func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }})
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want, defect)
		}
	}
}

// TestManyClients: eight clients share one applet, and none fails.
func TestManyClients(t *testing.T) {
	a := open(t, newCard(t))
	id, pool := identity(t, a, 0x01, 0x02, 0x03)
	server := &tls.Config{Certificates: []tls.Certificate{id}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	var all sync.WaitGroup
	errs := make(chan error, 80)
	for range 8 {
		all.Go(func() {
			for range 10 {
				errs <- handshake(&tls.Config{Certificates: []tls.Certificate{id}, RootCAs: pool, ServerName: "localhost"}, server)
			}
		})
	}
	all.Wait()
	for range 80 {
		require.NoError(t, <-errs)
	}
}

// TestOnBoard: the life of a new identity. The key is made in the applet, a request for a
// certificate is signed with it, and the cloud's certificate is taken.
func TestOnBoard(t *testing.T) {
	a := open(t, newCard(t))
	ref := host.ByLabel("next identity")
	_, err := a.Key(ref, ref)
	require.ErrorContains(t, err, "the container is empty")
	pub, err := a.GenerateKeyPair(ref)
	require.NoError(t, err)
	k, err := a.Key(ref, ref)
	require.NoError(t, err)
	require.Equal(t, pub, k.Public())
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "new"}, SignatureAlgorithm: x509.ECDSAWithSHA256}, k)
	require.NoError(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	require.NoError(t, csr.CheckSignature())
	require.Equal(t, pub, csr.PublicKey)
	other, err := a.GenerateKeyPair(ref)
	require.NoError(t, err)
	require.NotEqual(t, pub, other)
}

func TestSigner(t *testing.T) {
	a := open(t, newCard(t))
	digest := sha256.Sum256([]byte("text"))
	for _, c := range clouds {
		k, err := a.Key(host.ByID(c.key), host.ByID(c.key))
		require.NoError(t, err)
		sig, err := k.Sign(nil, digest[:], crypto.SHA256)
		require.NoError(t, err)
		require.NoError(t, a.Verify(host.ByID(c.key), digest[:], sig, crypto.SHA256), c.name)
		wrong := bytes.Clone(digest[:])
		wrong[0] ^= 1
		require.ErrorIs(t, a.Verify(host.ByID(c.key), wrong, sig, crypto.SHA256), &host.StatusError{SW: iotsafe.SWMismatch})
		require.ErrorIs(t, a.Verify(host.ByID(c.key), digest[:], []byte{1, 2}, crypto.SHA256), &host.StatusError{SW: iotsafe.SWMismatch})
		_, err = k.Sign(nil, digest[:20], crypto.SHA1)
		require.ErrorContains(t, err, "the applet has no SHA-1")
		_, err = k.Sign(nil, digest[:20], crypto.SHA256)
		require.ErrorContains(t, err, "the digest has 20 bytes, SHA-256 has 32")
		switch pub := k.Public().(type) {
		case *ecdsa.PublicKey:
			require.True(t, ecdsa.VerifyASN1(pub, digest[:], sig))
		case *rsa.PublicKey:
			require.NoError(t, rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig))
			o := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
			sig, err = k.Sign(nil, digest[:], o)
			require.NoError(t, err)
			require.NoError(t, rsa.VerifyPSS(pub, crypto.SHA256, digest[:], sig, o))
			require.NoError(t, a.Verify(host.ByID(c.key), digest[:], sig, o))
			_, err = k.Sign(nil, digest[:], &rsa.PSSOptions{SaltLength: 20, Hash: crypto.SHA256})
			require.ErrorContains(t, err, "a salt as long as the hash")
		}
	}
}

func TestAgreement(t *testing.T) {
	a := open(t, newCard(t))
	mine, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	pub, err := a.GenerateKeyPair(host.ByID(4))
	require.NoError(t, err)
	theirs, err := pub.(*ecdsa.PublicKey).ECDH()
	require.NoError(t, err)
	want, err := mine.ECDH(theirs)
	require.NoError(t, err)
	got, err := a.AgreeWith(host.ByID(4), host.ByID(5), mine.PublicKey())
	require.NoError(t, err)
	require.Equal(t, want, got)
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = a.AgreeWith(host.ByID(4), host.ByID(5), x.PublicKey())
	require.ErrorContains(t, err, "the applet has no curve X25519")
	big, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, err = a.ECDH(host.ByID(4), host.ByID(8), &big.PublicKey)
	require.ErrorIs(t, err, &host.StatusError{SW: apdu.CommandIncompatible})
}

func TestDerivation(t *testing.T) {
	a := open(t, newCard(t, "type: hmac, key: seed", `type: hmac, key: "000102"`))
	prk, err := a.Extract(crypto.SHA256, bytes.Repeat([]byte{0x0B}, 22), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	require.NoError(t, err)
	require.Equal(t, byte(0x07), prk[0]) // RFC 5869 A.1
	require.Len(t, prk, 32)
	same, err := a.Extract(crypto.SHA512, []byte{0, 1, 2}, nil)
	require.NoError(t, err)
	psk, err := a.ExtractPSK(crypto.SHA512, host.ByID(0x41), nil)
	require.NoError(t, err)
	require.Equal(t, same, psk)
	want, err := a.PRF([]byte{0, 3, 0, 0, 0, 0, 3, 0, 1, 2}, "label", []byte("seed"), 48)
	require.NoError(t, err)
	got, err := a.PRFWithPSK(host.ByLabel("pre-shared key"), nil, "label", []byte("seed"), 48)
	require.NoError(t, err)
	require.Equal(t, want, got)
	want, err = a.PRF([]byte{0, 1, 9, 0, 3, 0, 1, 2}, "label", []byte("seed"), 48)
	require.NoError(t, err)
	got, err = a.PRFWithPSK(host.ByID(0x41), []byte{9}, "label", []byte("seed"), 48)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = a.PRF(nil, "", nil, 256)
	require.ErrorContains(t, err, "1 to 255 bytes")
}

func TestObjects(t *testing.T) {
	card := newCard(t)
	a := open(t, card)
	app, err := a.Application()
	require.NoError(t, err)
	require.Equal(t, host.Application{Version: 1, ID: "sspemu IoT SAFE", Files: 9, Private: 6, Public: 10, Secrets: 1, Functions: 15, Hashes: 7, Signatures: 7, Agreement: 1, Derivation: 3, Sessions: 4}, app)
	l, err := a.Objects()
	require.NoError(t, err)
	require.Len(t, l, 26)
	require.Equal(t, host.Object{Kind: profile.Private, ID: []byte{1}, Label: "public cloud A", State: 1, Type: iotsafe.P256, Usage: 1, Functions: 3, Signatures: 4, Hashes: 7}, l[0])
	o, err := a.Object(profile.File, host.ByLabel("configuration"))
	require.NoError(t, err)
	require.Equal(t, 28, o.Size)
	b, err := a.ReadFile(host.ByID(0x61))
	require.NoError(t, err)
	require.Equal(t, "{\"cloud\": \"public cloud A\"}\n", string(b))
	_, err = a.ReadFile(host.ByLabel("nothing"))
	require.EqualError(t, err, `file "nothing": GET DATA: status 6A82, object not found, or no such applet`)
	random := make([]byte, 600)
	n, err := io.ReadFull(a, random)
	require.NoError(t, err)
	require.Equal(t, 600, n)
	require.NotEqual(t, random[:300], random[300:])
}

// TestChannel: a device may have a logical channel, beside another on the basic one.
func TestChannel(t *testing.T) {
	card := newCard(t)
	a := open(t, card)
	b, err := host.Select(context.Background(), card, host.Options{Channel: true})
	require.NoError(t, err)
	for _, x := range []*host.Applet{a, b, a, b} {
		k, err := x.Key(host.ByID(1), host.ByID(1))
		require.NoError(t, err)
		_, err = k.Sign(nil, make([]byte, 32), crypto.SHA256)
		require.NoError(t, err)
	}
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	_, err = host.Select(context.Background(), card, host.Options{AIDs: [][]byte{{0xA0, 0, 0, 0, 0}, {0xA0, 0, 0, 0x05, 0x59, 0, 0x11}}, Channel: true})
	require.ErrorIs(t, err, host.ErrNoApplet)
	require.Equal(t, "019000", card.Card.Transmit("0070000001"), "the channel was closed")
}

// TestForeignApplets: what other applets answer, and what is wrong with answers.
func TestForeignApplets(t *testing.T) {
	card := newCard(t)
	a := open(t, card)
	k, err := a.Key(host.ByID(1), host.ByID(1))
	require.NoError(t, err)
	want, err := k.Sign(nil, make([]byte, 32), crypto.SHA256)
	require.NoError(t, err)
	var rest []byte
	for name, change := range map[string]func(c, r []byte) []byte{
		"a length of two bytes": func(c, r []byte) []byte {
			if c[1] == iotsafe.ComputeSignatureUpdate {
				return append([]byte{0x33, 0}, r[1:]...)
			}
			return r
		},
		"a signature in ASN.1": func(c, r []byte) []byte {
			if c[1] == iotsafe.ComputeSignatureUpdate {
				return append(append([]byte{0x33, byte(len(want))}, want...), 0x90, 0x00)
			}
			return r
		},
		"GET RESPONSE": func(c, r []byte) []byte {
			if c[1] == 0xC0 {
				return append(rest, 0x90, 0x00)
			}
			if len(r) > 10 {
				rest = bytes.Clone(r[4 : len(r)-2])
				return append(r[:4:4], 0x61, byte(len(rest)))
			}
			return r
		},
		"6Cxx": func(c, r []byte) []byte {
			if n := len(r) - 2; c[1] == iotsafe.GetData && c[len(c)-1] != byte(n) {
				return []byte{0x6C, byte(n)}
			}
			return r
		},
		"a proactive command waits": func(_, r []byte) []byte {
			if r[len(r)-2] == 0x90 {
				r[len(r)-2], r[len(r)-1] = 0x91, 0x10
			}
			return r
		},
	} {
		card.change = change
		got, err := k.Sign(nil, make([]byte, 32), crypto.SHA256)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
		app, err := a.Application()
		require.NoError(t, err, name)
		require.Equal(t, 4, app.Sessions, name)
	}
	for name, change := range map[string]func(c, r []byte) []byte{
		"no status word":         func(_, _ []byte) []byte { return []byte{0x90} },
		"more data without end":  func(_, _ []byte) []byte { return append(make([]byte, 256), 0x61, 0x00) },
		"a list without end":     func(_, _ []byte) []byte { return []byte{0x63, 0x00} },
		"an object that is none": func(_, _ []byte) []byte { return []byte{0xC5, 0x00, 0x90, 0x00} },
		"an object cut off":      func(_, _ []byte) []byte { return []byte{0xC1, 0x05, 0x84, 0x90, 0x00} },
	} {
		card.change = change
		_, err := a.Objects()
		require.Error(t, err, name)
	}
	card.change = func(c, r []byte) []byte {
		if c[1] == iotsafe.ComputeSignatureUpdate {
			return []byte{0x33, 0x02, 1, 2, 0x90, 0x00}
		}
		return r
	}
	_, err = k.Sign(nil, make([]byte, 32), crypto.SHA256)
	require.ErrorContains(t, err, "a signature of 2 bytes; 64 are expected")
	card.change = func(c, r []byte) []byte {
		if c[1] == iotsafe.GetRandom {
			return []byte{0x90, 0x00}
		}
		return r
	}
	_, err = a.Read(make([]byte, 4))
	require.ErrorContains(t, err, "gave no bytes")
}

// FuzzHost: whatever a card answers, the device's side returns.
func FuzzHost(f *testing.F) {
	card := newCard(f)
	var seed []byte
	card.change = func(_, r []byte) []byte { seed = append(append(seed, byte(len(r))), r...); return r }
	a := open(f, card)
	k, err := a.Key(host.ByID(1), host.ByID(1))
	require.NoError(f, err)
	_, err = k.Sign(nil, make([]byte, 32), crypto.SHA256)
	require.NoError(f, err)
	_, err = a.ReadFile(host.ByID(0x61))
	require.NoError(f, err)
	f.Add(seed)
	seed = nil
	_, err = a.Objects()
	require.NoError(f, err)
	f.Add(append([]byte{2, 0x90, 0x00}, seed...))
	f.Add([]byte{2, 0x90, 0x00, 4, 0x20, 0x02, 0x63, 0x00})
	f.Fuzz(func(t *testing.T, in []byte) {
		c := script(in)
		a, err := host.Select(context.Background(), &c, host.Options{})
		if err != nil {
			return
		}
		if k, err := a.Key(host.ByID(1), host.ByID(1)); err == nil {
			_, _ = k.Sign(nil, make([]byte, 32), crypto.SHA256)
		}
		_, _ = a.ReadFile(host.ByID(0x61))
		_, _ = a.Objects()
		_, _ = a.Application()
		_, _ = a.GenerateKeyPair(host.ByID(1))
	})
}

// script is a card that gives the answers of a fuzzer, each behind its length.
type script []byte

func (s *script) Transmit(_ context.Context, _, dst []byte) ([]byte, error) {
	in := *s
	if len(in) == 0 {
		return nil, io.EOF
	}
	n := min(int(in[0]), len(in)-1)
	*s = in[1+n:]
	return append(dst[:0], in[1:1+n]...), nil
}

// crowded is a card whose sessions others have, so many times.
type crowded struct {
	*native
	times int
}

func (c *crowded) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	if capdu[1] == iotsafe.ComputeSignatureInit && capdu[2] == iotsafe.SessionOpen && c.times > 0 {
		c.times--
		return iotsafe.SWCapacity.Append(dst[:0]), nil
	}
	return c.native.Transmit(ctx, capdu, dst)
}

// TestBusy: a device waits until another one on the card gives a session back; it does not
// wait for ever, nor when nobody wants it to.
func TestBusy(t *testing.T) {
	card := newCard(t)
	digest := sha256.Sum256([]byte("message"))
	sign := func(ctx context.Context, wait time.Duration, times int) error {
		a, err := host.Select(ctx, &crowded{card, times}, host.Options{Wait: wait})
		require.NoError(t, err)
		k, err := a.Key(host.ByID(1), host.ByID(1))
		require.NoError(t, err)
		_, err = k.Sign(nil, digest[:], crypto.SHA256)
		return err
	}
	none := &host.StatusError{SW: iotsafe.SWCapacity}
	require.NoError(t, sign(t.Context(), 0, 5))
	require.ErrorIs(t, sign(t.Context(), -1, 1), none)
	require.ErrorIs(t, sign(t.Context(), 20*time.Millisecond, 1000), none)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, sign(ctx, time.Hour, 1<<30), none)
}
