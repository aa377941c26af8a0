package rsakey_test

import (
	"bytes"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/rsakey"
)

func TestGenerate(t *testing.T) {
	for _, bits := range []int{512, 513, 1023, 1024, 1408, 1984} {
		for _, e := range []uint32{3, 65537} {
			p, q, err := rsakey.Generate([]byte("test"), bits, e)
			require.NoError(t, err)
			require.Len(t, p, rsakey.Size(bits))
			require.Len(t, q, rsakey.Size(bits))
			x, y := new(big.Int).SetBytes(p), new(big.Int).SetBytes(q)
			n := new(big.Int).Mul(x, y)
			require.Equal(t, bits, n.BitLen())
			require.Positive(t, x.Cmp(y))
			one := big.NewInt(1)
			phi := new(big.Int).Mul(new(big.Int).Sub(x, one), new(big.Int).Sub(y, one))
			d := new(big.Int).ModInverse(big.NewInt(int64(e)), phi)
			require.NotNil(t, d, "e has an inverse")
			m := []byte("a message")
			c, back := make([]byte, (bits+7)/8), make([]byte, (bits+7)/8)
			mod := n.FillBytes(make([]byte, (bits+7)/8))
			require.NoError(t, rsakey.ModExp(c, m, big.NewInt(int64(e)).Bytes(), mod))
			require.NoError(t, rsakey.ModExp(back, c, d.Bytes(), mod))
			require.Equal(t, m, bytes.TrimLeft(back, "\x00"))
		}
	}
}

// TestForEver: a change of the algorithm would make another card of every persona.
func TestForEver(t *testing.T) {
	p, q, err := rsakey.Generate([]byte("for ever"), 512, 3)
	require.NoError(t, err)
	require.Equal(t, wantP, hex.EncodeToString(p))
	require.Equal(t, wantQ, hex.EncodeToString(q))
}

const (
	wantP = "eb32fc77910274e75146d104285a13e3009572b4006fc228874b21d07d318fb7"
	wantQ = "de46b430dfe02f1eb1ec6a109fa5f30cd8a81e060519aea4e28e297d43b14867"
)

func TestRefuses(t *testing.T) {
	_, _, err := rsakey.Generate(nil, 511, 3)
	require.ErrorIs(t, err, rsakey.ErrBits)
	_, _, err = rsakey.Generate(nil, 4097, 3)
	require.ErrorIs(t, err, rsakey.ErrBits)
	_, _, err = rsakey.Generate(nil, 1024, 4)
	require.ErrorIs(t, err, rsakey.ErrExponent)
	_, _, err = rsakey.Generate(nil, 1024, 1)
	require.ErrorIs(t, err, rsakey.ErrExponent)
	for _, c := range []struct {
		dst, base, exp, m []byte
		want              error
	}{
		{nil, nil, nil, nil, rsakey.ErrModulus},
		{make([]byte, 1), []byte{1}, []byte{1}, []byte{4}, rsakey.ErrModulus},
		{make([]byte, 1), []byte{0}, []byte{1}, []byte{1}, rsakey.ErrModulus},
		{make([]byte, 513), []byte{1}, []byte{1}, append(make([]byte, 512), 7), rsakey.ErrModulus},
		{make([]byte, 1), []byte{7}, []byte{1}, []byte{7}, rsakey.ErrOperand},
		{make([]byte, 2), []byte{1}, []byte{1}, []byte{7}, rsakey.ErrOperand},
		{make([]byte, 1), []byte{1}, make([]byte, 513), []byte{7}, rsakey.ErrOperand},
	} {
		require.ErrorIs(t, rsakey.ModExp(c.dst, c.base, c.exp, c.m), c.want)
	}
}

// TestMontgomery: what WebAssembly computes with is math/big's result, also where every
// digit is as large as it gets.
func TestMontgomery(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	some := func(bits int) *big.Int {
		x := new(big.Int)
		for range (bits + 63) / 64 {
			x.Lsh(x, 64).Or(x, new(big.Int).SetUint64(r.Uint64()))
		}
		return x.Rsh(x, uint(-bits&63))
	}
	one := big.NewInt(1)
	for _, bits := range []int{2, 3, 28, 29, 30, 114, 115, 116, 256, 511, 512, 768, 1023, 1024, 1025, 1042, 1043, 2048, 4096} {
		power := new(big.Int).Lsh(one, uint(bits))
		random := some(bits)
		random.SetBit(random.SetBit(random, 0, 1), bits-1, 1)
		for _, m := range []*big.Int{
			random, new(big.Int).Sub(power, one), new(big.Int).Add(power, one),
			new(big.Int).Add(new(big.Int).Rsh(power, 1), one),
		} {
			less := new(big.Int).Sub(m, one)
			for _, base := range []*big.Int{new(big.Int), one, less, new(big.Int).Mod(some(bits), m)} {
				for _, e := range []*big.Int{new(big.Int), one, big.NewInt(65537), less, some(67)} {
					if e.BitLen() > 300 && bits > 1100 {
						continue
					}
					require.Equal(t, new(big.Int).Exp(base, e, m).String(), rsakey.Montgomery(base, e, m).String(), "%d: %X^%X mod %X", bits, base, e, m)
				}
			}
		}
	}
}

func BenchmarkMontgomery(b *testing.B) {
	p, _, err := rsakey.Generate([]byte("bench"), 2048, 65537)
	require.NoError(b, err)
	m := new(big.Int).SetBytes(p)
	e := new(big.Int).Sub(m, big.NewInt(2))
	base := new(big.Int).Rsh(m, 1)
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			rsakey.Montgomery(base, e, m)
		}
	})
	b.Run("big", func(b *testing.B) {
		for b.Loop() {
			new(big.Int).Exp(base, e, m)
		}
	})
}

func FuzzModExp(f *testing.F) {
	f.Add([]byte{2}, []byte{10}, []byte{0x03, 0xE9})
	f.Fuzz(func(t *testing.T, base, exp, m []byte) {
		if len(m) > 64 || len(exp) > 64 {
			return // big.Int is asked below, which takes as long
		}
		dst := make([]byte, len(m))
		if rsakey.ModExp(dst, base, exp, m) != nil {
			return
		}
		want := new(big.Int).Exp(new(big.Int).SetBytes(base), new(big.Int).SetBytes(exp), new(big.Int).SetBytes(m))
		require.Zero(t, want.Cmp(new(big.Int).SetBytes(dst)))
		own := rsakey.Montgomery(new(big.Int).SetBytes(base), new(big.Int).SetBytes(exp), new(big.Int).SetBytes(m))
		require.Zero(t, want.Cmp(own))
	})
}
