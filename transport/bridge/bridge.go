// Package bridge reaches an SPI or I2C bus through a board: a microcontroller on USB,
// or another computer, that has the wires and speaks the framing of docs/bridge.md.
//
//	SSP ── bridge: ──USB, TCP, Unix socket── board ~~ SPI, I2C, IRQ, RST ~~ controller
//	   bus.Socket                            target
//
//	terminal ── bridge: ─────────────────── board ~~ SPI, I2C, IRQ, RST ~~ chip
//	   bus.Controller                        controller
//
//	frame.go        COBS, checksum, resynchronisation
//	message.go      what the frames say
//	session.go      one connection: version handshake, reading, writing
//	socket.go       our end with a board that is a target
//	controller.go   our end with a board that is a controller
//	board.go        a board in Go, both roles
//	stream.go       serial device, TCP, Unix socket
//	micropython/    a board for MicroPython, as an I2C target
//
// Sources: the framing is ours; COBS is S. Cheshire, M. Baker, "Consistent Overhead
// Byte Stuffing" (1997); the checksum is CRC-16/IBM-3740.
package bridge

import (
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/bus/buslink"
)

// Params are the parameters of a bridge: URL beside those of the protocol.
var Params = []string{"addr", "bus", "hz"}

// With are the links of this package:
//
//	bridge:/dev/ttyACM0[?bus=i2c|spi][&addr=0x48][&hz=400000]
//	bridge:unix:/PATH[?...]
//	bridge://HOST:PORT[?...]
//
// The role of the link is the role that the board has to have. addr is that of an I2C
// target, hz is for a board that is a controller.
func With(c buslink.Config) transport.Schemes {
	return transport.Schemes{"bridge": func(u transport.URL, role transport.Role) (transport.Link, error) {
		p, err := newPlace(u)
		if err != nil {
			return nil, err
		}
		if role == transport.Target {
			return c.Place(u, Params, &socket{place: p})
		}
		return c.Real(u, role, Params, p.dial)
	}}
}

// Schemes is With the numbers of scl-profile-0.
var Schemes = With(buslink.Default())

// place is where a board is, and what it has to be.
type place struct {
	url  string
	open opener
	want hello
}

func newPlace(u transport.URL) (*place, error) {
	open, err := newOpener(u)
	if err != nil {
		return nil, err
	}
	p := &place{url: u.String(), open: open}
	kind, err := u.OneOf("bus", "i2c", "spi")
	if err != nil {
		return nil, err
	}
	if p.want.physical = bus.I2C; kind == "spi" {
		p.want.physical = bus.SPI
		if _, ok := u.Params["addr"]; ok {
			return nil, u.Errorf("addr= is for I2C")
		}
	} else if p.want.addr, err = buslink.Addr(u); err != nil {
		return nil, err
	}
	hz, err := buslink.Hz(u, 0)
	if err != nil {
		return nil, err
	}
	p.want.hz = uint32(hz)
	return p, nil
}
