package iot

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// get asks for a page over HTTP.
func get(t testing.TB, card *sdktest.Card, method, path, accept string) (*http.Response, []byte) {
	t.Helper()
	p, err := card.Open(sdk.GateTCP, 1, 1<<20)
	require.NoError(t, err)
	p.Send([]byte(method + " " + path + " HTTP/1.1\r\nHost: a\r\nAccept: " + accept + "\r\nConnection: close\r\n\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Bytes())), &http.Request{Method: method})
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, b
}

// thing asks for a page over CoAP: code, Content-Format and payload. The path may have a
// query.
func thing(t testing.TB, p *sdktest.Pipe, id byte, path string, accept int, observe bool) (code byte, payload []byte) {
	t.Helper()
	m := append(make([]byte, sdk.PeerLength), 0x41, 1, 0, id, id)
	last := 0
	option := func(n int, v []byte) {
		delta, size := n-last, len(v)
		last = n
		head := func(x int) (nibble byte, more []byte) {
			if x < 13 {
				return byte(x), nil
			}
			return 13, []byte{byte(x - 13)}
		}
		d, dm := head(delta)
		l, lm := head(size)
		m = append(append(append(append(m, d<<4|l), dm...), lm...), v...)
	}
	if observe {
		option(6, nil)
	}
	path, query, _ := strings.Cut(path, "?")
	for _, s := range strings.Split(path, "/") {
		option(11, []byte(s))
	}
	if query != "" {
		option(15, []byte(query))
	}
	if accept >= 0 {
		option(17, []byte{byte(accept >> 8), byte(accept)})
	}
	p.Out = nil
	p.Send(m)
	require.Len(t, p.Out, 1, path)
	return answerOf(p.Out[0])
}

func answerOf(datagram []byte) (code byte, payload []byte) {
	b := datagram[sdk.PeerLength:]
	_, payload, _ = bytes.Cut(b, []byte{0xFF})
	return b[1], payload
}

func armour(t testing.TB, b []byte, kind string) []byte {
	t.Helper()
	p, rest := pem.Decode(b)
	require.NotNil(t, p, "%s", b)
	require.Empty(t, rest)
	require.Equal(t, kind, p.Type)
	return p.Bytes
}

// TestPages: each identity with its certificate, public key and request, in every format,
// as crypto/x509 reads them.
func TestPages(t *testing.T) {
	bothWays(t, testPages)
}

func testPages(t *testing.T, persona ...string) {
	card := newCard(t, persona...)
	_, b := get(t, card, "GET", "/identities", "application/json")
	var l struct {
		Identities []struct {
			ID, Label, Type, State, Path string
			KeySHA256                    string `json:"key_sha256"`
			Certificate                  struct{ File, Serial, SHA256 string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &l))
	require.Len(t, l.Identities, 5)
	require.Equal(t, "deactivated", l.Identities[4].State)
	require.Empty(t, l.Identities[4].Certificate.File)
	for i, id := range l.Identities[:4] {
		file := []string{"02", "12", "22", "32"}[i]
		require.Equal(t, file, id.Certificate.File)
		want := certificate(t, card, file)
		sum := sha256.Sum256(want.RawSubjectPublicKeyInfo)
		require.Equal(t, upper(sum[:]), id.KeySHA256)

		res, b := get(t, card, "GET", id.Path+"/certificate", "*/*")
		require.Equal(t, "application/x-pem-file", res.Header.Get("Content-Type"))
		require.Equal(t, want.Raw, armour(t, b, "CERTIFICATE"))
		res, b = get(t, card, "GET", id.Path+"/certificate", "application/pkix-cert")
		require.Equal(t, "application/pkix-cert", res.Header.Get("Content-Type"))
		require.Equal(t, want.Raw, b)
		_, b = get(t, card, "GET", id.Path+"/certificate", "application/cbor")
		var c struct {
			File        string
			Certificate []byte
		}
		require.NoError(t, cbor.Unmarshal(b, &c))
		require.Equal(t, want.Raw, c.Certificate)

		_, b = get(t, card, "GET", id.Path+"/public-key", "")
		require.Equal(t, want.RawSubjectPublicKeyInfo, armour(t, b, "PUBLIC KEY"))
		_, b = get(t, card, "GET", id.Path+"/public-key", "application/octet-stream")
		require.Equal(t, want.RawSubjectPublicKeyInfo, b)
		_, b = get(t, card, "GET", id.Path+"/public-key", "application/cose-key")
		require.True(t, want.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(fromCOSE(t, b)))

		// Without a name the request is one for renewal: the same names.
		res, b = get(t, card, "GET", id.Path+"/csr", "*/*")
		require.Equal(t, "application/pkcs10", res.Header.Get("Content-Type"))
		csr, err := x509.ParseCertificateRequest(b)
		require.NoError(t, err)
		require.NoError(t, csr.CheckSignature())
		require.Equal(t, want.RawSubject, csr.RawSubject)
		require.Equal(t, want.DNSNames, csr.DNSNames)
		require.Equal(t, want.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo)
		_, b = get(t, card, "GET", id.Path+"/csr?name=M%C3%BCller", "application/x-pem-file")
		csr, err = x509.ParseCertificateRequest(armour(t, b, "CERTIFICATE REQUEST"))
		require.NoError(t, err)
		require.NoError(t, csr.CheckSignature())
		require.Equal(t, pkix.Name{CommonName: "Müller"}.String(), csr.Subject.String())
		require.Empty(t, csr.DNSNames)
	}
	_, b = get(t, card, "GET", "/status", "application/json")
	require.JSONEq(t, `{"applet":"sspemu IoT SAFE","version":1,"sessions":{"open":0,"most":4},
		"domains":[{"name":"public cloud A","kind":"asp","tar":"494F41","counter":0,"containers":5},{"name":"public cloud B","kind":"asp","tar":"494F42","counter":0,"containers":4},
		{"name":"private cloud","kind":"asp","tar":"494F50","counter":0,"containers":7},{"name":"service provider","kind":"sam","tar":"494F53","counter":0,"containers":4},
		{"name":"operator","kind":"operator","tar":"494F4F","counter":0,"containers":1}],
		"private_keys":{"containers":6,"filled":4,"damaged":0},
		"public_keys":{"containers":10,"filled":5,"damaged":0},"secret_keys":{"containers":1,"filled":1,"damaged":0},"files":{"containers":9,"filled":8,"damaged":0}}`, string(b))
	_, b = get(t, card, "GET", "/random", "")
	require.Len(t, b, 32)
	_, c := get(t, card, "GET", "/random?n=32", "")
	require.NotEqual(t, b, c)
}

func fromCOSE(t testing.TB, b []byte) any {
	var k map[int]any
	require.NoError(t, cbor.Unmarshal(b, &k))
	if k[1] == uint64(3) {
		return &rsa.PublicKey{N: new(big.Int).SetBytes(k[-1].([]byte)), E: int(new(big.Int).SetBytes(k[-2].([]byte)).Int64())}
	}
	require.Equal(t, uint64(2), k[1])
	curve := map[any]elliptic.Curve{uint64(1): elliptic.P256(), uint64(2): elliptic.P384()}[k[-1]]
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, k[-2].([]byte)...), k[-3].([]byte)...))
	require.NoError(t, err)
	return pub
}

// TestPagesRefuse: what cannot be had, over HTTP and CoAP, with exact codes.
func TestPagesRefuse(t *testing.T) {
	card := newCard(t, `key: "01", name: device-0001.cloud-a.example`, `key: "11", name: device-0001.cloud-a.example`,
		`label: public cloud B, type: p256, public: "11", key: seed`, `label: public cloud B, type: p256, public: "11", key: seed, damaged: true`)
	p, err := card.Open(sdk.GateUDP, 2, 1<<20)
	require.NoError(t, err)
	for i, c := range []struct {
		path, accept string
		format       int
		status       int
		code         coap.Code
		why          string
	}{
		{"identities/01/certificate", "*/*", -1, 404, coap.NotFound, "no file holds a certificate for the key of identity 01"},
		{"identities/51/certificate", "*/*", -1, 404, coap.NotFound, "identity 51 has no key yet"},
		{"identities/51/csr", "*/*", -1, 404, coap.NotFound, "identity 51 has no key yet"},
		{"identities/11/csr", "*/*", -1, 500, coap.InternalServerError, "identity 11 is damaged"},
		{"identities/11/public-key", "*/*", -1, 500, coap.InternalServerError, "identity 11 is damaged"},
		{"identities/04", "*/*", -1, 404, coap.NotFound, ""},
		{"identities/04/csr", "*/*", -1, 404, coap.NotFound, ""},
		{"identities/99", "*/*", -1, 404, coap.NotFound, ""},
		{"identities/", "*/*", -1, 404, coap.NotFound, ""},
		{"identities/01/private-key", "*/*", -1, 404, coap.NotFound, ""},
		{"identities/01", "text/csv", 0, 406, coap.NotAcceptable, ""},
		{"identities/21/certificate", "application/json", 50, 406, coap.NotAcceptable, ""},
		{"identities/01/csr?name=", "*/*", -1, 400, coap.BadRequest, "1 to 64 characters"},
		{"identities/01/csr?name=" + strings.Repeat("a", 65), "*/*", -1, 400, coap.BadRequest, "1 to 64 characters"},
		{"identities/01/csr?nam=x", "*/*", -1, 400, coap.BadRequest, "the query may have name"},
		{"random?n=0", "*/*", -1, 400, coap.BadRequest, "1 to 1024"},
		{"random?n=1025", "*/*", -1, 400, coap.BadRequest, "1 to 1024"},
		{"random?n=x", "*/*", -1, 400, coap.BadRequest, "1 to 1024"},
		{"random", "text/plain", 0, 406, coap.NotAcceptable, ""},
	} {
		res, body := get(t, card, "GET", "/"+c.path, c.accept)
		require.Equal(t, c.status, res.StatusCode, c.path)
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
		require.Contains(t, string(body), c.why)
		code, text := thing(t, p, byte(i), c.path, c.format, false)
		require.Equal(t, c.code, coap.Code(code), c.path)
		require.Contains(t, string(text), c.why)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		res, _ := get(t, card, method, "/identities/01", "*/*")
		require.Equal(t, 405, res.StatusCode)
		require.Equal(t, "GET, HEAD", res.Header.Get("Allow"))
	}
	res, body := get(t, card, "HEAD", "/identities/21/certificate", "*/*")
	require.Equal(t, 200, res.StatusCode)
	require.Empty(t, body)
}

// TestObserve: an observer of an identity hears of a new key and of nothing else.
func TestObserve(t *testing.T) {
	card := newCard(t)
	p, err := card.Open(sdk.GateUDP, 2, 1<<20)
	require.NoError(t, err)
	code, payload := thing(t, p, 1, "identities/51", 50, true)
	require.Equal(t, coap.Content, coap.Code(code))
	require.Contains(t, string(payload), `"state":"deactivated"`)
	code, payload = thing(t, p, 2, "identities/51/csr", -1, false)
	require.Equal(t, coap.NotFound, coap.Code(code), string(payload))
	p.Out = nil
	must(t, card, "8084000010")
	must(t, card, "80CB000000")
	require.Empty(t, p.Out, "nothing has changed")
	must(t, card, "80B900000384015100")
	require.Len(t, p.Out, 1)
	_, payload = answerOf(p.Out[0])
	require.Contains(t, string(payload), `"state":"activated"`)
	require.Contains(t, string(payload), `"key_sha256":"`)
	p.Out = nil
	must(t, card, "80B900000384015100")
	require.Len(t, p.Out, 1, "another key")
	_, again := answerOf(p.Out[0])
	require.NotEqual(t, payload, again)
	code, payload = thing(t, p, 3, "identities/51/csr?name=device-2", 286, false)
	require.Equal(t, coap.Content, coap.Code(code))
	csr, err := x509.ParseCertificateRequest(payload)
	require.NoError(t, err)
	require.NoError(t, csr.CheckSignature())
	code, payload = thing(t, p, 4, "identities/21/certificate", -1, false)
	require.Equal(t, coap.Content, coap.Code(code))
	require.Equal(t, certificate(t, card, "22").Raw, payload, "DER without Accept")
}

// TestBrainpoolRequest: what Go cannot check, OpenSSL does.
func TestBrainpoolRequest(t *testing.T) {
	card := newCard(t, `label: next identity, type: p256, public`, `label: next identity, type: brainpoolP256r1, public`,
		`label: next identity, type: p256, functions`, `label: next identity, type: brainpoolP256r1, functions`)
	must(t, card, "80B900000384015100")
	_, b := get(t, card, "GET", "/identities/51/csr", "application/x-pem-file")
	cmd := exec.Command("openssl", "req", "-verify", "-noout", "-text")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "verify OK")
	require.Regexp(t, "CN ?= ?next identity", string(out))
	require.Contains(t, string(out), "brainpoolP256r1")
	_, b = get(t, card, "GET", "/identities/51/public-key", "application/cose-key")
	var k map[int]any
	require.NoError(t, cbor.Unmarshal(b, &k))
	require.Equal(t, uint64(256), k[-1])
}

// TestHashOfRequest: a key that lacks the usual hash takes another; one without an
// algorithm for it is no identity.
func TestHashOfRequest(t *testing.T) {
	for _, c := range []struct{ keyType, signatures, hashes, want byte }{
		{iotsafe.P256, iotsafe.ECDSA, iotsafe.SHA256 | iotsafe.SHA384, iotsafe.SHA256},
		{iotsafe.P256, iotsafe.ECDSA, iotsafe.SHA384 | iotsafe.SHA512, iotsafe.SHA384},
		{iotsafe.P384, iotsafe.ECDSA, iotsafe.SHA256 | iotsafe.SHA384, iotsafe.SHA384},
		{iotsafe.P384, iotsafe.ECDSA, iotsafe.SHA512, iotsafe.SHA512},
		{iotsafe.RSA2048, iotsafe.RSAPKCS1 | iotsafe.RSAPSS, iotsafe.SHA256, iotsafe.SHA256},
		{iotsafe.RSA2048, iotsafe.RSAPSS, iotsafe.SHA256, 0},
		{iotsafe.P256, iotsafe.ECDSA, 0, 0},
		{iotsafe.P256, 0, iotsafe.SHA256, 0},
	} {
		o := &object{Container: &profile.Container{Type: c.keyType, Signatures: c.signatures, Hashes: c.hashes}}
		require.Equal(t, c.want, requestHash(o))
	}
}

// FuzzCertificate: whatever a file holds, looking for a certificate in it does no harm.
func FuzzCertificate(f *testing.F) {
	p := profileOf(f)
	for i := range p.Authorities {
		der, err := p.AuthorityCertificate(&p.Authorities[i])
		require.NoError(f, err)
		f.Add(der)
	}
	for _, i := range p.Of(profile.File) {
		if c := p.Containers[i].Certificate; c != nil {
			k, err := p.AuthorityKey(c.Authority) // any key will do
			require.NoError(f, err)
			der, err := p.Certify(c, &k.PublicKey)
			require.NoError(f, err)
			f.Add(der)
		}
	}
	f.Add([]byte("no certificate"))
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := parseCertificate(der)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(c.info)+len(c.subject)+len(c.alternative)+len(c.serial), 2*len(der))
		if x, err := x509.ParseCertificate(der); err == nil {
			require.Equal(t, x.RawSubjectPublicKeyInfo, c.info)
			require.Equal(t, x.RawSubject, c.subject)
		}
	})
}
