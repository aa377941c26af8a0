package mdoc

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"errors"

	"github.com/sspemu/sspemu/internal/ec"
)

// Header labels of RFC 9052 3.1 and RFC 9360 2.
const (
	labelAlg     = 1
	labelX5Chain = 33
)

// Algorithms of RFC 9053 2.1, 2.2, 3.1.
const (
	ES256   = -7
	ES384   = -35
	ES512   = -36
	EdDSA   = -8
	HMAC256 = 5
)

// Curves of RFC 9053 7.1; brainpool of the registry that ISO/IEC 18013-5 table 22 refers
// to (unverified).
const (
	crvP256    = 1
	crvP384    = 2
	crvP521    = 3
	crvEd25519 = 6
	crvBP256   = 256
	crvBP384   = 258
	crvBP512   = 259
)

// Kind of a key: its curve, and how it signs.
type Kind struct {
	Name  string // as personas write it
	Curve *ec.Curve
	crv   int
	Alg   int
}

// Kinds of keys of devices and issuers (ISO/IEC 18013-5 9.1.5.2, table 22).
var Kinds = []Kind{
	{"P-256", ec.P256, crvP256, ES256},
	{"P-384", ec.P384, crvP384, ES384},
	{"P-521", ec.P521, crvP521, ES512},
	{"brainpoolP256r1", ec.BrainpoolP256r1, crvBP256, ES256},
	{"brainpoolP384r1", ec.BrainpoolP384r1, crvBP384, ES384},
	{"brainpoolP512r1", ec.BrainpoolP512r1, crvBP512, ES512},
	{"Ed25519", nil, crvEd25519, EdDSA},
}

// KindByName finds a kind.
func KindByName(name string) (Kind, bool) {
	for _, k := range Kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// ErrKey says that a key cannot be used.
var ErrKey = errors.New("mdoc: a key of another kind, or not on its curve")

// PublicKey is a key with its kind: a point 04 || X || Y, or the 32 octets of Ed25519.
type PublicKey struct {
	Kind
	Bytes []byte
}

// Public is the public key of a private one: a scalar, or the seed of Ed25519.
func Public(k Kind, private []byte) (PublicKey, error) {
	if k.Curve == nil {
		if len(private) != ed25519.SeedSize {
			return PublicKey{}, ErrKey
		}
		return PublicKey{k, ed25519.NewKeyFromSeed(private).Public().(ed25519.PublicKey)}, nil
	}
	p, err := k.Curve.Base(private)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{k, p.Bytes()}, nil
}

// CoseKey is the COSE_Key (RFC 9053 7): kty, crv, x and y in the order of annex D.
func (k PublicKey) CoseKey() []byte {
	if k.Curve == nil {
		b := AppendInt(AppendInt(AppendMap(nil, 3), 1), 1) // OKP
		b = AppendInt(AppendInt(b, -1), int64(k.crv))
		return AppendBytes(AppendInt(b, -2), k.Bytes)
	}
	n := k.Curve.Size
	b := AppendInt(AppendInt(AppendMap(nil, 4), 1), 2) // EC2
	b = AppendInt(AppendInt(b, -1), int64(k.crv))
	b = AppendBytes(AppendInt(b, -2), k.Bytes[1:1+n])
	return AppendBytes(AppendInt(b, -3), k.Bytes[1+n:])
}

// ParseCoseKey reads a COSE_Key; points have to be on their curve.
func ParseCoseKey(v Value) (PublicKey, error) {
	kty, ok1 := v.At(1).Int()
	crv, ok2 := v.At(-1).Int()
	x, ok3 := v.At(-2).Bytes()
	if !ok1 || !ok2 || !ok3 {
		return PublicKey{}, ErrType
	}
	for _, k := range Kinds {
		if k.crv != crv {
			continue
		}
		if k.Curve == nil {
			if kty != 1 || len(x) != ed25519.PublicKeySize {
				return PublicKey{}, ErrKey
			}
			return PublicKey{k, x}, nil
		}
		if kty != 2 || len(x) != k.Curve.Size {
			return PublicKey{}, ErrKey
		}
		y, ok := v.At(-3).Bytes()
		if sign, is := v.At(-3).Bool(); is { // RFC 9053 7.1.1: the sign bit
			p, found := k.Curve.FromX(x)
			if !found {
				return PublicKey{}, ErrKey
			}
			if sign {
				p = k.Curve.Negate(p)
			}
			return PublicKey{k, p.Bytes()}, nil
		}
		if !ok || len(y) != k.Curve.Size {
			return PublicKey{}, ErrKey
		}
		p, err := k.Curve.Parse(append(append([]byte{4}, x...), y...))
		if err != nil {
			return PublicKey{}, ErrKey
		}
		return PublicKey{k, p.Bytes()}, nil
	}
	return PublicKey{}, ErrKey
}

// digest is the hash value that an algorithm signs.
func digest(alg int, b []byte) []byte {
	switch alg {
	case ES384:
		h := sha512.Sum384(b)
		return h[:]
	case ES512:
		h := sha512.Sum512(b)
		return h[:]
	}
	h := sha256.Sum256(b)
	return h[:]
}

// Sign signs octets with a private key: r || s, or a signature of Ed25519. It is the same
// for the same key and octets.
func Sign(k Kind, private, message []byte) ([]byte, error) {
	if k.Curve == nil {
		if len(private) != ed25519.SeedSize {
			return nil, ErrKey
		}
		return ed25519.Sign(ed25519.NewKeyFromSeed(private), message), nil
	}
	r, s, err := k.Curve.Sign(private, digest(k.Alg, message))
	if err != nil {
		return nil, err
	}
	return append(r, s...), nil
}

// Verify tells whether a signature is that of a key.
func (k PublicKey) Verify(message, signature []byte) bool {
	if k.Curve == nil {
		return len(k.Bytes) == ed25519.PublicKeySize && ed25519.Verify(k.Bytes, message, signature)
	}
	n := k.Curve.OrderSize()
	p, err := k.Curve.Parse(k.Bytes)
	return err == nil && len(signature) == 2*n && k.Curve.Verify(p, digest(k.Alg, message), signature[:n], signature[n:])
}

// protected is the protected header with an algorithm only.
func protected(alg int) []byte { return AppendInt(AppendInt(AppendMap(nil, 1), labelAlg), int64(alg)) }

// toBeSigned is Sig_structure or MAC_structure (RFC 9052 4.4, 6.3) without external data.
func toBeSigned(context string, header, payload []byte) []byte {
	b := AppendText(AppendArray(nil, 4), context)
	return AppendBytes(AppendBytes(AppendBytes(b, header), nil), payload)
}

// Contexts of RFC 9052 4.4 and 6.3.
const (
	contextSign1 = "Signature1"
	contextMac0  = "MAC0"
)

// message is an untagged COSE_Sign1 or COSE_Mac0: a nil payload is detached.
func message(header, unprotected, payload, tag []byte) []byte {
	b := AppendBytes(AppendArray(nil, 4), header)
	b = append(b, unprotected...)
	if payload == nil {
		b = AppendNull(b)
	} else {
		b = AppendBytes(b, payload)
	}
	return AppendBytes(b, tag)
}

// x5chain is an unprotected header with certificates: one stands alone (RFC 9360 2).
func x5chain(chain [][]byte) []byte {
	b := AppendInt(AppendMap(nil, 1), labelX5Chain)
	if len(chain) > 1 {
		b = AppendArray(b, len(chain))
	}
	for _, c := range chain {
		b = AppendBytes(b, c)
	}
	return b
}

// Sign1 makes a COSE_Sign1. With detached it does not hold the payload.
func Sign1(k Kind, private, payload []byte, chain [][]byte, detached bool) ([]byte, error) {
	h := protected(k.Alg)
	sig, err := Sign(k, private, toBeSigned(contextSign1, h, payload))
	if err != nil {
		return nil, err
	}
	u := AppendMap(nil, 0)
	if chain != nil {
		u = x5chain(chain)
	}
	if detached {
		payload = nil
	}
	return message(h, u, payload, sig), nil
}

// Cose is a COSE_Sign1 or COSE_Mac0 that was read.
type Cose struct {
	Protected []byte
	Alg       int
	Chain     [][]byte // x5chain
	Payload   []byte   // nil: detached
	Signature []byte   // or tag
}

// ParseCose reads an untagged COSE_Sign1 or COSE_Mac0.
func ParseCose(v Value) (c Cose, err error) {
	a, ok := v.Array()
	if !ok || len(a) != 4 {
		return c, ErrType
	}
	if c.Protected, ok = a[0].Bytes(); !ok || !a[1].IsMap() {
		return c, ErrType
	}
	h, err := Decode(c.Protected)
	if err != nil {
		return c, err
	}
	if c.Alg, ok = h.At(labelAlg).Int(); !ok {
		return c, ErrType
	}
	chain := a[1].At(labelX5Chain)
	if one, ok := chain.Bytes(); ok {
		c.Chain = [][]byte{one}
	} else if many, ok := chain.Array(); ok {
		for _, x := range many {
			cert, ok := x.Bytes()
			if !ok || len(c.Chain) > 7 {
				return c, ErrType
			}
			c.Chain = append(c.Chain, cert)
		}
	}
	if a[2].Exists() {
		if c.Payload, ok = a[2].Bytes(); !ok {
			return c, ErrType
		}
	}
	if c.Signature, ok = a[3].Bytes(); !ok {
		return c, ErrType
	}
	return c, nil
}

// VerifySign1 tells whether key signed the payload, which is given when it is detached.
func (c Cose) VerifySign1(key PublicKey, payload []byte) bool {
	if c.Payload != nil {
		payload = c.Payload
	}
	return c.Alg == key.Alg && key.Verify(toBeSigned(contextSign1, c.Protected, payload), c.Signature)
}

// mac0 makes a COSE_Mac0 with detached payload.
func mac0(key, payload []byte) []byte {
	h := protected(HMAC256)
	m := hmac.New(sha256.New, key)
	m.Write(toBeSigned(contextMac0, h, payload))
	return message(h, AppendMap(nil, 0), nil, m.Sum(nil))
}

// Sign1With is Sign1 with a payload by a key of somebody else's.
func Sign1With(k Kind, sign func(message []byte) ([]byte, error), payload []byte, chain [][]byte) ([]byte, error) {
	h := protected(k.Alg)
	sig, err := sign(toBeSigned(contextSign1, h, payload))
	if err != nil {
		return nil, err
	}
	return message(h, x5chain(chain), payload, sig), nil
}
