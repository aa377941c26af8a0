// Package clients drives the built binary with real PC/SC software: pcscd in the
// foreground, Debian's virtual reader, and the tools that people have.
//
//	opensc-tool, pcsc_scan, scriptor, pyscard ── pcscd ── libifdvpcd.so ── bin/sspemu serve
package clients

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// built is what is under test.
const built = "../../bin/sspemu"

// python is Debian's, which has Debian's pyscard.
const python = "/usr/bin/python3"

// emulator is a running bin/sspemu with its card in the reader of a real pcscd.
type emulator struct {
	t      *testing.T
	binary string
	api    string
}

// start runs everything until the test ends; nil where pcscd is not installed.
// parameters are those of the link, such as ?protocol=t0; args more of sspemu serve.
func start(t *testing.T, parameters string, args ...string) *emulator {
	d := pcscdtest.Start(t)
	if d == nil {
		return nil
	}
	e := &emulator{t, sspemu(t), pcscdtest.FreeAddr(t)}
	cmd := exec.Command(e.binary, append([]string{"serve", "--state", t.TempDir(), "--link", d.URL + parameters, "--api", e.api, "--seed", "1"}, args...)...)
	cmd.Stderr = os.Stderr
	ready(t, cmd)
	t.Cleanup(func() { stop(t, cmd) })
	// The driver sees the card when the emulator has connected to it.
	require.Eventually(t, func() bool {
		b, _ := exec.Command("opensc-tool", "-r", "0", "--atr").CombinedOutput()
		return regexp.MustCompile(`^3[bB]`).Match(b)
	}, 20*time.Second, 100*time.Millisecond, "a card should be in the reader")
	return e
}

// run runs a tool and gives what it printed.
func (e *emulator) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "SSPEMU="+e.binary, "SSPEMU_ADDRESS="+e.api)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

func TestRealClients(t *testing.T) {
	e := start(t, "")
	if e == nil {
		return
	}
	t.Run("opensc-tool", func(t *testing.T) {
		require.Regexp(t, `(?m)^0\s+Yes\s+Test PCD 00 00$`, e.run(t, "opensc-tool", "--list-readers"))
		require.Regexp(t, `^3b:9e:96:80:b1:fe:45:1f:c7:80:31:`, e.run(t, "opensc-tool", "-r", "0", "-a"))
		out := e.run(t, "opensc-tool", "-r", "0", "-s", "00A40004023F00")
		require.Contains(t, out, "SW1=0x90, SW2=0x00")
		require.Regexp(t, `(?m)^62 `, out, "an FCP template")
		require.Contains(t, e.run(t, "opensc-tool", "-r", "0", "-s", "00A40004022FE2", "-s", "00B000000A"), "98 00 01 01 00 00 00 00 00")
	})
	t.Run("pcsc_scan", func(t *testing.T) {
		out := e.run(t, "pcsc_scan", "-n", "-t", "1")
		require.Contains(t, out, "Card inserted")
		require.Contains(t, strings.ToUpper(out), "ATR: 3B 9E 96 80")
	})
	t.Run("scriptor", func(t *testing.T) {
		script := filepath.Join(t.TempDir(), "script")
		require.NoError(t, os.WriteFile(script, []byte("reset\n00 A4 00 04 02 2F E2\n00 B0 00 00 0A\n00 84 00 00 08\n80 FE 00 00\nFF CA 01 00 00\n"), 0o600))
		out := e.run(t, "scriptor", "-r", "Test PCD 00 00", "-p", "T=1", script)
		require.Contains(t, out, "98 00 01 01 00 00 00 00 00")
		require.Contains(t, out, "6D 00")
		require.Contains(t, out, "6E 00")
	})
	t.Run("pyscard", func(t *testing.T) {
		out := e.run(t, python, filepath.Join("testdata", "card.py"))
		require.True(t, strings.HasSuffix(strings.TrimSpace(out), "all good"), out)
	})
}

// TestConform plays the conformance suites through the real reader, on a card that
// answers as on T=0. What the reader itself cannot carry is iso_7816_4/longest.
func TestConform(t *testing.T) {
	e := start(t, "?protocol=t0")
	if e == nil {
		return
	}
	out := e.run(t, e.binary, "conform", "--link", "pcsc:"+pcscdtest.Reader+" 00 00", "--suite", "ts_102_221", "--suite", "ts_31_102", "--suite", "ts_35")
	require.Regexp(t, `2\d\d pass, 0 fail`, out)
}

// TestConformPayment does the same with the payment bundle, whose card answers as on T=0
// or T=1.
func TestConformPayment(t *testing.T) {
	for _, protocol := range []string{"t0", "t1"} {
		t.Run(protocol, func(t *testing.T) {
			e := start(t, "?protocol="+protocol, "--active", "payment")
			if e == nil {
				return
			}
			out := e.run(t, e.binary, "conform", "--link", "pcsc:"+pcscdtest.Reader+" 00 00", "--bundle", "payment")
			require.Regexp(t, `1\d\d pass, 0 fail`, out)
		})
	}
}

// sspemu is the binary under test.
func sspemu(tb testing.TB) string {
	path, err := filepath.Abs(built)
	require.NoError(tb, err)
	require.FileExists(tb, path, "run `make build` first")
	return path
}

// ready starts cmd and waits for the line "ready".
func ready(tb testing.TB, cmd *exec.Cmd) {
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	require.Equal(tb, "ready", lines.Text())
	go func() {
		for lines.Scan() { // keep the pipe from filling up
		}
	}()
}

func stop(tb testing.TB, cmd *exec.Cmd) {
	require.NoError(tb, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(tb, cmd.Wait())
}
