package ca

import (
	"crypto/x509"
	"errors"

	"github.com/sspemu/sspemu/internal/tlv"
)

// A certs-only message is a CMS SignedData without content and signers (RFC 5272 3.1, RFC
// 5652 5.1), of version 1:
//
//	ContentInfo { signedData, [0] SignedData {
//	  version, digestAlgorithms {}, encapContentInfo { data }, [0] certificates, signerInfos {} } }

// Contents octets of object identifiers.
var (
	oidSignedData = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02} // 1.2.840.113549.1.7.2
	oidData       = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01} // 1.2.840.113549.1.7.1
)

const (
	tagInteger  tlv.Tag = 0x02
	tagOID      tlv.Tag = 0x06
	tagSequence tlv.Tag = 0x30
	tagSet      tlv.Tag = 0x31
	tagContext0 tlv.Tag = 0xA0
)

// CertsOnly puts certificates into a certs-only message, DER.
func CertsOnly(certs ...*x509.Certificate) []byte {
	b, info := tlv.Begin(nil, tagSequence)
	b = tlv.Append(b, tagOID, oidSignedData...)
	b, explicit := tlv.Begin(b, tagContext0)
	b, signed := tlv.Begin(b, tagSequence)
	b = tlv.Append(b, tagInteger, 1)
	b = tlv.Append(b, tagSet)
	b, content := tlv.Begin(b, tagSequence)
	b = tlv.Append(b, tagOID, oidData...)
	b = tlv.End(b, content)
	b, list := tlv.Begin(b, tagContext0)
	for _, c := range certs {
		b = append(b, c.Raw...)
	}
	b = tlv.End(b, list)
	b = tlv.Append(b, tagSet)
	return tlv.End(tlv.End(tlv.End(b, signed), explicit), info)
}

var errCertsOnly = errors.New("that is no certs-only message (CMS SignedData with certificates)")

// ParseCertsOnly takes the certificates out of a certs-only message.
func ParseCertsOnly(der []byte) ([]*x509.Certificate, error) {
	t, info, rest, err := tlv.Next(der)
	if err != nil || t != tagSequence || len(rest) > 0 {
		return nil, errCertsOnly
	}
	if id, err := tlv.Find(info, tagOID); err != nil || string(id) != string(oidSignedData) {
		return nil, errCertsOnly
	}
	signed, err := tlv.Path(info, tagContext0, tagSequence)
	if err != nil {
		return nil, errCertsOnly
	}
	list, err := tlv.Find(signed, tagContext0)
	if err != nil || len(list) == 0 {
		return nil, errCertsOnly
	}
	certs, err := x509.ParseCertificates(list)
	if err != nil || len(certs) == 0 {
		return nil, errCertsOnly
	}
	return certs, nil
}
