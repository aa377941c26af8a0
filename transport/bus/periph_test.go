package bus_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/conntest"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spitest"

	"github.com/sspemu/sspemu/transport/bus"
)

// TestPeriphSPI: a driver of periph.io talks to a target on a simulated wire.
func TestPeriphSPI(t *testing.T) {
	c := &chip{say: []byte{1, 2, 3, 4}}
	w, err := bus.NewWire(bus.Options{Mode: 3})
	require.NoError(t, err)
	c.lines, err = w.Socket().Attach(c)
	require.NoError(t, err)
	_, err = w.I2C()
	require.ErrorContains(t, err, "no I2C bus")
	port, err := w.SPI()
	require.NoError(t, err)
	_, err = port.Connect(physic.MegaHertz, spi.Mode0, 8)
	require.ErrorContains(t, err, "the bus is in Mode3, not in Mode0")
	_, err = port.Connect(physic.MegaHertz, spi.Mode3, 16)
	require.ErrorContains(t, err, "have 8 bits, not 16")
	conn, err := port.Connect(physic.MegaHertz, spi.Mode3, 8)
	require.NoError(t, err)
	_, err = port.Connect(physic.MegaHertz, spi.Mode3, 8)
	require.ErrorContains(t, err, "twice")

	r := make([]byte, 2)
	require.NoError(t, conn.Tx([]byte{9, 8}, r))
	require.Equal(t, []byte{1, 2}, r)
	require.Equal(t, 17*time.Microsecond, w.Clock().Now(), "1 MHz")
	require.NoError(t, port.LimitSpeed(500*physic.KiloHertz))
	require.NoError(t, conn.TxPackets([]spi.Packet{{W: []byte{7}, KeepCS: true}, {R: r[:1]}, {R: r[1:]}}))
	require.Equal(t, [][]byte{{9, 8}, {7, 0}, {0}}, c.got)
	require.Equal(t, []byte{4, 0xFF}, r, "the byte 3 came while 7 was written")
	require.Equal(t, (17+34+18)*time.Microsecond, w.Clock().Now())
	require.ErrorContains(t, conn.TxPackets([]spi.Packet{{W: []byte{7}, KeepCS: true}}), "CS cannot stay low")
	require.Error(t, conn.TxPackets([]spi.Packet{{W: []byte{7}, R: make([]byte, 2)}}))
	require.Error(t, port.LimitSpeed(0))
	require.NoError(t, port.Close())
	require.ErrorIs(t, conn.Tx([]byte{1}, nil), bus.ErrClosed)
}

func TestPeriphI2C(t *testing.T) {
	c := &chip{say: []byte{1, 2, 3}}
	w, err := bus.NewWire(bus.Options{Physical: bus.I2C})
	require.NoError(t, err)
	c.lines, err = w.Socket().Attach(c)
	require.NoError(t, err)
	_, err = w.SPI()
	require.ErrorContains(t, err, "no SPI bus")
	b, err := w.I2C()
	require.NoError(t, err)
	require.NoError(t, b.SetSpeed(100*physic.KiloHertz))
	d := &i2c.Dev{Bus: b, Addr: 0x48}
	r := make([]byte, 3)
	require.NoError(t, d.Tx([]byte{5}, r))
	require.Equal(t, []byte{1, 2, 3}, r)
	require.ErrorIs(t, b.Tx(0x49, []byte{5}, nil), bus.ErrNACK, "nobody is at this address")
	require.NoError(t, b.Close())
}

func TestPeriphPins(t *testing.T) {
	c := &chip{}
	w, ctl := wire(t, bus.Options{}, c)
	irq, rst := w.IRQPin(), w.ResetPin()
	require.NoError(t, irq.In(gpio.PullDown, gpio.RisingEdge))
	require.Equal(t, gpio.Low, irq.Read())
	require.False(t, irq.WaitForEdge(time.Second))
	require.Equal(t, time.Second, w.Clock().Now())
	w.Clock().AfterFunc(time.Millisecond, func() { c.lines.SetIRQ(true) })
	require.True(t, irq.WaitForEdge(time.Second))
	require.Equal(t, gpio.High, irq.Read())
	require.Equal(t, 1001*time.Millisecond, w.Clock().Now())
	require.False(t, irq.WaitForEdge(time.Second), "an edge is seen once")
	require.Error(t, irq.Out(gpio.High))
	require.NoError(t, irq.In(gpio.PullDown, gpio.FallingEdge))
	require.NoError(t, rst.Out(gpio.Low))
	require.True(t, irq.WaitForEdge(-1), "who is held in reset moves no line")
	require.NoError(t, ctl.Tx([]byte{1}, nil))
	require.Empty(t, c.got)
	require.NoError(t, rst.Out(gpio.High))
	require.Equal(t, 1, c.resets)
	require.Equal(t, gpio.High, rst.Read())
	require.NoError(t, ctl.Tx([]byte{1}, nil))
	require.Len(t, c.got, 1)
	require.Error(t, irq.PWM(gpio.DutyHalf, physic.KiloHertz))
	require.Equal(t, "simspi: IRQ", irq.String())
	require.Equal(t, "RST", rst.Name())
}

// TestThereAndBack: a Controller over periph's view of a wire is a Controller.
func TestThereAndBack(t *testing.T) {
	for _, physical := range []bus.Physical{bus.SPI, bus.I2C} {
		c := &chip{say: []byte{1, 2}}
		w, err := bus.NewWire(bus.Options{Physical: physical, Hz: 400_000})
		require.NoError(t, err)
		c.lines, err = w.Socket().Attach(c)
		require.NoError(t, err)
		pins := bus.Pins{IRQ: w.IRQPin(), Reset: w.ResetPin(), Clock: w.Clock()}
		var ctl bus.Controller
		if physical == bus.SPI {
			port, err := w.SPI()
			require.NoError(t, err)
			ctl, err = bus.OverSPI(port, 400_000, 0, pins)
			require.NoError(t, err)
			require.Error(t, ctl.Tx([]byte{1}, make([]byte, 2)))
		} else {
			b, err := w.I2C()
			require.NoError(t, err)
			ctl, err = bus.OverI2C(b, 0x48, 400_000, pins)
			require.NoError(t, err)
		}
		require.Equal(t, physical, ctl.Physical())
		require.NoError(t, ctl.Tx([]byte{7}, nil))
		require.Equal(t, []byte{7}, c.got[0])
		r := make([]byte, 1)
		if physical == bus.I2C {
			require.NoError(t, ctl.Tx(nil, r))
			require.Equal(t, []byte{1}, r)
			c.say = nil
			require.ErrorIs(t, ctl.Tx(nil, r), bus.ErrNACK)
		}
		c.lines.SetIRQ(true)
		there, err := ctl.WaitIRQ(-1)
		require.NoError(t, err)
		require.True(t, there)
		before := ctl.Clock().Now()
		require.NoError(t, ctl.Reset())
		require.Equal(t, 1, c.resets)
		require.Equal(t, 10*time.Millisecond, ctl.Clock().Now()-before)
		require.NoError(t, ctl.SetSpeed(100_000))
		before = ctl.Clock().Now()
		require.NoError(t, ctl.Tx([]byte{7}, nil))
		require.GreaterOrEqual(t, ctl.Clock().Now()-before, 80*time.Microsecond)
		require.Error(t, ctl.SetSpeed(0))
		require.NoError(t, ctl.Close())
		require.NoError(t, ctl.Close())
		require.ErrorIs(t, ctl.Tx([]byte{7}, nil), bus.ErrClosed)
	}
}

// TestRecordAndPlayback: what a wire and its target do can be recorded and played
// back without them.
func TestRecordAndPlayback(t *testing.T) {
	dialogue := func(ctl bus.Controller) (seen []byte) {
		r := make([]byte, 3)
		require.NoError(t, ctl.Tx([]byte{1, 2, 3}, nil))
		require.NoError(t, ctl.Tx(nil, r))
		return append(seen, r...)
	}
	c := &chip{echo: true}
	w, err := bus.NewWire(bus.Options{})
	require.NoError(t, err)
	c.lines, err = w.Socket().Attach(c)
	require.NoError(t, err)
	port, err := w.SPI()
	require.NoError(t, err)
	rec := &spitest.Record{Port: port}
	ctl, err := bus.OverSPI(rec, 1e6, 0, bus.Pins{})
	require.NoError(t, err)
	want := dialogue(ctl)
	require.Equal(t, []byte{1, 2, 3}, want)
	require.NoError(t, ctl.Close())
	play := &spitest.Playback{Playback: conntest.Playback{Ops: rec.Ops, DontPanic: true}}
	ctl, err = bus.OverSPI(play, 1e6, 0, bus.Pins{})
	require.NoError(t, err)
	require.Equal(t, want, dialogue(ctl))
	require.NoError(t, ctl.Close(), "nothing is left")

	c = &chip{echo: true}
	w, err = bus.NewWire(bus.Options{Physical: bus.I2C})
	require.NoError(t, err)
	c.lines, err = w.Socket().Attach(c)
	require.NoError(t, err)
	b, err := w.I2C()
	require.NoError(t, err)
	irec := &i2ctest.Record{Bus: b}
	ctl, err = bus.OverI2C(closer{irec, b}, 0x48, 0, bus.Pins{})
	require.NoError(t, err)
	require.Equal(t, want, dialogue(ctl))
	require.NoError(t, ctl.Close())
	ctl, err = bus.OverI2C(&i2ctest.Playback{Ops: irec.Ops, DontPanic: true}, 0x48, 0, bus.Pins{})
	require.NoError(t, err)
	require.Equal(t, want, dialogue(ctl))
	require.NoError(t, ctl.Close(), "nothing is left")
}

type closer struct {
	i2c.Bus
	of i2c.BusCloser
}

func (c closer) Close() error { return c.of.Close() }

// failing is an I2C bus of Linux that ends every access with an error.
type failing struct {
	i2c.Bus
	err error
}

func (f failing) String() string                  { return "I2C1" }
func (f failing) Close() error                    { return nil }
func (f failing) Tx(uint16, []byte, []byte) error { return f.err }
func (f failing) SetSpeed(physic.Frequency) error { return errors.New("sysfs-i2c: not supported") }

func TestErrorsOfLinux(t *testing.T) {
	for text, want := range map[string]error{
		"sysfs-i2c: remote I/O error":          bus.ErrNACK,
		"sysfs-i2c: no such device or address": bus.ErrNACK,
		"sysfs-i2c: connection timed out":      bus.ErrStuck,
	} {
		ctl, err := bus.OverI2C(failing{err: errors.New(text)}, 0x48, 100_000, bus.Pins{})
		require.NoError(t, err)
		require.ErrorIs(t, ctl.Tx([]byte{1}, nil), want, text)
		require.NoError(t, ctl.SetSpeed(1000), "as far as the bus goes")
	}
}

// button is a pin in real time.
type button struct {
	gpio.PinIO
	level chan gpio.Level // the level now
	edge  chan struct{}
	dumb  bool // it cannot wait
}

func newButton() *button {
	b := &button{PinIO: gpio.INVALID, level: make(chan gpio.Level, 1), edge: make(chan struct{}, 1)}
	b.level <- gpio.High
	return b
}

func (b *button) In(p gpio.Pull, _ gpio.Edge) error {
	if p != gpio.PullNoChange {
		return errors.New("no pull resistors")
	}
	return nil
}

func (b *button) Read() gpio.Level {
	l := <-b.level
	b.level <- l
	return l
}

func (b *button) set(l gpio.Level) {
	<-b.level
	b.level <- l
	select {
	case b.edge <- struct{}{}:
	default:
	}
}

func (b *button) WaitForEdge(timeout time.Duration) bool {
	if b.dumb {
		return false
	}
	select {
	case <-b.edge:
		return true
	case <-time.After(timeout):
		return false
	}
}

func (b *button) Halt() error {
	select {
	case b.edge <- struct{}{}:
	default:
	}
	return nil
}

func TestInterruptLineInRealTime(t *testing.T) {
	for _, dumb := range []bool{false, true} {
		b := newButton()
		b.dumb = dumb
		ctl, err := bus.OverI2C(failing{}, 0x48, 0, bus.Pins{IRQ: b, IRQLow: true})
		require.NoError(t, err)
		for _, wait := range []time.Duration{0, time.Millisecond} {
			there, err := ctl.WaitIRQ(wait)
			require.NoError(t, err)
			require.False(t, there)
		}
		results := make(chan bool)
		wait := func() {
			there, err := ctl.WaitIRQ(-1)
			require.True(t, err == nil || errors.Is(err, bus.ErrClosed))
			results <- there
		}
		go wait()
		b.set(gpio.Low)
		require.True(t, <-results)
		b.set(gpio.High)
		go wait()
		ctl.(bus.Waker).Wake()
		require.False(t, <-results)
		go wait()
		require.NoError(t, ctl.Close())
		require.False(t, <-results)
		require.ErrorIs(t, ctl.Reset(), bus.ErrNoLine)
	}
	ctl, err := bus.OverI2C(failing{}, 0x48, 0, bus.Pins{})
	require.NoError(t, err)
	_, err = ctl.WaitIRQ(0)
	require.ErrorIs(t, err, bus.ErrNoLine)
	_, err = bus.OverI2C(failing{}, 0x48, 0, bus.Pins{Reset: gpio.INVALID})
	require.ErrorContains(t, err, "reset line INVALID")
	_, err = bus.OverI2C(failing{}, 0x48, 0, bus.Pins{IRQ: gpio.INVALID})
	require.ErrorContains(t, err, "interrupt line INVALID")
}
