package acl

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/linktest"
)

func link(t testing.TB, url string, role transport.Role) transport.Link {
	t.Helper()
	l, err := transport.Open(url, role, Schemes)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLink(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		url := "acl://" + ln.Addr().String()
		require.NoError(t, ln.Close())
		return link(t, url, transport.Controller), link(t, url, transport.Target)
	})
}

func TestURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		role transport.Role
		want string
	}{
		{"acl:", transport.Target, `link "acl:": write acl://HOST:PORT, such as acl://127.0.0.1:62111`},
		{"acl://h/x", transport.Controller, `link "acl://h/x": write acl://HOST:PORT, such as acl://127.0.0.1:62111`},
		{"acl://h:0", transport.Target, `link "acl://h:0": port 0 cannot be connected to (a Test Tool Agent listens on 62111)`},
		{"acl://h?interface=contactless", transport.Target, `link "acl://h?interface=contactless": interface=contactless is not known (use one of contact, events)`},
		{"acl://h?reader=", transport.Target, `link "acl://h?reader=": reader= is a name of 1 to 200 bytes`},
		{"acl://h?timeout=1s", transport.Target, `link "acl://h?timeout=1s": unknown parameter "timeout" (acl: takes interface, reader)`},
		{"acl://h?timeout=soon", transport.Controller, `link "acl://h?timeout=soon": timeout=soon is not a time from 1ms to 1h, such as 30s`},
		{"acl://h?reader=x", transport.Controller, `link "acl://h?reader=x": unknown parameter "reader" (acl: takes timeout)`},
	} {
		_, err := transport.Open(c.url, c.role, Schemes)
		require.EqualError(t, err, c.want)
	}
	require.Equal(t, "127.0.0.1:62111", link(t, "acl://127.0.0.1", transport.Target).(*agent).addr)
}

func TestVectors(t *testing.T) {
	require.Equal(t, "\x00\x00\x00\x24client_contact - Contact Reader Name",
		string(appendMessage(nil, []byte("client_contact - Contact Reader Name"))))
	const echo = `{"data":"","request":10,"timeout":30000}`
	p, err := json.Marshal(command{"", reqColdReset, 30000})
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x28"+echo, string(appendMessage(nil, p)))
	c, err := decodeCommand([]byte(echo))
	require.NoError(t, err)
	require.Equal(t, command{"", reqColdReset, 30000}, c)
	hci, err := hex.DecodeString("528105A000000001" + "8203010203")
	require.NoError(t, err)
	require.Equal(t, "000D528105A0000000018203010203", encodeHex(appendNotification(nil, hci)))
	require.Equal(t, `{"response":"3B00","err_server_code":0,"err_server_description":"OK","err_client_code":0,"client_description":"OK",`+
		`"err_terminal_code":0,"terminal_description":"OK","err_card_code":0,"err_card_description":"OK"}`,
		string(encodeResponse("3B00", nil)))
}

// server is a Test Tool Agent as bytes: what a test wants to send, exactly so.
type server struct {
	t     *testing.T
	ln    net.Listener
	c     net.Conn
	hello string
}

// receiver is a function as a Receiver.
type receiver func(k transport.Kind, p []byte)

func (f receiver) Frame(k transport.Kind, p []byte) { f(k, p) }

// newServer opens an SE Agent at a fresh server. The card keeps the kinds of frames it
// gets and answers; hold, when it is given, delays the answer to a command.
func newServer(t *testing.T, params string, hold <-chan struct{}) (*server, transport.Link, chan transport.Kind) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	l := link(t, "acl://"+ln.Addr().String()+params, transport.Target)
	seen := make(chan transport.Kind, 100)
	require.NoError(t, l.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		seen <- k
		switch k {
		case transport.PowerOn, transport.Reset:
			_ = l.Send(transport.ATR, []byte{0x3B, 0x00})
		case transport.Block:
			if hold != nil {
				<-hold
			}
			_ = l.Send(transport.Block, append(p, 0x90, 0x00))
		}
	})))
	s := &server{t: t, ln: ln}
	s.accept()
	return s, l, seen
}

func (s *server) accept() {
	s.t.Helper()
	require.NoError(s.t, s.ln.(*net.TCPListener).SetDeadline(time.Now().Add(10*time.Second)))
	c, err := s.ln.Accept()
	require.NoError(s.t, err, "the SE Agent should connect")
	s.t.Cleanup(func() { c.Close() })
	require.NoError(s.t, c.SetDeadline(time.Now().Add(10*time.Second)))
	s.c = c
	s.hello = string(s.read())
}

func (s *server) read() []byte {
	s.t.Helper()
	var h [4]byte
	_, err := io.ReadFull(s.c, h[:])
	require.NoError(s.t, err)
	p := make([]byte, int(h[2])<<8|int(h[3]))
	_, err = io.ReadFull(s.c, p)
	require.NoError(s.t, err)
	return p
}

func (s *server) raw(p []byte) {
	s.t.Helper()
	_, err := s.c.Write(p)
	require.NoError(s.t, err)
}

func (s *server) send(message string) { s.t.Helper(); s.raw(appendMessage(nil, []byte(message))) }

// keys are those that a response has, all of them.
var keys = []string{
	"response", "err_server_code", "err_server_description", "err_client_code", "client_description",
	"err_terminal_code", "terminal_description", "err_card_code", "err_card_description",
}

func (s *server) expect() response {
	s.t.Helper()
	p := s.read()
	var all map[string]any
	require.NoError(s.t, json.Unmarshal(p, &all))
	require.Len(s.t, all, len(keys))
	for _, k := range keys {
		require.Contains(s.t, all, k)
	}
	r, err := decodeResponse(p)
	require.NoError(s.t, err)
	require.Zero(s.t, r.ServerCode)
	require.Equal(s.t, "OK", r.ServerText)
	return r
}

func (s *server) do(q request, data string) response {
	s.t.Helper()
	p, err := json.Marshal(command{data, q, 5000})
	require.NoError(s.t, err)
	s.raw(appendMessage(nil, p))
	return s.expect()
}

// ok demands a response without an error.
func (s *server) ok(q request, data string) string {
	s.t.Helper()
	r := s.do(q, data)
	require.NoError(s.t, r.err())
	return r.Response
}

func (s *server) closed() {
	s.t.Helper()
	_, err := s.c.Read(make([]byte, 1))
	require.Error(s.t, err, "the SE Agent should hang up")
	require.NotErrorIs(s.t, err, context.DeadlineExceeded)
}

func TestContact(t *testing.T) {
	s, _, seen := newServer(t, "?reader=Reader 1", nil)
	require.Equal(t, "client_contact - Reader 1", s.hello)
	kinds := func(want ...transport.Kind) {
		t.Helper()
		for _, k := range want {
			require.Equal(t, k, <-seen)
		}
		require.Empty(t, seen)
	}
	require.Equal(t, "Reader 1: contact interface, deactivated", s.ok(reqDiag, ""))
	require.Empty(t, s.ok(reqActivate, ""))
	require.Empty(t, s.ok(reqDeactivate, ""))
	kinds(transport.PowerOff)
	require.Empty(t, s.ok(reqDeactivate, ""), "a second time does nothing")
	require.Empty(t, s.ok(reqActivate, ""))
	require.Equal(t, "Reader 1: contact interface, active", s.ok(reqDiag, ""))
	require.Equal(t, "3B00", s.ok(reqColdReset, ""))
	require.Equal(t, "3B00", s.ok(reqWarmReset, ""))
	require.Equal(t, "00A49000", s.ok(reqCommand, "00a4"))
	require.Equal(t, "00A49000", s.ok(reqCommand, "00 A4"), "spaces")
	require.Equal(t, "9000", s.ok(reqCommand, ""), "any byte string")
	require.Len(t, s.ok(reqCommand, strings.Repeat("AB", 30000)), 60004)
	kinds(transport.PowerOn, transport.Reset, transport.Block, transport.Block, transport.Block, transport.Block)
	require.Equal(t, "0102", s.ok(reqEcho, "0102"))
	require.Empty(t, s.ok(reqEcho, ""))
	for _, q := range []request{reqConnect, reqInit, reqRestart} {
		require.Empty(t, s.ok(q, ""))
	}
	kinds()
	require.Empty(t, s.ok(reqDisconnect, ""))
	s.closed()
	s.accept() // it is there again
	kinds(transport.PowerOff)
	require.Equal(t, "Reader 1: contact interface, deactivated", s.ok(reqDiag, ""))
}

func TestEvents(t *testing.T) {
	s, l, seen := newServer(t, "?interface=events", nil)
	require.Equal(t, "client_events - sspemu", s.hello)
	hci, err := hex.DecodeString("528105A0000000018203010203")
	require.NoError(t, err)
	n := l.(Notifier)
	require.ErrorIs(t, n.Notify(nil), transport.ErrTooShort)
	require.ErrorIs(t, n.Notify(make([]byte, 70000)), transport.ErrTooLong)
	require.NoError(t, n.Notify(hci))
	require.NoError(t, n.Notify([]byte{0x52}))
	require.Equal(t, codeInvalidState, s.do(reqGetNotifications, "").ClientCode, "deactivated")
	require.Empty(t, s.ok(reqActivate, ""))
	require.Equal(t, "000D528105A0000000018203010203000152", s.ok(reqGetNotifications, ""))
	require.Empty(t, s.ok(reqGetNotifications, ""), "they were taken")
	require.NoError(t, n.Notify(hci))
	require.Empty(t, s.ok(reqClearNotifications, ""))
	require.Empty(t, s.ok(reqGetNotifications, ""))
	require.Equal(t, codeInvalidRequest, s.do(reqCommand, "00").ClientCode)
	require.Equal(t, codeInvalidRequest, s.do(reqColdReset, "").ClientCode)
	for {
		if n.Notify(make([]byte, 1000)) != nil {
			break // a tool that never asks takes no memory
		}
	}
	require.Empty(t, s.ok(reqDeactivate, ""))
	require.Empty(t, seen, "no card is on this interface")
	require.ErrorIs(t, link(t, "acl://h", transport.Target).(Notifier).Notify(hci), transport.ErrDirection)
	require.ErrorIs(t, link(t, "acl://h?interface=events", transport.Target).(Notifier).Notify(hci), transport.ErrClosed)
}

// TestRefused: what is wrong with a command is said, and the connection stays.
func TestRefused(t *testing.T) {
	s, _, seen := newServer(t, "", nil)
	for _, q := range []request{reqColdReset, reqWarmReset, reqCommand} {
		r := s.do(q, "")
		require.Equal(t, codeInvalidState, r.ClientCode, q.String())
		require.Equal(t, "KO", r.Response)
		require.Equal(t, "the interface is deactivated (send ACTIVATE_INTERFACE first)", r.ClientText)
	}
	require.Empty(t, s.ok(reqActivate, ""))
	for _, q := range []request{
		reqCommandA, reqCommandB, reqCommandF, reqPowerOffField, reqPowerOnField, reqPollA, reqPollB, reqPollF, reqPollAll,
		reqGetNotifications, reqClearNotifications, 22, -1, 1 << 40,
	} {
		r := s.do(q, "00")
		require.Equal(t, codeInvalidRequest, r.ClientCode, q.String())
		require.Contains(t, r.ClientText, "is not for the contact interface")
	}
	for _, c := range []struct {
		name, message string
		code          int
	}{
		{"empty", "", codeJSONParsing},
		{"no JSON", "hello", codeJSONParsing},
		{"cut off", `{"data":"","request":10,`, codeJSONParsing},
		{"more after it", `{"data":"","request":1,"timeout":1}{}`, codeJSONParsing},
		{"no UTF-8", "{\"data\":\"\xFF\",\"request\":3,\"timeout\":1}", codeJSONParsing},
		{"request is a text", `{"data":"","request":"10","timeout":1000}`, codeJSONParsing},
		{"request is a fraction", `{"data":"","request":1.5,"timeout":1000}`, codeJSONParsing},
		{"request is huge", `{"data":"","request":1e99,"timeout":1000}`, codeJSONParsing},
		{"data is a list", `{"data":[],"request":6,"timeout":1000}`, codeJSONParsing},
		{"a list", `[]`, codeJSONParsing},
		{"deep", strings.Repeat("[", 20000), codeJSONParsing},
		{"null", `null`, codeInvalidRequest},
		{"no request", `{"data":"","timeout":1000}`, codeInvalidRequest},
		{"negative time-out", `{"data":"","request":10,"timeout":-1}`, codeInvalidRequest},
		{"half a byte", `{"data":"ABC","request":6,"timeout":1000}`, codeInvalidRequest},
		{"no hexadecimal", `{"data":"XY","request":6,"timeout":1000}`, codeInvalidRequest},
		{"too long", `{"data":"` + strings.Repeat("00", transport.MaxFrame+1) + `","request":6,"timeout":1000}`, codeInvalidRequest},
	} {
		s.send(c.message)
		r := s.expect()
		require.Equal(t, c.code, r.ClientCode, c.name)
		require.Equal(t, "KO", r.Response)
		require.NotEqual(t, "OK", r.ClientText)
	}
	require.Empty(t, seen)
	s.send(`{"timeout":5000, "more":{}, "request":6}`)
	require.Equal(t, "9000", s.expect().Response, "other keys, no data")
	s.send(`{"data":"01","request":6}`)
	require.Equal(t, "019000", s.expect().Response, "no time-out")
	s.send(`{"data":"02","request":6,"timeout":9223372036854775807}`)
	require.Equal(t, "029000", s.expect().Response, "a time-out of ages")
}

// TestViolations: what ends the connection; the agent comes back.
func TestViolations(t *testing.T) {
	hold := make(chan struct{})
	s, _, _ := newServer(t, "", hold)
	activate := func() {
		t.Helper()
		require.Empty(t, s.ok(reqActivate, ""))
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"two commands at once", func() {
			activate()
			s.send(`{"data":"00","request":6,"timeout":60000}`)
			s.send(`{"data":"","request":3,"timeout":1000}`)
		}},
		{"a response", func() { s.raw(appendMessage(nil, encodeResponse("", nil))) }},
		{"a length of 4 GiB", func() { s.raw([]byte{0xFF, 0xFF, 0xFF, 0xFF, '{'}) }},
		{"a length above the limit", func() { s.raw(appendMessage(nil, make([]byte, maxPayload+1))[:5]) }},
		{"the end within a message", func() {
			s.raw([]byte{0, 0, 0, 40, '{'})
			require.NoError(t, s.c.(*net.TCPConn).CloseWrite())
		}},
		{"the end within a length", func() {
			s.raw([]byte{0, 0})
			require.NoError(t, s.c.(*net.TCPConn).CloseWrite())
		}},
	} {
		c.do()
		s.closed()
		s.accept()
		require.NotEmpty(t, s.ok(reqDiag, ""), c.name)
	}
	close(hold)
	activate()
	require.Equal(t, "3B00", s.ok(reqColdReset, ""))
	require.Equal(t, "019000", s.ok(reqCommand, "01"), "the late answer of an earlier connection is not taken for it")
}

func TestTimeout(t *testing.T) {
	hold := make(chan struct{})
	s, l, _ := newServer(t, "", hold)
	require.Empty(t, s.ok(reqActivate, ""))
	s.send(`{"data":"AA","request":6,"timeout":20}`)
	r := s.expect()
	require.Equal(t, codeTimeout, r.CardCode)
	require.Equal(t, "the card did not answer COMMAND within 20 ms", r.CardText)
	s.send(`{"data":"BB","request":6,"timeout":20}`) // it does not reach the card
	require.Equal(t, codeTimeout, s.expect().CardCode)
	s.send(`{"data":"CC","request":6,"timeout":9000}`)
	hold <- struct{}{}
	hold <- struct{}{}
	require.Equal(t, "CC9000", s.expect().Response, "a late answer is not taken for that of the next command")
	// A card that does not come back takes no memory.
	for range maxJobs + 5 {
		s.send(`{"data":"DD","request":6,"timeout":1}`)
		require.Equal(t, codeTimeout, s.expect().CardCode)
	}
	close(hold)
	require.Eventually(t, func() bool { return s.do(reqCommand, "EE").Response == "EE9000" }, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, l.Send(transport.Block, []byte{1}), "no command waits for this response")
}

// TestSilentCard: a reset makes good for answers that never came.
func TestSilentCard(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	l := link(t, "acl://"+ln.Addr().String(), transport.Target)
	require.NoError(t, l.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		switch {
		case k == transport.PowerOn:
			_ = l.Send(transport.ATR, []byte{0x3B, 0x00})
		case k == transport.Block && len(p) > 0:
			_ = l.Send(transport.Block, p)
		}
	})))
	s := &server{t: t, ln: ln}
	s.accept()
	require.Empty(t, s.ok(reqActivate, ""))
	for range 3 {
		s.send(`{"data":"","request":6,"timeout":20}`)
		require.Equal(t, codeTimeout, s.expect().CardCode)
	}
	require.Equal(t, "3B00", s.ok(reqColdReset, ""))
	require.Equal(t, "0102", s.ok(reqCommand, "0102"))
}

// TestServerComesLate: nobody is there at first.
func TestServerComesLate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	l := link(t, "acl://"+addr, transport.Target)
	require.NoError(t, l.Open(context.Background(), receiver(func(transport.Kind, []byte) {})))
	require.ErrorIs(t, l.Send(transport.Block, nil), transport.ErrNoPeer)
	ln, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	s := &server{t: t, ln: ln}
	s.accept()
	require.NotEmpty(t, s.ok(reqDiag, ""))
}

// dial is an SE Agent as bytes, at a Test Tool Agent of ours.
func dial(t *testing.T, l transport.Link, hello string) *server {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(l.String(), "acl://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	s := &server{t: t, c: c}
	s.send(hello)
	return s
}

// asked is the command that comes next.
func (s *server) asked() command {
	s.t.Helper()
	c, err := decodeCommand(s.read())
	require.NoError(s.t, err)
	return c
}

// reference is a response as the reference programs have it.
func (s *server) reference(text string) {
	s.t.Helper()
	s.raw(appendMessage(nil, encodeResponse(text, nil)))
}

func TestTool(t *testing.T) {
	l := link(t, "acl://127.0.0.1:0?timeout=5s", transport.Controller)
	type frame struct {
		k transport.Kind
		p string
	}
	frames := make(chan frame, 10)
	require.NoError(t, l.Open(context.Background(), receiver(func(k transport.Kind, p []byte) { frames <- frame{k, encodeHex(p)} })))
	start := func(hello string) *server {
		t.Helper()
		s := dial(t, l, hello)
		require.Equal(t, command{"", reqActivate, 5000}, s.asked())
		s.reference("OK")
		require.Equal(t, reqDeactivate, s.asked().Request)
		s.reference("OK")
		return s
	}
	start("client_contactless - x") // come first, stay idle
	start("client_events - x")
	s := start("client_contact - x")
	require.Equal(t, frame{transport.Inserted, ""}, <-frames)
	require.NoError(t, l.Send(transport.PowerOn, nil))
	require.NoError(t, l.Send(transport.Block, []byte{0, 0xA4}))
	require.NoError(t, l.Send(transport.PowerOff, nil))
	require.NoError(t, l.Send(transport.Block, []byte{0xFF}))
	require.Equal(t, reqActivate, s.asked().Request)
	s.reference("OK")
	require.Equal(t, reqColdReset, s.asked().Request)
	s.reference("3b 00")
	require.Equal(t, frame{transport.ATR, "3B00"}, <-frames)
	require.Equal(t, command{"00A4", reqCommand, 5000}, s.asked())
	s.reference("9000")
	require.Equal(t, frame{transport.Block, "9000"}, <-frames)
	require.Equal(t, reqDeactivate, s.asked().Request)
	s.reference("")
	require.Equal(t, reqActivate, s.asked().Request)
	s.reference("")
	require.Equal(t, "FF", s.asked().Data)
	s.raw(appendMessage(nil, encodeResponse("", &fault{terminal, codeInvalidTerminal, "no reader"})))
	require.Eventually(t, func() bool { return transport.Trouble(l) != nil }, 10*time.Second, time.Millisecond)
	require.EqualError(t, transport.Trouble(l), "acl: error -7 (INVALID_TERMINAL) of the terminal: no reader")
	s.reference("9000") // nobody asked
	s.closed()
	require.Equal(t, frame{transport.Removed, ""}, <-frames)
	// What is no response ends it, too.
	for _, wrong := range []string{"hello", `{"data":"","request":1,"timeout":1}`, `{"response":"XX"}`, "\xFF"} {
		s := start("client_contact")
		require.Equal(t, frame{transport.Inserted, ""}, <-frames)
		require.NoError(t, l.Send(transport.Block, []byte{1}))
		s.asked()
		s.reference("OK")
		s.asked()
		s.send(wrong)
		s.closed()
		require.Equal(t, frame{transport.Removed, ""}, <-frames)
	}
	for _, hello := range [][]byte{{0xFF, 0xFF, 0xFF, 0xFF}, {0, 0, 4, 1}} { // handshakes of no end
		c, err := net.Dial("tcp", strings.TrimPrefix(l.String(), "acl://"))
		require.NoError(t, err)
		s := &server{t: t, c: c}
		s.raw(hello)
		s.closed()
		c.Close()
	}
	err := link(t, l.String(), transport.Controller).Open(context.Background(), receiver(func(transport.Kind, []byte) {}))
	require.ErrorContains(t, err, "the Test Tool Agent cannot listen")
}

// FuzzMessages: whatever comes, a decoder takes it or says no, in bounded memory.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		"client_contact - Contact Reader Name", `{"data":"","request":10,"timeout":30000}`, `{"data":"00A4","request":6}`,
		string(encodeResponse("3B00", nil)), string(encodeResponse("", &fault{card, codeTimeout, "late"})), "", "{", "\xFF",
	} {
		f.Add(appendMessage(nil, []byte(s)))
	}
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := stream{strings.NewReader(string(b))}
		for {
			p, err := readMessage(c, nil, maxPayload)
			if err != nil {
				return
			}
			if cmd, err := decodeCommand(p); err == nil {
				require.Positive(t, cmd.limit())
				require.LessOrEqual(t, cmd.limit(), longest)
				again, err := json.Marshal(cmd)
				require.NoError(t, err)
				same, err := decodeCommand(again)
				require.NoError(t, err)
				require.Equal(t, cmd, same)
				_ = cmd.Request.String()
			}
			if r, err := decodeResponse(p); err == nil {
				_ = r.err()
			}
		}
	})
}

type stream struct{ io.Reader }

func (stream) SetReadDeadline(time.Time) error { return nil }
