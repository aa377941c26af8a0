package vm

import (
	"bytes"
	"context"
	"errors"
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

// FuzzInstrument: any bytes are refused with errWasm or become a module that is
// still understood, and instrumenting does not change its input.
func FuzzInstrument(f *testing.F) {
	head := []byte("\x00asm\x01\x00\x00\x00")
	f.Add(head)
	f.Add(append(bytes.Clone(head), 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 0x03, 0x40, 0x0C, 0, 0x0B, 0x0B))
	f.Add(append(bytes.Clone(head), 6, 6, 1, 0x7F, 1, 0x41, 0, 0x0B, 7, 5, 1, 1, 'g', 3, 0))
	f.Add(append(bytes.Clone(head), 2, 8, 1, 1, 'm', 1, 'g', 3, 0x7F, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		out, err := instrument(b, false)
		require.Equal(t, was, b)
		if err != nil {
			require.True(t, errors.Is(err, errWasm), err)
			return
		}
		_, err = instrument(out, false)
		require.NoError(t, err)
	})
}
