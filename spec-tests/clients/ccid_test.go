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

// serial is a pcscd with Debian's driver for serial CCID readers, which makes blocks of
// T=1 and the PPS by itself, and the emulator in its reader.
//
//	opensc-tool, scriptor ── pcscd ── libccidtwin.so ── pseudo-terminal ── bin/sspemu serve --link ccid:
type serial struct {
	*emulator
	daemon *pcscdtest.Daemon
	stop   func() // of the emulator
	start  func()
}

// slot is the reader's name.
const slot = pcscdtest.Reader + " 00 00"

// startSerial runs both until the test ends; nil where they are not installed.
func startSerial(t *testing.T, parameters string) *serial {
	device, state := filepath.Join(t.TempDir(), "reader"), t.TempDir()
	s := &serial{emulator: &emulator{t, sspemu(t), pcscdtest.FreeAddr(t)}, stop: func() {}}
	s.start = func() {
		serve := exec.Command(s.binary, "serve", "--state", state, "--link", "ccid:"+device+parameters, "--api", s.api, "--seed", "1", "--http", "off", "--coap", "off")
		serve.Stderr = os.Stderr
		ready(t, serve)
		s.stop = func() {
			stop(t, serve)
			s.stop = func() {}
		}
	}
	t.Cleanup(func() { s.stop() })
	s.start()
	if s.daemon = pcscdtest.StartSerial(t, device); s.daemon == nil {
		return nil
	}
	return s
}

// eventually runs a tool until it prints what is wanted.
func (s *serial) eventually(t *testing.T, want string, tool ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		b, _ := exec.Command(tool[0], tool[1:]...).CombinedOutput()
		return regexp.MustCompile(want).Match(b)
	}, 20*time.Second, 100*time.Millisecond, want)
}

// script is a scriptor that plays those lines over a protocol.
func script(t *testing.T, protocol string, lines ...string) []string {
	name := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return []string{"scriptor", "-r", slot, "-p", protocol, name}
}

// TestSerialCCID: a stack that is not ours speaks T=1 and T=0 with the emulator.
func TestSerialCCID(t *testing.T) {
	for _, c := range []struct{ protocol, parameters, sw string }{
		{"T=1", "", `(?s)< 62 .* 90 00`}, // the whole answer
		{"T=0", "?protocol=t0", `< 61 [0-9A-F]{2} `},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			e := startSerial(t, c.parameters)
			if e == nil {
				return
			}
			// The first connection to the card decides the protocol.
			tool := script(t, c.protocol, "reset", "00 A4 00 04 02 3F 00", "00 A4 00 0C 02 2F E2", "00 B0 00 00 0A", "00 B0 00 00 FF", "00 84 00 00 08", "80 FE 00 00",
				"reset", "00 B0 00 00 0A") // a warm reset
			e.eventually(t, `80 FE 00 00`, tool...)
			out := e.run(t, tool[0], tool[1:]...)
			require.Contains(t, out, "< OK: 3B 9E 96 80")
			require.Regexp(t, c.sw, out)
			require.Contains(t, out, "98 00 01 01 00 00 00 00 00")
			require.Contains(t, out, "6C 0A", "the card says how long the file is")
			require.Contains(t, out, "6D 00")
			require.Regexp(t, `(?s)OK: 3B 9E.*OK: 3B 9E[^>]*> 00 B0 00 00 0A\s+< 69 86`, out, "no file is selected after a reset")

			link := "pcsc:" + slot + "?protocol=" + strings.ToLower(strings.Replace(c.protocol, "=", "", 1))
			if c.protocol == "T=1" { // on T=0 a case 4 command is answered with 61XX, which the suites do not expect
				out = e.run(t, e.binary, "conform", "--link", link, "--suite", "ts_102_221_f", "--suite", "ts_35_207")
				require.Regexp(t, `\d\d pass, 0 fail`, out)

				out = e.run(t, "opensc-tool", "-r", "0", "-a", "-s", "00A40004022FE2", "-s", "00B000000A")
				require.Regexp(t, `^3b:9e:96:80:b1:fe:45:1f:c7:80:31:`, out)
				require.Contains(t, out, "98 00 01 01 00 00 00 00 00")
				out = e.run(t, "pcsc_scan", "-n", "-t", "1")
				require.Contains(t, strings.ToUpper(out), "ATR: 3B 9E 96 80")
			}
			// Answers of 256 bytes, which take two blocks of T=1.
			out = e.run(t, e.binary, "http", "--link", link, "GET", "/")
			require.True(t, strings.HasSuffix(strings.TrimSpace(out), "</html>"), out)

			// Another bundle is another card: the reader tells that one has gone and another came.
			e.run(t, e.binary, "bundle", "activate", "payment", "--api", e.api)
			e.eventually(t, `3B E8 00 00 80 31 FE 45`, script(t, c.protocol, "reset")...)
			out = e.run(t, e.binary, "emv", "--link", link, "--pin", "1234", "--issuer", "builtin", "--quiet")
			require.Contains(t, out, "approved online")
		})
	}
}

// TestSerialCCIDExtended: the blocks of T=1 carry every case of APDU, up to 65,535 bytes.
func TestSerialCCIDExtended(t *testing.T) {
	e := startSerial(t, "?protocol=t0") // for GET RESPONSE
	if e == nil {
		return
	}
	e.eventually(t, `OK: 3B`, script(t, "T=1", "reset")...)
	out := e.run(t, e.binary, "conform", "--link", "pcsc:"+slot+"?protocol=t1", "--suite", "iso_7816_4", "--all")
	require.Regexp(t, `\d\d pass, 0 fail`, out)
	require.Regexp(t, `pass +longest `, out)
}

// TestSerialCCIDLeaves: pcscd sees that the emulator goes, even in the middle of a
// conversation, and finds it again when it starts after the emulator.
func TestSerialCCIDLeaves(t *testing.T) {
	e := startSerial(t, "")
	if e == nil {
		return
	}
	yes := []string{"opensc-tool", "--list-readers"}
	for range 3 {
		e.eventually(t, `(?m)^0\s+Yes`, yes...)
		lines := append([]string{"00 A4 00 0C 02 2F E2"}, strings.Split(strings.Repeat("00 B0 00 00 0A\n", 20000), "\n")...)
		tool := script(t, "T=1", lines...)
		talk := exec.Command(tool[0], tool[1:]...)
		heard, err := talk.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, talk.Start())
		_, err = heard.Read(make([]byte, 64*1024))
		require.NoError(t, err)
		e.stop()
		e.eventually(t, `(?m)^0\s+No`, yes...)
		_ = talk.Process.Kill() // it may have found out
		_ = talk.Wait()
		e.daemon.Stop(t)
		e.start()
		e.daemon.Run(t)
	}
	e.eventually(t, `(?m)^0\s+Yes`, yes...)
}
