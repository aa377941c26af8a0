package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// TestSerialCCID: Debian's driver for serial CCID readers, which makes blocks of T=1 and
// the PPS by itself, finds the emulator in its reader.
//
//	opensc-tool, scriptor ── pcscd ── libccidtwin.so ── pseudo-terminal ── bin/sspemu serve --link ccid:
func TestSerialCCID(t *testing.T) {
	for _, c := range []struct{ protocol, parameters, sw string }{
		{"T=1", "", `(?s)< 62 .* 90 00`}, // the whole answer
		{"T=0", "?protocol=t0", `< 61 [0-9A-F]{2} `},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			device := filepath.Join(t.TempDir(), "reader")
			e := &emulator{t, sspemu(t), pcscdtest.FreeAddr(t)}
			serve := exec.Command(e.binary, "serve", "--state", t.TempDir(), "--link", "ccid:"+device+c.parameters, "--api", e.api, "--seed", "1", "--http", "off", "--coap", "off")
			serve.Stderr = os.Stderr
			ready(t, serve)
			t.Cleanup(func() { stop(t, serve) })
			if pcscdtest.StartSerial(t, device) == nil {
				return
			}
			eventually := func(want string, tool ...string) {
				t.Helper()
				require.Eventually(t, func() bool {
					b, _ := exec.Command(tool[0], tool[1:]...).CombinedOutput()
					return regexp.MustCompile(want).Match(b)
				}, 20*time.Second, 100*time.Millisecond, want)
			}
			script := filepath.Join(t.TempDir(), "script")
			require.NoError(t, os.WriteFile(script, []byte("reset\n00 A4 00 04 02 3F 00\n00 A4 00 0C 02 2F E2\n00 B0 00 00 0A\n00 B0 00 00 FF\n00 84 00 00 08\n80 FE 00 00\n"), 0o600))
			reset := filepath.Join(t.TempDir(), "reset")
			require.NoError(t, os.WriteFile(reset, []byte("reset\n"), 0o600))
			// The first connection to the card decides the protocol.
			tool := []string{"scriptor", "-r", pcscdtest.Reader + " 00 00", "-p", c.protocol, script}
			eventually(`80 FE 00 00`, tool...)
			out := e.run(t, tool[0], tool[1:]...)
			require.Contains(t, out, "< OK: 3B 9E 96 80")
			require.Regexp(t, c.sw, out)
			require.Contains(t, out, "98 00 01 01 00 00 00 00 00")
			require.Contains(t, out, "6C 0A", "the card says how long the file is")
			require.Contains(t, out, "6D 00")

			link := "pcsc:" + pcscdtest.Reader + " 00 00?protocol=" + strings.ToLower(strings.Replace(c.protocol, "=", "", 1))
			if c.protocol == "T=1" { // on T=0 a case 4 command is answered with 61xx, which the suites do not expect
				out = e.run(t, e.binary, "conform", "--link", link, "--suite", "ts_102_221_f", "--suite", "ts_35_207")
				require.Regexp(t, `\d\d pass, 0 fail`, out)
			}

			// Another bundle is another card: the reader tells that one has gone and another came.
			e.run(t, e.binary, "bundle", "activate", "payment", "--api", e.api)
			eventually(`3B E8 00 00 80 31 FE 45`, append(tool[:len(tool)-1:len(tool)-1], reset)...)
			out = e.run(t, e.binary, "emv", "--link", link, "--pin", "1234", "--issuer", "builtin", "--quiet")
			require.Contains(t, out, "approved online")
		})
	}
}
