package telecom

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// newCard is a card with the default persona.
func newCard(t testing.TB) *sdktest.Card {
	c := sdktest.New(t, func() sdk.App { return New() })
	require.NoError(t, c.PersonaliseFiles("persona.yaml", "persona.schema.json"))
	return c
}

func TestX(t *testing.T) {
	c := newCard(t)
	for _, s := range []string{"00A40004023F00", "00A40004022FE2", "00B000000A", "00A404040BA0000000871002FF49FF05", "00A40004026F07", "00B0000009", "0020000108313233 34FFFFFFFF", "00B0000009", "00A4080406 7FFF5FC04F07", "80F2000000"} {
		t.Log(s, c.Transmit(s))
	}
	n := 0
	for k, v := range c.NVM() {
		n += len(k) + len(v)
	}
	t.Log(n, len(c.NVM()))
}
