package spectests

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/issuer"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/payment/terminal"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// tampered is one way to tamper with a payment card.
type tampered struct {
	Name        string         `yaml:"name"`
	Application string         `yaml:"application"` // that the terminal takes
	Persona     map[string]any `yaml:"persona,flow,omitempty"`
	Terminal    string         `yaml:"terminal"` // what it makes of the card
	Fails       []string       `yaml:"fails"`    // the cases that fail, and no others
}

// paymentFaults are those that are not in the persona: a card that answers wrong.
var paymentFaults = map[string]func(capdu, rapdu []byte) []byte{
	"wrong MACs are told to be right": func(c, r []byte) []byte {
		if len(c) > 0 && c[0] == 0x84 && bytes.Equal(r, []byte{0x69, 0x88}) {
			return []byte{0x90, 0x00}
		}
		return r
	},
	"a bit of the application cryptograms is wrong": func(c, r []byte) []byte {
		if i := bytes.Index(r, []byte{0x9F, 0x26, 0x08}); i > 0 && len(c) > 1 && c[1] == 0xAE {
			r = bytes.Clone(r)
			r[i+3] ^= 0x80
		}
		return r
	},
}

// TestTamperedCards: each way to tamper with a card makes exactly the cases fail that are
// about it, and a terminal sees what it can see.
func TestTamperedCards(t *testing.T) {
	const file = "testdata/tampered_payment.yaml"
	x := tamper(t, "payment", "emv")
	want := known[tampered](t, file)
	got := slices.Clone(want)
	for i := range got {
		c := &got[i]
		receive := paymentFaults[c.Name]
		require.True(t, receive != nil != (c.Persona != nil), c.Name)
		target, stop := x.target(x.persona(c.Persona), receive)
		c.Terminal = transact(t, target, c.Application)
		c.Fails = x.fails(target)
		require.NoError(t, stop())
		require.NotEmpty(t, c.Fails, c.Name)
	}
	confirm(t, file, "# Tampered payment cards: changes of the default persona, what a terminal makes of the\n# card, and which cases fail. A name without changes is a fault of broken_payment_test.go.\n# go test ./spec-tests -run Tampered -update\n", want, got)
}

// transact is one transaction with the issuer; it says how it ended.
func transact(t *testing.T, target *Target, application string) string {
	p := target.Profile
	host, err := issuer.New(p, 0)
	require.NoError(t, err)
	_, err = target.Terminal.Reset(context.Background(), true)
	require.NoError(t, err)
	i := slices.IndexFunc(p.Applications, func(a profile.Application) bool { return a.Name == application })
	require.GreaterOrEqual(t, i, 0, application)
	r, err := terminal.Run(context.Background(), target.Terminal, terminal.Config{
		AID: p.Applications[i].AID, Amount: 1234, Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), PIN: "1234", Issuer: host,
		Random: rand.New(rand.NewSource(1)), Currency: [2]byte{0x09, 0x78}, Country: [2]byte{0x02, 0x76},
		Authority: func(rid [5]byte, index byte) (oda.PublicKey, bool) {
			for i := range p.Authorities {
				if a := &p.Authorities[i]; a.RID == rid && a.Index == index {
					k, err := p.AuthorityKey(rsakey.Generate, a)
					return k.PublicKey, err == nil
				}
			}
			return oda.PublicKey{}, false
		},
	})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s; TVR %X: %s", r.Outcome, r.TVR, strings.Join(emv.Words(0x95, r.TVR[:]), ", "))
}
