package terminal

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// contactless is a transaction in the field of a reader, in the style of the kernel
// that the card names.
func (r *run) contactless(ctx context.Context) error {
	switch r.Kernel {
	case 2:
		return r.kernel2(ctx)
	case 3:
		return r.kernel3(ctx)
	}
	return wrong("EMV Contactless Book B 3.3.2.6", "the card names kernel %d, the reader has the styles of 2 and 3 (--kernel)", r.Kernel)
}

// kernel3 has its cryptogram with GET PROCESSING OPTIONS (Book C-3 5.4; recalled,
// unverified).
func (r *run) kernel3(ctx context.Context) error {
	cmd, err := r.optionsCommand()
	if err != nil {
		return err
	}
	err = r.send(ctx, "GET PROCESSING OPTIONS", cmd, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return nil, unexpected("EMV Contactless Book C-3 5.4", "GET PROCESSING OPTIONS", sw)
		}
		v, err := tlv.Find(data, 0x77)
		if err != nil {
			return nil, wrong("EMV Contactless Book C-3 5.4", "the answer is not of format 2")
		}
		if err := r.keep(v, false, "EMV Contactless Book C-3 5.4"); err != nil {
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
	if signed := r.data[0x9F4B]; signed != nil {
		r.res.ODA = "fDDA"
		if err := r.fastDynamic(signed); err != nil {
			r.tvr[0] |= tvr1DDA
			return err
		}
	} else if r.res.CID&0xC0 == tc {
		return wrong("EMV Contactless Book C-3 5.6", "an approval without signed dynamic application data")
	}
	return r.concludeContactless(ctx, r.fromPDO)
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
		return &Error{"offline data authentication", err.Error()}
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
	if r.aip[1]&0x01 != 0 && !r.ReadOnly {
		if err := r.relayResistance(ctx); err != nil {
			return err
		}
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
	if r.aip[1]&0x80 == 0 {
		return r.stripe(ctx)
	}
	for _, step := range []func(context.Context) error{r.authenticate, r.restrictions} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.data[0x9F34] = []byte{cvmNone, 0x00, resultRight}
	if err := r.risk(ctx); err != nil {
		return err
	}
	if err := r.generate(ctx, r.action(), false); err != nil {
		return err
	}
	return r.concludeContactless(ctx, r.cdol1)
}

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
// unverified).
func (r *run) stripe(ctx context.Context) error {
	err := r.send(ctx, "COMPUTE CRYPTOGRAPHIC CHECKSUM", apdu.Command{CLA: 0x80, INS: 0x2A, P1: 0x8E, P2: 0x80, Data: r.data[0x9F6A], Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return nil, unexpected("EMV Contactless Book C-2", "COMPUTE CRYPTOGRAPHIC CHECKSUM", sw)
		}
		v, err := tlv.Find(data, 0x77)
		if err != nil {
			return nil, wrong("EMV Contactless Book C-2", "the answer has no template 77")
		}
		return nil, r.keep(v, false, "EMV Contactless Book C-2")
	})
	if err == nil {
		r.res.CID, r.res.Outcome = arqc, OnlineRequest
		if a := r.data[0x9F36]; len(a) == 2 {
			r.res.ATC = uint16(a[0])<<8 | uint16(a[1])
		}
	}
	return err
}

// concludeContactless asks the issuer when the card wants that; the card has left the
// field by then.
func (r *run) concludeContactless(ctx context.Context, sent []byte) error {
	switch r.res.CID & 0xC0 {
	case aac:
		r.res.Outcome = DeclinedOffline
		return nil
	case tc:
		r.res.Outcome = ApprovedOffline
		return nil
	}
	r.res.Outcome = OnlineRequest
	if r.Issuer == nil {
		return nil
	}
	answer, err := r.Issuer.Authorise(ctx, r.request(sent))
	if err != nil {
		return fmt.Errorf("online processing: %w", err)
	}
	r.res.Online = true
	if r.res.Outcome = DeclinedOnline; answer.ARC == "00" {
		r.res.Outcome = ApprovedOnline
	}
	r.note("Online processing", "response code "+answer.ARC)
	return nil
}
