package ec

import (
	"encoding/binary"
	"math/big"
	"math/bits"
)

// limbs is what the longest field, of P-521, needs.
const limbs = 9

// elem is a number modulo p in Montgomery form, less than p, least limb first. Limbs
// that the field does not use are zero.
type elem [limbs]uint64

// field is arithmetic modulo an odd prime.
type field struct {
	n    int // limbs in use
	p    elem
	pinv uint64 // -1/p modulo 2^64
	r2   elem   // 2^(128n) modulo p
	one  elem   // 2^(64n) modulo p
	inv  []byte // p-2, the exponent of the inverse
}

func newField(p *big.Int) *field {
	f := &field{n: (p.BitLen() + 63) / 64}
	fill := func(e *elem, v *big.Int) {
		b := v.FillBytes(make([]byte, 8*f.n))
		for i := range f.n {
			e[i] = binary.BigEndian.Uint64(b[8*(f.n-1-i):])
		}
	}
	fill(&f.p, p)
	fill(&f.one, new(big.Int).Mod(new(big.Int).Lsh(big.NewInt(1), uint(64*f.n)), p))
	fill(&f.r2, new(big.Int).Mod(new(big.Int).Lsh(big.NewInt(1), uint(128*f.n)), p))
	inv := uint64(1) // Newton
	for range 6 {
		inv *= 2 - f.p[0]*inv
	}
	f.pinv = -inv
	f.inv = new(big.Int).Sub(p, big.NewInt(2)).Bytes()
	return f
}

// set reads a big-endian number; false when it is not less than p.
func (f *field) set(z *elem, b []byte) bool {
	var v elem
	for i := range b {
		shift := len(b) - 1 - i
		if shift/8 >= f.n {
			if b[i] != 0 {
				return false
			}
			continue
		}
		v[shift/8] |= uint64(b[i]) << (8 * (shift % 8))
	}
	if !f.less(&v) {
		return false
	}
	f.mul(z, &v, &f.r2)
	return true
}

func (f *field) less(x *elem) bool {
	var borrow uint64
	for i := range f.n {
		_, borrow = bits.Sub64(x[i], f.p[i], borrow)
	}
	return borrow == 1
}

// bytes writes x big-endian over the whole of b.
func (f *field) bytes(b []byte, x *elem) {
	var v elem
	f.mul(&v, x, &elem{1})
	for i := range b {
		shift := len(b) - 1 - i
		b[i] = 0
		if shift/8 < f.n {
			b[i] = byte(v[shift/8] >> (8 * (shift % 8)))
		}
	}
}

// mul is z = xy / 2^(64n) modulo p.
func (f *field) mul(z, x, y *elem) {
	if f.n == 4 {
		f.mul4(z, x, y)
	} else {
		f.mulN(z, x, y)
	}
}

// mac is a + xy + c, its low and its high half.
func mac(a, x, y, c uint64) (lo, hi uint64) {
	hi, lo = bits.Mul64(x, y)
	lo, carry := bits.Add64(lo, a, 0)
	hi += carry
	lo, carry = bits.Add64(lo, c, 0)
	return lo, hi + carry
}

// mul4 is mulN written out for four limbs: what travel documents have most.
func (f *field) mul4(z, x, y *elem) {
	x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
	p0, p1, p2, p3 := f.p[0], f.p[1], f.p[2], f.p[3]
	var t0, t1, t2, t3, t4, t5, c uint64
	for _, v := range y[:4] {
		t0, c = mac(t0, x0, v, 0)
		t1, c = mac(t1, x1, v, c)
		t2, c = mac(t2, x2, v, c)
		t3, c = mac(t3, x3, v, c)
		t4, t5 = bits.Add64(t4, c, 0)
		m := t0 * f.pinv
		_, c = mac(t0, m, p0, 0)
		t0, c = mac(t1, m, p1, c)
		t1, c = mac(t2, m, p2, c)
		t2, c = mac(t3, m, p3, c)
		t3, c = bits.Add64(t4, c, 0)
		t4 = t5 + c
	}
	d0, b := bits.Sub64(t0, p0, 0)
	d1, b := bits.Sub64(t1, p1, b)
	d2, b := bits.Sub64(t2, p2, b)
	d3, b := bits.Sub64(t3, p3, b)
	if t4 < b { // it was less than p
		d0, d1, d2, d3 = t0, t1, t2, t3
	}
	*z = elem{d0, d1, d2, d3}
}

// mulN is mul by coarsely integrated operand scanning.
func (f *field) mulN(z, x, y *elem) {
	var t [limbs + 2]uint64
	n := f.n
	for i := range n {
		var c, hi, lo, carry uint64
		yi := y[i]
		for j := range n {
			hi, lo = bits.Mul64(x[j], yi)
			lo, carry = bits.Add64(lo, t[j], 0)
			hi += carry
			lo, carry = bits.Add64(lo, c, 0)
			t[j], c = lo, hi+carry
		}
		t[n], t[n+1] = bits.Add64(t[n], c, 0)
		m := t[0] * f.pinv
		hi, lo = bits.Mul64(m, f.p[0])
		_, carry = bits.Add64(lo, t[0], 0)
		c = hi + carry
		for j := 1; j < n; j++ {
			hi, lo = bits.Mul64(m, f.p[j])
			lo, carry = bits.Add64(lo, t[j], 0)
			hi += carry
			lo, carry = bits.Add64(lo, c, 0)
			t[j-1], c = lo, hi+carry
		}
		t[n-1], carry = bits.Add64(t[n], c, 0)
		t[n] = t[n+1] + carry
	}
	f.reduce(z, (*elem)(t[:limbs]), t[n])
}

// reduce is z = x or x - p, whichever is less than p; top is the limb above x.
func (f *field) reduce(z, x *elem, top uint64) {
	var d elem
	var borrow uint64
	for i := range f.n {
		d[i], borrow = bits.Sub64(x[i], f.p[i], borrow)
	}
	if top >= borrow {
		*z = d
		return
	}
	for i := range f.n {
		d[i] = x[i]
	}
	*z = d
}

func (f *field) add(z, x, y *elem) {
	var s elem
	var carry uint64
	for i := range f.n {
		s[i], carry = bits.Add64(x[i], y[i], carry)
	}
	f.reduce(z, &s, carry)
}

func (f *field) sub(z, x, y *elem) {
	var d elem
	var borrow, carry uint64
	for i := range f.n {
		d[i], borrow = bits.Sub64(x[i], y[i], borrow)
	}
	if borrow == 1 {
		for i := range f.n {
			d[i], carry = bits.Add64(d[i], f.p[i], carry)
		}
	}
	*z = d
}

// invert is z = 1/x by Fermat; 0 for 0.
func (f *field) invert(z, x *elem) {
	r, base := f.one, *x
	for _, b := range f.inv {
		for i := 7; i >= 0; i-- {
			f.mul(&r, &r, &r)
			if b>>i&1 == 1 {
				f.mul(&r, &r, &base)
			}
		}
	}
	*z = r
}

// jacobian is (X/Z², Y/Z³), at infinity when Z is 0.
type jacobian struct{ x, y, z elem }

func (c *Curve) jacobian(p Point) jacobian { return jacobian{p.x, p.y, c.f.one} }

func (c *Curve) affine(j jacobian) (Point, error) {
	if j.z == (elem{}) {
		return Point{}, ErrInfinity
	}
	p := Point{c: c}
	var i, i2 elem
	c.f.invert(&i, &j.z)
	c.f.mul(&i2, &i, &i)
	c.f.mul(&p.x, &j.x, &i2)
	c.f.mul(&i2, &i2, &i)
	c.f.mul(&p.y, &j.y, &i2)
	return p, nil
}

// double is r = 2p.
func (c *Curve) double(r, p *jacobian) {
	f := c.f
	if p.z == (elem{}) || p.y == (elem{}) {
		*r = jacobian{}
		return
	}
	var yy, s, m, t, z2 elem
	f.mul(&yy, &p.y, &p.y)
	f.mul(&s, &p.x, &yy) // S = 4XY²
	f.add(&s, &s, &s)
	f.add(&s, &s, &s)
	f.mul(&z2, &p.z, &p.z)
	if c.minus3 { // M = 3(X-Z²)(X+Z²)
		f.sub(&t, &p.x, &z2)
		f.add(&m, &p.x, &z2)
		f.mul(&t, &t, &m)
		f.add(&m, &t, &t)
		f.add(&m, &m, &t)
	} else { // M = 3X² + aZ⁴
		f.mul(&t, &p.x, &p.x)
		f.add(&m, &t, &t)
		f.add(&m, &m, &t)
		f.mul(&z2, &z2, &z2)
		f.mul(&t, &z2, &c.a)
		f.add(&m, &m, &t)
	}
	var x, y, z elem
	f.mul(&x, &m, &m)
	f.sub(&x, &x, &s)
	f.sub(&x, &x, &s)
	f.mul(&z, &p.y, &p.z)
	f.add(&z, &z, &z)
	f.mul(&yy, &yy, &yy) // 8Y⁴
	f.add(&yy, &yy, &yy)
	f.add(&yy, &yy, &yy)
	f.add(&yy, &yy, &yy)
	f.sub(&y, &s, &x)
	f.mul(&y, &y, &m)
	f.sub(&y, &y, &yy)
	r.x, r.y, r.z = x, y, z
}

// add is r = p + q.
func (c *Curve) add(r, p, q *jacobian) {
	f := c.f
	if p.z == (elem{}) {
		*r = *q
		return
	}
	if q.z == (elem{}) {
		*r = *p
		return
	}
	var z1, z2, u1, u2, s1, s2 elem
	f.mul(&z1, &p.z, &p.z)
	f.mul(&z2, &q.z, &q.z)
	f.mul(&u1, &p.x, &z2)
	f.mul(&u2, &q.x, &z1)
	f.mul(&s1, &p.y, &z2)
	f.mul(&s1, &s1, &q.z)
	f.mul(&s2, &q.y, &z1)
	f.mul(&s2, &s2, &p.z)
	if u1 == u2 {
		if s1 == s2 {
			c.double(r, p)
			return
		}
		*r = jacobian{}
		return
	}
	var h, h2, h3, v, d, x, y, z elem
	f.sub(&h, &u2, &u1)
	f.sub(&d, &s2, &s1)
	f.mul(&h2, &h, &h)
	f.mul(&h3, &h2, &h)
	f.mul(&v, &u1, &h2)
	f.mul(&x, &d, &d)
	f.sub(&x, &x, &h3)
	f.sub(&x, &x, &v)
	f.sub(&x, &x, &v)
	f.sub(&y, &v, &x)
	f.mul(&y, &y, &d)
	f.mul(&s1, &s1, &h3)
	f.sub(&y, &y, &s1)
	f.mul(&z, &p.z, &q.z)
	f.mul(&z, &z, &h)
	r.x, r.y, r.z = x, y, z
}

// mult is k times p, by windows of four bits.
func (c *Curve) mult(p Point, k []byte) jacobian {
	var table [16]jacobian
	table[1] = c.jacobian(p)
	for i := 2; i < 16; i++ {
		c.add(&table[i], &table[i-1], &table[1])
	}
	var r jacobian
	for _, b := range k {
		for _, digit := range [2]byte{b >> 4, b & 15} {
			for range 4 {
				c.double(&r, &r)
			}
			if digit > 0 {
				c.add(&r, &r, &table[digit])
			}
		}
	}
	return r
}
