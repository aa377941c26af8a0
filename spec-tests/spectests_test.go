package spectests

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
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
