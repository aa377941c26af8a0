package inspect

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longest is how many characters of a value are shown to people.
const longest = 400

// clean makes text from a card harmless: no control characters, which a terminal would
// obey, no characters that change the direction of what follows, nothing endless.
func clean(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n++; n > longest {
			b.WriteString("…")
			break
		}
		switch {
		case c == '\n', c == '\t':
			b.WriteByte(' ')
		case c == utf8.RuneError, !unicode.IsPrint(c):
			b.WriteRune('·')
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// marks of the results in text.
var marks = map[Result]string{Pass: "ok", Fail: "FAIL", NotDone: "-", Warning: "warn"}

// Text writes the report for a terminal.
func (r *Report) Text(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s", clean(r.Kind))
	if r.Title != "" {
		fmt.Fprintf(&b, ": %s", clean(r.Title))
	}
	b.WriteByte('\n')
	for _, s := range r.Filled() {
		fmt.Fprintf(&b, "\n%s\n", clean(s.Name))
		width := 0
		for _, f := range s.Fields {
			width = max(width, min(28, utf8.RuneCountInString(clean(f.Name))))
		}
		for _, f := range s.Fields {
			pad := width - utf8.RuneCountInString(clean(f.Name))
			for i, line := range strings.Split(strings.TrimRight(f.Value, "\n"), "\n") {
				if i == 0 {
					fmt.Fprintf(&b, "  %s%s  %s\n", clean(f.Name), strings.Repeat(" ", max(0, pad)), clean(line))
				} else {
					fmt.Fprintf(&b, "  %s  %s\n", strings.Repeat(" ", width), clean(line))
				}
			}
		}
		for _, p := range s.Pictures {
			fmt.Fprintf(&b, "  %s: %s, %d bytes", clean(p.Name), clean(p.Type), len(p.Data))
			if p.Note != "" {
				fmt.Fprintf(&b, ", %s", clean(p.Note))
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString("\nChecks\n")
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "  %-4s  %s: %s", marks[c.Result], clean(c.Name), clean(c.Why))
		if c.Clause != "" {
			fmt.Fprintf(&b, " (%s)", clean(c.Clause))
		}
		b.WriteByte('\n')
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note  %s\n", clean(n))
	}
	fmt.Fprintf(&b, "\n%s\n", r.Verdict())
	_, err := w.Write(b.Bytes())
	return err
}

// document is a report as JSON.
type document struct {
	Schema int `json:"schema"`
	*Report
	Result  Result `json:"result"` // pass or fail
	Summary string `json:"summary"`
}

// JSON writes the report for programs; pictures are in base64.
func (r *Report) JSON(w io.Writer) error {
	filled := *r
	filled.Sections = r.Filled()
	d := document{Schema, &filled, Pass, r.Summary()}
	if !r.OK() {
		d.Result = Fail
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

//go:embed report.html
var page string

// shown are the media types that a page may show. Few browsers show JPEG 2000, so that
// each picture can be saved as well.
var shown = map[string]string{"image/jpeg": "jpg", "image/png": "png", "image/jp2": "jp2"}

var html = template.Must(template.New("report").Funcs(template.FuncMap{
	"clean": clean,
	"lines": func(s string) []string {
		lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
		for i := range lines {
			lines[i] = clean(lines[i])
		}
		return lines
	},
	"class": func(r Result) string { return strings.ReplaceAll(string(r), " ", "-") },
	"url": func(p Picture) template.URL {
		if _, ok := shown[p.Type]; !ok {
			return ""
		}
		return template.URL("data:" + p.Type + ";base64," + base64.StdEncoding.EncodeToString(p.Data))
	},
	"file": func(p Picture) string { return "picture." + shown[p.Type] },
	"faces": func(r *Report) []Picture { // beside the title
		for _, s := range r.Sections {
			if len(s.Pictures) > 0 {
				return s.Pictures[:1]
			}
		}
		return nil
	},
}).Parse(page))

// HTML writes the report as one page that needs nothing else.
func (r *Report) HTML(w io.Writer) error { return html.Execute(w, r) }
