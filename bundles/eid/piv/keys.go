package piv

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"errors"
	"math/big"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Algorithm identifiers (SP 800-78-4 table 6-2); from 05 and 16 on those of vendors.
const (
	alg3DES    = 0x03
	algRSA3072 = 0x05
	algRSA1024 = 0x06
	algRSA2048 = 0x07
	algAES128  = 0x08
	algAES192  = 0x0A
	algAES256  = 0x0C
	algP256    = 0x11
	algP384    = 0x14
	algRSA4096 = 0x16 // vendor
	algEd25519 = 0xE0 // vendor
	algX25519  = 0xE1 // vendor
)

// Key references (part 1 table 4).
const (
	slotAuthentication = 0x9A
	slotManagement     = 0x9B
	slotSignature      = 0x9C
	slotKeyManagement  = 0x9D
	slotCard           = 0x9E
	slotRetiredFirst   = 0x82
	slotRetiredLast    = 0x95
)

// Policies (vendor): when a key needs the PIN.
const (
	pinNever  = 1
	pinOnce   = 2
	pinAlways = 3

	touchNever = 1

	originGenerated = 1
	originImported  = 2
)

const exponent = 65537

func isSlot(ref byte) bool {
	switch ref {
	case slotAuthentication, slotSignature, slotKeyManagement, slotCard:
		return true
	}
	return ref >= slotRetiredFirst && ref <= slotRetiredLast
}

// rsaBits is the length of an RSA key, 0 for other algorithms.
func rsaBits(alg byte) int {
	return map[byte]int{algRSA1024: 1024, algRSA2048: 2048, algRSA3072: 3072, algRSA4096: 4096}[alg]
}

// curveSize is the length of a private key on a curve, 0 for other algorithms.
func curveSize(alg byte) int {
	return map[byte]int{algP256: 32, algP384: 48, algEd25519: 32, algX25519: 32}[alg]
}

// key is a private key: in NVM its algorithm, PIN and touch policy, origin, secret.
type key struct {
	alg, pin, touch, origin byte
	secret                  []byte // RSA: p, q; curves: the number, or the seed
}

var errKey = errors.New("piv: no key of this algorithm")

func keyName(ref byte) string {
	const d = "0123456789abcdef"
	return "k/" + string([]byte{d[ref>>4], d[ref&15]})
}

func loadKey(ref byte) (k key, ok bool) {
	b, ok := sdk.NVM.Get(keyName(ref))
	if !ok || len(b) < 4 {
		return k, false
	}
	return key{b[0], b[1], b[2], b[3], b[4:]}, true
}

func (k key) store(ref byte) error {
	return sdk.NVM.Put(keyName(ref), append([]byte{k.alg, k.pin, k.touch, k.origin}, k.secret...))
}

func (k key) rsa() (*rsakey.PrivateKey, error) {
	n := len(k.secret) / 2
	return rsakey.New(k.secret[:n], k.secret[n:], exponent)
}

func (k key) ecdh() (*ecdh.PrivateKey, error) {
	switch k.alg {
	case algP256:
		return ecdh.P256().NewPrivateKey(k.secret)
	case algP384:
		return ecdh.P384().NewPrivateKey(k.secret)
	case algX25519:
		return ecdh.X25519().NewPrivateKey(k.secret)
	}
	return nil, errKey
}

// public is the content of template 7F49 (part 2 table 11).
func (k key) public() ([]byte, error) {
	if rsaBits(k.alg) > 0 {
		r, err := k.rsa()
		if err != nil {
			return nil, err
		}
		return tlv.Append(tlv.Append(nil, 0x81, r.Modulus...), 0x82, r.Exponent...), nil
	}
	if k.alg == algEd25519 {
		return tlv.Append(nil, 0x86, ed25519.NewKeyFromSeed(k.secret).Public().(ed25519.PublicKey)...), nil
	}
	e, err := k.ecdh()
	if err != nil {
		return nil, err
	}
	return tlv.Append(nil, 0x86, e.PublicKey().Bytes()...), nil
}

// policies are those of a command, or what the slot has (part 1 table 4): 9C always, 9E
// never, others once.
func policies(ref byte, rd tlv.Reader) (pin, touch byte, ok bool) {
	pin, touch = pinOnce, touchNever
	switch ref {
	case slotSignature:
		pin = pinAlways
	case slotCard:
		pin = pinNever
	}
	for rd.Next() {
		if (rd.Tag == 0xAA || rd.Tag == 0xAB) && len(rd.Value) == 1 && rd.Value[0] <= pinAlways {
			if v := rd.Value[0]; v != 0 && rd.Tag == 0xAA {
				pin = v
			} else if v != 0 {
				touch = v
			}
		}
	}
	return pin, touch, rd.Err() == nil
}

// generate is GENERATE ASYMMETRIC KEY PAIR (part 2 3.3.2).
func (c *Card) generate(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch {
	case cmd.P1 != 0x00 || !isSlot(cmd.P2):
		return apdu.WrongP1P2
	case !c.admin:
		return apdu.SecurityNotSatisfied
	}
	template, err := tlv.Find(cmd.Data, 0xAC)
	if err != nil {
		return apdu.WrongData
	}
	alg, err := tlv.Find(template, 0x80)
	if err != nil || len(alg) != 1 {
		return apdu.WrongData
	}
	k := key{alg: alg[0], origin: originGenerated}
	var ok bool
	if k.pin, k.touch, ok = policies(cmd.P2, tlv.Read(template)); !ok {
		return apdu.WrongData
	}
	if bits := rsaBits(k.alg); bits > 0 {
		p, q, err := sdk.GenerateRSA(nil, bits, exponent)
		if err != nil {
			return apdu.NoPreciseDiagnosis
		}
		k.secret = append(p, q...)
	} else if n := curveSize(k.alg); n > 0 {
		k.secret = make([]byte, n)
		for range 100 { // a number beyond the order of the curve is as good as impossible
			sdk.Random(k.secret)
			if _, err = k.public(); err == nil {
				break
			}
		}
	} else {
		return apdu.WrongData
	}
	public, err := k.public()
	if err != nil {
		return apdu.NoPreciseDiagnosis
	}
	if k.store(cmd.P2) != nil {
		return apdu.NotEnoughMemory
	}
	r.TLV(0x7F49, public)
	return apdu.OK
}

// sign is the private operation over what 81 brought: RSA to the block as it is, curves a
// signature over a hash, Ed25519 over the message.
func (k key) sign(data []byte) ([]byte, error) {
	switch {
	case rsaBits(k.alg) > 0:
		r, err := k.rsa()
		if err != nil {
			return nil, err
		}
		return r.Apply(power(), data)
	case k.alg == algP256, k.alg == algP384:
		c := ec.P256
		if k.alg == algP384 {
			c = ec.P384
		}
		r, s, err := c.Sign(k.secret, data)
		if err != nil {
			return nil, err
		}
		return tlv.Append(nil, 0x30, append(integer(r), integer(s)...)...), nil
	case k.alg == algEd25519:
		return ed25519.Sign(ed25519.NewKeyFromSeed(k.secret), data), nil
	}
	return nil, errKey
}

// integer is a number as DER has it.
func integer(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return tlv.Append(nil, 0x02, b...)
}

// power is who does RSA: the platform, or the bundle itself when the persona says so.
func power() rsakey.Power {
	if _, ok := sdk.NVM.Size("own"); ok {
		return rsakey.ModExp
	}
	return sdk.ModExp
}

// agree is ECDH with a public key of somebody else.
func (k key) agree(point []byte) ([]byte, error) {
	e, err := k.ecdh()
	if err != nil {
		return nil, err
	}
	p, err := e.Curve().NewPublicKey(point)
	if err != nil {
		return nil, err
	}
	return e.ECDH(p)
}

// fixed is v with zeros in front, n bytes; nil when it is longer.
func fixed(v []byte, n int) []byte {
	x := new(big.Int).SetBytes(v)
	if x.BitLen() > 8*n {
		return nil
	}
	return x.FillBytes(make([]byte, n))
}
