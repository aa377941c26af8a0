package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	reader "github.com/sspemu/sspemu/bundles/eid/inspect/piv"
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/transport"
)

// inspectPIVFlags are the flags of inspect piv.
type inspectPIVFlags struct {
	inspectFlags
	pin     string
	anchors []string
}

func newInspectPIVCmd() *cobra.Command {
	var o inspectPIVFlags
	cmd := &cobra.Command{
		Use:   "piv",
		Short: "Inspect a PIV card (NIST SP 800-73)",
		Long: `Reads a PIV card and verifies it: card holder unique identifier and its signature,
certificates and what they say about the card, the security object, and by a challenge that
the card has the private key of each certificate. Every check is explained in a sentence
with its clause; it exits with 1 when one fails.

--pin opens what needs the PIN: the keys of slots 9A, 9C, 9D and the printed information. A
wrong PIN costs a try; with one try left it is not sent. --anchors are files or directories
with certificates of issuing authorities and CRLs, PEM or DER.

Of a card in this process, or of one with --persona eid=FILE, PIN and trust anchor are those
of the persona when none are given. Nothing is changed on the card.`,
		Example: `  sspemu inspect piv
  sspemu inspect piv --link 'pcsc:My Reader' --pin 123456 --html card.html
  sspemu inspect piv --link 'pcsc:My Reader' --anchors issuers`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := reader.Config{PIN: o.pin}
			if o.pin != "" && (len(o.pin) < 6 || len(o.pin) > 8) {
				return usage(errors.New("--pin: a PIN has 6 to 8 digits"))
			}
			if len(o.anchors) > 0 {
				a, _, err := mrtd.Load(o.anchors...)
				if err != nil {
					return fmt.Errorf("trust anchors: %w", err)
				}
				c.Anchors = &a.Store
			}
			if err := o.ofPersona(&c); err != nil {
				return err
			}
			return o.run(cmd, func(ctx context.Context, card inspect.Card, r *inspect.Report) error {
				return reader.Inspect(ctx, card, c, r)
			})
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.pin, "pin", "", "`PIN` of the application")
	f.StringSliceVar(&o.anchors, "anchors", nil, "certificates of issuing authorities: `FILES` or directories")
	return cmd
}

// ofPersona takes PIN and trust anchor from the persona, where none were given.
func (o *inspectPIVFlags) ofPersona(c *reader.Config) error {
	file, named := o.persona()
	if o.link != "" && !transport.Inside(o.link) && !named {
		return nil
	}
	doc, err := eidPersona(file)
	if err != nil {
		return err
	}
	section := doc.Get("piv")
	if !section.Exists() {
		return nil
	}
	if c.PIN == "" {
		c.PIN = section.Get("pin").Get("value").Text()
	}
	if c.Anchors != nil {
		return nil
	}
	der, err := piv.Anchor(section, seedOf(doc))
	if err != nil {
		return fmt.Errorf("persona: trust anchor: %w", err)
	}
	anchor, err := pki.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("persona: trust anchor: %w", err)
	}
	c.Anchors = &pki.Store{Anchors: []*pki.Certificate{anchor}}
	return nil
}
