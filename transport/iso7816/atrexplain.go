package iso7816

import (
	"fmt"
	"strings"
)

// Field is one field of an ATR with what it says.
type Field struct {
	Name  string // "TS", "TA1", "historical bytes", "TCK"
	Value []byte
	Text  string
}

// String is the field on one line.
func (f Field) String() string { return fmt.Sprintf("%-4s % X  %s", f.Name, f.Value, f.Text) }

// Explain says in words what every field of the ATR means; an ATR that cannot be
// encoded has no fields.
func (a ATR) Explain() []Field {
	b, err := a.Bytes()
	if err != nil {
		return nil
	}
	var fields []Field
	add := func(name string, text string) {
		fields = append(fields, Field{name, b[:1:1], text})
		b = b[1:]
	}
	convention := "direct convention"
	if a.Inverse {
		convention = "inverse convention"
	}
	add("TS", convention)
	add("T0", fmt.Sprintf("%s; historical bytes: %d", follow(b[0], 1), b[0]&0x0F))
	for i, g := range a.Groups {
		n := i + 1
		for j, v := range []*byte{g.TA, g.TB, g.TC} {
			if v != nil {
				letter := "ABC"[j]
				add(fmt.Sprintf("T%c%d", letter, n), interfaceByte(letter, n, g.T, *v))
			}
		}
		if n < len(a.Groups) {
			what := fmt.Sprintf("T=%d", b[0]&0x0F)
			switch {
			case b[0]&0x0F == tGlobal:
				what = "T=15, global interface bytes"
			case n == 1:
				what += " is the first protocol on offer"
			default:
				what += " is on offer"
			}
			add(fmt.Sprintf("TD%d", n), fmt.Sprintf("%s; %s", what, follow(b[0], n+1)))
		}
	}
	if k := len(a.Historical); k > 0 {
		fields = append(fields, Field{"T1..", b[:k:k], "historical bytes: " + historical(a.Historical)})
		b = b[k:]
	}
	if len(b) > 0 {
		add("TCK", "check byte, correct")
	}
	return fields
}

// follow names the interface bytes that T0 or a TD announces.
func follow(y byte, n int) string {
	var names []string
	for bit, c := range "ABCD" {
		if y&(0x10<<bit) != 0 {
			names = append(names, fmt.Sprintf("T%c%d", c, n))
		}
	}
	if names == nil {
		return "no interface bytes"
	}
	return "then " + strings.Join(names, " ")
}

// fi and di are tables 7 and 8 of ISO/IEC 7816-3; 0 is reserved.
var (
	fi   = [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	fMax = [16]string{"4", "5", "6", "8", "12", "16", "20", "", "", "5", "7.5", "10", "15", "20", "", ""}
	di   = [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}
)

// interfaceByte explains TAn, TBn or TCn, which belongs to protocol t from n = 3
// on (ISO/IEC 7816-3 8.3, 10.2, 11.4.2).
func interfaceByte(letter byte, n int, t, v byte) string {
	switch {
	case n == 1 && letter == 'A':
		f, d := fi[v>>4], di[v&0x0F]
		if f == 0 || d == 0 {
			return "F and D: a reserved value"
		}
		return fmt.Sprintf("F=%d, D=%d, %g clock cycles per etu, at most %s MHz", f, d, float64(f)/float64(d), fMax[v>>4])
	case n == 1 && letter == 'B':
		return "programming voltage (deprecated, to be ignored)"
	case n == 1 && v == 0xFF:
		return "extra guard time: 12 etu for T=0, 11 etu for T=1"
	case n == 1:
		return fmt.Sprintf("extra guard time of %d etu", v)
	case n == 2 && letter == 'A':
		s := fmt.Sprintf("specific mode T=%d, ", v&0x0F)
		if v&0x80 != 0 {
			s += "which the card cannot leave, "
		} else {
			s += "which the card can leave after a warm reset, "
		}
		if v&0x10 != 0 {
			return s + "with implicit F and D"
		}
		return s + "with F and D of TA1"
	case n == 2 && letter == 'B':
		return "programming voltage (deprecated, to be ignored)"
	case n == 2 && v == 0:
		return "waiting time integer for T=0: a reserved value"
	case n == 2:
		return fmt.Sprintf("waiting time integer for T=0: %d (%d etu)", v, int(v)*960)
	case t == 1 && letter == 'A' && (v == 0 || v == 0xFF):
		return "largest information field the card takes in T=1: a reserved value"
	case t == 1 && letter == 'A':
		return fmt.Sprintf("largest information field the card takes in T=1: %d bytes", v)
	case t == 1 && letter == 'B':
		return fmt.Sprintf("T=1: block waiting time integer %d, character waiting time integer %d", v>>4, v&0x0F)
	case t == 1 && v&1 != 0:
		return "T=1: blocks end with a CRC"
	case t == 1:
		return "T=1: blocks end with an LRC"
	case t == tGlobal && letter == 'A':
		return clockStop[v>>6] + ", " + classes(v&0x3F)
	case t == tGlobal && letter == 'B' && v&0x80 != 0:
		return "contact C6: proprietary use"
	case t == tGlobal && letter == 'B' && v == 0:
		return "contact C6: not used"
	case t == tGlobal && letter == 'B':
		return "contact C6: standard use"
	case t == tGlobal:
		return "global interface byte: reserved"
	}
	return fmt.Sprintf("specific to T=%d", t)
}

var clockStop = [4]string{"no clock stop", "clock stop at low", "clock stop at high", "clock stop at either level"}

// classes are the classes of operating conditions in TA after T=15.
func classes(y byte) string {
	if y == 0 || y > 7 || y == 5 {
		return "classes: a reserved value"
	}
	var list []string
	for bit, s := range []string{"A (5 V)", "B (3 V)", "C (1.8 V)"} {
		if y&(1<<bit) != 0 {
			list = append(list, s)
		}
	}
	return "class " + strings.Join(list, ", ")
}

// historical explains the historical bytes (ISO/IEC 7816-4 12.1.1).
func historical(h []byte) string {
	switch {
	case h[0] == 0x00 && len(h) >= 4:
		n := len(h) - 3
		return join(compact(h[1:n]), fmt.Sprintf("status % X", h[n:]))
	case h[0] == 0x10 && len(h) == 2:
		return fmt.Sprintf("DIR data reference %02X", h[1])
	case h[0] == 0x80:
		return join("compact TLV", compact(h[1:]))
	}
	for _, c := range h {
		if c < ' ' || c > '~' {
			return "proprietary"
		}
	}
	return fmt.Sprintf("proprietary, %q", h)
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// compact explains COMPACT-TLV data objects (ISO/IEC 7816-4 12.1.1.2).
func compact(b []byte) string {
	var list []string
	for len(b) > 0 {
		tag, n := b[0]>>4, int(b[0]&0x0F)
		if len(b) < 1+n {
			return join(strings.Join(list, "; "), fmt.Sprintf("incomplete % X", b))
		}
		name := compactTags[tag]
		if name == "" {
			name = fmt.Sprintf("tag %X", tag)
		}
		list = append(list, fmt.Sprintf("%s % X", name, b[1:1+n]))
		b = b[1+n:]
	}
	return strings.Join(list, "; ")
}

var compactTags = [16]string{
	1: "country", 2: "issuer", 3: "card service data", 4: "initial access data", 5: "card issuer's data",
	6: "pre-issuing data", 7: "card capabilities", 8: "status", 15: "application identifier",
}
