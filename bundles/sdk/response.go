package sdk

// Response collects the data of an answer, in the memory that the platform reads
// (IPC MAIN to COM): nothing is copied or allocated. It holds up to 65536 bytes;
// an answer that does not fit becomes SW 6F00 and a line in the log.
type Response struct {
	buf      []byte
	overflow bool
}

// NewResponse is a Response in memory of its own, for up to most bytes: for what answers
// commands without being asked by the terminal.
func NewResponse(most int) *Response { return &Response{buf: make([]byte, 0, most)} }

// Append adds p.
func (r *Response) Append(p []byte) {
	if len(p) > cap(r.buf)-len(r.buf) {
		r.overflow = true
		return
	}
	r.buf = append(r.buf, p...)
}

// Byte adds one byte.
func (r *Response) Byte(b byte) {
	if len(r.buf) == cap(r.buf) {
		r.overflow = true
		return
	}
	r.buf = append(r.buf, b)
}

// Uint16 adds two bytes, the high one first.
func (r *Response) Uint16(v uint16) { r.Byte(byte(v >> 8)); r.Byte(byte(v)) }

// Extend adds n bytes and returns them to be filled in, for example by
// NVM.Read. Their content is undefined before. nil when they do not fit.
func (r *Response) Extend(n int) []byte {
	at := len(r.buf)
	if n < 0 || n > cap(r.buf)-at {
		r.overflow = true
		return nil
	}
	r.buf = r.buf[:at+n]
	return r.buf[at:]
}

// Bytes is what was added so far; it may be changed in place and given to an
// append-style function whose result goes to Set.
func (r *Response) Bytes() []byte { return r.buf }

// Set makes b the data of the answer: the result of an append-style function
// that was given Bytes. It copies only when b lies elsewhere.
func (r *Response) Set(b []byte) {
	if len(b) > cap(r.buf) {
		r.overflow = true
		return
	}
	if len(b) == 0 {
		r.buf = r.buf[:0]
		return
	}
	full := r.buf[:len(b)]
	if &full[0] != &b[0] {
		copy(full, b)
	}
	r.buf = full
}

// Len is the number of bytes added so far.
func (r *Response) Len() int { return len(r.buf) }

// Reset drops what was added.
func (r *Response) Reset() { r.buf, r.overflow = r.buf[:0], false }
