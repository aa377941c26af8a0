package mrtd

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Anchors are what signatures have to lead to.
type Anchors struct {
	pki.Store
	lists []masterList
}

// masterList is one that came with the anchors; its certificates are trusted only when
// its signature leads to an anchor of its own country's.
type masterList struct {
	name string
	cms  *pki.SignedData
}

// Load reads what an inspection system has to know from files or directories: certificates
// of CSCAs, CRLs, master lists, card verifiable certificates and the terminal's private
// key, each known by its content, DER or PEM. What is none of them is an error in a file
// that was named, and left out in a directory.
func Load(paths ...string) (*Anchors, *Terminal, error) {
	a, t := &Anchors{}, &Terminal{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, nil, err
		}
		list := []string{path}
		if info.IsDir() {
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, nil, err
			}
			list = nil
			for _, e := range entries {
				if e.Type().IsRegular() {
					list = append(list, filepath.Join(path, e.Name()))
				}
			}
		}
		for _, name := range list {
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, nil, err
			}
			if err := a.add(t, filepath.Base(name), b); err != nil && !info.IsDir() {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return a, t, nil
}

// Add takes one file of anchors.
func (a *Anchors) Add(t *Terminal, name string, b []byte) error { return a.add(t, name, b) }

func (a *Anchors) add(t *Terminal, name string, b []byte) error {
	if block, rest := pem.Decode(b); block != nil {
		for ; block != nil; block, rest = pem.Decode(rest) {
			if err := a.add(t, name, block.Bytes); err != nil {
				return err
			}
		}
		return nil
	}
	if c, err := pki.ParseCertificate(b); err == nil {
		if c.CA { // a document signer is no anchor
			a.anchor(c)
		}
		return nil
	}
	if l, err := pki.ParseCRL(b); err == nil {
		a.CRLs = append(a.CRLs, l)
		return nil
	}
	if m, err := pki.ParseSignedData(b); err == nil && bytes.Equal(m.ContentType, pki.OIDMasterList) {
		a.lists = append(a.lists, masterList{name, m})
		return nil
	}
	if all, err := pki.ParseCVCs(b); err == nil && len(all) > 0 {
		t.Certificates = append(t.Certificates, all...)
		return nil
	}
	if k, err := privateKey(b); err == nil {
		t.Key = k
		return nil
	}
	return errors.New("is neither a certificate, a CRL, a master list, card verifiable certificates nor a private key")
}

func (a *Anchors) anchor(c *pki.Certificate) {
	if !slices.ContainsFunc(a.Anchors, func(x *pki.Certificate) bool { return bytes.Equal(x.Raw, c.Raw) }) {
		a.Anchors = append(a.Anchors, c)
	}
}

// masterLists takes the certificates of the lists whose signers lead to an anchor.
func (s *inspection) masterLists() {
	const clause = "Doc 9303-12 9"
	a := s.Anchors
	if a == nil {
		return
	}
	for _, l := range a.lists {
		name := "Master list " + l.name
		signer, checks := l.cms.Verify()
		err := checks.Err()
		if err == nil {
			_, up := a.Verify(signer, s.r.Date)
			err = up.Err()
		}
		if err != nil {
			s.r.Warn(name, clause, "it is left out: %s", why(err))
			continue
		}
		all, skipped, err := pki.ParseMasterList(l.cms.Content)
		if err != nil {
			s.r.Warn(name, clause, "it is left out: %s", why(err))
			continue
		}
		for _, c := range all {
			a.anchor(c)
		}
		note := ""
		if skipped > 0 {
			note = fmt.Sprintf(", %d could not be read", skipped)
		}
		s.r.Pass(name, clause, "%d certificates of authorities, signed by %s%s", len(all), signer.Subject, note)
	}
	a.lists = nil
}

// why is an error without the name of the package that found it.
func why(err error) string { return strings.ReplaceAll(err.Error(), "pki: ", "") }

// signature verifies a signed file up to a trust anchor (Doc 9303-11 5.1).
func (s *inspection) signature(file, who string, m *pki.SignedData) {
	signer, checks := m.Verify()
	if signer == nil && s.Anchors != nil { // the certificate is not in the file, as older documents have it
		signer, checks = m.Verify(s.Anchors.Others...)
	}
	if err := checks.Err(); err != nil {
		s.r.Fail("Signature of "+file, clausePA, "%s", why(err))
	} else {
		s.r.Pass("Signature of "+file, clausePA, "%s signed it with %s", signer.Subject, m.Signers[0].Algorithm)
	}
	if signer == nil {
		return
	}
	sec := s.r.Section(who)
	sec.Add("subject", signer.Subject.String())
	sec.Add("issuer", signer.Issuer.String())
	sec.Add("serial number", fmt.Sprintf("%X", signer.Serial))
	sec.Add("key", signer.Key.String())
	sec.Add("valid", signer.NotBefore.Format(time.DateOnly)+" to "+signer.NotAfter.Format(time.DateOnly))
	if at := m.Signers[0].SigningTime; !at.IsZero() {
		sec.Add("signed", at.Format(time.DateOnly))
	}
	if err := signer.ValidAt(s.r.Date); err != nil {
		s.r.Fail(who+": validity", "Doc 9303-12 7.1", "%s", why(err))
	} else {
		s.r.Pass(who+": validity", "Doc 9303-12 7.1", "the certificate is valid until %s", signer.NotAfter.Format(time.DateOnly))
	}
	chain := who + ": certificate chain"
	const clause = "Doc 9303-11 5.1; Doc 9303-12 7.1"
	if s.Anchors == nil || len(s.Anchors.Anchors) == 0 {
		s.r.NotDone(chain, clause, "this inspection system knows no certificate of a CSCA (--anchors)")
		return
	}
	path, checks := s.Anchors.Verify(signer, s.r.Date)
	var bad, revoked []string
	listed := false
	for _, c := range checks {
		about := strings.HasPrefix(c.Name, "CRL") || strings.HasSuffix(c.Name, ": revocation")
		listed = listed || about
		switch {
		case c.Err == nil, c.Name == signer.Subject.String()+": validity": // told above
		case about:
			revoked = append(revoked, c.Name+": "+why(c.Err))
		default:
			bad = append(bad, c.Name+": "+why(c.Err))
		}
	}
	if len(bad) > 0 {
		s.r.Fail(chain, clause, "%s", strings.Join(bad, "; "))
	} else {
		s.r.Pass(chain, clause, "%s is signed by the anchor %s", signer.Subject, path[len(path)-1].Subject)
	}
	switch {
	case len(revoked) > 0:
		s.r.Fail(who+": revocation", "Doc 9303-12 8", "%s", strings.Join(revoked, "; "))
	case !listed:
		s.r.NotDone(who+": revocation", "Doc 9303-12 8", "there is no CRL of its issuer")
	default:
		s.r.Pass(who+": revocation", "Doc 9303-12 8", "it is not in the CRL of its issuer")
	}
	odd := false
	for _, c := range signer.Profile(pki.DocSigner) {
		if c.Err != nil {
			odd = true
			s.r.Warn(who+": profile", "Doc 9303-12 7.1", "%s: %s", c.Name, why(c.Err))
		}
	}
	if !odd {
		s.r.Pass(who+": profile", "Doc 9303-12 7.1", "the certificate has the fields that the profile of document signers demands")
	}
	s.country(who, signer)
}

// country compares the country of the signer with the issuing state of the machine
// readable zone: two letters against three, so that only what begins alike can be the
// same without a table.
func (s *inspection) country(who string, signer *pki.Certificate) {
	c, i := signer.Subject.Get("C"), signer.Issuer.Get("C")
	if !strings.EqualFold(c, i) {
		s.r.Fail(who+": country", "Doc 9303-12 7.1", "the signer is of %q, its CSCA of %q", c, i)
	}
}

// publicKey reads a SubjectPublicKeyInfo: *rsa.PublicKey or ec.Point.
func publicKey(spki []byte) (any, error) {
	k, err := pki.ParsePublicKey(spki)
	if err != nil {
		return nil, errors.New(why(err))
	}
	if k.Curve != nil {
		return k.Point, nil
	}
	return rsaPublic(k.RSA)
}

// privateKey reads PKCS #8, of RSA or of a curve.
func privateKey(der []byte) (*pki.Key, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if k, ok := k.(*rsa.PrivateKey); ok && len(k.Primes) == 2 {
			p, q := k.Primes[0], k.Primes[1]
			if p.Cmp(q) < 0 {
				p, q = q, p
			}
			return pki.RSAKey(p.Bytes(), q.Bytes(), uint32(k.E), rsakey.ModExp)
		}
	}
	bad := errors.New("is no private key of RSA or a curve in PKCS #8")
	v, err := tlv.Path(der, 0x30)
	if err != nil {
		return nil, bad
	}
	algorithm, err1 := tlv.Find(v, 0x30)
	key, err2 := tlv.Path(v, 0x04, 0x30, 0x04)
	if errors.Join(err1, err2) != nil {
		return nil, bad
	}
	r := tlv.Read(algorithm)
	r.Next() // id-ecPublicKey
	if !r.Next() || r.Tag != 0x06 {
		return nil, bad
	}
	c, ok := ec.ByOID(r.Value)
	if !ok {
		return nil, errors.New("is on a curve that is not known")
	}
	return pki.ECKey(c, key)
}
