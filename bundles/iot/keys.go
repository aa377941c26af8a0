package iot

import (
	"errors"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// readPublicKey is READ PUBLIC KEY.
func (c *Card) readPublicKey(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	o, sw := c.reference(cmd, profile.Public)
	if sw != sdk.OK {
		return sw
	}
	if o.Access&iotsafe.AccessRead == 0 {
		return sdk.ConditionsNotSatisfied
	}
	b, sw := o.bytes()
	if sw == sdk.OK {
		r.TLV(iotsafe.TagPublicKey, b)
	}
	return sw
}

// generateKeyPair is GENERATE KEY PAIR: a new pair in the container of a private key
// and in that of its public key. Both are stored together, or neither is.
func (c *Card) generateKeyPair(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	o, sw := c.reference(cmd, profile.Private)
	if sw != sdk.OK {
		return sw
	}
	switch {
	case o.Functions&iotsafe.FuncGeneration == 0:
		return sdk.CommandIncompatible
	case o.Access&iotsafe.AccessUpdate == 0:
		return sdk.ConditionsNotSatisfied
	}
	return c.generate(o, r)
}

// generate makes a new pair for the container of a private key.
func (c *Card) generate(o *object, r *sdk.Response) sdk.SW {
	k, stored, err := c.newPair(o.Type)
	if err != nil {
		return sdk.NoPreciseDiagnosis
	}
	pub, err := k.Public()
	if err != nil {
		return sdk.NoPreciseDiagnosis
	}
	encoded := profile.EncodePublic(pub)
	other := &c.objects[o.Pair]
	if err := errors.Join(o.put(stored), other.put(encoded)); err != nil {
		return memory(err)
	}
	o.keepPrivate(k)
	other.keepPublic(encoded, pub)
	c.abandon(o)
	c.abandon(other)
	r.TLV(iotsafe.TagPrivateID, o.ID)
	r.TLV(iotsafe.TagPublicID, other.ID)
	r.TLV(iotsafe.TagPublicKey, encoded)
	return sdk.OK
}

// newPair is a new key pair, and its private key as the store keeps it, from the
// platform's random bytes: on a curve the first number of its length that is one (FIPS
// 186-5 A.2.2).
func (c *Card) newPair(keyType byte) (k profile.Pair, stored []byte, err error) {
	curve := profile.Curve(keyType)
	if curve == nil {
		p, q, err := sdk.GenerateRSA(nil, 2048, profile.Exponent)
		if err != nil {
			return k, nil, err
		}
		stored = append(p, q...)
		k, err = profile.ParsePair(keyType, stored)
		return k, stored, err
	}
	stored = make([]byte, curve.OrderSize())
	for range 100 {
		sdk.Random(stored)
		if k, err = profile.ParsePair(keyType, stored); err == nil {
			return k, stored, c.curves().prepare(k.EC)
		}
	}
	return k, nil, errors.New("iot: no private key in a hundred random numbers")
}

// putPublicKeyInit is PUT PUBLIC KEY INIT.
func (c *Card) putPublicKeyInit(ch int, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	s, sw := c.initSession(ch, cmd, putting)
	if s == nil {
		return sw
	}
	f, sw := parse(cmd.Data, tlv.Tag(profile.Public.IDTag()), tlv.Tag(profile.Public.LabelTag()))
	if sw != sdk.OK {
		return sw
	}
	o, sw := c.find(f, profile.Public)
	if sw != sdk.OK {
		return sw
	}
	if o.Access&iotsafe.AccessUpdate == 0 {
		return sdk.ConditionsNotSatisfied
	}
	if c.pending(o) {
		return iotsafe.SWCapacity
	}
	*s = session{open: true, number: cmd.P2, channel: ch, op: putting, o: o}
	return sdk.OK
}

// takePublic takes the data objects of PUT PUBLIC KEY UPDATE.
func takePublic(s *session, tag byte, value []byte) sdk.SW {
	if tag != iotsafe.TagPublicKey {
		return sdk.WrongData
	}
	return s.input.hold(tag, value, maxHeld, true)
}

// putPublicKeyUpdate is PUT PUBLIC KEY UPDATE; the last one stores the key, if it is one.
func (c *Card) putPublicKeyUpdate(ch int, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	s, last, sw := c.update(ch, cmd, putting, takePublic)
	if sw != sdk.OK || !last {
		return sw
	}
	b, _ := s.input.value(iotsafe.TagPublicKey)
	k, err := profile.ParsePublic(s.o.Type, b)
	if err != nil {
		return sdk.WrongData
	}
	b = append([]byte(nil), b...)
	if err := s.o.put(b); err != nil {
		return memory(err)
	}
	s.o.keepPublic(b, k)
	c.abandon(s.o)
	return sdk.OK
}
