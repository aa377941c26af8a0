// Package rsakey makes RSA keys that follow from a seed, and raises numbers to powers:
// the cryptography service of the platform (docs/abi.md, vre_rsa_generate and
// vre_mod_exp), and its native twin for whoever needs the same keys outside.
//
//	seed ── SHA-256 in counter mode ──> candidates ──> p, q
//
// crypto/rsa gives another key each time and refuses short moduli; cards have keys of
// 1024 bits and less, and a persona must be the same card for ever.
//
// Sources: the algorithm is ours (Generate); the test for primes is math/big's
// (Miller-Rabin and Lucas). EMV Book 2 annex B2.1 and D1 for exponents and lengths.
package rsakey

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"sync"
)

// Bounds of a modulus.
const (
	MinBits = 512
	MaxBits = 4096
)

// What is refused.
var (
	ErrBits     = errors.New("rsakey: the modulus has 512 to 4096 bits")
	ErrExponent = errors.New("rsakey: the public exponent is odd and at least 3")
	ErrModulus  = errors.New("rsakey: the modulus is odd, above 1 and of 4096 bits at most")
	ErrOperand  = errors.New("rsakey: the base is below the modulus, the exponent of 4096 bits at most, the result as long as the modulus")
	errNone     = errors.New("rsakey: no prime was found")
)

type key struct {
	seed string
	bits int
	e    uint32
}

type primes struct{ p, q []byte }

// made are keys that were generated in this process: they cost some ten milliseconds
// and are asked for again by every card of the same persona.
var (
	mu   sync.Mutex
	made = map[key]primes{}
)

// most is how many keys are kept.
const most = 256

// Generate gives the primes of a modulus of exactly bits bits with the public exponent
// e, from seed alone: the same seed gives the same key for ever. p > q, both of
// Size(bits) bytes, big-endian.
//
// Candidates are SHA-256(seed, counter of 4 bytes) for counter 0, 1, ... joined until
// they fill a prime, p first, q from where p ended; the bits above its length are
// cleared, the two highest and the lowest set. The first candidate counts for which
// candidate - 1 has no factor in common with e and ProbablyPrime(20) holds.
func Generate(seed []byte, bits int, e uint32) (p, q []byte, err error) {
	if bits < MinBits || bits > MaxBits {
		return nil, nil, ErrBits
	}
	if e < 3 || e%2 == 0 {
		return nil, nil, ErrExponent
	}
	k := key{string(seed), bits, e}
	mu.Lock()
	m, ok := made[k]
	mu.Unlock()
	if !ok {
		if m, err = generate(seed, bits, e); err != nil {
			return nil, nil, err
		}
		mu.Lock()
		if len(made) >= most {
			clear(made)
		}
		made[k] = m
		mu.Unlock()
	}
	return append([]byte(nil), m.p...), append([]byte(nil), m.q...), nil
}

// Size is the length of a prime in bytes.
func Size(bits int) int { return ((bits+1)/2 + 7) / 8 }

func generate(seed []byte, bits int, e uint32) (m primes, err error) {
	s := stream{seed: seed}
	pBits := (bits + 1) / 2
	p := s.prime(pBits, e)
	if p == nil {
		return m, errNone
	}
	for range 100 {
		q := s.prime(bits-pBits, e)
		if q == nil {
			return m, errNone
		}
		if q.Cmp(p) == 0 || new(big.Int).Mul(p, q).BitLen() != bits {
			continue
		}
		if p.Cmp(q) < 0 {
			p, q = q, p
		}
		n := Size(bits)
		return primes{p.FillBytes(make([]byte, n)), q.FillBytes(make([]byte, n))}, nil
	}
	return m, errNone
}

// stream is SHA-256 in counter mode.
type stream struct {
	seed    []byte
	counter uint32
}

func (s *stream) read(b []byte) {
	for len(b) > 0 {
		h := sha256.New()
		h.Write(s.seed)
		_ = binary.Write(h, binary.BigEndian, s.counter)
		s.counter++
		b = b[copy(b, h.Sum(nil)):]
	}
}

// prime is the next prime of the stream with the two highest of its bits set, so that
// the product of two has all of theirs. nil: the stream has none, which is as good as
// impossible.
func (s *stream) prime(bits int, e uint32) *big.Int {
	b := make([]byte, (bits+7)/8)
	exponent := new(big.Int).SetUint64(uint64(e))
	one := big.NewInt(1)
	x, less, gcd := new(big.Int), new(big.Int), new(big.Int)
	for range 100 * bits {
		s.read(b)
		x.SetBytes(b)
		x.Rsh(x, uint(8*len(b)-bits))
		x.SetBit(x, bits-1, 1)
		x.SetBit(x, bits-2, 1)
		x.SetBit(x, 0, 1)
		less.Sub(x, one)
		if gcd.GCD(nil, nil, less, exponent).Cmp(one) == 0 && x.ProbablyPrime(20) {
			return new(big.Int).Set(x)
		}
	}
	return nil
}

// ModExp sets dst to base^exp mod m. All are big-endian; dst is as long as m, which may
// begin with zeros; base may be shorter.
func ModExp(dst, base, exp, m []byte) error {
	if len(m) == 0 || len(m) > MaxBits/8 || m[len(m)-1]&1 == 0 {
		return ErrModulus
	}
	if len(dst) != len(m) || len(exp) > MaxBits/8 || len(base) > MaxBits/8 {
		return ErrOperand
	}
	n, b, e := new(big.Int).SetBytes(m), new(big.Int).SetBytes(base), new(big.Int).SetBytes(exp)
	if n.BitLen() < 2 {
		return ErrModulus
	}
	if b.Cmp(n) >= 0 {
		return ErrOperand
	}
	if wasm && n.BitLen() >= MinBits/2 && e.BitLen() > 64 {
		b = Montgomery(b, e, n)
	} else {
		b.Exp(b, e, n)
	}
	b.FillBytes(dst)
	return nil
}
