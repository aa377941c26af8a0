package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// calc is a module with many kinds of instructions: blocks, tables, 64-bit and
// floating-point numbers, bulk memory.
const calc = `
#define X(n) __attribute__((export_name(#n)))
typedef unsigned long long u64; typedef unsigned u32;
static unsigned char heap[1024];
X(collatz) u32 collatz(u32 n) { u32 k = 0; while (n > 1) { n = n & 1 ? 3 * n + 1 : n / 2; k++; } return k; }
X(hash) u64 hash(u32 n) { u64 h = 14695981039346656037ull; for (u32 i = 0; i < n; i++) { h ^= i; h *= 1099511628211ull; } return h; }
X(pi) double pi(u32 n) { double s = 0; for (u32 i = 0; i < n; i++) s += (i & 1 ? -4.0 : 4.0) / (2 * i + 1); return s; }
X(bulk) u32 bulk(u32 n) { __builtin_memset(heap, n, 512); __builtin_memcpy(heap + 512, heap, n % 512); u32 s = 0; for (u32 i = 0; i < 1024; i++) s = s * 31 + heap[i]; return s; }
static u32 f0(u32 n) { return n + 1; } static u32 f1(u32 n) { return n * 3; } static u32 f2(u32 n) { return n ^ 0x55; }
X(table) u32 table(u32 n) { static u32 (*const f[])(u32) = {f0, f1, f2}; u32 r = n; for (u32 i = 0; i < 16; i++) r = f[r % 3](r); return r; }
X(choose) u32 choose(u32 n) { switch (n % 7) { case 0: return 11; case 1: return n; case 2: return n * n; case 3: return ~n; case 4: return n >> 3; case 5: return -n; default: return 42; } }
X(simd) u32 simd(u32 n) { u32 s = 0; for (u32 i = 0; i < 1024; i++) s += heap[i] * (i + n); return s; }
X(sat) u32 sat(float f) { return (u32)f; }
`

func compiled(tb testing.TB) []byte {
	tb.Helper()
	dir := tb.TempDir()
	src, out := filepath.Join(dir, "calc.c"), filepath.Join(dir, "calc.wasm")
	require.NoError(tb, os.WriteFile(src, []byte(calc), 0o600))
	said, err := exec.Command("clang", "--target=wasm32", "-O3", "-mbulk-memory", "-msimd128", "-mnontrapping-fptoint",
		"-nostdlib", "-ffreestanding", "-Wl,--no-entry", "-o", out, src).CombinedOutput()
	require.NoError(tb, err, "clang (apt-get install clang lld): %s", said)
	b, err := os.ReadFile(out)
	require.NoError(tb, err)
	return b
}

// TestInstrumentKeepsMeaning: a module gives the same results with and without
// the deadline, and with it it ends when told to.
func TestInstrumentKeepsMeaning(t *testing.T) {
	ctx := context.Background()
	plain := compiled(t)
	with, err := instrument(plain, false)
	require.NoError(t, err)
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	a, err := r.InstantiateWithConfig(ctx, plain, wazero.NewModuleConfig().WithName("a"))
	require.NoError(t, err)
	b, err := r.InstantiateWithConfig(ctx, with, wazero.NewModuleConfig().WithName("b"))
	require.NoError(t, err)
	require.Equal(t, len(a.ExportedFunctionDefinitions()), len(b.ExportedFunctionDefinitions()))
	for name := range a.ExportedFunctionDefinitions() {
		for _, n := range []uint64{0, 1, 2, 3, 7, 27, 97, 871, 4095, 65535} {
			if name == "sat" {
				n = api.EncodeF32(float32(n) * 1e6)
			}
			want, err := a.ExportedFunction(name).Call(ctx, n)
			require.NoError(t, err)
			got, err := b.ExportedFunction(name).Call(ctx, n)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s(%d)", name, n)
		}
	}
	b.ExportedGlobal(deadlineGlobal).(api.MutableGlobal).Set(1)
	for name := range b.ExportedFunctionDefinitions() {
		var err error
		for range pauseSteps {
			if _, err = b.ExportedFunction(name).Call(ctx, 7); err != nil {
				break
			}
		}
		require.ErrorContains(t, err, "unreachable", name)
	}
}

// module is the head of a module and sections: number, content, ...
func module(sections ...any) []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	for i := 0; i < len(sections); i += 2 {
		body := sections[i+1].([]byte)
		b = binary.AppendUvarint(append(b, byte(sections[i].(int))), uint64(len(body)))
		b = append(b, body...)
	}
	return b
}

// TestInstrumentRefuses what could cost the platform memory or time, and what it
// would read wrongly, with the place.
func TestInstrumentRefuses(t *testing.T) {
	types, function := []byte{1, 0x60, 0, 0}, []byte{1, 0}
	code := func(b ...byte) []byte {
		return append([]byte{1, byte(len(b))}, b...)
	}
	for _, tc := range []struct {
		name string
		wasm []byte
		say  string
	}{
		{"4 billion locals", module(1, types, 3, function, 10, code(1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x7F, 0x0B)), "4294967295 locals, 50000 at most"},
		{"a large table", module(4, []byte{1, 0x70, 0, 0xFF, 0xFF, 0x7F}), "a table of 2097151 elements"},
		{"many tables", module(4, []byte{17}), "17 tables, 16 at most"},
		{"a start section", module(8, []byte{0}), "a start function"},
		{"an imported memory", module(2, []byte{1, 1, 'm', 1, 'n', 2, 0, 1}), `imports "n" from "m", which is not a function`},
		{"sections in another order", module(3, function, 1, types), "section 1 is unknown or out of order"},
		{"a section twice", module(1, types, 1, types), "section 1 is unknown or out of order"},
		{"a section of a proposal", module(13, []byte{0}), "section 13 is unknown or out of order"},
		{"20 bytes with 110 million data segments", module(11, []byte{0xE3, 0xF2, 0xA1, 0x34, 0xDF, 0x34}), "109607267 elements do not fit in"},
		{"a long function type", module(1, []byte{1, 0x60, 0xFF, 0xFF, 0xFF, 0x7F, 0}), "it ends too early"},
		{"a long name", module(7, []byte{1, 0xFF, 0xFF, 0xFF, 0x7F}), "it ends too early"},
		{"a long element segment", module(9, []byte{1, 0, 0x41, 0, 0x0B, 0xFF, 0xFF, 0xFF, 0x7F}), "elements do not fit in"},
		{"a long data segment", module(11, []byte{1, 0, 0x41, 0, 0x0B, 0xFF, 0xFF, 0xFF, 0x7F}), "it ends too early"},
		{"an unknown opcode", module(1, types, 3, function, 10, code(0, 0x06, 0x0B)), "function body 0: at byte 2: opcode 06 is unknown"},
		{"an unknown bulk opcode", module(1, types, 3, function, 10, code(0, 0xFC, 18, 0x0B)), "opcode FC 18 is unknown"},
		{"an unknown vector opcode", module(1, types, 3, function, 10, code(0, 0xFD, 0x80, 2, 0x0B)), "opcode FD 256 is unknown"},
		{"a typed reference as block type", module(1, types, 3, function, 10, code(0, 0x02, 0x64, 0x03, 0x40, 0x0B)), "type 64 is unknown"},
		{"the same, longer", module(1, types, 3, function, 10, code(0, 0x02, 0xE4, 0x7F, 0x03, 0x40, 0x0B)), "a block type is negative"},
		{"an operand cut off", module(1, types, 3, function, 10, code(0, 0x41, 0x80)), "it ends too early"},
		{"a body that is longer than the section", module(10, []byte{1, 9, 0}), "it ends too early"},
	} {
		for _, interpreted := range []bool{false, true} {
			_, err := instrument(tc.wasm, interpreted)
			require.ErrorContains(t, err, tc.say, tc.name)
			require.ErrorIs(t, err, errWasm, tc.name)
		}
	}
	out, err := instrument(module(4, []byte{1, 0x70, 0, 2}), false)
	require.NoError(t, err)
	require.Contains(t, string(out), "\x70\x01\x02\x80\x80\x04", "a table without a maximum gets one")
}

// plain is a module that instrument accepts, without its custom sections: wazero believes
// what they say of their length.
func plain(wasm []byte) []byte {
	out := bytes.Clone(wasm[:8])
	for r := (&reader{b: wasm, off: 8}); r.off < len(wasm); {
		at := r.off
		id := r.byte()
		if r.bytes(r.u32()); id != secCustom {
			out = append(out, wasm[at:r.off]...)
		}
	}
	return out
}

// FuzzInstrument: any bytes are refused with errWasm or become a module that is
// still understood; what wazero took before it takes afterwards.
func FuzzInstrument(f *testing.F) {
	types, function := []byte{1, 0x60, 0, 0}, []byte{1, 0}
	f.Add(module())
	f.Add(module(1, types, 3, function, 10, []byte{1, 7, 0, 0x03, 0x40, 0x0C, 0, 0x0B, 0x0B}))
	f.Add(module(6, []byte{1, 0x7F, 1, 0x41, 0, 0x0B}, 7, []byte{1, 1, 'g', 3, 0}))
	f.Add(module(4, []byte{1, 0x70, 0, 2}, 5, []byte{1, 0, 1}))
	f.Add(module(0, []byte{0x80, 0xFF, 0xFF, 0xFF, 0x0E, 'n'}))
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	f.Cleanup(func() { _ = r.Close(ctx) })
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		for _, interpreted := range []bool{false, true} {
			out, err := instrument(b, interpreted)
			require.Equal(t, was, b)
			if err != nil {
				require.ErrorIs(t, err, errWasm)
				return
			}
			_, err = instrument(out, interpreted)
			require.NoError(t, err)
			c, err := r.CompileModule(ctx, plain(b))
			if err != nil || c.ExportedFunctions()[deadlineGlobal] != nil {
				continue
			}
			require.NoError(t, c.Close(ctx))
			c, err = r.CompileModule(ctx, out)
			require.NoError(t, err)
			require.NoError(t, c.Close(ctx))
		}
	})
}
