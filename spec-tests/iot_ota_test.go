package spectests

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/ca"
	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/ota"
	iot "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlv"
	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// serverOf is the server of a security domain; its packets go to a card.
func serverOf(t testing.TB, p *iot.Profile, name string, transmit func(ctx context.Context, capdu, dst []byte) ([]byte, error)) *ota.Server {
	d := p.Domain(name)
	require.NotNil(t, d)
	return ota.New(p, d, ota.Envelopes(func(ctx context.Context, c []byte) ([]byte, error) { return transmit(ctx, c, nil) }, nil))
}

// TestLifecycleOverTheAir takes identities through their life by remote administration: the
// certificate of a renewed identity comes over the air, is found in the applet and opens a
// TLS session; another identity is made, deleted and made anew for another provider; the
// trust anchor changes. Short messages and HTTP bring the packets in turn.
func TestLifecycleOverTheAir(t *testing.T) {
	target, p := iotCard(t)
	ctx := t.Context()
	applet, err := host.Select(context.Background(), target.Terminal, host.Options{})
	require.NoError(t, err)
	l, closeLink, err := target.Dial(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeLink()) })
	beside, err := terminal.Open(context.Background(), terminal.AsController(l, scl.DefaultProfile(), 0), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, beside.Close()) })
	face := &http.Client{Transport: beside.HTTP()}
	request := func(id string) []byte {
		r, err := face.Get("http://card/identities/" + id + "/csr?name=device-" + id)
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, 200, r.StatusCode, string(b))
		return b
	}
	domainA := serverOf(t, p, "public cloud A", target.Terminal.Transmit)
	provider := serverOf(t, p, "service provider", target.Terminal.Transmit)
	messages, web := provider.Send, ota.HTTP(face, "http://card/ota", nil)
	run := func(s *ota.Server, commands [][]byte) {
		t.Helper()
		_, err := s.Run(ctx, commands...)
		require.NoError(t, err)
	}
	file := func(id byte) ota.Ref { return ota.Ref{Kind: iot.File, ID: []byte{id}} }
	key := func(id byte) ota.Ref { return ota.Ref{Kind: iot.Private, ID: []byte{id}} }
	identity := func(k, cert byte) tls.Certificate { // all of it is in the applet
		x, err := applet.Key(host.ByID(k), host.ByID(k))
		require.NoError(t, err)
		id, err := applet.Certificate(x, host.ByID(cert))
		require.NoError(t, err)
		return id
	}
	a, b := newProvider(t, p, "Public Cloud A test CA"), newProvider(t, p, "Public Cloud B test CA")
	connect := func(c interface {
		connect(tls.Certificate) (string, error)
	}, id tls.Certificate, want string) {
		t.Helper()
		greeting, err := c.connect(id)
		require.NoError(t, err)
		require.Equal(t, "hello "+want, greeting)
	}

	// Renewal: cloud A certifies the key anew, and puts the certificate into the applet.
	old := identity(0x01, 0x02)
	connect(a, old, "device-0001.cloud-a.example")
	renewed, err := ca.Client{URL: a.URL, HTTP: a.client(&old)}.Reenroll(ctx, func() []byte {
		r, err := face.Get("http://card/identities/01/csr")
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return b
	}())
	require.NoError(t, err)
	run(domainA, domainA.Put(file(0x02), renewed.Raw))
	now := identity(0x01, 0x02)
	require.Equal(t, renewed.SerialNumber, now.Leaf.SerialNumber)
	connect(a, now, "device-0001.cloud-a.example")

	// Another identity: made, certified and activated without the device application.
	run(provider, provider.Generate(key(0x51)))
	x, err := ca.Client{URL: a.URL, HTTP: a.client(nil)}.Enroll(ctx, request("51"))
	require.NoError(t, err)
	provider.Send = web
	run(provider, provider.Put(file(0x52), x.Raw))
	second := identity(0x51, 0x52)
	connect(a, second, "device-51")

	// Cloud A has no business with it, nor the provider with what is A's.
	_, err = domainA.Run(ctx, domainA.Delete(key(0x51))...)
	require.ErrorIs(t, err, &ota.CommandError{SW: apdu.FileNotFound})
	_, err = provider.Run(ctx, provider.Put(file(0x02), x.Raw)...)
	require.ErrorIs(t, err, &ota.CommandError{SW: apdu.FileNotFound})
	connect(a, second, "device-51")
	connect(a, now, "device-0001.cloud-a.example")

	// A packet that somebody recorded does nothing when it comes again.
	packet, err := provider.Packet(scp80.Script(provider.Form, provider.Delete(file(0x52))...))
	require.NoError(t, err)
	answer, err := web(ctx, packet)
	require.NoError(t, err)
	_, err = provider.Check(answer)
	require.NoError(t, err)
	run(provider, provider.Put(file(0x52), x.Raw))
	provider.Send = messages
	answer, err = messages(ctx, packet)
	require.NoError(t, err)
	_, err = provider.Check(answer)
	require.ErrorIs(t, err, &ota.StatusError{Status: scp80.CounterLow})
	connect(a, identity(0x51, 0x52), "device-51")

	// To another provider: the identity is deleted, a new key is certified by B.
	run(provider, append(provider.Delete(key(0x51)), provider.Delete(file(0x52))...))
	_, err = a.connect(second)
	require.Error(t, err, "the key is gone, in the middle of whatever a device does with it")
	run(provider, provider.Generate(key(0x51)))
	y, err := ca.Client{URL: b.URL, HTTP: b.client(nil)}.Enroll(ctx, request("51"))
	require.NoError(t, err)
	require.NotEqual(t, x.RawSubjectPublicKeyInfo, y.RawSubjectPublicKeyInfo)
	run(provider, provider.Put(file(0x52), y.Raw))
	connect(b, identity(0x51, 0x52), "device-51")

	// The trust anchor of the device is replaced; what it trusts changes with it.
	der, err := p.AuthorityCertificate(&p.Authorities[1])
	require.NoError(t, err)
	run(domainA, domainA.Put(file(0x03), der))
	anchor, err := applet.X509(host.ByID(0x03))
	require.NoError(t, err)
	require.Equal(t, "Public Cloud B test CA", anchor.Subject.CommonName)
}

// TestOTATorn cuts the power at every write to NVM while packets come: each is there with
// its counter and all its effects, or not at all, and those before it are.
func TestOTATorn(t *testing.T) {
	spb, p := iotPackage(t)
	// open has the card on, but for one that a torn commit keeps from it: nil.
	open := func(dir string, tear func() nvm.Tear) (card *terminal.Client, end func()) {
		store, err := nvm.Open(dir, nvm.Options{Tear: tear})
		require.NoError(t, err)
		network := scl.NewNetwork(scl.DefaultProfile(), nil)
		platform, err := primary.New(context.Background(), primary.Config{
			State: store, Engine: engine, Network: network, Active: "iot",
			Builtins: []primary.Builtin{{Name: "iot", Enabled: true, Open: func() ([]byte, error) { return spb, nil }}},
		})
		if tear != nil && err != nil {
			return nil, func() { _ = store.Close() }
		}
		require.NoError(t, err)
		controller, target := transport.Mem()
		adapter, err := terminal.NewAdapter(network, target)
		require.NoError(t, err)
		require.NoError(t, adapter.Open(context.Background()))
		card = terminal.NewClient(controller)
		require.NoError(t, card.Open(context.Background()))
		_, err = card.PowerOn(context.Background())
		require.True(t, err == nil || tear != nil, err)
		return card, func() {
			_, _, _ = card.Close(), adapter.Close(), platform.Close()
			_ = store.Close()
		}
	}
	fresh := t.TempDir()
	_, end := open(fresh, nil)
	end()

	const packets = 3
	content := func(n uint64) []byte { return fmt.Appendf(nil, "content of packet %d", n) }
	at := ota.Ref{Kind: iot.File, ID: []byte{0x52}}
	torn := 0
	for n := 0; ; n++ {
		for _, how := range []nvm.Tear{nvm.TearBefore, nvm.TearAfter} {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(fresh)))
			commits := 0
			cut := false
			card, end := open(dir, func() nvm.Tear {
				commits++
				if commits == n+1 {
					cut = true
					return how
				}
				return nvm.NoTear
			})
			transmit := func(ctx context.Context, capdu, dst []byte) ([]byte, error) {
				return card.Transmit(ctx, capdu, dst)
			}
			s := serverOf(t, p, "service provider", transmit)
			acknowledged := uint64(0)
			for i := uint64(1); i <= packets && !cut && card != nil; i++ {
				res, err := s.Run(context.Background(), append(s.Generate(ota.Ref{Kind: iot.Private, ID: []byte{0x51}}), s.Put(at, content(i))...)...)
				if err == nil && res.Executed == 2 && !cut {
					acknowledged = i
				}
			}
			end()
			if !cut {
				require.Equal(t, uint64(packets), acknowledged)
				require.GreaterOrEqual(t, torn, 2*packets, "each packet was torn")
				t.Logf("%d cuts", torn)
				return
			}
			torn++
			card, end = open(dir, nil)
			s = serverOf(t, p, "service provider", card.Transmit)
			last := acknowledged // of the packet that is there
			a, err := host.Select(context.Background(), card, host.Options{})
			require.NoError(t, err)
			b, err := a.ReadFile(host.ByID(0x52))
			if len(b) > 0 && string(b) != string(content(last)) {
				last++
			}
			require.NoError(t, err)
			if last == 0 {
				require.Empty(t, b)
			} else {
				require.Equal(t, string(content(last)), string(b))
				k, err := a.Key(host.ByID(0x51), host.ByID(0x51))
				require.NoError(t, err, "both halves of the pair are there")
				digest := make([]byte, 32)
				_, err = k.Sign(nil, digest, crypto.SHA256)
				require.NoError(t, err)
			}
			require.LessOrEqual(t, last, acknowledged+1)
			if last > 0 {
				s.Counter = last - 1
				_, err = s.Run(context.Background())
				require.ErrorIs(t, err, &ota.StatusError{Status: scp80.CounterLow}, "commit %d: the counter is stored with the effects", n)
			}
			s.Counter = last
			_, err = s.Run(context.Background())
			require.NoError(t, err, "commit %d: the packet that was lost may come again", n)
			end()
		}
	}
}

// TestRaceUnderLoad has three devices sign without a pause while the key is replaced fifty
// times: every signature is by a key that there was, everything else ends with 6984.
func TestRaceUnderLoad(t *testing.T) {
	target, p := iotCard(t)
	s := serverOf(t, p, "public cloud A", target.Terminal.Transmit)
	type signed struct {
		sig []byte
		err error
	}
	digest := sha256.Sum256([]byte("text"))
	var all []signed
	var mu sync.Mutex
	var devices sync.WaitGroup
	stop := make(chan struct{})
	var keys []*ecdsa.PublicKey
	for i := range 3 {
		a, err := host.Select(context.Background(), target.Terminal, host.Options{Channel: true})
		require.NoError(t, err)
		k, err := a.Key(host.ByID(1), host.ByID(1))
		require.NoError(t, err)
		if i == 0 {
			keys = append(keys, k.Public().(*ecdsa.PublicKey))
		}
		devices.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				sig, err := k.Sign(nil, digest[:], crypto.SHA256)
				mu.Lock()
				all = append(all, signed{sig, err})
				mu.Unlock()
			}
		})
	}
	for range 50 {
		res, err := s.Run(context.Background(), s.Generate(ota.Ref{Kind: iot.Private, ID: []byte{1}})...)
		require.NoError(t, err)
		b, err := tlv.Find(ota.Answer(res), 0x34)
		require.NoError(t, err)
		k, err := iot.ParsePublic(iotsafe.P256, b)
		require.NoError(t, err)
		keys = append(keys, k.(*ecdsa.PublicKey))
	}
	close(stop)
	devices.Wait()
	good, refused := 0, 0
	for _, x := range all {
		if x.err != nil {
			require.ErrorIs(t, x.err, &host.StatusError{SW: apdu.ReferencedDataInvalid})
			refused++
			continue
		}
		require.True(t, slices.ContainsFunc(keys, func(k *ecdsa.PublicKey) bool { return ecdsa.VerifyASN1(k, digest[:], x.sig) }))
		good++
	}
	require.Positive(t, good)
	t.Logf("%d signatures, %d ended by 6984", good, refused)
}

// BenchmarkIoTAdministration is a secured packet over a mem: link, proof of receipt checked:
// one without commands, a new certificate of 444 bytes in four short messages, a new pair
// of keys.
func BenchmarkIoTAdministration(b *testing.B) {
	target, p := iotCard(b)
	s := serverOf(b, p, "public cloud A", target.Terminal.Transmit)
	for name, commands := range map[string][][]byte{
		"empty": nil, "certificate": s.Put(ota.Ref{Kind: iot.File, ID: []byte{2}}, make([]byte, 444)), "generate": s.Generate(ota.Ref{Kind: iot.Private, ID: []byte{1}}),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Run(context.Background(), commands...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
