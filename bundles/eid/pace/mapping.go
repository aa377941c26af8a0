// Package pace is what both ends of PACE compute alike: the integrated mapping of the nonce
// and the authentication token.
//
//	mrtd (chip), inspect/mrtd (terminal) ──> Integrated, Token, CBC
//
// Sources: ICAO Doc 9303-11 4.4.3.3.2 (mapping), 4.4.3.4 (token), appendix B (encoding).
package pace

import (
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"math/big"

	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// CBC decrypts or encrypts whole blocks; iv nil: zeros.
func CBC(alg sm.Alg, key, iv, data []byte, decrypt bool) ([]byte, error) {
	b := alg.Cipher(key)
	if len(data) == 0 || len(data)%b.BlockSize() != 0 {
		return nil, errors.New("pace: a cryptogram that is not of whole blocks")
	}
	if iv == nil {
		iv = make([]byte, b.BlockSize())
	}
	out := make([]byte, len(data))
	if decrypt {
		cipher.NewCBCDecrypter(b, iv).CryptBlocks(out, data)
	} else {
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(out, data)
	}
	return out, nil
}

// Token is an authentication token over the other side's public key (Doc 9303-11
// 4.4.3.4); oid is that of the protocol, contents octets.
func Token(alg sm.Alg, kmac, oid []byte, p ec.Point) []byte {
	in := tlv.Append(nil, 0x06, oid...)
	in = tlv.Append(in, 0x86, p.Bytes()...)
	return sm.MAC(alg, kmac, tlv.Append(nil, 0x7F49, in...))
}

// Constants of the pseudo-random number mapping (Doc 9303-11 4.4.3.3.2).
var (
	c0Short = unhex("A668892A7C41E3CA739F40B057D85904")
	c1Short = unhex("A4E136AC725F738B01C1F60217C188AD")
	c0Long  = unhex("D463D65234124EF7897054986DCA0A174E28DF758CBAA03F240616414D5A1676")
	c1Long  = unhex("54BD7255F0AAF831BEC3423FCF39D69B6CBF066677D0FAAE5AADD99DF8E53517")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// PseudoRandom is the pseudo-random number mapping of the nonces s and t to a number
// below the prime p (Doc 9303-11 4.4.3.3.2).
func PseudoRandom(alg sm.Alg, s, t []byte, p *big.Int) (*big.Int, error) {
	c0, c1 := c0Short, c1Short
	if alg == sm.AES192 || alg == sm.AES256 {
		c0, c1 = c0Long, c1Long
	}
	size := alg.KeySize()
	k, err := CBC(alg, t, nil, s, false)
	if err != nil {
		return nil, err
	}
	if len(k) < size {
		return nil, errors.New("the nonce is shorter than a key")
	}
	var x []byte
	for 8*len(x) < p.BitLen()+64 {
		key := k[:size]
		next, err := CBC(alg, key, nil, c1, false)
		if err != nil {
			return nil, err
		}
		x = append(x, next...)
		if k, err = CBC(alg, key, nil, c0, false); err != nil {
			return nil, err
		}
	}
	n := new(big.Int).SetBytes(x)
	return n.Mod(n, p), nil
}

// Integrated is the generator of integrated mapping: the pseudo-random number, encoded as
// a point (Doc 9303-11 4.4.3.3.2 and appendix B.2; primes that are 3 modulo 4).
func Integrated(c *ec.Curve, alg sm.Alg, s, t []byte) (ec.Point, error) {
	pb, ab, bb, _, _ := c.Parameters()
	p, a, b := new(big.Int).SetBytes(pb), new(big.Int).SetBytes(ab), new(big.Int).SetBytes(bb)
	if p.Bit(0) == 0 || p.Bit(1) == 0 {
		return ec.Point{}, errors.New("integrated mapping wants a prime that is 3 modulo 4")
	}
	u, err := PseudoRandom(alg, s, t, p)
	if err != nil {
		return ec.Point{}, err
	}
	mod := func(x *big.Int) *big.Int { return x.Mod(x, p) }
	mul := func(x, y *big.Int) *big.Int { return mod(new(big.Int).Mul(x, y)) }
	right := func(x *big.Int) *big.Int { // x³ + ax + b
		r := mul(mul(x, x), x)
		return mod(r.Add(r, mul(a, x)).Add(r, b))
	}
	alpha := mod(new(big.Int).Neg(mul(u, u)))
	d := mod(new(big.Int).Add(alpha, mul(alpha, alpha)))
	if d.Sign() == 0 {
		return ec.Point{}, ec.ErrInfinity
	}
	f := new(big.Int).ModInverse(d, p)
	x2 := mul(mul(mod(new(big.Int).Neg(b)), new(big.Int).ModInverse(a, p)), f.Add(f, big.NewInt(1)))
	h2 := right(x2)
	e := new(big.Int).Add(p, big.NewInt(1)) // p - 1 - (p+1)/4
	e.Rsh(e, 2)
	e.Sub(new(big.Int).Sub(p, big.NewInt(1)), e)
	r := new(big.Int).Exp(h2, e, p)
	x, y := x2, mul(r, h2)
	if mul(mul(r, r), h2).Cmp(big.NewInt(1)) != 0 {
		x, y = mul(alpha, x2), mul(r, mul(mul(mul(u, u), u), h2))
	}
	out := append([]byte{4}, x.FillBytes(make([]byte, c.Size))...)
	return c.Parse(append(out, y.FillBytes(make([]byte, c.Size))...))
}
