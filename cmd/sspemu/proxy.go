package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/scl/terminal/proxy"
	"github.com/sspemu/sspemu/transport"
)

func newProxy() *cobra.Command {
	var (
		x    either
		link string
		s    = services{coaps: off}
		card string
		wait time.Duration
	)
	cmd := &cobra.Command{
		Use:   "proxy [flags] --link URL",
		Short: "Open the SSP at the other end of a link to HTTP, CoAP and PC/SC clients here",
		Long: `The terminal's side of HTTP and CoAP: opens local ports and carries what comes in
over the link to the active bundle. Links for APDUs, such as card readers, carry SCL
packets in TRANSACT DATA. --card shows the SSP as a card at another link: with that of
the virtual reader, PC/SC clients use an SSP that is on an SPI or I2C bus.

When the card changes or the link is lost, the next request goes to whatever is there
then. proxy prints where it listens and ready, and ends on SIGINT and SIGTERM.`,
		Example: `  sspemu proxy --link 'pcsc:Virtual PCD'
  sspemu proxy --link vpcd://127.0.0.1:35963 --http 127.0.0.1:8081 --coap off
  sspemu proxy --link simspi:bus --card vpcd://127.0.0.1:35963`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if link == "" {
				return usage(errors.New("proxy: --link URL is needed (docs/links.md has the links)"))
			}
			if s.http == off && s.coap == off && card == "" {
				return usage(errors.New("proxy: --http off and --coap off: nothing is left to do"))
			}
			l, err := x.link(cmd, link)
			if err != nil {
				return err
			}
			return errors.Join(serveProxy(cmd, &s, card, l, wait), l.end())
		},
	}
	f := cmd.Flags()
	f.StringVar(&link, "link", "", "link to the SSP, a `URL`: "+toCards)
	f.StringVar(&s.http, "http", defaultHTTP, "HTTP of the active bundle, `HOST:PORT` or off; port 0 takes a free one")
	f.StringVar(&s.coap, "coap", defaultCoAP, "CoAP of the active bundle over UDP, `HOST:PORT` or off")
	f.StringVar(&card, "card", "", "show the SSP as a card at another link, a `URL`: "+toReaders)
	f.DurationVar(&wait, "timeout", 10*time.Second, "how long to wait for a card and for its answers")
	x.settings.add(f)
	return cmd
}

func serveProxy(cmd *cobra.Command, s *services, card string, l *someLink, wait time.Duration) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	open, err := s.open(cmd.Flags(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer open.Close()
	if open.http == nil && open.coap == nil && card == "" {
		return errors.New("proxy: no port to listen on is left")
	}
	var outer transport.Link
	if card != "" {
		if outer, err = transport.Open(card, transport.Target, schemes(l.profile)...); err != nil {
			return usage(err)
		}
	}
	k := &keeper{ctx: ctx, l: l, wait: wait}
	if _, err := k.get(ctx); err != nil {
		return err
	}
	defer k.Close()
	failed := make(chan error, 3)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "link  %s\n", l)
	if open.http != nil {
		fmt.Fprintf(out, "http  http://%s\n", open.http.Addr())
		running.Go(func() { failed <- proxy.NewHTTP(terminal.NewHTTP(k.DialTCP)).Serve(ctx, open.http) })
	}
	if open.coap != nil {
		fmt.Fprintf(out, "coap  coap://%s\n", open.coap.LocalAddr())
		running.Go(func() { failed <- proxy.NewCoAP(k).Serve(ctx, open.coap) })
	}
	if outer != nil {
		fmt.Fprintf(out, "card  %s\n", outer)
		running.Go(func() { failed <- terminal.NewRelay(outer, k.APDU).Serve(ctx) })
	}
	fmt.Fprintln(out, "\nready")
	notify("READY=1")
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("proxy: %w", err)
	}
}

// keeper has a terminal at the end of a link, and another one when that is lost.
type keeper struct {
	ctx  context.Context // as long as terminals last
	l    *someLink
	wait time.Duration

	mu sync.Mutex
	t  *terminal.Terminal
}

// comingBack is how long a card may take that was there before: readers show that one
// went and another came.
const comingBack = 3 * time.Second

func (k *keeper) get(ctx context.Context) (*terminal.Terminal, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.t != nil
	if before {
		select {
		case <-k.t.Done():
			_ = k.t.Close()
		default:
			return k.t, nil
		}
	}
	for start := time.Now(); ; {
		t, err := terminal.Open(k.ctx, terminal.AsController(k.l.Link, k.l.profile, k.wait), k.l.profile)
		if err == nil {
			k.t = t
			return t, nil
		}
		if !before || time.Since(start) > comingBack {
			return nil, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close ends the terminal.
func (k *keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.t != nil {
		_ = k.t.Close()
	}
}

// DialTCP makes a connection to the active bundle.
func (k *keeper) DialTCP(ctx context.Context) (net.Conn, error) {
	t, err := k.get(ctx)
	if err != nil {
		return nil, err
	}
	return t.DialTCP(ctx)
}

// APDU opens an APDU channel of the active bundle.
func (k *keeper) APDU(ctx context.Context) (*terminal.Channel, error) {
	t, err := k.get(ctx)
	if err != nil {
		return nil, err
	}
	return t.APDU(ctx)
}

// OpenUDP opens a socket of the active bundle.
func (k *keeper) OpenUDP(ctx context.Context, recv func(peer netip.AddrPort, datagram []byte)) (*terminal.Datagrams, error) {
	t, err := k.get(ctx)
	if err != nil {
		return nil, err
	}
	return t.OpenUDP(ctx, recv)
}
