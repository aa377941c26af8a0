package transport

import (
	"maps"
	"slices"
	"strings"
)

// Opener makes the link that u names, for the end in the given role. It does
// not connect: that is what Link.Open does.
type Opener func(u URL, role Role) (Link, error)

// Schemes are the links that a program knows, by URL scheme. Each package of
// links has its own table (iso7816.Schemes); the program hands them to Open.
type Schemes map[string]Opener

// planned are the schemes that link URLs may have (docs: architecture, section
// "Link"), whether or not a program was given an Opener for them.
var planned = []string{"mem", "vpcd", "pcsc", "serial", "tcp", "acl", "spi", "i2c", "pigpio", "simspi", "simi2c"}

// Open makes the link that rawURL names, for the end in the given role, from the
// schemes it is given; it does not connect yet. The two ends of mem: are made
// together by Mem, so it cannot be opened by name.
//
//	l, err := transport.Open("vpcd://127.0.0.1:35963", transport.Target, iso7816.Schemes)
func Open(rawURL string, role Role, tables ...Schemes) (Link, error) {
	u, err := Parse(rawURL)
	if err != nil {
		return nil, err
	}
	known := []string{"mem"}
	for _, t := range tables {
		if open, ok := t[u.Scheme]; ok {
			return open(u, role)
		}
		known = slices.AppendSeq(known, maps.Keys(t))
	}
	slices.Sort(known)
	have := strings.Join(known, ", ")
	switch {
	case u.Scheme == "mem":
		return nil, u.Errorf("mem: joins two ends inside one process and cannot be reached from outside")
	case slices.Contains(planned, u.Scheme):
		return nil, u.Errorf("scheme %s: is not available in this version (available: %s)", u.Scheme, have)
	}
	return nil, u.Errorf("unknown scheme %q (available: %s)", u.Scheme, have)
}
