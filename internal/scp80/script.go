package scp80

import (
	"errors"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Tags of the expanded remote application data format (TS 102 226 5.2, TS 101 220 tables
// 7.18 to 7.20; as osmocom/pysim has them).
const (
	tagCommands           = 0xAA // command scripting template, definite length
	tagCommandsIndefinite = 0xAE
	tagResults            = 0xAB // response scripting template
	tagResultsIndefinite  = 0xAF
	tagCAPDU              = 0x22
	tagRAPDU              = 0x23
	tagExecuted           = 0x80 // number of executed command objects
	tagBadFormat          = 0x90
)

// BadFormat is why a script was given up (TS 102 226 table 5.12).
type BadFormat byte

// Reasons.
const (
	WellFormed     BadFormat = 0
	BadTag         BadFormat = 1
	BadLength      BadFormat = 2
	LengthNotFound BadFormat = 3
)

// SWTruncated ends a script whose response does not fit (TS 102 226 5.2.1.1).
const SWTruncated apdu.SW = 0x62F1

// Form of a script.
type Form byte

// Forms. unverified: TS 102 226 gives each form a TAR of its own; here a script that begins
// with the tag of a template is an expanded one.
const (
	Compact Form = iota
	Definite
	Indefinite
)

// FormOf is the form of a script.
func FormOf(script []byte) Form {
	switch {
	case len(script) > 0 && script[0] == tagCommands:
		return Definite
	case len(script) > 0 && script[0] == tagCommandsIndefinite:
		return Indefinite
	}
	return Compact
}

// Script makes a script of command APDUs. In the compact form (TS 102 226 5.1) they follow
// each other, without Le behind data.
func Script(f Form, commands ...[]byte) []byte {
	var b []byte
	m := 0
	switch f {
	case Definite:
		b, m = tlv.Begin(nil, tagCommands)
	case Indefinite:
		b = append(b, tagCommandsIndefinite, 0x80)
	}
	for _, c := range commands {
		if f == Compact {
			b = append(b, c...)
		} else {
			b = tlv.Append(b, tagCAPDU, c...)
		}
	}
	switch f {
	case Definite:
		b = tlv.End(b, m)
	case Indefinite:
		b = append(b, 0, 0)
	}
	return b
}

// Commands walks over the commands of an expanded script.
type Commands struct {
	rest []byte
	open bool // of indefinite length: 00 00 ends it
	Bad  BadFormat
}

// Expanded begins a walk over the commands of an expanded script.
func Expanded(script []byte) Commands {
	if FormOf(script) == Indefinite {
		if len(script) < 2 || script[1] != 0x80 {
			return Commands{Bad: BadLength}
		}
		return Commands{rest: script[2:], open: true}
	}
	_, in, rest, err := tlv.Next(script)
	if err != nil || len(rest) > 0 {
		return Commands{Bad: BadLength}
	}
	return Commands{rest: in}
}

// Next is the next command APDU; nil at the end, and where the script is malformed.
func (c *Commands) Next() []byte {
	switch {
	case c.Bad != WellFormed:
		return nil
	case c.open && len(c.rest) == 2 && c.rest[0] == 0 && c.rest[1] == 0:
		return nil
	case len(c.rest) == 0 && c.open:
		c.Bad = LengthNotFound
		return nil
	case len(c.rest) == 0:
		return nil
	case c.rest[0]&^0x80 != tagCAPDU:
		c.Bad = BadTag
		return nil
	case len(c.rest) == 1:
		c.Bad = LengthNotFound
		return nil
	}
	_, v, rest, err := tlv.Next(c.rest)
	if err != nil {
		c.Bad = BadLength
		return nil
	}
	c.rest = rest
	if v == nil {
		v = []byte{}
	}
	return v
}

// Result is what came of a script.
type Result struct {
	Executed  int      // commands
	Responses [][]byte // response APDUs: of every command, or of the last one in the compact form
	Bad       BadFormat
}

// Append adds the result in the form that belongs to a script.
func (r *Result) Append(dst []byte, f Form) []byte {
	if f == Compact { // number, status word, data of the last one
		dst = append(dst, byte(r.Executed))
		if n := len(r.Responses); n > 0 {
			data, sw, _ := apdu.Status(r.Responses[n-1])
			dst = append(sw.Append(dst), data...)
		}
		return dst
	}
	m := 0
	if f == Definite {
		dst, m = tlv.Begin(dst, tagResults)
		dst = tlv.Append(dst, tagExecuted, byte(r.Executed))
	} else {
		dst = append(dst, tagResultsIndefinite, 0x80)
	}
	for _, x := range r.Responses {
		dst = tlv.Append(dst, tagRAPDU, x...)
	}
	if r.Bad != WellFormed {
		dst = tlv.Append(dst, tagBadFormat, byte(r.Bad))
	}
	if f == Indefinite {
		return append(dst, 0, 0)
	}
	return tlv.End(dst, m)
}

// ErrResult is a result that is none.
var ErrResult = errors.New("scp80: the response holds no result of a script (TS 102 226 5.1.2, 5.2.2)")

// ParseResult reads a result in the form that belongs to a script.
func ParseResult(b []byte, f Form) (r Result, err error) {
	if f == Compact {
		if len(b) != 1 && len(b) < 3 {
			return r, ErrResult
		}
		r.Executed = int(b[0])
		if len(b) > 1 {
			r.Responses = [][]byte{append(append([]byte{}, b[3:]...), b[1], b[2])}
		}
		return r, nil
	}
	in := b
	if f == Indefinite {
		if len(b) < 4 || b[0] != tagResultsIndefinite || b[1] != 0x80 || b[len(b)-1] != 0 || b[len(b)-2] != 0 {
			return r, ErrResult
		}
		in = b[2 : len(b)-2]
	} else {
		t, v, rest, err := tlv.Next(b)
		if err != nil || t != tagResults || len(rest) > 0 {
			return r, ErrResult
		}
		in = v
	}
	w := tlv.Read(in)
	for w.Next() {
		switch {
		case w.Tag == tagExecuted && len(w.Value) == 1:
			r.Executed = int(w.Value[0])
		case w.Tag == tagRAPDU && len(w.Value) >= 2:
			r.Responses = append(r.Responses, w.Value)
		case w.Tag == tagBadFormat && len(w.Value) == 1:
			r.Bad = BadFormat(w.Value[0])
		}
	}
	if w.Err() != nil {
		return r, ErrResult
	}
	if f == Indefinite {
		r.Executed = len(r.Responses)
	}
	return r, nil
}

// ResultOfNothing is the result of a script of which nothing is known.
func ResultOfNothing(f Form) []byte { return (&Result{}).Append(nil, f) }
