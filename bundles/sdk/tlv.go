package sdk

// TLV adds a BER-TLV data object with a value (ISO/IEC 7816-4 6.3, ISO/IEC
// 8825-1). tag is the tag's bytes as a number: 0x84, 0x9F26, 0x7F49.
func (r *Response) TLV(tag uint32, value []byte) {
	m := r.Begin(tag)
	r.Append(value)
	r.End(m)
}

// Begin starts a data object whose value is what is added until End, which must
// be given the mark that Begin returns. They nest.
//
//	m := r.Begin(0x6F)
//	r.TLV(0x84, aid)
//	r.End(m)
func (r *Response) Begin(tag uint32) (mark int) {
	for shift := 24; shift > 0; shift -= 8 {
		if tag>>shift != 0 {
			r.Byte(byte(tag >> shift))
		}
	}
	r.Byte(byte(tag))
	r.Byte(0) // the length, when it fits in one byte
	return len(r.buf)
}

// End finishes the data object that Begin started.
func (r *Response) End(mark int) {
	if r.overflow {
		return
	}
	n := len(r.buf) - mark
	switch {
	case n < 0x80:
		r.buf[mark-1] = byte(n)
	case n < 0x100:
		r.widen(mark, 1)
		r.lengths(mark, 0x81, n)
	default:
		r.widen(mark, 2)
		r.lengths(mark, 0x82, n)
	}
}

// widen moves the value that begins at mark by more bytes.
func (r *Response) widen(mark, more int) {
	r.Extend(more)
	if !r.overflow {
		copy(r.buf[mark+more:], r.buf[mark:len(r.buf)-more])
	}
}

// lengths writes a length field in its long form; its first byte lies before
// mark.
func (r *Response) lengths(mark int, first byte, n int) {
	if r.overflow {
		return
	}
	r.buf[mark-1] = first
	for i := int(first & 0x0F); i > 0; i-- {
		r.buf[mark+i-1] = byte(n)
		n >>= 8
	}
}
