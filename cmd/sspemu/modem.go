package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/internal/tty"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/scl/terminal/modem"
)

func newModem() *cobra.Command {
	var (
		x            either
		link, listen string
		o            modem.Options
		timeout      time.Duration
	)
	cmd := &cobra.Command{
		Use:   "modem",
		Short: "Be a modem with the card behind it: AT+CSIM, AT+CCHO and the like on a PTY",
		Long: `Answers AT commands (3GPP TS 27.007) on a pseudo-terminal, whose path it prints, or on
TCP: those about the card, and those that clients send before them. It has no radio. The
card is the one on --link, the active bundle of a running serve, or a card in this
process. docs/modem.md has the commands.`,
		Example: `  sspemu modem --active iot
  sspemu modem --listen pty:/tmp/modem --link 'pcsc:My Reader'
  sspemu iot list --modem /tmp/modem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			kind, where, _ := strings.Cut(listen, ":")
			switch kind {
			case "pty":
			case "tcp":
				where = strings.TrimPrefix(where, "//")
				if err := loopback("listen", where, "whoever reaches it uses the card"); err != nil {
					return err
				}
			default:
				return usage(fmt.Errorf("--listen: %q is not pty:, pty:LINK or tcp:HOST:PORT", listen))
			}
			converse, _, end, err := x.terminal(cmd, link, timeout)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, end()) }()
			card := behindModem(converse)
			if err := card.Reset(cmd.Context()); err != nil {
				return fmt.Errorf("modem: %w", err)
			}
			o.Revision = version().Version
			o.Log = func(err error) { complain(cmd.ErrOrStderr(), fmt.Errorf("modem: card: %w", err)) }
			m := modem.New(card, o)
			if kind == "tcp" {
				return serveTCP(cmd, m, where)
			}
			p, err := tty.NewPTY(where)
			if err != nil {
				return fmt.Errorf("modem: %w", err)
			}
			if where == "" {
				where = p.Name
			}
			fmt.Fprintf(cmd.OutOrStdout(), "modem  %s\n\nready\n", where)
			if err := m.Serve(cmd.Context(), p); err != nil {
				return fmt.Errorf("modem: %s: %w", where, err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "pty:", "where devices find it: pty:, pty:`LINK` with a symbolic link to the PTY, or tcp:HOST:PORT")
	f.StringVar(&link, "link", "", "link to a card, a `URL`: "+toCards)
	f.BoolVar(&o.Fetch, "fetch", false, "the modem fetches what waits after 61XX, and repeats after 6CXX, as some do")
	f.BoolVar(&o.Bare, "bare", false, "AT+CCHO answers the number alone, as some do, not +CCHO: and the number")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for a card on --link")
	x.add(f)
	return cmd
}

// maxPorts is how many devices may be connected over TCP.
const maxPorts = 16

func serveTCP(cmd *cobra.Command, m *modem.Modem, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("modem: %w (--listen tcp:127.0.0.1:0 takes any free port)", err)
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	fmt.Fprintf(cmd.OutOrStdout(), "modem  tcp:%s\n\nready\n", l.Addr())
	free := make(chan struct{}, maxPorts)
	for {
		free <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("modem: %w", err)
		}
		running.Go(func() {
			defer func() { <-free }()
			_ = m.Serve(ctx, c) // the device has gone
		})
	}
}

// behindModem is the card of a modem, from what apdu sends with. The device, or the modem,
// fetches long answers.
type behindModem func(context.Context, console.APDURequest) (console.APDUResponse, error)

func (c behindModem) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	raw := func(ctx context.Context, r console.APDURequest) (console.APDUResponse, error) {
		r.Raw = true
		return c(ctx, r)
	}
	r, err := talker(raw).Transmit(ctx, capdu, dst)
	return r, noCard(err)
}

func (c behindModem) Reset(ctx context.Context) error {
	_, err := c(ctx, console.APDURequest{Reset: "cold"})
	return noCard(err)
}

func noCard(err error) error {
	if errors.Is(err, terminal.ErrNoCard) {
		return fmt.Errorf("%w: %w", modem.ErrNoCard, err)
	}
	return err
}

// openModem opens a modem's port for AT commands: a serial device, or tcp:HOST:PORT.
func openModem(ctx context.Context, where string) (io.ReadWriteCloser, error) {
	if address, ok := strings.CutPrefix(where, "tcp:"); ok {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", strings.TrimPrefix(address, "//"))
	}
	return tty.Open(where)
}

// modemCard is the card behind a modem, by AT+CSIM or by AT+CCHO and AT+CGLA.
type modemCard interface {
	Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error)
	Close() error
}

func dialModem(ctx context.Context, where, access string) (modemCard, error) {
	rw, err := openModem(ctx, where)
	if err != nil {
		return nil, fmt.Errorf("modem: %w", err)
	}
	te, err := modem.NewTE(ctx, rw)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", where, err), rw.Close())
	}
	if access == "cgla" {
		return &modem.CGLA{TE: te}, nil
	}
	return modem.CSIM{TE: te}, nil
}
