package terminal

import (
	"time"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/shdlc"
	"github.com/sspemu/sspemu/transport/tunnel"
)

// TunnelConfig is what the profile says of packets over links that carry APDUs only.
func TunnelConfig(p *scl.Profile) tunnel.Config {
	c, t := tunnel.Default(), &p.Tunnel
	c.CLA, c.INS, c.Session, c.Data, c.Abort = t.CLA, t.INS, t.Session, t.Data, t.Abort
	c.Tag, c.Pending, c.Ongoing = t.Tag, t.Pending, t.Ongoing
	c.Command, c.Response, c.MTU = t.Command, t.Response, t.MTU
	return c
}

// SHDLCConfig is what the profile says of SHDLC on SPI and I2C.
func SHDLCConfig(p *scl.Profile) shdlc.Config {
	l := &p.LLC
	return shdlc.Config{
		Window: l.Window, SREJ: l.SREJ == 1, MaxLPDU: l.MaxLPDU,
		T2: time.Duration(l.T2) * time.Millisecond, T3: time.Duration(l.T3) * time.Millisecond,
		ResetTries: l.ResetTries, Retries: l.Retries,
		LengthOctets: p.MAC.LengthOctets, Poll: time.Duration(p.MAC.Poll) * time.Microsecond,
	}
}

// AsTarget is the SSP's end of a link, such that it carries packets: in a tunnel if
// it does not by itself.
func AsTarget(l transport.Link, p *scl.Profile) transport.Link {
	if _, ok := l.(transport.PacketCarrier); ok {
		return l
	}
	return tunnel.Target(l, TunnelConfig(p))
}

// AsController is the terminal's end, likewise; wait bounds how long a card may take,
// 0: as the profile has it.
func AsController(l transport.Link, p *scl.Profile, wait time.Duration) transport.Link {
	if _, ok := l.(transport.PacketCarrier); ok {
		return l
	}
	c := TunnelConfig(p)
	if wait > 0 {
		c.Timeout = wait
	}
	return tunnel.Controller(l, c)
}
