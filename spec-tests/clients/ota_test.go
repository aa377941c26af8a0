package clients

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// TestAdministrationBehindReader: the server of a security domain reaches a card behind a
// PC/SC reader, on T=0, where answers wait for GET RESPONSE, and T=1. The device finds what
// was changed.
//
//	sspemu ota ── pcscd ── libifdvpcd.so ── bin/sspemu serve --active iot
func TestAdministrationBehindReader(t *testing.T) {
	for _, protocol := range []string{"t0", "t1"} {
		t.Run(protocol, func(t *testing.T) {
			e := start(t, "?protocol="+protocol, "--active", "iot")
			if e == nil {
				return
			}
			link := "pcsc:" + pcscdtest.Reader + " 00 00"
			counters := filepath.Join(t.TempDir(), "counters.json")
			sends := func(args ...string) string {
				return e.run(t, e.binary, append(append([]string{"ota"}, args...), "--link", link, "--counters", counters)...)
			}
			anchor := filepath.Join(t.TempDir(), "anchor.pem")
			require.NoError(t, os.WriteFile(anchor, []byte(e.run(t, e.binary, "ca", "--authority", "Public Cloud B test CA", "--print")), 0o600))
			require.Contains(t, sends("list"), "public cloud A certificate")
			require.Contains(t, sends("trust", "03", anchor), "file 03 has the new anchor")
			require.Contains(t, sends("generate", "51", "--domain", "service provider"), "BEGIN PUBLIC KEY")
			require.Contains(t, sends("generate", "31", "--domain", "private cloud", "--submit"), "BEGIN PUBLIC KEY")
			require.Contains(t, sends("put-certificate", "52", anchor, "--domain", "service provider"), "is in file 52")
			require.Regexp(t, `private key +51 +p256 +activated`, e.run(t, e.binary, "iot", "list", "--link", link))
		})
	}
}
