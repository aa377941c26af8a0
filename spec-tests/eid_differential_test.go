package spectests_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mdl"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/inspect/piv"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/sdk"
)

var compiledEID = compile("../bundles/eid")

func newEIDPair(t testing.TB) *pair {
	return newPair(t, compiledEID, func() sdk.App { return eid.New() })
}

// pairCard is the pair at the end of an inspection; it keeps what was sent.
type pairCard struct {
	p    *pair
	sent [][]byte
}

func (c *pairCard) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	c.sent = append(c.sent, bytes.Clone(capdu))
	return append(dst[:0], c.p.send(capdu, false)...), nil
}

// eidInspections look at the three documents on the card, as terminals do.
func eidInspections(t testing.TB, persona []byte, seed int64) []func(card inspect.Card) *inspect.Report {
	doc, err := sdk.ParseDoc(persona)
	require.NoError(t, err)
	chip, err := issue.NewWith(doc, issue.Native)
	require.NoError(t, err)
	trust, err := issue.Trust(doc)
	require.NoError(t, err)
	anchors, terminal := &mrtd.Anchors{}, &mrtd.Terminal{}
	for _, f := range trust.Files() {
		require.NoError(t, anchors.Add(terminal, f.Name, f.Data))
	}
	random := rand.New(rand.NewSource(seed))
	report := func() *inspect.Report { return &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)} }
	travel := func(c mrtd.Config) func(card inspect.Card) *inspect.Report {
		return func(card inspect.Card) *inspect.Report {
			r := report()
			c.Passwords.MRZ, c.Passwords.CAN = chip.Passwords.MRZ, chip.Passwords.CAN
			c.Anchors, c.Terminal, c.Random, c.Short = anchors, terminal, random, true
			_ = mrtd.Inspect(context.Background(), card, c, r)
			return r
		}
	}
	return []func(card inspect.Card) *inspect.Report{
		travel(mrtd.Config{}), travel(mrtd.Config{PACE: "none"}), travel(mrtd.Config{PACE: "cam"}),
		func(card inspect.Card) *inspect.Report {
			r := report()
			_ = piv.Inspect(context.Background(), card, piv.Config{PIN: "123456", Random: random}, r)
			return r
		},
		func(card inspect.Card) *inspect.Report {
			r := report()
			ephemeral := make([]byte, 32)
			_, _ = random.Read(ephemeral)
			ephemeral[0] = 1
			_ = mdl.Inspect(context.Background(), mdl.NFC(card), mdl.Config{Ephemeral: ephemeral}, r)
			return r
		},
	}
}

// TestEIDNativeAndWasmAgree has the documents inspected, then plays what was sent again,
// disturbed, to the identity card as Go code and as WebAssembly: answers, inside of secure
// messaging as well, and stored bytes are the same.
func TestEIDNativeAndWasmAgree(t *testing.T) {
	p := newEIDPair(t)
	c, err := compiledEID()
	require.NoError(t, err)
	var all [][]byte
	for i, look := range eidInspections(t, c.persona, 1) {
		card := &pairCard{p: p}
		r := look(card)
		require.Greater(t, r.Count(inspect.Pass), 5, "%d: %s", i, r.Verdict())
		require.Greater(t, len(card.sent), 5)
		all = append(all, card.sent...)
		p.agree()
		p.another()
	}
	r := rand.New(rand.NewSource(2))
	for range 12 {
		at := r.Intn(len(all))
		for _, c := range all[at:min(at+40, len(all))] {
			c = bytes.Clone(c)
			switch r.Intn(12) {
			case 0:
				c[r.Intn(len(c))] = byte(r.Intn(256))
			case 1:
				c = c[:1+r.Intn(len(c))]
			case 2:
				p.reset()
			case 3:
				p.send(c, true)
				continue
			}
			p.send(c, false)
		}
		p.agree()
		p.another()
	}
}

// TestEIDOversize: PUT DATA of 100 KiB in a chain ends where the card's memory for a command
// ends; the object before stays, and the card goes on.
func TestEIDOversize(t *testing.T) {
	p := newEIDPair(t)
	require.Equal(t, []byte{0x90, 0x00}, tail(p.send(unhexes(t, "00A404000BA000000308000010000100"), false)))
	refused := 0
	for n := range 100 << 10 / 255 {
		c := append([]byte{0x10, 0xDB, 0x3F, 0xFF, 255}, make([]byte, 255)...)
		if sw := tail(p.send(c, false)); !bytes.Equal(sw, []byte{0x90, 0x00}) {
			require.Equal(t, []byte{0x67, 0x00}, sw, n)
			refused++
		}
	}
	require.Equal(t, 1, refused, "once in 100 KiB: what follows is a chain of its own")
	require.Equal(t, []byte{0x68, 0x83}, tail(p.send(unhexes(t, "00CB3FFF035C017E00"), false)))
	require.Equal(t, []byte{0x90, 0x00}, tail(p.send(unhexes(t, "00CB3FFF055C035FC10200"), false)))
	p.agree()
}

func tail(r []byte) []byte { return r[max(0, len(r)-2):] }

func unhexes(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// FuzzEID sends any commands in any order to both: [length, command]...
func FuzzEID(f *testing.F) {
	p := newEIDPair(f)
	c, err := compiledEID()
	require.NoError(f, err)
	for _, look := range eidInspections(f, c.persona, 3) {
		card := &pairCard{p: p}
		look(card)
		var in []byte
		for _, c := range card.sent[:min(20, len(card.sent))] {
			if len(c) < 256 {
				in = append(append(in, byte(len(c))), c...)
			}
		}
		f.Add(in)
		p.another()
	}
	p.fuzz(f, 20)
}
