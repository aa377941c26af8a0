package web

import (
	"net/http"
	"net/url"
	"strconv"
)

// A plain request is what nearly every client sends. plain reads its head in one
// go; everything else is left to http.ReadRequest, which gives the same request
// for a plain one but takes three times as long in a guest.
//
//	plain-request = 1*UPALPHA SP origin-form SP "HTTP/1.1" CRLF
//	                *( token ":" OWS *( VCHAR / SP / HTAB ) OWS CRLF ) CRLF
//
// It is shorter than readBuffer, has come as a whole, has one Host, at most one
// Content-Length and Connection (close or keep-alive), and neither
// Transfer-Encoding, Trailer, Expect nor Pragma.

const maxPlain = 32 // fields (chosen)

// Classes of octets (RFC 9110 5.5, 5.6.2; RFC 3986 2.3, 3.3).
const (
	inToken byte = 1 << iota
	inValue
	inTarget
	inPath // in a path that url.URL has no RawPath for
)

var class = classes()

func classes() (t [256]byte) {
	t['\t'], t[' '] = inValue, inValue
	for b := '!'; b <= '~'; b++ {
		t[b] = inValue | inTarget
		if b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' {
			t[b] |= inToken | inPath
		}
	}
	for _, b := range "!#$%&'*+-.^_`|~" {
		t[b] |= inToken
	}
	for _, b := range "-._~$&+,/:;=@" {
		t[b] |= inPath
	}
	return t
}

// span gives the end of the octets of a class that begin at i.
func span(p []byte, i int, of byte) int {
	for i < len(p) && class[p[i]]&of != 0 {
		i++
	}
	return i
}

// canonical makes a token the canonical name of a field (http.CanonicalHeaderKey).
func canonical(name []byte) {
	first := true
	for i, b := range name {
		if first && b >= 'a' && b <= 'z' || !first && b >= 'A' && b <= 'Z' {
			name[i] = b ^ 0x20
		}
		first = b == '-'
	}
}

// plain reads the head of a plain request, which is p[:n]; nil: it is not one. The
// names of fields in p become canonical in any case.
func plain(p []byte) (r *request, n int) {
	const version = " HTTP/1.1\r\n"
	uri := 0
	for uri < len(p) && p[uri]-'A' < 26 {
		uri++
	}
	uri++
	if uri == 1 || len(p)-uri < 2 || p[uri-1] != ' ' || p[uri] != '/' {
		return nil, 0
	}
	path := span(p, uri, inPath)
	i := span(p, path, inTarget)
	if len(p)-i < len(version) || string(p[i:i+len(version)]) != version {
		return nil, 0
	}
	end := i
	i += len(version)

	var fields [maxPlain]field
	count, host, length, connection := 0, 0, 0, 0 // the numbers of fields from 1 on
	for {
		if len(p)-i < 2 {
			return nil, 0
		}
		if p[i] == '\r' {
			break
		}
		if count == maxPlain {
			return nil, 0
		}
		f := &fields[count]
		count++
		if i = f.read(p, i); i < 0 {
			return nil, 0
		}
		var one *int
		switch string(p[f.name:f.colon]) {
		case "Transfer-Encoding", "Trailer", "Expect", "Pragma":
			return nil, 0
		case "Host":
			one = &host
		case "Content-Length":
			one = &length
		case "Connection":
			one = &connection
		default:
			continue
		}
		if *one != 0 {
			return nil, 0
		}
		*one = count
	}
	if n = i + 2; p[i+1] != '\n' || host == 0 {
		return nil, 0
	}

	// From here on nothing refers to p.
	s := string(p[:n])
	r = new(request)
	q := &r.Request
	*q = *(&http.Request{Body: http.NoBody}).WithContext(&r.life)
	q.Method, q.RequestURI = s[:uri-1], s[uri:end]
	q.Proto, q.ProtoMajor, q.ProtoMinor = "HTTP/1.1", 1, 1
	switch {
	case s[uri+1] == '/', path != end && (s[path] != '?' || path+1 == end):
		u, err := url.ParseRequestURI(q.RequestURI)
		if err != nil {
			return nil, 0
		}
		r.url = *u
	case path != end:
		r.url.RawQuery = s[path+1 : end]
		fallthrough
	default:
		r.url.Path = s[uri:path]
	}
	q.URL = &r.url

	values := make([]string, count)
	q.Header = make(http.Header, count-1)
	for i, f := range fields[:count] {
		name, value := s[f.name:f.colon], s[f.value:f.end]
		switch i + 1 {
		case host:
			if value == "" || !validHost(value) {
				return nil, 0
			}
			q.Host = value
			continue
		case length:
			v, err := strconv.ParseUint(value, 10, 63)
			if err != nil {
				return nil, 0
			}
			q.ContentLength = int64(v)
		case connection:
			if value != "close" && value != "keep-alive" {
				return nil, 0
			}
			q.Close = value == "close"
		}
		if v := q.Header[name]; v != nil {
			q.Header[name] = append(v, value)
		} else {
			values[i] = value
			q.Header[name] = values[i : i+1 : i+1]
		}
	}
	return r, n
}

// field is where a field is in the octets of a head.
type field struct{ name, colon, value, end int }

// read finds the field that begins at i, makes its name canonical, and gives where
// the next one begins; -1: it is not one of a plain request.
func (f *field) read(p []byte, i int) int {
	f.name = i
	i = span(p, i, inToken)
	if f.colon = i; i == f.name || i == len(p) || p[i] != ':' {
		return -1
	}
	canonical(p[f.name:i])
	for i++; i < len(p) && (p[i] == ' ' || p[i] == '\t'); i++ {
	}
	f.value = i
	i = span(p, i, inValue)
	if len(p)-i < 2 || p[i] != '\r' || p[i+1] != '\n' {
		return -1
	}
	for f.end = i; f.end > f.value && (p[f.end-1] == ' ' || p[f.end-1] == '\t'); f.end-- {
	}
	return i + 2
}
