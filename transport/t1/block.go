package t1

import (
	"errors"
	"fmt"
)

// PCB is the protocol control byte of a block (ISO/IEC 7816-3 11.3.2.2).
//
//	0 N(S) M 00000      I-block
//	1 0 0 N(R) 00 err   R-block
//	1 1 rsp type(5)     S-block
type PCB byte

// The parts of a PCB.
const (
	pcbMore = 0x20 // I-block: more blocks of the chain follow
	pcbNS   = 0x40 // I-block: N(S)
	pcbR    = 0x80
	pcbNR   = 0x10 // R-block: N(R)
	pcbS    = 0xC0
	pcbRsp  = 0x20 // S-block: response
)

// The S-block requests; a response has bit 0x20 set. The first four are of
// ISO/IEC 7816-3 11.3.2.2, the others of T=1' only (GPC_SPE_172; PowerOnReset,
// ColdReset and DeepPowerDown are vendors' own).
const (
	Resynch       PCB = 0xC0
	IFS           PCB = 0xC1
	Abort         PCB = 0xC2
	WTX           PCB = 0xC3
	CIPRequest    PCB = 0xC4
	Release       PCB = 0xC6
	SWR           PCB = 0xCF // software reset
	PowerOnReset  PCB = 0xD8 // Infineon: not answered
	ColdReset     PCB = 0xDE // NXP
	DeepPowerDown PCB = 0xDF // NXP
)

var requestNames = map[PCB]string{
	Resynch: "RESYNCH", IFS: "IFS", Abort: "ABORT", WTX: "WTX", CIPRequest: "CIP", Release: "RELEASE",
	SWR: "SWR", PowerOnReset: "POR", ColdReset: "COLD RESET", DeepPowerDown: "DEEP POWER DOWN",
}

// What an R-block says of the block before it (ISO/IEC 7816-3 11.3.2.2).
const (
	rFree  PCB = 0 // error-free
	rEDC   PCB = 1 // EDC or parity
	rOther PCB = 2
)

func iBlock(ns byte, more bool) PCB {
	p := PCB(ns&1) * pcbNS
	if more {
		p |= pcbMore
	}
	return p
}

func rBlock(nr byte, why PCB) PCB { return pcbR | PCB(nr&1)*pcbNR | why }

// IsI tells whether it is an I-block.
func (p PCB) IsI() bool { return p&0x80 == 0 }

// IsR tells whether it is an R-block.
func (p PCB) IsR() bool { return p&0xC0 == pcbR }

// IsS tells whether it is an S-block.
func (p PCB) IsS() bool { return p&0xC0 == pcbS }

// NS is N(S) of an I-block.
func (p PCB) NS() byte { return byte(p / pcbNS & 1) }

// More is the M bit of an I-block.
func (p PCB) More() bool { return p&pcbMore != 0 }

// NR is N(R) of an R-block.
func (p PCB) NR() byte { return byte(p / pcbNR & 1) }

// IsResponse tells whether an S-block is a response.
func (p PCB) IsResponse() bool { return p&pcbRsp != 0 }

// Request is the request that an S-block is, or is the response to.
func (p PCB) Request() PCB { return p &^ pcbRsp }

// Response is the response to a request.
func (p PCB) Response() PCB { return p | pcbRsp }

// String is how the standard writes the block: I(0,1), R(1), S(IFS request).
func (p PCB) String() string {
	switch {
	case p.IsI():
		return fmt.Sprintf("I(%d,%d)", p.NS(), p/pcbMore&1)
	case p.IsR():
		return fmt.Sprintf("R(%d)%s", p.NR(), [4]string{"", " EDC error", " other error", " error 3"}[p&3])
	}
	name, ok := requestNames[p.Request()]
	if !ok {
		name = fmt.Sprintf("%02X", byte(p.Request()))
	}
	if p.IsResponse() {
		return "S(" + name + " response)"
	}
	return "S(" + name + " request)"
}

// EDC is the error detection code at the end of a block.
type EDC uint8

const (
	// LRC is the exclusive-or of all bytes before it (ISO/IEC 7816-3 11.3.4).
	LRC EDC = iota
	// CRC is the CRC of ISO/IEC 13239 as readers do it (Debian's libccid): polynomial
	// 8408 reflected, initial FFFF, no final complement, high byte first. ISO/IEC
	// 7816-3 leaves complement and order to ISO/IEC 13239, whose complement readers
	// do not do; unverified.
	CRC
	// CRCX25 is that of T=1' (GPC_SPE_172): CRC-16/X-25, which is CRC with a final
	// complement, high byte first.
	CRCX25
	// CRCX25Swapped has its low byte first (NXP UM11225).
	CRCX25Swapped
)

func (e EDC) String() string {
	return [...]string{"LRC", "CRC", "CRC-16/X-25", "CRC-16/X-25, low byte first"}[e&3]
}

// size is the length in bytes.
func (e EDC) size() int {
	if e == LRC {
		return 1
	}
	return 2
}

// Limits of the information field.
const (
	MaxINF      = 254   // T=1: LEN FF is reserved (ISO/IEC 7816-3 11.3.2.3)
	MaxPrimeINF = 0xFF9 // T=1': a block is at most 4095 bytes (GPC_SPE_172)
)

// Format is how a block is written: T=1 has LEN of one byte and LRC or CRC, T=1'
// has LEN of two bytes, high byte first, and CRCX25.
type Format struct {
	Wide bool // LEN has two bytes
	EDC  EDC
}

// Prologue is the length of NAD, PCB and LEN.
func (f Format) Prologue() int {
	if f.Wide {
		return 4
	}
	return 3
}

// MaxINF is the longest information field.
func (f Format) MaxINF() int {
	if f.Wide {
		return MaxPrimeINF
	}
	return MaxINF
}

// Overhead is what a block has beside its information field, in bytes.
func (f Format) Overhead() int { return f.Prologue() + f.EDC.size() }

// Max is the length of the longest block.
func (f Format) Max() int { return f.Overhead() + f.MaxINF() }

// Block is a block without its LEN and EDC.
type Block struct {
	NAD byte
	PCB PCB
	INF []byte
}

func (b Block) String() string {
	if len(b.INF) == 0 {
		return b.PCB.String()
	}
	return fmt.Sprintf("%s % X", b.PCB, b.INF)
}

// What a block may suffer from.
var (
	ErrEDC    = errors.New("t1: the error detection code is wrong")
	ErrLength = errors.New("t1: the block has not the length that its LEN says")
)

// Append writes a block; inf is at most MaxINF bytes.
func (f Format) Append(dst []byte, nad byte, pcb PCB, inf []byte) []byte {
	start := len(dst)
	if f.Wide {
		dst = append(dst, nad, byte(pcb), byte(len(inf)>>8), byte(len(inf)))
	} else {
		dst = append(dst, nad, byte(pcb), byte(len(inf)))
	}
	dst = append(dst, inf...)
	switch f.EDC {
	case LRC:
		return append(dst, lrc(dst[start:]))
	case CRCX25Swapped:
		c := ^crc(dst[start:])
		return append(dst, byte(c), byte(c>>8))
	case CRCX25:
		c := ^crc(dst[start:])
		return append(dst, byte(c>>8), byte(c))
	}
	c := crc(dst[start:])
	return append(dst, byte(c>>8), byte(c))
}

// Size is the length of the block whose first bytes are b, at least Prologue of
// them; 0 when no block can have that LEN.
func (f Format) Size(b []byte) int {
	n := int(b[2])
	if f.Wide {
		n = n<<8 | int(b[3])
	}
	if n > f.MaxINF() {
		return 0
	}
	return f.Overhead() + n
}

// Parse reads a whole block; INF is a part of b. ErrLength, ErrEDC.
func (f Format) Parse(b []byte) (Block, error) {
	if len(b) < f.Overhead() || f.Size(b) != len(b) {
		return Block{}, ErrLength
	}
	body, end := b[:len(b)-f.EDC.size()], b[len(b)-f.EDC.size():]
	var ok bool
	switch f.EDC {
	case LRC:
		ok = lrc(body) == end[0]
	case CRCX25Swapped:
		ok = ^crc(body) == uint16(end[1])<<8|uint16(end[0])
	case CRCX25:
		ok = ^crc(body) == uint16(end[0])<<8|uint16(end[1])
	default:
		ok = crc(body) == uint16(end[0])<<8|uint16(end[1])
	}
	if !ok {
		return Block{}, ErrEDC
	}
	return Block{b[0], PCB(b[1]), body[f.Prologue():]}, nil
}

func lrc(b []byte) (x byte) {
	for _, v := range b {
		x ^= v
	}
	return x
}

// crc is the register after b: polynomial x^16+x^12+x^5+1 reflected, initial FFFF.
func crc(b []byte) uint16 {
	c := uint16(0xFFFF)
	for _, v := range b {
		c = c>>8 ^ crcTable[byte(c)^v]
	}
	return c
}

var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			c = c>>1 ^ c&1*0x8408
		}
		t[i] = c
	}
	return t
}()
