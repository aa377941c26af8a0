package clients

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// coapClients are the names of libcoap's client in Debian, where each build has one.
var coapClients = []string{"coap-client", "coap-client-openssl", "coap-client-gnutls", "coap-client-notls"}

func TestCoAPClient(t *testing.T) {
	program := tool(t, "libcoap3-bin", coapClients...)
	if program == "" {
		return
	}
	s := serving(t)
	url := "coap://" + s.coap
	client := func(t *testing.T, args ...string) string {
		t.Helper()
		out, notes, code := run(t, nil, program, append([]string{"-B", "20"}, args...)...)
		require.Zero(t, code, "%v: %s", args, notes)
		return strings.TrimSuffix(out+notes, "\n") // error codes are on standard error
	}
	t.Run("GET", func(t *testing.T) {
		out := client(t, url+"/.well-known/core")
		require.Contains(t, out, "</counter>")
		require.Contains(t, out, "</note>")
		require.Equal(t, "41", client(t, url+"/counter"))
		require.Contains(t, client(t, "-A", "application/json", url+"/"), `"name":"example"`)
		require.Contains(t, client(t, url+"/nothing"), "4.04")
	})
	t.Run("POST, non-confirmable", func(t *testing.T) {
		client(t, "-N", "-m", "post", url+"/counter")
		require.Equal(t, "42", client(t, "-N", url+"/counter"))
	})
	t.Run("PUT", func(t *testing.T) {
		client(t, "-m", "put", "-t", "text/plain", "-e", "as it is", url+"/note")
		require.Equal(t, "as it is", client(t, url+"/note"))
		require.Contains(t, client(t, "-m", "delete", url+"/note"), "4.05")
		require.Contains(t, client(t, "-m", "put", "-t", "application/cbor", "-e", "x", url+"/note"), "4.15")
	})
	t.Run("in blocks", func(t *testing.T) {
		text := strings.Repeat("0123456789abcdef", 4000/16)
		file := filepath.Join(t.TempDir(), "note")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		for _, size := range []string{"16", "64", "256", "1024"} {
			client(t, "-m", "put", "-b", size, "-t", "text/plain", "-f", file, url+"/note")
			copied := filepath.Join(t.TempDir(), "copy")
			client(t, "-b", size, "-o", copied, url+"/note")
			b, err := os.ReadFile(copied)
			require.NoError(t, err)
			require.Equal(t, text, string(b))
		}
		require.NoError(t, os.WriteFile(file, []byte(strings.Repeat(text, 2)), 0o600))
		require.Contains(t, client(t, "-m", "put", "-b", "256", "-t", "text/plain", "-f", file, url+"/note"), "4.13")
	})
	t.Run("observe", func(t *testing.T) {
		client(t, "-m", "put", "-t", "text/plain", "-e", "before", url+"/note")
		seen := filepath.Join(t.TempDir(), "seen")
		out, err := os.Create(seen)
		require.NoError(t, err)
		defer out.Close()
		cmd := exec.Command(program, "-s", "5", url+"/note") // seconds
		cmd.Stdout = out
		require.NoError(t, cmd.Start())
		for _, text := range []string{"before", "after", "at last"} {
			if text != "before" {
				client(t, "-m", "put", "-t", "text/plain", "-e", text, url+"/note")
			}
			require.Eventually(t, func() bool {
				b, err := os.ReadFile(seen)
				return err == nil && strings.Contains(string(b), text)
			}, 4*time.Second, 10*time.Millisecond, text)
		}
		require.NoError(t, cmd.Wait())
	})
	t.Run("a bundle without CoAP", func(t *testing.T) {
		s.activate(t, "example-c")
		require.Contains(t, client(t, url+"/counter"), "5.03")
		s.activate(t, "example")
		require.Equal(t, "42", client(t, url+"/counter"))
	})
}

// TestCoAPSClient: CoAP over DTLS with a pre-shared key, for each library there is.
func TestCoAPSClient(t *testing.T) {
	const identity, key = "alice", "open sesame"
	if tool(t, "libcoap3-bin", coapClients[1:3]...) == "" {
		return
	}
	keys := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keys, []byte(identity+":"+hex.EncodeToString([]byte(key))+"\n"), 0o600))
	s := serving(t, "--coaps", "COAPS", "--coaps-psk", keys)
	for _, name := range coapClients[1:3] {
		program, err := exec.LookPath(name)
		if err != nil {
			continue // the other one is there
		}
		t.Run(name, func(t *testing.T) {
			url := "coaps://" + s.coaps
			out, notes, code := run(t, nil, program, "-B", "20", "-u", identity, "-k", key, url+"/counter")
			require.Zero(t, code, notes)
			require.Equal(t, "41", strings.TrimSpace(out))
			_, _, _ = run(t, nil, program, "-B", "20", "-u", identity, "-k", key, "-m", "put", "-t", "text/plain", "-e", "secretly", url+"/note")
			out, notes, _ = run(t, nil, program, "-B", "20", "-u", identity, "-k", key, url+"/note")
			require.Equal(t, "secretly", strings.TrimSpace(out), notes)
			out, _, _ = run(t, nil, program, "-B", "3", "-u", identity, "-k", "open wheat", url+"/counter")
			require.NotRegexp(t, `(?m)^41$`, out, "another key")
			out, _, _ = run(t, nil, program, "-B", "3", "-u", "mallory", "-k", key, url+"/counter")
			require.NotRegexp(t, `(?m)^41$`, out, "another identity")
		})
	}
}
