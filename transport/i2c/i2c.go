// Package i2c has the links on an I2C bus.
//
//	i2c:/dev/i2c-1?addr=0x48&irq=GPIO25&reset=GPIO24    a chip on this host, the terminal's end
//	simi2c:NAME?hz=400000&addr=0x48&stretch=1ms         a simulated bus in this process, both ends
//
//	Link ── T=1' or SHDLC (?protocol=) ── buslink ── bus.Controller ── periph.io ── i2c-dev
//	                                              └─ bus.Wire
//
// All parameters: go doc ./transport/bus/buslink.
//
// Sources: NXP UM10204 (I2C-bus specification); Linux,
// Documentation/i2c/dev-interface.rst.
package i2c

import (
	"slices"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/bus/buslink"
	"github.com/sspemu/sspemu/transport/bus/host"
)

// Schemes are i2c: and simi2c: with the numbers of scl-profile-0.
var Schemes = With(buslink.Default())

// With are i2c: and simi2c: with other numbers.
func With(c buslink.Config) transport.Schemes {
	return transport.Schemes{
		"i2c": func(u transport.URL, role transport.Role) (transport.Link, error) { return open(c, u, role) },
		"simi2c": func(u transport.URL, role transport.Role) (transport.Link, error) {
			return c.Sim(u, role, bus.I2C)
		},
	}
}

// open is the transport.Opener of i2c:/dev/i2c-BUS. Without hz the bus keeps the speed
// that the system gave it, and so it does where Linux cannot change it.
func open(c buslink.Config, u transport.URL, role transport.Role) (transport.Link, error) {
	if u.Host != "" || u.Path == "" {
		return nil, u.Errorf("write i2c:/dev/i2c-1?addr=0x48")
	}
	hz, err := buslink.Hz(u, 0)
	if err != nil {
		return nil, err
	}
	addr, err := buslink.Addr(u)
	if err != nil {
		return nil, err
	}
	params := slices.Concat([]string{"addr", "hz"}, host.PinParams)
	return c.Real(u, role, params, func() (bus.Controller, error) {
		b, err := host.I2C(u.Path)
		if err != nil {
			return nil, err
		}
		pins, err := host.Pins(u)
		if err != nil {
			_ = b.Close()
			return nil, err
		}
		ctl, err := bus.OverI2C(b, addr, hz, pins)
		if err != nil {
			_ = b.Close()
		}
		return ctl, err
	})
}
