package coap

import (
	"strconv"
	"strings"
)

// wellKnown is where a client finds the resources (RFC 6690 4).
const wellKnown = ".well-known/core"

// links answers GET /.well-known/core: the resources in link format, those that
// match every query (RFC 6690 4.1).
func (s *Server) links(r *Request, w *Response) {
	w.Format = LinkFormat
	sep, queries := "", r.Queries()
next:
	for _, res := range s.listed {
		for _, q := range queries {
			if name, pattern, ok := strings.Cut(q, "="); ok && !res.matches(name, pattern) {
				continue next
			}
		}
		_, _ = w.WriteString(sep)
		_, _ = w.WriteString(res.link())
		sep = ","
	}
}

// attribute is a target attribute of a link; values are those that a query can
// name.
type attribute struct {
	name   string
	values []string
	bare   bool // written without a value
	number bool // a single value is written without quotes
}

func (r *resource) attributes() []attribute {
	ct := make([]string, len(r.Formats))
	for i, f := range r.Formats {
		ct[i] = strconv.Itoa(int(f))
	}
	all := []attribute{
		{name: "rt", values: strings.Fields(r.RT)},
		{name: "if", values: strings.Fields(r.IF)},
		{name: "ct", values: ct, number: true},
	}
	if r.Title != "" {
		all = append(all, attribute{name: "title", values: []string{r.Title}})
	}
	if r.Observable {
		all = append(all, attribute{name: "obs", bare: true, values: []string{""}})
	}
	return all
}

// matches tells whether an attribute, or the target itself (href), is pattern,
// which may end in * (RFC 6690 4.1).
func (r *resource) matches(name, pattern string) bool {
	begin, wild := strings.CutSuffix(pattern, "*")
	match := func(v string) bool { return v == pattern || wild && strings.HasPrefix(v, begin) }
	if name == "href" {
		return match(r.href())
	}
	for _, a := range r.attributes() {
		if a.name == name {
			for _, v := range a.values {
				if match(v) {
					return true
				}
			}
		}
	}
	return false
}

// link is the resource in link format (RFC 6690 2).
func (r *resource) link() string {
	var b strings.Builder
	b.WriteString("<" + r.href() + ">")
	for _, a := range r.attributes() {
		switch {
		case len(a.values) == 0:
		case a.bare:
			b.WriteString(";" + a.name)
		case a.number && len(a.values) == 1:
			b.WriteString(";" + a.name + "=" + a.values[0])
		default:
			b.WriteString(";" + a.name + `="`)
			for i, v := range a.values {
				if i > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(quote.Replace(v))
			}
			b.WriteByte('"')
		}
	}
	return b.String()
}

// quote writes a text between quotation marks (RFC 2616 2.2, quoted-string).
var quote = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// href is the target of the link: the path, percent-encoded as RFC 3986 3.3 has it.
func (r *resource) href() string {
	const plain = "-._~!$&'()*+,;=:@/"
	var b strings.Builder
	b.WriteByte('/')
	for i := range len(r.path) {
		switch c := r.path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(plain, c) >= 0:
			b.WriteByte(c)
		default:
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
