package clients

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// inReader is a running bin/sspemu whose only way out is an ordinary card reader:
//
//	sspemu http, coap ── TRANSACT DATA ── pcscd ── libifdvpcd.so ── bin/sspemu serve ══ SCL ══ example
//
// It gives the reader's URL, "" where pcscd is not installed, and the control API.
func inReader(t *testing.T, parameters string) (url, api string) {
	d := pcscdtest.Start(t)
	if d == nil {
		return "", ""
	}
	api = pcscdtest.FreeAddr(t)
	cmd := exec.Command(sspemu(t), "serve", "--ephemeral", "--active", "example", "--link", d.URL+parameters,
		"--api", api, "--http", "off", "--coap", "off")
	cmd.Stderr = os.Stderr
	ready(t, cmd)
	t.Cleanup(func() { stop(t, cmd) })
	require.Eventually(t, func() bool {
		b, _ := exec.Command("opensc-tool", "-r", "0", "--atr").CombinedOutput()
		return regexp.MustCompile(`^3[bB]`).Match(b)
	}, 20*time.Second, 100*time.Millisecond, "a card should be in the reader")
	return "pcsc:" + pcscdtest.Reader, api
}

// TestReader: HTTP and CoAP reach the bundle through pcscd and a reader, on T=1 and
// T=0, beside other programs that use the card.
func TestReader(t *testing.T) {
	for _, c := range []struct{ name, card, terminal string }{
		{"T=1", "", "?protocol=t1"},
		{"T=0", "?protocol=t0", ""}, // the ATR of the bundle offers T=1 only; the card answers as on T=0
	} {
		t.Run(c.name, func(t *testing.T) {
			url, _ := inReader(t, c.card)
			if url == "" {
				return
			}
			url += c.terminal
			command := func(args ...string) string {
				t.Helper()
				out, notes, code := run(t, nil, sspemu(t), args...)
				require.Zero(t, code, "sspemu %v: %s", args, notes)
				return out
			}
			require.Equal(t, "41\n", command("http", "--link", url, "GET", "/counter"))
			require.Equal(t, "42\n", command("http", "--link", url, "POST", "/counter"))
			require.Contains(t, command("coap", "--link", url, "GET", "/counter"), "42")
			require.Len(t, command("http", "--link", url, "GET", "/bytes?n=100000"), 100_000)
			require.Equal(t, "as it is", command("http", "--link", url, "-d", "as it is", "POST", "/echo"))
			require.Contains(t, command("apdu", "--link", url, "00A4040000"), "90 00")
			require.Contains(t, command("apdu", "--link", url, "--any", "00750200 00"), "< 6", "another session is for the bundle")
		})
	}
}

// TestProxy: curl through sspemu proxy and the reader, also when another bundle becomes
// active, which the reader shows as another card.
func TestProxy(t *testing.T) {
	curl := tool(t, "curl", "curl")
	url, api := inReader(t, "")
	if url == "" || curl == "" {
		return
	}
	at := pcscdtest.FreeAddr(t)
	proxy := exec.Command(sspemu(t), "proxy", "--link", url, "--http", at, "--coap", "off")
	proxy.Stderr = os.Stderr
	ready(t, proxy)
	t.Cleanup(func() { stop(t, proxy) })
	get := func(args ...string) string {
		t.Helper()
		out, notes, code := run(t, nil, curl, append([]string{"-sS", "--max-time", "30"}, args...)...)
		require.Zero(t, code, notes)
		return out
	}
	require.Equal(t, "41\n", get("http://"+at+"/counter"))
	require.Equal(t, "200000", get("-o", os.DevNull, "-w", "%{size_download}", "http://"+at+"/bytes?n=200000"))
	require.Equal(t, "as it is", get("--data-binary", "as it is", "http://"+at+"/echo"))
	// Other programs use the card at the same time, and reset it.
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("00 A4 04 00 00\nreset\n00 A4 04 00 00\n"), 0o600))
	others := make(chan error, 1)
	go func() {
		var err error
		for range 5 {
			_, first := exec.Command("opensc-tool", "-r", "0", "-s", "00A4040000").CombinedOutput()
			_, second := exec.Command("scriptor", "-r", pcscdtest.Reader+" 00 00", script).CombinedOutput()
			err = errors.Join(err, first, second)
		}
		others <- err
	}()
	for i := 0; ; i++ {
		require.Equal(t, "41\n", get("http://"+at+"/counter"))
		select {
		case err := <-others:
			require.NoError(t, err)
		default:
			continue
		}
		require.Greater(t, i, 5)
		break
	}
	for _, bundle := range []string{"telecom", "example"} {
		_, notes, code := run(t, nil, sspemu(t), "bundle", "activate", "--api", api, bundle)
		require.Zero(t, code, notes)
		require.Eventually(t, func() bool {
			return regexp.MustCompile(`"name":"` + bundle + `"`).MatchString(get("-H", "Accept: application/json", "http://"+at+"/"))
		}, 20*time.Second, 100*time.Millisecond, "the bundle %s should answer", bundle)
	}
	out, notes, code := run(t, nil, sspemu(t), "link", "probe", url)
	require.Zero(t, code, notes)
	require.Contains(t, out, "in TRANSACT DATA")
}
