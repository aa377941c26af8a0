package bridge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/t1"
)

// script is the board's program in an interpreter, with a stub of its hardware. It is
// the stream of the host, and the controller of the bus.
type script struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer

	turnMu sync.Mutex
	mu     sync.Mutex
	move   sync.Cond
	toHost []byte
	irq    bool
	closed bool
}

// interpreters run the board's script. MicroPython is in no package of Debian 12; with
// SSPEMU_MICROPYTHON, the directory of the npm package
// @micropython/micropython-webassembly-pyscript, the real one does, under node.
func interpreters() map[string][]string {
	files := []string{"testdata/micropython/machine.py", "testdata/micropython/harness.py", "micropython/bridge_i2c_target.py"}
	m := map[string][]string{"python": {"/usr/bin/python3", "testdata/micropython/harness.py"}}
	if dir := os.Getenv("SSPEMU_MICROPYTHON"); dir != "" {
		m["micropython"] = append([]string{"node", "testdata/micropython/run.mjs", dir}, files...)
	}
	return m
}

func startScript(t *testing.T, args []string) *script {
	s := &script{t: t, cmd: exec.Command(args[0], args[1:]...)}
	s.move.L = &s.mu
	dir, err := filepath.Abs("micropython")
	require.NoError(t, err)
	s.cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1")
	s.cmd.Stderr = &s.stderr
	s.in, err = s.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	s.out = bufio.NewReader(out)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		s.turnMu.Lock()
		s.in.Close()
		s.turnMu.Unlock()
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, &s.stderr)
		}
	})
	return s
}

// turn has the script do something; it gives the answer of the bus.
func (s *script) turn(format string, a ...any) (answer string, err error) {
	s.turnMu.Lock()
	defer s.turnMu.Unlock()
	if _, err := fmt.Fprintf(s.in, format+"\n", a...); err != nil {
		return "", err
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		switch {
		case line == ".":
			s.move.Broadcast()
			s.mu.Unlock()
			return answer, nil
		case line[0] == 'H':
			b, err := hex.DecodeString(line[2:])
			if err != nil {
				s.mu.Unlock()
				return "", err
			}
			s.toHost = append(s.toHost, b...)
		case line[0] == 'I':
			s.irq = line[2] == '1'
		default:
			answer = line
		}
		s.mu.Unlock()
	}
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.toHost) == 0 && !s.closed {
		s.move.Wait()
	}
	if s.closed {
		return 0, io.EOF
	}
	n := copy(p, s.toHost)
	s.toHost = s.toHost[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	_, err := s.turn("H %x", p)
	return len(p), err
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.move.Broadcast()
	return nil
}

// scriptBus is the controller of its bus.
type scriptBus struct{ *script }

func (s scriptBus) Physical() bus.Physical { return bus.I2C }
func (s scriptBus) SetSpeed(int64) error   { return nil }
func (s scriptBus) Clock() bus.Clock       { return bus.Real() }
func (s scriptBus) Close() error           { return nil }
func (s scriptBus) String() string         { return "the script's bus" }

func (s scriptBus) Tx(w, r []byte) error {
	if len(w) > 0 {
		if a, err := s.turn("W %d %x", 0x48, w); err != nil || a == "N" {
			return bus.ErrNACK
		}
	}
	if len(r) > 0 {
		a, err := s.turn("R %d %d", 0x48, len(r))
		if err != nil || a == "N" {
			return bus.ErrNACK
		}
		b, err := hex.DecodeString(a[2:])
		copy(r, b)
		return err
	}
	return nil
}

func (s scriptBus) WaitIRQ(timeout time.Duration) (bool, error) {
	end := time.Now().Add(timeout)
	defer time.AfterFunc(timeout, func() {
		s.mu.Lock()
		s.move.Broadcast()
		s.mu.Unlock()
	}).Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.irq && time.Now().Before(end) {
		s.move.Wait()
	}
	return s.irq, nil
}

func (s scriptBus) Reset() error {
	_, err := s.turn("P")
	return err
}

// TestMicroPython: T=1' through the board's script, both ends ours.
func TestMicroPython(t *testing.T) {
	for name, args := range interpreters() {
		t.Run(name, func(t *testing.T) {
			s := startScript(t, args)
			p := newPlaceOf(t, "bridge:/dev/ttyACM0?addr=0x48")
			p.open = func() (io.ReadWriteCloser, error) { return s, nil }
			// Noise, as from the console, is in the way of nothing.
			_, err := s.Write([]byte("\x03\x04 help()\r\n"))
			require.NoError(t, err)
			require.ErrorIs(t, scriptBus{s}.Tx([]byte{1}, nil), bus.ErrNACK, "before HELLO there is no target")
			_, err = p.dial()
			require.ErrorContains(t, err, `the board says: "this board is an I2C target"`)
			s.closed = false

			card, err := t1.NewTarget(&socket{place: p}, t1.Options{}, p.url)
			require.NoError(t, err)
			defer card.Close()
			require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, b []byte) {
				switch k {
				case transport.PowerOn, transport.Reset:
					_ = card.Send(transport.ATR, []byte{0x3B, 0x80, 0x01, 0x81})
				case transport.Block:
					_ = card.Send(k, b)
				}
			})))
			term, err := t1.NewController(func() (bus.Controller, error) { return scriptBus{s}, nil }, t1.Options{}, "i2c:test")
			require.NoError(t, err)
			defer term.Close()
			got := make(chan []byte, 10)
			require.NoError(t, term.Open(context.Background(), receiver(func(_ transport.Kind, b []byte) {
				if len(b) > 0 {
					got <- bytes.Clone(b)
				}
			})))
			next := func() []byte {
				t.Helper()
				select {
				case b := <-got:
					return b
				case <-time.After(20 * time.Second):
					require.FailNow(t, "nothing came", "trouble: %v", transport.Trouble(term))
					return nil
				}
			}
			require.NoError(t, term.Send(transport.PowerOn, nil))
			require.Equal(t, byte(0x3B), next()[0])
			for _, n := range []int{5, 16, 255, 256, 1000, 4100} {
				require.NoError(t, term.Send(transport.Block, ramp(n, n)))
				require.Equal(t, ramp(n, n), next())
			}
		})
	}
}

// TestMicroPythonSyntax: the script keeps to the Python that MicroPython knows, 3.5 or so.
func TestMicroPythonSyntax(t *testing.T) {
	out, err := exec.Command("/usr/bin/python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 5))",
		"micropython/bridge_i2c_target.py").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
