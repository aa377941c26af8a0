package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/scl"
)

// versionInfo says what this binary is.
type versionInfo struct {
	Schema   int      `json:"schema"`
	Version  string   `json:"version"`
	Revision string   `json:"revision,omitempty"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	ABI      string   `json:"bundle_abi"`
	Profile  string   `json:"scl_profile"`
	Bundles  []string `json:"bundles"`
}

func version() versionInfo {
	v := versionInfo{
		Schema: console.SchemaVersion, Version: "(devel)", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, ABI: loader.ABI, Bundles: bundles.Names(),
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		if b.Main.Version != "" {
			v.Version = b.Main.Version
		}
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print what this binary is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := version()
			v.Profile = scl.DefaultProfile().Name
			if asJSON {
				return printJSON(cmd.OutOrStdout(), v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "sspemu %s %s %s\nbundle ABI %s, %s, bundles: %s\n",
				v.Version, v.Go, v.Platform, v.ABI, v.Profile, strings.Join(v.Bundles, ", "))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
