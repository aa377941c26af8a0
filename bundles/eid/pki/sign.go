package pki

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"math/big"
	"strconv"

	"github.com/sspemu/sspemu/internal/rsakey"
)

func itoa(n int) string { return strconv.Itoa(n) }

// rsa1 is RSAPrivateKey (RFC 8017 A.1.2).
func (k *Key) rsa1() []byte {
	one := big.NewInt(1)
	p, q, e := new(big.Int).SetBytes(k.p), new(big.Int).SetBytes(k.q), new(big.Int).SetBytes(k.RSA.Exponent)
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	d := new(big.Int).ModInverse(e, new(big.Int).Mul(p1, q1))
	parts := [][]byte{number(0), integer(k.RSA.Modulus), integer(k.RSA.Exponent)}
	for _, x := range []*big.Int{d, p, q, new(big.Int).Mod(d, p1), new(big.Int).Mod(d, q1), new(big.Int).ModInverse(q, p)} {
		parts = append(parts, integer(x.Bytes()))
	}
	return seq(parts...)
}

// private are the octets that only the holder of the key knows.
func (k *Key) private() []byte {
	if k.Curve != nil {
		return k.d
	}
	return k.p
}

// Sign signs a message. The same key, algorithm and message give the same signature: the
// salt of RSA-PSS follows from them.
func (k *Key) Sign(a Algorithm, message []byte) ([]byte, error) {
	if HashOID(a.Hash) == nil || (a.Scheme == ECDSA) != (k.Curve != nil) {
		return nil, ErrAlgorithm
	}
	h := digest(a.Hash, message)
	switch a.Scheme {
	case ECDSA:
		r, s, err := k.Curve.Sign(k.d, h)
		if err != nil {
			return nil, err
		}
		if a.Plain {
			return append(r, s...), nil
		}
		return seq(integer(r), integer(s)), nil
	case RSA:
		em, err := pkcs1(a.Hash, h, len(k.RSA.Modulus), true)
		if err != nil {
			return nil, err
		}
		return k.rsa.Apply(k.power, em)
	case RSAPSS:
		m := hmac.New(sha256.New, k.private())
		m.Write(h)
		salt := mgf1(crypto.SHA256, m.Sum(nil), a.salt())
		em, err := pss(a, h, salt, k.Bits()-1)
		if err != nil {
			return nil, err
		}
		if len(em) < len(k.RSA.Modulus) {
			em = append([]byte{0}, em...)
		}
		return k.rsa.Apply(k.power, em)
	}
	return nil, ErrAlgorithm
}

// Verify verifies a signature over a message.
func (k PublicKey) Verify(a Algorithm, message, signature []byte) error {
	return k.VerifyWith(rsakey.ModExp, a, message, signature)
}

// VerifyWith is Verify with RSA by somebody else: sdk.ModExp.
func (k PublicKey) VerifyWith(power rsakey.Power, a Algorithm, message, signature []byte) error {
	if HashOID(a.Hash) == nil || (a.Scheme == ECDSA) != (k.Curve != nil) {
		return ErrAlgorithm
	}
	h := digest(a.Hash, message)
	if a.Scheme == ECDSA {
		r, s, ok := k.parts(a, signature)
		if !ok || !k.Curve.Verify(k.Point, h, r, s) {
			return ErrSignature
		}
		return nil
	}
	n := len(k.RSA.Modulus)
	if n == 0 || len(signature) != n || bytes.Compare(signature, k.RSA.Modulus) >= 0 {
		return ErrSignature
	}
	em, err := k.RSA.Apply(power, signature)
	if err != nil {
		return err
	}
	if a.Scheme == RSAPSS {
		if !verifyPSS(a, h, em, k.Bits()-1) {
			return ErrSignature
		}
		return nil
	}
	for _, parameters := range []bool{true, false} { // RFC 8017 8.2.2 note 2
		if want, err := pkcs1(a.Hash, h, n, parameters); err == nil && bytes.Equal(em, want) {
			return nil
		}
	}
	return ErrSignature
}

// parts are r and s of a signature of ECDSA.
func (k PublicKey) parts(a Algorithm, signature []byte) (r, s []byte, ok bool) {
	if a.Plain {
		n := k.Curve.OrderSize()
		if len(signature) != 2*n {
			return nil, nil, false
		}
		return signature[:n], signature[n:], true
	}
	var fail error
	d := open(signature, &fail)
	in := d.in(tagSeq)
	d.end()
	r, s = in.positive(tagInteger), in.positive(tagInteger)
	in.end()
	return r, s, fail == nil
}

// pkcs1 is EMSA-PKCS1-v1_5 (RFC 8017 9.2).
func pkcs1(h crypto.Hash, value []byte, size int, parameters bool) ([]byte, error) {
	t := seq(hashIdentifier(h, parameters), octets(value))
	if size < len(t)+11 {
		return nil, ErrAlgorithm
	}
	em := bytes.Repeat([]byte{0xFF}, size)
	em[0], em[1] = 0, 1
	em[size-len(t)-1] = 0
	copy(em[size-len(t):], t)
	return em, nil
}

// mgf1 is MGF1 (RFC 8017 B.2.1).
func mgf1(h crypto.Hash, seed []byte, n int) []byte {
	var b []byte
	for i := byte(0); len(b) < n; i++ {
		b = append(b, digest(h, append(bytes.Clone(seed), 0, 0, 0, i))...)
	}
	return b[:n]
}

// pss is EMSA-PSS-ENCODE (RFC 8017 9.1.1).
func pss(a Algorithm, value, salt []byte, bits int) ([]byte, error) {
	size := (bits + 7) / 8
	if size < len(value)+len(salt)+2 {
		return nil, ErrAlgorithm
	}
	h := digest(a.Hash, append(append(make([]byte, 8), value...), salt...))
	db := make([]byte, size-len(h)-1)
	db[len(db)-len(salt)-1] = 1
	copy(db[len(db)-len(salt):], salt)
	for i, m := range mgf1(a.mgf(), h, len(db)) {
		db[i] ^= m
	}
	db[0] &= 0xFF >> (8*size - bits)
	return append(append(db, h...), 0xBC), nil
}

// verifyPSS is EMSA-PSS-VERIFY (RFC 8017 9.1.2).
func verifyPSS(a Algorithm, value, em []byte, bits int) bool {
	size := (bits + 7) / 8
	if len(em) > size {
		if em[0] != 0 {
			return false
		}
		em = em[1:]
	}
	n := len(value)
	if size < n+a.salt()+2 || em[size-1] != 0xBC || em[0]>>(8-(8*size-bits)) != 0 {
		return false
	}
	db, h := bytes.Clone(em[:size-n-1]), em[size-n-1:size-1]
	for i, m := range mgf1(a.mgf(), h, len(db)) {
		db[i] ^= m
	}
	db[0] &= 0xFF >> (8*size - bits)
	zeros := len(db) - a.salt() - 1
	for _, b := range db[:zeros] {
		if b != 0 {
			return false
		}
	}
	return db[zeros] == 1 && bytes.Equal(h, digest(a.Hash, append(append(make([]byte, 8), value...), db[zeros+1:]...)))
}
