package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Bits of AIP, TVR and TSI (Book 3 annex C).
const (
	aipSDA, aipDDA, aipCVM, aipIssuer, aipCDA = 0x40, 0x20, 0x10, 0x04, 0x01

	tvr1NotPerformed, tvr1SDA, tvr1Missing, tvr1DDA, tvr1CDA, tvr1Selected = 0x80, 0x40, 0x20, 0x08, 0x04, 0x02

	tsiODA, tsiCVM, tsiCard, tsiIssuer, tsiRisk, tsiScript = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04
)

// authenticate is offline data authentication (Book 3 10.3): CDA before DDA before SDA.
func (r *run) authenticate(ctx context.Context) error {
	var err error
	bit := byte(0)
	switch {
	case r.aip[0]&aipCDA != 0:
		r.res.ODA, bit = "CDA", tvr1CDA
		if err = r.recoverICC(); err == nil {
			r.combine = true // performed with GENERATE AC
			r.note("Combined DDA and application cryptogram", "the certificates are right; the signature comes with GENERATE AC")
			return nil
		}
	case r.aip[0]&aipDDA != 0:
		r.res.ODA, bit = "DDA", tvr1DDA
		if err = r.recoverICC(); err == nil {
			err = r.dynamic(ctx)
		}
	case r.aip[0]&aipSDA != 0:
		r.res.ODA, bit = "SDA", tvr1SDA
		r.tvr[0] |= tvr1Selected
		err = r.staticAuthentication()
	default:
		r.tvr[0] |= tvr1NotPerformed
		r.note("Offline data authentication", "the card supports none")
		return nil
	}
	r.tsi[0] |= tsiODA
	if err != nil {
		r.tvr[0] |= bit
	}
	return r.goOn("Offline data authentication", err)
}

// goOn keeps what is wrong with a card for the result instead of stopping there, when the
// terminal is to go on: what the TVR has a bit for is not an end in a shop. What ends a
// transaction there as well, like an answer that is none, comes through.
func (r *run) goOn(title string, err error) error {
	var e *Error
	if err == nil || !r.GoOn || !errors.As(err, &e) || e.fatal {
		return err
	}
	r.res.Wrong = append(r.res.Wrong, e.Error())
	r.note(title, "WRONG: "+e.Error(), "goes on")
	return nil
}

// authenticateQuietly says how far the certificates of a card that is only read are
// right.
func (r *run) authenticateQuietly(context.Context) {
	var err error
	switch {
	case r.data[0x9F46] != nil:
		err = r.recoverICC()
	case r.data[0x93] != nil:
		err = r.staticAuthentication()
	case r.data[0x90] != nil:
		_, err = r.recoverIssuer()
	default:
		r.note("Certificates", "the card has none")
		return
	}
	if err != nil {
		r.note("Certificates", "not verified: "+err.Error())
	}
}

func (r *run) recoverIssuer() (oda.PublicKey, error) {
	if err := r.missing(0x8F, 0x90, 0x9F32); err != nil {
		return oda.PublicKey{}, err
	}
	if len(r.aid) < 5 || len(r.data[0x8F]) != 1 {
		return oda.PublicKey{}, wrong("EMV Book 2 6.2", "no RID or no index of one byte")
	}
	ca, ok := r.Authority([5]byte(r.aid[:5]), r.data[0x8F][0])
	if !ok {
		return oda.PublicKey{}, wrong("EMV Book 2 6.2", "the terminal does not hold the key %02X of the certification authority of RID %X (--ca FILE)", r.data[0x8F][0], r.aid[:5])
	}
	if r.data[0x92] == nil && longer(ca, r.data[0x90], 13, 36) {
		return oda.PublicKey{}, r.missing(0x92)
	}
	c, err := oda.RecoverIssuer(oda.Soft, ca, r.data[0x90], r.data[0x92], r.data[0x9F32], r.pan(), r.today())
	if err != nil {
		return oda.PublicKey{}, &Error{Clause: "offline data authentication", What: err.Error()}
	}
	r.note("Issuer certificate", fmt.Sprintf("issuer %s, key of %d bits, serial %X, expires %02X/%02X", c.Identifier, 8*len(c.Key.Modulus), c.Serial, c.Expires[0], c.Expires[1]))
	return c.Key, nil
}

// missing says which of the data elements is not there, and sets the bit of the TVR
// (Book 3 table 35).
func (r *run) missing(tags ...emv.Tag) error {
	for _, t := range tags {
		if r.data[t] == nil {
			r.tvr[0] |= tvr1Missing
			return wrong("EMV Book 3 7.5", "%s (%X) is missing", emv.Name(t), uint32(t))
		}
	}
	return nil
}

// longer tells whether a certificate says that its key does not fit into it: its length
// is the byte at, and the certificate has fixed bytes beside the key (Book 2 6.3, 6.4).
// Then there is a remainder.
func longer(key oda.PublicKey, certificate []byte, at, fixed int) bool {
	b, err := key.Apply(oda.Soft, certificate)
	return err == nil && len(b) > fixed && b[0] == 0x6A && b[len(b)-1] == 0xBC && int(b[at]) > len(b)-fixed
}

// staticData is what SDA and the ICC certificate sign: the records, and the AIP when
// the tag list says so (Book 3 10.3).
func (r *run) staticData() ([]byte, error) {
	if r.foreign != nil {
		return nil, r.foreign
	}
	b := r.static
	if l := r.data[0x9F4A]; len(l) > 0 {
		if !bytes.Equal(l, []byte{0x82}) {
			return nil, wrong("EMV Book 3 10.3", "the static data authentication tag list holds more than 82")
		}
		b = append(b[:len(b):len(b)], r.data[0x82]...)
	}
	return b, nil
}

func (r *run) staticAuthentication() error {
	static, err := r.staticData()
	if err != nil {
		return err
	}
	issuer, err := r.recoverIssuer()
	if err != nil {
		return err
	}
	if err := r.missing(0x93); err != nil {
		return err
	}
	code, err := oda.VerifyStatic(oda.Soft, issuer, r.data[0x93], static)
	if err != nil {
		return &Error{Clause: "offline data authentication", What: err.Error()}
	}
	r.data[0x9F45], r.data[0x9F22] = code[:], r.data[0x8F]
	r.note("Static data authentication", fmt.Sprintf("right; data authentication code %X", code))
	return nil
}

func (r *run) recoverICC() error {
	static, err := r.staticData()
	if err != nil {
		return err
	}
	issuer, err := r.recoverIssuer()
	if err != nil {
		return err
	}
	if err := r.missing(0x9F46, 0x9F47); err != nil {
		return err
	}
	if r.data[0x9F48] == nil && longer(issuer, r.data[0x9F46], 19, 42) {
		return r.missing(0x9F48)
	}
	c, err := oda.RecoverICC(oda.Soft, issuer, r.data[0x9F46], r.data[0x9F48], r.data[0x9F47], static, r.pan(), r.today())
	if err != nil {
		return &Error{Clause: "offline data authentication", What: err.Error()}
	}
	r.icc, r.pinKey = &c.Key, &c.Key
	r.note("ICC certificate", fmt.Sprintf("PAN %s, key of %d bits, serial %X, expires %02X/%02X", emv.MaskPAN(c.PAN), 8*len(c.Key.Modulus), c.Serial, c.Expires[0], c.Expires[1]))
	if cert := r.data[0x9F2D]; cert != nil { // Book 2 7.1
		p, err := oda.RecoverICC(oda.Soft, issuer, cert, r.data[0x9F2F], r.data[0x9F2E], nil, r.pan(), r.today())
		if err != nil {
			return &Error{Clause: "PIN encipherment certificate", What: err.Error()}
		}
		r.pinKey = &p.Key
		r.note("PIN encipherment certificate", fmt.Sprintf("key of %d bits", 8*len(p.Key.Modulus)))
	}
	return nil
}

// dynamic is INTERNAL AUTHENTICATE (Book 2 6.5).
func (r *run) dynamic(ctx context.Context) error {
	list := r.data[0x9F49]
	if list == nil {
		list = []byte{0x9F, 0x37, 0x04} // the default DDOL
	}
	ddol, err := emv.ParseDOL(list)
	if err != nil {
		return wrong("EMV Book 3 5.4", "the DDOL: %v", err)
	}
	asks := false
	for _, e := range ddol {
		asks = asks || e.Tag == 0x9F37
	}
	if !asks {
		return wrong("EMV Book 2 6.5.1", "the DDOL does not ask for an unpredictable number")
	}
	sent := r.fill(ddol)
	return r.send(ctx, "INTERNAL AUTHENTICATE", apdu.Command{INS: 0x88, Data: sent, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return nil, fatal(unexpected("EMV Book 2 6.5.1", "INTERNAL AUTHENTICATE", sw))
		}
		signed, err := tlv.Find(data, 0x80)
		if err != nil {
			signed, err = tlv.Path(data, 0x77, 0x9F4B)
		}
		if err != nil {
			return nil, fatal(wrong("EMV Book 3 6.5.9.4", "the answer has no signed dynamic application data"))
		}
		d, err := oda.VerifyDynamic(oda.Soft, *r.icc, signed, sent)
		if err != nil {
			return nil, &Error{Clause: "offline data authentication", What: err.Error()}
		}
		if n := int(d[0]); n < 2 || n > 8 || n >= len(d) { // never empty
			return nil, wrong("EMV Book 2 6.5.1", "the ICC dynamic number has %d bytes, not 2 to 8", n)
		}
		r.data[0x9F4C], r.data[0x9F22] = d[1:1+int(d[0])], r.data[0x8F]
		return []string{fmt.Sprintf("the signature is right; ICC dynamic number %X", r.data[0x9F4C])}, nil
	})
}

// combined checks the signature of GENERATE AC (Book 2 6.6.2) and gives the cryptogram.
// rest is the data of the response but for 9F4B, as they came.
func (r *run) combined(signed []byte, cid byte, rest []byte, second bool) (ac []byte, err error) {
	c, err := oda.VerifyCombined(oda.Soft, *r.icc, signed, r.data[0x9F37])
	if err != nil {
		return nil, &Error{Clause: "offline data authentication", What: err.Error()}
	}
	if c.CID != cid {
		return nil, wrong("EMV Book 2 6.6.2 step 6", "the signed cryptogram information data %02X are not those of the answer, %02X", c.CID, cid)
	}
	parts := [][]byte{r.fromPDO, r.cdol1}
	if second {
		parts = append(parts, r.cdol2)
	}
	if sum := oda.Hash(append(parts, rest)...); sum != c.Hash {
		return nil, wrong("EMV Book 2 6.6.2 step 11", "the hash of the transaction data differs")
	}
	if r.relay != nil && !bytes.Equal(c.More, r.relay) {
		return nil, wrong("EMV Contactless Book C-2 S9.32", "the signed relay resistance data are not those that were exchanged")
	}
	r.data[0x9F4C], r.data[0x9F22] = c.Number, r.data[0x8F]
	return c.AC[:], nil
}
