package mdl

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// Data retrieval over HTTP and CoAP, provisional: the text of a QR code, and session
// messages as they are.
const (
	pathEngagement = "mdl/engagement"
	pathSession    = "mdl/session"
	mediaCBOR      = "application/cbor"
	noSession      = "there is no session, and no engagement that this could begin one of: read /mdl/engagement"
	maxMessage     = 65535
)

// Link is the text of a QR code: mdoc: and the DeviceEngagement in base64url (8.2.2.3).
// The same one is told until a session begins with it.
func (c *Card) link() (string, error) {
	if c.qr == nil {
		e, err := c.offer(false)
		if err != nil {
			return "", err
		}
		c.qr = e
	}
	return "mdoc:" + base64.RawURLEncoding.EncodeToString(c.qr.device), nil
}

// HTTP adds the resources of data retrieval to a mux.
func (c *Card) HTTP(mux *http.ServeMux) {
	mux.HandleFunc("GET /"+pathEngagement, func(w http.ResponseWriter, _ *http.Request) {
		if c.set.count == 0 {
			web.Problem(w, http.StatusNotFound, "the card has no mobile documents")
			return
		}
		s, err := c.link()
		if err != nil {
			web.Problem(w, http.StatusInternalServerError, "")
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, s+"\n")
	})
	mux.HandleFunc("POST /"+pathSession, func(w http.ResponseWriter, r *http.Request) {
		if typ, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(typ), mediaCBOR) {
			web.Problem(w, http.StatusUnsupportedMediaType, "a session message is "+mediaCBOR)
			return
		}
		b, err := io.ReadAll(io.LimitReader(r.Body, maxMessage+1))
		switch {
		case err != nil:
			web.Problem(w, http.StatusBadRequest, "the message did not come whole")
			return
		case len(b) > maxMessage:
			web.Problem(w, http.StatusRequestEntityTooLarge, "a session message has 65535 octets at most")
			return
		}
		answer, ok := c.exchange(&c.web, b, &c.qr)
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case !ok:
			web.Problem(w, http.StatusConflict, noSession)
		case answer == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Type", mediaCBOR)
			_, _ = w.Write(answer)
		}
	})
}

// CoAP adds the same resources to a server.
func (c *Card) CoAP(s *coap.Server) {
	s.Handle(pathEngagement, coap.Resource{Title: "engagement of the mobile document", Formats: []coap.Format{coap.Text},
		Get: func(_ *coap.Request, w *coap.Response) {
			if c.set.count == 0 {
				w.Fail(coap.NotFound, "the card has no mobile documents")
				return
			}
			s, err := c.link()
			if err != nil {
				w.Fail(coap.InternalServerError, "")
				return
			}
			w.Text(s)
		}})
	s.Handle(pathSession, coap.Resource{Title: "session messages of the mobile document", Formats: []coap.Format{coap.CBOR}, Takes: []coap.Format{coap.CBOR}, MaxBody: maxMessage,
		Post: func(r *coap.Request, w *coap.Response) {
			answer, ok := c.exchange(&c.web, r.Payload, &c.qr)
			switch {
			case !ok:
				w.Fail(coap.PreconditionFailed, noSession)
			case answer != nil:
				w.Send(coap.CBOR, answer)
			}
		}})
}
