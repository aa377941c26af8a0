package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	device "github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/transport"
)

// newIoTAdministrate is the terminal of a card that visits its server.
func newIoTAdministrate() *cobra.Command {
	var o iotFlags
	cmd := &cobra.Command{
		Use:   "administrate [ENVELOPE...]",
		Short: "Carry a visit of the card to its server: the terminal of the bearer independent protocol",
		Long: `Gives the card the ENVELOPE commands (hexadecimal) that came for it, if any, and does what it
asks for until it is done: opens a TCP connection to the server and carries the octets. TLS
is between the card and the server. The card is not reset before: a trigger that it had
already (sspemu ota trigger) is enough.`,
		Example: `  sspemu ota trigger && sspemu iot administrate
  sspemu iot administrate $(sspemu ota trigger --print) --link 'pcsc:My Reader'`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var envelopes [][]byte
			for _, a := range args {
				b, err := hex.DecodeString(strings.ReplaceAll(a, " ", ""))
				if err != nil || len(b) < 5 || b[1] != 0xC2 {
					return usage(fmt.Errorf("%q is no ENVELOPE command in hexadecimal", a))
				}
				envelopes = append(envelopes, b)
			}
			if o.channel || o.aid != "" || o.modem != "" {
				return usage(errors.New("iot administrate: no applet is selected: without --channel, --aid and --modem"))
			}
			if o.x.settings.active == "" && (o.link == "" || transport.Inside(o.link)) {
				o.x.settings.active = "iot"
			}
			converse, _, end, err := o.x.terminal(cmd, o.link, o.timeout)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, end()) }()
			b := &device.Bearer{
				Transmit: func(ctx context.Context, capdu []byte) ([]byte, error) {
					return talker(func(ctx context.Context, r console.APDURequest) (console.APDUResponse, error) {
						r.Raw = true // 61xx and 91xx are ours
						return converse(ctx, r)
					}).Transmit(ctx, capdu, nil)
				},
				Tell: func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) },
			}
			sw, err := b.Profile(cmd.Context())
			for _, e := range envelopes {
				if err != nil {
					break
				}
				var r []byte
				if r, err = b.Transmit(cmd.Context(), e); err == nil {
					_, sw, _ = apdu.Status(r)
					fmt.Fprintf(cmd.ErrOrStderr(), "ENVELOPE: %04X\n", uint16(sw))
				}
			}
			switch {
			case err != nil:
			case sw == apdu.OK:
				err = errors.New("the card wants nothing (sspemu ota trigger has it visit its server)")
			default:
				err = b.Run(cmd.Context(), sw)
			}
			if err != nil {
				return fmt.Errorf("iot administrate: %w", err)
			}
			return nil
		},
	}
	o.add(cmd)
	return cmd
}
