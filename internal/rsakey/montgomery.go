package rsakey

import (
	"math/big"
	"runtime"
)

// wasm: there math/big has neither assembler nor a multiplication of 64 by 64 bits.
const wasm = runtime.GOARCH == "wasm"

// A number is digits of 29 bits, the lowest first: a sum of 63 products of two of them fits
// into 64 bits, so that carries wait.
const (
	digit  = 29
	digits = 1<<digit - 1
	block  = 4 // digits of a factor that are taken at once
	window = 5 // bits of an exponent that are taken at once
)

// montgomery multiplies modulo an odd number: to x times y belongs x*y/R, R = 2^(29n). With
// 4m < R everything stays below 2m and nothing needs to be compared (P. Montgomery,
// Modular Multiplication Without Trial Division, 1985; C. Walter, 1999, for the bound).
type montgomery struct {
	n    int      // digits, a multiple of block
	k    uint64   // -1/m modulo a digit
	m, t []uint64 // modulus; columns of a product
}

func newMontgomery(m *big.Int) *montgomery {
	n := (m.BitLen() + 2 + block*digit - 1) / (block * digit) * block
	u := &montgomery{n: n, m: make([]uint64, n), t: make([]uint64, n)}
	split(u.m, m)
	k := uint64(1)
	for range 5 { // Newton: each step doubles the bits that are right
		k *= 2 - u.m[0]*k
	}
	u.k = -k & digits
	return u
}

// split takes x apart.
func split(d []uint64, x *big.Int) {
	b := x.FillBytes(make([]byte, (len(d)*digit+7)/8))
	var acc uint64
	bits := 0
	for i := range d {
		for ; bits < digit; bits += 8 {
			acc |= uint64(b[len(b)-1]) << bits
			b = b[:len(b)-1]
		}
		d[i] = acc & digits
		acc >>= digit
		bits -= digit
	}
}

// join puts d together.
func join(d []uint64) *big.Int {
	b := make([]byte, (len(d)*digit+7)/8)
	at := len(b)
	var acc uint64
	bits := 0
	for _, v := range d {
		acc |= v << bits
		for bits += digit; bits >= 8; bits -= 8 {
			at--
			b[at] = byte(acc)
			acc >>= 8
		}
	}
	if at > 0 {
		b[at-1] = byte(acc)
	}
	return new(big.Int).SetBytes(b)
}

// mul sets z to x*y/R. z may be x or y.
//
// Four digits of y go over all of x at once, and with them the multiple q of m that makes
// the four lowest columns zero; the others move down by four.
func (u *montgomery) mul(z, x, y []uint64) {
	n, k := u.n, u.k
	x, y, m, t := x[:n:n], y[:n:n], u.m[:n:n], u.t[:n:n]
	clear(t)
	x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
	m0, m1, m2, m3 := m[0], m[1], m[2], m[3]
	for i := 0; i < n; i += block {
		f := (*[block]uint64)(y[i:])
		y0, y1, y2, y3 := f[0], f[1], f[2], f[3]
		c := t[0] + x0*y0
		q0 := c * k & digits
		c = t[1] + x0*y1 + x1*y0 + q0*m1 + (c+q0*m0)>>digit
		q1 := c * k & digits
		c = t[2] + x0*y2 + x1*y1 + x2*y0 + q0*m2 + q1*m1 + (c+q1*m0)>>digit
		q2 := c * k & digits
		c = t[3] + x0*y3 + x1*y2 + x2*y1 + x3*y0 + q0*m3 + q1*m2 + q2*m1 + (c+q2*m0)>>digit
		q3 := c * k & digits
		c = (c + q3*m0) >> digit
		// a to a3 are the digits of x that meet in a column, b to b3 those of m.
		var a, b uint64
		a1, a2, a3, b1, b2, b3 := x1, x2, x3, m1, m2, m3
		for j := block; j < n; j += block {
			xs, ms := (*[block]uint64)(x[j:]), (*[block]uint64)(m[j:])
			from, to := (*[block]uint64)(t[j:]), (*[block]uint64)(t[j-block:])
			a, b = xs[0], ms[0]
			to[0] = from[0] + a*y0 + a3*y1 + a2*y2 + a1*y3 + b*q0 + b3*q1 + b2*q2 + b1*q3 + c
			a1, b1 = xs[1], ms[1]
			to[1] = from[1] + a1*y0 + a*y1 + a3*y2 + a2*y3 + b1*q0 + b*q1 + b3*q2 + b2*q3
			a2, b2 = xs[2], ms[2]
			to[2] = from[2] + a2*y0 + a1*y1 + a*y2 + a3*y3 + b2*q0 + b1*q1 + b*q2 + b3*q3
			a3, b3 = xs[3], ms[3]
			to[3] = from[3] + a3*y0 + a2*y1 + a1*y2 + a*y3 + b3*q0 + b2*q1 + b1*q2 + b*q3
			c = 0
		}
		t[n-4] = c + a3*y1 + a2*y2 + a1*y3 + b3*q1 + b2*q2 + b1*q3
		t[n-3] = a3*y2 + a2*y3 + b3*q2 + b2*q3
		t[n-2] = a3*y3 + b3*q3
		t[n-1] = 0
		if i/block%4 == 3 { // 32 products more in a column
			carry(t, t)
		}
	}
	carry(z, t)
}

// carry makes digits of columns.
func carry(z, t []uint64) {
	c := uint64(0)
	for i, v := range t {
		v += c
		z[i] = v & digits
		c = v >> digit
	}
}

// exp is base^e mod m for an odd m.
func (u *montgomery) exp(base, e, m *big.Int) *big.Int {
	table := make([]uint64, u.n<<window)
	at := func(i int) []uint64 { return table[i*u.n : (i+1)*u.n] }
	one, z := make([]uint64, u.n), make([]uint64, u.n)
	one[0] = 1
	r := new(big.Int).Lsh(big.NewInt(1), uint(2*digit*u.n))
	split(z, r.Mod(r, m)) // R^2: times it numbers get their R
	split(at(1), base)
	u.mul(at(0), z, one)
	u.mul(at(1), z, at(1))
	for i := 2; i < 1<<window; i++ {
		u.mul(at(i), at(i-1), at(1))
	}
	copy(z, at(0))
	for i := (e.BitLen() + window - 1) / window; i > 0; i-- {
		for range window {
			u.mul(z, z, z)
		}
		w := 0
		for j := range window {
			w |= int(e.Bit((i-1)*window+j)) << j
		}
		u.mul(z, z, at(w))
	}
	u.mul(z, z, one)
	x := join(z)
	return x.Mod(x, m)
}

// Montgomery is base^e mod m, 0 <= base < m, m odd and above 1: in WebAssembly in half the
// time of math/big, natively in several times.
func Montgomery(base, e, m *big.Int) *big.Int { return newMontgomery(m).exp(base, e, m) }
