package spectests

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// nativeCard is a card without a platform, as a Terminal of the suites.
type nativeCard struct{ document }

func (n nativeCard) Reset(_ context.Context, cold bool) ([]byte, error) {
	if cold {
		n.c.PowerOn()
	} else {
		n.c.Reset()
	}
	return []byte{0x3B, 0x80, 0x80, 0x01, 0x01}, nil
}

// brokenDocument says which cases a tampered document fails.
type brokenDocument struct {
	Name  string   `yaml:"name"`
	Fails []string `yaml:"fails,omitempty"`
}

// TestBrokenDocuments: each tampered document makes exactly those cases of the suites
// fail that are about what is wrong with it; the default one none.
func TestBrokenDocuments(t *testing.T) {
	const file = "testdata/tampered_eid/mrtd_conformance.yaml"
	x := tamper(t, "eid", "doc_9303")
	x.whole = true
	all := append([]tamperedDocument{{Name: "the default document"}}, known[tamperedDocument](t, "testdata/tampered_eid/mrtd.yaml")...)
	got := []brokenDocument{}
	for i := range all {
		d := &all[i]
		persona := x.persona(d.Persona)
		card := sdktest.New(t, func() sdk.App { return eid.New() })
		require.NoError(t, card.PersonaliseYAML(persona, x.pkg.Schema), d.Name)
		target := &Target{Name: d.Name, Terminal: nativeCard{document{card}}}
		require.NoError(t, target.Tell(persona))
		broken := brokenDocument{d.Name, x.fails(target)}
		if i == 0 {
			require.Empty(t, broken.Fails)
			continue
		}
		got = append(got, broken)
	}
	confirm(t, file, "# Which cases of doc_9303_10 and doc_9303_11 each document of mrtd.yaml fails. Without\n# fails: what is wrong with it is for the data, not for the chip.\n# go test ./spec-tests -run BrokenDocuments -update\n", known[brokenDocument](t, file), got)
}
