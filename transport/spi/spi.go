// Package spi has the links on an SPI bus.
//
//	spi:/dev/spidev0.0?hz=10000000&mode=0&irq=GPIO25&reset=GPIO24    a chip on this host, the terminal's end
//	simspi:NAME?hz=1000000&ber=1e-4&seed=7                           a simulated bus in this process, both ends
//
//	Link ── T=1' or SHDLC (?protocol=) ── buslink ── bus.Controller ── periph.io ── spidev
//	                                              └─ bus.Wire
//
// All parameters: go doc ./transport/bus/buslink.
//
// Sources: Linux, Documentation/spi/spidev.rst; SPI itself has no standard.
package spi

import (
	"slices"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/bus/buslink"
	"github.com/sspemu/sspemu/transport/bus/host"
)

// Schemes are spi: and simspi: with the numbers of scl-profile-0.
var Schemes = With(buslink.Default())

// With are spi: and simspi: with other numbers.
func With(c buslink.Config) transport.Schemes {
	return transport.Schemes{
		"spi": func(u transport.URL, role transport.Role) (transport.Link, error) { return open(c, u, role) },
		"simspi": func(u transport.URL, role transport.Role) (transport.Link, error) {
			return c.Sim(u, role, bus.SPI)
		},
	}
}

// defaultHz is what T=1' may go up to; it begins with 1 MHz and asks the chip.
const defaultHz = 10_000_000

// open is the transport.Opener of spi:/dev/spidevBUS.CS.
func open(c buslink.Config, u transport.URL, role transport.Role) (transport.Link, error) {
	if u.Host != "" || u.Path == "" {
		return nil, u.Errorf("write spi:/dev/spidev0.0")
	}
	hz, err := buslink.Hz(u, defaultHz)
	if err != nil {
		return nil, err
	}
	mode, err := buslink.Mode(u)
	if err != nil {
		return nil, err
	}
	params := slices.Concat([]string{"hz", "mode"}, host.PinParams)
	return c.Real(u, role, params, func() (bus.Controller, error) {
		port, err := host.SPI(u.Path)
		if err != nil {
			return nil, err
		}
		pins, err := host.Pins(u)
		if err != nil {
			_ = port.Close()
			return nil, err
		}
		ctl, err := bus.OverSPI(port, hz, mode, pins)
		if err != nil {
			_ = port.Close()
		}
		return ctl, err
	})
}
