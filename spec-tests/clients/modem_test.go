package clients

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/scl/terminal/modem"
)

// TestSerialModem: a plain serial program has a signature made by a key of the applet, by
// AT+CSIM and by a session, and OpenSSL verifies it.
//
//	pyserial ── PTY ── bin/sspemu modem ── control API ── bin/sspemu serve --active iot
func TestSerialModem(t *testing.T) {
	if exec.Command(python, "-c", "import serial").Run() != nil {
		require.Empty(t, os.Getenv("CI"), "pyserial is not installed (apt-get install python3-serial)")
		t.Log("not run: pyserial is not installed (apt-get install python3-serial)")
		return
	}
	s := serving(t)
	s.activate(t, "iot")
	for name, flags := range map[string][]string{"passes": nil, "fetches": {"--fetch", "--bare"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			port := filepath.Join(dir, "modem")
			cmd := exec.Command(sspemu(t), append([]string{"modem", "--listen", "pty:" + port, "--api", s.api}, flags...)...)
			cmd.Stderr = os.Stderr
			ready(t, cmd)
			t.Cleanup(func() { stop(t, cmd) })
			out, notes, code := run(t, nil, python, filepath.Join("testdata", "modem.py"), port, dir)
			require.Zero(t, code, out+notes)
			require.True(t, strings.HasSuffix(strings.TrimSpace(out), "all good"), out)
			for _, how := range []string{"csim", "cgla"} {
				verify := exec.Command("bash", "-ec", `openssl x509 -inform DER -in cert.der -noout -pubkey > key.pem
					openssl dgst -sha256 -verify key.pem -signature "$1.sig" message`, "verify", how)
				verify.Dir = dir
				out, err := verify.CombinedOutput()
				require.NoError(t, err, "%s: %s", how, out)
			}
		})
	}
}

// TestEightDevices: eight devices, each with a logical channel of its own on one card that
// has four sessions; none fails, in ten TLS sessions each.
func TestEightDevices(t *testing.T) {
	f := newFleet(t)
	cloud, err := f.authority.Open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cloud.Close()) })
	device := func() (err error) {
		conn, err := net.Dial("tcp", f.port)
		if err != nil {
			return err
		}
		te, err := modem.NewTE(t.Context(), conn)
		if err != nil {
			return err
		}
		card := &modem.CGLA{TE: te}
		defer func() { err = errors.Join(err, card.Close()) }()
		a, err := host.Select(t.Context(), card, host.Options{})
		if err != nil {
			return err
		}
		k, err := a.Key(host.ByID(1), host.ByID(1))
		if err != nil {
			return err
		}
		id, err := a.Certificate(k, host.ByID(2))
		for n := 0; n < 10 && err == nil; n++ {
			_, _, err = cloud.Connect(&tls.Config{RootCAs: f.authority.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{id}}, "hello")
		}
		return err
	}
	var all sync.WaitGroup
	failed := make([]error, 8)
	for i := range failed {
		all.Go(func() { failed[i] = device() })
	}
	all.Wait()
	require.NoError(t, errors.Join(failed...))
}

// TestExample: the example program of docs/iot.md talks to a cloud, with its card behind a
// modem.
func TestExample(t *testing.T) {
	f := newFleet(t)
	cloud, err := f.authority.Open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cloud.Close()) })
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir+"/example", "../../bundles/iot/host/example").CombinedOutput()
	require.NoError(t, err, string(out))
	face := exec.Command(sspemu(t), "modem", "--listen", "pty:"+dir+"/modem", "--active", "iot", "--api", "off")
	ready(t, face)
	t.Cleanup(func() { stop(t, face) })
	said, notes, code := run(t, nil, dir+"/example", dir+"/modem", cloud.Endpoint)
	require.Zero(t, code, notes)
	require.Equal(t, "hello device-0001.cloud-a.example\nfrom device-0001.cloud-a.example: hello\n", said)
}
