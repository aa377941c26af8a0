package spectests

import (
	"encoding/hex"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// template is hexadecimal with placeholders: {imsi} is the variable, {aid:lv}
// its length in one byte and then the variable, {aid:len} the length alone,
// {rand:n} with a number its first n bytes. Spaces do not matter.
type template struct{ parts []part }

type part struct {
	hex  string // upper case; may be half a byte
	name string // or a variable
	form string // "", "lv", "len" or a number of bytes
}

// parseTemplate reads s. mask allows ? for an unknown digit.
func parseTemplate(s string, mask bool) (template, error) {
	var t template
	digits := "0123456789ABCDEF"
	if mask {
		digits += "?"
	}
	for s != "" {
		if s[0] == '{' {
			inner, rest, ok := strings.Cut(s[1:], "}")
			if !ok {
				return t, fmt.Errorf("a placeholder that does not end: %q", s)
			}
			name, form, _ := strings.Cut(inner, ":")
			if !isName(name) {
				return t, fmt.Errorf("%q is not a placeholder: {name}, {name:lv}, {name:len} or {name:3}", "{"+inner+"}")
			}
			if _, err := strconv.ParseUint(form, 10, 8); err != nil && form != "" && form != "lv" && form != "len" {
				return t, fmt.Errorf("the form %q of placeholder {%s} is none of lv, len and a number of bytes", form, name)
			}
			t.parts = append(t.parts, part{name: name, form: form})
			s = rest
			continue
		}
		run, rest := s, ""
		if i := strings.IndexByte(s, '{'); i >= 0 {
			run, rest = s[:i], s[i:]
		}
		run = strings.ToUpper(strings.Join(strings.Fields(run), ""))
		if bad := strings.Trim(run, digits); bad != "" {
			return t, fmt.Errorf("%q is not hexadecimal", bad)
		}
		if len(run)%2 != 0 {
			return t, fmt.Errorf("%q has half a byte", run)
		}
		if run != "" {
			t.parts = append(t.parts, part{hex: run})
		}
		s = rest
	}
	return t, nil
}

// isName: lower case letters, digits and _, a letter first.
func isName(s string) bool {
	for i, c := range s {
		if (c < 'a' || c > 'z') && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// names are the variables that t needs.
func (t template) names() []string {
	var l []string
	for _, p := range t.parts {
		if p.name != "" {
			l = append(l, p.name)
		}
	}
	sort.Strings(l)
	return l
}

// text fills the variables in; the result is upper case hexadecimal, and ?
// where t has masks.
func (t template) text(vars map[string]string) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.hex)
			continue
		}
		v, ok := vars[p.name]
		if !ok {
			return "", fmt.Errorf("nothing has set {%s}", p.name)
		}
		v = strings.ToUpper(v)
		switch p.form {
		case "":
		case "lv", "len":
			if len(v)/2 > 255 {
				return "", fmt.Errorf("{%s} has %d bytes, its length takes one byte", p.name, len(v)/2)
			}
			n := fmt.Sprintf("%02X", len(v)/2)
			if p.form == "len" {
				v = ""
			}
			v = n + v
		default:
			n, _ := strconv.Atoi(p.form)
			if len(v) < 2*n {
				return "", fmt.Errorf("{%s} has %d bytes, %d are asked for", p.name, len(v)/2, n)
			}
			v = v[:2*n]
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// bytes is text as bytes.
func (t template) bytes(vars map[string]string) ([]byte, error) {
	s, err := t.text(vars)
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	return b, nil
}

// pattern is a template with masks that data is compared with: ? is any digit,
// <n> any n bytes, and * at the end any rest.
type pattern struct {
	t    template
	rest bool
}

func parsePattern(s string) (*pattern, error) {
	p := new(pattern)
	s = strings.TrimSpace(s)
	s, p.rest = strings.CutSuffix(s, "*")
	for {
		before, after, ok := strings.Cut(s, "<")
		if !ok {
			break
		}
		num, rest, ok := strings.Cut(after, ">")
		n, err := strconv.ParseUint(num, 10, 16)
		if !ok || err != nil {
			return nil, fmt.Errorf("%q is not a number of any bytes like <10>", "<"+num)
		}
		s = before + strings.Repeat("??", int(n)) + rest
	}
	var err error
	p.t, err = parseTemplate(s, true)
	return p, err
}

// match compares data and says what differs.
func (p *pattern) match(data []byte, vars map[string]string) error {
	want, err := p.t.text(vars)
	if err != nil {
		return err
	}
	got := strings.ToUpper(hex.EncodeToString(data))
	if len(got) < len(want) || len(got) > len(want) && !p.rest {
		return fmt.Errorf("%d bytes of data, expected %d: %s", len(data), len(want)/2, want)
	}
	for i, w := range want {
		if w != '?' && byte(w) != got[i] {
			return fmt.Errorf("byte %d of the data differs, expected %s", i/2, want)
		}
	}
	return nil
}

// statuses are the status words that are right: four digits each, ? for any.
type statuses []string

func parseStatuses(s string) (statuses, error) {
	var l statuses
	for _, w := range strings.Split(s, "|") {
		w = strings.ToUpper(strings.TrimSpace(w))
		if len(w) != 4 || strings.Trim(w, "0123456789ABCDEF?") != "" {
			return nil, fmt.Errorf("%q is not a status word like 9000, 61?? or 6A86|6B00", w)
		}
		l = append(l, w)
	}
	return l, nil
}

func (l statuses) match(sw uint16) bool {
	if len(l) == 0 {
		return sw == 0x9000
	}
	got := fmt.Sprintf("%04X", sw)
	for _, w := range l {
		ok := true
		for i := range w {
			ok = ok && (w[i] == '?' || w[i] == got[i])
		}
		if ok {
			return true
		}
	}
	return false
}

func (l statuses) String() string {
	if len(l) == 0 {
		return "9000"
	}
	return strings.Join(l, " or ")
}
