// Package cat is the card application toolkit as far as a card reaches a server through
// its terminal with it: proactive commands of the bearer independent protocol, and the
// answers and events of the terminal.
//
//	card      Command ── 91xx, FETCH ──> terminal ── TCP ──> server
//	card <── TERMINAL RESPONSE, ENVELOPE ── Response, Event
//
// It is a leaf beside internal/tlv and safe inside a guest.
//
// Sources: ETSI TS 102 223 6.6 (commands), 6.8 (responses), 7.5 (events), 8 (data
// objects), 9.4 (types); TS 101 220 table 7.23 (tags). The texts were not at hand: numbers
// are those of a recorded session and of public terminals and their tests (cat_test.go); the
// clauses, the causes of errors and LinkDropped are unverified.
package cat

import "github.com/sspemu/sspemu/internal/tlv"

// Templates.
const (
	TagProactive tlv.Tag = 0xD0
	TagEvent     tlv.Tag = 0xD6 // event download
)

// Data objects (TS 102 223 8), without the bit that requires comprehension.
const (
	TagDetails      tlv.Tag = 0x01
	TagDevices      tlv.Tag = 0x02
	TagResult       tlv.Tag = 0x03
	TagEventList    tlv.Tag = 0x19
	TagBearer       tlv.Tag = 0x35
	TagChannelData  tlv.Tag = 0x36
	TagDataLength   tlv.Tag = 0x37
	TagChannel      tlv.Tag = 0x38 // channel status
	TagBufferSize   tlv.Tag = 0x39
	TagTransport    tlv.Tag = 0x3C // UICC/terminal interface transport level
	TagOtherAddress tlv.Tag = 0x3E
	comprehension   tlv.Tag = 0x80
)

// Types of commands (9.4).
const (
	SetUpEventList byte = 0x05
	OpenChannel    byte = 0x40
	CloseChannel   byte = 0x41
	ReceiveData    byte = 0x42
	SendData       byte = 0x43
)

// Devices (8.7); a channel is Channel and its number, 1 to 7.
const (
	Channel  byte = 0x20
	UICC     byte = 0x81
	Terminal byte = 0x82
	Channel1 byte = 0x21
)

// Values of the other objects.
const (
	Immediately    byte = 0x01 // qualifier of OPEN CHANNEL and SEND DATA
	DefaultBearer  byte = 0x03 // 8.52
	TCPClient      byte = 0x02 // TCP, remote, the UICC is the client (8.59)
	IPv4           byte = 0x21 // 8.58
	DataAvailable  byte = 0x09 // events (8.25)
	ChannelStatus  byte = 0x0A
	Established    byte = 0x80 // with the number of the channel (8.56)
	LinkDropped    byte = 0x05
	MaxData             = 220  // octets of channel data in one command or answer (chosen: it fits into an APDU)
	Done           byte = 0x00 // general results (8.12)
	MissingInfo    byte = 0x02
	UnableNow      byte = 0x20
	BeyondTerminal byte = 0x30
	NotUnderstood  byte = 0x32
	ChannelError   byte = 0x3A // bearer independent protocol error; what follows is the cause
	NoChannel      byte = 0x03 // causes (8.12.11): channel identifier not valid
	NotReachable   byte = 0x05 // the address cannot be reached: remote device
	ChannelClosed  byte = 0x02
)

// Find is a data object, whether comprehension is required of it or not; nil: there is
// none.
func Find(b []byte, tag tlv.Tag) []byte {
	for r := tlv.Read(b); r.Next(); {
		if r.Tag&^comprehension == tag {
			if r.Value == nil {
				return []byte{}
			}
			return r.Value
		}
	}
	return nil
}

// Object adds a data object of which comprehension is required.
func Object(b []byte, tag tlv.Tag, value ...byte) []byte {
	return tlv.Append(b, tag|comprehension, value...)
}

// Command is a proactive command from the UICC, with its number 1.
func Command(typ, qualifier, to byte, objects []byte) []byte {
	b := Object(nil, TagDetails, 1, typ, qualifier)
	b = Object(b, TagDevices, UICC, to)
	return tlv.Append(nil, TagProactive, append(b, objects...)...)
}

// Parse takes a proactive command apart. ok is false for anything else.
func Parse(b []byte) (typ, qualifier, to byte, objects []byte, ok bool) {
	tag, objects, rest, err := tlv.Next(b)
	if err != nil || tag != TagProactive || len(rest) > 0 {
		return 0, 0, 0, nil, false
	}
	d, v := Find(objects, TagDetails), Find(objects, TagDevices)
	if len(d) != 3 || len(v) != 2 || v[0] != UICC {
		return 0, 0, 0, nil, false
	}
	return d[1], d[2], v[1], objects, true
}

// Response is the data of TERMINAL RESPONSE to a command of a type: a result, with its
// cause, and objects.
func Response(typ, qualifier byte, result []byte, objects []byte) []byte {
	b := Object(nil, TagDetails, 1, typ, qualifier)
	b = tlv.Append(b, TagDevices, Terminal, UICC)
	return append(Object(b, TagResult, result...), objects...)
}

// Event is the data of ENVELOPE with an event of the terminal.
func Event(event byte, objects []byte) []byte {
	b := Object(nil, TagEventList, event)
	b = Object(b, TagDevices, Terminal, UICC)
	return tlv.Append(nil, TagEvent, append(b, objects...)...)
}
