package web_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

var described = face.Description{Name: "name", Title: "Title"}

var faceHandler = web.Face(func() face.Description { return described }).ServeHTTP

// ask sends one request and reads the answer.
func ask(t testing.TB, p *sdktest.Pipe, method, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	in := method + " " + path + " HTTP/1.1\r\nHost: a\r\n"
	for _, f := range fields {
		in += f + "\r\n"
	}
	p.Send([]byte(in + "\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Bytes())), &http.Request{Method: method})
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

func TestFace(t *testing.T) {
	_, p := open(t, faceHandler)
	const html, json, cbor, problem = "text/html; charset=utf-8", "application/json", "application/cbor", "application/problem+json"
	for _, tc := range []struct {
		accept, kind string
	}{
		{"", html},
		{"Accept:", html},
		{"Accept: */*", html},
		{"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", html},
		{"Accept: application/json", json},
		{"Accept: Application/JSON; charset=utf-8", json},
		{"Accept: application/cbor", cbor},
		{"Accept: application/*", json},
		{"Accept: application/json;q=0.5, application/cbor", cbor},
		{"Accept: application/json;q=0.501, application/cbor;q=0.5", json},
		{"Accept: application/json;q=0, application/*", cbor},
		{"Accept: text/html;q=0, */*", json},
		{"Accept: text/html;q=0,*/*;q=0.1,application/json;q=0.0", cbor},
		{"Accept: */*;q=1, text/html;q=0.5", json},
		{"Accept: image/png\r\nAccept: application/cbor", cbor},
		{`Accept: text/plain;a=",application/json;q=1,";q=1, application/cbor;q=0.1`, cbor},
		{"Accept: text/*", html},
		{"Accept: image/png", problem},
		{"Accept: text/html;q=0", problem},
		{"Accept: text/html;q=2", problem},
		{"Accept: text/html;q=0.0001", problem},
		{"Accept: text/html;q=", problem},
		{"Accept: html", problem},
		{"Accept: */html", problem},
		{"Accept: ,;=\"", problem},
	} {
		fields := []string{tc.accept}
		if tc.accept == "" {
			fields = nil
		}
		res, body := ask(t, p, "GET", "/", fields...)
		require.Equal(t, tc.kind, res.Header.Get("Content-Type"), tc.accept)
		require.Equal(t, "Accept", res.Header.Get("Vary"))
		require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
		want := map[string][]byte{html: described.HTML(), json: described.JSON(), cbor: described.CBOR()}[tc.kind]
		if want == nil {
			require.Equal(t, 406, res.StatusCode)
			continue
		}
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, string(want), body)
		require.Equal(t, face.Policy, res.Header.Get("Content-Security-Policy"))
		head, none := ask(t, p, "HEAD", "/", fields...)
		require.Empty(t, none)
		require.Equal(t, strconv.Itoa(len(want)), head.Header.Get("Content-Length"))
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		res, _ := ask(t, p, method, "/")
		require.Equal(t, 405, res.StatusCode)
		require.Equal(t, "GET, HEAD", res.Header.Get("Allow"))
		require.Equal(t, problem, res.Header.Get("Content-Type"))
	}
	res, body := ask(t, p, "GET", "/other")
	require.Equal(t, 404, res.StatusCode)
	require.Equal(t, problem, res.Header.Get("Content-Type"))
	require.JSONEq(t, `{"title":"Not Found","status":404,"detail":"the description of the bundle is at /"}`, body)
}

// FuzzAccept: any Accept gets an answer.
func FuzzAccept(f *testing.F) {
	f.Add("text/html;q=0.5, application/json")
	f.Add(`a/b;c="\",";q=1.000,*/*;q=.1`)
	f.Add("*/*;q=0.1234;;=")
	f.Fuzz(func(t *testing.T, accept string) {
		w := &recorder{header: http.Header{}}
		r, err := http.NewRequest("GET", "/", nil)
		require.NoError(t, err)
		r.Header["Accept"] = []string{accept, accept}
		faceHandler(w, r)
		require.Contains(t, []int{0, 406}, w.status)
		require.NotZero(t, w.n)
	})
}

// recorder is an http.ResponseWriter that counts.
type recorder struct {
	header http.Header
	status int
	n      int
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }
