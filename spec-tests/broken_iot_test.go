package spectests

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
)

// tamperedIoT is one way to tamper with an IoT SAFE applet.
type tamperedIoT struct {
	Name    string         `yaml:"name"`
	Persona map[string]any `yaml:"persona,flow,omitempty"`
	Cloud   string         `yaml:"cloud"` // what comes of a session with public cloud A
	Fails   []string       `yaml:"fails"` // the cases that fail, and no others
}

// iotFaults are those that are not in the persona: an applet that answers wrong.
var iotFaults = map[string]func(capdu, rapdu []byte) []byte{
	"a bit of every signature is wrong": func(c, r []byte) []byte {
		if len(c) > 1 && c[1] == iotsafe.ComputeSignatureUpdate && len(r) > 40 {
			r = bytes.Clone(r)
			r[len(r)-3] ^= 1
		}
		return r
	},
	"wrong signatures are told to be right": func(c, r []byte) []byte {
		if len(c) > 1 && c[1] == iotsafe.VerifySignatureUpdate && bytes.Equal(r, []byte{0x6D, 0x01}) {
			return []byte{0x90, 0x00}
		}
		return r
	},
	"random bytes are always the same": func(c, r []byte) []byte {
		if len(c) > 1 && c[1] == iotsafe.GetRandom && len(r) > 2 {
			return append(make([]byte, len(r)-2), 0x90, 0x00)
		}
		return r
	},
	"every session is free": func(_, r []byte) []byte {
		if bytes.Equal(r, []byte{0x69, 0x89}) {
			return []byte{0x90, 0x00}
		}
		return r
	},
}

// TestTamperedApplets: each way to tamper with an applet makes exactly the cases fail that
// are about it, and a cloud sees what it can see.
func TestTamperedApplets(t *testing.T) {
	const file = "testdata/tampered_iot.yaml"
	x := tamper(t, "iot", "gsma_iot_05")
	want := known[tamperedIoT](t, file)
	got := slices.Clone(want)
	for i := range got {
		c := &got[i]
		receive := iotFaults[c.Name]
		require.True(t, receive != nil != (c.Persona != nil), c.Name)
		target, stop := x.target(x.persona(c.Persona), receive)
		c.Cloud = visitCloud(t, target)
		c.Fails = x.fails(target)
		require.NoError(t, stop())
		require.NotEmpty(t, c.Fails, c.Name)
	}
	confirm(t, file, "# Tampered IoT SAFE applets: changes of the default persona, what comes of a session with\n# public cloud A, and which cases fail. A name without changes is a fault of\n# broken_iot_test.go.\n# go test ./spec-tests -run TamperedApplets -update\n", want, got)
}

// visitCloud opens a mutually authenticated TLS 1.3 session with the identity of public
// cloud A, and says how it ended, the device's view first.
func visitCloud(t *testing.T, target *Target) string {
	ctx := context.Background()
	_, err := target.Terminal.Reset(ctx, true)
	require.NoError(t, err)
	a, err := host.Select(ctx, target.Terminal, host.Options{})
	require.NoError(t, err)
	k, err := a.Key(host.ByID(1), host.ByID(1))
	if err != nil {
		return "device: " + err.Error()
	}
	id, err := a.Certificate(k, host.ByID(2))
	if err != nil {
		return "device: " + err.Error()
	}
	_, p := device(t)
	cert, key := cloud(t, p, 0)
	server, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	der, err := p.AuthorityCertificate(&p.Authorities[0])
	require.NoError(t, err)
	ca, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		Time: func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
			_ = c.Close()
		}
		done <- err
	}()
	anchor, err := a.X509(host.ByID(3))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(anchor)
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "localhost", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id, nil }})
	if err == nil {
		_, _ = c.Write([]byte("a"))
	}
	other := <-done
	if c != nil {
		_ = c.Close()
	}
	require.NoError(t, l.Close())
	switch {
	case other != nil && !errors.Is(other, io.EOF) && err == nil:
		return "cloud: " + other.Error()
	case err != nil:
		return "device: " + err.Error()
	}
	return "session"
}
