package spectests

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// head is a suite up to its cases; line 7 is the first of them.
const head = `suite: x
standard: S
version: "1"
title: T
clauses: {"1": one, "2": two}
cases:
`

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no YAML", "{", "x.yaml: yaml: line 1"},
		{"empty", "", "x.yaml: no YAML document"},
		{"not a map", "[1]", "x.yaml:1: a suite is not a map"},
		{"lacks", "suite: x\n", "x.yaml:1: a suite lacks"},
		{"unknown member", head + "  - {id: a, clause: \"1\", title: t, stepz: []}", `x.yaml:7: a case has no "stepz"`},
		{"twice", head + "  - id: a\n    id: b\n", `x.yaml:8: a case has "id" twice`},
		{"unknown clause", head + "  - {id: a, clause: \"3\", title: t, steps: [{reset: cold}]}", `x.yaml:7: case "a": clause 3 is not in the list`},
		{"case twice", head + "  - {id: a, clause: \"1\", title: t, steps: [{reset: cold}]}\n  - {id: a, clause: \"1\", title: t, steps: [{reset: cold}]}", `x.yaml:8: case "a" is there twice`},
		{"no steps", head + "  - {id: a, clause: \"1\", title: t, steps: []}", `x.yaml:7: case "a" has no steps`},
		{"no sequence", head + "  - {id: a, clause: \"1\", title: t, given: none, steps: [{reset: cold}]}", `x.yaml:7: no sequence is called "none"`},
		{"not hexadecimal", head + "  - id: a\n    clause: \"1\"\n    title: t\n    steps:\n      - send: 00G4", `x.yaml:11: send: "G" is not hexadecimal`},
		{"half a byte", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00A\"}]}", `send: "00A" has half a byte`},
		{"placeholder", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00{Aid}\"}]}", `"{Aid}" is not a placeholder`},
		{"open placeholder", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00{aid\"}]}", "a placeholder that does not end"},
		{"form", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00{aid:xx}\"}]}", `the form "xx"`},
		{"status", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00\", sw: \"900\"}]}", `sw: "900" is not a status word`},
		{"pattern", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00\", expect: \"00<x>\"}]}", `"<x" is not a number of any bytes`},
		{"check", head + "  - {id: a, clause: \"1\", title: t, steps: [{check: nothing}]}", `check: there is no check "nothing"`},
		{"arguments", head + "  - {id: a, clause: \"1\", title: t, steps: [{check: length}]}", "check: length takes 1 arguments, not 0: the data has N bytes"},
		{"save", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00\", save: {v: some}}]}", `save: "some" is none of`},
		{"save name", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00\", save: {V: all}}]}", `save: "V" is not a name`},
		{"save tag", head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00\", save: {v: tlv 6X}}]}", `"6X" is not a path of tags`},
		{"reset", head + "  - {id: a, clause: \"1\", title: t, steps: [{reset: hot}]}", `reset: "hot" is neither cold nor warm`},
		{"two things", head + "  - {id: a, clause: \"1\", title: t, steps: [{reset: cold, send: \"00\"}]}", "a step sends or resets, not both"},
		{"nothing to do", head + "  - {id: a, clause: \"1\", title: t, steps: [{}]}", "this one does nothing"},
		{"nothing sent", head + "  - {id: a, clause: \"1\", title: t, steps: [{sw: \"9000\", check: atr}]}", "need something to send"},
		{"pointer", head + "  - {id: a, clause: \"1\", title: t, persona: {k: 1}, steps: [{reset: cold}]}", `"k" is not a JSON pointer`},
		{"clause twice", strings.Replace(head, "two}", "two, \"1\": again}", 1), "x.yaml:5: clause 1 is there twice"},
		{"another name", strings.Replace(head, "suite: x", "suite: y", 1) + "  - {id: a, clause: \"1\", title: t, steps: [{reset: cold}]}", `x.yaml: the suite calls itself "y", the file "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(c.text))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestNeeds: a case needs what no step of it has set before.
func TestNeeds(t *testing.T) {
	s, err := Parse("x.yaml", []byte(head+`
  - id: a
    clause: "1"
    title: t
    requires: [adm1]
    persona: {/a: null}
    steps:
      - {send: "00{pin1}", save: {kept: all}}
      - {send: "00{kept}{sw2}", expect: "{iccid}*", check: ["tlv 62 {imsi}", auc +1 next]}
      - {send: "{rand}"}
`))
	require.NoError(t, err)
	require.Equal(t, []string{"adm1", "amf", "iccid", "imsi", "k", "opc", AbilityPersonalise, "pin1"}, s.Cases[0].Needs)
}

func TestLoad(t *testing.T) {
	one := head + "  - {id: a, clause: \"1\", title: t, given: s, steps: [{use: s}]}"
	l, err := Load(fstest.MapFS{"x.yaml": {Data: []byte(one)}, "sequences.yaml": {Data: []byte("sequences: {s: [{reset: warm}, {send: \"00\"}]}")}})
	require.NoError(t, err)
	require.Len(t, l[0].Cases[0].Given, 2)
	require.Len(t, l[0].Cases[0].Steps, 2)
	require.Equal(t, "sequences.yaml:1", l[0].Cases[0].Given[0].Where)
	_, err = Load(fstest.MapFS{})
	require.ErrorContains(t, err, "no *.yaml")
	_, err = Load(fstest.MapFS{"sequences.yaml": {Data: []byte("sequences: {s: [{reset: hot}]}")}})
	require.ErrorContains(t, err, "sequences.yaml:1: reset")
}

// TestSuites counts what is built in, so that nothing gets lost unseen.
func TestSuites(t *testing.T) {
	suites, err := Suites()
	require.NoError(t, err)
	total := 0
	for _, s := range suites {
		total += len(s.Cases)
		require.NotEmpty(t, s.Cases, s.Name)
		titles := map[string]string{}
		for _, c := range s.Cases {
			require.Empty(t, titles[c.Title], "%s: %s has the title of another case", s.Name, c.ID)
			titles[c.Title] = c.ID
		}
	}
	require.GreaterOrEqual(t, total, 780)

	some, err := Select(suites, []string{"ts35207", "one_active", "one"})
	require.NoError(t, err)
	require.Len(t, some, 2)
	_, err = Select(suites, []string{"none"})
	require.ErrorContains(t, err, `there is no suite "none" (there are cells, coap, doc_9303_10, `)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + "  - {id: a, clause: \"1\", title: t, steps: [{send: \"00{a:lv}{b:3}\", expect: \"??<3>*\", sw: \"61??|9000\", save: {v: \"1:2\"}}]}"))
	f.Add([]byte(head + "  - {id: a, clause: \"1\", title: t, persona: {/a/b: [x]}, given: [], steps: [{reset: warm, check: [atr, tlv 62/83 3F00]}], finally: [{check: auc +1 next}]}"))
	f.Add([]byte(strings.Replace(head, "cases:", "sequences: {s: [{send: \"00\"}]}\ncases:", 1) + "  - {id: a, clause: \"2\", title: t, given: s, steps: [{use: s}]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse("x.yaml", b)
		if err != nil {
			require.Contains(t, err.Error(), "x.yaml")
			return
		}
		require.NotEmpty(t, s.Standard)
		for _, c := range s.Cases {
			require.NotEmpty(t, c.Steps)
		}
	})
}
