package shdlc

import (
	"encoding/binary"

	"github.com/sspemu/sspemu/transport/bus"
)

// crcOctets is the width of the CRC of a MAC frame.
const crcOctets = 2

// mac is the framing that both directions share; the package comment has it.
type mac struct{ length, max int }

func newMAC(c Config) mac { return mac{c.LengthOctets, c.MaxLPDU} }

// header is the number of octets before the LPDU.
func (m mac) header() int { return m.length + 1 }

// frame is the number of octets that an LPDU of n octets takes.
func (m mac) frame(n int) int { return m.header() + n + crcOctets }

// append puts the frame of an LPDU behind dst.
func (m mac) append(dst, lpdu []byte) []byte {
	at := len(dst)
	n := len(lpdu)
	if m.length == 2 {
		dst = append(dst, byte(n>>8))
	}
	dst = append(dst, byte(n), ^byte(n>>8)^byte(n))
	dst = append(dst, lpdu...)
	return binary.LittleEndian.AppendUint16(dst, crc(dst[at:]))
}

// decoder takes frames out of what arrives on one direction of a bus. It holds one
// frame at most.
type decoder struct {
	mac
	buf  []byte
	hunt bool // what arrives has no beginning that could be known
}

func newDecoder(m mac) decoder { return decoder{mac: m, buf: make([]byte, 0, m.frame(m.max))} }

// found is what a decoder has found.
type found uint8

const (
	more found = iota // all is taken, there is no whole frame
	whole
	garbled
)

// next takes octets of p, which arrived in one access, up to the end of a frame, and
// tells how many. The LPDU is valid until the next call.
func (d *decoder) next(p []byte) (n int, lpdu []byte, f found) {
	if d.hunt || len(d.buf) == 0 && len(p) > 0 && p[0] == bus.IdleByte {
		return len(p), nil, more
	}
	if h := d.header(); len(d.buf) < h {
		n = min(h-len(d.buf), len(p))
		d.buf = append(d.buf, p[:n]...)
		if len(d.buf) < h {
			return n, nil, more
		}
		switch l := d.announced(); {
		case l == 0 && !d.checked(): // a bus that idles low; no header is all 0
			d.buf = d.buf[:0]
			return len(p), nil, more
		case l < 1 || l > d.max || !d.checked():
			d.buf, d.hunt = d.buf[:0], true
			return len(p), nil, garbled
		}
	}
	k := min(d.missing(), len(p)-n)
	d.buf = append(d.buf, p[n:n+k]...)
	n += k
	if d.missing() > 0 {
		return n, nil, more
	}
	b := d.buf
	d.buf = d.buf[:0]
	at := len(b) - crcOctets
	if binary.LittleEndian.Uint16(b[at:]) != crc(b[:at]) {
		return n, nil, garbled
	}
	return n, b[d.header():at], whole
}

// announced is the length in the header.
func (d *decoder) announced() int {
	if d.length == 2 {
		return int(binary.BigEndian.Uint16(d.buf))
	}
	return int(d.buf[0])
}

// checked tells whether the check of the header is right.
func (d *decoder) checked() bool {
	x := byte(0xFF)
	for _, b := range d.buf[:d.header()] {
		x ^= b
	}
	return x == 0
}

// missing is the number of octets up to the end of the frame that has begun; of the
// shortest frame when its header is not whole.
func (d *decoder) missing() int {
	if len(d.buf) < d.header() {
		return d.frame(1) - len(d.buf)
	}
	return d.frame(d.announced()) - len(d.buf)
}

// midway tells whether a frame has begun or its beginning was missed.
func (d *decoder) midway() bool { return d.hunt || len(d.buf) > 0 }

// idle tells that nothing more follows what came; true when a frame is lost that no
// garbled has told of.
func (d *decoder) idle() bool {
	lost := len(d.buf) > 0
	d.buf, d.hunt = d.buf[:0], false
	return lost
}

// crcTable is for CRC-16/X-25: reflected polynomial 8408, ISO/IEC 13239.
var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0x8408
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}()

// crc is CRC-16/X-25 of p.
func crc(p []byte) uint16 {
	c := uint16(0xFFFF)
	for _, b := range p {
		c = c>>8 ^ crcTable[byte(c)^b]
	}
	return ^c
}
