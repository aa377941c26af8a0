package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/primary/loader"
)

func newPersona() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "persona",
		Short: "Print what belongs to a persona outside of the card",
	}
	group(cmd, newPersonaPayment(), newPersonaEID())
	return cmd
}

func newPersonaPayment() *cobra.Command {
	var keysOnly bool
	cmd := &cobra.Command{
		Use:   "payment [FILE]",
		Short: "Print what a terminal needs for payment cards: keys of certification authorities, AIDs",
		Long: `Prints, as JSON, what a terminal needs for the cards of a persona: the public keys of the
certification authorities (registered application provider, index, modulus, exponent and
the SHA-1 check sum of EMV Book 2 11.2.2), and the applications. Without FILE, those of
the default persona. sspemu emv --ca reads it. Nothing that is secret is in it.`,
		Example: `  sspemu persona payment > ca.json
  sspemu emv --link 'pcsc:Virtual PCD' --ca ca.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := paymentProfile(strings.Join(args, ""))
			if err != nil {
				return err
			}
			list := authorityList{Schema: 1}
			for i := range p.Authorities {
				a := &p.Authorities[i]
				k, err := p.AuthorityKey(rsakey.Generate, a)
				if err != nil {
					return fmt.Errorf("persona: authority %X %02X: %w", a.RID, a.Index, err)
				}
				sum := oda.Hash(a.RID[:], []byte{a.Index}, k.Modulus, k.Exponent)
				list.Authorities = append(list.Authorities, authority{
					RID: profile.Hex(a.RID[:]), Index: profile.Hex([]byte{a.Index}), Modulus: profile.Hex(k.Modulus), Exponent: profile.Hex(k.Exponent), CheckSum: profile.Hex(sum[:]),
				})
			}
			for _, a := range p.Applications {
				if !keysOnly {
					list.Applications = append(list.Applications, application{AID: profile.Hex(a.AID), Label: a.Label})
				}
			}
			return printJSON(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().BoolVar(&keysOnly, "ca", false, "the keys only")
	return cmd
}

// authorityList is the file of --ca.
type authorityList struct {
	Schema       int           `json:"schema"`
	Authorities  []authority   `json:"authorities"`
	Applications []application `json:"applications,omitempty"`
}

// application is one that a terminal may know.
type application struct {
	AID   string `json:"aid"`
	Label string `json:"label"`
}

// authority is one public key; all of it hexadecimal.
type authority struct {
	RID      string `json:"rid"`
	Index    string `json:"index"`
	Modulus  string `json:"modulus"`
	Exponent string `json:"exponent"`
	CheckSum string `json:"sha1,omitempty"`
}

// paymentProfile is the persona in file, "" for that of the built-in bundle.
func paymentProfile(file string) (*profile.Profile, error) {
	spb, err := bundles.Open("payment")
	if err != nil {
		return nil, err
	}
	pkg, err := loader.Parse(spb)
	if err != nil {
		return nil, err
	}
	yaml, name := pkg.DefaultPersona, "payment default persona"
	if file != "" {
		name = file
		if yaml, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("persona: %w", err)
		}
	}
	p, err := profile.FromYAML(yaml, name, pkg.Schema)
	if err != nil {
		return nil, fmt.Errorf("persona: %w", err)
	}
	return p, nil
}

var errNoAuthority = errors.New("no certification authority")
