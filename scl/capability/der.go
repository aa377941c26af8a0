package capability

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Error tells what is wrong with an encoding, or with what cannot be encoded.
type Error struct {
	Field  string // "TerminalCapability.aInterfacePowerSupply"
	Offset int    // of the octet in question, from the start of the encoding
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("capability: %s, octet %d: %s", e.Field, e.Offset, e.Reason)
}

// object is a data object: tag, length, value.
type object struct {
	tag         byte   // the first octet
	number      uint32 // of the tag
	raw, value  []byte
	start, from int // offsets of raw and value
}

func (o object) constructed() bool { return o.tag&0x20 != 0 }
func (o object) context() bool     { return o.tag&0xC0 == 0x80 }

// name is the tag as ASN.1 writes it.
func (o object) name() string {
	class := map[byte]string{0x00: "UNIVERSAL ", 0x40: "APPLICATION ", 0x80: "", 0xC0: "PRIVATE "}[o.tag&0xC0]
	return fmt.Sprintf("[%s%d]", class, o.number)
}

func (o object) fault(format string, a ...any) error {
	return &Error{Offset: o.from, Reason: fmt.Sprintf(format, a...)}
}

// next splits the first object off b, which has at least one octet and begins at
// offset at: tag and length in their shortest forms (X.690 8.1.2, 10.1).
func next(b []byte, at int) (o object, rest []byte, err error) {
	i := 0
	fail := func(reason string) (object, []byte, error) { return o, nil, &Error{Offset: at + i, Reason: reason} }
	const short = "the encoding ends before its time"

	o.tag, o.number = b[0], uint32(b[0]&0x1F)
	i++
	if o.number == 0x1F { // high tag number
		o.number = 0
		for more := true; more; i++ {
			switch {
			case i == len(b):
				return fail(short)
			case i == 1 && b[i] == 0x80:
				return fail("the tag number is not in its shortest form")
			case i == 5:
				return fail("the tag number is longer than four octets")
			}
			o.number = o.number<<7 | uint32(b[i]&0x7F)
			more = b[i]&0x80 != 0
		}
		if o.number < 0x1F {
			i = 0
			return fail("the tag number is not in its shortest form")
		}
	}

	if i == len(b) {
		return fail(short)
	}
	n := int(b[i])
	if n >= 0x80 {
		k := n & 0x7F
		switch {
		case k == 0:
			return fail("the length is indefinite")
		case k > 3:
			return fail("the length has more than three octets")
		case len(b) < i+1+k:
			return fail(short)
		}
		n = 0
		for _, c := range b[i+1 : i+1+k] {
			n = n<<8 | int(c)
		}
		if n < 0x80 || n>>(8*(k-1)) == 0 {
			return fail("the length is not in its shortest form")
		}
		i += k
	}
	i++
	if n > len(b)-i {
		return fail(fmt.Sprintf("a value of %d octets is wanted, %d are left", n, len(b)-i))
	}
	o.start, o.from = at, at+i
	o.raw, o.value = b[:i+n:i+n], b[i:i+n:i+n]
	return o, b[i+n:], nil
}

// maxDepth is how deep objects that are not known may nest.
const maxDepth = 16

// nested checks tags and lengths of what is in an object that is not known.
func (o object) nested(depth int) error {
	if !o.constructed() {
		return nil
	}
	if depth == maxDepth {
		return o.fault("it nests deeper than %d objects", maxDepth)
	}
	for rest, at := o.value, o.from; len(rest) > 0; {
		in, after, err := next(rest, at)
		if err == nil {
			err = in.nested(depth + 1)
		}
		if err != nil {
			return err
		}
		at, rest = at+len(in.raw), after
	}
	return nil
}

// single is the one object that b is, at the offset.
func single(b []byte, at int) (object, error) {
	if len(b) == 0 {
		return object{}, &Error{Offset: at, Reason: "there is nothing"}
	}
	o, rest, err := next(b, at)
	if err == nil && len(rest) > 0 {
		err = &Error{Offset: at + len(o.raw), Reason: fmt.Sprintf("%d octets more than the object has", len(rest))}
	}
	return o, err
}

// form is what the tag of a component says of its value.
type form byte

const (
	primitive   form = 0x80
	constructed form = 0xA0
	whole       form = 0 // not known; read and write have the object with its tag
)

// component is one component of a SEQUENCE. write gives nil for one that is left
// out: absent, or the DEFAULT.
type component struct {
	name      string
	form      form
	mandatory bool
	read      func(o object) error
	write     func() []byte
}

// sequence is a SEQUENCE with the context tags [0], [1] ... for its components, in
// their order, and those that are not known in additions.
type sequence struct {
	name       string
	components []component
	additions  *[]byte
}

// parse reads the value of a SEQUENCE, which begins at the offset.
func (s sequence) parse(value []byte, at int) error {
	done := 0 // components up to here were read or passed by
	fail := func(field string, err error) error {
		if e := err.(*Error); e.Field == "" {
			e.Field = s.name + field
		}
		return err
	}
	pass := func(number, at int) error {
		for ; done < min(number, len(s.components)); done++ {
			if c := s.components[done]; c.mandatory {
				return fail("."+c.name, &Error{Offset: at, Reason: "it is missing"})
			}
		}
		return nil
	}
	for len(value) > 0 {
		o, rest, err := next(value, at)
		if err != nil {
			return fail("", err)
		}
		field := ""
		if n := int(o.number); n < len(s.components) {
			field = "." + s.components[n].name
		}
		switch {
		case !o.context():
			err = &Error{Offset: at, Reason: "there is " + o.name() + " where a context tag is wanted"}
		case int(o.number) < done:
			err = &Error{Offset: at, Reason: o.name() + " is there twice or out of order"}
		}
		if err != nil {
			return fail("", err)
		}
		if err := pass(int(o.number), at); err != nil {
			return err
		}
		done = int(o.number) + 1
		if field == "" {
			err = o.nested(0)
			*s.additions = append(*s.additions, o.raw...)
		} else {
			c := s.components[o.number]
			if c.form != whole && o.constructed() != (c.form == constructed) {
				err = &Error{Offset: at, Reason: fmt.Sprintf("the tag is %02X, wanted is %02X", o.tag, byte(c.form)|o.tag&0x1F)}
			} else {
				err = c.read(o)
			}
		}
		if err != nil {
			return fail(field, err)
		}
		at, value = at+len(o.raw), rest
	}
	return pass(len(s.components), at)
}

// append writes the value of the SEQUENCE.
func (s sequence) append(b []byte) []byte {
	for i, c := range s.components {
		switch v := c.write(); {
		case v == nil:
		case c.form == whole:
			b = append(b, v...)
		default:
			b = tlv.Append(b, tlv.Tag(byte(c.form)|byte(i)), v...)
		}
	}
	return append(b, *s.additions...)
}

// parse reads a whole encoding: one SEQUENCE.
func parse(b []byte, s sequence) error {
	o, err := single(b, 0)
	if err == nil && o.tag != 0x30 {
		err = &Error{Reason: fmt.Sprintf("the tag is %02X, wanted is 30, SEQUENCE", o.tag)}
	}
	if err != nil {
		err.(*Error).Field = s.name
		return err
	}
	return s.parse(o.value, o.from)
}

// integerOf reads an INTEGER or ENUMERATED of min to max.
func integerOf(o object, min, max int) (int, error) {
	v := o.value
	switch {
	case len(v) == 0:
		return 0, o.fault("the number has no octets")
	case len(v) > 1 && (v[0] == 0 && v[1] < 0x80 || v[0] == 0xFF && v[1] >= 0x80):
		return 0, o.fault("the number is not in its shortest form")
	case len(v) > 4:
		return 0, o.fault("a number of %d octets is outside %d..%d", len(v), min, max)
	}
	n := int32(int8(v[0]))
	for _, c := range v[1:] {
		n = n<<8 | int32(c)
	}
	if int(n) < min || int(n) > max {
		return 0, o.fault("%d is outside %d..%d", n, min, max)
	}
	return int(n), nil
}

func integerOctets(n int) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(n))
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xFF && b[1] >= 0x80) {
		b = b[1:]
	}
	return b
}

const isDefault = "the DEFAULT is there, DER leaves it out" // X.690 11.5

func integer(name string, p *int, min, max, preset int) component {
	return component{name: name, form: primitive, read: func(o object) (err error) {
		if *p, err = integerOf(o, min, max); err == nil && *p == preset {
			err = o.fault(isDefault)
		}
		return err
	}, write: func() []byte {
		if *p == preset {
			return nil
		}
		return integerOctets(*p)
	}}
}

// boolean is one whose DEFAULT is FALSE.
func boolean(name string, p *bool) component {
	return component{name: name, form: primitive, read: func(o object) error {
		switch {
		case len(o.value) != 1:
			return o.fault("a BOOLEAN has one octet, not %d", len(o.value))
		case o.value[0] == 0:
			return o.fault(isDefault)
		case o.value[0] != 0xFF:
			return o.fault("TRUE is FF, not %02X", o.value[0]) // X.690 11.1
		}
		*p = true
		return nil
	}, write: func() []byte {
		if !*p {
			return nil
		}
		return []byte{0xFF}
	}}
}

// version is VersionType, OCTET STRING (SIZE(2)).
func version(name string, p *Version) component {
	return component{name: name, form: primitive, mandatory: true, read: func(o object) error {
		if len(o.value) != 2 {
			return o.fault("a version has two octets, not %d", len(o.value))
		}
		*p = Version{o.value[0], o.value[1]}
		return nil
	}, write: func() []byte { return []byte{p.Major, p.Minor} }}
}

// text is UTF8String (SIZE(1..max)), counted in characters (X.680 41.1); "" is
// absent.
func text(name string, p *string, max int) component {
	return component{name: name, form: primitive, read: func(o object) error {
		if !utf8.Valid(o.value) {
			return o.fault("it is not UTF-8")
		}
		if n := utf8.RuneCount(o.value); n < 1 || n > max {
			return o.fault("a text of %d characters is outside 1..%d", n, max)
		}
		*p = string(o.value)
		return nil
	}, write: func() []byte {
		if *p == "" {
			return nil
		}
		return []byte(*p)
	}}
}

// octets is OCTET STRING; nil is absent.
func octets(name string, p *[]byte) component {
	return component{name: name, form: primitive, read: func(o object) error {
		*p = append([]byte{}, o.value...)
		return nil
	}, write: func() []byte { return *p }}
}

// anything is an open type with an explicit tag: p is the one object inside.
func anything(name string, p *[]byte) component {
	return component{name: name, form: constructed, read: func(o object) error {
		in, err := single(o.value, o.from)
		if err == nil {
			err = in.nested(1)
		}
		*p = append([]byte(nil), o.value...)
		return err
	}, write: func() []byte { return *p }}
}

// unknown is a component of a type that was not seen: p is the object, with its tag.
func unknown(name string, p *[]byte) component {
	return component{name: name, form: whole, read: func(o object) error {
		*p = append([]byte(nil), o.raw...)
		return o.nested(0)
	}, write: func() []byte { return *p }}
}
