package iso7816

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// serialOptions are what the URL of a link on characters says.
type serialOptions struct {
	protocol int // 0, 1; -1: what the ATR offers first
	baud     int // when the card is reset, where an etu is 372 periods of the clock
	fast     bool
	reset    string // "" stands for rts, or inband where there are no modem lines
	ifs      int
	outgoing []byte // INS
}

var serialParams = []string{"protocol", "baud", "reset", "pps", "ifs", "outgoing"}

// serialOptionsOf reads them.
func serialOptionsOf(u transport.URL) (o serialOptions, err error) {
	params := serialParams
	if u.Scheme == "tcp" {
		params = []string{"protocol", "ifs", "outgoing"}
	}
	if err = u.Only(params...); err != nil {
		return o, err
	}
	o = serialOptions{protocol: -1, baud: 9600, ifs: 254}
	protocol, err := u.OneOf("protocol", "any", "t1", "t0")
	if err != nil {
		return o, err
	}
	if protocol != "any" {
		o.protocol = int(protocol[1] - '0')
	}
	if o.reset, err = u.OneOf("reset", "", "rts", "dtr", "none", "inband"); err != nil {
		return o, err
	}
	pps, err := u.OneOf("pps", "protocol", "fast")
	if err != nil {
		return o, err
	}
	o.fast = pps == "fast"
	number := func(name string, to *int, lo, hi int) {
		v, ok := u.Params[name]
		if !ok || err != nil {
			return
		}
		n, e := strconv.Atoi(v)
		if e != nil || n < lo || n > hi {
			err = u.Errorf("%s=%s is not a number from %d to %d", name, v, lo, hi)
			return
		}
		*to = n
	}
	number("baud", &o.baud, 50, 4_000_000)
	number("ifs", &o.ifs, 1, 254)
	if err != nil {
		return o, err
	}
	if v := u.Params["outgoing"]; v != "" {
		if o.outgoing, err = hex.DecodeString(strings.ReplaceAll(v, ",", "")); err != nil {
			return o, u.Errorf("outgoing=%s: write instructions in hexadecimal, such as outgoing=B1,CB", v)
		}
	}
	return o, nil
}

// openSerial is the transport.Opener of serial:DEVICE and serial:pty[:LINK].
func openSerial(u transport.URL, role transport.Role) (transport.Link, error) {
	o, err := serialOptionsOf(u)
	if err != nil {
		return nil, err
	}
	kind, link, _ := strings.Cut(u.Path, ":")
	l := &stream{time: bus.Real()}
	end := newEnd(u.String(), role, o, l)
	switch {
	case u.Host != "" || u.Path == "":
		return nil, u.Errorf("write serial:DEVICE, such as serial:/dev/ttyUSB0, or serial:pty for the card's end of a new pseudo-terminal")
	case kind == "pty" && role == transport.Controller:
		return nil, u.Errorf("the card's end makes the pseudo-terminal (write serial:/dev/pts/N, which it tells, or serial:%s)", max(link, "LINK"))
	case kind == "pty":
		l.prepare = func(context.Context) (func(context.Context) (port, error), func(), error) {
			first, name, err := newPTY(link)
			if err != nil {
				return nil, nil, err
			}
			end.called("serial:" + name)
			return func(context.Context) (p port, err error) {
				if p, first = first, nil; p == nil {
					if p, name, err = newPTY(link); err == nil {
						end.called("serial:" + name)
					}
				}
				return p, err
			}, nil, nil
		}
	default:
		l.prepare = func(context.Context) (func(context.Context) (port, error), func(), error) {
			first, err := openTTY(u.Path, o)
			if err != nil {
				return nil, nil, err
			}
			return func(context.Context) (p port, err error) {
				if p, first = first, nil; p == nil {
					p, err = openTTY(u.Path, o)
				}
				return p, err
			}, nil, nil
		}
	}
	return end, nil
}

// openTCP is the transport.Opener of tcp://HOST:PORT.
func openTCP(u transport.URL, role transport.Role) (transport.Link, error) {
	if u.Host == "" || u.Path != "" || u.Port < 0 || u.Port == 0 && role == transport.Target {
		return nil, u.Errorf("write tcp://HOST:PORT; the controller listens there and the target connects")
	}
	o, err := serialOptionsOf(u)
	if err != nil {
		return nil, err
	}
	return newEnd(u.String(), role, o, tcpLine(u.Addr(0), role)), nil
}

// end is a link whose name may become known when it is open.
type serialEnd interface {
	transport.Link
	called(name string)
}

func newEnd(url string, role transport.Role, o serialOptions, l line) serialEnd {
	if role == transport.Controller {
		return &serialTerminal{o: o, url: url, line: l}
	}
	c := &serialCard{o: o, url: url, line: l}
	c.wake.L = &c.mu
	c.t0.outgoing = o.outgoing
	return c
}

// How long things may take beside what the ATR says.
const (
	// atrWait bounds the wait for the ATR of an emulated card, which may have to be
	// started first, and atrWaitReal that of a card, which has 40,000 cycles of the clock.
	atrWait     = 10 * time.Second
	atrWaitReal = time.Second
	// initialEtus is the waiting time between two characters of an ATR and a PPS
	// (ISO/IEC 7816-3 8.1, 9.1).
	initialEtus = 9600
	// resets is how often a card without a sensible ATR is reset (ISO/IEC 7816-3 8.1).
	resets = 3
)
