package coap

import (
	"hash/fnv"
	"io"
)

// defaultMaxAge is what a response without Max-Age means, in seconds (RFC 7252
// 5.10.5).
const defaultMaxAge = 60

// Response is what a handler answers. Untouched it is a success without payload.
type Response struct {
	// Code is 0 for the usual one: 2.05 Content after GET, 2.04 Changed after POST
	// and PUT, 2.02 Deleted after DELETE.
	Code     Code
	Payload  []byte   // the whole body; the server sends it in blocks when it is long
	Format   Format   // of Payload
	ETag     []byte   // 1 to 8 octets; nil: the server makes one when it sends blocks
	MaxAge   uint32   // seconds that the answer may be cached
	Location []string // segments of the path of what was created

	s     *Server
	r     *Request
	o     *observer // the response is a notification for
	slow  bool      // a later Response answers
	later bool      // this is that later one
	buf   []byte    // of Write
	src   io.ReaderAt
	size  int64     // of src
	held  *transfer // that the payload is of
	size1 int       // Size1 of the answer
	hash  [8]byte
}

// reset makes w an untouched answer to r.
func (w *Response) reset(s *Server, r *Request) {
	if cap(w.buf) > 64<<10 {
		w.buf = nil
	}
	*w = Response{Format: NoFormat, MaxAge: defaultMaxAge, s: s, r: r, buf: w.buf[:0]}
}

// Write appends to the payload.
func (w *Response) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	w.Payload = w.buf
	return len(p), nil
}

// WriteString appends to the payload.
func (w *Response) WriteString(p string) (int, error) {
	w.buf = append(w.buf, p...)
	w.Payload = w.buf
	return len(p), nil
}

// Text makes p the payload, as text/plain.
func (w *Response) Text(p string) {
	w.buf = append(w.buf[:0], p...)
	w.Payload, w.Format = w.buf, Text
}

// Send makes p the payload, in format f. p is not kept after the handler returned,
// unless it takes more than one block: then it is copied.
func (w *Response) Send(f Format, p []byte) { w.Payload, w.Format = p, f }

// Stream makes size octets of src the payload, in format f. The handler is called
// for every block, and only what a block takes is read. ETag should say which
// representation it is, so that a client notices when it changes under way.
func (w *Response) Stream(f Format, src io.ReaderAt, size int64) {
	w.src, w.size, w.Format = src, size, f
}

// Fail makes the answer an error with a diagnostic text (RFC 7252 5.5.2).
func (w *Response) Fail(c Code, diagnostic string) {
	w.buf = append(w.buf[:0], diagnostic...)
	w.Code, w.Payload, w.Format = c, w.buf, NoFormat
	w.src, w.ETag, w.Location, w.held = nil, nil, nil, nil
}

// Later leaves the request open: the client is told at once that it arrived, and
// is answered when Answer of the returned Response is called, from a timer or
// another call into the bundle (RFC 7252 5.2.2). What the handler puts into w
// itself does not matter any more.
func (w *Response) Later() *Response {
	w.slow = true
	l := new(Response)
	l.reset(w.s, w.r.keep())
	l.later, l.o = true, w.o
	return l
}

// Answer sends a Response that Later returned. It is sent once; a client that has
// left gets nothing.
func (w *Response) Answer() {
	if w.later {
		w.later = false
		w.s.answerLater(w)
	}
}

// length is how many octets the body has.
func (w *Response) length() int64 {
	if w.src != nil {
		return w.size
	}
	return int64(len(w.Payload))
}

// etag is the entity-tag: the handler's, or a hash of the payload; nil when the
// payload is a stream without one.
func (w *Response) etag() []byte {
	if w.ETag == nil && w.src == nil {
		h := fnv.New64a()
		_, _ = h.Write(w.Payload)
		w.ETag = h.Sum(w.hash[:0])
	}
	return w.ETag
}
