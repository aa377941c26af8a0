// Package pki is the public key infrastructure of identity documents: it makes
// certificates and what they sign, reproducibly, and verifies them and others'.
//
//	issue, mdl ── Issuer ──> certificates (CSCA, document signer, IACA ...), CRL
//	           ── SignData ─> CMS: EF.SOD, EF.CardSecurity, master list
//	           ── CVIssuer ─> card verifiable certificates (CVCA, DV, IS)
//	mrtd ────── ParseCVC, CVC.Follows                      terminal authentication
//	inspect ─── Parse..., Store.Verify, SignedData.Verify  with a list of what was checked
//
// Making runs in the guest, and so does verifying. crypto/x509 could do neither: it has
// no brainpool curves, no explicit parameters, no RSA-PSS with parameters of old forms,
// and takes no signature that is the same each time.
//
// Sources: ICAO Doc 9303-12 (certificates, CRL, master list), Doc 9303-10 4.6.2 (EF.SOD),
// ISO/IEC 18013-5 annex B; RFC 5280 (X.509), RFC 5652 (CMS), RFC 5480 and BSI TR-03111
// (keys), RFC 8017 (RSA), BSI TR-03110-3 C and D (CV certificates).
package pki

import (
	"crypto"
	"errors"
	"strings"
)

// Check is one thing that was verified. Err says why it does not hold.
type Check struct {
	Name string
	Err  error
}

// Checks is what was verified, in this order.
type Checks []Check

// Err is what is wrong, nil when everything holds.
func (c Checks) Err() error {
	for _, x := range c {
		if x.Err != nil {
			return x.Err
		}
	}
	return nil
}

func (c *Checks) add(name string, err error) bool {
	*c = append(*c, Check{name, err})
	return err == nil
}

// require adds a check that holds or fails for the reason given.
func (c *Checks) require(name string, holds bool, why ...string) bool {
	if holds {
		return c.add(name, nil)
	}
	return c.add(name, errors.New(strings.Join(why, "")))
}

func malformed(what string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{what, err}
}

// Error is what cannot be read, and why.
type Error struct {
	What string
	Err  error
}

func (e *Error) Error() string { return "pki: " + e.What + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// digest is the hash value of data.
func digest(h crypto.Hash, data []byte) []byte {
	d := h.New()
	d.Write(data)
	return d.Sum(nil)
}
