package t1_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport/t1"
)

// noise is a wire that turns bits over, each with the same probability.
type noise struct {
	rnd  *rand.Rand
	ber  float64
	skip int64 // bits until the next error
	bits int64 // that went over the wire
}

func newNoise(ber float64, seed uint64) *noise {
	n := &noise{rnd: rand.New(rand.NewPCG(seed, 1)), ber: ber}
	n.next()
	return n
}

func (n *noise) next() {
	n.skip = math.MaxInt64
	if n.ber > 0 {
		n.skip = int64(math.Log(1-n.rnd.Float64()) / math.Log1p(-n.ber))
	}
}

// carry damages b in place.
func (n *noise) carry(b []byte) []byte {
	bits := int64(8 * len(b))
	n.bits += bits
	at := int64(0)
	for n.skip < bits-at {
		at += n.skip
		b[at/8] ^= 0x80 >> (at % 8)
		at++
		n.next()
	}
	n.skip -= bits - at
	return b
}

// result is what came of many exchanges.
type result struct {
	exchanges, wrong, failed, timeouts int
	bits                               int64
}

// soak exchanges commands and answers of size random bytes over a noisy wire. A
// target that is to be reset is reset.
func soak(tb testing.TB, cfg t1.Config, ber float64, exchanges, size int, seed uint64) result {
	ifd, card := pair(cfg)
	wire := newNoise(ber, seed)
	cmd, answer := make([]byte, size), make([]byte, size)
	var r result
	for ; r.exchanges < exchanges; r.exchanges++ {
		for i := 0; i+8 <= size; i += 8 { // random bytes, or errors would be hidden by the wrong order of equal blocks
			v := wire.rnd.Uint64()
			for k := range 8 {
				cmd[i+k], answer[i+k] = byte(v>>(8*k)), ^byte(v>>(8*k))
			}
		}
		a, err := ifd.Send(cmd)
		require.NoError(tb, err)
		steps := 0
		for a.Event == t1.None {
			if steps++; steps > 100_000 {
				require.FailNow(tb, "it hangs", "exchange %d", r.exchanges)
			}
			b := card.Receive(wire.carry(a.Block), nil)
			if b.Event == t1.Delivered {
				if !bytes.Equal(b.INF, cmd) {
					r.wrong++
				}
				b, err = card.Send(answer)
				require.NoError(tb, err)
			}
			if b.Block == nil {
				r.timeouts++
				a = ifd.Timeout()
				continue
			}
			a = ifd.Receive(wire.carry(b.Block), nil)
		}
		switch a.Event {
		case t1.Delivered:
			if !bytes.Equal(a.INF, answer) {
				r.wrong++
			}
		case t1.Reset:
			r.failed++
			ifd.Reset()
			card.Reset()
		default:
			r.failed++
		}
	}
	r.bits = wire.bits
	return r
}

// optimum is how many bits an exchange of size bytes each way takes at least, on
// average, when each damaged block costs one R-block and itself again, and nothing
// else is lost: blocks of at most ifs bytes, R-blocks between those of a chain.
func optimum(f t1.Format, ber float64, size, ifs int) float64 {
	ok := func(bits int) float64 { return math.Pow(1-ber, float64(bits)) }
	rBits := 8 * f.Overhead()
	r := float64(rBits) / ok(rBits)
	sum := 0.0
	for left := size; ; left -= ifs {
		bits := 8 * (min(left, ifs) + f.Overhead())
		sum += float64(bits)/ok(bits) + r*(1/ok(bits)-1)
		if left <= ifs {
			return 2 * sum
		}
		sum += r // acknowledges a block of a chain
	}
}

var noisy = []struct {
	name string
	cfg  t1.Config
	ifs  int
}{
	{"T=1 CRC", t1.Config{Format: crc, Peer: 254}, 254},
	{"T=1'", t1.Config{Prime: true, Peer: 0xFF9}, 0xFF9},
	{"T=1' IFS 64", t1.Config{Prime: true, Peer: 64, Own: 64}, 64},
}

// With a CRC nothing wrong is delivered: at a bit error rate of 1e-4 a block of 262
// bytes has four errors or more with 7e-5 (three are always found), and one in
// 32,768 of those patterns is not found: 2e-9 a block.
func TestNoiseWithCRC(t *testing.T) {
	for _, c := range noisy {
		t.Run(c.name, func(t *testing.T) {
			const n, size = 4000, 256
			for _, ber := range []float64{0, 1e-5, 1e-4} {
				r := soak(t, c.cfg, ber, n, size, 1)
				require.Zero(t, r.wrong)
				require.LessOrEqual(t, r.failed, n/500)
				f := t1.New(c.cfg).Format()
				best := optimum(f, ber, size, c.ifs)
				share := best / (float64(r.bits) / n)
				t.Logf("BER %g: goodput %.4f of the bits, %.4f of the optimum; %d failed, %d timeouts",
					ber, 16*size*n/float64(r.bits), share, r.failed, r.timeouts)
				require.Greater(t, share, 0.95)
			}
		})
	}
	// A line that is far too noisy for its blocks: it ends, and what is delivered is right.
	r := soak(t, t1.Config{Prime: true, Peer: 0xFF9}, 2e-3, 50, 1024, 1)
	require.Zero(t, r.wrong)
}

// BenchmarkNoise does b.N exchanges of 256 bytes; the million is
//
//	go test -run - -bench Noise -benchtime 1000000x ./transport/t1
func BenchmarkNoise(b *testing.B) {
	for _, c := range noisy {
		for _, ber := range []float64{0, 1e-4} {
			b.Run(fmt.Sprintf("%s/BER %g", c.name, ber), func(b *testing.B) {
				b.ReportAllocs()
				r := soak(b, c.cfg, ber, b.N, 256, 7)
				require.Zero(b, r.wrong)
				best := optimum(t1.New(c.cfg).Format(), ber, 256, c.ifs)
				b.ReportMetric(best*float64(b.N)/float64(r.bits), "of-optimum")
				b.ReportMetric(16*256*float64(b.N)/float64(r.bits), "goodput")
				b.ReportMetric(float64(r.failed), "failed")
			})
		}
	}
}

// lrcResidual is the probability that a block of n bytes of INF arrives wrong and is
// not noticed, when each bit is turned over with probability p.
//
// LRC is one parity bit for each of the eight columns of bits. An error is not
// noticed when every column has an even number of errors. NAD, PCB and LEN must be
// right by themselves, since a wrong one of them is noticed otherwise (LEN and NAD
// always; a wrong PCB is out of sequence or has a reserved bit set, but for M in an
// I-block, which the comparison neglects). The other n+1 bytes, INF and LRC: a
// column of m bits has an even number of errors with (1+(1-2p)^m)/2, so the columns
// are all even with the eighth power of that, of which no error at all, (1-p)^(8m),
// is not wrong.
func lrcResidual(p float64, n int) float64 {
	m := float64(n + 1)
	even := (1 + math.Pow(1-2*p, m)) / 2
	return math.Pow(1-p, 24) * (math.Pow(even, 8) - math.Pow(1-p, 8*m))
}

// What LRC lets pass is what theory says.
func TestResidualOfLRC(t *testing.T) {
	const n, size = 5000, 250
	for _, ber := range []float64{1e-4, 5e-4} {
		f := lrc
		clean := math.Pow(1-ber, 8*float64(size+f.Overhead()))
		u := lrcResidual(ber, size)
		want := 2 * n * u / (u + clean) // a block is sent until it seems right, each way
		r := soak(t, t1.Config{Peer: 254, Retries: 20}, ber, n, size, 3)
		t.Logf("BER %g: %d wrong APDUs of %d, theory %.1f (%.2e a block); %d failed", ber, r.wrong, 2*n, want, u, r.failed)
		require.InDelta(t, want, float64(r.wrong), 4*math.Sqrt(want)+0.03*want)
	}
}

// Noise that knows nothing of the block (every byte random but LEN) passes LRC with
// 1 in 256 and CRC with 1 in 65,536.
func TestResidualOfGarbage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		f    t1.Format
		bits int
	}{{lrc, 8}, {crc, 16}, {prime, 16}, {older, 16}} {
		const n = 2_000_000
		b := c.f.Append(nil, 0, 0, make([]byte, 4))
		passed := 0
		for range n {
			v := rnd.Uint64()
			for i := range 4 {
				b[c.f.Prologue()+i] = byte(v >> (8 * i))
			}
			b[0], b[1] = byte(v>>32), byte(v>>40)
			b[len(b)-1] = byte(v >> 48)
			if c.bits == 16 {
				b[len(b)-2] = byte(v >> 56)
			}
			if _, err := c.f.Parse(b); err == nil {
				passed++
			}
		}
		want := math.Ldexp(n, -c.bits)
		t.Logf("%v: %d of %d passed, theory %.1f", c.f.EDC, passed, n, want)
		require.InDelta(t, want, float64(passed), 5*math.Sqrt(want))
	}
}

// An exchange allocates nothing once the buffers have grown.
func TestEngineDoesNotAllocate(t *testing.T) {
	for _, cfg := range []t1.Config{{}, {Prime: true}, {Prime: true, Peer: 0xFF9}} {
		ifd, card := pair(cfg)
		p := make([]byte, 256)
		run := func() {
			a, _ := ifd.Send(p)
			for a.Event != t1.Delivered {
				b := card.Receive(a.Block, nil)
				if b.Event == t1.Delivered {
					b, _ = card.Send(b.INF)
				}
				a = ifd.Receive(b.Block, nil)
			}
		}
		run()
		require.Zero(t, testing.AllocsPerRun(200, run))
	}
}

func BenchmarkExchange(b *testing.B) {
	for _, c := range noisy {
		b.Run(c.name, func(b *testing.B) {
			ifd, card := pair(c.cfg)
			p := make([]byte, 256)
			b.ReportAllocs()
			for b.Loop() {
				a, _ := ifd.Send(p)
				for a.Event != t1.Delivered {
					r := card.Receive(a.Block, nil)
					if r.Event == t1.Delivered {
						r, _ = card.Send(r.INF)
					}
					a = ifd.Receive(r.Block, nil)
				}
			}
		})
	}
}
