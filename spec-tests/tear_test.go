package spectests_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// TestKill kills a real process with SIGKILL at 200 random moments while it
// answers commands that write, and looks at what it left:
//
//   - every command that was answered is stored;
//   - the one that was under way is stored whole or not at all;
//   - what a command committed early stays, the rest of it does not.
//
// Whether a command that was stored was also answered cannot be known for the one
// in the middle: the power may go after the medium has it and before the answer
// is out.
func TestKill(t *testing.T) {
	if dir := os.Getenv(envKillDir); dir != "" {
		killMe(t, dir, os.Getenv(envKillPackage))
		return
	}
	spb, err := loader.Build(filepath.Join("..", "bundles", "sdk", "example-c"))
	require.NoError(t, err)
	pack := filepath.Join(t.TempDir(), "example-c.spb")
	require.NoError(t, os.WriteFile(pack, spb, 0o600))
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(2026, 11))
	var last uint32 // the counter that was answered last
	for range 200 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.v")
		cmd.Env = append(cmd.Environ(), envKillDir+"="+dir, envKillPackage+"="+pack)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		said := make(chan []string, 1)
		begun := make(chan struct{})
		go func() {
			var lines []string
			for s := bufio.NewScanner(out); s.Scan(); {
				line, ok := strings.CutPrefix(s.Text(), "answer ")
				if !ok {
					continue
				}
				if lines = append(lines, line); len(lines) == 1 {
					close(begun)
				}
			}
			said <- lines
		}()
		select {
		case <-begun:
		case <-time.After(time.Minute):
			t.Fatal("the process does not answer")
		}
		time.Sleep(time.Duration(rng.IntN(12000)) * time.Microsecond) // the random moment
		require.NoError(t, cmd.Process.Kill())
		lines := <-said
		_ = cmd.Wait()
		for _, l := range lines {
			n, err := strconv.ParseUint(l, 10, 32)
			require.NoError(t, err)
			// The first answer tells what the process found.
			require.Contains(t, []uint32{last, last + 1}, uint32(n), "after %d", last)
			last = uint32(n)
		}
	}
	require.Greater(t, last, uint32(200))

	// Whole at the end: the counter goes on, the PIN was never lost.
	card := openCard(t, dir, pack)
	found := card.count("8012000004")
	require.Contains(t, []uint32{last, last + 1}, found)
	require.Equal(t, "9000", card.send("002000010431323334"))
	require.Equal(t, 3, card.tries())
	t.Logf("200 kills, counter at %d", found)
}

const (
	envKillDir     = "SSPEMU_TEST_KILL_DIR"
	envKillPackage = "SSPEMU_TEST_KILL_PACKAGE"
)

// killMe is the process that is killed: it counts and verifies the PIN for ever
// and says each counter after it was answered.
func killMe(t *testing.T, dir, pack string) {
	card := openCard(t, dir, pack)
	// A kill inside VERIFY may cost a try, which was committed; never more.
	require.Contains(t, []int{2, 3}, card.tries())
	require.Equal(t, "9000", card.send("002000010431323334"))
	fmt.Printf("answer %d\n", card.count("8012000004"))
	for {
		require.Equal(t, "9000", card.send("002000010431323334"))
		fmt.Printf("answer %d\n", card.count("8010000004"))
	}
}

// killCard is a platform on a state directory and a terminal.
type killCard struct {
	t *testing.T
	c *terminal.Client
}

func openCard(t *testing.T, dir, pack string) killCard {
	store, err := nvm.Open(dir, nvm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	engine, err := vm.New(vm.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	n := scl.NewNetwork(scl.DefaultProfile(), nil)
	p, err := primary.New(context.Background(), primary.Config{
		State: store, Engine: engine, Network: n, Active: "example-c",
		Builtins: []primary.Builtin{{Name: "example-c", Enabled: true, Open: func() ([]byte, error) { return os.ReadFile(pack) }}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return killCard{t, newTerminal(t, n)}
}

// newTerminal is a terminal on a mem: link into the network, with power and the
// applet of example-c selected if it is there.
func newTerminal(tb testing.TB, n *scl.Network) *terminal.Client {
	controller, target := transport.Mem()
	a, err := terminal.NewAdapter(n, target)
	require.NoError(tb, err)
	require.NoError(tb, a.Open(context.Background()))
	tb.Cleanup(func() { _ = a.Close() })
	c := terminal.NewClient(controller)
	require.NoError(tb, c.Open(context.Background()))
	tb.Cleanup(func() { _ = c.Close() })
	_, err = c.PowerOn(context.Background())
	require.NoError(tb, err)
	_, err = c.Transmit(context.Background(), []byte("\x00\xA4\x04\x00\x08\xF0SSPEMU\x02"), nil)
	require.NoError(tb, err)
	return c
}

func (k killCard) transmit(capdu string) []byte {
	var c []byte
	_, err := fmt.Sscanf(capdu, "%X", &c)
	require.NoError(k.t, err)
	r, err := k.c.Transmit(context.Background(), c, nil)
	require.NoError(k.t, err)
	return r
}

func (k killCard) send(capdu string) string { return fmt.Sprintf("%X", k.transmit(capdu)) }

func (k killCard) count(capdu string) uint32 {
	r := k.transmit(capdu)
	require.Len(k.t, r, 6)
	require.True(k.t, bytes.HasSuffix(r, []byte{0x90, 0}))
	return binary.BigEndian.Uint32(r)
}

// tries asks for the tries left on a channel where the PIN is not verified.
func (k killCard) tries() int {
	_, err := k.c.PowerOn(context.Background())
	require.NoError(k.t, err)
	k.send("00A4040008F0535350454D5502")
	r := k.transmit("00200001")
	require.Equal(k.t, byte(0x63), r[0])
	return int(r[1] & 0x0F)
}
