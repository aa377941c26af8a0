package iso7816

import "github.com/sspemu/sspemu/transport"

// The vpcd protocol (vsmartcard, "virtual smart card" interface): a message is
// its length in two bytes, big-endian, and so many bytes. From the reader, a
// message of one byte is a control; only vpcdATR is answered. Anything else is a
// command APDU, answered by a response APDU.
const (
	vpcdOff   = 0x00 // deactivate
	vpcdOn    = 0x01 // activate: cold reset
	vpcdReset = 0x02 // warm reset
	vpcdATR   = 0x04 // wants the ATR; sent after vpcdOn and vpcdReset, and to see whether the card is there
)

const (
	vpcdHeader = 2
	// vpcdMax is the longest message that two bytes of length can express.
	vpcdMax = 0xFFFF
	// vpcdPort is where Debian's driver listens (0x8C7B in its reader.conf).
	vpcdPort = 35963
)

// nextMessage splits the first message off b; msg aliases b and n is how many
// bytes it took. n is 0 while the message is incomplete.
func nextMessage(b []byte) (msg []byte, n int) {
	if len(b) < vpcdHeader {
		return nil, 0
	}
	n = vpcdHeader + int(b[0])<<8 + int(b[1])
	if len(b) < n {
		return nil, 0
	}
	return b[vpcdHeader:n:n], n
}

// appendMessage encodes p, of at most vpcdMax bytes, behind dst.
func appendMessage(dst, p []byte) []byte {
	dst = append(dst, byte(len(p)>>8), byte(len(p)))
	return append(dst, p...)
}

// vpcdKind says what a message from the reader is. The reader waits for an
// answer to whatever it does not take for a control itself; so an empty message
// and an unknown control byte are commands, malformed ones (the card answers
// 6700).
func vpcdKind(msg []byte) transport.Kind {
	if len(msg) == 1 {
		switch msg[0] {
		case vpcdOff:
			return transport.PowerOff
		case vpcdOn:
			return transport.PowerOn
		case vpcdReset:
			return transport.Reset
		case vpcdATR:
			return transport.GetATR
		}
	}
	return transport.Block
}

// vpcdControl is what the reader sends for a frame that is not a Block: the
// driver asks for the ATR itself after each activation and reset.
func vpcdControl(k transport.Kind) []byte {
	switch k {
	case transport.PowerOff:
		return controlOff
	case transport.PowerOn:
		return controlOn
	case transport.Reset:
		return controlReset
	}
	return controlATR
}

var (
	controlOff   = []byte{0, 1, vpcdOff}
	controlOn    = []byte{0, 1, vpcdOn, 0, 1, vpcdATR}
	controlReset = []byte{0, 1, vpcdReset, 0, 1, vpcdATR}
	controlATR   = []byte{0, 1, vpcdATR}
)
