package iot

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// computeDH is COMPUTE DH: the x coordinate of private times public.
func (c *Card) computeDH(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	f, sw := parse(cmd.Data, iotsafe.TagPrivateID, iotsafe.TagPrivateLabel, iotsafe.TagPublicID, iotsafe.TagPublicLabel)
	if sw != sdk.OK {
		return sw
	}
	o, sw := c.find(f, profile.Private)
	if sw != sdk.OK {
		return sw
	}
	other, sw := c.find(f, profile.Public)
	if sw != sdk.OK {
		return sw
	}
	curve := profile.Curve(o.Type)
	if o.Agreement == 0 || other.Agreement == 0 || curve == nil || curve != profile.Curve(other.Type) {
		return sdk.CommandIncompatible
	}
	k, sw := o.private()
	if sw != sdk.OK {
		return sw
	}
	pub, sw := other.publicKey()
	if sw != sdk.OK {
		return sw
	}
	_, point := profile.Point(pub)
	secret, err := c.curves().dh(k.EC, point)
	if err != nil {
		return sdk.NoPreciseDiagnosis
	}
	r.Append(secret)
	return sdk.OK
}

// secretKey is the secret key of a command that may do this derivation.
func (c *Card) secretKey(f fields, derivation byte) ([]byte, sdk.SW) {
	o, sw := c.find(f, profile.Secret)
	if sw != sdk.OK {
		return nil, sw
	}
	if o.Functions&iotsafe.FuncDerivation == 0 || o.Derivation&derivation == 0 {
		return nil, sdk.CommandIncompatible
	}
	return o.bytes()
}

// computePRF is COMPUTE PRF: that of TLS 1.2 with SHA-256 (RFC 5246 clause 5). P1 says
// what its secret is made of.
func (c *Card) computePRF(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 > iotsafe.PRFPSKECDHE || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	f, sw := parse(cmd.Data, iotsafe.TagSecretID, iotsafe.TagSecretLabel, iotsafe.TagSecret, iotsafe.TagPremaster, iotsafe.TagLabelSeed, iotsafe.TagLength)
	if sw != sdk.OK {
		return sw
	}
	named := f.has(iotsafe.TagSecretID) || f.has(iotsafe.TagSecretLabel)
	n := f.number(iotsafe.TagLength, 1)
	if n == 0 || !f.has(iotsafe.TagLabelSeed) ||
		named != (cmd.P1 != iotsafe.PRFGeneral) ||
		f.has(iotsafe.TagSecret) != (cmd.P1 == iotsafe.PRFGeneral) ||
		f.has(iotsafe.TagPremaster) != (cmd.P1 == iotsafe.PRFPSKECDHE) {
		return sdk.WrongData
	}
	secret := f[iotsafe.TagSecret]
	if named {
		psk, sw := c.secretKey(f, iotsafe.PRFSHA256)
		if sw != sdk.OK {
			return sw
		}
		other := f[iotsafe.TagPremaster]
		if cmd.P1 == iotsafe.PRFPSK {
			other = make([]byte, len(psk))
		}
		secret = append(pack(other), pack(psk)...)
	}
	prf(r.Extend(n), secret, f[iotsafe.TagLabelSeed])
	return sdk.OK
}

// pack is b behind its length in two bytes (RFC 4279 clause 2, RFC 5489 clause 2).
func pack(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }

// prf is P_SHA256 (RFC 5246 clause 5); seed is label and seed.
func prf(dst, secret, seed []byte) {
	mac := hmac.New(sha256.New, secret)
	step := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	for a := step(seed); len(dst) > 0; a = step(a) {
		dst = dst[copy(dst, step(a, seed)):]
	}
}

// computeHKDF is COMPUTE HKDF: the first step of HKDF, Extract (RFC 5869 2.2). The input
// keying material comes in the command, or is a secret key of the applet.
func (c *Card) computeHKDF(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	f, sw := parse(cmd.Data, iotsafe.TagSecretID, iotsafe.TagSecretLabel, iotsafe.TagSecret, iotsafe.TagSalt, iotsafe.TagHash)
	if sw != sdk.OK {
		return sw
	}
	alg := f.number(iotsafe.TagHash, 2)
	named := f.has(iotsafe.TagSecretID) || f.has(iotsafe.TagSecretLabel)
	if alg > 0xFF || hashOf(byte(alg)) == 0 || named == f.has(iotsafe.TagSecret) {
		return sdk.WrongData
	}
	ikm := f[iotsafe.TagSecret]
	if named {
		if ikm, sw = c.secretKey(f, iotsafe.HKDF); sw != sdk.OK {
			return sw
		}
	}
	// Without a salt it is a row of zeros, which as a key of HMAC is no key.
	mac := hmac.New(func() hash.Hash { return newHash(byte(alg)) }, f[iotsafe.TagSalt])
	mac.Write(ikm)
	r.Set(mac.Sum(r.Bytes()))
	return sdk.OK
}
