package payment_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/payment/terminal"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// persona is the default persona with some text of it replaced.
func persona(t testing.TB, replace ...string) (yaml, schema []byte) {
	t.Helper()
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(yaml), replace[i])
	}
	schema, err = os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	return []byte(strings.NewReplacer(replace...).Replace(string(yaml))), schema
}

// bench is a card with a terminal's other half.
type bench struct {
	*sdktest.Card
	profile *profile.Profile
}

func newBench(t testing.TB, replace ...string) *bench {
	yaml, schema := persona(t, replace...)
	card := sdktest.New(t, func() sdk.App { return payment.New() })
	require.NoError(t, card.PersonaliseYAML(yaml, schema))
	p, err := profile.FromYAML(yaml, "persona.yaml", schema)
	require.NoError(t, err)
	return &bench{card, p}
}

// Transmit makes it a terminal.Card.
func (b *bench) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) {
	return b.Send(capdu), nil
}

func (b *bench) authority(rid [5]byte, index byte) (oda.PublicKey, bool) {
	for i := range b.profile.Authorities {
		if a := &b.profile.Authorities[i]; a.RID == rid && a.Index == index {
			k, err := b.profile.AuthorityKey(rsakey.Generate, a)
			return k.PublicKey, err == nil
		}
	}
	return oda.PublicKey{}, false
}

// config is a terminal of a day in 2026.
func (b *bench) config(t testing.TB, aid string) terminal.Config {
	c := terminal.Config{
		Amount: 1234, Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), PIN: "1234", Authority: b.authority,
		Random: rand.New(rand.NewSource(1)),
		Report: func(s terminal.Step) {
			t.Logf("%s\n  > %X\n  < %X\n  %s", s.Title, s.Command, s.Response, strings.Join(s.Notes, "\n  "))
		},
	}
	if aid != "" {
		_, err := fmt.Sscanf(aid, "%X", &c.AID)
		require.NoError(t, err)
	}
	return c
}

func TestTransactions(t *testing.T) {
	for _, c := range []struct{ name, aid string }{
		{"debit", "F0535350450101"}, {"credit", "F0535350450201"}, {"domestic", "F0535350460101"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			res, err := terminal.Run(context.Background(), b, b.config(t, c.aid))
			require.NoError(t, err, errors.Unwrap(err))
			t.Logf("%+v", res)
		})
	}
}
