package spectests

import (
	"os"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/primary/loader"
)

// tamperedDocument is one way to tamper with a travel document.
type tamperedDocument struct {
	Name    string         `yaml:"name"`
	Persona map[string]any `yaml:"persona"` // changes of the default persona
	Wrong   string         `yaml:"wrong"`   // what an inspection system has to see
}

// tamperedDocuments are those of the test data.
func tamperedDocuments(t *testing.T) (all []tamperedDocument) {
	b, err := os.ReadFile("testdata/tampered_eid/mrtd.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &all))
	require.NotEmpty(t, all)
	return all
}

// persona is the default persona of the bundle, changed.
func (d *tamperedDocument) persona(t *testing.T, pkg *loader.Package) []byte {
	var changes []Change
	for p, v := range d.Persona {
		changes = append(changes, Change{p, v})
	}
	b, err := changed(pkg.DefaultPersona, changes)
	require.NoError(t, err, d.Name)
	return b
}

// TestTamperedDocuments: each of them can be issued, and is not the default one.
func TestTamperedDocuments(t *testing.T) {
	spb, err := bundles.Open("eid")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	made := func(yaml []byte) (*issue.Chip, *issue.Anchors) {
		doc, err := issue.FromYAML(yaml, "persona", pkg.Schema)
		require.NoError(t, err)
		c, err := issue.NewWith(doc, issue.Native)
		require.NoError(t, err)
		a, err := issue.Trust(doc)
		require.NoError(t, err)
		return c, a
	}
	good, anchors := made(pkg.DefaultPersona)
	names := map[string]bool{}
	for _, d := range tamperedDocuments(t) {
		require.False(t, names[d.Name], d.Name)
		names[d.Name] = true
		require.NotEmpty(t, d.Wrong, d.Name)
		c, a := made(d.persona(t, pkg))
		require.False(t, reflect.DeepEqual(good, c) && reflect.DeepEqual(anchors, a), "%s: nothing is different", d.Name)
		require.True(t, anchors.CSCA.Key.Equal(a.CSCA.Key), "%s: the trust anchor is the right one", d.Name)
	}
}
