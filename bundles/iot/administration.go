package iot

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

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
// Sources: TS 102 223 6.6.27 to 6.6.30; GlobalPlatform Card Specification Amendment B
// (GPC_SPE_011) 3.4.1 requests, 3.4.2 responses, 4.7 and tables 4-3 to 4-10 trigger. Its
// text was not at hand: headers, values and tags are those that public servers, tools and
// a recorded session of a card have (unverified).

// Headers and media types (Amendment B 3.4).
const (
	adminProtocol = "globalplatform-remote-admin/1.0"
	mediaScript   = "application/vnd.globalplatform.card-content-mgt;version=1.0"
	mediaResult   = "application/vnd.globalplatform.card-content-mgt-response;version=1.0"
)

// Values of X-Admin-Script-Status (3.4.1). With any but ok there is no result.
const (
	statusOK      = "ok"
	statusUnknown = "unknown-application"
	statusMemory  = "insufficient-memory" // chosen: the standard's others do not say it
)

// Tags of the trigger (4.7).
const (
	tagTrigger    tlv.Tag = 0x81
	tagParameters tlv.Tag = 0x83
	tagConnection tlv.Tag = 0x84 // objects of OPEN CHANNEL
	tagSecurity   tlv.Tag = 0x85 // identity of the pre-shared key and its number, each with its length
	tagPost       tlv.Tag = 0x89 // what requests say
	tagHost       tlv.Tag = 0x8A
	tagAgent      tlv.Tag = 0x8B
	tagURI        tlv.Tag = 0x8C
)

const (
	maxScript  = 8192 // octets of a script, and of its result
	maxVisits  = 64   // requests of one session: a server that never ends is left
	maxURI     = 512  // octets of a URI
	bufferSize = 1024 // octets that the terminal is asked to hold
)

// administration is a session under way.
type administration struct {
	d    *domain
	h    profile.HTTPS
	tls  *tlspsk.Conn
	in   []byte // of the response that comes
	out  []byte // for SEND DATA
	uri  string
	open bool
	ch   byte // the channel, 1 to 7
	more int  // octets that the terminal holds
	over bool // CLOSE CHANNEL is next
	n    int  // requests so far
	why  error

	scripts int
}

// parameters are what a trigger says; what it does not say is the persona's.
type parameters struct {
	connection, identity, host, agent, uri []byte
	bad                                    bool
}

// trigger reads a trigger: whether data is one, and what it says. The retry policy (86) is
// passed over: nothing is repeated here.
func trigger(data []byte) (p parameters, ok bool) {
	tag, value, rest, err := tlv.Next(data)
	if err != nil || tag != tagTrigger || len(rest) > 0 || data[0] == 0 { // with filling it is a compact script
		return p, false
	}
	find := func(b []byte, tag tlv.Tag) []byte {
		v, err := tlv.Find(b, tag)
		p.bad = p.bad || err != nil && !errors.Is(err, tlv.ErrNotFound)
		return v
	}
	all := find(value, tagParameters)
	p.connection = find(all, tagConnection)
	post := find(all, tagPost)
	p.host, p.agent, p.uri = find(post, tagHost), find(post, tagAgent), find(post, tagURI)
	if b := find(all, tagSecurity); len(b) > 0 {
		if n := int(b[0]); n < len(b) {
			p.identity = b[1 : 1+n]
		} else {
			p.bad = true
		}
	}
	p.bad = p.bad || !line(p.host) || !line(p.agent) || len(p.uri) > 0 && !path(p.uri)
	return p, true
}

// line tells whether b can be the value of a header.
func line[T string | []byte](b T) bool {
	for i := range len(b) {
		if b[i] < ' ' || b[i] > '~' {
			return false
		}
	}
	return len(b) <= maxURI
}

// path tells whether b can be what a request is for.
func path[T string | []byte](b T) bool {
	for i := range len(b) {
		if b[i] == ' ' {
			return false
		}
	}
	return line(b) && len(b) > 0 && b[0] == '/'
}

// visit begins a session; false while there is one.
func (c *Card) visit(d *domain, p parameters) bool {
	if c.admin != nil || len(c.proactive) >= maxProactive-1 {
		return false
	}
	h := *d.HTTPS
	for to, v := range map[*string][]byte{&h.Host: p.host, &h.Agent: p.agent, &h.URI: p.uri} {
		if len(v) > 0 {
			*to = string(v)
		}
	}
	identity, key := c.profile.AdministrationKey(d.Domain)
	c.admin = &administration{d: d, h: h, uri: h.URI, tls: tlspsk.Client(tlspsk.Config{
		Random: sdk.Random, Suites: h.Suites, Identity: identity, Key: key,
	})}
	objects := cat.Object(nil, cat.TagBearer, cat.DefaultBearer)
	objects = cat.Object(objects, cat.TagBufferSize, bufferSize>>8, bufferSize&0xFF)
	transport, address := cat.Find(p.connection, cat.TagTransport), cat.Find(p.connection, cat.TagOtherAddress)
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
	if len(status) != 2 || status[0]&^7 != cat.Established || status[0]&7 == 0 || !succeeded(response) {
		c.admin.why = errors.New("the terminal opens no channel")
		c.left()
		return
	}
	c.admin.open, c.admin.ch = true, status[0]&7
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
		c.proactive = append(c.proactive, proactive{b: cat.Command(cat.SendData, cat.Immediately, cat.Channel|a.ch, cat.Object(nil, cat.TagChannelData, a.out[:n]...)), done: (*Card).sent})
		a.out = a.out[n:]
	case a.over:
		c.proactive = append(c.proactive, proactive{b: cat.Command(cat.CloseChannel, 0, cat.Channel|a.ch, nil), done: func(c *Card, _ []byte) { c.left() }})
	case a.more > 0:
		c.proactive = append(c.proactive, proactive{b: cat.Command(cat.ReceiveData, 0, cat.Channel|a.ch, cat.Object(nil, cat.TagDataLength, byte(min(a.more, cat.MaxData)))), done: (*Card).received})
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
		if s[0]&cat.Established != 0 || s[0]&7 != a.ch {
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
	}
	if status == statusOK {
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
	next := r.Header.Get("X-Admin-Next-URI")
	switch {
	case next != "" && !path(next):
		return false, errHTTP
	case next != "" && a.n >= maxVisits:
		return false, errVisit
	case r.StatusCode == http.StatusNoContent && next == "":
		a.end()
		return false, nil
	case r.StatusCode == http.StatusNoContent: // nothing to do, but the session goes on
		a.uri = next
		a.ask("", nil)
		return true, nil
	case r.StatusCode != http.StatusOK || r.Header.Get("X-Admin-Protocol") != adminProtocol || r.Header.Get("Content-Type") != mediaScript:
		return false, errHTTP
	}
	status, result := statusOK, []byte(nil)
	if !c.targeted(r.Header.Get("X-Admin-Targeted-Application")) {
		status = statusUnknown
	} else if b, ok := c.script(a.d, body, bearer{most: maxScript, secret: a.tls.Suite() != tlspsk.Null}); !ok {
		status = statusMemory // nothing of the script was done
	} else {
		result = b
	}
	a.scripts++
	sdk.Event("ota", []byte(a.d.Name+", HTTPS: a script of "+strconv.Itoa(len(body))+" octets, "+status))
	if next == "" { // nobody wants to know what came of it
		a.end()
		return false, nil
	}
	a.uri = next
	a.ask(status, result)
	return true, nil
}

// end closes a session as its server wants it.
func (a *administration) end() {
	a.over = true
	a.tls.Close()
}

// targeted tells whether a script is for what the domain administers: the applet, named
// //aid/RID/PIX, or nothing is named.
func (c *Card) targeted(name string) bool {
	if name == "" {
		return true
	}
	for _, aid := range c.profile.AIDs {
		if len(aid) > 5 && strings.EqualFold(name, "//aid/"+profile.Hex(aid[:5])+"/"+profile.Hex(aid[5:])) {
			return true
		}
	}
	return false
}

// left is the end of a session.
func (c *Card) left() {
	a := c.admin
	c.admin = nil
	how := "done, " + strconv.Itoa(a.scripts) + " scripts"
	if a.why != nil {
		how = a.why.Error()
	}
	sdk.Event("ota", []byte(a.d.Name+", HTTPS: "+how))
}

// triggered answers a packet that is a trigger.
func (c *Card) triggered(d *domain, p parameters) scp80.Status {
	switch {
	case d.HTTPS == nil || p.bad || len(p.identity) > 0 && string(p.identity) != d.HTTPS.Identity:
		return scp80.SecurityError
	case !c.visit(d, p):
		return scp80.MoreTime
	}
	return scp80.OK
}
