package sdk

import (
	"encoding/hex"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

func encode(t testing.TB, v any) []byte {
	m, err := cbor.CoreDetEncOptions().EncMode()
	require.NoError(t, err)
	b, err := m.Marshal(v)
	require.NoError(t, err)
	return b
}

func parse(t testing.TB, v any) *Doc {
	d, err := ParseDoc(encode(t, v))
	require.NoError(t, err)
	return d
}

type m = map[string]any

func TestDoc(t *testing.T) {
	long := make([]any, 300)
	for i := range long {
		long[i] = i * 1000
	}
	d := parse(t, m{"text": "héllo", "hex": "00 aB ff", "n": -1 << 63, "yes": true, "null": nil, "raw": []byte{1, 2},
		"list": []any{1, "x", []any{}}, "a/b~c": m{"k": 7}, "long": long})
	require.Equal(t, "héllo", d.Get("text").Text())
	require.Equal(t, []byte{0, 0xAB, 0xFF}, d.Get("hex").Hex())
	require.Equal(t, int64(-1<<63), d.Get("n").Int(-1<<63, 1<<63-1))
	require.True(t, d.Get("yes").Bool())
	require.Equal(t, []byte{1, 2}, d.Get("raw").Bytes())
	require.Equal(t, int64(7), d.Get("a/b~c").Get("k").Int(0, 9))
	require.Equal(t, "/a~1b~0c/k", d.Get("a/b~c").Get("k").Pointer())
	for name, exists := range map[string]bool{"text": true, "null": false, "none": false} {
		require.Equal(t, exists, d.Has(name), name)
	}
	var kinds []Kind
	for i, v := range d.Get("list").Items() {
		kinds = append(kinds, v.Kind())
		require.Equal(t, "/list/"+itoa(int64(i)), v.Pointer())
	}
	require.Equal(t, []Kind{Int, Text, List}, kinds)
	sum := int64(0)
	for _, v := range d.Get("long").Items() {
		sum += v.Int(0, 1<<20)
	}
	require.Equal(t, int64(299*300/2*1000), sum)
	var names []string
	for name := range d.Members() {
		names = append(names, name)
	}
	require.Equal(t, []string{"n", "hex", "raw", "yes", "list", "long", "null", "text", "a/b~c"}, names)
	for name, n := range map[string]int{"text": 6, "raw": 2, "list": 3, "a/b~c": 1, "n": 0, "none": 0} {
		require.Equal(t, n, d.Get(name).Len(), name)
	}
	for range d.Get("none").Items() {
		t.Fatal("an absent list has items")
	}
	for range d.Get("none").Get("deeper").Members() {
		t.Fatal("an absent map has members")
	}
	require.NoError(t, d.Err())
}

func TestDocErrors(t *testing.T) {
	for want, read := range map[string]func(d *Doc){
		"/none: lacks; a text is needed":               func(d *Doc) { d.Get("none").Text() },
		"/a/none: lacks; a whole number is needed":     func(d *Doc) { d.Get("a").Get("none").Int(0, 1) },
		"/text: is a text; a whole number is needed":   func(d *Doc) { d.Get("text").Int(0, 1) },
		"/text: is a text; a map is needed":            func(d *Doc) { d.Get("text").Get("x") },
		"/text: is a text; a list is needed":           func(d *Doc) { d.Get("text").Items()(nil) },
		"/list/1: is 300; 0 to 255 is needed":          func(d *Doc) { items(d.Get("list"), func(v *Doc) { v.Int(0, 255) }) },
		"/text: is not hexadecimal, two digits a byte": func(d *Doc) { d.Get("text").Hex() },
		"/odd: is not hexadecimal, two digits a byte":  func(d *Doc) { d.Get("odd").Hex() },
		"/null: is null; a truth value is needed":      func(d *Doc) { d.Get("null").Bool() },
		": is a map; a text is needed":                 func(d *Doc) { d.Text(); d.Get("text").Int(0, 0) },
		"/a: own words":                                func(d *Doc) { d.Get("a").Fail("own words"); d.Fail("later") },
		"/list: is a list; bytes is needed":            func(d *Doc) { d.Get("list").Bytes() },
	} {
		d := parse(t, m{"text": "xy", "odd": "123", "list": []any{255, 300}, "null": nil, "a": m{}})
		read(d)
		require.EqualError(t, d.Err(), want)
	}
	d := parse(t, m{"a": 1})
	require.EqualError(t, d.Get("a").Refuse("no"), "/a: no")
	require.NoError(t, d.Err())
}

func items(d *Doc, f func(*Doc)) {
	for _, v := range d.Items() {
		f(v)
	}
}

func TestParseDocRefuses(t *testing.T) {
	deep := ""
	for range maxDepth + 1 {
		deep += "81"
	}
	for name, tc := range map[string]struct{ cbor, why string }{
		"nothing":            {"", errDocTrunc},
		"cut text":           {"6261", errDocTrunc},
		"cut list":           {"8201", errDocTrunc},
		"cut head":           {"19", errDocForm},
		"lying list":         {"9AFFFFFFFF00", errDocTrunc},
		"lying map":          {"BBFFFFFFFFFFFFFFFF00", errDocTrunc},
		"trailing":           {"0000", errDocTrail},
		"long form":          {"1817", errDocForm},
		"long form 2":        {"190017", errDocForm},
		"long form 4":        {"1A00000017", errDocForm},
		"long form 8":        {"1B0000000000000017", errDocForm},
		"indefinite":         {"9F00FF", errDocForm},
		"float":              {"F93C00", errDocForm},
		"undefined":          {"F7", errDocForm},
		"tag":                {"C001", errDocForm},
		"beyond int64":       {"1B8000000000000000", errDocForm},
		"beyond int64 below": {"3B8000000000000000", errDocForm},
		"not UTF-8":          {"61FF", errDocForm},
		"key not text":       {"A10000", errDocForm},
		"keys out of order":  {"A2616200616100", errDocForm},
		"key twice":          {"A2616100616101", errDocForm},
		"longer key first":   {"A262616100616200", errDocForm},
		"too deep":           {deep + "00", errDocDepth},
	} {
		b, err := hex.DecodeString(tc.cbor)
		require.NoError(t, err)
		_, err = ParseDoc(b)
		require.EqualError(t, err, ": "+tc.why, name)
	}
}

// FuzzDoc: what ParseDoc takes is what the reference decoder reads, in the same
// encoding, and walking over all of it with every reader never panics.
func FuzzDoc(f *testing.F) {
	for _, v := range []any{nil, true, -1, "x", []byte{1}, []any{1, m{"a": []any{}}}, m{"a": 1, "bb": m{"c": "x"}}} {
		f.Add(encode(f, v))
	}
	f.Add([]byte{0x9F, 0xFF})
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 64}.DecMode()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDoc(b)
		if err != nil {
			return
		}
		walk(d)
		var v any
		require.NoError(t, dec.Unmarshal(b, &v))
		require.Equal(t, b, encode(t, v))
	})
}

func walk(d *Doc) {
	_, _, _, _, _, _ = d.Text(), d.Bytes(), d.Hex(), d.Int(0, 9), d.Bool(), d.Len()
	_, _, _ = d.Pointer(), d.Err(), d.Get("a").Exists()
	for _, v := range d.Items() {
		walk(v)
	}
	for _, v := range d.Members() {
		walk(v)
	}
}
