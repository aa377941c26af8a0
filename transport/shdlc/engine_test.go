package shdlc

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// LPDUs for the tables.
func i(ns, nr byte, info string) []byte { return append([]byte{ctlI | ns<<3 | nr}, info...) }
func rr(nr byte) []byte                 { return []byte{ctlRR | nr} }
func rej(nr byte) []byte                { return []byte{ctlREJ | nr} }
func rnr(nr byte) []byte                { return []byte{ctlRNR | nr} }
func srej(nr byte) []byte               { return []byte{ctlSRJ | nr} }

var (
	ua     = []byte{0xE6}
	rset4  = []byte{0xF9, 4, 0}
	rset4s = []byte{0xF9, 4, 1}
)

// step is one line of a dialogue: something happens, and LPDUs go out.
type step struct {
	at   time.Duration
	do   any // []byte: arrives; string: the user sends; noise; connect; take
	ev   Event
	out  [][]byte
	data string // what the user has taken until then, joined by commas
}

type (
	noise   struct{}
	connect struct{}
	take    int // so many may be taken in this step, and none from then on; -1: none
)

func out(f ...[]byte) [][]byte { return f }

// TestDialogues plays one end against a script.
func TestDialogues(t *testing.T) {
	noSREJ := quick()
	noSREJ.SREJ = false
	narrow := noSREJ
	narrow.Window = 2
	up := []step{{do: rset4s, out: out(ua)}, {do: rr(0), ev: Up}}
	upREJ := []step{{do: rset4, out: out(ua)}, {do: rr(0), ev: Up}}
	for _, tt := range []struct {
		name  string
		cfg   Config
		steps []step
	}{
		{"set-up as initiator", quick(), []step{
			{do: connect{}, out: out(rset4s)},
			{do: ua, ev: Up, out: out(rr(0))},
			{do: ua}, // a second one, of a RSET that was repeated
			{do: "x", out: out(i(0, 0, "x"))},
		}},
		{"RSET is repeated after T3, 5 in all", quick(), []step{
			{do: connect{}, out: out(rset4s)},
			{at: 4 * ms},
			{at: 5 * ms, out: out(rset4s)}, {at: 10 * ms, out: out(rset4s)}, {at: 15 * ms, out: out(rset4s)}, {at: 20 * ms, out: out(rset4s)},
			{at: 25 * ms, ev: Down},
			{at: 900 * ms},
		}},
		{"the window of the other end is smaller", quick(), []step{
			{do: []byte{0xF9, 2, 1}, out: out(ua)},
			{do: rr(0), ev: Up},
			{do: "a", out: out(i(0, 0, "a"))}, {do: "b", out: out(i(1, 0, "b"))}, {do: "c"},
			{do: rr(1), out: out(i(2, 0, "c"))},
		}},
		{"the window of the other end is larger: it is offered ours", narrow, []step{
			{do: rset4s, out: out([]byte{0xF9, 2, 0})},
			{do: ua, ev: Up, out: out(rr(0))},
		}},
		{"a RSET without parameters", noSREJ, []step{{do: []byte{0xF9}, out: out(ua)}}},
		{"a RSET with a window that cannot be is not argued about for ever", noSREJ, []step{
			{do: []byte{0xF9, 0}, out: out([]byte{0xF9, 2, 0})}, {do: []byte{0xF9, 0}, out: out([]byte{0xF9, 2, 0})},
			{do: []byte{0xF9, 0}, out: out([]byte{0xF9, 2, 0})}, {do: []byte{0xF9, 0}, out: out([]byte{0xF9, 2, 0})},
			{do: []byte{0xF9, 0}, out: out([]byte{0xF9, 2, 0})}, {do: []byte{0xF9, 0}, ev: Down},
		}},
		{"RSETs cross", quick(), []step{
			{do: connect{}, out: out(rset4s)}, {do: rset4s, out: out(ua)}, {do: ua, ev: Up, out: out(rr(0))},
		}},
		{"an initiator whose UA is lost begins again", quick(), []step{
			{do: connect{}, out: out(rset4s)}, {do: rset4s, out: out(ua)}, {at: 100 * ms, out: out(rset4s)},
		}},
		{"a storm of RSETs", quick(), []step{
			{do: rset4s, out: out(ua)}, {do: rset4s, out: out(ua)}, {do: i(0, 0, "a"), ev: Up, data: "a"},
			{do: rset4s, ev: WasReset, out: out(ua)}, {do: rset4s, out: out(ua)}, {do: rset4s, out: out(ua)},
			{do: i(0, 0, "b"), ev: Up, data: "b"}, {at: 5 * ms, out: out(rr(1))},
		}},
		{"a frame of a link that this end knows nothing of", quick(), []step{
			{do: i(3, 1, "x"), out: out(rset4s)}, {do: i(3, 1, "x")}, {do: ua, ev: Up, out: out(rr(0))},
		}},
		{"the acknowledgement waits for T1", quick(), append(up[:2:2], []step{
			{do: i(0, 0, "a"), data: "a"}, {at: 4 * ms}, {at: 5 * ms, out: out(rr(1))}, {at: 50 * ms},
		}...)},
		{"an answer takes it along", quick(), append(up[:2:2], []step{
			{do: i(0, 0, "a"), data: "a"}, {at: 1 * ms, do: "b", out: out(i(0, 1, "b"))}, {at: 50 * ms}, {do: rr(1)}, {at: 500 * ms},
		}...)},
		{"half a window is acknowledged at once", quick(), append(up[:2:2], []step{
			{do: i(0, 0, "a"), data: "a"}, {do: i(1, 0, "b"), data: "b", out: out(rr(2))}, {at: 50 * ms},
		}...)},
		{"a lost I-frame, found by the next, SREJ", quick(), append(up[:2:2], []step{
			{do: i(0, 0, "a"), data: "a"},
			{do: i(2, 0, "c"), out: out(srej(1))},
			{do: i(3, 0, "d")},
			{do: i(1, 0, "b"), data: "b,c,d", out: out(rr(4))},
		}...)},
		{"two lost I-frames, SREJ", quick(), append(up[:2:2], []step{
			{do: i(1, 0, "b"), out: out(srej(0))}, {do: i(3, 0, "d")},
			{do: i(0, 0, "a"), data: "a,b", out: out(srej(2))},
			{do: i(2, 0, "c"), data: "c,d", out: out(rr(4))},
		}...)},
		{"a lost I-frame, found by the next, REJ", noSREJ, append(upREJ[:2:2], []step{
			{do: i(1, 0, "b"), out: out(rej(0))}, {do: i(2, 0, "c")},
			{do: i(0, 0, "a"), data: "a"}, {do: i(1, 0, "b"), data: "b", out: out(rr(2))}, {do: i(2, 0, "c"), data: "c"},
		}...)},
		{"what REJ brought is lost as well", noSREJ, append(upREJ[:2:2], []step{
			{do: i(1, 0, "b"), out: out(rej(0))}, {do: i(2, 0, "c")},
			{do: i(1, 0, "b"), out: out(rej(0))}, {do: i(0, 0, "a"), data: "a"},
		}...)},
		{"something garbled is asked for at once, again after T1", quick(), append(up[:2:2], []step{
			{do: noise{}, out: out(srej(0))}, {at: 1 * ms, do: noise{}}, {at: 5 * ms, out: out(srej(0))},
			{at: 6 * ms}, {do: i(0, 0, "a"), data: "a"},
		}...)},
		{"REJ for us", noSREJ, append(upREJ[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {do: "b", out: out(i(1, 0, "b"))}, {do: "c", out: out(i(2, 0, "c"))},
			{do: rej(1), out: out(i(1, 0, "b"), i(2, 0, "c"))},
			{do: rr(3)}, {at: 500 * ms},
		}...)},
		{"SREJ for us", quick(), append(up[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {do: "b", out: out(i(1, 0, "b"))}, {do: "c", out: out(i(2, 0, "c"))},
			{do: srej(1), out: out(i(1, 0, "b"))},
			{do: rr(3)}, {at: 500 * ms},
		}...)},
		{"REJ and SREJ for what was never sent", quick(), append(up[:2:2], []step{
			{do: rej(0), out: out(rr(0))}, {do: srej(0), out: out(rr(0))}, {do: "a", out: out(i(0, 0, "a"))},
		}...)},
		{"a lost RR: T2", quick(), append(up[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {at: 99 * ms}, {at: 100 * ms, out: out(i(0, 0, "a"))}, {do: rr(1)}, {at: 900 * ms},
		}...)},
		{"a duplicate is acknowledged at once", quick(), append(up[:2:2], []step{
			{do: i(0, 0, "a"), data: "a"}, {at: 1 * ms, do: i(0, 0, "a"), out: out(rr(1))}, {at: 50 * ms},
		}...)},
		{"a wrong N(R) has no effect", quick(), append(up[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {do: rr(2)}, {do: i(0, 5, "x")}, {do: rej(3)}, {at: 100 * ms, out: out(i(0, 0, "a"))},
		}...)},
		{"no answer: the link is down", func() Config { c := quick(); c.Retries = 2; return c }(), append(up[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {at: 100 * ms, out: out(i(0, 0, "a"))}, {at: 200 * ms, out: out(i(0, 0, "a"))},
			{at: 300 * ms, ev: Down}, {at: 900 * ms}, {do: "b"},
		}...)},
		{"endless REJ: the link is down", func() Config { c := noSREJ; c.Retries = 2; return c }(), append(upREJ[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {do: rej(0), out: out(i(0, 0, "a"))}, {do: rej(0), out: out(i(0, 0, "a"))}, {do: rej(0), ev: Down},
		}...)},
		{"the window is full", quick(), append(up[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {do: "b", out: out(i(1, 0, "b"))}, {do: "c", out: out(i(2, 0, "c"))}, {do: "d", out: out(i(3, 0, "d"))},
			{do: "e"}, {do: "f"}, {do: rr(2), out: out(i(4, 0, "e"), i(5, 0, "f"))},
		}...)},
		{"RNR stops, RR goes on", quick(), append(up[:2:2], []step{
			{do: "a", out: out(i(0, 0, "a"))}, {do: rnr(1)}, {do: "b"}, {at: 100 * ms, do: rnr(1)}, {at: 299 * ms},
			{at: 300 * ms, do: rr(1), out: out(i(1, 0, "b"))},
		}...)},
		{"RR after RNR with nothing to send: an empty I-frame", quick(), append(up[:2:2], []step{
			{do: rnr(0)}, {do: rr(0), out: out(i(0, 0, ""))}, {do: rr(1)},
		}...)},
		{"silence after RNR: an I-frame tries", quick(), append(up[:2:2], []step{
			{do: rnr(0)}, {do: "a"}, {at: 199 * ms}, {at: 200 * ms, out: out(i(0, 0, "a"))}, {do: rnr(0)},
			{at: 400 * ms, out: out(i(0, 0, "a"))}, {do: rr(1)},
		}...)},
		{"silence after RNR, nothing to send", quick(), append(up[:2:2], []step{
			{do: rnr(0)}, {at: 200 * ms}, {at: 900 * ms}, {do: "a", out: out(i(0, 0, "a"))},
		}...)},
		{"our user is slow: RNR, again every T2, RR until an I-frame comes", quick(), append(up[:2:2], []step{
			{do: take(-1)},
			{do: i(0, 0, "0")}, {do: i(1, 0, "1"), out: out(rr(2))}, {do: i(2, 0, "2")}, {do: i(3, 0, "3"), out: out(rr(4))},
			{do: i(4, 0, "4")}, {do: i(5, 0, "5"), out: out(rr(6))}, {do: i(6, 0, "6")}, {do: i(7, 0, "7"), out: out(rnr(0))},
			{do: i(0, 0, "8"), out: out(rnr(1))},
			{at: 100 * ms, out: out(rnr(1))},
			{do: take(4), data: "0,1,2,3"},
			{do: take(2), data: "4,5", out: out(rr(1))},
			{at: 200 * ms, out: out(rr(1))},
			{do: take(100), data: "6,7,8"},
			{do: i(1, 0, "")}, {at: 205 * ms, out: out(rr(2))},
			{at: 900 * ms},
		}...)},
		{"a sender that does not heed RNR", quick(), append(up[:2:2], []step{
			{do: take(-1)},
			{do: i(0, 0, "0")}, {do: i(1, 0, "1"), out: out(rr(2))}, {do: i(2, 0, "2")}, {do: i(3, 0, "3"), out: out(rr(4))},
			{do: i(4, 0, "4")}, {do: i(5, 0, "5"), out: out(rr(6))}, {do: i(6, 0, "6")}, {do: i(7, 0, "7"), out: out(rnr(0))},
			{do: i(0, 0, "8"), out: out(rnr(1))}, {do: i(1, 0, "9"), out: out(rnr(2))}, {do: i(2, 0, "a"), out: out(rnr(3))},
			{do: i(3, 0, "b"), out: out(rnr(4))}, {do: i(4, 0, "c"), out: out(rnr(5))}, {do: i(5, 0, "d"), out: out(rnr(6))},
			{do: i(6, 0, "e"), out: out(rnr(7))}, {do: i(7, 0, "f"), out: out(rnr(0))},
			{do: i(0, 0, "g"), out: out(rnr(0))}, // no room
			{do: take(100), data: "0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f", out: out(rej(0))},
			{do: i(0, 0, "g"), data: ""},
		}...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, initiator := tt.steps[0].do.(connect)
			e := NewEngine(tt.cfg, initiator)
			var now time.Duration
			limit := 100 // how much the user takes
			for n, s := range tt.steps {
				at := fmt.Sprintf("step %d: %v", n+1, s.do)
				if s.at != 0 {
					now = s.at
				}
				ev := e.Expire(now)
				if ev == Nothing {
					switch do := s.do.(type) {
					case []byte:
						ev = e.Receive(now, do)
					case string:
						e.Send([]byte(do))
					case noise:
						e.Garbled(now)
					case connect:
						e.Connect()
					case take:
						limit = int(do)
					}
				}
				var taken []byte
				for k := limit; k > 0; k-- {
					p, ok := e.Take(nil)
					if !ok {
						break
					}
					taken = append(append(taken, ','), p...)
				}
				if limit != 100 {
					limit = -1
				}
				var sent [][]byte
				for f := e.Next(); f != nil; f = e.Next() {
					sent = append(sent, bytes.Clone(f))
					e.Sent(now)
				}
				require.Equal(t, s.ev, ev, at)
				require.Equal(t, s.out, sent, at)
				if s.data != "" {
					require.Equal(t, ","+s.data, string(taken), at)
				}
				d, ok := e.Deadline()
				require.False(t, ok && d < now, "%s: deadline %v has passed, it is %v", at, d, now)
			}
		})
	}
}

// channel is one direction between two engines: a wire that carries one LPDU at a
// time and flips bits.
type channel struct {
	rng     *rand.Rand
	keep    float64 // that a bit arrives as it was
	bit     time.Duration
	extra   int // octets of MAC framing
	buf     []byte
	arrives time.Duration
	busy    bool
	bits    int64
	damaged uint64
}

// put begins to send f at now.
func (c *channel) put(now time.Duration, f []byte) {
	c.buf = append(c.buf[:0], f...)
	n := int64(len(f)+c.extra) * 8
	c.bits += n
	c.arrives, c.busy = now+time.Duration(n)*c.bit, true
}

// survives tells whether the frame that arrives is whole.
func (c *channel) survives() bool {
	if c.rng.Float64() < math.Pow(c.keep, float64(8*(len(c.buf)+c.extra))) {
		return true
	}
	c.damaged++
	return false
}

// pair is two engines and the channels between them.
type pair struct {
	e     [2]*Engine
	c     [2]*channel // c[i] leads away from e[i]
	now   time.Duration
	event func(end int, ev Event)
}

func newPair(cfg Config, ber float64, seed uint64) *pair {
	p := &pair{event: func(int, Event) {}}
	for k := range p.e {
		p.e[k] = NewEngine(cfg, k == 0)
		p.c[k] = &channel{rng: rand.New(rand.NewPCG(seed, uint64(k))), keep: 1 - ber, bit: 100 * time.Nanosecond, extra: 5}
	}
	return p
}

// step sends what there is and moves the time on to the next arrival or deadline;
// false when there is neither.
func (p *pair) step() bool {
	for k, e := range p.e {
		if !p.c[k].busy {
			if f := e.Next(); f != nil {
				p.c[k].put(p.now, f)
			}
		}
	}
	next := never
	for k, e := range p.e {
		if p.c[k].busy {
			next = min(next, p.c[k].arrives)
		}
		if d, ok := e.Deadline(); ok {
			next = min(next, max(d, p.now))
		}
	}
	if next == never {
		return false
	}
	p.now = next
	for k, e := range p.e {
		c, to := p.c[k], p.e[1-k]
		if c.busy && c.arrives <= p.now {
			c.busy = false
			e.Sent(p.now)
			if c.survives() {
				p.tell(1-k, to.Receive(p.now, c.buf))
			} else {
				to.Garbled(p.now)
			}
		}
	}
	for k, e := range p.e {
		p.tell(k, e.Expire(p.now))
	}
	return true
}

func (p *pair) tell(k int, ev Event) {
	if ev != Nothing {
		p.event(k, ev)
	}
}

// connect sets the link up, whatever the noise.
func (p *pair) connect(t testing.TB) {
	for n := 0; p.e[0].State() != Connected || p.e[1].State() != Connected; n++ {
		require.Less(t, n, 10000)
		if p.e[0].State() == Idle {
			p.e[0].Connect()
		}
		require.True(t, p.step())
	}
}

// TestNoise: packets cross a noisy channel, whole, in order and once. The goodput of
// selective repeat at its best is that of a frame that is sent until it arrives.
func TestNoise(t *testing.T) {
	const frames = 4000
	for _, tt := range []struct {
		name  string
		srej  bool
		size  int
		ber   float64
		least float64 // of the optimum
	}{
		{"clean", true, 256, 0, 0.99},
		{"SREJ 256 octets", true, 256, 1e-4, 0.80},
		{"REJ 256 octets", false, 256, 1e-4, 0.80},
		{"SREJ 1024 octets", true, 1024, 1e-4, 0.60},
		{"REJ 1024 octets", false, 1024, 1e-4, 0.60},
		{"SREJ 32 octets, 1e-3", true, 32, 1e-3, 0.40}, // one T2 costs as much as 2600 frames
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := quick()
			cfg.SREJ = tt.srej
			p := newPair(cfg, tt.ber, 1)
			p.connect(t)
			p.event = func(end int, ev Event) { require.Fail(t, "the link ended", "end %d: event %d", end, ev) }
			var sent, got int
			buf, body := make([]byte, 0, tt.size), make([]byte, tt.size)
			start, bits := p.now, p.c[0].bits
			for n := 0; got < frames; n++ {
				require.Less(t, n, 100*frames)
				for sent < frames && p.e[0].Room() {
					fill(body, sent)
					require.True(t, p.e[0].Send(body))
					sent++
				}
				require.True(t, p.step(), "nothing moves after %d frames", got)
				for b, ok := p.e[1].Take(buf); ok; b, ok = p.e[1].Take(buf) {
					fill(body, got)
					require.Equal(t, body, b, "frame %d", got)
					got++
				}
			}
			on := float64(tt.size + 1 + p.c[0].extra)
			whole := math.Pow(p.c[0].keep, 8*on)
			q := 1 - whole
			optimum := float64(tt.size) / on * whole
			name := "selective repeat"
			if !tt.srej {
				// Every loss costs the I-frame that is on its way when REJ comes, too.
				name = "go-back-2"
				optimum = float64(tt.size) / on * whole / (1 + q)
			}
			goodput := float64(tt.size*8*frames) / (float64(p.now-start) / float64(p.c[0].bit))
			s := p.e[0].Stats()
			t.Logf("%s: goodput %.3f of the line, optimum of %s %.3f, ratio %.3f; resent %d of %d, bits %d",
				tt.name, goodput, name, optimum, goodput/optimum, s.Resent, s.Sent, p.c[0].bits-bits)
			require.GreaterOrEqual(t, goodput/optimum, tt.least)
		})
	}
}

func fill(p []byte, n int) {
	for k := range p {
		p[k] = byte(n*31 + k*7 + k>>8)
	}
}

// TestBothWays: both ends send at once, and their users are slow at times.
func TestBothWays(t *testing.T) {
	const frames = 2000
	for seed := range uint64(8) {
		cfg := quick()
		cfg.SREJ = seed%2 == 0
		p := newPair(cfg, 1e-4*float64(seed%3), seed)
		p.connect(t)
		p.event = func(end int, ev Event) { require.Fail(t, "the link ended", "end %d: event %d", end, ev) }
		rng := rand.New(rand.NewPCG(seed, 77))
		var sent, got [2]int
		var slow [2]int
		buf, body := make([]byte, 0, 256), make([]byte, 200)
		for n := 0; got[0] < frames || got[1] < frames; n++ {
			require.Less(t, n, 100*frames)
			for k, e := range p.e {
				for sent[k] < frames && e.Room() {
					fill(body, sent[k]+k)
					require.True(t, e.Send(body))
					sent[k]++
				}
				if slow[k]--; slow[k] > 0 {
					continue
				}
				if rng.IntN(200) == 0 {
					slow[k] = 60
				}
				for b, ok := e.Take(buf); ok; b, ok = e.Take(buf) {
					fill(body, got[k]+1-k)
					require.Equal(t, body, b)
					got[k]++
				}
			}
			require.True(t, p.step(), "seed %d: nothing moves: %v of %v", seed, got, sent)
		}
	}
}

// TestNoAllocation: an exchange costs no memory.
func TestNoAllocation(t *testing.T) {
	p := newPair(quick(), 0, 1)
	p.connect(t)
	body, buf := make([]byte, 256), make([]byte, 0, 1024)
	exchange := func() {
		for k := range p.e {
			p.e[k].Send(body)
			for {
				p.step()
				if _, ok := p.e[1-k].Take(buf); ok {
					break
				}
			}
		}
	}
	exchange()
	require.Zero(t, testing.AllocsPerRun(100, exchange))
}

func FuzzEngine(f *testing.F) {
	f.Add([]byte{0, 3, 0xF9, 4, 1, 0, 1, 0xC0, 0, 2, 0x80, 1, 1, 2, 9, 3})
	f.Add([]byte{2, 0, 1, 0xE6, 1, 200, 0, 1, 0xD0, 4, 255, 0, 1, 0xC0})
	f.Add([]byte{0, 3, 0xF9, 2, 0, 0, 2, 0x80, 0, 0, 2, 0x90, 0, 5, 0, 1, 0xDB, 4, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := quick()
		cfg.MaxLPDU = 32
		e := NewEngine(cfg, len(b)%2 == 0)
		var now time.Duration
		arg := func() int {
			if len(b) == 0 {
				return 0
			}
			v := int(b[0])
			b = b[1:]
			return v
		}
		for len(b) > 0 {
			switch arg() % 6 {
			case 0:
				n := min(arg(), len(b))
				e.Receive(now, b[:n])
				b = b[n:]
			case 1:
				e.Send(make([]byte, arg()))
			case 2:
				e.Connect()
			case 3:
				e.Take(nil)
			case 4:
				now += time.Duration(arg()) * ms
			case 5:
				e.Garbled(now)
			}
			e.Expire(now)
			for n := 0; ; n++ {
				f := e.Next()
				if f == nil {
					break
				}
				if n > 20 {
					t.Fatal("an end that never stops")
				}
				if _, ok := decode(f); !ok || len(f) > cfg.MaxLPDU {
					t.Fatalf("sends % X", f)
				}
				e.Sent(now)
			}
			if d, ok := e.Deadline(); ok && d < now {
				t.Fatalf("deadline %v, now %v", d, now)
			}
			if e.high-e.acked > maxWindow || e.end-e.acked > txSlots || e.want-e.taken > rxSlots {
				t.Fatalf("counters: %+v", e)
			}
		}
	})
}

// FuzzPair: whatever happens to the LPDUs between two ends and however slow their
// users are, nothing arrives twice, in a wrong order or wrong; and when it is over,
// all that was sent arrives.
func FuzzPair(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add(bytes.Repeat([]byte{0x0C, 0x4C, 0x80, 0x30, 0xC1}, 40))
	f.Add(bytes.Repeat([]byte{0x3C}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 2000)]
		cfg := quick()
		cfg.MaxLPDU, cfg.SREJ, cfg.Retries = 16, len(b)%2 == 0, 1000
		e := [2]*Engine{NewEngine(cfg, true), NewEngine(cfg, false)}
		var sent, got [2]int
		var now time.Duration
		var wire [2][]byte // what is on its way from an end
		up := 0
		note := func(ev Event) {
			switch ev {
			case Up:
				up++
			case WasReset, Down:
				t.Fatalf("the link ended: %d", ev)
			}
		}
		// turn is one end's: its LPDU arrives, or not, its user takes, it sends the next.
		turn := func(k int, lost, garbled, twice, takes, sends bool) {
			a, z := e[k], e[1-k]
			if w := wire[k]; w != nil {
				a.Sent(now)
				wire[k] = nil
				switch {
				case lost:
				case garbled:
					z.Garbled(now)
				default:
					note(z.Receive(now, w))
					if twice {
						note(z.Receive(now, w))
					}
				}
			}
			for takes {
				p, ok := z.Take(nil)
				if !ok {
					break
				}
				if len(p) != 2 || int(p[0])<<8|int(p[1]) != got[1-k]&0xFFFF {
					t.Fatalf("end %d got % X, wants %d", 1-k, p, got[1-k])
				}
				got[1-k]++
			}
			if sends && a.Send([]byte{byte(sent[k] >> 8), byte(sent[k])}) {
				sent[k]++
			}
			note(a.Expire(now))
			if l := a.Next(); l != nil {
				wire[k] = bytes.Clone(l)
			}
			now += ms
		}
		e[0].Connect()
		for up < 2 {
			turn(0, false, false, false, true, false)
			turn(1, false, false, false, true, false)
		}
		for _, c := range b {
			turn(int(c>>7), c&3 == 1, c&3 == 2, c&7 == 3, c&0x30 != 0, c&0x40 == 0)
		}
		for n := 0; got[0] < sent[1] || got[1] < sent[0]; n++ {
			if n > 20000 {
				t.Fatalf("stuck: sent %v, got %v\n%+v\n%+v", sent, got, e[0], e[1])
			}
			turn(n&1, false, false, false, true, false)
		}
	})
}

// quick is Default with a shorter T2.
func quick() Config {
	c := Default()
	c.T2 = 100 * ms
	return c
}

// TestReadyWhileSayingNotReady: the user takes while RNR is on its way, and an I-frame
// that was on its way as well is no sign that the RR after it arrived.
func TestReadyWhileSayingNotReady(t *testing.T) {
	e := NewEngine(quick(), false)
	e.Receive(0, rset4s)
	next := func() []byte {
		f := bytes.Clone(e.Next())
		e.Sent(0)
		return f
	}
	require.Equal(t, ua, next())
	for n := range byte(busyAt) {
		e.Receive(0, i(n, 0, "x"))
	}
	require.Equal(t, rnr(0), e.Next())
	for ok := true; ok; {
		_, ok = e.Take(nil)
	}
	e.Sent(0)
	e.Receive(0, i(0, 0, "x"))
	e.Send([]byte("y"))
	require.Equal(t, i(0, 1, "y"), next())
	require.Equal(t, rr(1), next())
}
