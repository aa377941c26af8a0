package web

import (
	"net/http"
	"strconv"
	"unicode/utf8"
)

// Problem answers with an error as application/problem+json (RFC 9457): title is
// the words of the status, detail says what is wrong and may be empty.
func Problem(w http.ResponseWriter, status int, detail string) {
	b := append([]byte(nil), `{"title":`...)
	b = appendQuoted(b, http.StatusText(status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	if detail != "" {
		b = append(b, `,"detail":`...)
		b = appendQuoted(b, detail)
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

// appendQuoted adds s as a JSON string (RFC 8259 7).
func appendQuoted(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7F:
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&0xF])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
