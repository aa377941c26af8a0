package iot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"hash"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// hashOf is a hash algorithm of the applet; 0: there is none with this number.
func hashOf(alg byte) crypto.Hash {
	switch alg {
	case iotsafe.SHA256:
		return crypto.SHA256
	case iotsafe.SHA384:
		return crypto.SHA384
	case iotsafe.SHA512:
		return crypto.SHA512
	}
	return 0
}

func newHash(alg byte) hash.Hash {
	switch alg {
	case iotsafe.SHA384:
		return sha512.New384()
	case iotsafe.SHA512:
		return sha512.New()
	}
	return sha256.New()
}

func (c *Card) computeSignatureInit(ch int, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	return c.signatureInit(ch, cmd, signing, profile.Private)
}

func (c *Card) verifySignatureInit(ch int, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	return c.signatureInit(ch, cmd, verifying, profile.Public)
}

// signatureInit is COMPUTE SIGNATURE INIT and VERIFY SIGNATURE INIT: key, mode of
// operation, hash and signature algorithm.
func (c *Card) signatureInit(ch int, cmd *sdk.Command, op operation, k profile.Kind) sdk.SW {
	s, sw := c.initSession(ch, cmd, op)
	if s == nil {
		return sw
	}
	f, sw := parse(cmd.Data, tlv.Tag(k.IDTag()), tlv.Tag(k.LabelTag()), iotsafe.TagMode, iotsafe.TagHash, iotsafe.TagSignatureAlg)
	if sw != sdk.OK {
		return sw
	}
	o, sw := c.find(f, k)
	if sw != sdk.OK {
		return sw
	}
	mode, alg := byte(f.number(iotsafe.TagMode, 1)), byte(f.number(iotsafe.TagSignatureAlg, 1))
	h := byte(f.number(iotsafe.TagHash, 2))
	if f.number(iotsafe.TagHash, 2) > 0xFF || hashOf(h) == 0 || mode < iotsafe.FullText || mode > iotsafe.PadAndSign {
		return sdk.WrongData
	}
	if alg != iotsafe.RSAPKCS1 && alg != iotsafe.RSAPSS && alg != iotsafe.ECDSA {
		return sdk.WrongData
	}
	if o.Functions&iotsafe.FuncSignature == 0 || o.Signatures&alg == 0 || o.Hashes&h == 0 || (alg == iotsafe.ECDSA) != (profile.Curve(o.Type) != nil) {
		return sdk.CommandIncompatible
	}
	if sw := o.may(); sw != sdk.OK {
		return sw
	}
	if c.pending(o) {
		return iotsafe.SWCapacity
	}
	*s = session{open: true, number: cmd.P2, channel: ch, op: op, o: o, mode: mode, hash: h, alg: alg}
	if mode == iotsafe.FullText {
		s.text = newHash(h)
	}
	return sdk.OK
}

// takeSignature takes the data objects of COMPUTE and VERIFY SIGNATURE UPDATE.
func takeSignature(s *session, tag byte, value []byte) sdk.SW {
	switch {
	case tag == iotsafe.TagSignature && s.op == verifying:
		return s.input.hold(tag, value, 256, false)
	case tag == iotsafe.TagText && s.mode == iotsafe.FullText:
		s.text.Write(value)
		return sdk.OK
	case tag == iotsafe.TagDigest && s.mode == iotsafe.PadAndSign, tag == iotsafe.TagIntermediate && s.mode == iotsafe.LastOfText:
		return s.input.hold(tag, value, 64, false)
	case tag == iotsafe.TagLastBlock && s.mode == iotsafe.LastOfText:
		return s.input.hold(tag, value, newHash(s.hash).BlockSize(), false)
	case tag == iotsafe.TagHashed && s.mode == iotsafe.LastOfText:
		return s.input.hold(tag, value, 8, false)
	}
	return sdk.WrongData
}

// digest is the hash of the text, as the mode says; nil: the data are not right.
func (s *session) digest() []byte {
	switch s.mode {
	case iotsafe.FullText:
		return s.text.Sum(nil)
	case iotsafe.PadAndSign:
		if d, _ := s.input.value(iotsafe.TagDigest); len(d) == hashOf(s.hash).Size() {
			return d
		}
		return nil
	}
	block, a := s.input.value(iotsafe.TagLastBlock)
	state, b := s.input.value(iotsafe.TagIntermediate)
	count, c := s.input.value(iotsafe.TagHashed)
	if !a || !b || !c || len(count) == 0 {
		return nil
	}
	var n uint64
	for _, x := range count {
		n = n<<8 | uint64(x)
	}
	h := resume(s.hash, state, n)
	if h == nil {
		return nil
	}
	h.Write(block)
	return h.Sum(nil)
}

// resume is a hash that goes on behind count bytes, a multiple of its block, with the
// intermediate value state. It is put together in the form that the standard library
// gives a running hash: 4 bytes that name it, the value, a block, the count.
func resume(alg byte, state []byte, count uint64) hash.Hash {
	h := newHash(alg)
	name, length := "sha\x03", 32
	switch alg {
	case iotsafe.SHA384:
		name, length = "sha\x04", 64
	case iotsafe.SHA512:
		name, length = "sha\x07", 64
	}
	if len(state) != length || count%uint64(h.BlockSize()) != 0 {
		return nil
	}
	b := append([]byte(name), state...)
	b = append(b, make([]byte, h.BlockSize())...)
	b = binary.BigEndian.AppendUint64(b, count)
	if u, ok := h.(encoding.BinaryUnmarshaler); !ok || u.UnmarshalBinary(b) != nil {
		return nil
	}
	return h
}

// computeSignatureUpdate is COMPUTE SIGNATURE UPDATE; the last one gives the signature:
// r and s, each as long as the curve, or that of RSA.
func (c *Card) computeSignatureUpdate(ch int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	s, last, sw := c.update(ch, cmd, signing, takeSignature)
	if sw != sdk.OK || !last {
		return sw
	}
	d := s.digest()
	if d == nil {
		return sdk.WrongData
	}
	k, sw := s.o.private()
	if sw != sdk.OK {
		return sw
	}
	var sig []byte
	if s.alg == iotsafe.ECDSA {
		var err error
		if sig, err = c.curves().sign(k.EC, d); err != nil {
			return sdk.NoPreciseDiagnosis
		}
	} else if sig = signRSA(k.RSA, s.alg, d, s.hash); sig == nil {
		return sdk.NoPreciseDiagnosis
	}
	if c.profile.TwoByte {
		r.Byte(iotsafe.TagSignature)
		r.Uint16(uint16(len(sig)))
		r.Append(sig)
		return sdk.OK
	}
	r.TLV(iotsafe.TagSignature, sig)
	return sdk.OK
}

// verifySignatureUpdate is VERIFY SIGNATURE UPDATE; the last one says whether the
// signature is right: 6D01 if not.
func (c *Card) verifySignatureUpdate(ch int, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	s, last, sw := c.update(ch, cmd, verifying, takeSignature)
	if sw != sdk.OK || !last {
		return sw
	}
	d := s.digest()
	sig, there := s.input.value(iotsafe.TagSignature)
	if d == nil || !there {
		return sdk.WrongData
	}
	k, sw := s.o.publicKey()
	if sw != sdk.OK {
		return sw
	}
	good := false
	switch k := k.(type) {
	case *ecdsa.PublicKey, *profile.ECPublicKey:
		curve, point := profile.Point(k)
		if curve == nil || len(sig) != 2*curve.OrderSize() {
			return sdk.WrongData
		}
		var err error
		if good, err = c.curves().verify(curve, point, d, sig); err != nil {
			return sdk.NoPreciseDiagnosis
		}
	case *rsa.PublicKey:
		if s.alg == iotsafe.RSAPSS {
			good = rsa.VerifyPSS(k, hashOf(s.hash), d, sig, nil) == nil
		} else {
			good = rsa.VerifyPKCS1v15(k, hashOf(s.hash), d, sig) == nil
		}
	}
	if !good {
		return iotsafe.SWMismatch
	}
	return sdk.OK
}
