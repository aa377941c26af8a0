package mrtd

import (
	"crypto/sha1" //nolint:gosec // the standard's
	"crypto/sha256"
	"crypto/sha512"
	"math/big"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// caKey is the key of chip authentication that a reference names; without one, the only
// key there is.
func (c *Card) caKey(ref []byte) *issue.CAKey {
	if ref == nil {
		if len(c.chip.CA) == 1 {
			return &c.chip.CA[0]
		}
		return nil
	}
	id := new(big.Int).SetBytes(ref)
	for i := range c.chip.CA {
		if k := &c.chip.CA[i]; id.IsInt64() && int64(k.ID) == id.Int64() {
			return k
		}
	}
	return nil
}

// speaks tells whether a key may be used with a cipher.
func speaks(k *issue.CAKey, is func(lds.Protocol) bool) (sm.Alg, bool) {
	for _, p := range k.Protocols {
		if is(p) {
			return algs[p.Cipher], true
		}
	}
	return 0, false
}

// setKAT is MSE:Set KAT: chip authentication with 3DES, in one command (Doc 9303-11
// 6.2.4.1).
func (c *Card) setKAT(data []byte) sdk.SW {
	public, err := tlv.Find(data, 0x91)
	if err != nil {
		return apdu.WrongData
	}
	ref, _ := tlv.Find(data, 0x84)
	k := c.caKey(ref)
	if k == nil {
		return apdu.ReferencedDataNotFound
	}
	alg, ok := speaks(k, func(p lds.Protocol) bool { return p.Cipher == lds.TDES })
	if !ok {
		return apdu.WrongData
	}
	return c.authenticateChip(k, alg, public)
}

// setChip is MSE:Set AT of chip authentication with AES (Doc 9303-11 6.2.4.2).
func (c *Card) setChip(data []byte) sdk.SW {
	c.agree = nil
	oid, err := tlv.Find(data, 0x80)
	if err != nil {
		return apdu.WrongData
	}
	ref, _ := tlv.Find(data, 0x84)
	k := c.caKey(ref)
	if k == nil {
		return apdu.ReferencedDataNotFound
	}
	alg, ok := speaks(k, func(p lds.Protocol) bool { return string(p.OID) == string(oid) })
	if !ok {
		return apdu.WrongData
	}
	c.agree = &agreement{key: k, alg: alg}
	return apdu.OK
}

// chipStep is GENERAL AUTHENTICATE of chip authentication.
func (c *Card) chipStep(a *agreement, tag tlv.Tag, value []byte, r *sdk.Response) sdk.SW {
	if tag != 0x80 {
		return apdu.WrongData
	}
	c.agree = nil
	if sw := c.authenticateChip(a.key, a.alg, value); sw != apdu.OK {
		return sw
	}
	r.End(r.Begin(0x7C))
	return apdu.OK
}

// authenticateChip agrees on new keys with the static key; the session that begins with
// the next command shows that the chip has it.
func (c *Card) authenticateChip(k *issue.CAKey, alg sm.Alg, public []byte) sdk.SW {
	curve, ok := ec.ByID(k.Parameters)
	if !ok {
		return apdu.NoPreciseDiagnosis
	}
	p, err := curve.Parse(public)
	if err != nil {
		return apdu.WrongData
	}
	shared, err := curve.SharedSecret(k.Private, p)
	if err != nil {
		return apdu.WrongData
	}
	c.next = sm.New(alg, sm.KDF(alg, shared, 1, nil), sm.KDF(alg, shared, 2, nil), nil)
	c.ephemeral, c.terminal = p.X(), terminal{}
	return apdu.OK
}

func digest(h issue.Hash, parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	switch h {
	case issue.SHA1:
		d := sha1.Sum(b) //nolint:gosec // the standard's
		return d[:]
	case issue.SHA224:
		d := sha256.Sum224(b)
		return d[:]
	case issue.SHA384:
		d := sha512.Sum384(b)
		return d[:]
	case issue.SHA512:
		d := sha512.Sum512(b)
		return d[:]
	}
	d := sha256.Sum256(b)
	return d[:]
}

// internalAuthenticate is active authentication (Doc 9303-11 6.1).
func (c *Card) internalAuthenticate(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	k := c.chip.AA
	switch {
	case k == nil:
		return apdu.InsNotSupported
	case cmd.P1 != 0 || cmd.P2 != 0:
		return apdu.WrongP1P2
	case c.df != byte(issue.LDS1), !c.access && (c.chip.BAC || len(c.chip.PACE) > 0):
		return apdu.SecurityNotSatisfied
	case len(cmd.Data) != 8 || cmd.Ne == 0:
		return apdu.WrongLength
	}
	var sig []byte
	if k.Parameters != 0 {
		curve, _ := ec.ByID(k.Parameters)
		rr, s, err := curve.Sign(k.Private, digest(k.Hash, cmd.Data))
		if err != nil {
			return apdu.NoPreciseDiagnosis
		}
		if c.has(issue.DefectAATrailer) {
			s[len(s)-1] ^= 1
		}
		sig = append(rr, s...)
	} else {
		var sw sdk.SW
		if sig, sw = c.recoverable(k, cmd.Data); sw != apdu.OK {
			return sw
		}
	}
	r.Append(sig)
	return apdu.OK
}

// trailers of ISO/IEC 9796-2 with a hash identifier; SHA-1 has BC (Doc 9303-11 6.1.2.2).
var trailers = map[issue.Hash][]byte{
	issue.SHA1: {0xBC}, issue.SHA224: {0x38, 0xCC}, issue.SHA256: {0x34, 0xCC}, issue.SHA384: {0x36, 0xCC}, issue.SHA512: {0x35, 0xCC},
}

// recoverable is an RSA signature of ISO/IEC 9796-2 digital signature scheme 1 with
// partial recovery: 6A, M1 at random, the hash of M1 and the challenge, the trailer.
func (c *Card) recoverable(k *issue.AAKey, challenge []byte) ([]byte, sdk.SW) {
	key, err := rsakey.New(k.P, k.Q, k.Exponent)
	if err != nil {
		return nil, apdu.NoPreciseDiagnosis
	}
	trailer := trailers[k.Hash]
	size := len(key.Modulus)
	m1 := random(size - 1 - len(digest(k.Hash)) - len(trailer))
	m := append([]byte{0x6A}, m1...)
	m = append(append(m, digest(k.Hash, m1, challenge)...), trailer...)
	if c.has(issue.DefectAATrailer) {
		m[len(m)-1] ^= 1
	}
	sig, err := key.Apply(sdk.ModExp, m)
	if err != nil {
		return nil, apdu.NoPreciseDiagnosis
	}
	return sig, apdu.OK
}
