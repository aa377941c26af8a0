package iot

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

const selectApplet = "00A4040007A0000005590010"

// newCard is a card of the default persona with some text of it replaced, and the
// applet selected.
func newCard(t testing.TB, replace ...string) *sdktest.Card {
	t.Helper()
	card := sdktest.New(t, func() sdk.App { return New() })
	require.NoError(t, personalise(t, card, replace...))
	require.Equal(t, "9000", card.Transmit(selectApplet))
	return card
}

func persona(t testing.TB, replace ...string) string {
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(yaml), replace[i])
	}
	return strings.NewReplacer(replace...).Replace(string(yaml))
}

func personalise(t testing.TB, card *sdktest.Card, replace ...string) error {
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	return card.PersonaliseYAML([]byte(persona(t, replace...)), schema)
}

// profileOf is the persona of newCard for whoever is not on the card.
func profileOf(t testing.TB, replace ...string) *profile.Profile {
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	p, err := profile.FromYAML([]byte(persona(t, replace...)), "persona", schema)
	require.NoError(t, err)
	return p
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// must sends a command that has to be answered with 9000 and gives its data.
func must(t testing.TB, card *sdktest.Card, capdu string) string {
	t.Helper()
	r := card.Transmit(capdu)
	require.True(t, strings.HasSuffix(r, "9000"), "%s: %s", capdu, r)
	return strings.TrimSuffix(r, "9000")
}
