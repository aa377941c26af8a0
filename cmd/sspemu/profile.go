package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/scl"
)

func newProfile() *cobra.Command {
	var (
		file   string
		asJSON bool
		asYAML bool
	)
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Print the SCL profile with source and confidence of every entry",
		Long: `Prints the numbers of the SSP Common Layer: identifiers of gates, instructions,
header widths. Each has its source and a confidence (verified, inferred, from-memory
or chosen). serve --scl-profile FILE replaces them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asYAML && (asJSON || file != "") {
				return usage(errors.New("--yaml prints the built-in file as it is: no --json and no --scl-profile with it"))
			}
			if asYAML {
				_, err := cmd.OutOrStdout().Write(scl.DefaultProfileFile())
				return err
			}
			p := scl.DefaultProfile()
			if file != "" {
				var err error
				if p, err = scl.LoadProfile(file); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return printJSON(out, toProfile(p))
			}
			fmt.Fprintf(out, "%s%s\n\n", p.Name, provisional(p.Provisional))
			rows := [][]string{{"NAME", "VALUE", "CONFIDENCE", "SOURCE"}}
			for _, e := range p.Entries() {
				source := e.Source
				if e.Note != "" {
					source += "; " + e.Note
				}
				rows = append(rows, []string{e.Name, fmt.Sprintf("0x%02X", e.Value), string(e.Confidence), source})
			}
			return table(out, rows...)
		},
	}
	cmd.Flags().StringVar(&file, "scl-profile", "", "print this `FILE` instead of the built-in profile")
	cmd.Flags().BoolVar(&asYAML, "yaml", false, "print the file of the built-in profile, to be changed and given to serve --scl-profile")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func toProfile(p *scl.Profile) console.Profile {
	out := console.Profile{Schema: console.SchemaVersion, Name: p.Name, Provisional: p.Provisional}
	for _, e := range p.Entries() {
		out.Entries = append(out.Entries, console.ProfileEntry{
			Name: e.Name, Value: e.Value, Source: e.Source, Confidence: string(e.Confidence), Note: e.Note,
		})
	}
	return out
}
