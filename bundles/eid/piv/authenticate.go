package piv

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the standard's
	"crypto/subtle"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Tags of the dynamic authentication template 7C (part 2 table 7).
const (
	tagWitness   = 0x80
	tagChallenge = 0x81
	tagResponse  = 0x82
	tagExponent  = 0x85
)

// authenticate is GENERAL AUTHENTICATE (part 2 3.2.4).
func (c *Card) authenticate(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	expected := c.expect
	c.expect = nil
	template, err := tlv.Find(cmd.Data, 0x7C)
	if err != nil {
		return apdu.WrongData
	}
	var objects [4][]byte // witness, challenge, response, exponentiation
	rd := tlv.Read(template)
	for rd.Next() {
		switch rd.Tag {
		case tagWitness, tagChallenge, tagResponse:
			objects[rd.Tag-tagWitness] = present(rd.Value)
		case tagExponent:
			objects[3] = present(rd.Value)
		default:
			return apdu.WrongData
		}
	}
	if rd.Err() != nil {
		return apdu.WrongData
	}
	if cmd.P2 == slotManagement {
		return c.administrate(cmd.P1, objects, expected, r)
	}
	if cmd.P2 == slotSecure {
		return c.establish(cmd.P1, objects[1], r)
	}
	if !isSlot(cmd.P2) {
		return apdu.WrongP1P2
	}
	if !c.may(cmd.P2 == slotCard) {
		return apdu.SecurityNotSatisfied
	}
	k, ok := loadKey(cmd.P2)
	switch {
	case !ok:
		return apdu.ReferencedDataNotFound
	case k.alg != cmd.P1:
		return apdu.WrongP1P2
	case k.pin == pinOnce && !c.pin(), k.pin == pinAlways && !c.just:
		return apdu.SecurityNotSatisfied
	}
	var out []byte
	switch {
	case len(objects[1]) > 0:
		out, err = k.sign(objects[1])
	case len(objects[3]) > 0:
		out, err = k.agree(objects[3])
	default:
		return apdu.WrongData
	}
	if err != nil {
		return apdu.WrongData
	}
	if k.pin == pinAlways {
		c.just = false
	}
	m := r.Begin(0x7C)
	r.TLV(tagResponse, out)
	r.End(m)
	return apdu.OK
}

// present keeps an empty value apart from none.
func present(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

// management is the administration key: algorithm and value in NVM.
func management() (alg byte, b cipher.Block) {
	k, _ := sdk.NVM.Get("mgm")
	if len(k) == 0 {
		return 0, nil
	}
	if k[0] == alg3DES {
		b, _ = des.NewTripleDESCipher(k[1:])
	} else {
		b, _ = aes.NewCipher(k[1:])
	}
	return k[0], b
}

// managementSize is the length of an administration key, 0 for no such algorithm.
func managementSize(alg byte) int {
	return map[byte]int{alg3DES: 24, algAES128: 16, algAES192: 24, algAES256: 32}[alg]
}

// administrate authenticates the administrator (part 2 appendix A.1): a challenge of the
// card that he enciphers, or a witness that he deciphers and a challenge of his own.
func (c *Card) administrate(alg byte, o [4][]byte, expected []byte, r *sdk.Response) sdk.SW {
	have, k := management()
	switch {
	case k == nil:
		return apdu.ReferencedDataNotFound
	case alg != have && (alg != 0 || have != alg3DES): // 00 is 3DES too
		return apdu.WrongP1P2
	}
	n := k.BlockSize()
	answer := func(tag uint32, v []byte) sdk.SW {
		m := r.Begin(0x7C)
		r.TLV(tag, v)
		r.End(m)
		return apdu.OK
	}
	random := make([]byte, n)
	switch witness, challenge, response := o[0], o[1], o[2]; {
	case witness != nil && len(witness) == 0: // asks for a witness
		sdk.Random(random)
		c.expect = append([]byte{tagWitness}, random...)
		k.Encrypt(random, random)
		return answer(tagWitness, random)
	case challenge != nil && len(challenge) == 0: // asks for a challenge
		sdk.Random(random)
		c.expect = append([]byte{tagResponse}, random...)
		return answer(tagChallenge, random)
	case len(response) == n && len(witness) == 0:
		if len(expected) != 1+n || expected[0] != tagResponse {
			return apdu.ConditionsNotSatisfied
		}
		k.Encrypt(random, expected[1:])
		if subtle.ConstantTimeCompare(random, response) != 1 {
			return apdu.SecurityNotSatisfied
		}
		c.admin = true
		return apdu.OK
	case len(witness) == n && len(challenge) == n:
		if len(expected) != 1+n || expected[0] != tagWitness {
			return apdu.ConditionsNotSatisfied
		}
		if subtle.ConstantTimeCompare(witness, expected[1:]) != 1 {
			return apdu.SecurityNotSatisfied
		}
		c.admin = true
		k.Encrypt(random, challenge)
		return answer(tagResponse, random)
	}
	return apdu.WrongData
}
