package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/plgd-dev/go-coap/v3/udp/client"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/ca"
	"github.com/sspemu/sspemu/bundles/iot/profile"
)

var today = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func persona(t testing.TB) *profile.Profile {
	yaml, err := os.ReadFile("../persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("../persona.schema.json")
	require.NoError(t, err)
	p, err := profile.FromYAML(yaml, "persona.yaml", schema)
	require.NoError(t, err)
	return p
}

func authority(t testing.TB, o ca.Options) *ca.Authority {
	if o.Now == nil {
		o.Now = func() time.Time { return today }
	}
	a, err := ca.New(persona(t), o)
	require.NoError(t, err)
	return a
}

func newKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	require.NoError(t, err)
	return k
}

func csr(t testing.TB, key crypto.Signer, name string, dns ...string) []byte {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: dns}, key)
	require.NoError(t, err)
	return der
}

// site serves an authority with TLS; client shows a certificate, or none.
func site(t testing.TB, a *ca.Authority) (url string, client func(key crypto.Signer, cert *x509.Certificate) *http.Client) {
	id, err := a.Server()
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(a)
	s.TLS = ca.TLS(id)
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, func(key crypto.Signer, cert *x509.Certificate) *http.Client {
		conf := &tls.Config{RootCAs: a.Pool(), Time: func() time.Time { return today }}
		if cert != nil {
			conf.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}}
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	}
}

// TestEST: trust anchor, enrolment, renewal with the same and with a new key, revocation.
func TestEST(t *testing.T) {
	a := authority(t, ca.Options{Days: 30})
	url, anybody := site(t, a)
	ctx := context.Background()
	c := ca.Client{URL: url, HTTP: anybody(nil, nil)}
	anchors, err := c.CACerts(ctx)
	require.NoError(t, err)
	require.Len(t, anchors, 1)
	require.True(t, anchors[0].Equal(a.Certificate()))
	key := newKey(t, elliptic.P256())
	request := csr(t, key, "device-7", "device-7.example", "localhost")
	x, err := c.Enroll(ctx, request)
	require.NoError(t, err)
	require.Equal(t, "device-7", x.Subject.CommonName)
	require.Equal(t, []string{"device-7.example", "localhost"}, x.DNSNames)
	require.Equal(t, today.AddDate(0, 0, 30), x.NotAfter)
	_, err = x.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: today, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.NoError(t, err)

	_, err = c.Reenroll(ctx, request)
	require.ErrorContains(t, err, "403 Forbidden: renewal is for those who show the certificate that they have")
	known := ca.Client{URL: url, HTTP: anybody(key, x)}
	y, err := known.Reenroll(ctx, request)
	require.NoError(t, err)
	require.NotEqual(t, x.SerialNumber, y.SerialNumber)
	next := newKey(t, elliptic.P384())
	y, err = known.Reenroll(ctx, csr(t, next, "device-7", "device-7.example", "localhost"))
	require.NoError(t, err)
	require.True(t, next.PublicKey.Equal(y.PublicKey))
	for _, other := range [][]byte{csr(t, key, "device-8", "device-7.example", "localhost"), csr(t, key, "device-7", "localhost"), csr(t, key, "device-7")} {
		_, err = known.Reenroll(ctx, other)
		require.ErrorContains(t, err, "400 Bad Request: the names in the request are not those of the certificate")
	}

	revoke := func(body string) (int, string) {
		r, err := anybody(nil, nil).Post(url+"/revoke", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	serial := x.SerialNumber.Text(16)
	status, body := revoke(`{"serial":"` + serial + `","reason":"keyCompromise"}`)
	require.Equal(t, 200, status, body)
	status, body = revoke(`{"serial":"` + serial + `"}`)
	require.Equal(t, 409, status, body)
	status, body = revoke(`{"serial":"00"}`)
	require.Equal(t, 404, status, body)
	status, body = revoke(`{"serial":"` + serial + `","reason":"boredom"}`)
	require.Equal(t, 400, status, body)
	_, err = known.Reenroll(ctx, request)
	require.ErrorContains(t, err, "403 Forbidden: the certificate of the client has been revoked (keyCompromise)")

	r, err := anybody(nil, nil).Get(url + "/crl")
	require.NoError(t, err)
	require.Equal(t, "application/pkix-crl", r.Header.Get("Content-Type"))
	der, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	crl, err := x509.ParseRevocationList(der)
	require.NoError(t, err)
	require.NoError(t, crl.CheckSignatureFrom(a.Certificate()))
	require.Len(t, crl.RevokedCertificateEntries, 1)
	require.Equal(t, x.SerialNumber, crl.RevokedCertificateEntries[0].SerialNumber)
	require.Equal(t, 1, crl.RevokedCertificateEntries[0].ReasonCode)

	r, err = anybody(nil, nil).Get(url + "/certificates")
	require.NoError(t, err)
	var registry struct {
		Authority    string
		Certificates []ca.Record
	}
	require.NoError(t, json.NewDecoder(r.Body).Decode(&registry))
	require.Equal(t, "Public Cloud A test CA", registry.Authority)
	var subjects []string
	for _, c := range registry.Certificates {
		subjects = append(subjects, c.Subject+" "+c.Revoked)
	}
	require.Contains(t, subjects, "CN=device-7 keyCompromise")
	require.Contains(t, subjects, "CN=device-0001.cloud-a.example ", "what the persona begins with")
}

// TestOpenSSL: certs-only messages, chain and revocation list as OpenSSL reads them.
func TestOpenSSL(t *testing.T) {
	a := authority(t, ca.Options{Now: time.Now})
	good, no := a.Issue(csr(t, newKey(t, elliptic.P256()), "good"))
	require.Nil(t, no)
	bad, no := a.Issue(csr(t, newKey(t, elliptic.P256()), "bad"))
	require.Nil(t, no)
	_, no = a.Revoke(bad.SerialNumber.Text(16), "superseded")
	require.Nil(t, no)
	crl, err := a.CRL()
	require.NoError(t, err)
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"certs.p7": ca.CertsOnly(good, a.Certificate()), "crl": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl}),
		"ca": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), "good": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Raw}),
		"bad": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bad.Raw}),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	openssl := func(args ...string) (string, error) {
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := openssl("pkcs7", "-inform", "DER", "-in", "certs.p7", "-print_certs", "-noout")
	require.NoError(t, err, out)
	require.Regexp(t, `(?s)CN ?= ?good.*CN ?= ?Public Cloud A test CA`, out)
	out, err = openssl("verify", "-crl_check", "-purpose", "sslclient", "-x509_strict", "-CAfile", "ca", "-CRLfile", "crl", "good")
	require.NoError(t, err, out)
	out, err = openssl("verify", "-crl_check", "-CAfile", "ca", "-CRLfile", "crl", "bad")
	require.Error(t, err)
	require.Contains(t, out, "certificate revoked")
	out, err = openssl("asn1parse", "-inform", "DER", "-in", "certs.p7")
	require.NoError(t, err, out)
}

// wrongRequests are bodies that get no certificate.
func wrongRequests(t testing.TB) map[string]struct {
	der    []byte
	status int
	why    string
} {
	key := newKey(t, elliptic.P256())
	good := csr(t, key, "a")
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	renamed := bytes.Replace(csr(t, key, "device"), []byte("device"), []byte("victim"), 1)
	weak, err := exec.Command("openssl", "req", "-new", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=a", "-outform", "DER", "-keyout", "/dev/null").Output()
	require.NoError(t, err) // Go makes such keys no more
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	type wrong = struct {
		der    []byte
		status int
		why    string
	}
	return map[string]wrong{
		"empty":                {nil, 400, "that is no certificate request"},
		"no DER":               {[]byte("hello"), 400, "that is no certificate request"},
		"truncated":            {good[:len(good)-3], 400, "that is no certificate request"},
		"more behind it":       {append(bytes.Clone(good), 0), 400, "that is no certificate request"},
		"a certificate":        {authority(t, ca.Options{}).Certificate().Raw, 400, "that is no certificate request"},
		"wrong signature":      {flipped, 400, "nothing proves that its sender has the key"},
		"another name":         {renamed, 400, "nothing proves that its sender has the key"},
		"RSA of 1024 bits":     {weak, 400, "the RSA key has 1024 bits"},
		"P-224":                {csr(t, newKey(t, elliptic.P224()), "a"), 400, "the key is on P-224"},
		"P-521":                {csr(t, newKey(t, elliptic.P521()), "a"), 400, "the key is on P-521"},
		"Ed25519":              {csr(t, ed, "a"), 400, "keys of that kind are not certified"},
		"no name":              {csr(t, key, "", "localhost"), 400, "has no common name"},
		"more than is allowed": {bytes.Repeat([]byte{0x30}, ca.MaxRequest+1), 413, "octets"},
	}
}

// TestWrongRequests: exact statuses over HTTPS and codes over CoAP; nothing is issued.
func TestWrongRequests(t *testing.T) {
	a := authority(t, ca.Options{})
	url, client := site(t, a)
	plain := coapClient(t, a)
	before, err := a.Records()
	require.NoError(t, err)
	for name, w := range wrongRequests(t) {
		r, err := client(nil, nil).Post(url+"/.well-known/est/simpleenroll", "application/pkcs10", strings.NewReader(base64.StdEncoding.EncodeToString(w.der)))
		require.NoError(t, err)
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, w.status, r.StatusCode, "%s: %s", name, b)
		require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"))
		require.Contains(t, string(b), w.why, name)
		if len(w.der) == 0 {
			continue // the client sends no Content-Format then
		}
		code, _, body := ask(t, plain, codes.POST, "/.well-known/est/sen", 286, w.der, -1)
		require.Equal(t, map[int]codes.Code{400: codes.BadRequest, 413: codes.RequestEntityTooLarge}[w.status], code, "%s: %s", name, body)
		require.Contains(t, string(body), w.why, name)
	}
	after, err := a.Records()
	require.NoError(t, err)
	require.Equal(t, len(before), len(after))

	for _, c := range []struct {
		method, path, media, body string
		status                    int
		allow                     string
	}{
		{"POST", "/.well-known/est/simpleenroll", "text/plain", "x", 415, ""},
		{"POST", "/.well-known/est/simpleenroll", "", "x", 415, ""},
		{"POST", "/.well-known/est/simpleenroll", "application/pkcs10", "!!!", 400, ""},
		{"POST", "/.well-known/est/simpleenroll", "application/pkcs10", strings.Repeat("A", 3*ca.MaxRequest), 413, ""},
		{"GET", "/.well-known/est/simpleenroll", "", "", 405, "POST"},
		{"POST", "/.well-known/est/cacerts", "", "", 405, "GET, HEAD"},
		{"POST", "/.well-known/est/simplereenroll", "application/pkcs10", "!!!", 403, ""},
		{"POST", "/.well-known/est/serverkeygen", "application/pkcs10", "", 404, ""},
		{"GET", "/.well-known/est/", "", "", 404, ""},
		{"POST", "/revoke", "text/plain", "{}", 415, ""},
		{"POST", "/revoke", "application/json", "{", 400, ""},
		{"POST", "/revoke", "application/json", `{"x":1}`, 400, ""},
	} {
		q, err := http.NewRequest(c.method, url+c.path, strings.NewReader(c.body))
		require.NoError(t, err)
		if c.media != "" {
			q.Header.Set("Content-Type", c.media)
		}
		r, err := client(nil, nil).Do(q)
		require.NoError(t, err)
		require.Equal(t, c.status, r.StatusCode, c.path)
		require.Equal(t, c.allow, r.Header.Get("Allow"))
	}
}

// TestBasic: with --basic only who knows the password, or has a certificate, enrols.
func TestBasic(t *testing.T) {
	a := authority(t, ca.Options{Basic: "lab:open sesame"})
	url, client := site(t, a)
	key := newKey(t, elliptic.P256())
	request := csr(t, key, "a")
	_, err := ca.Client{URL: url, HTTP: client(nil, nil)}.Enroll(t.Context(), request)
	require.ErrorContains(t, err, "401 Unauthorized: enrolment wants a name with its password")
	_, err = ca.Client{URL: url, HTTP: client(nil, nil), Basic: "lab:open wheat"}.Enroll(t.Context(), request)
	require.ErrorContains(t, err, "401")
	x, err := ca.Client{URL: url, HTTP: client(nil, nil), Basic: "lab:open sesame"}.Enroll(t.Context(), request)
	require.NoError(t, err)
	_, err = ca.Client{URL: url, HTTP: client(key, x)}.Enroll(t.Context(), request)
	require.NoError(t, err)
}

// TestStrangers: a certificate of another authority, or one that has expired, renews nothing.
func TestStrangers(t *testing.T) {
	now := today
	a := authority(t, ca.Options{Days: 1, Now: func() time.Time { return now }})
	b := authority(t, ca.Options{Name: "Public Cloud B test CA"})
	key := newKey(t, elliptic.P256())
	request := csr(t, key, "a")
	mine, no := a.Issue(request)
	require.Nil(t, no)
	other, no := b.Issue(request)
	require.Nil(t, no)
	_, no = a.Renew(request, other)
	require.Equal(t, http.StatusForbidden, no.Status)
	_, no = a.Renew(request, mine)
	require.Nil(t, no)
	now = now.AddDate(0, 0, 2)
	_, no = a.Renew(request, mine)
	require.Equal(t, http.StatusForbidden, no.Status)
	require.Contains(t, no.Why, "expired")
	_, err := ca.New(persona(t), ca.Options{Name: "nobody"})
	require.ErrorContains(t, err, `the persona has no authority "nobody"; it has "Public Cloud A test CA", `)
}

// TestDeterministic: the same requests get the same certificates.
func TestDeterministic(t *testing.T) {
	request := csr(t, newKey(t, elliptic.P256()), "a")
	var all [][]byte
	for range 2 {
		a := authority(t, ca.Options{})
		x, no := a.Issue(request)
		require.Nil(t, no)
		y, no := a.Issue(request)
		require.Nil(t, no)
		require.NotEqual(t, x.Raw, y.Raw)
		all = append(all, append(x.Raw, y.Raw...))
	}
	require.Equal(t, all[0], all[1])
}

func coapClient(t testing.TB, a *ca.Authority) *client.Conn {
	s, err := a.ListenCoAP("127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() { require.NoError(t, s.Close()); require.NoError(t, <-done) })
	c, err := udp.Dial(s.Addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(t testing.TB, c *client.Conn, method codes.Code, path string, format int, payload []byte, accept int) (codes.Code, message.MediaType, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	path, query, _ := strings.Cut(path, "?")
	q, err := c.NewGetRequest(ctx, path)
	if method == codes.POST {
		var body io.ReadSeeker
		if payload != nil {
			body = bytes.NewReader(payload)
		}
		q, err = c.NewPostRequest(ctx, path, message.MediaType(format), body)
	}
	require.NoError(t, err)
	if query != "" {
		q.AddQuery(query)
	}
	if accept >= 0 {
		q.SetAccept(message.MediaType(accept))
	}
	r, err := c.Do(q)
	require.NoError(t, err)
	defer c.ReleaseMessage(r)
	f, _ := r.ContentFormat()
	b, err := r.ReadBody()
	require.NoError(t, err)
	return r.Code(), f, b
}

// TestESTCoAPS: RFC 9148 over DTLS, with renewal by the certificate of the client.
func TestESTCoAPS(t *testing.T) {
	a := authority(t, ca.Options{Now: time.Now})
	id, err := a.Server()
	require.NoError(t, err)
	s, err := a.ListenCoAPS("127.0.0.1:0", id)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() { require.NoError(t, s.Close()); require.NoError(t, <-done) })
	dial := func(certs ...tls.Certificate) *client.Conn {
		o := []dtls.ClientOption{dtls.WithRootCAs(a.Pool()), dtls.WithServerName("localhost"), dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8)}
		if len(certs) > 0 {
			o = append(o, dtls.WithCertificates(certs...))
		}
		c, err := coapdtls.Dial(s.Addr.String(), coapdtls.NewDTLSClientOptions(o...))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := dial()
	code, f, b := ask(t, c, codes.GET, "/.well-known/est/crts", 0, nil, -1)
	require.Equal(t, codes.Content, code)
	require.EqualValues(t, 281, f)
	l, err := ca.ParseCertsOnly(b)
	require.NoError(t, err)
	require.True(t, l[0].Equal(a.Certificate()))
	_, f, b = ask(t, c, codes.GET, "/.well-known/est/crts", 0, nil, 287)
	require.EqualValues(t, 287, f)
	require.Equal(t, a.Certificate().Raw, b)
	code, f, b = ask(t, c, codes.GET, "/.well-known/est/att", 0, nil, -1)
	require.Equal(t, codes.Content, code)
	require.EqualValues(t, 285, f)
	require.Len(t, b, 35)

	key := newKey(t, elliptic.P256())
	request := csr(t, key, "device-9", "localhost")
	code, f, b = ask(t, c, codes.POST, "/.well-known/est/sen", 286, request, 287)
	require.Equal(t, codes.Changed, code, string(b))
	require.EqualValues(t, 287, f)
	x, err := x509.ParseCertificate(b)
	require.NoError(t, err)
	require.NoError(t, x.CheckSignatureFrom(a.Certificate()))
	code, _, b = ask(t, c, codes.POST, "/.well-known/est/sren", 286, request, -1)
	require.Equal(t, codes.Forbidden, code, string(b))
	known := dial(tls.Certificate{Certificate: [][]byte{x.Raw}, PrivateKey: key, Leaf: x})
	code, f, b = ask(t, known, codes.POST, "/.well-known/est/sren", 286, request, -1)
	require.Equal(t, codes.Changed, code, string(b))
	require.EqualValues(t, 281, f)
	l, err = ca.ParseCertsOnly(b)
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(l[0].PublicKey))
}

// TestESTCoAPCodes: discovery and what is refused.
func TestESTCoAPCodes(t *testing.T) {
	c := coapClient(t, authority(t, ca.Options{}))
	code, f, b := ask(t, c, codes.GET, "/.well-known/core?rt=ace.est*", 0, nil, -1)
	require.Equal(t, codes.Content, code)
	require.EqualValues(t, 40, f)
	require.Equal(t, `</.well-known/est/crts>;rt="ace.est.crts";ct="281 287",</.well-known/est/sen>;rt="ace.est.sen";ct="281 287",`+
		`</.well-known/est/sren>;rt="ace.est.sren";ct="281 287",</.well-known/est/att>;rt="ace.est.att";ct=285`, string(b))
	_, _, b = ask(t, c, codes.GET, "/.well-known/core?rt=ace.est.sren", 0, nil, -1)
	require.Equal(t, `</.well-known/est/sren>;rt="ace.est.sren";ct="281 287"`, string(b))
	for _, w := range []struct {
		method         codes.Code
		path           string
		format, accept int
		want           codes.Code
	}{
		{codes.GET, "/.well-known/est/sen", 0, -1, codes.MethodNotAllowed},
		{codes.POST, "/.well-known/est/crts", 286, -1, codes.MethodNotAllowed},
		{codes.GET, "/.well-known/est/skg", 0, -1, codes.NotFound},
		{codes.GET, "/", 0, -1, codes.NotFound},
		{codes.GET, "/.well-known/est/crts", 0, 60, codes.NotAcceptable},
		{codes.POST, "/.well-known/est/sen", 286, 60, codes.NotAcceptable},
		{codes.POST, "/.well-known/est/sen", 60, -1, codes.UnsupportedMediaType},
		{codes.POST, "/.well-known/est/sren", 286, -1, codes.Forbidden},
	} {
		code, _, b := ask(t, c, w.method, w.path, w.format, []byte("x"), w.accept)
		require.Equal(t, w.want, code, "%s %s: %s", w.method, w.path, b)
	}
}

// FuzzRequest: whatever a client sends, it gets a certificate or a refusal; and what a
// server answers is certificates or an error.
func FuzzRequest(f *testing.F) {
	for _, w := range wrongRequests(f) {
		f.Add(w.der)
	}
	a := authority(f, ca.Options{})
	f.Add(csr(f, newKey(f, elliptic.P256()), "a", "localhost"))
	f.Add(ca.CertsOnly(a.Certificate()))
	f.Fuzz(func(t *testing.T, der []byte) {
		c, no := a.Issue(der)
		require.True(t, (c == nil) != (no == nil))
		if no != nil {
			require.Contains(t, []int{400, 413}, no.Status, no.Why)
		}
		if l, err := ca.ParseCertsOnly(der); err == nil {
			require.NotEmpty(t, l)
		}
	})
}
