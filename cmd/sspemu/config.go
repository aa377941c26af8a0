package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// readConfig sets the flags that the YAML file names. Its keys are the names of the
// flags; a flag that may be repeated takes a list. What is on the command line goes
// before what is in the file.
func readConfig(file string, f *pflag.FlagSet) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return parseConfig(file, b, f)
}

func parseConfig(file string, b []byte, f *pflag.FlagSet) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		line, why := 1, strings.TrimPrefix(err.Error(), "yaml: ")
		if rest, ok := strings.CutPrefix(why, "line "); ok {
			if _, err := fmt.Sscanf(rest, "%d:", &line); err == nil {
				_, why, _ = strings.Cut(rest, ": ")
			}
		}
		return fmt.Errorf("%s:%d: not YAML: %s", file, line, why)
	}
	if doc.Kind == 0 {
		return nil // empty
	}
	m := doc.Content[0]
	at := func(n *yaml.Node, format string, a ...any) error {
		return fmt.Errorf("%s:%d: %w", file, n.Line, fmt.Errorf(format, a...))
	}
	if m.Kind != yaml.MappingNode {
		return at(m, "not a list of NAME: VALUE")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		name := key.Value
		flag := f.Lookup(name)
		switch {
		case key.Kind != yaml.ScalarNode || flag == nil || name == "config" || name == "help":
			return at(key, "unknown key %q (the keys are the flags of serve: sspemu serve --help)", name)
		case seen[name]:
			return at(key, "%s: is there twice", name)
		}
		seen[name] = true
		if flag.Changed {
			continue
		}
		values, err := scalars(value, strings.HasSuffix(flag.Value.Type(), "Array"))
		if err != nil {
			return at(value, "%s: %w", name, err)
		}
		for _, v := range values {
			if err := f.Set(name, v.Value); err != nil {
				var bad *pflag.InvalidValueError
				if errors.As(err, &bad) {
					err = bad.Unwrap()
				}
				return at(v, "%s: %q: %w", name, v.Value, err)
			}
		}
	}
	return nil
}

// scalars are the values of a key: one, or a list where the flag may be repeated.
func scalars(n *yaml.Node, many bool) ([]*yaml.Node, error) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode && many {
		list = n.Content
	}
	for _, v := range list {
		switch {
		case v.Kind == yaml.ScalarNode && v.Tag != "!!null":
		case many:
			return nil, errors.New("not a value or a list of values")
		default:
			return nil, errors.New("not one value")
		}
	}
	return list, nil
}
