package clients

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// TestCells: PC/SC tools, curl and coap-client, none of which knows what an SSP is,
// use a bundle over buses that have bit errors.
//
//	opensc-tool ── pcscd ──┐
//	curl ──────────────────┼── sspemu proxy ══ SPI, I2C ══ SSP ── example
//	coap-client ───────────┘
func TestCells(t *testing.T) {
	curl, coap := tool(t, "curl", "curl"), tool(t, "libcoap3-bin", coapClients...)
	if curl == "" || coap == "" {
		return
	}
	body := make([]byte, 32<<10)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(body); i++ {
		body[i] = byte(r.Uint32())
	}
	in := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.WriteFile(in, body, 0o600))
	for _, link := range []string{
		"simspi:cell?protocol=t1prime&ber=1e-6&seed=1",
		"simspi:cell?protocol=shdlc&ber=1e-6&seed=2",
		"simi2c:cell?protocol=t1prime&ber=1e-6&seed=3",
		"simi2c:cell?protocol=shdlc&ber=1e-6&seed=4",
	} {
		t.Run(link, func(t *testing.T) {
			d := pcscdtest.Start(t)
			if d == nil {
				return
			}
			http, udp := pcscdtest.FreeAddr(t), pcscdtest.FreeAddr(t)
			proxy := exec.Command(sspemu(t), "proxy", "--link", link, "--active", "example", "--http", http, "--coap", udp, "--card", d.URL)
			proxy.Stderr = os.Stderr
			ready(t, proxy)
			t.Cleanup(func() { stop(t, proxy) })

			out := filepath.Join(t.TempDir(), "out")
			_, notes, code := run(t, nil, curl, "-sS", "--max-time", "60", "--data-binary", "@"+in, "-o", out, "http://"+http+"/echo")
			require.Zero(t, code, notes)
			got, err := os.ReadFile(out)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got), "32 KiB by HTTP came back as %d others", len(got))

			note := strings.Repeat("0123456789abcdef", 250)
			require.NoError(t, os.WriteFile(out, []byte(note), 0o600))
			_, notes, code = run(t, nil, coap, "-B", "30", "-m", "put", "-b", "256", "-t", "text/plain", "-f", out, "coap://"+udp+"/note")
			require.Zero(t, code, notes)
			text, notes, code := run(t, nil, coap, "-B", "30", "-b", "256", "coap://"+udp+"/note")
			require.Zero(t, code, notes)
			require.Equal(t, note, strings.TrimSuffix(text, "\n"))

			require.Eventually(t, func() bool {
				b, _ := exec.Command("opensc-tool", "-r", "0", "-s", "00A4040008F053535045"+"4D5501", "-s", "8010000004").CombinedOutput()
				return bytes.Count(b, []byte("SW1=0x90, SW2=0x00")) == 2 && bytes.Contains(b, []byte("00 00 00 2A"))
			}, 20*time.Second, 300*time.Millisecond, "the counter of the bundle by APDU")
		})
	}
}
