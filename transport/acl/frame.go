package acl

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sspemu/sspemu/transport"
)

// A message is its length in four bytes, big-endian, and so many bytes: the handshake,
// a plain text, and after it JSON.
const (
	header = 4
	// maxPayload bounds a message: the longest frame in hexadecimal, and what is around it.
	maxPayload = 2*transport.MaxFrame + 4096
)

// appendMessage encodes one message behind dst.
func appendMessage(dst, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	return append(dst, payload...)
}

var errTooLong = errors.New("acl: a message is longer than any can be")

// deadliner is what a connection has.
type deadliner interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// readMessage reads one message of at most most bytes into buf, which it may grow. It
// waits for its first byte as long as it takes, and then for the rest for stall.
func readMessage(c deadliner, buf []byte, most uint32) (payload []byte, err error) {
	var h [header]byte
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, h[:1]); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(stall)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, h[1:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(h[:])
	if n > most {
		return nil, fmt.Errorf("%w: %d bytes announced, %d allowed", errTooLong, n, most)
	}
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	payload = buf[:n]
	_, err = io.ReadFull(c, payload)
	return payload, err
}

// command is what the server sends.
type command struct {
	Data    string  `json:"data"`
	Request request `json:"request"`
	Timeout int64   `json:"timeout"` // ms
}

func (c command) limit() time.Duration {
	if c.Timeout == 0 {
		return usual
	}
	return time.Duration(min(c.Timeout, longest.Milliseconds())) * time.Millisecond
}

// fault is an error that goes into a response.
type fault struct {
	layer layer
	code  int
	text  string
}

type layer uint8

// Who an error is of (GPC_TEN_214): the SE Agent, the reader, the card. The server's
// own are never in what an SE Agent sends.
const (
	client layer = iota
	terminal
	card
)

func (f *fault) Error() string { return f.text }

// errViolation: the peer does not keep to the protocol; the connection ends.
var errViolation = errors.New("acl: the peer broke the order of command and response")

// decodeCommand reads a command. Its error is a *fault, or errViolation when it is
// a response.
func decodeCommand(payload []byte) (command, error) {
	bad := func(code int, text string) (command, error) { return command{}, &fault{client, code, text} }
	if !utf8.Valid(payload) {
		return bad(codeJSONParsing, "the message is not UTF-8")
	}
	var m struct {
		Data     *string         `json:"data"`
		Request  *request        `json:"request"`
		Timeout  *int64          `json:"timeout"`
		Response json.RawMessage `json:"response"`
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return bad(codeJSONParsing, err.Error())
	}
	if m.Response != nil && m.Request == nil {
		return command{}, errViolation
	}
	if m.Request == nil {
		return bad(codeInvalidRequest, "there is no key request")
	}
	c := command{Request: *m.Request}
	if m.Data != nil {
		c.Data = *m.Data
	}
	if m.Timeout != nil {
		c.Timeout = *m.Timeout
	}
	if c.Timeout < 0 {
		return bad(codeInvalidRequest, "timeout is negative")
	}
	return c, nil
}

// decodeHex reads hexadecimal data, which may have spaces.
func decodeHex(s string) ([]byte, error) {
	return hex.DecodeString(strings.ReplaceAll(s, " ", ""))
}

func encodeHex(p []byte) string { return strings.ToUpper(hex.EncodeToString(p)) }

// response is what the SE Agent sends; all keys are there always.
type response struct {
	Response     string `json:"response"`
	ServerCode   int    `json:"err_server_code"`
	ServerText   string `json:"err_server_description"`
	ClientCode   int    `json:"err_client_code"`
	ClientText   string `json:"client_description"`
	TerminalCode int    `json:"err_terminal_code"`
	TerminalText string `json:"terminal_description"`
	CardCode     int    `json:"err_card_code"`
	CardText     string `json:"err_card_description"`
}

// encodeResponse is the JSON of a response, or of the error f when there is one.
func encodeResponse(text string, f *fault) []byte {
	r := response{Response: text, ServerText: textOK, ClientText: textOK, TerminalText: textOK, CardText: textOK}
	if f != nil {
		r.Response = textKO
		switch f.layer {
		case client:
			r.ClientCode, r.ClientText = f.code, f.text
		case terminal:
			r.TerminalCode, r.TerminalText = f.code, f.text
		case card:
			r.CardCode, r.CardText = f.code, f.text
		}
	}
	p, _ := json.Marshal(r) // strings and numbers: it cannot fail
	return p
}

// decodeResponse reads a response; the error is errViolation when it is none.
func decodeResponse(payload []byte) (response, error) {
	var m struct {
		Response *string `json:"response"`
		response
	}
	if !utf8.Valid(payload) || json.Unmarshal(payload, &m) != nil || m.Response == nil {
		return response{}, errViolation
	}
	m.response.Response = *m.Response
	return m.response, nil
}

// err is what the response says went wrong; nil when nothing did.
func (r response) err() error {
	for _, e := range []struct {
		who  string
		code int
		text string
	}{
		{"Test Tool Agent", r.ServerCode, r.ServerText},
		{"SE Agent", r.ClientCode, r.ClientText},
		{"terminal", r.TerminalCode, r.TerminalText},
		{"card", r.CardCode, r.CardText},
	} {
		if e.code != codeSuccess {
			name := codeNames[e.code]
			if name == "" {
				name = "unknown code"
			}
			return fmt.Errorf("acl: error %d (%s) of the %s: %s", e.code, name, e.who, e.text)
		}
	}
	return nil
}

// appendNotification puts one HCI notification behind dst: its length in two bytes,
// then the octet of type and instruction, then its parameters.
func appendNotification(dst, hci []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(hci)))
	return append(dst, hci...)
}

// maxNotification is the longest that two bytes of length can express.
const maxNotification = math.MaxUint16
