// Package coap is a CoAP server for a bundle: resources with handlers, served at
// the UDP gate.
//
//	coap-client ─UDP─> proxy ──> UDP gate ═══> sdk.Gate: Server ──> Resource.Get(Request, Response)
//	                             datagrams       │  message layer: acknowledgements, duplicates, retransmission
//	                             with the peer   │  block-wise transfer both ways
//	                                             └  observers, /.well-known/core
//
// A bundle makes one Server, adds resources and gives it to the platform:
//
//	func New() *App {
//		a := &App{coap: coap.New()}
//		a.coap.Handle("sensors/temperature", coap.Resource{
//			RT: "temperature", Formats: []coap.Format{coap.Text}, Observable: true,
//			Get: func(r *coap.Request, w *coap.Response) { w.Text(a.reading()) },
//		})
//		return a
//	}
//	func (a *App) Gates() sdk.Gates { return sdk.Gates{UDP: a.coap} }
//
// Server.Notify tells the observers of a resource that it changed. A handler that
// cannot answer at once says so with Response.Later.
//
// What arrives comes from anywhere: it never makes the server panic, and what the
// server remembers of peers is bounded by the constants of limits.go.
//
// Sources: RFC 7252 (CoAP), RFC 7959 (block-wise transfer), RFC 7641 (observe),
// RFC 6690 (link format), RFC 9175 3 (Request-Tag). The bytes of options and
// messages are the work of github.com/plgd-dev/go-coap/v3/message and udp/coder.
package coap
