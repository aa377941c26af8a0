package spectests

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed suites/*.yaml
var embedded embed.FS

// sequencesFile holds the sequences that all suites share.
const sequencesFile = "sequences.yaml"

// Suites are the suites that are built in: the files of the folder suites, and
// those made of the test sets of TS 35.207 and TS 35.208.
func Suites() ([]*Suite, error) {
	sub, err := fs.Sub(embedded, "suites")
	if err != nil {
		return nil, err
	}
	l, sequences, err := load(sub)
	if err != nil {
		return nil, err
	}
	v, err := vectorSuites(sequences)
	return append(l, v...), err
}

// Load reads every *.yaml of a folder as a suite; sequences.yaml, if it is
// there, holds sequences for all of them. Errors name file and line.
func Load(dir fs.FS) ([]*Suite, error) {
	l, _, err := load(dir)
	return l, err
}

func load(dir fs.FS) (out []*Suite, shared map[string][]Step, err error) {
	names, err := fs.Glob(dir, "*.yaml")
	if err != nil {
		return nil, nil, err
	}
	shared = map[string][]Step{}
	if b, err := fs.ReadFile(dir, sequencesFile); err == nil {
		l := reader{file: sequencesFile, sequences: shared}
		if err := l.document(b, l.shared); err != nil {
			return nil, nil, err
		}
	}
	for _, name := range names {
		if name == sequencesFile {
			continue
		}
		b, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, nil, err
		}
		s, err := parse(name, b, shared)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, nil, fmt.Errorf("conformance suites: no *.yaml in the folder")
	}
	return out, shared, nil
}

// Parse reads one suite. file is for error messages and the suite's name.
func Parse(file string, b []byte) (*Suite, error) { return parse(file, b, nil) }

func parse(file string, b []byte, shared map[string][]Step) (*Suite, error) {
	l := reader{file: file, sequences: map[string][]Step{}, suite: &Suite{Bundle: DefaultBundle}}
	for k, v := range shared {
		l.sequences[k] = v
	}
	if err := l.document(b, l.whole); err != nil {
		return nil, err
	}
	if want := strings.TrimSuffix(path.Base(file), ".yaml"); l.suite.Name != want {
		return nil, fmt.Errorf("%s: the suite calls itself %q, the file %q", file, l.suite.Name, want)
	}
	return l.suite, nil
}

// reader reads one file. Its methods return errors with file and line.
type reader struct {
	file      string
	suite     *Suite
	requires  []string
	sequences map[string][]Step
}

func (l *reader) errorf(n *yaml.Node, format string, a ...any) error {
	return fmt.Errorf("%s:%d: %w", l.file, n.Line, fmt.Errorf(format, a...))
}

func (l *reader) where(n *yaml.Node) string { return l.file + ":" + strconv.Itoa(n.Line) }

func (l *reader) document(b []byte, read func(*yaml.Node) error) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("%s: %w", l.file, err)
	}
	if len(doc.Content) != 1 {
		return fmt.Errorf("%s: no YAML document", l.file)
	}
	return read(doc.Content[0])
}

// field is a member of a map: how to read it, and whether it must be there.
type field struct {
	must bool
	read func(*yaml.Node) error
}

// mapping reads a map that may have the given members only.
func (l *reader) mapping(n *yaml.Node, what string, fields map[string]field) error {
	if n.Kind != yaml.MappingNode {
		return l.errorf(n, "%s is not a map", what)
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		f, ok := fields[k.Value]
		if !ok {
			return l.errorf(k, "%s has no %q", what, k.Value)
		}
		if seen[k.Value] {
			return l.errorf(k, "%s has %q twice", what, k.Value)
		}
		seen[k.Value] = true
		if err := f.read(v); err != nil {
			return err
		}
	}
	for name, f := range fields {
		if f.must && !seen[name] {
			return l.errorf(n, "%s lacks %q", what, name)
		}
	}
	return nil
}

func (l *reader) text(to *string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Value == "" {
			return l.errorf(n, "a text is needed here")
		}
		*to = n.Value
		return nil
	}
}

// list reads a list; a value by itself is a list of one.
func (l *reader) list(each func(*yaml.Node) error) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.SequenceNode {
			return each(n)
		}
		for _, c := range n.Content {
			if err := each(c); err != nil {
				return err
			}
		}
		return nil
	}
}

func (l *reader) texts(to *[]string) func(*yaml.Node) error {
	return l.list(func(n *yaml.Node) error {
		var s string
		if err := l.text(&s)(n); err != nil {
			return err
		}
		*to = append(*to, s)
		return nil
	})
}

// pairs reads a map with free names, in order.
func (l *reader) pairs(each func(k, v *yaml.Node) error) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.MappingNode {
			return l.errorf(n, "a map is needed here")
		}
		for i := 0; i < len(n.Content); i += 2 {
			if err := each(n.Content[i], n.Content[i+1]); err != nil {
				return err
			}
		}
		return nil
	}
}

func (l *reader) shared(n *yaml.Node) error {
	return l.mapping(n, "the file of sequences", map[string]field{"sequences": {true, l.pairs(l.sequence)}})
}

func (l *reader) whole(n *yaml.Node) error {
	s := l.suite
	var cases *yaml.Node
	err := l.mapping(n, "a suite", map[string]field{
		"suite":     {true, l.text(&s.Name)},
		"standard":  {true, l.text(&s.Standard)},
		"version":   {true, l.text(&s.Version)},
		"title":     {true, l.text(&s.Title)},
		"bundle":    {false, l.text(&s.Bundle)},
		"requires":  {false, l.texts(&l.requires)},
		"clauses":   {true, l.pairs(l.clause)},
		"sequences": {false, l.pairs(l.sequence)},
		"cases":     {true, func(n *yaml.Node) error { cases = n; return nil }},
	})
	if err != nil {
		return err
	}
	return l.list(l.oneCase)(cases)
}

func (l *reader) clause(k, v *yaml.Node) error {
	c := Clause{Number: k.Value}
	if err := l.text(&c.Title)(v); err != nil {
		return err
	}
	for _, o := range l.suite.Clauses {
		if o.Number == c.Number {
			return l.errorf(k, "clause %s is there twice", c.Number)
		}
	}
	l.suite.Clauses = append(l.suite.Clauses, c)
	return nil
}

func (l *reader) sequence(k, v *yaml.Node) error {
	if _, ok := l.sequences[k.Value]; ok {
		return l.errorf(k, "sequence %q is there twice", k.Value)
	}
	var steps []Step
	if err := l.steps(&steps)(v); err != nil {
		return err
	}
	l.sequences[k.Value] = steps
	return nil
}

func (l *reader) oneCase(n *yaml.Node) error {
	c := Case{Where: l.where(n)}
	err := l.mapping(n, "a case", map[string]field{
		"id":          {true, l.text(&c.ID)},
		"clause":      {true, l.text(&c.Clause)},
		"title":       {true, l.text(&c.Title)},
		"requirement": {false, l.text(&c.Requirement)},
		"requires":    {false, l.texts(&c.Needs)},
		"provisional": {false, l.text(&c.Provisional)},
		"profile":     {false, l.texts(&c.Profile)},
		"persona":     {false, l.pairs(l.change(&c.Persona))},
		"given":       {false, l.list(l.use(&c.Given))},
		"steps":       {true, l.steps(&c.Steps)},
		"finally":     {false, l.steps(&c.Finally)},
	})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(l.suite.Clauses, func(k Clause) bool { return k.Number == c.Clause }) {
		return l.errorf(n, "case %q: clause %s is not in the list of clauses of the suite", c.ID, c.Clause)
	}
	if slices.ContainsFunc(l.suite.Cases, func(o Case) bool { return o.ID == c.ID }) {
		return l.errorf(n, "case %q is there twice", c.ID)
	}
	if len(c.Steps) == 0 {
		return l.errorf(n, "case %q has no steps", c.ID)
	}
	c.Needs = append(c.Needs, l.requires...)
	c.collectNeeds()
	l.suite.Cases = append(l.suite.Cases, c)
	return nil
}

// collectNeeds adds the variables that no step sets before it uses them, and
// what the checks need.
func (c *Case) collectNeeds() {
	set := map[string]bool{varSW2: true}
	need := func(names ...string) {
		for _, n := range names {
			if !set[n] {
				c.Needs = append(c.Needs, n)
			}
		}
	}
	if len(c.Persona) > 0 {
		need(AbilityPersonalise)
	}
	for _, steps := range [][]Step{c.Given, c.Steps} { // Finally does what it can
		for _, s := range steps {
			need(s.Send.names()...)
			if s.Expect != nil {
				need(s.Expect.t.names()...)
			}
			for _, k := range s.Checks {
				for _, a := range k.args {
					need(a.names()...)
				}
				need(checks[k.name].needs...)
				for _, n := range checks[k.name].sets {
					set[n] = true
				}
			}
			for _, v := range s.Save {
				set[v.name] = true
			}
		}
	}
	slices.Sort(c.Needs)
	c.Needs = slices.Compact(c.Needs)
}

func (l *reader) change(to *[]Change) func(k, v *yaml.Node) error {
	return func(k, v *yaml.Node) error {
		ch := Change{Pointer: k.Value}
		if !strings.HasPrefix(k.Value, "/") {
			return l.errorf(k, "%q is not a JSON pointer: it starts with /", k.Value)
		}
		var err error
		switch v.Tag {
		case "!!str":
			ch.Value = v.Value
		case "!!int":
			ch.Value, err = strconv.ParseInt(v.Value, 0, 64)
		case "!!bool":
			ch.Value, err = strconv.ParseBool(v.Value)
		case "!!null":
		case "!!seq":
			list := []any{}
			for _, e := range v.Content {
				list = append(list, e.Value)
			}
			ch.Value = list
		default:
			err = fmt.Errorf("a text, a whole number, true, false, null or a list of texts is needed here")
		}
		if err != nil {
			return l.errorf(v, "%w", err)
		}
		*to = append(*to, ch)
		return nil
	}
}

// use adds the steps of a named sequence.
func (l *reader) use(to *[]Step) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		steps, ok := l.sequences[n.Value]
		if !ok || n.Kind != yaml.ScalarNode {
			return l.errorf(n, "no sequence is called %q", n.Value)
		}
		*to = append(*to, steps...)
		return nil
	}
}

// steps reads a list of steps; "use: name" among them stands for a sequence.
func (l *reader) steps(to *[]Step) func(*yaml.Node) error {
	return l.list(func(n *yaml.Node) error {
		if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "use" {
			return l.list(l.use(to))(n.Content[1])
		}
		s, err := l.step(n)
		*to = append(*to, s)
		return err
	})
}

func (l *reader) step(n *yaml.Node) (s Step, err error) {
	s.Where = l.where(n)
	expects := false
	err = l.mapping(n, "a step", map[string]field{
		"send": {false, func(n *yaml.Node) (err error) {
			s.Send, err = parseTemplate(n.Value, false)
			if err == nil && len(s.Send.parts) == 0 {
				err = fmt.Errorf("nothing to send")
			}
			if err != nil {
				err = l.errorf(n, "send: %w", err)
			}
			return err
		}},
		"reset": {false, func(n *yaml.Node) error {
			if s.Reset = n.Value; s.Reset != "cold" && s.Reset != "warm" {
				return l.errorf(n, "reset: %q is neither cold nor warm", n.Value)
			}
			return nil
		}},
		"expect": {false, func(n *yaml.Node) (err error) {
			expects = true
			if s.Expect, err = parsePattern(n.Value); err != nil {
				err = l.errorf(n, "expect: %w", err)
			}
			return err
		}},
		"sw": {false, func(n *yaml.Node) (err error) {
			expects = true
			if s.SW, err = parseStatuses(n.Value); err != nil {
				err = l.errorf(n, "sw: %w", err)
			}
			return err
		}},
		"check": {false, l.list(func(n *yaml.Node) error {
			c, err := parseCheck(n.Value)
			if err != nil {
				return l.errorf(n, "check: %w", err)
			}
			s.Checks = append(s.Checks, c)
			return nil
		})},
		"save": {false, l.pairs(func(k, v *yaml.Node) error {
			expects = true
			sv, err := parseSave(k.Value, v.Value)
			if err != nil {
				return l.errorf(v, "save: %w", err)
			}
			s.Save = append(s.Save, sv)
			return nil
		})},
	})
	if err != nil {
		return s, err
	}
	sends := len(s.Send.parts) > 0
	switch {
	case sends && s.Reset != "":
		return s, l.errorf(n, "a step sends or resets, not both")
	case expects && !sends:
		return s, l.errorf(n, "expect, sw and save need something to send")
	case !sends && s.Reset == "" && len(s.Checks) == 0:
		return s, l.errorf(n, "a step sends, resets or checks; this one does nothing")
	}
	return s, nil
}

// parseCheck reads "name argument argument".
func parseCheck(s string) (checkCall, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return checkCall{}, fmt.Errorf("a name is needed here")
	}
	c := checkCall{name: words[0]}
	def, ok := checks[c.name]
	if !ok {
		return c, fmt.Errorf("there is no check %q", c.name)
	}
	if len(words)-1 != def.args {
		return c, fmt.Errorf("%s takes %d arguments, not %d: %s", c.name, def.args, len(words)-1, def.doc)
	}
	for _, w := range words[1:] {
		t := template{[]part{{hex: w}}} // a word as it is written
		if strings.Contains(w, "{") {
			var err error
			if t, err = parseTemplate(w, true); err != nil {
				return c, err
			}
		}
		c.args = append(c.args, t)
	}
	return c, nil
}

// parseSave reads "all", "from:n", "from:" or "tlv 62/83".
func parseSave(name, s string) (save, error) {
	v := save{name: name, n: -1}
	if !isName(name) {
		return v, fmt.Errorf("%q is not a name: lower case letters, digits and _", name)
	}
	if tag, ok := strings.CutPrefix(s, "tlv "); ok {
		v.tag = strings.TrimSpace(tag)
		_, err := parsePath(v.tag)
		return v, err
	}
	if s == "all" {
		return v, nil
	}
	from, n, ok := strings.Cut(s, ":")
	var err error
	if ok {
		if v.from, err = strconv.Atoi(from); err == nil && n != "" {
			v.n, err = strconv.Atoi(n)
		}
	}
	if !ok || err != nil || v.from < 0 || v.n < -1 {
		return v, fmt.Errorf("%q is none of all, from:count, from: and tlv 62/83", s)
	}
	return v, nil
}
