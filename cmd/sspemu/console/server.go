package console

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Bounds of a request.
const (
	maxPackage = 64 << 20
	maxJSON    = 16 << 20
)

// Problem is an error of the API (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Code   int    `json:"status"`
	Detail string `json:"detail"`
}

func (p *Problem) Error() string { return p.Detail }

// Status is the HTTP status.
func (p *Problem) Status() int { return p.Code }

func problem(code int, format string, a ...any) *Problem {
	return &Problem{Title: http.StatusText(code), Code: code, Detail: fmt.Sprintf(format, a...)}
}

// Server serves the API of an Emulator.
type Server struct {
	emulator Emulator
	token    string
	mux      http.ServeMux
}

// NewServer makes the handler of the API. With a token every request has to carry
// "Authorization: Bearer TOKEN".
func NewServer(e Emulator, token string) *Server {
	s := &Server{emulator: e, token: token}
	s.handle("GET /status", func(r *http.Request) (any, error) { return e.Status(r.Context()) })
	s.handle("GET /profile", func(r *http.Request) (any, error) { return e.Profile(r.Context()) })
	s.handle("GET /bundles", func(r *http.Request) (any, error) {
		list, err := e.Bundles(r.Context())
		return Bundles{SchemaVersion, list}, err
	})
	s.handle("POST /bundles", func(r *http.Request) (any, error) {
		spb, err := body(r, maxPackage)
		if err != nil {
			return nil, err
		}
		name := r.URL.Query().Get("name")
		if name == "" {
			name = "package"
		}
		return e.Install(r.Context(), name, spb)
	})
	s.handle("POST /bundles/{id}/{verb}", func(r *http.Request) (any, error) {
		switch verb := r.PathValue("verb"); verb {
		case "enable", "disable", "activate":
			return nil, e.Lifecycle(r.Context(), verb, r.PathValue("id"))
		default:
			return nil, problem(http.StatusNotFound, "a bundle has no verb %q (enable, disable, activate)", verb)
		}
	})
	s.handle("DELETE /bundles/{id}", func(r *http.Request) (any, error) {
		return nil, e.Lifecycle(r.Context(), "delete", r.PathValue("id"))
	})
	s.handle("POST /apdu", func(r *http.Request) (any, error) {
		var q APDURequest
		raw, err := body(r, maxJSON)
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			return nil, problem(http.StatusBadRequest, "the request is not what docs/api.md says: %v", err)
		}
		return e.APDU(r.Context(), q)
	})
	s.mux.HandleFunc("GET "+prefix+"/events", s.events)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, problem(http.StatusNotFound, "there is no %s %s; docs/api.md lists what there is", r.Method, r.URL.Path))
	})
	return s
}

func body(r *http.Request, limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return nil, problem(http.StatusRequestEntityTooLarge, "the request is longer than %d bytes", limit)
	}
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the request broke off: %v", err)
	}
	return b, nil
}

// handle serves one path: what f returns goes out as JSON; nil is 204.
func (s *Server) handle(pattern string, f func(r *http.Request) (answer any, err error)) {
	method, path, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(method+" "+prefix+path, func(w http.ResponseWriter, r *http.Request) {
		switch answer, err := f(r); {
		case err != nil:
			fail(w, err)
		case answer == nil:
			write(w, "", http.StatusNoContent, nil)
		default:
			write(w, "application/json", http.StatusOK, answer)
		}
	})
}

func write(w http.ResponseWriter, kind string, code int, v any) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if v == nil {
		w.WriteHeader(code)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client has gone
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var s interface{ Status() int }
	if errors.As(err, &s) {
		code = s.Status()
	}
	write(w, "application/problem+json", code, problem(code, "%v", err))
}

// ServeHTTP lets in who is from here: the Host must be an address of this machine
// and the Origin, if any, the API itself, so that no page that a browser shows can
// reach the emulator (DNS rebinding, cross-site requests).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.token == "" && !loopback(r.Host) {
		fail(w, problem(http.StatusForbidden, "Host %q is not this machine (use 127.0.0.1, [::1] or localhost)", r.Host))
		return
	}
	if o := r.Header.Get("Origin"); o != "" {
		u, err := url.Parse(o)
		if err != nil || u.Host != r.Host {
			fail(w, problem(http.StatusForbidden, "Origin %q is not the API", o))
			return
		}
	}
	if s.token != "" {
		got := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(got), []byte(s.token)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, problem(http.StatusUnauthorized, "the token lacks or is wrong (Authorization: Bearer TOKEN)"))
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// loopback tells whether hostport names this machine's loopback.
func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Loopback tells whether an address to listen on is reachable from this machine
// only.
func Loopback(hostport string) bool { return loopback(hostport) }

// events is a stream of server-sent events: what happened after ?since=SEQ (or the
// Last-Event-ID of a browser that comes back), then what happens.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	since := r.URL.Query().Get("since")
	if since == "" {
		since = r.Header.Get("Last-Event-ID")
	}
	var seq uint64
	if since != "" {
		var err error
		if seq, err = strconv.ParseUint(since, 10, 64); err != nil {
			fail(w, problem(http.StatusBadRequest, "since=%q is not the number of an event", since))
			return
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return
	}
	// The error is that the client or the emulator has gone: nobody to tell.
	_ = s.emulator.Events(r.Context(), seq, func(e Event) (stop bool) {
		b, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, oneLine(e.Name), b)
		}
		return err != nil || flush.Flush() != nil
	})
}

// oneLine keeps a name that a bundle chose from breaking the stream.
func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }
