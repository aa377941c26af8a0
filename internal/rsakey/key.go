package rsakey

import (
	"errors"
	"math/big"
	"sync"
)

// Power sets dst to base^exp mod m, big-endian; dst is as long as m. ModExp is one; the
// platform's another.
type Power func(dst, base, exp, m []byte) error

// PublicKey is an RSA key, big-endian.
type PublicKey struct{ Modulus, Exponent []byte }

// Apply is in^e mod n; in is as long as the modulus and below it.
func (k PublicKey) Apply(m Power, in []byte) ([]byte, error) {
	out := make([]byte, len(k.Modulus))
	if len(in) != len(k.Modulus) {
		return nil, ErrLength
	}
	if err := m(out, in, k.Exponent, k.Modulus); err != nil {
		return nil, err
	}
	return out, nil
}

// PrivateKey is an RSA key with the parts of the Chinese remainder theorem.
type PrivateKey struct {
	PublicKey
	p, q, dp, dq []byte
	qInv         *big.Int
	bp, bq       *big.Int
}

// What is no block, and no key.
var (
	ErrLength = errors.New("rsakey: the block is not as long as the modulus")
	ErrKey    = errors.New("rsakey: the primes and the exponent are no RSA key")
)

// used are keys that New has made: a card asks for the same ones again, and their parts
// cost a fifth of a signature in WebAssembly.
var (
	usedMu sync.Mutex
	used   = map[usedKey]*PrivateKey{}
)

type usedKey struct {
	p, q string
	e    uint32
}

const mostUsed = 16

// New is the key of the primes p > q with public exponent e. It is not changed by using it.
func New(p, q []byte, e uint32) (*PrivateKey, error) {
	name := usedKey{string(p), string(q), e}
	usedMu.Lock()
	defer usedMu.Unlock()
	if k := used[name]; k != nil {
		return k, nil
	}
	k, err := parts(p, q, e)
	if err != nil {
		return nil, err
	}
	if len(used) == mostUsed {
		clear(used)
	}
	used[name] = k
	return k, nil
}

func parts(p, q []byte, e uint32) (*PrivateKey, error) {
	one := big.NewInt(1)
	x, y, exp := new(big.Int).SetBytes(p), new(big.Int).SetBytes(q), big.NewInt(int64(e))
	if x.Cmp(one) <= 0 || y.Cmp(one) <= 0 || x.Cmp(y) <= 0 || x.Bit(0) == 0 || y.Bit(0) == 0 {
		return nil, ErrKey
	}
	dp := new(big.Int).ModInverse(exp, new(big.Int).Sub(x, one))
	dq := new(big.Int).ModInverse(exp, new(big.Int).Sub(y, one))
	qInv := new(big.Int).ModInverse(y, x)
	if dp == nil || dq == nil || qInv == nil {
		return nil, ErrKey
	}
	n := new(big.Int).Mul(x, y)
	return &PrivateKey{
		PublicKey: PublicKey{n.Bytes(), exp.Bytes()},
		p:         x.Bytes(), q: y.Bytes(), dp: dp.Bytes(), dq: dq.Bytes(), qInv: qInv, bp: x, bq: y,
	}, nil
}

// Apply is in^d mod n: two exponentiations of half the length.
func (k *PrivateKey) Apply(m Power, in []byte) ([]byte, error) {
	if len(in) != len(k.Modulus) {
		return nil, ErrLength
	}
	c := new(big.Int).SetBytes(in)
	half := func(prime *big.Int, bytes, d []byte) (*big.Int, error) {
		out := make([]byte, len(bytes))
		r := new(big.Int).Mod(c, prime)
		if err := m(out, r.Bytes(), d, bytes); err != nil {
			return nil, err
		}
		return new(big.Int).SetBytes(out), nil
	}
	m1, err := half(k.bp, k.p, k.dp)
	if err != nil {
		return nil, err
	}
	m2, err := half(k.bq, k.q, k.dq)
	if err != nil {
		return nil, err
	}
	h := m1.Sub(m1, m2)
	h.Mul(h, k.qInv).Mod(h, k.bp)
	return h.Mul(h, k.bq).Add(h, m2).FillBytes(make([]byte, len(k.Modulus))), nil
}
