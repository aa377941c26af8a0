package pki

import (
	"bytes"
	"crypto"
	"errors"
	"time"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Content types and attributes of CMS.
var (
	oidSignedData    = OID("1.2.840.113549.1.7.2")
	oidContentType   = OID("1.2.840.113549.1.9.3")
	oidMessageDigest = OID("1.2.840.113549.1.9.4")
	oidSigningTime   = OID("1.2.840.113549.1.9.5")

	OIDSecurityObject = OID("2.23.136.1.1.1")      // EF.SOD, Doc 9303-10 4.6.2.3
	OIDMasterList     = OID("2.23.136.1.1.2")      // Doc 9303-12 9
	OIDCardSecurity   = OID("0.4.0.127.0.7.3.2.1") // EF.CardSecurity, Doc 9303-10 3.11.4
)

// SignedData is a CMS SignedData with what it signs (RFC 5652 5).
type SignedData struct {
	Version      int
	ContentType  []byte
	Content      []byte
	Certificates []*Certificate
	CRLs         []*CRL
	Signers      []SignerInfo
}

// SignerInfo is one signature of a SignedData.
type SignerInfo struct {
	Version     int
	Issuer      Name   // of the certificate, with Serial; empty: SKI names it
	Serial      []byte // contents octets
	SKI         []byte
	Digest      crypto.Hash
	Algorithm   Algorithm
	Signature   []byte
	SigningTime time.Time // zero: not there

	attributes    []byte // the contents of SignedAttributes; nil: there are none
	contentType   []byte
	messageDigest []byte
}

// Sign is what a SignedData is made with.
type Sign struct {
	Key          *Key
	Algorithm    Algorithm
	Certificate  *Certificate   // of the key
	Certificates []*Certificate // more of them to put in
	BySKI        bool           // names the certificate by its key identifier, not by issuer and serial number
	Time         time.Time      // signing time; zero: left out
	Detached     bool           // the content is somewhere else
	Bare         bool           // without certificates
	Attributes   []Extension    // more signed attributes
}

// SignData makes a SignedData over a content, with its signer's certificate in it.
func SignData(s Sign, contentType, content []byte) ([]byte, error) {
	alg, err := s.Algorithm.identifier()
	if err != nil {
		return nil, err
	}
	attribute := func(oid, value []byte) []byte { return seq(object(oid), set(value)) }
	attributes := [][]byte{
		attribute(oidContentType, object(contentType)),
		attribute(oidMessageDigest, octets(digest(s.Algorithm.Hash, content))),
	}
	if !s.Time.IsZero() {
		attributes = append(attributes, attribute(oidSigningTime, moment(s.Time)))
	}
	for _, a := range s.Attributes {
		attributes = append(attributes, attribute(a.OID, a.Value))
	}
	signed := set(attributes...)
	sig, err := s.Key.Sign(s.Algorithm, signed)
	if err != nil {
		return nil, err
	}
	hash := hashIdentifier(s.Algorithm.Hash, false) // RFC 5754 2
	version, id := number(1), seq(s.Certificate.Issuer.Raw, tlv.Append(nil, tagInteger, s.Certificate.Serial...))
	if s.BySKI {
		version, id = number(3), tlv.Append(nil, 0x80, s.Certificate.SKI...)
	}
	implicit := bytes.Clone(signed)
	implicit[0] = 0xA0
	what := object(contentType)
	if !s.Detached {
		what = append(what, wrap(0xA0, octets(content))...)
	}
	parts := [][]byte{number(3), set(hash), seq(what)}
	if !s.Bare {
		all := [][]byte{s.Certificate.Raw}
		for _, c := range s.Certificates {
			all = append(all, c.Raw)
		}
		certificates := set(all...)
		certificates[0] = 0xA0
		parts = append(parts, certificates)
	}
	parts = append(parts, set(seq(version, id, hash, implicit, alg, octets(sig))))
	return seq(object(oidSignedData), wrap(0xA0, seq(parts...))), nil
}

// ParseSignedData reads a ContentInfo with a SignedData.
func ParseSignedData(der []byte) (*SignedData, error) {
	var fail error
	s := &SignedData{}
	r := open(der, &fail)
	info := r.in(tagSeq)
	r.end()
	if oid := info.oid(); fail == nil && !bytes.Equal(oid, oidSignedData) {
		fail = errors.New("it is no SignedData but " + Dotted(oid))
	}
	explicit := info.in(0xA0)
	info.end()
	t := explicit.in(tagSeq)
	explicit.end()
	s.Version = t.small(tagInteger)
	t.in(tagSet)
	content := t.in(tagSeq)
	s.ContentType = content.oid()
	if content.more() {
		e := content.in(0xA0)
		s.Content = e.value(tagOctets)
		e.end()
		content.end()
	}
	if t.is(0xA0) {
		for list := t.in(0xA0); list.more(); {
			if list.is(tagSeq) {
				s.Certificates = append(s.Certificates, parseCertificate(&list))
			} else {
				list.any() // attribute certificates and the like
			}
		}
	}
	if t.is(0xA1) {
		for list := t.in(0xA1); list.more(); {
			tag, _, raw := list.any()
			if tag != tagSeq || fail != nil {
				continue
			}
			var c *CRL
			if c, fail = ParseCRL(raw); fail == nil {
				s.CRLs = append(s.CRLs, c)
			}
		}
	}
	for list := t.in(tagSet); list.more(); {
		in := list.in(tagSeq)
		s.Signers = append(s.Signers, parseSigner(&in))
	}
	t.end()
	if fail != nil {
		return nil, malformed("SignedData", fail)
	}
	return s, nil
}

func parseSigner(r *reader) (i SignerInfo) {
	i.Version = r.small(tagInteger)
	if r.is(0x80) {
		i.SKI = r.value(0x80)
	} else {
		id := r.in(tagSeq)
		i.Issuer = parseName(&id)
		i.Serial = id.signed(tagInteger)
		id.end()
	}
	i.Digest = parseHash(r)
	if r.is(0xA0) {
		i.attributes = r.value(0xA0)
		seen := map[string]bool{}
		for list := (reader{i.attributes, r.fail}); list.more(); {
			a := list.in(tagSeq)
			oid := a.oid()
			v := a.in(tagSet)
			a.end()
			if seen[string(oid)] {
				list.err(errors.New("it has the signed attribute " + Dotted(oid) + " twice"))
			}
			seen[string(oid)] = true
			switch {
			case bytes.Equal(oid, oidContentType):
				i.contentType = v.oid()
				v.end()
			case bytes.Equal(oid, oidMessageDigest):
				i.messageDigest = v.value(tagOctets)
				v.end()
			case bytes.Equal(oid, oidSigningTime):
				i.SigningTime = v.moment()
				v.end()
			}
		}
	}
	i.Algorithm = parseAlgorithm(r)
	if i.Algorithm.Hash == 0 { // rsaEncryption, ecPublicKey
		i.Algorithm.Hash = i.Digest
	}
	i.Signature = r.value(tagOctets)
	if r.more() {
		r.in(0xA1) // unsigned attributes
		r.end()
	}
	return i
}

// Signer is the certificate that a signature names, from the SignedData or from others.
func (s *SignedData) Signer(i *SignerInfo, others ...*Certificate) *Certificate {
	for _, list := range [][]*Certificate{s.Certificates, others} {
		for _, c := range list {
			if i.SKI != nil && bytes.Equal(i.SKI, c.SKI) || i.SKI == nil && bytes.Equal(i.Serial, c.Serial) && i.Issuer.Equal(c.Issuer) {
				return c
			}
		}
	}
	return nil
}

// Verify verifies the signatures over the content, not the certificates that they name:
// it gives that of the first. others are certificates that are not in the SignedData.
func (s *SignedData) Verify(others ...*Certificate) (signer *Certificate, checks Checks) {
	if !checks.require("CMS: signature is there", len(s.Signers) > 0 && len(s.Signers) <= maxSigners, "pki: there are no signatures, or too many") {
		return nil, checks
	}
	for n := range s.Signers {
		c := s.verify(&s.Signers[n], &checks, others)
		if n == 0 {
			signer = c
		}
	}
	return signer, checks
}

const maxSigners = 8

func (s *SignedData) verify(i *SignerInfo, checks *Checks, others []*Certificate) *Certificate {
	message := s.Content
	if checks.require("CMS: signed attributes", i.attributes != nil || bytes.Equal(s.ContentType, oidData), "pki: they are not there, and the content is not data (RFC 5652 5.3)") && i.attributes != nil {
		checks.require("CMS: content type", bytes.Equal(i.contentType, s.ContentType), "pki: the attribute says ", Dotted(i.contentType), ", the content is ", Dotted(s.ContentType))
		switch {
		case i.Digest == 0:
			checks.add("CMS: message digest", errors.New("pki: the hash function is not known"))
		default:
			checks.require("CMS: message digest", bytes.Equal(i.messageDigest, digest(i.Digest, s.Content)), "pki: the signed hash value is not that of the content")
		}
		message = tlv.Append(nil, tagSet, i.attributes...)
	}
	c := s.Signer(i, others...)
	if !checks.require("CMS: signer's certificate", c != nil, "pki: the certificate that the signature names is not there") {
		return nil
	}
	err := c.KeyErr
	if err == nil && i.attributes == nil && i.Algorithm.Hash != i.Digest { // with attributes, documents are that have two
		err = errors.New("pki: the signature is made with " + i.Algorithm.Hash.String() + " and the digest with " + i.Digest.String())
	}
	if err == nil {
		err = c.Key.Verify(i.Algorithm, message, i.Signature)
	}
	checks.add("CMS: signature", err)
	return c
}

var oidData = OID("1.2.840.113549.1.7.1")

// BuildMasterList is the content of a master list: certificates of CSCAs, among them
// that of the one over the list's signer (Doc 9303-12 9.2).
func BuildMasterList(certificates ...*Certificate) []byte {
	var all [][]byte
	for _, c := range certificates {
		all = append(all, c.Raw)
	}
	return seq(number(0), set(all...))
}

// ParseMasterList reads the content of a master list. Certificates that cannot be read
// do not spoil the others: skipped tells how many there were.
func ParseMasterList(der []byte) (certificates []*Certificate, skipped int, err error) {
	var fail error
	r := open(der, &fail)
	in := r.in(tagSeq)
	r.end()
	in.small(tagInteger)
	for list := in.in(tagSet); list.more(); {
		raw := list.raw(tagSeq)
		if fail != nil {
			break
		}
		if c, err := ParseCertificate(raw); err == nil {
			certificates = append(certificates, c)
		} else {
			skipped++
		}
	}
	in.end()
	return certificates, skipped, malformed("master list", fail)
}
