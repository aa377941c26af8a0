package piv

import (
	"crypto"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// slotAttestation holds the key that attests others; its certificate is object 5FFF01
// (vendor).
const (
	slotAttestation          = 0xF9
	tagAttestation   tlv.Tag = 0x5FFF01
	attestationNames         = "1.3.6.1.4.1.41482.3." // extensions: 3 version, 7 serial number, 8 policies
)

// attest is ATTEST (vendor): a certificate that says that the key of a slot was made on
// the card. P1 is the slot.
func (c *Card) attest(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if !isSlot(cmd.P1) || cmd.P2 != 0 {
		return apdu.WrongP1P2
	}
	k, ok := loadKey(cmd.P1)
	own, there := loadKey(slotAttestation)
	object, _ := sdk.NVM.Get(objectKey(tagAttestation))
	cert, err := tlv.Find(object, 0x70)
	switch {
	case !ok, !there, err != nil:
		return apdu.ReferencedDataNotFound
	case k.origin != originGenerated, own.alg != algP256:
		return apdu.WrongData
	}
	above, err := pki.ParseCertificate(cert)
	if err != nil {
		return apdu.WrongData
	}
	signer, err1 := pki.ECKey(ec.P256, own.secret)
	public, err2 := k.certified()
	if err1 != nil || err2 != nil {
		return apdu.WrongData // Ed25519 and X25519 among others
	}
	version, _ := sdk.NVM.Get("version")
	serial, _ := sdk.NVM.Get("serial")
	i := &pki.Issuer{Key: signer, Algorithm: pki.Algorithm{Scheme: pki.ECDSA, Hash: crypto.SHA256}, Form: pki.Named, Certificate: above}
	const digits = "0123456789abcdef"
	out, err := i.Issue(pki.Request{
		Profile: pki.Plain, Subject: subject("PIV Attestation " + string([]byte{digits[cmd.P1>>4], digits[cmd.P1&15]})), Key: public,
		From: above.NotBefore, To: above.NotAfter.Truncate(time.Second),
		Extensions: []pki.Extension{
			{OID: pki.OID(attestationNames + "3"), Value: version},
			{OID: pki.OID(attestationNames + "7"), Value: tlv.Append(nil, 0x02, append([]byte{0}, serial...)...)},
			{OID: pki.OID(attestationNames + "8"), Value: []byte{k.pin, k.touch}},
		},
	})
	if err != nil {
		return apdu.NoPreciseDiagnosis
	}
	r.Append(out.Raw)
	return apdu.OK
}

// certified is the public key as a certificate has it.
func (k key) certified() (pki.PublicKey, error) {
	if rsaBits(k.alg) > 0 {
		r, err := k.rsa()
		if err != nil {
			return pki.PublicKey{}, err
		}
		return pki.PublicKey{RSA: rsakey.PublicKey{Modulus: r.Modulus, Exponent: r.Exponent}}, nil
	}
	c := map[byte]*ec.Curve{algP256: ec.P256, algP384: ec.P384}[k.alg]
	if c == nil {
		return pki.PublicKey{}, errKey
	}
	p, err := c.Base(k.secret)
	if err != nil {
		return pki.PublicKey{}, err
	}
	return pki.ECPublicKey(c, p.Bytes())
}
