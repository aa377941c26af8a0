package eid_test

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// native is a card without a platform, for the inspection side.
type native struct{ c *sdktest.Card }

func (n native) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	return append(dst[:0], n.c.Send(capdu)...), nil
}

func document(t testing.TB) (*sdktest.Card, mrtd.Config) {
	c := newCard(t)
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	doc, err := issue.FromYAML(yaml, "persona.yaml", schema)
	require.NoError(t, err)
	trust, err := issue.Trust(doc)
	require.NoError(t, err)
	_ = trust
	var config mrtd.Config
	require.NoError(t, config.Passwords.FromFields("L898902C3", "740812", "360104"))
	return c, config
}

func TestInspection(t *testing.T) {
	for _, way := range []string{"none", "gm P-256", "gm brainpoolP384r1", "gm 3des", "im", "cam"} {
		t.Run(way, func(t *testing.T) {
			c, config := document(t)
			config.PACE = way
			r := &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
			require.NoError(t, mrtd.Inspect(context.Background(), native{c}, config, r))
			var b bytes.Buffer
			r.Text(&b)
			t.Log(b.String())
			require.True(t, r.OK())
		})
	}
}
