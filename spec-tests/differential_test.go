package spectests_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/example"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/vpp"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
)

// TestNativeAndWasmAgree plays the same commands, resets, power cuts and hours
// against the example bundle as Go code and as WebAssembly, compiled and
// interpreted: every answer, event, log line and stored byte is the same.
func TestNativeAndWasmAgree(t *testing.T) {
	spb, err := loader.Build("../bundles/sdk/example")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	persona, err := pkg.Persona(nil, "")
	require.NoError(t, err)

	for name, engine := range map[string]struct {
		vm.Config
		steps int
	}{
		"compiler":    {vm.Config{}, 3000},
		"interpreter": {vm.Config{Interpreter: true}, 300},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := vm.New(engine.Config)
			require.NoError(t, err)
			defer e.Close()
			module, err := e.Compile(context.Background(), pkg.Name, pkg.Wasm, vm.Limits{})
			require.NoError(t, err)

			for seed := range int64(3) {
				native := sdktest.New(t, func() sdk.App { return example.New() })
				native.UseRandom(counting{})
				require.NoError(t, native.Personalise(persona))
				wasm := newGuest(t, module, persona)

				r := rand.New(rand.NewSource(seed))
				for step := range engine.steps {
					what := play(r, native, wasm)
					require.Equal(t, native.Events, wasm.events, "seed %d, step %d: %s", seed, step, what)
				}
				require.Equal(t, native.Logs, wasm.logs)
				require.Equal(t, native.NVM(), wasm.nvm.stored)
				wasm.run.Close()
			}
		})
	}
}

// commands are what a terminal sends to the example bundle; play changes some.
var commands = func() (list [][]byte) {
	for _, s := range strings.Fields(`
		00A4040008F0535350454D5501 00A4040008F0535350454D5501 00A4040002F053 00A4040005F000000000
		01A4040008F0535350454D5501 02A4040002F053 40A4040002F053
		8010000004 8010000004 8012000004 8112000004 C012000004 80140000 81140000
		002000010431323334 002000010439393939 00200001 01200001 012000010431323334
		0084000008 0084000000 008400000001FF 80160000 80160003
		0070000001 00700004 00708001 00708004 01708000 00A40000023F00 00 FF000000`) {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic(err)
		}
		list = append(list, b)
	}
	return list
}()

// play does one thing by chance to both cards and compares the answers. It tells
// what it did.
func play(r *rand.Rand, native *sdktest.Card, wasm *guest) string {
	switch n := r.Intn(100); {
	case n < 2:
		native.Reset()
		wasm.signal(vpp.Reset)
		return "reset"
	case n < 4:
		native.PowerOn()
		wasm.powerOn()
		return "power on"
	case n < 8:
		d := time.Duration(r.Intn(5000)) * time.Millisecond
		native.Advance(d)
		wasm.advance(d)
		return "advance " + d.String()
	default:
		c := bytes.Clone(commands[r.Intn(len(commands))])
		switch {
		case n < 15: // one byte is another
			c[r.Intn(len(c))] = byte(r.Intn(256))
		case n < 18: // noise
			c = make([]byte, r.Intn(30))
			r.Read(c)
		case n < 19: // long noise behind a good header
			c = append(c, make([]byte, r.Intn(65536-len(c)))...)
		case n < 21:
			native.CutPowerDuring(c)
			wasm.cutPowerDuring(c)
			return "cut power during " + hex.EncodeToString(c)
		}
		what := hex.EncodeToString(c)
		require.Equal(wasm.t, hex.EncodeToString(native.Send(c)), hex.EncodeToString(wasm.send(c)), what)
		return what
	}
}

// counting is a source of random bytes that does not depend on who else reads
// it: every reading gives 1, 2, 3, ...
type counting struct{}

func (counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i + 1)
	}
	return len(p), nil
}

// guest does with a WebAssembly module what sdktest.Card does with Go code.
type guest struct {
	t      testing.TB
	module *vm.Module
	run    *vm.Instance
	nvm    memory
	now    time.Duration
	alarm  time.Duration // when TIME_OUT is due, 0: never
	logs   []string
	events []sdktest.Event
}

func newGuest(t testing.TB, m *vm.Module, persona []byte) *guest {
	g := &guest{t: t, module: m}
	g.instantiate()
	require.NoError(t, g.run.Personalise(persona))
	require.NoError(t, g.nvm.Commit())
	g.powerOn()
	return g
}

func (g *guest) instantiate() {
	if g.run != nil {
		g.run.Close()
	}
	g.nvm.Rollback()
	g.alarm = 0
	run, err := g.module.Instantiate(vm.Env{
		NVM: &g.nvm, Clock: g, Random: counting{},
		Log: func(_ vm.Level, line []byte) { g.logs = append(g.logs, string(line)) },
		Event: func(name string, data []byte) {
			g.events = append(g.events, sdktest.Event{Name: name, Data: append([]byte(nil), data...)})
		},
		Alarm: func(d time.Duration) {
			g.alarm = 0
			if d > 0 {
				g.alarm = g.now + d
			}
		},
	})
	require.NoError(g.t, err, "%q", g.logs)
	g.run = run
}

// Now, Wall and Sleep make g the clock of its bundle.
func (g *guest) Now() time.Duration    { return g.now }
func (g *guest) Wall() time.Time       { return time.Unix(0, 0).Add(g.now) }
func (g *guest) Sleep(d time.Duration) { g.now += d }

func (g *guest) powerOn() {
	g.instantiate()
	require.NoError(g.t, g.run.Init(vm.Start))
	require.NoError(g.t, g.nvm.Commit())
}

func (g *guest) send(c []byte) []byte {
	out, err := g.run.Message(vm.GateAPDU, 0, 0x10, c)
	require.NoError(g.t, err)
	require.NoError(g.t, g.nvm.Commit())
	return out
}

func (g *guest) cutPowerDuring(c []byte) {
	_, err := g.run.Message(vm.GateAPDU, 0, 0x10, c)
	require.NoError(g.t, err)
	g.nvm.stored = g.nvm.before // the commit that ends the call does not happen
	g.powerOn()
}

func (g *guest) signal(s vpp.Signal) {
	require.NoError(g.t, g.run.Signal(s))
	require.NoError(g.t, g.nvm.Commit())
}

func (g *guest) advance(d time.Duration) {
	end := g.now + d
	for g.alarm != 0 && g.alarm <= end {
		g.now, g.alarm = g.alarm, 0
		g.signal(vpp.TimeOut)
	}
	g.now = end
}

// memory is a vm.NVM without quota. The transaction is a copy of everything;
// before is what was stored before the last Commit.
type memory struct{ stored, open, before map[string][]byte }

func (m *memory) now() map[string][]byte {
	if m.open == nil {
		m.open = maps.Clone(m.stored)
	}
	if m.open == nil {
		m.open = map[string][]byte{}
	}
	return m.open
}

func (m *memory) Get(key []byte) ([]byte, bool) {
	v, ok := m.now()[string(key)]
	return v, ok
}

func (m *memory) Put(key, val []byte) error {
	m.now()[string(key)] = append([]byte{}, val...)
	return nil
}

func (m *memory) WriteAt(key []byte, off int, p []byte) error {
	v, ok := m.now()[string(key)]
	switch {
	case !ok:
		return vpp.EUnknownID
	case off+len(p) > len(v):
		return vpp.EIllegalParameter
	}
	v = bytes.Clone(v)
	copy(v[off:], p)
	m.open[string(key)] = v
	return nil
}

func (m *memory) Delete(key []byte) error {
	if _, ok := m.now()[string(key)]; !ok {
		return vpp.EUnknownID
	}
	delete(m.open, string(key))
	return nil
}

func (m *memory) Next(key []byte) ([]byte, bool) {
	keys := slices.Sorted(maps.Keys(m.now()))
	i, found := slices.BinarySearch(keys, string(key))
	if found {
		i++
	}
	if i == len(keys) {
		return nil, false
	}
	return []byte(keys[i]), true
}

func (m *memory) Commit() error {
	m.before = m.stored
	if m.open != nil {
		m.stored, m.open = m.open, nil
	}
	return nil
}

func (m *memory) Rollback() { m.open = nil }
