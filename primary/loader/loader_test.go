package loader

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bundle makes a module that has the entry points but those in without, and no
// code. A type section goes first, so that there is something to keep.
func bundle(without ...string) []byte {
	b := bytes.Clone(magic)
	b = append(b, 1, 4, 1, 0x60, 0, 0)
	var body []byte
	n := 0
	for _, e := range entryPoints {
		if strings.Contains(strings.Join(without, " "), e.name) {
			continue
		}
		body = appendULEB(body, len(e.name))
		body = append(body, e.name...)
		body = append(body, e.kind, 0)
		n++
	}
	b = append(b, sectionExportID)
	b = appendULEB(b, 1+len(body))
	b = append(b, byte(n))
	return append(b, body...)
}

const manifest = `{"abi":"1.0","name":"x","id":"6f0d7a52-4c1e-4b2a-9a37-5d1c8e3f2b10",
	"family":"c2a1f6de-8b34-4f7e-a5c9-0e7b6d4f3a21","version":"1.0","type":"APP"}`

func spb(t testing.TB) []byte {
	m, err := ParseManifest([]byte(manifest))
	require.NoError(t, err)
	b, err := Pack(bundle(), m, []byte("a: 1\n"), []byte(`{"required":["a"]}`))
	require.NoError(t, err)
	return b
}

func TestPackAndParse(t *testing.T) {
	m, err := ParseManifest([]byte(strings.Replace(manifest, `"type":`,
		`"title":"A <title>","atr":"3B 00","standards":["ETSI TS 102 221"],"type":`, 1)))
	require.NoError(t, err)
	b, err := Pack(bundle(), m, []byte("a: 1\n"), []byte(`{"required":["a"]}`))
	require.NoError(t, err)
	p, err := Parse(b)
	require.NoError(t, err)
	require.Equal(t, &Package{Manifest: m, Wasm: b, DefaultPersona: []byte("a: 1\n"), Schema: []byte(`{"required":["a"]}`)}, p)
	require.Equal(t, "6f0d7a52-4c1e-4b2a-9a37-5d1c8e3f2b10", p.ID.String())
	require.True(t, bytes.HasPrefix(b, bundle()), "the module itself is kept")

	again, err := Pack(b, m, []byte("a: 1\n"), []byte(`{"required":["a"]}`))
	require.NoError(t, err)
	require.Equal(t, b, again, "packing a package again changes nothing")

	bare, err := Pack(b, m, nil, nil)
	require.NoError(t, err)
	p, err = Parse(bare)
	require.NoError(t, err)
	require.Nil(t, p.DefaultPersona)
	require.Nil(t, p.Schema)
}

func TestPersona(t *testing.T) {
	p, err := Parse(spb(t))
	require.NoError(t, err)
	doc, err := p.Persona(nil, "")
	require.NoError(t, err)
	require.Equal(t, "a1616101", hex.EncodeToString(doc))
	doc, err = p.Persona([]byte("a: x"), "my.yaml")
	require.NoError(t, err)
	require.Equal(t, "a161616178", hex.EncodeToString(doc))
	_, err = p.Persona([]byte("\nb: x"), "my.yaml")
	require.EqualError(t, err, "my.yaml:2: lacks a")
	require.Equal(t, 3, p.Locate([]byte("b: 1\nc:\n- 1\n"), "/c/0"))
	require.Equal(t, 1, p.Locate(nil, "/a"))

	p.DefaultPersona, p.Schema = nil, nil
	doc, err = p.Persona(nil, "")
	require.NoError(t, err)
	require.Equal(t, "a0", hex.EncodeToString(doc))
}

func TestParseRefuses(t *testing.T) {
	good := spb(t)
	with := func(name, content string) []byte { return appendCustom(bytes.Clone(good), name, []byte(content)) }
	for name, tc := range map[string]struct {
		spb  []byte
		is   error
		want string
	}{
		"nothing":          {nil, ErrNotWasm, "bundle: not WebAssembly (a bundle begins with 00 61 73 6D 01 00 00 00)"},
		"something else":   {[]byte("\x7fELF\x01\x01\x01\x00"), ErrNotWasm, ""},
		"component":        {[]byte("\x00asm\x0d\x00\x01\x00"), ErrNotWasm, ""},
		"short head":       {good[:5], ErrTruncated, "bundle: truncated or damaged WebAssembly: it ends in the first 8 bytes"},
		"cut":              {good[:len(good)-1], ErrTruncated, ""},
		"section cut":      {good[:9], ErrTruncated, "bundle: truncated or damaged WebAssembly: at byte 8"},
		"unknown section":  {append(bytes.Clone(good), 0x40, 0), ErrTruncated, ""},
		"size lies":        {append(bytes.Clone(good), 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F), ErrTruncated, ""},
		"size over 32 bit": {append(bytes.Clone(good), 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F), ErrTruncated, ""},
		"size never ends":  {append(bytes.Clone(good), 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), ErrTruncated, ""},
		"exports lie":      {append(bytes.Clone(magic), 7, 1, 9), ErrTruncated, "bundle: truncated or damaged WebAssembly: in the section at byte 8"},
		"custom no name":   {append(bytes.Clone(magic), 0, 1, 9), ErrTruncated, ""},
		"too big":          {make([]byte, MaxSize+1), ErrTooBig, ""},
		"no manifest":      {bundle(), ErrMissing, "bundle: lacks the section ssp.manifest (pack it with `sspemu bundle pack`)"},
		"two manifests":    {with(sectionManifest, "{}"), ErrTruncated, "bundle: truncated or damaged WebAssembly: section ssp.manifest is there twice"},
		"broken manifest":  {appendCustom(bundle(), sectionManifest, []byte("{")), ErrManifest, "bundle: manifest: the JSON ends too early"},
		"lacks exports": {appendCustom(bundle("on_signal", "memory"), sectionManifest, []byte(manifest)), ErrMissing,
			"bundle: lacks the export memory, on_signal of bundle ABI 1.3 (docs/abi.md)"},
		"other ABI": {appendCustom(bundle(), sectionManifest, []byte(`{"abi":"2.0","new":1}`)), ErrManifest, `bundle: manifest: "new" is not a field of a manifest`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tc.spb)
			require.ErrorIs(t, err, tc.is)
			if tc.want != "" {
				require.EqualError(t, err, tc.want)
			}
		})
	}
	_, err := Parse(with("name", "any other custom section"))
	require.NoError(t, err)
}

func TestPackRefuses(t *testing.T) {
	m, err := ParseManifest([]byte(manifest))
	require.NoError(t, err)
	for want, pack := range map[string]func() ([]byte, error){
		"bundle x: not WebAssembly (a bundle begins with 00 61 73 6D 01 00 00 00)": func() ([]byte, error) { return Pack(nil, m, nil, nil) },
		"bundle x: lacks the export on_init of bundle ABI 1.3 (docs/abi.md)":       func() ([]byte, error) { return Pack(bundle("on_init"), m, nil, nil) },
		"persona.yaml:1: lacks b":                     func() ([]byte, error) { return Pack(bundle(), m, []byte("a: 1"), []byte(`{"required":["b"]}`)) },
		"persona.schema.json: schema: unexpected EOF": func() ([]byte, error) { return Pack(bundle(), m, nil, []byte(`{`)) },
	} {
		_, err := pack()
		require.EqualError(t, err, want)
	}
}

func TestManifest(t *testing.T) {
	set := func(old, new string) string { return strings.Replace(manifest, old, new, 1) }
	for name, tc := range map[string]struct{ json, want string }{
		"not JSON":        {"abi: 1", "is not a JSON object"},
		"list":            {"[]", "is not a JSON object"},
		"cut":             {manifest[:30], "the JSON ends too early"},
		"trailing":        {manifest + "{}", "something follows the JSON object"},
		"unknown":         {set(`"abi"`, `"x":1,"abi"`), `"x" is not a field of a manifest`},
		"other case":      {set(`"abi"`, `"ABI"`), `"ABI" is not a field of a manifest`},
		"twice":           {set(`"abi"`, `"type":"APP","abi"`), "type is there twice"},
		"no abi":          {set(`"abi":"1.0",`, ``), "lacks abi"},
		"other ABI":       {`{"abi":"2.0"}`, `abi: the bundle is for ABI "2.0", this platform speaks 1.3`},
		"abi not text":    {`{"abi":1}`, `abi: a number is not allowed here`},
		"no family":       {`{"abi":"1.0","name":"x","id":"6f0d7a52-4c1e-4b2a-9a37-5d1c8e3f2b10"}`, "lacks family"},
		"name":            {set(`"x"`, `"Two Words"`), `name: "Two Words": a lower-case letter, then letters, digits and -, up to 32 in all`},
		"type":            {set(`"APP"`, `"LLOS"`), `type: "LLOS": only APP can be a bundle (VPP table 7-6)`},
		"version":         {set(`"version":"1.0"`, `"version":"1.256"`), `version: "1.256" is not major.minor, each 0 to 255`},
		"version zeros":   {set(`"version":"1.0"`, `"version":"01.0"`), `version: "01.0" is not major.minor, each 0 to 255`},
		"id":              {set("6f0d7a52-4c1e-4b2a", "6f0d7a52-4c1e-1b2a"), `id: "6f0d7a52-4c1e-1b2a-9a37-5d1c8e3f2b10" is not a UUID of version 4 (VPP UUID_t)`},
		"id in braces":    {set("6f0d7a52-4c1e-4b2a-9a37-5d1c8e3f2b10", "{6f0d7a52-4c1e-4b2a-9a37-5d1c8e3f2b10}"), `id: "{6f0d7a52-4c1e-4b2a-9a37-5d1c8e3f2b10}" is not a UUID of version 4 (VPP UUID_t)`},
		"standards":       {set(`"abi"`, `"standards":"x","abi"`), "standards: a string is not allowed here"},
		"chaining":        {set(`"abi"`, `"chaining":"both","abi"`), `chaining: "both": platform or bundle`},
		"title":           {set(`"abi"`, `"title":"`+strings.Repeat("x", 201)+`","abi"`), "title: longer than 200 bytes"},
		"atr not hex":     {set(`"abi"`, `"atr":"3B0","abi"`), "atr: is not hexadecimal, two digits a byte"},
		"atr convention":  {set(`"abi"`, `"atr":"3C00","abi"`), "atr: has 2 to 33 bytes and begins with 3B or 3F"},
		"atr too short":   {set(`"abi"`, `"atr":"3B0241","abi"`), "atr: is 3 bytes; T0 and TD ask for 4"},
		"atr cut":         {set(`"abi"`, `"atr":"3B80","abi"`), "atr: ends within the interface bytes"},
		"atr too long":    {set(`"abi"`, `"atr":"3B8000FF","abi"`), "atr: is 4 bytes; T0 and TD ask for 3"},
		"atr without TCK": {set(`"abi"`, `"atr":"3B8001","abi"`), "atr: is 3 bytes; T0 and TD ask for 4"},
		"atr wrong TCK":   {set(`"abi"`, `"atr":"3B800180","abi"`), "atr: TCK is 80; 81 is right"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseManifest([]byte(tc.json))
			require.ErrorIs(t, err, ErrManifest)
			require.EqualError(t, err, "manifest: "+tc.want)
		})
	}
	for _, atr := range []string{"3B00", "3B024142", "3B800181", "3B9F96801F878031E073FE211B674A4C753034054BA9"} {
		_, err := ParseManifest([]byte(set(`"abi"`, `"atr":"`+atr+`","abi"`)))
		require.NoError(t, err, atr)
	}
}

// FuzzParse: whatever the bytes are, Parse gives a package that packs to itself,
// or one of its errors.
func FuzzParse(f *testing.F) {
	good := spb(f)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(bundle())
	f.Add(bytes.Clone(magic))
	f.Add(appendCustom(bundle("on_init"), sectionManifest, []byte(manifest)))
	f.Add(append(bytes.Clone(magic), 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		_, _ = p.Persona(nil, "")
		if checkPersona(p.DefaultPersona, "p", p.Schema) != nil {
			return
		}
		again, err := Pack(b, p.Manifest, p.DefaultPersona, p.Schema)
		require.NoError(t, err)
		q, err := Parse(again)
		require.NoError(t, err)
		require.Equal(t, p.Manifest, q.Manifest)
		require.Equal(t, p.DefaultPersona, q.DefaultPersona)
		require.Equal(t, p.Schema, q.Schema)
	})
}
