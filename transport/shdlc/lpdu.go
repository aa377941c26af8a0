package shdlc

// The control field, the first octet of an LPDU (TS 102 613 10.3, unverified; values
// as Linux net/nfc/hci/llc_shdlc.c has them).
const (
	ctlI   = 0x80 // 1 0 N(S) N(R)
	ctlRR  = 0xC0 // 1 1 0 0 0 N(R): receive ready
	ctlREJ = 0xC8 // 1 1 0 0 1 N(R): reject: send again from N(R) on
	ctlRNR = 0xD0 // 1 1 0 1 0 N(R): receive not ready
	ctlSRJ = 0xD8 // 1 1 0 1 1 N(R): selective reject: send N(R) again
	ctlUA  = 0xE6 // 1 1 1 0 0 1 1 0: unnumbered acknowledgement
	ctlRST = 0xF9 // 1 1 1 1 1 0 0 1: RSET; then window size and abilities, both optional

	abilitySREJ = 0x01 // bit 1 of the second octet of a RSET

	modulus   = 8
	maxWindow = 4
	minWindow = 2
)

// lpduKind is what an LPDU is.
type lpduKind uint8

const (
	kindI lpduKind = iota
	kindRR
	kindREJ
	kindRNR
	kindSREJ
	kindUA
	kindRSET
)

// lpdu is a decoded LPDU.
type lpdu struct {
	kind   lpduKind
	ns, nr uint8
	info   []byte // of an I-frame; aliases the LPDU
	window int    // of a RSET
	srej   bool   // of a RSET
}

// decode takes an LPDU apart; false when it is none.
func decode(b []byte) (f lpdu, ok bool) {
	if len(b) == 0 {
		return f, false
	}
	c, rest := b[0], b[1:]
	f.nr = c & 7
	switch {
	case c&0xC0 == ctlI:
		f.kind, f.ns, f.info = kindI, c>>3&7, rest
		return f, true
	case c&0xE0 == 0xC0:
		f.kind = kindRR + lpduKind(c>>3&3)
		return f, len(rest) == 0
	case c == ctlUA:
		f.kind = kindUA
		return f, len(rest) == 0
	case c == ctlRST:
		f.kind, f.window = kindRSET, maxWindow // both are optional
		if len(rest) > 0 {
			f.window = int(rest[0])
		}
		if len(rest) > 1 {
			f.srej = rest[1]&abilitySREJ != 0
		}
		return f, true
	}
	return f, false
}
