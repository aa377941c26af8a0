package clients

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/internal/pcscdtest"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
)

// TestMain is the bare card when it is told to be one. Where the binary is not
// built nothing runs, which CI does not put up with.
func TestMain(m *testing.M) {
	if _, err := os.Stat(built); err != nil {
		fmt.Fprintf(os.Stderr, "spec-tests/clients: not run: %v (make build)\n", err)
		if os.Getenv("CI") != "" {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if addr := os.Getenv(envBareCard); addr != "" {
		if err := bareCard(addr); err != nil {
			fmt.Fprintln(os.Stderr, "bare card:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const envBareCard = "SSPEMU_TEST_BARE_CARD"

// bareCard is the least that a card on the virtual reader can be, in a process of
// its own as the emulator is: it answers ATR requests and gives every command the
// same response. It is what the emulator is measured against.
func bareCard(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	quickACK := func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
	message := func(p ...byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...) }
	atr, answer := message(0x3B, 0x80, 0x80, 0x01, 0x01), message(append(make([]byte, 10), 0x90, 0x00)...)
	buf := make([]byte, 2+0xFFFF)
	for {
		_ = raw.Control(quickACK)
		if _, err := io.ReadFull(conn, buf[:2]); err != nil {
			return nil // pcscd has ended
		}
		n := int(binary.BigEndian.Uint16(buf))
		_ = raw.Control(quickACK)
		if _, err := io.ReadFull(conn, buf[2:2+n]); err != nil {
			return nil
		}
		out := answer
		if n == 1 {
			if buf[2] != 4 {
				continue
			}
			out = atr
		}
		if _, err := conn.Write(out); err != nil {
			return nil
		}
	}
}

// BenchmarkPCSC exchanges READ BINARY of 10 bytes through the real pcscd with a
// bare card in one slot of the reader and bin/sspemu in the other, in turns, and
// reports both rates (of the median exchange) and their ratio.
func BenchmarkPCSC(b *testing.B) {
	d := pcscdtest.Start(b)
	if d == nil {
		return
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(d.URL, "vpcd://"))
	require.NoError(b, err)
	first, err := strconv.Atoi(port)
	require.NoError(b, err)
	bare := exec.Command(os.Args[0])
	bare.Env = append(os.Environ(), envBareCard+"="+net.JoinHostPort(host, port))
	require.NoError(b, bare.Start())
	b.Cleanup(func() {
		_ = bare.Process.Kill()
		_ = bare.Wait()
	})
	serve(b, nil, "--ephemeral", "--api", "off", "--link", "vpcd://"+net.JoinHostPort(host, strconv.Itoa(first+1)))

	ctx := context.Background()
	var cards [2]*terminal.Client
	for i := range cards {
		l, err := transport.Open("pcsc:"+pcscdtest.Reader+" 00 0"+strconv.Itoa(i)+"?protocol=t1", transport.Controller, iso7816.Schemes)
		require.NoError(b, err)
		cards[i] = terminal.NewClient(l)
		require.Eventually(b, func() bool { return cards[i].Open(ctx) == nil }, 20*time.Second, 50*time.Millisecond)
		b.Cleanup(func() { cards[i].Close() })
		_, err = cards[i].PowerOn(ctx)
		require.NoError(b, err)
		_, err = cards[i].Transmit(ctx, []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0x2F, 0xE2}, nil)
		require.NoError(b, err)
	}
	read, dst := []byte{0x00, 0xB0, 0x00, 0x00, 0x0A}, make([]byte, 0, 300)
	var took [2][]time.Duration
	exchange := func(i int) {
		began := time.Now()
		r, err := cards[i].Transmit(ctx, read, dst)
		if err != nil || len(r) != 12 {
			b.Fatal(r, err)
		}
		took[i] = append(took[i], time.Since(began))
	}
	for first := 0; b.Loop(); first = 1 - first {
		exchange(first)
		exchange(1 - first)
	}
	// Medians: on a busy machine a few exchanges take a hundred times as long.
	echo, emulator := median(took[0]).Seconds(), median(took[1]).Seconds()
	b.ReportMetric(1/echo, "bare-APDU/s")
	b.ReportMetric(1/emulator, "sspemu-APDU/s")
	b.ReportMetric(echo/emulator, "sspemu/bare")
}

// cardOf is bin/sspemu in the virtual reader, as a terminal behind pcscd has it; nil
// where pcscd is not installed.
func cardOf(b *testing.B, bundle string) *terminal.Client {
	d := pcscdtest.Start(b)
	if d == nil {
		return nil
	}
	serve(b, nil, "--ephemeral", "--api", "off", "--active", bundle, "--link", d.URL)
	l, err := transport.Open("pcsc:"+pcscdtest.Reader+" 00 00?protocol=t1", transport.Controller, iso7816.Schemes)
	require.NoError(b, err)
	card := terminal.NewClient(l)
	require.Eventually(b, func() bool { return card.Open(context.Background()) == nil }, 20*time.Second, 50*time.Millisecond)
	b.Cleanup(func() { card.Close() })
	_, err = card.PowerOn(context.Background())
	require.NoError(b, err)
	return card
}

// BenchmarkServe starts bin/sspemu until it says ready, with an empty cache of
// compiled bundles and with a full one, and reports the memory it has then.
func BenchmarkServe(b *testing.B) {
	warm := b.TempDir()
	serve(b, []string{"XDG_CACHE_HOME=" + warm}, "--ephemeral", "--api", "off", "--link", "off")()
	for _, x := range []struct {
		name  string
		cache func() string
	}{{"warm cache", func() string { return warm }}, {"cold cache", b.TempDir}} {
		b.Run(x.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				stop := serve(b, []string{"XDG_CACHE_HOME=" + x.cache()}, "--state", b.TempDir(), "--api", "off", "--link", "off")
				took = append(took, time.Since(began))
				stop()
			}
			b.ReportMetric(median(took).Seconds()*1000, "ms-to-ready")
		})
	}
}

// BenchmarkMemory reports the resident memory of bin/sspemu with all bundles enabled, and
// with two: one active, one that was active before. Each is the least of five seconds, in
// which the others are compiled in the background and what that took is given back.
func BenchmarkMemory(b *testing.B) {
	api := pcscdtest.FreeAddr(b)
	cmd := exec.Command(sspemu(b), "serve", "--ephemeral", "--api", api, "--link", "off")
	ready(b, cmd)
	b.Cleanup(func() { stop(b, cmd) })
	run := func(args ...string) {
		out, err := exec.Command(sspemu(b), append(args, "--api", api)...).CombinedOutput()
		require.NoError(b, err, "%s", out)
	}
	report := func(unit string) {
		least := math.Inf(1)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
			require.NoError(b, err)
			for line := range strings.Lines(string(status)) {
				if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
					n, err := strconv.Atoi(strings.Fields(kb)[0])
					require.NoError(b, err)
					least = min(least, float64(n)/1024)
				}
			}
		}
		b.ReportMetric(least, unit)
	}
	for b.Loop() {
		run("bundle", "activate", "example")
		run("bundle", "activate", "telecom")
		run("apdu", "00A40004023F00")
	}
	report("MiB-all-enabled")
	for _, name := range bundles.Names() {
		if name != "example" && name != "telecom" {
			run("bundle", "disable", name)
		}
	}
	report("MiB-two")
}

// serve runs bin/sspemu serve until it is ready; the returned function, or the
// end of the benchmark, ends it.
func serve(b *testing.B, env []string, args ...string) (end func()) {
	cmd := exec.Command(sspemu(b), append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	ready(b, cmd)
	ended := false
	end = func() {
		if !ended {
			stop(b, cmd)
		}
		ended = true
	}
	b.Cleanup(end)
	return end
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
