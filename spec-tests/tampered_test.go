package spectests

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary/loader"
)

// tampering makes cards of tampered personas of a bundle, and plays suites on them.
type tampering struct {
	t      *testing.T
	spb    []byte
	pkg    *loader.Package
	suites []*Suite
	whole  bool // every case has to be played
}

func tamper(t *testing.T, bundle, suite string) *tampering {
	spb, err := bundles.Open(bundle)
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	all, err := Suites()
	require.NoError(t, err)
	suites, err := Select(all, []string{suite})
	require.NoError(t, err)
	return &tampering{t: t, spb: spb, pkg: pkg, suites: suites}
}

// persona is the default one with changes by JSON pointer.
func (x *tampering) persona(changes map[string]any) []byte {
	var l []Change
	for p, v := range changes {
		l = append(l, Change{p, v})
	}
	b, err := changed(x.pkg.DefaultPersona, l)
	require.NoError(x.t, err)
	return b
}

// target is a card of the persona; receive, unless nil, changes its answers.
func (x *tampering) target(persona []byte, receive func(capdu, rapdu []byte) []byte) (*Target, func() error) {
	target, stop, err := InProcess{Engine: engine, Package: x.spb, Persona: persona}.Target(context.Background())
	require.NoError(x.t, err)
	target.Terminal = brokenTerminal{Terminal: target.Terminal, receive: receive}
	target.Personalise = nil // those cards would be whole
	_, err = target.Terminal.Reset(context.Background(), true)
	require.NoError(x.t, err)
	return target, stop
}

// fails plays the suites, and names what fails.
func (x *tampering) fails(target *Target) (names []string) {
	rep, err := Run(context.Background(), target, x.suites, nil)
	require.NoError(x.t, err)
	for _, s := range rep.Suites {
		for _, r := range s.Results {
			require.False(x.t, x.whole && r.Outcome == NotCovered, r.Case)
			if r.Outcome == Fail {
				names = append(names, s.Name+"/"+r.Case)
			}
		}
	}
	return names
}

// known reads what is known of tampered cards.
func known[T any](t *testing.T, file string) (all []T) {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &all))
	return all
}

// confirm compares with what is known, or with -update writes it below the lines of head.
func confirm[T any](t *testing.T, file, head string, want, got []T) {
	t.Helper()
	if !*update {
		require.Equal(t, want, got)
		return
	}
	b, err := yaml.Marshal(got)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append([]byte(head), b...), 0o644))
}
