package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// site is a bundle that is nothing but its web server.
type site struct{ gates sdk.Gates }

func (*site) Personalise(*sdk.Doc) error              { return nil }
func (*site) Init(sdk.Reason) error                   { return nil }
func (*site) APDU(*sdk.Command, *sdk.Response) sdk.SW { return sdk.InsNotSupported }
func (*site) Signal(sdk.Signal)                       {}
func (s *site) Gates() sdk.Gates                      { return s.gates }
func handler(f func(http.ResponseWriter, *http.Request)) site {
	return site{sdk.Gates{TCP: web.New(http.HandlerFunc(f))}}
}

func card(t testing.TB, f func(http.ResponseWriter, *http.Request)) *sdktest.Card {
	s := handler(f)
	c := sdktest.New(t, func() sdk.App { return &s })
	c.PowerOn()
	return c
}

// plenty is more credit than any test uses up.
const plenty = 1 << 30

func open(t testing.TB, f func(http.ResponseWriter, *http.Request)) (*sdktest.Card, *sdktest.Pipe) {
	c := card(t, f)
	p, err := c.Open(sdk.GateTCP, 7, plenty)
	require.NoError(t, err)
	return c, p
}

// all is a handler that shows most of what there is.
func all(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		_, _ = io.WriteString(w, "hello "+r.Host)
	case "/echo":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			web.Problem(w, 400, err.Error())
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprintf(w, "%s %d %s", r.Method, r.ContentLength, b)
	case "/unread":
		w.WriteHeader(204)
	case "/flush":
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "two")
	case "/large":
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		for range n {
			_, _ = io.WriteString(w, "0123456789")
		}
	case "/panic":
		panic("at the disco")
	case "/late-panic":
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		panic("too late")
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/hints":
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		_, _ = w.Write([]byte("<html>"))
	case "/short":
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write([]byte("123"))
	case "/304":
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(304)
	case "/close":
		w.Header().Set("Connection", "close")
	case "/snapshot":
		h := w.Header()
		h.Set("A", "1")
		w.WriteHeader(201)
		h.Set("A", "2")
	default:
		web.Problem(w, 404, "")
	}
}

// dateless takes the Date fields out, checking that they are dates.
func dateless(t testing.TB, b []byte) string {
	t.Helper()
	s := string(b)
	for {
		before, rest, ok := strings.Cut(s, "Date: ")
		if !ok {
			return s
		}
		date, after, _ := strings.Cut(rest, "\r\n")
		_, err := http.ParseTime(date)
		require.NoError(t, err)
		s = before + after
	}
}

const crlf = "\r\n"

func lines(l ...string) string { return strings.Join(l, crlf) }

var exchanges = []struct{ name, in, out, end string }{
	{"GET", lines("GET / HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 7", "", "hello a"), ""},
	{"HEAD", lines("HEAD / HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 7", "", ""), ""},
	{"absolute form", lines("GET http://b:80/ HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 10", "", "hello b:80"), ""},
	{"lines end with LF", "\n\nGET / HTTP/1.1\nHost: a\n\n",
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 7", "", "hello a"), ""},
	{"the client closes", lines("GET / HTTP/1.1", "Host: a", "Connection: close", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 7", "Connection: close", "", "hello a"), "normal"},
	{"the handler closes", lines("GET /close HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Length: 0", "Connection: close", "", ""), "normal"},
	{"HTTP/1.0", lines("GET / HTTP/1.0", "", ""),
		lines("HTTP/1.0 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 6", "", "hello "), "normal"},
	{"HTTP/1.0 keep-alive", lines("GET / HTTP/1.0", "Connection: keep-alive", "", ""),
		lines("HTTP/1.0 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 6", "Connection: keep-alive", "", "hello "), ""},
	{"HTTP/1.0 of unknown length", lines("GET /flush HTTP/1.0", "Connection: keep-alive", "", ""),
		lines("HTTP/1.0 200 OK", "Content-Type: text/plain; charset=utf-8", "", "onetwo"), "normal"},
	{"chunks", lines("GET /flush HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Transfer-Encoding: chunked", "", "3", "one", "3", "two", "0", "", ""), ""},
	{"HEAD of chunks", lines("HEAD /flush HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "", ""), ""},
	{"the largest body that is counted", lines("GET /large?n=409 HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 4090", "", strings.Repeat("0123456789", 409)), ""},
	{"a larger one", lines("GET /large?n=410 HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Transfer-Encoding: chunked", "",
			"1000", strings.Repeat("0123456789", 409)+"012345", "4", "6789", "0", "", ""), ""},
	{"POST", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: 3", "", "abc"),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain", "Content-Length: 10", "", "POST 3 abc"), ""},
	{"POST of chunks", lines("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "1", "a", "2;ext=1", "bc", "0", "Trailer: x", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain", "Content-Length: 11", "", "POST -1 abc"), ""},
	{"two requests at once", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: 3", "", "abcGET /304 HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain", "Content-Length: 10", "", "POST 3 abcHTTP/1.1 304 Not Modified", `Etag: "1"`, "", ""), ""},
	{"a body that nobody wants", lines("POST /unread HTTP/1.1", "Host: a", "Content-Length: 3", "", "abcGET /304 HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 204 No Content", "", "HTTP/1.1 304 Not Modified", `Etag: "1"`, "", ""), ""},
	{"a large body that nobody wants", lines("POST /unread HTTP/1.1", "Host: a", "Content-Length: 65537", "", "abc"),
		lines("HTTP/1.1 204 No Content", "Connection: close", "", ""), "normal"},
	{"chunks that nobody wants", lines("POST /unread HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "1", "a", "0", "", "GET /304 HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 204 No Content", "", "HTTP/1.1 304 Not Modified", `Etag: "1"`, "", ""), ""},
	{"100 when the body is read", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: 3", "Expect: 100-continue", "", ""),
		lines("HTTP/1.1 100 Continue", "", ""), ""},
	{"no 100 when it is not", lines("POST /unread HTTP/1.1", "Host: a", "Content-Length: 3", "Expect: 100-continue", "", ""),
		lines("HTTP/1.1 204 No Content", "Connection: close", "", ""), "normal"},
	{"another expectation", lines("POST /unread HTTP/1.1", "Host: a", "Content-Length: 3", "Expect: the unexpected", "", ""), "417", "normal"},
	{"an interim response", lines("GET /hints HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 103 Early Hints", "Link: </a.css>", "", "HTTP/1.1 200 OK", "Content-Type: text/html; charset=utf-8", "Content-Length: 6", "", "<html>"), ""},
	{"fields are those of WriteHeader", lines("GET /snapshot HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 201 Created", "A: 1", "Content-Length: 0", "", ""), ""},
	{"a body that is too short", lines("GET /short HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Content-Length: 5", "", "123"), "reset"},
	{"panic", lines("GET /panic HTTP/1.1", "Host: a", "", ""), "500", "normal"},
	{"panic after the head", lines("GET /late-panic HTTP/1.1", "Host: a", "", ""),
		lines("HTTP/1.1 200 OK", "Content-Type: text/plain; charset=utf-8", "Transfer-Encoding: chunked", "", "3", "one", ""), "reset"},
	{"abort", lines("GET /abort HTTP/1.1", "Host: a", "", ""), "", "reset"},

	// What is refused. Smuggling: what another server might read differently.
	{"no HTTP", "hello\r\n\r\n", "400", "normal"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "400", "normal"},
	{"HTTP/0.9", "GET /\r\n\r\n", "400", "normal"},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", "normal"},
	{"no Host", lines("GET / HTTP/1.1", "", ""), "400", "normal"},
	{"two Hosts", lines("GET / HTTP/1.1", "Host: a", "Host: b", "", ""), "400", "normal"},
	{"Host of other characters", lines("GET / HTTP/1.1", "Host: a/b", "", ""), "400", "normal"},
	{"two lengths", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: 3", "Content-Length: 4", "", "abcd"), "400", "normal"},
	{"a list of lengths", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: 3, 3", "", "abcd"), "400", "normal"},
	{"length with a sign", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: +3", "", "abc"), "400", "normal"},
	{"negative length", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: -3", "", "abc"), "400", "normal"},
	{"length and chunks", lines("POST /echo HTTP/1.1", "Host: a", "Content-Length: 5", "Transfer-Encoding: chunked", "", "0", "", ""), "400", "normal"},
	{"chunks and length", lines("POST /echo HTTP/1.1", "Host: a", "TRANSFER-ENCODING: chunked", "content-length: 5", "", "0", "", ""), "400", "normal"},
	{"chunks in HTTP/1.0", lines("POST /echo HTTP/1.0", "Transfer-Encoding: chunked", "", "0", "", ""), "400", "normal"},
	{"another coding", lines("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked", "", "0", "", ""), "501", "normal"},
	{"two codings", lines("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "", "0", "", ""), "501", "normal"},
	{"coding with a space", lines("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding : chunked", "", "0", "", ""), "400", "normal"},
	{"coding with \\v", lines("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding: \vchunked", "", "0", "", ""), "400", "normal"},
	{"folded", lines("POST /echo HTTP/1.1", "Host: a", "X: a", " Content-Length: 3", "", "abc"), "400", "normal"},
	{"first field with a space", lines("GET / HTTP/1.1", " Host: a", "", ""), "400", "normal"},
	{"bare CR", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "400", "normal"},
	{"CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400", "normal"},
	{"NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", "400", "normal"},
	{"no name", lines("GET / HTTP/1.1", "Host: a", ": x", "", ""), "400", "normal"},
	{"no colon", lines("GET / HTTP/1.1", "Host: a", "X", "", ""), "400", "normal"},
	{"bad chunk", lines("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "x", "a", "0", "", ""),
		"400", "normal"},
	{"chunk longer than its size", lines("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "1", "abc", "0", "", ""),
		"400", "normal"},
	{"101 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a:b\r\n", 100) + "\r\n", "431", "normal"},
}

// ended is how the bundle ended the session.
func ended(p *sdktest.Pipe) string {
	switch {
	case !p.Closed:
		return ""
	case p.Reason == 0:
		return "normal"
	case p.Reason == 1:
		return "reset"
	}
	return "reason " + strconv.Itoa(int(p.Reason))
}

func TestExchanges(t *testing.T) {
	for _, tc := range exchanges {
		t.Run(tc.name, func(t *testing.T) {
			_, p := open(t, all)
			p.Send([]byte(tc.in))
			requireExchange(t, p, tc.out, tc.end)
		})
	}
}

// TestEveryOctetAlone is TestExchanges, one octet a message.
func TestEveryOctetAlone(t *testing.T) {
	for _, tc := range exchanges {
		t.Run(tc.name, func(t *testing.T) {
			_, p := open(t, all)
			for i := range len(tc.in) {
				if !p.Closed {
					p.Send([]byte{tc.in[i]})
				}
			}
			requireExchange(t, p, tc.out, tc.end)
		})
	}
}

func requireExchange(t *testing.T, p *sdktest.Pipe, out, end string) {
	t.Helper()
	got := dateless(t, p.Bytes())
	if len(out) == 3 { // a status: a problem
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
		require.NoError(t, err, got)
		require.Equal(t, out, strconv.Itoa(res.StatusCode), got)
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Contains(t, string(b), `"status":`+out)
		require.True(t, res.Close)
	} else {
		require.Equal(t, out, got)
	}
	require.Equal(t, end, ended(p))
}
