package terminal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/bits"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// contactless is a transaction in the field of a reader, in the style of the kernel
// that the card names (Book B 3.3.2.6: the low six bits of an international one).
func (r *run) contactless(ctx context.Context, c candidate) error {
	kernel := r.Kernel
	if kernel == 0 {
		kernel = c.kernel
	}
	switch kernel {
	case 2:
		return r.kernel2(ctx)
	case 3:
		return r.kernel3(ctx)
	}
	return wrong("EMV Contactless Book B 3.3.2.6", "the card names kernel %d, the reader has the styles of 2 and 3 (--kernel)", kernel)
}

// kernel3 has its cryptogram with GET PROCESSING OPTIONS (Book C-3 5.4; recalled,
// unverified).
func (r *run) kernel3(ctx context.Context) error {
	cmd, err := r.optionsCommand()
	if err != nil {
		return err
	}
	err = r.send(ctx, "GET PROCESSING OPTIONS", cmd, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw == apdu.ConditionsNotSatisfied {
			return nil, skip{unexpected("EMV Contactless Book C-3 5.4", "GET PROCESSING OPTIONS", sw)}
		}
		if sw != apdu.OK {
			return nil, unexpected("EMV Contactless Book C-3 5.4", "GET PROCESSING OPTIONS", sw)
		}
		v, err := tlv.Find(data, 0x77)
		if err != nil {
			return nil, wrong("EMV Contactless Book C-3 5.4", "the answer is not of format 2")
		}
		if err := r.keep(v, nil, "EMV Contactless Book C-3 5.4"); err != nil {
			return nil, err
		}
		for _, t := range []emv.Tag{0x82, 0x9F10, 0x9F26, 0x9F36} {
			if r.data[t] == nil {
				return nil, wrong("EMV Contactless Book C-3 5.4", "%s (%X) is missing", emv.Name(t), uint32(t))
			}
		}
		copy(r.aip[:], r.data[0x82])
		cid := byte(arqc)
		if c := r.data[0x9F27]; len(c) == 1 {
			cid = c[0]
		} else if iad := r.data[0x9F10]; len(iad) > 4 { // as the card verification results have it
			cid = iad[4] << 2 & 0xC0
		}
		r.res.CID, r.res.AC = cid, r.data[0x9F26]
		if a := r.data[0x9F36]; len(a) == 2 {
			r.res.ATC = uint16(a[0])<<8 | uint16(a[1])
		}
		return append([]string{emv.CryptogramName(cid)}, emv.Words(0x9F6C, r.data[0x9F6C])...), nil
	})
	if err != nil {
		return err
	}
	if len(r.data[0x94]) > 0 {
		if err := r.records(ctx); err != nil {
			return err
		}
	}
	r.res.PAN = emv.MaskPAN(r.pan())
	if r.ReadOnly {
		r.res.Outcome = OnlyRead
		return nil
	}
	var err1 error
	if signed := r.data[0x9F4B]; signed != nil {
		r.res.ODA = "fDDA"
		if err1 = r.fastDynamic(signed); err1 != nil {
			r.tvr[0] |= tvr1DDA
		}
	} else if r.res.CID&0xC0 == tc {
		err1 = wrong("EMV Contactless Book C-3 5.6", "an approval without signed dynamic application data")
	}
	r.broken = err1 != nil
	if err := r.goOn("fast DDA", err1); err != nil {
		return err
	}
	if err := r.qualifiers(); err != nil {
		return err
	}
	return r.concludeContactless(ctx, r.fromPDO)
}

// qualifiers is what the card wants of the reader: how the cardholder is verified, and
// what becomes of an approval that is not good (Book C-3 5.5 to 5.7; recalled,
// unverified).
func (r *run) qualifiers() error {
	ctq := r.data[0x9F6C]
	if len(ctq) != 2 {
		ctq = []byte{0, 0}
	}
	asked, kind := r.data[0x9F66][1]&0x40 != 0, r.res.CID&0xC0
	switch {
	case kind == aac:
	case ctq[0]&0x80 != 0:
		r.res.CVM = emv.CVMName(cvmOnline)
	case ctq[0]&0x40 != 0:
		r.res.CVM = emv.CVMName(cvmSignature)
	case ctq[1]&0x80 != 0:
		r.res.CVM = "by the cardholder's device"
	case asked:
		return wrong("EMV Contactless Book C-3 5.7", "the reader asked for cardholder verification, and the card names no method (9F6C %X)", ctq)
	}
	if kind != tc {
		return nil
	}
	online := false
	switch {
	case r.broken:
		online = ctq[0]&0x20 != 0
	case r.expired():
		online = ctq[0]&0x08 != 0
		r.note("Processing restrictions", "application expired")
	default:
		return nil
	}
	if r.res.CID = aac; online {
		r.res.CID = arqc
	}
	r.note("Card transaction qualifiers", "no approval offline: "+emv.CryptogramName(r.res.CID))
	return nil
}

// fastDynamic checks fDDA: the signature of GET PROCESSING OPTIONS over unpredictable
// number, amount, currency and card authentication related data.
func (r *run) fastDynamic(signed []byte) error {
	if err := r.recoverICC(); err != nil {
		return err
	}
	over := bytes.Join([][]byte{r.data[0x9F37], r.data[0x9F02], r.data[0x5F2A], r.data[0x9F69]}, nil)
	d, err := oda.VerifyDynamic(oda.Soft, *r.icc, signed, over)
	if err != nil {
		return &Error{Clause: "offline data authentication", What: err.Error()}
	}
	if len(d) < 3 {
		return wrong("EMV Contactless Book C-3 annex C", "the ICC dynamic number is missing")
	}
	if related := r.data[0x9F69]; len(related) >= 7 && !bytes.Equal(related[5:7], r.data[0x9F6C]) {
		return wrong("EMV Contactless Book C-3 annex C", "the card transaction qualifiers are not those that were signed")
	}
	r.note("fast DDA", fmt.Sprintf("the signature is right; ICC dynamic number %X", d[1:]))
	return nil
}

// kernel2 has one GENERATE AC (Book C-2; recalled, unverified).
func (r *run) kernel2(ctx context.Context) error {
	if err := r.options(ctx); err != nil {
		return err
	}
	if r.aip[1]&aipRelay != 0 && !r.ReadOnly {
		if err := r.relayResistance(ctx); err != nil {
			return err
		}
		r.tvr[4] |= tvr5Relay
	} else if r.aip[1]&aipEMV != 0 {
		r.tvr[4] |= tvr5NoRelay
	}
	if err := r.records(ctx); err != nil {
		return err
	}
	r.res.PAN = emv.MaskPAN(r.pan())
	if r.ReadOnly {
		r.authenticateQuietly(ctx)
		r.res.Outcome = OnlyRead
		return nil
	}
	if r.aip[1]&aipEMV == 0 {
		return r.stripe(ctx)
	}
	for _, step := range []func(context.Context) error{r.authenticate, r.restrictions, r.verify, r.risk} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := r.generate(ctx, r.analyse(), false); err != nil {
		return err
	}
	return r.concludeContactless(ctx, r.cdol1)
}

// Bits of byte 2 of the AIP and of byte 5 of the TVR (Book C-2; recalled, unverified).
const (
	aipEMV, aipRelay       = 0x80, 0x01
	tvr5Relay, tvr5NoRelay = 0x02, 0x01
)

// relayResistance is EXCHANGE RELAY RESISTANCE DATA (Book C-2; recalled, unverified).
// Timing is not judged: a link of this program is no field.
func (r *run) relayResistance(ctx context.Context) error {
	entropy := make([]byte, 4)
	if _, err := io.ReadFull(r.Random, entropy); err != nil {
		return err
	}
	return r.send(ctx, "EXCHANGE RELAY RESISTANCE DATA", apdu.Command{CLA: 0x80, INS: 0xEA, Data: entropy, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return nil, unexpected("EMV Contactless Book C-2", "EXCHANGE RELAY RESISTANCE DATA", sw)
		}
		v, err := tlv.Find(data, 0x80)
		if err != nil || len(v) != 10 {
			return nil, wrong("EMV Contactless Book C-2", "relay resistance data are 10 bytes in template 80")
		}
		r.relay = append(append([]byte{}, entropy...), v...)
		u := func(i int) int { return int(v[i])<<8 | int(v[i+1]) }
		return []string{fmt.Sprintf("%.1f to %.1f ms, transmission estimated %.1f ms", float64(u(4))/10, float64(u(6))/10, float64(u(8))/10)}, nil
	})
}

// stripe is magnetic-stripe mode: COMPUTE CRYPTOGRAPHIC CHECKSUM (Book C-2; recalled,
// unverified). As many digits of the unpredictable number are not zero as the card's
// bit map PUNATC has places for them beside those of the ATC.
func (r *run) stripe(ctx context.Context) error {
	const clause = "EMV Contactless Book C-2"
	if places, atc := r.shared[0x9F66], r.data[0x9F67]; len(places) == 2 && len(atc) == 1 {
		n := bits.OnesCount16(uint16(places[0])<<8|uint16(places[1])) - int(atc[0])
		if n < 0 || n > 8 {
			return wrong(clause, "PUNATC %X and NATC %X leave %d digits for the unpredictable number", places, atc, n)
		}
		r.data[0x9F6A] = digits(r.data[0x9F37], n)
	}
	list := r.shared[0x9F69]
	if list == nil {
		list = r.data[0x9F69]
	}
	if list == nil {
		list = []byte{0x9F, 0x6A, 0x04} // the default UDOL
	}
	udol, err := emv.ParseDOL(list)
	if err != nil {
		return wrong("EMV Book 3 5.4", "the UDOL: %v", err)
	}
	err = r.send(ctx, "COMPUTE CRYPTOGRAPHIC CHECKSUM", apdu.Command{CLA: 0x80, INS: 0x2A, P1: 0x8E, P2: 0x80, Data: r.fill(udol), Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return nil, unexpected(clause, "COMPUTE CRYPTOGRAPHIC CHECKSUM", sw)
		}
		v, err := tlv.Find(data, 0x77)
		if err != nil {
			return nil, wrong(clause, "the answer has no template 77")
		}
		if err := r.keep(v, nil, clause); err != nil {
			return nil, err
		}
		for _, t := range []emv.Tag{0x9F61, 0x9F36} {
			if len(r.data[t]) != 2 {
				return nil, wrong(clause, "%s (%X) is missing", emv.Name(t), uint32(t))
			}
		}
		return nil, nil
	})
	if err == nil {
		r.res.CID, r.res.Outcome = arqc, OnlineRequest
		a := r.data[0x9F36]
		r.res.ATC = uint16(a[0])<<8 | uint16(a[1])
	}
	return err
}

// concludeContactless asks the issuer when the card wants that; the card has left the
// field by then.
func (r *run) concludeContactless(ctx context.Context, sent []byte) error {
	switch kind := r.res.CID & 0xC0; {
	case r.broken && kind == tc:
		r.data[0x8A] = []byte("Z1")
		r.res.Outcome = DeclinedOffline
		return nil
	case kind == aac, kind == tc:
		r.offline(kind)
		return nil
	}
	r.data[0x8A] = nil
	r.res.Outcome = OnlineRequest
	if r.Issuer == nil {
		return nil
	}
	answer, err := r.Issuer.Authorise(ctx, r.request(sent))
	if err != nil {
		return fmt.Errorf("online processing: %w", err)
	}
	r.res.Online = true
	r.data[0x8A] = []byte(answer.ARC)
	if r.res.Outcome = DeclinedOnline; answer.ARC == "00" {
		r.res.Outcome = ApprovedOnline
	}
	return r.answered(answer)
}
