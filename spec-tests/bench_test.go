package spectests_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
)

// running is a platform in memory with the built-in bundles, telecom active.
func running(tb testing.TB) (*primary.Platform, *scl.Network) {
	engine, err := vm.New(vm.Config{CacheDir: cacheDir(tb)})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = engine.Close() })
	c := primary.Config{State: nvm.OpenMemory(nvm.Options{}), Engine: engine, Network: scl.NewNetwork(scl.DefaultProfile(), nil), Active: "telecom"}
	require.NotEmpty(tb, bundles.Names(), bundles.ErrNone)
	for _, n := range bundles.Names() {
		c.Builtins = append(c.Builtins, primary.Builtin{Name: n, Enabled: true, Open: func() ([]byte, error) { return bundles.Open(n) }})
	}
	p, err := primary.New(context.Background(), c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, p.Close()) })
	return p, c.Network
}

// BenchmarkAPDU is one exchange through everything: terminal, mem: link, SCL
// packets both ways, gate, WebAssembly bundle.
func BenchmarkAPDU(b *testing.B) {
	p, n := running(b)
	require.NoError(b, p.Warm(context.Background())) // compiling in the background would be counted
	c := newTerminal(b, n)
	ctx := context.Background()
	send := func(capdu string) []byte {
		r, err := c.Transmit(ctx, []byte(capdu), nil)
		require.NoError(b, err)
		return r
	}
	send("\x00\xA4\x00\x04\x02\x2F\xE2\x00")
	for _, x := range []struct{ name, capdu string }{
		{"READ BINARY of 10 bytes", "\x00\xB0\x00\x00\x0A"},
		{"SELECT of the MF with FCP", "\x00\xA4\x00\x04\x02\x3F\x00\x00"},
		{"STATUS without data", "\x80\xF2\x00\x0C"},
	} {
		b.Run(x.name, func(b *testing.B) {
			r := send(x.capdu)
			require.Equal(b, "\x90\x00", string(r[len(r)-2:]), x.name)
			in, dst := []byte(x.capdu), make([]byte, 0, 300)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Transmit(ctx, in, dst); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "APDU/s")
		})
	}
}

// BenchmarkActivate is the change from one bundle to another and back, two
// activations.
func BenchmarkActivate(b *testing.B) {
	p, _ := running(b)
	ctx := context.Background()
	require.NoError(b, p.Warm(ctx))
	require.NoError(b, p.Activate(ctx, "example"))
	require.NoError(b, p.Activate(ctx, "telecom"))
	for b.Loop() {
		require.NoError(b, p.Activate(ctx, "example"))
		require.NoError(b, p.Activate(ctx, "telecom"))
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(2*b.N), "ms/activation")
}

// cacheDir keeps compiled bundles between runs, as sspemu itself does.
func cacheDir(tb testing.TB) string {
	dir, err := os.UserCacheDir()
	require.NoError(tb, err)
	return filepath.Join(dir, "sspemu")
}
