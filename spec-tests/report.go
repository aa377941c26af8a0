package spectests

import (
	_ "embed"
	"encoding/json"
	"encoding/xml"
	"fmt"
	htmltemplate "html/template"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// outcomes in the order in which counts are printed.
var outcomes = []Outcome{Pass, Fail, Provisional, NotCovered}

// Summary is the counts in one line.
func (r *Report) Summary() string { return summary(r.Counts) }

func summary(counts map[Outcome]int) string {
	var l []string
	for _, o := range outcomes {
		l = append(l, fmt.Sprintf("%d %s", counts[o], o))
	}
	return strings.Join(l, ", ")
}

// counts of one suite.
func (s *SuiteResult) counts() map[Outcome]int {
	m := map[Outcome]int{}
	for _, r := range s.Results {
		m[r.Outcome]++
	}
	return m
}

// Summary is the counts of the suite in one line.
func (s SuiteResult) Summary() string { return summary(s.counts()) }

// WriteTable writes the report for people, by standard and clause. With all
// false it leaves out what passed and measured nothing.
func (r *Report) WriteTable(w io.Writer, all bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range r.Suites {
		fmt.Fprintf(t, "%s %s: %s (%s, on %s)\n", s.Standard, s.Version, s.Title, s.Name, s.Bundle)
		clause := ""
		for _, c := range s.Results {
			if c.Outcome == Pass && c.Figure == "" && !all {
				continue
			}
			if c.Clause != clause {
				clause = c.Clause
				fmt.Fprintf(t, "  %s %s\n", clause, c.ClauseTitle)
			}
			writeRow(t, &c)
		}
		fmt.Fprintf(t, "  %s\n\n", s.Summary())
	}
	fmt.Fprintf(t, "%s  %s\n", r.Target, r.Summary())
	return t.Flush()
}

func writeRow(w io.Writer, c *Result) {
	mark := string(c.Outcome)
	if c.Outcome == Fail {
		mark = "FAIL"
	}
	title := c.Title
	if c.Requirement != "" {
		title += " [" + c.Requirement + "]"
	}
	switch c.Outcome {
	case NotCovered:
		title = strings.TrimPrefix(title+": "+c.Reason, ": ")
	case Provisional:
		title += ": " + c.Reason
	}
	if c.Figure != "" {
		title += ": " + c.Figure
	}
	fmt.Fprintf(w, "    %s\t%s\t%s\n", mark, c.Case, title)
	for _, l := range c.Dialogue {
		fmt.Fprintf(w, "      %s\n", l)
	}
}

// WriteJSON writes the report as JSON; Schema is its version.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	Time    string    `xml:"time,attr"`
	File    string    `xml:"file,attr,omitempty"`
	Failure *junitMsg `xml:"failure"`
	Skipped *junitMsg `xml:"skipped"`
	Out     string    `xml:"system-out,omitempty"`
}

type junitMsg struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }

// WriteJUnit writes the report as JUnit XML. Not covered is skipped there;
// provisional passes, and says so in its output.
func (r *Report) WriteJUnit(w io.Writer) error {
	out := junitSuites{Name: "sspemu conform " + r.Target}
	for _, s := range r.Suites {
		js := junitSuite{Name: s.Name}
		var total time.Duration
		for _, c := range s.Results {
			total += c.Duration
			jc := junitCase{Class: s.Standard + " " + c.Clause, Name: strings.TrimSpace(c.Case + " " + c.Title), Time: seconds(c.Duration), File: c.Where}
			if c.Case == "" {
				jc.Name = c.ClauseTitle
			}
			js.Tests++
			switch c.Outcome {
			case Fail:
				js.Failures++
				jc.Failure = &junitMsg{c.Reason, dialogue(c.Dialogue)}
			case NotCovered:
				js.Skipped++
				jc.Skipped = &junitMsg{Message: "not covered: " + c.Reason}
			case Provisional:
				jc.Out = "provisional: " + c.Reason
			}
			js.Cases = append(js.Cases, jc)
		}
		js.Time = seconds(total)
		out.Tests, out.Failures, out.Skipped = out.Tests+js.Tests, out.Failures+js.Failures, out.Skipped+js.Skipped
		out.Suites = append(out.Suites, js)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func dialogue(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

//go:embed report.html
var page string

var pageTemplate = htmltemplate.Must(htmltemplate.New("report").Funcs(htmltemplate.FuncMap{
	"class": func(o Outcome) string { return strings.ReplaceAll(string(o), " ", "-") },
}).Parse(page))

// WriteHTML writes the report as one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error { return pageTemplate.Execute(w, r) }
