package spectests_test

import (
	"context"
	"crypto"
	"crypto/des"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
	spectests "github.com/sspemu/sspemu/spec-tests"
)

// BenchmarkMRTD is one inspection of the default document, 20 KiB, over the mem: link:
// access, every file that needs no terminal authentication, chip and active
// authentication, and all verification by the inspection system. native is the same chip
// as Go code, without platform and link.
func BenchmarkMRTD(b *testing.B) {
	spb, err := bundles.Open("eid")
	require.NoError(b, err)
	pkg, err := loader.Parse(spb)
	require.NoError(b, err)
	ctx := context.Background()
	engine, err := vm.New(vm.Config{CacheDir: cacheDir(b)})
	require.NoError(b, err)
	b.Cleanup(func() { _ = engine.Close() })
	t, end, err := spectests.InProcess{Engine: engine, Package: spb}.Target(ctx)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, end()) })
	c := sdktest.New(b, func() sdk.App { return eid.New() })
	require.NoError(b, c.PersonaliseYAML(pkg.DefaultPersona, pkg.Schema))
	for _, v := range []struct{ name, way string }{
		{"PACE P-256 AES-128", "gm aes 128 P-256"}, {"BAC", "none"}, {"PACE brainpoolP384r1 AES-256", "gm aes 256 brainpoolP384r1"}, {"PACE-CAM brainpoolP256r1", "cam"},
	} {
		config := mrtd.Config{PACE: v.way}
		require.NoError(b, config.Passwords.FromFields("L898902C3", "740812", "360104"))
		for _, side := range []string{"mem", "native"} {
			b.Run(v.name+"/"+side, func(b *testing.B) {
				for b.Loop() {
					var card inspect.Card = native{c}
					if side == "mem" {
						_, err := t.Terminal.Reset(ctx, true)
						require.NoError(b, err)
						card = t.Terminal
					} else {
						c.Reset()
					}
					r := &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
					if err := mrtd.Inspect(ctx, card, config, r); err != nil || !r.OK() {
						b.Fatal(err, r.Failed())
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/inspection")
			})
		}
	}
}

// BenchmarkPIV is one signature with RSA of 2048 bits by GENERAL AUTHENTICATE, over the
// mem: link. RSA is the platform's work, or the bundle's in WebAssembly; native is the
// same operation by crypto/rsa.
func BenchmarkPIV(b *testing.B) {
	spb, err := bundles.Open("eid")
	require.NoError(b, err)
	pkg, err := loader.Parse(spb)
	require.NoError(b, err)
	ctx := context.Background()
	for _, who := range []string{"platform", "bundle"} {
		b.Run("RSA-2048/"+who, func(b *testing.B) {
			engine, err := vm.New(vm.Config{CacheDir: cacheDir(b)})
			require.NoError(b, err)
			b.Cleanup(func() { _ = engine.Close() })
			yaml := strings.Replace(string(pkg.DefaultPersona), "\npiv:", "\npiv:\n  cryptography: "+who, 1)
			t, end, err := spectests.InProcess{Engine: engine, Package: spb, Persona: []byte(yaml)}.Target(ctx)
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, end()) })
			_, err = t.Terminal.Reset(ctx, true)
			require.NoError(b, err)
			send := func(capdu []byte) []byte {
				r, err := t.Terminal.Transmit(ctx, capdu, nil)
				require.NoError(b, err)
				data, sw, _ := apdu.Status(r)
				require.Equal(b, apdu.OK, sw)
				return data
			}
			send([]byte{0, 0xA4, 4, 0, 11, 0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0, 0})
			key, err := des.NewTripleDESCipher([]byte("\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08"))
			require.NoError(b, err)
			challenge := send([]byte{0, 0x87, 3, 0x9B, 4, 0x7C, 2, 0x81, 0, 0})[4:]
			key.Encrypt(challenge, challenge)
			send(append([]byte{0, 0x87, 3, 0x9B, 12, 0x7C, 10, 0x82, 8}, challenge...))
			generate := apdu.Command{INS: 0x47, P2: 0x9E, Data: []byte{0xAC, 3, 0x80, 1, 7}, Ne: 65536, Extended: true}
			send(generate.Append(nil))
			body := tlv.Append([]byte{0x82, 0}, 0x81, append([]byte{0, 1}, make([]byte, 254)...)...)
			sign := apdu.Command{INS: 0x87, P1: 7, P2: 0x9E, Data: tlv.Append(nil, 0x7C, body...), Ne: 65536, Extended: true}
			capdu := sign.Append(nil)
			for b.Loop() {
				send(capdu)
			}
			b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/signature")
		})
	}
	b.Run("RSA-2048/native", func(b *testing.B) {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(b, err)
		h := make([]byte, 32)
		for b.Loop() {
			if _, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, h); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/signature")
	})
}
