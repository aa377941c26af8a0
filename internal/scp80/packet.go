// Package scp80 is secured packets: how a server administers applications of a card over
// the air. Both ends use it.
//
//	server  Command ── Append ──> command packet ── Split ──> short messages ─┐
//	card    Command <── Open ──── ParseHeader <──── Assembler <── Envelope <──┘
//	card    Response ─ Append ──> response packet ──> server  OpenResponse
//
// A command packet is CPL CHL SPI KIc KID TAR CNTR PCNTR RC/CC data, a response packet RPL
// RHL TAR CNTR PCNTR status RC/CC data; from CNTR on they may be enciphered. Lengths
// count what follows them. The check is over all of a packet but itself; that of a
// response over its user data header 02 71 00 as well, which tells it from a command.
//
// It is a leaf and safe inside a guest.
//
// Sources: ETSI TS 102 225 (packets), 3GPP TS 31.115 (short messages), TS 23.040 9.2
// (TPDUs), TS 31.111 7.1.1 (SMS-PP download), NIST SP 800-38B (CMAC), ISO/IEC 9797-1 (MAC
// with DES). Their texts were not at hand: see codes.go.
package scp80

import (
	"crypto/cipher"
	"crypto/subtle"
	"errors"
)

// TAR is a toolkit application reference: to whom a packet is.
type TAR [3]byte

// SPI says how a command packet is secured, and its response.
type SPI [2]byte

// Check of the command packet.
func (s SPI) Check() Check { return Check(s[0] & 3) }

// Ciphered tells whether the command packet is enciphered.
func (s SPI) Ciphered() bool { return s[0]&spiCiphered != 0 }

// Counter is the counter mode.
func (s SPI) Counter() CounterMode { return CounterMode(s[0] >> 3 & 3) }

// PoR is when a proof of receipt is wanted.
func (s SPI) PoR() PoRMode { return PoRMode(s[1] & 3) }

// PoRCheck is the check of the response packet.
func (s SPI) PoRCheck() Check { return Check(s[1] >> 2 & 3) }

// PoRCiphered tells whether the response packet is enciphered.
func (s SPI) PoRCiphered() bool { return s[1]&spiPoRCiphered != 0 }

// PoRSubmit tells whether the response goes by SMS-SUBMIT.
func (s SPI) PoRSubmit() bool { return s[1]&spiPoRSubmit != 0 }

// Enough tells whether s secures a command at least as the first byte of SPI in minimum
// says (TS 102 226 8.2.1.3.2.4.1, minimum security level).
func (s SPI) Enough(minimum byte) bool {
	m := SPI{minimum}
	return s.Check() >= m.Check() && s.Counter() >= m.Counter() && (s.Ciphered() || !m.Ciphered())
}

// MaxCounter is the last counter: one that has reached it is blocked.
const MaxCounter = 1<<40 - 1

// Header is what of a command packet is never enciphered.
type Header struct {
	SPI      SPI
	KIc, KID byte
	TAR      TAR
}

// Keys are the key for ciphering and the one for the checksum. Where a packet says that
// the algorithm is implicit, theirs is meant.
type Keys struct {
	KIc, KID       []byte
	Cipher, Digest Algorithm
}

func pick(b byte, implicit Algorithm) Algorithm {
	if a := Algorithm(b & 0x0F); a != Implicit {
		return a
	}
	return implicit
}

func (k Keys) cipher(h Header) (cipher.Block, error) { return pick(h.KIc, k.Cipher).block(k.KIc) }

func (k Keys) check(c Check, h Header, b []byte) ([]byte, error) {
	if c == NoCheck {
		return nil, nil
	}
	return check(c, pick(h.KID, k.Digest), k.KID, b)
}

func (k Keys) size(c Check, h Header) int { return checkSize(c, pick(h.KID, k.Digest)) }

// Command is what a command packet says.
type Command struct {
	Header
	Counter uint64
	Data    []byte
}

const (
	cplSize     = 2
	headerSize  = 8 // CHL SPI KIc KID TAR
	countedSize = 6 // CNTR PCNTR
	clear       = cplSize + headerSize
	respClear   = 6 // RPL RHL TAR
	respCounted = 7 // CNTR PCNTR status
)

// ErrPacket is a packet that is none: too short, or with wrong lengths.
var ErrPacket = errors.New("scp80: the packet is cut off or its lengths do not fit")

// ErrTooLong is data that does not fit into one packet.
var ErrTooLong = errors.New("scp80: a packet holds at most 65535 bytes")

func counter(b []byte) (n uint64) {
	for _, x := range b[:5] {
		n = n<<8 | uint64(x)
	}
	return n
}

func appendCounter(b []byte, n uint64) []byte {
	return append(b, byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// Append adds the command packet.
func (c *Command) Append(dst []byte, k Keys) ([]byte, error) {
	size := k.size(c.SPI.Check(), c.Header)
	if size == 0 && c.SPI.Check() != NoCheck {
		return nil, ErrAlgorithm
	}
	var block cipher.Block
	var err error
	pad := 0
	if c.SPI.Ciphered() {
		if block, err = k.cipher(c.Header); err != nil {
			return nil, err
		}
		pad = -(countedSize + size + len(c.Data)) & (block.BlockSize() - 1)
	}
	n := headerSize + countedSize + size + len(c.Data) + pad
	if n > 0xFFFF {
		return nil, ErrTooLong
	}
	at := len(dst)
	dst = append(dst, byte(n>>8), byte(n), byte(headerSize-1+countedSize+size), c.SPI[0], c.SPI[1], c.KIc, c.KID)
	dst = append(dst, c.TAR[:]...)
	dst = append(appendCounter(dst, c.Counter), byte(pad))
	return seal(dst, at, clear, clear+countedSize, size, c.Data, pad, block, nil, func(b []byte) ([]byte, error) { return k.check(c.SPI.Check(), c.Header, b) })
}

// seal adds check, data and padding to what begins at dst[at:], and enciphers what comes
// behind clear. before belongs to what is checked, without being sent.
func seal(dst []byte, at, clear, head, size int, data []byte, pad int, block cipher.Block, before []byte, check func([]byte) ([]byte, error)) ([]byte, error) {
	covered := append(append(append([]byte(nil), before...), dst[at:at+head]...), data...)
	covered = append(covered, make([]byte, pad)...)
	sum, err := check(covered)
	if err != nil {
		return nil, err
	}
	dst = append(append(append(dst, sum...), data...), make([]byte, pad)...)
	if block != nil {
		b := dst[at+clear:]
		cipher.NewCBCEncrypter(block, make([]byte, block.BlockSize())).CryptBlocks(b, b)
	}
	return dst, nil
}

// open deciphers a copy of a packet and checks it; it gives its fields behind clear, and
// what of data is no padding.
func open(packet []byte, clear, head, size int, block cipher.Block, before []byte, check func([]byte) ([]byte, error)) (fields, data []byte, s Status) {
	b := append([]byte(nil), packet...)
	if block != nil {
		in := b[clear:]
		if len(in) == 0 || len(in)%block.BlockSize() != 0 {
			return nil, nil, CipheringError
		}
		cipher.NewCBCDecrypter(block, make([]byte, block.BlockSize())).CryptBlocks(in, in)
	}
	fields, sum, data := b[clear:head], b[head:head+size], b[head+size:]
	covered := append(append(append([]byte(nil), before...), b[:head]...), data...)
	want, err := check(covered)
	if err != nil {
		return nil, nil, SecurityError
	}
	if subtle.ConstantTimeCompare(want, sum) != 1 {
		return nil, nil, CheckFailed
	}
	pad := int(fields[5])
	if pad > len(data) || block == nil && pad > 0 || block != nil && pad >= block.BlockSize() {
		return nil, nil, SecurityError
	}
	return fields, data[:len(data)-pad], OK
}

// ParseHeader reads what of a command packet is in clear. An error is ErrPacket.
func ParseHeader(packet []byte) (h Header, err error) {
	if len(packet) < clear+countedSize || int(packet[0])<<8|int(packet[1]) != len(packet)-cplSize {
		return h, ErrPacket
	}
	if n := int(packet[2]); n < headerSize-1+countedSize || n > len(packet)-cplSize-1 {
		return h, ErrPacket
	}
	copy(h.SPI[:], packet[3:])
	h.KIc, h.KID = packet[5], packet[6]
	copy(h.TAR[:], packet[7:])
	return h, nil
}

// Open reads a command packet. Other than OK, the status is CipheringError, CheckFailed or
// SecurityError; counters are the caller's.
func Open(packet []byte, k Keys) (c Command, s Status) {
	h, err := ParseHeader(packet)
	if err != nil {
		return c, SecurityError
	}
	c.Header = h
	size := k.size(h.SPI.Check(), h)
	if int(packet[2]) != headerSize-1+countedSize+size || size == 0 && h.SPI.Check() != NoCheck || len(packet) < clear+countedSize+size {
		return c, SecurityError
	}
	var block cipher.Block
	if h.SPI.Ciphered() {
		if block, err = k.cipher(h); err != nil {
			return c, CipheringError
		}
	}
	fields, data, s := open(packet, clear, clear+countedSize, size, block, nil, func(b []byte) ([]byte, error) { return k.check(h.SPI.Check(), h, b) })
	if s == OK {
		c.Counter, c.Data = counter(fields), data
	}
	return c, s
}

// Response is what a response packet says.
type Response struct {
	TAR     TAR
	Counter uint64
	Status  Status
	Data    []byte
}

// ResponseHeader is the user data header before every response packet; the check is over
// it, too.
var ResponseHeader = []byte{2, elementResponse, 0}

// Append adds the response packet, secured as the header of the command wants it.
func (r *Response) Append(dst []byte, h Header, k Keys) ([]byte, error) {
	size := k.size(h.SPI.PoRCheck(), h)
	if size == 0 && h.SPI.PoRCheck() != NoCheck {
		return nil, ErrAlgorithm
	}
	var block cipher.Block
	var err error
	pad := 0
	if h.SPI.PoRCiphered() {
		if block, err = k.cipher(h); err != nil {
			return nil, err
		}
		pad = -(respCounted + size + len(r.Data)) & (block.BlockSize() - 1)
	}
	n := respClear - 2 + respCounted + size + len(r.Data) + pad
	if n > 0xFFFF {
		return nil, ErrTooLong
	}
	at := len(dst)
	dst = append(dst, byte(n>>8), byte(n), byte(3+respCounted+size))
	dst = append(dst, r.TAR[:]...)
	dst = append(appendCounter(dst, r.Counter), byte(pad), byte(r.Status))
	return seal(dst, at, respClear, respClear+respCounted, size, r.Data, pad, block, ResponseHeader, func(b []byte) ([]byte, error) { return k.check(h.SPI.PoRCheck(), h, b) })
}

// AppendPlain adds the response packet without any security, as for a command whose
// origin is not sure.
func (r *Response) AppendPlain(dst []byte) []byte {
	dst, _ = r.Append(dst, Header{}, Keys{}) // nothing of it can fail
	return dst
}

// Errors of OpenResponse, with ErrPacket.
var (
	ErrUnprotected = errors.New("scp80: the response is not secured as the command wanted it")
	ErrResponse    = errors.New("scp80: the checksum of the response is wrong: it is of another card, for another command, or it was changed on the way")
)

// isSecured tells whether a response packet is as long as one that is secured as the
// header of the command wants it.
func isSecured(packet []byte, h Header, k Keys) bool {
	return int(packet[2]) == 3+respCounted+k.size(h.SPI.PoRCheck(), h)
}

// OpenResponse reads a response packet. One that reports an error may come without
// security, since a card does not know whom it answers; plain says that it did, and the
// error is ErrUnprotected only when it claims to be anything but such a report.
func OpenResponse(packet []byte, h Header, k Keys) (r Response, plain bool, err error) {
	if len(packet) < respClear+respCounted || int(packet[0])<<8|int(packet[1]) != len(packet)-2 || int(packet[2]) < 3+respCounted || int(packet[2]) > len(packet)-3 {
		return r, false, ErrPacket
	}
	copy(r.TAR[:], packet[3:])
	size := k.size(h.SPI.PoRCheck(), h)
	var block cipher.Block
	if h.SPI.PoRCiphered() {
		if block, err = k.cipher(h); err != nil {
			return r, false, err
		}
	}
	if isSecured(packet, h, k) && (block == nil || (len(packet)-respClear)%block.BlockSize() == 0) && len(packet) >= respClear+respCounted+size {
		fields, data, s := open(packet, respClear, respClear+respCounted, size, block, ResponseHeader, func(b []byte) ([]byte, error) { return k.check(h.SPI.PoRCheck(), h, b) })
		if s == OK {
			r.Counter, r.Status, r.Data = counter(fields), Status(fields[6]), data
			return r, size == 0 && block == nil, nil
		}
		if size > 0 {
			return r, false, ErrResponse
		}
	}
	if int(packet[2]) != 3+respCounted || packet[12] == byte(OK) || len(packet) != respClear+respCounted {
		return r, false, ErrUnprotected
	}
	r.Counter, r.Status = counter(packet[6:]), Status(packet[12])
	return r, true, nil
}
