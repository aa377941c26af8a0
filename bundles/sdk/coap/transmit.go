package coap

import (
	"runtime"
	"slices"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// flight is a confirmable message of ours that waits for its acknowledgement (RFC
// 7252 4.2). That of an observer is made anew for every transmission.
type flight struct {
	to    endpoint
	id    uint16
	o     *observer
	msg   []byte // of a separate response
	wait  int64  // ticks from the last transmission to the next
	due   int64
	tries int // retransmissions so far
	done  bool
}

// random is a number for a first message ID or a time-out.
func random() uint16 {
	var b [2]byte
	sdk.Random(b[:])
	return uint16(b[0])<<8 | uint16(b[1])
}

// nextID is a message ID for a message of ours.
func (s *Server) nextID(e endpoint) uint16 {
	if p := s.peers[e]; p != nil {
		p.id++
		return p.id
	}
	s.id++
	return s.id
}

// transmit sends a datagram that compose or empty made.
func (s *Server) transmit(to endpoint, b []byte) error {
	if s.pipes[to.pipe] != to.session {
		return sdk.ErrUnknownHandle
	}
	if len(b) == 0 {
		return nil
	}
	n := copy(s.out[:], to.addr[:])
	n += copy(s.out[n:], b) // onto itself when compose made it
	err := sdk.Send(sdk.GateUDP, to.pipe, sdk.Data, s.out[:n])
	if err == sdk.ErrUnknownHandle {
		s.close(to.pipe)
	}
	return err
}

// empty is an Empty message: an acknowledgement or a Reset (RFC 7252 4.1).
func (s *Server) empty(typ message.Type, id uint16) []byte {
	return append(s.out[sdk.PeerLength:sdk.PeerLength], 0x40|byte(typ)<<4, 0, byte(id>>8), byte(id))
}

// launch keeps a message that was sent until it is acknowledged.
func (s *Server) launch(f *flight) *flight {
	f.wait = ackTimeout + int64(random())%(ackRandomSpread+1)
	f.due = sdk.Now() + f.wait
	p := s.peer(f.to)
	p.flights = append(p.flights, f)
	s.flights = append(s.flights, f)
	s.arm(f.due)
	return f
}

// land ends the waiting.
func (s *Server) land(f *flight) {
	f.done = true
	if f.o == nil {
		s.separate--
	} else {
		f.o.flight = nil
	}
	p := s.peers[f.to]
	p.flights = slices.DeleteFunc(p.flights, func(x *flight) bool { return x == f })
	s.release(f.to)
}

// arm sees to it that retransmit runs at tick due.
func (s *Server) arm(due int64) {
	if s.timer.Running() && s.due <= due {
		return
	}
	s.due = due
	s.timer.Start(due - sdk.Now())
}

// retransmit sends again what is due and gives up what was sent often enough: an
// observer that does not acknowledge is none any more (RFC 7641 4.5).
func (s *Server) retransmit() {
	now := sdk.Now()
	for i := 0; i < len(s.flights); i++ { // a handler may add some
		switch f := s.flights[i]; {
		case f.done || f.due > now:
		case f.tries == maxRetransmit && f.o != nil:
			s.remove(f.o)
		case f.tries == maxRetransmit:
			s.land(f)
		default:
			f.tries++
			f.wait *= 2
			f.due = now + f.wait
			if f.o != nil {
				_ = s.notify(f.o, f)
			} else {
				_ = s.transmit(f.to, f.msg)
			}
		}
	}
	s.flights = slices.DeleteFunc(s.flights, func(f *flight) bool { return f.done })
	for _, f := range s.flights {
		s.arm(f.due)
	}
	s.catchUp()
	runtime.Gosched()
}

// acknowledged takes an acknowledgement or a Reset.
func (s *Server) acknowledged(from endpoint, id uint16, reset bool) {
	p := s.peers[from]
	if p == nil {
		return
	}
	for _, f := range p.flights {
		if f.id != id {
			continue
		}
		o := f.o
		s.land(f)
		switch {
		case o == nil:
		case reset:
			s.remove(o)
		case o.stale:
			o.stale = false
			_ = s.notify(o, nil)
		}
		return
	}
	if !reset {
		return
	}
	for _, o := range p.observers {
		if slices.Contains(o.recent[:min(o.sent, len(o.recent))], id) {
			s.remove(o)
			return
		}
	}
}

// answerLater sends a separate response (RFC 7252 5.2.2).
func (s *Server) answerLater(w *Response) {
	if w.o != nil {
		_ = s.push(w, nil)
		return
	}
	r := w.r
	if s.pipes[r.from.pipe] != r.from.session {
		return
	}
	typ := message.NonConfirmable
	if r.con && s.separate < maxSeparate {
		typ = message.Confirmable
	}
	id := s.nextID(r.from)
	b := s.compose(w, typ, id)
	if typ == message.Confirmable {
		s.separate++
		s.launch(&flight{to: r.from, id: id, msg: slices.Clone(b)})
	}
	_ = s.transmit(r.from, b)
}

// compose makes the message of w, which is valid until the next one is made.
func (s *Server) compose(w *Response, typ message.Type, id uint16) []byte {
	s.settle(w)
	p, b := s.cut(w)
	m := message.Message{Token: w.r.token.b[:w.r.token.n], Code: w.Code, Payload: p, MessageID: int32(id), Type: typ}
	m.Options = s.options(w, b)
	n, err := coder.DefaultCoder.Encode(m, s.out[sdk.PeerLength:])
	if err != nil { // an option of the handler is too long
		sdk.Log(sdk.Fault, "coap: "+w.r.Path+": "+err.Error())
		w.Code, m.Code, m.Options, m.Payload = InternalServerError, InternalServerError, nil, nil
		n, _ = coder.DefaultCoder.Encode(m, s.out[sdk.PeerLength:])
	}
	return s.out[sdk.PeerLength : sdk.PeerLength+n]
}

// settle gives w its code, and makes it an error or 2.03 where it cannot be sent as
// it is.
func (s *Server) settle(w *Response) {
	r := w.r
	if w.Code == 0 {
		w.Code = Changed
		switch r.Method {
		case GET:
			w.Code = Content
		case DELETE:
			w.Code = Deleted
		}
	}
	switch c := class(w.Code); {
	case c != 2 && c != 4 && c != 5, len(w.ETag) > 8:
		sdk.Log(sdk.Fault, "coap: "+r.Path+": the handler's answer is not a response")
		w.Fail(InternalServerError, "")
	case w.o != nil && c == 2 && w.Format != w.o.format:
		w.Fail(NotAcceptable, "the format changed")
	case r.Method == GET && w.Code == Content && w.o == nil && r.knows(w):
		w.Code, w.Payload, w.src = Valid, nil, nil
	}
}

// knows tells whether the client named the entity-tag of w (RFC 7252 5.10.6.2).
func (r *Request) knows(w *Response) bool {
	for _, o := range r.opts {
		if o.ID == message.ETag && string(o.Value) == string(w.etag()) {
			return true
		}
	}
	return false
}

// options are the options of w, of which b is sent, in ascending order.
func (s *Server) options(w *Response, b block) message.Options {
	r := w.r
	ok := class(w.Code) == 2
	s.opts, s.digits = s.opts[:0], s.digits[:0]
	add := func(id message.OptionID, v []byte) { s.opts = append(s.opts, message.Option{ID: id, Value: v}) }
	number := func(id message.OptionID, v uint32) { // RFC 7252 3.2: as few octets as can be
		n := len(s.digits)
		for shift := 24; shift >= 0; shift -= 8 {
			if x := v >> shift; x > 0 {
				s.digits = append(s.digits, byte(x))
			}
		}
		add(id, s.digits[n:])
	}
	if ok && (w.ETag != nil || b.set && (b.more || b.num > 0) || w.Code == Valid) {
		if tag := w.etag(); len(tag) > 0 {
			add(message.ETag, tag)
		}
	}
	if ok && (w.o != nil || r.observes() && s.observe(w) != nil) {
		number(message.Observe, s.sequence())
	}
	for _, l := range w.Location {
		add(message.LocationPath, []byte(l))
	}
	if w.Format != NoFormat && w.Code != Valid {
		number(message.ContentFormat, uint32(w.Format))
	}
	if w.MaxAge != defaultMaxAge {
		number(message.MaxAge, w.MaxAge)
	}
	if b.set {
		number(message.Block2, b.value())
	}
	if r.block1.set {
		echo := r.block1
		echo.more = w.Code == codes.Continue
		number(message.Block1, echo.value())
	}
	if ok && (r.size2 || b.more && b.num == 0) {
		number(message.Size2, uint32(w.length()))
	}
	if w.size1 > 0 {
		number(message.Size1, uint32(w.size1))
	}
	return s.opts
}

// observes tells whether r asks to be told about changes and can be.
func (r *Request) observes() bool {
	return r.Observe && r.Method == GET && r.resource != nil && r.resource.Observable && r.block2.num == 0
}
