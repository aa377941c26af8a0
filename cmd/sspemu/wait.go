package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
)

func newWait() *cobra.Command {
	var (
		r       remote
		what    string
		since   uint64
		timeout time.Duration
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Wait until serve is ready, a bundle is active or an event happens",
		Long: `Waits for the running serve, also for one that is only about to start:

  ready         it is ready
  active=ID     that bundle is active
  event=NAME    an event of that name happens from now on, or after --since

The names of events are: installed, enabled, disabled, personalised, activated,
deactivated, deleted, fault, and those that bundles tell by themselves. With --json
it prints the number of the last event, for --since.`,
		Example: `  sspemu serve & sspemu wait && opensc-tool --atr
  sspemu wait --for active=example --timeout 5s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := parseWait(what)
			if err != nil {
				return usage(err)
			}
			w.since, w.hasSince = since, cmd.Flags().Changed("since")
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			seq, err := w.wait(ctx, &r)
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				return fmt.Errorf("wait: %s: not within %s%s", what, timeout, w.seen)
			case err != nil:
				return fmt.Errorf("wait: %s: %w", what, err)
			case asJSON:
				return printJSON(cmd.OutOrStdout(), struct {
					Schema int    `json:"schema"`
					For    string `json:"for"`
					Seq    uint64 `json:"seq"`
				}{console.SchemaVersion, what, seq})
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&what, "for", "ready", "what to wait for: ready, active=ID or event=NAME")
	f.DurationVar(&timeout, "timeout", 30*time.Second, "give up after this time; 0 never does")
	f.Uint64Var(&since, "since", 0, "events after this `NUMBER` count")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	r.add(f)
	return cmd
}

// waiting is what is waited for.
type waiting struct {
	kind, value string
	since       uint64
	hasSince    bool
	seen        string // how things were when time was up
}

func parseWait(s string) (*waiting, error) {
	kind, value, ok := strings.Cut(s, "=")
	switch {
	case kind == "ready" && !ok, (kind == "active" || kind == "event") && value != "":
		return &waiting{kind: kind, value: value}, nil
	}
	return nil, fmt.Errorf("wait: --for %q: there are ready, active=ID and event=NAME", s)
}

// pollEvery is how often a serve that does not run yet is looked for.
const pollEvery = 20 * time.Millisecond

// wait gives the number of the last event.
func (w *waiting) wait(ctx context.Context, r *remote) (seq uint64, err error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	w.seen = " (no serve is running: start one with `sspemu serve`)"
	for {
		c, err := r.find(ctx)
		if err != nil && !errors.Is(err, console.ErrNotRunning) && ctx.Err() == nil {
			return 0, err
		}
		if c != nil {
			if seq, err = w.follow(ctx, c); !errors.Is(err, console.ErrEnded) {
				return seq, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// follow waits for it at a serve that runs.
func (w *waiting) follow(ctx context.Context, c *console.Client) (seq uint64, err error) {
	st, err := c.Status(ctx)
	if err != nil {
		return 0, err
	}
	w.seen = fmt.Sprintf(" (ready: %v, active: %q)", st.Ready, st.Active)
	since := st.Seq
	switch {
	case w.kind == "ready" && st.Ready:
		return st.Seq, nil
	case w.kind == "active":
		if active, err := w.isActive(ctx, c); err != nil || active {
			return st.Seq, err
		}
	case w.kind == "event" && w.hasSince:
		since = w.since
	}
	err = c.Events(ctx, since, func(e console.Event) bool {
		seq = e.Seq
		switch w.kind {
		case "ready":
			return e.Name == "ready"
		case "active":
			return e.Name == "activated" && (e.Bundle == w.value || strings.EqualFold(e.ID, w.value))
		}
		return e.Name == w.value
	})
	return seq, err
}

func (w *waiting) isActive(ctx context.Context, c *console.Client) (bool, error) {
	list, err := c.Bundles(ctx)
	if err != nil {
		return false, err
	}
	for _, b := range list {
		if b.State == "active" && (b.Name == w.value || strings.EqualFold(b.ID, w.value)) {
			return true, nil
		}
	}
	return false, nil
}
