// Package ec is arithmetic on the elliptic curves of identity documents: those of NIST
// and brainpool, with the addition of points that PACE wants and that crypto/ecdh does
// not have.
//
//	mrtd (PACE, chip and terminal authentication), pki, piv, mdl, inspect
//	      └──> Curve ── Parse, Base, Mult, Add ──> Point
//	                 └─ Sign, Verify               ECDSA
//
// One implementation serves all curves: the modules with brainpool that can be had take
// twenty times as long in WebAssembly (RATIONALE.md), and a generic one costs the curves
// of NIST nothing. It is not written to take the same time for every key: an emulator has
// no secrets to lose by that.
//
// Sources: SEC 1 v2 (encoding 2.3.3, ECDSA 4.1), RFC 5639 (brainpool), FIPS 186-4 D.1
// (NIST), RFC 6979 (nonce of ECDSA), BSI TR-03110-3 table 4 (standardized domain
// parameters).
package ec

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6979 with SHA-1
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"math/big"
)

// Errors of points and keys.
var (
	ErrPoint    = errors.New("ec: not a point of the curve in uncompressed form")
	ErrInfinity = errors.New("ec: the result is the point at infinity")
	ErrKey      = errors.New("ec: a private key is from 1 to the order of the curve less 1")
)

// Point is a point of a curve, never the one at infinity. The zero Point is none.
type Point struct {
	c    *Curve
	x, y elem // in Montgomery form
}

// Curve is the curve of the point.
func (p Point) Curve() *Curve { return p.c }

// Bytes is 04 || X || Y (SEC 1 2.3.3).
func (p Point) Bytes() []byte {
	n := p.c.Size
	b := make([]byte, 1+2*n)
	b[0] = 4
	p.c.f.bytes(b[1:1+n], &p.x)
	p.c.f.bytes(b[1+n:], &p.y)
	return b
}

// X is the x coordinate, Size octets.
func (p Point) X() []byte {
	b := make([]byte, p.c.Size)
	p.c.f.bytes(b, &p.x)
	return b
}

// Equal tells whether both are the same point of the same curve.
func (p Point) Equal(q Point) bool { return p.c == q.c && p.x == q.x && p.y == q.y }

// Parse reads 04 || X || Y and checks that the point is on the curve.
func (c *Curve) Parse(b []byte) (Point, error) {
	if len(b) != 1+2*c.Size || b[0] != 4 {
		return Point{}, ErrPoint
	}
	p := Point{c: c}
	if !c.f.set(&p.x, b[1:1+c.Size]) || !c.f.set(&p.y, b[1+c.Size:]) {
		return Point{}, ErrPoint
	}
	var l, r elem // y² = (x² + a)x + b
	c.f.mul(&l, &p.y, &p.y)
	c.f.mul(&r, &p.x, &p.x)
	c.f.add(&r, &r, &c.a)
	c.f.mul(&r, &r, &p.x)
	c.f.add(&r, &r, &c.b)
	if l != r {
		return Point{}, ErrPoint
	}
	return p, nil
}

// FromX gives the point with an x coordinate whose y is even, if there is one.
func (c *Curve) FromX(x []byte) (Point, bool) {
	v := new(big.Int).SetBytes(x)
	if v.Cmp(c.p) >= 0 {
		return Point{}, false
	}
	r := new(big.Int).Mul(v, v)
	r.Add(r, c.bigA).Mul(r, v).Add(r, c.bigB).Mod(r, c.p)
	y := new(big.Int).ModSqrt(r, c.p)
	if y == nil {
		return Point{}, false
	}
	if y.Bit(0) == 1 {
		y.Sub(c.p, y)
	}
	p, err := c.Parse(append(append([]byte{4}, v.FillBytes(make([]byte, c.Size))...), y.FillBytes(make([]byte, c.Size))...))
	return p, err == nil
}

// Generator is the base point.
func (c *Curve) Generator() Point { return c.g }

// Base is k times the base point; ErrInfinity when k is a multiple of the order.
func (c *Curve) Base(k []byte) (Point, error) { return c.Mult(c.g, k) }

// Mult is k times p. k may have any length.
func (c *Curve) Mult(p Point, k []byte) (Point, error) {
	if p.c != c {
		return Point{}, ErrPoint
	}
	s := new(big.Int).SetBytes(k)
	if s.Cmp(c.n) >= 0 {
		s.Mod(s, c.n)
	}
	return c.affine(c.mult(p, s.Bytes()))
}

// Add is p + q.
func (c *Curve) Add(p, q Point) (Point, error) {
	if p.c != c || q.c != c {
		return Point{}, ErrPoint
	}
	a, b := c.jacobian(p), c.jacobian(q)
	var sum jacobian
	c.add(&sum, &a, &b)
	return c.affine(sum)
}

// Negate is -p.
func (c *Curve) Negate(p Point) Point {
	var zero elem
	c.f.sub(&p.y, &zero, &p.y)
	return p
}

// Order is the number of points, which all curves here have as a prime.
func (c *Curve) Order() *big.Int { return new(big.Int).Set(c.n) }

// OrderSize is the length of private keys and of r and s of signatures, in octets.
func (c *Curve) OrderSize() int { return (c.n.BitLen() + 7) / 8 }

// Scalar makes a private key of randomness or a derived seed. With eight octets more
// than OrderSize, what the reduction favours cannot be seen (FIPS 186-4 B.4.1).
func (c *Curve) Scalar(seed []byte) []byte {
	m := new(big.Int).Sub(c.n, big.NewInt(1))
	k := new(big.Int).SetBytes(seed)
	k.Mod(k, m).Add(k, big.NewInt(1))
	return k.FillBytes(make([]byte, c.OrderSize()))
}

func (c *Curve) key(priv []byte) (*big.Int, error) {
	d := new(big.Int).SetBytes(priv)
	if d.Sign() == 0 || d.Cmp(c.n) >= 0 {
		return nil, ErrKey
	}
	return d, nil
}

// digest is the leftmost bits of a hash value as a number (SEC 1 4.1.3 step 5).
func (c *Curve) digest(h []byte) *big.Int {
	e := new(big.Int).SetBytes(h)
	if over := 8*len(h) - c.n.BitLen(); over > 0 {
		e.Rsh(e, uint(over))
	}
	return e
}

// Sign makes an ECDSA signature over a hash value. The nonce is that of RFC 6979, with
// the hash function that has values of this length, SHA-256 for any other: the same key
// and the same value give the same signature. r and s have OrderSize octets.
func (c *Curve) Sign(priv, digest []byte) (r, s []byte, err error) {
	d, err := c.key(priv)
	if err != nil {
		return nil, nil, err
	}
	e := c.digest(digest)
	next := c.nonces(d, e, digest)
	for {
		k := next()
		p, err := c.affine(c.mult(c.g, k.Bytes()))
		if err != nil {
			return nil, nil, err
		}
		x := new(big.Int).SetBytes(p.X())
		x.Mod(x, c.n)
		y := new(big.Int).Mul(x, d)
		y.Add(y, e).Mul(y, k.ModInverse(k, c.n)).Mod(y, c.n)
		if x.Sign() != 0 && y.Sign() != 0 {
			return x.FillBytes(make([]byte, c.OrderSize())), y.FillBytes(make([]byte, c.OrderSize())), nil
		}
	}
}

// nonces gives the candidates for k of RFC 6979 3.2.
func (c *Curve) nonces(d, e *big.Int, digest []byte) func() *big.Int {
	h := map[int]func() hash.Hash{20: sha1.New, 28: sha256.New224, 48: sha512.New384, 64: sha512.New}[len(digest)]
	if h == nil {
		h = sha256.New
	}
	n := c.OrderSize()
	z := new(big.Int).Set(e)
	if z.Cmp(c.n) >= 0 {
		z.Sub(z, c.n)
	}
	seed := append(d.FillBytes(make([]byte, n)), z.FillBytes(make([]byte, n))...)
	mac := func(key []byte, parts ...[]byte) []byte {
		m := hmac.New(h, key)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	size := h().Size()
	k, v := make([]byte, size), bytes.Repeat([]byte{1}, size)
	for i := byte(0); i < 2; i++ {
		k = mac(k, v, []byte{i}, seed)
		v = mac(k, v)
	}
	return func() *big.Int {
		for {
			var t []byte
			for len(t) < n {
				v = mac(k, v)
				t = append(t, v...)
			}
			candidate := c.digest(t[:n])
			k = mac(k, v, []byte{0})
			v = mac(k, v)
			if candidate.Sign() > 0 && candidate.Cmp(c.n) < 0 {
				return candidate
			}
		}
	}
}

// Verify tells whether r and s sign a hash value (SEC 1 4.1.4).
func (c *Curve) Verify(pub Point, digest, r, s []byte) bool {
	x, y := new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)
	if pub.c != c || x.Sign() == 0 || x.Cmp(c.n) >= 0 || y.Sign() == 0 || y.Cmp(c.n) >= 0 {
		return false
	}
	w := new(big.Int).ModInverse(y, c.n)
	u1 := new(big.Int).Mul(c.digest(digest), w)
	u2 := new(big.Int).Mul(x, w)
	a := c.mult(c.g, u1.Mod(u1, c.n).Bytes())
	b := c.mult(pub, u2.Mod(u2, c.n).Bytes())
	var sum jacobian
	c.add(&sum, &a, &b)
	p, err := c.affine(sum)
	if err != nil {
		return false
	}
	v := new(big.Int).SetBytes(p.X())
	return v.Mod(v, c.n).Cmp(x) == 0
}

// Key tells whether priv is a private key: from 1 to the order less 1.
func (c *Curve) Key(priv []byte) bool {
	_, err := c.key(priv)
	return err == nil
}

// SharedSecret is the x coordinate of k times p (ECKA of TR-03111 4.3.1, ECDH of SEC 1).
func (c *Curve) SharedSecret(priv []byte, p Point) ([]byte, error) {
	if _, err := c.key(priv); err != nil {
		return nil, err
	}
	q, err := c.Mult(p, priv)
	if err != nil {
		return nil, err
	}
	return q.X(), nil
}
