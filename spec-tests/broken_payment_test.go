package spectests

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary/loader"
)

// paymentFaults are ways to tamper with a payment card. Application 0 is debit, 1
// credit, 2 domestic. testdata/broken_payment.yaml says which cases each of them must
// make fail, and only those.
var paymentFaults = map[string]struct {
	persona []Change
	receive func(capdu, rapdu []byte) []byte
}{
	"the hash of an issuer certificate is wrong":  {persona: []Change{{"/issuers/1/defect", "hash"}}},
	"an issuer certificate has expired":           {persona: []Change{{"/issuers/2/expires", "1025"}}},
	"the hash of an ICC certificate is wrong":     {persona: []Change{{"/applications/1/icc/defect", "hash"}}},
	"an ICC certificate is of another card":       {persona: []Change{{"/applications/0/icc/defect", "identifier"}}},
	"the AFL goes beyond the records":             {persona: []Change{{"/applications/2/contact/afl", "08010201 10010300"}}},
	"the AFL has another record signed":           {persona: []Change{{"/applications/2/contact/afl", "08010202 10010200"}}},
	"CDOL1 asks for 256 bytes":                    {persona: []Change{{"/applications/2/cdol1", "9F02FF 9F0301"}}},
	"the signed static data are of other data":    {persona: []Change{{"/applications/2/static_defect", "hash"}}},
	"the signed static data have a wrong trailer": {persona: []Change{{"/applications/2/static_defect", "trailer"}}},
	"the ATC is at FFFF":                          {persona: []Change{{"/applications/2/counters/atc", int64(0xFFFF)}}},
	"an application is blocked":                   {persona: []Change{{"/applications/2/blocked", true}}},
	"the PIN has one try":                         {persona: []Change{{"/applications/0/pin/tries", int64(1)}}},
	"wrong MACs are told to be right": {receive: func(c, r []byte) []byte {
		if len(c) > 0 && c[0] == 0x84 && bytes.Equal(r, []byte{0x69, 0x88}) {
			return []byte{0x90, 0x00}
		}
		return r
	}},
	"a bit of the application cryptograms is wrong": {receive: func(c, r []byte) []byte {
		if i := bytes.Index(r, []byte{0x9F, 0x26, 0x08}); i > 0 && len(c) > 1 && c[1] == 0xAE {
			r = bytes.Clone(r)
			r[i+3] ^= 0x80
		}
		return r
	}},
}

// TestTamperedCards: each way to tamper with a card makes exactly the cases fail that are
// about it.
func TestTamperedCards(t *testing.T) {
	const file = "testdata/broken_payment.yaml"
	spb, err := bundles.Open("payment")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	suites, err := Suites()
	require.NoError(t, err)
	suites, err = Select(suites, []string{"emv"})
	require.NoError(t, err)
	want := map[string][]string{}
	if b, err := os.ReadFile(file); err == nil {
		require.NoError(t, yaml.Unmarshal(b, &want))
	}
	got := map[string][]string{}
	for name, f := range paymentFaults {
		persona, err := changed(pkg.DefaultPersona, f.persona)
		require.NoError(t, err, name)
		target, stop, err := InProcess{Engine: engine, Package: spb, Persona: persona}.Target(context.Background())
		require.NoError(t, err, name)
		target.Terminal = brokenTerminal{Terminal: target.Terminal, receive: f.receive}
		target.Personalise = nil // those cards would be whole
		rep, err := Run(context.Background(), target, suites, nil)
		require.NoError(t, err)
		require.NoError(t, stop())
		require.False(t, rep.OK(), name)
		for _, s := range rep.Suites {
			for _, r := range s.Results {
				if r.Outcome == Fail {
					got[name] = append(got[name], s.Name+"/"+r.Case)
				}
			}
		}
	}
	if *update {
		b, err := yaml.Marshal(got)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append([]byte("# Which cases each way to tamper with a card makes fail; go test ./spec-tests -run Tampered -update\n"), b...), 0o644))
		return
	}
	require.Equal(t, want, got)
}
