package web

import (
	"net/http"
	"strconv"

	"github.com/sspemu/sspemu/bundles/sdk/face"
)

// Problem answers with an error as application/problem+json (RFC 9457): title is
// the words of the status, detail says what is wrong and may be empty.
func Problem(w http.ResponseWriter, status int, detail string) {
	b := append([]byte(nil), `{"title":`...)
	b = face.AppendText(b, http.StatusText(status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	if detail != "" {
		b = append(b, `,"detail":`...)
		b = face.AppendText(b, detail)
	}
	b = append(b, "}\n"...)
	h := w.Header()
	h.Del("Content-Encoding")
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
