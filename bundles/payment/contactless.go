package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// Terminal transaction qualifiers, 9F66, and card transaction qualifiers, 9F6C (Book
// C-3 annex A; recalled from public descriptions of kernel 3, unverified).
const (
	ttq1OnlinePIN   = 0x04
	ttq1OfflineOnly = 0x08
	ttq1Signature   = 0x02
	ttq1ODAOnline   = 0x01
	ttq2Online      = 0x80
	ttq2CVM         = 0x40

	ctq1OnlinePIN = 0x80
	ctq1Signature = 0x40
)

// Tags of Books C-2 and C-3 that no other file uses.
const (
	tagChecksum1    = 0x9F60 // CVC3 of track 1
	tagChecksum2    = 0x9F61 // CVC3 of track 2
	tagFormFactor   = 0x9F6E
	tagCardRelated  = 0x9F69 // card authentication related data
	cardRelatedForm = 0x01   // fDDA version
)

// quick is GET PROCESSING OPTIONS in the style of kernel 3: the whole transaction is
// one exchange, with the cryptogram in the response (Book C-3 5.5; recalled,
// unverified). The ATC is stored already.
func (c *Card) quick(r *sdk.Response) sdk.SW {
	t := &c.now
	a, here := t.app, t.here()
	t.limits = c.limits()
	ttq := [4]byte{}
	copy(ttq[:], c.terminal(tagTTQ))
	ctq := here.CTQ
	kept := a.state

	amount := number(c.terminal(tagAmount))
	cid := byte(cidTC)
	switch want := c.risk(ttq[0]&ttq1OfflineOnly != 0); {
	case a.state.has(isBlocked), want == decline:
		cid = cidAAC
	case ttq[1]&ttq2Online != 0, want == goOnline, amount > here.Online:
		if cid = cidARQC; ttq[0]&ttq1OfflineOnly != 0 {
			cid = cidAAC
		}
	}
	if ttq[1]&ttq2CVM != 0 {
		ctq[0] &^= ctq1OnlinePIN | ctq1Signature
		switch {
		case ttq[0]&ttq1OnlinePIN != 0 && cid == cidARQC:
			ctq[0] |= ctq1OnlinePIN
		case ttq[0]&ttq1Signature != 0:
			ctq[0] |= ctq1Signature
		default:
			cid = cidAAC
		}
	}
	if cid == cidTC {
		c.countOffline(amount)
	}
	iad := a.Version.AppendIAD(nil, c.cvr(cid, false), a.DKI, nil)
	in := c.input(iad)
	in.CDOL = t.options
	t.ac, t.given = a.Version.Cryptogram(a.keys.AC, in), cid

	var signed, related []byte
	if here.Fast && a.icc != nil && (cid == cidTC || cid == cidARQC && ttq[0]&ttq1ODAOnline != 0) {
		related = make([]byte, 7) // version, unpredictable number of the card, CTQ
		related[0] = cardRelatedForm
		sdk.Random(related[1:5])
		copy(related[5:], ctq[:])
		var hashed []byte
		for _, v := range [][]byte{c.terminal(tagUN), c.terminal(tagAmount), c.terminal(tagCurrency), related} {
			hashed = append(hashed, v...)
		}
		var err error
		if signed, err = oda.SignDynamic(c.rsa, a.icc, append([]byte{2}, a.element(tagATC)...), hashed); err != nil {
			sdk.Log(sdk.Fault, err.Error())
			a.state = kept
			return apdu.NoPreciseDiagnosis
		}
	}
	m := r.Begin(uint32(tagFormat2))
	r.TLV(uint32(tagAIP), here.AIP[:])
	if cid != cidAAC {
		if afl, _ := sdk.NVM.Get(a.key(aflKey(t.side))); len(afl) > 0 && signed != nil {
			r.TLV(uint32(tagAFL), afl)
		}
		r.TLV(uint32(tagTrack2), track2(a))
	}
	r.TLV(uint32(tagPSN), []byte{a.PSN/10<<4 | a.PSN%10})
	r.TLV(uint32(tagIAD), iad)
	r.TLV(uint32(tagAC), t.ac[:])
	r.TLV(uint32(tagCID), []byte{cid})
	r.TLV(uint32(tagATC), a.element(tagATC))
	r.TLV(uint32(tagCTQ), ctq[:])
	if v := a.element(tagFormFactor); v != nil {
		r.TLV(tagFormFactor, v)
	}
	if signed != nil {
		r.TLV(uint32(tagDynamic), signed)
		r.TLV(tagCardRelated, related)
	}
	r.End(m)
	if c.log(cid) != nil || a.save() != nil {
		r.Reset()
		a.state = kept
		return apdu.MemoryProblem
	}
	return apdu.OK // the phase stays: it may begin again, with another ATC
}

// relayResistance is EXCHANGE RELAY RESISTANCE DATA (Book C-2 5.4; recalled,
// unverified): the terminal's entropy for the card's, and timings. At most three times
// in a transaction.
func (c *Card) relayResistance(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	t := &c.now
	relay := t.here().Relay
	switch {
	case relay == nil:
		return apdu.InsNotSupported
	case len(cmd.Data) != 4:
		return apdu.WrongLength
	case t.relays == 3:
		return apdu.ConditionsNotSatisfied
	}
	t.relays++
	copy(t.relay[:4], cmd.Data)
	sdk.Random(t.relay[4:8])
	for i, v := range []uint16{relay.Min, relay.Max, relay.Estimate} {
		t.relay[8+2*i], t.relay[9+2*i] = byte(v>>8), byte(v)
	}
	m := r.Begin(uint32(tagFormat1))
	r.Append(t.relay[4:])
	r.End(m)
	return apdu.OK
}

// checksum is COMPUTE CRYPTOGRAPHIC CHECKSUM (Book C-2 5.2): magnetic-stripe mode,
// where two digits of a cryptogram stand for CVC (recalled, unverified).
func (c *Card) checksum(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	t := &c.now
	a, here := t.app, t.here()
	switch {
	case t.side != profile.Contactless || !here.Stripe:
		return apdu.InsNotSupported
	case len(cmd.Data) != 4: // the default UDOL: 9F6A 04
		return apdu.WrongLength
	case a.state.has(isBlocked):
		return apdu.ConditionsNotSatisfied
	}
	m := r.Begin(uint32(tagFormat2))
	for _, tag := range []uint32{tagChecksum2, tagChecksum1} {
		static := track2(a)
		if tag == tagChecksum1 {
			static = append([]byte(a.PAN+"^"+a.Holder+"^"), bcd(a.ServiceCode+"0", 0)...)
		}
		v := cryptogram.Checksum(a.keys.AC, static, [4]byte(cmd.Data), a.state.atc)
		r.TLV(tag, v[:])
	}
	r.TLV(uint32(tagATC), a.element(tagATC))
	r.End(m)
	t.state = selected
	if c.log(cidARQC) != nil {
		r.Reset()
		return apdu.MemoryProblem
	}
	return apdu.OK
}
