package transport

import "strings"

// Wrappers compose, because each is a Link around a Link:
//
//	Trace(Fault(Delay(link)))     frames pass from left to right, answers back
//
// A wrapper is put around one end and works in both directions. It has the abilities
// of what it is around.

// around gives the wrapper w the abilities of l.
func around(l, w Link) Link {
	a := abilities{w, l}
	if c, ok := l.(PacketCarrier); ok {
		return struct {
			abilities
			PacketCarrier
		}{a, c}
	}
	return a
}

// abilities is a wrapper with the abilities of the link that it is around.
type abilities struct {
	Link
	of Link
}

func (a abilities) Limits() (min, max int) { return Limits(a.of) }
func (a abilities) Trouble() error         { return Trouble(a.of) }

func (a abilities) WholeAnswers() bool {
	w, ok := a.of.(WholeAnswers)
	return ok && w.WholeAnswers()
}

// withParam is a URL with one more parameter.
func withParam(url, name, value string) string {
	if strings.Contains(url, "?") {
		return url + "&" + name + "=" + value
	}
	return url + "?" + name + "=" + value
}

// towards tells whether what the end in that role sends goes towards the SSP.
func towards(role Role, sent bool) bool { return sent == (role == Controller) }

// wrapping are the parameters of every URL that put wrappers around a link, in the
// order from the inside out.
var wrapping = []struct {
	param string
	wrap  func(value string) (func(Link, Role) Link, error)
}{
	{"delay", func(v string) (func(Link, Role) Link, error) {
		d, err := ParseDelays(v)
		return func(l Link, r Role) Link { return Delay(l, r, d) }, err
	}},
	{"fault", func(v string) (func(Link, Role) Link, error) {
		f, err := ParseFaults(v)
		return func(l Link, r Role) Link { return Fault(l, r, f) }, err
	}},
}

// unwrap takes the parameters of wrappers out of u.
func (u URL) unwrap() (plain URL, wrap func(Link, Role) Link, err error) {
	wrap = func(l Link, _ Role) Link { return l }
	plain = u
	plain.Params = map[string]string{}
	for k, v := range u.Params {
		plain.Params[k] = v
	}
	for _, w := range wrapping {
		v, ok := u.Params[w.param]
		if !ok {
			continue
		}
		outer, err := w.wrap(v)
		if err != nil {
			return u, nil, u.Errorf("%s=%s: %w", w.param, v, err)
		}
		inner := wrap
		wrap = func(l Link, r Role) Link { return outer(inner(l, r), r) }
		delete(plain.Params, w.param)
		plain.raw = cutParam(plain.raw, w.param)
	}
	if len(plain.Params) == 0 {
		plain.Params = nil
	}
	return plain, wrap, nil
}

// cutParam is a URL without a parameter.
func cutParam(raw, name string) string {
	front, query, _ := strings.Cut(raw, "?")
	var rest []string
	for _, kv := range strings.Split(query, "&") {
		if k, _, _ := strings.Cut(kv, "="); k != name && kv != "" {
			rest = append(rest, kv)
		}
	}
	if len(rest) == 0 {
		return front
	}
	return front + "?" + strings.Join(rest, "&")
}
