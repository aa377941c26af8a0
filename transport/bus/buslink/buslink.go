// Package buslink makes links of URLs that name a bus: which bus, and what is spoken
// on it.
//
//	spi: simspi: (transport/spi)    i2c: simi2c: (transport/i2c)
//	                 │ Real, Sim
//	              buslink ── ?protocol=t1prime ─> transport/t1      APDUs
//	                 │    ── ?protocol=shdlc ───> transport/shdlc   SCL packets
//	                 v
//	   bus.Controller, bus.Socket: a device of this host, or a simulated bus by name
//
// # Parameters
//
// Of all:
//
//	protocol=t1prime      or shdlc
//	vendor= ifs= retries= of T=1' (t1.OptionsOf)
//
// Of devices, spi:/dev/spidevBUS.CS and i2c:/dev/i2c-BUS:
//
//	hz=10000000           the most that is used; default 10 MHz on SPI, what the system says on I2C
//	mode=0                SPI: CPOL and CPHA, 0 to 3
//	addr=0x48             I2C: address of the chip
//	irq=GPIO25            its interrupt line, as periph.io names the pin
//	irqlevel=high         or low: when it is active
//	reset=GPIO24          its reset line, active low
//
// Of simulated buses, simspi:NAME and simi2c:NAME:
//
//	hz= mode= addr=       as above; default 10 MHz on SPI, 400 kHz on I2C
//	irq=off reset=off     the line is not there
//	guard=10us            least time between two accesses
//	seed=7                of the faults
//	ber=1e-4              chance of each bit to be wrong
//	nack=0.1              I2C: chance of an access that the address is not acknowledged
//	drop=0.01 dup=0.01    chance of an access to be missed by the target, or to happen to it twice
//	stretch=1ms:0.1       I2C: how long the target holds SCL, and the chance of that (default 1)
//	stuck=SDA:low:100:5   a line does not move, from access 100 for 5 accesses
//	cut=3000              the target loses its power at that byte, for 10 ms
package buslink

import (
	"slices"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/shdlc"
	"github.com/sspemu/sspemu/transport/t1"
)

// Config is what the protocols on a bus can be told by the program.
type Config struct {
	T1    t1.Options // what the URL does not say
	SHDLC shdlc.Config
}

// Default is what scl-profile-0 has.
func Default() Config { return Config{SHDLC: shdlc.Default()} }

// The values of the parameter protocol.
const (
	primeName = "t1prime"
	shdlcName = "shdlc"
)

// protocol is what the URL wants to speak, and the parameters that this has.
func protocol(u transport.URL) (name string, params []string, err error) {
	name, err = u.OneOf("protocol", primeName, shdlcName)
	params = []string{"protocol"}
	if name == primeName {
		params = append(params, t1.Params...)
	}
	return name, params, err
}

// controller makes the controller's end on the bus that dial opens.
func (c Config) controller(u transport.URL, name string, dial func() (bus.Controller, error)) (transport.Link, error) {
	if name == shdlcName {
		return shdlc.NewController(dial, c.SHDLC, u.String())
	}
	o, err := c.prime(u)
	if err != nil {
		return nil, err
	}
	return t1.NewController(dial, o, u.String())
}

// target makes the target's end at a place on a bus.
func (c Config) target(u transport.URL, name string, s bus.Socket) (transport.Link, error) {
	if name == shdlcName {
		return shdlc.NewTarget(s, c.SHDLC, u.String())
	}
	o, err := c.prime(u)
	if err != nil {
		return nil, err
	}
	return t1.NewTarget(s, o, u.String())
}

// prime is what T=1' is told: by the program, and by the URL.
func (c Config) prime(u transport.URL) (t1.Options, error) {
	o, err := t1.OptionsOf(u)
	o.CIP = c.T1.CIP
	return o, err
}

// Real is the controller's end on a bus that open opens, a device of this host whose
// URL may have params.
func (c Config) Real(u transport.URL, role transport.Role, params []string, open func() (bus.Controller, error)) (transport.Link, error) {
	if role == transport.Target {
		return nil, u.Errorf("an SPI or I2C device of Linux is the controller of its bus; the SSP's end is a Raspberry Pi's (pigpio:) or a microcontroller's (bridge:)")
	}
	name, own, err := protocol(u)
	if err != nil {
		return nil, err
	}
	if err := u.Only(slices.Concat(params, own)...); err != nil {
		return nil, err
	}
	return c.controller(u, name, open)
}

// Sim is one end of a link on a simulated bus of that kind. Both ends of a name meet
// in this process.
func (c Config) Sim(u transport.URL, role transport.Role, p bus.Physical) (transport.Link, error) {
	name, own, err := protocol(u)
	if err != nil {
		return nil, err
	}
	if err := u.Only(slices.Concat(simParams(p), own)...); err != nil {
		return nil, err
	}
	s, err := newSimulated(u, p)
	if err != nil {
		return nil, err
	}
	if role == transport.Target {
		return c.target(u, name, &place{s: s})
	}
	return c.controller(u, name, s.dial)
}

// Hz reads the parameter hz of a URL, or gives def.
func Hz(u transport.URL, def int64) (int64, error) {
	v, ok := u.Params["hz"]
	if !ok {
		return def, nil
	}
	n, err := hertz(v)
	if err != nil {
		return 0, u.Errorf("hz=%s: %w", v, err)
	}
	return n, nil
}

// Mode reads the parameter mode, the mode of SPI; 0 by default.
func Mode(u transport.URL) (uint8, error) {
	v, ok := u.Params["mode"]
	if !ok {
		return 0, nil
	}
	m, err := mode(v)
	if err != nil {
		return 0, u.Errorf("mode=%s: %w", v, err)
	}
	return m, nil
}

// Addr reads the parameter addr, an I2C address; 0x48 by default, as NXP's secure
// elements have it.
func Addr(u transport.URL) (uint16, error) {
	v, ok := u.Params["addr"]
	if !ok {
		return 0x48, nil
	}
	a, err := address(v)
	if err != nil {
		return 0, u.Errorf("addr=%s: %w", v, err)
	}
	return a, nil
}
