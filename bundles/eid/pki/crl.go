package pki

import (
	"bytes"
	"errors"
	"time"

	"github.com/sspemu/sspemu/internal/tlv"
)

// CRL is a certificate revocation list (RFC 5280 5).
type CRL struct {
	Raw, TBS               []byte
	Version                int
	Algorithm              Algorithm
	Issuer                 Name
	ThisUpdate, NextUpdate time.Time // NextUpdate may be zero
	Revoked                []Revoked
	Extensions             []Extension
	AKI                    []byte
	Signature              []byte
}

// Revoked is a certificate that is not to be trusted.
type Revoked struct {
	Serial []byte // contents octets
	Date   time.Time
	Reason int // RFC 5280 5.3.1; 0: unspecified
}

// maxRevoked bounds what a CRL may make one remember.
const maxRevoked = 1 << 20

// ParseCRL reads a CRL.
func ParseCRL(der []byte) (*CRL, error) {
	var fail error
	r := open(der, &fail)
	c := &CRL{Raw: der, Version: 1}
	outer := r.in(tagSeq)
	r.end()
	c.TBS = outer.raw(tagSeq)
	signed := outer.raw(tagSeq)
	c.Signature = outer.bitString()
	outer.end()
	whole := reader{c.TBS, &fail}
	t := whole.in(tagSeq)
	if t.is(tagInteger) {
		c.Version = t.small(tagInteger) + 1
	}
	if inner := t.raw(tagSeq); fail == nil && !bytes.Equal(inner, signed) {
		fail = errors.New("it names two signature algorithms")
	}
	alg := reader{signed, &fail}
	c.Algorithm = parseAlgorithm(&alg)
	c.Issuer = parseName(&t)
	c.ThisUpdate = t.moment()
	if t.is(tagUTCTime) || t.is(tagGenTime) {
		c.NextUpdate = t.moment()
	}
	if t.is(tagSeq) {
		for list := t.in(tagSeq); list.more() && len(c.Revoked) < maxRevoked; {
			e := list.in(tagSeq)
			x := Revoked{Serial: e.signed(tagInteger), Date: e.moment()}
			if e.more() {
				in := e.in(tagSeq)
				for _, ext := range parseExtensions(&in) {
					if bytes.Equal(ext.OID, oidCRLReason) {
						v := open(ext.Value, &fail)
						x.Reason = v.small(tagEnum)
						v.end()
					}
				}
				e.end()
			}
			c.Revoked = append(c.Revoked, x)
		}
	}
	if t.more() {
		x := t.in(0xA0)
		list := x.in(tagSeq)
		x.end()
		c.Extensions = parseExtensions(&list)
	}
	t.end()
	for _, e := range c.Extensions {
		if bytes.Equal(e.OID, oidAKI) && fail == nil {
			v := open(e.Value, &fail)
			c.AKI = parseAKI(&v)
		}
	}
	if fail != nil {
		return nil, malformed("CRL", fail)
	}
	return c, nil
}

// Revokes tells whether the list names a serial number of its issuer.
func (c *CRL) Revokes(serial []byte) (Revoked, bool) {
	for _, r := range c.Revoked {
		if bytes.Equal(r.Serial, serial) {
			return r, true
		}
	}
	return Revoked{}, false
}

// Verify verifies signature and validity of the list with its issuer's certificate.
func (c *CRL) Verify(issuer *Certificate, at time.Time) (checks Checks) {
	checks.require("CRL: issuer", c.Issuer.Equal(issuer.Subject), "pki: it is that of ", c.Issuer.String())
	if issuer.HasUsage {
		checks.require("CRL: key usage of the issuer", issuer.Usage&CRLSign != 0, "pki: its key may not sign CRLs")
	}
	err := issuer.KeyErr
	if err == nil {
		err = issuer.Key.Verify(c.Algorithm, c.TBS, c.Signature)
	}
	checks.add("CRL: signature", err)
	switch {
	case at.Before(c.ThisUpdate):
		err = errors.New("pki: it is of " + c.ThisUpdate.Format(time.DateOnly) + ", after the date of inspection")
	case !c.NextUpdate.IsZero() && at.After(c.NextUpdate):
		err = errors.New("pki: the next one was due on " + c.NextUpdate.Format(time.DateOnly))
	default:
		err = nil
	}
	checks.add("CRL: date", err)
	for _, e := range c.Extensions {
		if e.Critical {
			checks.add("CRL: extensions", errors.New("pki: the critical extension "+Dotted(e.OID)+" is not known"))
		}
	}
	return checks
}

// Revoke makes a CRL of version 2 with key identifier and number (Doc 9303-12 7.1.4).
func (i *Issuer) Revoke(number_ int, this, next time.Time, revoked ...Revoked) (*CRL, error) {
	if i.Certificate == nil {
		return nil, errors.New("pki: the issuer has no certificate yet")
	}
	alg, err := i.Algorithm.identifier()
	if err != nil {
		return nil, err
	}
	parts := [][]byte{number(1), alg, i.Certificate.Subject.Raw, moment(this), moment(next)}
	var list [][]byte
	for _, r := range revoked {
		e := [][]byte{tlv.Append(nil, tagInteger, r.Serial...), moment(r.Date)}
		if r.Reason > 0 {
			e = append(e, seq(extension(oidCRLReason, false, tlv.Append(nil, tagEnum, byte(r.Reason)))))
		}
		list = append(list, seq(e...))
	}
	if list != nil {
		parts = append(parts, seq(list...))
	}
	parts = append(parts, wrap(0xA0, seq(
		extension(oidAKI, false, seq(tlv.Append(nil, 0x80, i.Certificate.SKI...))),
		extension(oidCRLNumber, false, number(number_)))))
	tbs := seq(parts...)
	sig, err := i.Key.Sign(i.Algorithm, tbs)
	if err != nil {
		return nil, err
	}
	return ParseCRL(seq(tbs, alg, bits(sig)))
}
