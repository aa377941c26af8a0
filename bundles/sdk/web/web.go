// Package web serves HTTP/1.1 from inside a bundle: it turns an ordinary
// http.Handler into the bundle's TCP gate.
//
//	terminal ──TCP gate──> Server ──> conn, one a pipe, a coroutine ──> http.Handler
//	         <──messages──   │          │   plain or http.ReadRequest   (the bundle's)
//	                         │          └── response: http.ResponseWriter
//	                         └── resumes the conn that has input or credit
//
//	func (a *App) Gates() sdk.Gates {
//		mux := http.NewServeMux()
//		mux.HandleFunc("GET /counter", a.show)
//		return sdk.Gates{TCP: web.New(mux)}
//	}
//
// A guest has one thread and a call into it cannot wait. A handler that reads a
// body which is not there yet, or writes more than the terminal has credit for,
// is suspended as a coroutine; the call returns and another message resumes it.
// Handlers of one connection run in the order of its requests; those of different
// connections change only where one of them is suspended, so that they need no
// locks. A handler must not wait for anything else (a channel, time.Sleep): it
// would hold up the bundle. r.Context ends when the connection does.
//
// What a handler wrote to NVM is stored before the end of its response leaves, and
// when it is suspended: another call can come between. A panic drops what was
// written since; the client gets 500, or a reset when the response had begun.
//
// As in net/http: status 200 unless another was given, Content-Type by the first
// octets, Content-Length for bodies up to 4 KiB, else chunks; Flush; interim
// responses (103); ErrAbortHandler. Not served: trailers of a response, Upgrade,
// Hijack, time-outs.
//
// What the server itself answers is a problem (RFC 9457): 400, 414, 417, 431, 500,
// 501, 503, 505.
//
// Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1). Limits are ours (chosen):
// the linear memory of a guest is 16 MiB.
package web

import (
	"net/http"
	"runtime"
	"time"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// Limits, all of them chosen.
const (
	maxConns   = 64       // connections; one more takes the place of the one idle longest
	maxKept    = 8        // coroutines with their buffers that wait for a connection
	maxHead    = 64 << 10 // octets of request line and fields
	maxFields  = 100      // fields of a request
	maxHeads   = 1 << 20  // octets of the heads of all requests that are being served
	maxDrain   = 64 << 10 // octets of a body that are read though the handler did not want them
	window     = 32 << 10 // credit that the terminal has on an idle connection
	maxMessage = 16 << 10 // octets of one Data message
	bodyBuffer = 4 << 10  // octets of a body that wait for its end, or for more
	readBuffer = 4 << 10  // octets of http.ReadRequest's reader
)

// Server is the TCP gate of a bundle (sdk.Gate).
type Server struct {
	handler http.Handler
	conns   map[uint32]*conn
	kept    []*conn // ended, to be used again
	heads   int     // octets of the heads of requests that are being served
	clock   uint64  // counts the requests: which connection is idle longest

	date   []byte // Date of second
	second int64
}

// New gives a server that hands every request to h.
func New(h http.Handler) *Server {
	return &Server{handler: h, conns: map[uint32]*conn{}}
}

// Message takes a message of a pipe. It refuses a connection when all are busy.
func (s *Server) Message(pipe uint32, instruction byte, data []byte) error {
	err := s.message(pipe, instruction, data)
	runtime.Gosched() // the collector of a guest has no other time
	return err
}

func (s *Server) message(pipe uint32, instruction byte, data []byte) error {
	c := s.conns[pipe]
	if instruction == sdk.Opened {
		if c != nil {
			return sdk.ErrIllegalParameter
		}
		return s.open(pipe)
	}
	if c == nil {
		return nil // it crossed the end that the bundle gave the session
	}
	switch instruction {
	case sdk.Data:
		c.data(data)
	case sdk.Credit:
		if len(data) != 4 {
			return sdk.ErrIllegalParameter
		}
		c.credit += int64(data[0])<<24 | int64(data[1])<<16 | int64(data[2])<<8 | int64(data[3])
		c.resume(forCredit)
	case sdk.Closed:
		c.leave()
	default:
		return sdk.ErrIllegalParameter
	}
	return nil
}

// open begins a connection and lets the terminal send.
func (s *Server) open(pipe uint32) error {
	if len(s.conns) == maxConns && !s.evict() {
		return sdk.ErrNoSpace
	}
	c := s.take()
	c.begin(pipe)
	s.conns[pipe] = c
	if err := c.grant(window); err != nil {
		c.leave()
		return err
	}
	c.resume(forConn)
	return nil
}

// evict ends the connection that waits for a request longest; false when all of
// them are busy.
func (s *Server) evict() bool {
	var oldest *conn
	for _, c := range s.conns {
		if c.idle && c.waits == forInput && (oldest == nil || c.last < oldest.last) {
			oldest = c
		}
	}
	if oldest == nil {
		return false
	}
	oldest.end(normal)
	oldest.leave()
	return true
}

// take gives a connection with a coroutine, a used one if there is one.
func (s *Server) take() *conn {
	if n := len(s.kept) - 1; n >= 0 {
		c := s.kept[n]
		s.kept = s.kept[:n]
		return c
	}
	return newConn(s)
}

// release keeps an ended connection for later, or lets it go.
func (s *Server) release(c *conn) {
	delete(s.conns, c.pipe)
	if len(s.kept) < maxKept {
		s.kept = append(s.kept, c)
	} else {
		c.stop()
	}
}

// now is the value of Date.
func (s *Server) now() []byte {
	t := time.Now()
	if sec := t.Unix(); sec != s.second || s.date == nil {
		s.second, s.date = sec, t.UTC().AppendFormat(s.date[:0], http.TimeFormat)
	}
	return s.date
}
