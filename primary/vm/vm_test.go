package vm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/ec/std"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/vpp"
	"github.com/sspemu/sspemu/primary/vm"
)

// guest compiles a file of testdata, or another one, with these -D flags. Every
// test of this binary that wants the same guest gets the same bytes.
func guest(tb testing.TB, file string, defines ...string) []byte {
	tb.Helper()
	key := strings.Join(append([]string{file}, defines...), " ")
	f, _ := guests.LoadOrStore(key, sync.OnceValues(func() ([]byte, error) {
		for _, tool := range []string{"clang", "wasm-ld"} {
			if _, err := exec.LookPath(tool); err != nil {
				return nil, errors.New("install clang and lld: apt-get install clang lld")
			}
		}
		dir, err := os.MkdirTemp("", "sspemu-guest-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		out := filepath.Join(dir, "guest.wasm")
		args := []string{"--target=wasm32", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-mbulk-memory", "-nostdlib", "-Wl,--no-entry", "-o", out}
		cmd := exec.Command("clang", append(append(args, defines...), filepath.Join("testdata", file))...)
		if said, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, said)
		}
		return os.ReadFile(out)
	}))
	wasm, err := f.(func() ([]byte, error))()
	require.NoError(tb, err)
	return wasm
}

var guests sync.Map

// store is the simplest NVM there is.
type store struct {
	m       map[string][]byte
	stored  map[string][]byte // what is committed
	dirty   bool
	commits int
	full    bool
}

func (s *store) Get(key []byte) ([]byte, bool) { v, ok := s.m[string(key)]; return v, ok }

func (s *store) set(key string, val []byte) {
	s.m = maps.Clone(s.m)
	if s.m == nil {
		s.m = map[string][]byte{}
	}
	s.m[key], s.dirty = val, true
}

func (s *store) Put(key, val []byte) error {
	if len(val) > 1<<20 {
		return vpp.ENoSpace
	}
	s.set(string(key), bytes.Clone(val))
	return nil
}

func (s *store) WriteAt(key []byte, off int, p []byte) error {
	v, ok := s.m[string(key)]
	switch {
	case !ok:
		return vpp.EUnknownID
	case off+len(p) > len(v):
		return vpp.EIllegalParameter
	}
	v = bytes.Clone(v)
	copy(v[off:], p)
	s.set(string(key), v)
	return nil
}

func (s *store) Delete(key []byte) error {
	if _, ok := s.m[string(key)]; !ok {
		return vpp.EUnknownID
	}
	s.m = maps.Clone(s.m)
	delete(s.m, string(key))
	s.dirty = true
	return nil
}

func (s *store) Next(key []byte) ([]byte, bool) {
	for _, k := range slices.Sorted(maps.Keys(s.m)) {
		if k > string(key) {
			return []byte(k), true
		}
	}
	return nil, false
}

func (s *store) Commit() error {
	switch {
	case !s.dirty:
		return nil
	case s.full:
		return errors.New("disk is full")
	}
	s.commits++
	s.stored, s.dirty = s.m, false
	return nil
}

func (s *store) Rollback() { s.m, s.dirty = s.stored, false }

type clock struct{ s *seen }

func (clock) Now() time.Duration      { return 1234567 * time.Millisecond }
func (clock) Wall() time.Time         { return time.Unix(1, 500) }
func (c clock) Sleep(d time.Duration) { c.s.slept = append(c.s.slept, d) }

// seen is an Env and what happened in it.
type seen struct {
	nvm    store
	logged int
	lines  []string
	events []string
	alarm  []time.Duration
	slept  []time.Duration
}

func (s *seen) env() vm.Env {
	return vm.Env{
		NVM: &s.nvm, Clock: clock{s}, Random: rand.NewChaCha8([32]byte{}),
		Log: func(_ vm.Level, line []byte) {
			s.logged += len(line)
			s.lines = append(s.lines, string(line))
		},
		Event: func(name string, _ []byte) { s.events = append(s.events, name) },
		Alarm: func(d time.Duration) { s.alarm = append(s.alarm, d) },
	}
}

// engines are the compiler and the interpreter: everything is asked of both.
func engines(t *testing.T, f func(t *testing.T, e *vm.Engine)) {
	for _, c := range []struct {
		name string
		vm.Config
	}{{"compiler", vm.Config{CacheDir: t.TempDir()}}, {"interpreter", vm.Config{Interpreter: true}}} {
		t.Run(c.name, func(t *testing.T) {
			e, err := vm.New(c.Config)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, e.Close()) })
			f(t, e)
		})
	}
}

func start(tb testing.TB, e *vm.Engine, wasm []byte, l vm.Limits, env vm.Env) *vm.Instance {
	tb.Helper()
	m, err := e.Compile(context.Background(), "guest", wasm, l)
	require.NoError(tb, err)
	i, err := m.Instantiate(env)
	require.NoError(tb, err)
	tb.Cleanup(i.Close)
	require.NoError(tb, i.Init(vm.Start))
	return i
}

// TestMisbehaviour asks a guest to do one thing; what the platform makes of it is
// the same on both engines, and a guest that only got an error goes on.
func TestMisbehaviour(t *testing.T) {
	limits := vm.Limits{Call: 100 * time.Millisecond, Memory: 1 << 20}
	for _, tc := range []struct {
		in    string
		fault vm.FaultKind
		say   string // in the fault
	}{
		{"s", vm.TimeOut, "ran longer than 100ms"},
		{"b", vm.TimeOut, "ran longer than 100ms"},
		{"f", vm.TimeOut, "ran longer than 100ms"},
		{"d", vm.Trap, ""}, // the stack of the guest or of the engine ends, whichever is first
		{"t", vm.Trap, "unreachable"},
		{"z", vm.Trap, "integer divide by zero"},
		{"w", vm.Trap, "out of bounds memory access"},
		{"l", vm.BadAnswer, "an answer of 4097 bytes in an IPC of 4096"},
		{"m", vm.BadAnswer, "an answer of 2147483647 bytes"},
		{"n", vm.BadAnswer, "-1000 is neither a length nor an error"},
		{"p", vm.BadPointer, "nvm_get: 100 bytes at 0x7fffff00 are not within its memory"},
		{"q", vm.BadPointer, "nvm_put: 2147483647 bytes"},
	} {
		t.Run(tc.in, func(t *testing.T) {
			engines(t, func(t *testing.T, e *vm.Engine) {
				i := start(t, e, guest(t, "misbehave.c"), limits, new(seen).env())
				_, err := i.Message(vm.GateAPDU, 0, 0, []byte(tc.in))
				var f *vm.Fault
				require.ErrorAs(t, err, &f)
				require.Equal(t, tc.fault, f.Kind, f)
				require.Equal(t, "on_message", f.Call)
				require.Contains(t, f.Detail, tc.say)
				require.NotContains(t, err.Error(), "\n")
				_, again := i.Message(vm.GateAPDU, 0, 0, []byte("e"))
				require.ErrorIs(t, again, f, "the instance is dead")
				require.ErrorIs(t, i.Signal(vpp.Reset), f)

				// Everything else goes on: another instance of the same module.
				j := start(t, e, guest(t, "misbehave.c"), limits, new(seen).env())
				out, err := j.Message(vm.GateAPDU, 0, 0, []byte("echo"))
				require.NoError(t, err)
				require.Equal(t, "echo", string(out))
			})
		})
	}
}

// TestGivesWay: a bundle that spins does not hold up the rest of the process. To
// read memory statistics, and to collect garbage, the Go runtime stops every
// goroutine, and compiled code is none to it. Without pauses this test hangs.
func TestGivesWay(t *testing.T) {
	e, err := vm.New(vm.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	for _, in := range []string{"s", "b", "f", "B"} {
		i := start(t, e, guest(t, "misbehave.c"), vm.Limits{Call: 200 * time.Millisecond}, new(seen).env())
		done := make(chan error, 1)
		go func() {
			_, err := i.Message(vm.GateAPDU, 0, 0, []byte(in))
			done <- err
		}()
		stops := 0
		for over := false; !over; stops++ {
			select {
			case err := <-done:
				require.ErrorContains(t, err, "ran longer than", in)
				over = true
			default:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
			}
		}
		runtime.GC()
		require.Greater(t, stops, 3, in)
	}
}

// TestErrors are the mistakes a bundle survives.
func TestErrors(t *testing.T) {
	engines(t, func(t *testing.T, e *vm.Engine) {
		var s seen
		i := start(t, e, guest(t, "misbehave.c"), vm.Limits{}, s.env())
		refuse := func(in string, want vpp.Errno) {
			t.Helper()
			_, err := i.Message(vm.GateAPDU, 0, 0, []byte(in))
			require.ErrorIs(t, err, want)
		}
		refuse("u", vpp.EUnknownID)
		refuse("?", vpp.EIllegalParameter)
		refuse("k", vpp.EIllegalParameter)
		refuse("K", vpp.EIllegalParameter)
		refuse("o", vpp.EIllegalParameter)
		refuse("a", vpp.EIllegalParameter)
		refuse("v", vpp.EIllegalParameter)
		refuse("g", vpp.EUnknownID)
		refuse("D", vpp.EUnknownID)
		refuse("Wx", vpp.EUnknownID)
		say := func(in, want string) {
			t.Helper()
			out, err := i.Message(vm.GateAPDU, 0, 0, []byte(in))
			require.NoError(t, err)
			require.Equal(t, want, string(out))
		}
		say("Phello", "")
		say("Wupp", "")
		require.Equal(t, "hupp"+"o", string(s.nvm.m["k"]))
		refuse("Wlonger", vpp.EIllegalParameter)
		say("N", "init")
		say("c", "")
		say("R", "")
		out, err := i.Message(vm.GateAPDU, 0, 0, []byte("E"))
		require.NoError(t, err)
		require.Len(t, out, int(vpp.EUnknownID), "mk_get_error as a length")
		require.ErrorIs(t, i.Signal(vpp.KillRequested), vpp.EAccessDenied)
		require.NotContains(t, s.nvm.stored, "signal")
		require.NoError(t, i.Signal(vpp.Reset))
		require.Contains(t, s.nvm.stored, "signal")

		_, err = i.Message(vm.GateAPDU, 0, 0, make([]byte, 4097))
		require.ErrorIs(t, err, vm.ErrMessageTooLong)
		say("e", "e")

		say("L", "")
		require.LessOrEqual(t, s.logged, vm.DefaultLog+100)
		require.Contains(t, s.lines[len(s.lines)-1], "log quota of this call")
	})
}

// TestCryptography: RSA and elliptic curves are services of the platform, with bounds.
func TestCryptography(t *testing.T) {
	engines(t, func(t *testing.T, e *vm.Engine) {
		var s seen
		i := start(t, e, guest(t, "misbehave.c"), vm.Limits{}, s.env())
		ask := func(in string) ([]byte, error) {
			out, err := i.Message(vm.GateAPDU, 0, 0, []byte(in))
			return bytes.Clone(out), err
		}
		out, err := ask("^\x05\x03\x0D") // 5^3 mod 13
		require.NoError(t, err)
		require.Equal(t, []byte{125 % 13}, out)
		for _, in := range []string{"^\x05\x03\x0E", "^\x0D\x03\x0D", "^\x05\x03\x01", "3", "4", "5", "6", "7", "y\x01\xFFseed", "y\x04\x00seed", "Cc", "Co", "Ck", "Cd", "Ch", "Cv"} {
			_, err = ask(in)
			require.ErrorIs(t, err, vpp.EIllegalParameter, "%q", in)
		}
		p, q, err := rsakey.Generate([]byte("seed"), 512, 3)
		require.NoError(t, err)
		out, err = ask("y\x02\x00seed")
		require.NoError(t, err)
		require.Equal(t, append(p, q...), out, "the same key as outside")
		first, err := ask("y\x02\x00")
		require.NoError(t, err)
		second, err := ask("y\x02\x00")
		require.NoError(t, err)
		require.NotEqual(t, first, second, "random bytes are the seed")
		point, err := std.Public(12, append(make([]byte, 31), 1))
		require.NoError(t, err)
		out, err = ask("Cs" + strings.Repeat("d", 32))
		require.NoError(t, err)
		require.Equal(t, point, out)
		for _, in := range []string{"1", "2", "8", "Cp"} {
			j := start(t, e, guest(t, "misbehave.c"), vm.Limits{}, new(seen).env())
			_, err := j.Message(vm.GateAPDU, 0, 0, []byte(in))
			var f *vm.Fault
			require.ErrorAs(t, err, &f)
			require.Equal(t, vm.BadPointer, f.Kind)
		}
	})
}

// TestTransactions: what a call wrote is stored when it went well, and only then.
func TestTransactions(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		fault    bool
	}{
		{"xonew", "new", false},
		{"xrnew", "old", false},
		{"x?new", "old", false}, // an error of the bundle
		{"xcnew", "new", true},  // committed, then a trap
		{"xtnew", "old", true},
		{"xsnew", "old", true},
		{"xlnew", "old", true},
		{"xpnew", "old", true},
	} {
		t.Run(tc.in, func(t *testing.T) {
			engines(t, func(t *testing.T, e *vm.Engine) {
				var s seen
				i := start(t, e, guest(t, "misbehave.c"), vm.Limits{Call: 50 * time.Millisecond}, s.env())
				_, err := i.Message(vm.GateAPDU, 0, 0, []byte("xoold"))
				require.NoError(t, err)
				_, err = i.Message(vm.GateAPDU, 0, 0, []byte(tc.in))
				var f *vm.Fault
				require.Equal(t, tc.fault, errors.As(err, &f), err)
				require.Equal(t, tc.want, string(s.nvm.stored["k"]))
				require.Equal(t, tc.want, string(s.nvm.m["k"]))
			})
		})
	}
	engines(t, func(t *testing.T, e *vm.Engine) {
		var s seen
		i := start(t, e, guest(t, "misbehave.c"), vm.Limits{}, s.env())
		require.Contains(t, s.nvm.stored, "init")
		s.nvm.full = true
		_, err := i.Message(vm.GateAPDU, 0, 0, []byte("c"))
		require.NoError(t, err, "nothing to store")
		_, err = i.Message(vm.GateAPDU, 0, 0, []byte("xonew"))
		require.EqualError(t, err, "bundle not stored in on_message: disk is full")
		require.NotContains(t, s.nvm.m, "k")
	})
}

// TestWASI is what a language runtime meets: the platform's time and random
// bytes, a log, and nothing else.
func TestWASI(t *testing.T) {
	engines(t, func(t *testing.T, e *vm.Engine) {
		var s seen
		i := start(t, e, guest(t, "wasi.c"), vm.Limits{Call: time.Second}, s.env())
		say := func(in string) []byte {
			t.Helper()
			out, err := i.Message(vm.GateAPDU, 0, 0, []byte(in))
			require.NoError(t, err)
			return out
		}
		say("l")
		require.Equal(t, []string{"one", "two", "three"}, s.lines)
		out := say("t")
		require.Equal(t, uint64(1_000_000_500), binary.LittleEndian.Uint64(out))
		require.InDelta(t, 1_234_567_000_000, binary.LittleEndian.Uint64(out[8:]), 1, "wazero adds a nanosecond")
		want := make([]byte, 16)
		_, _ = rand.NewChaCha8([32]byte{}).Read(want)
		require.Equal(t, want, say("r"))
		say("s")
		require.Equal(t, []time.Duration{time.Second}, s.slept, "an hour is cut to the budget")
		const badf = 8
		require.Equal(t, []byte{0, 0, badf, badf}, say("e"), "no arguments, environment or files")
		say("f")
		require.LessOrEqual(t, s.logged, vm.DefaultLog+200)

		_, err := i.Message(vm.GateAPDU, 0, 0, []byte("p"))
		require.EqualError(t, err, "bundle exit in on_message: it ended itself with code 2: panic: index out of range")
		require.Equal(t, []string{"panic: index out of range", "goroutine 1 [running]:"}, s.lines[len(s.lines)-2:])
	})
}

func TestMemoryCap(t *testing.T) {
	engines(t, func(t *testing.T, e *vm.Engine) {
		i := start(t, e, guest(t, "misbehave.c"), vm.Limits{Memory: 1 << 20}, new(seen).env())
		out, err := i.Message(vm.GateAPDU, 0, 0, []byte("M"))
		require.NoError(t, err)
		require.Less(t, int(out[0])<<8|int(out[1]), 16)
		require.Equal(t, uint32(1<<20), i.Memory())
	})
}

func TestPersonalise(t *testing.T) {
	engines(t, func(t *testing.T, e *vm.Engine) {
		fresh := func() *vm.Instance { return start(t, e, guest(t, "misbehave.c"), vm.Limits{}, new(seen).env()) }
		var s seen
		i := start(t, e, guest(t, "misbehave.c"), vm.Limits{}, s.env())
		require.NoError(t, i.Personalise([]byte("ok")))
		var p *vm.PersonaError
		require.ErrorAs(t, i.Personalise([]byte("refuse")), &p)
		require.Equal(t, vm.PersonaError{Pointer: "/pin", Reason: "is not a number"}, *p)
		require.Equal(t, "ok", string(s.nvm.m["k"]), "what a refused persona wrote is dropped")
		require.ErrorIs(t, i.Personalise(make([]byte, 5000)), vm.ErrMessageTooLong)
		for in, kind := range map[string]vm.FaultKind{"n": vm.BadAnswer, "l": vm.BadAnswer, "e": vm.Refused} {
			var f *vm.Fault
			require.ErrorAs(t, fresh().Personalise([]byte(in)), &f, in)
			require.Equal(t, kind, f.Kind)
		}
	})
}

// TestSame: same time and same randomness give the same bytes, on both engines.
func TestSame(t *testing.T) {
	var first []byte
	engines(t, func(t *testing.T, e *vm.Engine) {
		i := start(t, e, guest(t, "misbehave.c"), vm.Limits{}, new(seen).env())
		var all []byte
		for _, in := range []string{"r", "r", "T"} {
			out, err := i.Message(vm.GateAPDU, 0, 0, []byte(in))
			require.NoError(t, err)
			all = append(all, out...)
		}
		require.Len(t, all, 24)
		require.NotEqual(t, all[:8], all[8:16])
		if first == nil {
			first = all
		}
		require.Equal(t, first, all)
	})
}

// TestNotABundle: each is refused with a word that says why.
func TestNotABundle(t *testing.T) {
	good := guest(t, "misbehave.c")
	engines(t, func(t *testing.T, e *vm.Engine) {
		for _, tc := range []struct {
			name string
			wasm []byte
			say  string
		}{
			{"empty", nil, "does not start with the magic bytes"},
			{"text", []byte("#!/bin/sh\necho hello"), "does not start with the magic bytes"},
			{"component", []byte("\x00asm\x0d\x00\x01\x00"), "not of version 1"},
			{"cut off", good[:len(good)/2], "it ends too early"},
			{"nothing in it", good[:8], "it lacks the export vpp_abi () -> (i32); "},
			{"one export lacks", guest(t, "misbehave.c", "-DNO_ABI"), "it lacks the export vpp_abi () -> (i32)"},
			{"start section", append(bytes.Clone(good[:8]), 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 8, 1, 0, 10, 4, 1, 2, 0, 0x0B), "start section"},
			{"unknown opcode", append(bytes.Clone(good[:8]), 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 5, 1, 3, 0, 0x06, 0x0B), "opcode 06 is unknown"},
		} {
			_, err := e.Compile(t.Context(), tc.name, tc.wasm, vm.Limits{})
			require.ErrorContains(t, err, tc.say, tc.name)
			require.ErrorContains(t, err, "compile bundle "+tc.name)
			require.NotContains(t, err.Error(), "\n")
		}
		for _, tc := range []struct{ define, say string }{
			{"-DABI_VERSION=0x0200", "it is for ABI 2.0, this platform speaks 1.3"},
			{"-DCOM_MAIN=((i64)64<<32|100)", "an IPC has 4096 to 131072 bytes, not 100"},
			{"-DCOM_MAIN=((i64)0x7FFFFFF0<<32|4096)", "are not within its memory"},
		} {
			m, err := e.Compile(t.Context(), "guest", guest(t, "misbehave.c", tc.define), vm.Limits{})
			require.NoError(t, err)
			_, err = m.Instantiate(new(seen).env())
			require.ErrorContains(t, err, tc.say)
		}
		m, err := e.Compile(t.Context(), "guest", guest(t, "misbehave.c", "-DON_INIT=-7"), vm.Limits{})
		require.NoError(t, err)
		i, err := m.Instantiate(new(seen).env())
		require.NoError(t, err)
		t.Cleanup(i.Close)
		require.ErrorContains(t, i.Init(vm.Start), "bundle refused in on_init: access denied")
	})
}

// TestAllocatesNothing: a message, what the bundle asks meanwhile, the answer.
func TestAllocatesNothing(t *testing.T) {
	e, err := vm.New(vm.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	var s seen
	i := start(t, e, guest(t, "misbehave.c"), vm.Limits{}, s.env())
	require.NoError(t, s.nvm.Put([]byte("k"), make([]byte, 16)))
	require.NoError(t, s.nvm.Commit())
	for _, in := range []string{"u", "echo", "g", "G", "r", "T", "c", "R"} {
		msg := []byte(in)
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = i.Message(vm.GateAPDU, 0, 0, msg) }), in)
	}
}

// TestCompileOnce: many callers, one Module.
func TestCompileOnce(t *testing.T) {
	e, err := vm.New(vm.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	wasm := guest(t, "misbehave.c")
	var wg sync.WaitGroup
	all := make([]*vm.Module, 16)
	for n := range all {
		wg.Go(func() { all[n], _ = e.Compile(context.Background(), "guest", wasm, vm.Limits{}) })
	}
	wg.Wait()
	for _, m := range all {
		require.NotNil(t, m)
		require.Same(t, all[0], m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = e.Compile(ctx, "impatient", goGuest(t), vm.Limits{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = e.Compile(context.Background(), "patient", goGuest(t), vm.Limits{})
	require.NoError(t, err, "the caller who left took nobody along")

	i, err := all[0].Instantiate(new(seen).env())
	require.NoError(t, err)
	for _, m := range all[1:] {
		require.NoError(t, m.Close())
	}
	require.NoError(t, i.Init(vm.Start), "one user is left")
	require.NoError(t, all[0].Close())
	require.Error(t, i.Init(vm.Restart), "nobody is")
	again, err := e.Compile(context.Background(), "guest", wasm, vm.Limits{})
	require.NoError(t, err)
	require.NotSame(t, all[0], again)
}

// TestCache: a cache that is damaged or cannot be written costs time only, and is
// mended.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	wasm := guest(t, "misbehave.c")
	run := func() {
		e, err := vm.New(vm.Config{CacheDir: dir})
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close()) }()
		i := start(t, e, wasm, vm.Limits{}, new(seen).env())
		_, err = i.Message(vm.GateAPDU, 0, 0, []byte("e"))
		require.NoError(t, err)
		i.Close()
	}
	run()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	good, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for _, bad := range [][]byte{nil, good[:10], good[:len(good)/2], []byte("garbage garbage garbage garbage garbage")} {
		require.NoError(t, os.WriteFile(files[0], bad, 0o600))
		run()
		mended, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.Equal(t, good, mended)
	}
	e, err := vm.New(vm.Config{CacheDir: dir})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	start(t, e, wasm, vm.Limits{}, new(seen).env()).Close()
	require.NoError(t, e.Close())

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = vm.New(vm.Config{CacheDir: file})
	require.ErrorContains(t, err, "cache of compiled bundles in "+file)
}

// TestExampleC runs the example in C: counter, PIN, random, timer.
func TestExampleC(t *testing.T) {
	engines(t, func(t *testing.T, e *vm.Engine) {
		var s seen
		i := start(t, e, guest(t, filepath.Join("..", "..", "..", "bundles", "sdk", "example-c", "example.c")), vm.Limits{}, s.env())
		say := func(in, want string) {
			t.Helper()
			out, err := i.Message(vm.GateAPDU, 0, 0, []byte(in))
			require.NoError(t, err)
			require.Equal(t, want, string(out))
		}
		say("\x80\x10\x00\x00\x04", "\x69\x85")
		say("\x00\xA4\x04\x00\x08\xF0SSPEMU\x03", "\x6A\x82")
		say("\x00\xA4\x04\x00\x08\xF0SSPEMU\x02", "\x6F\x0A\x84\x08\xF0SSPEMU\x02\x90\x00")
		say("\x80\x10\x00\x00\x04", "\x00\x00\x00\x01\x90\x00")
		say("\x80\x14\x00\x00", "\x69\x82")
		commits := s.nvm.commits
		say("\x00\x20\x00\x01\x041111", "\x63\xC2")
		require.Equal(t, commits+1, s.nvm.commits, "the try is stored before the comparison")
		say("\x00\x20\x00\x01\x041234", "\x90\x00")
		say("\x80\x14\x00\x00", "\x90\x00")
		say("\x80\x12\x00\x00\x04", "\x00\x00\x00\x00\x90\x00")
		say("\x80\x16\x00\x02", "\x90\x00")
		require.Equal(t, 2*time.Second, s.alarm[len(s.alarm)-1])
		require.NoError(t, i.Signal(vpp.TimeOut))
		require.Equal(t, []string{"counter.cleared", "counter.later"}, s.events)
		out, err := i.Message(vm.GateAPDU, 0, 0, []byte("\x00\x84\x00\x00\x00"))
		require.NoError(t, err)
		require.Len(t, out, 258)
		for _, want := range []string{"\x63\xC2", "\x63\xC1", "\x63\xC0", "\x69\x83"} {
			say("\x00\x20\x00\x01\x019", want)
		}
		require.Contains(t, s.events, "pin.blocked")
	})
}

// TestWorking: a call that takes long says so, so that the terminal can be told to
// wait; the end comes all the same.
func TestWorking(t *testing.T) {
	e, err := vm.New(vm.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	env := new(seen).env()
	working := 0
	env.Working = func() { working++ }
	i := start(t, e, guest(t, "misbehave.c"), vm.Limits{Call: 400 * time.Millisecond}, env)
	_, err = i.Message(vm.GateAPDU, 0, 0, []byte("e"))
	require.NoError(t, err)
	require.Zero(t, working)
	_, err = i.Message(vm.GateAPDU, 0, 0, []byte("s"))
	require.ErrorContains(t, err, "ran longer than")
	require.Positive(t, working)
	require.LessOrEqual(t, working, 3)
}
