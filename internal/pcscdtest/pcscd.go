// Package pcscdtest runs the real PC/SC daemon with Debian's virtual reader, or its
// driver for serial CCID readers, for tests.
//
//	test ── Start ──────> pcscd -f (foreground) ── libifdvpcd.so ── TCP ── the card under test
//	     ── StartSerial ─────────────────────────── libccidtwin.so ─ tty ── the reader under test
package pcscdtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Reader drivers of Debian's packages vsmartcard-vpcd and libccid.
const (
	driver       = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
	serialDriver = "/usr/lib/pcsc/drivers/serial/libccidtwin.so"
)

// lockFile keeps tests of several packages, which go test runs at once, from
// starting pcscd beside each other: its socket has one place only.
const lockFile = "/tmp/pcscd.lock"

// Reader is the name of the reader; it has two slots, "00 00" and "00 01".
const Reader = "Test PCD"

// Daemon is a pcscd of the test's own with one reader.
type Daemon struct {
	URL  string // of the card's end of the first slot of a virtual reader; the second has the next port
	conf string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

// Start runs pcscd in the foreground until the test ends. It returns nil where it
// is not installed, which CI does not put up with.
func Start(t testing.TB) *Daemon {
	t.Helper()
	if !installed(t, driver) {
		return nil
	}
	addr := FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	d := start(t, "DEVICENAME /dev/null:%s\nLIBPATH %s\nCHANNELID %s\n", port, driver, port)
	d.URL = "vpcd://" + addr
	return d
}

// StartSerial is Start with a CCID reader at a serial device, which has to be there
// already. The Daemon has no URL.
func StartSerial(t testing.TB, device string) *Daemon {
	t.Helper()
	if !installed(t, serialDriver) {
		return nil
	}
	return start(t, "DEVICENAME %s\nLIBPATH %s\nCHANNELID 1\n", device, serialDriver)
}

// installed tells whether pcscd and a driver are there.
func installed(t testing.TB, driver string) bool {
	t.Helper()
	_, err := exec.LookPath("pcscd")
	if err == nil {
		_, err = os.Stat(driver)
	}
	if err != nil {
		require.Empty(t, os.Getenv("CI"), "%v (apt-get install pcscd vsmartcard-vpcd libccid)", err)
		t.Logf("not run: %v (apt-get install pcscd vsmartcard-vpcd libccid)", err)
	}
	return err == nil
}

// start runs pcscd with one reader.
func start(t testing.TB, reader string, a ...any) *Daemon {
	t.Helper()
	lock, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o666)
	require.NoError(t, err)
	t.Cleanup(func() { lock.Close() })
	require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))

	d := &Daemon{conf: t.TempDir()}
	conf := fmt.Appendf(nil, "FRIENDLYNAME %q\n", Reader)
	require.NoError(t, os.WriteFile(filepath.Join(d.conf, "reader"), fmt.Appendf(conf, reader, a...), 0o644))
	t.Cleanup(func() {
		d.Stop(t)
		if t.Failed() {
			t.Logf("pcscd said:\n%s", d.log.String())
		}
	})
	d.Run(t)
	return d
}

// Run starts the daemon again after Stop.
func (d *Daemon) Run(t testing.TB) {
	t.Helper()
	d.cmd = exec.Command("pcscd", "--foreground", "--info", "--config", d.conf)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	require.NoError(t, d.cmd.Start())
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", "/run/pcscd/pcscd.comm")
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond, "pcscd should listen (does another one run?)")
}

// Stop ends the daemon; a second Stop does nothing.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	if d.cmd == nil {
		return
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("stopping pcscd: %v", err)
	}
	_ = d.cmd.Wait() // pcscd ends itself by _exit with a code of no meaning
	d.cmd = nil
}

// FreeAddr is a loopback address that nobody listens on, below the range from
// which the system takes ports for outgoing connections.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(10000)))
		if ln, err := net.Listen("tcp", addr); err == nil {
			require.NoError(t, ln.Close())
			return addr
		}
	}
}
