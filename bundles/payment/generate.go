package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// generateAC is GENERATE AC (Book 3 6.5.5): the first one asks for a decision, the
// second one, after an ARQC, ends the transaction.
func (c *Card) generateAC(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	t := &c.now
	a := t.app
	asked := cmd.P1 & cidType
	if asked == cidType || cmd.P1&^(cidType|p1CDA) != 0 {
		return apdu.WrongP1P2
	}
	dol := a.CDOL1
	if t.state == online {
		dol = a.CDOL2
	}
	entries, _ := emv.ParseDOL(dol)
	if len(cmd.Data) != emv.Length(entries) {
		return apdu.WrongLength
	}
	if t.state == online && asked == cidARQC {
		return apdu.ConditionsNotSatisfied
	}
	var cid byte
	was, kept, card := *t, a.state, c.blocked
	if t.state == initiated {
		t.first = append([]byte(nil), cmd.Data...)
		t.limits = c.limits()
		cid = c.decide(asked)
	} else {
		t.second = append([]byte(nil), cmd.Data...)
		t.limits = c.limits()
		cid = c.conclude(asked)
	}
	sw := c.answer(cid, cmd.P1&p1CDA != 0, r)
	if sw != apdu.OK { // nothing is half-applied
		*t, a.state, c.blocked = was, kept, card
		sdk.NVM.Rollback()
	}
	return sw
}

// decide is the card's decision at the first GENERATE AC: no better than what the
// terminal asks for and what the rules say.
func (c *Card) decide(asked byte) (cid byte) {
	t := &c.now
	a := t.app
	s := &a.state
	if a.state.has(isBlocked) {
		return cidAAC // Book 3 6.5.1: it answers with an AAC alone
	}
	offlineWrong := c.offlineWrong()
	amount := number(c.terminal(tagAmount))
	switch want := c.risk(false); {
	case asked == cidAAC || want == decline:
		cid = cidAAC
	case asked == cidARQC || want == goOnline:
		cid = cidARQC
	default:
		cid = cidTC
		c.countOffline(amount)
	}
	switch cid {
	case cidAAC, cidTC:
		s.set(odaWrong, offlineWrong)
	case cidARQC:
		s.set(onlineOpen, t.side == profile.Contact)
	}
	if cid == cidAAC && s.tries == 0 && a.PINTries > 0 {
		cid |= reasonPINTries
	}
	return cid
}

// conclude is the end of the transaction at the second GENERATE AC.
func (c *Card) conclude(asked byte) (cid byte) {
	t := &c.now
	a := t.app
	s := &a.state
	arc := c.terminal(tagARC)
	unable := len(arc) == 2 && arc[1] == '3' && (arc[0] == 'Y' || arc[0] == 'Z') // Book 4 table 34
	if data := c.terminal(tagIssuerAuth); t.issuer == notDone && !unable && len(trimmed(data)) > 0 {
		c.issuerAuthentication(data)
	}
	s.set(onlineOpen, false)
	if unable && t.issuer != wrong { // who was online and got a wrong answer was not unable
		if asked == cidTC && c.risk(true) == approve {
			c.countOffline(number(c.terminal(tagAmount)))
			cid = cidTC
		}
		s.set(odaWrong, c.offlineWrong())
		return cid
	}
	must := t.here().AIP[0]&aipIssuerAuth != 0 || c.asks(tagIssuerAuth)
	switch {
	case t.issuer == wrong, must && t.issuer == notDone:
		return cidAAC | reasonIssuerAuth // that it failed was stored when it did
	case t.issuer == passed && a.ARPC == 2 && !cryptogram.ParseCSU(t.csu).Approve:
		// The issuer does not approve (Book 3 annex C; recalled, unverified).
	case asked == cidTC:
		cid = cidTC
	}
	if t.issuer == passed {
		c.update(t.csu)
	}
	s.lastOnline = s.atc
	s.consecutive, s.cumulative = 0, 0
	s.set(issuerAuthWrong|scriptWrong|odaWrong, false)
	s.set(scriptWrong, t.failed)
	return cid
}

// asks tells whether CDOL2 has t.
func (c *Card) asks(t emv.Tag) bool {
	entries, _ := emv.ParseDOL(c.now.app.CDOL2)
	for _, e := range entries {
		if e.Tag == t {
			return true
		}
	}
	return false
}

// update does what the issuer's card status update says (CCD, Book 3 annex C; ARPC
// method 2).
func (c *Card) update(csu [4]byte) {
	a := c.now.app
	if a.ARPC != 2 {
		return
	}
	u := cryptogram.ParseCSU(csu)
	if u.BlockApplication {
		a.state.set(isBlocked, true)
		sdk.Event("application.blocked", []byte(a.Name))
	}
	if u.UpdatePINTries && int(u.PINTries) <= int(a.PINTries) {
		a.state.tries = u.PINTries
	}
	if u.BlockCard {
		c.blocked = true
		_ = sdk.NVM.Put(keyCard, []byte{1})
		sdk.Event("card.blocked", nil)
	}
}

// countOffline counts a transaction that is approved offline.
func (c *Card) countOffline(amount uint64) {
	a := c.now.app
	if a.state.consecutive < 0xFF {
		a.state.consecutive++
	}
	if string(c.terminal(tagCurrency)) == string(a.Currency[:]) {
		a.state.cumulative += amount
	}
}

// offlineWrong tells whether the terminal found offline data authentication to have
// failed: SDA, DDA or CDA failed (TVR byte 1, Book 3 annex C5).
func (c *Card) offlineWrong() bool {
	tvr := c.terminal(tagTVR)
	return len(tvr) == 5 && tvr[0]&0x4C != 0
}

// answer makes the cryptogram and the response, and stores the state before it leaves.
func (c *Card) answer(cid byte, combined bool, r *sdk.Response) sdk.SW {
	t := &c.now
	a := t.app
	second := t.state == online
	combined = combined && a.icc != nil && t.here().AIP[0]&aipCDA != 0 && cid&cidType != cidAAC
	if combined {
		t.combined = true
	}
	iad := a.Version.AppendIAD(nil, c.cvr(cid, second), a.DKI, nil)
	t.ac = a.Version.Cryptogram(a.keys.AC, c.input(iad))
	t.given = cid
	atc := a.element(tagATC)
	if combined {
		signed, err := c.combine(cid, iad)
		if err != nil {
			sdk.Log(sdk.Fault, err.Error())
			return apdu.NoPreciseDiagnosis
		}
		m := r.Begin(uint32(tagFormat2))
		r.TLV(uint32(tagCID), []byte{cid})
		r.TLV(uint32(tagATC), atc)
		r.TLV(uint32(tagDynamic), signed)
		r.TLV(uint32(tagIAD), iad)
		r.End(m)
	} else if a.Format == 1 {
		m := r.Begin(uint32(tagFormat1))
		r.Byte(cid)
		r.Append(atc)
		r.Append(t.ac[:])
		r.Append(iad)
		r.End(m)
	} else {
		m := r.Begin(uint32(tagFormat2))
		r.TLV(uint32(tagCID), []byte{cid})
		r.TLV(uint32(tagATC), atc)
		r.TLV(uint32(tagAC), t.ac[:])
		r.TLV(uint32(tagIAD), iad)
		r.End(m)
	}
	if c.end(cid, second) != nil {
		r.Reset()
		return apdu.MemoryProblem
	}
	return apdu.OK
}

// end is the phase after a cryptogram; the state is stored with the answer.
func (c *Card) end(cid byte, second bool) error {
	t := &c.now
	a := t.app
	if !second {
		t.base, t.chain = t.ac, t.ac
		a.state.scripts = 0
	}
	switch {
	case second:
		t.state = script
	case cid&cidType == cidARQC:
		t.state = online
	case a.state.has(isBlocked):
		t.state = script // so that it can be unblocked
	default:
		t.state = selected
	}
	if t.state != online {
		if err := c.log(cid); err != nil {
			return err
		}
	}
	return a.save()
}

// input is what goes into a cryptogram.
func (c *Card) input(iad []byte) *cryptogram.Input {
	t := &c.now
	in := &cryptogram.Input{AIP: t.here().AIP, ATC: t.app.state.atc, IAD: iad, CDOL: t.first}
	if t.state == online {
		in.CDOL = t.second
	}
	copy(in.Amount[:], c.terminal(tagAmount))
	copy(in.Other[:], c.terminal(tagOther))
	copy(in.Country[:], c.terminal(tagTerminal))
	copy(in.TVR[:], c.terminal(tagTVR))
	copy(in.Currency[:], c.terminal(tagCurrency))
	copy(in.Date[:], c.terminal(tagDate))
	copy(in.UN[:], c.terminal(tagUN))
	if v := c.terminal(tagType); len(v) == 1 {
		in.Type = v[0]
	}
	return in
}

// cvr is the card verification results that the cryptogram tells the issuer.
func (c *Card) cvr(cid byte, second bool) cryptogram.CVR {
	t := &c.now
	a := t.app
	s := &a.state
	v := cryptogram.CVR{
		DDA: t.dynamic, CDA: t.combined,
		PINVerified: t.verify == passed, PINFailed: t.verify == wrong,
		PINTries: s.tries, PINTryLimitExceeded: a.PINTries > 0 && s.tries == 0,
		LastOnlineNotCompleted: s.has(onlineOpen) && !second && cid&cidType != cidARQC,
		LowerConsecutive:       t.limits[0], UpperConsecutive: t.limits[1],
		LowerCumulative: t.limits[2], UpperCumulative: t.limits[3],
		IssuerAuthFailed: t.issuer == wrong || s.has(issuerAuthWrong),
		ScriptReceived:   s.scripts > 0, ScriptFailed: s.has(scriptWrong), Scripts: s.scripts,
		OfflineAuthFailed: s.has(odaWrong), NewCard: s.lastOnline == 0,
	}
	v.First, v.Second = cid&cidType, cryptogram.NotRequested
	if second {
		v.First, v.Second = cidARQC, cid&cidType
		v.IssuerAuthNotPerformed = t.issuer == notDone
		arc := c.terminal(tagARC)
		v.UnableOnline = len(arc) == 2 && arc[1] == '3'
	}
	return v
}
