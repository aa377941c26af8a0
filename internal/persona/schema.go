package persona

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// schemaURL is the name under which a schema is compiled. It has no scheme that
// could be fetched.
const schemaURL = "persona:schema"

// closed refuses every reference that leaves the schema.
type closed struct{}

func (closed) Load(url string) (any, error) {
	return nil, errors.New(url + " lies outside of the schema")
}

// compile gives the schema ready for use, and as plain values.
func compile(schema []byte) (*jsonschema.Schema, any, error) {
	refuse := func(err error) error {
		return &Error{File: "schema", Reason: strings.ReplaceAll(err.Error(), "\n", " ")}
	}
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, nil, refuse(err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(closed{})
	if err := c.AddResource(schemaURL, raw); err != nil {
		return nil, nil, refuse(err)
	}
	s, err := c.Compile(schemaURL)
	if err != nil {
		return nil, nil, refuse(err)
	}
	return s, raw, nil
}

// check holds t against schema. The *Error is the first in the order of lines.
func (t *tree) check(schema []byte) error {
	s, raw, err := compile(schema)
	if err != nil {
		return err
	}
	var v *jsonschema.ValidationError
	if err := s.Validate(t.value); err == nil {
		return nil
	} else if !errors.As(err, &v) {
		return &Error{File: t.file, Reason: err.Error()}
	}
	found := t.errors(v, raw)
	sort.SliceStable(found, func(i, j int) bool { return found[i].Line < found[j].Line })
	first := found[0]
	first.More = len(found) - 1
	return first
}

// errors are the innermost causes of v in words. Of several alternatives (anyOf,
// oneOf) the one counts that got deepest into the document: most likely it is
// the one that was meant.
func (t *tree) errors(v *jsonschema.ValidationError, schema any) []*Error {
	causes := v.Causes
	switch v.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		var best *jsonschema.ValidationError
		for _, c := range causes {
			if best == nil || depth(c) > depth(best) {
				best = c
			}
		}
		causes = nil
		if best != nil {
			causes = []*jsonschema.ValidationError{best}
		}
	}
	if len(causes) == 0 {
		return t.leaf(v, schema)
	}
	var all []*Error
	for _, c := range causes {
		all = append(all, t.errors(c, schema)...)
	}
	return all
}

func depth(v *jsonschema.ValidationError) int {
	d := len(v.InstanceLocation)
	for _, c := range v.Causes {
		d = max(d, depth(c))
	}
	return d
}

// typeWords are the JSON types as a person who writes YAML calls them.
var typeWords = map[string]string{
	"null": "null", "boolean": "true or false", "number": "a number", "integer": "a whole number",
	"string": "a text", "array": "a list", "object": "a map",
}

var english = message.NewPrinter(language.English)

// leaf puts one error of the schema into words, with the description that the
// schema has for the place.
func (t *tree) leaf(v *jsonschema.ValidationError, schema any) []*Error {
	p := path(v.InstanceLocation)
	one := func(p path, reason string) *Error {
		return &Error{File: t.file, Line: t.line(p), Pointer: p.pointer(), Reason: reason}
	}
	var reason string
	switch k := v.ErrorKind.(type) {
	case *kind.Type:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = typeWords[w]
		}
		reason = "is " + typeWords[k.Got] + "; " + strings.Join(want, " or ") + " is needed"
		if k.Got == "number" && len(k.Want) == 1 && k.Want[0] == "string" {
			reason += " (put it in quotes)"
		}
	case *kind.Required:
		reason = "lacks " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		var all []*Error
		for _, name := range k.Properties {
			q := append(p[:len(p):len(p)], name)
			all = append(all, one(q, "is not known here"+t.known(v, schema)))
		}
		return all
	case *kind.Pattern:
		reason = strconv.Quote(k.Got) + " does not match " + k.Want
	case *kind.Enum:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = fmt.Sprint(w)
		}
		reason = fmt.Sprintf("is %v; one of %s is needed", k.Got, strings.Join(want, ", "))
	default:
		reason = v.ErrorKind.LocalizedString(english)
	}
	if d, ok := lookup(schema, v.SchemaURL)["description"].(string); ok {
		reason += ": " + d
	}
	return []*Error{one(p, reason)}
}

// known lists the properties that the schema has at the place of v.
func (t *tree) known(v *jsonschema.ValidationError, schema any) string {
	props, _ := lookup(schema, v.SchemaURL)["properties"].(map[string]any)
	if len(props) == 0 || len(props) > 12 {
		return ""
	}
	names := make([]string, 0, len(props))
	for n := range props {
		names = append(names, n)
	}
	sort.Strings(names)
	return "; known are " + strings.Join(names, ", ")
}

// lookup is the object of the schema that a location (URL with JSON pointer)
// names, nil when there is none.
func lookup(schema any, location string) map[string]any {
	_, pointer, _ := strings.Cut(location, "#")
	for _, k := range splitPointer(pointer) {
		switch s := schema.(type) {
		case map[string]any:
			schema = s[k]
		case []any:
			i, err := strconv.Atoi(k)
			if err != nil || i < 0 || i >= len(s) {
				return nil
			}
			schema = s[i]
		}
	}
	m, _ := schema.(map[string]any)
	return m
}
