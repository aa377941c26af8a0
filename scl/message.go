package scl

import (
	"errors"
	"fmt"
)

// MessageType is what a message is; the numbers on the wire are the profile's.
type MessageType uint8

// The types of a message. Only a command waits for a response.
const (
	Command MessageType = iota
	Event
	Response
)

func (t MessageType) String() string {
	switch t {
	case Command:
		return "command"
	case Event:
		return "event"
	case Response:
		return "response"
	}
	return "unknown type"
}

// Message is what one gate tells another over a pipe.
//
//	 octet 0             1 ...
//	┌──────┬────────────┬─────────────┐
//	│ type │ instruction│ data        │   widths and places: entries message.* of the profile
//	└──────┴────────────┴─────────────┘
//
// Instruction is the number of the command or event, or the response code. Data
// of a received message aliases a buffer of the network: it is valid until the
// receiver returns.
//
// Basis: HCP message of ETSI TS 102 622.
type Message struct {
	Type        MessageType
	Instruction byte
	Data        []byte
}

// What is wrong with a message.
var (
	// ErrMessage: there is no message header.
	ErrMessage = errors.New("scl: message is empty")
	// ErrMessageType: the type of the message is none of the profile.
	ErrMessageType = errors.New("scl: message is neither command, event nor response")
	// ErrMessageTooLong: the data is longer than message.max_length of the profile.
	ErrMessageTooLong = errors.New("scl: message is longer than message.max_length of the profile")
)

func (c *codec) messageHeader(t MessageType, instruction byte) byte {
	return c.wire[t] | instruction&c.instrMask<<c.instrShift
}

// AppendMessage encodes m behind dst. An instruction that is wider than the
// profile has it, or a type that is none, is an error.
func (p *Profile) AppendMessage(dst []byte, m Message) ([]byte, error) {
	c := &p.codec
	switch {
	case int(m.Type) >= len(c.wire):
		return dst, ErrMessageType
	case m.Instruction > c.instrMask:
		return dst, fmt.Errorf("scl: instruction 0x%02X is wider than the profile has it", m.Instruction)
	case len(m.Data) > c.max:
		return dst, ErrMessageTooLong
	}
	return append(append(dst, c.messageHeader(m.Type, m.Instruction)), m.Data...), nil
}

// DecodeMessage decodes a whole, reassembled message; the data aliases b.
func (p *Profile) DecodeMessage(b []byte) (Message, error) { return p.codec.message(b) }

func (c *codec) message(b []byte) (Message, error) {
	if len(b) == 0 {
		return Message{}, ErrMessage
	}
	t := b[0] >> c.typeShift & c.typeMask
	if !c.known[t] {
		return Message{}, ErrMessageType
	}
	return Message{Type: c.kind[t], Instruction: b[0] >> c.instrShift & c.instrMask, Data: b[1:]}, nil
}
