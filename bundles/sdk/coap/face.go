package coap

import (
	"bytes"

	"github.com/sspemu/sspemu/bundles/sdk/face"
)

// statePath is the resource of what changes about a bundle.
const statePath = "state"

// faced is what Face needs later.
type faced struct {
	describe func() face.Description
	last     []byte // the state that observers were told
}

// Face adds the description of a bundle, as CBOR or JSON: all of it at the root,
// and its PINs and counters at /state, which can be observed. describe gives it as
// it is now; what it tells everybody may know.
func (s *Server) Face(describe func() face.Description) {
	s.face = faced{describe: describe}
	answer := func(describe func() face.Description) Handler {
		return func(r *Request, w *Response) {
			if d := describe(); r.Accept == JSON {
				w.Send(JSON, d.JSON())
			} else {
				w.Send(CBOR, d.CBOR())
			}
		}
	}
	formats := []Format{CBOR, JSON}
	s.Handle("", Resource{Title: "description", Formats: formats, Get: answer(describe)})
	s.Handle(statePath, Resource{Title: "PINs and counters", Formats: formats, Get: answer(s.state), Observable: true})
}

// state is the part of the description that changes.
func (s *Server) state() face.Description {
	d := s.face.describe()
	return face.Description{Name: d.Name, PINs: d.PINs, Counters: d.Counters}
}

// Idle tells the observers of /state when it has changed (sdk.WithIdle).
func (s *Server) Idle() {
	if s.face.describe == nil || !s.observed(statePath) {
		s.face.last = nil
		return
	}
	now := s.state().CBOR()
	if s.face.last != nil && !bytes.Equal(now, s.face.last) {
		s.Notify(statePath)
	}
	s.face.last = now
}
