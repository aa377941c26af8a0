// Package inspect is what an inspection system tells: the checks that it made, each with
// its clause and the reason, and the data that it read, with pictures.
//
//	inspect/mrtd, inspect/piv, inspect/mdl ──> Report ─┬─ Text  for a terminal
//	        read and verify a card                     ├─ JSON  for programs
//	                                                   └─ HTML  one page, self-contained
//
// What comes from a card may be anything: the renderers make it harmless, and pictures
// are shown only when they are of a kind that is known.
package inspect

import (
	"fmt"
	"slices"
	"time"
)

// Schema is the version of the JSON that a report is.
const Schema = 1

// Result is how a check ended.
type Result string

// Results of checks.
const (
	Pass    Result = "pass"
	Fail    Result = "fail"
	NotDone Result = "not done"
	Warning Result = "warning"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`             // what is checked: "Passive authentication: hash of DG2"
	Clause string `json:"clause,omitempty"` // "Doc 9303-11 5.1"
	Result Result `json:"result"`
	Why    string `json:"why"` // one sentence
}

// Field is a value with its name.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Picture is an image as the card holds it.
type Picture struct {
	Name string `json:"name"`
	Type string `json:"type"` // media type: "image/jpeg", "image/jp2"
	Data []byte `json:"data"`
	Note string `json:"note,omitempty"`
}

// Section is data that belong together.
type Section struct {
	Name     string    `json:"name"`
	Fields   []Field   `json:"fields,omitempty"`
	Pictures []Picture `json:"pictures,omitempty"`
}

// Add adds a field; one that is empty is left out.
func (s *Section) Add(name, value string) {
	if value != "" {
		s.Fields = append(s.Fields, Field{name, value})
	}
}

// Report is an inspection.
type Report struct {
	Kind     string    `json:"kind"`   // "Travel document"
	Title    string    `json:"title"`  // whose it is, or which
	Target   string    `json:"target"` // the link that it was read over
	Date     time.Time `json:"date"`   // at which certificates and documents have to be valid
	Checks   []Check   `json:"checks"`
	Sections []Section `json:"sections"`
	Notes    []string  `json:"notes,omitempty"` // what else is worth telling: times, sizes
}

func (r *Report) add(res Result, name, clause, format string, a []any) {
	why := format
	if len(a) > 0 {
		why = fmt.Sprintf(format, a...)
	}
	r.Checks = append(r.Checks, Check{name, clause, res, why})
}

// Pass says that a check was made and why it is fulfilled.
func (r *Report) Pass(name, clause, format string, a ...any) { r.add(Pass, name, clause, format, a) }

// Fail says that a check was made and what is wrong.
func (r *Report) Fail(name, clause, format string, a ...any) { r.add(Fail, name, clause, format, a) }

// NotDone says why a check could not be made; that is no failure.
func (r *Report) NotDone(name, clause, format string, a ...any) {
	r.add(NotDone, name, clause, format, a)
}

// Warn says what somebody should look at, although it is no failure.
func (r *Report) Warn(name, clause, format string, a ...any) { r.add(Warning, name, clause, format, a) }

// Is makes a check of an error: fulfilled for the reason why, or not because of err.
func (r *Report) Is(err error, name, clause, why string, a ...any) bool {
	if err != nil {
		r.add(Fail, name, clause, err.Error(), nil)
		return false
	}
	r.add(Pass, name, clause, why, a)
	return true
}

// Section is the section of that name, made when it is not there. The pointer is good
// until the next call.
func (r *Report) Section(name string) *Section {
	i := slices.IndexFunc(r.Sections, func(s Section) bool { return s.Name == name })
	if i < 0 {
		r.Sections, i = append(r.Sections, Section{Name: name}), len(r.Sections)
	}
	return &r.Sections[i]
}

// Filled are the sections that hold something.
func (r *Report) Filled() []Section {
	all := []Section{}
	for _, s := range r.Sections {
		if len(s.Fields)+len(s.Pictures) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// Note adds a note.
func (r *Report) Note(format string, a ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, a...)) }

// Count is how many checks ended so.
func (r *Report) Count(res Result) (n int) {
	for _, c := range r.Checks {
		if c.Result == res {
			n++
		}
	}
	return n
}

// Find is the first check of that name.
func (r *Report) Find(name string) (Check, bool) {
	for _, c := range r.Checks {
		if c.Name == name {
			return c, true
		}
	}
	return Check{}, false
}

// OK tells whether nothing failed; a report without any fulfilled check is not.
func (r *Report) OK() bool { return r.Count(Fail) == 0 && r.Count(Pass) > 0 }

// Failed is the first check that failed, as an error; nil when the report is OK.
func (r *Report) Failed() error {
	for _, c := range r.Checks {
		if c.Result == Fail {
			return &Failure{c}
		}
	}
	if !r.OK() {
		return &Failure{Check{Name: "Inspection", Result: Fail, Why: "nothing could be checked"}}
	}
	return nil
}

// Failure is a check that failed.
type Failure struct{ Check Check }

func (f *Failure) Error() string {
	s := clean(f.Check.Name) + ": " + clean(f.Check.Why)
	if f.Check.Clause != "" {
		s += " (" + f.Check.Clause + ")"
	}
	return s
}

// Verdict is the report in one sentence.
func (r *Report) Verdict() string {
	s := "genuine as far as it could be checked"
	switch {
	case r.Count(Fail) > 0:
		s = "NOT genuine, or not readable as it has to be"
	case r.Count(Pass) == 0:
		s = "nothing could be checked"
	case r.Count(Warning) > 0:
		s += ", with warnings"
	}
	return s + ": " + r.Summary()
}

// Summary counts the checks.
func (r *Report) Summary() string {
	s := fmt.Sprintf("%d passed", r.Count(Pass))
	for _, k := range []struct {
		r    Result
		name string
	}{{Fail, "failed"}, {Warning, "warnings"}, {NotDone, "not done"}} {
		if n := r.Count(k.r); n == 1 && k.r == Warning {
			s += ", 1 warning"
		} else if n > 0 {
			s += fmt.Sprintf(", %d %s", n, k.name)
		}
	}
	return s
}
