package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
)

// fake is an Emulator that answers from its fields.
type fake struct {
	err    error
	calls  []string
	events []console.Event
}

type refusal struct{ code int }

func (refusal) Error() string { return "activate x: it is disabled (enable it first)" }
func (r refusal) Status() int { return r.code }

func (f *fake) Status(context.Context) (console.Status, error) {
	return console.Status{Schema: console.SchemaVersion, Ready: true, Seq: uint64(len(f.events))}, f.err
}

func (f *fake) Bundles(context.Context) ([]console.Bundle, error) {
	return []console.Bundle{{Name: "telecom"}}, f.err
}

func (f *fake) Install(_ context.Context, name string, spb []byte) (console.Bundle, error) {
	f.calls = append(f.calls, "install "+name+" "+string(spb))
	return console.Bundle{Name: name}, f.err
}

func (f *fake) Lifecycle(_ context.Context, verb, id string) error {
	f.calls = append(f.calls, verb+" "+id)
	return f.err
}

func (f *fake) APDU(_ context.Context, q console.APDURequest) (console.APDUResponse, error) {
	f.calls = append(f.calls, "apdu "+strings.Join(q.APDUs, ","))
	return console.APDUResponse{Schema: console.SchemaVersion}, f.err
}

func (f *fake) Profile(context.Context) (console.Profile, error) {
	return console.Profile{Schema: console.SchemaVersion, Name: "p"}, f.err
}

func (f *fake) Events(ctx context.Context, since uint64, each func(console.Event) bool) error {
	for _, e := range f.events {
		if e.Seq > since && each(e) {
			return nil
		}
	}
	return ctx.Err()
}

func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:7816"
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestDoor: whoever comes through a browser or from elsewhere is turned away.
func TestDoor(t *testing.T) {
	for _, tt := range []struct {
		name, host, origin, token, auth string
		code                            int
	}{
		{"here", "127.0.0.1:7816", "", "", "", 200},
		{"by name", "localhost:7816", "", "", "", 200},
		{"IPv6", "[::1]:7816", "", "", "", 200},
		{"without port", "127.0.0.1", "", "", "", 200},
		{"own page", "127.0.0.1:7816", "http://127.0.0.1:7816", "", "", 200},
		{"rebound name", "evil.example:7816", "", "", "", 403},
		{"no name", "", "", "", "", 403},
		{"other address", "10.0.0.1:7816", "", "", "", 403},
		{"foreign page", "127.0.0.1:7816", "https://evil.example", "", "", 403},
		{"page of another port", "127.0.0.1:7816", "http://127.0.0.1:80", "", "", 403},
		{"page from a file", "127.0.0.1:7816", "null", "", "", 403},
		{"garbled origin", "127.0.0.1:7816", "http://%zz", "", "", 403},
		{"token", "card.lab:7816", "", "secret", "Bearer secret", 200},
		{"no token", "127.0.0.1:7816", "", "secret", "", 401},
		{"wrong token", "127.0.0.1:7816", "", "secret", "Bearer secreT", 401},
		{"token and foreign page", "card.lab:7816", "https://evil.example", "secret", "Bearer secret", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request("GET", "/api/v1/status", "")
			r.Host = tt.host
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			w := serve(console.NewServer(&fake{}, tt.token), r)
			require.Equal(t, tt.code, w.Code, w.Body.String())
			if tt.code != 200 {
				requireProblem(t, w)
			}
		})
	}
}

func requireProblem(t testing.TB, w *httptest.ResponseRecorder) console.Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	var p console.Problem
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(t, w.Code, p.Code)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Detail)
	return p
}

func TestPaths(t *testing.T) {
	for _, tt := range []struct {
		method, path, body string
		code               int
		call               string
	}{
		{"GET", "/status", "", 200, ""},
		{"GET", "/profile", "", 200, ""},
		{"GET", "/bundles", "", 200, ""},
		{"POST", "/bundles?name=a.spb", "wasm", 200, "install a.spb wasm"},
		{"POST", "/bundles", "wasm", 200, "install package wasm"},
		{"POST", "/bundles/telecom/enable", "", 204, "enable telecom"},
		{"POST", "/bundles/telecom/disable", "", 204, "disable telecom"},
		{"POST", "/bundles/telecom/activate", "", 204, "activate telecom"},
		{"POST", "/bundles/a%2Fb/activate", "", 204, "activate a/b"},
		{"DELETE", "/bundles/telecom", "", 204, "delete telecom"},
		{"POST", "/apdu", `{"apdus":["00A4","00B0"]}`, 200, "apdu 00A4,00B0"},
		{"POST", "/bundles/telecom/explode", "", 404, ""},
		{"GET", "/bundles/telecom/enable", "", 404, ""},
		{"PUT", "/status", "", 404, ""},
		{"GET", "/nothing", "", 404, ""},
		{"POST", "/apdu", `{"apdu":"00A4"}`, 400, ""},
		{"POST", "/apdu", `[`, 400, ""},
		{"POST", "/apdu", ``, 400, ""},
		{"GET", "/events?since=x", "", 400, ""},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) {
			f := &fake{}
			w := serve(console.NewServer(f, ""), request(tt.method, "/api/v1"+tt.path, tt.body))
			require.Equal(t, tt.code, w.Code, w.Body.String())
			require.Equal(t, tt.call, strings.Join(f.calls, " "))
			switch {
			case tt.code >= 400:
				requireProblem(t, w)
			case tt.code == 204:
				require.Empty(t, w.Body.String())
			default:
				require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{
		{refusal{409}, 409},
		{errors.New("disk full"), 500},
	} {
		w := serve(console.NewServer(&fake{err: tt.err}, ""), request("POST", "/api/v1/bundles/x/activate", ""))
		require.Equal(t, tt.code, w.Code)
		require.Equal(t, tt.err.Error(), requireProblem(t, w).Detail)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestTooLong(t *testing.T) {
	for _, path := range []string{"/api/v1/bundles", "/api/v1/apdu"} {
		r := request("POST", path, "")
		r.Body = io.NopCloser(zeros{})
		w := serve(console.NewServer(&fake{}, ""), r)
		require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
		requireProblem(t, w)
	}
}

func TestBrokenOff(t *testing.T) {
	r := request("POST", "/api/v1/apdu", "")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"ap`), brokenReader{}))
	w := serve(console.NewServer(&fake{}, ""), r)
	require.Equal(t, http.StatusBadRequest, w.Code)
	requireProblem(t, w)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestEvents(t *testing.T) {
	f := &fake{events: []console.Event{
		{Seq: 1, Name: "ready"},
		{Seq: 2, Name: "pin\nblocked", Bundle: "telecom"},
	}}
	h := console.NewServer(f, "")
	w := serve(h, request("GET", "/api/v1/events", ""))
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
	require.Equal(t, "id: 1\nevent: ready\ndata: {\"seq\":1,\"nanoseconds\":0,\"name\":\"ready\"}\n\n"+
		"id: 2\nevent: pin blocked\ndata: {\"seq\":2,\"nanoseconds\":0,\"name\":\"pin\\nblocked\",\"bundle\":\"telecom\"}\n\n", w.Body.String())
	r := request("GET", "/api/v1/events", "")
	r.Header.Set("Last-Event-ID", "1")
	require.NotContains(t, serve(h, r).Body.String(), "id: 1\n")
}

// TestClient: the Client gets through HTTP what the Emulator says.
func TestClient(t *testing.T) {
	f := &fake{events: []console.Event{{Seq: 1, Name: "ready"}, {Seq: 2, Name: "activated"}}}
	s := httptest.NewServer(console.NewServer(f, "secret"))
	defer s.Close()
	c := &console.Client{Address: strings.TrimPrefix(s.URL, "http://"), Token: "secret"}
	ctx := t.Context()

	st, err := c.Status(ctx)
	require.NoError(t, err)
	require.True(t, st.Ready)
	list, err := c.Bundles(ctx)
	require.NoError(t, err)
	require.Equal(t, "telecom", list[0].Name)
	b, err := c.Install(ctx, "a b.spb", []byte("wasm"))
	require.NoError(t, err)
	require.Equal(t, "a b.spb", b.Name)
	for _, verb := range []string{"enable", "disable", "activate", "delete"} {
		require.NoError(t, c.Lifecycle(ctx, verb, "a/b"))
	}
	_, err = c.APDU(ctx, console.APDURequest{APDUs: []string{"00"}})
	require.NoError(t, err)
	require.Equal(t, []string{"install a b.spb wasm", "enable a/b", "disable a/b", "activate a/b", "delete a/b", "apdu 00"}, f.calls)
	p, err := c.Profile(ctx)
	require.NoError(t, err)
	require.Equal(t, "p", p.Name)
	var got []string
	require.NoError(t, c.Events(ctx, 1, func(e console.Event) bool { got = append(got, e.Name); return true }))
	require.Equal(t, []string{"activated"}, got)
	require.ErrorIs(t, c.Events(ctx, 2, func(console.Event) bool { return true }), console.ErrEnded)

	f.err = refusal{409}
	var problem *console.Problem
	require.ErrorAs(t, c.Lifecycle(ctx, "activate", "x"), &problem)
	require.Equal(t, 409, problem.Code)
	require.Equal(t, f.err.Error(), problem.Error())
	c.Token = ""
	require.ErrorAs(t, c.Lifecycle(ctx, "activate", "x"), &problem)
	require.Equal(t, 401, problem.Code)
	s.Close()
	_, err = c.Status(ctx)
	require.ErrorIs(t, err, console.ErrNotRunning)
}

// TestForeign: what answers there is something else.
func TestForeign(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a page":        func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"an error page": http.NotFound,
		"other JSON":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) },
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(answer)
			defer s.Close()
			c := &console.Client{Address: strings.TrimPrefix(s.URL, "http://")}
			_, err := c.Status(t.Context())
			require.ErrorIs(t, err, console.ErrForeign)
		})
	}
}

// FuzzAPI: whatever comes in, the answer is JSON or a problem, and nothing but
// what the request asks for is done.
func FuzzAPI(f *testing.F) {
	f.Add("POST", "/api/v1/apdu", []byte(`{"apdus":["00A40004023F00"],"raw":true}`))
	f.Add("POST", "/api/v1/bundles?name=x", []byte("\x00asm\x01\x00\x00\x00"))
	f.Add("DELETE", "/api/v1/bundles/telecom", []byte{})
	f.Add("GET", "/api/v1/events?since=1", []byte{})
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		r, err := http.NewRequest(method, "http://127.0.0.1:7816/"+strings.TrimPrefix(path, "/"), bytes.NewReader(body))
		if err != nil {
			return
		}
		fe := &fake{events: []console.Event{{Seq: 1, Name: "ready"}}}
		w := serve(console.NewServer(fe, ""), r)
		switch kind := w.Header().Get("Content-Type"); {
		case w.Code == 204, kind == "text/event-stream", w.Code/100 == 3:
		case w.Code >= 400:
			requireProblem(t, w)
			if len(fe.calls) > 0 {
				t.Fatalf("%s %s was refused and done: %v", method, path, fe.calls)
			}
		default:
			require.Equal(t, "application/json", kind)
			require.True(t, json.Valid(w.Body.Bytes()))
		}
	})
}
