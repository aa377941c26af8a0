package lds

import "strings"

// Format is the size of a document, which decides the form of its machine readable zone.
type Format byte

// The formats.
const (
	TD1 Format = 1 // card: three lines of 30 (Doc 9303-5)
	TD2 Format = 2 // two lines of 36 (Doc 9303-6)
	TD3 Format = 3 // passport: two lines of 44 (Doc 9303-4)
)

// shapes: how many lines of which length, and the length of the name field.
var shapes = [...]struct{ lines, length, name int }{TD1: {3, 30, 30}, TD2: {2, 36, 31}, TD3: {2, 44, 39}}

func (f Format) String() string { return "TD" + string('0'+byte(f)) }

// MRZ is what a machine readable zone says. Fillers at the end of a field are left out;
// names have a space between their components.
type MRZ struct {
	Format      Format
	Code        string // document code: "P", "PP", "I", "ID"
	State       string // issuing state or organization: "UTO"
	Primary     string // "ERIKSSON"
	Secondary   string // "ANNA MARIA"
	Number      string // the whole document number, also when it is longer than nine
	Nationality string
	Birth       string // YYMMDD, "<" for what is not known
	Sex         string // "F", "M" or "" for unspecified
	Expiry      string // YYMMDD
	Optional    string // optional data; of TD1 those of the upper line
	Optional2   string // TD1: those of the middle line
}

// Check is the check digit of s (Doc 9303-3 4.9): weights 7, 3, 1; what is neither
// digit nor letter counts 0.
func Check(s string) byte {
	sum := 0
	for i := range len(s) {
		n := 0
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			n = int(c - '0')
		case c >= 'A' && c <= 'Z':
			n = int(c-'A') + 10
		}
		sum += n * [...]int{7, 3, 1}[i%3]
	}
	return '0' + byte(sum%10)
}

// fill makes s n characters long, with fillers.
func fill(s string, n int) string {
	s = strings.ReplaceAll(s, " ", "<")
	if len(s) >= n {
		return s[:n]
	}
	return s + strings.Repeat("<", n-len(s))
}

// checked is s with its check digit.
func checked(s string) string { return s + string(Check(s)) }

// numberFields are the document number with its check digit, ten characters, and the
// optional data with what did not fit before (note j of Doc 9303-5 and -6 4.2.2).
func (m *MRZ) numberFields() (number, optional string) {
	if len(m.Number) <= 9 {
		return checked(fill(m.Number, 9)), m.Optional
	}
	return m.Number[:9] + "<", m.Number[9:] + string(Check(m.Number)) + "<" + m.Optional
}

// Text is the machine readable zone without line breaks. The error says which value
// does not fit.
func (m *MRZ) Text() (string, error) {
	if m.Format < TD1 || m.Format > TD3 {
		return "", bad("MRZ", "the format is neither TD1, TD2 nor TD3")
	}
	sex := m.Sex
	if sex == "" {
		sex = "<"
	}
	number, optional := m.numberFields()
	room := [...]int{TD1: 15, TD2: 7, TD3: 14}[m.Format]
	for _, f := range []struct {
		name, value string
		least, most int
	}{
		{"document code", m.Code, 1, 2}, {"issuing state", m.State, 1, 3}, {"primary identifier", m.Primary, 1, 200},
		{"secondary identifier", m.Secondary, 0, 200}, {"document number", m.Number, 1, 22}, {"nationality", m.Nationality, 1, 3},
		{"date of birth", m.Birth, 6, 6}, {"sex", sex, 1, 1}, {"date of expiry", m.Expiry, 6, 6},
		{"optional data", optional, 0, room}, {"optional data of the second line", m.Optional2, 0, 11},
	} {
		switch {
		case len(f.value) < f.least:
			return "", bad("MRZ", "the "+f.name+" is too short")
		case len(f.value) > f.most:
			return "", bad("MRZ", "the "+f.name+" does not fit")
		case !zone(f.value, " "):
			return "", bad("MRZ", "the "+f.name+" has a character that is none of A to Z, 0 to 9 and <")
		}
	}
	switch {
	case m.Format == TD3 && len(m.Number) > 9:
		return "", bad("MRZ", "a passport number has nine characters at most")
	case m.Format != TD1 && m.Optional2 != "":
		return "", bad("MRZ", "only TD1 has optional data twice")
	}
	name := nameField(m.Primary, m.Secondary, shapes[m.Format].name)
	head := fill(m.Code, 2) + fill(m.State, 3)
	birth, expiry := checked(m.Birth), checked(m.Expiry)
	switch m.Format {
	case TD1:
		upper := head + number + fill(optional, 15)
		middle := birth + sex + expiry + fill(m.Nationality, 3) + fill(m.Optional2, 11)
		return upper + middle + string(Check(upper[5:]+birth+expiry+middle[18:])) + name, nil
	case TD2:
		lower := number + fill(m.Nationality, 3) + birth + sex + expiry + fill(optional, 7)
		return head + name + lower + string(Check(number+birth+expiry+fill(optional, 7))), nil
	}
	personal := fill(optional, 14)
	personal += string(Check(personal))
	if m.Optional == "" {
		personal = fill("", 15) // Doc 9303-4 4.2.2.2: zero or filler
	}
	lower := number + fill(m.Nationality, 3) + birth + sex + expiry + personal
	return head + name + lower + string(Check(number+birth+expiry+personal)), nil
}

// zone tells whether s has only characters of a machine readable zone, or of more.
func zone(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '<' && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

// Information is what the keys of BAC and the password of PACE come from: document
// number, date of birth, date of expiry, each with its check digit (Doc 9303-11 4.3.2,
// 4.4.1).
func (m *MRZ) Information() string {
	n := m.Number
	if len(n) < 9 {
		n = fill(n, 9)
	}
	return checked(n) + checked(m.Birth) + checked(m.Expiry)
}

// Lines are the lines of a machine readable zone as they are printed.
func Lines(text string) []string {
	for _, s := range shapes[TD1:] {
		if len(text) == s.lines*s.length {
			var lines []string
			for i := 0; i < len(text); i += s.length {
				lines = append(lines, text[i:i+s.length])
			}
			return lines
		}
	}
	return []string{text}
}

// ParseMRZ reads a machine readable zone; line breaks do not matter. wrong names the
// check digits that are not what they should be.
func ParseMRZ(text string) (m *MRZ, wrong []string, err error) {
	text = strings.NewReplacer("\n", "", "\r", "").Replace(text)
	m = &MRZ{}
	for f, s := range shapes {
		if f > 0 && len(text) == s.lines*s.length {
			m.Format = Format(f)
		}
	}
	switch {
	case m.Format == 0:
		return nil, nil, bad("MRZ", "has neither 90, 72 nor 88 characters")
	case !zone(text, ""):
		return nil, nil, bad("MRZ", "has a character that is none of A to Z, 0 to 9 and <")
	}
	test := func(name, s string, digit byte) {
		if Check(s) != digit {
			wrong = append(wrong, name)
		}
	}
	trim := func(s string) string { return strings.TrimRight(s, "<") }
	l := Lines(text)
	m.Code, m.State = trim(l[0][:2]), trim(l[0][2:5])
	// Of each format: the ten of the number, the seven of birth and expiry, optional
	// data that may go on with the number, and what the composite digit covers.
	var number, birth, sex, expiry, optional, name, composite string
	var digit byte
	switch m.Format {
	case TD1:
		number, optional, name = l[0][5:15], l[0][15:30], l[2]
		birth, sex, expiry, m.Nationality = l[1][:7], l[1][7:8], l[1][8:15], trim(l[1][15:18])
		m.Optional2 = trim(l[1][18:29])
		composite, digit = l[0][5:]+birth+expiry+l[1][18:29], l[1][29]
	case TD2, TD3:
		name, number, m.Nationality = l[0][5:], l[1][:10], trim(l[1][10:13])
		birth, sex, expiry = l[1][13:20], l[1][20:21], l[1][21:28]
		optional = l[1][28:35]
		if m.Format == TD3 {
			optional = l[1][28:42]
			if d := l[1][42]; d != '<' || trim(optional) != "" {
				test("optional data", optional, d)
			}
		}
		last := len(l[1]) - 1
		composite, digit = l[1][:10]+birth+l[1][21:last], l[1][last]
	}
	m.Primary, m.Secondary, _ = strings.Cut(trim(name), "<<")
	m.Primary, m.Secondary = strings.ReplaceAll(m.Primary, "<", " "), strings.ReplaceAll(m.Secondary, "<", " ")
	m.Number, m.Optional = trim(number[:9]), trim(optional)
	if rest, after, _ := strings.Cut(optional, "<"); number[9] == '<' && m.Format != TD3 && len(rest) >= 2 {
		m.Number = number[:9] + rest[:len(rest)-1]
		test("document number", m.Number, rest[len(rest)-1])
		m.Optional = trim(after)
	} else {
		test("document number", number[:9], number[9])
	}
	if m.Birth, m.Expiry = birth[:6], expiry[:6]; sex != "<" {
		m.Sex = sex
	}
	test("date of birth", m.Birth, birth[6])
	test("date of expiry", m.Expiry, expiry[6])
	test("composite", composite, digit)
	return m, wrong, nil
}

// nameField is the name in n characters: primary and secondary identifier with two
// fillers between them. A name that is too long is cut as Doc 9303-4 4.2.3, -5 4.2.3 and
// -6 4.2.3 allow: components of the primary identifier from the last one on become
// initials until the secondary one has room, which keeps the beginning of as many of its
// components as it can; the field ends with a letter then.
func nameField(primary, secondary string, n int) string {
	p, s := strings.Fields(strings.ReplaceAll(primary, "<", " ")), strings.Fields(strings.ReplaceAll(secondary, "<", " "))
	whole := strings.Join(p, "<")
	if len(s) > 0 {
		whole += "<<" + strings.Join(s, "<")
	}
	switch {
	case len(whole) <= n:
		return fill(whole, n)
	case len(s) == 0:
		return fill(abridged(p, n), n)
	}
	short := append([]string(nil), p...)
	for i := len(p) - 1; i >= 0 && len(strings.Join(short, "<")) > n-3; i-- {
		short[i] = p[i][:1]
	}
	joined := strings.Join(short, "<")
	given := strings.Join(s, "<")
	switch room := n - 2 - len(joined); {
	case room < 1: // a primary identifier of nothing but components
		joined = strings.TrimRight(joined[:n-3], "<")
		given = abridged(s, n-2-len(joined))
	case len(given) > room:
		given = abridged(s, room)
	default:
		joined = abridged(p, n-2-len(given))
	}
	return fill(joined+"<<"+given, n)
}

// abridged is the components in n characters: each of them as long as it can be while
// there is an initial left for those behind it.
func abridged(c []string, n int) string {
	c = c[:min(len(c), (n+1)/2)]
	var b strings.Builder
	for i, s := range c {
		if i > 0 {
			b.WriteByte('<')
		}
		b.WriteString(s[:min(len(s), n-b.Len()-2*(len(c)-1-i))])
	}
	return b.String()
}
