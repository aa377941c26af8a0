package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/acl"
	"github.com/sspemu/sspemu/transport/bridge"
	"github.com/sspemu/sspemu/transport/bus/buslink"
	"github.com/sspemu/sspemu/transport/i2c"
	"github.com/sspemu/sspemu/transport/iso7816"
	"github.com/sspemu/sspemu/transport/pigpio"
	"github.com/sspemu/sspemu/transport/spi"
)

// schemes are the links of this program, with the numbers of the profile.
func schemes(p *scl.Profile) []transport.Schemes {
	c := buslink.Config{SHDLC: terminal.SHDLCConfig(p)}
	return []transport.Schemes{iso7816.Schemes, acl.Schemes, spi.With(c), i2c.With(c), pigpio.With(c), bridge.With(c)}
}

// What --link takes, for help texts: links of the terminal's end, and of the SSP's. All
// of it is in docs/links.md.
const (
	toCards = "mem:, simspi:NAME or simi2c:NAME (a platform in this process), pcsc:READER, vpcd://HOST:PORT (as the reader), " +
		"serial:DEVICE, tcp://HOST:PORT, acl://HOST:PORT, spi:DEVICE, i2c:DEVICE, bridge:DEVICE (docs/links.md)"
	toReaders = "vpcd://HOST:PORT, ccid:[FILE], serial:DEVICE, serial:pty[:FILE], tcp://HOST:PORT, acl://HOST:PORT, " +
		"pigpio://HOST/i2c, bridge:DEVICE (docs/links.md)"
)

// memLink is the URL of the link inside this process.
const memLink = "mem:"

// pair starts the SSP at one end of a link in this process and gives the other one.
func (e *emulator) pair(ctx context.Context, link string) (transport.Link, error) {
	controller, target, err := transport.Pair(link, schemes(e.profile)...)
	if err != nil {
		return nil, usage(err)
	}
	return controller, e.attach(ctx, target)
}

// checkPair tells what is wrong with the URL of a link in this process.
func (x *either) checkPair(link string) error {
	p, err := x.settings.sclProfile()
	if err != nil {
		return err
	}
	if _, _, err := transport.Pair(link, schemes(p)...); err != nil {
		return usage(err)
	}
	return nil
}

// inside starts a platform for a link in this process.
func (x *either) inside(cmd *cobra.Command, link string) (*emulator, transport.Link, error) {
	x.api = off
	if err := x.checkPair(link); err != nil { // before anything starts
		return nil, nil, err
	}
	e, _, err := x.start(cmd)
	if err != nil {
		return nil, nil, err
	}
	l, err := e.pair(cmd.Context(), link)
	if err != nil {
		_ = e.Close()
		return nil, nil, err
	}
	return e, l, nil
}

// host opens a terminal host on a link to somewhere else.
func (x *either) host(ctx context.Context, cmd *cobra.Command, link string, wait time.Duration) (*terminal.Terminal, error) {
	l, p, err := x.outside(cmd, link)
	if err != nil {
		return nil, err
	}
	return terminal.Open(ctx, terminal.AsController(l, p, wait), p)
}

// outside is the terminal's end of a link to somewhere else, and the profile to use.
func (x *either) outside(cmd *cobra.Command, link string) (transport.Link, *scl.Profile, error) {
	if err := x.settings.foreign(cmd.Flags(), link); err != nil {
		return nil, nil, err
	}
	p, err := x.settings.sclProfile()
	if err != nil {
		return nil, nil, err
	}
	l, err := transport.Open(link, transport.Controller, schemes(p)...)
	if err != nil {
		return nil, nil, usage(err)
	}
	if x.settings.trace != "" {
		start := time.Now()
		tr := trace.New(func() time.Duration { return time.Since(start) })
		if _, err := x.settings.addTrace(tr, cmd.OutOrStdout()); err != nil { // lasts as long as the command
			return nil, nil, err
		}
		l = transport.Trace(l, transport.Controller, tr)
	}
	return l, p, nil
}

// someLink is the terminal's end of a link, to an SSP in this process or elsewhere; end
// ends what was started for it.
type someLink struct {
	transport.Link
	profile *scl.Profile
	end     func() error
}

func (x *either) link(cmd *cobra.Command, url string) (*someLink, error) {
	if transport.Inside(url) {
		e, l, err := x.inside(cmd, url)
		if err != nil {
			return nil, err
		}
		return &someLink{l, e.profile, e.Close}, nil
	}
	l, p, err := x.outside(cmd, url)
	if err != nil {
		return nil, err
	}
	return &someLink{l, p, func() error { return nil }}, nil
}
