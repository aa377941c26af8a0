package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/transport"
)

func newAPDU() *cobra.Command {
	var (
		x       either
		link    string
		q       console.APDURequest
		anySW   bool
		asJSON  bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "apdu [flags] HEX...",
		Short: "Send command APDUs to the active bundle",
		Long: `Sends command APDUs and prints the responses, with status words in words.

Without --link the commands go to the active bundle of the serve that is running,
or, when none is, to an ephemeral platform in this process. What waits after 61XX
is fetched with GET RESPONSE, and a command that is answered with 6CXX is sent
again with the right Le; --raw leaves that out.

The exit code is 1 when a status word is none of 9000, 61XX and 91XX, unless --any
is given.`,
		Example: `  sspemu apdu 00A40004023F00
  sspemu apdu --link 'pcsc:Virtual PCD' 00A4040007A0000000871002
  sspemu apdu --reset cold`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && q.Reset == "" {
				return fmt.Errorf("apdu: no command given (for example sspemu apdu 00A40004023F00)")
			}
			_, err := parseCommands(args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			q.APDUs = args
			converse, where, end, err := x.terminal(cmd, link, timeout)
			if err != nil {
				return err
			}
			defer func() {
				if cerr := end(); err == nil {
					err = cerr
				}
			}()
			a, err := converse(cmd.Context(), q)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), struct {
					Target string `json:"target"`
					console.APDUResponse
				}{where, a})
			} else {
				err = printExchanges(cmd.OutOrStdout(), a)
			}
			if err != nil || anySW {
				return err
			}
			return checkStatus(a)
		},
	}
	f := cmd.Flags()
	f.StringVar(&link, "link", "", "link to a card instead, a `URL`: "+toCards)
	f.BoolVar(&anySW, "any", false, "every status word is fine")
	f.BoolVar(&q.Raw, "raw", false, "send these commands only: no GET RESPONSE, no second try")
	f.StringVar(&q.Reset, "reset", "", "reset the card first: `cold` or warm")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for a card on --link")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	x.add(f)
	return cmd
}

// terminal is what commands are sent with: a link, or the emulator.
func (x *either) terminal(cmd *cobra.Command, link string, timeout time.Duration) (converse func(context.Context, console.APDURequest) (console.APDUResponse, error), where string, end func() error, err error) {
	switch {
	case link == "":
		e, where, end, err := x.open(cmd)
		if err != nil {
			return nil, "", nil, err
		}
		return e.APDU, where, end, nil
	case transport.Inside(link):
		e, l, err := x.inside(cmd, link)
		if err != nil {
			return nil, "", nil, err
		}
		p, err := dial(cmd.Context(), l, timeout)
		if err != nil {
			return nil, "", nil, errors.Join(err, e.Close())
		}
		return p.converse, link, func() error { return errors.Join(p.Close(), e.Close()) }, nil
	}
	l, _, err := x.outside(cmd, link)
	if err != nil {
		return nil, "", nil, err
	}
	p, err := dial(cmd.Context(), l, timeout)
	if err != nil {
		return nil, "", nil, err
	}
	return p.converse, link, p.Close, nil
}

// dial opens the terminal's end of a link and waits for a card.
func dial(ctx context.Context, l transport.Link, timeout time.Duration) (*port, error) {
	p, err := openPort(ctx, l)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := p.waitForCard(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// maxLine is how many bytes of data a line shows.
const maxLine = 32

func printExchanges(w io.Writer, a console.APDUResponse) error {
	if a.ATR != "" {
		fmt.Fprintf(w, "ATR %s\n", spaced(a.ATR))
	}
	for _, x := range a.Exchanges {
		fmt.Fprintf(w, "> %s", spaced(x.Command))
		if x.Name != "" {
			fmt.Fprintf(w, "  %s", x.Name)
		}
		fmt.Fprintln(w)
		data := strings.TrimSuffix(x.Response, x.SW)
		for len(data) > 0 {
			n := min(len(data), 2*maxLine)
			fmt.Fprintf(w, "< %s\n", spaced(data[:n]))
			data = data[n:]
		}
		if _, err := fmt.Fprintf(w, "< %s  %s\n", spaced(x.SW), x.Words); err != nil {
			return err
		}
	}
	return nil
}

// checkStatus is an error when a command failed; 61XX and 6CXX that were followed
// are not the end of a command.
func checkStatus(a console.APDUResponse) error {
	for i, x := range a.Exchanges {
		followed := strings.HasPrefix(x.SW, "6C") && i+1 < len(a.Exchanges) && sameHeader(x, a.Exchanges[i+1])
		switch {
		case x.SW == "9000", followed, strings.HasPrefix(x.SW, "61"), strings.HasPrefix(x.SW, "91"):
		default:
			return fmt.Errorf("command %s: status %s: %s (--any accepts every status)", x.Command, x.SW, x.Words)
		}
	}
	return nil
}

func sameHeader(a, b console.Exchange) bool {
	return len(a.Command) == 10 && len(b.Command) == 10 && a.Command[:8] == b.Command[:8]
}
