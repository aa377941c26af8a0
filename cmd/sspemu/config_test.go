package main

import (
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	f := newServe().Flags()
	require.NoError(t, f.Parse([]string{"--active", "example"}))
	require.NoError(t, parseConfig("c.yaml", []byte(`
class: removable
active: telecom
seed: 0x10
link: [off, "vpcd://127.0.0.1:1"]
persona:
  - telecom=a.yaml
ephemeral: true
`), f))
	got := map[string]string{}
	f.Visit(func(x *pflag.Flag) { got[x.Name] = x.Value.String() })
	require.Equal(t, map[string]string{
		"class": "removable", "active": "example", "seed": "16", "link": "[off,vpcd://127.0.0.1:1]",
		"persona": "[telecom=a.yaml]", "ephemeral": "true",
	}, got)
	require.NoError(t, parseConfig("empty.yaml", nil, newServe().Flags()))
	require.NoError(t, parseConfig("comment.yaml", []byte("# nothing\n"), newServe().Flags()))
}

func TestConfigRefuses(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"sequence", "- a\n", "c.yaml:1: not a list of NAME: VALUE"},
		{"unknown", "class: removable\nhtml: 1\n", `c.yaml:2: unknown key "html"`},
		{"key is a list", "[a]: 1\n", `c.yaml:1: unknown key ""`},
		{"null", "class:\n", "c.yaml:1: class: not one value"},
		{"mapping", "link:\n  a: b\n", "c.yaml:2: link: not a value or a list of values"},
		{"list of lists", "link:\n  - [a]\n", "c.yaml:2: link: not a value or a list of values"},
		{"not a bool", "ephemeral: perhaps\n", `c.yaml:1: ephemeral: "perhaps": `},
		{"not a number", "seed: -1\n", `c.yaml:1: seed: "-1": `},
		{"tab", "a: b\n\tc: d\n", "c.yaml:2: not YAML: "},
		{"help", "help: true\n", `c.yaml:1: unknown key "help"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorContains(t, parseConfig("c.yaml", []byte(tt.yaml), newServe().Flags()), tt.want)
		})
	}
}

// FuzzConfig: a file is taken or refused, with a line, and never ends the program.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("class: removable\nlink: [off]\n"))
	f.Add([]byte("seed: 1\npersona:\n  - a=b\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("\tx"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := parseConfig("c.yaml", b, newServe().Flags()); err != nil {
			require.Regexp(t, `^c\.yaml:\d+: `, err.Error())
		}
	})
}
