package iot

import (
	"hash"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// operation is what a session is for.
type operation byte

const (
	signing operation = iota + 1
	verifying
	putting
)

// session is between an INIT command with P1 00 and one with P1 01. Its number is P2.
//
//	INIT open ──> ready ── UPDATE 00 ──> ready ── UPDATE 80 ──> done ── INIT close ──>
//	                                       │                     ^  └── INIT open, anew
//	                                       └── an error ─────────┘
//
// unverified: the numbers are shared by the three operations; a session that is done
// still counts until it is closed, and may be opened anew for any operation, as clients
// that never close one do.
type session struct {
	open    bool
	done    bool // nothing more can be updated
	changed bool // remote administration has changed the object
	number  byte
	channel int
	op      operation

	o     *object
	mode  byte
	hash  byte // algorithm
	alg   byte // of the signature
	text  hash.Hash
	input intake
}

// of is the open session with a number on channel ch.
func (c *Card) of(ch int, number byte) *session {
	for i := range c.sessions {
		if s := &c.sessions[i]; s.open && s.number == number && s.channel == ch {
			return s
		}
	}
	return nil
}

// init is what the INIT commands have in common. It gives the place for a new session;
// nil, with a status word: the command is done.
func (c *Card) initSession(ch int, cmd *sdk.Command, op operation) (*session, sdk.SW) {
	s := c.of(ch, cmd.P2)
	switch cmd.P1 {
	case iotsafe.SessionClose:
		if len(cmd.Data) > 0 {
			return nil, sdk.WrongLength
		}
		if s == nil || s.op != op {
			return nil, sdk.ConditionsNotSatisfied
		}
		*s = session{}
		return nil, sdk.OK
	case iotsafe.SessionOpen:
		if s != nil && !s.done {
			return nil, sdk.ConditionsNotSatisfied
		}
		if s != nil {
			return s, sdk.OK
		}
		for i := range c.sessions {
			if !c.sessions[i].open {
				return &c.sessions[i], sdk.OK
			}
		}
		return nil, iotsafe.SWCapacity
	}
	return nil, sdk.WrongP1P2
}

// update feeds the data of an UPDATE command to its session and tells whether it is the
// last one. When something is wrong, the session is done.
func (c *Card) update(ch int, cmd *sdk.Command, op operation, take taker) (s *session, last bool, sw sdk.SW) {
	if cmd.P1 != iotsafe.MoreBlocks && cmd.P1 != iotsafe.LastBlock {
		return nil, false, sdk.WrongP1P2
	}
	s = c.of(ch, cmd.P2)
	if s != nil && s.op == op && s.changed {
		return nil, false, sdk.ReferencedDataInvalid
	}
	if s == nil || s.op != op || s.done {
		return nil, false, sdk.ConditionsNotSatisfied
	}
	if len(cmd.Data) == 0 {
		return nil, false, sdk.WrongLength
	}
	last = cmd.P1 == iotsafe.LastBlock
	if sw = s.input.feed(cmd.Data, s, take); sw == sdk.OK && last && !s.input.complete() {
		sw = sdk.WrongData
	}
	s.done = last || sw != sdk.OK
	return s, last, sw
}

// abandon ends what sessions do with an object that has changed.
func (c *Card) abandon(o *object) {
	for i := range c.sessions {
		if s := &c.sessions[i]; s.open && s.o == o {
			s.done = true
		}
	}
}

// taker takes part of the value of a data object.
type taker func(s *session, tag byte, value []byte) sdk.SW

// intake reads the data objects of UPDATE commands. One may come in several commands,
// its tag and length in the first; or every command brings one of its own. Clients do
// both (package iotsafe: T).
type intake struct {
	head  [4]byte // of an object whose length is not there yet
	n     int
	tag   byte
	left  int // of its value
	held  [maxHeld]byte
	used  int     // of held
	spans [4]span // of held: values that are kept whole
}

// span is a value that was kept.
type span struct {
	tag      byte
	from, to int
}

// maxHeld is how much of values a session keeps: digest and signature with RSA, or an
// RSA public key.
const maxHeld = 600

// complete tells whether the last data object ended.
func (in *intake) complete() bool { return in.n == 0 && in.left == 0 }

func (in *intake) feed(b []byte, s *session, take taker) sdk.SW {
	for len(b) > 0 {
		if in.left == 0 {
			in.head[in.n] = b[0]
			in.n++
			b = b[1:]
			n, ok, more := in.length()
			switch {
			case more:
				continue
			case !ok:
				return sdk.WrongData
			}
			in.tag, in.left, in.n = in.head[0], n, 0
			if sw := take(s, in.tag, nil); sw != sdk.OK {
				return sw
			}
			continue
		}
		n := min(in.left, len(b))
		if sw := take(s, in.tag, b[:n]); sw != sdk.OK {
			return sw
		}
		in.left -= n
		b = b[n:]
	}
	return sdk.OK
}

// length is that of the object whose head has begun: in the forms of BER up to two
// bytes; of a signature also 00 and one byte, or 01 00, as some clients have it.
func (in *intake) length() (n int, ok, more bool) {
	h := in.head[:in.n]
	if len(h) < 2 {
		return 0, true, true
	}
	want := 2
	switch {
	case h[0] == iotsafe.TagSignature && h[1] < 2:
		want = 3
	case h[1] == 0x81:
		want = 3
	case h[1] == 0x82:
		want = 4
	case h[1] >= 0x80:
		return 0, false, false
	}
	if len(h) < want {
		return 0, true, true
	}
	switch {
	case want == 2:
		return int(h[1]), true, false
	case h[1] == 0x81:
		return int(h[2]), true, false
	case want == 4:
		return int(h[2])<<8 | int(h[3]), true, false
	}
	return int(h[1])<<8 | int(h[2]), true, false
}

// hold keeps a value whole, up to most bytes. It is called without a value where an
// object begins. Each tag comes once, but for again: then values are joined.
func (in *intake) hold(tag byte, value []byte, most int, again bool) sdk.SW {
	for i := range in.spans {
		s := &in.spans[i]
		if s.tag == 0 {
			*s = span{tag, in.used, in.used}
			return sdk.OK
		}
		if s.tag != tag {
			continue
		}
		if value == nil && !again || s.to-s.from+len(value) > most || in.used+len(value) > len(in.held) {
			return sdk.WrongData
		}
		in.used += copy(in.held[in.used:], value)
		s.to = in.used
		return sdk.OK
	}
	return sdk.WrongData
}

// value is what was kept; ok is false when the tag did not come.
func (in *intake) value(tag byte) (b []byte, ok bool) {
	for _, s := range in.spans {
		if s.tag == tag {
			return in.held[s.from:s.to], true
		}
	}
	return nil, false
}
