package rsakey_test

import (
	"bytes"
	"encoding/hex"
	"math/big"
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
	})
}
