package payment

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// newCard is a card of the default persona with some text of it replaced.
func newCard(t testing.TB, replace ...string) *sdktest.Card {
	t.Helper()
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(yaml), replace[i])
	}
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	card := sdktest.New(t, func() sdk.App { return New() })
	require.NoError(t, card.PersonaliseYAML([]byte(strings.NewReplacer(replace...).Replace(string(yaml))), schema))
	return card
}

func TestFirst(t *testing.T) {
	card := newCard(t)
	for _, c := range []string{
		"00A404000E315041592E5359532E4444463031", "00B2010C00", "00B2020C00", "00B2030C00", "00B2040C00",
		"00A404000E325041592E5359532E4444463031", "00A4040005F053535045", "00A4040205F053535045", "00A4040205F053535045",
		"00A4040007F0535350450101", "80A800000683040276" + "0978", "00B2011400", "00B2011C00", "00B2012400",
		"80CA9F3600", "80CA9F1700",
		"80AE90002B" + "000000001000" + "000000000000" + "0276" + "0000000000" + "0978" + "261123" + "00" + "11223344" + "22" + "1F0000" + "00",
	} {
		r := card.Transmit(c)
		t.Log(c, "->", r)
	}
	t.Log(card.Logs)
}
