package bus

import (
	"math"
	"math/rand/v2"
	"time"
)

// Line is a line of a bus.
type Line uint8

// The lines. Levels are those of the wire: CS and RST are active low, IRQ is active
// high.
const (
	SCK Line = iota
	MOSI
	MISO
	CS
	SCL
	SDA
	IRQ
	RST
	lines
)

func (l Line) String() string { return lineNames[l] }

var lineNames = [lines]string{"SCK", "MOSI", "MISO", "CS", "SCL", "SDA", "IRQ", "RST"}

// Faults are what goes wrong on a wire. Chances are from 0 to 1. The same Faults, the
// same accesses: the same errors.
type Faults struct {
	Seed uint64
	// BER is the chance of each bit to arrive inverted; on I2C also those of address
	// and acknowledgement.
	BER float64
	// NACK is the chance of an I2C access that its address is not acknowledged.
	NACK float64
	// Stretch is how long the target holds SCL in an I2C access, with StretchChance;
	// after 35 ms the controller gives up with ErrStuck.
	Stretch       time.Duration
	StretchChance float64
	// Drop is the chance of an access that the target does not notice it.
	Drop float64
	// Duplicate is the chance of an access that the target is given it twice: what
	// was written arrives twice, what was read can be read once more.
	Duplicate float64
	// Stuck is a line that does not move, from the access StuckFrom (0 is the first)
	// for StuckFor accesses; 0: it does not happen.
	Stuck     Line
	StuckHigh bool
	StuckFrom int64
	StuckFor  int64
	// Cut is the byte, counted from 1 in both directions, at which the target loses
	// its power; 0: none. It is back after CutFor (default 10 ms), once.
	Cut    int64
	CutFor time.Duration
}

const (
	// stuckAfter is when a controller gives up on a clock that is held low: tTIMEOUT
	// of SMBus (unverified for other controllers).
	stuckAfter = 35 * time.Millisecond
	cutFor     = 10 * time.Millisecond
)

// injector is Faults at work.
type injector struct {
	Faults
	chance   *rand.Rand
	to, from bitErrors // towards the target and from it
	accesses int64
	bytes    int64
	cut      bool
}

func newInjector(f Faults) *injector {
	if f.CutFor == 0 {
		f.CutFor = cutFor
	}
	return &injector{
		Faults: f,
		chance: rand.New(rand.NewPCG(f.Seed, 1)),
		to:     newBitErrors(f.BER, f.Seed, 2),
		from:   newBitErrors(f.BER, f.Seed, 3),
	}
}

// hits tells whether what has the chance p happens; nothing is drawn for 0.
func (i *injector) hits(p float64) bool { return p > 0 && i.chance.Float64() < p }

// stuck tells whether l does not move in this access.
func (i *injector) stuck(l Line) bool {
	return i.StuckFor > 0 && i.Stuck == l && i.accesses >= i.StuckFrom && i.accesses-i.StuckFrom < i.StuckFor
}

// upTo counts n bytes of an access and tells how many of them pass before the power
// is cut.
func (i *injector) upTo(n int) (pass int, cut bool) {
	before := i.bytes
	i.bytes += int64(n)
	if i.Cut > 0 && !i.cut && i.bytes >= i.Cut {
		i.cut = true
		return int(i.Cut - before - 1), true
	}
	return n, false
}

// bitErrors is a stream of bits of which some are wrong. Instead of throwing dice for
// every bit it draws how many are right until the next wrong one.
type bitErrors struct {
	rng  *rand.Rand
	p    float64
	next int64 // bits that are still right
}

func newBitErrors(p float64, seed, stream uint64) bitErrors {
	b := bitErrors{p: p, next: math.MaxInt64}
	if p > 0 {
		b.rng = rand.New(rand.NewPCG(seed, stream))
		b.next = b.gap()
	}
	return b
}

func (b *bitErrors) gap() int64 {
	if b.p >= 1 {
		return 0
	}
	g := math.Log1p(-b.rng.Float64()) / math.Log1p(-b.p)
	if g > 1<<60 {
		return 1 << 60
	}
	return int64(g)
}

// within tells the place of the next wrong bit among n and goes past it, or goes past
// all of them and gives -1.
func (b *bitErrors) within(n int64) int64 {
	if b.next >= n {
		if b.p > 0 {
			b.next -= n
		}
		return -1
	}
	at := b.next
	b.next = b.gap()
	return at
}

// flip inverts the wrong bits of p, most significant first.
func (b *bitErrors) flip(p []byte) {
	for done, n := int64(0), 8*int64(len(p)); done < n; {
		at := b.within(n - done)
		if at < 0 {
			return
		}
		done += at
		p[done/8] ^= 0x80 >> (done % 8)
		done++
	}
}
