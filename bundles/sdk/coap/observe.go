package coap

import (
	"bytes"
	"slices"

	"github.com/plgd-dev/go-coap/v3/message"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// observer is a relation of a client to a resource (RFC 7641 1.2). The request it
// began with is asked again for every notification.
type observer struct {
	r      *Request
	format Format // of all notifications (RFC 7641 4.2)

	recent [4]uint16 // message IDs of the latest notifications, to know a Reset
	sent   int
	count  int   // notifications since the last confirmable one, more at the beginning
	since  int64 // tick of it
	flight *flight

	dirty bool // has missed a notification and is in Server.dirty
	stale bool // has got one since flight began that was not confirmable, but should be
	gone  bool
}

// confirmEvery: every so manieth notification is confirmable.
func (r *resource) confirmEvery() int {
	if r.Confirm > 0 {
		return r.Confirm
	}
	return confirmEvery
}

// peer is what is kept of a client: only while it observes or owes an
// acknowledgement.
type peer struct {
	id        uint16 // latest message ID
	observers []*observer
	flights   []*flight
}

// peer is that of an endpoint, made if need be.
func (s *Server) peer(e endpoint) *peer {
	p := s.peers[e]
	if p == nil {
		p = &peer{id: random()}
		s.peers[e] = p
	}
	return p
}

// release forgets a peer about whom there is nothing left to know.
func (s *Server) release(e endpoint) {
	if p := s.peers[e]; p != nil && len(p.observers)+len(p.flights) == 0 {
		delete(s.peers, e)
	}
}

// observe enters the client of w.r in the list of observers, in place of one with
// the same token; nil when the list is full.
func (s *Server) observe(w *Response) *observer {
	r := w.r
	s.unobserve(r)
	if len(s.observers) >= MaxObservers {
		return nil
	}
	o := &observer{r: r, format: w.Format, since: sdk.Now()}
	o.count = len(s.observers) % r.resource.confirmEvery() // not all acknowledge the same notification
	if !w.later {                                          // a later response has a copy already
		o.r = r.keep()
	}
	p := s.peer(r.from)
	p.observers = append(p.observers, o)
	s.observers = append(s.observers, o)
	return o
}

// unobserve takes the client and token of r from the list.
func (s *Server) unobserve(r *Request) {
	if p := s.peers[r.from]; p != nil {
		for _, o := range p.observers {
			if o.r.token == r.token {
				s.remove(o)
				return
			}
		}
	}
}

// remove takes o from the list.
func (s *Server) remove(o *observer) {
	if o.gone {
		return
	}
	o.gone = true
	same := func(x *observer) bool { return x == o }
	s.observers = slices.DeleteFunc(s.observers, same)
	p := s.peers[o.r.from]
	p.observers = slices.DeleteFunc(p.observers, same)
	if o.flight != nil {
		s.land(o.flight)
	}
	s.release(o.r.from)
}

// observed tells whether there is an observer of path.
func (s *Server) observed(path string) bool {
	return slices.ContainsFunc(s.observers, func(o *observer) bool { return o.r.Path == path })
}

// Idle tells the observers of resources that are watched what has changed (sdk.WithIdle).
func (s *Server) Idle() {
	for _, res := range s.watched {
		if !s.observed(res.path) {
			res.last = nil
			continue
		}
		now := res.Watch()
		if res.last != nil && !bytes.Equal(now, res.last) {
			s.Notify(res.path)
		}
		if res.last = now; now == nil {
			res.last = []byte{}
		}
	}
}

// rebind gives the observers the resources that are there now. Those that have none
// any more are told, and are observers no longer.
func (s *Server) rebind() {
	for _, o := range slices.Clone(s.observers) {
		if res := s.lookup([]byte(o.r.Path)); res != nil && res.Get != nil && res.Observable {
			o.r.resource = res
			continue
		}
		w := new(Response)
		w.reset(s, o.r)
		w.o = o
		w.Fail(NotFound, "the resource was removed")
		_ = s.push(w, nil)
		s.remove(o)
	}
}

// Notify tells the observers of path that its representation changed: Get is asked
// once for each of them and the answer sent. One that cannot be sent now, because
// the terminal has to read first, is made up for by the state of then. May be
// called at any time, from a handler, a timer or a command.
func (s *Server) Notify(path string) {
	path = clean(path)
	if s.notifying { // Get of a resource changes another: after it
		for _, o := range s.observers {
			if o.r.Path == path {
				s.miss(o)
				s.again = true
			}
		}
		return
	}
	s.walk = s.walk[:0]
	for _, o := range s.observers {
		if o.r.Path == path {
			s.walk = append(s.walk, o)
		}
	}
	for _, o := range s.walk {
		if !o.gone && !o.dirty {
			s.notify(o, nil)
		}
	}
	s.catchUp()
}

// miss remembers that o has a notification to get.
func (s *Server) miss(o *observer) {
	if !o.dirty {
		o.dirty = true
		s.dirty = append(s.dirty, o)
	}
}

// catchUp sends what handlers announced while a notification was being made.
func (s *Server) catchUp() {
	if s.again && !s.notifying {
		s.again = false
		s.flush()
	}
}

// flush sends what was missed, oldest first, as far as there is credit.
func (s *Server) flush() {
	s.dirty, s.spare = s.spare[:0], s.dirty
	var blocked []uint32 // pipes
	for _, o := range s.spare {
		switch {
		case o.gone:
		case slices.Contains(blocked, o.r.from.pipe):
			s.dirty = append(s.dirty, o)
		default:
			o.dirty = false
			if s.notify(o, nil) == sdk.ErrNoCredit {
				blocked = append(blocked, o.r.from.pipe)
			}
		}
	}
	clear(s.spare)
}

// notify sends o the state of now; f is the confirmable notification that this one
// takes the place of because it was not acknowledged (RFC 7641 4.5.2).
func (s *Server) notify(o *observer, f *flight) error {
	s.notifying = true
	defer func() { s.notifying = false }()
	w := &s.note
	w.reset(s, o.r)
	w.o = o
	o.r.resource.Get(o.r, w)
	if w.slow {
		return nil
	}
	return s.push(w, f)
}

// push sends the notification w.
func (s *Server) push(w *Response, f *flight) error {
	o, now := w.o, sdk.Now()
	if o.gone {
		return nil
	}
	every := o.r.resource.confirmEvery()
	due := o.count+1 >= every || now-o.since >= confirmAtLeast
	con := f != nil || due && o.flight == nil
	typ := message.NonConfirmable
	if con {
		typ = message.Confirmable
	}
	id := s.nextID(o.r.from)
	b := s.compose(w, typ, id)
	err := s.transmit(o.r.from, b)
	last := class(w.Code) != 2
	switch {
	case o.gone: // the pipe is closed
		return err
	case f != nil:
		f.id, o.stale = id, false
	case err == sdk.ErrNoCredit:
		s.miss(o)
		return err
	case last:
	case con:
		o.flight = s.launch(&flight{to: o.r.from, id: id, o: o})
		o.count, o.since = 0, now
	default:
		o.count++
		o.stale = o.flight != nil && every == 1
	}
	o.recent[o.sent%len(o.recent)] = id
	o.sent++
	if last {
		s.remove(o)
	}
	return err
}

// sequence is the next number of the Observe option (RFC 7641 4.4). It follows the
// clock, so that it goes on growing when the bundle is started again.
func (s *Server) sequence() uint32 {
	s.seq = max(s.seq+1, sdk.Now())
	return uint32(s.seq & 0xFFFFFF)
}
