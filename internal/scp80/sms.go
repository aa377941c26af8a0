package scp80

import (
	"errors"

	"github.com/sspemu/sspemu/internal/tlv"
)

// What reading of short messages refuses.
var (
	ErrMessage   = errors.New("scp80: the short message is malformed (TS 23.040 9.2)")
	ErrNoPacket  = errors.New("scp80: the short message holds no secured packet (TS 31.115 4.1)")
	ErrEnvelope  = errors.New("scp80: the envelope is no SMS-PP download (TS 31.111 7.1.1)")
	ErrTooMany   = errors.New("scp80: the packet would need more short messages than a card puts together")
	ErrSegment   = errors.New("scp80: a part of a concatenated message has numbers that do not fit")
	errShortData = errors.New("scp80: the address is malformed")
)

// MaxUserData is what a short message holds.
const MaxUserData = 140

// MaxSegments bounds a concatenated message.
const MaxSegments = 32

// Segment is the user data of one short message.
type Segment struct {
	Packet    bool // it says that it holds a command packet, or its beginning
	Response  bool // a response packet
	Total     int  // of how many messages, 1: it is whole
	Number    int  // 1 to Total
	Reference int
	Data      []byte
}

// ParseUserData reads user data with a header.
func ParseUserData(b []byte) (s Segment, err error) {
	if len(b) == 0 || int(b[0]) >= len(b) {
		return s, ErrMessage
	}
	head := b[1 : 1+int(b[0])]
	s = Segment{Total: 1, Number: 1, Data: b[1+int(b[0]):]}
	for len(head) > 0 {
		if len(head) < 2 || int(head[1]) > len(head)-2 {
			return s, ErrMessage
		}
		id, v := head[0], head[2:2+int(head[1])]
		head = head[2+len(v):]
		switch {
		case id == elementCommand:
			s.Packet = true
		case id == elementResponse:
			s.Response = true
		case id == elementConcatenation && len(v) == 3:
			s.Reference, s.Total, s.Number = int(v[0]), int(v[1]), int(v[2])
		case id == elementConcatenationWide && len(v) == 4:
			s.Reference, s.Total, s.Number = int(v[0])<<8|int(v[1]), int(v[2]), int(v[3])
		case id == elementConcatenation || id == elementConcatenationWide:
			return s, ErrMessage
		}
	}
	if s.Total == 0 || s.Number == 0 || s.Number > s.Total {
		return s, ErrSegment
	}
	return s, nil
}

// Split gives the user data of the short messages for a command packet. reference tells
// messages that belong together.
func Split(packet []byte, reference byte) ([][]byte, error) {
	return split(packet, reference, elementCommand)
}

// SplitResponse is Split for a response packet.
func SplitResponse(packet []byte, reference byte) ([][]byte, error) {
	return split(packet, reference, elementResponse)
}

func split(packet []byte, reference, element byte) ([][]byte, error) {
	if len(packet) <= MaxUserData-3 {
		return [][]byte{append([]byte{2, element, 0}, packet...)}, nil
	}
	const first, next = MaxUserData - 8, MaxUserData - 6
	total := 1 + (len(packet)-first+next-1)/next
	if total > MaxSegments {
		return nil, ErrTooMany
	}
	var out [][]byte
	for i := 1; i <= total; i++ {
		head, n := []byte{5, elementConcatenation, 3, reference, byte(total), byte(i)}, next
		if i == 1 {
			head = append(head, element, 0)
			head[0], n = 7, first
		}
		n = min(n, len(packet))
		out = append(out, append(head, packet[:n]...))
		packet = packet[n:]
	}
	return out, nil
}

// Assembler puts a command packet together from short messages. It holds the parts of
// one packet at a time: the beginning of another drops them.
type Assembler struct {
	Responses bool // it is for response packets, not for command packets

	from             string
	reference, total int
	parts            [MaxSegments][]byte
}

// Add takes one message of a sender. The packet is nil while parts are missing.
func (a *Assembler) Add(from []byte, s Segment) (packet []byte, err error) {
	is := s.Packet && !s.Response
	if a.Responses {
		is = s.Response && !s.Packet
	}
	if s.Number == 1 && !is {
		return nil, ErrNoPacket
	}
	if s.Total == 1 {
		return s.Data, nil
	}
	if s.Total > MaxSegments || s.Number > s.Total || s.Number < 1 || len(s.Data) > MaxUserData {
		return nil, ErrSegment
	}
	if a.total != s.Total || a.reference != s.Reference || a.from != string(from) {
		*a = Assembler{Responses: a.Responses, from: string(from), reference: s.Reference, total: s.Total}
	}
	a.parts[s.Number-1] = append([]byte{}, s.Data...)
	for _, p := range a.parts[:a.total] {
		if p == nil {
			return nil, nil
		}
	}
	for _, p := range a.parts[:a.total] {
		packet = append(packet, p...)
	}
	*a = Assembler{Responses: a.Responses}
	return packet, nil
}

// Pending is how many messages are waiting for others.
func (a *Assembler) Pending() (n int) {
	for _, p := range a.parts {
		if p != nil {
			n++
		}
	}
	return n
}

// Deliver is an SMS-DELIVER (TS 23.040 9.2.2.1).
type Deliver struct {
	From     []byte // address of the sender: number of digits, type, digits
	PID, DCS byte
	Time     [7]byte
	UserData []byte // with a header
}

// Values of a message for the card (TS 23.040 9.2.3.9, TS 23.038 4).
const (
	PIDDownload = 0x7F // (U)SIM data download
	DCSDownload = 0xF6 // eight bits, class 2
)

// address splits the address off that b begins with (TS 23.040 9.1.2.5).
func address(b []byte) (a, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errShortData
	}
	n := 2 + (int(b[0])+1)/2
	if b[0] > 20 || len(b) < n {
		return nil, nil, errShortData
	}
	return b[:n], b[n:], nil
}

// ParseDeliver reads an SMS-DELIVER with a user data header.
func ParseDeliver(b []byte) (d Deliver, err error) {
	if len(b) == 0 || b[0]&3 != 0 {
		return d, ErrMessage
	}
	header := b[0]&0x40 != 0
	if d.From, b, err = address(b[1:]); err != nil || len(b) < 10 {
		return d, ErrMessage
	}
	d.PID, d.DCS = b[0], b[1]
	copy(d.Time[:], b[2:])
	if d.UserData = b[10:]; int(b[9]) != len(d.UserData) || len(d.UserData) > MaxUserData {
		return d, ErrMessage
	}
	if !header {
		return d, ErrNoPacket
	}
	return d, nil
}

// Append adds the TPDU.
func (d *Deliver) Append(dst []byte) []byte {
	dst = append(append(dst, 0x40), d.From...)
	dst = append(dst, d.PID, d.DCS)
	dst = append(append(dst, d.Time[:]...), byte(len(d.UserData)))
	return append(dst, d.UserData...)
}

// Submit is the SMS-SUBMIT with which a response goes to a server: the proactive command
// SEND SHORT MESSAGE (TS 31.111 6.6.9) holds it.
func Submit(to, userData []byte) []byte {
	b := append([]byte{0x41, 0}, to...)
	b = append(b, 0, DCSDownload, byte(len(userData)))
	return append(b, userData...)
}

// ParseSubmit gives the user data of an SMS-SUBMIT without validity period.
func ParseSubmit(b []byte) ([]byte, error) {
	if len(b) < 2 || b[0]&0x43 != 0x41 || b[0]&0x18 != 0 {
		return nil, ErrMessage
	}
	_, b, err := address(b[2:])
	if err != nil || len(b) < 3 || int(b[2]) != len(b)-3 {
		return nil, ErrMessage
	}
	return b[3:], nil
}

// Envelope is the data of ENVELOPE for an SMS-PP download.
type Envelope struct {
	Centre []byte // address of the service centre, may be nil
	TPDU   []byte
}

// ParseEnvelope reads the data of an ENVELOPE command.
func ParseEnvelope(b []byte) (e Envelope, err error) {
	t, in, rest, err := tlv.Next(b)
	if err != nil || t != tagDownload || len(rest) > 0 {
		return e, ErrEnvelope
	}
	var devices []byte
	r := tlv.Read(in)
	for r.Next() {
		switch r.Tag &^ 0x80 {
		case tagDevices:
			devices = r.Value
		case tagAddress:
			e.Centre = r.Value
		case tagTPDU:
			e.TPDU = r.Value
		}
	}
	if r.Err() != nil || len(devices) != 2 || devices[0] != fromNetwork || devices[1] != toUICC || e.TPDU == nil {
		return e, ErrEnvelope
	}
	return e, nil
}

// Append adds the data of ENVELOPE.
func (e *Envelope) Append(dst []byte) []byte {
	dst, m := tlv.Begin(dst, tagDownload)
	dst = tlv.Append(dst, tagDevices|0x80, fromNetwork, toUICC)
	if e.Centre != nil {
		dst = tlv.Append(dst, tagAddress, e.Centre...)
	}
	dst = tlv.Append(dst, tagTPDU|0x80, e.TPDU...)
	return tlv.End(dst, m)
}
