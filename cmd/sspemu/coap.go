package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/plgd-dev/go-coap/v3/udp/client"
	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
)

func newCoAP() *cobra.Command {
	var (
		x       either
		link    string
		q       coapRequest
		out     coapOutput
		anyCode bool
	)
	cmd := &cobra.Command{
		Use:   "coap [flags] METHOD PATH",
		Short: "Send a CoAP request to the active bundle",
		Long: `Sends one CoAP request to the active bundle and prints the response code in words
and the payload. Long payloads go and come in blocks.

Without --link the request goes to the CoAP service of the serve that is running,
or, when none is, to an ephemeral platform in this process.

A format is a number, or a name such as text/plain, json, cbor or link-format. CBOR
is shown in diagnostic notation on a terminal and with --json.

The exit code is 1 when the code is 4.XX or 5.XX, unless --any is given.`,
		Example: `  sspemu coap GET /.well-known/core
  sspemu coap --accept cbor --json GET /
  sspemu coap --format json -d '{"on":true}' PUT /light
  sspemu coap --observe 5 GET /sensors/temperature`,
		Args: exactly(2, "METHOD PATH"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if out.json && out.file != "" {
				return usage(errors.New("--json and --output: give one of them"))
			}
			if err := q.parse(cmd, args[0], args[1]); err != nil {
				return err
			}
			h, err := x.reach(cmd, link, q.timeout)
			if err != nil {
				return err
			}
			defer func() {
				if cerr := h.close(); err == nil {
					err = cerr
				}
			}()
			cc, err := h.coap(cmd.Context())
			if err != nil {
				return fmt.Errorf("coap: %w", err)
			}
			defer cc.Close()
			out.to, out.where, out.method, out.path = cmd.OutOrStdout(), h.where, args[0], args[1]
			last, err := q.ask(cmd.Context(), cc, out.print)
			switch {
			case err != nil:
				return fmt.Errorf("coap: %s %s: %w", args[0], args[1], err)
			case last >= codes.BadRequest && !anyCode:
				return fmt.Errorf("coap: %s %s: %s (--any accepts every code)", args[0], args[1], coapCode(last))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&link, "link", "", "go over this link instead, a `URL`: "+toCards)
	f.StringVarP(&q.data, "data", "d", "", "payload: `TEXT`, @FILE, or @- for standard input")
	f.StringVarP(&q.format, "format", "f", "", "content `FORMAT` of the payload")
	f.StringVarP(&q.accept, "accept", "a", "", "content `FORMAT` that is wanted")
	f.IntVar(&q.observe, "observe", 0, "observe the resource and print so many responses, a `NUMBER`")
	f.BoolVar(&q.con, "con", false, "confirmable messages, which are sent again until they are acknowledged (the default)")
	f.BoolVar(&q.non, "non", false, "non-confirmable messages")
	f.StringVarP(&out.file, "output", "o", "", "write the payload to `FILE`")
	f.BoolVar(&out.json, "json", false, "print JSON, an object for each response")
	f.BoolVar(&anyCode, "any", false, "every code is fine")
	f.DurationVar(&q.timeout, "timeout", 30*time.Second, "how long to wait for a response")
	x.add(f)
	return cmd
}

// coap opens a client for the bundle.
func (h *reach) coap(ctx context.Context) (*client.Conn, error) {
	switch {
	case h.t != nil:
		return h.t.CoAP(ctx)
	case h.at.CoAP == "":
		return nil, fmt.Errorf("%s has no CoAP service (start it with --coap HOST:PORT)", h.where)
	}
	return udp.Dial(h.at.CoAP, options.WithContext(ctx), options.WithErrors(func(error) {}))
}

// coapRequest is a request as the command line has it.
type coapRequest struct {
	data, format, accept string
	con, non             bool
	observe              int
	timeout              time.Duration

	code           codes.Code
	path           string
	query          []string
	payload        []byte
	formatN, wantN *message.MediaType
}

// parse reads the command line; what it does not like is a usage error.
func (q *coapRequest) parse(cmd *cobra.Command, method, path string) (err error) {
	switch strings.ToUpper(method) {
	case "GET":
		q.code = codes.GET
	case "POST":
		q.code = codes.POST
	case "PUT":
		q.code = codes.PUT
	case "DELETE":
		q.code = codes.DELETE
	default:
		return usage(fmt.Errorf("coap: method %q: there are GET, POST, PUT and DELETE", method))
	}
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || !strings.HasPrefix(path, "/") {
		return usage(fmt.Errorf("coap: path %q: does not begin with /", path))
	}
	q.path = u.Path
	for _, s := range strings.FieldsFunc(u.RawQuery, func(r rune) bool { return r == '&' }) {
		if s, err = url.PathUnescape(s); err != nil {
			return usage(fmt.Errorf("coap: query of %q: %w", path, err))
		}
		q.query = append(q.query, s)
	}
	switch {
	case q.con && q.non:
		return usage(errors.New("--con and --non: give one of them"))
	case q.observe < 0:
		return usage(fmt.Errorf("--observe %d: not a number of responses", q.observe))
	case q.observe > 0 && q.code != codes.GET:
		return usage(fmt.Errorf("--observe: goes with GET, not with %s", method))
	}
	if q.formatN, err = coapFormat("format", q.format); err != nil {
		return err
	}
	if q.wantN, err = coapFormat("accept", q.accept); err != nil {
		return err
	}
	name, isFile := strings.CutPrefix(q.data, "@")
	switch {
	case isFile && name == "-":
		q.payload, err = io.ReadAll(cmd.InOrStdin())
	case isFile:
		q.payload, err = os.ReadFile(name)
	default:
		q.payload = []byte(q.data)
	}
	if err != nil {
		return fmt.Errorf("coap: data: %w", err)
	}
	return nil
}

// formats are the content formats that have names on the command line.
var formats = []message.MediaType{
	message.TextPlain, message.AppLinkFormat, message.AppXML, message.AppOctets, message.AppJSON, message.AppCBOR, message.AppSenmlJSON, message.AppSenmlCbor,
}

// coapFormat reads a format, a number or a name; nil is none.
func coapFormat(flag, s string) (*message.MediaType, error) {
	if s == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		f := message.MediaType(n)
		return &f, nil
	}
	var names []string
	for _, f := range formats {
		full, _, _ := strings.Cut(f.String(), ";")
		short := strings.TrimPrefix(full, "application/")
		if s == full || s == short {
			return &f, nil
		}
		names = append(names, short)
	}
	return nil, usage(fmt.Errorf("--%s %q: not a number, nor one of %s", flag, s, strings.Join(names, ", ")))
}

// build makes the message.
func (q *coapRequest) build(ctx context.Context, cc *client.Conn) (*pool.Message, error) {
	m := cc.AcquireMessage(ctx)
	token, err := cc.GetToken()
	if err != nil {
		return nil, err
	}
	m.SetCode(q.code)
	m.SetToken(token)
	m.SetType(message.Confirmable)
	if q.non {
		m.SetType(message.NonConfirmable)
	}
	if err := m.SetPath(q.path); err != nil {
		return nil, err
	}
	for _, s := range q.query {
		m.AddQuery(s)
	}
	if q.wantN != nil {
		m.SetAccept(*q.wantN)
	}
	if q.formatN != nil {
		m.SetContentFormat(*q.formatN)
	}
	if len(q.payload) > 0 {
		m.SetBody(bytes.NewReader(q.payload))
	}
	if q.observe > 0 {
		m.SetObserve(0)
	}
	return m, nil
}

// ask sends the request, hands every response to print and gives the code of the
// last one.
func (q *coapRequest) ask(ctx context.Context, cc *client.Conn, print func(*pool.Message) error) (last codes.Code, err error) {
	first, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	m, err := q.build(first, cc)
	if err != nil {
		return 0, err
	}
	defer cc.ReleaseMessage(m)
	if q.observe > 0 {
		return q.follow(ctx, cc, m, print)
	}
	resp, err := cc.Do(m)
	if err != nil {
		return 0, q.why(err)
	}
	defer cc.ReleaseMessage(resp)
	return resp.Code(), print(resp)
}

// follow observes: the responses come from a goroutine of the client.
func (q *coapRequest) follow(ctx context.Context, cc *client.Conn, m *pool.Message, print func(*pool.Message) error) (last codes.Code, err error) {
	responses, gone := make(chan *pool.Message), make(chan struct{})
	type begun struct {
		end func(context.Context, ...message.Option) error
		err error
	}
	began := make(chan begun, 1)
	go func() {
		o, err := cc.DoObserve(m, func(r *pool.Message) {
			r.Hijack() // it is read after this call
			select {
			case responses <- r:
			case <-gone:
			}
		})
		b := begun{err: err}
		if err == nil {
			b.end = o.Cancel
		}
		began <- b
	}()
	for n := 1; ; n++ {
		wait, cancel := context.WithTimeout(ctx, q.timeout)
		select {
		case r := <-responses:
			last, err = r.Code(), print(r)
			if err == nil && n < q.observe && last < codes.BadRequest && !r.HasOption(message.Observe) {
				err = errors.New("the bundle does not let it be observed")
			}
		case <-wait.Done():
			err = q.why(wait.Err())
		case <-cc.Done():
			err = cc.Context().Err()
		}
		cancel()
		if err != nil || n == q.observe || last >= codes.BadRequest { // which ends it (RFC 7641 3.2)
			break
		}
	}
	close(gone)
	b := <-began
	if b.err == nil && err == nil {
		end, cancel := context.WithTimeout(ctx, q.timeout)
		defer cancel()
		err = q.why(b.end(end))
	}
	return last, err
}

func (q *coapRequest) why(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s (--timeout)", q.timeout)
	}
	return err
}

// coapOutput is where responses are printed, and how.
type coapOutput struct {
	json                bool
	file                string
	to                  io.Writer
	where, method, path string
}

func (o *coapOutput) print(m *pool.Message) error {
	payload, err := m.ReadBody()
	if err != nil {
		return err
	}
	format, ferr := m.ContentFormat()
	isCBOR := ferr == nil && (format == message.AppCBOR || format == message.AppSenmlCbor)
	var diagnostic string
	if isCBOR && (o.json || terminalDevice(o.to)) {
		if diagnostic, err = cbor.Diagnose(payload); err != nil {
			diagnostic = fmt.Sprintf("not CBOR: %v", err)
		}
	}
	if o.json {
		r := coapResponse{Schema: console.SchemaVersion, Target: o.where, Method: o.method, Path: o.path, Code: coapNumber(m.Code()), Words: coapWords[m.Code()], Diagnostic: diagnostic}
		if ferr == nil {
			r.Format, r.MediaType = &format, format.String()
		}
		if n, err := m.Observe(); err == nil {
			r.Observe = &n
		}
		if isCBOR {
			r.Hex = new(string)
			*r.Hex = hex.EncodeToString(payload)
		} else {
			r.Payload, r.Hex = textOr(payload, hex.EncodeToString)
		}
		return printJSON(o.to, r)
	}
	line := coapCode(m.Code())
	if ferr == nil {
		line += "  " + format.String()
	}
	if _, err := fmt.Fprintln(o.to, line); err != nil {
		return err
	}
	switch {
	case o.file != "":
		return os.WriteFile(o.file, payload, 0o666)
	case diagnostic != "":
		payload = []byte(diagnostic)
	case terminalDevice(o.to) && !utf8.Valid(payload):
		payload = fmt.Appendf(nil, "% X", payload)
	}
	if len(payload) > 0 && payload[len(payload)-1] != '\n' && utf8.Valid(payload) {
		payload = append(payload, '\n')
	}
	_, err = o.to.Write(payload)
	return err
}

// coapResponse is a response in JSON.
type coapResponse struct {
	Schema     int                `json:"schema"`
	Target     string             `json:"target"`
	Method     string             `json:"method"`
	Path       string             `json:"path"`
	Code       string             `json:"code"`
	Words      string             `json:"words,omitempty"`
	Format     *message.MediaType `json:"format,omitempty"`
	MediaType  string             `json:"media_type,omitempty"`
	Observe    *uint32            `json:"observe,omitempty"`
	Payload    *string            `json:"payload,omitempty"`
	Hex        *string            `json:"hex,omitempty"` // instead, when it is CBOR or not UTF-8
	Diagnostic string             `json:"diagnostic,omitempty"`
}

// terminalDevice tells whether people read there.
func terminalDevice(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// coapNumber is a code with its dot (RFC 7252 5.2).
func coapNumber(c codes.Code) string { return fmt.Sprintf("%d.%02d", c>>5, c&0x1F) }

func coapCode(c codes.Code) string { return strings.TrimSpace(coapNumber(c) + " " + coapWords[c]) }

// coapWords: RFC 7252 12.1.2, RFC 7959 6, RFC 8132 6, RFC 8516 3.
var coapWords = map[codes.Code]string{
	codes.Created: "Created", codes.Deleted: "Deleted", codes.Valid: "Valid", codes.Changed: "Changed", codes.Content: "Content", codes.Continue: "Continue",
	codes.BadRequest: "Bad Request", codes.Unauthorized: "Unauthorized", codes.BadOption: "Bad Option", codes.Forbidden: "Forbidden",
	codes.NotFound: "Not Found", codes.MethodNotAllowed: "Method Not Allowed", codes.NotAcceptable: "Not Acceptable",
	codes.RequestEntityIncomplete: "Request Entity Incomplete", 4<<5 | 9: "Conflict", codes.PreconditionFailed: "Precondition Failed",
	codes.RequestEntityTooLarge: "Request Entity Too Large", codes.UnsupportedMediaType: "Unsupported Content-Format",
	4<<5 | 22: "Unprocessable Entity", codes.TooManyRequests: "Too Many Requests",
	codes.InternalServerError: "Internal Server Error", codes.NotImplemented: "Not Implemented", codes.BadGateway: "Bad Gateway",
	codes.ServiceUnavailable: "Service Unavailable", codes.GatewayTimeout: "Gateway Timeout", codes.ProxyingNotSupported: "Proxying Not Supported",
}
