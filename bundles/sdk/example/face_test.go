package example_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/example"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// ask sends a request on a connection of its own.
func ask(t testing.TB, card *sdktest.Card, request string) (*http.Response, string) {
	t.Helper()
	p, err := card.Open(sdk.GateTCP, 1, 1<<20)
	require.NoError(t, err)
	p.Send([]byte(request + " HTTP/1.1\r\nHost: card\r\nAccept: application/json\r\nContent-Length: 0\r\n\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Bytes())), nil)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, p.Close(0))
	return res, string(b)
}

func TestCounterPage(t *testing.T) {
	card := newCard(t)
	for _, tc := range []struct {
		request string
		status  int
		body    string
	}{
		{"GET /counter", 200, "41\n"},
		{"POST /counter", 200, "42\n"},
		{"POST /counter", 200, "43\n"},
		{"GET /counter", 200, "43\n"},
		{"DELETE /counter", 405, `{"title":"Method Not Allowed","status":405}` + "\n"},
		{"GET /count", 404, `{"title":"Not Found","status":404,"detail":"the description of the bundle is at /"}` + "\n"},
	} {
		res, body := ask(t, card, tc.request)
		require.Equal(t, tc.status, res.StatusCode, tc.request)
		require.Equal(t, tc.body, body, tc.request)
	}
	card.PowerOn()
	play(t, card, selectApp+" > "+fci+"\n80 12 0000 04 > 0000002B 9000")
}

func TestCounterPageEnds(t *testing.T) {
	card := sdktest.New(t, func() sdk.App { return example.New() })
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	require.NoError(t, card.PersonaliseYAML([]byte("{label: x, counter: 4294967295, pin: {value: '0000', tries: 1}}"), schema))
	res, _ := ask(t, card, "POST /counter")
	require.Equal(t, 409, res.StatusCode)
}

func TestFace(t *testing.T) {
	card := newCard(t)
	state := func() string {
		_, b := ask(t, card, "GET /")
		return b
	}
	const before = `{"name":"example","title":"First bundle: a counter behind a PIN","standards":["ISO/IEC 7816-4"],` +
		`"persona":{"label":"sspemu example"},"pins":[{"name":"PIN","enabled":true,`
	const after = `"tries":3}],"counters":{"counter":41},"applications":[{"aid":"F0535350454D5501","label":"sspemu example"}]}` + "\n"
	require.Equal(t, before+`"verified":false,"blocked":false,"tries_left":3,`+after, state())
	play(t, card, selectApp+" > "+fci+"\n00 20 0001 04 31323334 > 9000")
	require.Equal(t, before+`"verified":true,"blocked":false,"tries_left":3,`+after, state())
	for _, sw := range []string{"63C2", "63C1", "63C0"} {
		play(t, card, "00 20 0001 04 39393939 > "+sw)
	}
	require.Equal(t, before+`"verified":false,"blocked":true,"tries_left":0,`+after, state())

	var manifest struct{ Name, Title string }
	b, err := os.ReadFile("bundle.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &manifest))
	require.Contains(t, before, manifest.Title)
	require.Contains(t, before, manifest.Name)
}

// TestFile: the counter can be read at the file system gate.
func TestFile(t *testing.T) {
	c := newCard(t)
	ask := func(instruction byte, in string) string {
		b, err := c.Bundle().Message(sdk.GateFiles, 0, instruction, []byte(in))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	require.Equal(t, "\x02\x00\x00\x00\x02\x07counter", ask(sdk.FileList, "/"))
	require.Equal(t, "41", ask(sdk.FileRead, "\x00\x08/counter\x00\x00\x00\x00\x00\x00\x00\x09"))
	require.Equal(t, sdk.ErrUnknownID.Error(), ask(sdk.FileRead, "\x00\x02/x\x00\x00\x00\x00\x00\x00\x00\x09"))
	require.Equal(t, sdk.ErrAccessDenied.Error(), ask(sdk.FileWrite, "\x00\x08/counter\x00\x00\x00\x00\x37"))
	require.Equal(t, sdk.ErrIllegalParameter.Error(), ask(sdk.FileList, "/counter"))
}
