package coap

import (
	"github.com/sspemu/sspemu/bundles/sdk/face"
)

// statePath is the resource of what changes about a bundle.
const statePath = "state"

// Face adds the description of a bundle, as CBOR or JSON: all of it at the root,
// and its PINs and counters at /state, which can be observed. describe gives it as
// it is now; what it tells everybody may know.
func (s *Server) Face(describe func() face.Description) {
	state := func() face.Description {
		d := describe()
		return face.Description{Name: d.Name, PINs: d.PINs, Counters: d.Counters}
	}
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
	s.Handle(statePath, Resource{Title: "PINs and counters", Formats: formats, Get: answer(state), Watch: func() []byte { return state().CBOR() }})
}
