package t1_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/t1"
)

// spy is a controller's end that keeps what was done with it.
type spy struct {
	bus.Controller
	clock bus.Clock

	mu     sync.Mutex
	log    []access
	speeds []int64
}

type access struct {
	from, to time.Duration
	w, r     []byte
	err      error
}

func (s *spy) Tx(w, r []byte) error {
	from := s.clock.Now()
	err := s.Controller.Tx(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, access{from, s.clock.Now(), append([]byte(nil), w...), append([]byte(nil), r...), err})
	return err
}

func (s *spy) SetSpeed(hz int64) error {
	s.mu.Lock()
	s.speeds = append(s.speeds, hz)
	s.mu.Unlock()
	return s.Controller.SetSpeed(hz)
}

func (s *spy) Presence(f func(bool)) { s.Controller.(bus.Presence).Presence(f) }

func (s *spy) forget() { s.log, s.speeds = nil, nil }

// A controller does as the CIP says, and before it is read as the defaults say.
func TestParametersAreHonoured(t *testing.T) {
	ms, us := time.Millisecond, time.Microsecond
	for _, p := range []bus.Physical{bus.SPI, bus.I2C} {
		cip := t1.CIP{
			Version: 1, IIN: []byte{1, 2, 3}, Physical: p, PWT: 40 * ms, MCF: 250, MPOT: 700 * us,
			SEGT: 90 * us, SEAL: 33, RWGT: 80 * us, BWT: 100 * ms, PST: 50 * ms, WUT: 3 * ms,
		}
		wire, err := bus.NewWire(bus.Options{Physical: p})
		require.NoError(t, err)
		s := &spy{clock: wire.Clock()}
		c, err := t1.NewController(func() (bus.Controller, error) {
			s.Controller, err = wire.Controller()
			return s, err
		}, t1.Options{}, "controller")
		require.NoError(t, err)
		card, err := t1.NewTarget(wire.Socket(), t1.Options{CIP: cip, IFS: 100}, "target")
		require.NoError(t, err)
		got := make(frames, 10)
		slow := false
		require.NoError(t, c.Open(context.Background(), got))
		require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
			if k != transport.Block {
				_ = card.Send(transport.ATR, []byte{0x3B, 0x01, 0x77})
				return
			}
			p = append([]byte(nil), p...)
			if !slow {
				_ = card.Send(k, p)
				return
			}
			wire.Clock().AfterFunc(time.Second, func() { _ = card.Send(k, p) })
		})))
		defer c.Close()
		defer card.Close()
		got.next(t, transport.Inserted)

		// Activation: defaults, then the CIP.
		require.NoError(t, c.Send(transport.PowerOn, nil))
		require.Equal(t, []byte{0x3B, 0x81, 0x80, 0x01, 0x77, 0x77}, []byte(got.next(t, transport.ATR)))
		def, guard := t1.DefaultCIP(p), 90*us
		if p == bus.I2C {
			guard = 80 * us
		}
		require.Equal(t, int64(def.MCF)*1000, s.speeds[0])
		require.Equal(t, int64(250_000), s.speeds[len(s.speeds)-1])
		require.GreaterOrEqual(t, s.log[0].from, def.PWT)
		asked, _ := c.(t1.Prober).CIP()
		cip.IFSC, cip.HB = 100, []byte{0x77}
		if p == bus.I2C {
			cip.SEGT, cip.SEAL, cip.WUT = 0, 0, 0
		} else {
			cip.RWGT = 0
		}
		require.Equal(t, cip, asked)

		// An exchange, and one of a card that works for a second.
		s.forget()
		for range 2 {
			command := bytes.Repeat([]byte{0x11, 0x22}, 200)
			require.NoError(t, c.Send(transport.Block, command))
			require.Equal(t, string(command), got.next(t, transport.Block))
			slow = true
		}
		extensions := 0
		for i, a := range s.log {
			if p == bus.SPI {
				require.LessOrEqual(t, max(len(a.w), len(a.r)), 33, "SEAL")
			}
			if bytes.Contains(a.w, []byte{0x21, 0xE3}) {
				extensions++
			}
			if i == 0 {
				continue
			}
			gap := a.from - s.log[i-1].to
			require.GreaterOrEqual(t, gap, guard, "guard time")
			poll := s.log[i-1].err != nil || len(s.log[i-1].r) == 1 && s.log[i-1].r[0] == bus.IdleByte
			if poll {
				require.GreaterOrEqual(t, gap, 700*us, "MPOT")
			}
		}
		require.Positive(t, extensions)
		require.Less(t, extensions, 20)

		// A target that has gone to sleep is woken, on SPI.
		s.forget()
		slow = false
		wire.Clock().Sleep(time.Second)
		require.NoError(t, c.Send(transport.Block, []byte("x")))
		got.next(t, transport.Block)
		if p == bus.SPI {
			require.Equal(t, []byte{0}, s.log[0].w)
			require.GreaterOrEqual(t, s.log[1].from-s.log[0].to, 3*ms, "WUT")
		}
	}
}

// raw is a controller without a protocol, at the bus of a target.
type raw struct {
	*testing.T
	bus.Controller
	f t1.Format
}

// ask writes a block and reads what the target says to it; "" when that is nothing.
func (r raw) ask(nad byte, pcb t1.PCB, inf ...byte) string {
	r.Helper()
	r.write(r.f.Append(nil, nad, pcb, inf))
	return r.read()
}

func (r raw) write(b []byte) {
	r.Helper()
	require.NoError(r, r.Tx(b, nil))
}

// read polls ten times, with one byte.
func (r raw) read() string {
	r.Helper()
	b := make([]byte, 1)
	for range 10 {
		r.Clock().Sleep(time.Millisecond)
		if err := r.Tx(nil, b); err != nil || b[0] == 0 || b[0] == bus.IdleByte {
			continue
		}
		rest := make([]byte, r.f.Overhead()-1)
		require.NoError(r, r.Tx(nil, rest))
		b = append(b, rest...)
		if n := r.f.Size(b) - len(b); n > 0 {
			rest = make([]byte, n)
			require.NoError(r, r.Tx(nil, rest))
			b = append(b, rest...)
		}
		block, err := r.f.Parse(b)
		require.NoError(r, err, "% X", b)
		return block.String()
	}
	return ""
}

// card is a target on a wire whose Receiver tells what it got.
func card(t *testing.T, p bus.Physical, o t1.Options) (raw, transport.Link, frames) {
	wire, err := bus.NewWire(bus.Options{Physical: p})
	require.NoError(t, err)
	l, err := t1.NewTarget(wire.Socket(), o, "target")
	require.NoError(t, err)
	got := make(frames, 100)
	require.NoError(t, l.Open(context.Background(), got))
	c, err := wire.Controller()
	require.NoError(t, err)
	t.Cleanup(func() { l.Close(); c.Close() })
	f := o.Vendor.Format
	if f == (t1.Format{}) {
		f = prime
	}
	return raw{t, c, f}, l, got
}

// What a target says, block by block, to the drivers of each vendor.
func TestTargetBlockByBlock(t *testing.T) {
	for _, v := range t1.Vendors {
		for _, p := range []bus.Physical{bus.SPI, bus.I2C} {
			r, l, got := card(t, p, t1.Options{Vendor: v})
			nad := v.NAD
			cip := t1.OurCIP(p)
			cip.IFSC = r.f.MaxINF()
			inf, err := cip.Bytes()
			require.NoError(t, err)
			require.Equal(t, t1.Block{PCB: t1.CIPRequest.Response(), INF: inf}.String(), r.ask(nad, t1.CIPRequest))
			require.Equal(t, "S(RESYNCH response)", r.ask(nad, t1.Resynch))
			require.Equal(t, "S(IFS response) 20", r.ask(nad, t1.IFS, 0x20))

			// An answer that is not wanted any more does not go to the next command.
			require.Equal(t, "", r.ask(nad, 0x00, 1, 2))
			require.Equal(t, "\x01\x02", got.next(t, transport.Block))
			require.Equal(t, "S(RESYNCH response)", r.ask(nad, t1.Resynch))
			require.ErrorIs(t, l.Send(transport.Block, []byte{9}), transport.ErrNoPeer)
			require.Equal(t, "", r.ask(nad, 0x00, 3, 4))
			require.Equal(t, "\x03\x04", got.next(t, transport.Block))
			require.NoError(t, l.Send(transport.Block, []byte{5, 6}))
			require.Equal(t, "I(0,0) 05 06", r.read())
			require.ErrorIs(t, l.Send(transport.Block, []byte{7}), transport.ErrNoPeer)

			// Chaining, R-blocks, ABORT.
			require.Equal(t, "R(0)", r.ask(nad, 0x60, 1))
			require.Equal(t, "S(ABORT response)", r.ask(nad, t1.Abort))
			require.Equal(t, "", r.ask(nad, 0x00, 0xA4))
			require.Equal(t, "\xA4", got.next(t, transport.Block))
			require.NoError(t, l.Send(transport.Block, bytes.Repeat([]byte{0xEE}, 40)))
			first := r.read()
			require.Equal(t, "I(1,1) EE", first[:9])
			require.Equal(t, first, r.ask(nad, 0x91), "R(1): again")
			require.Equal(t, "I(0,0) EE EE EE EE EE EE EE EE", r.ask(nad, 0x80))

			// Resets and power.
			require.Equal(t, "S(SWR response)", r.ask(nad, t1.SWR))
			got.next(t, transport.Reset)
			require.Equal(t, "S(COLD RESET response)", r.ask(nad, t1.ColdReset))
			got.next(t, transport.PowerOn)
			require.Equal(t, "", r.ask(nad, t1.PowerOnReset))
			got.next(t, transport.PowerOn)
			require.Equal(t, "S(RELEASE response)", r.ask(nad, t1.Release))
			got.next(t, transport.PowerOff)
			require.NoError(t, r.Reset())
			got.next(t, transport.PowerOn)

			// What is cut, damaged or unknown.
			require.Equal(t, "R(0) other error", r.ask(nad, 0xC9))
			b := r.f.Append(nil, nad, 0x00, []byte("command"))
			r.write(b[:5])
			require.Contains(t, r.read(), "R(0)")
			b[6] ^= 1
			r.write(b)
			require.Contains(t, r.read(), "R(0)")
			require.Equal(t, "S(RESYNCH response)", r.ask(nad, t1.Resynch))
			if p == bus.I2C { // a byte an access; on SPI a single zero is a look for an answer
				for _, b := range r.f.Append(nil, nad, t1.SWR, nil) {
					r.write([]byte{b})
				}
				require.Equal(t, "S(SWR response)", r.read())
			}
		}
	}
}

// FuzzTarget lets random accesses come over a target; then it works as before.
func FuzzTarget(f *testing.F) {
	f.Add(true, []byte{3, 0x21, 0x00, 0x00, 200, 1, 5, 0x21, 0xC4, 0, 0, 6, 0xCD, 130})
	f.Add(false, []byte{6, 0x21, 0xC0, 0, 0, 0x65, 0xAC, 150, 2, 0, 0, 129})
	f.Add(true, bytes.Repeat([]byte{1, 0xFF, 1, 0x12, 200}, 20))
	f.Fuzz(func(t *testing.T, spi bool, b []byte) {
		p := bus.I2C
		if spi {
			p = bus.SPI
		}
		wire, err := bus.NewWire(bus.Options{Physical: p})
		require.NoError(t, err)
		l, err := t1.NewTarget(wire.Socket(), t1.Options{}, "target")
		require.NoError(t, err)
		require.NoError(t, l.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
			if k == transport.Block && (len(p) == 0 || p[0] != 1) { // some are not answered
				_ = l.Send(k, p)
			}
		})))
		defer l.Close()
		c, err := wire.Controller()
		require.NoError(t, err)
		for len(b) > 0 {
			n := int(b[0])
			b = b[1:]
			if n >= 128 { // a read
				_ = c.Tx(nil, make([]byte, n-127))
				continue
			}
			n = min(n, len(b))
			if n > 0 {
				_ = c.Tx(b[:n], nil)
			}
			b = b[n:]
		}
		require.NoError(t, c.Close())

		ctl, err := t1.NewController(wire.Controller, t1.Options{}, "controller")
		require.NoError(t, err)
		got := make(frames, 10)
		require.NoError(t, ctl.Open(context.Background(), got))
		defer ctl.Close()
		got.next(t, transport.Inserted)
		require.NoError(t, ctl.Send(transport.Block, []byte("command")))
		require.Equal(t, "command", got.next(t, transport.Block))
	})
}

// talker is a target that says what it was given, whatever is asked.
type talker struct {
	mu   sync.Mutex
	say  []byte
	loop int
	all  []byte
}

func (k *talker) Written([]byte) {}
func (k *talker) Reset()         {}
func (k *talker) Pending() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.say) == 0 && k.loop > 0 {
		k.say, k.loop = k.all, k.loop-1
	}
	return k.say
}

func (k *talker) Taken(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.say = k.say[min(n, len(k.say)):]
}

// FuzzController has a target say anything; Send ends, and its error has a reason.
func FuzzController(f *testing.F) {
	cip, _ := t1.OurCIP(bus.SPI).Bytes()
	good := prime.Append(nil, 0x12, t1.CIPRequest.Response(), cip)
	good = prime.Append(good, 0x12, t1.Resynch.Response(), nil)
	good = prime.Append(good, 0x12, t1.IFS.Response(), []byte{0x0F, 0xF9})
	f.Add(true, good)
	f.Add(true, prime.Append(good, 0x12, 0x00, []byte("answer")))
	f.Add(true, prime.Append(good, 0x12, 0x20, []byte("answer")))
	f.Add(false, prime.Append(good, 0x12, t1.WTX, []byte{1}))
	f.Add(false, []byte{0x12, 0xE4, 0xFF, 0xFF, 1, 2, 3})
	f.Fuzz(func(t *testing.T, spi bool, b []byte) {
		p := bus.I2C
		if spi {
			p = bus.SPI
		}
		wire, err := bus.NewWire(bus.Options{Physical: p})
		require.NoError(t, err)
		_, err = wire.Socket().Attach(&talker{all: b, loop: 3})
		require.NoError(t, err)
		l, err := t1.NewController(wire.Controller, t1.Options{Vendor: t1.Infineon}, "controller")
		require.NoError(t, err)
		got := make(frames, 10)
		require.NoError(t, l.Open(context.Background(), got))
		defer l.Close()
		for range 2 {
			if err := l.Send(transport.Block, []byte("command")); err != nil {
				require.NotEmpty(t, err.Error())
			}
		}
		require.Less(t, wire.Clock().Now(), 24*time.Hour)
	})
}

// plain is a bus that cannot tell who is there.
type plain struct{ bus.Controller }

// On such a bus a target is there until an exchange fails for good, and again when a
// PowerOn succeeds.
func TestBusThatDoesNotKnow(t *testing.T) {
	wire, err := bus.NewWire(bus.Options{Physical: bus.I2C})
	require.NoError(t, err)
	c, err := t1.NewController(func() (bus.Controller, error) {
		b, err := wire.Controller()
		return plain{b}, err
	}, t1.Options{}, "i2c:x")
	require.NoError(t, err)
	target, err := t1.NewTarget(wire.Socket(), t1.Options{}, "target")
	require.NoError(t, err)
	got := make(frames, 10)
	require.NoError(t, c.Open(context.Background(), got))
	defer c.Close()
	got.next(t, transport.Inserted)
	for range 2 {
		err = c.Send(transport.PowerOn, nil)
		require.ErrorIs(t, err, transport.ErrNoPeer)
		require.EqualError(t, err, `link "i2c:x": transport: no peer on the link: t1: the target has to be reset: S(CIP request) is not answered: t1: no block within the block waiting time (BWT 300ms, 11 tries)`)
		require.ErrorIs(t, c.Send(transport.Block, nil), transport.ErrNoPeer)
	}
	got.next(t, transport.Removed)
	require.NoError(t, target.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		if k == transport.Block {
			_ = target.Send(k, p)
		}
	})))
	defer target.Close()
	require.NoError(t, c.Send(transport.PowerOn, nil))
	got.next(t, transport.Inserted)
	got.next(t, transport.ATR)
	require.NoError(t, c.Send(transport.Block, []byte("x")))
	require.Equal(t, "x", got.next(t, transport.Block))
}

// A target that works for ever is given up.
func TestEndlessWork(t *testing.T) {
	cip := t1.OurCIP(bus.SPI)
	cip.MPOT = 25 * time.Millisecond
	answered := true
	wire, c, target := join(t, bus.Options{}, t1.Options{}, t1.Options{CIP: cip})
	got := make(frames, 10)
	require.NoError(t, c.Open(context.Background(), got))
	defer c.Close()
	require.NoError(t, target.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		if k == transport.Block && answered {
			_ = target.Send(k, p)
		}
	})))
	defer target.Close()
	got.next(t, transport.Inserted)
	require.NoError(t, c.Send(transport.PowerOn, nil))
	answered = false
	err := c.Send(transport.Block, []byte("x"))
	require.ErrorIs(t, err, t1.ErrWTX)
	t.Logf("%v after %v", err, wire.Clock().Now())
	answered = true
	require.NoError(t, c.Send(transport.Block, []byte("y")))
	got.next(t, transport.ATR)
	require.Equal(t, "y", got.next(t, transport.Block))
}

// A CIP that cannot be is an error that says so.
func TestWrongTargets(t *testing.T) {
	bad := t1.OurCIP(bus.I2C)
	bad.Physical = bus.SPI
	inf, _ := bad.Bytes()
	for _, c := range []struct {
		say  []byte
		want string
	}{
		{prime.Append(nil, 0x12, t1.CIPRequest.Response(), inf), `link "i2c:x": t1: CIP: the target says that it is on SPI, and is on I2C`},
		{prime.Append(nil, 0x12, t1.CIPRequest.Response(), []byte{2}), `link "i2c:x": t1: CIP: it ends before its lengths say`},
		{prime.Append(nil, 0x12, t1.SWR.Response(), nil), `link "i2c:x": t1: the target has to be reset: S(CIP request) is not answered: t1: a block that is not expected here (BWT 300ms, 11 tries)`},
		{prime.Append(nil, 0xA5, t1.CIPRequest.Response(), nil), `link "i2c:x": t1: the target has to be reset: S(CIP request) is not answered: t1: a node address that is not in use (BWT 300ms, 11 tries)`},
	} {
		wire, err := bus.NewWire(bus.Options{Physical: bus.I2C})
		require.NoError(t, err)
		_, err = wire.Socket().Attach(&talker{all: c.say, loop: 1000})
		require.NoError(t, err)
		l, err := t1.NewController(wire.Controller, t1.Options{}, "i2c:x")
		require.NoError(t, err)
		require.NoError(t, l.Open(context.Background(), make(frames, 10)))
		require.EqualError(t, l.Send(transport.PowerOn, nil), c.want)
		require.NoError(t, l.Close())
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"spi:x?vendor=acme", `link "spi:x?vendor=acme": vendor=acme is not known (use one of any, infineon, nxp, nxp-euicc, nxp-um11225)`},
		{"spi:x?ifs=0", `link "spi:x?ifs=0": ifs=0 is not a number from 1 to 4089`},
		{"spi:x?retries=many", `link "spi:x?retries=many": retries=many is not a number from 1 to 1000`},
	} {
		u, err := transport.Parse(c.url)
		require.NoError(t, err)
		_, err = t1.OptionsOf(u)
		require.EqualError(t, err, c.want)
	}
	u, err := transport.Parse("spi:x?vendor=nxp&ifs=254&retries=3")
	require.NoError(t, err)
	o, err := t1.OptionsOf(u)
	require.NoError(t, err)
	require.Equal(t, t1.Options{Vendor: t1.NXP, IFS: 254, Retries: 3}, o)
	wire, err := bus.NewWire(bus.Options{})
	require.NoError(t, err)
	_, err = t1.NewTarget(wire.Socket(), t1.Options{CIP: t1.CIP{Version: 1}}, "x")
	require.ErrorIs(t, err, t1.ErrCIP)
}
