// Package apdu holds the value types of a command and response APDU that every
// room of sspemu shares: the parsed command, its four cases, and the status
// word.
//
//	terminal ── C-APDU bytes ──> apdu.Parse ──> Command ──> bundle
//	terminal <── R-APDU bytes ── data ‖ SW <──────────────── bundle
//
// It is a leaf: it imports nothing of sspemu and is safe inside a guest (no fmt,
// no reflection, no allocation on the parsing path).
//
// Sources: ISO/IEC 7816-3 12.1 (cases 1 to 4, short and extended), ISO/IEC
// 7816-4 5 (CLA, status words), ETSI TS 102 221 10.1.
package apdu

// Sizes of ISO/IEC 7816-3 12.1.
const (
	MaxShortNc    = 255
	MaxShortNe    = 256
	MaxExtendedNc = 65535
	MaxExtendedNe = 65536
	// MaxCommand is the longest well-formed command: header, extended Lc, Nc, extended Le.
	MaxCommand = 4 + 3 + MaxExtendedNc + 2
	// MaxResponse is the longest well-formed response: Ne and the status word.
	MaxResponse = MaxExtendedNe + 2
)

// Error is a malformed command APDU; it says what is wrong in words.
type Error string

func (e Error) Error() string { return string(e) }

// What Parse refuses; all of them are SW 6700 on a card interface.
const (
	ErrShort  Error = "apdu: shorter than the four bytes CLA INS P1 P2"
	ErrLength Error = "apdu: Lc and Le do not account for the bytes that follow the header (ISO/IEC 7816-3 12.1.3)"
	ErrLong   Error = "apdu: longer than an extended command APDU of 65544 bytes can be"
)

// Command is a parsed command APDU (ISO/IEC 7816-3 12.1). Data aliases the
// parsed bytes. Ne is 0 when there is no Le field, else 1 to 65536.
type Command struct {
	CLA, INS, P1, P2 byte
	Data             []byte
	Ne               int
	Extended         bool
}

// Parse reads a command APDU of any of the cases 1, 2S, 3S, 4S, 2E, 3E, 4E. It
// does not allocate and does not copy: Data aliases b.
func Parse(b []byte) (Command, error) {
	if len(b) < 4 {
		return Command{}, ErrShort
	}
	if len(b) > MaxCommand {
		return Command{}, ErrLong
	}
	c := Command{CLA: b[0], INS: b[1], P1: b[2], P2: b[3]}
	body := b[4:]
	switch {
	case len(body) == 0: // case 1
		return c, nil
	case len(body) == 1: // case 2S
		c.Ne = short(body[0])
		return c, nil
	case body[0] != 0: // cases 3S and 4S
		nc := int(body[0])
		switch len(body) {
		case 1 + nc:
		case 2 + nc:
			c.Ne = short(body[1+nc])
		default:
			return Command{}, ErrLength
		}
		c.Data = body[1 : 1+nc : 1+nc]
		return c, nil
	}
	// B1 = 00 with more bytes: extended.
	if len(body) < 3 {
		return Command{}, ErrLength
	}
	c.Extended = true
	n := int(body[1])<<8 | int(body[2])
	if len(body) == 3 { // case 2E
		c.Ne = extended(n)
		return c, nil
	}
	if n == 0 {
		return Command{}, ErrLength
	}
	switch len(body) {
	case 3 + n: // case 3E
	case 5 + n: // case 4E
		c.Ne = extended(int(body[3+n])<<8 | int(body[4+n]))
	default:
		return Command{}, ErrLength
	}
	c.Data = body[3 : 3+n : 3+n]
	return c, nil
}

func short(b byte) int {
	if b == 0 {
		return MaxShortNe
	}
	return int(b)
}

func extended(n int) int {
	if n == 0 {
		return MaxExtendedNe
	}
	return n
}

// Case is 1 to 4 as in ISO/IEC 7816-3 12.1.2, table 11.
func (c *Command) Case() int {
	switch {
	case len(c.Data) == 0 && c.Ne == 0:
		return 1
	case len(c.Data) == 0:
		return 2
	case c.Ne == 0:
		return 3
	}
	return 4
}

// Append encodes c behind dst. It chooses the extended form when c.Extended is
// set or a length needs it.
func (c *Command) Append(dst []byte) []byte {
	dst = append(dst, c.CLA, c.INS, c.P1, c.P2)
	nc := len(c.Data)
	if !c.Extended && nc <= MaxShortNc && c.Ne <= MaxShortNe {
		if nc > 0 {
			dst = append(dst, byte(nc))
			dst = append(dst, c.Data...)
		}
		if c.Ne > 0 {
			dst = append(dst, byte(c.Ne))
		}
		return dst
	}
	if nc > 0 {
		dst = append(dst, 0, byte(nc>>8), byte(nc))
		dst = append(dst, c.Data...)
	} else if c.Ne > 0 {
		dst = append(dst, 0)
	}
	if c.Ne > 0 {
		dst = append(dst, byte(c.Ne>>8), byte(c.Ne))
	}
	return dst
}

// Channel is the logical channel that an interindustry or TS 102 221 class byte
// names: 0 to 3 in the first interindustry form, 4 to 19 in the further form
// (ISO/IEC 7816-4 5.4.1, ETSI TS 102 221 10.1.1).
func Channel(cla byte) int {
	if cla&0x40 != 0 {
		return int(cla&0x0F) + 4
	}
	return int(cla & 0x03)
}

// Chained tells whether the command chaining bit is set: there is more to come
// (ISO/IEC 7816-4 5.3.3).
func Chained(cla byte) bool { return cla&0x10 != 0 && cla != 0xFF }

// SW is a status word (ISO/IEC 7816-4 5.6).
type SW uint16

// Append adds the two bytes of the status word to dst.
func (s SW) Append(dst []byte) []byte { return append(dst, byte(s>>8), byte(s)) }

// Status splits a response APDU into data and status word; ok is false when it
// is shorter than a status word.
func Status(rapdu []byte) (data []byte, sw SW, ok bool) {
	n := len(rapdu)
	if n < 2 {
		return nil, 0, false
	}
	return rapdu[:n-2], SW(rapdu[n-2])<<8 | SW(rapdu[n-1]), true
}
