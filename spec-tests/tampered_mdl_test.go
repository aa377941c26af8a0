package spectests

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	mdlreader "github.com/sspemu/sspemu/bundles/eid/inspect/mdl"
	"github.com/sspemu/sspemu/primary/loader"
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
	spb, err := bundles.Open("eid")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	suites, err := Suites()
	require.NoError(t, err)
	suites, err = Select(suites, []string{"iso_18013_5"})
	require.NoError(t, err)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var want []tamperedMDL
	require.NoError(t, yaml.Unmarshal(b, &want))
	got := slices.Clone(want)
	for i := range got {
		c := &got[i]
		var changes []Change
		for p, v := range c.Persona {
			changes = append(changes, Change{p, v})
		}
		receive := mdlFaults()[c.Name]
		require.True(t, receive != nil != (changes != nil), c.Name)
		persona, err := changed(pkg.DefaultPersona, changes)
		require.NoError(t, err, c.Name)
		target, stop, err := InProcess{Engine: engine, Package: spb, Persona: persona}.Target(context.Background())
		require.NoError(t, err, c.Name)
		target.Terminal = brokenTerminal{Terminal: target.Terminal, receive: receive}
		target.Personalise = nil // those cards would be whole
		_, err = target.Terminal.Reset(context.Background(), true)
		require.NoError(t, err)
		iaca, err := x509.ParseCertificate(unhex(target.Vars["mdl_iaca"]))
		require.NoError(t, err)
		r := &inspect.Report{Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
		_ = mdlreader.Inspect(context.Background(), mdlreader.NFC(target.Terminal), mdlreader.Config{Anchors: []*x509.Certificate{iaca}}, r)
		c.Sees = []string{}
		for _, x := range r.Checks {
			if x.Result == inspect.Fail {
				c.Sees = append(c.Sees, x.Name+": "+x.Why)
			}
		}
		rep, err := Run(context.Background(), target, suites, nil)
		require.NoError(t, err)
		require.NoError(t, stop())
		require.False(t, rep.OK(), c.Name)
		c.Fails = nil
		for _, s := range rep.Suites {
			for _, r := range s.Results {
				if r.Outcome == Fail {
					c.Fails = append(c.Fails, s.Name+"/"+r.Case)
				}
			}
		}
	}
	if *update {
		b, err := yaml.Marshal(got)
		require.NoError(t, err)
		head := "# Tampered mobile documents: changes of the default persona, what the inspection side sees\n# on 23 November 2026, and which cases fail. A name without changes is a fault of\n# tampered_mdl_test.go.\n# go test ./spec-tests -run TamperedMDL -update\n"
		require.NoError(t, os.WriteFile(file, append([]byte(head), b...), 0o644))
		return
	}
	require.Equal(t, want, got)
}
