package pki_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// failed are the names of the checks that do not hold, without the subject before.
func failed(checks pki.Checks) (names []string) {
	for _, c := range checks {
		if c.Err != nil {
			names = append(names, c.Name[strings.LastIndex(c.Name, ": ")+2:])
		}
	}
	return names
}

// TestStore: each way in which a chain can be wrong is told, and nothing else is.
func TestStore(t *testing.T) {
	k := kinds()[6] // brainpoolP256r1 explicit
	c := newCountry(t, k)
	at := day("2026-03-01")
	trust := pki.Store{Anchors: []*pki.Certificate{c.root}, CRLs: []*pki.CRL{c.crl}}
	chain, checks := trust.Verify(c.signer, at)
	require.NoError(t, checks.Err())
	require.Len(t, chain, 2)
	require.Len(t, checks, 13)

	// A signer of the next key, which only the link certificate leads to.
	second := &pki.Issuer{Key: c.other, Algorithm: k.alg, Form: k.form, Certificate: c.next, State: "UTO", Contact: "csca@example.com"}
	request := pki.Request{Profile: pki.DocSigner, Subject: c.signer.Subject, Key: c.ds.PublicKey, From: day("2026-01-01"), To: day("2027-01-01"), State: "UTO"}
	later := issue(t, second, request)
	chain, checks = (&pki.Store{Anchors: trust.Anchors, Others: []*pki.Certificate{c.link}}).Verify(later, at)
	require.NoError(t, checks.Err())
	require.Len(t, chain, 3)

	revoked, err := c.issuer.Revoke(8, day("2026-02-02"), day("2026-05-01"), pki.Revoked{Serial: c.signer.Serial, Date: day("2026-02-01")})
	require.NoError(t, err)
	foreign := newCountry(t, kinds()[0])
	fake := *c.crl
	fake.Signature = foreign.crl.Signature

	under := &pki.Issuer{Key: c.ds, Algorithm: k.alg, Certificate: c.signer}
	request.Subject = pki.MakeName(map[string]string{"C": "UT", "CN": "below a signer"})
	below := issue(t, under, request)

	for name, v := range map[string]struct {
		store pki.Store
		cert  *pki.Certificate
		at    time.Time
		want  []string
	}{
		"expired":              {trust, c.signer, day("2036-02-01"), []string{"validity", "date", "validity"}},
		"not yet":              {pki.Store{Anchors: trust.Anchors}, c.signer, day("2025-12-31"), []string{"validity", "validity"}},
		"old CRL":              {trust, c.signer, day("2026-06-01"), []string{"date"}},
		"CRL of the future":    {trust, c.signer, day("2026-01-20"), []string{"date"}},
		"no anchors":           {pki.Store{}, c.signer, at, []string{"signature by C=UT,O=Utopia,CN=CSCA Utopia"}},
		"same name, other key": {pki.Store{Anchors: []*pki.Certificate{c.next}}, c.signer, at, []string{"signature by C=UT,O=Utopia,CN=CSCA Utopia"}},
		"no link":              {trust, later, at, []string{"signature by C=UT,O=Utopia,CN=CSCA Utopia"}},
		"revoked":              {pki.Store{Anchors: trust.Anchors, CRLs: []*pki.CRL{c.crl, revoked}}, c.signer, at, []string{"revocation"}},
		"forged CRL":           {pki.Store{Anchors: trust.Anchors, CRLs: []*pki.CRL{&fake}}, c.signer, at, []string{"signature"}},
		"signed by a signer":   {pki.Store{Anchors: trust.Anchors, Others: []*pki.Certificate{c.signer}}, below, at, []string{"may sign certificates", "path length"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, checks := v.store.Verify(v.cert, v.at)
			require.Equal(t, v.want, failed(checks), "%v", checks)
		})
	}

	// Every octet of a certificate is protected: with one changed, it is another or none.
	for i := range c.signer.Raw {
		b := bytes.Clone(c.signer.Raw)
		b[i] ^= 0x01
		x, err := pki.ParseCertificate(b)
		if err != nil {
			continue
		}
		_, checks := trust.Verify(x, at)
		require.Error(t, checks.Err(), "octet %d", i)
	}
}

// TestProfiles: what is issued is as its profile says, and as no other.
func TestProfiles(t *testing.T) {
	k := kinds()[6]
	c := newCountry(t, k)
	all := map[pki.Profile]*pki.Certificate{pki.CSCA: c.root, pki.DocSigner: c.signer, pki.MasterSigner: c.master}
	p256, err := maker.EC("iaca", ec.P256)
	require.NoError(t, err)
	iaca := &pki.Issuer{Key: p256, Algorithm: pki.Algorithm{Scheme: pki.ECDSA, Hash: crypto.SHA256}}
	for _, p := range []pki.Profile{pki.IACA, pki.MdocSigner, pki.Reader, pki.ReaderCA} {
		all[p] = issue(t, iaca, pki.Request{
			Profile: p, Subject: pki.MakeName(map[string]string{"C": "UT", "CN": "mdoc " + string(rune('0'+p))}), Key: p256.PublicKey,
			From: day("2026-01-01"), To: day("2027-01-01"), Contact: "https://example.com", CRL: "https://example.com/crl",
		})
	}
	plain := issue(t, &pki.Issuer{Key: p256, Algorithm: iaca.Algorithm}, pki.Request{
		Profile: pki.Plain, Authority: true, Subject: pki.MakeName(map[string]string{"CN": "attestation"}), Key: p256.PublicKey, From: day("2026-01-01"), To: day("2027-01-01"),
		Extensions: []pki.Extension{{OID: pki.OID("1.3.6.1.4.1.41482.3.3"), Value: []byte{5, 4, 3}}},
	})
	e, ok := plain.Extension(pki.OID("1.3.6.1.4.1.41482.3.3"))
	require.True(t, ok && plain.CA)
	require.Equal(t, []byte{5, 4, 3}, e.Value)
	for p, x := range all {
		require.NoError(t, x.Profile(p).Err(), "%v", p)
	}
	require.NoError(t, c.link.Profile(pki.CSCA).Err())
	require.Contains(t, failed(c.signer.Profile(pki.MasterSigner)), "extended key usage")
	require.Contains(t, failed(c.root.Profile(pki.DocSigner)), "basic constraints")
	require.Contains(t, failed(all[pki.MdocSigner].Profile(pki.DocSigner)), "form of the key")
	require.Contains(t, failed(all[pki.MdocSigner].Profile(pki.Reader)), "extended key usage")
	require.Equal(t, []string{"ID", "P"}, sorted(c.signer.DocumentTypes))
	require.Equal(t, []string{"rfc822Name:csca@example.com", "directoryName:L=UTO"}, c.signer.SubjectAlt)
	require.Equal(t, c.root.SubjectAlt, c.root.IssuerAlt)
	require.Equal(t, []string{"https://example.com/csca.crl"}, c.signer.CRLs)
}

func sorted(s []string) []string {
	if len(s) == 2 && s[0] > s[1] {
		return []string{s[1], s[0]}
	}
	return s
}

// TestSignedData: each way in which a signed file can be wrong.
func TestSignedData(t *testing.T) {
	k := kinds()[6]
	c := newCountry(t, k)
	other := newCountry(t, kinds()[0])
	sign := func(change func(*pki.Sign)) []byte {
		s := pki.Sign{Key: c.ds, Algorithm: k.alg, Certificate: c.signer}
		change(&s)
		b, err := pki.SignData(s, pki.OIDSecurityObject, []byte("content of the file"))
		require.NoError(t, err)
		return b
	}
	for name, v := range map[string]struct {
		cms  []byte
		want []string
	}{
		"good":         {sign(func(*pki.Sign) {}), nil},
		"by key":       {sign(func(s *pki.Sign) { s.BySKI = true }), nil},
		"with time":    {sign(func(s *pki.Sign) { s.Time = day("2026-02-02") }), nil},
		"more":         {sign(func(s *pki.Sign) { s.Certificates = []*pki.Certificate{c.root} }), nil},
		"another key":  {sign(func(s *pki.Sign) { s.Key = other.mls }), []string{"signature"}},
		"content":      {swap(sign(func(*pki.Sign) {}), "content of", "Content of"), []string{"message digest"}},
		"content type": {swap(sign(func(*pki.Sign) {}), string(pki.OIDSecurityObject), string(pki.OIDMasterList)), []string{"content type"}},
		"last octet":   {flip(sign(func(*pki.Sign) {}), -1), []string{"signature"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := pki.ParseSignedData(v.cms)
			require.NoError(t, err)
			_, checks := s.Verify()
			require.Equal(t, v.want, failed(checks), "%v", checks)
		})
	}
	s, err := pki.ParseSignedData(sign(func(*pki.Sign) {}))
	require.NoError(t, err)
	s.Certificates = nil
	_, checks := s.Verify()
	require.Equal(t, []string{"signer's certificate"}, failed(checks))
	_, checks = s.Verify(c.root, c.signer)
	require.NoError(t, checks.Err())
	s.Signers = nil
	_, checks = s.Verify()
	require.Equal(t, []string{"signature is there"}, failed(checks))

	list, err := pki.SignData(pki.Sign{Key: c.mls, Algorithm: k.alg, Certificate: c.master, Certificates: []*pki.Certificate{c.root}}, pki.OIDMasterList, pki.BuildMasterList(c.root, c.next))
	require.NoError(t, err)
	s, err = pki.ParseSignedData(list)
	require.NoError(t, err)
	require.Equal(t, pki.OIDMasterList, s.ContentType)
	certificates, skipped, err := pki.ParseMasterList(s.Content)
	require.NoError(t, err)
	require.Zero(t, skipped)
	require.Len(t, certificates, 2)
}

// swap changes the first occurrence.
func swap(b []byte, old, by string) []byte {
	return bytes.Replace(b, []byte(old), []byte(by), 1)
}

func flip(b []byte, at int) []byte {
	b[len(b)+at] ^= 1
	return b
}

// TestNames: comparison and encoding of names.
func TestNames(t *testing.T) {
	a := pki.MakeName(map[string]string{"C": "UT", "O": "Ütopia", "CN": "Two  Words"})
	b := pki.MakeName(map[string]string{"C": "ut", "O": "ütopia", "CN": " two words"})
	require.True(t, a.Equal(b))
	require.False(t, a.Equal(pki.MakeName(map[string]string{"C": "UT", "O": "Utopia", "CN": "Two Words"})))
	require.False(t, a.Equal(pki.Name{}))
	require.Equal(t, "C=UT,O=Ütopia,CN=Two  Words", a.String())
}

// TestObjectIdentifiers: both directions, the first two arcs as ISO/IEC 8825-1 8.19.4.
func TestObjectIdentifiers(t *testing.T) {
	for dotted, want := range map[string]string{
		"1.2.840.113549.1.1.11": "\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0B", "2.23.136.1.1.1": "\x67\x81\x08\x01\x01\x01",
		"0.4.0.127.0.7.3.2.1": "\x04\x00\x7F\x00\x07\x03\x02\x01", "2.999": "\x88\x37", "1.0.18013.5.1.2": "\x28\x81\x8C\x5D\x05\x01\x02",
	} {
		require.Equal(t, want, string(pki.OID(dotted)), dotted)
		require.Equal(t, dotted, pki.Dotted([]byte(want)))
	}
	require.Equal(t, "?", pki.Dotted([]byte{0x2A, 0x86}))
}

// TestSecret: RFC 5869 2 with the salt of Maker, by hand; and no two names have a key in
// common, on any curve, with any length.
func TestSecret(t *testing.T) {
	require.Len(t, maker.Secret("x", 100), 100)
	require.Equal(t, maker.Secret("x", 100)[:32], maker.Secret("x", 32))
	seen := map[[32]byte]string{}
	for _, seed := range []string{"a", "b", ""} {
		m := pki.Maker{Seed: []byte(seed), Generate: rsakey.Generate, Power: rsakey.ModExp}
		for _, name := range []string{"csca", "csca/2", "ds", "ds1", "1ds", "aa", "ca", "cam", "cvca", "dv", "is", "iaca", "mdoc", "", "P-256\x00csca"} {
			for _, c := range ec.Curves() {
				k, err := m.EC(name, c)
				require.NoError(t, err)
				id := sha256.Sum256(k.PKCS8())
				require.Empty(t, seen[id])
				seen[id] = seed + "/" + name + "/" + c.Name
			}
			k, err := m.RSA(name, 512)
			require.NoError(t, err)
			id := sha256.Sum256(k.RSA.Modulus)
			require.Empty(t, seen[id])
			seen[id] = seed + "/" + name
		}
	}
}

// TestKeys: forms of public keys; what is no key.
func TestKeys(t *testing.T) {
	for _, c := range ec.Curves() {
		k, err := maker.EC("forms", c)
		require.NoError(t, err)
		for _, f := range []pki.Form{pki.Named, pki.Explicit, pki.Standardized} {
			der := k.Info(f)
			p, err := pki.ParsePublicKey(der)
			require.NoError(t, err)
			require.True(t, p.Equal(k.PublicKey))
			require.Equal(t, f, p.Form)
			_, err = pki.ParsePublicKey(flip(der, -1))
			require.ErrorIs(t, err, ec.ErrPoint)
		}
	}
	for name, der := range map[string]string{
		"unknown algorithm": "\x30\x09\x30\x04\x06\x02\x2A\x03\x03\x01\x00",
		"unknown curve":     "\x30\x12\x30\x0D\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x02\x2A\x03\x03\x01\x00",
		"small RSA":         "\x30\x1A\x30\x0D\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01\x05\x00\x03\x09\x00\x30\x06\x02\x01\x0F\x02\x01\x03",
		"empty":             "",
	} {
		_, err := pki.ParsePublicKey([]byte(der))
		require.Error(t, err, name)
	}
}

// TestPSS: known answers would need a salt from outside; here are the forms of its
// parameters, and signatures that are none.
func TestPSS(t *testing.T) {
	for _, bits := range []int{1024, 1025, 1031} {
		k, err := maker.RSA("pss", bits)
		require.NoError(t, err)
		for _, a := range []pki.Algorithm{
			{Scheme: pki.RSAPSS, Hash: crypto.SHA256}, {Scheme: pki.RSAPSS, Hash: crypto.SHA256, MGF: crypto.SHA1, Salt: 20}, {Scheme: pki.RSAPSS, Hash: crypto.SHA256, Salt: -1},
		} {
			sig, err := k.Sign(a, []byte("message"))
			require.NoError(t, err)
			again, err := k.Sign(a, []byte("message"))
			require.NoError(t, err)
			require.Equal(t, sig, again)
			require.NoError(t, k.Verify(a, []byte("message"), sig))
			require.ErrorIs(t, k.Verify(a, []byte("Message"), sig), pki.ErrSignature)
			b := a
			b.Salt = 5
			require.ErrorIs(t, k.Verify(b, []byte("message"), sig), pki.ErrSignature)
			require.ErrorIs(t, k.Verify(a, []byte("message"), sig[1:]), pki.ErrSignature)
			require.ErrorIs(t, k.Verify(a, []byte("message"), bytes.Repeat([]byte{0xFF}, len(sig))), pki.ErrSignature)
			require.ErrorIs(t, k.Verify(pki.Algorithm{Scheme: pki.ECDSA, Hash: crypto.SHA256}, nil, sig), pki.ErrAlgorithm)
		}
		_, err = k.Sign(pki.Algorithm{Scheme: pki.RSAPSS, Hash: crypto.SHA512, Salt: 100}, nil)
		require.ErrorIs(t, err, pki.ErrAlgorithm)
	}
}
