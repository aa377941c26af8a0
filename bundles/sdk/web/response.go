package web

import (
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// response is the http.ResponseWriter and http.Flusher of a handler. WriteHeader
// writes down the fields as they are then; those that depend on the body are
// added when the head is sent.
type response struct {
	c       *conn
	req     *http.Request
	header  http.Header
	names   []string // of header, in order
	fields  []byte   // status line and fields of the handler
	status  int      // 0: not given yet
	length  int64    // of the body, -1: unknown
	written int64
	sent    bool // the head is on its way
	chunked bool
	close   bool // the connection ends after the response
	typed   bool // Content-Type is given, or not wanted
	dated   bool
	body    []byte // octets that wait for more
}

func (w *response) begin(r *http.Request) {
	clear(w.header)
	*w = response{c: w.c, req: r, header: w.header, names: w.names, fields: w.fields, body: w.body[:0], length: -1, close: r.Close}
}

// Header is the fields that WriteHeader sends.
func (w *response) Header() http.Header { return w.header }

// WriteHeader gives the status; only the first one counts, but interim ones are
// sent at once.
func (w *response) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999 || status == http.StatusSwitchingProtocols:
		panic("web: status " + strconv.Itoa(status) + " cannot be sent")
	case w.status != 0:
		sdk.Log(sdk.Warn, "web: "+w.req.Method+" "+w.req.URL.Path+": a second status, "+strconv.Itoa(status))
		return
	case status < 200:
		if w.req.ProtoAtLeast(1, 1) {
			w.start(status)
			_, _ = w.c.Write(append(w.fields, "\r\n"...))
			_ = w.c.flush()
		}
		return
	}
	w.status = status
	w.start(status)
	if len(w.header) == 0 {
		return
	}
	_, w.typed = w.header["Content-Type"]
	w.typed = w.typed || w.header.Get("Content-Encoding") != ""
	_, w.dated = w.header["Date"]
	w.close = w.close || strings.EqualFold(w.header.Get("Connection"), "close")
	if v := w.header.Get("Content-Length"); v != "" && bodyAllowed(status) {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			sdk.Log(sdk.Warn, "web: "+w.req.Method+" "+w.req.URL.Path+": Content-Length is not a length")
		} else {
			w.length = n
		}
	}
}

// start writes the status line and the fields of the handler, without those that
// the server writes itself and what is no name of a field.
func (w *response) start(status int) {
	b := append(w.fields[:0], "HTTP/1."...)
	b = append(b, '0'+byte(min(w.req.ProtoMinor, 1)), ' ')
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = append(b, "\r\n"...)
	w.names = w.names[:0]
	for name := range w.header {
		switch {
		case name == "Content-Length", name == "Transfer-Encoding", name == "Connection", name == "Trailer":
		case name == "Content-Type" && status == http.StatusNotModified:
		case name == "" || span([]byte(name), 0, inToken) < len(name):
		default:
			w.names = append(w.names, name)
		}
	}
	slices.Sort(w.names)
	for _, name := range w.names {
		for _, v := range w.header[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			at := len(b)
			b = append(b, textproto.TrimString(v)...)
			for i := at; i < len(b); i++ {
				if b[i] == '\r' || b[i] == '\n' {
					b[i] = ' '
				}
			}
			b = append(b, "\r\n"...)
		}
	}
	w.fields = b
}

// bodyAllowed tells whether a response with the status has a body (RFC 9110 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// commit sends the head. first is the beginning of the body; done: it is all
// there is.
func (w *response) commit(first []byte, done bool) {
	w.sent = true
	isHead := w.req.Method == http.MethodHead
	allowed := bodyAllowed(w.status)
	if done && allowed && w.length < 0 && (!isHead || len(first) > 0) {
		w.length = int64(len(first))
	}
	if w.length < 0 && allowed && !isHead {
		w.chunked = w.req.ProtoAtLeast(1, 1)
		w.close = w.close || !w.chunked
	}
	if b, ok := w.req.Body.(*body); ok && (b.expect || done && !b.drains()) {
		w.close = true
	}
	b := w.fields
	if allowed && !w.typed && len(first) > 0 {
		b = append(b, "Content-Type: "...)
		b = append(b, contentType(first)...)
		b = append(b, "\r\n"...)
	}
	switch {
	case w.chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case w.length >= 0 && allowed:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, w.length, 10)
		b = append(b, "\r\n"...)
	}
	if !w.dated {
		b = append(b, "Date: "...)
		b = append(b, w.c.server.now()...)
		b = append(b, "\r\n"...)
	}
	switch {
	case w.close && w.req.ProtoAtLeast(1, 1):
		b = append(b, "Connection: close\r\n"...)
	case !w.close && !w.req.ProtoAtLeast(1, 1):
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	b = append(b, "\r\n"...)
	w.fields = b
	_, _ = w.c.Write(b)
}

// contentType is http.DetectContentType, which takes a guest long to find out that
// a text is nothing else: none of the others begins with an octet like those of
// the condition, but one that has "LP" behind 34 octets.
func contentType(p []byte) string {
	switch b := p[0]; {
	case b >= 'a' && b <= 's', b >= '0' && b <= '9', b == '{', b == '[':
		p := p[:min(len(p), 512)]
		i := 1
		for i < len(p) && (p[i] >= ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t') && (i != 35 || p[i] != 'P') {
			i++
		}
		if i == len(p) {
			return "text/plain; charset=utf-8"
		}
	}
	return http.DetectContentType(p)
}

// Write sends octets of the body. They may wait for more; the end and Flush send
// them.
func (w *response) Write(p []byte) (n int, err error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p))
	if w.length >= 0 && w.written > w.length {
		return 0, http.ErrContentLength
	}
	for len(p) > 0 {
		k := len(p)
		if len(w.body) > 0 || k < bodyBuffer {
			k = min(k, bodyBuffer-len(w.body))
			w.body = append(w.body, p[:k]...)
			if k == len(p) {
				return n + k, nil
			}
			err = w.emit(w.body)
			w.body = w.body[:0]
		} else {
			err = w.emit(p)
		}
		if err != nil {
			return n, err
		}
		n, p = n+k, p[k:]
	}
	return n, nil
}

// WriteString is Write.
func (w *response) WriteString(s string) (n int, err error) {
	return w.Write(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// ReadFrom writes all that r gives: io.Copy needs no buffer of its own.
func (w *response) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		if len(w.body) == bodyBuffer {
			if err := w.emit(w.body); err != nil {
				return n, err
			}
			w.body = w.body[:0]
		}
		at := len(w.body)
		w.body = slices.Grow(w.body, bodyBuffer-at)
		k, err := r.Read(w.body[at:bodyBuffer])
		if k > 0 {
			k, werr := w.Write(w.body[at : at+k]) // to where it is
			n += int64(k)
			if werr != nil {
				return n, werr
			}
		}
		if err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// Flush sends what waits.
func (w *response) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	_ = w.emit(w.body)
	w.body = w.body[:0]
	_ = w.c.flush()
}

// emit sends p as it is, or as a chunk, after the head.
func (w *response) emit(p []byte) (err error) {
	if !w.sent {
		w.commit(p, false)
	}
	if len(p) == 0 || w.req.Method == http.MethodHead {
		return nil
	}
	if !w.chunked {
		_, err = w.c.Write(p)
		return err
	}
	var size [18]byte
	_, _ = w.c.Write(append(strconv.AppendInt(size[:0], int64(len(p)), 16), "\r\n"...))
	_, _ = w.c.Write(p)
	_, err = w.c.Write(size[:copy(size[:], "\r\n")])
	return err
}

// finish ends the response; more tells whether the connection goes on.
func (w *response) finish() (more bool, reason byte) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		w.commit(w.body, true)
	}
	_ = w.emit(w.body)
	w.body = w.body[:0]
	if w.chunked {
		_, _ = w.c.Write([]byte("0\r\n\r\n"))
	}
	if w.length >= 0 && w.req.Method != http.MethodHead && bodyAllowed(w.status) && w.written < w.length {
		return false, reset // the client waits for the rest
	}
	if w.close || w.c.gone {
		return false, normal
	}
	if b, ok := w.req.Body.(*body); ok && !b.drain() {
		return false, normal
	}
	return true, normal
}
