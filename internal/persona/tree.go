package persona

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// tree is a YAML document as plain values (map[string]any, []any, string, int64,
// bool, nil) beside the nodes they came from.
type tree struct {
	file  string
	value any
	root  *yaml.Node
	nodes int
}

// parse reads one YAML document. Every error is an *Error.
func parse(b []byte, file string) (*tree, error) {
	t := &tree{file: file}
	if len(b) > MaxFile {
		return nil, &Error{File: file, Reason: fmt.Sprintf("is %d bytes; %d are allowed", len(b), MaxFile)}
	}
	if !utf8.Valid(b) {
		line := 1
		for i, w := 0, 0; i < len(b); i += w {
			var r rune
			if r, w = utf8.DecodeRune(b[i:]); r == utf8.RuneError && w == 1 {
				break
			} else if r == '\n' {
				line++
			}
		}
		return nil, &Error{File: file, Line: line, Reason: "is not UTF-8"}
	}
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return nil, &Error{File: file, Line: 1, Reason: "is empty"}
	case err != nil:
		return nil, syntaxError(file, err)
	}
	switch err := d.Decode(&second); {
	case err == nil:
		return nil, &Error{File: file, Line: max(second.Line, 1), Reason: "a second document begins; a persona is one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(file, err)
	}
	t.root = doc.Content[0]
	v, err := t.convert(t.root, nil, 0)
	if err != nil {
		return nil, err
	}
	t.value = v
	return t, nil
}

// syntaxError takes the line out of the words of the YAML reader:
// "yaml: line 3: did not find ...".
func syntaxError(file string, err error) error {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	e := &Error{File: file, Line: 1, Reason: s}
	if rest, ok := strings.CutPrefix(s, "line "); ok {
		if n, why, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(n); err == nil {
				e.Line, e.Reason = line, why
			}
		}
	}
	return e
}

// path is the way from the root to a value, innermost last.
type path []string

func (p path) pointer() string {
	var s strings.Builder
	for _, k := range p {
		s.WriteByte('/')
		s.WriteString(strings.ReplaceAll(strings.ReplaceAll(k, "~", "~0"), "/", "~1"))
	}
	return s.String()
}

func splitPointer(s string) path {
	if !strings.HasPrefix(s, "/") {
		return nil
	}
	p := strings.Split(s[1:], "/")
	for i, k := range p {
		p[i] = strings.ReplaceAll(strings.ReplaceAll(k, "~1", "/"), "~0", "~")
	}
	return p
}

func (t *tree) fail(n *yaml.Node, p path, reason string) error {
	return &Error{File: t.file, Line: n.Line, Pointer: p.pointer(), Reason: reason}
}

// convert makes a plain value of n. Aliases are followed; the count of values
// bounds what they can blow up to.
func (t *tree) convert(n *yaml.Node, p path, depth int) (any, error) {
	if t.nodes++; t.nodes > MaxNodes {
		return nil, t.fail(n, p, fmt.Sprintf("more than %d values", MaxNodes))
	}
	if depth > MaxDepth {
		return nil, t.fail(n, p, fmt.Sprintf("nested more than %d deep", MaxDepth))
	}
	switch n.Kind {
	case yaml.AliasNode:
		return t.convert(n.Alias, p, depth+1)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := t.convert(c, append(p, strconv.Itoa(i)), depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode || k.Value == "" {
				return nil, t.fail(k, p, "a key must be a text")
			}
			if k.ShortTag() == "!!merge" {
				return nil, t.fail(k, p, "merge keys (<<) are not part of a persona")
			}
			if _, twice := m[k.Value]; twice {
				return nil, t.fail(k, append(p, k.Value), "the key is there twice")
			}
			v, err := t.convert(n.Content[i+1], append(p, k.Value), depth+1)
			if err != nil {
				return nil, err
			}
			m[k.Value] = v
		}
		return m, nil
	}
	return t.scalar(n, p)
}

// tooBig is said of whole numbers beyond 64 bits.
const tooBig = " is too big for a number; put it in quotes if it is a text of digits"

func (t *tree) scalar(n *yaml.Node, p path) (any, error) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp": // an unquoted date is meant as a text
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		var v bool
		if n.Decode(&v) == nil {
			return v, nil
		}
	case "!!int":
		var v int64
		if n.Decode(&v) == nil {
			return v, nil
		}
		return nil, t.fail(n, p, n.Value+tooBig)
	case "!!float":
		if strings.Trim(n.Value, "0123456789") == "" {
			return nil, t.fail(n, p, n.Value+tooBig)
		}
		return nil, t.fail(n, p, n.Value+" is read as a number with a fraction or exponent; put it in quotes if it is a text")
	case "!!binary":
		return nil, t.fail(n, p, "bytes are written as hexadecimal text")
	}
	return nil, t.fail(n, p, "values of type "+n.Tag+" are not part of a persona")
}

// line is where the value at p is written: the line of its key, or of its list
// item; of the nearest value around it when there is none.
func (t *tree) line(p path) int {
	n, line := t.root, t.root.Line
	for _, k := range p {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == k {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(k); err == nil && i >= 0 && i < len(n.Content) {
				next, line = n.Content[i], n.Content[i].Line
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return line
}
