package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// seen is what a handler sees of a request, as text.
func seen(r *http.Request) string {
	u, user := *r.URL, ""
	if u.User != nil { // %#v shows where it is, not what
		user, u.User = fmt.Sprint("user ", u.User), nil
	}
	head := fmt.Sprintf("%q %q %#v %q\n%q %d %d\n%q\nhost %q length %d coding %q close %t trailer %q", r.Method, r.RequestURI, u, user,
		r.Proto, r.ProtoMajor, r.ProtoMinor, r.Header, r.Host, r.ContentLength, r.TransferEncoding, r.Close, r.Trailer)
	b, err := io.ReadAll(r.Body)
	return fmt.Sprintf("%s\nbody %q %v", head, b, err)
}

var heads = []string{
	lines("GET / HTTP/1.1", "Host: a", "", ""),
	lines("GET /a?b=c&d=%20 HTTP/1.1", "Host: a:80", "User-Agent: curl/8.5.0", "Accept: */*", "", ""),
	lines("GET /%41%2f?%zz HTTP/1.1", "Host: a", "", ""),
	lines("GET /%zz HTTP/1.1", "Host: a", "", ""),
	lines("GET //a/b?c HTTP/1.1", "Host: a", "", ""),
	lines("GET /? HTTP/1.1", "Host: a", "", ""),
	lines("GET http://@:80/ HTTP/1.1", "Host: a", "", ""),
	lines("GET /?? HTTP/1.1", "Host: a", "", ""),
	lines("GET /a#b?c#d HTTP/1.1", "Host: a", "", ""),
	lines("GET /(a)!*'[x]\"<>?(b) HTTP/1.1", "Host: a", "", ""),
	lines("GET /-._~$&+,/:;=@%7e HTTP/1.1", "Host: a", "", ""),
	lines("GET /\xc3\xa4 HTTP/1.1", "Host: a", "X: \xc3\xa4", "", ""),
	lines("GET /a b HTTP/1.1", "Host: a", "", ""),
	lines("OPTIONS * HTTP/1.1", "Host: a", "", ""),
	lines("CONNECT /a HTTP/1.1", "Host: a", "", ""),
	lines("CONNECT a:1 HTTP/1.1", "Host: a", "", ""),
	lines("get / HTTP/1.1", "Host: a", "", ""),
	lines("X-Y / HTTP/1.1", "Host: a", "", ""),
	lines("GET / HTTP/1.2", "Host: a", "", ""),
	lines("GET / HTTP/1.1", "hOST:a", "dnt:1", "X-a-bC: \t x y\t ", "x-A-Bc:", "", ""),
	lines("GET / HTTP/1.1", "Host: a", "Connection: close", "", ""),
	lines("GET / HTTP/1.1", "Host: a", "Connection: keep-alive", "", ""),
	lines("GET / HTTP/1.1", "Host: a", "Connection: x, Close", "", ""),
	lines("GET / HTTP/1.1", "Host: a", "Connection: x", "Connection: close", "", ""),
	lines("GET / HTTP/1.1", "Host: a", "Pragma: no-cache", "", ""),
	lines("GET / HTTP/1.1", "Host: a", "Trailer: X", "", ""),
	lines("GET / HTTP/1.1", "Host:", "", ""),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 003", "", "abcd"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 0", "", "abcd"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 4", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length:", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 9223372036854775807", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 9223372036854775808", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Content-Length: 3", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Expect: 100-continue", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Expect:", "", "abc"),
	lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "3", "abc", "0", "", ""),
	"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a:b\r\n", 30) + "\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a:b\r\n", 40) + "\r\n",
	"GET /" + strings.Repeat("a", 5000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
}

// FuzzRequest: a handler sees the request that http.ReadRequest reads, whether its
// head came at once or in two pieces.
func FuzzRequest(f *testing.F) {
	for i, h := range heads {
		f.Add([]byte(h), uint16(i))
		f.Add([]byte(h), uint16(len(h)))
	}
	for _, tc := range exchanges {
		f.Add([]byte(tc.in), uint16(len(tc.in)))
	}
	var got []string
	s := handler(func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, seen(r))
		panic(http.ErrAbortHandler) // one request is enough
	})
	f.Fuzz(func(t *testing.T, in []byte, first uint16) {
		got = nil
		c := sdktest.New(t, func() sdk.App { return &s })
		c.PowerOn()
		p, err := c.Open(sdk.GateTCP, 1, plenty)
		require.NoError(t, err)
		n := min(len(in), int(first), p.Credit-1)
		p.Send(in[:n])
		if rest := min(len(in)-n, p.Credit-1); rest > 0 && !p.Closed {
			p.Send(in[n : n+rest])
			n += rest
		}
		if !p.Closed {
			require.NoError(t, p.Close(0))
		}
		if got == nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.TrimLeft(string(in[:n]), "\r\n"))))
		require.NoError(t, err)
		require.Equal(t, []string{seen(r)}, got)
	})
}

// TestContext: a request's context is one of package context for all that is made
// from it, and it ends with the connection.
func TestContext(t *testing.T) {
	type key struct{}
	var ctx, child, other context.Context
	after := make(chan struct{})
	_, p := open(t, func(_ http.ResponseWriter, r *http.Request) {
		ctx = r.Context()
		_, ok := ctx.Deadline()
		require.False(t, ok)
		require.Nil(t, ctx.Value(key{}))
		require.NoError(t, ctx.Err())
		if r.URL.Path == "/lazy" {
			return
		}
		var cancel context.CancelFunc
		child, cancel = context.WithCancel(context.WithValue(ctx, key{}, 1))
		defer cancel()
		other, cancel = context.WithTimeout(ctx, time.Hour)
		defer cancel()
		context.AfterFunc(ctx, func() { close(after) })
		require.NoError(t, context.Cause(ctx))
		require.Equal(t, 1, child.Value(key{}))
		_, err := io.ReadAll(r.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		for _, c := range []context.Context{ctx, child, other} {
			require.ErrorIs(t, c.Err(), context.Canceled)
			require.ErrorIs(t, context.Cause(c), context.Canceled)
			<-c.Done()
		}
		<-after
	})
	p.Send([]byte("GET /lazy HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.ErrorIs(t, context.Cause(ctx), context.Canceled)
	late, cancel := context.WithCancel(ctx)
	defer cancel()
	require.ErrorIs(t, late.Err(), context.Canceled)
	<-ctx.Done()
	p.Send([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"))
	require.NoError(t, child.Err())
	require.NoError(t, p.Close(1))
	require.ErrorIs(t, child.Err(), context.Canceled)
}
