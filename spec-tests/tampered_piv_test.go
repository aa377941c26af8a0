package spectests

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	pivreader "github.com/sspemu/sspemu/bundles/eid/inspect/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/primary/loader"
)

// tamperedPIV is one way to tamper with a PIV card.
type tamperedPIV struct {
	Name    string         `yaml:"name"`
	Persona map[string]any `yaml:"persona,flow,omitempty"`
	Sees    []string       `yaml:"sees,omitempty"`  // what an inspection finds wrong
	Warns   []string       `yaml:"warns,omitempty"` // what it warns of
	Fails   []string       `yaml:"fails,omitempty"` // the cases that fail, and no others
}

// TestTamperedPIV: each tampered PIV card shows in the checks, and makes the cases fail,
// that are about what is wrong with it; the default one in none.
func TestTamperedPIV(t *testing.T) {
	const file = "testdata/tampered_eid/piv.yaml"
	spb, err := bundles.Open("eid")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	suites, err := Suites()
	require.NoError(t, err)
	suites, err = Select(suites, []string{"sp_800_73"})
	require.NoError(t, err)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var want []tamperedPIV
	require.NoError(t, yaml.Unmarshal(b, &want))
	got := slices.Clone(want)
	for i := range got {
		c := &got[i]
		c.Sees, c.Warns, c.Fails = nil, nil, nil
		var changes []Change
		for p, v := range c.Persona {
			changes = append(changes, Change{p, v})
		}
		persona, err := changed(pkg.DefaultPersona, changes)
		require.NoError(t, err, c.Name)
		target, stop, err := InProcess{Engine: engine, Package: spb, Persona: persona}.Target(context.Background())
		require.NoError(t, err, c.Name)
		target.Personalise = nil // those cards would be whole
		_, err = target.Terminal.Reset(context.Background(), true)
		require.NoError(t, err)
		ca, err := pki.ParseCertificate(unhex(target.Vars["piv_ca"]))
		require.NoError(t, err)
		r := &inspect.Report{Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
		err = pivreader.Inspect(context.Background(), target.Terminal, pivreader.Config{PIN: target.Vars["piv_digits"], Anchors: &pki.Store{Anchors: []*pki.Certificate{ca}}}, r)
		require.NoError(t, err, c.Name)
		for _, x := range r.Checks {
			switch x.Result {
			case inspect.Fail:
				c.Sees = append(c.Sees, x.Name+": "+x.Why)
			case inspect.Warning:
				c.Warns = append(c.Warns, x.Name+": "+x.Why)
			}
		}
		rep, err := Run(context.Background(), target, suites, nil)
		require.NoError(t, err)
		require.NoError(t, stop())
		for _, s := range rep.Suites {
			for _, r := range s.Results {
				if r.Outcome == Fail {
					c.Fails = append(c.Fails, r.Case)
				}
			}
		}
		if c.Persona == nil {
			require.Empty(t, slices.Concat(c.Sees, c.Warns, c.Fails), c.Name)
		} else {
			require.NotEmpty(t, slices.Concat(c.Sees, c.Warns), c.Name)
		}
	}
	if *update {
		b, err := yaml.Marshal(got)
		require.NoError(t, err)
		head := "# Tampered PIV cards: changes of the default persona, what sspemu inspect piv sees with the\n# PIN on 23 November 2026, and which cases of sp_800_73 fail.\n# go test ./spec-tests -run TamperedPIV -update\n"
		require.NoError(t, os.WriteFile(file, append([]byte(head), b...), 0o644))
		return
	}
	require.Equal(t, want, got)
}
