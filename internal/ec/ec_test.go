package ec_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/ec"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestECDH: public keys and shared secrets that OpenSSL and RFC 7027 have.
func TestECDH(t *testing.T) {
	file, err := os.ReadFile("testdata/ecdh.txt")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(file)) {
		w := strings.Fields(line)
		if w[0] == "#" {
			continue
		}
		c, ok := ec.ByName(w[0])
		require.True(t, ok, w[0])
		d := unhex(t, w[1])
		q, err := c.Base(d)
		require.NoError(t, err)
		require.Equal(t, w[2], hex.EncodeToString(q.Bytes()), w[0])
		if w[3] != "-" {
			p, err := c.Parse(unhex(t, w[3]))
			require.NoError(t, err)
			z, err := c.SharedSecret(d, p)
			require.NoError(t, err)
			require.Equal(t, w[4], hex.EncodeToString(z), w[0])
		}
		n++
	}
	require.Equal(t, 19, n)
}

// TestSign: RFC 6979 A.2.5 and A.2.6, and what the standard library makes with the
// same rule.
func TestSign(t *testing.T) {
	for _, v := range []struct {
		c          *ec.Curve
		h          crypto.Hash
		msg        string
		key, r, s_ string
	}{
		{ec.P256, crypto.SHA256, "sample", "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721", "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716", "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"},
		{ec.P384, crypto.SHA384, "sample", "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5", "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46", "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8"},
	} {
		h := v.h.New()
		h.Write([]byte(v.msg))
		r, s, err := v.c.Sign(unhex(t, v.key), h.Sum(nil))
		require.NoError(t, err)
		require.Equal(t, strings.ToLower(v.r+v.s_), hex.EncodeToString(append(r, s...)))
	}
	sum256, sum512 := sha256.Sum256([]byte("x")), sha512.Sum512([]byte("x"))
	for _, v := range []struct {
		c      *ec.Curve
		std    elliptic.Curve
		h      crypto.Hash
		digest []byte
	}{
		{ec.P224, elliptic.P224(), crypto.SHA256, sum256[:]},
		{ec.P256, elliptic.P256(), crypto.SHA512, sum512[:]},
		{ec.P384, elliptic.P384(), crypto.SHA256, sum256[:]},
		{ec.P521, elliptic.P521(), crypto.SHA512, sum512[:]},
	} {
		d := v.c.Scalar([]byte(strings.Repeat("key", 30)))
		priv, err := ecdsa.ParseRawPrivateKey(v.std, d)
		require.NoError(t, err)
		want, err := priv.Sign(nil, v.digest, v.h)
		require.NoError(t, err)
		r, s, err := v.c.Sign(d, v.digest)
		require.NoError(t, err)
		var sig struct{ R, S *big.Int }
		_, err = asn1.Unmarshal(want, &sig)
		require.NoError(t, err)
		require.Zero(t, sig.R.Cmp(new(big.Int).SetBytes(r)), v.c.Name)
		require.Zero(t, sig.S.Cmp(new(big.Int).SetBytes(s)), v.c.Name)
	}
}

// TestVerify: right ones, and every way in which one can be wrong.
func TestVerify(t *testing.T) {
	for _, c := range ec.Curves() {
		d := c.Scalar(bytes.Repeat([]byte{7}, c.OrderSize()+8))
		q, err := c.Base(d)
		require.NoError(t, err)
		h := sha256.Sum256([]byte(c.Name))
		r, s, err := c.Sign(d, h[:])
		require.NoError(t, err)
		require.True(t, c.Verify(q, h[:], r, s), c.Name)
		require.False(t, c.Verify(q, h[:], s, r), c.Name)
		require.False(t, c.Verify(c.Negate(q), h[:], r, s), c.Name)
		require.False(t, c.Verify(q, h[:], r, make([]byte, len(s))))
		require.False(t, c.Verify(q, h[:], nil, s))
		n := c.Order().Bytes()
		require.False(t, c.Verify(q, h[:], n, s))
		h[0] ^= 1
		require.False(t, c.Verify(q, h[:], r, s), c.Name)
		for _, bad := range [][]byte{nil, make([]byte, 20), n} {
			_, _, err = c.Sign(bad, h[:])
			require.ErrorIs(t, err, ec.ErrKey)
		}
	}
}

// TestGroup: sums against multiples, at the edges as well.
func TestGroup(t *testing.T) {
	for _, c := range ec.Curves() {
		g := c.Generator()
		two, err := c.Base([]byte{2})
		require.NoError(t, err)
		sum, err := c.Add(g, g)
		require.NoError(t, err)
		require.True(t, sum.Equal(two), c.Name)
		five, err := c.Base([]byte{0, 0, 5})
		require.NoError(t, err)
		three, err := c.Mult(g, []byte{3})
		require.NoError(t, err)
		sum, err = c.Add(two, three)
		require.NoError(t, err)
		require.Equal(t, five.Bytes(), sum.Bytes())
		_, err = c.Add(five, c.Negate(five))
		require.ErrorIs(t, err, ec.ErrInfinity)
		for _, k := range [][]byte{nil, {0}, c.Order().Bytes()} {
			_, err = c.Base(k)
			require.ErrorIs(t, err, ec.ErrInfinity)
		}
		last, err := c.Base(new(big.Int).Sub(c.Order(), big.NewInt(1)).Bytes())
		require.NoError(t, err)
		require.True(t, last.Equal(c.Negate(g)), c.Name)
		back, ok := c.FromX(g.X())
		require.True(t, ok && (back.Equal(g) || back.Equal(c.Negate(g))))
	}
	_, err := ec.P256.Mult(ec.P384.Generator(), []byte{1})
	require.ErrorIs(t, err, ec.ErrPoint)
}

// TestParse: what is not a point.
func TestParse(t *testing.T) {
	for _, c := range ec.Curves() {
		good := c.Generator().Bytes()
		p, err := c.Parse(good)
		require.NoError(t, err)
		require.Equal(t, good, p.Bytes())
		change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
		prime, _, _, _, _ := c.Parameters()
		for _, bad := range [][]byte{
			nil, {4}, {0}, good[1:], append(good, 0),
			change(func(b []byte) []byte { b[0] = 2; return b[:1+c.Size] }),
			change(func(b []byte) []byte { b[0] = 6; return b }),
			change(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
			change(func(b []byte) []byte { copy(b[1:], prime); return b }),
			change(func(b []byte) []byte { clear(b[1:]); return b }),
			append([]byte{4}, bytes.Repeat([]byte{0xFF}, 2*c.Size)...),
		} {
			_, err := c.Parse(bad)
			require.ErrorIs(t, err, ec.ErrPoint, "%s %X", c.Name, bad)
		}
	}
}

// TestTables: every curve is found by what names it.
func TestTables(t *testing.T) {
	for _, c := range ec.Curves() {
		for _, found := range []func() (*ec.Curve, bool){
			func() (*ec.Curve, bool) { return ec.ByID(c.ID) },
			func() (*ec.Curve, bool) { return ec.ByOID(c.OID) },
			func() (*ec.Curve, bool) { return ec.ByName(c.Name) },
			func() (*ec.Curve, bool) { return ec.ByParameters(c.Parameters()) },
		} {
			same, ok := found()
			require.True(t, ok && same == c, c.Name)
		}
	}
	_, ok := ec.ByName("P-192")
	require.False(t, ok)
}

func FuzzPoint(f *testing.F) {
	f.Add(ec.P256.Generator().Bytes(), []byte{1})
	f.Fuzz(func(t *testing.T, b, k []byte) {
		for _, c := range ec.Curves() {
			if p, err := c.Parse(b); err == nil {
				require.Equal(t, b, p.Bytes())
			}
		}
		p, err := ec.P256.Parse(b)
		std, stdErr := ecdh.P256().NewPublicKey(b)
		require.Equal(t, stdErr == nil && b[0] == 4, err == nil)
		if key, bad := ecdh.P256().NewPrivateKey(k); bad == nil && err == nil {
			want, err := key.ECDH(std)
			require.NoError(t, err)
			got, err := ec.P256.SharedSecret(k, p)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	})
}

func BenchmarkMult(b *testing.B) {
	for _, c := range ec.Curves() {
		b.Run(c.Name, func(b *testing.B) {
			k := c.Scalar(bytes.Repeat([]byte{9}, 80))
			for b.Loop() {
				if _, err := c.Base(k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
