package tlspsk

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"slices"
)

// Types of handshake messages (RFC 5246 7.4).
const (
	helloRequest      byte = 0
	clientHello       byte = 1
	serverHello       byte = 2
	serverKeyExchange byte = 12
	serverHelloDone   byte = 14
	clientKeyExchange byte = 16
	finished          byte = 20
)

// Extensions.
const (
	extFragment      uint16 = 1      // RFC 6066 4
	extMaster        uint16 = 23     // RFC 7627 5.1
	extRenegotiation uint16 = 0xFF01 // RFC 5746 3.2
)

// maxMessage is how long a handshake message may be (chosen): a client hello of a large
// library has a few hundred octets.
const maxMessage = 8 << 10

// maxIdentity is the longest identity (RFC 4279 5.3 asks for 128).
const maxIdentity = 128

// state of a handshake: what is awaited.
type state byte

const (
	awaitClientHello state = iota
	awaitServerHello
	awaitServerDone // or a ServerKeyExchange before it
	awaitKeyExchange
	awaitChange
	awaitFinished
	established
	over
)

// Conn is one end of a connection. Not safe for use by several goroutines.
type Conn struct {
	c       Config
	server  bool
	state   state
	err     error // why it is over, nil: closed
	in      []byte
	message []byte // of the handshake, in parts
	out     []byte
	plain   []byte

	random   [2][]byte // of client and server
	suite    uint16
	extended bool // extended master secret
	hinted   bool
	fragment int // longest one, either way
	identity []byte
	master   []byte
	log      []byte // the messages of the handshake
	read     protection
	write    protection
	next     protection // of what is sent after ChangeCipherSpec
	nextRead protection
}

// Client is an end that begins: Output has its first message.
func Client(c Config) *Conn {
	x := &Conn{c: c, state: awaitServerHello, fragment: maxPlain}
	x.random[0] = x.nonce()
	b := append([]byte{version >> 8, version & 0xFF}, x.random[0]...)
	b = append(b, 0) // no session to resume
	suites := []byte{}
	for _, s := range append(slices.Clone(x.suites()), scsv) {
		suites = binary.BigEndian.AppendUint16(suites, s)
	}
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(suites))), suites...)
	b = append(b, 1, 0) // no compression
	ext := extension(nil, extMaster, nil)
	if n := fragmentCode(c.Fragment); n > 0 {
		ext = extension(ext, extFragment, []byte{n})
	}
	x.say(clientHello, append(binary.BigEndian.AppendUint16(b, uint16(len(ext))), ext...))
	return x
}

// Server is an end that waits for a client.
func Server(c Config) *Conn { return &Conn{c: c, server: true, fragment: maxPlain} }

func (c *Conn) suites() []uint16 {
	if c.c.Suites == nil {
		return Default
	}
	return c.c.Suites
}

func (c *Conn) nonce() []byte {
	b := make([]byte, 32)
	c.c.Random(b)
	return b
}

// fragmentCode is how a length is asked for (RFC 6066 4), 0 for none that there is.
func fragmentCode(n int) byte {
	return map[int]byte{512: 1, 1024: 2, 2048: 3, 4096: 4}[n]
}

func extension(b []byte, typ uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, typ)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(value))), value...)
}

// Established tells whether the handshake is done and the session open.
func (c *Conn) Established() bool { return c.state == established }

// Over tells whether the session has ended; the error says why, nil: it was closed.
func (c *Conn) Over() (bool, error) { return c.state == over, c.err }

// Suite is the cipher suite, 0 before there is one.
func (c *Conn) Suite() uint16 { return c.suite }

// Identity is that of the client, once it is known.
func (c *Conn) Identity() []byte { return c.identity }

// Output is what has to go to the peer; it is taken.
func (c *Conn) Output() []byte {
	b := c.out
	c.out = nil
	return b
}

// Read is what the peer has said; it is taken.
func (c *Conn) Read() []byte {
	b := c.plain
	c.plain = nil
	return b
}

// Write says something: Output has it afterwards.
func (c *Conn) Write(b []byte) error {
	if c.state != established {
		return ErrState
	}
	c.record(applicationData, b)
	return nil
}

// Close ends the session (RFC 5246 7.2.1).
func (c *Conn) Close() {
	if c.state != over {
		c.alert(1, closeNotify)
		c.state = over
	}
}

// Feed takes octets of the peer. An error is fatal; Output then has the alert for it.
func (c *Conn) Feed(b []byte) error {
	if c.state == over {
		if c.err == nil {
			return ErrClosed
		}
		return c.err
	}
	c.in = append(c.in, b...)
	for len(c.in) >= 5 && c.state != over {
		typ, n := c.in[0], int(binary.BigEndian.Uint16(c.in[3:]))
		switch {
		case c.in[1] != version>>8, c.suite != 0 && c.in[2] != version&0xFF:
			return c.fail(ProtocolVersion)
		case n > maxCipher:
			return c.fail(RecordOverflow)
		}
		if len(c.in) < 5+n {
			return nil
		}
		plain, ok := c.read.open(typ, c.in[5:5+n])
		switch {
		case !ok:
			return c.fail(BadRecordMAC)
		case len(plain) > c.fragment:
			return c.fail(RecordOverflow)
		}
		c.in = c.in[5+n:]
		if err := c.take(typ, plain); err != nil {
			return err
		}
	}
	c.in = append([]byte(nil), c.in...)
	return nil
}

func (c *Conn) fail(a Alert) error {
	c.alert(2, a)
	c.state, c.err, c.in = over, &Error{Alert: a}, nil
	return c.err
}

func (c *Conn) alert(level byte, a Alert) { c.record(alertRecord, []byte{level, byte(a)}) }

// record adds records to what is sent.
func (c *Conn) record(typ byte, b []byte) {
	for {
		n := min(len(b), c.fragment)
		f := c.write.seal(typ, b[:n], c.c.Random)
		c.out = append(c.out, typ, version>>8, version&0xFF, byte(len(f)>>8), byte(len(f)))
		c.out = append(c.out, f...)
		if b = b[n:]; len(b) == 0 {
			return
		}
	}
}

// take is one record.
func (c *Conn) take(typ byte, b []byte) error {
	if len(c.message) > 0 && typ != handshake {
		return c.fail(UnexpectedMessage) // a message in parts, and something between
	}
	switch typ {
	case alertRecord:
		if len(b) != 2 {
			return c.fail(DecodeError)
		}
		switch {
		case Alert(b[1]) == closeNotify:
			c.Close()
		case b[0] != 1:
			c.state, c.err = over, &Error{Alert(b[1]), true}
			return c.err
		}
		return nil
	case changeCipherSpec:
		if c.state != awaitChange || len(b) != 1 || b[0] != 1 {
			return c.fail(UnexpectedMessage)
		}
		c.read, c.state = c.nextRead, awaitFinished
		return nil
	case applicationData:
		if c.state != established {
			return c.fail(UnexpectedMessage)
		}
		c.plain = append(c.plain, b...)
		return nil
	case handshake:
		if len(b) == 0 {
			return c.fail(UnexpectedMessage) // 6.2.1
		}
		c.message = append(c.message, b...)
		for len(c.message) >= 4 && c.state != over {
			n := int(c.message[1])<<16 | int(c.message[2])<<8 | int(c.message[3])
			if n > maxMessage {
				return c.fail(IllegalParameter)
			}
			if len(c.message) < 4+n {
				return nil
			}
			whole := c.message[:4+n]
			c.message = c.message[4+n:]
			if err := c.heard(whole[0], whole[4:], whole); err != nil {
				return err
			}
		}
		c.message = append([]byte(nil), c.message...)
		return nil
	}
	return c.fail(UnexpectedMessage)
}

// say sends a handshake message.
func (c *Conn) say(typ byte, body []byte) {
	b := append([]byte{typ, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	c.log = append(c.log, b...)
	c.record(handshake, b)
}

// heard is a handshake message of the peer.
func (c *Conn) heard(typ byte, body, whole []byte) error {
	if c.state == established { // nothing is negotiated again
		if typ == helloRequest && !c.server || typ == clientHello && c.server {
			c.alert(1, noRenegotiation)
			return nil
		}
		return c.fail(UnexpectedMessage)
	}
	if typ == finished && c.state == awaitFinished {
		return c.finish(body, whole)
	}
	if typ == helloRequest && !c.server {
		return nil // in the middle of a handshake it is passed over (7.4.1.1)
	}
	c.log = append(c.log, whole...)
	r := &reader{b: body}
	switch {
	case typ == clientHello && c.state == awaitClientHello:
		return c.clientHello(r)
	case typ == serverHello && c.state == awaitServerHello:
		return c.serverHello(r)
	case typ == serverKeyExchange && c.state == awaitServerDone && !c.hinted:
		c.hinted = true // a hint: there is one identity to give
		if r.vector(2); !r.end() {
			return c.fail(DecodeError)
		}
		return nil
	case typ == serverHelloDone && c.state == awaitServerDone:
		if !r.end() {
			return c.fail(DecodeError)
		}
		return c.exchange()
	case typ == clientKeyExchange && c.state == awaitKeyExchange:
		return c.keyExchange(r)
	}
	return c.fail(UnexpectedMessage)
}

// clientHello answers with everything the server says at once.
func (c *Conn) clientHello(r *reader) error {
	if v := r.number(2); r.bad {
		return c.fail(DecodeError)
	} else if v < version {
		return c.fail(ProtocolVersion)
	}
	c.random[0] = r.take(32)
	session := r.vector(1)
	suites, methods := r.vector(2), r.vector(1)
	var ext *reader
	if !r.end() {
		ext = &reader{b: r.vector(2)}
	}
	if r.bad || !r.end() || len(session) > 32 || len(suites)%2 != 0 {
		return c.fail(DecodeError)
	}
	if !slices.Contains(methods, 0) {
		return c.fail(IllegalParameter)
	}
	secure := false
	for i := 0; i < len(suites); i += 2 {
		secure = secure || binary.BigEndian.Uint16(suites[i:]) == scsv
	}
	fragment := byte(0)
	if a, ok := c.extensions(ext, func(typ uint16, v []byte) Alert {
		switch typ {
		case extMaster:
			c.extended = true
		case extRenegotiation:
			if secure = true; len(v) != 1 || v[0] != 0 {
				return HandshakeFailure
			}
		case extFragment:
			if len(v) != 1 || v[0] < 1 || v[0] > 4 {
				return IllegalParameter
			}
			fragment = v[0]
		}
		return 0
	}); !ok {
		return c.fail(a)
	}
	for _, s := range c.suites() {
		for i := 0; i < len(suites) && c.suite == 0; i += 2 {
			if binary.BigEndian.Uint16(suites[i:]) == s {
				c.suite = s
			}
		}
	}
	if c.suite == 0 {
		return c.fail(HandshakeFailure)
	}
	c.random[1] = c.nonce()
	b := append([]byte{version >> 8, version & 0xFF}, c.random[1]...)
	b = append(b, 0, byte(c.suite>>8), byte(c.suite), 0)
	var out []byte
	if c.extended {
		out = extension(out, extMaster, nil)
	}
	if secure {
		out = extension(out, extRenegotiation, []byte{0})
	}
	if fragment > 0 {
		c.fragment = 256 << fragment
		out = extension(out, extFragment, []byte{fragment})
	}
	if len(out) > 0 {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(out))), out...)
	}
	c.say(serverHello, b)
	c.say(serverHelloDone, nil)
	c.state = awaitKeyExchange
	return nil
}

// extensions hands each one to f; none twice.
func (c *Conn) extensions(r *reader, f func(typ uint16, v []byte) Alert) (Alert, bool) {
	if r == nil {
		return 0, true
	}
	seen := map[uint16]bool{}
	for !r.end() {
		typ := uint16(r.number(2))
		v := r.vector(2)
		if r.bad || seen[typ] {
			return DecodeError, false
		}
		seen[typ] = true
		if a := f(typ, v); a != 0 {
			return a, false
		}
	}
	return 0, true
}

func (c *Conn) serverHello(r *reader) error {
	if v := r.number(2); r.bad {
		return c.fail(DecodeError)
	} else if v != version {
		return c.fail(ProtocolVersion)
	}
	c.random[1] = r.take(32)
	session := r.vector(1)
	suite, method := uint16(r.number(2)), r.number(1)
	var ext *reader
	if !r.end() {
		ext = &reader{b: r.vector(2)}
	}
	if r.bad || !r.end() || len(session) > 32 {
		return c.fail(DecodeError)
	}
	if method != 0 || !slices.Contains(c.suites(), suite) {
		return c.fail(IllegalParameter)
	}
	if a, ok := c.extensions(ext, func(typ uint16, v []byte) Alert {
		switch typ {
		case extMaster:
			c.extended = true
		case extRenegotiation:
			if len(v) != 1 || v[0] != 0 {
				return HandshakeFailure
			}
		case extFragment:
			if n := fragmentCode(c.c.Fragment); len(v) != 1 || v[0] != n || n == 0 {
				return IllegalParameter
			}
			c.fragment = c.c.Fragment
		default:
			return UnsupportedExtension // it was not asked for
		}
		return 0
	}); !ok {
		return c.fail(a)
	}
	c.suite, c.state = suite, awaitServerDone
	return nil
}

// exchange is what the client says after the server.
func (c *Conn) exchange() error {
	if len(c.c.Identity) > maxIdentity || len(c.c.Key) == 0 {
		return c.fail(InternalError)
	}
	c.identity = c.c.Identity
	c.say(clientKeyExchange, append([]byte{byte(len(c.identity) >> 8), byte(len(c.identity))}, c.identity...))
	if err := c.keys(c.c.Key); err != nil {
		return err
	}
	c.change("client finished")
	c.state = awaitChange
	return nil
}

func (c *Conn) keyExchange(r *reader) error {
	c.identity = append([]byte{}, r.vector(2)...)
	if r.bad || !r.end() || len(c.identity) > maxIdentity {
		return c.fail(DecodeError)
	}
	key := c.c.Lookup(c.identity)
	if len(key) == 0 {
		return c.fail(UnknownIdentity)
	}
	if err := c.keys(key); err != nil {
		return err
	}
	c.state = awaitChange
	return nil
}

func (c *Conn) transcript() []byte {
	h := sha256.Sum256(c.log)
	return h[:]
}

// keys derives what protects the records (RFC 5246 8.1, 6.3; RFC 7627 4).
func (c *Conn) keys(key []byte) error {
	pre := premaster(key)
	if c.extended {
		c.master = prf(48, pre, "extended master secret", c.transcript())
	} else {
		c.master = prf(48, pre, "master secret", c.random[0], c.random[1])
	}
	m, k, s := sizes(c.suite)
	block := prf(2*(m+k+s), c.master, "key expansion", c.random[1], c.random[0])
	part := func(n int) []byte {
		p := block[:n:n]
		block = block[n:]
		return p
	}
	mac := [2][]byte{part(m), part(m)}
	cipher := [2][]byte{part(k), part(k)}
	salt := [2][]byte{part(s), part(s)}
	own := 0
	if c.server {
		own = 1
	}
	var err error
	if c.nextRead, err = protect(c.suite, mac[1-own], cipher[1-own], salt[1-own]); err != nil {
		return c.fail(InternalError)
	}
	if c.next, err = protect(c.suite, mac[own], cipher[own], salt[own]); err != nil {
		return c.fail(InternalError)
	}
	return nil
}

// change sends ChangeCipherSpec and Finished.
func (c *Conn) change(label string) {
	c.record(changeCipherSpec, []byte{1})
	c.write = c.next
	c.say(finished, prf(12, c.master, label, c.transcript()))
}

// finish verifies the Finished of the peer, and answers it as a server.
func (c *Conn) finish(body, whole []byte) error {
	label := "client finished"
	if !c.server {
		label = "server finished"
	}
	if subtle.ConstantTimeCompare(body, prf(12, c.master, label, c.transcript())) != 1 {
		return c.fail(DecryptError)
	}
	c.log = append(c.log, whole...)
	if c.server {
		c.change("server finished")
	}
	c.state, c.log = established, nil
	return nil
}

// reader takes a message apart; bad: it was too short.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) end() bool { return len(r.b) == 0 }

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return append([]byte{}, p...)
}

func (r *reader) number(n int) (x int) {
	for _, b := range r.take(n) {
		x = x<<8 | int(b)
	}
	return x
}

// vector is one with n octets of length in front.
func (r *reader) vector(n int) []byte { return r.take(r.number(n)) }
