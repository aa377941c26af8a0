package mrtd

import (
	"crypto/sha1" //nolint:gosec // the standard's
	"crypto/subtle"
	"math/big"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pace"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// authenticationFailed is 6300: the other side has not shown what it had to know.
const authenticationFailed apdu.SW = 0x6300

// basicAccess is the chip's part of BAC (Doc 9303-11 4.3).
func (c *Card) basicAccess(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if len(cmd.Data) != 40 {
		return apdu.WrongLength
	}
	h := sha1.Sum([]byte(c.chip.Passwords.MRZ)) //nolint:gosec // the standard's
	kenc, kmac := sm.KDF(sm.TDES, h[:16], 1, nil), sm.KDF(sm.TDES, h[:16], 2, nil)
	e, mac := cmd.Data[:32], cmd.Data[32:]
	if subtle.ConstantTimeCompare(sm.MAC(sm.TDES, kmac, e), mac) != 1 {
		c.failures++
		return authenticationFailed
	}
	s, err := pace.CBC(sm.TDES, kenc, nil, e, true) // RND.IFD, RND.IC, K.IFD
	if err != nil || string(s[8:16]) != string(c.challenge) {
		return authenticationFailed
	}
	own := random(16)
	answer := append(append(append([]byte{}, s[8:16]...), s[:8]...), own...)
	if answer, err = pace.CBC(sm.TDES, kenc, nil, answer, false); err != nil {
		return apdu.NoPreciseDiagnosis
	}
	r.Append(answer)
	r.Append(sm.MAC(sm.TDES, kmac, answer))
	seed := make([]byte, 16)
	subtle.XORBytes(seed, s[16:], own)
	ssc := append(append([]byte{}, s[12:16]...), s[4:8]...)
	number := c.chip.Passwords.MRZ // with its check digit: what comes before both dates
	c.grant(sm.New(sm.TDES, sm.KDF(sm.TDES, seed, 1, nil), sm.KDF(sm.TDES, seed, 2, nil), ssc), false, []byte(number[:len(number)-14]))
	return apdu.OK
}

// algs are the ciphers of secure messaging.
var algs = map[lds.Cipher]sm.Alg{lds.TDES: sm.TDES, lds.AES128: sm.AES128, lds.AES192: sm.AES192, lds.AES256: sm.AES256}

// Passwords of PACE (Doc 9303-11 4.4.4.1).
const (
	refMRZ = 1
	refCAN = 2
	refPIN = 3
)

// agreement is PACE, or chip authentication, under way.
type agreement struct {
	key *issue.CAKey // chip authentication: the key that MSE:Set AT chose
	alg sm.Alg

	way      *issue.PACE
	curve    *ec.Curve
	ref      byte
	step     int
	nonce    []byte
	mapping  []byte   // private key of the mapping
	g        ec.Point // the generator of the nonce
	private  []byte   // ephemeral key
	own      ec.Point
	terminal ec.Point
	shared   []byte

	// DH, instead of curve and points.
	group                  *pace.Group
	gDH, ownDH, terminalDH []byte
}

// setPACE is MSE:Set AT of PACE: protocol, password, domain parameters (Doc 9303-11
// 4.4.4.1).
func (c *Card) setPACE(data []byte) sdk.SW {
	c.agree = nil
	a := &agreement{}
	var oid []byte
	parameters := -1
	r := tlv.Read(data)
	for r.Next() {
		switch {
		case r.Tag == 0x80:
			oid = r.Value
		case r.Tag == 0x83 && len(r.Value) == 1:
			a.ref = r.Value[0]
		case r.Tag == 0x84 && len(r.Value) == 1:
			parameters = int(r.Value[0])
		case r.Tag == 0x7F4C: // of terminal authentication version 2, which is not here
		default:
			return apdu.WrongData
		}
	}
	if r.Err() != nil || oid == nil {
		return apdu.WrongData
	}
	known := false
	for i := range c.chip.PACE {
		if w := &c.chip.PACE[i]; string(w.OID) == string(oid) {
			known = true
			if parameters >= 0 && w.Parameters != parameters {
				continue
			}
			if a.way != nil { // two ways, and no parameters that choose
				return apdu.WrongData
			}
			a.way = w
		}
	}
	switch {
	case !known:
		return apdu.WrongData
	case a.way == nil:
		return apdu.ReferencedDataNotFound
	case c.secret(a.ref) == nil:
		return apdu.ReferencedDataNotFound
	}
	if a.way.Agreement == lds.DH {
		a.group, _ = pace.GroupByID(a.way.Parameters)
	} else {
		a.curve, _ = ec.ByID(a.way.Parameters)
	}
	if a.group == nil && a.curve == nil {
		return apdu.ReferencedDataNotFound
	}
	a.alg = algs[a.way.Cipher]
	if a.ref == refPIN {
		switch n := c.tries(); {
		case n == 0:
			return apdu.AuthBlocked
		case n < c.chip.Passwords.PINTries:
			c.agree = a
			return apdu.Counter | apdu.SW(n)
		}
	}
	c.agree = a
	return apdu.OK
}

// secret is what K pi is derived from, nil when the document has no such password.
func (c *Card) secret(ref byte) []byte {
	p := &c.chip.Passwords
	switch {
	case ref == refMRZ && p.MRZ != "":
		h := sha1.Sum([]byte(p.MRZ)) //nolint:gosec // the standard's
		return h[:]
	case ref == refCAN && p.CAN != "":
		return []byte(p.CAN)
	case ref == refPIN && p.PIN != "":
		return []byte(p.PIN)
	}
	return nil
}

// tries are those that the PIN has left.
func (c *Card) tries() byte {
	v, _ := sdk.NVM.Get("m/tries")
	if len(v) != 1 {
		return 0
	}
	return v[0]
}

// generalAuthenticate is a step of PACE or chip authentication.
func (c *Card) generalAuthenticate(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return apdu.WrongP1P2
	}
	a := c.agree
	if a == nil {
		return apdu.ConditionsNotSatisfied
	}
	data, err := tlv.Find(cmd.Data, 0x7C)
	if err != nil || len(tlv.Append(nil, 0x7C, data...)) != len(cmd.Data) {
		return apdu.WrongData
	}
	var tag tlv.Tag
	var value []byte
	if len(data) > 0 {
		o := tlv.Read(data)
		if !o.Next() || len(o.Rest()) > 0 {
			return apdu.WrongData
		}
		tag, value = o.Tag, o.Value
	}
	if a.key != nil {
		return c.chipStep(a, tag, value, r)
	}
	steps := [...]struct {
		tag tlv.Tag
		run func(*Card, *agreement, []byte, *sdk.Response) sdk.SW
	}{{0, (*Card).paceNonce}, {0x81, (*Card).paceMap}, {0x83, (*Card).paceAgree}, {0x85, (*Card).paceToken}}
	s := steps[a.step]
	if tag != s.tag {
		if tag == 0 || tag == 0x81 || tag == 0x83 || tag == 0x85 {
			return apdu.ConditionsNotSatisfied
		}
		return apdu.WrongData
	}
	m := r.Begin(0x7C)
	sw := s.run(c, a, value, r)
	r.End(m)
	if sw == apdu.OK {
		a.step++
	}
	return sw
}

// paceNonce gives the nonce, enciphered with the password.
func (c *Card) paceNonce(a *agreement, _ []byte, r *sdk.Response) sdk.SW {
	if a.ref == refPIN && c.tries() == 1 && c.chip.Passwords.PINTries > 1 && !c.withCAN {
		return apdu.ConditionsNotSatisfied // suspended: the CAN comes first (TR-03110-3 B.1, recalled, unverified)
	}
	n := 16
	if a.way.Mapping == lds.Integrated && a.alg.KeySize() > 16 {
		n = 32 // as long as the key, in whole blocks
	}
	a.nonce = random(n)
	if c.has(issue.DefectNonce) {
		clear(a.nonce)
	}
	z, err := pace.CBC(a.alg, sm.KDF(a.alg, c.secret(a.ref), 3, nil), nil, a.nonce, false)
	if err != nil {
		return apdu.NoPreciseDiagnosis
	}
	r.TLV(0x80, z)
	return apdu.OK
}

// paceMap maps the nonce to a generator.
func (c *Card) paceMap(a *agreement, value []byte, r *sdk.Response) sdk.SW {
	var err error
	if a.way.Mapping == lds.Integrated && len(value) != a.alg.KeySize() {
		return apdu.WrongData
	}
	if a.group != nil {
		return a.mapDH(value, r)
	}
	if a.way.Mapping == lds.Integrated {
		if a.g, err = pace.Integrated(a.curve, a.alg, a.nonce, value); err != nil {
			return apdu.WrongData
		}
		r.TLV(0x82, nil)
		return apdu.OK
	}
	peer, err := a.curve.Parse(value)
	if err != nil {
		return apdu.WrongData
	}
	a.mapping = a.curve.Scalar(random(a.curve.OrderSize() + 8))
	own, err1 := a.curve.Base(a.mapping)
	h, err2 := a.curve.Mult(peer, a.mapping)
	if err1 != nil || err2 != nil {
		return apdu.WrongData
	}
	a.g = h
	if s, err := a.curve.Base(a.nonce); err == nil { // a nonce of zero adds nothing
		if a.g, err = a.curve.Add(s, h); err != nil {
			return apdu.WrongData
		}
	}
	r.TLV(0x82, own.Bytes())
	return apdu.OK
}

// mapDH is paceMap with a group.
func (a *agreement) mapDH(value []byte, r *sdk.Response) sdk.SW {
	g := a.group
	var err error
	if a.way.Mapping == lds.Integrated {
		if a.gDH, err = g.Integrated(sdk.ModExp, a.alg, a.nonce, value); err != nil {
			return apdu.WrongData
		}
		r.TLV(0x82, nil)
		return apdu.OK
	}
	if g.Check(sdk.ModExp, value) != nil {
		return apdu.WrongData
	}
	k := g.Scalar(random(len(g.Q) + 8))
	own, err1 := g.Power(sdk.ModExp, g.G, k)
	h, err2 := g.Power(sdk.ModExp, value, k)
	if err1 != nil || err2 != nil {
		return apdu.NoPreciseDiagnosis
	}
	if a.gDH, err = g.Generic(sdk.ModExp, a.nonce, h); err != nil || g.Check(sdk.ModExp, a.gDH) != nil {
		return apdu.WrongData
	}
	r.TLV(0x82, own)
	return apdu.OK
}

// agreeDH is paceAgree with a group.
func (a *agreement) agreeDH(value []byte, reflect bool, r *sdk.Response) sdk.SW {
	g := a.group
	if g.Check(sdk.ModExp, value) != nil {
		return apdu.WrongData
	}
	k := g.Scalar(random(len(g.Q) + 8))
	var err1, err2 error
	a.terminalDH = append([]byte{}, value...)
	a.ownDH, err1 = g.Power(sdk.ModExp, a.gDH, k)
	a.shared, err2 = g.Power(sdk.ModExp, value, k)
	if err1 != nil || err2 != nil {
		return apdu.NoPreciseDiagnosis
	}
	if reflect {
		a.ownDH = a.terminalDH
	} else if string(a.ownDH) == string(value) {
		return apdu.WrongData
	}
	r.TLV(0x84, a.ownDH)
	return apdu.OK
}

// tokens are the authentication tokens that the terminal shows and the chip answers, and
// the compressed key of the chip (Doc 9303-11 4.4.3.4; TR-03110-3 A.2.2.3).
func (a *agreement) tokens(kmac []byte) (terminal, chip, id []byte) {
	if a.group != nil {
		h := sha1.Sum(a.ownDH) //nolint:gosec // the standard's
		return pace.TokenDH(a.alg, kmac, a.way.OID, a.ownDH), pace.TokenDH(a.alg, kmac, a.way.OID, a.terminalDH), h[:]
	}
	return pace.Token(a.alg, kmac, a.way.OID, a.own), pace.Token(a.alg, kmac, a.way.OID, a.terminal), a.own.X()
}

// paceAgree is the key agreement with the generator of the nonce.
func (c *Card) paceAgree(a *agreement, value []byte, r *sdk.Response) sdk.SW {
	if a.group != nil {
		return a.agreeDH(value, c.has(issue.DefectReflect), r)
	}
	var err error
	if a.terminal, err = a.curve.Parse(value); err != nil {
		return apdu.WrongData
	}
	a.private = a.curve.Scalar(random(a.curve.OrderSize() + 8))
	if a.own, err = a.curve.Mult(a.g, a.private); err != nil {
		return apdu.NoPreciseDiagnosis
	}
	if c.has(issue.DefectReflect) {
		a.own = a.terminal
	} else if a.own.Equal(a.terminal) {
		return apdu.WrongData
	}
	if a.shared, err = a.curve.SharedSecret(a.private, a.terminal); err != nil {
		return apdu.WrongData
	}
	r.TLV(0x84, a.own.Bytes())
	return apdu.OK
}

// paceToken checks the terminal's authentication token and gives the chip's.
func (c *Card) paceToken(a *agreement, value []byte, r *sdk.Response) sdk.SW {
	kenc, kmac := sm.KDF(a.alg, a.shared, 1, nil), sm.KDF(a.alg, a.shared, 2, nil)
	if a.ref == refPIN { // the try is gone before it is known what it was worth
		if sdk.NVM.Put("m/tries", []byte{c.tries() - 1}) != nil || sdk.NVM.Commit() != nil {
			return apdu.MemoryProblem
		}
	}
	want, token, id := a.tokens(kmac)
	if subtle.ConstantTimeCompare(want, value) != 1 {
		c.failures++
		if a.ref == refPIN {
			return apdu.Counter | apdu.SW(c.tries())
		}
		return authenticationFailed
	}
	if a.ref == refPIN && sdk.NVM.Put("m/tries", []byte{c.chip.Passwords.PINTries}) != nil {
		return apdu.MemoryProblem
	}
	if c.has(issue.DefectToken) {
		token[0] ^= 1
	}
	r.TLV(0x86, token)
	for i, name := range c.trusted() {
		r.TLV(uint32(0x87+i), []byte(name))
	}
	if a.way.Mapping == lds.ChipAuthentication {
		data, err := c.chipData(a, kenc)
		if err != nil {
			return apdu.NoPreciseDiagnosis
		}
		r.TLV(0x8A, data)
	}
	c.grant(sm.New(a.alg, kenc, kmac, nil), true, id)
	c.withCAN = a.ref == refCAN
	return apdu.OK
}

// chipData proves the static key with the key of the mapping, enciphered (Doc 9303-11
// 4.4.3.5.1).
func (c *Card) chipData(a *agreement, kenc []byte) ([]byte, error) {
	n := a.curve.Order()
	x := new(big.Int).ModInverse(new(big.Int).SetBytes(a.way.Static), n)
	x.Mul(x, new(big.Int).SetBytes(a.mapping)).Mod(x, n)
	data := x.FillBytes(make([]byte, a.curve.OrderSize()))
	if c.has(issue.DefectCAMData) {
		data[len(data)-1] ^= 1
	}
	ff := []byte("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")
	iv, err := pace.CBC(a.alg, kenc, nil, ff, false)
	if err != nil {
		return nil, err
	}
	return pace.CBC(a.alg, kenc, iv, sm.Pad(data, 16), false)
}
