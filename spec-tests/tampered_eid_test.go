package spectests

import (
	"bytes"
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/tlv"
	"github.com/sspemu/sspemu/primary/loader"
)

// tamperedDocument is one way to tamper with a travel document.
type tamperedDocument struct {
	Name    string         `yaml:"name"`
	PACE    string         `yaml:"pace,omitempty"` // how the inspection system gets in, as its Config has it
	Persona map[string]any `yaml:"persona,flow"`   // changes of the default persona
	Wrong   string         `yaml:"wrong"`          // what is wrong, in words
	Sees    []string       `yaml:"sees"`           // checks of the inspection system that do not pass
}

// made is the chip of a persona and the trust anchors, and both as the inspection side
// has them.
type made struct {
	chip    *issue.Chip
	anchors *issue.Anchors
	cbor    []byte
}

func makeDocument(t *testing.T, yaml []byte, pkg *loader.Package) (m made) {
	doc, err := issue.FromYAML(yaml, "persona", pkg.Schema)
	require.NoError(t, err)
	m.cbor = doc.CBOR()
	m.chip, err = issue.NewWith(doc, issue.Native)
	require.NoError(t, err)
	m.anchors, err = issue.Trust(doc)
	require.NoError(t, err)
	return m
}

// document is a card without a platform.
type document struct{ c *sdktest.Card }

func (d document) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	return append(dst[:0], d.c.Send(capdu)...), nil
}

// inspection reads and verifies a document, and names the checks that do not pass.
func inspection(t *testing.T, m made, pace string) (sees []string) {
	dir := t.TempDir()
	for _, f := range m.anchors.Files() {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600))
	}
	trust, terminal, err := mrtd.Load(dir)
	require.NoError(t, err)
	card := sdktest.New(t, func() sdk.App { return eid.New() })
	require.NoError(t, card.Personalise(m.cbor))
	config := mrtd.Config{
		Passwords: mrtd.Passwords{MRZ: m.chip.Passwords.MRZ}, Anchors: trust, Terminal: terminal, PACE: pace, Random: rand.New(rand.NewSource(1)),
	}
	r := &inspect.Report{Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	require.NoError(t, mrtd.Inspect(context.Background(), document{card}, config, r))
	sees = []string{}
	for _, c := range r.Checks {
		if c.Result == inspect.Fail || c.Result == inspect.Warning {
			sees = append(sees, c.Name+": "+c.Why)
		}
	}
	return sees
}

// TestTamperedDocuments: each of them can be issued, its trust anchor is the right one,
// and an inspection system sees what is wrong with it, and nothing else; with the default
// one nothing is.
func TestTamperedDocuments(t *testing.T) {
	const file = "testdata/tampered_eid/mrtd.yaml"
	spb, err := bundles.Open("eid")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var all []tamperedDocument
	require.NoError(t, yaml.Unmarshal(b, &all))

	good := makeDocument(t, pkg.DefaultPersona, pkg)
	for _, pace := range []string{"", "none", "gm"} {
		require.Empty(t, inspection(t, good, pace), "the default document")
	}
	names := map[string]bool{}
	for i := range all {
		d := &all[i]
		require.False(t, names[d.Name], "%s is there twice", d.Name)
		names[d.Name] = true
		var changes []Change
		for p, v := range d.Persona {
			changes = append(changes, Change{p, v})
		}
		persona, err := changed(pkg.DefaultPersona, changes)
		require.NoError(t, err, d.Name)
		m := makeDocument(t, persona, pkg)
		require.False(t, reflect.DeepEqual(good.chip, m.chip) && reflect.DeepEqual(good.anchors, m.anchors), "%s: nothing is different", d.Name)
		require.True(t, good.anchors.CSCA.Key.Equal(m.anchors.CSCA.Key), "%s: the trust anchor is the right one", d.Name)
		sees := inspection(t, m, d.PACE)
		if *update {
			d.Sees = sees
			continue
		}
		require.Equal(t, d.Sees, sees, d.Name)
	}
	if *update {
		b, err := yaml.Marshal(all)
		require.NoError(t, err)
		head := "# Tampered travel documents: changes of the default persona (docs/eid.md has the words),\n# what is wrong, and which checks of an inspection system do not pass. None: it\n# reads as if nothing was; whoever tries what a terminal does not do sees it.\n# go test ./spec-tests -run TamperedDocuments -update\n"
		require.NoError(t, os.WriteFile(file, append([]byte(head), b...), 0o644))
	}
}

// TestDocumentInWebAssembly: the card in WebAssembly and whoever computes the persona
// natively have the same octets.
func TestDocumentInWebAssembly(t *testing.T) {
	const document = `
  document: {format: td1, state: UTO, number: D23145890734, issued: "20260105", expires: "20360104"}
  holder: {surname: Öberg-Ångström, given_names: Åsa, nationality: UTO, birth: "19800229"}
  bac: false
  chip_authentication: [aes-128 brainpoolP512r1, 3des P-521]
  active_authentication: rsa 1024 sha-1
  document_signer: {algorithm: rsa-pss 2048 sha-256}
  groups: {dg2: {padding: 40000}, dg5: {}, dg7: {}, dg11: {full_name: Öberg<<Åsa}, dg13: {size: 1000}}
`
	var value map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(document), &value))
	spb, err := bundles.Open("eid")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	persona, err := changed(pkg.DefaultPersona, []Change{{"/seed", "same"}, {"/mrtd", value}})
	require.NoError(t, err)
	target, stop, err := InProcess{Engine: engine, Package: spb, Persona: persona}.Target(context.Background())
	require.NoError(t, err)
	defer func() { require.NoError(t, stop()) }()
	card := target.Terminal
	_, err = card.Reset(context.Background(), true)
	require.NoError(t, err)
	send := func(capdu ...byte) []byte {
		r, err := card.Transmit(context.Background(), capdu, nil)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(r), 2)
		require.Equal(t, []byte{0x90, 0x00}, r[len(r)-2:], "%X", capdu)
		return r[:len(r)-2]
	}
	files := makeDocument(t, persona, pkg).chip.Files
	require.Len(t, files, 12)
	for _, f := range files {
		if f.DF == issue.MF {
			send(0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00)
		} else {
			send(append([]byte{0x00, 0xA4, 0x04, 0x0C, byte(len(lds.AID))}, lds.AID...)...)
		}
		send(0x00, 0xA4, 0x02, 0x0C, 0x02, byte(f.FID>>8), byte(f.FID))
		var got []byte
		for len(got) < len(f.Data) {
			n := min(len(f.Data)-len(got), 127)
			// The odd instruction: offsets beyond 32767 (ISO/IEC 7816-4 11.3.3).
			part := send(0x00, 0xB1, 0x00, 0x00, 0x05, 0x54, 0x03, byte(len(got)>>16), byte(len(got)>>8), byte(len(got)), byte(n+2))
			value, err := tlv.Find(part, 0x53)
			require.NoError(t, err, f.Name())
			got = append(got, value...)
		}
		require.True(t, bytes.Equal(f.Data, got), "%s is another one", f.Name())
	}
}
