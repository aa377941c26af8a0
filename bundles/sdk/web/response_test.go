package web_test

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// FuzzFields: the fields of a handler are sent as net/http sends them.
func FuzzFields(f *testing.F) {
	for _, s := range []string{"", "A\nb", "B\n1\nA\n2\nB\n3", "X\n \tspace\t ", "X\na\rb\x00c", "X Y\nno token", "\nno name", "\xc3\xa4\nno token",
		"a\n1\nA\n1", "Etag\n\"a\"", "Set-Cookie\na=b\nSet-Cookie\nc=d", "X\n\ra\r", "X\n!a!b!", "X\na\r Y: b"} {
		f.Add(s, uint16(200))
		f.Add(s, uint16(304))
	}
	h := http.Header{}
	status := 200
	s := handler(func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range h {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
	})
	f.Fuzz(func(t *testing.T, fields string, code uint16) {
		clear(h)
		status = 200 + int(code)%300
		for name, rest, more := strings.Cut(fields, "\n"); more; name, rest, more = strings.Cut(rest, "\n") {
			var v string
			v, rest, _ = strings.Cut(rest, "\n")
			h[name] = append(h[name], strings.ReplaceAll(v, "!", "\n"))
		}
		for _, k := range []string{"Date", "Connection", "Content-Length", "Transfer-Encoding", "Trailer"} {
			delete(h, k) // those of the server
		}
		var want bytes.Buffer
		require.NoError(t, h.WriteSubset(&want, map[string]bool{"Content-Type": status == 304}))

		c := sdktest.New(t, func() sdk.App { return &s })
		c.PowerOn()
		p, err := c.Open(sdk.GateTCP, 1, plenty)
		require.NoError(t, err)
		p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		_, got, _ := strings.Cut(string(p.Bytes()), "\r\n")
		require.Equal(t, want.String(), got[:min(len(got), want.Len())])
		require.NoError(t, p.Close(0))
	})
}

// FuzzContentType: what a handler gives no Content-Type gets the one of
// http.DetectContentType.
func FuzzContentType(f *testing.F) {
	for _, s := range []string{"hello", "<p>x", " <html>", "{}", "[1]", "12\r\n\t", "a\x00", "a\x1b", "a\x0c", "\xef\xbb\xbf", "ttcf", "wOFF", "GIF89a",
		strings.Repeat("a", 34) + "LP", strings.Repeat("a", 34) + "Lp", strings.Repeat("a", 34) + "xP" + strings.Repeat("a", 600),
		strings.Repeat("a", 511) + "\x00", strings.Repeat("a", 512) + "\x00", "\x00\x00\x00\x10ftypmp42\x00\x00\x00\x00"} {
		f.Add([]byte(s))
	}
	var body []byte
	s := handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		body = b
		c := sdktest.New(t, func() sdk.App { return &s })
		c.PowerOn()
		p, err := c.Open(sdk.GateTCP, 1, plenty)
		require.NoError(t, err)
		p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Bytes())), nil)
		require.NoError(t, err)
		require.Equal(t, http.DetectContentType(b), res.Header.Get("Content-Type"))
		require.NoError(t, p.Close(0))
	})
}
