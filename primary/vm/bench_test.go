package vm_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/persona"
	"github.com/sspemu/sspemu/primary/vm"
)

// goGuest is the example bundle in Go, about 2 MB of WebAssembly.
func goGuest(tb testing.TB) []byte {
	tb.Helper()
	wasm, err := goExample()
	require.NoError(tb, err)
	return wasm
}

var goExample = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sspemu-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-buildmode=c-shared", "-o", out, "./spb")
	cmd.Dir = filepath.Join("..", "..", "bundles", "sdk", "example")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWASM=", "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	return os.ReadFile(out)
})

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
			require.NoError(b, env.NVM.Put([]byte("k"), make([]byte, 16)))
			require.NoError(b, env.NVM.Commit())
			i := start(b, e, guest(b, "misbehave.c"), vm.Limits{}, env)
			in := []byte(c.in)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = i.Message(vm.GateAPDU, 0, 0, in)
			}
		})
	}
}

// BenchmarkGo is a command to the example bundle in Go: SELECT builds an answer,
// READ asks the NVM.
func BenchmarkGo(b *testing.B) {
	e, err := vm.New(vm.Config{})
	require.NoError(b, err)
	defer e.Close()
	m, err := e.Compile(context.Background(), "example", goGuest(b), vm.Limits{})
	require.NoError(b, err)
	i, err := m.Instantiate(new(seen).env())
	require.NoError(b, err)
	defer i.Close()
	require.NoError(b, i.Personalise(examplePersona(b)))
	require.NoError(b, i.Init(vm.Start))
	for _, c := range []struct{ name, in string }{
		{"SELECT", "\x00\xA4\x04\x00\x08\xF0SSPEMU\x01"},
		{"READ", "\x80\x12\x00\x00\x04"},
		{"GET CHALLENGE of 256", "\x00\x84\x00\x00\x00"},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			b.ReportAllocs()
			for b.Loop() {
				out, err := i.Message(vm.GateAPDU, 0, 0, in)
				if err != nil || out[len(out)-2] != 0x90 {
					b.Fatal(out, err)
				}
			}
		})
	}
}

func examplePersona(tb testing.TB) []byte {
	tb.Helper()
	dir := filepath.Join("..", "..", "bundles", "sdk", "example")
	yaml, err := os.ReadFile(filepath.Join(dir, "persona.yaml"))
	require.NoError(tb, err)
	schema, err := os.ReadFile(filepath.Join(dir, "persona.schema.json"))
	require.NoError(tb, err)
	doc, err := persona.Convert(yaml, "persona.yaml", schema)
	require.NoError(tb, err)
	return doc
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
