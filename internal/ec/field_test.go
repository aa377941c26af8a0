package ec

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMul: both ways to multiply against math/big, with numbers at the edges.
func TestMul(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range Curves() {
		number := func() *big.Int {
			v := new(big.Int)
			for range c.f.n {
				v.Lsh(v, 64).Or(v, new(big.Int).SetUint64([]uint64{0, 1<<64 - 1, r.Uint64(), 1 << 63, 1<<32 - 1}[r.IntN(5)]))
			}
			return v.Mod(v, c.p)
		}
		least := new(big.Int).Sub(c.p, big.NewInt(1))
		inverse := new(big.Int).ModInverse(new(big.Int).Lsh(big.NewInt(1), uint(64*c.f.n)), c.p)
		for i := range 2000 {
			x, y := number(), number()
			if i == 0 {
				x, y = least, least
			}
			want := new(big.Int).Mul(x, y)
			want.Mul(want, inverse).Mod(want, c.p)
			var a, b, z, zn, w elem
			limbs := func(e *elem, v *big.Int) {
				for i := range c.f.n {
					e[i] = new(big.Int).Rsh(v, uint(64*i)).Uint64() // the low 64 bits
				}
			}
			limbs(&a, x)
			limbs(&b, y)
			limbs(&w, want)
			c.f.mul(&z, &a, &b)
			c.f.mulN(&zn, &a, &b)
			require.Equal(t, w, z, c.Name)
			require.Equal(t, w, zn, c.Name)
		}
	}
}
