package iso7816

import (
	"fmt"
	"slices"
	"time"
)

// Parameters are what an ATR says about the transmission (ISO/IEC 7816-3 8.3, 10.2,
// 11.4).
type Parameters struct {
	Protocols []byte // on offer, the first one is used when nothing is negotiated
	// Specific: TA2 is there, and T and the rate are as the ATR says, without PPS.
	Specific bool
	// FD is TA1, or 11 when it is absent; F and D are what it stands for.
	FD   byte
	F, D int
	// N is TC1, the extra guard time, etu; 255 is the least there is.
	N byte

	WI byte // T=0: TC2, waiting time integer

	IFSC     int  // T=1: the longest INF that the card takes
	BWI, CWI byte // T=1: block and character waiting time integers
	CRC      bool // T=1: error detection by CRC instead of LRC
}

// fdDefault is TA1 when it is absent: Fd = 372, Dd = 1.
const fdDefault = 0x11

// The values of Fi and Di in TA1 and PPS1; 0 is reserved (ISO/IEC 7816-3 tables 7, 8).
var (
	fiTable = [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	diTable = [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20}
)

// rate is F and D of a TA1 or PPS1; false for reserved values.
func rate(fd byte) (f, d int, ok bool) {
	f, d = fiTable[fd>>4], diTable[fd&0x0F]
	return f, d, f != 0 && d != 0
}

// Parameters reads them out of the ATR.
func (a ATR) Parameters() (Parameters, error) {
	p := Parameters{Protocols: a.Protocols(), FD: fdDefault, WI: 10, IFSC: 32, BWI: 4, CWI: 13}
	one := false // the first group of T=1 was there
	for i, g := range a.Groups {
		switch {
		case i == 0:
			if g.TA != nil {
				p.FD = *g.TA
			}
			if g.TC != nil {
				p.N = *g.TC
			}
		case i == 1:
			if g.TA != nil {
				p.Specific = true
				p.Protocols = []byte{*g.TA & 0x0F}
				if *g.TA&0x10 != 0 { // implicit values, which nobody here knows
					p.FD = fdDefault
				}
			}
			if g.TC != nil {
				p.WI = *g.TC
			}
		case g.T == 1 && !one:
			one = true
			if g.TA != nil {
				p.IFSC = int(*g.TA)
			}
			if g.TB != nil {
				p.BWI, p.CWI = *g.TB>>4, *g.TB&0x0F
			}
			if g.TC != nil {
				p.CRC = *g.TC&1 != 0
			}
		}
	}
	var ok bool
	switch p.F, p.D, ok = rate(p.FD); {
	case !ok:
		return p, fmt.Errorf("atr: TA1 = %02X is a reserved value (8.3)", p.FD)
	case p.WI == 0:
		return p, fmt.Errorf("atr: TC2 = 00 is a reserved value of WI (10.2)")
	case p.IFSC == 0 || p.IFSC == 255:
		return p, fmt.Errorf("atr: IFSC = %02X is a reserved value (11.4.2)", p.IFSC)
	case p.BWI > 9:
		return p, fmt.Errorf("atr: BWI = %d is a reserved value (11.4.3)", p.BWI)
	}
	return p, nil
}

// offers tells whether protocol t is on offer.
func (p Parameters) offers(t byte) bool { return slices.Contains(p.Protocols, t) }

// times are the waiting times that hold at a rate.
type times struct {
	etu time.Duration
	wwt time.Duration // T=0: work waiting time (10.2)
	cwt time.Duration // T=1: character waiting time (11.4.3)
	bwt time.Duration // T=1: block waiting time (11.4.3)
}

// times at the rate FD, when the card was reset at so many baud: there an etu is
// 372 periods of the clock.
func (p Parameters) times(fd byte, baud int) times {
	f, d, _ := rate(fd)
	initial := time.Second / time.Duration(baud)
	etu := initial * time.Duration(f) / time.Duration(372*d)
	return times{
		etu: etu,
		wwt: time.Duration(p.WI) * 960 * etu * time.Duration(d),
		cwt: (11 + 1<<p.CWI) * etu,
		bwt: 11*etu + 960<<p.BWI*initial,
	}
}
