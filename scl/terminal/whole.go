package terminal

import (
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/transport"
)

// insGetResponse is GET RESPONSE (ISO/IEC 7816-4 11.4.1).
const insGetResponse = 0xC0

// whole makes whole answers of what 61xx announces, for a terminal that does not ask
// for the rest itself (transport.WholeAnswers).
type whole struct {
	// command sends a C-APDU and puts the R-APDU into out[:0].
	command func(c, out []byte) []byte
	parts   []byte // what GET RESPONSE brought so far
}

// answer is the R-APDU to the command p whose first answer is out: out, or all of
// what it announces, as long as it fits into a frame. A short command has short answers,
// of 256 bytes at most (ISO/IEC 7816-3 12.1.2): readers have no room for more.
func (w *whole) answer(p, out []byte) []byte {
	if len(out) != 2 || out[0] != byte(apdu.MoreData>>8) {
		return out
	}
	c, err := apdu.Parse(p)
	if err != nil || c.Ne != 0 {
		return out
	}
	get := [5]byte{byte(apdu.Channel(c.CLA)), insGetResponse}
	if ch := get[0]; ch > 3 {
		get[0] = 0x40 | (ch - 4)
	}
	w.parts = w.parts[:0]
	for {
		get[4] = out[len(out)-1]
		out = w.command(get[:], out)
		data, sw, ok := apdu.Status(out)
		if !ok {
			return out
		}
		w.parts = append(w.parts, data...)
		if sw&0xFF00 != apdu.MoreData || !c.Extended || len(w.parts) > transport.MaxFrame-apdu.MaxShortNe {
			return sw.Append(append(out[:0], w.parts...))
		}
	}
}
