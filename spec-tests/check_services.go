package spectests

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/scl/terminal"
)

// line is what a check of HTTP works on: a connection to the TCP gate of the active
// bundle. Nothing is between the two.
type line struct {
	onService
	conn net.Conn
	r    *bufio.Reader
}

// httpCheck makes a check of f on a connection.
func httpCheck(doc string, f func(*line) error) check {
	return onTerminal(doc, func(x onService) error {
		l, err := x.connect()
		if err != nil {
			return err
		}
		defer l.conn.Close()
		return f(l)
	})
}

func (x onService) connect() (*line, error) {
	ctx, cancel := x.within()
	defer cancel()
	conn, err := x.t.DialTCP(ctx)
	if err != nil {
		return nil, err
	}
	return &line{x, conn, bufio.NewReader(conn)}, conn.SetDeadline(time.Now().Add(patience))
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body []byte
}

// request makes a request of lines, without the empty one.
func request(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// cut is s for a note.
func cut(s string) string {
	if len(s) > 300 {
		return strconv.Quote(s[:300]) + "..."
	}
	return strconv.Quote(s)
}

func (x *line) send(request string) error {
	x.note("> %s", cut(request))
	_, err := io.WriteString(x.conn, request)
	return err
}

// read reads the final response to a request with method.
func (x *line) read(method string) (answer, error) {
	for {
		resp, err := http.ReadResponse(x.r, &http.Request{Method: method})
		if err != nil {
			return answer{}, fmt.Errorf("response: %w", err)
		}
		b, err := io.ReadAll(resp.Body)
		x.note("< %s %v, %d octets", resp.Status, resp.Header, len(b))
		if err != nil {
			return answer{}, fmt.Errorf("body of the response: %w", err)
		}
		if resp.StatusCode >= 200 {
			return answer{resp, b}, nil
		}
	}
}

// ask sends a request and reads its response; one of the status codes is wanted.
func (x *line) ask(request string, status ...int) (answer, error) {
	if err := x.send(request); err != nil {
		return answer{}, err
	}
	method, _, _ := strings.Cut(request, " ")
	a, err := x.read(method)
	if err == nil && !slices.Contains(status, a.StatusCode) {
		err = fmt.Errorf("status %d, expected %v", a.StatusCode, status)
	}
	return a, err
}

// ended fails unless the bundle has ended the connection.
func (x *line) ended() error {
	switch _, err := x.r.ReadByte(); {
	case err == nil:
		return errors.New("more came than one response")
	case errors.Is(err, io.EOF), errors.Is(err, terminal.ErrReset):
		return nil
	default:
		return fmt.Errorf("the connection was not ended: %w", err)
	}
}

// refuses makes a check that a request gets one of the status codes and ends its
// connection, and that another connection is served.
func refuses(doc, request string, status ...int) check {
	return httpCheck(doc, func(x *line) error {
		ctx, cancel := context.WithCancel(x.ctx)
		defer cancel()
		written := make(chan struct{})
		x.note("> %s", cut(request))
		go func() { // the bundle may answer before it has read all of it
			defer close(written)
			_, _ = io.WriteString(x.conn, request)
		}()
		defer func() { _ = x.conn.Close(); <-written }()
		method, _, _ := strings.Cut(request, " ")
		a, err := x.read(method)
		if err != nil {
			return err
		}
		if !slices.Contains(status, a.StatusCode) {
			return fmt.Errorf("status %d, expected %v", a.StatusCode, status)
		}
		if err := x.ended(); err != nil {
			return err
		}
		return x.again(ctx)
	})
}

// again asks on a connection of its own.
func (x *line) again(context.Context) error {
	o, err := x.connect()
	if err != nil {
		return err
	}
	defer o.conn.Close()
	_, err = o.ask(getRoot, 200)
	return err
}

const getRoot = "GET / HTTP/1.1\r\nHost: sspemu\r\n\r\n"

var httpChecks = map[string]check{
	"http_get": httpCheck("GET / is answered with 200, a Content-Type and a body", func(x *line) error {
		a, err := x.ask(getRoot, 200)
		if err == nil && (a.Header.Get("Content-Type") == "" || len(a.body) == 0) {
			err = errors.New("there is no Content-Type, or no body")
		}
		if err == nil {
			err = equal("the version", a.Proto, "HTTP/1.1")
		}
		return err
	}),
	"http_head": httpCheck("HEAD / gives the fields of GET / and no body", func(x *line) error {
		get, err := x.ask(getRoot, 200)
		if err != nil {
			return err
		}
		a, err := x.ask(strings.Replace(getRoot, "GET", "HEAD", 1), 200)
		if err != nil {
			return err
		}
		for _, f := range []string{"Content-Type", "Content-Length"} {
			if err := equal(f, a.Header.Get(f), get.Header.Get(f)); err != nil {
				return err
			}
		}
		_, err = x.ask(getRoot, 200) // there was no body in between
		return err
	}),
	"http_length": httpCheck("Content-Length is the length of the body", func(x *line) error {
		if err := x.send(request("GET / HTTP/1.1", "Host: sspemu", "Connection: close")); err != nil {
			return err
		}
		b, err := io.ReadAll(x.r)
		if err != nil {
			return err
		}
		fields, body, _ := strings.Cut(string(b), "\r\n\r\n")
		if !strings.Contains(fields, "\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n") {
			return fmt.Errorf("the body has %d octets, the header is %q", len(body), fields)
		}
		return nil
	}),
	"http_date": httpCheck("a response has the Date", func(x *line) error {
		a, err := x.ask(getRoot, 200)
		if err == nil {
			_, err = time.Parse(http.TimeFormat, a.Header.Get("Date"))
		}
		return err
	}),
	"http_accept": httpCheck("Accept chooses among the representations, and Vary says so", func(x *line) error {
		for accept, want := range map[string]string{"application/json": "application/json", "text/html": "text/html", "application/json;q=0.1, text/html;q=0.9": "text/html", "*/*": ""} {
			a, err := x.ask(request("GET / HTTP/1.1", "Host: sspemu", "Accept: "+accept), 200)
			if err != nil {
				return err
			}
			if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
				return fmt.Errorf("the field Accept: %s gives %s", accept, got)
			}
			if !strings.Contains(a.Header.Get("Vary"), "Accept") {
				return errors.New("the field Vary does not name Accept")
			}
			if want == "application/json" && !json.Valid(a.body) {
				return fmt.Errorf("it is no JSON: %q", a.body)
			}
		}
		return nil
	}),
	"http_accept_none": httpCheck("Accept that nothing fits gets 406, or another representation", func(x *line) error {
		_, err := x.ask(request("GET / HTTP/1.1", "Host: sspemu", "Accept: image/png"), 406, 200)
		return err
	}),
	"http_not_found": httpCheck("a path that is not there gets 404", func(x *line) error {
		_, err := x.ask(request("GET /there/is/no/such/thing HTTP/1.1", "Host: sspemu"), 404)
		return err
	}),
	"http_problem": httpCheck("what went wrong is a problem: application/problem+json with the status", func(x *line) error {
		a, err := x.ask(request("GET /there/is/no/such/thing HTTP/1.1", "Host: sspemu"), 404)
		if err != nil {
			return err
		}
		var p struct{ Status int }
		if err := json.Unmarshal(a.body, &p); err != nil || p.Status != 404 || a.Header.Get("Content-Type") != "application/problem+json" {
			return fmt.Errorf("it is %s: %q", a.Header.Get("Content-Type"), a.body)
		}
		return nil
	}),
	"http_method": httpCheck("a method that a resource has not gets 405 with Allow", func(x *line) error {
		a, err := x.ask(request("DELETE / HTTP/1.1", "Host: sspemu"), 405)
		if err == nil && a.Header.Values("Allow") == nil {
			err = errors.New("there is no Allow")
		}
		return err
	}),
	"http_method_unknown": httpCheck("a method that nobody knows gets 501 or 405", func(x *line) error {
		_, err := x.ask(request("FROBNICATE / HTTP/1.1", "Host: sspemu"), 501, 405)
		return err
	}),
	"http_continue": httpCheck("a body that waits for 100 (Continue) is either asked for or refused", func(x *line) error {
		if err := x.send(request("POST / HTTP/1.1", "Host: sspemu", "Content-Length: 5", "Expect: 100-continue")); err != nil {
			return err
		}
		resp, err := http.ReadResponse(x.r, &http.Request{Method: "POST"})
		if err != nil {
			return err
		}
		x.note("< %s", resp.Status)
		if resp.StatusCode == 100 {
			_, err = x.ask("hello", 200, 201, 202, 204, 405)
			return err
		}
		if resp.StatusCode < 400 {
			return fmt.Errorf("status %d without the body", resp.StatusCode)
		}
		return nil
	}),
	"http_keep": httpCheck("a connection serves one request after the other", func(x *line) error {
		for range 5 {
			if _, err := x.ask(getRoot, 200); err != nil {
				return err
			}
		}
		return nil
	}),
	"http_pipeline": httpCheck("pipelined requests are answered in their order", func(x *line) error {
		if err := x.send(getRoot + request("GET /no HTTP/1.1", "Host: sspemu") + request("HEAD / HTTP/1.1", "Host: sspemu") + getRoot); err != nil {
			return err
		}
		for _, w := range []struct {
			method string
			status int
		}{{"GET", 200}, {"GET", 404}, {"HEAD", 200}, {"GET", 200}} {
			a, err := x.read(w.method)
			if err != nil {
				return err
			}
			if err := equal("the status", a.StatusCode, w.status); err != nil {
				return err
			}
		}
		return nil
	}),
	"http_close": httpCheck("Connection: close is answered with the same, and the connection ends", func(x *line) error {
		a, err := x.ask(request("GET / HTTP/1.1", "Host: sspemu", "Connection: close"), 200)
		if err != nil {
			return err
		}
		if !a.Close {
			return errors.New("the response has no Connection: close")
		}
		return x.ended()
	}),
	"http_1_0": httpCheck("HTTP/1.0 is served, and the connection ends", func(x *line) error {
		a, err := x.ask(request("GET / HTTP/1.0"), 200)
		if err != nil {
			return err
		}
		if a.TransferEncoding != nil {
			return errors.New("the body has a transfer coding")
		}
		return x.ended()
	}),
	"http_octets": httpCheck("a request that comes octet by octet is served", func(x *line) error {
		for i := range len(getRoot) {
			if _, err := x.conn.Write([]byte{getRoot[i]}); err != nil {
				return err
			}
		}
		_, err := x.read("GET")
		return err
	}),
	"http_empty_line": httpCheck("an empty line in front of a request is ignored", func(x *line) error {
		_, err := x.ask("\r\n"+getRoot, 200)
		if err != nil {
			return fmt.Errorf("it should be (RFC 9112 2.2): %w", err)
		}
		return nil
	}),
	"http_absolute": httpCheck("the absolute-form of a target is accepted", func(x *line) error {
		_, err := x.ask(request("GET http://sspemu/ HTTP/1.1", "Host: sspemu"), 200)
		return err
	}),
	"http_case": httpCheck("names of fields are the same in any case", func(x *line) error {
		_, err := x.ask(request("GET / HTTP/1.1", "hOST: sspemu", "aCCEPT: application/json"), 200)
		return err
	}),
	"http_chunked": httpCheck("a request with a chunked body is read to its end", func(x *line) error {
		_, err := x.ask(request("POST / HTTP/1.1", "Host: sspemu", "Transfer-Encoding: chunked")+"5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nT: x\r\n\r\n", 200, 201, 204, 405)
		if err != nil {
			return err
		}
		_, err = x.ask(getRoot, 200)
		return err
	}),
	"http_body": httpCheck("a request with a body that nobody wants does not become the next request", func(x *line) error {
		body := getRoot + getRoot
		_, err := x.ask(request("POST / HTTP/1.1", "Host: sspemu", "Content-Length: "+strconv.Itoa(len(body)))+body, 200, 201, 204, 405)
		if err != nil {
			return err
		}
		_, err = x.ask(request("GET /no HTTP/1.1", "Host: sspemu"), 404)
		return err
	}),
	"http_parallel": onTerminal("connections at the same time are served", func(x onService) error {
		var lines []*line
		for range 16 {
			l, err := x.connect()
			if err != nil {
				return err
			}
			defer l.conn.Close()
			lines = append(lines, l)
			if err := l.send(getRoot[:10]); err != nil {
				return err
			}
		}
		for _, l := range slices.Backward(lines) {
			if err := l.send(getRoot[10:]); err != nil {
				return err
			}
			if _, err := l.read("GET"); err != nil {
				return err
			}
		}
		return nil
	}),
	"http_expect":         answersOpen("an expectation that nobody knows gets 417", request("GET / HTTP/1.1", "Host: sspemu", "Expect: the-unexpected"), 417, 200),
	"http_no_host":        refuses("HTTP/1.1 without Host gets 400", request("GET / HTTP/1.1"), 400),
	"http_two_hosts":      refuses("Host twice gets 400", request("GET / HTTP/1.1", "Host: a", "Host: b"), 400),
	"http_bad_line":       refuses("a request line that is none gets 400", request("GET", "Host: a"), 400),
	"http_version":        refuses("another major version gets 505", request("GET / HTTP/7.0", "Host: a"), 505, 400),
	"http_long_line":      refuses("a request line of 1 MiB gets 414", request("GET /"+strings.Repeat("a", 1<<20)+" HTTP/1.1", "Host: a"), 414, 431),
	"http_long_field":     refuses("a field of 1 MiB gets 431", request("GET / HTTP/1.1", "Host: a", "X: "+strings.Repeat("a", 1<<20)), 431),
	"http_space_colon":    refuses("a space between a name and its colon gets 400", request("GET / HTTP/1.1", "Host : a"), 400),
	"http_control":        refuses("a control character in a field gets 400", request("GET / HTTP/1.1", "Host: a", "X: \x00"), 400),
	"http_two_lengths":    refuses("two lengths get 400", request("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Content-Length: 6")+"hello", 400),
	"http_list_length":    refuses("a list of lengths gets 400", request("POST / HTTP/1.1", "Host: a", "Content-Length: 5, 6")+"hello", 400),
	"http_bad_length":     refuses("a length that is no number gets 400", request("POST / HTTP/1.1", "Host: a", "Content-Length: +5")+"hello", 400),
	"http_both_lengths":   answersOpen("Content-Length beside Transfer-Encoding is no second request", request("POST / HTTP/1.1", "Host: a", "Content-Length: 4", "Transfer-Encoding: chunked")+"0\r\n\r\n", 400, 405),
	"http_coding_unknown": refuses("a transfer coding that nobody knows gets 501", request("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: cow")+"hello", 501, 400),
}

// answersOpen is refuses for what may leave the connection open.
func answersOpen(doc, request string, status ...int) check {
	return httpCheck(doc, func(x *line) error {
		if _, err := x.ask(request, status...); err != nil {
			return err
		}
		return x.again(x.ctx)
	})
}

func tcpStream(x onService) error {
	l, err := x.connect()
	if err != nil {
		return err
	}
	defer l.conn.Close()
	for rest := getRoot; len(rest) > 0; {
		n := min(len(rest), 7)
		if err := l.send(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	var got []byte
	for b := make([]byte, 3); !bytes.Contains(got, []byte("\r\n\r\n")); {
		n, err := l.conn.Read(b)
		if err != nil {
			return err
		}
		got = append(got, b[:n]...)
	}
	return nil
}

func tcpClose(x onService) error {
	l, err := x.connect()
	if err != nil {
		return err
	}
	defer l.conn.Close()
	if _, err := l.ask(request("GET / HTTP/1.1", "Host: a", "Connection: close"), 200); err != nil {
		return err
	}
	if err := l.ended(); err != nil {
		return err
	}
	if l, err = x.connect(); err != nil {
		return err
	}
	if err := l.conn.Close(); err != nil {
		return err
	}
	return l.again(x.ctx)
}

func tcpParallel(x onService) error {
	o, err := x.open()
	if err != nil {
		return err
	}
	defer o.end()
	mine, err := x.connect()
	if err != nil {
		return err
	}
	defer mine.conn.Close()
	other, err := o.connect()
	if err != nil {
		return err
	}
	defer other.conn.Close()
	for range 3 {
		if err := errors.Join(mine.send(getRoot[:20]), other.send(request("GET /no HTTP/1.1", "Host: a")), mine.send(getRoot[20:])); err != nil {
			return err
		}
		a, err := mine.read("GET")
		if err != nil {
			return err
		}
		b, err := other.read("GET")
		if err != nil {
			return err
		}
		if a.StatusCode != 200 || b.StatusCode != 404 {
			return fmt.Errorf("status %d and %d, expected 200 and 404", a.StatusCode, b.StatusCode)
		}
	}
	return nil
}

// socket is what a check of CoAP works on: a socket at the UDP gate of the active
// bundle. Nothing is between the two.
type socket struct {
	onService
	d    *terminal.Datagrams
	in   chan datagram
	peer netip.AddrPort
	id   uint16
}

type datagram struct {
	peer netip.AddrPort
	b    []byte
}

// coapCheck makes a check of f on a socket.
func coapCheck(doc string, f func(*socket) error) check {
	return onTerminal(doc, func(x onService) error {
		s, err := x.socket()
		if err != nil {
			return err
		}
		defer s.d.Close()
		return f(s)
	})
}

func (x onService) socket() (s *socket, err error) {
	s = &socket{onService: x, in: make(chan datagram, 64), peer: netip.MustParseAddrPort("192.0.2.1:40000"), id: 0x1000}
	ctx, cancel := x.within()
	defer cancel()
	s.d, err = x.t.OpenUDP(ctx, func(peer netip.AddrPort, b []byte) {
		select {
		case s.in <- datagram{peer, bytes.Clone(b)}:
		default: // no check waits for so many
		}
	})
	return s, err
}

// raw sends a datagram in hexadecimal; XXXX stands for a new message ID.
func (s *socket) raw(datagram string) error {
	s.id++
	b, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(datagram, " ", ""), "XXXX", fmt.Sprintf("%04X", s.id)))
	if err != nil {
		return err
	}
	return s.give(b)
}

func (s *socket) give(b []byte) error {
	s.note("> %X", b)
	return s.d.Send(s.peer, b)
}

// next is the next datagram that comes.
func (s *socket) next() ([]byte, error) {
	select {
	case d := <-s.in:
		s.note("< %X", d.b)
		if d.peer != s.peer {
			return nil, fmt.Errorf("it is for %s, expected %s", d.peer, s.peer)
		}
		return d.b, nil
	case <-time.After(patience):
		return nil, errors.New("no datagram came")
	}
}

// message is the next message that comes.
func (s *socket) message() (m message.Message, err error) {
	b, err := s.next()
	if err != nil {
		return m, err
	}
	m.Options = make(message.Options, 0, 32)
	_, err = coder.DefaultCoder.Decode(b, &m)
	return m, err
}

// silent fails when anything comes before the answer to a ping.
func (s *socket) silent() error {
	if err := s.raw("4000XXXX"); err != nil {
		return err
	}
	b, err := s.next()
	if err == nil && !bytes.Equal(b, binary.BigEndian.AppendUint16([]byte{0x70, 0}, s.id)) {
		err = fmt.Errorf("%X came, which nothing asks for", b)
	}
	return err
}

// request is a message to the bundle.
func (s *socket) request(t message.Type, code codes.Code, path string, options ...message.Option) message.Message {
	s.id++
	m := message.Message{Type: t, Code: code, MessageID: int32(s.id), Token: []byte{0xC0, byte(s.id)}, Options: options}
	buf := make([]byte, 256)
	if path != "" {
		m.Options, _, _ = m.Options.SetPath(buf, path)
	}
	slices.SortStableFunc(m.Options, func(a, b message.Option) int { return int(a.ID) - int(b.ID) })
	return m
}

// send sends m.
func (s *socket) send(m message.Message) error {
	b := make([]byte, 1500)
	n, err := coder.DefaultCoder.Encode(m, b)
	if err != nil {
		return err
	}
	return s.give(b[:n])
}

// ask sends a request and gives its answer, which has one of the codes.
func (s *socket) ask(m message.Message, code ...codes.Code) (message.Message, error) {
	if err := s.send(m); err != nil {
		return message.Message{}, err
	}
	a, err := s.message()
	switch {
	case err != nil:
	case !bytes.Equal(a.Token, m.Token):
		err = fmt.Errorf("the token is %X, expected %X", a.Token, m.Token)
	case !slices.Contains(code, a.Code):
		err = fmt.Errorf("the code is %s, expected %v", a.Code, code)
	}
	return a, err
}

func (s *socket) get(path string, options ...message.Option) (message.Message, error) {
	return s.ask(s.request(message.Confirmable, codes.GET, path, options...), codes.Content)
}

func option(id message.OptionID, value ...byte) message.Option {
	return message.Option{ID: id, Value: value}
}

// links are the resources in /.well-known/core.
func (s *socket) links() (all []string, err error) {
	a, err := s.get("/.well-known/core")
	if err != nil {
		return nil, err
	}
	if f, err := a.Options.ContentFormat(); err != nil || f != message.AppLinkFormat {
		return nil, fmt.Errorf("Content-Format is %v (%w), expected %v", f, err, message.AppLinkFormat)
	}
	s.note("%s", a.Payload)
	for l := range strings.SplitSeq(string(a.Payload), ",<") {
		all = append(all, "<"+strings.TrimPrefix(l, "<"))
	}
	return all, nil
}

// observable is the path of the first resource with the attribute obs.
func (s *socket) observable(yes bool) (path string, err error) {
	all, err := s.links()
	if err != nil {
		return "", err
	}
	for _, l := range all {
		path, attributes, _ := strings.Cut(strings.TrimPrefix(l, "<"), ">")
		if slices.Contains(strings.Split(attributes, ";"), "obs") == yes {
			return path, nil
		}
	}
	return "", fmt.Errorf("no resource has obs: %t among %v", yes, all)
}

// rejected makes a check that a datagram gets what is wanted: a Reset ("70") or the
// beginning of an answer, one of several behind |, or nothing ("").
func rejected(doc, datagram, want string) check {
	return coapCheck(doc, func(s *socket) error {
		if err := s.raw(datagram); err != nil {
			return err
		}
		if want != "" {
			b, err := s.next()
			if err != nil {
				return err
			}
			fits := func(w string) bool { return strings.HasPrefix(upper(b), w) }
			if !slices.ContainsFunc(strings.Split(want, "|"), fits) {
				return fmt.Errorf("the answer is %X, expected %s", b, want)
			}
		}
		if err := s.silent(); err != nil {
			return err
		}
		_, err := s.get("/.well-known/core")
		return err
	})
}

const uriCore = "BB2E77656C6C2D6B6E6F776E" + "04636F7265" // Uri-Path .well-known, core

var coapChecks = map[string]check{
	"coap_con": coapCheck("a confirmable request gets an acknowledgement with its message ID, the answer in it", func(s *socket) error {
		m := s.request(message.Confirmable, codes.GET, "/.well-known/core")
		a, err := s.ask(m, codes.Content)
		if err == nil && (a.Type != message.Acknowledgement || a.MessageID != m.MessageID) {
			err = fmt.Errorf("it is %s with message ID %04X", a.Type, a.MessageID)
		}
		return err
	}),
	"coap_non": coapCheck("a non-confirmable request gets a non-confirmable answer", func(s *socket) error {
		a, err := s.ask(s.request(message.NonConfirmable, codes.GET, "/.well-known/core"), codes.Content)
		if err == nil && a.Type != message.NonConfirmable {
			err = fmt.Errorf("it is %s", a.Type)
		}
		return err
	}),
	"coap_ping": coapCheck("an Empty confirmable message gets a Reset", (*socket).silent),
	"coap_token": coapCheck("tokens of 0 to 8 octets come back", func(s *socket) error {
		for n := range 9 {
			m := s.request(message.Confirmable, codes.GET, "/.well-known/core")
			m.Token = bytes.Repeat([]byte{0xA5}, n)
			if _, err := s.ask(m, codes.Content); err != nil {
				return err
			}
		}
		return nil
	}),
	"coap_duplicate": coapCheck("a duplicate gets the same answer", func(s *socket) error {
		m := s.request(message.Confirmable, codes.GET, "/.well-known/core")
		var first []byte
		for range 2 {
			if err := s.send(m); err != nil {
				return err
			}
			b, err := s.next()
			if err != nil {
				return err
			}
			if first == nil {
				first = b
			} else if err := equal("the second answer", upper(b), upper(first)); err != nil {
				return err
			}
		}
		return nil
	}),
	"coap_ids": coapCheck("the same message ID of another endpoint is another message", func(s *socket) error {
		m := s.request(message.Confirmable, codes.GET, "/.well-known/core")
		for range 2 {
			if _, err := s.ask(m, codes.Content); err != nil {
				return err
			}
			s.peer = netip.MustParseAddrPort("192.0.2.2:40000")
			m.Token = []byte{1, 2, 3}
		}
		return nil
	}),
	"coap_options": coapCheck("Uri-Host, Uri-Port and elective options that nobody knows do no harm", func(s *socket) error {
		_, err := s.get("/.well-known/core", option(message.URIHost, []byte("sspemu")...), option(message.URIPort, 0x16, 0x33), option(65000, 1))
		return err
	}),
	"coap_not_found": coapCheck("a path that is not there gets 4.04", func(s *socket) error {
		_, err := s.ask(s.request(message.Confirmable, codes.GET, "/there/is/no/such/thing"), codes.NotFound)
		return err
	}),
	"coap_method": coapCheck("a method that a resource has not gets 4.05", func(s *socket) error {
		_, err := s.ask(s.request(message.Confirmable, codes.DELETE, "/.well-known/core"), codes.MethodNotAllowed)
		return err
	}),
	"coap_accept": coapCheck("Accept chooses the content format", func(s *socket) error {
		for format, valid := range map[message.MediaType]func([]byte) error{
			message.AppJSON: func(b []byte) error { var v any; return json.Unmarshal(b, &v) },
			message.AppCBOR: cbor.Wellformed,
		} {
			a, err := s.get("/", option(message.Accept, byte(format)))
			if err != nil {
				return err
			}
			if f, err := a.Options.ContentFormat(); err != nil || f != format {
				return fmt.Errorf("Content-Format is %v (%w), expected %v", f, err, format)
			}
			if err := valid(a.Payload); err != nil {
				return err
			}
		}
		return nil
	}),
	"coap_accept_none": coapCheck("Accept that nothing fits gets 4.06", func(s *socket) error {
		_, err := s.ask(s.request(message.Confirmable, codes.GET, "/", option(message.Accept, 41)), codes.NotAcceptable)
		return err
	}),
	"coap_proxy": coapCheck("Proxy-Uri gets 5.05", func(s *socket) error {
		_, err := s.ask(s.request(message.Confirmable, codes.GET, "", option(message.ProxyURI, []byte("coap://elsewhere/")...)), codes.ProxyingNotSupported)
		return err
	}),
	"coap_critical":   rejected("a critical option that nobody knows gets 4.02", "4001XXXX D18C00", "6082"),
	"coap_version":    rejected("another version is ignored", "8001XXXX", ""),
	"coap_short":      rejected("a datagram shorter than a header is ignored", "400101", ""),
	"coap_token_long": rejected("a token of 15 octets is a format error", "4F01XXXX 000102030405060708090A0B0C0D0E", "70"),
	"coap_delta":      rejected("option delta 15 is a format error", "4001XXXX F0", "70"),
	"coap_length":     rejected("an option longer than the message is a format error", "4001XXXX BDFF68", "70"),
	"coap_marker":     rejected("a payload marker without payload is a format error", "4001XXXX FF", "70"),
	"coap_empty":      rejected("an Empty message with a token is a format error", "4100XXXX 61", "70"),
	"coap_class":      rejected("a code of a reserved class gets a Reset", "4021XXXX", "70"),
	"coap_response":   rejected("a response that nobody waits for gets a Reset", "4045XXXX FF61", "70"),
	"coap_ack":        rejected("an acknowledgement that nobody waits for is ignored", "6000XXXX", ""),
	"coap_non_bad":    rejected("a non-confirmable message that is malformed is ignored", "5001XXXX FF", ""),
	"coap_unknown":    rejected("a method that nobody knows gets 4.05", "401FXXXX", "6085"),

	"coap_core": coapCheck("/.well-known/core lists resources in link format", func(s *socket) error {
		all, err := s.links()
		for _, l := range all {
			if err == nil && (!strings.HasPrefix(l, "</") || !strings.Contains(l, ">")) {
				err = fmt.Errorf("%q is no link", l)
			}
		}
		return err
	}),
	"coap_core_there": coapCheck("what is listed is there", func(s *socket) error {
		all, err := s.links()
		if err != nil {
			return err
		}
		for _, l := range all {
			path, _, _ := strings.Cut(l[1:], ">")
			if _, err := s.ask(s.request(message.Confirmable, codes.GET, path), codes.Content, codes.MethodNotAllowed); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		return nil
	}),
	"coap_core_filter": coapCheck("a query on href filters the list", func(s *socket) error {
		path, err := s.observable(true)
		if err != nil {
			return err
		}
		a, err := s.get("/.well-known/core", option(message.URIQuery, []byte("href="+path)...))
		if err != nil {
			return err
		}
		if n := strings.Count(string(a.Payload), "<"); n != 1 || !strings.HasPrefix(string(a.Payload), "<"+path+">") {
			return fmt.Errorf("it lists %q", a.Payload)
		}
		return nil
	}),

	"block_parts": coapCheck("a body comes in blocks of the size that was asked for", func(s *socket) error {
		whole, err := s.get("/")
		if err != nil {
			return err
		}
		if more, err := whole.Options.GetBytes(message.Block2); err == nil && len(more) > 0 && more[len(more)-1]&8 != 0 {
			return fmt.Errorf("the body does not fit in one message: Block2 is %X", more)
		}
		var joined, etag []byte
		for n := 0; ; n++ {
			a, err := s.get("/", option(message.Block2, blockValue(n, 0)...))
			if err != nil {
				return err
			}
			v, err := a.Options.GetBytes(message.Block2)
			if err != nil || len(v) == 0 && n > 0 {
				return fmt.Errorf("block %d: Block2: %X, %w", n, v, err)
			}
			joined = append(joined, a.Payload...)
			tag, _ := a.Options.GetBytes(message.ETag)
			if n == 0 {
				etag = tag
			}
			if err := equal("ETag of block "+strconv.Itoa(n), upper(tag), upper(etag)); err != nil {
				return err
			}
			if v[len(v)-1]&8 == 0 {
				break
			}
			if len(a.Payload) != 16 {
				return fmt.Errorf("block %d has %d octets", n, len(a.Payload))
			}
		}
		return equal("the blocks together", upper(joined), upper(whole.Payload))
	}),
	"block_beyond": coapCheck("a block behind the end gets 4.00 or 4.02", func(s *socket) error {
		_, err := s.ask(s.request(message.Confirmable, codes.GET, "/", option(message.Block2, blockValue(4000, 6)...)), codes.BadRequest, codes.BadOption)
		return err
	}),
	"block_size": rejected("size exponent 7 of Block2 is refused", "4001XXXX"+uriCore+"C107", "6080|6082"),
	"block_long": rejected("Block2 of more than 3 octets is refused", "4001XXXX"+uriCore+"C400000000", "6080|6082"),
	"block_cut":  rejected("a truncated Block2 is a format error", "4001XXXX"+uriCore+"C300", "70"),

	"observe_register": coapCheck("a client that registers gets the state, with Observe", func(s *socket) error {
		_, err := s.observe()
		return err
	}),
	"observe_not": coapCheck("Observe on a resource that cannot be observed is an ordinary GET", func(s *socket) error {
		path, err := s.observable(false)
		if err != nil {
			return err
		}
		a, err := s.get(path, option(message.Observe))
		if err == nil && a.Options.HasOption(message.Observe) {
			err = errors.New("the answer has Observe")
		}
		return err
	}),
	"observe_cancel": observeCheck("a client that deregisters is told nothing more", func(s *socket, change func() error) error {
		path, err := s.observe()
		if err != nil {
			return err
		}
		m := s.request(message.Confirmable, codes.GET, path, option(message.Observe, 1))
		m.Token = observeToken
		a, err := s.ask(m, codes.Content)
		if err != nil {
			return err
		}
		if a.Options.HasOption(message.Observe) {
			return errors.New("the answer has Observe")
		}
		if err := change(); err != nil {
			return err
		}
		return s.silent()
	}),
	"observe_notify": observeCheck("a change is notified, with a later Observe", func(s *socket, change func() error) error {
		if _, err := s.observe(); err != nil {
			return err
		}
		last := uint32(0)
		for n := range 3 {
			if err := change(); err != nil {
				return err
			}
			seq, _, err := s.notification()
			if err != nil {
				return err
			}
			if n > 0 && (seq-last)&0xFFFFFF >= 1<<23 {
				return fmt.Errorf("the option Observe was %d and is %d", last, seq)
			}
			last = seq
		}
		return nil
	}),
	"observe_reset": observeCheck("a client that answers a notification with Reset is told nothing more", func(s *socket, change func() error) error {
		if _, err := s.observe(); err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		_, m, err := s.notification()
		if err != nil {
			return err
		}
		if err := s.give(binary.BigEndian.AppendUint16([]byte{0x70, 0}, uint16(m.MessageID))); err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		return s.silent()
	}),
}

// blockValue is the value of a Block option: number n, no more, size exponent szx.
func blockValue(n int, szx byte) []byte {
	v := binary.BigEndian.AppendUint32(nil, uint32(n)<<4|uint32(szx))
	return bytes.TrimLeft(v, "\x00")
}

var observeToken = []byte{0x0B, 0x5E}

// observe registers for the first resource that can be observed.
func (s *socket) observe() (path string, err error) {
	if path, err = s.observable(true); err != nil {
		return "", err
	}
	m := s.request(message.Confirmable, codes.GET, path, option(message.Observe))
	m.Token = observeToken
	a, err := s.ask(m, codes.Content)
	if err == nil && !a.Options.HasOption(message.Observe) {
		err = errors.New("the answer has no Observe")
	}
	return path, err
}

// notification is the next one; a confirmable one is acknowledged.
func (s *socket) notification() (seq uint32, m message.Message, err error) {
	if m, err = s.message(); err != nil {
		return 0, m, err
	}
	if seq, err = m.Options.Observe(); err != nil || !bytes.Equal(m.Token, observeToken) || m.Code != codes.Content {
		return 0, m, fmt.Errorf("it is no notification: %s (%w)", m.String(), err)
	}
	if m.Type == message.Confirmable {
		err = s.give(binary.BigEndian.AppendUint16([]byte{0x60, 0}, uint16(m.MessageID)))
	}
	return seq, m, err
}

// observeCheck makes a check of f, which can change the state of the bundle: PIN1 is
// verified, then a wrong value of it is presented, in turns.
func observeCheck(doc string, f func(s *socket, change func() error) error) check {
	c := coapCheck(doc, func(s *socket) error {
		pin, err := hex.DecodeString(s.vars["pin1"])
		if err != nil {
			return err
		}
		verify := func(value []byte) error { return s.transmit(append([]byte{0x00, 0x20, 0x00, 0x01, 0x08}, value...)) }
		wrong := false
		defer func() { _ = verify(pin) }() // gives the try back
		if err := verify(pin); err != nil {
			return err
		}
		return f(s, func() error {
			wrong = !wrong
			if wrong {
				return verify(bytes.Repeat([]byte{'0'}, 8))
			}
			return verify(pin)
		})
	})
	c.needs = append(c.needs, "pin1")
	return c
}

func udpPeers(x onService) error {
	s, err := x.socket()
	if err != nil {
		return err
	}
	defer s.d.Close()
	for _, p := range []string{"192.0.2.1:5683", "192.0.2.1:5684", "[2001:db8::1]:5683"} {
		s.peer = netip.MustParseAddrPort(p)
		if err := s.silent(); err != nil {
			return err
		}
	}
	return nil
}
