package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// dynamicNumber is the length of the ICC dynamic number (Book 2 table 14: 2 to 8).
const dynamicNumber = 8

// internalAuthenticate is INTERNAL AUTHENTICATE (Book 3 6.5.9): the card signs what
// the terminal sent by DDOL (Book 2 6.5).
func (c *Card) internalAuthenticate(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	a := c.now.app
	ddol, _ := emv.ParseDOL(a.DDOL)
	switch {
	case a.icc == nil || c.now.here().AIP[0]&aipDDA == 0:
		return apdu.ConditionsNotSatisfied
	case len(cmd.Data) == 0 || len(ddol) > 0 && len(cmd.Data) != emv.Length(ddol):
		return apdu.WrongLength
	}
	dynamic := make([]byte, 1+dynamicNumber)
	dynamic[0] = dynamicNumber
	sdk.Random(dynamic[1:])
	signed, err := oda.SignDynamic(c.rsa, a.icc, dynamic, cmd.Data)
	if err != nil {
		sdk.Log(sdk.Fault, err.Error())
		return apdu.NoPreciseDiagnosis
	}
	c.now.dynamic = true
	if a.Format == 1 {
		r.TLV(uint32(tagFormat1), signed)
		return apdu.OK
	}
	m := r.Begin(uint32(tagFormat2))
	r.TLV(uint32(tagDynamic), signed)
	r.End(m)
	return apdu.OK
}

// Bits of the first byte of the AIP (Book 3 annex C1).
const (
	aipDDA        = 0x20
	aipIssuerAuth = 0x04
	aipCDA        = 0x01
)

// getChallenge is GET CHALLENGE (Book 3 6.5.6): 8 bytes for the command that follows.
func (c *Card) getChallenge(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if len(cmd.Data) > 0 {
		return apdu.WrongLength
	}
	sdk.Random(c.now.challenge[:])
	c.now.challenged = true
	r.Append(c.now.challenge[:])
	return apdu.OK
}

// P2 of VERIFY (Book 3 table 23).
const pinEnciphered = 0x88

// verify is VERIFY (Book 3 6.5.12). The try is taken away and stored before the PIN is
// compared. A block that is malformed costs no try: 6A80 (unverified: Book 3 does not
// say).
func (c *Card) verify(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	t := &c.now
	a := t.app
	challenged := t.challenged
	t.challenged = false
	switch {
	case a.PINTries == 0:
		return apdu.FunctionNotSupported
	case cmd.P2 == pinEnciphered && a.pin == nil:
		return apdu.WrongP1P2
	case cmd.P2 == pinEnciphered && len(cmd.Data) != len(a.pin.Modulus), cmd.P2 != pinEnciphered && len(cmd.Data) != 8:
		return apdu.WrongLength
	case cmd.P2 == pinEnciphered && !challenged:
		return apdu.ConditionsNotSatisfied
	case a.state.tries == 0:
		return apdu.AuthBlocked
	}
	block := [8]byte{}
	if cmd.P2 == pinEnciphered {
		var err error
		if block, err = oda.DecipherPIN(c.rsa, a.pin, cmd.Data, t.challenge); err != nil {
			return apdu.WrongData
		}
	} else {
		copy(block[:], cmd.Data)
	}
	pin, err := oda.ParsePINBlock(block)
	if err != nil {
		return apdu.WrongData
	}
	a.state.tries--
	if a.commit() != nil {
		return apdu.MemoryProblem
	}
	want, _ := sdk.NVM.Get(a.key("pin"))
	if pin != string(want) {
		t.verify = wrong
		if a.state.tries == 0 {
			sdk.Event("pin.blocked", []byte(a.Name))
		}
		return apdu.Counter | sdk.SW(a.state.tries)
	}
	a.state.tries = a.PINTries
	if a.save() != nil {
		return apdu.MemoryProblem
	}
	t.verify = passed
	return apdu.OK
}

// externalAuthenticate is EXTERNAL AUTHENTICATE (Book 3 6.5.4): the ARPC of the
// issuer, once in a transaction. 6300: it is wrong.
func (c *Card) externalAuthenticate(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	t := &c.now
	switch {
	case t.here().AIP[0]&aipIssuerAuth == 0 || t.issuer != notDone:
		return apdu.ConditionsNotSatisfied
	case len(cmd.Data) < 8 || len(cmd.Data) > 16:
		return apdu.WrongLength
	}
	c.issuerAuthentication(cmd.Data)
	if t.app.save() != nil {
		return apdu.MemoryProblem
	}
	if t.issuer == wrong {
		return swAuthFailed
	}
	return apdu.OK
}

// issuerAuthentication checks issuer authentication data, tag 91 (Book 2 8.2): method
// 1 is the ARPC (8) and the authorisation response code (2), method 2 the ARPC (4),
// the card status update (4) and up to 8 bytes of the issuer's.
func (c *Card) issuerAuthentication(data []byte) {
	t := &c.now
	a := t.app
	t.issuer = wrong
	if a.ARPC == 1 && len(data) >= 10 {
		want := a.Version.ARPC1(a.keys.AC, a.state.atc, t.ac, [2]byte(data[8:10]))
		if equal(want[:], data[:8]) {
			t.issuer = passed
		}
	}
	if a.ARPC == 2 && len(data) >= 8 {
		csu := [4]byte(data[4:8])
		want := a.Version.ARPC2(a.keys.AC, a.state.atc, t.ac, csu, trimmed(data[8:]))
		if equal(want[:], data[:4]) {
			t.issuer, t.csu = passed, csu
		}
	}
	a.state.set(issuerAuthWrong, t.issuer == wrong)
}

// equal compares in constant time.
func equal(a, b []byte) bool {
	var d byte
	for i := range a {
		d |= a[i] ^ b[i]
	}
	return len(a) == len(b) && d == 0
}

// trimmed is data without the zeros with which a DOL fills it up: the data object is
// 8 to 16 bytes long, its length in a CDOL is fixed.
func trimmed(data []byte) []byte {
	for len(data) > 0 && data[len(data)-1] == 0 {
		data = data[:len(data)-1]
	}
	return data
}

// combine signs a cryptogram (CDA, Book 2 6.6): the response with 9F4B in place of the
// cryptogram.
func (c *Card) combine(cid byte, iad []byte) ([]byte, error) {
	t := &c.now
	a := t.app
	var b []byte
	b = append(b, t.options...)
	b = append(b, t.first...)
	if t.state == online {
		b = append(b, t.second...)
	}
	b = tlv.Append(b, tagCID, cid)
	b = tlv.Append(b, tagATC, a.element(tagATC)...)
	b = tlv.Append(b, tagIAD, iad...)
	number := make([]byte, dynamicNumber)
	sdk.Random(number)
	var more []byte
	if t.relays > 0 { // Book C-2: what was exchanged for relay resistance is signed too (recalled, unverified)
		more = t.relay[:]
	}
	return oda.SignCombined(c.rsa, a.icc, number, cid, t.ac, oda.Hash(b), c.terminal(tagUN), more...)
}
