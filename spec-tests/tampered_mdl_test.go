package spectests

import (
	"bytes"
	"context"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	mdlreader "github.com/sspemu/sspemu/bundles/eid/inspect/mdl"
)

// tamperedMDL is one way to tamper with mobile documents.
type tamperedMDL struct {
	Name    string         `yaml:"name"`
	Persona map[string]any `yaml:"persona,flow,omitempty"`
	Sees    []string       `yaml:"sees"`  // checks of the inspection side that fail
	Fails   []string       `yaml:"fails"` // the cases that fail, and no others
}

// mdlFaults are those that are not in the persona: a card that answers wrong.
func mdlFaults() map[string]func(capdu, rapdu []byte) []byte {
	var last []byte
	envelope := func(c []byte) bool { return len(c) > 1 && c[1] == 0xC3 }
	return map[string]func(capdu, rapdu []byte) []byte{
		"every answer is the one before": func(c, r []byte) []byte {
			if envelope(c) && len(r) > 2 {
				if last != nil {
					return bytes.Clone(last)
				}
				last = bytes.Clone(r)
			}
			return r
		},
		"the session goes on after its end": func(c, r []byte) []byte {
			if envelope(c) && bytes.Equal(r, []byte{0x69, 0x85}) {
				return []byte{0x90, 0x00}
			}
			return r
		},
		"the engagement never changes": func(c, r []byte) []byte {
			if len(c) > 4 && c[1] == 0xB0 && c[3] == 2 {
				if last == nil {
					last = bytes.Clone(r)
				}
				return bytes.Clone(last)
			}
			return r
		},
	}
}

// TestTamperedMDL: each way to tamper with mobile documents makes exactly the cases fail
// that are about it, and the inspection side sees what it can see.
func TestTamperedMDL(t *testing.T) {
	const file = "testdata/tampered_mdl.yaml"
	x := tamper(t, "eid", "iso_18013_5")
	want := known[tamperedMDL](t, file)
	got := slices.Clone(want)
	for i := range got {
		c := &got[i]
		receive := mdlFaults()[c.Name]
		require.True(t, receive != nil != (c.Persona != nil), c.Name)
		target, stop := x.target(x.persona(c.Persona), receive)
		iaca, err := x509.ParseCertificate(unhex(target.Vars["mdl_iaca"]))
		require.NoError(t, err)
		r := &inspect.Report{Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
		_ = mdlreader.Inspect(context.Background(), mdlreader.NFC(target.Terminal), mdlreader.Config{Anchors: []*x509.Certificate{iaca}}, r)
		c.Sees = []string{}
		for _, k := range r.Checks {
			if k.Result == inspect.Fail {
				c.Sees = append(c.Sees, k.Name+": "+k.Why)
			}
		}
		c.Fails = x.fails(target)
		require.NoError(t, stop())
		require.NotEmpty(t, c.Fails, c.Name)
	}
	confirm(t, file, "# Tampered mobile documents: changes of the default persona, what the inspection side sees\n# on 23 November 2026, and which cases fail. A name without changes is a fault of\n# tampered_mdl_test.go.\n# go test ./spec-tests -run TamperedMDL -update\n", want, got)
}
