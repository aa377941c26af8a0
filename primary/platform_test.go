package primary

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/vpp"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
)

// TestStates walks the state machine of the package comment.
func TestStates(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 2)})
	ctx := t.Context()
	require.NoError(t, w.Warm(ctx))
	three := spbOf(t, "three", 3)
	_, active := w.Active()
	require.False(t, active)

	install := func(spb []byte) func(string) error {
		return func(string) error { _, err := w.Install(ctx, spb, "three.spb"); return err }
	}
	activate := func(ref string) error { return w.Activate(ctx, ref) }
	route := func(ref string) error { return w.Route(ctx, ref) }
	for i, tt := range []struct {
		op     func(string) error
		ref    string
		is     error
		says   string
		states string
	}{
		{install(three), "", nil, "", "one enabled, three disabled, two enabled, "},
		{w.Disable, "three", nil, "", "one enabled, three disabled, two enabled, "},
		{activate, "three", ErrDisabled, "activate three: it is disabled (enable it first)", ""},
		{w.Enable, "three", nil, "", "one enabled, three enabled, two enabled, "},
		{w.Enable, idOf(3).String(), nil, "", "one enabled, three enabled, two enabled, "},
		{activate, strings.ToUpper(idOf(3).String()), nil, "", "one enabled, three active, two enabled, "},
		{activate, "three", nil, "", "one enabled, three active, two enabled, "},
		{route, "three", nil, "", ""},
		{route, "one", ErrInactive, "route to one: it is not the active bundle (activate it, or start with --inactive switch)", ""},
		{w.Delete, "three", ErrActive, "delete three: it is active (disable it or activate another one first)", ""},
		{install(three), "", nil, "", "one enabled, three active, two enabled, "},
		{install(spbOf(t, "three", 3, func(m *loader.Manifest) { m.Version = "2.0" })), "", ErrActive, "install three: it is active (activate another bundle or disable it first)", ""},
		{activate, "one", nil, "", "one active, three enabled, two enabled, "},
		{install(spbOf(t, "three", 3, func(m *loader.Manifest) { m.Version = "2.0" })), "", nil, "", "one active, three enabled, two enabled, "},
		{install(spbOf(t, "three", 4)), "", ErrName, "install three: another bundle has its name (delete " + idOf(3).String() + " first)", ""},
		{w.Disable, "one", nil, "", "one disabled, three enabled, two enabled, "},
		{w.Delete, "one", nil, "", "three enabled, two enabled, "},
		{w.Delete, "one", ErrUnknown, "delete one: there is no such bundle (there are three, two)", ""},
		{w.Enable, "one", ErrUnknown, "", ""},
		{activate, "", ErrUnknown, "", ""},
		{w.Delete, "three", nil, "", "two enabled, "},
		{w.Delete, "two", nil, "", ""},
		{w.Disable, "two", ErrUnknown, "disable two: there is no such bundle (none is installed)", ""},
	} {
		err := tt.op(tt.ref)
		if tt.is == nil {
			require.NoError(t, err, i)
		} else {
			require.ErrorIs(t, err, tt.is, i)
			var r *Refusal
			require.ErrorAs(t, err, &r, i)
			if tt.says != "" {
				require.EqualError(t, err, tt.says)
			}
		}
		if tt.states != "" {
			require.Equal(t, tt.states, w.states(), i)
		}
	}
	require.NoError(t, w.Close())
	require.ErrorIs(t, w.Enable("two"), ErrClosed)
	require.ErrorIs(t, w.Activate(ctx, "two"), ErrClosed)
}

func TestResponse(t *testing.T) {
	for err, want := range map[error]vpp.Response{
		nil:                          vpp.RNone,
		&Refusal{Reason: ErrUnknown}: vpp.RUnknownUUID,
		&Refusal{Reason: ErrActive}:  vpp.RCommandNOK,
		&Refusal{Reason: fmt.Errorf("%w: x", ErrPackage)}: vpp.RIllegalParameter,
		nvm.ErrFull: vpp.RInternal,
	} {
		require.Equal(t, want, Response(err))
	}
}

func TestInfo(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 1), Active: "one"})
	i, ok := w.Active()
	require.True(t, ok)
	require.Equal(t, "one", i.Name)
	require.Equal(t, StateActive, i.State)
	require.Equal(t, "built-in", i.Origin)
	require.NotZero(t, i.NVMUsed)
	require.Equal(t, Integrated, w.Class())
	info, err := w.Install(t.Context(), spbOf(t, "two", 2), "some/two.spb")
	require.NoError(t, err)
	require.Equal(t, "some/two.spb", info.Origin)
	require.Equal(t, StateDisabled, info.State)
	w.waitFor(Installed, "two")
}

// TestOneActive: while 100 goroutines activate random bundles, nobody ever sees
// two active ones, or two hosts with an APDU gate.
func TestOneActive(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 6)})
	require.NoError(t, w.Warm(t.Context()))
	gate := w.n.Profile().Gate.UICCAPDU
	w.n.Exclusive(func() {
		w.n.Watch(func(scl.HostEvent) {
			gates := 0
			for _, h := range w.n.Hosts() {
				for _, g := range h.Gates() {
					if g == gate {
						gates++
					}
				}
			}
			if gates > 1 {
				t.Error("two hosts with an APDU gate")
			}
		})
	})
	stop := make(chan struct{})
	var observers, users sync.WaitGroup
	for range 4 {
		observers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				active := 0
				for _, i := range w.List() {
					if i.State == StateActive {
						active++
					}
				}
				if active > 1 {
					t.Error("two active bundles")
					return
				}
				w.n.Exclusive(func() {
					i, ok := w.Active()
					h := w.n.Find(gate)
					if ok != (h != nil) || ok && h.UUID() != [16]byte(i.ID) {
						t.Error("the network has another bundle than the platform")
					}
				})
			}
		})
	}
	names := []string{"one", "two", "three", "four", "five", "six"}
	for n := range 100 {
		users.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 0))
			for range 3 {
				ref := names[r.IntN(len(names))]
				var err error
				switch r.IntN(8) {
				case 0:
					err = errors.Join(w.Disable(ref), w.Enable(ref))
				default:
					err = w.Activate(t.Context(), ref)
				}
				if err != nil && !errors.Is(err, ErrDisabled) {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	close(stop)
	observers.Wait()
	require.NoError(t, w.Enable("one"))
	require.NoError(t, w.Activate(t.Context(), "one"))
	require.Contains(t, w.states(), "one active, ")
}

// TestSwitch: a terminal sees the old bundle leave and finds the new one.
func TestSwitch(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 2), Active: "one", Inactive: Switch})
	c := w.terminal()
	require.Equal(t, "9000", c.send("00D60000 03", hexText("abc")))
	require.Equal(t, "019000", c.send("000E000001"))
	require.Equal(t, "029000", c.send("000E000001"))

	require.NoError(t, w.Route(t.Context(), "two"))
	require.Equal(t, scl.Deleted, c.pipe.State())
	require.Equal(t, Deactivated, w.waitFor(Deactivated, "one").Kind)
	w.waitFor(Activated, "two")
	require.Equal(t, "6A88", c.send("00B0000000"))

	require.NoError(t, w.Activate(t.Context(), "one"))
	require.Equal(t, hexText("abc")+"9000", c.send("00B0000000"), "stored")
	require.Equal(t, "019000", c.send("000E000001"), "not stored")
	require.Equal(t, "9000", c.send("00CA000006", hexText("killed"), "00"), "it was told before")
}

func TestSession(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 1), Active: "one"})
	c := w.terminal()
	require.Equal(t, "3B868001737370656D750A", hexOf(defaultATR))
	require.Equal(t, "019000", c.send("000E000001"))
	require.Equal(t, "9000", c.send("10DA000001 78"))
	require.Equal(t, hexOf(defaultATR), c.reset())
	require.Equal(t, "019000", c.send("000E000001"), "a reset drops what is volatile")
	require.Equal(t, "9000", c.send("00D60000 03", hexText("abc")))
	require.Equal(t, "6103", c.send("00B00000"), "no Le")
	require.Equal(t, hexText("abc")+"9000", c.send("00C0000003"))
	long := strings.Repeat("5A", 65000)
	require.Equal(t, "9000", c.send("00D60000 00 FDE8", long))
	require.Equal(t, long+"9000", c.send("00B00000000000"))
	require.Equal(t, long[:512]+"6100", c.send("00B0000000"))
}

// TestFaults: each fault ends its call with 6F00; what it wrote is gone, the next
// command works, and an event says what happened.
func TestFaults(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 1), Active: "one", Limits: vm.Limits{Call: 200 * time.Millisecond}})
	c := w.terminal()
	for _, tt := range []struct{ command, value, why string }{
		{"00F00000", "kept", "bundle trap in on_message: unreachable"},
		{"00F10000", "kept", "bundle time-out in on_message: it ran longer than 200ms"},
		{"00F20000", "kept", "bundle bad answer in on_message: an answer of 66001 bytes in an IPC of 66000"},
		{"00F30000", "kept", "bundle bad answer in on_message: 1 bytes are not an R-APDU"},
		{"00F50000", "early", "bundle trap in on_message: unreachable"},
		{"00F60000", "kept", "bundle bad pointer in on_message"},
		{"00F80000", "kept", "bundle bad answer in on_message: -2000 is neither a length nor an error"},
	} {
		t.Run(tt.command, func(t *testing.T) {
			require.Equal(t, "9000", c.send("00D60000 04", hexText("kept")))
			c.reset()
			require.Equal(t, "019000", c.send("000E000001"))
			require.Equal(t, "6F00", c.send(tt.command))
			require.Contains(t, w.waitFor(Faulted, "one").Why.Error(), tt.why)
			require.Equal(t, hexText(tt.value)+"9000", c.send("00B0000000"))
			require.Equal(t, "019000", c.send("000E000001"), "a new instance")
		})
	}
	t.Run("refusal", func(t *testing.T) {
		require.Equal(t, "9000", c.send("00D60000 04", hexText("kept")))
		require.Equal(t, "6F00", c.send("00F40000"))
		require.Equal(t, hexText("kept")+"9000", c.send("00B0000000"))
		require.NotEqual(t, "019000", c.send("000E000001"), "the same instance")
	})
	t.Run("does not start again", func(t *testing.T) {
		require.Equal(t, "9000", c.send("00DA000002", hexText("D1")))
		require.Equal(t, "6F00", c.send("00F00000"))
		w.waitFor(Faulted, "one")
		require.ErrorContains(t, w.waitFor(Faulted, "one").Why, "it does not start again: bundle refused in on_init: severe error")
		require.Equal(t, "6F00", c.send("00B0000000"))
		require.Equal(t, hexOf(defaultATR), c.reset())
		w.waitFor(Faulted, "one")
		require.Equal(t, "6F00", c.send("00B0000000"))
		require.Equal(t, "one active, ", w.states())
	})
}

// TestShortIPC: a command longer than the bundle's area gets 6700, and the bundle
// goes on.
func TestShortIPC(t *testing.T) {
	wasm, err := smallWasm()
	require.NoError(t, err)
	spb := packCard(t, wasm, "small", 1)
	w := start(t, Config{Builtins: []Builtin{{Name: "small", Open: func() ([]byte, error) { return spb, nil }}}, Active: "small"})
	c := w.terminal()
	require.Equal(t, "019000", c.send("000E000001"))
	require.Equal(t, "9000", c.send("00D60000 00 0FF9", strings.Repeat("00", 4089)))
	require.Equal(t, "6700", c.send("00D60000 00 0FFA", strings.Repeat("00", 4090)))
	require.Equal(t, "029000", c.send("000E000001"))
}

// TestFullDisk: a command whose effects cannot be stored is answered with 6581
// and leaves nothing.
func TestFullDisk(t *testing.T) {
	state, err := nvm.Open(t.TempDir(), nvm.Options{MaxSize: 200 << 10})
	require.NoError(t, err)
	defer state.Close()
	w := start(t, Config{State: state, Builtins: builtins(t, 1), Active: "one"})
	defer w.Close()
	c := w.terminal()
	stored := 0
	for n := 1000; ; n += 1000 {
		sw := c.send(fmt.Sprintf("00D60000 00 %04X", n), strings.Repeat("AB", n))
		if sw == "6581" {
			break
		}
		require.Equal(t, "9000", sw)
		stored = n
		require.Less(t, n, 60000)
	}
	require.ErrorContains(t, w.waitFor(Faulted, "one").Why, "the disk is full")
	require.Len(t, c.send("00B00000000000"), stored*2+4, "the last value that was answered")
	require.Equal(t, "9000", c.send("00D60000 01 01"), "smaller fits")
}

func TestPersona(t *testing.T) {
	dir := t.TempDir()
	with := func(t *testing.T, personas map[string]Persona) (*world, error) {
		state := openState(t, dir)
		t.Cleanup(func() { require.NoError(t, state.Close()) })
		w, err := tryStart(t, Config{State: state, Builtins: builtins(t, 2), Active: "one", Personas: personas})
		return w, err
	}
	given := func(yaml string) map[string]Persona {
		return map[string]Persona{"one": {"my.yaml", []byte(yaml)}}
	}
	value := "00B0000000"
	write := "00D60000 04 " + hexText("kept")
	persona := "00CA000007 " + hexText("persona") + " 00"

	var doc string
	t.Run("default", func(t *testing.T) {
		w, err := with(t, nil)
		require.NoError(t, err)
		c := w.terminal()
		doc = c.send(persona)
		require.Contains(t, doc, hexText("good"))
		require.Equal(t, "9000", c.send(write))
	})
	t.Run("the same again", func(t *testing.T) {
		w, err := with(t, nil)
		require.NoError(t, err)
		require.Equal(t, hexText("kept")+"9000", w.terminal().send(value))
	})
	t.Run("the same in other words", func(t *testing.T) {
		w, err := with(t, given("{card: {pin: good}}"))
		require.NoError(t, err)
		require.Equal(t, hexText("kept")+"9000", w.terminal().send(value))
	})
	t.Run("refused by the schema", func(t *testing.T) {
		_, err := with(t, given("card:\n  pin: 1234\n"))
		require.ErrorIs(t, err, ErrPersona)
		require.ErrorContains(t, err, "personalise one: the persona is refused: my.yaml:2: ")
		require.Equal(t, vpp.RIllegalParameter, Response(err))
	})
	t.Run("refused by the bundle", func(t *testing.T) {
		_, err := with(t, given(badPersona))
		require.EqualError(t, err, "activate one: the persona is refused: my.yaml:3: /card/pin: is bad")
	})
	t.Run("fatal to the bundle", func(t *testing.T) {
		_, err := with(t, given("card: {pin: trap}"))
		require.ErrorContains(t, err, "activate one: bundle trap in on_personalise")
	})
	t.Run("of nobody", func(t *testing.T) {
		_, err := with(t, map[string]Persona{"none": {}})
		require.ErrorIs(t, err, ErrUnknown)
	})
	t.Run("refusals leave everything", func(t *testing.T) {
		w, err := with(t, nil)
		require.NoError(t, err)
		c := w.terminal()
		require.Equal(t, hexText("kept")+"9000", c.send(value))
		require.Equal(t, doc, c.send(persona))
	})
	t.Run("another one", func(t *testing.T) {
		w, err := with(t, given("card: {pin: other}"))
		require.NoError(t, err)
		c := w.terminal()
		require.Equal(t, "6A88", c.send(value), "wiped")
		require.Contains(t, c.send(persona), hexText("other"))
		require.Equal(t, "9000", c.send(write))
	})
	t.Run("left out", func(t *testing.T) {
		w, err := with(t, nil)
		require.NoError(t, err)
		require.Equal(t, hexText("kept")+"9000", w.terminal().send(value))
	})
	t.Run("while another one is active", func(t *testing.T) {
		w, err := with(t, map[string]Persona{"two": {"two.yaml", []byte(badPersona)}})
		require.NoError(t, err)
		c := w.terminal()
		require.ErrorIs(t, w.Activate(t.Context(), "two"), ErrPersona)
		require.Equal(t, "one active, two enabled, ", w.states())
		require.Equal(t, hexText("kept")+"9000", c.send(value), "on the pipe that was there")
	})
}

// TestFailedActivation: the old bundle stays active, its terminals see nothing.
func TestFailedActivation(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 2), Active: "two"})
	require.Equal(t, "9000", w.terminal().send("00DA000002", hexText("D0")))
	require.NoError(t, w.Activate(t.Context(), "one"))
	c := w.terminal()
	require.EqualError(t, w.Activate(t.Context(), "two"), "activate two: bundle refused in on_init: severe error")
	require.Equal(t, scl.Open, c.pipe.State())
	require.Equal(t, "019000", c.send("000E000001"))

	// The identifier of the host is taken by somebody else.
	require.NoError(t, w.Disable("one"))
	var stranger *scl.Host
	w.n.Exclusive(func() {
		var err error
		stranger, err = w.n.Register("stranger", [16]byte{9}, w.n.Profile().Host.UICC)
		require.NoError(t, err)
	})
	require.NoError(t, w.Enable("one"))
	require.ErrorIs(t, w.Activate(t.Context(), "one"), scl.ErrTaken)
	_, ok := w.Active()
	require.False(t, ok)
	w.n.Exclusive(func() { require.NoError(t, w.n.Deregister(stranger)) })
	require.NoError(t, w.Activate(t.Context(), "one"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Install(ctx, spbOf(t, "three", 3), "x")
	if err != nil { // it may be compiled before it is looked at
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	open := func(active string, list []Builtin) *world {
		state := openState(t, dir)
		w := start(t, Config{State: state, Builtins: list, Active: active})
		t.Cleanup(func() { _ = state.Close() })
		return w
	}
	stop := func(w *world) {
		require.NoError(t, w.Close())
		require.NoError(t, w.state.Close())
	}
	list := builtins(t, 3)
	w := open("", list)
	require.Equal(t, "one enabled, three enabled, two enabled, ", w.states())
	require.NoError(t, w.Activate(t.Context(), "two"))
	require.NoError(t, w.Disable("one"))
	require.NoError(t, w.Delete("three"))
	_, err := w.Install(t.Context(), spbOf(t, "four", 4), "four.spb")
	require.NoError(t, err)
	stop(w)

	w = open("", list)
	require.Equal(t, "four disabled, one disabled, two active, ", w.states(), "as it was; deleted stays deleted")
	require.NoError(t, w.Disable("two"))
	require.NoError(t, w.Delete("four"))
	files, err := os.ReadDir(filepath.Join(dir, "packages"))
	require.NoError(t, err)
	require.Empty(t, files)
	_, err = w.Install(t.Context(), spbOf(t, "three", 3), "three.spb")
	require.NoError(t, err)
	require.Equal(t, "one disabled, three disabled, two disabled, ", w.states())
	stop(w)

	w = open("one", list)
	require.Equal(t, "one active, three disabled, two disabled, ", w.states(), "the one that is asked for is enabled")
	require.NoError(t, w.Enable("three"))
	require.NoError(t, w.Activate(t.Context(), "three"))
	require.NoError(t, w.Activate(t.Context(), "one"))
	require.NoError(t, w.Delete("three"))
	stop(w)

	// A new binary: another package for one, two is no longer there, three is still not wanted.
	newer := spbOf(t, "one", 1, func(m *loader.Manifest) { m.Version = "3.0" })
	w = open("", []Builtin{
		{Name: "one", Fingerprint: "one 2", Open: func() ([]byte, error) { return newer, nil }},
		list[2],
	})
	require.Equal(t, "one active, two disabled, ", w.states())
	i, _ := w.Active()
	require.Equal(t, "3.0", i.Version)
	require.NoError(t, w.Enable("two"))
	require.ErrorContains(t, w.Activate(t.Context(), "two"), "activate two: it is no longer part of this sspemu (delete it)")
	require.NoError(t, w.Delete("two"))
	stop(w)
}

func TestEmbedded1(t *testing.T) {
	dir := t.TempDir()
	state := openState(t, dir)
	_, err := tryStart(t, Config{Class: Embedded1, State: state, Builtins: builtins(t, 2)})
	require.EqualError(t, err, "class embedded1: it has one operating system, and there are 2 bundles (choose one with --active)")
	for _, active := range []string{"two", ""} { // the second time it is the last one
		w := start(t, Config{Class: Embedded1, State: state, Builtins: builtins(t, 2), Active: active})
		require.Equal(t, "two active, ", w.states())
		_, err = w.Install(t.Context(), spbOf(t, "three", 3), "three.spb")
		for _, err := range []error{err, w.Enable("two"), w.Disable("two"), w.Activate(t.Context(), "two"), w.Delete("two")} {
			require.ErrorIs(t, err, ErrClass)
		}
		require.NoError(t, w.Route(t.Context(), "two"))
		require.Equal(t, "9000", w.terminal().send("00D60000 01 01"))
		require.NoError(t, w.Close())
	}
	require.NoError(t, state.Close())
	w := start(t, Config{Class: Embedded1, Builtins: builtins(t, 1)})
	require.Equal(t, "one active, ", w.states())
}

func TestInstallRefuses(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 1), Active: "one"})
	wasm, err := cardWasm()
	require.NoError(t, err)
	good := spbOf(t, "two", 2)
	for name, tt := range map[string]struct {
		spb  []byte
		says string
	}{
		"empty":          {nil, "not WebAssembly"},
		"text":           {[]byte("#!/bin/sh"), "not WebAssembly"},
		"no manifest":    {wasm, "ssp.manifest"},
		"truncated":      {good[:len(good)/2], "truncated"},
		"damaged inside": {append(good[:0:0], strings.Replace(string(good), "\x00\x0b", "\xfe\x0b", 1)...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Install(t.Context(), tt.spb, "some/file.spb")
			require.ErrorIs(t, err, ErrPackage)
			require.ErrorContains(t, err, "install some/file.spb: the package cannot be used: ")
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), "\n")
			require.Equal(t, "one active, ", w.states())
		})
	}
}

func TestParse(t *testing.T) {
	for _, s := range []string{"integrated", "embedded1", "embedded2", "removable"} {
		c, err := ParseClass(s)
		require.NoError(t, err)
		require.Equal(t, Class(s), c)
	}
	_, err := ParseClass("x")
	require.EqualError(t, err, `class "x": there are integrated, embedded1, embedded2 and removable`)
	for _, s := range []string{"reject", "switch"} {
		p, err := ParsePolicy(s)
		require.NoError(t, err)
		require.Equal(t, Policy(s), p)
	}
	_, err = ParsePolicy("")
	require.EqualError(t, err, `policy "": there are reject and switch`)
}
