package shdlc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/linktest"
)

// join makes a wire with a link's two ends on it.
func join(tb testing.TB, o bus.Options, cfg Config) (w *bus.Wire, controller, target transport.Link) {
	w, err := bus.NewWire(o)
	require.NoError(tb, err)
	controller, err = NewController(w.Controller, cfg, w.String()+"?protocol=shdlc")
	require.NoError(tb, err)
	target, err = NewTarget(w.Socket(), cfg, w.String()+"?protocol=shdlc")
	require.NoError(tb, err)
	return w, controller, target
}

var wires = []struct {
	name string
	o    bus.Options
}{
	{"SPI", bus.Options{}},
	{"I2C", bus.Options{Physical: bus.I2C}},
	{"SPI without lines", bus.Options{NoIRQ: true, NoReset: true}},
	{"I2C without lines", bus.Options{Physical: bus.I2C, NoIRQ: true, NoReset: true}},
}

func TestLink(t *testing.T) {
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			linktest.RunPackets(t, func(t *testing.T) (controller, target transport.Link) {
				_, controller, target = join(t, w.o, Default())
				return controller, target
			})
		})
	}
}

// user is a Receiver that keeps what comes, or does something with it.
type user struct {
	kinds   chan transport.Kind // but Packets
	packets chan []byte
	hook    func(p []byte) // for packets, instead of keeping them
}

func newUser() *user {
	return &user{kinds: make(chan transport.Kind, 1000), packets: make(chan []byte, 1000)}
}

func (u *user) Frame(k transport.Kind, p []byte) {
	switch {
	case k != transport.Packet:
		u.kinds <- k
	case len(p) == 0:
	case u.hook != nil:
		u.hook(p)
	default:
		u.packets <- bytes.Clone(p)
	}
}

const soon = 10 * time.Second

func (u *user) kind(tb testing.TB, want transport.Kind) {
	tb.Helper()
	select {
	case k := <-u.kinds:
		require.Equal(tb, want.String(), k.String())
	case <-time.After(soon):
		require.FailNow(tb, "nothing came", "expected: %s", want)
	}
}

func (u *user) packet(tb testing.TB) []byte {
	tb.Helper()
	select {
	case p := <-u.packets:
		return p
	case <-time.After(soon):
		require.FailNow(tb, "no packet came")
		return nil
	}
}

// open opens both ends of a link; the target echoes.
func open(tb testing.TB, o bus.Options, cfg Config) (w *bus.Wire, controller, target transport.Link, terminal, card *user) {
	w, controller, target = join(tb, o, cfg)
	terminal, card = newUser(), newUser()
	card.hook = func(p []byte) { _ = target.Send(transport.Packet, p) }
	require.NoError(tb, target.Open(tb.Context(), card))
	require.NoError(tb, controller.Open(tb.Context(), terminal))
	tb.Cleanup(func() {
		require.NoError(tb, controller.Close())
		require.NoError(tb, target.Close())
	})
	terminal.kind(tb, transport.Inserted)
	return w, controller, target, terminal, card
}

// TestLinkNoise: exchanges of 256 octets over a wire that flips bits.
func TestLinkNoise(t *testing.T) {
	for _, tt := range wires[:3] {
		t.Run(tt.name, func(t *testing.T) {
			exchanges := 1500
			if tt.o.NoIRQ { // it is polled in real time
				exchanges = 100
			}
			require.Greater(t, noisy(t, tt.o, exchanges), 0.8)
		})
	}
}

// noisy demands that every exchange brings what was sent, and compares the goodput
// with its theory.
func noisy(tb testing.TB, o bus.Options, exchanges int) (ratio float64) {
	const size, ber = 256, 1e-4
	o.Faults = bus.Faults{Seed: 1, BER: ber}
	cfg := Default()
	w, controller, target, terminal, _ := open(tb, o, cfg)
	before := w.Ledger()
	p := make([]byte, size)
	for n := range exchanges {
		fill(p, n)
		if err := controller.Send(transport.Packet, p); err != nil {
			require.NoError(tb, err)
		}
		if got := terminal.packet(tb); !bytes.Equal(p, got) {
			require.Equal(tb, p, got)
		}
	}
	l := w.Ledger().Sub(before)
	require.Empty(tb, terminal.kinds, "the link has ended")
	// At best an I-frame is sent again, at once, until it arrives, and nothing else is.
	bits := 8.0
	if o.Physical == bus.I2C {
		bits = 9
	}
	frame := float64(newMAC(cfg).frame(size + 1))
	optimum := size / frame * math.Pow(1-ber, bits*frame)
	goodput := bits * 2 * size * float64(exchanges) / float64(l.Clocked())
	a, b := controller.(*controllerEnd).Stats(), target.(*targetEnd).Stats()
	tb.Logf("%s, BER 1e-4, %d exchanges of %d octets: goodput %.3f of the bits, optimum of selective repeat %.3f, ratio %.3f; resent %d of %d, garbled %d; %v busy, %v idle",
		w, exchanges, size, goodput, optimum, goodput/optimum, a.Resent+b.Resent, a.Sent+b.Sent, a.Garbled+b.Garbled, l.Busy, l.Time[bus.Idle])
	return goodput / optimum
}

// BenchmarkNoise is the long run: -bench Noise -benchtime 1000000x
func BenchmarkNoise(b *testing.B) {
	for _, tt := range wires[:2] {
		b.Run(tt.name, func(b *testing.B) { b.ReportMetric(noisy(b, tt.o, b.N), "of-optimum") })
	}
}

// TestEfficiency: a command of 2 KiB with a short answer, and the reverse, each cut
// into packets of packet.mtu as the SCL does it.
func TestEfficiency(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     bus.Options
		least float64
	}{
		{"SPI", bus.Options{}, 0.95},
		{"I2C", bus.Options{Physical: bus.I2C}, 0.93},
	} {
		for _, way := range []string{"command", "answer"} {
			t.Run(tt.name+" "+way, func(t *testing.T) {
				const exchanges = 50
				w, controller, target, terminal, card := open(t, tt.o, Default())
				long, short := [][]byte{make([]byte, 1024), make([]byte, 1024), make([]byte, 5)}, [][]byte{make([]byte, 4)}
				there, back := long, short
				if way == "answer" {
					there, back = short, long
				}
				got := 0
				card.hook = func([]byte) {
					if got++; got%len(there) == 0 {
						for _, p := range back {
							_ = target.Send(transport.Packet, p)
						}
					}
				}
				before := w.Ledger()
				for range exchanges {
					for _, p := range there {
						require.NoError(t, controller.Send(transport.Packet, p))
					}
					for range back {
						terminal.packet(t)
					}
				}
				l := w.Ledger().Sub(before)
				const payload = exchanges * (2048 + 2) // of the APDUs
				t.Logf("%s, 2 KiB %s: efficiency %.4f\n%s", tt.name, way, l.Efficiency(payload), l.Report(payload))
				require.GreaterOrEqual(t, l.Efficiency(payload), tt.least)
			})
		}
	}
}

// TestSlowBus: on a bus where four I-frames take longer than T2 nothing is sent twice.
func TestSlowBus(t *testing.T) {
	_, controller, target, terminal, _ := open(t, bus.Options{Physical: bus.I2C, Hz: 100_000}, Default())
	const packets = 64
	for range packets {
		require.NoError(t, controller.Send(transport.Packet, make([]byte, 1024)))
	}
	for range packets {
		require.Len(t, terminal.packet(t), 1024)
	}
	for _, s := range []Stats{controller.(*controllerEnd).Stats(), target.(*targetEnd).Stats()} {
		require.Zero(t, s.Resent, "%+v", s)
		require.Zero(t, s.Wrong+s.Garbled+s.Duplicate+s.OutOfOrder, "%+v", s)
	}
}

// TestFaults: whatever a wire does, the link carries on, or ends and comes back.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    bus.Options
	}{
		{"SPI drops and repeats accesses", bus.Options{Faults: bus.Faults{Seed: 1, Drop: 0.05, Duplicate: 0.05}}},
		{"I2C drops and repeats accesses", bus.Options{Physical: bus.I2C, Faults: bus.Faults{Seed: 2, Drop: 0.05, Duplicate: 0.05}}},
		{"I2C does not acknowledge, and stretches", bus.Options{Physical: bus.I2C, Faults: bus.Faults{Seed: 3, NACK: 0.1, Stretch: time.Millisecond, StretchChance: 0.1}}},
		{"SPI, everything", bus.Options{Faults: bus.Faults{Seed: 4, BER: 1e-4, Drop: 0.02, Duplicate: 0.02}}},
		{"I2C without lines, everything", bus.Options{Physical: bus.I2C, NoIRQ: true, Faults: bus.Faults{Seed: 5, BER: 1e-4, NACK: 0.02, Drop: 0.02, Duplicate: 0.02}}},
		{"MISO is stuck low for a while", bus.Options{Faults: bus.Faults{Stuck: bus.MISO, StuckFrom: 100, StuckFor: 15}}},
		// fewer accesses than the retries after which the link is given up
		{"MOSI is stuck high for a while", bus.Options{Faults: bus.Faults{Stuck: bus.MOSI, StuckHigh: true, StuckFrom: 100, StuckFor: 15}}},
		{"IRQ is stuck high for a while", bus.Options{Faults: bus.Faults{Stuck: bus.IRQ, StuckHigh: true, StuckFrom: 100, StuckFor: 15}}},
		{"SDA is stuck for a while", bus.Options{Physical: bus.I2C, Faults: bus.Faults{Stuck: bus.SDA, StuckFrom: 100, StuckFor: 20}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, controller, _, terminal, _ := open(t, tt.o, Default())
			for n := range 200 {
				p := fmt.Append(nil, "packet ", n)
				require.NoError(t, controller.Send(transport.Packet, p))
				require.Equal(t, string(p), string(terminal.packet(t)))
			}
			require.Empty(t, terminal.kinds)
		})
	}
}

// TestPowerCut: the target loses its power in the middle of a packet and comes back;
// both users are told.
func TestPowerCut(t *testing.T) {
	w, controller, _, terminal, card := open(t, bus.Options{}, Default())
	w.SetFaults(bus.Faults{Cut: 700, CutFor: 10 * time.Millisecond})
	for range 3 {
		_ = controller.Send(transport.Packet, make([]byte, 300)) // it may be gone already
	}
	card.kind(t, transport.PowerOff)
	terminal.kind(t, transport.Removed)
	terminal.kind(t, transport.Inserted)
	require.NoError(t, controller.Send(transport.Packet, []byte("again")))
	for p := terminal.packet(t); string(p) != "again"; p = terminal.packet(t) {
		require.Len(t, p, 300)
	}
}

func TestPowerAndReset(t *testing.T) {
	for _, tt := range wires {
		t.Run(tt.name, func(t *testing.T) {
			_, controller, target, terminal, card := open(t, tt.o, Default())
			for n, k := range []transport.Kind{transport.PowerOn, transport.Reset, transport.PowerOff} {
				p := fmt.Append(nil, "round ", n)
				require.NoError(t, controller.Send(transport.Packet, p))
				require.Equal(t, p, terminal.packet(t))
				require.NoError(t, controller.Send(k, nil))
				card.kind(t, transport.PowerOff)
				terminal.kind(t, transport.Removed)
				if k == transport.PowerOff {
					require.ErrorIs(t, controller.Send(transport.Packet, p), transport.ErrNoPeer)
					require.ErrorIs(t, target.Send(transport.Packet, p), transport.ErrNoPeer)
					require.NoError(t, controller.Send(transport.PowerOn, nil))
				}
				require.NoError(t, controller.Send(transport.Packet, p), "waits for the link")
				require.Equal(t, p, terminal.packet(t))
				terminal.kind(t, transport.Inserted)
			}
		})
	}
}

// TestNobodyThere: Send waits until it is known that there is no target, and says why.
func TestNobodyThere(t *testing.T) {
	for _, tt := range wires {
		t.Run(tt.name, func(t *testing.T) {
			_, controller, target := join(t, tt.o, Default())
			terminal := newUser()
			require.NoError(t, controller.Open(t.Context(), terminal))
			defer controller.Close()
			require.ErrorIs(t, controller.Send(transport.Packet, []byte{1}), transport.ErrNoPeer)
			require.ErrorContains(t, transport.Trouble(controller), "does not answer (5 RSETs every 5ms")
			if tt.o.Physical == bus.I2C {
				require.ErrorIs(t, transport.Trouble(controller), bus.ErrNACK)
			}
			require.NoError(t, target.Open(t.Context(), newUser()))
			defer target.Close()
			terminal.kind(t, transport.Inserted)
			require.NoError(t, transport.Trouble(controller))
			require.NoError(t, controller.Send(transport.Packet, []byte{1}))
		})
	}
	_, err := NewController(nil, Config{}, "x:")
	require.EqualError(t, err, "shdlc: window: 0 is outside 2 to 4")
	_, err = NewTarget(nil, Config{}, "x:")
	require.Error(t, err)
	c, err := NewController(func() (bus.Controller, error) { return nil, os.ErrPermission }, Default(), "spi:/dev/spidev0.0")
	require.NoError(t, err)
	require.ErrorIs(t, c.Open(t.Context(), newUser()), os.ErrPermission)
}

// TestSlowReceiver: a target that works for long stops the terminal, which waits a
// bounded time; nothing is lost.
func TestSlowReceiver(t *testing.T) {
	_, controller, target, terminal, card := open(t, bus.Options{}, Default())
	controller.(*controllerEnd).sendWait = 20 * time.Millisecond
	goOn := make(chan struct{})
	card.hook = func(p []byte) {
		<-goOn
		_ = target.Send(transport.Packet, p[:4])
	}
	sent := 0
	var err error
	for err == nil {
		p := make([]byte, 1024)
		binary.BigEndian.PutUint32(p, uint32(sent))
		if err = controller.Send(transport.Packet, p); err == nil {
			sent++
		}
		require.Less(t, sent, 1000)
	}
	require.ErrorIs(t, err, transport.ErrNoPeer)
	require.ErrorContains(t, err, "nothing was taken for 20ms")
	close(goOn)
	for n := range sent {
		require.Equal(t, uint32(n), binary.BigEndian.Uint32(terminal.packet(t)))
	}
	require.Empty(t, terminal.kinds)
}

// TestCloseDuringSend: who waits in Send is told.
func TestCloseDuringSend(t *testing.T) {
	_, controller, _, _, card := open(t, bus.Options{}, Default())
	goOn := make(chan struct{})
	card.hook = func([]byte) { <-goOn }
	errs := make(chan error)
	go func() {
		var err error
		for err == nil {
			err = controller.Send(transport.Packet, make([]byte, 1024))
		}
		errs <- err
	}()
	for backlogOf(controller) < maxBacklog-2048 {
		runtime.Gosched()
	}
	require.NoError(t, controller.Close())
	close(goOn)
	require.ErrorIs(t, <-errs, transport.ErrClosed)
}

// BenchmarkExchange: 256 octets there and back; the answer is given from within Frame.
func BenchmarkExchange(b *testing.B) {
	for _, tt := range wires[:2] {
		b.Run(tt.name, func(b *testing.B) {
			_, controller, _, terminal, _ := open(b, tt.o, Default())
			back := make(chan struct{}, 1)
			terminal.hook = func([]byte) { back <- struct{}{} }
			p := make([]byte, 256)
			b.ReportAllocs()
			for b.Loop() {
				_ = controller.Send(transport.Packet, p)
				<-back
			}
		})
	}
}

// BenchmarkEngine: the same between two Engines, without a wire.
func BenchmarkEngine(b *testing.B) {
	p := newPair(Default(), 0, 1)
	p.connect(b)
	body, buf := make([]byte, 256), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
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
}

func BenchmarkCRC(b *testing.B) {
	p := make([]byte, 1024)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		crc(p)
	}
}

func backlogOf(l transport.Link) int {
	c := l.(*controllerEnd)
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.backlog.b) - c.backlog.head
}
