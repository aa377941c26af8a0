package t1

import (
	"errors"
	"fmt"
	"time"

	"github.com/sspemu/sspemu/transport/bus"
)

// CIP are the Communication Interface Parameters of a T=1' target: INF of S(CIP
// response) (GPC_SPE_172). On the wire, where L is the length of what follows:
//
//	PVER  L IIN  PLID  L PLP  L DLLP  L HB
//	PLP of SPI: configuration PWT MCF(2) PST MPOT SEGT(2) SEAL(2) WUT(2)
//	PLP of I2C: configuration PWT MCF(2) PST MPOT RWGT(2)
//	DLLP:       BWT(2) IFSC(2)
//
// Numbers of two bytes have their high byte first. Longer PLP and DLLP are read as
// far as they are known.
type CIP struct {
	Version       byte         // PVER
	IIN           []byte       // issuer identification number, 3 or 4 bytes
	Physical      bus.Physical // PLID
	Configuration byte         // RFU

	PWT  time.Duration // power wake-up time: from power or reset to the first access; ms
	MCF  int           // maximum clock frequency, kHz
	PST  time.Duration // power-saving timeout: silence after which the target sleeps; ms
	MPOT time.Duration // minimum polling time: between two looks for an answer; 100 us
	SEGT time.Duration // SPI: guard time between accesses; us (unverified: a source says ms)
	SEAL int           // SPI: the longest access, bytes
	WUT  time.Duration // SPI: wake-up time of a target that sleeps; us (unverified)
	RWGT time.Duration // I2C: guard time between writing and reading; us

	BWT  time.Duration // block waiting time; ms
	IFSC int           // the longest INF that the target takes

	HB []byte // historical bytes
}

// DefaultCIP is what holds before the CIP is read (as Infineon's driver has it).
func DefaultCIP(p bus.Physical) CIP {
	c := CIP{
		Version: 1, IIN: []byte{0, 0, 0}, Physical: p,
		PWT: 25 * time.Millisecond, MPOT: time.Millisecond,
		BWT: 300 * time.Millisecond, IFSC: 8,
	}
	if p == bus.I2C {
		c.MCF, c.RWGT = 400, 10*time.Microsecond
	} else {
		c.MCF, c.SEGT, c.SEAL = 1000, 200*time.Microsecond, 16
	}
	return c
}

// OurCIP is that of the emulated SSP: as fast as a bus goes, whole blocks at once.
func OurCIP(p bus.Physical) CIP {
	c := DefaultCIP(p)
	c.MPOT, c.IFSC = 100*time.Microsecond, MaxPrimeINF
	c.PWT = 5 * time.Millisecond
	if p == bus.I2C {
		c.MCF = 3400
	} else {
		c.MCF, c.SEGT, c.SEAL = 0xFFFF, 10*time.Microsecond, 4096
	}
	return c
}

// ErrCIP is what ParseCIP and Bytes refuse.
var ErrCIP = errors.New("t1: CIP")

const (
	plpSPI, plpI2C, dllp = 12, 8, 4
)

// ParseCIP reads INF of S(CIP response); it copies what it keeps.
func ParseCIP(b []byte) (CIP, error) {
	var c CIP
	short := false
	take := func(n int) []byte {
		if len(b) < n {
			short = true
			return make([]byte, n)
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	field := func() []byte { return take(int(take(1)[0])) }
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	us := func(b []byte) time.Duration { return time.Duration(be16(b)) * time.Microsecond }

	c.Version = take(1)[0]
	c.IIN = append([]byte{}, field()...)
	c.Physical = bus.Physical(take(1)[0])
	plp, dl := field(), field()
	c.HB = append([]byte{}, field()...)
	least := plpSPI
	if c.Physical == bus.I2C {
		least = plpI2C
	}
	switch {
	case short:
		return CIP{}, fmt.Errorf("%w: it ends before its lengths say", ErrCIP)
	case len(b) > 0:
		return CIP{}, fmt.Errorf("%w: %d bytes more than its lengths say", ErrCIP, len(b))
	case c.Version != 1:
		return CIP{}, fmt.Errorf("%w: version %d, only 1 is known", ErrCIP, c.Version)
	case len(c.IIN) != 3 && len(c.IIN) != 4:
		return CIP{}, fmt.Errorf("%w: an issuer identification number of %d bytes (3 or 4)", ErrCIP, len(c.IIN))
	case c.Physical != bus.SPI && c.Physical != bus.I2C:
		return CIP{}, fmt.Errorf("%w: physical layer %d is neither SPI (1) nor I2C (2)", ErrCIP, c.Physical)
	case len(plp) < least:
		return CIP{}, fmt.Errorf("%w: physical layer parameters of %d bytes (%s has %d)", ErrCIP, len(plp), c.Physical, least)
	case len(dl) < dllp:
		return CIP{}, fmt.Errorf("%w: data link parameters of %d bytes (%d)", ErrCIP, len(dl), dllp)
	}
	c.Configuration = plp[0]
	c.PWT, c.MCF, c.PST = ms(int(plp[1])), be16(plp[2:]), ms(int(plp[4]))
	c.MPOT = 100 * time.Microsecond * time.Duration(plp[5])
	if c.Physical == bus.I2C {
		c.RWGT = us(plp[6:])
	} else {
		c.SEGT, c.SEAL, c.WUT = us(plp[6:]), be16(plp[8:]), us(plp[10:])
	}
	c.BWT, c.IFSC = ms(be16(dl)), be16(dl[2:])
	if c.IFSC == 0 || c.IFSC > MaxPrimeINF {
		return CIP{}, fmt.Errorf("%w: IFSC %d (1 to %d)", ErrCIP, c.IFSC, MaxPrimeINF)
	}
	return c, nil
}

// Bytes is INF of S(CIP response).
func (c CIP) Bytes() ([]byte, error) {
	var b []byte
	var err error
	num := func(what string, v, unit time.Duration, size int) {
		n := int64(v / unit)
		if (n < 0 || n >= 1<<(8*size)) && err == nil {
			err = fmt.Errorf("%w: %s %d does not fit %d bytes", ErrCIP, what, n, size)
		}
		if size == 2 {
			b = append(b, byte(n>>8))
		}
		b = append(b, byte(n))
	}
	if len(c.HB) > 255 || len(c.IIN) != 3 && len(c.IIN) != 4 {
		return nil, fmt.Errorf("%w: %d historical bytes (255 at most), issuer identification number of %d bytes (3 or 4)", ErrCIP, len(c.HB), len(c.IIN))
	}
	b = append(b, c.Version, byte(len(c.IIN)))
	b = append(b, c.IIN...)
	size := byte(plpSPI)
	if c.Physical == bus.I2C {
		size = plpI2C
	}
	b = append(b, byte(c.Physical), size, c.Configuration)
	num("PWT", c.PWT, time.Millisecond, 1)
	num("MCF", time.Duration(c.MCF), 1, 2)
	num("PST", c.PST, time.Millisecond, 1)
	num("MPOT", c.MPOT, 100*time.Microsecond, 1)
	if c.Physical == bus.I2C {
		num("RWGT", c.RWGT, time.Microsecond, 2)
	} else {
		num("SEGT", c.SEGT, time.Microsecond, 2)
		num("SEAL", time.Duration(c.SEAL), 1, 2)
		num("WUT", c.WUT, time.Microsecond, 2)
	}
	b = append(b, dllp)
	num("BWT", c.BWT, time.Millisecond, 2)
	num("IFSC", time.Duration(c.IFSC), 1, 2)
	b = append(b, byte(len(c.HB)))
	return append(b, c.HB...), err
}

// String is one line for people.
func (c CIP) String() string {
	line := fmt.Sprintf("T=1' version %d, issuer % X, %s, PWT %v, MCF %d kHz, PST %v, MPOT %v", c.Version, c.IIN, c.Physical, c.PWT, c.MCF, c.PST, c.MPOT)
	if c.Physical == bus.I2C {
		line += fmt.Sprintf(", RWGT %v", c.RWGT)
	} else {
		line += fmt.Sprintf(", SEGT %v, SEAL %d, WUT %v", c.SEGT, c.SEAL, c.WUT)
	}
	return line + fmt.Sprintf(", BWT %v, IFSC %d, historical bytes % X", c.BWT, c.IFSC, c.HB)
}

func be16(b []byte) int { return int(b[0])<<8 | int(b[1]) }

// atrOf is the ATR of a target that has none but its historical bytes: as PC/SC part 3
// makes it for cards without contacts.
func atrOf(hb []byte) []byte {
	hb = hb[:min(len(hb), 15)]
	b := append([]byte{0x3B, 0x80 | byte(len(hb)), 0x80, 0x01}, hb...)
	return append(b, lrc(b[1:]))
}

// historical are the historical bytes of an ATR (ISO/IEC 7816-3 8.2); none of what
// is not one.
func historical(atr []byte) []byte {
	if len(atr) < 2 {
		return nil
	}
	at := 2
	for y := atr[1]; ; y = atr[at-1] {
		for bit := byte(0x10); bit != 0; bit <<= 1 {
			if y&bit != 0 {
				at++
			}
		}
		if at > len(atr) {
			return nil
		}
		if y&0x80 == 0 {
			break
		}
	}
	k := int(atr[1] & 0x0F)
	if at+k > len(atr) {
		return nil
	}
	return atr[at : at+k]
}
