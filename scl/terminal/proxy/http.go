package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits towards HTTP clients; all chosen.
const (
	maxHeader  = 64 << 10               // octets of the header of a request
	headerTime = 10 * time.Second       // for the header of a request to arrive
	idleTime   = 2 * time.Minute        // between requests
	slowTime   = time.Minute            // for the next piece of a body, either way: it holds up a connection to the bundle
	drainTime  = 500 * time.Millisecond // for what a client still sends after its answer
	endTime    = 2 * time.Second        // for requests that are under way when Serve ends
	pieceSize  = 32 << 10               // octets of a body at a time
)

// HTTP serves HTTP clients with what the active bundle answers (http.Handler).
//
//	client ── net/http server ── HTTP ── terminal.HTTP ══ TCP gate of the active SPB
//
// Requests and responses pass as they are, bodies as they come, both ways at once.
// Fields that concern one connection only end here (RFC 9110 7.6.1); none is added,
// but for Date where the bundle gives none (6.6.1). What nobody answers is a problem
// (RFC 9457):
//
//	503, Retry-After  no bundle is active, or it left before it answered
//	503               the active bundle has no TCP gate
//	504               the bundle ran over its time
//	502               the bundle ended the connection, or what it sends is not HTTP
//	408, 400          the body of the request does not come, or is no good
//	405, 501, 505     CONNECT; Upgrade to anything but h2c, which is ignored; HTTP/2
//
// When the bundle fails after the header of its response, the connection to the
// client breaks, so that no client takes half an answer for a whole one.
type HTTP struct {
	bundle http.RoundTripper
}

// NewHTTP makes one for a bundle that is asked with rt, a terminal.HTTP.
func NewHTTP(rt http.RoundTripper) *HTTP { return &HTTP{rt} }

// Serve serves clients that come in on ln until ctx is done; it closes ln.
func (p *HTTP) Serve(ctx context.Context, ln net.Listener) error {
	s := &http.Server{
		Handler: p, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		DisableGeneralOptionsHandler: true, // OPTIONS * is the bundle's
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		if s.Shutdown(grace) != nil {
			s.Close()
		}
	})
	err := s.Serve(ln)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP passes a request to the bundle (http.Handler).
func (p *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.ProtoMajor != 1: // the server lets through how HTTP/2 begins
		newProblem(http.StatusHTTPVersionNotSupported, "A bundle speaks HTTP/1.1 only.").write(w)
		return
	case r.Method == http.MethodConnect:
		w.Header().Set("Allow", "") // whatever the target is, it is not reached through here
		newProblem(http.StatusMethodNotAllowed, "A bundle is no proxy: send the request itself instead of CONNECT.").write(w)
		return
	case upgrades(r.Header):
		newProblem(http.StatusNotImplemented, "A bundle speaks HTTP/1.1 only: send the request without Upgrade.").write(w)
		return
	}
	// Only the copy is changed: the server looks at its own.
	out := *r
	out.Close = false
	dropHopByHop(out.Header)
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // or Go's would be put there
	}
	control := http.NewResponseController(w)
	var up *upload
	out.Body = nil
	if r.ContentLength != 0 {
		_ = control.EnableFullDuplex() // httptest.ResponseRecorder is, and says that it is not
		up = &upload{body: r.Body, control: control}
		out.Body = up
		defer up.leave()
	}
	resp, err := p.bundle.RoundTrip(&out)
	if err == nil {
		defer resp.Body.Close()
		dropHopByHop(resp.Header)
	}
	if up != nil && !up.ended.Load() {
		w.Header().Set("Connection", "close") // what the client still sends is not its next request
	}
	switch {
	case err == nil:
		answer(w, control, resp)
	case up != nil && up.err.Load() != nil:
		bodyProblem(*up.err.Load()).write(w)
	case errors.Is(err, context.Canceled): // not r.Context(), which ends with a Read that up.Close ends
		panic(http.ErrAbortHandler) // nobody is there any more
	default:
		problemOf(err).write(w)
	}
}

// answer passes a response on.
func answer(w http.ResponseWriter, control *http.ResponseController, resp *http.Response) {
	h := w.Header()
	maps.Copy(h, resp.Header)
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // or the server would guess
	}
	for name := range resp.Trailer {
		h.Add("Trailer", name)
	}
	announced := len(resp.Trailer)
	w.WriteHeader(resp.StatusCode)
	if resp.Body != http.NoBody {
		if err := stream(w, control, resp); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	for name, values := range resp.Trailer {
		if announced == 0 {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// stream passes the body of a response on as it comes.
func stream(w http.ResponseWriter, control *http.ResponseController, resp *http.Response) error {
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	send := func(p []byte, flush bool) error {
		_ = control.SetWriteDeadline(time.Now().Add(slowTime))
		if _, err := w.Write(p); err != nil || !flush {
			return err
		}
		return control.Flush()
	}
	if resp.ContentLength < 0 { // it may be long until the first octet
		if err := send(nil, true); err != nil {
			return err
		}
	}
	for {
		n, err := resp.Body.Read(piece[:])
		if err != nil && err != io.EOF {
			return err
		}
		if werr := send(piece[:n], err == nil); werr != nil {
			return werr
		}
		if err == io.EOF { // the server flushes
			return nil
		}
	}
}

// upgrades tells whether a client wants another protocol. h2c is what curl --http2
// offers; it may be ignored, as any other (RFC 9110 7.8), and who asks for it does
// without.
func upgrades(h http.Header) bool {
	for _, v := range h["Upgrade"] {
		for p := range strings.SplitSeq(v, ",") {
			if !strings.EqualFold(textproto.TrimString(p), "h2c") {
				return true
			}
		}
	}
	return false
}

// hopByHop are the fields that an intermediary takes away beside those that
// Connection lists (RFC 9110 7.6.1, 11.7). Trailer and Transfer-Encoding of a
// message are in other fields of Go's than Header.
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade",
}

func dropHopByHop(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// upload is the body of a request (io.ReadCloser). Closed before its end, it ends a
// Read that is under way, which the server's body does not.
type upload struct {
	body    io.ReadCloser
	control *http.ResponseController

	reading sync.Mutex // held by Read
	ended   atomic.Bool
	closed  atomic.Bool
	err     atomic.Pointer[error]
}

func (u *upload) Read(b []byte) (n int, err error) {
	u.reading.Lock()
	defer u.reading.Unlock()
	if u.ended.Load() {
		return 0, io.EOF
	}
	_ = u.control.SetReadDeadline(time.Now().Add(slowTime))
	if u.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err = u.body.Read(b)
	switch {
	case err == io.EOF:
		u.ended.Store(true)
	case err != nil && !u.closed.Load():
		u.err.Store(&err)
	}
	return n, err
}

// Close ends reading; none is under way when it returns.
func (u *upload) Close() error {
	if u.ended.Load() {
		return nil
	}
	u.closed.Store(true)
	_ = u.control.SetReadDeadline(time.Unix(1, 0))
	u.reading.Lock()
	defer u.reading.Unlock()
	return nil
}

// leave ends reading and gives the client time to see its answer before the
// connection closes on what it still sends.
func (u *upload) leave() {
	_ = u.Close()
	if !u.ended.Load() {
		_ = u.control.SetReadDeadline(time.Now().Add(drainTime))
	}
}
