package std_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/ec/std"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestECDH: public keys and shared secrets that OpenSSL and RFC 7027 have.
func TestECDH(t *testing.T) {
	file, err := os.ReadFile("../testdata/ecdh.txt")
	require.NoError(t, err)
	seen := map[int]bool{}
	for line := range strings.Lines(string(file)) {
		w := strings.Fields(line)
		if w[0] == "#" {
			continue
		}
		c, ok := ec.ByName(w[0])
		require.True(t, ok, w[0])
		seen[c.ID] = true
		d := unhex(t, w[1])
		q, err := std.Public(c.ID, d)
		require.NoError(t, err)
		require.Equal(t, w[2], hex.EncodeToString(q), w[0])
		if w[3] != "-" {
			z, err := std.ECDH(c.ID, d, unhex(t, w[3]))
			require.NoError(t, err)
			require.Equal(t, w[4], hex.EncodeToString(z), w[0])
		}
	}
	require.Len(t, seen, len(ec.Curves()))
}

// TestSign: RFC 6979 A.2.5 and A.2.6; signatures are those of package ec, and each
// verifies what the other made.
func TestSign(t *testing.T) {
	sum := sha256.Sum256([]byte("sample"))
	sig, err := std.Sign(12, unhex(t, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"), sum[:])
	require.NoError(t, err)
	require.Equal(t, strings.ToLower("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"), hex.EncodeToString(sig))
	for _, c := range ec.Curves() {
		d := c.Scalar(bytes.Repeat([]byte("key"), 30))
		q, err := std.Public(c.ID, d)
		require.NoError(t, err)
		p, err := c.Parse(q)
		require.NoError(t, err)
		for _, n := range []int{20, 28, 32, 48, 64} {
			digest := bytes.Repeat([]byte{byte(n)}, n)
			sig, err := std.Sign(c.ID, d, digest)
			require.NoError(t, err, c.Name)
			half := len(sig) / 2
			r, s, err := c.Sign(d, digest)
			require.NoError(t, err)
			require.Equal(t, append(r, s...), sig, "%s %d", c.Name, n)
			require.True(t, c.Verify(p, digest, sig[:half], sig[half:]))
			good, err := std.Verify(c.ID, q, digest, sig)
			require.NoError(t, err)
			require.True(t, good, c.Name)
			sig[half]++
			for _, bad := range [][]byte{sig, sig[1:], nil, make([]byte, len(sig))} {
				good, err := std.Verify(c.ID, q, digest, bad)
				require.NoError(t, err)
				require.False(t, good, c.Name)
			}
		}
	}
}

// TestRefused: what is no curve, key, point or digest.
func TestRefused(t *testing.T) {
	for _, c := range ec.Curves() {
		good := c.Scalar(bytes.Repeat([]byte{9}, 90))
		q, err := std.Public(c.ID, good)
		require.NoError(t, err)
		order := c.Order().FillBytes(make([]byte, c.OrderSize()))
		for _, key := range [][]byte{nil, make([]byte, c.OrderSize()), order} {
			_, err := std.Public(c.ID, key)
			require.ErrorIs(t, err, ec.ErrKey, c.Name)
			_, err = std.ECDH(c.ID, key, q)
			require.ErrorIs(t, err, ec.ErrKey, c.Name)
			_, err = std.Sign(c.ID, key, make([]byte, 32))
			require.ErrorIs(t, err, ec.ErrKey, c.Name)
		}
		off := bytes.Clone(q)
		off[len(off)-1] ^= 1
		for _, point := range [][]byte{nil, {0}, off, q[1:]} {
			_, err := std.ECDH(c.ID, good, point)
			require.ErrorIs(t, err, ec.ErrPoint, c.Name)
			_, err = std.Verify(c.ID, point, make([]byte, 32), make([]byte, 2*c.OrderSize()))
			require.ErrorIs(t, err, ec.ErrPoint, c.Name)
		}
		_, err = std.Sign(c.ID, good, make([]byte, 31))
		require.ErrorIs(t, err, std.ErrDigest)
	}
	for _, id := range []int{-1, 0, 9, 19} {
		_, err1 := std.Public(id, nil)
		_, err2 := std.ECDH(id, nil, nil)
		_, err3 := std.Sign(id, nil, nil)
		_, err4 := std.Verify(id, nil, nil, nil)
		for _, err := range []error{err1, err2, err3, err4} {
			require.ErrorIs(t, err, std.ErrCurve)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for _, id := range []int{12, 13, 15} {
		c, _ := ec.ByID(id)
		b.Run(c.Name, func(b *testing.B) {
			k, err := std.NewKey(id, c.Scalar(bytes.Repeat([]byte("key"), 30)))
			require.NoError(b, err)
			digest := make([]byte, 32)
			for b.Loop() {
				digest[0]++
				_, err = k.Sign(digest)
			}
			require.NoError(b, err)
		})
	}
}
