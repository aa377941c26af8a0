package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

func newHTTP() *cobra.Command {
	var (
		x       either
		link    string
		q       httpRequest
		out     httpOutput
		anyCode bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "http [flags] METHOD PATH",
		Short: "Send an HTTP request to the active bundle",
		Long: `Sends one HTTP request to the active bundle and prints the body of its response.

Without --link the request goes to the HTTP service of the serve that is running,
or, when none is, to an ephemeral platform in this process. Redirections are not
followed.

The exit code is 1 when the status is 400 or more, unless --any is given.`,
		Example: `  sspemu http GET /
  sspemu http -i -H 'Accept: application/json' GET /
  sspemu http -H 'Content-Type: application/json' -d '{"on":true}' PUT /light
  sspemu http -d @photo.jpg -o copy.jpg POST /echo`,
		Args: exactly(2, "METHOD PATH"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if out.json && out.file != "" {
				return usage(errors.New("--json and --output: give one of them"))
			}
			req, end, err := q.build(cmd, args[0], args[1])
			if err != nil {
				return err
			}
			defer end()
			h, err := x.reach(cmd, link, timeout)
			if err != nil {
				return err
			}
			defer func() {
				if cerr := h.close(); err == nil {
					err = cerr
				}
			}()
			dial, at, err := h.http()
			if err != nil {
				return fmt.Errorf("http: %w", err)
			}
			if req.Host == "" {
				req.Host = at
			}
			ctx, cancel := context.WithCancelCause(cmd.Context())
			defer cancel(nil)
			late := time.AfterFunc(timeout, func() { cancel(fmt.Errorf("no answer within %s (--timeout)", timeout)) })
			resp, err := terminal.NewHTTP(dial).RoundTrip(req.WithContext(ctx))
			late.Stop()
			if err != nil {
				return fmt.Errorf("http: %s %s: %w", req.Method, args[1], err)
			}
			defer resp.Body.Close()
			if err := out.print(cmd.OutOrStdout(), h.where, args[1], resp); err != nil {
				return fmt.Errorf("http: %s %s: %w", req.Method, args[1], err)
			}
			if resp.StatusCode >= 400 && !anyCode {
				return fmt.Errorf("http: %s %s: %s (--any accepts every status)", req.Method, args[1], resp.Status)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&link, "link", "", "go over this link instead, a `URL`: "+toCards)
	f.StringArrayVarP(&q.header, "header", "H", nil, "field of the request, `'NAME: VALUE'`; may be repeated")
	f.StringVarP(&q.data, "data", "d", "", "body of the request: `TEXT`, @FILE, or @- for standard input")
	f.BoolVarP(&out.header, "include", "i", false, "print the header of the response as well")
	f.StringVarP(&out.file, "output", "o", "", "write the body to `FILE`")
	f.BoolVar(&out.json, "json", false, "print JSON: status, header and body")
	f.BoolVar(&anyCode, "any", false, "every status is fine")
	f.DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for the response to begin")
	x.add(f)
	return cmd
}

// reach is what speaks to the active bundle: a terminal of this process, or the serve
// that runs, which has one of its own behind each of its services.
type reach struct {
	t     *terminal.Terminal
	at    console.Services // when t is nil
	where string           // for people
	close func() error
}

// reach finds or opens it; wait bounds how long a card on link may take.
func (x *either) reach(cmd *cobra.Command, link string, wait time.Duration) (*reach, error) {
	ctx := cmd.Context()
	switch {
	case link == "":
		e, where, end, err := x.open(cmd)
		if err != nil {
			return nil, err
		}
		if own, ok := e.(*emulator); ok {
			return own.reach(ctx, memLink, where)
		}
		st, err := e.Status(ctx)
		return &reach{at: st.Services, where: where, close: end}, err
	case transport.Inside(link):
		if err := x.checkPair(link); err != nil { // before anything starts
			return nil, err
		}
		x.api = off
		e, _, err := x.start(cmd)
		if err != nil {
			return nil, err
		}
		return e.reach(ctx, link, link)
	}
	t, err := x.host(ctx, cmd, link, wait)
	if err != nil {
		return nil, err
	}
	return &reach{t: t, where: link, close: t.Close}, nil
}

// reach is a terminal at an emulator of this process, both for one command.
func (e *emulator) reach(ctx context.Context, link, where string) (*reach, error) {
	t, err := e.terminalOn(ctx, link, "terminal")
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return &reach{t: t, where: where, close: e.Close}, nil
}

// http is how connections to the bundle are made, and what it is called there.
func (h *reach) http() (dial func(context.Context) (net.Conn, error), at string, err error) {
	switch {
	case h.t != nil:
		return h.t.DialTCP, "localhost", nil
	case h.at.HTTP == "":
		return nil, "", fmt.Errorf("%s has no HTTP service (start it with --http HOST:PORT)", h.where)
	}
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", h.at.HTTP)
	}, h.at.HTTP, nil
}

// httpRequest is a request as the flags have it.
type httpRequest struct {
	header []string
	data   string
}

// build makes the request; end closes the file of its body.
func (q *httpRequest) build(cmd *cobra.Command, method, path string) (r *http.Request, end func(), err error) {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || !strings.HasPrefix(path, "/") && path != "*" {
		return nil, nil, usage(fmt.Errorf("http: path %q: does not begin with /", path))
	}
	var body io.Reader
	end, length := func() {}, int64(0)
	switch name, isFile := strings.CutPrefix(q.data, "@"); {
	case name == "-" && isFile:
		body, length = cmd.InOrStdin(), -1
	case isFile:
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, fmt.Errorf("http: data: %w", err)
		}
		body, end, length = f, func() { f.Close() }, -1
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			length = st.Size()
		}
	case q.data != "":
		body, length = strings.NewReader(q.data), int64(len(q.data))
	}
	if r, err = http.NewRequestWithContext(cmd.Context(), method, path, body); err != nil {
		end()
		return nil, nil, usage(fmt.Errorf("http: method %q: is none", method))
	}
	r.ContentLength = length
	if length == 0 {
		r.Body = nil
	}
	r.Header.Set("User-Agent", "sspemu/"+version().Version)
	var own []string // fields that the user has given, which replace ours
	for _, h := range q.header {
		name, value, ok := strings.Cut(h, ":")
		name, value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !ok || name == "":
			end()
			return nil, nil, usage(fmt.Errorf("http: header %q: not of the form NAME: VALUE", h))
		case name == "Host":
			r.Host = value
		case slices.Contains(own, name):
			r.Header.Add(name, value)
		default:
			own = append(own, name)
			r.Header.Set(name, value)
		}
	}
	return r, end, nil
}

// httpOutput is what is printed of a response.
type httpOutput struct {
	header, json bool
	file         string
}

func (o *httpOutput) print(w io.Writer, where, path string, resp *http.Response) error {
	if o.json {
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		text, binary := textOr(b, base64.StdEncoding.EncodeToString)
		return printJSON(w, struct {
			Schema int         `json:"schema"`
			Target string      `json:"target"`
			Method string      `json:"method"`
			Path   string      `json:"path"`
			Proto  string      `json:"proto"`
			Status int         `json:"status"`
			Words  string      `json:"words"`
			Header http.Header `json:"header"`
			Body   *string     `json:"body,omitempty"`
			Base64 *string     `json:"base64,omitempty"` // instead, when it is not UTF-8
		}{console.SchemaVersion, where, resp.Request.Method, path, resp.Proto, resp.StatusCode, http.StatusText(resp.StatusCode), resp.Header, text, binary})
	}
	if o.header {
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s %s\n", resp.Proto, resp.Status)
		_ = resp.Header.Write(&b)
		b.WriteByte('\n')
		if _, err := io.WriteString(w, strings.ReplaceAll(b.String(), "\r\n", "\n")); err != nil {
			return err
		}
	}
	if o.file == "" {
		_, err := io.Copy(w, resp.Body)
		return err
	}
	f, err := os.Create(o.file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// textOr is b as text, or what encode makes of it when it is not UTF-8.
func textOr(b []byte, encode func([]byte) string) (text, binary *string) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	s := encode(b)
	return nil, &s
}
