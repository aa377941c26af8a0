package transport

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// URL is the parsed address of a link:
//
//	SCHEME:PATH[?PARAM=VALUE&...]             pcsc:Virtual PCD 00 00
//	SCHEME://HOST[:PORT][/PATH][?PARAM=...]   vpcd://127.0.0.1:35963
//
// Escapes (%3F) are allowed in path and parameters, and are needed for '?', '#'
// and '%'.
type URL struct {
	Scheme string
	Host   string // without brackets for IPv6
	Port   int    // -1 when there is none
	Path   string
	Params map[string]string
	raw    string
}

// String is the URL as it was written.
func (u URL) String() string { return u.raw }

// Addr is HOST:PORT for package net, with def where the URL has no port.
func (u URL) Addr(def int) string {
	port := u.Port
	if port < 0 {
		port = def
	}
	return net.JoinHostPort(u.Host, strconv.Itoa(port))
}

// Errorf makes an error about this URL.
func (u URL) Errorf(format string, a ...any) error {
	return fmt.Errorf("link %q: %w", u.raw, fmt.Errorf(format, a...))
}

// Only says no to parameters other than those named.
func (u URL) Only(params ...string) error {
	for _, k := range slices.Sorted(maps.Keys(u.Params)) {
		if slices.Contains(params, k) {
			continue
		}
		if len(params) == 0 {
			return u.Errorf("unknown parameter %q (%s: takes none)", k, u.Scheme)
		}
		return u.Errorf("unknown parameter %q (%s: takes %s)", k, u.Scheme, strings.Join(params, ", "))
	}
	return nil
}

// OneOf is the value of a parameter that must be one of values; the first one
// is the default.
func (u URL) OneOf(param string, values ...string) (string, error) {
	v, ok := u.Params[param]
	if !ok {
		return values[0], nil
	}
	if !slices.Contains(values, v) {
		return "", u.Errorf("%s=%s is not known (use one of %s)", param, v, strings.Join(values, ", "))
	}
	return v, nil
}

// Parse reads a link URL. It knows the form, not the schemes: see Open.
func Parse(s string) (URL, error) {
	u := URL{raw: s, Port: -1}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return u, u.Errorf("byte %d is a control character", i+1)
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || scheme == "" {
		return u, u.Errorf("there is no scheme (a link looks like vpcd://127.0.0.1:35963 or pcsc:READER)")
	}
	u.Scheme = strings.ToLower(scheme)
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(rest, "#") || strings.Contains(query, "#") {
		return u, u.Errorf("'#' has no meaning in a link (write %%23 for the character)")
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		var authority string
		authority, rest, _ = strings.Cut(after, "/")
		if err := u.setAuthority(authority); err != nil {
			return u, err
		}
	}
	var err error
	if u.Path, err = url.PathUnescape(rest); err != nil {
		return u, u.Errorf("%w (write %%25 for '%%')", err)
	}
	for _, kv := range strings.Split(query, "&") {
		if kv == "" {
			continue
		}
		k, v, _ := strings.Cut(kv, "=")
		if v, err = url.QueryUnescape(v); err != nil {
			return u, u.Errorf("parameter %q: %w", k, err)
		}
		if _, twice := u.Params[k]; twice {
			return u, u.Errorf("parameter %q is given twice", k)
		}
		if u.Params == nil {
			u.Params = map[string]string{}
		}
		u.Params[k] = v
	}
	return u, nil
}

func (u *URL) setAuthority(a string) error {
	if strings.Contains(a, "@") {
		return u.Errorf("a link has no user name (write %s://HOST:PORT)", u.Scheme)
	}
	host, port := a, ""
	if i := strings.LastIndexByte(a, ':'); i >= 0 && i > strings.LastIndexByte(a, ']') {
		host, port = a[:i], a[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return u.Errorf("port %q is not a number from 1 to 65535", port)
		}
		u.Port = int(n)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.Contains(host, ":") {
		return u.Errorf("an IPv6 address goes into brackets: %s://[%s]", u.Scheme, a)
	}
	if host == "" {
		return u.Errorf("there is no host (write %s://HOST:PORT)", u.Scheme)
	}
	u.Host = host
	return nil
}
