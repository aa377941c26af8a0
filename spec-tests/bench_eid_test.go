package spectests_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
	spectests "github.com/sspemu/sspemu/spec-tests"
)

// BenchmarkMRTD is one inspection of the default document, 20 KiB, over the mem: link:
// access, every file that needs no terminal authentication, chip and active
// authentication, and all verification by the inspection system. native is the same chip
// as Go code, without platform and link.
func BenchmarkMRTD(b *testing.B) {
	spb, err := bundles.Open("eid")
	require.NoError(b, err)
	pkg, err := loader.Parse(spb)
	require.NoError(b, err)
	ctx := context.Background()
	engine, err := vm.New(vm.Config{CacheDir: cacheDir(b)})
	require.NoError(b, err)
	b.Cleanup(func() { _ = engine.Close() })
	t, end, err := spectests.InProcess{Engine: engine, Package: spb}.Target(ctx)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, end()) })
	c := sdktest.New(b, func() sdk.App { return eid.New() })
	require.NoError(b, c.PersonaliseYAML(pkg.DefaultPersona, pkg.Schema))
	for _, v := range []struct{ name, way string }{
		{"PACE P-256 AES-128", "gm aes 128 P-256"}, {"BAC", "none"}, {"PACE brainpoolP384r1 AES-256", "gm aes 256 brainpoolP384r1"}, {"PACE-CAM brainpoolP256r1", "cam"},
	} {
		config := mrtd.Config{PACE: v.way}
		require.NoError(b, config.Passwords.FromFields("L898902C3", "740812", "360104"))
		for _, side := range []string{"mem", "native"} {
			b.Run(v.name+"/"+side, func(b *testing.B) {
				for b.Loop() {
					var card inspect.Card = native{c}
					if side == "mem" {
						_, err := t.Terminal.Reset(ctx, true)
						require.NoError(b, err)
						card = t.Terminal
					} else {
						c.Reset()
					}
					r := &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
					if err := mrtd.Inspect(ctx, card, config, r); err != nil || !r.OK() {
						b.Fatal(err, r.Failed())
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/inspection")
			})
		}
	}
}
