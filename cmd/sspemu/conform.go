package main

import (
	"context"
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
	link, pkg, persona, profile string
	suites                      []string
	junit, html                 string
	timeout                     time.Duration
	all, asJSON                 bool
}

func newConform() *cobra.Command {
	var c conformance
	cmd := &cobra.Command{
		Use:   "conform",
		Short: "Play the conformance suites and report by clause",
		Long: `Plays the conformance suites on the telecom bundle in this process, or over --link
on any card. A case passes, fails (with the dialogue), is provisional (it passed, but
an unverified code point decides it) or not covered. The exit code is 1 when a case
fails.`,
		Example: `  sspemu conform --junit report.xml --html report.html
  sspemu conform --link 'pcsc:Virtual PCD' --suite ts102221`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&c.link, "link", memLink, "link to the card, a `URL`; mem: starts one in this process")
	f.StringArrayVar(&c.suites, "suite", nil, "play this suite only, a `NAME` or its beginning; may be repeated")
	f.StringVar(&c.pkg, "package", "", "test the bundle in this `FILE` (.spb) instead of telecom")
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
	t, end, err := c.target(cmd)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := end(); err == nil {
			err = cerr
		}
	}()
	report, err := spectests.Run(cmd.Context(), t, suites, nil)
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

func (c *conformance) target(cmd *cobra.Command) (*spectests.Target, func() error, error) {
	spb, err := c.bundle()
	if err != nil {
		return nil, nil, err
	}
	var persona []byte
	if c.persona != "" {
		if persona, err = os.ReadFile(c.persona); err != nil {
			return nil, nil, fmt.Errorf("persona: %w", err)
		}
	}
	if c.link != memLink {
		return c.overLink(cmd.Context(), spb, persona)
	}
	p := scl.DefaultProfile()
	if c.profile != "" {
		if p, err = scl.LoadProfile(c.profile); err != nil {
			return nil, nil, err
		}
	}
	engine, err := openEngine(cmd.ErrOrStderr())
	if err != nil {
		return nil, nil, err
	}
	t, end, err := spectests.InProcess{Engine: engine, Package: spb, Spare: spare(spb), Persona: persona, Profile: p}.Target(cmd.Context())
	if err != nil {
		_ = engine.Close()
		return nil, nil, err
	}
	return t, func() error {
		err := end()
		if cerr := engine.Close(); err == nil {
			err = cerr
		}
		return err
	}, nil
}

// overLink tests a card that is somewhere else.
func (c *conformance) overLink(ctx context.Context, spb, persona []byte) (*spectests.Target, func() error, error) {
	if persona == nil {
		p, err := loader.Parse(spb)
		if err != nil {
			return nil, nil, err
		}
		persona = p.DefaultPersona
	}
	vars, err := spectests.PersonaVars(persona)
	if err != nil {
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
	return &spectests.Target{Name: c.link, Terminal: spectests.FromClient(client), Vars: vars}, p.Close, nil
}

func (c *conformance) bundle() ([]byte, error) {
	if c.pkg == "" {
		return bundles.Open(firstActive)
	}
	b, err := os.ReadFile(c.pkg)
	if err != nil {
		return nil, fmt.Errorf("package: %w", err)
	}
	return b, nil
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
