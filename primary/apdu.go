package primary

import (
	"github.com/sspemu/sspemu/internal/apdu"
)

// The UICC APDU service: what a card does with every command before an
// application sees it, once for all bundles.
//
//	C-APDU ──> well-formed? ──> chain complete? ──> GET RESPONSE? ──> bundle
//	               │ 6700            │ 9000, 6883         │              │ data, SW
//	               v                 v                    v              v
//	R-APDU <───────┴─────────────────┴──── rest of the last answer <── Ne bytes of it
//
//	command                            answer
//	malformed                          6700
//	class FF                           6E00: invalid as a class (ISO/IEC 7816-4 5.4.1); readers use it for commands
//	                                   of their own, which reach the card through a virtual reader
//	chained (bit 5), not the last      9000 without data; of its Le nothing comes
//	interrupts a chain                 6883, and the chain is dropped
//	makes a chain longer than 65535    6700, and the chain is dropped
//	GET RESPONSE, nothing is left      6985
//	GET RESPONSE, P1 P2 not 0000       6A86
//	GET RESPONSE with data             6700
//	GET RESPONSE, no Le, or a Le that  6Cxx, xx = what is left, 00 for 256 and more
//	  says more than is left
//	GET RESPONSE, Le of zeros only     all that is left, as far as 256 (short) or 65536 goes
//	any other                          the bundle's answer: Ne bytes and 61xx while more is left, then its SW
//
// What is left of an answer is dropped when any other command comes. An error
// (64xx to 6Fxx) is final: with it, what the terminal did not ask for is dropped.
// A bundle that has fewer than Ne bytes gives them, or answers 6Cxx itself where
// its standard wants that (ETSI TS 102 221 7.3.1.1).
//
// Chaining belongs to the interindustry class (bit 8 of CLA is 0). In other
// classes bit 5 means what the application says, and the command passes as it
// is: a 9000 that nobody meant would be worse than 6E00.
//
// A bundle whose manifest says `chaining: bundle` gets the parts of a chain as they come
// and answers each: so does PACE want it (ICAO Doc 9303-11 4.4.4).
//
// Sources: ISO/IEC 7816-4 5.3.3 (chaining), 5.3.4 (GET RESPONSE, Le of zeros),
// 5.4.1 (class); ISO/IEC 7816-3 12.2 (T=0: 61xx, 6Cxx). That 6985 answers a GET
// RESPONSE without anything left is unverified: the texts at hand leave it open.
type apduService struct {
	// bundle carries out one whole, well-formed command. The answer has a status
	// word and is valid until the next call.
	bundle func(in []byte) (out []byte)
	// parts tells that the bundle joins chains itself and gets each part as it comes.
	parts bool

	chains [maxChannels]chain
	joined []byte // the command that the last chain made

	rest    []byte // of the last answer, from restAt on
	restAt  int
	restSW  apdu.SW // when all of it has gone
	restFor int     // logical channel

	out []byte // answers that are not the bundle's own
}

// maxChannels is the number of logical channels (ISO/IEC 7816-4 5.4.1).
const maxChannels = 20

const insGetResponse = 0xC0

// chain is a command that comes in parts.
type chain struct {
	open bool
	head [4]byte // CLA without bit 5, INS, P1, P2: the same in all parts
	data []byte
}

// chained tells whether there is more to come: bit 5 of the first (000x xxxx)
// and of the further interindustry class (01xx xxxx).
func chained(cla byte) bool { return cla&0xF0 == 0x10 || cla&0xD0 == 0x50 }

// reset drops the state of the session.
func (s *apduService) reset() {
	for i := range s.chains {
		s.chains[i].open = false
	}
	s.dropRest()
}

func (s *apduService) dropRest() { s.rest, s.restAt = s.rest[:0], 0 }

// left is how much of the last answer has not gone.
func (s *apduService) left() int { return len(s.rest) - s.restAt }

// APDU answers one C-APDU. It does not allocate when the command reaches the
// bundle and its answer the terminal as they are.
func (s *apduService) APDU(in []byte) (out []byte) {
	c, err := apdu.Parse(in)
	switch {
	case err != nil:
		s.dropRest()
		if len(in) > 0 {
			s.chains[apdu.Channel(in[0])].open = false
		}
		return s.status(apdu.WrongLength)
	case c.CLA == 0xFF:
		return s.status(apdu.ClaNotSupported)
	}
	channel := apdu.Channel(c.CLA)
	if ch := &s.chains[channel]; !s.parts && (ch.open || chained(c.CLA)) {
		s.dropRest()
		sw := ch.add(&c)
		if sw != apdu.OK || ch.open {
			return s.status(sw)
		}
		c = apdu.Command{CLA: ch.head[0], INS: ch.head[1], P1: ch.head[2], P2: ch.head[3], Data: ch.data, Ne: c.Ne, Extended: c.Extended}
		s.joined = c.Append(s.joined[:0])
		in = s.joined
	} else if c.INS == insGetResponse {
		return s.getResponse(&c, channel)
	}
	s.dropRest()
	out = s.bundle(in)
	data, sw, _ := apdu.Status(out)
	switch {
	case len(data) <= c.Ne:
		return out
	case sw >= apdu.ExecutionError && sw <= 0x6FFF:
		return s.status(sw)
	}
	// The bundle's memory is its own again with the next call: copy.
	s.rest, s.restSW, s.restFor = append(s.rest, data...), sw, channel
	return s.next(c.Ne)
}

// add takes one part. Afterwards the chain is open when more is to come.
func (ch *chain) add(c *apdu.Command) apdu.SW {
	more := chained(c.CLA)
	head := [4]byte{c.CLA, c.INS, c.P1, c.P2}
	if more {
		head[0] &^= 0x10
	}
	if !ch.open {
		ch.head, ch.data = head, ch.data[:0]
	} else if ch.head != head {
		ch.open = false
		return apdu.LastCommandExpected
	}
	if len(ch.data)+len(c.Data) > apdu.MaxExtendedNc {
		ch.open = false
		return apdu.WrongLength
	}
	ch.data = append(ch.data, c.Data...)
	ch.open = more
	return apdu.OK
}

func (s *apduService) getResponse(c *apdu.Command, channel int) []byte {
	left := s.left()
	all := apdu.MaxShortNe // the Ne that a Le of zeros stands for
	if c.Extended {
		all = apdu.MaxExtendedNe
	}
	switch {
	case left == 0 || channel != s.restFor:
		return s.status(apdu.ConditionsNotSatisfied)
	case c.P1 != 0 || c.P2 != 0:
		return s.status(apdu.WrongP1P2)
	case len(c.Data) > 0:
		return s.status(apdu.WrongLength)
	case c.Ne == 0 || c.Ne > left && c.Ne != all:
		return s.status(apdu.WrongLe | count(left))
	}
	return s.next(c.Ne)
}

// next sends the next ne bytes of what is left.
func (s *apduService) next(ne int) []byte {
	n := min(ne, s.left())
	s.out = append(s.out[:0], s.rest[s.restAt:s.restAt+n]...)
	s.restAt += n
	sw := s.restSW
	if left := s.left(); left > 0 {
		sw = apdu.MoreData | count(left)
	}
	s.out = sw.Append(s.out)
	return s.out
}

// count is the xx of 61xx and 6Cxx: 00 stands for 256 and more.
func count(n int) apdu.SW {
	if n >= apdu.MaxShortNe {
		return 0
	}
	return apdu.SW(n)
}

func (s *apduService) status(sw apdu.SW) []byte {
	s.out = sw.Append(s.out[:0])
	return s.out
}
