package pki

import (
	"bytes"
	"errors"
	"strings"
	"time"
)

// Store is what an inspection system trusts and knows.
type Store struct {
	Anchors []*Certificate // trusted, self-signed or not
	Others  []*Certificate // may be on the way to an anchor: link certificates
	CRLs    []*CRL
}

// maxChain bounds the way from a certificate to an anchor.
const maxChain = 8

// ErrUnknownIssuer is the reason why there is no chain.
var ErrUnknownIssuer = errors.New("pki: the issuer is not among the trust anchors")

// Issuer finds the certificate that signed another: the one with its name and key
// identifier whose key verifies the signature. Where the names fit and no key does, it
// is ErrSignature.
func (s *Store) issuer(c *Certificate) (issuer *Certificate, anchor bool, err error) {
	err = ErrUnknownIssuer
	for n, list := range [][]*Certificate{s.Anchors, s.Others} {
		for _, x := range list {
			if !x.Subject.Equal(c.Issuer) || c.AKI != nil && x.SKI != nil && !bytes.Equal(c.AKI, x.SKI) {
				continue
			}
			if bad := c.SignedBy(x); bad != nil {
				if err == ErrUnknownIssuer { //nolint:errorlint // it is this one
					err = bad
				}
				continue
			}
			return x, n == 0, nil
		}
	}
	return nil, false, err
}

// Verify verifies the chain of a certificate up to an anchor at a time, and says what was
// checked. The chain begins with the certificate itself. Names of checks begin with the
// subject of the certificate they are about.
func (s *Store) Verify(c *Certificate, at time.Time) (chain []*Certificate, checks Checks) {
	for depth := 0; ; depth++ {
		chain = append(chain, c)
		who := c.Subject.String() + ": "
		checks.add(who+"validity", c.ValidAt(at))
		var unknown error
		for _, e := range c.Extensions {
			if e.Critical && !known(e.OID) {
				unknown = errors.New("pki: the critical extension " + Dotted(e.OID) + " is not known")
			}
		}
		checks.add(who+"critical extensions", unknown)
		if depth > 0 {
			checks.require(who+"may sign certificates", c.Version >= 3 && c.HasConstraints && c.CA && (!c.HasUsage || c.Usage&CertSign != 0),
				"pki: basic constraints or key usage do not make it an authority")
			below := 0
			for _, x := range chain[1:depth] {
				if !x.SelfIssued() {
					below++
				}
			}
			checks.require(who+"path length", c.PathLen < 0 || below <= c.PathLen, "pki: more certificates follow than it allows, ", itoa(c.PathLen))
		}
		if s.trusts(c) {
			if c.SelfIssued() {
				if bytes.Equal(c.AKI, c.SKI) || c.AKI == nil {
					checks.add(who+"signature of its own", c.SignedBy(c))
				}
			}
			return chain, checks
		}
		if depth == maxChain {
			checks.add(who+"issuer", errors.New("pki: the chain is longer than "+itoa(maxChain)+" certificates"))
			return chain, checks
		}
		issuer, _, err := s.issuer(c)
		name := "signature by " + c.Issuer.String()
		if !checks.add(who+name, err) {
			return chain, checks
		}
		s.revocation(c, issuer, at, who, &checks)
		c = issuer
	}
}

func (s *Store) trusts(c *Certificate) bool {
	for _, a := range s.Anchors {
		if bytes.Equal(a.Raw, c.Raw) {
			return true
		}
	}
	return false
}

// revocation looks for the certificate in the newest CRL of its issuer. Without a CRL
// there is no check.
func (s *Store) revocation(c, issuer *Certificate, at time.Time, who string, checks *Checks) {
	var newest *CRL
	for _, l := range s.CRLs {
		if l.Issuer.Equal(issuer.Subject) && (l.AKI == nil || issuer.SKI == nil || bytes.Equal(l.AKI, issuer.SKI)) &&
			(newest == nil || l.ThisUpdate.After(newest.ThisUpdate)) {
			newest = l
		}
	}
	if newest == nil {
		return
	}
	*checks = append(*checks, newest.Verify(issuer, at)...)
	r, found := newest.Revokes(c.Serial)
	checks.require(who+"revocation", !found, "pki: it was revoked on "+r.Date.Format(time.DateOnly))
}

// Profile checks a certificate against what its purpose demands: Doc 9303-12 7.1 table 6,
// ISO/IEC 18013-5 annex B.
func (c *Certificate) Profile(p Profile) (checks Checks) {
	who := c.Subject.String() + ": "
	usage := DigitalSignature
	travel := p == CSCA || p == DocSigner || p == MasterSigner
	authority := p == CSCA || p == IACA || p == ReaderCA
	if authority {
		usage = CertSign | CRLSign
	}
	checks.require(who+"version", c.Version == 3, "pki: it is of version ", itoa(c.Version), ", not 3")
	ext, _ := c.Extension(oidKeyUsage)
	checks.require(who+"key usage", c.HasUsage && ext.Critical && c.Usage == usage, "pki: it is not critical, or not what the profile says")
	if authority {
		ext, _ = c.Extension(oidBasicConstraints)
		checks.require(who+"basic constraints", c.CA && ext.Critical && c.PathLen == 0, "pki: they are not critical, cA and path length 0")
	} else {
		checks.require(who+"basic constraints", !c.CA, "pki: they make it an authority")
	}
	if authority {
		checks.require(who+"subject key identifier", len(c.SKI) > 0, "pki: it is not there")
	} else {
		checks.require(who+"authority key identifier", len(c.AKI) > 0, "pki: it is not there")
	}
	if purpose := map[Profile][]byte{MasterSigner: PurposeMasterList, MdocSigner: PurposeMdocDS, Reader: PurposeReader}[p]; purpose != nil {
		ext, _ = c.Extension(oidExtKeyUsage)
		checks.require(who+"extended key usage", ext.Critical && c.HasPurpose(purpose), "pki: it is not critical, or has not ", Dotted(purpose))
	}
	country := c.Subject.Get("C")
	checks.require(who+"country", len(country) == 2 && country == strings.ToUpper(country), "pki: the subject has no country of two upper case letters: ", country)
	checks.require(who+"common name", c.Subject.Get("CN") != "", "pki: it is not there")
	if !authority {
		checks.require(who+"country of the issuer", strings.EqualFold(country, c.Issuer.Get("C")), "pki: subject and issuer are of different countries")
	}
	if travel {
		if p != MasterSigner {
			checks.require(who+"private key usage period", !c.PrivateFrom.IsZero() || !c.PrivateTo.IsZero(), "pki: it is not there")
		}
		checks.require(who+"alternative names", located(c.SubjectAlt) && located(c.IssuerAlt), "pki: they have no directory name with the issuing state as locality")
		if c.Key.Curve != nil {
			checks.require(who+"form of the key", c.Key.Form == Explicit, "pki: the curve is not told by its parameters (Doc 9303-12 4.1.6.1)")
		}
		if p == DocSigner {
			checks.require(who+"document types", len(c.DocumentTypes) > 0, "pki: they are not there")
		}
	}
	checks.require(who+"CRL distribution point", len(c.CRLs) > 0, "pki: it is not there")
	return checks
}

// located tells whether alternative names have the issuing state (Doc 9303-12 7.1.1.2).
func located(names []string) bool {
	for _, n := range names {
		if strings.HasPrefix(n, "directoryName:L=") {
			return true
		}
	}
	return false
}
