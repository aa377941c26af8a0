package shdlc

import (
	"testing"

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
