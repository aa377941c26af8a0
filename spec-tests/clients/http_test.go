package clients

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// served is a running bin/sspemu whose example bundle is open to ordinary clients:
//
//	curl, wrk, chromium ── TCP ──┐
//	coap-client ── UDP, DTLS ────┴── bin/sspemu serve ══ SCL ══ example
type served struct {
	api, http, coap, coaps string // HOST:PORT
	cmd                    *exec.Cmd
}

// serving runs it until the test ends; args are flags beside those.
func serving(tb testing.TB, args ...string) *served {
	s := &served{api: pcscdtest.FreeAddr(tb), http: pcscdtest.FreeAddr(tb), coap: pcscdtest.FreeAddr(tb), coaps: pcscdtest.FreeAddr(tb)}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "COAPS", s.coaps)
	}
	s.cmd = exec.Command(sspemu(tb), append([]string{"serve", "--ephemeral", "--active", "example", "--link", "off",
		"--api", s.api, "--http", s.http, "--coap", s.coap}, args...)...)
	s.cmd.Stderr = os.Stderr
	ready(tb, s.cmd)
	tb.Cleanup(func() { stop(tb, s.cmd) })
	return s
}

// activate makes a bundle the active one.
func (s *served) activate(tb testing.TB, bundle string) { s.bundle(tb, "activate", bundle) }

func (s *served) bundle(tb testing.TB, verb, bundle string) {
	out, err := exec.Command(sspemu(tb), "bundle", verb, bundle, "--api", s.api).CombinedOutput()
	require.NoError(tb, err, "%s", out)
}

// tool is the first of the programs that is installed, "" for none, which CI does
// not put up with.
func tool(tb testing.TB, debian string, names ...string) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.Empty(tb, os.Getenv("CI"), "%v: not installed (apt-get install %s)", names, debian)
	tb.Logf("not run: %v: not installed (apt-get install %s)", names, debian)
	return ""
}

// run runs a program with an input and gives its output and exit code.
func run(tb testing.TB, input io.Reader, name string, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && cmd.ProcessState == nil {
		require.ErrorAs(tb, err, &exit)
	}
	require.NoError(tb, ctx.Err(), "%s %v: %s", name, args, errs.String())
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// random writes a file of so many octets.
func random(tb testing.TB, size int) (path string, octets []byte) {
	octets = make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(octets)
	path = filepath.Join(tb.TempDir(), "random")
	require.NoError(tb, os.WriteFile(path, octets, 0o600))
	return path, octets
}

func TestCurl(t *testing.T) {
	program := tool(t, "curl", "curl")
	if program == "" {
		return
	}
	s := serving(t)
	url := "http://" + s.http
	curl := func(t *testing.T, input io.Reader, args ...string) (out, notes string) {
		t.Helper()
		out, notes, code := run(t, input, program, append([]string{"-sS"}, args...)...)
		require.Zero(t, code, "curl %v: %s", args, notes)
		return out, notes
	}
	file, octets := random(t, 10<<20)
	copied := func(t *testing.T) (path string, same func()) {
		path = filepath.Join(t.TempDir(), "copy")
		return path, func() {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(octets, b), "%d octets went, %d came back", len(octets), len(b))
		}
	}

	t.Run("HTML", func(t *testing.T) {
		out, _ := curl(t, nil, "-i", url+"/")
		require.Regexp(t, `^HTTP/1.1 200 OK\r\n`, out)
		require.Regexp(t, `(?i)\r\ncontent-type: text/html; charset=utf-8\r\n`, out)
		require.Contains(t, out, "<title>")
	})
	t.Run("JSON", func(t *testing.T) {
		out, _ := curl(t, nil, "-H", "Accept: application/json", "-w", "%{content_type}", url+"/")
		require.Regexp(t, `^\{.*"name":"example".*\}\s*application/json$`, out)
	})
	t.Run("HEAD", func(t *testing.T) {
		out, _ := curl(t, nil, "--head", url+"/counter")
		require.Regexp(t, `^HTTP/1.1 200 OK\r\n`, out)
		require.Regexp(t, `(?i)\r\ncontent-length: 3\r\n`, out)
	})
	t.Run("POST", func(t *testing.T) {
		before, _ := curl(t, nil, url+"/counter")
		after, _ := curl(t, nil, "-X", "POST", url+"/counter")
		require.NotEqual(t, before, after)
		out, _ := curl(t, nil, "--data-binary", "as it is", url+"/echo")
		require.Equal(t, "as it is", out)
	})
	t.Run("errors of the bundle", func(t *testing.T) {
		for path, want := range map[string]string{"/nothing": "404", "/bytes?n=x": "400"} {
			out, _ := curl(t, nil, "-o", os.DevNull, "-w", "%{http_code} %{content_type}", url+path)
			require.Equal(t, want+" application/problem+json", out)
		}
		out, _ := curl(t, nil, "-i", "-X", "DELETE", url+"/counter")
		require.Regexp(t, `(?i)^HTTP/1.1 405 Method Not Allowed\r\n(.*\r\n)*Allow: GET, HEAD, POST\r\n`, out)
	})
	t.Run("chunks", func(t *testing.T) {
		out, _ := curl(t, strings.NewReader("piece by piece"), "-X", "POST", "-H", "Expect:", "-T", "-", url+"/echo")
		require.Equal(t, "piece by piece", out)
	})
	t.Run("10 MiB down", func(t *testing.T) {
		out, _ := curl(t, nil, "-o", os.DevNull, "-w", "%{size_download}", url+"/bytes?n=10485760")
		require.Equal(t, "10485760", out)
	})
	t.Run("10 MiB both ways, 100-continue", func(t *testing.T) {
		path, same := copied(t)
		_, notes := curl(t, nil, "-v", "-X", "POST", "-H", "Expect: 100-continue", "-T", file, "-o", path, url+"/echo")
		require.Contains(t, notes, "< HTTP/1.1 100 Continue")
		same()
	})
	t.Run("10 MiB both ways, chunks", func(t *testing.T) {
		path, same := copied(t)
		curl(t, bytes.NewReader(octets), "-X", "POST", "-T", "-", "-o", path, url+"/echo")
		same()
	})
	t.Run("one connection", func(t *testing.T) {
		out, _ := curl(t, nil, "-o", os.DevNull, "-w", "%{num_connects} ", url+"/counter?[1-20]")
		require.Equal(t, "1 "+strings.Repeat("0 ", 19), out)
	})
	t.Run("in parallel", func(t *testing.T) {
		out, _ := curl(t, nil, "-Z", "--parallel-max", "40", "-o", os.DevNull, "-w", "%{http_code}\n", url+"/counter?[1-400]")
		require.Equal(t, strings.Repeat("200\n", 400), out)
		var args []string
		for i := range 8 {
			args = append(args, "-o", fmt.Sprint(t.TempDir(), i), url+"/bytes?n=1000000")
		}
		out, _ = curl(t, nil, append([]string{"-Z", "-w", "%{size_download}\n"}, args...)...)
		require.Equal(t, strings.Repeat("1000000\n", 8), out)
	})
	t.Run("other versions", func(t *testing.T) {
		out, _ := curl(t, nil, "--http1.0", "-w", "%{http_code}", "-o", os.DevNull, url+"/counter")
		require.Equal(t, "200", out)
		if features, _ := curl(t, nil, "--version"); strings.Contains(features, "HTTP2") {
			out, _ = curl(t, nil, "--http2", "-w", "%{http_version} %{http_code}", "-o", os.DevNull, url+"/counter")
			require.Equal(t, "1.1 200", out, "the offer of h2c is ignored")
		}
		out, _ = curl(t, nil, "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-w", "%{http_code}", "-o", os.DevNull, url+"/counter")
		require.Equal(t, "501", out)
	})
	t.Run("gives up", func(t *testing.T) {
		const timeout = 28 // exit code of curl
		_, _, code := run(t, nil, program, "-sS", "--max-time", "0.3", "--limit-rate", "10k", "-o", os.DevNull, url+"/bytes?n=10485760")
		require.Equal(t, timeout, code)
		_, _, code = run(t, nil, program, "-sS", "--max-time", "0.3", "--limit-rate", "10k", "-X", "POST", "-T", file, "-o", os.DevNull, url+"/echo")
		require.Equal(t, timeout, code)
		out, _ := curl(t, nil, "--data-binary", "still there", url+"/echo")
		require.Equal(t, "still there", out)
	})
	t.Run("a bundle without HTTP", func(t *testing.T) {
		s.activate(t, "example-c")
		out, _ := curl(t, nil, "-i", url+"/")
		require.Regexp(t, `^HTTP/1.1 503 Service Unavailable\r\n`, out)
		require.Contains(t, out, "application/problem+json")
		require.NotContains(t, out, "Retry-After")
		require.Contains(t, out, "does not serve HTTP")
		s.activate(t, "example")
		curl(t, nil, "--fail", url+"/")
	})
	t.Run("no bundle, then one", func(t *testing.T) {
		s.bundle(t, "disable", "example")
		out, _ := curl(t, nil, "-i", url+"/")
		require.Regexp(t, `(?i)^HTTP/1.1 503 Service Unavailable\r\n(.*\r\n)*retry-after: 1\r\n`, out)
		cmd := exec.Command(program, "-sS", "--retry", "20", "-o", filepath.Join(t.TempDir(), "out"), "-w", "%{http_code}", url+"/counter")
		var answer bytes.Buffer
		cmd.Stdout = &answer
		require.NoError(t, cmd.Start())
		s.bundle(t, "enable", "example")
		s.activate(t, "example")
		require.NoError(t, cmd.Wait())
		require.Equal(t, "200", answer.String())
	})
}

// TestHTTPRaw is what curl does not do.
func TestHTTPRaw(t *testing.T) {
	s := serving(t)
	dial := func(t *testing.T) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", s.http)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		t.Cleanup(func() { conn.Close() })
		return conn, bufio.NewReader(conn)
	}
	read := func(t *testing.T, r *bufio.Reader) (*http.Response, string) {
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(b)
	}
	t.Run("pipelined", func(t *testing.T) {
		conn, r := dial(t)
		const n = 100
		fmt.Fprint(conn, strings.Repeat("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /counter HTTP/1.1\r\nHost: h\r\n\r\n", n))
		for range n {
			resp, b := read(t, r)
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, "hi", b)
			resp, b = read(t, r)
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, "41\n", b)
		}
	})
	t.Run("both ways at once", func(t *testing.T) {
		const piece, n = 100_000, 20
		conn, r := dial(t)
		fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", n*piece)
		_, octets := random(t, piece)
		_, err := conn.Write(octets)
		require.NoError(t, err)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		b := make([]byte, piece)
		_, err = io.ReadFull(resp.Body, b[:piece/2]) // though the request has not ended
		require.NoError(t, err)
		for range n - 1 {
			_, err := conn.Write(octets)
			require.NoError(t, err)
			_, err = io.ReadFull(resp.Body, b)
			require.NoError(t, err)
		}
		k, err := io.ReadFull(resp.Body, b)
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.Equal(t, piece/2, k)
		require.Equal(t, octets[piece/2:], b[:k])
	})
	t.Run("malformed", func(t *testing.T) {
		for request, want := range map[string]int{
			"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 100_000) + "\r\n\r\n": 431,
			"GET / HTTP/1.1\r\n\r\n": 400,
			"GET /\r\n\r\n":          400,
			"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab":                   400,
			"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n":                        400,
			"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc":            501,
			"GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: a\r\n", 20_000) + "\r\n":                          431,
			"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n":                                        405,
			"GET /counter HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\nX: \x80\xff\r\n\r\n":    200,
			"GET /counter HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 200,
		} {
			conn, r := dial(t)
			go func() { _, _ = io.WriteString(conn, request) }()
			resp, _ := read(t, r)
			require.Equal(t, want, resp.StatusCode, "%.60q", request)
		}
	})
	t.Run("another bundle becomes active", func(t *testing.T) {
		// In the request: the bundle has read the header when it asks for the body.
		waiting, r := dial(t)
		fmt.Fprint(waiting, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
		resp, _ := read(t, r)
		require.Equal(t, 100, resp.StatusCode)
		// In the response: it has begun.
		begun, q := dial(t)
		fmt.Fprint(begun, "GET /bytes?n=1000000000 HTTP/1.1\r\nHost: h\r\n\r\n")
		half, err := http.ReadResponse(q, nil)
		require.NoError(t, err)
		require.Equal(t, 200, half.StatusCode)
		s.activate(t, "telecom")
		resp, b := read(t, r)
		require.Equal(t, 503, resp.StatusCode)
		require.Equal(t, "1", resp.Header.Get("Retry-After"))
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
		require.Contains(t, b, "another one became active")
		_, err = io.Copy(io.Discard, half.Body)
		require.Error(t, err, "half an answer does not look like a whole one")
		// A new connection reaches the new bundle, and so does an old one.
		s.activate(t, "example")
		old, r := dial(t)
		for _, bundle := range []string{"telecom", "example", "telecom"} {
			s.activate(t, bundle)
			fmt.Fprint(old, "GET / HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n")
			resp, b := read(t, r)
			require.Equal(t, 200, resp.StatusCode)
			require.Contains(t, b, `"name":"`+bundle+`"`)
		}
	})
}
