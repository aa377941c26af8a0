package spectests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// Outcome of a case.
type Outcome string

// Outcomes.
const (
	Pass        Outcome = "pass"
	Fail        Outcome = "fail"
	Provisional Outcome = "provisional" // it passed; an unverified code point decides it
	NotCovered  Outcome = "not covered"
)

// Result of one case, or of a clause without a case (Case is "" then).
type Result struct {
	Case        string        `json:"case,omitempty"`
	Clause      string        `json:"clause"`
	ClauseTitle string        `json:"clause_title"`
	Title       string        `json:"title,omitempty"`
	Requirement string        `json:"requirement,omitempty"`
	Outcome     Outcome       `json:"outcome"`
	Reason      string        `json:"reason,omitempty"` // of everything but pass
	Where       string        `json:"where,omitempty"`  // file:line
	Figure      string        `json:"figure,omitempty"` // what was measured
	Duration    time.Duration `json:"nanoseconds"`
	Dialogue    []Line        `json:"dialogue,omitempty"` // of a failure
}

// SuiteResult is what came of one suite, by clause in the order of the suite.
type SuiteResult struct {
	Name     string   `json:"suite"`
	Bundle   string   `json:"bundle"`
	Standard string   `json:"standard"`
	Version  string   `json:"version"`
	Title    string   `json:"title"`
	Results  []Result `json:"results"`
}

// Report is what came of a run.
type Report struct {
	Schema int             `json:"schema"` // SchemaVersion
	Target string          `json:"target"`
	Counts map[Outcome]int `json:"counts"`
	Suites []SuiteResult   `json:"suites"`
}

// SchemaVersion is the version of the JSON form of Report.
const SchemaVersion = 1

// OK tells whether nothing failed.
func (r *Report) OK() bool { return r.Counts[Fail] == 0 }

// Select gives the suites with the names, all when there is none; a name may be
// a beginning, and underscores do not matter.
func Select(suites []*Suite, names []string) ([]*Suite, error) {
	if len(names) == 0 {
		return suites, nil
	}
	var out []*Suite
	for _, n := range names {
		found := false
		for _, s := range suites {
			if strings.HasPrefix(bare(s.Name), bare(n)) {
				found = true
				if !slices.Contains(out, s) {
					out = append(out, s)
				}
			}
		}
		if !found {
			var known []string
			for _, s := range suites {
				known = append(known, s.Name)
			}
			return nil, fmt.Errorf("conformance: there is no suite %q (there are %s)", n, strings.Join(known, ", "))
		}
	}
	return out, nil
}

func bare(name string) string { return strings.ReplaceAll(name, "_", "") }

// Run plays the suites on t, one case after the other; progress, if it is not
// nil, is called after each. The error is ctx's: the report holds what was
// played until then.
func Run(ctx context.Context, t *Target, suites []*Suite, progress func(*Suite, Result)) (*Report, error) {
	return RunEach(ctx, func(context.Context, string) (*Target, func() error, error) {
		return t, func() error { return nil }, nil
	}, suites, progress)
}

// Open makes the target for the suites of a bundle; close ends it. When the error
// wraps ErrNoTarget, those suites are not covered.
type Open func(ctx context.Context, bundle string) (t *Target, close func() error, err error)

// ErrNoTarget says that there is nothing to play the suites of a bundle on.
var ErrNoTarget = errors.New("nothing to test")

// RunEach is Run with a target for each bundle that the suites are about, one after
// the other. The report keeps the order of the suites.
func RunEach(ctx context.Context, open Open, suites []*Suite, progress func(*Suite, Result)) (*Report, error) {
	rep := &Report{Schema: SchemaVersion, Counts: map[Outcome]int{}}
	results := make([]*SuiteResult, len(suites))
	var names []string
	var err error
	for first, s := range suites {
		if results[first] != nil {
			continue
		}
		var t *Target
		var end func() error
		var absent string // why there is no target
		t, end, err = open(ctx, s.Bundle)
		switch {
		case errors.Is(err, ErrNoTarget):
			absent, err = strings.TrimSuffix(err.Error(), ": "+ErrNoTarget.Error()), nil
		case err != nil:
			return nil, err
		case !slices.Contains(names, t.Name):
			names = append(names, t.Name)
		}
		for i, o := range suites {
			if o.Bundle == s.Bundle && err == nil {
				results[i] = new(SuiteResult)
				err = rep.run(ctx, t, absent, o, results[i], progress)
			}
		}
		if end != nil {
			err = errors.Join(err, end())
		}
		if err != nil {
			break
		}
	}
	if rep.Target = strings.Join(names, ", "); len(names) == 0 {
		rep.Target = "no target"
	}
	for _, r := range results {
		if r != nil {
			rep.Suites = append(rep.Suites, *r)
		}
	}
	return rep, err
}

// run plays one suite; absent, if it is not "", is why nothing of it can be played.
func (rep *Report) run(ctx context.Context, t *Target, absent string, s *Suite, sr *SuiteResult, progress func(*Suite, Result)) error {
	*sr = SuiteResult{Name: s.Name, Bundle: s.Bundle, Standard: s.Standard, Version: s.Version, Title: s.Title}
	add := func(r Result) {
		rep.Counts[r.Outcome]++
		sr.Results = append(sr.Results, r)
		if progress != nil {
			progress(s, r)
		}
	}
	for _, k := range s.Clauses {
		covered := false
		for i := range s.Cases {
			c := &s.Cases[i]
			if c.Clause != k.Number {
				continue
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("conformance: stopped at %s/%s: %w", s.Name, c.ID, err)
			}
			covered = true
			r := Result{Case: c.ID, Clause: c.Clause, Title: c.Title, Requirement: c.Requirement, Where: c.Where, Outcome: NotCovered, Reason: absent}
			if absent == "" {
				r = runCase(ctx, t, c)
			}
			r.ClauseTitle = k.Title
			add(r)
		}
		if !covered {
			add(Result{Clause: k.Number, ClauseTitle: k.Title, Outcome: NotCovered, Reason: "no case"})
		}
	}
	return nil
}

func runCase(ctx context.Context, t *Target, c *Case) Result {
	r := Result{Case: c.ID, Clause: c.Clause, Title: c.Title, Requirement: c.Requirement, Where: c.Where}
	if r.Reason = t.lacks(c.Needs); r.Reason != "" {
		r.Outcome = NotCovered
		return r
	}
	start := time.Now()
	d := &Dialogue{ctx: ctx, target: t, vars: maps.Clone(t.Vars), where: c.Where}
	if d.vars == nil {
		d.vars = map[string]string{}
	}
	err := d.play(c)
	r.Duration = time.Since(start)
	if errors.Is(err, transport.ErrTooShort) || errors.Is(err, transport.ErrTooLong) {
		r.Outcome, r.Reason = NotCovered, "the link cannot carry a command of that length"
		return r
	}
	if errors.Is(err, terminal.ErrNoService) {
		r.Outcome, r.Reason = NotCovered, "the active bundle has no gate for that"
		return r
	}
	if err != nil {
		d.add(Line{Kind: "problem", Words: err.Error()})
		r.Outcome, r.Reason, r.Dialogue = Fail, err.Error()+" ("+d.where+")", d.lines
		return r
	}
	r.Outcome, r.Figure = Pass, d.figure
	if r.Reason = d.provisional(c); r.Reason != "" {
		r.Outcome = Provisional
	}
	return r
}

// play brings the card into a defined state and plays the case.
func (d *Dialogue) play(c *Case) (err error) {
	if len(c.Persona) > 0 {
		t, done, err := d.target.Personalise(d.ctx, c.Persona)
		if err != nil {
			return fmt.Errorf("personalise: %w", err)
		}
		defer func() { _ = done() }()
		d.target = t
		maps.Copy(d.vars, t.Vars)
	}
	if err := d.reset(true); err != nil {
		return err
	}
	for i := range c.Given {
		if err := d.step(&c.Given[i]); err != nil {
			return fmt.Errorf("the state that the case starts from: %w", err)
		}
	}
	for i := range c.Steps {
		if err = d.step(&c.Steps[i]); err != nil {
			break
		}
	}
	// What happens from here on is cleaning up: it does not show in the dialogue.
	lines, where := d.lines, d.where
	for i := range c.Finally {
		_ = d.step(&c.Finally[i])
	}
	d.lines, d.where = lines, where
	return err
}

// provisional says why passing proves less than it seems.
func (d *Dialogue) provisional(c *Case) string {
	if c.Provisional != "" {
		return c.Provisional
	}
	if len(c.Profile) == 0 || d.target.Network == nil || !d.target.Network.Profile().Provisional {
		return ""
	}
	return "hangs on " + strings.Join(c.Profile, ", ") + " of " + d.target.Network.Profile().Name
}
