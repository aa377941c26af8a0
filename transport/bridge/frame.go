package bridge

import "bytes"

// A frame is 00, the COBS of its content, 00. The content is a type, a number that
// counts frames, the payload and a CRC in two bytes, big-endian, of all before it.
// So 00 is nowhere inside, and whoever lost the thread takes it up at the next 00.
const (
	contentHeader  = 2
	contentTrailer = 2
	// maxPayload bounds a payload; the longest block of T=1' has 4,095 bytes.
	maxPayload = 4608
	maxContent = contentHeader + maxPayload + contentTrailer
	maxCoded   = maxContent + maxContent/254 + 1
)

// crc is CRC-16/IBM-3740: polynomial 1021, initial value FFFF, not reflected.
func crc(p []byte) uint16 {
	c := uint16(0xFFFF)
	for _, b := range p {
		c ^= uint16(b) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
	}
	return c
}

// appendCOBS puts the COBS of p behind dst.
func appendCOBS(dst, p []byte) []byte {
	for {
		n := bytes.IndexByte(p, 0)
		whole := n < 0 // the rest has no 00
		if whole {
			n = len(p)
		}
		for n >= 254 {
			dst = append(append(dst, 0xFF), p[:254]...)
			p, n = p[254:], n-254
			if whole && n == 0 {
				return dst
			}
		}
		dst = append(append(dst, byte(n+1)), p[:n]...)
		if whole {
			return dst
		}
		p = p[n+1:]
	}
}

// decodeCOBS decodes p in its place.
func decodeCOBS(p []byte) (content []byte, ok bool) {
	out := p[:0]
	for len(p) > 0 {
		n := int(p[0])
		if n == 0 || n > len(p) {
			return nil, false
		}
		out = append(out, p[1:n]...)
		if p = p[n:]; n < 0xFF && len(p) > 0 {
			out = append(out, 0)
		}
	}
	return out, true
}

// appendFrame puts a frame behind dst; content is room that it may use.
func appendFrame(dst, content []byte, t message, n byte, payload ...[]byte) (frame, room []byte) {
	content = append(content[:0], byte(t), n)
	for _, p := range payload {
		content = append(content, p...)
	}
	c := crc(content)
	content = append(content, byte(c>>8), byte(c))
	return append(appendCOBS(append(dst, 0), content), 0), content
}

// decoder finds frames in a stream of bytes.
type decoder struct {
	buf  []byte
	over bool // more than any frame has came without 00
	bad  int  // pieces between two 00 that were no frame
}

// feed takes bytes and gives the frames that they complete; payload is valid during
// the call only.
func (d *decoder) feed(p []byte, each func(t message, n byte, payload []byte)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, 0)
		piece := p
		if i >= 0 {
			piece = p[:i]
		}
		if d.over = d.over || len(d.buf)+len(piece) > maxCoded; d.over {
			d.buf = d.buf[:0]
		} else {
			d.buf = append(d.buf, piece...)
		}
		if i < 0 {
			return
		}
		p = p[i+1:]
		d.end(each)
	}
}

func (d *decoder) end(each func(t message, n byte, payload []byte)) {
	buf, over := d.buf, d.over
	d.buf, d.over = d.buf[:0], false
	if len(buf) == 0 && !over {
		return // between two frames
	}
	content, ok := decodeCOBS(buf)
	n := len(content)
	if over || !ok || n < contentHeader+contentTrailer ||
		crc(content[:n-contentTrailer]) != uint16(content[n-2])<<8|uint16(content[n-1]) {
		d.bad++
		return
	}
	each(message(content[0]), content[1], content[contentHeader:n-contentTrailer])
}
