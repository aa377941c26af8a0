package face_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk/face"
)

var card = face.Description{
	Name: "telecom", Title: "USIM on a UICC",
	Standards: []string{"ETSI TS 102 221", "3GPP TS 31.102"},
	Persona:   []face.Field{{Name: "ICCID", Value: "8900101000000000001"}},
	PINs: []face.PIN{
		{Name: "PIN1", Enabled: true, Verified: true, Left: 3, Most: 3, Unblock: 10, UnblocksMost: 10},
		{Name: "ADM1", Enabled: true, Left: 0, Most: 5},
	},
	Counters:     []face.Counter{{Name: "files", Value: 40}, {Name: "below zero", Value: -300}},
	Applications: []face.Application{{AID: []byte{0xA0, 0, 0, 0, 0x87, 0x10, 2}, Label: "USIM"}},
}

const cardJSON = `{"name":"telecom","title":"USIM on a UICC","standards":["ETSI TS 102 221","3GPP TS 31.102"],` +
	`"persona":{"ICCID":"8900101000000000001"},"pins":[` +
	`{"name":"PIN1","enabled":true,"verified":true,"blocked":false,"tries_left":3,"tries":3,"unblock_tries_left":10,"unblock_tries":10},` +
	`{"name":"ADM1","enabled":true,"verified":false,"blocked":true,"tries_left":0,"tries":5}],` +
	`"counters":{"files":40,"below zero":-300},"applications":[{"aid":"A0000000871002","label":"USIM"}]}` + "\n"

const emptyJSON = `{"name":"","title":"","standards":[],"persona":{},"pins":[],"counters":{},"applications":[]}` + "\n"

func TestJSON(t *testing.T) {
	require.Equal(t, cardJSON, string(card.JSON()))
	require.Equal(t, emptyJSON, string(face.Description{}.JSON()))
}

// TestCBOR: CBOR holds what JSON does, but for AIDs, and is deterministic.
func TestCBOR(t *testing.T) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	require.NoError(t, err)
	for _, n := range []int64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<63 - 1, -1, -24, -25, -1 << 63} {
		d := card
		d.Counters = []face.Counter{{Name: "n", Value: n}, {Name: strings.Repeat("n", 300), Value: 1}, {Name: "m", Value: 2}}
		var v map[string]any
		require.NoError(t, cbor.Unmarshal(d.CBOR(), &v))
		again, err := mode.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, again, d.CBOR())
	}
	var got struct {
		Applications []struct {
			AID   []byte `cbor:"aid"`
			Label string `cbor:"label"`
		} `cbor:"applications"`
		PINs []map[string]any `cbor:"pins"`
	}
	require.NoError(t, cbor.Unmarshal(card.CBOR(), &got))
	require.Equal(t, card.Applications[0].AID, got.Applications[0].AID)
	require.Equal(t, map[string]any{"name": "ADM1", "enabled": true, "verified": false, "blocked": true, "tries_left": uint64(0), "tries": uint64(5)}, got.PINs[1])
}

func TestHTML(t *testing.T) {
	page := string(card.HTML())
	for _, want := range []string{
		"<h1>USIM on a UICC</h1>", "<li>ETSI TS 102 221</li>", "<dt>ICCID</dt><dd>8900101000000000001</dd>",
		`<h2 id="pins">PINs</h2>`, `<th scope="col">Tries left</th>`, `<th scope="row">ADM1</th><td>yes</td><td>no</td><td>yes</td><td>0</td><td>5</td><td></td><td></td>`,
		"<dt>Files</dt><dd>40</dd>", `<th scope="row"><code>A0000000871002</code></th><td>USIM</td>`,
	} {
		require.Contains(t, page, want)
	}
	for _, no := range []string{"http", "src=", "href", "script"} {
		require.NotContains(t, page, no, "nothing from elsewhere")
	}
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	require.Contains(t, face.Policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")

	empty := string(face.Description{Name: "n"}.HTML())
	require.Contains(t, empty, "<h1>n</h1>")
	require.NotContains(t, empty, "<section")
}

// FuzzTexts: whatever a card holds, what leaves is well-formed and says the same.
func FuzzTexts(f *testing.F) {
	f.Add("a<b>&\"'", "\x00\xff\u0085", []byte{1})
	f.Add("name", "name", []byte(nil))
	f.Add("", "</style><script>", []byte("x"))
	f.Fuzz(func(t *testing.T, a, b string, aid []byte) {
		d := face.Description{
			Name: a, Title: b, Standards: []string{a}, Persona: []face.Field{{Name: a, Value: b}, {Name: b, Value: a}},
			Counters: []face.Counter{{Name: a}, {Name: b}}, Applications: []face.Application{{AID: aid, Label: a}},
			PINs: []face.PIN{{Name: b}},
		}
		var fromJSON, fromCBOR map[string]any
		require.NoError(t, json.Unmarshal(d.JSON(), &fromJSON))
		require.NoError(t, cbor.Unmarshal(d.CBOR(), &fromCBOR))
		require.Equal(t, fromJSON["persona"], texts(fromCBOR["persona"]))
		page := d.HTML()
		require.Equal(t, 1, bytes.Count(page, []byte("<style>")))
		require.NotContains(t, string(page), "<script>")
		require.True(t, bytes.HasSuffix(page, []byte("</html>\n")))
	})
}

// texts is v with keys of the type that JSON has.
func texts(v any) map[string]any {
	m := map[string]any{}
	for k, e := range v.(map[any]any) {
		m[k.(string)] = e
	}
	return m
}
