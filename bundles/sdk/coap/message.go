package coap

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/plgd-dev/go-coap/v3/message"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// endpoint is a peer on one session of a pipe. Sessions have a number of their
// own, so that what is kept of a closed one never meets its successor.
type endpoint struct {
	pipe, session uint32
	addr          [sdk.PeerLength]byte
}

// token is a token of RFC 7252 5.3.1.
type token struct {
	n uint8
	b [message.MaxTokenSize]byte
}

// block is a Block1 or Block2 option (RFC 7959 2.2).
type block struct {
	set  bool
	more bool
	szx  uint8
	num  uint32
}

func (b block) size() int { return 1 << (b.szx + 4) }
func (b block) from() int { return int(b.num) * b.size() }
func (b block) value() uint32 {
	v := b.num<<4 | uint32(b.szx)
	if b.more {
		v |= 8
	}
	return v
}

// Request is what a client asks. It is valid during the call of the handler.
type Request struct {
	Method  Code
	Path    string // without a slash in front: "sensors/1"
	Payload []byte // the whole body, also when it came in blocks
	Format  Format // of Payload; NoFormat: the client does not say
	Accept  Format // that the client wants; NoFormat: any. Never one that Resource.Formats lacks
	Observe bool   // the client asks to observe the resource
	Peer    [sdk.PeerLength]byte

	from     endpoint
	con      bool
	id       uint16
	token    token
	opts     message.Options
	resource *resource
	block1   block
	block2   block
	size1    uint32 // how long the payload will be
	size2    bool   // asks how long the representation is
	cancel   bool   // asks to end the observation
}

// Query is the value of the first Uri-Query NAME=VALUE; ok tells whether there is
// one, also as NAME alone.
func (r *Request) Query(name string) (value string, ok bool) {
	for _, o := range r.opts {
		if o.ID == message.URIQuery {
			if k, v, _ := strings.Cut(string(o.Value), "="); k == name {
				return v, true
			}
		}
	}
	return "", false
}

// Queries are all Uri-Query options.
func (r *Request) Queries() (all []string) {
	for _, o := range r.opts {
		if o.ID == message.URIQuery {
			all = append(all, string(o.Value))
		}
	}
	return all
}

// keep is a copy that outlives the call, without the payload.
func (r *Request) keep() *Request {
	k := *r
	k.Payload = nil
	k.opts = make(message.Options, 0, len(r.opts))
	for _, o := range r.opts {
		k.opts = append(k.opts, message.Option{ID: o.ID, Value: slices.Clone(o.Value)})
	}
	return &k
}

// optRequestTag is the Request-Tag of RFC 9175 3.1.
const optRequestTag message.OptionID = 292

// rule says what an option may be in a request (RFC 7252 5.10, RFC 7641 2, RFC
// 7959 2.1).
type rule struct{ least, most, repeat uint8 }

var rules = map[message.OptionID]rule{
	message.IfMatch:       {0, 8, 1},
	message.URIHost:       {1, 255, 0},
	message.ETag:          {1, 8, 1},
	message.IfNoneMatch:   {0, 0, 0},
	message.Observe:       {0, 3, 0},
	message.URIPort:       {0, 2, 0},
	message.URIPath:       {0, 255, 1},
	message.ContentFormat: {0, 2, 0},
	message.URIQuery:      {0, 255, 1},
	message.Accept:        {0, 2, 0},
	message.Block2:        {0, 3, 0},
	message.Block1:        {0, 3, 0},
	message.Size2:         {0, 4, 0},
	message.Size1:         {0, 4, 0},
	message.ProxyURI:      {0, 255, 0}, // whatever it says, the answer is 5.05
	message.ProxyScheme:   {0, 255, 0},
	optRequestTag:         {0, 8, 1},
}

// errFormat is a message format error (RFC 7252 3): the message is rejected.
var errFormat = errors.New("message format error")

// badOption is a critical option that is unknown, misplaced or of a wrong length
// (RFC 7252 5.4.1, 5.4.3, 5.4.5).
type badOption message.OptionID

func (b badOption) Error() string { return "critical option " + strconv.Itoa(int(b)) }

// errTooManyOptions is a limit of ours.
var errTooManyOptions = errors.New("more than " + strconv.Itoa(maxOptions) + " options")

// decode reads what follows the token: options into space, payload. The request
// points into b. errFormat, a badOption or errTooManyOptions.
func (r *Request) decode(b []byte, space message.Options) error {
	b = b[:len(b):len(b)]
	r.opts = space[:0]
	n, err := r.opts.Unmarshal(b, nil)
	switch {
	case errors.Is(err, message.ErrOptionsTooSmall):
		return errTooManyOptions
	case err != nil:
		return errFormat
	}
	r.Payload = b[n:]
	if len(r.Payload) == 0 { // a marker without a payload?
		end := 0
		if k := len(r.opts); k > 0 {
			last := r.opts[k-1].Value
			end = len(b) - cap(last) + len(last)
		}
		if n > end {
			return errFormat
		}
	}
	return r.options()
}

// options checks the options and takes out what the server itself looks at;
// elective ones that are not as they should be are dropped.
func (r *Request) options() error {
	r.Format, r.Accept = NoFormat, NoFormat
	kept := r.opts[:0]
	var before message.OptionID
	for _, o := range r.opts {
		rule, ok := rules[o.ID]
		n := len(o.Value)
		ok = ok && n >= int(rule.least) && (n <= int(rule.most) || o.ID == message.ProxyURI) && (rule.repeat == 1 || o.ID != before)
		before = o.ID
		if !ok {
			if o.ID&1 == 1 {
				return badOption(o.ID)
			}
			continue
		}
		v := uint32(0)
		if n <= 4 {
			for _, x := range o.Value {
				v = v<<8 | uint32(x)
			}
		}
		switch o.ID {
		case message.ContentFormat:
			r.Format = Format(v)
		case message.Accept:
			r.Accept = Format(v)
		case message.Observe:
			r.Observe, r.cancel = v == 0, v == 1
		case message.Block1:
			r.block1 = block{true, v&8 != 0, uint8(v & 7), v >> 4}
		case message.Block2:
			r.block2 = block{true, false, uint8(v & 7), v >> 4}
		case message.Size1:
			r.size1 = v
		case message.Size2:
			r.size2 = true
		}
		kept = append(kept, o)
	}
	r.opts = kept
	return nil
}

// has tells whether there is an option id.
func (r *Request) has(id message.OptionID) bool {
	for _, o := range r.opts {
		if o.ID == id {
			return true
		}
	}
	return false
}

// key appends what tells the body of one transfer from that of another of the same
// peer: method, path, queries, Accept and Request-Tag (RFC 7959 2.4, RFC 9175 3.3).
func (r *Request) key(b []byte) []byte {
	b = append(b, byte(r.Method))
	for _, o := range r.opts {
		switch o.ID {
		case message.URIHost, message.URIPort, message.URIPath, message.URIQuery, message.Accept, optRequestTag:
			b = append(b, byte(o.ID>>8), byte(o.ID), byte(len(o.Value)))
			b = append(b, o.Value...)
		}
	}
	return b
}
