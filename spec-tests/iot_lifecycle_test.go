package spectests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/iot/ca"
	"github.com/sspemu/sspemu/bundles/iot/host"
	iot "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
)

// provider is a cloud: an authority with EST, its registry, and an endpoint that takes
// devices with a certificate of that authority which is not revoked.
type provider struct{ *ca.Cloud }

func newProvider(t *testing.T, p *iot.Profile, name string) provider {
	a, err := ca.New(p, ca.Options{Name: name})
	require.NoError(t, err)
	c, err := a.Open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return provider{c}
}

func (c provider) client(id *tls.Certificate) *http.Client {
	conf := &tls.Config{RootCAs: c.Pool()}
	if id != nil {
		conf.Certificates = []tls.Certificate{*id}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
}

// registry is what GET /certificates tells of a key: states of its certificates.
func (c provider) registry(t *testing.T, keySHA256 string) (states []string) {
	r, err := c.client(nil).Get(c.URL + "/certificates")
	require.NoError(t, err)
	defer r.Body.Close()
	var l struct{ Certificates []ca.Record }
	require.NoError(t, json.NewDecoder(r.Body).Decode(&l))
	for _, x := range l.Certificates {
		if x.KeySHA256 == keySHA256 {
			states = append(states, x.Subject+" "+x.Revoked)
		}
	}
	return states
}

// connect opens a TLS session to the cloud with an identity and gives its greeting.
func (c provider) connect(id tls.Certificate) (string, error) {
	_, lines, err := c.Connect(&tls.Config{RootCAs: c.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{id}}, "")
	return strings.Join(lines, " "), err
}

// iotPackage is the bundle with its default persona.
func iotPackage(t testing.TB) (spb []byte, p *iot.Profile) {
	spb, err := bundles.Open("iot")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	p, err = iot.FromYAML(pkg.DefaultPersona, "persona", pkg.Schema)
	require.NoError(t, err)
	return spb, p
}

// iotCard is a card with it, on.
func iotCard(t testing.TB) (*Target, *iot.Profile) {
	spb, p := iotPackage(t)
	target, end, err := InProcess{Engine: engine, Package: spb}.Target(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, end()) })
	_, err = target.Terminal.Reset(context.Background(), true)
	require.NoError(t, err)
	return target, p
}

// TestLifecycle takes device identities through their life: generated at issuance, exported
// to the registry of a cloud, activated, joined by another identity, renewed, revoked, moved
// to another provider. The private keys are made in the applet and stay there; requests and
// states come from the face of the bundle over HTTP. Certificates stay with the device here:
// remote administration, which puts them into the applet, has tests of its own.
func TestLifecycle(t *testing.T) {
	target, p := iotCard(t)
	applet, err := host.Select(context.Background(), target.Terminal, host.Options{})
	require.NoError(t, err)
	l, closeLink, err := target.Dial(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeLink()) })
	beside, err := terminal.Open(context.Background(), terminal.AsController(l, scl.DefaultProfile(), 0), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, beside.Close()) })
	face := http.Client{Transport: beside.HTTP()}
	get := func(path string) []byte {
		r, err := face.Get("http://card/" + path)
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, 200, r.StatusCode, "%s: %s", path, b)
		return b
	}
	type state struct {
		State       string
		KeySHA256   string `json:"key_sha256"`
		Certificate struct{ File string }
	}
	identity := func(id string) (s state) {
		require.NoError(t, json.Unmarshal(get("identities/"+id), &s))
		return s
	}
	a, b := newProvider(t, p, "Public Cloud A test CA"), newProvider(t, p, "Public Cloud B test CA")
	enroll := func(c provider, path string) tls.Certificate {
		x, err := ca.Client{URL: c.URL, HTTP: c.client(nil)}.Enroll(t.Context(), get(path))
		require.NoError(t, err)
		k, err := applet.Key(host.ByID(0x51), host.ByID(0x51))
		require.NoError(t, err)
		return tls.Certificate{Certificate: [][]byte{x.Raw}, PrivateKey: k, Leaf: x}
	}
	revoke := func(c provider, id tls.Certificate, reason string) {
		body := strings.NewReader(`{"serial":"` + id.Leaf.SerialNumber.Text(16) + `","reason":"` + reason + `"}`)
		r, err := c.client(nil).Post(c.URL+"/revoke", "application/json", body)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		require.Equal(t, 200, r.StatusCode)
	}
	refused := func(c provider, id tls.Certificate, why string) {
		t.Helper()
		_, err := c.connect(id)
		require.ErrorContains(t, err, why)
	}

	// 1. At issuance the card has identities, with certificates that the clouds know.
	first := identity("01")
	require.Equal(t, "activated", first.State)
	require.Equal(t, "02", first.Certificate.File)
	require.Equal(t, []string{"CN=device-0001.cloud-a.example "}, a.registry(t, first.KeySHA256))
	k, err := applet.Key(host.ByID(1), host.ByID(1))
	require.NoError(t, err)
	issued, err := applet.Certificate(k, host.ByID(2))
	require.NoError(t, err)
	greeting, err := a.connect(issued)
	require.NoError(t, err)
	require.Equal(t, "hello device-0001.cloud-a.example", greeting)

	// 2. An additional identity: generated on board, and its request exported.
	require.Equal(t, "deactivated", identity("51").State)
	_, err = applet.GenerateKeyPair(host.ByID(0x51))
	require.NoError(t, err)
	second := identity("51")
	require.Equal(t, "activated", second.State)
	require.Empty(t, a.registry(t, second.KeySHA256))
	mine := enroll(a, "identities/51/csr?name=device-2")
	sum := sha256.Sum256(mine.Leaf.RawSubjectPublicKeyInfo)
	require.Equal(t, strings.ToUpper(hex.EncodeToString(sum[:])), second.KeySHA256)
	require.Equal(t, []string{"CN=device-2 "}, a.registry(t, second.KeySHA256))

	// 3. Activation: both identities work beside each other; another cloud takes neither.
	greeting, err = a.connect(mine)
	require.NoError(t, err)
	require.Equal(t, "hello device-2", greeting)
	_, err = a.connect(issued)
	require.NoError(t, err)
	refused(b, mine, "tls: certificate required")

	// 4. Renewal: the applet signs the TLS session of the renewal as well. The old
	// certificate is superseded.
	renewed, err := ca.Client{URL: a.URL, HTTP: a.client(&mine)}.Reenroll(t.Context(), get("identities/51/csr?name=device-2"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(mine.Leaf.RawSubjectPublicKeyInfo, renewed.RawSubjectPublicKeyInfo))
	revoke(a, mine, "superseded")
	refused(a, mine, "tls: ")
	old := mine
	mine = tls.Certificate{Certificate: [][]byte{renewed.Raw}, PrivateKey: old.PrivateKey, Leaf: renewed}
	_, err = a.connect(mine)
	require.NoError(t, err)
	require.Equal(t, []string{"CN=device-2 superseded", "CN=device-2 "}, a.registry(t, second.KeySHA256))

	// 5. Revocation of the first identity: the cloud refuses it, and renews it no more.
	revoke(a, issued, "keyCompromise")
	refused(a, issued, "tls: ")
	_, err = ca.Client{URL: a.URL, HTTP: a.client(&issued)}.Reenroll(t.Context(), get("identities/01/csr"))
	require.ErrorContains(t, err, "403 Forbidden: the certificate of the client has been revoked (keyCompromise)")

	// 6. Another provider: a new key in the same container, certified by B, which the
	// registry of A never sees.
	revoke(a, mine, "cessationOfOperation")
	_, err = applet.GenerateKeyPair(host.ByID(0x51))
	require.NoError(t, err)
	third := identity("51")
	require.NotEqual(t, second.KeySHA256, third.KeySHA256)
	moved := enroll(b, "identities/51/csr?name=device-2.cloud-b.example")
	greeting, err = b.connect(moved)
	require.NoError(t, err)
	require.Equal(t, "hello device-2.cloud-b.example", greeting)
	require.Empty(t, a.registry(t, third.KeySHA256))
	require.Equal(t, []string{"CN=device-2.cloud-b.example "}, b.registry(t, third.KeySHA256))
	refused(a, moved, "tls: certificate required")
	refused(a, mine, "") // the key of that certificate is gone
}
