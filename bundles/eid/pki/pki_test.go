package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
)

var maker = pki.Maker{Seed: []byte("test"), Generate: rsakey.Generate, Power: rsakey.ModExp}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

// kind is a key with an algorithm.
type kind struct {
	name string
	key  func(t testing.TB, name string) *pki.Key
	alg  pki.Algorithm
	form pki.Form
}

func onCurve(c *ec.Curve, h crypto.Hash, form pki.Form) kind {
	return kind{c.Name + " " + h.String() + map[pki.Form]string{pki.Explicit: " explicit", pki.Named: ""}[form], func(t testing.TB, name string) *pki.Key {
		k, err := maker.EC(name, c)
		require.NoError(t, err)
		return k
	}, pki.Algorithm{Scheme: pki.ECDSA, Hash: h}, form}
}

func withRSA(bits int, s pki.Scheme, h crypto.Hash) kind {
	a := pki.Algorithm{Scheme: s, Hash: h}
	return kind{a.String(), func(t testing.TB, name string) *pki.Key {
		k, err := maker.RSA(name, bits)
		require.NoError(t, err)
		return k
	}, a, pki.Named}
}

func kinds() []kind {
	return []kind{
		onCurve(ec.P256, crypto.SHA256, pki.Named), onCurve(ec.P384, crypto.SHA384, pki.Named), onCurve(ec.P521, crypto.SHA512, pki.Named),
		onCurve(ec.P256, crypto.SHA256, pki.Explicit), onCurve(ec.P224, crypto.SHA224, pki.Explicit),
		onCurve(ec.BrainpoolP256r1, crypto.SHA256, pki.Named), onCurve(ec.BrainpoolP256r1, crypto.SHA256, pki.Explicit),
		onCurve(ec.BrainpoolP384r1, crypto.SHA384, pki.Explicit), onCurve(ec.BrainpoolP512r1, crypto.SHA512, pki.Explicit),
		withRSA(2048, pki.RSA, crypto.SHA256), withRSA(2048, pki.RSAPSS, crypto.SHA256), withRSA(2048, pki.RSAPSS, crypto.SHA512),
	}
}

// country is a small PKI of a country: CSCA, link, document signer, master list signer, CRL.
type country struct {
	csca, other, ds, mls *pki.Key
	issuer               *pki.Issuer
	root, link, next     *pki.Certificate
	signer, master       *pki.Certificate
	crl                  *pki.CRL
}

func issue(t testing.TB, i *pki.Issuer, r pki.Request) *pki.Certificate {
	c, err := i.Issue(r)
	require.NoError(t, err)
	return c
}

func newCountry(t testing.TB, k kind) (c country) {
	c.csca, c.other, c.ds, c.mls = k.key(t, "csca"), k.key(t, "csca 2"), k.key(t, "ds"), k.key(t, "mls")
	c.issuer = &pki.Issuer{Key: c.csca, Algorithm: k.alg, Form: k.form}
	name := func(cn string) pki.Name { return pki.MakeName(map[string]string{"C": "UT", "O": "Utopia", "CN": cn}) }
	common := pki.Request{From: day("2026-01-01"), To: day("2036-01-01"), State: "UTO", Contact: "csca@example.com", CRL: "https://example.com/csca.crl"}
	with := func(p pki.Profile, cn string, key *pki.Key) pki.Request {
		r := common
		r.Profile, r.Subject, r.Key = p, name(cn), key.PublicKey
		return r
	}
	c.root = issue(t, c.issuer, with(pki.CSCA, "CSCA Utopia", c.csca))
	second := &pki.Issuer{Key: c.other, Algorithm: k.alg, Form: k.form}
	r := with(pki.CSCA, "CSCA Utopia", c.other)
	c.next = issue(t, second, r)
	c.link = issue(t, c.issuer, r)
	r = with(pki.DocSigner, "Document Signer 1", c.ds)
	r.DocumentTypes = []string{"P", "ID"}
	c.signer = issue(t, c.issuer, r)
	c.master = issue(t, c.issuer, with(pki.MasterSigner, "Master List Signer", c.mls))
	var err error
	c.crl, err = c.issuer.Revoke(7, day("2026-02-01"), day("2026-05-01"), pki.Revoked{Serial: []byte{0x11}, Date: day("2026-01-15"), Reason: 1})
	require.NoError(t, err)
	return c
}

func write(t testing.TB, dir, name string, content []byte) string {
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	return file
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func openssl(t testing.TB, args ...string) string {
	out, err := exec.Command("openssl", args...).CombinedOutput()
	require.NoError(t, err, "openssl %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// TestOpenSSL: OpenSSL reads and verifies what is made here.
func TestOpenSSL(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			c := newCountry(t, k)
			dir := t.TempDir()
			root := write(t, dir, "csca.pem", pemOf("CERTIFICATE", c.root.Raw))
			next := write(t, dir, "next.pem", pemOf("CERTIFICATE", c.next.Raw))
			link := write(t, dir, "link.pem", pemOf("CERTIFICATE", c.link.Raw))
			ds := write(t, dir, "ds.pem", pemOf("CERTIFICATE", c.signer.Raw))
			crl := write(t, dir, "csca.crl", pemOf("X509 CRL", c.crl.Raw))
			if k.form == pki.Named {
				openssl(t, "verify", "-attime", "1772000000", "-x509_strict", "-CAfile", root, "-crl_check", "-CRLfile", crl, ds)
				openssl(t, "verify", "-attime", "1772000000", "-partial_chain", "-trusted", root, link)
			} else { // it refuses chains with explicit parameters, but not signatures
				pub := write(t, dir, "pub.pem", pemOf("PUBLIC KEY", c.root.Info))
				for _, x := range []*pki.Certificate{c.signer, c.link} {
					openssl(t, "dgst", "-sha"+strings.TrimPrefix(k.alg.Hash.String(), "SHA-"), "-verify", pub, "-signature", write(t, dir, "sig", x.Signature), write(t, dir, "tbs", x.TBS))
				}
			}
			openssl(t, "verify", "-attime", "1772000000", "-check_ss_sig", "-CAfile", next, next)
			require.Contains(t, openssl(t, "crl", "-in", crl, "-CAfile", root, "-noout", "-text"), "Serial Number: 11")

			cms, err := pki.SignData(pki.Sign{Key: c.ds, Algorithm: k.alg, Certificate: c.signer, Time: day("2026-02-01")}, pki.OIDSecurityObject, []byte("content"))
			require.NoError(t, err)
			file := write(t, dir, "sod.der", cms)
			verify := []string{"cms", "-verify", "-binary", "-in", file, "-inform", "DER", "-out", filepath.Join(dir, "content")}
			if k.form == pki.Named {
				openssl(t, append(verify, "-CAfile", root, "-attime", "1772000000", "-purpose", "any")...)
			} else {
				openssl(t, append(verify, "-noverify")...)
			}
			content, err := os.ReadFile(filepath.Join(dir, "content"))
			require.NoError(t, err)
			require.Equal(t, "content", string(content))

			key := write(t, dir, "key.pem", pemOf("PRIVATE KEY", c.ds.PKCS8()))
			openssl(t, "pkey", "-in", key, "-check", "-noout")
			pub := openssl(t, "pkey", "-in", key, "-pubout", "-outform", "PEM")
			block, _ := pem.Decode([]byte(pub))
			require.Equal(t, c.ds.Info(pki.Named), block.Bytes)
		})
	}
}

// TestFromOpenSSL: what OpenSSL makes is read and verified here.
func TestFromOpenSSL(t *testing.T) {
	for _, v := range [][]string{
		{"ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
		{"ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1", "-pkeyopt", "ec_param_enc:explicit"},
		{"ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-pkeyopt", "ec_param_enc:explicit"},
		{"rsa", "-pkeyopt", "rsa_keygen_bits:1024"},
		{"rsa-pss", "-pkeyopt", "rsa_keygen_bits:1024", "-pkeyopt", "rsa_pss_keygen_md:sha256", "-pkeyopt", "rsa_pss_keygen_mgf1_md:sha1", "-pkeyopt", "rsa_pss_keygen_saltlen:0"},
	} {
		t.Run(strings.Join(v, " "), func(t *testing.T) {
			dir := t.TempDir()
			in := func(name string) string { return filepath.Join(dir, name) }
			openssl(t, append([]string{"genpkey", "-out", in("key"), "-algorithm"}, v...)...)
			openssl(t, "req", "-x509", "-new", "-key", in("key"), "-sha256", "-subj", "/C=UT/CN=Ärger", "-utf8", "-days", "10", "-outform", "DER", "-out", in("cert"),
				"-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", "subjectAltName=email:a@b.c,URI:http://x")
			der, err := os.ReadFile(in("cert"))
			require.NoError(t, err)
			c, err := pki.ParseCertificate(der)
			require.NoError(t, err)
			require.NoError(t, c.KeyErr)
			require.NoError(t, c.SignedBy(c))
			require.Equal(t, "C=UT,CN=Ärger", c.Subject.String())
			require.True(t, c.CA)
			require.Equal(t, pki.CertSign|pki.CRLSign, c.Usage)
			require.Equal(t, []string{"rfc822Name:a@b.c", "URI:http://x"}, c.SubjectAlt)
			_, checks := (&pki.Store{Anchors: []*pki.Certificate{c}}).Verify(c, time.Now())
			require.NoError(t, checks.Err())

			write(t, dir, "pem", pemOf("CERTIFICATE", der))
			write(t, dir, "data", []byte("data"))
			for _, more := range [][]string{{"-md", "sha512"}, {"-md", "sha1", "-keyid"}, {"-noattr"}} {
				if v[0] == "rsa-pss" { // OpenSSL 3.0 signs as rsaEncryption, and does not verify it either
					continue
				}
				if v[0] == "rsa" {
					more = append(more, "-keyopt", "rsa_padding_mode:pss")
				}
				openssl(t, append([]string{"cms", "-sign", "-binary", "-nodetach", "-in", in("data"), "-signer", in("pem"), "-inkey", in("key"), "-outform", "DER", "-out", in("cms"), "-nosmimecap"}, more...)...)
				cms, err := os.ReadFile(in("cms"))
				require.NoError(t, err)
				s, err := pki.ParseSignedData(cms)
				require.NoError(t, err)
				signer, checks := s.Verify()
				require.NoError(t, checks.Err())
				require.Equal(t, der, signer.Raw)
				require.Equal(t, "data", string(s.Content))
			}
		})
	}
}

// TestStandardLibrary: crypto/x509 verifies those that it knows.
func TestStandardLibrary(t *testing.T) {
	c := newCountry(t, kinds()[0])
	root, err := x509.ParseCertificate(c.root.Raw)
	require.NoError(t, err)
	ds, err := x509.ParseCertificate(c.signer.Raw)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err = ds.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: day("2026-06-01"), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	require.NoError(t, err)
	list, err := x509.ParseRevocationList(c.crl.Raw)
	require.NoError(t, err)
	require.NoError(t, list.CheckSignatureFrom(root))
	for _, k := range []*pki.Key{c.ds, kinds()[9].key(t, "x")} {
		std, err := x509.ParsePKCS8PrivateKey(k.PKCS8())
		require.NoError(t, err)
		var pub any
		switch p := std.(type) {
		case *ecdsa.PrivateKey:
			pub = &p.PublicKey
		case *rsa.PrivateKey:
			require.NoError(t, p.Validate())
			pub = &p.PublicKey
		}
		der, err := x509.MarshalPKIXPublicKey(pub)
		require.NoError(t, err)
		require.Equal(t, der, k.Info(pki.Named))
	}
}

// TestReproducible: the same seed makes the same octets.
func TestReproducible(t *testing.T) {
	for _, k := range kinds() {
		a, b := newCountry(t, k), newCountry(t, k)
		require.Equal(t, a.root.Raw, b.root.Raw, k.name)
		require.Equal(t, a.signer.Raw, b.signer.Raw, k.name)
		require.Equal(t, a.crl.Raw, b.crl.Raw, k.name)
		require.True(t, bytes.Contains(a.signer.Raw, a.root.SKI))
	}
}
