package coap

import (
	"runtime"
	"slices"
	"strings"

	"github.com/plgd-dev/go-coap/v3/message"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// Handler answers a request. Both are valid during the call.
type Handler func(r *Request, w *Response)

// Resource is what a server offers under a path. A method that has no handler is
// answered with 4.05.
type Resource struct {
	Get, Post, Put, Delete Handler

	// Formats are what the resource is answered in, the preferred one first; they
	// are its attribute ct. A client that accepts none of them gets 4.06. None:
	// whatever the handler says.
	Formats []Format
	// Takes are the formats of the payload of POST and PUT; others get 4.15. None:
	// the handler looks at them.
	Takes   []Format
	MaxBody int // octets of the payload; 0: MaxBody; more gets 4.13

	// Observable: clients may observe what Get gives. Get is then called without a
	// request of a client as well, after Server.Notify.
	Observable bool
	// Watch makes the resource observable and spares Notify: it is asked after every call
	// into the bundle while there are observers, and they are notified when it gives
	// something else than before.
	Watch   func() []byte
	Confirm int // every so manieth notification is confirmable; 0: 16

	RT, IF string // attributes rt and if, several with spaces between (RFC 6690 3)
	Title  string
	Hidden bool // is not listed in /.well-known/core
}

// resource is a Resource in its place.
type resource struct {
	Resource
	path string
	last []byte // what Watch gave; nil: nobody observed
}

// Server is an sdk.Gate for the UDP gate that serves resources.
type Server struct {
	resources map[string]*resource
	listed    []*resource // in /.well-known/core, in the order of Handle
	watched   []*resource

	pipes   map[uint32]uint32 // open ones, with the number of their session
	session uint32            // latest

	reads, writes history
	transfers     transfers
	peers         map[endpoint]*peer
	flights       []*flight // oldest first; some done
	separate      int       // of them, without an observer
	timer         *sdk.Timer
	due           int64 // tick at which timer runs

	observers []*observer // oldest first
	dirty     []*observer
	notifying bool // Get is making a notification
	again     bool // and another one was announced meanwhile
	seq       int64
	id        uint16 // latest message ID to a peer that is not kept

	// Used again for every message.
	req         Request
	resp, note  Response
	path        []byte
	space, opts message.Options
	digits      []byte
	walk, spare []*observer
	chunk       [1 << (maxSZX + 4)]byte
	out         [2048]byte // peer, then a message
}

// New is a server without resources but /.well-known/core.
func New() *Server {
	s := &Server{
		resources: map[string]*resource{},
		pipes:     map[uint32]uint32{},
		peers:     map[endpoint]*peer{},
		reads:     history{size: maxReads},
		writes:    history{size: maxWrites},
		space:     make(message.Options, 0, maxOptions),
	}
	s.timer = sdk.NewTimer(s.retransmit)
	s.Handle(wellKnown, Resource{Get: s.links, Formats: []Format{LinkFormat}, Hidden: true})
	return s
}

// clean is a path without the slash in front.
func clean(path string) string { return strings.TrimPrefix(path, "/") }

// Handle adds a resource, in place of one with the same path. A path that ends in
// "/" is that of everything below which has no resource of its own; "" is the root
// itself. It panics when a segment is longer than 255 octets: that is an error of
// the program.
func (s *Server) Handle(path string, r Resource) {
	path = clean(path)
	for _, segment := range strings.Split(path, "/") {
		if len(segment) > 255 {
			panic("coap: a segment of a path has at most 255 octets")
		}
	}
	r.Observable = r.Observable || r.Watch != nil
	res := &resource{Resource: r, path: path}
	s.resources[path] = res
	i := slices.IndexFunc(s.listed, func(x *resource) bool { return x.path == path })
	switch {
	case i >= 0 && r.Hidden:
		s.listed = slices.Delete(s.listed, i, i+1)
	case i >= 0:
		s.listed[i] = res
	case !r.Hidden:
		s.listed = append(s.listed, res)
	}
	s.watched = slices.DeleteFunc(s.watched, func(x *resource) bool { return x.path == path })
	if r.Watch != nil {
		s.watched = append(s.watched, res)
	}
	s.rebind()
}

// Remove takes a resource away; its observers are told 4.04.
func (s *Server) Remove(path string) {
	path = clean(path)
	res := s.resources[path]
	delete(s.resources, path)
	s.listed = slices.DeleteFunc(s.listed, func(x *resource) bool { return x == res })
	s.watched = slices.DeleteFunc(s.watched, func(x *resource) bool { return x == res })
	s.rebind()
}

// Message is that of sdk.Gate.
func (s *Server) Message(pipe uint32, instruction byte, data []byte) error {
	err := s.message(pipe, instruction, data)
	s.catchUp()
	runtime.Gosched() // lets the collector of a guest work
	return err
}

func (s *Server) message(pipe uint32, instruction byte, data []byte) error {
	switch instruction {
	case sdk.Opened:
		s.close(pipe)
		if s.session++; s.session == 1 {
			s.id = random()
		}
		s.pipes[pipe] = s.session
	case sdk.Closed:
		s.close(pipe)
	case sdk.Credit:
		s.flush()
	case sdk.Data:
		session, ok := s.pipes[pipe]
		if !ok || len(data) < sdk.PeerLength {
			return sdk.ErrIllegalParameter
		}
		from := endpoint{pipe: pipe, session: session, addr: [sdk.PeerLength]byte(data)}
		s.datagram(from, data[sdk.PeerLength:])
	default:
		return sdk.ErrIllegalParameter
	}
	return nil
}

// close forgets the peers of a pipe.
func (s *Server) close(pipe uint32) {
	if _, ok := s.pipes[pipe]; !ok {
		return
	}
	delete(s.pipes, pipe)
	s.reads.forget(pipe)
	s.writes.forget(pipe)
	s.transfers.forget(pipe)
	for e, p := range s.peers {
		if e.pipe != pipe {
			continue
		}
		for len(p.observers) > 0 {
			s.remove(p.observers[0])
		}
		for len(p.flights) > 0 {
			s.land(p.flights[0])
		}
	}
}

// datagram takes what a peer sent (RFC 7252 4.2, 4.3). What is not CoAP version 1
// is ignored, what is malformed rejected: with a Reset if it is confirmable.
func (s *Server) datagram(from endpoint, b []byte) {
	if len(b) < 4 || b[0]>>6 != 1 {
		return
	}
	typ, n, code := message.Type(b[0]>>4&3), int(b[0]&15), Code(b[1])
	id := uint16(b[2])<<8 | uint16(b[3])
	if typ == message.Acknowledgement || typ == message.Reset {
		if code == 0 && len(b) == 4 {
			s.acknowledged(from, id, typ == message.Reset)
		}
		return
	}
	con := typ == message.Confirmable
	if class(code) != 0 || code == 0 || n > message.MaxTokenSize || len(b) < 4+n {
		s.reject(from, con, id)
		return
	}
	h, now := &s.writes, sdk.Now()
	if code == GET {
		h = &s.reads
	}
	if old := h.find(messageID{from, id}, now); old != nil {
		_ = s.transmit(from, old.answer)
		return
	}
	r := &s.req
	*r = Request{Method: code, Peer: from.addr, from: from, con: con, id: id}
	r.token.n = uint8(copy(r.token.b[:], b[4:4+n]))
	err := r.decode(b[4+n:], s.space)
	if err == errFormat {
		s.reject(from, con, id)
		return
	}
	slot := h.add(messageID{from, id}, now)
	w := &s.resp
	w.reset(s, r)
	if err == nil {
		s.serve(r, w)
	} else {
		w.Fail(BadOption, err.Error())
	}
	switch {
	case w.slow && con:
		b = s.empty(message.Acknowledgement, id)
	case w.slow:
		return
	case con:
		b = s.compose(w, message.Acknowledgement, id)
	case err != nil: // RFC 7252 5.4.1
		b = s.empty(message.Reset, id)
	default:
		b = s.compose(w, message.NonConfirmable, s.nextID(from))
	}
	if con {
		slot.answer = append(slot.answer, b...)
	}
	_ = s.transmit(from, b) // without credit the datagram is lost, as a network may lose it
}

// reject answers what cannot be processed.
func (s *Server) reject(from endpoint, con bool, id uint16) {
	if con {
		_ = s.transmit(from, s.empty(message.Reset, id))
	}
}

// serve makes w the answer to r.
func (s *Server) serve(r *Request, w *Response) {
	if r.has(message.ProxyURI) || r.has(message.ProxyScheme) {
		w.Fail(ProxyingNotSupported, "this is no proxy")
		return
	}
	if r.block1.szx == 7 || r.block2.szx == 7 { // reserved: RFC 7959 2.2
		w.Fail(BadRequest, "block size 7 is reserved")
		return
	}
	res := s.find(r)
	if res == nil {
		w.Fail(NotFound, "no such resource")
		return
	}
	r.resource = res
	var h Handler
	switch r.Method {
	case GET:
		h = res.Get
	case POST:
		h = res.Post
	case PUT:
		h = res.Put
	case DELETE:
		h = res.Delete
	}
	switch {
	case h == nil:
		w.Fail(MethodNotAllowed, "the resource has no such method")
		return
	case r.Accept != NoFormat && len(res.Formats) > 0 && !slices.Contains(res.Formats, r.Accept):
		w.Fail(NotAcceptable, "the resource has no such format")
		return
	case (r.Method == POST || r.Method == PUT) && r.Format != NoFormat && len(res.Takes) > 0 && !slices.Contains(res.Takes, r.Format):
		w.Fail(UnsupportedContentFormat, "the resource takes no such format")
		return
	}
	if r.cancel {
		s.unobserve(r)
	}
	if !s.collect(r, w) || s.resume(r, w) {
		return
	}
	if !s.current(r) {
		w.Fail(PreconditionFailed, "If-Match or If-None-Match does not hold")
		return
	}
	h(r, w)
}

// find is the resource of r; it sets r.Path.
func (s *Server) find(r *Request) *resource {
	p := s.path[:0]
	for i, o := range r.opts {
		if o.ID != message.URIPath {
			continue
		}
		if slices.Contains(o.Value, '/') { // no resource has such a segment
			return nil
		}
		if i > 0 && r.opts[i-1].ID == message.URIPath {
			p = append(p, '/')
		}
		p = append(p, o.Value...)
	}
	s.path = p
	res := s.lookup(p)
	if res != nil {
		if r.Path = res.path; len(p) != len(res.path) {
			r.Path = string(p)
		}
	}
	return res
}

// lookup is the resource with that path, or else that of everything below the
// beginning of it; nil: there is none.
func (s *Server) lookup(path []byte) *resource {
	if res := s.resources[string(path)]; res != nil {
		return res
	}
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			if res := s.resources[string(path[:i+1])]; res != nil {
				return res
			}
		}
	}
	return nil
}
