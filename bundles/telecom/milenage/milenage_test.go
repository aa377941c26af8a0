package milenage_test

import (
	"crypto/aes"
	"fmt"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/telecom/milenage"
	"github.com/sspemu/sspemu/bundles/telecom/milenage/vectors"
)

func block(b []byte) *[16]byte { v := [16]byte(b); return &v }

// TestKnownAnswers reproduces every test set of TS 35.207, TS 35.208 and TS
// 55.205.
func TestKnownAnswers(t *testing.T) {
	gsm := 0
	for standard, count := range map[string]int{"TS 35.207": 6, "TS 35.208": 20} {
		sets, err := vectors.All(standard)
		require.NoError(t, err)
		require.Len(t, sets, count)
		for _, s := range sets {
			t.Run(fmt.Sprintf("%s set %d", standard, s.Number), func(t *testing.T) {
				opc := milenage.OPc(block(s.Get("k")), block(s.Get("op")))
				require.Equal(t, s.Get("opc"), opc[:])
				m := milenage.New(block(s.Get("k")), &opc, milenage.Default)
				macA, macS := m.F1(block(s.Get("rand")), milenage.ParseSQN([6]byte(s.Get("sqn"))), [2]byte(s.Get("amf")))
				require.Equal(t, s.Get("f1"), macA[:])
				require.Equal(t, s.Get("f1*"), macS[:])
				res, ck, ik, ak := m.F2345(block(s.Get("rand")))
				require.Equal(t, s.Get("f2"), res[:])
				require.Equal(t, s.Get("f3"), ck[:])
				require.Equal(t, s.Get("f4"), ik[:])
				require.Equal(t, s.Get("f5"), ak[:])
				ak = m.F5Star(block(s.Get("rand")))
				require.Equal(t, s.Get("f5*"), ak[:])
				if s.GSM() > 0 {
					gsm++
					sres, kc := milenage.GSM(&res, &ck, &ik)
					require.Equal(t, s.Get("sres"), sres[:])
					require.Equal(t, s.Get("kc"), kc[:])
				}
			})
		}
	}
	require.Equal(t, 19, gsm)
}

// TestKernel: OPc with an OP of P is P xor E[P]K, so it shows the kernel from
// outside. The sets of TS 35.208 3, and random keys against crypto/aes.
func TestKernel(t *testing.T) {
	sets, err := vectors.All("TS 35.208 AES")
	require.NoError(t, err)
	require.Len(t, sets, 20)
	encrypt := func(k, p *[16]byte) [16]byte {
		c := milenage.OPc(k, p)
		for i := range c {
			c[i] ^= p[i]
		}
		return c
	}
	for _, s := range sets {
		c := encrypt(block(s.Get("k")), block(s.Get("plain")))
		require.Equal(t, s.Get("cipher"), c[:], "set %d", s.Number)
	}
	rnd := rand.New(rand.NewSource(1))
	for range 1000 {
		var k, p, want [16]byte
		rnd.Read(k[:])
		rnd.Read(p[:])
		b, err := aes.NewCipher(k[:])
		require.NoError(t, err)
		b.Encrypt(want[:], p[:])
		require.Equal(t, want, encrypt(&k, &p))
	}
}

// TestConstants: with a rotation that is no whole number of bytes, against a
// rotation done on bits as text.
func TestConstants(t *testing.T) {
	var k, opc, rnd [16]byte
	for i := range rnd {
		k[i], opc[i], rnd[i] = byte(i), byte(17*i), byte(255-i*3)
	}
	con := milenage.Default
	con.R[4], con.C[4] = 13, [16]byte{0: 0x80, 15: 1}
	got := milenage.New(&k, &opc, con).F5Star(&rnd)

	b, err := aes.NewCipher(k[:])
	require.NoError(t, err)
	var temp, in, out [16]byte
	for i := range in {
		in[i] = rnd[i] ^ opc[i]
	}
	b.Encrypt(temp[:], in[:])
	bits := ""
	for i := range temp {
		bits += fmt.Sprintf("%08b", temp[i]^opc[i])
	}
	bits = bits[13:] + bits[:13]
	for i := range in {
		_, err := fmt.Sscanf(bits[8*i:8*i+8], "%b", &in[i])
		require.NoError(t, err)
		in[i] ^= con.C[4][i]
	}
	b.Encrypt(out[:], in[:])
	for i := range out {
		out[i] ^= opc[i]
	}
	require.Equal(t, out[:6], got[:])
}

// TestAUTS: the network finds SQNMS in it and MAC-S over it (TS 33.102 6.3.5).
func TestAUTS(t *testing.T) {
	sets, err := vectors.All("TS 35.208")
	require.NoError(t, err)
	s := sets[19]
	m := milenage.New(block(s.Get("k")), block(s.Get("opc")), milenage.Default)
	const ms milenage.SQN = 0x000000ABCDEF
	auts := m.AUTS(block(s.Get("rand")), ms)
	var sqn [6]byte
	for i, ak := range s.Get("f5*") {
		sqn[i] = auts[i] ^ ak
	}
	require.Equal(t, ms, milenage.ParseSQN(sqn))
	_, macS := m.F1(block(s.Get("rand")), ms, [2]byte{})
	require.Equal(t, macS[:], auts[6:])
}

func TestNoAllocation(t *testing.T) {
	var k, opc, rnd [16]byte
	m := milenage.New(&k, &opc, milenage.Default)
	q := milenage.Sequence{Rule: milenage.DefaultRule, Array: make([]milenage.SQN, 32)}
	var sqn milenage.SQN = 32
	require.Zero(t, testing.AllocsPerRun(100, func() {
		m.F1(&rnd, sqn, [2]byte{})
		res, ck, ik, _ := m.F2345(&rnd)
		milenage.GSM(&res, &ck, &ik)
		m.AUTS(&rnd, q.Highest())
		if q.Fresh(sqn) {
			q.Accept(sqn)
		}
		sqn += 33
	}))
}

func BenchmarkAKA(b *testing.B) {
	var k, opc, rnd [16]byte
	m := milenage.New(&k, &opc, milenage.Default)
	for b.Loop() {
		m.F2345(&rnd)
		m.F1(&rnd, 1, [2]byte{})
	}
}
