package mdl_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// FuzzEnvelope sends messages and requests of anybody, before and inside a session: the
// card answers with a status word that it has, and the next reader is served.
func FuzzEnvelope(f *testing.F) {
	var c *sdktest.Card
	f.Add([]byte{0x53, 0x01, 0xFF}, false)
	f.Add(mdoc.Message{Status: 20}.Encode(), false)
	f.Add(mdoc.Request{Documents: []mdoc.Query{mdoc.NewQuery(typ, elements(space, "family_name", "age_over_20")...)}}.Encode(), true)
	f.Fuzz(func(t *testing.T, b []byte, inside bool) {
		if len(b) > 60000 {
			return
		}
		if c == nil {
			c = newCard(t)
		}
		r := tap(t, c)
		if inside {
			v := r.plain(b)
			require.True(t, v.IsMap())
		} else {
			r.ask(mdoc.NewQuery(typ, elements(space, "sex")...))
			command := append([]byte{0x00, 0xC3, 0x00, 0x00, 0x00, byte(len(b) >> 8), byte(len(b))}, b...)
			if len(b) == 0 {
				command = []byte{0x00, 0xC3, 0x00, 0x00}
			}
			a := c.Send(append(command, 0x00, 0x00)[:len(command)+2*min(len(b), 1)])
			require.GreaterOrEqual(t, len(a), 2)
		}
		r = tap(t, c)
		require.Equal(t, []string{"sex"}, shown(t, r.ask(mdoc.NewQuery(typ, elements(space, "sex")...)), 0, space))
		for _, l := range c.Logs {
			require.False(t, strings.Contains(l, "Eriksson"))
		}
	})
}
