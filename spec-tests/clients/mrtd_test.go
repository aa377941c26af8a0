package clients

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// compiled is a C program of testdata, built with the libraries of Debian.
func compiled(t *testing.T, source string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), source[:len(source)-len(".c")])
	cmd := exec.Command("clang", append([]string{"-Wall", "-Wextra", "-Wno-unused-parameter", "-O1", "-o", out, filepath.Join("testdata", source), "-I/usr/include/PCSC"}, flags...)...)
	b, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s (apt-get install clang libpcsclite-dev libeac-dev libssl-dev mrtdreader)", b)
	return out
}

// TestTravelDocument: inspection systems that others wrote read the travel document, and
// so does ours.
//
//	mrtdreader, libmrtd ── nfc_pcsc.c ──┐
//	libeac (OpenPACE) ──── pace.c ──────┼─ pcscd ── libifdvpcd.so ── bin/sspemu serve --active eid
//	sspemu inspect mrtd ────────────────┘
//
// mrtdreader is as Debian has it: nfc_pcsc.c gives it the functions of libnfc.
func TestTravelDocument(t *testing.T) {
	for _, protocol := range []string{"t0", "t1"} {
		t.Run(protocol, func(t *testing.T) {
			e := start(t, "?protocol="+protocol, "--active", "eid")
			if e == nil {
				return
			}
			t.Run("libeac", func(t *testing.T) {
				out := e.run(t, compiled(t, "pace.c", "-lpcsclite", "-leac", "-lcrypto"), "123456")
				for _, way := range []string{"3DES-CBC-CBC", "AES-CBC-CMAC-128", "AES-CBC-CMAC-256"} {
					require.Contains(t, out, "id-PACE-ECDH-GM-"+way+": done, the application is selected\n")
				}
			})
			t.Run("mrtdreader", func(t *testing.T) {
				shim := compiled(t, "nfc_pcsc.c", "-shared", "-fPIC", "-lpcsclite")
				dir := t.TempDir()
				cmd := exec.Command("mrtdreader", "-p", "L898902C3", "-b", "740812", "-e", "360104")
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "LD_PRELOAD="+shim)
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.Contains(t, string(out), "Challenge successful!")
				image, err := os.ReadFile(filepath.Join(dir, "image.jpg"))
				require.NoError(t, err)
				require.Equal(t, portrait(t, e), image)
			})
			t.Run("sspemu inspect", func(t *testing.T) {
				dir := t.TempDir()
				e.run(t, e.binary, "persona", "eid", "--anchors", dir)
				for _, way := range []string{"none", "gm P-256", "gm brainpoolP384r1", "gm 3des", "im", "cam"} {
					out := e.run(t, e.binary, "inspect", "mrtd", "--link", "pcsc:"+pcscdtest.Reader+" 00 00", "--anchors", dir, "--pace", way, "--document", "L898902C3", "--birth", "740812", "--expiry", "360104")
					require.Regexp(t, `genuine as far as it could be checked: \d+ passed\n`, out)
				}
			})
			t.Run("conform", func(t *testing.T) {
				out := e.run(t, e.binary, "conform", "--link", "pcsc:"+pcscdtest.Reader+" 00 00", "--bundle", "eid", "--suite", "doc_9303")
				require.Regexp(t, `1\d\d pass, 0 fail`, out)
			})
		})
	}
}

// portrait is that of the default persona, as sspemu inspect reads it from a card in its
// own process.
func portrait(t *testing.T, e *emulator) []byte {
	cmd := exec.Command(e.binary, "inspect", "mrtd", "--link", "mem:", "--json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var report struct {
		Sections []struct {
			Name     string
			Pictures []struct{ Data []byte }
		}
	}
	require.NoError(t, json.Unmarshal(out, &report))
	for _, s := range report.Sections {
		if s.Name == "Portrait" {
			return s.Pictures[0].Data
		}
	}
	t.Fatal("no portrait")
	return nil
}

// TestConformEID plays the suites of the identity card through the real reader, on a card
// that answers as on T=1: they want whole answers.
func TestConformEID(t *testing.T) {
	e := start(t, "?protocol=t1", "--active", "eid")
	if e == nil {
		return
	}
	out := e.run(t, e.binary, "conform", "--link", "pcsc:"+pcscdtest.Reader+" 00 00", "--bundle", "eid")
	require.Regexp(t, `2\d\d pass, 0 fail`, out)
}

// BenchmarkPCSCInspection reads and verifies the whole travel document of the default
// persona through a PC/SC reader: bin/sspemu in the virtual one.
func BenchmarkPCSCInspection(b *testing.B) {
	card := cardOf(b, "eid")
	if card == nil {
		return
	}
	ctx := context.Background()
	for _, v := range []struct{ name, way string }{{"PACE P-256 AES-128", "gm aes 128 P-256"}, {"BAC", "none"}} {
		b.Run(v.name, func(b *testing.B) {
			config := mrtd.Config{PACE: v.way}
			require.NoError(b, config.Passwords.FromFields("L898902C3", "740812", "360104"))
			for b.Loop() {
				_, err := card.PowerOn(ctx)
				require.NoError(b, err)
				if err := mrtd.Inspect(ctx, card, config, &inspect.Report{Date: time.Now()}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/inspection")
		})
	}
}
