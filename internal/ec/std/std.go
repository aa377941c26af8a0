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

// Public is the public key of a private one.
func Public(id int, key []byte) ([]byte, error) {
	c, ok := ec.ByID(id)
	if !ok {
		return nil, ErrCurve
	}
	if _, l := library(id); l != nil {
		k, err := l.NewPrivateKey(key)
		if err != nil {
			return nil, ec.ErrKey
		}
		return k.PublicKey().Bytes(), nil
	}
	p, err := c.Public(key)
	if err != nil {
		return nil, err
	}
	return p.Bytes(), nil
}

// ECDH is the x coordinate of key times point (SEC 1 3.3.1).
func ECDH(id int, key, point []byte) ([]byte, error) {
	c, ok := ec.ByID(id)
	if !ok {
		return nil, ErrCurve
	}
	if _, l := library(id); l != nil {
		k, err := l.NewPrivateKey(key)
		if err != nil {
			return nil, ec.ErrKey
		}
		p, err := l.NewPublicKey(point)
		if err != nil {
			return nil, ec.ErrPoint
		}
		return k.ECDH(p)
	}
	p, err := c.Parse(point)
	if err != nil {
		return nil, err
	}
	return c.SharedSecret(key, p)
}

// Sign is ECDSA with the nonce of RFC 6979, whose hash is the one with the length of the
// digest.
func Sign(id int, key, digest []byte) ([]byte, error) {
	c, ok := ec.ByID(id)
	if !ok {
		return nil, ErrCurve
	}
	h, ok := hashes[len(digest)]
	if !ok {
		return nil, ErrDigest
	}
	n := c.OrderSize()
	sig := make([]byte, 2*n)
	l, _ := library(id)
	if l == nil {
		r, s, err := c.Sign(key, digest)
		if err != nil {
			return nil, err
		}
		copy(sig[n-len(r):], r)
		copy(sig[2*n-len(s):], s)
		return sig, nil
	}
	k, err := ecdsa.ParseRawPrivateKey(l, key)
	if err != nil {
		return nil, ec.ErrKey
	}
	der, err := k.Sign(nil, digest, h)
	if err != nil {
		return nil, err
	}
	seq, err := tlv.Find(der, 0x30)
	if err != nil {
		return nil, err
	}
	for i, at := 0, tlv.Read(seq); i < 2 && at.Next(); i++ {
		new(big.Int).SetBytes(at.Value).FillBytes(sig[i*n : (i+1)*n])
	}
	return sig, nil
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
