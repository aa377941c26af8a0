package issue

import (
	"crypto"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
)

// signers are those who sign for the issuing state.
type signers struct {
	csca        *pki.Issuer      // who signed the certificate of the document signer
	key         *pki.Key         // of the document signer
	algorithm   pki.Algorithm    // of the document signer
	certificate *pki.Certificate // of the document signer
}

// day is the beginning of a day, YYYYMMDD; last is its end.
func day(s string, last bool) time.Time {
	n := func(s string) (n int) {
		for _, c := range s {
			n = n*10 + int(c-'0')
		}
		return n
	}
	t := time.Date(n(s[:4]), time.Month(n(s[4:6])), n(s[6:8]), 0, 0, 0, 0, time.UTC)
	if last {
		t = t.Add(24*time.Hour - time.Second)
	}
	return t
}

// crypto is the same hash function for pki.
func (h Hash) crypto() crypto.Hash {
	return map[Hash]crypto.Hash{SHA1: crypto.SHA1, SHA224: crypto.SHA224, SHA256: crypto.SHA256, SHA384: crypto.SHA384, SHA512: crypto.SHA512}[h]
}

// pki is the same algorithm for pki.
func (a algorithm) pki() pki.Algorithm {
	return pki.Algorithm{Scheme: map[scheme]pki.Scheme{ecdsa: pki.ECDSA, rsa: pki.RSA, rsaPSS: pki.RSAPSS}[a.scheme], Hash: a.hash.crypto()}
}

// key is the key of a label for an algorithm.
func (w Power) key(seed, label string, a algorithm) (*pki.Key, error) {
	if a.scheme == ecdsa {
		return pki.ECKey(a.curve, private(seed, label, a.curve))
	}
	_, p, q, err := w.rsaKey(seed, label, a.bits)
	if err != nil {
		return nil, err
	}
	return pki.RSAKey(p, q, exponent, w.ModExp)
}

// What stands in certificates; nobody is there (RFC 2606).
const (
	contact = "csca@utopia.example"
	crl     = "http://csca.utopia.example/csca.crl"
)

func (p *profile) name(country, cn string) pki.Name {
	return pki.MakeName(map[string]string{"C": country, "O": "Utopia Specimens", "CN": cn})
}

// authority is the CSCA, without its certificate: the guest does not need it. Another
// label gives one of the same name with another key.
func (p *profile) authority(w Power, label string) (*pki.Issuer, error) {
	key, err := w.key(p.seed, label, p.csca.algorithm)
	if err != nil {
		return nil, err
	}
	return &pki.Issuer{
		Key: key, Algorithm: p.csca.pki(), Form: p.form, Contact: contact, State: p.mrz.State,
		Certificate: &pki.Certificate{Subject: p.name(p.country, "CSCA "+p.mrz.State+" 1"), SKI: key.ID()},
	}, nil
}

// keys makes the document signer.
func (p *profile) keys(w Power) (*signers, error) {
	label := "csca"
	if p.has(DefectUnknownCSCA) {
		label = "csca/unknown"
	}
	csca, err := p.authority(w, label)
	if err != nil {
		return nil, err
	}
	s := &signers{csca: csca, algorithm: p.signer.pki()}
	if s.key, err = w.key(p.seed, "ds", p.signer.algorithm); err != nil {
		return nil, err
	}
	country := p.country
	if p.has(DefectCountry) {
		country = "XO"
	}
	s.certificate, err = csca.Issue(pki.Request{
		Profile: pki.DocSigner, Subject: p.name(country, "Document Signer "+p.mrz.State+" 1"), Key: s.key.PublicKey,
		From: day(p.signer.from, false), To: day(p.signer.to, true), UseTo: p.signingEnd(),
		State: p.mrz.State, Contact: contact, CRL: crl, DocumentTypes: []string{p.mrz.Code[:1]},
	})
	return s, err
}

// signingEnd is when a document signer stops to sign: after three months, or when its
// certificate ends (Doc 9303-12 4.1.2).
func (p *profile) signingEnd() time.Time {
	end := day(p.signer.from, true).AddDate(0, 3, 0)
	if to := day(p.signer.to, true); to.Before(end) {
		return to
	}
	return end
}

// publicKeyInfo is the SubjectPublicKeyInfo of a private key of the chip. Keys of chip
// and active authentication have explicit parameters, as certificates have (Doc 9303-12
// 4.1.6.1).
func publicKeyInfo(parameters int, private []byte, form pki.Form) ([]byte, error) {
	curve, ok := ec.ByID(parameters)
	if !ok {
		return nil, pki.ErrCurve
	}
	key, err := pki.ECKey(curve, private)
	if err != nil {
		return nil, err
	}
	return key.Info(form), nil
}

// sign is a SignedData over a content by the document signer.
func (s *signers) sign(contentType, content []byte) ([]byte, error) {
	return pki.SignData(pki.Sign{Key: s.key, Algorithm: s.algorithm, Certificate: s.certificate}, contentType, content)
}

// cvChain is the way from a CVCA to an inspection system.
type cvChain struct {
	cvca, dv, is *pki.CVC
	key          *pki.Key // of the inspection system
}

// cvDate is YYYYMMDD as in CV certificates.
func cvDate(day string) (d pki.CVDate) {
	for i := range d {
		d[i] = day[2+i] - '0'
	}
	return d
}

// chain makes the CVCA and, for the trust anchors, what is below it.
func (p *profile) chain(w Power, whole bool) (c cvChain, err error) {
	alg := p.ta.pki()
	var above *pki.CVIssuer
	for _, l := range []struct {
		label, holder string
		level         pki.Level
		to            **pki.CVC
	}{{"cvca", "CVCA", pki.CVCA, &c.cvca}, {"dv", "DV", pki.DVDomestic, &c.dv}, {"is", "IS", pki.Terminal, &c.is}} {
		key, err := w.key(p.seed, "cv/"+l.label, *p.ta)
		if err != nil {
			return c, err
		}
		name := p.country + l.holder + "00001"
		if above == nil { // it signs its own
			above = &pki.CVIssuer{Key: key, Algorithm: alg, Reference: name}
		}
		rights := RightDG3 | RightDG4
		if l.level == pki.Terminal {
			rights = p.taRights
		}
		if *l.to, err = above.Issue(pki.CVRequest{
			Holder: name, Key: key.PublicKey, Algorithm: alg, Role: pki.RoleIS, Rights: []byte{byte(l.level)<<6 | rights},
			From: cvDate(p.issued), To: cvDate(p.taTo),
		}); err != nil || !whole {
			return c, err
		}
		above, c.key = &pki.CVIssuer{Key: key, Algorithm: alg, Reference: name}, key
	}
	return c, nil
}
