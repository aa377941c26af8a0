package spectests_test

import (
	"context"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/payment"
	"github.com/sspemu/sspemu/bundles/payment/issuer"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/payment/terminal"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
	spectests "github.com/sspemu/sspemu/spec-tests"
)

// BenchmarkEMV is one complete transaction with contacts, CDA with keys of 1408 bits,
// plain PIN, online, over the mem: link: selection, records, verification of
// certificates and both signatures by the terminal, the issuer's work. RSA of the card is
// the platform's work, or the bundle's in WebAssembly; native is the same card as Go
// code, without platform and link. With an enciphered PIN the card has a third operation
// with its private key.
func BenchmarkEMV(b *testing.B) {
	spb, err := bundles.Open("payment")
	require.NoError(b, err)
	pkg, err := loader.Parse(spb)
	require.NoError(b, err)
	ctx := context.Background()
	for _, name := range []string{"platform", "bundle", "native", "platform, enciphered PIN", "bundle, enciphered PIN"} {
		who, _, enciphered := strings.Cut(name, ",")
		text := strings.Replace(string(pkg.DefaultPersona), "seed: ", "cryptography: "+strings.Replace(who, "native", "platform", 1)+"\nseed: ", 1)
		if !enciphered {
			plain := strings.Replace(text, "4403 4103 4203", "4103 4203", 1)
			require.NotEqual(b, text, plain)
			text = plain
		}
		yaml := []byte(text)
		p, err := profile.FromYAML(yaml, "persona", pkg.Schema)
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			var card terminal.Card
			if who == "native" {
				c := sdktest.New(b, func() sdk.App { return payment.New() })
				require.NoError(b, c.PersonaliseYAML(yaml, pkg.Schema))
				card = native{c}
			} else {
				engine, err := vm.New(vm.Config{CacheDir: cacheDir(b)})
				require.NoError(b, err)
				b.Cleanup(func() { _ = engine.Close() })
				t, end, err := spectests.InProcess{Engine: engine, Package: spb, Persona: yaml}.Target(ctx)
				require.NoError(b, err)
				b.Cleanup(func() { require.NoError(b, end()) })
				_, err = t.Terminal.Reset(ctx, true)
				require.NoError(b, err)
				card = t.Terminal
			}
			transactions(b, ctx, card, p)
		})
	}
}

// native is a card without platform and link.
type native struct{ *sdktest.Card }

func (n native) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) {
	return n.Send(capdu), nil
}

func transactions(b *testing.B, ctx context.Context, card terminal.Card, p *profile.Profile) {
	host, err := issuer.New(p, 0)
	require.NoError(b, err)
	keys := map[byte]oda.PublicKey{}
	for i := range p.Authorities {
		k, err := p.AuthorityKey(rsakey.Generate, &p.Authorities[i])
		require.NoError(b, err)
		keys[p.Authorities[i].RID[4]] = k.PublicKey
	}
	random := rand.New(rand.NewSource(1))
	for b.Loop() {
		res, err := terminal.Run(ctx, card, terminal.Config{
			AID: p.Applications[0].AID, Amount: 1000, Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), PIN: "1234",
			Authority: func(rid [5]byte, _ byte) (oda.PublicKey, bool) { k, ok := keys[rid[4]]; return k, ok },
			Issuer:    host, Random: random,
		})
		if err != nil || res.Outcome != terminal.ApprovedOnline || res.ODA != "CDA" {
			b.Fatal(err, res)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/transaction")
}
