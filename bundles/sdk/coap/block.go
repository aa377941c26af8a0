package coap

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// transfer is a body under way: one that comes in with Block1, or a representation
// that a client fetches with Block2 and that must not change meanwhile.
type transfer struct {
	from   endpoint
	key    []byte
	upload bool
	at     int64 // tick: of the last block of an upload, of the beginning of a download
	body   []byte

	// Of a download:
	code   Code
	format Format
	etag   []byte
	maxAge uint32
}

// transfers are bounded in number and octets.
type transfers struct {
	list  []*transfer
	bytes int // capacity of the bodies
	key   []byte
}

// find is the transfer that r goes on with, nil when there is none.
func (t *transfers) find(r *Request, upload bool) *transfer {
	t.key = r.key(t.key[:0])
	for _, x := range t.list {
		if x.upload == upload && x.from == r.from && bytes.Equal(x.key, t.key) {
			if sdk.Now()-x.at < exchangeLifetime {
				return x
			}
			t.drop(x)
			return nil
		}
	}
	return nil
}

// begin adds a transfer with room for n octets; nil: there is no room.
func (t *transfers) begin(r *Request, upload bool, n int) *transfer {
	if x := t.find(r, upload); x != nil {
		t.drop(x)
	}
	if !t.room(1, n) {
		return nil
	}
	x := &transfer{from: r.from, key: slices.Clone(t.key), upload: upload, at: sdk.Now(), body: make([]byte, 0, n)}
	t.list = append(t.list, x)
	t.bytes += n
	return x
}

// room makes room for so many transfers and octets more. Downloads give way, they
// can be made anew; then uploads of which nothing was heard for long.
func (t *transfers) room(more, n int) bool {
	for len(t.list)+more > maxTransfers || t.bytes+n > maxTransferBytes {
		i := slices.IndexFunc(t.list, func(x *transfer) bool { return !x.upload })
		if i < 0 {
			i = slices.IndexFunc(t.list, func(x *transfer) bool { return sdk.Now()-x.at >= staleTransfer })
		}
		if i < 0 {
			return false
		}
		t.drop(t.list[i])
	}
	return true
}

// put writes a block into x; false: there is no room.
func (t *transfers) put(x *transfer, off int, p []byte) bool {
	if end := off + len(p); end > cap(x.body) {
		n := max(end, min(2*cap(x.body), MaxBody))
		if !t.room(0, n-cap(x.body)) {
			return false
		}
		t.bytes += n - cap(x.body)
		x.body = append(make([]byte, 0, n), x.body...)
	}
	x.body = append(x.body[:off], p...)
	return true
}

func (t *transfers) drop(x *transfer) {
	if i := slices.Index(t.list, x); i >= 0 {
		t.list = slices.Delete(t.list, i, i+1)
		t.bytes -= cap(x.body)
	}
}

// forget drops the transfers of a pipe.
func (t *transfers) forget(pipe uint32) {
	for _, x := range slices.Clone(t.list) {
		if x.from.pipe == pipe {
			t.drop(x)
		}
	}
}

// collect puts the body of r together. It is true when r.Payload is all of it; if
// not, w is the answer (RFC 7959 2.5, 2.9).
func (s *Server) collect(r *Request, w *Response) bool {
	limit := MaxBody
	if r.resource.MaxBody > 0 {
		limit = min(limit, r.resource.MaxBody)
	}
	tooLarge := func() bool {
		w.Fail(RequestEntityTooLarge, "the resource takes at most "+strconv.Itoa(limit)+" octets")
		w.size1 = limit
		return false
	}
	b := r.block1
	if !b.set {
		return len(r.Payload) <= limit || tooLarge()
	}
	if n := len(r.Payload); n > b.size() || b.more && n < b.size() {
		w.Fail(BadRequest, "the block is not as long as Block1 says")
		return false
	}
	x := s.transfers.find(r, true)
	off := b.from()
	if off+len(r.Payload) > limit || r.size1 > uint32(limit) {
		if x != nil {
			s.transfers.drop(x)
		}
		return tooLarge()
	}
	if off == 0 && b.more {
		x = s.transfers.begin(r, true, 0)
		if x == nil {
			w.Fail(ServiceUnavailable, "too many transfers")
			w.MaxAge = 1
			return false
		}
	}
	if off > 0 && (x == nil || off > len(x.body)) {
		w.Fail(RequestEntityIncomplete, "the blocks before are missing")
		return false
	}
	if x == nil { // all of it in one block
		return true
	}
	x.at = sdk.Now()
	if !s.transfers.put(x, off, r.Payload) {
		s.transfers.drop(x)
		w.Fail(ServiceUnavailable, "too many transfers")
		w.MaxAge = 1
		return false
	}
	if b.more {
		w.Code = codes.Continue
		return false
	}
	s.transfers.drop(x)
	r.Payload = x.body
	return true
}

// resume answers a request for a block in the middle from the representation that
// the blocks before came from. False: the handler has to make it anew.
func (s *Server) resume(r *Request, w *Response) bool {
	if r.block2.num == 0 {
		return false
	}
	x := s.transfers.find(r, false)
	switch {
	case x != nil:
		w.Code, w.Format, w.ETag, w.MaxAge, w.Payload = x.code, x.format, x.etag, x.maxAge, x.body
		w.held = x
		return true
	case r.Method != GET:
		w.Fail(RequestEntityIncomplete, "the representation is not kept any more")
		return true
	}
	return false
}

// cut chooses the block of the body to send: its octets and Block2. Only a success
// is sent in blocks.
func (s *Server) cut(w *Response) (p []byte, b block) {
	size, most := w.length(), int64(1)<<(maxSZX+4)
	asked := w.r.block2
	if class(w.Code) != 2 {
		return w.Payload[:min(size, most)], block{}
	}
	if !asked.set && size <= most {
		b.szx = maxSZX
	} else {
		b = block{set: true, szx: maxSZX}
		if asked.set {
			b.num, b.szx = asked.num, asked.szx
		}
	}
	from := int64(b.from())
	if b.num > 0 && from >= size {
		w.Fail(BadRequest, "there is no such block")
		return w.Payload, block{}
	}
	n := min(size-from, int64(b.size()))
	b.more = from+n < size
	if w.src == nil {
		p = w.Payload[from : from+n]
	} else {
		p = s.chunk[:n]
		if k, err := w.src.ReadAt(p, from); int64(k) < n {
			w.Fail(InternalServerError, "")
			sdk.Log(sdk.Fault, "coap: "+w.r.Path+": stream: "+err.Error())
			return w.Payload, block{}
		}
	}
	s.hold(w, b)
	return p, b
}

// hold keeps a representation of which more blocks will be asked for, and lets go
// of it after the last.
func (s *Server) hold(w *Response, b block) {
	switch {
	case w.held != nil && !b.more:
		s.transfers.drop(w.held)
	case w.held == nil && b.more && w.src == nil && w.o == nil && len(w.Payload) <= MaxBody:
		if x := s.transfers.begin(w.r, false, len(w.Payload)); x != nil {
			x.body = append(x.body, w.Payload...)
			x.code, x.format, x.etag, x.maxAge = w.Code, w.Format, slices.Clone(w.etag()), w.MaxAge
		}
	}
}

// current tells whether the conditions of r hold (RFC 7252 5.10.8): what GET says
// of the resource decides.
func (s *Server) current(r *Request) bool {
	if !r.has(message.IfMatch) && !r.has(message.IfNoneMatch) {
		return true
	}
	get := *r
	get.Method, get.Payload, get.from = GET, nil, endpoint{}
	var w Response
	w.reset(s, &get)
	if r.resource.Get != nil {
		r.resource.Get(&get, &w)
	}
	there := w.Code == 0 || class(w.Code) == 2
	match := !r.has(message.IfMatch)
	for _, o := range r.opts {
		switch o.ID {
		case message.IfNoneMatch:
			if there {
				return false
			}
		case message.IfMatch:
			match = match || there && (len(o.Value) == 0 || bytes.Equal(o.Value, w.etag()))
		}
	}
	return match
}
