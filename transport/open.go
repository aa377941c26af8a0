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
var planned = []string{"mem", "vpcd", "pcsc", "serial", "tcp", "ccid", "acl", "bridge", "spi", "i2c", "pigpio", "simspi", "simi2c"}

// Open makes the link that rawURL names, for the end in the given role, from the
// schemes it is given; it does not connect yet. The two ends of mem: are made
// together by Mem or Pair, so it cannot be opened by name.
//
// Every URL may have the parameters fault= (see ParseFaults) and delay= (see
// ParseDelays), which put wrappers around this end.
//
//	l, err := transport.Open("vpcd://127.0.0.1:35963", transport.Target, iso7816.Schemes)
func Open(rawURL string, role Role, tables ...Schemes) (Link, error) {
	u, err := Parse(rawURL)
	if err != nil {
		return nil, err
	}
	u, wrap, err := u.unwrap()
	if err != nil {
		return nil, err
	}
	known := []string{"mem"}
	for _, t := range tables {
		if open, ok := t[u.Scheme]; ok {
			l, err := open(u, role)
			if err != nil {
				return nil, err
			}
			return wrap(l, role), nil
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

// inside are the schemes whose two ends meet in one process, by the rest of the URL.
var inside = []string{"mem", "simspi", "simi2c"}

// Inside tells whether the two ends of a link with this URL meet in one process.
func Inside(rawURL string) bool {
	u, err := Parse(rawURL)
	return err == nil && slices.Contains(inside, u.Scheme)
}

// Pair makes both ends of a link that is Inside. Wrappers are at the terminal's end.
func Pair(rawURL string, tables ...Schemes) (controller, target Link, err error) {
	u, err := Parse(rawURL)
	switch {
	case err != nil:
		return nil, nil, err
	case u.Scheme == "mem":
		plain, wrap, err := u.unwrap()
		if err == nil && (u.Path != "" || u.Host != "") {
			err = u.Errorf("write mem:, there is one only")
		}
		if err == nil {
			err = plain.Only()
		}
		if err != nil {
			return nil, nil, err
		}
		controller, target = Mem()
		return wrap(controller, Controller), target, nil
	}
	if controller, err = Open(rawURL, Controller, tables...); err != nil {
		return nil, nil, err
	}
	plain, _, _ := u.unwrap() // what is around the link is at the terminal's end
	target, err = Open(plain.raw, Target, tables...)
	return controller, target, err
}
