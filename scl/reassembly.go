package scl

import "errors"

// ErrFragment: a fragment in a chain is empty. It is what a decoded packet never
// has; the chain is dropped up to its last fragment.
var ErrFragment = errors.New("scl: empty fragment")

// Reassembler joins the fragments of one pipe end to messages. The zero value is
// ready. It holds at most message.max_length octets and the message header: a
// chain that grows beyond that, or has a bad fragment, is dropped up to and with
// its last fragment, and the next message is whole again.
//
//	            first, not last
//	┌──────┐ ─────────────────────> ┌──────────┐ ──┐ more, fits
//	│ idle │                        │ chaining │ <─┘
//	└──────┘ <───────────────────── └──────────┘
//	   ^       last, fits: message       │ too long or bad
//	   │                                 v
//	   │    last: error ends        ┌──────────┐ ──┐ more
//	   └─────────────────────────── │ dropping │ <─┘
//	                                └──────────┘
type Reassembler struct {
	buf      []byte
	chaining bool
	dropping bool
}

// Add takes the next fragment. When it completes a message, done is true and msg
// is the message with its header: the fragment itself when it is the only one,
// else the buffer of the Reassembler, valid until the next Add. An error tells
// that the chain is dropped; it is reported once a chain.
func (r *Reassembler) Add(p *Profile, fragment []byte, last bool) (msg []byte, done bool, err error) {
	switch {
	case r.dropping:
		r.dropping = !last
		return nil, false, nil
	case len(fragment) == 0:
		r.drop(last)
		return nil, false, ErrFragment
	case len(r.buf)+len(fragment) > p.codec.max+1:
		r.drop(last)
		return nil, false, ErrMessageTooLong
	case !r.chaining && last:
		return fragment, true, nil
	}
	r.chaining = true
	r.buf = append(r.buf, fragment...)
	if !last {
		return nil, false, nil
	}
	msg = r.buf
	r.buf, r.chaining = r.buf[:0], false
	return msg, true, nil
}

// Reset forgets a chain under way and gives its memory back.
func (r *Reassembler) Reset() { *r = Reassembler{} }

func (r *Reassembler) drop(last bool) {
	r.buf, r.chaining, r.dropping = r.buf[:0], false, !last
}
