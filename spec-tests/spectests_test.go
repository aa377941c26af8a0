package spectests

import (
	"context"
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

// inProcess is the telecom bundle over mem:, with the smallest bundle there is as
// the spare one.
func inProcess(t *testing.T, persona []byte) *Target {
	spb, err := bundles.Open("telecom")
	require.NoError(t, err)
	spare, err := bundles.Open("example")
	require.NoError(t, err)
	target, stop, err := InProcess{Engine: engine, Package: spb, Spare: spare, Persona: persona}.Target(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stop()) })
	return target
}

// TestConformance plays every suite against the telecom bundle.
func TestConformance(t *testing.T) {
	suites, err := Suites()
	require.NoError(t, err)
	rep, err := Run(context.Background(), inProcess(t, nil), suites, nil)
	require.NoError(t, err)
	if !rep.OK() {
		_ = rep.WriteTable(os.Stderr, false)
		t.Fatal(rep.Summary())
	}
	t.Log(rep.Summary())
}
