package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk/face"
)

// faces are the formats of a description, the preferred one first.
var faces = []struct {
	media string
	write func(face.Description) []byte
}{
	{"text/html; charset=utf-8", face.Description.HTML},
	{"application/json", face.Description.JSON},
	{"application/cbor", face.Description.CBOR},
}

// Face serves what describe gives at /: as HTML, JSON or CBOR, whatever Accept
// prefers (RFC 9110 12.5.1). Other paths are not found.
func Face(describe func() face.Description) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch {
		case r.URL.Path != "/":
			Problem(w, http.StatusNotFound, "the description of the bundle is at /")
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			Problem(w, http.StatusMethodNotAllowed, "the description can be read")
			return
		}
		h.Set("Vary", "Accept")
		best := Prefer(r, "text/html", "application/json", "application/cbor")
		if best < 0 {
			Problem(w, http.StatusNotAcceptable, "there are text/html, application/json and application/cbor")
			return
		}
		f := faces[best]
		b := f.write(describe())
		h.Set("Content-Type", f.media)
		h.Set("Content-Length", strconv.Itoa(len(b)))
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", face.Policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b)
	})
}

// Prefer is the media type of those offered that Accept wants most (RFC 9110 12.5.1),
// the first of several; -1: none is wanted, which is answered with 406.
func Prefer(r *http.Request, offered ...string) int {
	best, most := -1, 0
	for i, o := range offered {
		kind, sub, _ := strings.Cut(o, "/")
		if q := quality(r.Header["Accept"], kind, sub); q > most {
			best, most = i, q
		}
	}
	return best
}

// quality is how much the fields Accept want the media type, 0 to 1000: what the
// most specific range says that it is in. Without a range everything is wanted.
// Parameters other than q are not looked at; a range that is malformed does not
// count.
func quality(accept []string, kind, sub string) int {
	if strings.TrimSpace(strings.Join(accept, "")) == "" {
		return 1000
	}
	q, specific := 0, -1
	for _, field := range accept {
		for field != "" {
			var element string
			element, field = cutQuoted(field, ',')
			mediaRange, params := cutQuoted(element, ';')
			k, s, ok := strings.Cut(strings.TrimSpace(mediaRange), "/")
			if !ok {
				continue
			}
			is := -1
			switch {
			case strings.EqualFold(k, kind) && strings.EqualFold(s, sub):
				is = 2
			case strings.EqualFold(k, kind) && s == "*":
				is = 1
			case k == "*" && s == "*":
				is = 0
			}
			v := weight(params)
			if is < 0 || v < 0 || is < specific || is == specific && v <= q {
				continue
			}
			q, specific = v, is
		}
	}
	return q
}

// weight is q of the parameters in thousandths, 1000 without one, -1 when it is
// malformed (RFC 9110 12.4.2).
func weight(params string) int {
	for params != "" {
		var p string
		p, params = cutQuoted(params, ';')
		name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		whole, rest, _ := strings.Cut(v, ".")
		n, err := strconv.ParseUint(whole+(rest + "000")[:3], 10, 16)
		if len(whole) != 1 || len(rest) > 3 || err != nil || n > 1000 {
			return -1
		}
		return int(n)
	}
	return 1000
}

// cutQuoted cuts s at the first sep that is not in a quoted string.
func cutQuoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == sep:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
