package terminal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of HTTP; all chosen.
const (
	maxHTTPConns  = 32          // connections to a bundle at a time; more requests wait
	maxHTTPHeader = 64 << 10    // octets of the header of a response, with the 1xx before it
	httpBuffer    = 4 << 10     // octets that a connection reads or writes at once
	smallBody     = 4 << 10     // octets of a request's body that is not worth a goroutine
	continueWait  = time.Second // how long a body that expects 100 (Continue) waits for it
	lastWait      = time.Second // how long the end of a body may take after the response
)

// ErrMalformed: what the bundle sent is not HTTP/1.x, or more header than 64 KiB.
var ErrMalformed = errors.New("terminal: what the bundle answers is not HTTP")

// HTTP carries HTTP/1.1 requests over connections to the active bundle
// (http.RoundTripper). It is safe for use by several goroutines.
//
//	RoundTrip ── pool of keep-alive connections ── dial: Terminal.DialTCP ══ TCP gate of the active SPB
//
// Because the link is synchronous, the answer to a request without a body is there
// when the request has been written: such an exchange takes no goroutine and no
// switch, which is why this is not an http.Transport. A body is written by a second
// goroutine while the response is read, so that both may be streams; when the
// response ends first, the body is given up and the connection with it.
//
// A request that found its connection closed goes out once more on a new one when
// nothing of it was sent, or when it is idempotent, has no body that was read, and
// the connection ended without an octet of answer (RFC 9110 9.2.2). What the bundle
// sends as 1xx is consumed here.
//
// Errors: those of dial and of the connection, ErrMalformed, the cause of the
// context. Those of reading the request's body are passed on.
//
// Sources: RFC 9110, RFC 9112.
type HTTP struct {
	dial func(ctx context.Context) (net.Conn, error)

	mu      sync.Mutex
	open    int         // connections and dials; never more than maxHTTPConns
	idle    []*httpConn // the one used last is the next
	waiting []*waiter   // the first is served first
}

// waiter is a request that waits for its turn.
type waiter struct{ turn chan *httpConn } // gets a connection, or nil: dial one

// NewHTTP makes one over connections that dial opens.
func NewHTTP(dial func(ctx context.Context) (net.Conn, error)) *HTTP { return &HTTP{dial: dial} }

// HTTP carries requests to the TCP gate of the active SPB, over connections of its own.
func (t *Terminal) HTTP() *HTTP { return NewHTTP(t.DialTCP) }

// CloseIdleConnections closes the connections that no request uses.
func (h *HTTP) CloseIdleConnections() {
	h.mu.Lock()
	idle := h.idle
	h.idle = nil
	h.mu.Unlock()
	for _, c := range idle {
		h.drop(c)
	}
}

// get takes a connection for a request, in the order in which they ask.
func (h *HTTP) get(ctx context.Context) (*httpConn, error) {
	h.mu.Lock()
	switch n := len(h.idle); {
	case n > 0:
		c := h.idle[n-1]
		h.idle = h.idle[:n-1]
		h.mu.Unlock()
		return c, nil
	case h.open < maxHTTPConns:
		h.open++
		h.mu.Unlock()
		return h.connect(ctx)
	}
	w := &waiter{make(chan *httpConn, 1)}
	h.waiting = append(h.waiting, w)
	h.mu.Unlock()
	select {
	case c := <-w.turn:
		if c != nil {
			return c, nil
		}
		return h.connect(ctx)
	case <-ctx.Done():
	}
	h.mu.Lock()
	if i := slices.Index(h.waiting, w); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
		h.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	h.mu.Unlock()
	if c := <-w.turn; c != nil { // it came at the last moment; pass it on
		h.put(c)
	} else {
		h.leave()
	}
	return nil, context.Cause(ctx)
}

// connect opens a connection in a place that is counted already.
func (h *HTTP) connect(ctx context.Context) (*httpConn, error) {
	conn, err := h.dial(ctx)
	if err != nil {
		h.leave()
		return nil, err
	}
	c := &httpConn{conn: conn}
	c.r, c.w = bufio.NewReaderSize(c, httpBuffer), bufio.NewWriterSize(c, httpBuffer)
	return c, nil
}

// put takes back a connection that can be used again.
func (h *HTTP) put(c *httpConn) {
	c.used = true
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.next(); w != nil {
		w.turn <- c
		return
	}
	h.idle = append(h.idle, c)
}

// drop closes a connection and gives its place away.
func (h *HTTP) drop(c *httpConn) {
	c.conn.Close()
	h.leave()
}

// leave gives the place of a connection that is no more to who waits.
func (h *HTTP) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.next(); w != nil {
		w.turn <- nil
		return
	}
	h.open--
}

// next is the request that has waited longest; mu is held.
func (h *HTTP) next() *waiter {
	if len(h.waiting) == 0 {
		return nil
	}
	w := h.waiting[0]
	h.waiting[0] = nil
	h.waiting = h.waiting[1:]
	return w
}

// RoundTrip sends a request and returns the response as soon as its header is there
// (http.RoundTripper). The body of the response must be closed; read to its end, its
// connection serves the next request.
func (h *HTTP) RoundTrip(req *http.Request) (*http.Response, error) {
	out := *req
	small, err := takeSmall(&out)
	if err == nil {
		var resp *http.Response
		if resp, err = h.roundTrip(&out, small); err == nil {
			resp.Request = req
			return resp, nil
		}
	}
	if out.Body != nil {
		out.Body.Close()
	}
	return nil, err
}

// takeSmall reads the body if it is small and nobody waits for 100 (Continue).
func takeSmall(req *http.Request) (small []byte, err error) {
	if req.Body == nil || req.ContentLength <= 0 || req.ContentLength > smallBody || expectsContinue(req) {
		return nil, nil
	}
	small = make([]byte, req.ContentLength)
	if _, err = io.ReadFull(req.Body, small); err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	return small, req.Body.Close()
}

func expectsContinue(req *http.Request) bool {
	return strings.EqualFold(req.Header.Get("Expect"), "100-continue")
}

func (h *HTTP) roundTrip(req *http.Request, small []byte) (*http.Response, error) {
	ctx := req.Context()
	c, err := h.get(ctx)
	if err != nil {
		return nil, err
	}
	for {
		x := &exchange{h: h, c: c, req: req, small: small}
		resp, err := x.do(ctx)
		if err == nil {
			return resp, nil
		}
		c.conn.Close()
		again := x.again()
		switch {
		case ctx.Err() != nil:
			err, again = context.Cause(ctx), false
		case !errors.Is(err, errBody):
			h.CloseIdleConnections() // what ended this one may have ended them
		}
		if !again {
			h.leave()
			return nil, err
		}
		if c, err = h.connect(ctx); err != nil {
			return nil, err
		}
	}
}

// httpConn is a connection with its buffers, below which it counts (io.ReadWriter).
type httpConn struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	used bool // it served a request before

	// Of the exchange under way.
	sent     atomic.Bool // something of the request left
	received bool        // something of the response came
	budget   int         // octets that may come before the end of the header; < 0: any
	readErr  error       // why nothing comes any more
}

var errLongHeader = fmt.Errorf("a header of more than %d octets", maxHTTPHeader)

func (c *httpConn) Read(p []byte) (n int, err error) {
	if c.budget == 0 {
		return 0, errLongHeader
	}
	if c.budget > 0 {
		p = p[:min(len(p), c.budget)]
	}
	n, err = c.conn.Read(p)
	if n > 0 {
		c.received = true
	}
	if c.budget > 0 {
		c.budget -= n
	}
	if err != nil {
		c.readErr = err
	}
	return n, err
}

func (c *httpConn) Write(p []byte) (n int, err error) {
	n, err = c.conn.Write(p)
	if n > 0 {
		c.sent.Store(true)
	}
	return n, err
}

// exchange is a request on a connection and its response.
type exchange struct {
	h     *HTTP
	c     *httpConn
	req   *http.Request
	small []byte      // its body, if that is small
	up    *upload     // its body, if that takes a goroutine
	stop  func() bool // ends the watch over the context
	keep  bool        // the connection is good for another one
	over  atomic.Bool
}

// do sends the request and gives the response when its header has come. After an
// error the connection is of no use, and is counted still.
func (x *exchange) do(ctx context.Context) (*http.Response, error) {
	c := x.c
	c.sent.Store(false)
	c.received, c.budget = false, maxHTTPHeader+httpBuffer
	x.stop = context.AfterFunc(ctx, func() { c.conn.Close() })
	werr := x.send()
	// Also after an error: a bundle may answer and close before it has read all.
	resp, err := x.receive()
	if x.up != nil {
		x.up.proceed(false)
	}
	if err == nil {
		c.budget = -1
		x.keep = !resp.Close && !x.req.Close && werr == nil
		if resp.Body == http.NoBody {
			x.end(true)
		} else {
			resp.Body = &httpBody{resp.Body, x}
		}
		return resp, nil
	}
	x.stop()
	switch {
	case x.up != nil && x.up.failed.Load() != nil:
		return nil, fmt.Errorf("%w: %w", errBody, *x.up.failed.Load())
	case !c.received && werr != nil:
		return nil, werr
	case !c.received && c.readErr == io.EOF:
		return nil, fmt.Errorf("%w: no answer before its end", ErrReset)
	case c.readErr != nil && c.readErr != io.EOF:
		return nil, c.readErr
	}
	return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
}

var errBody = errors.New("terminal: body of the request")

// send sends the request, a large body in a goroutine of its own.
func (x *exchange) send() error {
	if x.req.Body == nil || x.req.Body == http.NoBody {
		return x.write(x.req)
	}
	out := *x.req
	if x.small != nil {
		out.Body = io.NopCloser(bytes.NewReader(x.small))
		return x.write(&out)
	}
	x.up = newUpload(x.c, x.req)
	out.Body = x.up
	go func() {
		defer close(x.up.done)
		if x.up.err = x.write(&out); x.up.failed.Load() != nil {
			x.c.conn.Close() // half a request
		}
	}()
	return nil
}

func (x *exchange) write(req *http.Request) error {
	if err := req.Write(output{x.c.w}); err != nil {
		return err
	}
	return x.c.w.Flush()
}

// output is a bufio.Writer that may be flushed by what is copied to it, because it
// has no ReadFrom.
type output struct{ w *bufio.Writer }

func (o output) Write(p []byte) (int, error)       { return o.w.Write(p) }
func (o output) WriteByte(b byte) error            { return o.w.WriteByte(b) }
func (o output) WriteString(s string) (int, error) { return o.w.WriteString(s) }

// receive reads the header of the final response.
func (x *exchange) receive() (*http.Response, error) {
	for {
		if _, err := x.c.r.Peek(1); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(x.c.r, x.req)
		switch {
		case err != nil:
			return nil, err
		case resp.ProtoMajor != 1 || resp.StatusCode < 100 || resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, fmt.Errorf("%s %s", resp.Proto, resp.Status)
		case resp.StatusCode >= 200:
			return resp, nil
		case resp.StatusCode == http.StatusContinue && x.up != nil:
			x.up.proceed(true)
		}
	}
}

// again tells, after an error, whether the request may go out once more.
func (x *exchange) again() bool {
	if !x.c.used {
		return false
	}
	if x.up == nil {
		return !x.c.sent.Load() || !x.c.received && x.c.readErr == io.EOF && idempotent(x.req.Method)
	}
	x.up.stopped.Store(true)
	if x.c.sent.Load() {
		return false
	}
	<-x.up.done // it has no connection to write to
	return !x.c.sent.Load()
}

// idempotent: RFC 9110 9.2.2.
func idempotent(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// end takes the connection back when the response has ended; well: at its end.
func (x *exchange) end(well bool) {
	if x.over.Swap(true) {
		return
	}
	h, c, up := x.h, x.c, x.up
	well = x.stop() && well && x.keep && c.r.Buffered() == 0
	switch {
	case up == nil && well:
		h.put(c)
	case up == nil:
		h.drop(c)
	case !up.ended.Load():
		h.drop(c)
		x.req.Body.Close()
	default:
		up.last(func(sent bool) {
			x.req.Body.Close()
			if sent && well {
				h.put(c)
			} else {
				h.drop(c)
			}
		})
	}
}

// httpBody is the body of a response.
type httpBody struct {
	io.ReadCloser
	x *exchange
}

func (b *httpBody) Read(p []byte) (n int, err error) {
	n, err = b.ReadCloser.Read(p)
	if err != nil {
		b.x.end(err == io.EOF)
		if ctx := b.x.req.Context(); err != io.EOF && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	return n, err
}

// Close gives up what has not been read, and the connection with it.
func (b *httpBody) Close() error {
	b.x.end(false)
	return nil
}

// upload is the body of a request on its way (io.ReadCloser). What was written
// before leaves when more is read, so that a body that comes slowly goes out as it
// comes.
type upload struct {
	c    *httpConn
	body io.ReadCloser
	left int64     // octets of the body; < 0: until its end
	wait chan bool // for 100 (Continue); nil: does not
	goes bool      // it has waited

	ended   atomic.Bool           // the body was read to its end
	stopped atomic.Bool           // it shall not be read any more
	failed  atomic.Pointer[error] // reading it

	done chan struct{} // closed when the goroutine has ended
	err  error         // of writing; valid then
}

func newUpload(c *httpConn, req *http.Request) *upload {
	u := &upload{c: c, body: req.Body, left: req.ContentLength, done: make(chan struct{})}
	if u.left == 0 {
		u.left = -1 // unknown for an http.Request with a body
	}
	if expectsContinue(req) {
		u.wait = make(chan bool, 1)
	}
	return u
}

// proceed says whether the body is wanted; the first word counts.
func (u *upload) proceed(wanted bool) {
	select {
	case u.wait <- wanted:
	default:
	}
}

var errNotWanted = errors.New("terminal: the bundle answered without the body")

func (u *upload) Read(p []byte) (n int, err error) {
	if err := u.c.w.Flush(); err != nil {
		return 0, err
	}
	if u.wait != nil && !u.goes {
		select {
		case wanted := <-u.wait:
			if !wanted {
				return 0, errNotWanted
			}
		case <-time.After(continueWait):
		}
		u.goes = true
	}
	if u.stopped.Load() {
		return 0, errNotWanted
	}
	n, err = u.body.Read(p)
	if u.left > 0 {
		u.left -= int64(n)
	}
	switch {
	case err == io.EOF || u.left == 0:
		u.ended.Store(true)
	case err != nil:
		u.failed.Store(&err)
	}
	return n, err
}

// Close is for http.Request.Write: the body is closed when the exchange ends.
func (u *upload) Close() error { return nil }

// last calls f when the goroutine has ended; sent: well, and in time. The end of a
// body is often on its way still when the response has come.
func (u *upload) last(f func(sent bool)) {
	select {
	case <-u.done:
		f(u.err == nil)
		return
	default:
	}
	go func() {
		select {
		case <-u.done:
			f(u.err == nil)
		case <-time.After(lastWait):
			f(false)
		}
	}()
}
