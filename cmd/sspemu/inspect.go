package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/transport"
)

// inspections are the subcommands of inspect, a line each.
var inspections = []func() *cobra.Command{
	newInspectMRTDCmd,
	newInspectMDLCmd,
	newInspectPIVCmd,
}

func newInspect() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Be an inspection system: read an identity document, verify and explain all",
		Long: `Reads an identity document, verifies what can be verified and explains each check in a
sentence, with the clause that asks for it. It exits with 1 when a check fails.

Without --link the card is the active bundle of the serve that is running, or, when none
is, the eID bundle in this process. --link pcsc:READER reads real documents as well.`,
	}
	var subs []*cobra.Command
	for _, f := range inspections {
		subs = append(subs, f())
	}
	group(cmd, subs...)
	return cmd
}

// inspectFlags are what all inspections have.
type inspectFlags struct {
	x       either
	link    string
	html    string
	at      string
	asJSON  bool
	timeout time.Duration
}

func (o *inspectFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.link, "link", "", "link to a card, a `URL`: "+toCards)
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.StringVar(&o.html, "html", "", "write the report to `FILE` as one page, with pictures; - is standard output")
	f.StringVar(&o.at, "at", "", "certificates and documents have to be valid at this date, `YYYY-MM-DD` (default: today)")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait for a card on --link")
	o.x.add(f)
}

// persona is the file that --persona names for the identity card, and whether it does.
func (o *inspectFlags) persona() (file string, named bool) {
	for _, p := range o.x.settings.personas {
		if f, ok := strings.CutPrefix(p, "eid="); ok {
			file, named = f, true
		}
	}
	return file, named
}

// date is the date of --at, or now.
func (o *inspectFlags) date() (time.Time, error) {
	if o.at == "" {
		return time.Now().UTC(), nil
	}
	t, err := time.Parse("2006-01-02", o.at)
	if err != nil {
		return t, usage(fmt.Errorf("--at: %q is not of the form YYYY-MM-DD", o.at))
	}
	return t, nil
}

// run inspects a card: look reads and verifies it, and fills the report, which is
// printed also when look ends with an error.
func (o *inspectFlags) run(cmd *cobra.Command, look func(ctx context.Context, card inspect.Card, r *inspect.Report) error) (err error) {
	if o.asJSON && o.html == "-" {
		return usage(errors.New("--json and --html -: give one of them"))
	}
	at, err := o.date()
	if err != nil {
		return err
	}
	if o.x.settings.active == "" && (o.link == "" || transport.Inside(o.link)) {
		o.x.settings.active = "eid"
	}
	converse, where, end, err := o.x.terminal(cmd, o.link, o.timeout)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := end(); err == nil {
			err = cerr
		}
	}()
	if _, err := converse(cmd.Context(), console.APDURequest{Reset: "cold"}); err != nil {
		return err
	}
	r := &inspect.Report{Target: where, Date: at}
	err = look(cmd.Context(), rawTalker(converse), r)
	if err == nil {
		err = r.Failed()
	}
	if perr := o.print(cmd, r); perr != nil {
		return perr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	return nil
}

// print writes the report in the forms that were asked for.
func (o *inspectFlags) print(cmd *cobra.Command, r *inspect.Report) error {
	out := cmd.OutOrStdout()
	if o.html != "" {
		var b bytes.Buffer
		if err := r.HTML(&b); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		if o.html == "-" {
			_, err := out.Write(b.Bytes())
			return err
		}
		if err := os.WriteFile(o.html, b.Bytes(), 0o600); err != nil { // it is somebody's identity
			return fmt.Errorf("--html: %w", err)
		}
	}
	if o.asJSON {
		return r.JSON(out)
	}
	return r.Text(out)
}

// rawTalker makes an inspect.Card of what apdu sends with; it leaves 61XX and 6CXX alone.
type rawTalker func(context.Context, console.APDURequest) (console.APDUResponse, error)

func (t rawTalker) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	a, err := t(ctx, console.APDURequest{APDUs: []string{hex.EncodeToString(capdu)}, Raw: true})
	if err != nil {
		return nil, err
	}
	if len(a.Exchanges) == 0 {
		return nil, errors.New("no answer came")
	}
	b, err := hex.DecodeString(a.Exchanges[len(a.Exchanges)-1].Response)
	return append(dst[:0], b...), err
}
