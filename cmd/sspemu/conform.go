package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	spectests "github.com/sspemu/sspemu/spec-tests"
	"github.com/sspemu/sspemu/transport"
)

// conformance is one run of conform.
type conformance struct {
	link, pkg, persona, profile, bundle string
	suites                              []string
	junit, html                         string
	timeout                             time.Duration
	all, asJSON                         bool
}

func newConform() *cobra.Command {
	var c conformance
	cmd := &cobra.Command{
		Use:   "conform",
		Short: "Play the conformance suites and report by clause",
		Long: `Plays the conformance suites in this process, each on the bundle that it is about,
or over --link on any card, those of one bundle. A case passes, fails (with the
dialogue), is provisional (it passed, but an unverified code point decides it) or not
covered. The exit code is 1 when a case fails.`,
		Example: `  sspemu conform --junit report.xml --html report.html
  sspemu conform --bundle payment
  sspemu conform --link 'pcsc:Virtual PCD' --suite ts102221`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&c.link, "link", memLink, "link to the card, a `URL`: "+toCards)
	f.StringArrayVar(&c.suites, "suite", nil, "play this suite only, a `NAME` or its beginning; may be repeated")
	f.StringVar(&c.bundle, "bundle", "", "play the suites of the bundle `NAME` only")
	f.StringVar(&c.pkg, "package", "", "test the bundle in this `FILE` (.spb) instead of the built-in one")
	f.StringVar(&c.persona, "persona", "", "persona of the card, a `FILE`: says what keys and PINs it has")
	f.StringVar(&c.profile, "scl-profile", "", "SCL profile to use instead of the built-in one, a `FILE`")
	f.StringVar(&c.junit, "junit", "", "write a JUnit report to `FILE`")
	f.StringVar(&c.html, "html", "", "write an HTML report to `FILE`")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to wait for a card on --link")
	f.BoolVar(&c.all, "all", false, "print the cases that passed, too")
	f.BoolVar(&c.asJSON, "json", false, "print JSON")
	return cmd
}

func (c *conformance) run(cmd *cobra.Command) (err error) {
	all, err := spectests.Suites()
	if err != nil {
		return err
	}
	suites, err := spectests.Select(all, c.suites)
	if err != nil {
		return usage(err)
	}
	var persona, pack []byte
	if c.persona != "" {
		if persona, err = os.ReadFile(c.persona); err != nil {
			return fmt.Errorf("persona: %w", err)
		}
	}
	if c.pkg != "" {
		if pack, err = os.ReadFile(c.pkg); err != nil {
			return fmt.Errorf("package: %w", err)
		}
	}
	if suites, err = c.about(all, suites, persona, pack); err != nil {
		return usage(err)
	}
	open := func(ctx context.Context, bundle string) (*spectests.Target, func() error, error) {
		return c.overLink(ctx, bundle, persona, pack)
	}
	if c.link == memLink {
		p := scl.DefaultProfile()
		if c.profile != "" {
			if p, err = scl.LoadProfile(c.profile); err != nil {
				return err
			}
		}
		engine, oerr := openEngine(cmd.ErrOrStderr())
		if oerr != nil {
			return oerr
		}
		defer func() {
			if cerr := engine.Close(); err == nil {
				err = cerr
			}
		}()
		open = func(ctx context.Context, bundle string) (*spectests.Target, func() error, error) {
			spb, err := builtIn(bundle, pack)
			if err != nil {
				return nil, nil, err
			}
			return spectests.InProcess{Engine: engine, Package: spb, Spare: spare(spb), Persona: persona, Profile: p}.Target(ctx)
		}
	}
	report, err := spectests.RunEach(cmd.Context(), open, suites, nil)
	if err != nil {
		return err
	}
	if err := c.write(cmd.OutOrStdout(), report); err != nil {
		return err
	}
	switch n := report.Counts; {
	case !report.OK():
		return fmt.Errorf("conformance: %d cases failed on %s", n[spectests.Fail], report.Target)
	case n[spectests.Pass]+n[spectests.Provisional] == 0:
		return fmt.Errorf("conformance: no case could be played on %s (--persona FILE tells its keys and PINs)", report.Target)
	}
	return nil
}

// about leaves the suites of one bundle when one card is tested: that of --bundle, of
// the persona or of the package, or that all suites asked for are about; else telecom.
func (c *conformance) about(all, suites []*spectests.Suite, persona, pack []byte) ([]*spectests.Suite, error) {
	of := func(suites []*spectests.Suite, bundle string) (some []*spectests.Suite) {
		for _, s := range suites {
			if s.Bundle == bundle {
				some = append(some, s)
			}
		}
		return some
	}
	name := c.bundle
	if name == "" && persona != nil {
		name = spectests.PersonaBundle(persona)
	}
	if name == "" && pack != nil {
		if p, err := loader.Parse(pack); err == nil && len(of(all, p.Name)) > 0 {
			name = p.Name
		}
	}
	if name == "" && (pack != nil || c.link != memLink) {
		name = spectests.DefaultBundle
		if len(of(suites, suites[0].Bundle)) == len(suites) {
			name = suites[0].Bundle
		}
	}
	if name == "" {
		return suites, nil
	}
	some := of(suites, name)
	if len(some) == 0 {
		if len(of(all, name)) == 0 {
			return nil, fmt.Errorf("conformance: no suite is about the bundle %q", name)
		}
		return nil, fmt.Errorf("conformance: suite %s is about %s, the card is %s (--bundle NAME tells)", suites[0].Name, suites[0].Bundle, name)
	}
	return some, nil
}

// builtIn is pack, or the bundle in the binary when there is none.
func builtIn(bundle string, pack []byte) ([]byte, error) {
	if pack != nil {
		return pack, nil
	}
	spb, err := bundles.Open(bundle)
	if err != nil && !errors.Is(err, bundles.ErrNone) {
		err = fmt.Errorf("%w: %w", err, spectests.ErrNoTarget)
	}
	return spb, err
}

// overLink tests a card that is somewhere else.
func (c *conformance) overLink(ctx context.Context, bundle string, persona, pack []byte) (*spectests.Target, func() error, error) {
	if persona == nil {
		spb, err := builtIn(bundle, pack)
		if err != nil {
			return nil, nil, err
		}
		p, err := loader.Parse(spb)
		if err != nil {
			return nil, nil, err
		}
		persona = p.DefaultPersona
	}
	t := &spectests.Target{Name: c.link}
	if err := t.Tell(persona); err != nil {
		return nil, nil, err
	}
	l, err := transport.Open(c.link, transport.Controller, schemes(scl.DefaultProfile())...)
	if err != nil {
		return nil, nil, usage(err)
	}
	p, err := dial(ctx, l, c.timeout)
	if err != nil {
		return nil, nil, err
	}
	client, ok := p.client.(*terminal.Client)
	if !ok {
		_ = p.Close()
		return nil, nil, fmt.Errorf("conformance: link %s carries SCL packets only (links for APDUs can be tested)", c.link)
	}
	t.Terminal = spectests.FromClient(client)
	if t.AtOnce, err = spectests.AnswersAtOnce(ctx, t.Terminal); err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return t, p.Close, nil
}

// spare is another bundle than spb, nil when there is none.
func spare(spb []byte) []byte {
	p, err := loader.Parse(spb)
	if err != nil {
		return nil
	}
	for _, name := range slices.Backward(bundles.Names()) {
		if b, err := bundles.Open(name); err == nil && name != p.Name {
			return b
		}
	}
	return nil
}

func (c *conformance) write(w io.Writer, r *spectests.Report) error {
	for _, o := range []struct {
		file  string
		write func(io.Writer) error
	}{{c.junit, r.WriteJUnit}, {c.html, r.WriteHTML}} {
		if o.file == "" {
			continue
		}
		if err := writeFile(o.file, o.write); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	if c.asJSON {
		return r.WriteJSON(w)
	}
	return r.WriteTable(w, c.all)
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
