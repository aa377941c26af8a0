package piv

import (
	"crypto"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// maker makes what an issuer of PIV cards has: all of it follows from the seed.
type maker struct {
	pki.Maker
	from, to time.Time
}

func newMaker(seed, expires string) (m maker, err error) {
	m.Maker = pki.Maker{Seed: []byte("piv " + seed), Generate: sdk.GenerateRSA, Power: sdk.ModExp}
	if m.to, err = time.Parse("20060102", expires); err == nil {
		m.from = m.to.AddDate(-10, 0, 0)
	}
	return m, err
}

// root is an authority of its own, with a certificate that it signed itself.
func (m maker) root(name string, c *ec.Curve, h crypto.Hash) (*pki.Issuer, error) {
	k, err := m.EC(name, c)
	if err != nil {
		return nil, err
	}
	i := &pki.Issuer{Key: k, Algorithm: pki.Algorithm{Scheme: pki.ECDSA, Hash: h}, Form: pki.Named}
	_, err = i.Issue(pki.Request{Profile: pki.Plain, Authority: true, Subject: subject(name), Key: k.PublicKey, From: m.from, To: m.to})
	return i, err
}

func subject(name string) pki.Name { return pki.MakeName(map[string]string{"O": "sspemu", "CN": name}) }

// container is the content of a certificate object (part 1 table 10): certificate, not
// compressed.
func container(cert []byte, more ...byte) []byte {
	b := tlv.Append(tlv.Append(nil, 0x70, cert...), 0x71, 0)
	return append(append(b, more...), 0xFE, 0)
}

// secureMessaging makes the key of a suite, its card verifiable certificate and that of
// its signer (part 2 4.1.2; the layout is that of public implementations, unverified).
func (m maker) secureMessaging(s *suite, guid []byte) (key, cvc, signer []byte, err error) {
	i, err := m.root("PIV Secure Messaging Signer "+s.name, s.curve, s.hash)
	if err != nil {
		return nil, nil, nil, err
	}
	key = s.curve.Scalar(m.Secret("sm/"+s.name, s.curve.OrderSize()+16))
	point, err := s.curve.Base(key)
	if err != nil {
		return nil, nil, nil, err
	}
	body := tlv.Append(nil, 0x5F29, 0x80)
	body = tlv.Append(body, 0x42, i.Certificate.SKI[len(i.Certificate.SKI)-8:]...)
	body = tlv.Append(body, 0x5F20, guid...)
	public := tlv.Append(nil, 0x06, s.curve.OID...)
	body = tlv.Append(body, 0x7F49, tlv.Append(public, 0x86, point.Bytes()...)...)
	body = tlv.Append(body, 0x5F4C, 0x00)
	sig, err := i.Key.Sign(i.Algorithm, body)
	if err != nil {
		return nil, nil, nil, err
	}
	oid := map[crypto.Hash]string{crypto.SHA256: "1.2.840.10045.4.3.2", crypto.SHA384: "1.2.840.10045.4.3.3"}[s.hash]
	value := tlv.Append(nil, 0x30, tlv.Append(nil, 0x06, pki.OID(oid)...)...)
	value = tlv.Append(value, 0x03, append([]byte{0}, sig...)...)
	body = tlv.Append(body, 0x5F37, tlv.Append(nil, 0x30, value...)...)
	return key, tlv.Append(nil, 0x7F21, body...), i.Certificate.Raw, nil
}

// attester makes the key in slot F9 and its certificate.
func (m maker) attester() (key, cert []byte, err error) {
	i, err := m.root("PIV Attestation Root", ec.P256, crypto.SHA256)
	if err != nil {
		return nil, nil, err
	}
	d := ec.P256.Scalar(m.Secret("f9", ec.P256.OrderSize()+16))
	k, err := pki.ECKey(ec.P256, d)
	if err != nil {
		return nil, nil, err
	}
	c, err := i.Issue(pki.Request{Profile: pki.Plain, Authority: true, Subject: subject("PIV Attestation"), Key: k.PublicKey, From: m.from, To: m.to})
	if err != nil {
		return nil, nil, err
	}
	return d, c.Raw, nil
}
