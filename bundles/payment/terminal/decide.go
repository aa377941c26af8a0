package terminal

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Types of cryptograms (Book 3 table 12).
const (
	aac, tc, arqc = 0x00, 0x40, 0x80
	p1CDA         = 0x10
)

// risk is terminal risk management (Book 3 10.6): the floor limit, and velocity when
// the card has limits.
func (r *run) risk(ctx context.Context) error {
	if r.aip[0]&aipRisk == 0 {
		return nil
	}
	r.tsi[0] |= tsiRisk
	var notes []string
	if r.Amount+r.Other >= r.Floor {
		r.tvr[3] |= 0x80
		notes = append(notes, "the amount is not below the floor limit")
	}
	if r.ForceOnline {
		r.tvr[3] |= 0x08
		notes = append(notes, "the merchant wants to go online")
	}
	lower, upper := r.data[0x9F14], r.data[0x9F23]
	if len(lower) == 1 && len(upper) == 1 {
		counters := map[byte]int{0x36: -1, 0x13: -1}
		for _, p2 := range []byte{0x36, 0x13} {
			err := r.send(ctx, "GET DATA: "+emv.Name(0x9F00|emv.Tag(p2)), apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0x9F, P2: p2, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
				if sw == apdu.OK && len(data) == 5 {
					counters[p2] = int(data[3])<<8 | int(data[4])
				}
				return nil, nil
			})
			if err != nil {
				return err
			}
		}
		gap := counters[0x36] - counters[0x13]
		if counters[0x36] < 0 || counters[0x13] < 0 {
			r.tvr[3] |= 0x40 | 0x20
		} else {
			if gap > int(lower[0]) {
				r.tvr[3] |= 0x40
			}
			if gap > int(upper[0]) {
				r.tvr[3] |= 0x20
			}
			if counters[0x13] == 0 {
				r.tvr[1] |= 0x08
			}
		}
	}
	if notes == nil {
		notes = []string{"nothing found"}
	}
	r.note("Terminal risk management", notes...)
	return nil
}

// code is an issuer action code; without one, default and online have all bits set
// (Book 3 10.7).
func (r *run) code(t emv.Tag, otherwise byte) []byte {
	if v := r.data[t]; len(v) == 5 {
		return v
	}
	return bytes.Repeat([]byte{otherwise}, 5)
}

func (r *run) matches(code []byte) bool {
	for i := range r.tvr {
		if r.tvr[i]&code[i] != 0 {
			return true
		}
	}
	return false
}

// action is what the terminal asks for (Book 3 10.7): by the issuer's action codes.
func (r *run) action() byte {
	switch {
	case r.matches(r.code(0x9F0E, 0)):
		return aac
	case r.ForceOnline, r.matches(r.code(0x9F0F, 0xFF)):
		return arqc
	}
	return tc
}

// decide is terminal action analysis (Book 3 10.7), the first GENERATE AC and what
// follows from it.
func (r *run) decide(ctx context.Context) error {
	ask := r.action()
	r.note("Terminal action analysis", append([]string{"asks for " + emv.CryptogramName(ask)}, emv.Words(0x95, r.tvr[:])...)...)
	if err := r.generate(ctx, ask, false); err != nil {
		return err
	}
	r.tsi[0] |= tsiCard
	switch r.res.CID & 0xC0 {
	case aac:
		r.res.Outcome = DeclinedOffline
		return nil
	case tc:
		r.res.Outcome = ApprovedOffline
		return nil
	}
	return r.complete(ctx)
}

// generate is GENERATE AC (Book 3 10.8, 6.5.5).
func (r *run) generate(ctx context.Context, ask byte, second bool) error {
	list, title := emv.Tag(0x8C), "GENERATE AC"
	if second {
		list, title = 0x8D, "second GENERATE AC"
	}
	dol, err := emv.ParseDOL(r.data[list])
	if err != nil {
		return wrong("EMV Book 3 5.4", "%s: %v", emv.Name(list), err)
	}
	if n := emv.Length(dol); n > 255 {
		return wrong("EMV Book 3 6.5.5.2", "%s asks for %d bytes; a command has 255 at most", emv.Name(list), n)
	}
	data := emv.Fill(dol, r.value)
	if second {
		r.cdol2 = data
	} else {
		r.cdol1 = data
	}
	p1 := ask
	if r.combine && ask != aac {
		p1 |= p1CDA
	}
	return r.send(ctx, title, apdu.Command{CLA: 0x80, INS: 0xAE, P1: p1, Data: data, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return nil, unexpected("EMV Book 3 10.8", title, sw)
		}
		cid, signed, err := r.cryptogram(data, ask, second)
		if err != nil {
			return nil, err
		}
		notes := []string{emv.CryptogramName(cid)}
		if signed {
			notes = append(notes, "the signature over the cryptogram is right (CDA)")
		}
		return notes, nil
	})
}

// cryptogram reads the answer to GENERATE AC (Book 3 6.5.5.4).
func (r *run) cryptogram(data []byte, ask byte, second bool) (cid byte, signed bool, err error) {
	const clause = "EMV Book 3 6.5.5.4"
	var ac, atc, iad, sdad, rest []byte
	if v, err := tlv.Find(data, 0x80); err == nil {
		if len(v) < 11 || len(v) > 43 {
			return 0, false, wrong(clause, "format 1 has 11 to 43 bytes, not %d", len(v))
		}
		cid, atc, ac, iad = v[0], v[1:3], v[3:11], v[11:]
	} else if v, err := tlv.Find(data, 0x77); err == nil {
		found := false
		for rd := tlv.Read(v); rd.Next(); {
			switch rd.Tag {
			case 0x9F27:
				if len(rd.Value) == 1 {
					cid, found = rd.Value[0], true
				}
			case 0x9F36:
				atc = rd.Value
			case 0x9F26:
				ac = rd.Value
			case 0x9F10:
				iad = rd.Value
			}
			if rd.Tag == 0x9F4B {
				sdad = rd.Value
			} else {
				rest = tlv.Append(rest, rd.Tag, rd.Value...)
			}
		}
		if !found || len(atc) != 2 {
			return 0, false, wrong(clause, "format 2 lacks cryptogram information data or ATC")
		}
	} else {
		return 0, false, wrong(clause, "the answer has neither format 1 nor format 2")
	}
	if kind := cid & 0xC0; kind == 0xC0 || rank2(kind) > rank2(ask) {
		return 0, false, wrong("EMV Book 3 9.3", "the card answers %s, more than it was asked for", emv.CryptogramName(cid))
	}
	if r.combine && cid&0xC0 != aac {
		r.tsi[0] |= tsiODA
		if sdad == nil {
			r.tvr[0] |= tvr1CDA
			return 0, false, wrong("EMV Book 2 6.6.2", "CDA was asked for, and the answer is not signed")
		}
		if ac, err = r.combined(sdad, cid, rest, second); err != nil {
			r.tvr[0] |= tvr1CDA
			return 0, false, err
		}
		signed = true
	}
	if len(ac) != 8 {
		return 0, false, wrong(clause, "the application cryptogram is missing")
	}
	now := uint16(atc[0])<<8 | uint16(atc[1])
	if second && now != r.res.ATC {
		return 0, false, wrong("EMV Book 3 6.5.5", "the ATC changed within a transaction, from %d to %d", r.res.ATC, now)
	}
	r.res.CID, r.res.AC, r.res.ATC = cid, bytes.Clone(ac), now
	for t, v := range map[emv.Tag][]byte{0x9F26: ac, 0x9F27: {cid}, 0x9F36: atc, 0x9F10: iad} {
		r.data[t] = bytes.Clone(v)
	}
	return cid, signed, nil
}

// rank2 orders cryptograms: AAC, ARQC, TC (Book 3 9.3).
func rank2(kind byte) int { return map[byte]int{aac: 0, arqc: 1, tc: 2}[kind] }

// request is what the issuer gets to decide.
func (r *run) request(cdol []byte) Request {
	q := Request{PAN: r.pan(), Data: map[emv.Tag][]byte{}, CDOL: cdol}
	if v := r.data[0x5F34]; len(v) == 1 {
		q.PSN = v[0]>>4*10 + v[0]&15
	}
	for _, t := range []emv.Tag{0x82, 0x9A, 0x9C, 0x5F2A, 0x9F02, 0x9F03, 0x9F06, 0x9F10, 0x9F1A, 0x9F26, 0x9F27, 0x9F34, 0x9F36, 0x9F37, 0x9F66} {
		if v := r.data[t]; v != nil {
			q.Data[t] = v
		}
	}
	q.Data[0x95] = r.tvr[:]
	return q
}

// complete goes online and ends the transaction (Book 3 10.9 to 10.11).
func (r *run) complete(ctx context.Context) error {
	ask := byte(aac)
	var answer Response
	err := error(nil)
	if r.Issuer != nil {
		tvr := r.tvr // as it was when the card made its cryptogram
		q := r.request(r.cdol1)
		q.Data[0x95] = tvr[:]
		answer, err = r.Issuer.Authorise(ctx, q)
	}
	switch {
	case r.Issuer == nil || err != nil:
		note := "no issuer is there"
		if err != nil {
			note = err.Error()
		}
		answer = Response{ARC: "Z3"}
		if !r.matches(r.code(0x9F0D, 0xFF)) {
			ask, answer.ARC = tc, "Y3"
		}
		r.note("Online processing", "unable to go online: "+note, "response code "+answer.ARC)
	default:
		r.res.Online = true
		if answer.ARC == "00" || answer.ARC == "10" || answer.ARC == "11" {
			ask = tc
		}
		r.note("Online processing", "response code "+answer.ARC, fmt.Sprintf("issuer authentication data %X", answer.Auth))
	}
	r.data[0x8A] = []byte(answer.ARC)
	if answer.Auth != nil {
		r.data[0x91] = answer.Auth
		if err := r.issuerAuthentication(ctx, answer.Auth); err != nil {
			return err
		}
	}
	if err := r.scripts(ctx, answer.Scripts, 0x71, 0x20); err != nil {
		return err
	}
	if err := r.generate(ctx, ask, true); err != nil {
		return err
	}
	if err := r.scripts(ctx, answer.Scripts, 0x72, 0x10); err != nil {
		return err
	}
	approved := r.res.CID&0xC0 == tc
	switch {
	case approved && r.res.Online:
		r.res.Outcome = ApprovedOnline
	case approved:
		r.res.Outcome = ApprovedOffline
	case r.res.Online:
		r.res.Outcome = DeclinedOnline
	default:
		r.res.Outcome = DeclinedOffline
	}
	return nil
}

// issuerAuthentication is EXTERNAL AUTHENTICATE (Book 3 10.9), when the AIP says so;
// else the data go with the second GENERATE AC.
func (r *run) issuerAuthentication(ctx context.Context, auth []byte) error {
	if r.aip[0]&aipIssuer == 0 {
		return nil
	}
	r.tsi[0] |= tsiIssuer
	return r.send(ctx, "EXTERNAL AUTHENTICATE", apdu.Command{INS: 0x82, Data: auth}, func(_ []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			r.tvr[4] |= 0x40
			return []string{"issuer authentication failed: " + sw.Words()}, nil
		}
		return []string{"the issuer is authenticated"}, nil
	})
}

// scripts carries out the issuer script commands of one template (Book 3 10.10).
func (r *run) scripts(ctx context.Context, all []byte, template emv.Tag, failed byte) error {
	for rd := tlv.Read(all); rd.Next(); {
		if rd.Tag != template {
			continue
		}
		r.tsi[0] |= tsiScript
		for c := tlv.Read(rd.Value); c.Next(); {
			if c.Tag != 0x86 {
				continue
			}
			cmd, err := apdu.Parse(c.Value)
			if err != nil {
				r.tvr[4] |= failed
				r.note("Issuer script", "a command is malformed: "+err.Error())
				break
			}
			stop := false
			err = r.send(ctx, "Issuer script "+apdu.INSName(cmd.CLA, cmd.INS), cmd, func(_ []byte, sw apdu.SW) ([]string, error) {
				switch sw >> 8 {
				case 0x90, 0x62, 0x63:
					r.res.Scripts++
				default:
					r.tvr[4] |= failed
					stop = true
				}
				return []string{sw.Words()}, nil
			})
			if err != nil {
				return err
			}
			if stop {
				break
			}
		}
	}
	return nil
}
