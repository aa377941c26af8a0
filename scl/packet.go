package scl

import "errors"

// Packet is what moves between a host and the router: a fragment of a message
// on a pipe.
//
//	 octet 0          1 ...
//	┌────┬─────────┬──────────────────────┐
//	│ CB │ pipe id │ fragment             │   widths and places: entries packet.* of the profile
//	└────┴─────────┴──────────────────────┘
//
// Basis: HCP packet of ETSI TS 102 622.
type Packet struct {
	Pipe     PipeID
	Last     bool   // the last or only fragment of its message (CB)
	Fragment []byte // aliases the packet
}

// ErrPacket: a packet is shorter than its header and one octet of a fragment.
var ErrPacket = errors.New("scl: packet is too short for a header and a fragment")

// codec is the layout of packet and message headers, prepared from a profile.
type codec struct {
	octets             int // of a packet header
	lastBits, moreBits uint16
	pipeShift          int
	pipeMask           uint16
	typeShift          int
	typeMask           byte
	instrShift         int
	instrMask          byte
	wire               [3]byte // MessageType to its bits, shifted
	kind               []MessageType
	known              []bool
	max                int // octets of data in one message
}

func newCodec(p *Profile) codec {
	cb := uint16(1) << p.Packet.ChainingBit
	c := codec{
		octets:     p.Packet.HeaderOctets,
		pipeShift:  p.Packet.PipeShift,
		pipeMask:   1<<p.Packet.PipeBits - 1,
		typeShift:  p.Message.TypeShift,
		typeMask:   1<<p.Message.TypeBits - 1,
		instrShift: p.Message.InstructionShift,
		instrMask:  1<<p.Message.InstructionBits - 1,
		max:        p.Message.MaxLength,
		kind:       make([]MessageType, 1<<p.Message.TypeBits),
		known:      make([]bool, 1<<p.Message.TypeBits),
	}
	if p.Packet.ChainingLast == 1 {
		c.lastBits = cb
	} else {
		c.moreBits = cb
	}
	for t, v := range [...]int{Command: p.Type.Command, Event: p.Type.Event, Response: p.Type.Response} {
		c.wire[t] = byte(v) << c.typeShift
		c.kind[v], c.known[v] = MessageType(t), true
	}
	return c
}

func (c *codec) appendPacketHeader(dst []byte, id PipeID, last bool) []byte {
	h := uint16(id) << c.pipeShift
	if last {
		h |= c.lastBits
	} else {
		h |= c.moreBits
	}
	if c.octets == 2 {
		dst = append(dst, byte(h>>8))
	}
	return append(dst, byte(h))
}

// AppendPacket encodes k behind dst.
func (p *Profile) AppendPacket(dst []byte, k Packet) []byte {
	return append(p.codec.appendPacketHeader(dst, k.Pipe, k.Last), k.Fragment...)
}

// DecodePacket decodes b; the fragment aliases b. The error is ErrPacket.
func (p *Profile) DecodePacket(b []byte) (Packet, error) { return p.codec.packet(b) }

func (c *codec) packet(b []byte) (Packet, error) {
	if len(b) <= c.octets {
		return Packet{}, ErrPacket
	}
	h := uint16(b[0])
	if c.octets == 2 {
		h = h<<8 | uint16(b[1])
	}
	return Packet{
		Pipe:     PipeID(h >> c.pipeShift & c.pipeMask),
		Last:     h&(c.lastBits|c.moreBits) == c.lastBits,
		Fragment: b[c.octets:],
	}, nil
}
