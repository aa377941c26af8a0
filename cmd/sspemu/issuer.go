package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/payment/issuer"
)

// defaultIssuer is where the issuer host listens.
const defaultIssuer = "127.0.0.1:8583"

func newIssuer() *cobra.Command {
	var listen, persona, limit string
	cmd := &cobra.Command{
		Use:   "issuer",
		Short: "Be the issuer host of payment cards: verify cryptograms, answer, send scripts",
		Long: `Serves HTTP for the cards of a persona of the payment bundle: verifies authorisation
request cryptograms, answers with the authorisation response cryptogram, and sends
issuer scripts with the next authorisation.

  POST /authorise            what sspemu emv --issuer sends
  GET  /cards                the cards, their PANs masked
  POST /cards/NAME/scripts   queues a script command for an application

It holds master keys, and asks nobody who he is: it listens on loopback addresses only.`,
		Example: `  sspemu issuer --persona my-card.yaml
  sspemu emv --issuer http://127.0.0.1:8583
  curl -H 'Content-Type: application/json' -d '{"command":"unblock-pin"}' http://127.0.0.1:8583/cards/debit/scripts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			most, err := minorUnits(limit)
			if err != nil {
				return usage(fmt.Errorf("--limit: %w", err))
			}
			p, err := paymentProfile(persona)
			if err != nil {
				return err
			}
			h, err := issuer.New(p, most)
			if err != nil {
				return err
			}
			host, _, err := net.SplitHostPort(listen)
			if err != nil {
				return usage(fmt.Errorf("--listen: %q: not of the form HOST:PORT", listen))
			}
			if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return usage(fmt.Errorf("--listen: %s is not a loopback address (the issuer host holds keys and asks nobody who he is)", listen))
			}
			return serveIssuer(cmd, listen, h)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", defaultIssuer, "where to listen, `HOST:PORT`; port 0 takes a free one")
	f.StringVar(&persona, "persona", "", "persona of the cards, a `FILE` (default: that of the built-in bundle)")
	f.StringVar(&limit, "limit", "0", "decline amounts above `AMOUNT`; 0 approves all")
	return cmd
}

func serveIssuer(cmd *cobra.Command, listen string, h http.Handler) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("issuer: %w (--listen HOST:PORT names another place)", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	fmt.Fprintf(cmd.OutOrStdout(), "issuer  http://%s\n\nready\n", l.Addr())
	select {
	case err := <-failed:
		return fmt.Errorf("issuer: %w", err)
	case <-cmd.Context().Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), 2*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("issuer: %w", err)
	}
	return nil
}
