package iso7816

import (
	"errors"
	"fmt"
)

// PPS is a protocol and parameters selection, request or response (ISO/IEC 7816-3 9).
//
//	PPSS=FF | PPS0 | PPS1 | PPS2 | PPS3 | PCK
//	          T and which of the next three there are
type PPS struct {
	T                byte
	PPS1, PPS2, PPS3 *byte // PPS1 is Fi and Di as in TA1; PPS2 is SPU; PPS3 is reserved
}

const (
	ppss   = 0xFF
	minPPS = 3 // PPSS PPS0 PCK
	maxPPS = 6
)

// What ParsePPS and Accepts refuse; clauses of ISO/IEC 7816-3.
var (
	ErrPPSShort  = errors.New("pps: it has not the length that PPS0 says (9.2)")
	ErrPPSStart  = errors.New("pps: PPSS is not FF (9.2)")
	ErrPPSCheck  = errors.New("pps: PCK does not make the exclusive-or of all bytes zero (9.2)")
	ErrPPSAnswer = errors.New("pps: the response says what the request did not propose (9.3)")
)

// sizePPS is the length of the PPS whose PPS0 is given.
func sizePPS(pps0 byte) int {
	n := minPPS
	for bit := byte(0x10); bit < 0x80; bit <<= 1 {
		if pps0&bit != 0 {
			n++
		}
	}
	return n
}

// ParsePPS reads a whole PPS. Bit 8 of PPS0 is reserved and not looked at.
func ParsePPS(b []byte) (PPS, error) {
	switch {
	case len(b) > 0 && b[0] != ppss:
		return PPS{}, ErrPPSStart
	case len(b) < minPPS || len(b) != sizePPS(b[1]):
		return PPS{}, ErrPPSShort
	case xor(b) != 0:
		return PPS{}, ErrPPSCheck
	}
	p := PPS{T: b[1] & 0x0F}
	rest := b[2:]
	for i, to := range []**byte{&p.PPS1, &p.PPS2, &p.PPS3} {
		if b[1]&(0x10<<i) != 0 {
			v := rest[0]
			*to, rest = &v, rest[1:]
		}
	}
	return p, nil
}

// Bytes encodes the PPS, with PPS0 and PCK.
func (p PPS) Bytes() []byte {
	b := make([]byte, 2, maxPPS)
	b[0], b[1] = ppss, p.T&0x0F
	for i, v := range []*byte{p.PPS1, p.PPS2, p.PPS3} {
		if v != nil {
			b[1] |= 0x10 << i
			b = append(b, *v)
		}
	}
	return append(b, xor(b))
}

// Accepts tells whether answer is a response that request p may have: the same, or
// without some of PPS1 to PPS3, for which the default values then hold (9.3).
func (p PPS) Accepts(answer PPS) error {
	same := func(asked, got *byte) bool { return got == nil || asked != nil && *asked == *got }
	if p.T != answer.T || !same(p.PPS1, answer.PPS1) || !same(p.PPS2, answer.PPS2) || !same(p.PPS3, answer.PPS3) {
		return fmt.Errorf("%w: request % X, response % X", ErrPPSAnswer, p.Bytes(), answer.Bytes())
	}
	return nil
}
