package vm_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/primary/vm"
)

// goGuest builds the example bundle in Go, about 2 MB of WebAssembly.
func goGuest(tb testing.TB) []byte {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-buildmode=c-shared", "-o", out, "./spb")
	cmd.Dir = filepath.Join("..", "..", "bundles", "sdk", "example")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWASM=", "CGO_ENABLED=0", "GOFLAGS=")
	said, err := cmd.CombinedOutput()
	require.NoError(tb, err, "%s", said)
	b, err := os.ReadFile(out)
	require.NoError(tb, err)
	return b
}

// BenchmarkMessage is the cost of one crossing: into the bundle, what it does
// there, and back.
func BenchmarkMessage(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"refusal", "u"},
		{"echo of 64 bytes", "e" + strings.Repeat(".", 63)},
		{"nvm_get of 16 bytes", "g"},
		{"nvm_get of 16 bytes, 100 times", "G"},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, err := vm.New(vm.Config{})
			require.NoError(b, err)
			defer e.Close()
			env := new(seen).env()
			_ = env.NVM.Put([]byte("k"), make([]byte, 16))
			i := start(b, e, guest(b, "misbehave.c"), vm.Limits{}, env)
			in := []byte(c.in)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = i.Message(vm.GateAPDU, 0, 0, in)
			}
		})
	}
}

// BenchmarkLoad is the way of a bundle in Go from bytes to an instance that has
// answered on_init: without a cache, from the cache on disk, and once compiled.
func BenchmarkLoad(b *testing.B) {
	wasm := goGuest(b)
	load := func(b *testing.B, dir string) *vm.Module {
		e, err := vm.New(vm.Config{CacheDir: dir})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, e.Close()) })
		m, err := e.Compile(context.Background(), "example", wasm, vm.Limits{})
		require.NoError(b, err)
		return m
	}
	b.Run("compile, cold", func(b *testing.B) {
		for b.Loop() {
			load(b, b.TempDir())
		}
	})
	dir := b.TempDir()
	load(b, dir)
	b.Run("compile, from the cache", func(b *testing.B) {
		for b.Loop() {
			load(b, dir)
		}
	})
	b.Run("instantiate and on_init", func(b *testing.B) {
		m := load(b, dir)
		for b.Loop() {
			i, err := m.Instantiate(new(seen).env())
			require.NoError(b, err)
			_ = i.Init(vm.Start) // it has no persona; that it says so is all the same here
			i.Close()
		}
	})
}
