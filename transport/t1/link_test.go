package t1_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/linktest"
	"github.com/sspemu/sspemu/transport/t1"
)

// join makes a wire with a link's two ends on it.
func join(tb testing.TB, w bus.Options, controller, target t1.Options) (wire *bus.Wire, c, t transport.Link) {
	wire, err := bus.NewWire(w)
	require.NoError(tb, err)
	c, err = t1.NewController(wire.Controller, controller, wire.String()+"?protocol=t1prime")
	require.NoError(tb, err)
	t, err = t1.NewTarget(wire.Socket(), target, wire.String()+"?protocol=t1prime")
	require.NoError(tb, err)
	return wire, c, t
}

func TestLink(t *testing.T) {
	for _, c := range []struct {
		name               string
		wire               bus.Options
		controller, target t1.Options
	}{
		{name: "SPI"},
		{name: "I2C", wire: bus.Options{Physical: bus.I2C}},
		{name: "SPI without lines", wire: bus.Options{NoIRQ: true, NoReset: true}, controller: t1.Options{Vendor: t1.NXP}},
		{name: "I2C without lines", wire: bus.Options{Physical: bus.I2C, NoIRQ: true, NoReset: true}, controller: t1.Options{Vendor: t1.Infineon}},
		{name: "SPI, short blocks", target: t1.Options{IFS: 200}, controller: t1.Options{IFS: 100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
				_, controller, target = join(t, c.wire, c.controller, c.target)
				return controller, target
			})
		})
	}
}

// frames keeps what a Receiver got.
type frames chan frame

type frame struct {
	k transport.Kind
	p string
}

func (f frames) Frame(k transport.Kind, p []byte) { f <- frame{k, string(p)} }

// next is the next frame, which must be of kind k.
func (f frames) next(tb testing.TB, k transport.Kind) string {
	tb.Helper()
	select {
	case got := <-f:
		require.Equal(tb, k.String(), got.k.String())
		return got.p
	case <-time.After(10 * time.Second):
		require.FailNow(tb, "nothing arrived", "expected: %s", k)
		return ""
	}
}

// receiver is a function as a Receiver.
type receiver func(k transport.Kind, p []byte)

func (f receiver) Frame(k transport.Kind, p []byte) { f(k, p) }

// opened joins two ends, opens them and switches on; the target answers an ATR with
// three historical bytes and what answer says.
func opened(tb testing.TB, w bus.Options, controller, target t1.Options, answer func(p []byte) []byte) (*bus.Wire, transport.Link, frames) {
	wire, c, t := join(tb, w, controller, target)
	got := make(frames, 100)
	require.NoError(tb, c.Open(context.Background(), got))
	require.NoError(tb, t.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		switch k {
		case transport.PowerOn, transport.Reset:
			_ = t.Send(transport.ATR, unhex(tb, "3B D3 96 02 80 31 FE 41 53 53 50 E5"))
		case transport.Block:
			_ = t.Send(transport.Block, answer(p))
		}
	})))
	tb.Cleanup(func() { c.Close(); t.Close() })
	got.next(tb, transport.Inserted)
	require.NoError(tb, c.Send(transport.PowerOn, nil))
	require.Equal(tb, unhex(tb, "3B 83 80 01 53 53 50 52"), []byte(got.next(tb, transport.ATR)))
	return wire, c, got
}

// The bits that are not payload are few.
func TestEfficiency(t *testing.T) {
	for _, c := range []struct {
		wire bus.Options
		o    t1.Options
		want float64
	}{
		{bus.Options{}, t1.Options{}, 0.95},
		{bus.Options{Physical: bus.I2C}, t1.Options{}, 0.93},
		{bus.Options{}, t1.Options{IFS: 254}, 0.90},
		{bus.Options{Physical: bus.I2C}, t1.Options{IFS: 254}, 0.90},
	} {
		wire, l, got := opened(t, c.wire, c.o, c.o, echo)
		before := wire.Ledger()
		const n, size = 20, 2048
		p := bytes.Repeat([]byte("payload "), size/8)
		for range n {
			require.NoError(t, l.Send(transport.Block, p))
			require.Equal(t, string(p), got.next(t, transport.Block))
		}
		used := wire.Ledger().Sub(before)
		t.Logf("%s, INF %d: %.4f\n%s", used.Physical, max(c.o.IFS, 0), used.Efficiency(2*n*size), used.Report(2*n*size))
		require.Greater(t, used.Efficiency(2*n*size), c.want)
	}
}

func BenchmarkLink(b *testing.B) {
	for _, w := range []bus.Options{{}, {Physical: bus.I2C}} {
		b.Run(max(w.Physical, bus.SPI).String(), func(b *testing.B) {
			_, c, t := join(b, w, t1.Options{}, t1.Options{})
			n := 0
			require.NoError(b, c.Open(context.Background(), receiver(func(k transport.Kind, _ []byte) {
				if k == transport.Block {
					n++
				}
			})))
			require.NoError(b, t.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
				if k == transport.Block {
					_ = t.Send(k, p)
				}
			})))
			p := make([]byte, 256)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Send(transport.Block, p); err != nil {
					b.Fatal(err)
				}
			}
			require.NotZero(b, n)
		})
	}
}
