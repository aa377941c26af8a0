package spectests_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/shdlc"
	"github.com/sspemu/sspemu/transport/t1"
)

// onBus is a link on a simulated bus whose ledger can be read.
var onBus = []struct {
	name  string
	wire  bus.Options
	prime bool
}{
	{name: "SPI t1prime", prime: true},
	{name: "SPI shdlc"},
	{name: "I2C t1prime", wire: bus.Options{Physical: bus.I2C}, prime: true},
	{name: "I2C shdlc", wire: bus.Options{Physical: bus.I2C}},
}

func busPair(tb testing.TB, o bus.Options, prime bool) (w *bus.Wire, controller, target transport.Link) {
	w, err := bus.NewWire(o)
	require.NoError(tb, err)
	if prime {
		controller, err = t1.NewController(w.Controller, t1.Options{}, w.String())
		require.NoError(tb, err)
		target, err = t1.NewTarget(w.Socket(), t1.Options{}, w.String())
	} else {
		controller, err = shdlc.NewController(w.Controller, shdlc.Default(), w.String())
		require.NoError(tb, err)
		target, err = shdlc.NewTarget(w.Socket(), shdlc.Default(), w.String())
	}
	require.NoError(tb, err)
	return w, controller, target
}

// BenchmarkEfficiency sends commands of 2 KiB that a bundle echoes over a simulated
// bus and tells what part of the bit times on the wire was payload, and what the rest
// was lost to. It is virtual time: the same in every run, on every machine.
func BenchmarkEfficiency(b *testing.B) {
	for _, l := range onBus {
		b.Run(l.name, func(b *testing.B) {
			const size = 2048
			w, exchange := echoOnBus(b, l.wire, l.prime)
			command := echoCommand(size)
			before := w.Ledger()
			for b.Loop() {
				exchange(command)
			}
			used := w.Ledger().Sub(before)
			payload := int64(2 * size * b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(used.Efficiency(payload), "payload/all")
			b.Logf("%s\n%s", l.name, used.Report(payload))
		})
	}
}

// BenchmarkBus tells what an exchange of 256 octets over a simulated bus costs in real
// time: both ends, SCL and bundle.
func BenchmarkBus(b *testing.B) {
	for _, l := range onBus {
		b.Run(l.name, func(b *testing.B) {
			_, exchange := echoOnBus(b, l.wire, l.prime)
			command := echoCommand(256)
			b.ReportAllocs()
			for b.Loop() {
				exchange(command)
			}
		})
	}
}

func echoCommand(n int) []byte {
	c := apdu.Command{CLA: 0x80, INS: 0xEC, Data: make([]byte, n), Ne: n, Extended: true}
	return c.Append(nil)
}

func echoOnBus(b *testing.B, o bus.Options, prime bool) (*bus.Wire, func(command []byte)) {
	s := serveServices(b, vm.Limits{})
	w, controller, target := busPair(b, o, prime)
	s.attach(b, target)
	send := channel
	if prime {
		send = reader
	}
	exchange := send(b, controller)
	var out []byte
	return w, func(command []byte) {
		var err error
		if out, err = exchange(context.Background(), command, out[:0]); err != nil || len(out) != len(command)-7 {
			b.Fatalf("%d octets came back, %v", len(out), err)
		}
	}
}
