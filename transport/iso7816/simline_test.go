package iso7816

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// simWire is an I/O contact with its reset, in virtual time: characters of a start bit,
// eight data bits and parity, which take 12 etu. With T=0 the receiver pulls the line
// low when the parity is wrong, and the sender sends the character again. Two ends
// whose etus differ do not understand each other.
type simWire struct {
	time    bus.Virtual
	ends    [2]simLine
	inverse bool    // the convention, of which the parity depends
	ber     float64 // probability that a bit is received wrong
	rnd     *rand.Rand

	start    time.Duration // of the last character
	last     *simLine      // who sent it
	chars    int
	repeated int // characters that were sent again
	residual int // wrong characters with right parity
	bad      int // delivered with wrong parity
}

// simLine is one end.
type simLine struct {
	w     *simWire
	other *simLine
	sink  sink
	etu   time.Duration
	t     byte
}

// Characters on the contact (ISO/IEC 7816-3 7.2, 7.3, 10.3.1, 11.2.3).
const (
	charEtu   = 12
	repeatEtu = 13 // a character that is refused, until it begins again
	mostTries = 5
	turnT0    = 16 // from one character to one of the other end, leading edges
	turnT1    = 22 // BGT
)

func newSimWire(seed uint64) *simWire {
	w := &simWire{rnd: rand.New(rand.NewPCG(seed, 0))}
	w.ends[0] = simLine{w: w, other: &w.ends[1]}
	w.ends[1] = simLine{w: w, other: &w.ends[0]}
	return w
}

func (l *simLine) open(_ context.Context, s sink) error {
	l.sink = s
	s.signalled(sigUp)
	return nil
}

func (l *simLine) close()           {}
func (l *simLine) clock() bus.Clock { return &l.w.time }
func (l *simLine) traits() traits   { return traits{rates: true, parity: true} }

func (l *simLine) idle(_ <-chan struct{}, d time.Duration) { l.w.time.Sleep(min(d, l.etu)) }

func (l *simLine) rate(etu time.Duration, t byte) error {
	// What was written is sent at the old rate.
	l.w.time.AfterFunc(l.w.start+charEtu*l.etu-l.w.time.Now(), func() { l.etu, l.t = etu, t })
	if l.w.start+charEtu*l.etu <= l.w.time.Now() {
		l.etu, l.t = etu, t
	}
	return nil
}

func (l *simLine) signal(s signal) error {
	l.w.time.AfterFunc(l.etu, func() {
		if l.other.sink != nil {
			l.other.sink.signalled(s)
		}
	})
	return nil
}

func (l *simLine) write(p []byte) error {
	w := l.w
	for _, b := range p {
		gap := time.Duration(charEtu)
		if w.last != l {
			if gap = turnT0; l.t == 1 {
				gap = turnT1
			}
		}
		if w.chars == 0 {
			gap = 0
		}
		at := max(w.time.Now(), w.start+gap*l.etu)
		wrong := false
		for try := 1; ; try++ {
			w.chars++
			mask := byte(0)
			flips := 0
			for bit := range 9 {
				if w.ber > 0 && w.rnd.Float64() < w.ber {
					flips++
					if bit < 8 {
						mask |= 1 << bit
					}
				}
			}
			wrong = flips%2 == 1
			if wrong && l.t == 0 && try < mostTries {
				w.repeated++
				at += repeatEtu * l.etu
				continue
			}
			b ^= mask
			if !wrong && mask != 0 {
				w.residual++
			}
			break
		}
		if wrong {
			w.bad++
		}
		w.start, w.last = at, l
		etu := l.etu
		w.time.AfterFunc(at+charEtu*etu-w.time.Now(), func() {
			if o := l.other; o.sink != nil {
				if o.etu != etu {
					b, wrong = bits.Reverse8(b)^0x5A, true
				}
				o.sink.chars([]byte{b}, wrong != w.inverse)
			}
		})
	}
	return nil
}

// simPair is the two ends of a link on a wire.
func simPair(w *simWire, o serialOptions) (controller, target serialEnd) {
	o.ifs = 254
	if o.baud == 0 {
		o.baud = 9600
	}
	return newEnd("sim:", transport.Controller, o, &w.ends[0]), newEnd("sim:", transport.Target, o, &w.ends[1])
}

// simCard gives its ATR and echoes, the data of a command when it is T=0's.
type simCard struct {
	link transport.Link
	atr  []byte
	t0   bool
	late func(answer func()) // nil: at once
}

func (c *simCard) Frame(k transport.Kind, p []byte) {
	switch k {
	case transport.PowerOn, transport.Reset:
		_ = c.link.Send(transport.ATR, c.atr)
	case transport.Block:
		p = bytes.Clone(p)
		if c.t0 {
			p = append(p[5:], 0x90, 0)
		}
		answer := func() { _ = c.link.Send(transport.Block, p) }
		if c.late != nil {
			c.late(answer)
			return
		}
		answer()
	}
}

// simTerminal keeps the last frame.
type simTerminal struct {
	k transport.Kind
	p []byte
}

func (t *simTerminal) Frame(k transport.Kind, p []byte) {
	if k != transport.Inserted {
		t.k, t.p = k, bytes.Clone(p)
	}
}

// simBench is a terminal and a card with that ATR.
func simBench(tb testing.TB, w *simWire, a ATR, o serialOptions) (transport.Link, *simTerminal, *simCard) {
	atr, err := a.Bytes()
	require.NoError(tb, err)
	w.inverse = a.Inverse
	controller, target := simPair(w, o)
	if a.Inverse {
		invertOnly := bytes.Clone(atr)
		invert(invertOnly)
		require.Equal(tb, byte(tsInverseRaw), invertOnly[0])
	}
	card := &simCard{link: target, atr: atr, t0: o.protocol == 0}
	got := &simTerminal{}
	require.NoError(tb, target.Open(context.Background(), card))
	require.NoError(tb, controller.Open(context.Background(), got))
	tb.Cleanup(func() { controller.Close(); target.Close() })
	return controller, got, card
}

func b(v byte) *byte { return &v }

// simT1 offers T=1 with blocks of 254 and short waiting times, simBoth T=0 and T=1.
var (
	simT1   = ATR{Groups: []Group{{}, {T: 1}, {T: 1, TA: b(254), TB: b(0x25)}}}
	simBoth = ATR{Groups: []Group{{TA: b(0x96)}, {T: 0}, {T: 1, TA: b(254), TB: b(0x25)}}}
)

// What is not payload is little: 0.9 of the line at least.
func TestEfficiencyT1(t *testing.T) {
	w := newSimWire(1)
	l, got, _ := simBench(t, w, simT1, serialOptions{protocol: 1, baud: 115200})
	require.NoError(t, l.Send(transport.PowerOn, nil))
	before := w.time.Now()
	const n, size = 10, 4096
	p := bytes.Repeat([]byte("payload "), size/8)
	for range n {
		require.NoError(t, l.Send(transport.Block, p))
		require.Equal(t, p, got.p)
	}
	etus := float64(w.time.Now()-before) / float64(w.ends[0].etu)
	share := 2 * n * size * charEtu / etus
	t.Logf("T=1, IFS 254, 115200 baud: %d bytes in %.0f etu (%v): %.3f of the line", 2*n*size, etus, w.time.Now()-before, share)
	require.Greater(t, share, 0.9)
}

func TestConventions(t *testing.T) {
	for _, inverse := range []bool{false, true} {
		for protocol := range 2 {
			t.Run(fmt.Sprintf("T=%d, inverse %t", protocol, inverse), func(t *testing.T) {
				a := simBoth
				a.Inverse = inverse
				l, got, _ := simBench(t, newSimWire(1), a, serialOptions{protocol: protocol})
				require.NoError(t, l.Send(transport.PowerOn, nil))
				require.Equal(t, a.String(), fmt.Sprintf("% X", got.p))
				require.NoError(t, l.Send(transport.Block, []byte{0, 0xEC, 0, 0, 2, 0xFF, 0x60}))
				if protocol == 1 {
					require.Equal(t, []byte{0, 0xEC, 0, 0, 2, 0xFF, 0x60}, got.p)
					return
				}
				require.Equal(t, []byte{0x61, 2}, got.p)
				require.NoError(t, l.Send(transport.Block, []byte{0, 0xC0, 0, 0, 2}))
				require.Equal(t, []byte{0xFF, 0x60, 0x90, 0}, got.p)
			})
		}
	}
}

// With PPS1 = TA1 = 96 an etu is 512/32 periods of the clock instead of 372.
func TestRate(t *testing.T) {
	for protocol := range 2 {
		w := newSimWire(1)
		l, got, _ := simBench(t, w, simBoth, serialOptions{protocol: protocol, fast: true})
		require.NoError(t, l.Send(transport.PowerOn, nil))
		require.NoError(t, l.Send(transport.Block, []byte{0, 0xEC, 0, 0, 1, 0x42}))
		require.NotEmpty(t, got.p)
		require.Equal(t, time.Second/9600*512/(372*32), w.ends[0].etu)
		require.Equal(t, w.ends[0].etu, w.ends[1].etu)
		require.NoError(t, l.Send(transport.Reset, nil), "and back")
		require.Equal(t, simBoth.String(), fmt.Sprintf("% X", got.p))
	}
}

// A card that thinks for many waiting times says so.
func TestWaiting(t *testing.T) {
	for protocol := range 2 {
		w := newSimWire(1)
		l, got, card := simBench(t, w, simBoth, serialOptions{protocol: protocol})
		card.late = func(answer func()) { w.time.AfterFunc(20*time.Second, answer) }
		require.NoError(t, l.Send(transport.Block, []byte{0, 0xEC, 0, 0, 1, 0x42}))
		require.Equal(t, transport.Block, got.k)
		require.Greater(t, w.time.Now(), 20*time.Second)
		card.late = func(func()) {} // no answer at all
		require.ErrorContains(t, l.Send(transport.Block, []byte{0, 0xEC, 0, 0, 1, 0x42}), "more time without end")
		card.late = nil
		require.NoError(t, l.Send(transport.PowerOn, nil), "and it comes back")
		require.NoError(t, l.Send(transport.Block, []byte{0, 0xEC, 0, 0, 1, 0x42}))
	}
}

// What is asked for and not on offer is refused, in words.
func TestProtocolNotOffered(t *testing.T) {
	l, _, _ := simBench(t, newSimWire(1), simT1, serialOptions{protocol: 0})
	require.EqualError(t, l.Send(transport.PowerOn, nil), `link "sim:": the card offers T=1, and T=0 was asked for (ATR 3B 80 81 31 FE 25 EB)`)
	l, _, _ = simBench(t, newSimWire(1), ATR{}, serialOptions{protocol: 1})
	require.EqualError(t, l.Send(transport.PowerOn, nil), `link "sim:": the card offers T=0, and T=1 was asked for (ATR 3B 00)`)
}

// Nobody answers: an error, and no hang.
func TestNoATR(t *testing.T) {
	w := newSimWire(1)
	controller, _ := simPair(w, serialOptions{protocol: 1})
	require.NoError(t, controller.Open(context.Background(), &simTerminal{}))
	require.EqualError(t, controller.Send(transport.PowerOn, nil), `link "sim:": atr: none came (8.1): waited 1s`)
	require.NoError(t, controller.Close())
}

// On a line with wrong bits T=0 repeats characters and T=1 blocks: what arrives is
// what was sent, as long as no error escapes parity and LRC.
func TestNoisyLine(t *testing.T) {
	for protocol, ber := range []float64{1e-3, 2e-5} {
		w := newSimWire(7)
		l, got, _ := simBench(t, w, simBoth, serialOptions{protocol: protocol})
		require.NoError(t, l.Send(transport.PowerOn, nil))
		w.ber = ber
		r := rand.New(rand.NewPCG(1, 1))
		done, failed := 0, 0
		for range 200 {
			p := []byte{0, 0xEC, 0, 0, byte(1 + r.IntN(255))}
			for range p[4] {
				p = append(p, byte(r.Uint32()))
			}
			got.p = nil
			residual := w.residual
			err := l.Send(transport.Block, p)
			if protocol == 0 && err == nil {
				require.Equal(t, []byte{0x61, p[4]}, got.p)
				err = l.Send(transport.Block, []byte{0, 0xC0, 0, 0, p[4]})
				p = append(p[5:], 0x90, 0)
			}
			if err != nil {
				failed++
				continue
			}
			if done++; residual == w.residual {
				require.Equal(t, p, got.p)
			}
		}
		t.Logf("T=%d, BER %g: %d exchanges went, %d failed; %d characters, %d repeated, %d with wrong parity, %d wrong with right parity", protocol, ber, done, failed, w.chars, w.repeated, w.bad, w.residual)
		require.Greater(t, done, 190)
	}
}

// TestParityResidual: parity and repetition cannot promise T=0 anything: an even number of
// wrong bits among the nine of a character passes. What is delivered wrong, beside what
// that predicts for a line with independent wrong bits: even(2..8) of the characters that
// are accepted, even(0..8) of those that are sent.
func TestParityResidual(t *testing.T) {
	for _, ber := range []float64{5e-4, 1e-3} {
		w := newSimWire(11)
		l, _, _ := simBench(t, w, simBoth, serialOptions{})
		require.NoError(t, l.Send(transport.PowerOn, nil))
		r := rand.New(rand.NewPCG(2, 2))
		for range 1000 {
			w.ber = ber
			p := []byte{0, 0xEC, 0, 0, 250}
			for range p[4] {
				p = append(p, byte(r.Uint32()))
			}
			if l.Send(transport.Block, p) != nil { // an error that parity missed was a procedure byte
				w.ber = 0
				for try := 0; l.Send(transport.PowerOn, nil) != nil; try++ { // what was under way comes first
					require.Less(t, try, 50)
				}
			}
		}
		even := func(from int) (p float64) { // of nine bits, from wrong ones on
			for k := from; k < 9; k += 2 {
				choose := 1.0
				for i := range k {
					choose *= float64(9-i) / float64(i+1)
				}
				p += choose * math.Pow(ber, float64(k)) * math.Pow(1-ber, float64(9-k))
			}
			return p
		}
		delivered := float64(w.chars - w.repeated)
		want := delivered * even(2) / even(0)
		t.Logf("T=0, BER %g: %.0f characters delivered, %d wrong with right parity, rate %.2g; theory %.1f, rate %.2g", ber, delivered, w.residual, float64(w.residual)/delivered, want, even(2)/even(0))
		require.InDelta(t, want, w.residual, 5*math.Sqrt(want)+1)
	}
}
