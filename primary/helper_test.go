package primary

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
)

// cardWasm is testdata/card.c, compiled once; smallWasm has the smallest areas.
var (
	cardWasm  = sync.OnceValues(func() ([]byte, error) { return compileCard("-O2") })
	smallWasm = sync.OnceValues(func() ([]byte, error) { return compileCard("-DAREA=4096") })
)

func compileCard(flag string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "card.wasm")
	said, err := exec.Command("clang", "--target=wasm32", "-O2", flag, "-nostdlib", "-Wl,--no-entry", "-o", file, "testdata/card.c").CombinedOutput()
	if err != nil {
		return nil, errors.New("clang: " + err.Error() + " (apt-get install clang lld) " + string(said))
	}
	return os.ReadFile(file)
}

const (
	goodPersona = "card:\n  # a comment\n  pin: good\n"
	badPersona  = "card:\n  # a comment\n  pin: bad\n"
	schema      = `{"type":"object","properties":{"card":{"type":"object","properties":{"pin":{"type":"string"}},"additionalProperties":false}},"additionalProperties":false}`
)

// idOf is a UUID of version 4 made of a number.
func idOf(n int) loader.UUID {
	return loader.UUID{6: 0x40, 8: 0x80, 14: byte(n >> 8), 15: byte(n)}
}

// spbOf packs the test card as a bundle of its own.
func spbOf(tb testing.TB, name string, n int, change ...func(*loader.Manifest)) []byte {
	tb.Helper()
	wasm, err := cardWasm()
	require.NoError(tb, err)
	return packCard(tb, wasm, name, n, change...)
}

func packCard(tb testing.TB, wasm []byte, name string, n int, change ...func(*loader.Manifest)) []byte {
	tb.Helper()
	m := loader.Manifest{ABI: "1.0", Name: name, ID: idOf(n), Family: idOf(1), Version: "1.2", Type: "APP"}
	for _, f := range change {
		f(&m)
	}
	b, err := loader.Pack(wasm, m, []byte(goodPersona), []byte(schema))
	require.NoError(tb, err)
	return b
}

// world is a platform on a network, with all that belongs to it.
type world struct {
	*Platform
	tb     testing.TB
	state  *nvm.Store
	n      *scl.Network
	mu     sync.Mutex
	events []Event
}

// start makes a platform; cfg needs only what is special.
func start(tb testing.TB, cfg Config) *world {
	tb.Helper()
	w, err := tryStart(tb, cfg)
	require.NoError(tb, err)
	return w
}

func tryStart(tb testing.TB, cfg Config) (*world, error) {
	tb.Helper()
	var err error
	if cfg.Engine == nil {
		cfg.Engine, err = vm.New(vm.Config{})
		require.NoError(tb, err)
		tb.Cleanup(func() { require.NoError(tb, cfg.Engine.Close()) })
	}
	if cfg.State == nil {
		cfg.State = nvm.OpenMemory(nvm.Options{})
	}
	if cfg.Network == nil {
		cfg.Network = scl.NewNetwork(scl.DefaultProfile(), cfg.Tracer)
	}
	w := &world{tb: tb, state: cfg.State, n: cfg.Network}
	if w.Platform, err = New(tb.Context(), cfg); err != nil {
		return nil, err
	}
	tb.Cleanup(func() { require.NoError(tb, w.Close()) })
	w.Watch(func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	})
	return w, nil
}

// builtins are n enabled test cards: one, two, three, ...
func builtins(tb testing.TB, n int) (list []Builtin) {
	tb.Helper()
	names := []string{"one", "two", "three", "four", "five", "six"}
	for i, name := range names[:n] {
		spb := spbOf(tb, name, i+1)
		list = append(list, Builtin{Name: name, Fingerprint: name + " 1", Enabled: true, Open: func() ([]byte, error) { return spb, nil }})
	}
	return list
}

// waitFor waits for an event.
func (w *world) waitFor(kind EventKind, bundle string) (e Event) {
	w.tb.Helper()
	require.Eventually(w.tb, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, x := range w.events {
			if x.Kind == kind && x.Bundle == bundle {
				e = x
				w.events = append(w.events[:i:i], w.events[i+1:]...)
				return true
			}
		}
		return false
	}, 10*time.Second, time.Millisecond, "event %s of %s", kind, bundle)
	return e
}

func (w *world) states() string {
	s := ""
	for _, i := range w.List() {
		s += fmt.Sprintf("%s %s, ", i.Name, i.State)
	}
	return s
}

// terminal is a host with a pipe to the APDU gate of the active bundle.
type terminal struct {
	w    *world
	h    *scl.Host
	pipe *scl.Pipe
	got  []byte
}

func (t *terminal) Message(_ *scl.Pipe, m scl.Message) { t.got = append(t.got[:0], m.Data...) }
func (*terminal) Closed(*scl.Pipe)                     {}

var terminals byte

// terminal powers the active bundle on.
func (w *world) terminal() *terminal {
	w.tb.Helper()
	t := &terminal{w: w}
	w.n.Lock()
	defer w.n.Unlock()
	var err error
	terminals++
	t.h, err = w.n.Register(fmt.Sprint("terminal ", terminals), [16]byte{0xFF, terminals}, 0)
	require.NoError(w.tb, err)
	t.bind()
	return t
}

func (t *terminal) bind() {
	t.w.tb.Helper()
	gate := t.w.n.Profile().Gate.UICCAPDU
	spb := t.w.n.Find(gate)
	require.NotNil(t.w.tb, spb, "no active bundle")
	var err error
	t.pipe, err = t.h.Bind(spb.ID(), gate, t)
	require.NoError(t.w.tb, err)
}

// send is one exchange; it is "" when nobody answered.
func (t *terminal) send(parts ...string) string {
	t.w.tb.Helper()
	in := unhex(t.w.tb, "", strings.Join(parts, " "))
	t.w.n.Lock()
	defer t.w.n.Unlock()
	if t.pipe.State() != scl.Open {
		t.bind()
	}
	t.got = t.got[:0]
	require.NoError(t.w.tb, t.pipe.Send(scl.Message{Type: scl.Event, Instruction: t.w.n.Profile().Event.CAPDU, Data: in}))
	return hexOf(t.got)
}

// reset is a warm reset and gives the ATR.
func (t *terminal) reset() string {
	t.w.n.Lock()
	defer t.w.n.Unlock()
	t.got = t.got[:0]
	require.NoError(t.w.tb, t.pipe.Send(scl.Message{Type: scl.Event, Instruction: t.w.n.Profile().Event.Abort}))
	return hexOf(t.got)
}

func hexText(s string) string { return hexOf([]byte(s)) }

func openState(tb testing.TB, dir string) *nvm.Store {
	tb.Helper()
	s, err := nvm.Open(dir, nvm.Options{})
	require.NoError(tb, err)
	return s
}
