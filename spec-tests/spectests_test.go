package spectests

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
)

var engine *vm.Engine

// TestMain has one engine for all tests: a bundle is compiled once.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sspemu-conformance")
	if err != nil {
		panic(err)
	}
	if engine, err = vm.New(vm.Config{CacheDir: dir}); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = engine.Close()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// TestConformance plays every suite against the bundle that it is about.
func TestConformance(t *testing.T) {
	suites, err := Suites()
	require.NoError(t, err)
	rep, err := RunEach(context.Background(), open, suites, nil)
	require.NoError(t, err)
	if !rep.OK() {
		_ = rep.WriteTable(os.Stderr, false)
		t.Fatal(rep.Summary())
	}
	t.Log(rep.Summary())
}

// TestAgain: a run leaves a card on which the next one passes, whoever tests it: nothing is
// known of the card but its persona.
func TestAgain(t *testing.T) {
	suites, err := Suites()
	require.NoError(t, err)
	for _, bundle := range []string{"telecom", "payment", "eid", "iot"} {
		t.Run(bundle, func(t *testing.T) {
			ctx := context.Background()
			card, end, err := open(ctx, bundle)
			require.NoError(t, err)
			defer func() { require.NoError(t, end()) }()
			spb, err := bundles.Open(bundle)
			require.NoError(t, err)
			pkg, err := loader.Parse(spb)
			require.NoError(t, err)
			var some []*Suite
			for _, s := range suites {
				if s.Bundle == bundle {
					some = append(some, s)
				}
			}
			var first string
			for range 2 {
				seen := &Target{Name: "a card", Terminal: card.Terminal}
				require.NoError(t, seen.Tell(pkg.DefaultPersona))
				rep, err := Run(ctx, seen, some, nil)
				require.NoError(t, err)
				if !rep.OK() {
					_ = rep.WriteTable(os.Stderr, false)
				}
				require.True(t, rep.OK(), rep.Summary())
				if first == "" {
					first = rep.Summary()
				}
				require.Equal(t, first, rep.Summary())
			}
		})
	}
}

// open makes the target of the suites of a bundle; one that is not built in has none.
func open(ctx context.Context, bundle string) (*Target, func() error, error) {
	spb, err := bundles.Open(bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, ErrNoTarget)
	}
	spare, err := bundles.Open("example")
	if err != nil {
		return nil, nil, err
	}
	return InProcess{Engine: engine, Package: spb, Spare: spare}.Target(ctx)
}
