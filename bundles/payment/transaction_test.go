package payment_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment"
	"github.com/sspemu/sspemu/bundles/payment/issuer"
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

var update = flag.Bool("update", false, "write the transcripts anew")

// flow is one transaction of a transcript.
type flow struct {
	title  string
	change func(*terminal.Config)
	script *issuer.Script // queued before, for the application
	want   string         // outcome
	wrong  string         // or what is wrong
}

// TestTransactions: a golden transcript for each application and flow; the outcomes are
// those that EMV asks for.
func TestTransactions(t *testing.T) {
	online := func(c *terminal.Config) { c.ForceOnline = true }
	offline := func(c *terminal.Config) { c.Floor, c.Issuer = 1000000, nil }
	contactless := func(c *terminal.Config) { c.Contactless = true }
	for _, c := range []struct {
		name, aid string
		replace   []string
		flows     []flow
	}{
		{name: "debit", aid: "F0535350450101", flows: []flow{
			{"a new card goes online", func(c *terminal.Config) { c.Floor = 1000000 }, nil, terminal.ApprovedOnline, ""},
			{"offline below the floor limit", offline, nil, terminal.ApprovedOffline, ""},
			{"above the offline amount it asks to go online", func(c *terminal.Config) { offline(c); c.Amount = 15001 }, nil, terminal.ApprovedOffline, ""},
			{"above the upper limit it declines when nobody is there", func(c *terminal.Config) { offline(c); c.Amount = 29000 }, nil, terminal.DeclinedOffline, ""},
			{"cash", func(c *terminal.Config) { c.Type = 1 }, nil, terminal.ApprovedOnline, ""},
			{"another currency", func(c *terminal.Config) { c.Currency = [2]byte{0x08, 0x40} }, nil, terminal.ApprovedOnline, ""},
			{"a wrong PIN, then no second try", func(c *terminal.Config) { c.PIN = "4321" }, nil, terminal.ApprovedOnline, ""},
			{"without PIN", func(c *terminal.Config) { c.PIN = "" }, nil, terminal.ApprovedOnline, ""},
		}},
		{name: "scripts", aid: "F0535350450101", flows: []flow{
			{"change of the PIN", online, &issuer.Script{Command: "change-pin", PIN: "567890"}, terminal.ApprovedOnline, ""},
			{"the new PIN", func(c *terminal.Config) { c.PIN = "567890" }, nil, terminal.ApprovedOnline, ""},
			{"the old PIN", online, nil, terminal.ApprovedOnline, ""},
			{"blocked PIN: the issuer declines, and gives the tries back before the second GENERATE AC", online, &issuer.Script{Command: "unblock-pin", Before: true}, terminal.DeclinedOnline, ""},
			{"update of a record", func(c *terminal.Config) { c.PIN = "567890" }, &issuer.Script{Command: "update-record", SFI: 1, Record: 1, Data: []byte{0x70, 0x07, 0x5F, 0x20, 0x04, 'N', 'E', 'W', '/'}}, terminal.ApprovedOnline, ""},
			{"the record is another", func(c *terminal.Config) { c.PIN = "567890" }, nil, terminal.ApprovedOnline, ""},
			{"a record that is not there", func(c *terminal.Config) { c.PIN = "567890" }, &issuer.Script{Command: "update-record", SFI: 9, Record: 1, Data: []byte{0x70, 0x00}}, terminal.ApprovedOnline, ""},
			{"application block", func(c *terminal.Config) { c.PIN = "567890" }, &issuer.Script{Command: "block-application"}, terminal.ApprovedOnline, ""},
			{"blocked", online, nil, "", "the application F0535350450101 is blocked (EMV Book 1 12.4)"},
		}},
		{name: "card block", aid: "F0535350450101", flows: []flow{
			{"card block", online, &issuer.Script{Command: "block-card"}, terminal.ApprovedOnline, ""},
			{"blocked", online, nil, "", "the card is blocked (EMV Book 1 12.3.2)"},
		}},
		{name: "credit", aid: "F0535350450201", flows: []flow{
			{"online", online, nil, terminal.ApprovedOnline, ""},
			{"offline below the floor limit", offline, nil, terminal.ApprovedOffline, ""},
			{"change of the PIN", online, &issuer.Script{Command: "change-pin", PIN: "4711"}, terminal.ApprovedOnline, ""},
			{"no issuer for a large amount", func(c *terminal.Config) { c.Issuer = nil; c.Amount = 100001 }, nil, terminal.DeclinedOffline, ""},
		}},
		{name: "domestic", aid: "F0535350460101", flows: []flow{
			{"online", online, nil, terminal.ApprovedOnline, ""},
			{"abroad it is not allowed", func(c *terminal.Config) { c.Country = [2]byte{0x07, 0x56} }, nil, terminal.ApprovedOnline, ""},
			{"offline it does not", offline, nil, terminal.DeclinedOffline, ""},
		}},
		{name: "contactless kernel 2", aid: "F0535350450101", flows: []flow{
			{"a new card goes online", contactless, nil, terminal.ApprovedOnline, ""},
			{"and again", func(c *terminal.Config) { contactless(c); offline(c) }, nil, terminal.OnlineRequest, ""},
		}},
		{name: "magnetic stripe", aid: "F0535350450101", replace: []string{", emv-mode, relay-resistance]", "]"}, flows: []flow{
			{"checksum", func(c *terminal.Config) { contactless(c); c.Issuer = nil }, nil, terminal.OnlineRequest, ""},
		}},
		{name: "contactless kernel 3", aid: "F0535350450201", replace: []string{"      - {if: new-card, then: online}\n      - {if: last-online-not-completed, then: online}\n      - {if: amount-above, limit: 5000, then: online}", "      - {if: amount-above, limit: 5000, then: online}"}, flows: []flow{
			{"offline with fast DDA", contactless, nil, terminal.ApprovedOffline, ""},
			{"a large amount goes online", func(c *terminal.Config) { contactless(c); c.Amount = 5001 }, nil, terminal.ApprovedOnline, ""},
			{"the reader wants to go online", func(c *terminal.Config) { contactless(c); c.ForceOnline = true }, nil, terminal.ApprovedOnline, ""},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.replace...)
			host, err := issuer.New(b.profile, 0)
			require.NoError(t, err)
			var out strings.Builder
			for n, f := range c.flows {
				b.Reset()
				cfg := b.config(t, c.aid)
				cfg.Random = rand.New(rand.NewSource(int64(n + 1)))
				cfg.Issuer = host
				cfg.Report = func(s terminal.Step) { transcript(&out, s) }
				f.change(&cfg)
				if f.script != nil {
					require.NoError(t, host.Queue(nameOf(b.profile, c.aid), *f.script))
				}
				fmt.Fprintf(&out, "=== %s\n", f.title)
				res, err := terminal.Run(context.Background(), b, cfg)
				if f.wrong != "" {
					require.EqualError(t, err, f.wrong, f.title)
					fmt.Fprintf(&out, "*** %s\n\n", err)
					continue
				}
				require.NoError(t, err, f.title)
				fmt.Fprintf(&out, "*** %s, CID %02X, ATC %d, TVR %X, TSI %X, %s, %s, scripts %d\n\n", res.Outcome, res.CID, res.ATC, res.TVR, res.TSI, res.ODA, res.CVM, res.Scripts)
				require.Equal(t, f.want, res.Outcome, f.title)
			}
			golden(t, strings.ReplaceAll(c.name, " ", "_"), out.String())
		})
	}
}

func nameOf(p *profile.Profile, aid string) string {
	for _, a := range p.Applications {
		if fmt.Sprintf("%X", a.AID) == aid {
			return a.Name
		}
	}
	return ""
}

// transcript is a step as the golden files have it.
func transcript(out *strings.Builder, s terminal.Step) {
	fmt.Fprintf(out, "# %s\n", s.Title)
	if s.Command != nil {
		fmt.Fprintf(out, "> %X\n< %X\n", s.Command, s.Response)
	}
	for _, n := range s.Notes {
		fmt.Fprintf(out, "  %s\n", n)
	}
}

func golden(t *testing.T, name, got string) {
	file := "testdata/transcripts/" + name + ".txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata/transcripts", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "go test -update writes it")
	require.Equal(t, string(want), got)
}
