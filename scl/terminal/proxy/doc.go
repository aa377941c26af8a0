// Package proxy opens the services of the active bundle to ordinary clients, at the
// terminal's end of a link.
//
//	curl, browser ── TCP ── HTTP ── terminal.HTTP ────────┐
//	                                                     ├─ terminal.Terminal ══ link ══ active SPB
//	coap-client ──── UDP ── CoAP ── terminal.Datagrams ───┘
//
// Nothing is answered on the bundle's behalf, except that it cannot be reached.
//
// Sources: RFC 9110, 9112 and 9457 for HTTP; RFC 7252, 7641 and 7959 for CoAP.
package proxy
