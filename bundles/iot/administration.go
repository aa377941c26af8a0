package iot

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/cat"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlspsk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Administration over HTTP (SCP81): a secured packet tells the domain to visit its server.
// The card is the client of TLS with a pre-shared key; the terminal carries the octets
// (bearer independent protocol).
//
//	trigger ──> OPEN CHANNEL ──> SEND DATA ──> RECEIVE DATA ──> ... ──> CLOSE CHANNEL
//	              POST uri                       200: a script
//	              POST next-uri: its result      200: another one, or 204: the end
//
// There is one such session at a time, and it is not repeated when it fails: the server
// triggers another one. What a script does is stored with the command that brought its
// last octet.
//
// Sources: GlobalPlatform Card Specification Amendment B (headers, media types, trigger),
// recalled (unverified); TS 102 223 6.6.27 to 6.6.30.

// Headers and media types of Amendment B.
const (
	adminProtocol = "globalplatform-remote-admin/1.0"
	mediaScript   = "application/vnd.globalplatform.card-content-mgt;version=1.0"
	mediaResult   = "application/vnd.globalplatform.card-content-mgt-response;version=1.0"
)

// Tags of the trigger (Amendment B): connection parameters are objects of OPEN CHANNEL.
const (
	tagTrigger    tlv.Tag = 0x81
	tagConnection tlv.Tag = 0x84
)

const (
	maxScript  = 8192 // octets of a script, and of its result
	maxVisits  = 64   // requests of one session: a server that never ends is left
	bufferSize = 1024 // octets that the terminal is asked to hold
)

// administration is a session under way.
type administration struct {
	d    *domain
	h    *profile.HTTPS
	tls  *tlspsk.Conn
	in   []byte // of the response that comes
	out  []byte // for SEND DATA
	uri  string
	open bool
	more int  // octets that the terminal holds
	over bool // CLOSE CHANNEL is next
	n    int  // requests so far
	why  error
}

// trigger reads a trigger: whether data is one, and the connection that it wants.
func trigger(data []byte) (connection []byte, ok bool) {
	tag, value, rest, err := tlv.Next(data)
	if err != nil || tag != tagTrigger || len(rest) > 0 {
		return nil, false
	}
	connection, err = tlv.Find(value, tagConnection)
	return connection, err == nil || errors.Is(err, tlv.ErrNotFound)
}

// visit begins a session; false while there is one.
func (c *Card) visit(d *domain, connection []byte) bool {
	h := d.HTTPS
	if c.admin != nil || len(c.proactive) >= maxProactive-1 {
		return false
	}
	identity, key := c.profile.AdministrationKey(d.Domain)
	c.admin = &administration{d: d, h: h, uri: h.URI, tls: tlspsk.Client(tlspsk.Config{
		Random: sdk.Random, Suites: h.Suites, Identity: identity, Key: key,
	})}
	objects := cat.Object(nil, cat.TagBearer, cat.DefaultBearer)
	objects = cat.Object(objects, cat.TagBufferSize, bufferSize>>8, bufferSize&0xFF)
	transport, address := cat.Find(connection, cat.TagTransport), cat.Find(connection, cat.TagOtherAddress)
	if transport == nil {
		transport = []byte{cat.TCPClient, byte(h.Port >> 8), byte(h.Port)}
	}
	if address == nil {
		address = append([]byte{cat.IPv4}, h.Address[:]...)
	}
	objects = cat.Object(cat.Object(objects, cat.TagTransport, transport...), cat.TagOtherAddress, address...)
	c.proactive = append(c.proactive,
		proactive{b: cat.Command(cat.SetUpEventList, 0, cat.Terminal, cat.Object(nil, cat.TagEventList, cat.DataAvailable, cat.ChannelStatus))},
		proactive{b: cat.Command(cat.OpenChannel, cat.Immediately, cat.Terminal, objects), done: (*Card).opened})
	return true
}

// opened is the terminal's answer to OPEN CHANNEL.
func (c *Card) opened(response []byte) {
	status := cat.Find(response, cat.TagChannel)
	if len(status) != 2 || status[0] != cat.Established|1 || !succeeded(response) {
		c.admin.why = errors.New("the terminal opens no channel")
		c.left()
		return
	}
	c.admin.open = true
	c.advance()
}

// succeeded tells whether a terminal carried a command out.
func succeeded(response []byte) bool {
	r := cat.Find(response, cat.TagResult)
	return len(r) > 0 && r[0] < cat.UnableNow
}

// advance has the terminal do what comes next.
func (c *Card) advance() {
	a := c.admin
	a.out = append(a.out, a.tls.Output()...)
	switch {
	case !a.open:
	case len(a.out) > 0:
		n := min(len(a.out), cat.MaxData)
		c.proactive = append(c.proactive, proactive{b: cat.Command(cat.SendData, cat.Immediately, cat.Channel1, cat.Object(nil, cat.TagChannelData, a.out[:n]...)), done: (*Card).sent})
		a.out = a.out[n:]
	case a.over:
		c.proactive = append(c.proactive, proactive{b: cat.Command(cat.CloseChannel, 0, cat.Channel1, nil), done: func(c *Card, _ []byte) { c.left() }})
	case a.more > 0:
		c.proactive = append(c.proactive, proactive{b: cat.Command(cat.ReceiveData, 0, cat.Channel1, cat.Object(nil, cat.TagDataLength, byte(min(a.more, cat.MaxData)))), done: (*Card).received})
		a.more = 0
	}
}

// sent is the answer to SEND DATA.
func (c *Card) sent(response []byte) {
	if !succeeded(response) {
		c.broken("the terminal cannot send")
	}
	c.advance()
}

// received is the answer to RECEIVE DATA.
func (c *Card) received(response []byte) {
	if !succeeded(response) {
		c.broken("the terminal cannot receive")
		c.advance()
		return
	}
	if left := cat.Find(response, cat.TagDataLength); len(left) == 1 {
		c.admin.more = int(left[0])
	}
	c.heard(cat.Find(response, cat.TagChannelData))
	c.advance()
}

// broken ends a session whose channel is of no use any more.
func (c *Card) broken(why string) {
	a := c.admin
	a.tls.Output()
	if !a.over {
		a.why = errors.New(why)
	}
	a.over, a.out = true, nil
}

// event is an ENVELOPE with an event of the terminal. One that is about no session of ours
// is none of our business.
func (c *Card) event(data []byte) sdk.SW {
	_, b, rest, err := tlv.Next(data)
	if err != nil || len(rest) > 0 {
		return sdk.WrongData
	}
	what := cat.Find(b, cat.TagEventList)
	if len(what) != 1 {
		return sdk.WrongData
	}
	a := c.admin
	if a == nil || !a.open {
		return sdk.OK
	}
	idle := len(c.proactive) == 0
	switch what[0] {
	case cat.DataAvailable:
		n := cat.Find(b, cat.TagDataLength)
		if len(n) != 1 {
			return sdk.WrongData
		}
		a.more = int(n[0])
	case cat.ChannelStatus:
		s := cat.Find(b, cat.TagChannel)
		if len(s) != 2 {
			return sdk.WrongData
		}
		if s[0]&cat.Established != 0 {
			return sdk.OK
		}
		c.broken("the server has gone")
	default:
		return sdk.OK
	}
	if idle {
		c.advance()
	}
	return sdk.OK
}

// heard takes octets of the server.
func (c *Card) heard(b []byte) {
	a := c.admin
	if a.over || len(b) == 0 {
		return
	}
	err := a.tls.Feed(b)
	if err == nil && a.n == 0 && a.tls.Established() {
		a.ask("", nil)
	}
	a.in = append(a.in, a.tls.Read()...)
	for more := len(a.in) > 0; more && err == nil; {
		more, err = c.answer()
	}
	switch over, remote := a.tls.Over(); {
	case err != nil:
		a.why, a.over = err, true
		a.tls.Close()
	case over && !a.over:
		a.over = true
		if a.why = remote; remote == nil {
			a.why = errors.New("the server ended the session in the middle")
		}
	}
}

// ask sends a request: the first one without, the others with the result of a script.
func (a *administration) ask(status string, result []byte) {
	a.n++
	var b bytes.Buffer
	line := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
		}
		b.WriteString("\r\n")
	}
	line("POST ", a.uri, " HTTP/1.1")
	line("Host: ", a.h.Host)
	line("X-Admin-Protocol: ", adminProtocol)
	line("X-Admin-From: ", a.h.Agent)
	if status != "" {
		line("X-Admin-Script-Status: ", status)
		line("Content-Type: ", mediaResult)
	}
	line("Content-Length: ", strconv.Itoa(len(result)))
	line()
	b.Write(result)
	_ = a.tls.Write(b.Bytes()) // the session is established
}

// What ends a session with a server.
var (
	errHTTP  = errors.New("the server's answer is no answer of remote administration")
	errLong  = errors.New("the server's answer is longer than 8192 octets")
	errVisit = errors.New("the server never ends the session")
)

// answer takes a whole response of the server, if there is one: more tells that it did,
// and the session goes on.
func (c *Card) answer() (more bool, err error) {
	a := c.admin
	if len(a.in) > maxScript+4096 {
		return false, errLong
	}
	src := bytes.NewReader(a.in)
	br := bufio.NewReader(src)
	r, err := http.ReadResponse(br, nil)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	if err != nil || r.ContentLength < 0 && len(r.TransferEncoding) == 0 && r.StatusCode != http.StatusNoContent {
		return false, errHTTP
	}
	body, err := io.ReadAll(r.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	switch {
	case err != nil:
		return false, errHTTP
	case len(body) > maxScript:
		return false, errLong
	}
	a.in = bytes.Clone(a.in[len(a.in)-src.Len()-br.Buffered():])
	switch {
	case r.StatusCode == http.StatusNoContent:
		a.over = true
		a.tls.Close()
		return false, nil
	case r.StatusCode != http.StatusOK || r.Header.Get("X-Admin-Protocol") != adminProtocol || r.Header.Get("Content-Type") != mediaScript:
		return false, errHTTP
	case a.n >= maxVisits:
		return false, errVisit
	}
	if next := r.Header.Get("X-Admin-Next-URI"); next != "" {
		a.uri = next
	}
	result, ok := c.script(a.d, body, bearer{most: maxScript, secret: a.tls.Suite() != tlspsk.Null})
	if !ok { // the memory is full: nothing of the script was done
		a.ask("insufficient-memory", nil)
		return true, nil
	}
	sdk.Event("ota", []byte(a.d.Name+", HTTPS: a script of "+strconv.Itoa(len(body))+" octets"))
	a.ask("ok", result)
	return true, nil
}

// left is the end of a session.
func (c *Card) left() {
	a := c.admin
	c.admin = nil
	how := "done, " + strconv.Itoa(max(a.n-1, 0)) + " scripts"
	if a.why != nil {
		how = a.why.Error()
	}
	sdk.Event("ota", []byte(a.d.Name+", HTTPS: "+how))
}

// triggered answers a packet that is a trigger.
func (c *Card) triggered(d *domain, connection []byte) scp80.Status {
	switch {
	case d.HTTPS == nil:
		return scp80.SecurityError
	case !c.visit(d, connection):
		return scp80.MoreTime
	}
	return scp80.OK
}
