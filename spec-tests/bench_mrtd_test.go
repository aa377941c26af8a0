package spectests_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/primary/vm"
	spectests "github.com/sspemu/sspemu/spec-tests"
)

// stopwatch is a card of which the time between command and answer, and the octets of the
// answers, are added up.
type stopwatch struct {
	inspect.Card
	spent  time.Duration
	octets int
}

func (s *stopwatch) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	at := time.Now()
	r, err := s.Card.Transmit(ctx, capdu, dst)
	s.spent += time.Since(at)
	s.octets += len(r)
	return r, err
}

// BenchmarkMRTDRead is access and a full read of a document of 20 KiB that has nothing
// else, over the mem: link. ms/read is everything, with the terminal's part and passive
// authentication; ms/card is what passes between commands and answers.
func BenchmarkMRTDRead(b *testing.B) {
	const persona = `
seed: sspemu eID test
mrtd:
  document: {format: td3, state: UTO, number: L898902C3, issued: "20260105", expires: "20360104"}
  holder: {surname: Eriksson, given_names: Anna Maria, nationality: UTO, sex: F, birth: "19740812"}
  pace: [ecdh-gm aes-128 P-256]
  groups: {dg2: {padding: 6000}}
`
	spb, err := bundles.Open("eid")
	require.NoError(b, err)
	ctx := context.Background()
	engine, err := vm.New(vm.Config{CacheDir: cacheDir(b)})
	require.NoError(b, err)
	b.Cleanup(func() { _ = engine.Close() })
	t, end, err := spectests.InProcess{Engine: engine, Package: spb, Persona: []byte(persona)}.Target(ctx)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, end()) })
	for _, v := range []struct{ name, way string }{{"PACE P-256 AES-128", "gm aes 128 P-256"}, {"BAC", "none"}} {
		b.Run(v.name, func(b *testing.B) {
			config := mrtd.Config{PACE: v.way}
			require.NoError(b, config.Passwords.FromFields("L898902C3", "740812", "360104"))
			b.ReportAllocs()
			card := &stopwatch{Card: t.Terminal}
			for b.Loop() {
				_, err := t.Terminal.Reset(ctx, true)
				require.NoError(b, err)
				r := &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
				if err := mrtd.Inspect(ctx, card, config, r); err != nil || !r.OK() {
					b.Fatal(err, r.Failed())
				}
			}
			n := float64(b.N)
			b.ReportMetric(b.Elapsed().Seconds()*1000/n, "ms/read")
			b.ReportMetric(card.spent.Seconds()*1000/n, "ms/card")
			b.ReportMetric(float64(card.octets)/n, "octets")
		})
	}
}
