package main

import (
	"encoding/hex"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary/loader"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sspemu": func() {
			defaultAPI = "127.0.0.1:1" // where nobody listens: tests must not find a serve of the developer
			main()
		},
	})
}

// noBundles is why tests that need bundles do not run on a fresh clone; CI does
// not put up with that.
func noBundles(t testing.TB) bool {
	t.Helper()
	if len(bundles.Names()) > 0 {
		return false
	}
	require.Empty(t, os.Getenv("CI"), "%v", bundles.ErrNone)
	t.Logf("not run: %v", bundles.ErrNone)
	return true
}

// scripts runs the scripts in a directory of testdata.
func scripts(t *testing.T, dir string) {
	cache, err := os.UserCacheDir() // compiled bundles last from run to run
	require.NoError(t, err)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", dir),
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("XDG_RUNTIME_DIR", filepath.Join(e.WorkDir, "run"))
			e.Setenv("XDG_CACHE_HOME", cache)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport":  freePort,
			"unhex":     unhex,
			"builtin":   builtin,
			"truncated": truncated,
		},
	})
}

// freePort sets a variable to a port that is free, below those that the system
// gives to outgoing connections: freeport NAME.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	for {
		port := strconv.Itoa(20000 + rand.IntN(10000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			ts.Check(l.Close())
			ts.Setenv(args[0], port)
			return
		}
	}
}

// unhex writes the bytes of a hexadecimal file: unhex FROM TO.
func unhex(ts *testscript.TestScript, neg bool, args []string) {
	b, err := hex.DecodeString(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o644))
}

// builtin writes the package of a bundle of the binary: builtin NAME FILE.
func builtin(ts *testscript.TestScript, neg bool, args []string) {
	b, err := bundles.Open(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o644))
}

// truncated writes the first half of a file: truncated FROM TO.
func truncated(ts *testscript.TestScript, neg bool, args []string) {
	b := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b[:len(b)/2]), 0o644))
}

// TestUsage plays what needs no emulator.
func TestUsage(t *testing.T) { scripts(t, "usage") }

// TestEmulator plays what does.
func TestEmulator(t *testing.T) {
	if noBundles(t) {
		return
	}
	warm(t)
	scripts(t, "emulator")
}

// warm fills the cache of compiled bundles, so that scripts that run side by side
// do not all compile them.
func warm(t testing.TB) {
	s, f := defaults(t)
	e, err := startEmulator(t.Context(), s, f, t.Output(), t.Output())
	require.NoError(t, err)
	require.NoError(t, e.platform.Warm(t.Context()))
	require.NoError(t, e.Close())
}

// defaults are the settings of a command line without flags.
func defaults(t testing.TB) (settings, *pflag.FlagSet) {
	var s settings
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.add(f)
	require.NoError(t, f.Parse(nil))
	return s, f
}

// TestBuiltins: what is known of a bundle before it is unpacked is what its package says.
func TestBuiltins(t *testing.T) {
	for _, x := range builtins() {
		spb, err := x.Open()
		require.NoError(t, err)
		pkg, err := loader.Parse(spb)
		require.NoError(t, err)
		m, err := loader.ParseManifest(x.Manifest)
		require.NoError(t, err)
		require.Equal(t, pkg.Manifest, m, x.Name)
	}
}
