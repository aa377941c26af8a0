package spectests

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	pivreader "github.com/sspemu/sspemu/bundles/eid/inspect/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
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
	x := tamper(t, "eid", "sp_800_73")
	want := known[tamperedPIV](t, file)
	got := slices.Clone(want)
	for i := range got {
		c := &got[i]
		c.Sees, c.Warns = nil, nil
		target, stop := x.target(x.persona(c.Persona), nil)
		ca, err := pki.ParseCertificate(unhex(target.Vars["piv_ca"]))
		require.NoError(t, err)
		r := &inspect.Report{Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
		err = pivreader.Inspect(context.Background(), target.Terminal, pivreader.Config{PIN: target.Vars["piv_digits"], Anchors: &pki.Store{Anchors: []*pki.Certificate{ca}}}, r)
		require.NoError(t, err, c.Name)
		for _, k := range r.Checks {
			switch k.Result {
			case inspect.Fail:
				c.Sees = append(c.Sees, k.Name+": "+k.Why)
			case inspect.Warning:
				c.Warns = append(c.Warns, k.Name+": "+k.Why)
			}
		}
		c.Fails = x.fails(target)
		require.NoError(t, stop())
		if c.Persona == nil {
			require.Empty(t, slices.Concat(c.Sees, c.Warns, c.Fails), c.Name)
		} else {
			require.NotEmpty(t, slices.Concat(c.Sees, c.Warns), c.Name)
		}
	}
	confirm(t, file, "# Tampered PIV cards: changes of the default persona, what sspemu inspect piv sees with the\n# PIN on 23 November 2026, and which cases of sp_800_73 fail.\n# go test ./spec-tests -run TamperedPIV -update\n", want, got)
}
