package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
)

func newInspectMRTDCmd() *cobra.Command {
	var o inspectFlags
	cmd := &cobra.Command{
		Use:   "mrtd",
		Short: "Inspect a travel document (ICAO Doc 9303)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, func(ctx context.Context, card inspect.Card, r *inspect.Report) error {
				return mrtd.Inspect(ctx, card, mrtd.Config{}, r)
			})
		},
	}
	o.add(cmd)
	return cmd
}
