package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"runtime"
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// Reasons for the end of a session (sdk.Closed).
const (
	normal byte = 0
	reset  byte = 1
)

// await is what the coroutine of a connection waits for.
type await uint8

const (
	nothing   await = iota // it runs
	forConn                // a new connection: the old one has ended
	forInput               // Data
	forCredit              // Credit
)

var errGone = errors.New("web: the client has gone")

// conn is a connection and the coroutine that serves it. When the connection has
// ended, both can be used for another one.
type conn struct {
	server *Server
	next   func() (struct{}, bool) // runs the coroutine until it waits
	stop   func()
	yield  func(struct{}) bool
	waits  await

	pipe uint32
	gone bool // the session has ended: nothing can be read or sent
	idle bool // waits for a request of which there is not one octet yet
	last uint64
	life *life // of the request that is served

	in     []byte // octets that came and were not read: in held, or in the message
	held   []byte
	window int   // octets that the terminal may send
	owed   int   // octets that it may be granted again
	credit int64 // octets that may be sent

	br   *bufio.Reader
	head head
	out  []byte // octets to send, at most one message
	res  response
}

func newConn(s *Server) *conn {
	c := &conn{server: s, waits: forConn}
	c.br = bufio.NewReaderSize(c, readBuffer)
	c.head.total = &s.heads
	c.res.c = c
	c.res.header = http.Header{}
	c.next, c.stop = iter.Pull(c.run)
	return c
}

// run is the coroutine.
func (c *conn) run(yield func(struct{}) bool) {
	c.yield = yield
	for {
		c.serve()
		c.waits = forConn
		if !yield(struct{}{}) {
			return
		}
		c.waits = nothing
	}
}

// resume lets the coroutine run if it waits for w, until it waits again.
func (c *conn) resume(w await) {
	if c.waits != w {
		return
	}
	c.waits = nothing
	c.next()
	if c.waits == forConn {
		c.server.release(c)
	}
}

// wait suspends the coroutine.
func (c *conn) wait(w await) {
	c.waits = w
	if !c.yield(struct{}{}) {
		c.gone = true
	}
}

// begin makes c a connection on pipe.
func (c *conn) begin(pipe uint32) {
	c.pipe, c.gone, c.idle = pipe, false, true
	c.in, c.window, c.owed, c.credit = nil, 0, 0, 0
	c.out = c.out[:0]
	c.br.Reset(c)
}

// data takes octets of the client and lets the handler read them. What it does
// not read now is kept; that is at most the window.
func (c *conn) data(p []byte) {
	c.window -= len(p) + 1
	if c.window < 0 {
		c.end(reset)
		c.leave()
		return
	}
	c.owe(1)
	kept := len(c.in) > 0
	if kept {
		n := copy(c.held, c.in)
		c.held = append(c.held[:n], p...)
		c.in = c.held
	} else {
		c.in = p
	}
	c.resume(forInput)
	if !kept && len(c.in) > 0 {
		c.held = append(c.held[:0], c.in...)
		c.in = c.held
	}
}

// leave ends what goes on on the connection: the session is over.
func (c *conn) leave() {
	c.gone, c.in = true, nil
	if c.life != nil {
		c.life.end()
	}
	c.resume(c.waits)
}

// end ends the session from this side.
func (c *conn) end(reason byte) {
	if !c.gone {
		c.gone = true
		_ = sdk.Send(sdk.GateTCP, c.pipe, sdk.Closed, []byte{reason})
	}
}

// grant lets the terminal send n octets more.
func (c *conn) grant(n int) error {
	c.window += n
	return sdk.Send(sdk.GateTCP, c.pipe, sdk.Credit, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// owe counts n octets that were read, and grants them when there are many. The
// terminal has always more than half of the window left when all was read: no
// message that fits there waits for ever.
func (c *conn) owe(n int) {
	if c.owed += n; c.owed >= window/2 && !c.gone {
		n, c.owed = c.owed, 0
		_ = c.grant(n) // if the session has ended, Closed tells
	}
}

// Read gives octets of the client and waits for some. io.EOF: it has gone.
func (c *conn) Read(p []byte) (n int, err error) {
	for len(c.in) == 0 {
		if c.flush() != nil {
			return 0, io.EOF
		}
		if len(c.in) == 0 { // nothing came while flush waited
			c.wait(forInput)
		}
	}
	n = copy(p, c.in)
	if c.head.on {
		if n, err = c.head.scan(p[:n]); err != nil {
			return 0, err
		}
	}
	c.in = c.in[n:]
	c.owe(n)
	return n, nil
}

// Write sends p, in messages that are as long as possible; the last one waits for
// flush.
func (c *conn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if c.gone {
			return n, errGone
		}
		k := len(p)
		if len(c.out) == 0 && k >= maxMessage {
			if k, err = c.send(p[:maxMessage]); err != nil {
				return n, err
			}
		} else {
			k = min(k, maxMessage-len(c.out))
			c.out = append(c.out, p[:k]...)
			if len(c.out) == maxMessage {
				if err := c.flush(); err != nil {
					return n, err
				}
			}
		}
		n, p = n+k, p[k:]
	}
	return n, nil
}

// flush sends all that waits.
func (c *conn) flush() error {
	for sent := 0; len(c.out) > 0; {
		n, err := c.send(c.out[sent:])
		if err != nil {
			return err
		}
		if sent += n; sent == len(c.out) {
			c.out = c.out[:0]
		}
	}
	if c.gone {
		return errGone
	}
	return nil
}

// send sends the beginning of p in one message, as much as there is credit for;
// it waits until there is some.
func (c *conn) send(p []byte) (n int, err error) {
	for {
		for c.credit < 2 && !c.gone {
			c.wait(forCredit)
		}
		if c.gone {
			return 0, errGone
		}
		n = int(min(int64(len(p)), c.credit-1))
		switch err := sdk.Send(sdk.GateTCP, c.pipe, sdk.Data, p[:n]); err {
		case nil:
			c.credit -= int64(n) + 1
			if n >= maxMessage/2 {
				runtime.Gosched()
			}
			return n, nil
		case sdk.ErrNoCredit:
			c.credit = 0
		default:
			c.end(reset)
		}
	}
}

// serve answers the requests of the connection until it ends.
func (c *conn) serve() {
	reason := normal
	for more := !c.gone; more; {
		more, reason = c.exchange()
		c.head.done()
		if c.br.Buffered() > 0 {
			runtime.Gosched() // as at the end of Message
		}
	}
	if c.flush() == nil {
		c.end(reason)
	}
}

// exchange reads one request and answers it; more is false when the connection
// has to end then.
func (c *conn) exchange() (more bool, reason byte) {
	c.idle = c.br.Buffered() == 0
	c.server.clock++
	c.last = c.server.clock
	for {
		b, err := c.br.Peek(1)
		if err != nil {
			return false, normal
		}
		if b[0] != '\r' && b[0] != '\n' {
			break
		}
		_, _ = c.br.Discard(1) // RFC 9112 2.2: an empty line before the request
	}
	c.idle = false
	req, refused := c.request()
	if c.gone {
		return false, normal
	}
	w := &c.res
	if refused != nil {
		w.begin(malformed)
		Problem(w, refused.status, refused.detail)
		w.finish()
		return false, normal
	}
	w.begin(&req.Request)
	v := c.call(req)
	if v == nil {
		if err := sdk.NVM.Commit(); err != nil {
			v = err
		}
	}
	if v != nil {
		sdk.NVM.Rollback()
		if v != http.ErrAbortHandler {
			sdk.Log(sdk.Fault, fmt.Sprintf("web: %s %s: %v", req.Method, req.URL.Path, v))
		}
		if v == http.ErrAbortHandler || w.sent {
			return false, reset
		}
		req.Close = true
		w.begin(&req.Request)
		Problem(w, http.StatusInternalServerError, "the bundle failed")
	}
	return w.finish()
}

// call runs the handler; v is what it panicked with, or nil.
func (c *conn) call(r *request) (v any) {
	c.life = &r.life
	defer func() {
		v, c.life = recover(), nil
		r.life.end()
	}()
	c.server.handler.ServeHTTP(&c.res, &r.Request)
	return nil
}

// request reads the head of a request and makes its body.
func (c *conn) request() (*request, *refusal) {
	h := &c.head
	p, _ := c.br.Peek(c.br.Buffered())
	if r, n := plain(p); r != nil && *h.total+n <= maxHeads {
		h.size = n
		*h.total += n
		_, _ = c.br.Discard(n)
		c.attach(r, nil, false)
		return r, nil
	}
	h.begin()
	var req *http.Request
	_, err := h.scan(p)
	if err == nil {
		req, err = http.ReadRequest(c.br)
	}
	h.on = false
	switch {
	case h.refused != nil:
		return nil, h.refused
	case err != nil:
		what, _, _ := strings.Cut(err.Error(), `"`) // what follows is the client's
		if strings.Contains(what, "transfer encoding") {
			return nil, &refusal{http.StatusNotImplemented, "no other transfer coding than chunked is served"}
		}
		return nil, &refusal{http.StatusBadRequest, strings.TrimSpace(what)}
	case req.ProtoMajor != 1:
		return nil, &refusal{http.StatusHTTPVersionNotSupported, "HTTP/1.0 and HTTP/1.1 are served"}
	case h.coding && (h.length || req.ProtoMinor == 0):
		return nil, &refusal{http.StatusBadRequest, "Transfer-Encoding with Content-Length or HTTP/1.0"}
	case req.Host == "" && req.ProtoMinor > 0, !validHost(req.Host):
		return nil, &refusal{http.StatusBadRequest, "Host lacks or is malformed"}
	}
	expect := req.Header["Expect"]
	if req.ProtoMinor == 0 {
		expect = nil
	}
	if len(expect) > 0 && !strings.EqualFold(expect[0], "100-continue") {
		return nil, &refusal{http.StatusExpectationFailed, "no other expectation than 100-continue is met"}
	}
	r := new(request)
	r.Request = *req.WithContext(&r.life)
	var chunks io.Reader
	if req.ContentLength < 0 {
		chunks = req.Body
	}
	c.attach(r, chunks, len(expect) > 0)
	return r, nil
}

// attach gives the request its body, if it has one.
func (c *conn) attach(r *request, chunks io.Reader, expect bool) {
	if r.ContentLength != 0 {
		r.body = body{c: c, src: chunks, left: r.ContentLength, expect: expect}
		r.Body = &r.body
	}
}

// validHost tells whether h is made of the characters of a host and port (RFC
// 3986 3.2.2, 3.2.3).
func validHost(h string) bool {
	for i := range len(h) {
		b := h[i]
		if b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' {
			continue
		}
		if strings.IndexByte("-._~%!$&'()*+,;=:[]", b) < 0 {
			return false
		}
	}
	return true
}
