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
	group(cmd, newPersonaPayment())
	return cmd
}

func newPersonaPayment() *cobra.Command {
	return &cobra.Command{
		Use:   "payment [FILE]",
		Short: "Print the public keys of the certification authorities of payment cards",
		Long: `Prints, as JSON, the public keys that a terminal needs for the cards of a persona:
registered application provider, index, modulus, exponent and the SHA-1 check sum of
EMV Book 2 table 30. Without FILE, those of the default persona. sspemu emv --ca reads
it.`,
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
			return printJSON(cmd.OutOrStdout(), list)
		},
	}
}

// authorityList is the file of --ca.
type authorityList struct {
	Schema      int         `json:"schema"`
	Authorities []authority `json:"authorities"`
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
