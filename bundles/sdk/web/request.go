package web

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// refusal is an answer of the server itself.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

// request is a request for its handler, with what belongs to it: one allocation.
type request struct {
	http.Request
	url  url.URL
	life life
	body body
}

// malformed stands for a request that could not be read; the connection ends
// after it.
var malformed = &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Close: true, Body: http.NoBody}

// head watches the octets of request line and fields on their way to
// http.ReadRequest: it finds their end, bounds them, and refuses what that lets
// pass but others may read differently (RFC 9112 2.2, 5.1, 5.2, 6.1).
type head struct {
	on             bool // in the head
	size, lines    int
	column         int  // octets of the line so far, without CR
	cr             bool // the last one was a CR
	name           []byte
	inName         bool
	length, coding bool // there is Content-Length, Transfer-Encoding
	refused        *refusal
	total          *int // octets of all heads of the server
}

const maxName = len("transfer-encoding") + 1

func (h *head) begin() {
	*h = head{on: true, name: h.name[:0], total: h.total}
}

// done gives back what the head took of the total.
func (h *head) done() {
	*h.total -= h.size
	h.size = 0
}

func (h *head) refuse(status int, detail string) error {
	h.refused = &refusal{status, detail}
	return h.refused
}

// scan gives how many of the octets of p belong to the head.
func (h *head) scan(p []byte) (n int, err error) {
	if !h.on {
		return len(p), nil
	}
	for i, b := range p {
		switch {
		case b == '\n':
			if h.column == 0 {
				h.on = false
				return i + 1, h.count(i + 1)
			}
			if h.lines++; h.lines > maxFields+1 {
				return 0, h.refuse(http.StatusRequestHeaderFieldsTooLarge, "more than 100 fields")
			}
			h.column, h.cr, h.inName, h.name = 0, false, true, h.name[:0]
			continue
		case h.cr:
			return 0, h.refuse(http.StatusBadRequest, "CR without LF")
		case b == '\r':
			h.cr = true
			continue
		case h.lines == 0:
		case h.column == 0 && (b == ' ' || b == '\t'):
			return 0, h.refuse(http.StatusBadRequest, "a field that goes on in the next line")
		case !h.inName:
		case b == ' ' || b == '\t':
			return 0, h.refuse(http.StatusBadRequest, "a space in the name of a field")
		case b == ':':
			h.inName = false
			switch string(h.name) {
			case "content-length":
				h.length = true
			case "transfer-encoding":
				h.coding = true
			}
		case len(h.name) < maxName:
			h.name = append(h.name, b|0x20)
		}
		h.column++
	}
	return len(p), h.count(len(p))
}

// count adds n octets to the head.
func (h *head) count(n int) error {
	h.size += n
	*h.total += n
	switch {
	case h.size > maxHead && h.lines == 0:
		return h.refuse(http.StatusRequestURITooLong, "the request line has more than 65536 octets")
	case h.size > maxHead:
		return h.refuse(http.StatusRequestHeaderFieldsTooLarge, "the head has more than 65536 octets")
	case *h.total > maxHeads:
		return h.refuse(http.StatusServiceUnavailable, "too many requests with large heads")
	}
	return nil
}

// life is the context of a request, which ends with its handler or the connection.
// A context of package context is made only when somebody waits for the end.
type life struct {
	mu     sync.Mutex
	over   bool
	ctx    context.Context
	cancel context.CancelFunc
}

// end ends it.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.cancel != nil {
		l.cancel()
	}
}

// Deadline says that there is none.
func (l *life) Deadline() (t time.Time, ok bool) { return t, false }

// Done is closed at the end.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		l.ctx, l.cancel = context.WithCancel(context.Background())
		if l.over {
			l.cancel()
		}
	}
	return l.ctx.Done()
}

// Err is nil, after the end context.Canceled.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return context.Canceled
	}
	return nil
}

// Value lets package context find its own context, so that those made from it end
// with it at once.
func (l *life) Value(key any) any {
	l.mu.Lock()
	ctx := l.ctx
	l.mu.Unlock()
	if ctx == nil {
		return nil
	}
	return ctx.Value(key)
}

// body is the body of a request for its handler.
type body struct {
	c      *conn
	src    io.Reader // of http.ReadRequest: takes the chunks apart; nil: left octets
	left   int64     // octets to come, -1: unknown
	expect bool      // the client waits for 100 (RFC 9110 10.1.1)
	closed bool      // no reading any more
	err    error     // how it ended
}

// Read gives octets of the body and waits for some.
func (b *body) Read(p []byte) (n int, err error) {
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.expect {
		if b.c.res.sent {
			return 0, http.ErrBodyReadAfterClose // the client was told that nothing is wanted
		}
		b.expect = false
		_, _ = b.c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
	return b.read(p)
}

func (b *body) read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.src != nil {
		n, b.err = b.src.Read(p)
		return n, b.err
	}
	n, b.err = b.c.br.Read(p[:min(int64(len(p)), b.left)])
	switch b.left -= int64(n); {
	case b.left == 0:
		b.err = io.EOF
	case b.err == io.EOF:
		b.err = io.ErrUnexpectedEOF
	}
	return n, b.err
}

// Close ends the reading. What is left is read later, or the connection ends.
func (b *body) Close() error {
	b.closed = true
	return nil
}

// drains tells whether the connection can go on after the body: it was read, or
// little of it is left.
func (b *body) drains() bool {
	if b.err != nil {
		return b.err == io.EOF
	}
	return !b.expect && b.left <= maxDrain
}

// drain reads what is left, within bounds, and tells whether that was all.
func (b *body) drain() bool {
	var p [512]byte
	for n := 0; b.err == nil && n <= maxDrain && b.drains(); {
		k, _ := b.read(p[:])
		n += k
	}
	return b.err == io.EOF
}
