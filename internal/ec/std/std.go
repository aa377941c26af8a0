// Package std is what keys of elliptic curves do, with the standard library's arithmetic
// where it has the curve, and with package ec's where it has not. It is the platform's
// cryptography service for curves, and what a bundle without it takes.
//
//	bundle ── vre_ec_sign … (docs/abi.md) ──> primary/vm ──> std ──> crypto/ecdsa, crypto/ecdh
//	bundle, in WebAssembly ────────────────────────────────> std ──> internal/ec
//
// Curves have the numbers of standardized domain parameters (BSI TR-03110-3 table 4):
// 10 P-224, 11 brainpoolP224r1, 12 P-256, 13 brainpoolP256r1, 14 brainpoolP320r1,
// 15 P-384, 16 brainpoolP384r1, 17 brainpoolP512r1, 18 P-521. Keys and coordinates are
// big-endian and of fixed length, points are 04 || X || Y, signatures r || s.
package std

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"math/big"

	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Errors of parameters.
var (
	ErrCurve  = errors.New("std: no curve has this number")
	ErrDigest = errors.New("std: a digest has 20, 28, 32, 48 or 64 octets")
)

// library has the standard library's names of a curve; nil where it has none.
func library(id int) (elliptic.Curve, ecdh.Curve) {
	switch id {
	case 12:
		return elliptic.P256(), ecdh.P256()
	case 15:
		return elliptic.P384(), ecdh.P384()
	case 18:
		return elliptic.P521(), ecdh.P521()
	}
	return nil, nil
}

// hashes have the hash of RFC 6979 for the length of a digest.
var hashes = map[int]crypto.Hash{20: crypto.SHA1, 28: crypto.SHA224, 32: crypto.SHA256, 48: crypto.SHA384, 64: crypto.SHA512}

// Key is a private key. What the standard library prepares of it is prepared once.
type Key struct {
	c     *ec.Curve
	d     []byte
	agree *ecdh.PrivateKey
	sign  *ecdsa.PrivateKey
	point []byte
}

// NewKey is a private key of a curve, as long as its order.
func NewKey(id int, d []byte) (*Key, error) {
	c, ok := ec.ByID(id)
	if !ok {
		return nil, ErrCurve
	}
	if len(d) != c.OrderSize() || !c.Key(d) {
		return nil, ec.ErrKey
	}
	return &Key{c: c, d: d}, nil
}

// Curve of the key.
func (k *Key) Curve() *ec.Curve { return k.c }

// Bytes of the key; they are not a copy.
func (k *Key) Bytes() []byte { return k.d }

// Public is the public key.
func (k *Key) Public() ([]byte, error) {
	if k.point != nil {
		return k.point, nil
	}
	if _, l := library(k.c.ID); l != nil {
		agree, err := k.agreement(l)
		if err != nil {
			return nil, err
		}
		k.point = agree.PublicKey().Bytes()
		return k.point, nil
	}
	p, err := k.c.Base(k.d)
	if err != nil {
		return nil, err
	}
	k.point = p.Bytes()
	return k.point, nil
}

// SetPublic gives the key its public key, which somebody else has computed.
func (k *Key) SetPublic(point []byte) { k.point = point }

func (k *Key) agreement(l ecdh.Curve) (_ *ecdh.PrivateKey, err error) {
	if k.agree == nil {
		k.agree, err = l.NewPrivateKey(k.d)
	}
	return k.agree, err
}

// ECDH is the x coordinate of key times point (SEC 1 3.3.1).
func (k *Key) ECDH(point []byte) ([]byte, error) {
	if _, l := library(k.c.ID); l != nil {
		p, err := l.NewPublicKey(point)
		if err != nil {
			return nil, ec.ErrPoint
		}
		agree, err := k.agreement(l)
		if err != nil {
			return nil, err
		}
		return agree.ECDH(p)
	}
	p, err := k.c.Parse(point)
	if err != nil {
		return nil, err
	}
	return k.c.SharedSecret(k.d, p)
}

// Sign is ECDSA with the nonce of RFC 6979, whose hash is the one with the length of the
// digest.
func (k *Key) Sign(digest []byte) (_ []byte, err error) {
	h, ok := hashes[len(digest)]
	if !ok {
		return nil, ErrDigest
	}
	l, _ := library(k.c.ID)
	if l == nil {
		r, s, err := k.c.Sign(k.d, digest)
		return append(r, s...), err
	}
	if k.sign == nil {
		if k.sign, err = ecdsa.ParseRawPrivateKey(l, k.d); err != nil {
			return nil, err
		}
	}
	der, err := k.sign.Sign(nil, digest, h)
	if err != nil {
		return nil, err
	}
	seq, err := tlv.Find(der, 0x30)
	if err != nil {
		return nil, err
	}
	n := k.c.OrderSize()
	sig := make([]byte, 2*n)
	for i, at := 0, tlv.Read(seq); i < 2 && at.Next(); i++ {
		new(big.Int).SetBytes(at.Value).FillBytes(sig[i*n : (i+1)*n])
	}
	return sig, nil
}

// Public is the public key of a private one.
func Public(id int, key []byte) ([]byte, error) {
	k, err := NewKey(id, key)
	if err != nil {
		return nil, err
	}
	return k.Public()
}

// ECDH is that of a Key.
func ECDH(id int, key, point []byte) ([]byte, error) {
	k, err := NewKey(id, key)
	if err != nil {
		return nil, err
	}
	return k.ECDH(point)
}

// Sign is that of a Key.
func Sign(id int, key, digest []byte) ([]byte, error) {
	k, err := NewKey(id, key)
	if err != nil {
		return nil, err
	}
	return k.Sign(digest)
}

// Verify tells whether sig is the signature of a digest by the private key of point.
func Verify(id int, point, digest, sig []byte) (bool, error) {
	c, ok := ec.ByID(id)
	if !ok {
		return false, ErrCurve
	}
	n := c.OrderSize()
	if l, _ := library(id); l != nil {
		p, err := ecdsa.ParseUncompressedPublicKey(l, point)
		if err != nil {
			return false, ec.ErrPoint
		}
		return len(sig) == 2*n && ecdsa.Verify(p, digest, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])), nil
	}
	p, err := c.Parse(point)
	if err != nil {
		return false, err
	}
	return len(sig) == 2*n && c.Verify(p, digest, sig[:n], sig[n:]), nil
}
