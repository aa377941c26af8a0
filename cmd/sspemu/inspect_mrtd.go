package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/transport"
)

// inspectMRTDFlags are the flags of inspect mrtd.
type inspectMRTDFlags struct {
	inspectFlags
	mrz, document, birth, expiry string
	can, pin, pace               string
	anchors, terminalCerts       []string
	terminalKey                  string
	short                        bool
}

func newInspectMRTDCmd() *cobra.Command {
	var o inspectMRTDFlags
	cmd := &cobra.Command{
		Use:   "mrtd",
		Short: "Inspect a travel document: passport or identity card (ICAO Doc 9303)",
		Long: `Gets access to the chip of a travel document by PACE or BAC, reads all data groups that
the access allows, and verifies them: chip, active and terminal authentication, passive
authentication up to the CSCA, what is signed against what is not, the chip against the
machine readable zone that was shown. Every check is explained in a sentence with its
clause; it exits with 1 when one fails.

The password is what is printed on the document: --mrz, or --document with --birth and
--expiry, or --can. With both, PACE is done with the CAN and BAC with the MRZ.
--anchors are files or directories with certificates of CSCAs, CRLs, master lists, card
verifiable certificates and the private key of the terminal; sspemu persona eid --anchors
DIR writes such a directory.

Of a card in this process, or of one with --persona eid=FILE, password and trust anchors
are those of the persona when none are given. Nothing is changed on the document.`,
		Example: `  sspemu inspect mrtd --html report.html
  sspemu inspect mrtd --link 'pcsc:Virtual PCD' --can 123456 --anchors trust
  sspemu inspect mrtd --link 'pcsc:My Reader' --document L898902C3 --birth 740812 --expiry 360104
  sspemu inspect mrtd --pace "im P-256" --mrz "$(cat mrz.txt)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.config(cmd)
			if err != nil {
				return err
			}
			return o.run(cmd, func(ctx context.Context, card inspect.Card, r *inspect.Report) error {
				return mrtd.Inspect(ctx, card, c, r)
			})
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.mrz, "mrz", "", "machine readable `ZONE`, its lines one after the other, or its MRZ information")
	f.StringVar(&o.document, "document", "", "`NUMBER` of the document, with --birth and --expiry instead of --mrz")
	f.StringVar(&o.birth, "birth", "", "date of birth, `YYMMDD`")
	f.StringVar(&o.expiry, "expiry", "", "date of expiry, `YYMMDD`")
	f.StringVar(&o.can, "can", "", "card access `NUMBER`, for PACE")
	f.StringVar(&o.pin, "pin", "", "`PIN`, for PACE")
	f.StringVar(&o.pace, "pace", "", "PACE whose name has these `WORDS`, as in \"cam\" or \"gm 3des brainpoolP256r1\"; none: BAC (default: the strongest)")
	f.StringSliceVar(&o.anchors, "anchors", nil, "trust anchors: `FILES` or directories")
	f.StringVar(&o.terminalKey, "terminal-key", "", "private key of the terminal, PKCS #8, a `FILE`")
	f.StringSliceVar(&o.terminalCerts, "terminal-certs", nil, "card verifiable certificates down to the terminal's, `FILES`")
	f.BoolVar(&o.short, "short", false, "never use extended lengths")
	return cmd
}

// config makes the inspection system of the flags.
func (o *inspectMRTDFlags) config(cmd *cobra.Command) (c mrtd.Config, err error) {
	p := &c.Passwords
	fields := o.document != "" || o.birth != "" || o.expiry != ""
	switch {
	case o.mrz != "" && fields:
		return c, usage(errors.New("--mrz has what --document, --birth and --expiry say"))
	case o.mrz != "":
		if err := p.FromMRZ(o.mrz); err != nil {
			return c, usage(fmt.Errorf("--mrz: %w", err))
		}
	case fields:
		if o.document == "" || o.birth == "" || o.expiry == "" {
			return c, usage(errors.New("--document, --birth and --expiry are needed together"))
		}
		if err := p.FromFields(o.document, o.birth, o.expiry); err != nil {
			return c, usage(err)
		}
	}
	p.CAN, p.PIN, c.PACE, c.Short = o.can, o.pin, o.pace, o.short
	paths := append(append([]string{}, o.anchors...), o.terminalCerts...)
	if o.terminalKey != "" {
		paths = append(paths, o.terminalKey)
	}
	if len(paths) > 0 {
		if c.Anchors, c.Terminal, err = mrtd.Load(paths...); err != nil {
			return c, fmt.Errorf("trust anchors: %w", err)
		}
	}
	return c, o.ofPersona(&c)
}

// ofPersona takes password and trust anchors from the persona, where none were given.
func (o *inspectMRTDFlags) ofPersona(c *mrtd.Config) error {
	file, named := o.persona()
	none := c.Passwords.MRZ == "" && c.Passwords.CAN == "" && c.Passwords.PIN == ""
	if o.link != "" && !transport.Inside(o.link) && !named {
		if none {
			return usage(errors.New("the document wants a password that is printed on it: --mrz, --can, or --document with --birth and --expiry"))
		}
		return nil
	}
	if !none && c.Anchors != nil {
		return nil
	}
	doc, err := eidPersona(file)
	if err != nil {
		return err
	}
	if none {
		chip, err := issue.NewWith(doc, issue.Native)
		if err != nil {
			return fmt.Errorf("persona: %w", err)
		}
		c.Passwords.MRZ, c.Passwords.CAN = chip.Passwords.MRZ, chip.Passwords.CAN
	}
	if c.Anchors != nil {
		return nil
	}
	a, err := issue.Trust(doc)
	if err != nil {
		return fmt.Errorf("persona: trust anchors: %w", err)
	}
	c.Anchors, c.Terminal = &mrtd.Anchors{}, &mrtd.Terminal{}
	for _, f := range a.Files() {
		if err := c.Anchors.Add(c.Terminal, f.Name, f.Data); err != nil {
			return fmt.Errorf("persona: trust anchors: %s: %w", f.Name, err)
		}
	}
	return nil
}
