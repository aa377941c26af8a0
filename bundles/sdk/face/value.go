package face

// Value is data that a bundle tells beside its Description, for JSON and CBOR alike. The
// zero value is an empty text.
type Value struct{ v value }

// Text is s, in UTF-8 without control characters.
func Text(s string) Value { return Value{text(s)} }

// Octets is a byte string; JSON has it in hexadecimal.
func Octets(b []byte) Value { return Value{value{kind: octets, text: string(b)}} }

// Number is a whole number.
func Number(n int64) Value { return Value{number(n)} }

// Truth is true or false.
func Truth(b bool) Value { return Value{truthOf(b)} }

// List is the values in their order.
func List(of ...Value) Value {
	l := Value{value{kind: list}}
	for _, m := range of {
		l.v.items = append(l.v.items, m.v)
	}
	return l
}

// Object is a value without members; Set adds them.
func Object() Value { return Value{value{kind: object}} }

// Set gives an object a member, in place of one with the same name.
func (v *Value) Set(name string, m Value) { v.v.set(name, m.v) }

// JSON is the value as application/json.
func (v Value) JSON() []byte { return append(appendJSON(nil, v.v), '\n') }

// CBOR is the value as application/cbor, in core deterministic encoding.
func (v Value) CBOR() []byte { return appendCBOR(nil, v.v) }
