package clients

import (
	"os"
	"os/exec"
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
// It gives the reader's URL, "" where pcscd is not installed.
func inReader(t *testing.T, parameters string) (url string) {
	d := pcscdtest.Start(t)
	if d == nil {
		return ""
	}
	cmd := exec.Command(sspemu(t), "serve", "--ephemeral", "--active", "example", "--link", d.URL+parameters,
		"--api", pcscdtest.FreeAddr(t), "--http", "off", "--coap", "off")
	cmd.Stderr = os.Stderr
	ready(t, cmd)
	t.Cleanup(func() { stop(t, cmd) })
	require.Eventually(t, func() bool {
		b, _ := exec.Command("opensc-tool", "-r", "0", "--atr").CombinedOutput()
		return regexp.MustCompile(`^3[bB]`).Match(b)
	}, 20*time.Second, 100*time.Millisecond, "a card should be in the reader")
	return "pcsc:" + pcscdtest.Reader
}

// TestReader: HTTP and CoAP reach the bundle through pcscd and a reader, on T=1 and
// T=0, beside other programs that use the card.
func TestReader(t *testing.T) {
	for _, c := range []struct{ name, card, terminal string }{
		{"T=1", "", "?protocol=t1"},
		{"T=0", "?protocol=t0", ""}, // the ATR of the bundle offers T=1 only; the card answers as on T=0
	} {
		t.Run(c.name, func(t *testing.T) {
			url := inReader(t, c.card)
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
