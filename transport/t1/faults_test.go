package t1_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/t1"
)

// random fills p from a stream that is the same each time.
func random(rnd *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
}

// Whatever a wire does, nothing wrong arrives, and all of it does as long as it is no
// more than can be mended.
func TestFaultyWires(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults bus.Faults
		most   int // exchanges that may fail, of 200
	}{
		{"bit errors", bus.Faults{BER: 1e-4}, 0},
		{"many bit errors", bus.Faults{BER: 5e-4}, 10},
		{"accesses that get lost", bus.Faults{Drop: 0.05}, 0},
		{"accesses that come twice", bus.Faults{Duplicate: 0.05}, 0},
		{"addresses that are not acknowledged", bus.Faults{NACK: 0.2}, 0},
		{"a stretched clock", bus.Faults{Stretch: time.Millisecond, StretchChance: 0.3}, 0},
		{"all together", bus.Faults{BER: 1e-4, Drop: 0.01, Duplicate: 0.01, NACK: 0.05}, 2},
	} {
		for _, p := range []bus.Physical{bus.SPI, bus.I2C} {
			t.Run(c.name+" on "+p.String(), func(t *testing.T) {
				wire, l, got := opened(t, bus.Options{Physical: p}, t1.Options{}, t1.Options{}, echo)
				c.faults.Seed = 1
				wire.SetFaults(c.faults)
				rnd := rand.New(rand.NewPCG(1, 1))
				before := wire.Ledger()
				failed := 0
				const n = 200
				for i := range n {
					p := make([]byte, 256)
					random(rnd, p)
					if err := l.Send(transport.Block, p); err != nil {
						failed++
						t.Logf("exchange %d: %v", i, err)
						continue
					}
					require.Equal(t, p, []byte(got.next(t, transport.Block)), "exchange %d", i)
				}
				used := wire.Ledger().Sub(before)
				t.Logf("%d failed, efficiency %.4f, idle %v", failed, used.Efficiency(int64(2*256*(n-failed))), used.Time[bus.Idle])
				require.LessOrEqual(t, failed, c.most)
			})
		}
	}
}

// Long APDUs over a wire that hardly any long block passes: the blocks become shorter,
// and no command is given twice.
func TestLongAPDUsOverNoise(t *testing.T) {
	for _, p := range []bus.Physical{bus.SPI, bus.I2C} {
		commands := 0
		wire, l, got := opened(t, bus.Options{Physical: p}, t1.Options{}, t1.Options{}, func(p []byte) []byte {
			commands++
			return p
		})
		for _, ber := range []float64{1e-5, 1e-4} {
			wire.SetFaults(bus.Faults{BER: ber, Seed: 2})
			before, sent := wire.Ledger(), 0
			commands = 0
			sizes := []int{0, 1, 1000, 32768, 65536, 32768, 32768, 32768}
			for _, n := range sizes {
				p := make([]byte, n)
				for i := 0; i+2 <= n; i += 2 {
					binary.BigEndian.PutUint16(p[i:], uint16(i*31))
				}
				require.NoError(t, l.Send(transport.Block, p))
				require.Equal(t, string(p), got.next(t, transport.Block))
				sent += 2 * n
			}
			require.Equal(t, len(sizes), commands)
			t.Logf("%s, BER %g: efficiency %.4f", p, ber, wire.Ledger().Sub(before).Efficiency(int64(sent)))
		}
	}
}

// The target loses its power at some byte of an exchange: it ends, and after PowerOn
// everything is as before.
func TestPowerCuts(t *testing.T) {
	for _, p := range []bus.Physical{bus.SPI, bus.I2C} {
		for _, at := range []int64{1, 2, 5, 100, 260, 263, 264, 268, 269, 400, 500, 536} {
			wire, l, got := opened(t, bus.Options{Physical: p}, t1.Options{}, t1.Options{}, echo)
			wire.SetFaults(bus.Faults{Cut: at})
			command := bytes.Repeat([]byte{0x5A}, 256)
			if err := l.Send(transport.Block, command); err == nil {
				require.Equal(t, string(command), got.next(t, transport.Block))
			}
			require.NoError(t, l.Send(transport.PowerOn, nil), "%s, cut at byte %d", p, at)
			got.next(t, transport.ATR)
			require.NoError(t, l.Send(transport.Block, command))
			require.Equal(t, string(command), got.next(t, transport.Block))
		}
	}
}

// Lines that are stuck for a while, or for good.
func TestStuckLines(t *testing.T) {
	for _, c := range []struct {
		p    bus.Physical
		line bus.Line
		high bool
	}{
		{bus.SPI, bus.MISO, true}, {bus.SPI, bus.MISO, false}, {bus.SPI, bus.MOSI, true}, {bus.SPI, bus.MOSI, false},
		{bus.SPI, bus.SCK, false}, {bus.SPI, bus.CS, true}, {bus.I2C, bus.SDA, false}, {bus.I2C, bus.SCL, false},
	} {
		wire, l, got := opened(t, bus.Options{Physical: c.p}, t1.Options{}, t1.Options{}, echo)
		wire.SetFaults(bus.Faults{Stuck: c.line, StuckHigh: c.high, StuckFrom: 1, StuckFor: 6})
		require.NoError(t, l.Send(transport.Block, []byte("command")), "%v %v", c.line, c.high)
		require.Equal(t, "command", got.next(t, transport.Block))

		wire.SetFaults(bus.Faults{Stuck: c.line, StuckHigh: c.high, StuckFor: 1 << 40})
		before := wire.Clock().Now()
		err := l.Send(transport.Block, []byte("command"))
		require.ErrorIs(t, err, t1.ErrReset)
		require.Contains(t, err.Error(), "(BWT 300ms, 11 tries)")
		t.Logf("%v %v: %v after %v", c.line, c.high, err, wire.Clock().Now()-before)
		wire.SetFaults(bus.Faults{})
		require.NoError(t, l.Send(transport.Block, []byte("command")), "it begins anew by itself")
		require.Equal(t, "command", got.next(t, transport.Block))
	}
}
