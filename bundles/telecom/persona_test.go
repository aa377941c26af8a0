package telecom

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/persona"
)

// TestRefused changes testdata/small.yaml in one place at a time, as
// testdata/refused.yaml says: the schema refuses with file and line, the card
// with the place.
func TestRefused(t *testing.T) {
	base, err := os.ReadFile("testdata/small.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	text, err := os.ReadFile("testdata/refused.yaml")
	require.NoError(t, err)
	var cases []struct{ Old, New, Error string }
	require.NoError(t, yaml.Unmarshal(text, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.New, func(t *testing.T) {
			require.Equal(t, 1, strings.Count(string(base), c.Old), "%q has to be there once", c.Old)
			changed := []byte(strings.Replace(string(base), c.Old, c.New, 1))
			card := sdktest.New(t, func() sdk.App { return New() })
			require.EqualError(t, card.PersonaliseYAML(changed, schema), c.Error)
			require.Empty(t, card.NVM())
		})
	}
}

// TestContents checks what the helpers make of what people write.
func TestContents(t *testing.T) {
	for _, c := range []struct {
		content string
		size    int
		want    string
	}{
		{`{imsi: "001010000000001"}`, 9, "080910100000000010"},
		{`{imsi: "00101000000001"}`, 9, "0801101000000000F1"},
		{`{imsi: "001010"}`, 9, "04011010F0FFFFFFFF"},
		{`{iccid: "8900101000000000001"}`, 10, "980001010000000000F1"},
		{`{iccid: "89001010000000000018"}`, 10, "98000101000000000081"},
		{`{languages: [en, de]}`, 6, "656E6465FFFF"},
		{`{services: [1, 8, 9, 24]}`, 3, "810180"},
		{`{access_classes: [0, 15]}`, 2, "8001"},
		{`{plmns: [001/01, 310/410]}`, 9, "00F110130014FFFFFF"},
		{`{plmns_act: [{plmn: 001/01, act: [eutran, gsm]}]}`, 10, "00F1104080FFFFFF0000"},
		{`{spn: {name: abc, show_plmn: true, hide_when_roaming: true}}`, 6, "03616263FFFF"},
		{`{number: {name: A, number: "+0123*#"}}`, 16, "41FF04911032BAFFFFFFFFFFFFFFFFFF"},
		{`{number: {number: "1"}}`, 14, "0281F1FFFFFFFFFFFFFFFFFFFFFF"},
		{`{emergency: {number: "112", name: X, category: 3}}`, 6, "11F2FF58FF03"},
		{`{service_centre: "+1"}`, 28, "FD" + strings.Repeat("FF", 12) + "0291F1" + strings.Repeat("FF", 12)},
		{`{application: {aid: "F000000001", label: x}}`, 16, "610A4F05F000000001500178FFFFFFFF"},
		{`{text: hi}`, 3, "6869FF"},
		{`"01 02"`, 3, "0102FF"},
	} {
		t.Run(c.content, func(t *testing.T) {
			doc, err := persona.Convert([]byte("x: "+c.content), "x", nil)
			require.NoError(t, err)
			d, err := sdk.ParseDoc(doc)
			require.NoError(t, err)
			b := filled(c.size, []byte{0xFF})
			require.NoError(t, put(b, d.Get("x")))
			require.NoError(t, d.Err())
			require.Equal(t, c.want, strings.ToUpper(hex.EncodeToString(b)))
		})
	}
}

// TestManifest: the ATR is the one of ETSI TS 102 221 6.3 that docs/telecom.md
// explains.
func TestManifest(t *testing.T) {
	text, err := os.ReadFile("bundle.json")
	require.NoError(t, err)
	var m struct{ ATR string }
	require.NoError(t, json.Unmarshal(text, &m))
	atr, err := hex.DecodeString(m.ATR)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x9E, 0x96, 0x80, 0xB1, 0xFE, 0x45, 0x1F, 0xC7, 0x80, 0x31, 0xE0, 0x73, 0xF6, 0x21, 0xD7, 0x66}, atr[:17])
	require.Equal(t, "SSPEMU", string(atr[17:23]))
	require.Len(t, atr, 24)
	tck := byte(0)
	for _, b := range atr[1:] {
		tck ^= b
	}
	require.Zero(t, tck)
}

// TestSchemaWords: every helper and access is in the schema, and the other way
// round.
func TestSchemaWords(t *testing.T) {
	text, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	var s struct {
		Defs map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(text, &s))
	var words []string
	for _, h := range helpers {
		words = append(words, h.word)
	}
	require.ElementsMatch(t, keysOf(s.Defs["content"].Properties), words)
	words = []string{"name"}
	for _, a := range accesses {
		words = append(words, a.word)
	}
	require.ElementsMatch(t, keysOf(s.Defs["rule"].Properties), words)
}

func keysOf(m map[string]any) (l []string) {
	for k := range m {
		l = append(l, k)
	}
	return l
}
