package piv

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Object identifiers of PIV (FIPS 201, SP 800-73-4 part 1 appendix, RFC 3739 style names of
// the federal PKI's certificate profiles).
var (
	OIDCHUID          = pki.OID("2.16.840.1.101.3.6.1") // content type of the signature of the CHUID
	OIDSigner         = pki.OID("2.16.840.1.101.3.6.5") // signed attribute: name of the signer
	OIDFASCN          = "2.16.840.1.101.3.6.6"          // alternative name: FASC-N
	OIDContentSigning = pki.OID("2.16.840.1.101.3.6.7") // purpose: signs CHUIDs and security objects
	OIDCardAuth       = pki.OID("2.16.840.1.101.3.6.8") // purpose: card authentication

	oidSHA256      = pki.OID("2.16.840.1.101.3.4.2.1")
	oidAltName     = pki.OID("2.5.29.17")
	oidExtKeyUsage = pki.OID("2.5.29.37")
)

// Containers are the identifiers of data objects in the security object (part 1 table 7).
var Containers = map[tlv.Tag]uint16{
	tagCCC: 0xDB00, tagCHUID: 0x3000, 0x5FC105: 0x0101, tagFingerprints: 0x6010, tagSecurity: 0x9000, tagFace: 0x6030,
	tagPrinted: 0x3001, tagCardCert: 0x0500, 0x5FC10A: 0x0100, 0x5FC10B: 0x0102, tagHistory: 0x6060, tagIris: 0x1015,
}

// CertificateOf is the data object with the certificate of a slot (part 1 table 3); 0:
// the slot has none.
func CertificateOf(slot byte) tlv.Tag {
	switch {
	case slot == slotAuthentication:
		return 0x5FC105
	case slot == slotSignature:
		return 0x5FC10A
	case slot == slotKeyManagement:
		return 0x5FC10B
	case slot == slotCard:
		return tagCardCert
	case slot >= slotRetiredFirst && slot <= slotRetiredLast:
		return 0x5FC10D + tlv.Tag(slot-slotRetiredFirst)
	}
	return 0
}

// issuing is the authority that issues the certificates of the card.
func (m maker) issuing() (*pki.Issuer, error) {
	return m.root("PIV Issuing CA", ec.P256, crypto.SHA256)
}

// Anchor is the certificate of the authority of a persona's section "piv".
func Anchor(d *sdk.Doc, seed string) ([]byte, error) {
	m, err := newMaker(seed, d.Get("expires").Text())
	if err != nil {
		return nil, err
	}
	m.Generate, m.Power = rsakey.Generate, rsakey.ModExp
	i, err := m.issuing()
	if err != nil {
		return nil, err
	}
	return i.Certificate.Raw, nil
}

// issued puts keys and certificates on the card, and what the issuer signs.
func (m maker) issued(d *sdk.Doc, guid []byte, put func(string, []byte)) error {
	objects := map[tlv.Tag][]byte{tagCCC: ccc(guid), tagCHUID: chuid(guid, d.Get("expires").Text())}
	defects := map[string]bool{}
	for _, w := range d.Get("defects").Items() {
		defects[w.Text()] = true
	}
	if defects["chuid-guid"] {
		other := append([]byte(nil), guid...)
		other[15] ^= 1
		objects[tagCHUID] = chuid(other, d.Get("expires").Text())
	}
	if p := d.Get("printed"); p.Exists() {
		objects[tagPrinted] = printed(p, m.to)
	}
	keys, signed := d.Get("keys"), d.Get("signed").Exists() && d.Get("signed").Bool()
	var ca *pki.Issuer
	if keys.Exists() || signed {
		var err error
		if ca, err = m.issuing(); err != nil {
			return d.Refuse("issuing CA: " + err.Error())
		}
	}
	retired := byte(0)
	for _, k := range keys.Items() {
		slot := k.Get("slot").Hex()[0]
		if _, twice := objects[CertificateOf(slot)]; twice {
			return k.Get("slot").Refuse("is that of another key")
		}
		secret, cert, err := m.keyOf(k, slot, guid, ca)
		if err != nil {
			return k.Refuse(err.Error())
		}
		put(keyName(slot), secret)
		objects[CertificateOf(slot)] = container(cert)
		if slot >= slotRetiredFirst && slot <= slotRetiredLast {
			retired++
		}
	}
	if retired > 0 {
		objects[tagHistory] = []byte{0xC1, 1, retired, 0xC2, 1, 0, 0xFE, 0}
	}
	if signed {
		if err := m.sign(ca, objects, defects); err != nil {
			return d.Get("signed").Refuse(err.Error())
		}
	}
	for t, v := range objects {
		put(objectKey(t), v)
	}
	return nil
}

// day of a key, or otherwise.
func day(d *sdk.Doc, otherwise time.Time) (time.Time, error) {
	if !d.Exists() {
		return otherwise, nil
	}
	return time.Parse("20060102", d.Text())
}

// keyOf makes the key of a slot, as NVM has it, and its certificate.
func (m maker) keyOf(k *sdk.Doc, slot byte, guid []byte, ca *pki.Issuer) (secret, cert []byte, err error) {
	from, err1 := day(k.Get("from"), m.from)
	to, err2 := day(k.Get("to"), m.to)
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, errors.New("has a date that is none")
	}
	algorithm := k.Get("algorithm").Text()
	const digits = "0123456789abcdef"
	name := "slot " + string([]byte{digits[slot>>4], digits[slot&15]})
	key, public, err := m.pair(algorithm, name)
	if err != nil {
		return nil, nil, err
	}
	key.pin, key.touch, key.origin = pinOnce, touchNever, originImported
	switch slot {
	case slotSignature:
		key.pin = pinAlways
	case slotCard:
		key.pin = pinNever
	}
	defect := ""
	if w := k.Get("defect"); w.Exists() {
		defect = w.Text()
	}
	switch defect {
	case "other-key":
		if _, public, err = m.pair(algorithm, name+" of another"); err != nil {
			return nil, nil, err
		}
	case "other-guid":
		guid = append([]byte(nil), guid...)
		guid[0] ^= 0x80
	case "unknown-issuer":
		other := m
		other.Seed = append(append([]byte(nil), m.Seed...), "/other"...)
		if ca, err = other.issuing(); err != nil {
			return nil, nil, err
		}
	}
	r := pki.Request{Profile: pki.Plain, Subject: subject(map[byte]string{slotCard: "PIV Card " + digitsOf(guid[:4])}[slot]), Key: public, From: from, To: to}
	if slot != slotCard {
		r.Subject = subject("PIV Card Holder " + digitsOf(guid[:4]))
	}
	switch {
	case slot == slotSignature:
		r.Usage = pki.DigitalSignature | pki.NonRepudiation
	case slot != slotAuthentication && slot != slotCard && strings.HasPrefix(algorithm, "RSA"):
		r.Usage = pki.KeyEncipherment
	case slot != slotAuthentication && slot != slotCard:
		r.Usage = pki.KeyAgreement
	}
	if slot == slotAuthentication || slot == slotCard {
		r.Extensions = append(r.Extensions, pki.Extension{OID: oidAltName, Value: alternative(guid)})
	}
	if slot == slotCard {
		r.Extensions = append(r.Extensions, pki.Extension{OID: oidExtKeyUsage, Critical: true, Value: tlv.Append(nil, 0x30, tlv.Append(nil, 0x06, OIDCardAuth...)...)})
	}
	c, err := ca.Issue(r)
	if err != nil {
		return nil, nil, err
	}
	cert = c.Raw
	if defect == "wrong-signature" {
		cert = append([]byte(nil), cert...)
		cert[len(cert)-1] ^= 1
	}
	return append([]byte{key.alg, key.pin, key.touch, key.origin}, key.secret...), cert, nil
}

func digitsOf(b []byte) string { return hex.EncodeToString(b) }

// pair makes a key of the seed.
func (m maker) pair(algorithm, name string) (k key, public pki.PublicKey, err error) {
	switch algorithm {
	case "P-256", "P-384":
		c, alg := ec.P256, byte(algP256)
		if algorithm == "P-384" {
			c, alg = ec.P384, algP384
		}
		k = key{alg: alg, secret: c.Scalar(m.Secret("key/"+algorithm+"/"+name, c.OrderSize()+16))}
	default:
		bits, alg := 2048, byte(algRSA2048)
		if algorithm == "RSA-3072" {
			bits, alg = 3072, algRSA3072
		}
		p, q, err := m.Generate(m.Secret("key/"+algorithm+"/"+name, 32), bits, exponent)
		if err != nil {
			return k, public, err
		}
		k = key{alg: alg, secret: append(p, q...)}
	}
	public, err = k.certified()
	return k, public, err
}

// alternative is the subject alternative name: FASC-N and card UUID (RFC 4122 in a URI).
func alternative(guid []byte) []byte {
	other := tlv.Append(nil, 0x06, pki.OID(OIDFASCN)...)
	other = tlv.Append(other, 0xA0, tlv.Append(nil, 0x04, fascn...)...)
	b := tlv.Append(nil, 0xA0, other...)
	return tlv.Append(nil, 0x30, tlv.Append(b, 0x86, []byte("urn:uuid:"+UUID(guid))...)...)
}

// UUID is the card UUID as RFC 9562 writes it.
func UUID(guid []byte) string {
	h := hex.EncodeToString(guid)
	if len(h) != 32 {
		return h
	}
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// printed is the printed information (part 1 table 14).
func printed(p *sdk.Doc, to time.Time) []byte {
	text := func(name string) []byte {
		if v := p.Get(name); v.Exists() {
			return []byte(v.Text())
		}
		return nil
	}
	b := tlv.Append(nil, 0x01, text("name")...)
	b = tlv.Append(b, 0x02, text("affiliation")...)
	b = tlv.Append(b, 0x04, []byte(strings.ToUpper(to.Format("2006Jan02")))...)
	b = tlv.Append(b, 0x05, text("serial")...)
	b = tlv.Append(b, 0x06, text("issuer")...)
	return append(b, 0xFE, 0)
}

// sign makes the signature of the CHUID (part 1 3.1.2) and the security object (3.1.7):
// the hash values of objects that have no signature of their own.
func (m maker) sign(ca *pki.Issuer, objects map[tlv.Tag][]byte, defects map[string]bool) error {
	k, err := m.EC("PIV Content Signer", ec.P256)
	if err != nil {
		return err
	}
	c, err := ca.Issue(pki.Request{Profile: pki.Plain, Subject: subject("PIV Content Signer"), Key: k.PublicKey, From: m.from, To: m.to,
		Extensions: []pki.Extension{{OID: oidExtKeyUsage, Critical: true, Value: tlv.Append(nil, 0x30, tlv.Append(nil, 0x06, OIDContentSigning...)...)}}})
	if err != nil {
		return err
	}
	s := pki.Sign{Key: k, Algorithm: pki.Algorithm{Scheme: pki.ECDSA, Hash: crypto.SHA256}, Certificate: c, Detached: true,
		Attributes: []pki.Extension{{OID: OIDSigner, Value: c.Subject.Raw}}}
	all := objects[tagCHUID]
	body := all[:len(all)-4] // without signature and error detection code; the latter is signed as well
	sig, err := pki.SignData(s, OIDCHUID, append(append([]byte(nil), body...), 0xFE, 0))
	if err != nil {
		return err
	}
	if defects["chuid-signature"] {
		sig[len(sig)-1] ^= 1
	}
	objects[tagCHUID] = append(tlv.Append(append([]byte(nil), body...), 0x3E, sig...), 0xFE, 0)

	o := &lds.SecurityObject{Hash: oidSHA256}
	var mapping []byte
	for _, t := range []tlv.Tag{tagCCC, tagPrinted, tagHistory} {
		v, ok := objects[t]
		if !ok {
			continue
		}
		h := sha256.Sum256(v)
		if defects["object-hash"] {
			h[0] ^= 1
		}
		n := len(o.Groups) + 1
		o.Groups = append(o.Groups, lds.GroupHash{Group: n, Hash: h[:]})
		mapping = append(mapping, byte(n), byte(Containers[t]>>8), byte(Containers[t]))
	}
	s.Detached, s.Bare, s.Attributes = false, true, nil // the certificate is in the CHUID
	sig, err = pki.SignData(s, lds.OIDSecurityObject, o.Build())
	if err != nil {
		return err
	}
	if defects["object-signature"] {
		sig[len(sig)-1] ^= 1
	}
	objects[tagSecurity] = append(tlv.Append(tlv.Append(nil, 0xBA, mapping...), 0xBB, sig...), 0xFE, 0)
	return nil
}
