package iso7816

import (
	"errors"
	"fmt"
	"slices"
)

// ATR is an Answer-to-Reset (ISO/IEC 7816-3 8.2).
//
//	TS T0 | TA1 TB1 TC1 TD1 | TA2 TB2 TC2 TD2 | ... | T1..TK    | TCK
//	      | Groups[0]       | Groups[1]       |     | Historical | if other than T=0 is offered
//
// T0, the TDi and TCK follow from the rest; Bytes works them out and ParseATR
// checks them.
type ATR struct {
	Inverse    bool    // TS is 3F, inverse convention, instead of 3B
	Groups     []Group // the interface bytes; Groups[i-1] holds TAi, TBi, TCi
	Historical []byte  // at most 15 bytes
}

// Group is one group of interface bytes; nil stands for a byte that is absent.
type Group struct {
	T          byte // the protocol or 15, from the preceding TD; without meaning in Groups[0]
	TA, TB, TC *byte
}

const (
	tsDirect  = 0x3B
	tsInverse = 0x3F
	// tGlobal as a value of T qualifies global interface bytes, not a protocol.
	tGlobal = 15
	// maxATRSize is TS and at most 32 bytes (ISO/IEC 7816-3 8.2.1).
	maxATRSize    = 33
	maxHistorical = 15
)

// What ParseATR and Bytes refuse; all clauses are of ISO/IEC 7816-3.
var (
	ErrATRShort      = errors.New("atr: it ends before the bytes that T0 and the TDs announce (8.2)")
	ErrATRLong       = errors.New("atr: longer than TS and 32 bytes (8.2.1)")
	ErrATRTS         = errors.New("atr: TS is neither 3B nor 3F (8.1)")
	ErrATRTCK        = errors.New("atr: TCK does not make the exclusive-or of T0 to TCK zero (8.2.5)")
	ErrATRTrailing   = errors.New("atr: more bytes follow than T0 and the TDs announce (8.2)")
	ErrATRFirst15    = errors.New("atr: TD1 says T=15, which is not a protocol (8.2.3)")
	ErrATRHistorical = errors.New("atr: more than 15 historical bytes (8.2.4)")
	ErrATRProtocol   = errors.New("atr: a value of T above 15 (8.2.3)")
)

// ParseATR reads a whole ATR; it copies what it keeps.
func ParseATR(b []byte) (ATR, error) {
	var a ATR
	if len(b) > maxATRSize {
		return a, ErrATRLong
	}
	if len(b) < 2 {
		return a, ErrATRShort
	}
	switch b[0] {
	case tsDirect:
	case tsInverse:
		a.Inverse = true
	default:
		return a, ErrATRTS
	}
	rest := b[2:]
	short := false
	next := func(present byte) *byte {
		if present == 0 {
			return nil
		}
		if len(rest) == 0 {
			short = true
			return nil
		}
		v := rest[0]
		rest = rest[1:]
		return &v
	}
	// y is T0 and then each TD: which bytes of the next group there are.
	for y := b[1]; ; {
		g := Group{T: y & 0x0F}
		if len(a.Groups) == 0 {
			g.T = 0
		}
		g.TA, g.TB, g.TC = next(y&0x10), next(y&0x20), next(y&0x40)
		td := next(y & 0x80)
		if short {
			return ATR{}, ErrATRShort
		}
		a.Groups = append(a.Groups, g)
		if td == nil {
			break
		}
		if len(a.Groups) == 1 && *td&0x0F == tGlobal {
			return ATR{}, ErrATRFirst15
		}
		y = *td
	}
	k := int(b[1] & 0x0F)
	if len(rest) < k {
		return ATR{}, ErrATRShort
	}
	a.Historical = append(a.Historical, rest[:k]...)
	rest = rest[k:]
	if a.needsTCK() {
		if len(rest) == 0 {
			return ATR{}, ErrATRShort
		}
		if xor(b[1:len(b)-len(rest)+1]) != 0 {
			return ATR{}, ErrATRTCK
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return ATR{}, ErrATRTrailing
	}
	return a, nil
}

// Bytes encodes the ATR, with T0, the TDs and TCK.
func (a ATR) Bytes() ([]byte, error) {
	if len(a.Historical) > maxHistorical {
		return nil, ErrATRHistorical
	}
	b := []byte{tsDirect, byte(len(a.Historical))}
	if a.Inverse {
		b[0] = tsInverse
	}
	y := 1 // where the byte is that announces the group: T0, then the TDs
	for i, g := range a.Groups {
		if i > 0 {
			if g.T > tGlobal {
				return nil, ErrATRProtocol
			}
			if i == 1 && g.T == tGlobal {
				return nil, ErrATRFirst15
			}
			b[y] |= 0x80
			b = append(b, g.T)
			y = len(b) - 1
		}
		for bit, v := range []*byte{g.TA, g.TB, g.TC} {
			if v != nil {
				b[y] |= 0x10 << bit
				b = append(b, *v)
			}
		}
	}
	b = append(b, a.Historical...)
	if a.needsTCK() {
		b = append(b, xor(b[1:]))
	}
	if len(b) > maxATRSize {
		return nil, ErrATRLong
	}
	return b, nil
}

// Protocols are the transmission protocols on offer, the preferred one first:
// T=0 alone when there is no TD1 (ISO/IEC 7816-3 8.2.3).
func (a ATR) Protocols() []byte {
	if len(a.Groups) < 2 {
		return []byte{0}
	}
	var list []byte
	for _, g := range a.Groups[1:] {
		if g.T != tGlobal && !slices.Contains(list, g.T) {
			list = append(list, g.T)
		}
	}
	return list
}

// needsTCK tells whether anything other than T=0 is indicated (8.2.5).
func (a ATR) needsTCK() bool {
	for i, g := range a.Groups {
		if i > 0 && g.T != 0 {
			return true
		}
	}
	return false
}

func xor(b []byte) (x byte) {
	for _, v := range b {
		x ^= v
	}
	return x
}

// String is the ATR in hexadecimal, or what is wrong with it.
func (a ATR) String() string {
	b, err := a.Bytes()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("% X", b)
}
