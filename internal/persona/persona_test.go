package persona

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

const schema = `{
  "type": "object",
  "required": ["iccid", "pin"],
  "additionalProperties": false,
  "properties": {
    "iccid": {"type": "string", "pattern": "^[0-9]{19,20}$", "description": "19 or 20 digits"},
    "pin": {"$ref": "#/$defs/pin"},
    "files": {"type": "array", "maxItems": 2, "items": {
      "type": "object", "required": ["fid"], "additionalProperties": false,
      "properties": {"fid": {"type": "string"}, "size": {"type": "integer", "minimum": 1}, "kind": {"enum": ["transparent", "linear"]}}}},
    "alg": {"oneOf": [
      {"type": "object", "required": ["milenage"], "properties": {"milenage": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}}},
      {"type": "string", "const": "none"}]}
  },
  "$defs": {"pin": {"type": "string", "minLength": 4}}
}`

func TestConvert(t *testing.T) {
	doc, err := Convert([]byte("# a card\nb: [1, -2, true, null, ~, text, '01', 2026-01-31]\na: {6E07: 0x10}\nlong: x\n"), "p", nil)
	require.NoError(t, err)
	require.Equal(t, "a3"+"6161"+"a1"+"6436453037"+"10"+
		"6162"+"88"+"01"+"21"+"f5"+"f6"+"f6"+"6474657874"+"623031"+"6a323032362d30312d3331"+
		"646c6f6e67"+"6178", hex.EncodeToString(doc))

	again, err := Convert([]byte("long: x\na: &x {6E07: 16}\nb: [1, -2, true, null, ~, text, \"01\", '2026-01-31']\n"), "p", nil)
	require.NoError(t, err)
	require.Equal(t, doc, again, "the order of keys and the form of scalars do not matter")
}

func TestErrors(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := '1'; i <= '9'; i++ {
		prev := string(i - 1)
		bomb += "a" + string(i) + ": &a" + string(i) + " [" + strings.Repeat("*a"+prev+",", 9) + "*a" + prev + "]\n"
	}
	for _, tc := range []struct{ name, yaml, schema, want string }{
		{"empty", "", "", "f:1: is empty"},
		{"only comments", "# x\n", "", "f:1: is empty"},
		{"syntax", "a: 1\nb: [\n", "", "f:2: did not find expected node content"},
		{"tab", "a:\n\tb: 1\n", "", "f:2: found character that cannot start any token"},
		{"not UTF-8", "a: 1\nb: \xFF\n", "", "f:2: is not UTF-8"},
		{"two documents", "a: 1\n---\nb: 1\n", "", "f:2: a second document begins; a persona is one"},
		{"duplicate", "a: 1\nb:\n  c: 1\n  c: 2\n", "", "f:4: /b/c: the key is there twice"},
		{"key is a list", "[1]: 2\n", "", "f:1: a key must be a text"},
		{"merge", "a: &a {b: 1}\nc:\n  <<: *a\n", "", "f:3: /c: merge keys (<<) are not part of a persona"},
		{"float", "a:\n- 6E07\n", "", "f:2: /a/0: 6E07 is read as a number with a fraction or exponent; put it in quotes if it is a text"},
		{"long digits", "iccid: 89010000000000000012\n", "", "f:1: /iccid: 89010000000000000012 is too big for a number; put it in quotes if it is a text of digits"},
		{"binary", "a: !!binary AAAA\n", "", "f:1: /a: bytes are written as hexadecimal text"},
		{"own tag", "a: !x y\n", "", "f:1: /a: values of type !x are not part of a persona"},
		{"bomb", bomb, "", "f:2: /a4/4/2/5/1: more than 65536 values"},
		{"deep", strings.Repeat("[", 40) + strings.Repeat("]", 40), "", "f:1: " + strings.Repeat("/0", 33) + ": nested more than 32 deep"},
		{"huge", strings.Repeat("# filler\n", 1<<17), "", "f: is 1179648 bytes; 1048576 are allowed"},
		{"big document", "a: " + strings.Repeat("x", 70000), "", "f: is 70008 bytes as CBOR; 65536 are allowed"},

		{"lacks", "files: []\n", schema, "f:1: lacks iccid, pin"},
		{"number for text", "iccid: 123\npin: '1234'\n", schema, "f:1: /iccid: is a number; a text is needed (put it in quotes): 19 or 20 digits"},
		{"pattern", "iccid: '123'\npin: '1234'\n", schema, `f:1: /iccid: "123" does not match ^[0-9]{19,20}$: 19 or 20 digits`},
		{"unknown key", "iccid: '8901000000000000001'\npin: '1234'\nfiles:\n- fid: 6F07\n  sise: 3\n", schema,
			"f:5: /files/0/sise: is not known here; known are fid, kind, size"},
		{"two errors, the first line wins", "iccid: '8901000000000000001'\nfiles:\n- fid: 6F07\n  size: 0\n- {}\npin: '1'\n", schema,
			"f:4: /files/0/size: minimum: got 0, want 1 (and 2 more)"},
		{"enum", "iccid: '8901000000000000001'\npin: '1234'\nfiles:\n- fid: x\n  kind: cyclic\n", schema,
			"f:5: /files/0/kind: is cyclic; one of transparent, linear is needed"},
		{"alternatives", "iccid: '8901000000000000001'\npin: '1234'\nalg:\n  milenage:\n    k: 12\n", schema,
			"f:5: /alg/milenage/k: is a number; a text is needed (put it in quotes)"},
		{"not a map", "- 1\n", schema, "f:1: is a list; a map is needed"},
		{"schema is not JSON", "a: 1\n", "{", "schema: unexpected EOF"},
		{"schema looks outside", "a: 1\n", `{"$ref": "file:///etc/passwd"}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s []byte
			if tc.schema != "" {
				s = []byte(tc.schema)
			}
			_, err := Convert([]byte(tc.yaml), "f", s)
			require.Error(t, err)
			if tc.want == "" {
				require.Contains(t, err.Error(), "lies outside of the schema")
				return
			}
			require.Equal(t, tc.want, err.Error())
			var e *Error
			require.True(t, errors.As(err, &e))
		})
	}
}

func TestAliasToItself(t *testing.T) {
	_, err := Convert([]byte("a: &a [*a]\n"), "f", nil)
	require.Error(t, err)
}

func TestLocate(t *testing.T) {
	const y = "a: 1\nb:\n  c:\n  - x\n  - d/e: 2\n    f~: 3\n"
	for pointer, line := range map[string]int{
		"": 1, "/a": 1, "/b": 2, "/b/c": 3, "/b/c/0": 4, "/b/c/1/d~1e": 5, "/b/c/1/f~0": 6,
		"/b/c/7": 3, "/b/x": 2, "/x": 1, "nonsense": 1,
	} {
		require.Equal(t, line, Locate([]byte(y), pointer), pointer)
	}
	require.Equal(t, 1, Locate([]byte("["), "/a"))
}

// FuzzPersona: whatever the file is, it gives a document that a strict CBOR
// reader takes, or an *Error on one line.
func FuzzPersona(f *testing.F) {
	for _, s := range []string{"", "a: 1", "a: [1, -2, true, ~, 'x']\nb: {c: *x}", "a: &a [*a]", "? [1]\n: 2",
		"iccid: '8901000000000000001'\npin: '1234'\n", "a: !!binary x", "%YAML 1.1\n---\na: 0777", "<<: {a: 1}"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	strict, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: 64}.DecMode()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte, checked bool) {
		var s []byte
		if checked {
			s = []byte(schema)
		}
		doc, err := Convert(b, "f", s)
		if err != nil {
			var e *Error
			require.True(t, errors.As(err, &e))
			require.NotContains(t, e.Error(), "\n")
			require.GreaterOrEqual(t, Locate(b, e.Pointer), 1)
			return
		}
		var v any
		require.NoError(t, strict.Unmarshal(doc, &v))
	})
}
