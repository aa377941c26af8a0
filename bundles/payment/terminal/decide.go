package terminal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Types of cryptograms (Book 3 table 12).
const (
	aac, tc, arqc = 0x00, 0x40, 0x80
	p1CDA         = 0x10
)

// risk is terminal risk management (Book 3 10.6): floor limit, random selection, and
// velocity when the card has limits, whatever its AIP says; exception file and the
// merchant's wish (Book 4 6.3.5).
func (r *run) risk(ctx context.Context) error {
	var notes []string
	if r.Exception != nil && r.Exception(r.pan(), r.psn()) {
		r.tvr[0] |= 0x10
		notes = append(notes, "the card is in the exception file")
	}
	if r.ForceOnline {
		r.tvr[3] |= 0x08
		notes = append(notes, "the merchant wants to go online")
	}
	r.tsi[0] |= tsiRisk
	if r.total() >= r.Floor {
		r.tvr[3] |= 0x80
		notes = append(notes, "the amount is not below the floor limit")
	} else {
		chosen, err := r.chosen()
		if err != nil {
			return err
		}
		if chosen {
			r.tvr[3] |= 0x10
			notes = append(notes, "selected at random")
		}
	}
	lower, upper := r.data[0x9F14], r.data[0x9F23]
	if len(lower) == 1 && len(upper) == 1 && !r.Contactless {
		said, err := r.velocity(ctx, int(lower[0]), int(upper[0]))
		if err != nil {
			return err
		}
		notes = append(notes, said...)
	}
	if notes == nil {
		notes = []string{"nothing found"}
	}
	r.note("Terminal risk management", notes...)
	return nil
}

// chosen is random transaction selection (Book 3 10.6.2), of an amount below the floor
// limit.
func (r *run) chosen() (bool, error) {
	s := r.Selection
	if s.Target <= 0 && s.MaxTarget <= 0 {
		return false, nil
	}
	percent := uint64(max(s.Target, 0))
	if t := r.total(); t >= s.Threshold && r.Floor > s.Threshold && s.MaxTarget > s.Target { // biased
		percent += (t - s.Threshold) * (uint64(s.MaxTarget) - percent) / (r.Floor - s.Threshold)
	}
	for b := make([]byte, 1); ; { // a number from 1 to 99, each as likely
		if _, err := io.ReadFull(r.Random, b); err != nil {
			return false, fmt.Errorf("random selection: %w", err)
		}
		if b[0] < 198 {
			return uint64(b[0]%99)+1 <= percent, nil
		}
	}
}

// velocity compares what was done since the last time online with the card's limits
// (Book 3 10.6.3).
func (r *run) velocity(ctx context.Context, lower, upper int) (notes []string, err error) {
	counters := map[emv.Tag]int{}
	for _, t := range []emv.Tag{0x9F36, 0x9F13} {
		err := r.send(ctx, "GET DATA: "+emv.Name(t), apdu.Command{CLA: 0x80, INS: 0xCA, P1: byte(t >> 8), P2: byte(t), Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
			v, err := tlv.Find(data, t)
			if sw != apdu.OK || err != nil || len(v) != 2 {
				return []string{"the card does not tell"}, nil
			}
			counters[t] = int(v[0])<<8 | int(v[1])
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
	}
	atc, there := counters[0x9F36]
	last, online := counters[0x9F13]
	if !there || !online {
		r.tvr[0] |= tvr1Missing // Book 3 table 35
	}
	gap := atc - last
	if !there || !online || gap <= 0 {
		r.tvr[3] |= 0x40 | 0x20
		notes = append(notes, "how many transactions were offline cannot be told: both limits count as exceeded")
	} else {
		if gap > lower {
			r.tvr[3] |= 0x40
			notes = append(notes, fmt.Sprintf("%d transactions since the last time online, the lower limit is %d", gap, lower))
		}
		if gap > lower && gap > upper {
			r.tvr[3] |= 0x20
			notes = append(notes, fmt.Sprintf("%d transactions since the last time online, the upper limit is %d", gap, upper))
		}
	}
	if online && last == 0 {
		r.tvr[1] |= 0x08
		notes = append(notes, "a new card")
	}
	return notes, nil
}

// code is an issuer action code; without one, default and online have all bits set
// (Book 3 10.7).
func (r *run) code(t emv.Tag, otherwise byte) []byte {
	if v := r.data[t]; len(v) == 5 {
		return v
	}
	return bytes.Repeat([]byte{otherwise}, 5)
}

// matches tells whether the TVR has a bit of either code.
func (r *run) matches(issuer []byte, terminal [5]byte) bool {
	for i := range r.tvr {
		if r.tvr[i]&(issuer[i]|terminal[i]) != 0 {
			return true
		}
	}
	return false
}

// analyse is terminal action analysis (Book 3 10.7): what to ask the card for. The
// response code of a decision offline is the terminal's (Book 4 6.3.6).
func (r *run) analyse() byte {
	ask := byte(tc)
	switch {
	case r.matches(r.code(0x9F0E, 0), r.TAC.Denial):
		ask = aac
		r.data[0x8A] = []byte("Z1")
	case r.ForceOnline, r.matches(r.code(0x9F0F, 0xFF), r.TAC.Online):
		ask = arqc
	default:
		r.data[0x8A] = []byte("Y1")
	}
	r.note("Terminal action analysis", append([]string{"asks for " + emv.CryptogramName(ask)}, emv.Words(0x95, r.tvr[:])...)...)
	return ask
}

// decide is the first GENERATE AC and what follows from it.
func (r *run) decide(ctx context.Context) error {
	if err := r.generate(ctx, r.analyse(), false); err != nil {
		return err
	}
	r.tsi[0] |= tsiCard
	switch kind := r.res.CID & 0xC0; {
	case kind == tc && r.broken: // Book 4 6.3.2.1
		r.data[0x8A] = []byte("Z1")
		r.res.Outcome = DeclinedOffline
		return nil
	case kind == aac, kind == tc:
		r.offline(kind)
		return nil
	case r.broken:
		r.data[0x8A] = []byte("Z1")
		r.res.Outcome = DeclinedOffline
		return r.generate(ctx, aac, true)
	}
	r.data[0x8A] = nil
	return r.complete(ctx)
}

// offline is the end when the card has decided. The response code is what the terminal
// had in mind, whatever the card does; the card's decision is its CID (Book 4 6.3.6, A6).
func (r *run) offline(kind byte) {
	r.res.Outcome = DeclinedOffline
	code := "Z1"
	if kind == tc {
		r.res.Outcome, code = ApprovedOffline, "Y1"
	}
	if r.data[0x8A] == nil {
		r.data[0x8A] = []byte(code)
	}
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
	if slices.ContainsFunc(dol, func(e emv.Entry) bool { return e.Tag == 0x98 }) {
		if err := r.certificateHash(); err != nil {
			return err
		}
	}
	data := r.fill(dol)
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

// certificateHash is the TC hash value, over what the TDOL asks for; without one the
// terminal's default has nothing in it (Book 3 9.2.2).
func (r *run) certificateHash() error {
	tdol, err := emv.ParseDOL(r.data[0x97])
	if err != nil {
		return wrong("EMV Book 3 5.4", "%s: %v", emv.Name(0x97), err)
	}
	if r.data[0x97] == nil {
		r.tvr[4] |= 0x80
	}
	sum := oda.Hash(emv.Fill(tdol, r.value))
	r.data[0x98] = sum[:]
	return nil
}

// answer is what a card says to GENERATE AC.
type answer struct {
	cid                byte
	found              bool // the CID is there
	atc, ac, iad, sdad []byte
	rest               []byte // all of format 2 but for 9F4B, as it came
}

// readAnswer reads formats 1 and 2 (Book 3 6.5.5.4).
func readAnswer(data []byte) (a answer, err error) {
	const clause = "EMV Book 3 6.5.5.4"
	if v, err := tlv.Find(data, 0x80); err == nil {
		if len(v) < 11 || len(v) > 43 {
			return a, wrong(clause, "format 1 has 11 to 43 bytes, not %d", len(v))
		}
		return answer{cid: v[0], found: true, atc: v[1:3], ac: v[3:11], iad: v[11:]}, nil
	}
	v, err := tlv.Find(data, 0x77)
	if err != nil {
		return a, wrong(clause, "the answer has neither format 1 nor format 2")
	}
	for len(v) > 0 {
		tag, value, next, err := tlv.Next(v)
		if err != nil {
			return a, wrong(clause, "%v", err)
		}
		switch tag {
		case 0x9F27:
			if len(value) == 1 {
				a.cid, a.found = value[0], true
			}
		case 0x9F36:
			a.atc = value
		case 0x9F26:
			a.ac = value
		case 0x9F10:
			a.iad = value
		case 0x9F4B:
			a.sdad = value
		}
		if tag != 0x9F4B {
			a.rest = append(a.rest, v[:len(v)-len(next)]...)
		}
		v = next
	}
	if !a.found || len(a.atc) != 2 {
		return a, wrong(clause, "format 2 lacks cryptogram information data or ATC")
	}
	return a, nil
}

// cryptogram checks the answer to GENERATE AC and keeps it.
func (r *run) cryptogram(data []byte, ask byte, second bool) (cid byte, signed bool, err error) {
	a, err := readAnswer(data)
	if err != nil {
		return 0, false, err
	}
	kind := a.cid & 0xC0
	if kind == 0xC0 || rank2(kind) > rank2(ask) {
		return 0, false, wrong("EMV Book 3 9.3", "the card answers %s, more than it was asked for", emv.CryptogramName(a.cid))
	}
	if second && kind == arqc {
		return 0, false, wrong("EMV Book 3 9.3", "the card answers %s to a second GENERATE AC", emv.CryptogramName(a.cid))
	}
	now := uint16(a.atc[0])<<8 | uint16(a.atc[1])
	if second && now != r.res.ATC {
		return 0, false, wrong("EMV Book 3 6.5.5", "the ATC changed within a transaction, from %d to %d", r.res.ATC, now)
	}
	ac := a.ac
	if r.combine && ask != aac && kind != aac {
		r.tsi[0] |= tsiODA
		if ac, err = r.checkCombined(a, second); err != nil {
			r.tvr[0] |= tvr1CDA
			r.combine, r.broken = false, true
			if err = r.goOn("Combined DDA and application cryptogram", err); err != nil {
				return 0, false, err
			}
			ac = a.ac // there is none
		} else {
			signed = true
		}
	}
	if len(ac) != 8 && !r.broken {
		return 0, false, wrong("EMV Book 3 6.5.5.4", "the application cryptogram is missing")
	}
	r.res.CID, r.res.AC, r.res.ATC = a.cid, bytes.Clone(ac), now
	for t, v := range map[emv.Tag][]byte{0x9F26: ac, 0x9F27: {a.cid}, 0x9F36: a.atc, 0x9F10: a.iad} {
		r.data[t] = bytes.Clone(v)
	}
	return a.cid, signed, nil
}

func (r *run) checkCombined(a answer, second bool) ([]byte, error) {
	if a.sdad == nil {
		return nil, wrong("EMV Book 2 6.6.2", "CDA was asked for, and the answer is not signed")
	}
	return r.combined(a.sdad, a.cid, a.rest, second)
}

// rank2 orders cryptograms: AAC, ARQC, TC (Book 3 9.3).
func rank2(kind byte) int { return map[byte]int{aac: 0, arqc: 1, tc: 2}[kind] }

// psn is the PAN sequence number.
func (r *run) psn() byte {
	if v := r.data[0x5F34]; len(v) == 1 {
		return v[0]>>4*10 + v[0]&15
	}
	return 0
}

// request is what the issuer gets to decide.
func (r *run) request(cdol []byte) Request {
	q := Request{PAN: r.pan(), PSN: r.psn(), Data: map[emv.Tag][]byte{}, CDOL: cdol}
	for _, t := range []emv.Tag{0x82, 0x9A, 0x9C, 0x5F2A, 0x9F02, 0x9F03, 0x9F06, 0x9F10, 0x9F1A, 0x9F26, 0x9F27, 0x9F34, 0x9F36, 0x9F37, 0x9F66} {
		if v := r.data[t]; v != nil {
			q.Data[t] = v
		}
	}
	q.Data[0x95] = bytes.Clone(r.tvr[:]) // as it was when the card made its cryptogram
	return q
}

// complete goes online and ends the transaction (Book 3 10.9 to 10.11).
func (r *run) complete(ctx context.Context) error {
	ask := byte(aac)
	var answer Response
	err := error(nil)
	if r.Issuer != nil {
		answer, err = r.Issuer.Authorise(ctx, r.request(r.cdol1))
	}
	switch {
	case r.Issuer == nil || err != nil:
		note := "no issuer is there"
		if err != nil {
			note = err.Error()
		}
		answer = Response{ARC: "Z3"}
		if !r.matches(r.code(0x9F0D, 0xFF), r.TAC.Default) {
			ask, answer.ARC = tc, "Y3"
		}
		r.note("Online processing", "unable to go online: "+note, "response code "+answer.ARC)
	default:
		r.res.Online = true
		if answer.ARC == "00" || answer.ARC == "10" || answer.ARC == "11" {
			ask = tc
		}
		if err := r.answered(answer); err != nil {
			return err
		}
	}
	r.data[0x8A] = []byte(answer.ARC)
	if answer.Auth != nil {
		r.data[0x91] = answer.Auth
		if err := r.issuerAuthentication(ctx, answer.Auth); err != nil {
			return err
		}
	}
	if n := len(answer.Scripts); n > 128 {
		r.note("Issuer scripts", fmt.Sprintf("%d bytes, more than the 128 that every terminal takes (EMV Book 4 6.3.9)", n))
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
	approved := r.res.CID&0xC0 == tc && !r.broken
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

// answered reports what the issuer said; a cryptogram that it finds wrong is wrong.
func (r *run) answered(a Response) error {
	if a.Wrong {
		err := r.goOn("Online processing", wrong("EMV Book 2 8.1", "the issuer says: %s", a.Reason))
		if err != nil {
			r.note("Online processing", "response code "+a.ARC, "WRONG: "+err.Error())
			return err
		}
	}
	notes := []string{"response code " + a.ARC}
	if a.Auth != nil {
		notes = append(notes, fmt.Sprintf("issuer authentication data %X", a.Auth))
	}
	r.note("Online processing", notes...)
	if n := len(a.Auth); a.Auth != nil && (n < 8 || n > 16) {
		return fmt.Errorf("the issuer's authentication data (91) have %d bytes, not 8 to 16", n)
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

// scripts carries out the issuer scripts of one template (Book 3 10.10): each until a
// command fails. The results are those of Book 4 annex A5.
func (r *run) scripts(ctx context.Context, all []byte, template emv.Tag, failed byte) error {
	for rd := tlv.Read(all); rd.Next(); {
		if rd.Tag != template {
			continue
		}
		r.tsi[0] |= tsiScript
		result := [5]byte{0x20}
		n := byte(0)
		for c := tlv.Read(rd.Value); c.Next() && result[0] == 0x20; {
			if c.Tag == 0x9F18 && len(c.Value) == 4 {
				copy(result[1:], c.Value)
			}
			if c.Tag != 0x86 {
				continue
			}
			n++
			ok, err := r.script(ctx, c.Value)
			if err != nil {
				return err
			}
			if !ok {
				r.tvr[4] |= failed
				result[0] = 0x10 | min(n, 15)
			}
		}
		r.res.Results = append(r.res.Results, result[:]...)
	}
	return nil
}

// script is one command; warnings are no failure.
func (r *run) script(ctx context.Context, command []byte) (ok bool, err error) {
	cmd, err := apdu.Parse(command)
	if err != nil {
		r.note("Issuer script", "a command is malformed: "+err.Error())
		return false, nil
	}
	err = r.send(ctx, "Issuer script "+apdu.INSName(cmd.CLA, cmd.INS), cmd, func(_ []byte, sw apdu.SW) ([]string, error) {
		switch sw >> 8 {
		case 0x90, 0x62, 0x63:
			ok = true
			r.res.Scripts++
		}
		return []string{sw.Words()}, nil
	})
	return ok, err
}
