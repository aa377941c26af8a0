package pki

import (
	"bytes"
	"encoding/hex"
	"errors"
	"time"
)

// KeyUsage is what a key is for (RFC 5280 4.2.1.3).
type KeyUsage uint16

// Key usages, by their bits.
const (
	DigitalSignature KeyUsage = 1 << 0
	NonRepudiation   KeyUsage = 1 << 1
	KeyEncipherment  KeyUsage = 1 << 2
	KeyAgreement     KeyUsage = 1 << 4
	CertSign         KeyUsage = 1 << 5
	CRLSign          KeyUsage = 1 << 6
)

// Extensions.
var (
	oidSKI              = OID("2.5.29.14")
	oidKeyUsage         = OID("2.5.29.15")
	oidPrivateKeyUsage  = OID("2.5.29.16")
	oidSubjectAltName   = OID("2.5.29.17")
	oidIssuerAltName    = OID("2.5.29.18")
	oidBasicConstraints = OID("2.5.29.19")
	oidCRLNumber        = OID("2.5.29.20")
	oidCRLReason        = OID("2.5.29.21")
	oidCRLPoints        = OID("2.5.29.31")
	oidPolicies         = OID("2.5.29.32")
	oidAKI              = OID("2.5.29.35")
	oidExtKeyUsage      = OID("2.5.29.37")
	oidNameChange       = OID("2.23.136.1.1.6.1") // Doc 9303-12 7.1.1.3.2
	oidDocumentTypes    = OID("2.23.136.1.1.6.2") // Doc 9303-12 7.1.1.3.1
)

// Purposes of extended key usage: contents octets.
var (
	PurposeMasterList = OID("2.23.136.1.1.3")  // Doc 9303-12 7.1.1.4
	PurposeMdocDS     = OID("1.0.18013.5.1.2") // ISO/IEC 18013-5 B.1.4
	PurposeReader     = OID("1.0.18013.5.1.6") // ISO/IEC 18013-5 B.1.7
)

// Extension is an extension of a certificate.
type Extension struct {
	OID      []byte
	Critical bool
	Value    []byte
}

// Certificate is a certificate of X.509 version 3. What is not there is empty.
type Certificate struct {
	Raw, TBS            []byte
	Version             int
	Serial              []byte // contents octets
	Issuer, Subject     Name
	NotBefore, NotAfter time.Time
	Key                 PublicKey
	KeyErr              error  // the key cannot be used: an unknown curve
	Info                []byte // SubjectPublicKeyInfo
	Algorithm           Algorithm
	Signature           []byte
	Extensions          []Extension

	AKI, SKI               []byte
	HasUsage               bool
	Usage                  KeyUsage
	HasConstraints, CA     bool
	PathLen                int // -1: not limited
	Purposes               [][]byte
	PrivateFrom, PrivateTo time.Time // privateKeyUsagePeriod; zero: not there
	DocumentTypes          []string
	SubjectAlt, IssuerAlt  []string // "rfc822Name:...", "directoryName:L=UTO" ...
	CRLs                   []string
}

// ParseCertificate reads a certificate. A key on an unknown curve is no error of the
// certificate: KeyErr tells it.
func ParseCertificate(der []byte) (*Certificate, error) {
	var fail error
	r := open(der, &fail)
	c := parseCertificate(&r)
	r.end()
	if fail != nil {
		return nil, malformed("certificate", fail)
	}
	return c, nil
}

func parseCertificate(r *reader) *Certificate {
	c := &Certificate{Raw: r.raw(tagSeq), PathLen: -1}
	all := reader{c.Raw, r.fail}
	outer := all.in(tagSeq)
	c.TBS = outer.raw(tagSeq)
	signed := outer.raw(tagSeq)
	c.Signature = outer.bitString()
	outer.end()
	whole := reader{c.TBS, r.fail}
	t := whole.in(tagSeq)
	if t.is(0xA0) {
		v := t.in(0xA0)
		c.Version = v.small(tagInteger) + 1
		v.end()
	} else {
		c.Version = 1
	}
	c.Serial = t.signed(tagInteger)
	inner := t.raw(tagSeq)
	if *r.fail == nil && !bytes.Equal(inner, signed) {
		r.err(errors.New("it names two signature algorithms"))
	}
	alg := reader{signed, r.fail}
	c.Algorithm = parseAlgorithm(&alg)
	c.Issuer = parseName(&t)
	validity := t.in(tagSeq)
	c.NotBefore, c.NotAfter = validity.moment(), validity.moment()
	validity.end()
	c.Subject = parseName(&t)
	c.Info = t.raw(tagSeq)
	if *r.fail != nil {
		return nil
	}
	c.Key, c.KeyErr = ParsePublicKey(c.Info)
	for _, u := range []byte{0x81, 0x82} { // unique identifiers
		if t.more() && t.b[0] == u {
			t.any()
		}
	}
	if t.more() {
		if c.Version != 3 {
			r.err(errors.New("it has extensions, but is not of version 3"))
		}
		x := t.in(0xA3)
		list := x.in(tagSeq)
		x.end()
		c.Extensions = parseExtensions(&list)
	}
	t.end()
	for _, e := range c.Extensions {
		c.extension(e, r.fail)
	}
	return c
}

func parseExtensions(list *reader) (all []Extension) {
	for list.more() {
		x := list.in(tagSeq)
		e := Extension{OID: x.oid()}
		if x.is(tagBool) {
			e.Critical = x.boolean()
		}
		e.Value = x.value(tagOctets)
		x.end()
		for _, o := range all {
			if *list.fail == nil && bytes.Equal(o.OID, e.OID) {
				list.err(errors.New("it has the extension " + Dotted(e.OID) + " twice"))
			}
		}
		all = append(all, e)
	}
	return all
}

// known tells whether a critical extension is understood here.
func known(oid []byte) bool {
	for _, x := range [][]byte{oidSKI, oidKeyUsage, oidPrivateKeyUsage, oidSubjectAltName, oidIssuerAltName, oidBasicConstraints,
		oidCRLPoints, oidPolicies, oidAKI, oidExtKeyUsage, oidNameChange, oidDocumentTypes} {
		if bytes.Equal(x, oid) {
			return true
		}
	}
	return false
}

func (c *Certificate) extension(e Extension, fail *error) {
	if *fail != nil {
		return
	}
	r := open(e.Value, fail)
	switch {
	case bytes.Equal(e.OID, oidSKI):
		c.SKI = r.value(tagOctets)
	case bytes.Equal(e.OID, oidAKI):
		c.AKI = parseAKI(&r)
	case bytes.Equal(e.OID, oidKeyUsage):
		c.HasUsage, c.Usage = true, KeyUsage(r.flags())
	case bytes.Equal(e.OID, oidBasicConstraints):
		in := r.in(tagSeq)
		c.HasConstraints = true
		if in.is(tagBool) {
			c.CA = in.boolean()
		}
		if in.more() {
			c.PathLen = in.small(tagInteger)
		}
		in.end()
	case bytes.Equal(e.OID, oidExtKeyUsage):
		for in := r.in(tagSeq); in.more(); {
			c.Purposes = append(c.Purposes, in.oid())
		}
	case bytes.Equal(e.OID, oidPrivateKeyUsage):
		in := r.in(tagSeq)
		if in.is(0x80) {
			c.PrivateFrom = in.time(in.value(0x80), general)
		}
		if in.is(0x81) {
			c.PrivateTo = in.time(in.value(0x81), general)
		}
		in.end()
	case bytes.Equal(e.OID, oidDocumentTypes):
		in := r.in(tagSeq)
		in.small(tagInteger)
		for in.more() { // some states make a SET of each
			for list := in.in(tagSet); list.more(); {
				t, v, _ := list.any()
				c.DocumentTypes = append(c.DocumentTypes, characters(t, v))
			}
		}
	case bytes.Equal(e.OID, oidSubjectAltName):
		c.SubjectAlt = parseGeneralNames(&r)
	case bytes.Equal(e.OID, oidIssuerAltName):
		c.IssuerAlt = parseGeneralNames(&r)
	case bytes.Equal(e.OID, oidCRLPoints):
		for in := r.in(tagSeq); in.more(); {
			point := in.in(tagSeq)
			if point.is(0xA0) {
				name := point.in(0xA0)
				if name.is(0xA0) {
					for full := name.in(0xA0); full.more(); {
						if t, v, _ := full.any(); t == 0x86 {
							c.CRLs = append(c.CRLs, string(v))
						}
					}
				}
			}
		}
	default:
		return
	}
	r.end()
	if *fail != nil {
		*fail = &Error{"extension " + Dotted(e.OID), *fail}
	}
}

func parseAKI(r *reader) (id []byte) {
	in := r.in(tagSeq)
	if in.is(0x80) {
		id = in.value(0x80)
	}
	return id
}

func parseGeneralNames(r *reader) (names []string) {
	for in := r.in(tagSeq); in.more(); {
		switch t, v, _ := in.any(); t {
		case 0xA0:
			o := reader{v, r.fail}
			oid := o.oid()
			value := o.in(0xA0)
			_, inner, _ := value.any()
			names = append(names, "otherName:"+Dotted(oid)+"="+hex.EncodeToString(inner))
		case 0x81:
			names = append(names, "rfc822Name:"+characters(tagIA5, v))
		case 0x82:
			names = append(names, "dNSName:"+characters(tagIA5, v))
		case 0x86:
			names = append(names, "URI:"+characters(tagIA5, v))
		case 0xA4:
			d := reader{v, r.fail}
			names = append(names, "directoryName:"+parseName(&d).String())
		}
	}
	return names
}

// Extension is an extension by its object identifier.
func (c *Certificate) Extension(oid []byte) (Extension, bool) {
	for _, e := range c.Extensions {
		if bytes.Equal(e.OID, oid) {
			return e, true
		}
	}
	return Extension{}, false
}

// SelfIssued tells whether issuer and subject are the same.
func (c *Certificate) SelfIssued() bool { return c.Issuer.Equal(c.Subject) }

// HasPurpose tells whether the extended key usage names a purpose.
func (c *Certificate) HasPurpose(oid []byte) bool {
	for _, p := range c.Purposes {
		if bytes.Equal(p, oid) {
			return true
		}
	}
	return false
}

// SignedBy verifies the signature of the certificate with the key of another, and
// nothing else.
func (c *Certificate) SignedBy(issuer *Certificate) error {
	if issuer.KeyErr != nil {
		return issuer.KeyErr
	}
	return issuer.Key.Verify(c.Algorithm, c.TBS, c.Signature)
}

// ValidAt tells whether the certificate is valid at a time.
func (c *Certificate) ValidAt(at time.Time) error {
	switch {
	case at.Before(c.NotBefore):
		return errors.New("pki: not valid before " + c.NotBefore.Format(time.DateOnly))
	case at.After(c.NotAfter):
		return errors.New("pki: expired on " + c.NotAfter.Format(time.DateOnly))
	}
	return nil
}
