package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/scl/terminal/proxy"
)

// Where the services of the active bundle are, unless the user says otherwise.
const (
	defaultHTTP = "127.0.0.1:8080"
	defaultCoAP = "127.0.0.1:5683"
)

// services are the services of the active bundle that serve opens to clients: a
// terminal at the other end of a link in this process carries them.
//
//	curl ── --http ── proxy.HTTP ──┐
//	                               ├── terminal.Terminal ══ mem: ══ SCL ── active SPB
//	coap-client ── --coap ── proxy.CoAP ┘
type services struct {
	http, coap, coaps  string
	psk, cert, key, ca string // files
}

func (s *services) add(f *pflag.FlagSet) {
	f.StringVar(&s.http, "http", defaultHTTP, "HTTP of the active bundle, `HOST:PORT` or off; port 0 takes a free one")
	f.StringVar(&s.coap, "coap", defaultCoAP, "CoAP of the active bundle over UDP, `HOST:PORT` or off")
	f.StringVar(&s.coaps, "coaps", off, "the same over DTLS, `HOST:PORT` or off")
	f.StringVar(&s.psk, "coaps-psk", "", "`FILE` of pre-shared keys for --coaps: lines IDENTITY:KEY, the key in hexadecimal")
	f.StringVar(&s.cert, "coaps-cert", "", "`FILE` with the certificate of the server for --coaps (PEM)")
	f.StringVar(&s.key, "coaps-key", "", "`FILE` with the key of that certificate (PEM)")
	f.StringVar(&s.ca, "coaps-client-ca", "", "`FILE` with the certificates that sign those of clients (PEM)")
}

// opened is what listens.
type opened struct {
	http  net.Listener
	coap  *net.UDPConn
	coaps *proxy.DTLSListener
}

func (o *opened) Close() {
	if o.http != nil {
		o.http.Close()
	}
	if o.coap != nil {
		o.coap.Close()
	}
	if o.coaps != nil {
		o.coaps.Close()
	}
}

// open takes the addresses. A default one that is taken is left out, and notes say
// so; one that the user has named is an error.
func (s *services) open(f *pflag.FlagSet, notes io.Writer) (o *opened, err error) {
	o = &opened{}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	if s.http != off {
		if o.http, err = net.Listen("tcp", s.http); err != nil {
			o.http = nil
			if err = refused(f, "http", s.http, err, notes); err != nil {
				return o, err
			}
		}
	}
	if s.coap != off {
		if o.coap, err = listenUDP(s.coap); err != nil {
			o.coap = nil
			if err = refused(f, "coap", s.coap, err, notes); err != nil {
				return o, err
			}
		}
	}
	if s.coaps == off {
		if s.psk+s.cert+s.key+s.ca != "" {
			return o, usage(errors.New("--coaps-psk, --coaps-cert, --coaps-key and --coaps-client-ca belong to --coaps HOST:PORT, which is off"))
		}
		return o, nil
	}
	conf, err := proxy.LoadDTLS(s.psk, s.cert, s.key, s.ca)
	if err != nil {
		return o, fmt.Errorf("--coaps: %w", err)
	}
	conf.Log = slog.New(slog.NewTextHandler(notes, nil))
	at, err := net.ResolveUDPAddr("udp", s.coaps)
	if err != nil {
		return o, refused(f, "coaps", s.coaps, err, notes)
	}
	if o.coaps, err = proxy.ListenDTLS(at, conf); err != nil {
		o.coaps = nil
		return o, fmt.Errorf("--coaps: %w", err)
	}
	return o, nil
}

func listenUDP(address string) (*net.UDPConn, error) {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// refused deals with an address that cannot be had.
func refused(f *pflag.FlagSet, flag, address string, err error, notes io.Writer) error {
	var at *net.AddrError
	switch {
	case errors.As(err, &at):
		return usage(fmt.Errorf("--%s: %q: not of the form HOST:PORT, nor off", flag, address))
	case f.Changed(flag) || !errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--%s: %w (port 0 takes any free one)", flag, err)
	}
	fmt.Fprintf(notes, "%s is taken, so there is no %s (--%s HOST:PORT names another place)\n", address, flag, flag)
	return nil
}

// start serves what is open, until end is called.
func (o *opened) start(e *emulator, failed chan<- error) (end func(), err error) {
	at := console.Services{}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	end = func() {
		cancel()
		running.Wait()
	}
	serve := func(name string, f func(*terminal.Terminal) error) error {
		t, err := e.terminalOn(context.Background(), memLink, "terminal "+name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		running.Go(func() {
			if err := f(t); err != nil && ctx.Err() == nil {
				select {
				case failed <- fmt.Errorf("%s: %w", name, err):
				default: // something else has failed already
				}
			}
		})
		return nil
	}
	if o.http != nil {
		at.HTTP = o.http.Addr().String()
		err = serve("HTTP", func(t *terminal.Terminal) error { return proxy.NewHTTP(t.HTTP()).Serve(ctx, o.http) })
	}
	if o.coap != nil && err == nil {
		at.CoAP = o.coap.LocalAddr().String()
		err = serve("CoAP", func(t *terminal.Terminal) error { return proxy.NewCoAP(t).Serve(ctx, o.coap) })
	}
	if o.coaps != nil && err == nil {
		at.CoAPS = o.coaps.Addr().String()
		err = serve("CoAP over DTLS", func(t *terminal.Terminal) error { return proxy.NewCoAP(t).ServeDTLS(ctx, o.coaps) })
	}
	if err != nil {
		end()
		return nil, err
	}
	e.mu.Lock()
	e.services = at
	e.mu.Unlock()
	return end, nil
}
