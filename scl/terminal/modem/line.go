package modem

import (
	"bytes"
	"strconv"
)

// maxLine is the longest body of a command line. It is enough for an APDU of 4000 bytes;
// a line that is longer is answered with ERROR.
const maxLine = 8192

// decoder finds command lines in what comes from the terminal equipment (V.250 clause
// 5.2): AT, the body, and the character of S3; or A/, the last body once more. Everything
// else is passed over. The eighth bit and the case mean nothing.
type decoder struct {
	end, erase byte // S3, S5
	state      byte // 0, 'A', 'T': what of the prefix was seen
	body       []byte
	tooLong    bool
	last       []byte
}

// feed takes a character. At the end of a line it gives its body, valid until the next
// call; ok tells so. A line that was too long has tooLong.
func (d *decoder) feed(c byte) (body []byte, tooLong, ok bool) {
	c &= 0x7F
	if d.state == 'T' {
		switch {
		case c == d.end:
			d.state = 0
			if d.tooLong {
				d.last = d.last[:0]
				return nil, true, true
			}
			d.last = append(d.last[:0], d.body...)
			return d.last, false, true
		case c == d.erase:
			d.body = d.body[:max(len(d.body), 1)-1]
		case c < ' ' || c == 0x7F: // LF after CR, among others
		case len(d.body) == maxLine:
			d.tooLong = true
		default:
			d.body = append(d.body, c)
		}
		return nil, false, false
	}
	switch {
	case c == 'A' || c == 'a':
		d.state = 'A'
	case d.state == 'A' && (c == 'T' || c == 't'):
		d.state, d.body, d.tooLong = 'T', d.body[:0], false
	case d.state == 'A' && c == '/':
		d.state = 0
		return d.last, false, true
	default:
		d.state = 0
	}
	return nil, false, false
}

// The forms of a command.
const (
	execute = 'x' // +NAME, or a basic command
	read    = '?' // +NAME?
	test    = 't' // +NAME=?
	set     = '=' // +NAME=...
)

// command is one command of a line.
type command struct {
	name string // "+CSIM", "E", "&F", "S3"
	form byte
	args []arg
}

// arg is a parameter: a string in quotes, or something else without; given tells whether
// there is something at all.
type arg struct {
	text          string
	quoted, given bool
}

// arg is a parameter; those that are not there are not given.
func (c command) arg(i int) arg {
	if i < len(c.args) {
		return c.args[i]
	}
	return arg{}
}

// number reads a decimal number in lo to hi.
func (a arg) number(lo, hi int) (int, bool) {
	n, err := strconv.Atoi(a.text)
	return n, err == nil && a.text[0] != '+' && !a.quoted && n >= lo && n <= hi
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

func letter(c byte) bool { return upper(c) >= 'A' && upper(c) <= 'Z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// next takes the first command off a body (V.250 clauses 5.3, 5.4). Spaces mean nothing
// but in strings.
func next(b []byte) (c command, rest []byte, err error) {
	if b[0] == '+' {
		return extended(b)
	}
	if b[0] == '&' && len(b) > 1 {
		c.name, b = "&", b[1:]
	}
	if !letter(b[0]) || c.name == "" && upper(b[0]) == 'D' { // nothing is dialled here
		return c, nil, syntaxError{}
	}
	c.name += string(upper(b[0]))
	c.form = execute
	n := 1
	for n < len(b) && digit(b[n]) {
		n++
	}
	number := string(b[1:n])
	b = b[n:]
	if c.name == "S" {
		c.name += number
		if b, c.form = bytes.TrimLeft(b, " "), read; len(b) == 0 || b[0] != '?' && b[0] != '=' {
			return c, nil, syntaxError{}
		}
		if b[0] == '?' {
			return c, b[1:], nil
		}
		b, c.form = bytes.TrimLeft(b[1:], " "), set
		for n = 0; n < len(b) && digit(b[n]); {
			n++
		}
		number, b = string(b[:n]), b[n:]
	}
	if number != "" {
		c.args = []arg{{text: number, given: true}}
	}
	return c, b, nil
}

// extended takes an extended command and the semicolon behind it.
func extended(b []byte) (c command, rest []byte, err error) {
	n := 1
	for n < len(b) && (letter(b[n]) || digit(b[n])) {
		n++
	}
	c.name = string(bytes.ToUpper(b[:n]))
	c.form = execute
	b = bytes.TrimLeft(b[n:], " ")
	switch {
	case len(b) > 0 && b[0] == '?':
		c.form, b = read, b[1:]
	case len(b) > 0 && b[0] == '=':
		c.form, b = set, bytes.TrimLeft(b[1:], " ")
		if len(b) > 0 && b[0] == '?' {
			c.form, b = test, b[1:]
		} else if c.args, b, err = parameters(b); err != nil {
			return c, nil, err
		}
	}
	if b = bytes.TrimLeft(b, " "); len(b) == 0 {
		return c, nil, nil
	}
	if b[0] != ';' {
		return c, nil, syntaxError{}
	}
	return c, b[1:], nil
}

// maxArgs is more than any command has.
const maxArgs = 16

func parameters(b []byte) (list []arg, rest []byte, err error) {
	var a arg
	var text []byte
	closed := false // a string has ended: nothing may follow it
	for ; len(b) > 0 && b[0] != ';'; b = b[1:] {
		switch c := b[0]; {
		case c == ' ':
		case c == ',':
			a.text = string(text)
			list, a, text, closed = append(list, a), arg{}, text[:0], false
			if len(list) == maxArgs {
				return nil, nil, syntaxError{}
			}
		case closed, c == '"' && a.given:
			return nil, nil, syntaxError{}
		case c == '"':
			n := bytes.IndexByte(b[1:], '"')
			if n < 0 {
				return nil, nil, syntaxError{}
			}
			a.quoted, a.given, closed = true, true, true
			text = append(text, b[1:1+n]...)
			b = b[1+n:]
		default:
			text, a.given = append(text, c), true
		}
	}
	a.text = string(text)
	return append(list, a), b, nil
}
