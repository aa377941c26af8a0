package terminal_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/terminal"
)

// served is a real HTTP server in place of the bundle.
type served struct {
	*terminal.HTTP
	dials, open, most atomic.Int32
}

func serveHTTP(tb testing.TB, h http.HandlerFunc) *served {
	s := &served{}
	server := httptest.NewServer(h)
	s.HTTP = terminal.NewHTTP(func(ctx context.Context) (net.Conn, error) {
		s.dials.Add(1)
		for n := s.open.Add(1); ; {
			if most := s.most.Load(); n <= most || s.most.CompareAndSwap(most, n) {
				break
			}
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
		return &counted{Conn: conn, open: &s.open}, err
	})
	tb.Cleanup(func() {
		require.Eventually(tb, func() bool { // one may come back a little after its response
			s.CloseIdleConnections()
			return s.open.Load() == 0
		}, 10*time.Second, time.Millisecond, "connections left open")
		server.Close()
	})
	return s
}

type counted struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func newRequest(tb testing.TB, method string, body io.Reader) *http.Request {
	r, err := http.NewRequestWithContext(tb.Context(), method, "http://bundle/path?q=1", body)
	require.NoError(tb, err)
	return r
}

// fetch gives the response with its body.
func fetch(tb testing.TB, rt http.RoundTripper, r *http.Request) (*http.Response, string) {
	resp, err := rt.RoundTrip(r)
	require.NoError(tb, err)
	require.Same(tb, r, resp.Request)
	b, err := io.ReadAll(resp.Body)
	require.NoError(tb, err)
	require.NoError(tb, resp.Body.Close())
	return resp, string(b)
}

func TestHTTPKeepAlive(t *testing.T) {
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X") {
		case "204":
			w.WriteHeader(http.StatusNoContent)
		case "304":
			w.WriteHeader(http.StatusNotModified)
		case "chunked":
			for range 3 {
				fmt.Fprint(w, "piece ")
				w.(http.Flusher).Flush()
			}
		case "trailer":
			w.Header().Set("Trailer", "Sum")
			fmt.Fprint(w, "x")
			w.Header().Set("Sum", "1")
		case "close":
			w.Header().Set("Connection", "close")
		case "large":
			_, _ = w.Write(make([]byte, 1<<20))
		default:
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.RequestURI)
		}
	})
	do := func(method, x string) (*http.Response, string) {
		r := newRequest(t, method, nil)
		r.Header.Set("X", x)
		return fetch(t, s, r)
	}
	resp, b := do("GET", "")
	require.Equal(t, "GET bundle /path?q=1", b)
	require.EqualValues(t, len(b), resp.ContentLength)
	resp, b = do("HEAD", "")
	require.Empty(t, b)
	require.EqualValues(t, len("HEAD bundle /path?q=1"), resp.ContentLength)
	resp, _ = do("GET", "204")
	require.Equal(t, 204, resp.StatusCode)
	resp, _ = do("GET", "304")
	require.Equal(t, 304, resp.StatusCode)
	_, b = do("GET", "chunked")
	require.Equal(t, "piece piece piece ", b)
	resp, _ = do("GET", "trailer")
	require.Equal(t, http.Header{"Sum": {"1"}}, resp.Trailer)
	_, b = do("GET", "large")
	require.Len(t, b, 1<<20)
	for range 10 {
		do("POST", "")
	}
	require.EqualValues(t, 1, s.dials.Load())
	do("GET", "close")
	do("GET", "")
	require.EqualValues(t, 2, s.dials.Load(), "after Connection: close")
	r := newRequest(t, "GET", nil)
	r.Close = true
	fetch(t, s, r)
	do("GET", "")
	require.EqualValues(t, 3, s.dials.Load(), "after Connection: close in the request")
	resp, err := s.RoundTrip(newRequest(t, "GET", nil))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	do("GET", "")
	require.EqualValues(t, 4, s.dials.Load(), "a body that was not read takes its connection along")
}

func TestHTTPBodies(t *testing.T) {
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, r.ContentLength, " ", len(b))
	})
	for _, n := range []int64{1, 10, 4096, 4097, 1 << 20} {
		for _, length := range []int64{n, -1} {
			r := newRequest(t, "POST", io.LimitReader(zeros{}, n))
			r.ContentLength = length
			_, b := fetch(t, s, r)
			require.Equal(t, fmt.Sprint(length, " ", n), b)
		}
	}
	require.Less(t, s.dials.Load(), int32(5), "connections are kept")
	t.Run("fails", func(t *testing.T) {
		for _, length := range []int64{100, 100_000, -1} {
			broken := errors.New("broken")
			r := newRequest(t, "POST", io.MultiReader(strings.NewReader("half"), failing{broken}))
			r.ContentLength = length
			_, err := s.RoundTrip(r)
			require.ErrorIs(t, err, broken)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// TestHTTPBothWays: 10 MiB up and down at once through small buffers.
func TestHTTPBothWays(t *testing.T) {
	const size = 10 << 20
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		b := make([]byte, 32<<10)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = control.Flush()
			if err != nil {
				return
			}
		}
	})
	for _, length := range []int64{size, -1} {
		r := newRequest(t, "POST", io.LimitReader(zeros{}, size))
		r.ContentLength = length
		resp, err := s.RoundTrip(r)
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.EqualValues(t, size, n)
	}
	t.Run("a piece at a time", func(t *testing.T) {
		up, feed := io.Pipe()
		r := newRequest(t, "POST", up)
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			fmt.Fprint(feed, "a")
		}()
		resp, err := s.RoundTrip(r)
		require.NoError(t, err)
		<-fed
		one := make([]byte, 1)
		for _, want := range "abc" {
			if want != 'a' {
				fmt.Fprint(feed, string(want))
			}
			_, err := io.ReadFull(resp.Body, one)
			require.NoError(t, err)
			require.Equal(t, string(want), string(one))
		}
		require.NoError(t, feed.Close())
		_, err = resp.Body.Read(one)
		require.Equal(t, io.EOF, err)
	})
}

// TestHTTPFair: no more than 32 connections, and who waits longest comes first.
func TestHTTPFair(t *testing.T) {
	const limit = 32
	synctest.Test(t, func(t *testing.T) {
		release, came := make(chan struct{}), make(chan string, 100)
		var dials atomic.Int32
		h := terminal.NewHTTP(func(context.Context) (net.Conn, error) {
			dials.Add(1)
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				r := bufio.NewReader(far)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					came <- req.UserAgent()
					<-release
					fmt.Fprint(far, ok)
				}
			}()
			return near, nil
		})
		ask := func(ctx context.Context, name string) {
			r := newRequest(t, "GET", nil).WithContext(ctx)
			r.Header.Set("User-Agent", name)
			_, err := h.RoundTrip(r)
			if err != nil && err != context.Cause(ctx) {
				t.Error(err)
			}
		}
		for range limit {
			go ask(t.Context(), "first")
		}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			synctest.Wait()
			c := t.Context()
			if i == 2 {
				c = ctx
			}
			go ask(c, fmt.Sprint("waiter ", i))
		}
		synctest.Wait()
		cancel()
		for range limit {
			require.Equal(t, "first", <-came)
		}
		for _, i := range []int{0, 1, 3, 4} {
			synctest.Wait()
			require.Empty(t, came)
			release <- struct{}{}
			require.Equal(t, fmt.Sprint("waiter ", i), <-came)
		}
		close(release)
		synctest.Wait()
		require.EqualValues(t, limit, dials.Load())
		h.CloseIdleConnections()
	})
}

// TestHTTPNoBundle: dials that fail let those who wait try.
func TestHTTPNoBundle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := make(chan struct{})
		var dials atomic.Int32
		h := terminal.NewHTTP(func(context.Context) (net.Conn, error) {
			dials.Add(1)
			<-fail
			return nil, terminal.ErrNoCard
		})
		var ended atomic.Int32
		for range 100 {
			go func() {
				if _, err := h.RoundTrip(newRequest(t, "GET", nil)); errors.Is(err, terminal.ErrNoCard) {
					ended.Add(1)
				}
			}()
		}
		synctest.Wait()
		require.EqualValues(t, 32, dials.Load())
		close(fail)
		synctest.Wait()
		require.EqualValues(t, 100, dials.Load())
		require.EqualValues(t, 100, ended.Load())
	})
}

func TestHTTPParallel(t *testing.T) {
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			for j := range 20 {
				want := strings.Repeat(fmt.Sprintf("%d %d ", i, j), 1+j*100)
				r, err := http.NewRequest("PUT", "http://bundle/", strings.NewReader(want))
				if err != nil {
					panic(err)
				}
				resp, err := s.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				if err != nil || string(b) != want {
					t.Error(err, len(b), len(want))
				}
				resp.Body.Close()
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, s.most.Load(), int32(32))
}

// script is what the bundle does on a connection.
type script func(conn net.Conn, r *bufio.Reader)

// scripted is an HTTP whose n-th connection goes by the n-th script; then there is
// no bundle.
func scripted(scripts ...script) *terminal.HTTP {
	var n atomic.Int32
	return terminal.NewHTTP(func(context.Context) (net.Conn, error) {
		i := int(n.Add(1)) - 1
		if i >= len(scripts) {
			return nil, terminal.ErrNoCard
		}
		near, far := net.Pipe()
		go func() {
			scripts[i](far, bufio.NewReader(far))
			far.Close()
		}()
		return near, nil
	})
}

// answers reads a request for every answer, then closes.
func answers(list ...string) script {
	return func(conn net.Conn, r *bufio.Reader) {
		for _, a := range list {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			fmt.Fprint(conn, a)
		}
	}
}

// reads reads n requests; the last one has no answer.
func reads(n int) script {
	return func(conn net.Conn, r *bufio.Reader) {
		for i := range n {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if i < n-1 {
				_, _ = io.Copy(io.Discard, req.Body)
				fmt.Fprint(conn, ok)
			}
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// TestHTTPAgain: what happens to a request whose kept connection is gone.
func TestHTTPAgain(t *testing.T) {
	large := strings.Repeat("x", 10_000)
	for _, tt := range []struct {
		name, method, body string
		first              script
		err                error
	}{
		{"GET, closed while idle", "GET", "", answers(ok), nil},
		{"POST, closed while idle", "POST", "", answers(ok), nil},
		{"POST with a body, closed while idle", "POST", "body", answers(ok), nil},
		{"POST with a large body, closed while idle", "POST", large, answers(ok), nil},
		{"GET, closed instead of an answer", "GET", "", reads(2), nil},
		{"PUT with a small body, closed instead of an answer", "PUT", "body", reads(2), nil},
		{"PUT with a large body, closed instead of an answer", "PUT", large, reads(2), terminal.ErrReset},
		{"POST, closed instead of an answer", "POST", "", reads(2), terminal.ErrReset},
		{"PATCH, closed instead of an answer", "PATCH", "body", reads(2), terminal.ErrReset},
		{"GET, closed in the middle of an answer", "GET", "", answers(ok, "HTTP/1.1 2"), terminal.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := scripted(tt.first, answers(ok))
				fetch(t, h, newRequest(t, "GET", nil))
				synctest.Wait()
				resp, err := h.RoundTrip(newRequest(t, tt.method, strings.NewReader(tt.body)))
				require.ErrorIs(t, err, tt.err)
				if tt.err == nil {
					require.Equal(t, 200, resp.StatusCode)
				}
				h.CloseIdleConnections()
			})
		})
	}
	t.Run("not on a new connection", func(t *testing.T) {
		h := scripted(reads(1), answers(ok))
		_, err := h.RoundTrip(newRequest(t, "GET", nil))
		require.ErrorIs(t, err, terminal.ErrReset)
	})
	t.Run("once", func(t *testing.T) {
		h := scripted(answers(ok), reads(1), answers(ok))
		fetch(t, h, newRequest(t, "GET", nil))
		_, err := h.RoundTrip(newRequest(t, "GET", nil))
		require.ErrorIs(t, err, terminal.ErrReset)
	})
	t.Run("nothing to go to", func(t *testing.T) {
		h := scripted(answers(ok))
		fetch(t, h, newRequest(t, "GET", nil))
		_, err := h.RoundTrip(newRequest(t, "GET", nil))
		require.ErrorIs(t, err, terminal.ErrNoCard)
	})
}

func TestHTTPMalformed(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing like it":        "Hello\r\n\r\n",
		"half":                   "HTTP/1.1 200 OK\r\nContent-",
		"another version":        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"no such status":         "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
		"no number":              "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
		"switched":               "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"two lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"bad length":             "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"another coding":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"field without a colon":  "HTTP/1.1 200 OK\r\nField\r\n\r\n",
		"a header of 1 MiB":      "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"a million fields":       "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: a\r\n", 1<<20) + "\r\n",
		"100 (Continue) forever": strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := scripted(answers(answer)).RoundTrip(newRequest(t, "GET", nil))
			require.ErrorIs(t, err, terminal.ErrMalformed)
		})
	}
	for name, answer := range map[string]string{
		"too short": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab",
		"no chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
		"cut chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := scripted(answers(answer)).RoundTrip(newRequest(t, "GET", nil))
			require.NoError(t, err)
			_, err = io.ReadAll(resp.Body)
			require.Error(t, err)
		})
	}
	t.Run("more than was asked for", func(t *testing.T) {
		h := scripted(answers(ok+ok), answers(ok))
		fetch(t, h, newRequest(t, "GET", nil))
		fetch(t, h, newRequest(t, "POST", nil))
	})
	t.Run("all right", func(t *testing.T) {
		for answer, want := range map[string]string{
			"HTTP/1.0 200 OK\r\n\r\nuntil the end":                                         "until the end",
			"HTTP/1.1 200\r\n\r\nuntil the end":                                            "until the end",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab":          "ab",
			"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok:                          "",
			"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab":     "ab",
			"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 60_000) + "\r\n\r\nlong header": "long header",
		} {
			_, b := fetch(t, scripted(answers(answer)), newRequest(t, "GET", nil))
			require.Equal(t, want, b)
		}
	})
}

// TestHTTPErrors: what the connection says reaches the caller.
func TestHTTPErrors(t *testing.T) {
	for _, want := range []error{terminal.ErrRemoved, terminal.ErrTimeout, terminal.ErrReset} {
		for _, tt := range []struct {
			name  string
			after string // what comes before the error
			write bool   // the error is one of Write
		}{{"write", "", true}, {"before", "", false}, {"header", "HTTP/1.1 200 OK\r\n", false}} {
			t.Run(fmt.Sprint(tt.name, " ", want), func(t *testing.T) {
				h := terminal.NewHTTP(func(context.Context) (net.Conn, error) {
					c := &faulty{in: strings.NewReader(tt.after), err: &net.OpError{Op: "read", Err: want}}
					if tt.write {
						c.werr = want
					}
					return c, nil
				})
				for _, body := range []string{"", "small", strings.Repeat("x", 10_000)} {
					_, err := h.RoundTrip(newRequest(t, "POST", strings.NewReader(body)))
					require.ErrorIs(t, err, want)
				}
			})
		}
	}
	t.Run("in the body", func(t *testing.T) {
		h := terminal.NewHTTP(func(context.Context) (net.Conn, error) {
			return &faulty{in: strings.NewReader("HTTP/1.1 200 OK\r\n\r\nab"), err: terminal.ErrRemoved}, nil
		})
		resp, err := h.RoundTrip(newRequest(t, "GET", nil))
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, terminal.ErrRemoved)
	})
	t.Run("an answer, then no more reading", func(t *testing.T) {
		h := terminal.NewHTTP(func(context.Context) (net.Conn, error) {
			return &faulty{in: strings.NewReader("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"), err: io.EOF, werr: terminal.ErrReset}, nil
		})
		for _, body := range []string{"", "small", strings.Repeat("x", 10_000)} {
			resp, _ := fetch(t, h, newRequest(t, "POST", strings.NewReader(body)))
			require.Equal(t, 413, resp.StatusCode)
		}
	})
}

// faulty is a connection that gives in, then err.
type faulty struct {
	net.Conn
	in        io.Reader
	err, werr error
}

func (f *faulty) Read(p []byte) (int, error) {
	if n, _ := f.in.Read(p); n > 0 {
		return n, nil
	}
	return 0, f.err
}

func (f *faulty) Write(p []byte) (int, error) {
	if f.werr != nil {
		return 0, f.werr
	}
	return len(p), nil
}

func (f *faulty) Close() error { return nil }

// TestHTTPContinue: a body that waits for 100 (Continue).
func TestHTTPContinue(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  string // answer to the header
		status int
		body   bool // it was sent
		took   time.Duration
	}{
		{"wanted", "HTTP/1.1 100 Continue\r\n\r\n", 200, true, 0},
		{"refused", "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", 417, false, 0},
		{"silence", "", 200, true, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				h := scripted(func(conn net.Conn, r *bufio.Reader) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					fmt.Fprint(conn, tt.first)
					if b, _ := io.ReadAll(req.Body); string(b) == "body" {
						fmt.Fprint(conn, ok)
					}
				})
				asked := false
				body := funcReader(func(p []byte) (int, error) {
					if asked {
						return 0, io.EOF
					}
					asked = true
					return copy(p, "body"), nil
				})
				r := newRequest(t, "PUT", body)
				r.ContentLength = 4
				r.Header.Set("Expect", "100-Continue")
				resp, _ := fetch(t, h, r)
				require.Equal(t, tt.status, resp.StatusCode)
				synctest.Wait()
				require.Equal(t, tt.body, asked)
				require.Equal(t, tt.took, time.Since(began))
				h.CloseIdleConnections()
			})
		})
	}
}

type funcReader func(p []byte) (int, error)

func (f funcReader) Read(p []byte) (int, error) { return f(p) }

// TestHTTPEarly: a response that ends before the request does ends the request.
func TestHTTPEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := scripted(func(conn net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				fmt.Fprint(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
			}
			_, _ = r.ReadByte() // goes on until the terminal closes
		}, answers(ok))
		up, feed := io.Pipe()
		fed := make(chan error)
		go func() {
			for {
				if _, err := feed.Write(make([]byte, 1000)); err != nil {
					fed <- err
					return
				}
			}
		}()
		resp, b := fetch(t, h, newRequest(t, "POST", up))
		require.Equal(t, 413, resp.StatusCode)
		require.Equal(t, "no", b)
		require.ErrorIs(t, <-fed, io.ErrClosedPipe, "the body is closed")
		fetch(t, h, newRequest(t, "POST", nil))
		h.CloseIdleConnections()
	})
}

// TestHTTPCancel: the context ends the exchange wherever it is, and the connection.
func TestHTTPCancel(t *testing.T) {
	cause := errors.New("enough")
	for _, tt := range []struct {
		name   string
		script script
		body   func() io.Reader
		inBody bool
	}{
		{"no answer", reads(1), func() io.Reader { return nil }, false},
		{"no end of the answer", answers("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"), func() io.Reader { return nil }, true},
		{"no end of the request", reads(1), func() io.Reader { up, _ := io.Pipe(); return up }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closed := make(chan struct{})
				h := scripted(func(conn net.Conn, r *bufio.Reader) {
					tt.script(conn, r)
					_, _ = io.Copy(io.Discard, r)
					close(closed)
				}, answers(ok))
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(cause) })
				resp, err := h.RoundTrip(newRequest(t, "POST", tt.body()).WithContext(ctx))
				if tt.inBody {
					require.NoError(t, err)
					_, err = io.ReadAll(resp.Body)
				}
				require.ErrorIs(t, err, cause)
				<-closed
				fetch(t, h, newRequest(t, "GET", nil))
				h.CloseIdleConnections()
			})
		})
	}
}

// FuzzHTTPResponse: whatever a bundle sends, an exchange ends, with what Go's client
// takes from a response or with an error.
func FuzzHTTPResponse(f *testing.F) {
	for _, s := range []string{
		ok, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok, "HTTP/1.0 200 OK\r\n\r\nabc", "HTTP/1.1 304 Not Modified\r\n\r\n", "",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, body bool) {
		h := terminal.NewHTTP(func(context.Context) (net.Conn, error) {
			return &faulty{in: bytes.NewReader(answer), err: io.EOF}, nil
		})
		for range 2 {
			var up io.Reader
			if body {
				up = io.LimitReader(zeros{}, 10_000)
			}
			resp, err := h.RoundTrip(newRequest(t, "POST", up))
			if err != nil {
				return
			}
			require.GreaterOrEqual(t, resp.StatusCode, 200)
			n, _ := io.Copy(io.Discard, resp.Body)
			require.LessOrEqual(t, n, int64(len(answer)))
			resp.Body.Close()
		}
	})
}

func BenchmarkHTTP(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
	conn := &instant{answer: answer}
	h := terminal.NewHTTP(func(context.Context) (net.Conn, error) { return conn, nil })
	r := newRequest(b, "GET", nil)
	b.ReportAllocs()
	for b.Loop() {
		resp, err := h.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
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
