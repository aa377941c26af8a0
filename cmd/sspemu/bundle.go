package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/primary/loader"
)

func newBundle() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "List, install and switch bundles; build one",
	}
	group(cmd, newBundleList(), newBundleInstall(), newBundlePack(),
		newLifecycle("enable", "enabled", "Let a bundle become active"),
		newLifecycle("disable", "disabled", "Keep a bundle from becoming active"),
		newLifecycle("activate", "active", "Make a bundle the active one"),
		newLifecycle("delete", "deleted", "Remove a bundle and its memory"),
	)
	return cmd
}

func newBundleList() *cobra.Command {
	var x either
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the bundles with their states",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return x.do(cmd, func(e console.Emulator) error {
				list, err := e.Bundles(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), console.Bundles{Schema: console.SchemaVersion, Bundles: list})
				}
				rows := [][]string{{"BUNDLE", "VERSION", "STATE", "ID", "NVM", "TITLE"}}
				for _, b := range list {
					rows = append(rows, []string{b.Name, b.Version, b.State, b.ID, strconv.Itoa(b.NVM), b.Title + problem(b)})
				}
				return table(cmd.OutOrStdout(), rows...)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	x.add(cmd.Flags())
	return cmd
}

func problem(b console.Bundle) string {
	if b.Problem == "" {
		return ""
	}
	return " (cannot run: " + b.Problem + ")"
}

// do runs f on the emulator that is meant.
func (x *either) do(cmd *cobra.Command, f func(e console.Emulator) error) error {
	e, _, end, err := x.open(cmd)
	if err != nil {
		return err
	}
	err = f(e)
	if cerr := end(); err == nil {
		err = cerr
	}
	return err
}

// result is what a lifecycle verb prints with --json.
type result struct {
	Schema int    `json:"schema"`
	Bundle string `json:"bundle"`
	State  string `json:"state"`
}

func (r result) print(cmd *cobra.Command, asJSON bool) error {
	r.Schema = console.SchemaVersion
	if asJSON {
		return printJSON(cmd.OutOrStdout(), r)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", r.Bundle, r.State)
	return err
}

func newLifecycle(verb, done, short string) *cobra.Command {
	var x either
	var asJSON bool
	cmd := &cobra.Command{
		Use:   verb + " ID",
		Short: short,
		Long:  short + ". ID is the name of the bundle or its firmware identifier.",
		Args:  exactly(1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return x.do(cmd, func(e console.Emulator) error {
				if err := e.Lifecycle(cmd.Context(), verb, args[0]); err != nil {
					return err
				}
				return result{Bundle: args[0], State: done}.print(cmd, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	x.add(cmd.Flags())
	return cmd
}

func newBundleInstall() *cobra.Command {
	var x either
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "install FILE",
		Short: "Install a package (.spb)",
		Long:  "Installs a package (.spb). A new bundle is disabled; one that is there is replaced and keeps its memory.",
		Args:  exactly(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spb, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("install: %w", err)
			}
			return x.do(cmd, func(e console.Emulator) error {
				b, err := e.Install(cmd.Context(), filepath.Base(args[0]), spb)
				if err != nil {
					return err
				}
				return result{Bundle: b.Name, State: b.State}.print(cmd, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	x.add(cmd.Flags())
	return cmd
}

func newBundlePack() *cobra.Command {
	var out string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pack DIR",
		Short: "Build the bundle in a directory and pack it",
		Long:  "Builds the bundle in DIR (docs/bundles.md) with Go or clang and writes a package. The same sources give the same bytes.",
		Args:  exactly(1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spb, err := loader.Build(args[0])
			if err != nil {
				return err
			}
			p, err := loader.Parse(spb)
			if err != nil {
				return err
			}
			if out == "" {
				out = p.Name + ".spb"
			}
			if err := os.WriteFile(out, spb, 0o644); err != nil {
				return fmt.Errorf("pack: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					Schema int             `json:"schema"`
					File   string          `json:"file"`
					Bytes  int             `json:"bytes"`
					Bundle loader.Manifest `json:"manifest"`
				}{console.SchemaVersion, out, len(spb), p.Manifest})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s, %d bytes\n", out, p.Name, p.Version, len(spb))
			return err
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to `FILE` (default: NAME.spb)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// exactly wants one argument and says what it is.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s: %s is needed and nothing else (%s --help)", cmd.Name(), what, cmd.CommandPath())
		}
		return nil
	}
}
