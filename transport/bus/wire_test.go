package bus_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport/bus"
)

// chip is a target that keeps what was written and gives what say is.
type chip struct {
	lines bus.Lines
	echo  bool // what was written is said
	slow  bool // in a goroutine of its own

	mu      sync.Mutex
	got     [][]byte
	say     []byte
	resets  int
	offs    int
	written func(p []byte)
}

func (c *chip) Written(p []byte) {
	c.mu.Lock()
	c.got = append(c.got, append([]byte(nil), p...))
	c.mu.Unlock()
	if c.written != nil {
		c.written(p)
	}
	if !c.echo {
		return
	}
	p = append([]byte(nil), p...)
	answer := func() {
		c.mu.Lock()
		c.say = append(c.say, p...)
		c.mu.Unlock()
		c.lines.SetIRQ(true)
	}
	if !c.slow {
		answer()
		return
	}
	c.lines.Clock().Hold()
	go func() {
		defer c.lines.Clock().Release()
		answer()
	}()
}

func (c *chip) Pending() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.say
}

func (c *chip) Taken(n int) {
	c.mu.Lock()
	c.say = c.say[n:]
	left := len(c.say)
	c.mu.Unlock()
	if left == 0 {
		c.lines.SetIRQ(false)
	}
}

func (c *chip) Reset()    { c.resets++; c.say = nil }
func (c *chip) PowerOff() { c.offs++ }

// wire is a bus with c in it.
func wire(t testing.TB, o bus.Options, c *chip) (*bus.Wire, bus.Controller) {
	t.Helper()
	w, err := bus.NewWire(o)
	require.NoError(t, err)
	if c != nil {
		c.lines, err = w.Socket().Attach(c)
		require.NoError(t, err)
	}
	ctl, err := w.Controller()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ctl.Close()) })
	return w, ctl
}

func TestSPI(t *testing.T) {
	c := &chip{}
	w, ctl := wire(t, bus.Options{Hz: 1_000_000, Name: "x"}, c)
	require.Equal(t, "simspi:x", ctl.String())
	require.NoError(t, ctl.Tx([]byte{1, 2, 3}, nil))
	require.Equal(t, [][]byte{{1, 2, 3}}, c.got)
	require.Equal(t, 25*time.Microsecond, w.Clock().Now(), "24 bits and half a bit at each edge of CS")

	c.say = []byte{0xA, 0xB}
	r := make([]byte, 4)
	require.NoError(t, ctl.Tx(nil, r))
	require.Equal(t, []byte{0xA, 0xB, 0xFF, 0xFF}, r)
	require.Equal(t, []byte{0, 0, 0, 0}, c.got[1], "zeros go out")
	c.say = []byte{0xC}
	require.NoError(t, ctl.Tx([]byte{9, 8}, r[:2]))
	require.Equal(t, []byte{0xC, 0xFF}, r[:2])
	require.Error(t, ctl.Tx([]byte{9, 8}, r))

	l := w.Ledger()
	require.EqualValues(t, 3, l.Accesses)
	require.EqualValues(t, 24+16+16, l.Bits[bus.Data])
	require.EqualValues(t, 16, l.Bits[bus.Poll])
	require.Equal(t, 3*time.Microsecond, l.Time[bus.Select])
	require.Zero(t, l.Time[bus.Idle])
	require.Equal(t, 72*time.Microsecond, l.Busy)
	require.InDelta(t, 56./75, l.Efficiency(7), 1e-9)
	require.Contains(t, l.Report(7), "polling")
}

func TestTimesAreExact(t *testing.T) {
	w, ctl := wire(t, bus.Options{Hz: 3_000_000}, nil)
	for range 3000 {
		require.NoError(t, ctl.Tx([]byte{1}, nil))
	}
	require.Equal(t, 9*time.Millisecond, w.Clock().Now(), "27,000 bits at 3 MHz, though none is a whole nanosecond")
	require.NoError(t, ctl.SetSpeed(50_000_000))
	before := w.Clock().Now()
	require.NoError(t, ctl.Tx([]byte{1}, nil))
	require.Equal(t, 3*time.Microsecond, w.Clock().Now()-before, "no faster than the bus goes")
}

func TestI2C(t *testing.T) {
	c := &chip{}
	w, ctl := wire(t, bus.Options{Physical: bus.I2C, Hz: 100_000}, c)
	r := make([]byte, 3)
	require.ErrorIs(t, ctl.Tx(nil, r), bus.ErrNACK, "nothing to say")
	require.Equal(t, 110*time.Microsecond, w.Clock().Now(), "START, 9 bits, STOP")
	require.NoError(t, ctl.Tx([]byte{1, 2}, nil))
	require.Equal(t, (110+290)*time.Microsecond, w.Clock().Now())
	c.written = func(p []byte) { c.say = append(c.say, p...) }
	require.NoError(t, ctl.Tx([]byte{5}, r), "a repeated START")
	require.Equal(t, []byte{5, 0xFF, 0xFF}, r)
	require.Equal(t, (110+290+570)*time.Microsecond, w.Clock().Now())
	l := w.Ledger()
	require.EqualValues(t, 1, l.NACKs)
	require.EqualValues(t, 11, l.Bits[bus.Poll])
	require.EqualValues(t, 48, l.Bits[bus.Data])
	require.EqualValues(t, 6, l.Bits[bus.Ack])
	require.EqualValues(t, 27, l.Bits[bus.Address])
	require.EqualValues(t, 2+3, l.Bits[bus.Framing])
	require.Equal(t, l.Busy, time.Duration(l.Clocked())*10*time.Microsecond)
	require.InDelta(t, 54./97, l.Efficiency(6), 1e-9)
	require.NoError(t, ctl.Tx(nil, nil), "a look whether somebody is there")
	require.NoError(t, w.Socket().Close())
	require.ErrorIs(t, ctl.Tx(nil, nil), bus.ErrNACK)
	require.ErrorIs(t, ctl.Tx([]byte{1}, nil), bus.ErrNACK)
}

func TestWaitIRQ(t *testing.T) {
	c := &chip{echo: true, slow: true}
	w, ctl := wire(t, bus.Options{Hz: 1_000_000}, c)
	there, err := ctl.WaitIRQ(time.Second)
	require.NoError(t, err)
	require.False(t, there)
	require.Equal(t, time.Second, w.Clock().Now())

	require.NoError(t, ctl.Tx([]byte{7}, nil))
	at := w.Clock().Now()
	there, err = ctl.WaitIRQ(time.Second)
	require.NoError(t, err)
	require.True(t, there)
	require.Equal(t, at, w.Clock().Now(), "thinking takes no time of the bus")
	c.echo = false
	require.NoError(t, ctl.Tx(nil, make([]byte, 1)))

	w.Clock().AfterFunc(3*time.Millisecond, func() { c.lines.SetIRQ(true) })
	at = w.Clock().Now()
	there, err = ctl.WaitIRQ(time.Second)
	require.NoError(t, err)
	require.True(t, there)
	require.Equal(t, 3*time.Millisecond, w.Clock().Now()-at)
}

func TestWaitIRQWithoutEnd(t *testing.T) {
	c := &chip{}
	_, ctl := wire(t, bus.Options{}, c)
	type result struct {
		there bool
		err   error
	}
	results := make(chan result)
	go func() {
		for range 3 {
			there, err := ctl.WaitIRQ(-1)
			c.lines.SetIRQ(false)
			results <- result{there, err}
		}
	}()
	c.lines.SetIRQ(true)
	require.Equal(t, result{true, nil}, <-results)
	require.NoError(t, ctl.Tx([]byte{1}, nil), "beside the one who waits")
	ctl.(bus.Waker).Wake()
	require.Equal(t, result{false, nil}, <-results)
	require.NoError(t, ctl.Close())
	require.Equal(t, result{false, bus.ErrClosed}, <-results)
	require.ErrorIs(t, ctl.Tx([]byte{1}, nil), bus.ErrClosed)
	require.ErrorIs(t, ctl.Reset(), bus.ErrClosed)
}

func TestCloseWakesWhoWaitsForRelease(t *testing.T) {
	w, ctl := wire(t, bus.Options{}, &chip{})
	w.Clock().Hold()
	ended := make(chan error)
	go func() { ended <- ctl.Tx([]byte{1}, nil) }()
	require.NoError(t, ctl.Close())
	require.ErrorIs(t, <-ended, bus.ErrClosed)
	w.Clock().Release()
}

func TestVirtualClock(t *testing.T) {
	var v bus.Virtual
	var order []string
	add := func(s string) func() { return func() { order = append(order, s+" "+v.Now().String()) } }
	v.AfterFunc(2*time.Second, add("b"))
	v.AfterFunc(time.Second, add("a"))
	stop := v.AfterFunc(3*time.Second, add("never"))
	v.AfterFunc(2*time.Second, func() {
		add("c")()
		v.AfterFunc(time.Second, add("d"))
	})
	require.True(t, stop())
	require.False(t, stop())
	v.Sleep(5 * time.Second)
	require.Equal(t, []string{"a 1s", "b 2s", "c 2s", "d 3s"}, order)
	require.Equal(t, 5*time.Second, v.Now())

	v.Hold()
	go v.Release()
	v.Sleep(time.Second)
	require.Equal(t, 6*time.Second, v.Now())
	require.Panics(t, v.Release)
}

func TestRealClock(t *testing.T) {
	c := bus.Real()
	c.Hold()
	defer c.Release()
	ran := make(chan struct{})
	before := c.Now()
	c.AfterFunc(time.Millisecond, func() { close(ran) })
	<-ran
	c.Sleep(time.Millisecond)
	require.GreaterOrEqual(t, c.Now()-before, 2*time.Millisecond)
}

func TestPresenceAndPower(t *testing.T) {
	c := &chip{}
	w, err := bus.NewWire(bus.Options{})
	require.NoError(t, err)
	ctl, err := w.Controller()
	require.NoError(t, err)
	_, err = w.Controller()
	require.ErrorContains(t, err, "there is a controller on this bus already")
	var seen []bool
	see := func(there bool) { seen = append(seen, there) }
	ctl.(bus.Presence).Presence(see)
	c.lines, err = w.Socket().Attach(c)
	require.NoError(t, err)
	_, err = w.Socket().Attach(c)
	require.ErrorContains(t, err, "there is a target on this bus already")
	c.lines.SetIRQ(true)
	require.NoError(t, ctl.Reset())
	require.Equal(t, 1, c.resets)
	require.NoError(t, w.Socket().Close())
	c.lines.SetIRQ(true)
	there, err := ctl.WaitIRQ(0)
	require.NoError(t, err)
	require.False(t, there, "who is out moves no line")
	require.Equal(t, []bool{true, false}, seen)
	c.lines, err = w.Socket().Attach(c)
	require.NoError(t, err)
	require.NoError(t, ctl.Close())
	require.Equal(t, 1, c.offs)
	ctl, err = w.Controller()
	require.NoError(t, err)
	require.Equal(t, 2, c.resets, "power came back")
	seen = nil
	ctl.(bus.Presence).Presence(see)
	require.Equal(t, []bool{true}, seen)
	require.NoError(t, ctl.Close())
}

func TestMissingLines(t *testing.T) {
	_, ctl := wire(t, bus.Options{NoIRQ: true, NoReset: true}, nil)
	_, err := ctl.WaitIRQ(0)
	require.ErrorIs(t, err, bus.ErrNoLine)
	require.ErrorIs(t, ctl.Reset(), bus.ErrNoLine)
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]bus.Options{
		"cannot be simulated":        {Hz: -1},
		"no SPI mode 4":              {Mode: 4},
		"do not carry whole bytes":   {Word: 12},
		"not an I2C address of 7":    {Physical: bus.I2C, Addr: 0x90},
		"2000000000 Hz cannot be si": {Hz: 2e9},
	} {
		_, err := bus.NewWire(o)
		require.ErrorContains(t, err, want)
	}
	_, ctl := wire(t, bus.Options{Word: 16}, nil)
	require.ErrorContains(t, ctl.Tx([]byte{1}, nil), "not whole words of 16 bits")
	require.ErrorContains(t, ctl.Tx(make([]byte, 1<<17), nil), "65536 at most")
	require.Error(t, ctl.SetSpeed(0))
}

// talk makes 200 accesses and gives all that both ends saw, and the time.
func talk(t *testing.T, o bus.Options) ([]byte, *chip, *bus.Wire) {
	c := &chip{echo: true, slow: true}
	w, ctl := wire(t, o, c)
	var seen bytes.Buffer
	out, in := make([]byte, 100), make([]byte, 100)
	for i := range 100 {
		for k := range out {
			out[k] = byte(k + i)
		}
		for _, p := range [][2][]byte{{out, nil}, {nil, in}} {
			if err := ctl.Tx(p[0], p[1]); err != nil {
				seen.WriteString(err.Error())
			}
			seen.Write(p[1])
			seen.WriteString(w.Clock().Now().String())
		}
	}
	for _, p := range c.got {
		seen.Write(p)
	}
	return seen.Bytes(), c, w
}

func TestFaultsCanBeReplayed(t *testing.T) {
	for _, physical := range []bus.Physical{bus.SPI, bus.I2C} {
		o := bus.Options{Physical: physical, Faults: bus.Faults{
			Seed: 5, BER: 1e-3, NACK: .05, Stretch: time.Millisecond, StretchChance: .1, Drop: .05, Duplicate: .05, Cut: 5000,
		}}
		a, _, _ := talk(t, o)
		b, _, _ := talk(t, o)
		require.True(t, bytes.Equal(a, b), "%v", physical)
		o.Faults.Seed++
		other, _, _ := talk(t, o)
		require.False(t, bytes.Equal(a, other), "%v", physical)
	}
}

func TestBitErrorRate(t *testing.T) {
	for _, physical := range []bus.Physical{bus.SPI, bus.I2C} {
		const n, times, ber = 1000, 200, 1e-3
		c := &chip{}
		_, ctl := wire(t, bus.Options{Physical: physical, Faults: bus.Faults{BER: ber}}, c)
		wrong, bits := 0, 0
		for range times {
			_ = ctl.Tx(make([]byte, n), nil) // not acknowledged, sometimes
		}
		for _, p := range c.got {
			for _, b := range p {
				bits += 8
				for ; b != 0; b &= b - 1 {
					wrong++
				}
			}
		}
		require.Greater(t, bits, 100_000)
		require.InEpsilon(t, ber, float64(wrong)/float64(bits), .15, "%v", physical)
	}
}

func TestFaults(t *testing.T) {
	in := make([]byte, 4)
	t.Run("drop", func(t *testing.T) {
		c := &chip{say: []byte{1}}
		_, ctl := wire(t, bus.Options{Faults: bus.Faults{Drop: 1}}, c)
		require.NoError(t, ctl.Tx([]byte{1, 2, 3, 4}, in))
		require.Equal(t, []byte{0xFF, 0xFF, 0xFF, 0xFF}, in)
		require.Empty(t, c.got)
		require.Len(t, c.say, 1)
	})
	t.Run("duplicate", func(t *testing.T) {
		for _, physical := range []bus.Physical{bus.SPI, bus.I2C} {
			c := &chip{say: []byte{1, 2}}
			_, ctl := wire(t, bus.Options{Physical: physical, Faults: bus.Faults{Duplicate: 1}}, c)
			require.NoError(t, ctl.Tx(nil, in[:2]))
			require.NoError(t, ctl.Tx(nil, in[:2]))
			require.Equal(t, []byte{1, 2}, in[:2])
			c.got = nil
			require.NoError(t, ctl.Tx([]byte{7}, nil))
			require.Equal(t, [][]byte{{7}, {7}}, c.got)
		}
	})
	t.Run("stuck", func(t *testing.T) {
		c := &chip{say: []byte{1, 2}}
		w, ctl := wire(t, bus.Options{Faults: bus.Faults{Stuck: bus.MISO, StuckFrom: 1, StuckFor: 1}}, c)
		for _, want := range []byte{1, 0, 0xFF} {
			require.NoError(t, ctl.Tx(nil, in[:1]))
			require.Equal(t, want, in[0])
		}
		w.SetFaults(bus.Faults{Stuck: bus.MOSI, StuckHigh: true, StuckFor: 1})
		require.NoError(t, ctl.Tx([]byte{1}, nil))
		require.Equal(t, []byte{0xFF}, c.got[len(c.got)-1])
		w.SetFaults(bus.Faults{Stuck: bus.SCK, StuckFor: 1})
		n := len(c.got)
		require.NoError(t, ctl.Tx([]byte{1}, nil))
		require.Len(t, c.got, n)
		w.SetFaults(bus.Faults{Stuck: bus.IRQ, StuckHigh: true, StuckFor: 1})
		there, err := ctl.WaitIRQ(time.Second)
		require.NoError(t, err)
		require.True(t, there)
		w.SetFaults(bus.Faults{Stuck: bus.IRQ, StuckFor: 1})
		c.lines.SetIRQ(true)
		there, err = ctl.WaitIRQ(time.Second)
		require.NoError(t, err)
		require.False(t, there)

		w, ctl = wire(t, bus.Options{Physical: bus.I2C, Faults: bus.Faults{Stuck: bus.SDA, StuckFor: 1}}, &chip{})
		require.ErrorIs(t, ctl.Tx([]byte{1}, nil), bus.ErrStuck)
		require.Equal(t, 35*time.Millisecond, w.Clock().Now())
		require.NoError(t, ctl.Tx([]byte{1}, nil))
		w.SetFaults(bus.Faults{Stretch: time.Hour, StretchChance: 1})
		require.ErrorIs(t, ctl.Tx([]byte{1}, nil), bus.ErrStuck)
	})
	t.Run("stretch", func(t *testing.T) {
		w, ctl := wire(t, bus.Options{Physical: bus.I2C, Faults: bus.Faults{Stretch: time.Millisecond, StretchChance: 1}}, &chip{})
		require.NoError(t, ctl.Tx([]byte{1}, nil))
		require.Equal(t, time.Millisecond+50*time.Microsecond, w.Clock().Now())
		require.Equal(t, time.Millisecond, w.Ledger().Time[bus.Stretch])
	})
	t.Run("guard", func(t *testing.T) {
		w, ctl := wire(t, bus.Options{Hz: 1e6, Guard: time.Millisecond}, nil)
		require.NoError(t, ctl.Tx([]byte{1}, nil))
		w.Clock().Sleep(time.Microsecond)
		require.NoError(t, ctl.Tx([]byte{1}, nil))
		require.Equal(t, time.Millisecond+18*time.Microsecond, w.Clock().Now())
		require.Equal(t, 999*time.Microsecond, w.Ledger().Time[bus.Guard])
		require.Equal(t, time.Microsecond, w.Ledger().Time[bus.Idle])
	})
	t.Run("cut", func(t *testing.T) {
		for _, physical := range []bus.Physical{bus.SPI, bus.I2C} {
			c := &chip{say: []byte{1, 2, 3, 4}}
			w, ctl := wire(t, bus.Options{Physical: physical, Faults: bus.Faults{Cut: 3}}, c)
			require.NoError(t, ctl.Tx(nil, in))
			require.Equal(t, []byte{1, 2, 0xFF, 0xFF}, in)
			require.Equal(t, 1, c.offs)
			c.lines.SetIRQ(true)
			there, err := ctl.WaitIRQ(0)
			require.NoError(t, err)
			require.False(t, there)
			_ = ctl.Tx([]byte{1}, nil)
			require.Empty(t, c.got)
			require.Zero(t, c.resets)
			w.Clock().Sleep(10 * time.Millisecond)
			require.Equal(t, 1, c.resets)
			require.NoError(t, ctl.Tx([]byte{1}, nil))
			require.Len(t, c.got, 1)
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	for name, o := range map[string]bus.Options{
		"SPI": {}, "I2C": {Physical: bus.I2C},
		"SPI/BER": {Faults: bus.Faults{BER: 1e-4}}, "I2C/BER": {Physical: bus.I2C, Faults: bus.Faults{BER: 1e-4}},
	} {
		b.Run(name, func(b *testing.B) {
			c := &quiet{say: make([]byte, 256)}
			w, err := bus.NewWire(o)
			require.NoError(b, err)
			_, err = w.Socket().Attach(c)
			require.NoError(b, err)
			ctl, err := w.Controller()
			require.NoError(b, err)
			out, in := make([]byte, 256), make([]byte, 256)
			b.ReportAllocs()
			b.SetBytes(512)
			for b.Loop() {
				_ = ctl.Tx(out, nil)
				_ = ctl.Tx(nil, in)
			}
			b.ReportMetric(float64(w.Clock().Now())/float64(b.N), "bus-ns/op")
		})
	}
}

// quiet always has the same to say.
type quiet struct{ say []byte }

func (q *quiet) Written([]byte)  {}
func (q *quiet) Pending() []byte { return q.say }
func (q *quiet) Taken(int)       {}
func (q *quiet) Reset()          {}
