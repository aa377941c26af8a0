package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/scl/terminal/proxy"
)

// front is a proxy.HTTP that listens, with a real HTTP server in place of the bundle.
type front struct {
	addr, url string
	client    *http.Client
	dials     atomic.Int32
}

func serveHTTP(tb testing.TB, h http.HandlerFunc) *front {
	bundle := httptest.NewUnstartedServer(h)
	bundle.Config.DisableGeneralOptionsHandler = true
	bundle.Start()
	tb.Cleanup(bundle.Close)
	f := &front{}
	rt := terminal.NewHTTP(func(ctx context.Context) (net.Conn, error) {
		f.dials.Add(1)
		return new(net.Dialer).DialContext(ctx, "tcp", bundle.Listener.Addr().String())
	})
	f.serve(tb, rt)
	tb.Cleanup(rt.CloseIdleConnections)
	return f
}

// serve opens a port for a bundle that is asked with rt.
func (f *front) serve(tb testing.TB, rt http.RoundTripper) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan error)
	go func() { ended <- proxy.NewHTTP(rt).Serve(ctx, ln) }()
	f.addr = ln.Addr().String()
	f.url = "http://" + f.addr
	f.client = &http.Client{Transport: &http.Transport{DisableCompression: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	tb.Cleanup(func() {
		f.client.CloseIdleConnections()
		cancel()
		require.NoError(tb, <-ended)
	})
}

// raw is a connection of a client that speaks for itself.
func (f *front) raw(tb testing.TB) (net.Conn, *bufio.Reader) {
	conn, err := net.Dial("tcp", f.addr)
	require.NoError(tb, err)
	require.NoError(tb, conn.SetDeadline(time.Now().Add(30*time.Second)))
	tb.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

// response reads a response with its body.
func response(tb testing.TB, r *bufio.Reader, method string) (*http.Response, string) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	require.NoError(tb, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(tb, err)
	return resp, string(b)
}

func do(tb testing.TB, f *front, method, path string, body io.Reader) (*http.Response, string) {
	r, err := http.NewRequestWithContext(tb.Context(), method, f.url+path, body)
	require.NoError(tb, err)
	resp, err := f.client.Do(r)
	require.NoError(tb, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(tb, err)
	return resp, string(b)
}

// TestHTTPAsItIs: what the bundle and the client see of each other.
func TestHTTPAsItIs(t *testing.T) {
	f := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Content-Type"] = nil
		h["Connection"] = []string{"x-mine, x-other"}
		h["Keep-Alive"] = []string{"timeout=5"}
		h["X-Mine"] = []string{"1"}
		h["Upgrade"] = []string{"tea"}
		h["X-Many"] = []string{"a", "b"}
		h["Date"] = []string{"Sat, 01 Jan 2000 00:00:00 GMT"}
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
		_ = r.Header.Write(w)
	})
	conn, r := f.raw(t)
	fmt.Fprint(conn, "BREW /a%2Fb//c/../d%20e;f?x=%zz&y=1|2 HTTP/1.1\r\nHost: example.org:99\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"+
		"Keep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\nX-Two: a\r\nX-Two: b\r\nAuthorization: Bearer y\r\nUpgrade: h2c\r\n\r\n")
	resp, b := response(t, r, "BREW")
	require.Equal(t, http.StatusTeapot, resp.StatusCode)
	require.Equal(t, "BREW /a%2Fb//c/../d%20e;f?x=%zz&y=1|2 example.org:99\nAuthorization: Bearer y\r\nX-Two: a\r\nX-Two: b\r\n", b)
	require.Equal(t, http.Header{
		"X-Many": {"a", "b"}, "Date": {"Sat, 01 Jan 2000 00:00:00 GMT"}, "Content-Length": {fmt.Sprint(len(b))},
	}, resp.Header)
	fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: h\r\nUser-Agent: test\r\n\r\n")
	_, b = response(t, r, "OPTIONS")
	require.Equal(t, "OPTIONS * h\nUser-Agent: test\r\n", b)
	fmt.Fprint(conn, "GET http://other/x HTTP/1.1\r\nHost: h\r\n\r\n")
	_, b = response(t, r, "GET")
	require.Equal(t, "GET /x other\n", b)
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	resp, b = response(t, r, "GET")
	require.Equal(t, "GET / \n", b)
	require.True(t, resp.Close)
}

func TestHTTPFraming(t *testing.T) {
	f := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.Header().Set("Etag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		case "/chunked":
			w.(http.Flusher).Flush()
			fmt.Fprint(w, "chunked")
		case "/trailers":
			w.Header().Set("Trailer", "Sum")
			fmt.Fprint(w, "x")
			w.Header().Set("Sum", "1")
		case "/late":
			w.(http.Flusher).Flush()
			w.Header().Set(http.TrailerPrefix+"Late", "2")
		case "/sum":
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, r.Trailer.Get("Sum"))
		default:
			fmt.Fprint(w, "hello")
		}
	})
	resp, b := do(t, f, "GET", "/", nil)
	require.Equal(t, "hello", b)
	require.EqualValues(t, 5, resp.ContentLength)
	resp, b = do(t, f, "HEAD", "/", nil)
	require.Empty(t, b)
	require.EqualValues(t, 5, resp.ContentLength)
	resp, _ = do(t, f, "GET", "/204", nil)
	require.Equal(t, 204, resp.StatusCode)
	resp, _ = do(t, f, "GET", "/304", nil)
	require.Equal(t, 304, resp.StatusCode)
	require.Equal(t, `"1"`, resp.Header.Get("ETag"))
	resp, b = do(t, f, "GET", "/chunked", nil)
	require.Equal(t, "chunked", b)
	require.EqualValues(t, -1, resp.ContentLength)
	resp, _ = do(t, f, "GET", "/trailers", nil)
	require.Equal(t, http.Header{"Sum": {"1"}}, resp.Trailer)
	resp, _ = do(t, f, "GET", "/late", nil)
	require.Equal(t, http.Header{"Late": {"2"}}, resp.Trailer)
	require.EqualValues(t, 1, f.dials.Load(), "one connection to the bundle")

	conn, r := f.raw(t)
	fmt.Fprint(conn, "POST /sum HTTP/1.1\r\nHost: h\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nSum: 7\r\n\r\n")
	_, b = response(t, r, "POST")
	require.Equal(t, "7", b)
	t.Run("pipelined", func(t *testing.T) {
		fmt.Fprint(conn, strings.Repeat("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 50))
		for range 50 {
			_, b := response(t, r, "GET")
			require.Equal(t, "hello", b)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		fmt.Fprint(conn, "GET /chunked HTTP/1.0\r\n\r\n")
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(string(b), "\r\n\r\nchunked"), string(b))
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	b := make([]byte, 16<<10)
	for {
		n, err := r.Body.Read(b)
		_, _ = w.Write(b[:n])
		_ = control.Flush()
		if err != nil {
			return
		}
	}
}

// TestHTTPStreams: 10 MiB up and down at once, of which nobody holds more than a
// little.
func TestHTTPStreams(t *testing.T) {
	const size = 10 << 20
	f := serveHTTP(t, echo)
	for _, length := range []int64{-1, size} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := http.NewRequest("POST", f.url, io.LimitReader(zeros{}, size))
		require.NoError(t, err)
		r.ContentLength = length
		resp, err := f.client.Do(r)
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/4), "memory for everything, client and server included")
	}
	t.Run("a piece at a time", func(t *testing.T) {
		up, feed := io.Pipe()
		go func() { fmt.Fprint(feed, "a") }()
		r, err := http.NewRequest("POST", f.url, up)
		require.NoError(t, err)
		resp, err := f.client.Do(r)
		require.NoError(t, err)
		b := make([]byte, 1)
		for _, c := range "abcd" {
			if c != 'a' {
				fmt.Fprint(feed, string(c))
			}
			_, err := io.ReadFull(resp.Body, b)
			require.NoError(t, err)
			require.Equal(t, string(c), string(b))
		}
		require.NoError(t, feed.Close())
		_, err = resp.Body.Read(b)
		require.Equal(t, io.EOF, err)
	})
}

func TestHTTPContinue(t *testing.T) {
	const header = "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	t.Run("wanted", func(t *testing.T) {
		f := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		conn, r := f.raw(t)
		for range 2 {
			fmt.Fprint(conn, header)
			resp, _ := response(t, r, "PUT")
			require.Equal(t, 100, resp.StatusCode)
			fmt.Fprint(conn, "body")
			resp, b := response(t, r, "PUT")
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, "body", b)
		}
	})
	t.Run("refused", func(t *testing.T) {
		f := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusExpectationFailed) })
		conn, r := f.raw(t)
		fmt.Fprint(conn, header)
		resp, _ := response(t, r, "PUT")
		require.Equal(t, 417, resp.StatusCode)
		require.True(t, resp.Close)
		_, err := r.ReadByte()
		require.Equal(t, io.EOF, err)
	})
	t.Run("another expectation", func(t *testing.T) {
		f := serveHTTP(t, echo)
		conn, r := f.raw(t)
		fmt.Fprint(conn, strings.Replace(header, "100-continue", "tea", 1))
		resp, _ := response(t, r, "PUT")
		require.Equal(t, 417, resp.StatusCode)
	})
}

// TestHTTPEarly: the bundle answers without reading the request. The client gets the
// answer, and what it goes on to send is not taken for another request.
func TestHTTPEarly(t *testing.T) {
	var asked atomic.Int32
	f := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		fmt.Fprint(w, "too large")
	})
	for name, head := range map[string]string{
		"length":  "Content-Length: 1000000\r\n\r\n",
		"chunked": "Transfer-Encoding: chunked\r\n\r\nF4240\r\n",
	} {
		for _, more := range []string{"", strings.Repeat("GET /inside HTTP/1.1\r\nHost: h\r\n\r\n", 10_000)} {
			t.Run(fmt.Sprint(name, " ", len(more)), func(t *testing.T) {
				asked.Store(0)
				conn, r := f.raw(t)
				fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: h\r\n", head)
				go func() { _, _ = io.WriteString(conn, more) }()
				resp, b := response(t, r, "POST")
				require.Equal(t, 413, resp.StatusCode)
				require.Equal(t, "too large", b)
				require.True(t, resp.Close)
				_, err := r.ReadByte()
				require.Error(t, err, "the end")
				require.EqualValues(t, 1, asked.Load())
			})
		}
	}
}

// TestHTTPClientLeaves: the bundle learns of it.
func TestHTTPClientLeaves(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		begin         bool // the response begins
	}{
		{"while it waits", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", false},
		{"in the response", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", true},
		{"in the request", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc", false},
		{"in both", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
			f := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).EnableFullDuplex()
				if tt.begin {
					fmt.Fprint(w, "begun")
					w.(http.Flusher).Flush()
				}
				began <- struct{}{}
				if r.ContentLength > 0 {
					_, err := io.Copy(io.Discard, r.Body)
					if err == nil {
						t.Error("the request should not end")
					}
				} else {
					<-r.Context().Done()
				}
				ended <- struct{}{}
			})
			conn, r := f.raw(t)
			fmt.Fprint(conn, tt.request)
			<-began
			if tt.begin {
				_, err := r.ReadByte()
				require.NoError(t, err)
			}
			require.NoError(t, conn.Close())
			<-ended
		})
	}
}

// TestHTTPProblems: what a client is told when there is no answer.
func TestHTTPProblems(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		retry  string
	}{
		{fmt.Errorf("terminal: mem: %w", terminal.ErrNoCard), 503, "1"},
		{&net.OpError{Op: "read", Err: terminal.ErrRemoved}, 503, "1"},
		{terminal.ErrNoService, 503, ""},
		{terminal.ErrTimeout, 504, ""},
		{terminal.ErrReset, 502, ""},
		{terminal.ErrMalformed, 502, ""},
		{errors.New("anything"), 502, ""},
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			f := &front{}
			f.serve(t, terminal.NewHTTP(func(context.Context) (net.Conn, error) { return nil, tt.err }))
			for _, method := range []string{"GET", "HEAD", "POST"} {
				var body io.Reader
				if method == "POST" {
					body = io.LimitReader(zeros{}, 10_000_000) // of an unknown length
				}
				resp, b := do(t, f, method, "/", body)
				require.Equal(t, tt.status, resp.StatusCode)
				require.Equal(t, tt.retry, resp.Header.Get("Retry-After"))
				require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
				if method != "HEAD" {
					requireProblem(t, b, tt.status)
				}
			}
		})
	}
}

// TestHTTPProblemEarly: a client that has not sent all of its request learns why
// there is no answer.
func TestHTTPProblemEarly(t *testing.T) {
	f := &front{}
	f.serve(t, terminal.NewHTTP(func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			r, err := http.ReadRequest(bufio.NewReader(far))
			if err == nil {
				_, _ = io.ReadFull(r.Body, make([]byte, 3))
			}
			far.Close()
		}()
		return near, nil
	}))
	conn, r := f.raw(t)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc")
	resp, b := response(t, r, "POST")
	require.Equal(t, 502, resp.StatusCode)
	require.True(t, resp.Close)
	requireProblem(t, b, 502)
}

func requireProblem(t *testing.T, body string, status int) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&p), body)
	require.Equal(t, "about:blank", p.Type)
	require.Equal(t, http.StatusText(status), p.Title)
	require.Equal(t, status, p.Status)
	require.NotEmpty(t, p.Detail)
}

// TestHTTPRefused: requests that do not reach the bundle.
func TestHTTPRefused(t *testing.T) {
	f := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, tt := range []struct {
		name, request string
		status        int
		problem       bool
	}{
		{"CONNECT", "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", 405, true},
		{"WebSocket", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 501, true},
		{"two protocols", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c, tea/2\r\n\r\n", 501, true},
		{"a header of 1 MiB", "GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431, false},
		{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, false},
		{"length and chunks", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, false},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, false},
		{"not HTTP", "\x16\x03\x01\x02\x00\r\n\r\n", 400, false},
		{"bad chunk, at once", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, true},
		{"bad chunk, later", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nxyz\r\n", 400, true},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, r := f.raw(t)
			go func() { _, _ = io.WriteString(conn, tt.request) }()
			method, _, _ := strings.Cut(tt.request, " ")
			if method == "CONNECT" {
				method = "GET" // it has a body
			}
			resp, b := response(t, r, method)
			require.Equal(t, tt.status, resp.StatusCode)
			if tt.problem {
				requireProblem(t, b, tt.status)
			}
		})
	}
}

// TestHTTPHalf: half a response is not taken for a whole one.
func TestHTTPHalf(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := &front{}
			f.serve(t, terminal.NewHTTP(func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					_, _ = http.ReadRequest(bufio.NewReader(far))
					fmt.Fprint(far, answer)
					far.Close()
				}()
				return near, nil
			}))
			resp, err := f.client.Get(f.url)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
			}
			require.Error(t, err)
		})
	}
}

// memory is a listener whose connections have no buffers and keep to the time of
// synctest.
type memory chan net.Conn

func (m memory) Accept() (net.Conn, error) {
	if c, ok := <-m; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (m memory) Close() error {
	close(m)
	return nil
}

func (m memory) Addr() net.Addr { return &net.UnixAddr{} }

func (m memory) dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	m <- far
	return near, nil
}

// TestHTTPSlow: who is too slow loses the connection, and the bundle is free again.
func TestHTTPSlow(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		answer        string // begin of the answer
		took          time.Duration
	}{
		{"half a header", "GET / HTTP/1.1\r\n", "", 10 * time.Second},
		{"nothing", "", "", 10 * time.Second},
		{"half a body", "POST /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc", "HTTP/1.1 408 Request Timeout\r\n", time.Minute + 500*time.Millisecond},
		{"half a small body", "POST /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc", "HTTP/1.1 408 Request Timeout\r\n", time.Minute + 500*time.Millisecond},
		{"no next request", "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\n", 2 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serveMemory(t)
				began := time.Now()
				go func() { _, _ = io.WriteString(conn, tt.request) }()
				b, err := io.ReadAll(conn)
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(string(b), tt.answer) && (tt.answer == "") == (len(b) == 0), string(b))
				require.Equal(t, tt.took, time.Since(began))
			})
		})
	}
	t.Run("does not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn := serveMemory(t)
			fmt.Fprint(conn, "GET /source HTTP/1.1\r\nHost: h\r\n\r\n")
			time.Sleep(time.Minute + time.Second)
			b, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.Less(t, len(b), 1<<20)
		})
	})
}

// serveMemory gives a client's connection to a proxy; its bundle ends with the test.
func serveMemory(t *testing.T) net.Conn {
	front, bundle := make(memory), make(memory)
	ended := make(chan struct{}, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		switch r.URL.Path {
		case "/source":
			_, _ = io.Copy(w, zeros{})
		default:
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})}
	go func() { _ = server.Serve(bundle) }()
	rt := terminal.NewHTTP(bundle.dial)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- proxy.NewHTTP(rt).Serve(ctx, front) }()
	conn, err := front.dial(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		cancel()
		require.NoError(t, <-done)
		rt.CloseIdleConnections()
		server.Close()
	})
	return conn
}

// TestHTTPEnd: requests under way are finished.
func TestHTTPEnd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	rt := roundTripper(func(*http.Request) (*http.Response, error) {
		cancel()
		return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: 2, Body: io.NopCloser(strings.NewReader("hi"))}, nil
	})
	go func() { done <- proxy.NewHTTP(rt).Serve(ctx, ln) }()
	resp, err := http.Get("http://" + ln.Addr().String())
	require.NoError(t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "hi", string(b))
	require.NoError(t, <-done)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// BenchmarkHTTP: a GET through the proxy over loopback, by 16 clients at once, to a
// bundle that takes no time.
func BenchmarkHTTP(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
	f := &front{}
	f.serve(b, terminal.NewHTTP(func(context.Context) (net.Conn, error) { return &instant{answer: answer}, nil }))
	request := []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if n, err := conn.Read(buf); err != nil || !bytes.HasSuffix(buf[:n], []byte("hello")) {
				b.Error(err, string(buf[:n]))
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "GET/s")
}

// instant is a connection that has the answer when Write returns.
type instant struct {
	net.Conn
	answer, in []byte
}

func (i *instant) Write(p []byte) (int, error) { i.in = i.answer; return len(p), nil }

func (i *instant) Read(p []byte) (int, error) {
	n := copy(p, i.in)
	i.in = i.in[n:]
	return n, nil
}

func (i *instant) Close() error { return nil }
