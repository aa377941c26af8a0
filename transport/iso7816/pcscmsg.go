package iso7816

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// The message protocol between libpcsclite and pcscd, version 4.4 (pcsc-lite
// 1.8.24 to 2.2; src/winscard_msg.h and src/eventhandler.h). A request is a
// header (size of the body, command) and a body; the answer is a body of the
// same layout without a header, with its last field rv filled in. SCARD_TRANSMIT
// is followed by the command and, when it went well, by the response. Integers
// have the machine's byte order.
const (
	pcscEstablishContext = 0x01
	pcscConnect          = 0x04
	pcscReconnect        = 0x05
	pcscDisconnect       = 0x06
	pcscTransmit         = 0x09
	pcscVersion          = 0x11
	pcscGetReadersState  = 0x12

	pcscMajor = 4
	pcscMinor = 4
	// pcscMinorFrom and pcscMinorTo are the versions whose messages used here
	// have this layout: 4.3 and 4.5 differ in how changes of readers are waited
	// for, only.
	pcscMinorFrom = 3
	pcscMinorTo   = 5
)

// Values of winscard.
const (
	scopeSystem = 2 // SCARD_SCOPE_SYSTEM
	shareShared = 2 // SCARD_SHARE_SHARED

	protocolT0 = 1 // SCARD_PROTOCOL_T0
	protocolT1 = 2 // SCARD_PROTOCOL_T1

	leaveCard   = 0 // SCARD_LEAVE_CARD
	resetCard   = 1 // SCARD_RESET_CARD: warm reset
	unpowerCard = 2 // SCARD_UNPOWER_CARD: cold reset

	statePresent = 0x0004 // SCARD_PRESENT

	maxReaderName = 128               // MAX_READERNAME
	maxATR        = 33                // MAX_ATR_SIZE
	maxReaders    = 16                // PCSCLITE_MAX_READERS_CONTEXTS
	maxExtended   = 4 + 3 + 65536 + 5 // MAX_BUFFER_SIZE_EXTENDED
)

// pcscError is a return code of pcscd.
type pcscError uint32

// Return codes that have a meaning of their own here.
const (
	pcscOK             pcscError = 0
	pcscSharing        pcscError = 0x8010000B
	pcscServiceStopped pcscError = 0x8010001E
	pcscResetCard      pcscError = 0x80100068
	pcscRemovedCard    pcscError = 0x80100069
)

var pcscErrors = map[pcscError]string{
	0x80100003:         "the handle is not valid any more",
	0x80100009:         "the reader is not known",
	0x8010000A:         "it took too long",
	pcscSharing:        "another program has the card for itself",
	0x8010000C:         "there is no card in the reader",
	0x8010000F:         "the card does not speak the protocol that was asked for (see ?protocol=)",
	0x80100010:         "the reader is not ready",
	0x80100013:         "an internal communications error",
	0x80100016:         "the card did not answer",
	0x80100017:         "the reader has gone",
	0x8010001D:         "the smart card service does not run",
	pcscServiceStopped: "the smart card service has stopped",
	0x8010002E:         "there is no reader",
	0x8010002F:         "the communication with the card broke off",
	0x80100065:         "the card is not supported",
	0x80100066:         "the card does not answer to a reset",
	0x80100067:         "the card has no power",
	pcscResetCard:      "another program has reset the card",
	pcscRemovedCard:    "the card was taken out",
	0x8010006A:         "access was refused",
}

func (e pcscError) Error() string {
	if s, ok := pcscErrors[e]; ok {
		return fmt.Sprintf("pcscd: %s (0x%08X)", s, uint32(e))
	}
	return fmt.Sprintf("pcscd: error 0x%08X", uint32(e))
}

// pcscReader is what pcscd tells of one reader.
type pcscReader struct {
	name    string
	present bool
	atr     []byte
}

// readerStateSize is the size of READER_STATE: name, event counter, state,
// sharing, ATR padded to a multiple of four, its length, protocol.
const readerStateSize = maxReaderName + 3*4 + 36 + 2*4

// pcscConn is one connection to pcscd.
type pcscConn struct {
	c    net.Conn
	wbuf []byte
	rbuf []byte // of maxExtended bytes, for answers
}

// call sends one request, with extra behind its body, and reads the answer of
// the same size; fields are 32 bits each. It returns the answer's fields, valid
// until the next call.
func (p *pcscConn) call(command uint32, extra []byte, fields ...uint32) ([]byte, error) {
	p.begin(command, 4*len(fields))
	for _, f := range fields {
		p.wbuf = binary.NativeEndian.AppendUint32(p.wbuf, f)
	}
	p.wbuf = append(p.wbuf, extra...)
	return p.finish(4 * len(fields))
}

func (p *pcscConn) begin(command uint32, size int) {
	p.wbuf = binary.NativeEndian.AppendUint32(p.wbuf[:0], uint32(size))
	p.wbuf = binary.NativeEndian.AppendUint32(p.wbuf, command)
}

func (p *pcscConn) finish(size int) ([]byte, error) {
	if _, err := p.c.Write(p.wbuf); err != nil {
		return nil, fmt.Errorf("pcscd: %w", err)
	}
	return p.read(p.rbuf[:size])
}

func (p *pcscConn) read(b []byte) ([]byte, error) {
	if _, err := io.ReadFull(p.c, b); err != nil {
		return nil, fmt.Errorf("pcscd: it hung up: %w", err)
	}
	return b, nil
}

func field(b []byte, i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }

// rv is the return code in the last field of an answer.
func rv(b []byte) error {
	if e := pcscError(field(b, len(b)/4-1)); e != pcscOK {
		return e
	}
	return nil
}

// version agrees on the protocol; it returns the daemon's version.
func (p *pcscConn) version(minor uint32) (major, theirs uint32, err error) {
	b, err := p.call(pcscVersion, nil, pcscMajor, minor, 0)
	if err != nil {
		return 0, 0, err
	}
	return field(b, 0), field(b, 1), rv(b)
}

func (p *pcscConn) establish() (context uint32, err error) {
	b, err := p.call(pcscEstablishContext, nil, scopeSystem, 0, 0)
	if err != nil {
		return 0, err
	}
	return field(b, 1), rv(b)
}

// readers lists all readers there are.
func (p *pcscConn) readers() ([]pcscReader, error) {
	p.begin(pcscGetReadersState, 0)
	b, err := p.finish(maxReaders * readerStateSize)
	if err != nil {
		return nil, err
	}
	var list []pcscReader
	for ; len(b) > 0; b = b[readerStateSize:] {
		name, _, _ := bytes.Cut(b[:maxReaderName], []byte{0})
		if len(name) == 0 {
			continue
		}
		r := pcscReader{name: string(name)}
		r.present = field(b[maxReaderName:], 1)&statePresent != 0
		// The length is one more than an ATR can have while pcscd starts up.
		if n := field(b[maxReaderName+12+36:], 0); n <= maxATR {
			r.atr = append(r.atr, b[maxReaderName+12:][:n]...)
		}
		list = append(list, r)
	}
	return list, nil
}

// connect opens the card in a reader, shared with other programs.
func (p *pcscConn) connect(context uint32, reader string, protocols uint32) (card, protocol uint32, err error) {
	var name [maxReaderName]byte
	copy(name[:maxReaderName-1], reader)
	const size = 4 + maxReaderName + 5*4
	p.begin(pcscConnect, size)
	p.wbuf = binary.NativeEndian.AppendUint32(p.wbuf, context)
	p.wbuf = append(p.wbuf, name[:]...)
	for _, f := range []uint32{shareShared, protocols, 0, 0, 0} {
		p.wbuf = binary.NativeEndian.AppendUint32(p.wbuf, f)
	}
	b, err := p.finish(size)
	if err != nil {
		return 0, 0, err
	}
	b = b[4+maxReaderName:]
	return field(b, 2), field(b, 3), rv(b)
}

// reconnect resets the card: init is resetCard or unpowerCard.
func (p *pcscConn) reconnect(card, protocols, init uint32) (protocol uint32, err error) {
	b, err := p.call(pcscReconnect, nil, card, shareShared, protocols, init, 0, 0)
	if err != nil {
		return 0, err
	}
	return field(b, 4), rv(b)
}

func (p *pcscConn) disconnect(card, disposition uint32) error {
	b, err := p.call(pcscDisconnect, nil, card, disposition, 0)
	if err != nil {
		return err
	}
	return rv(b)
}

// transmit exchanges one APDU; the response is valid until the next call. It
// does not allocate.
func (p *pcscConn) transmit(card, protocol uint32, apdu []byte) ([]byte, error) {
	// hCard, send protocol and length of its header, length of the command,
	// receive protocol and length of its header, room for the response, rv.
	const header = 16 // sizeof(SCARD_IO_REQUEST): two unsigned long
	b, err := p.call(pcscTransmit, apdu, card, protocol, header, uint32(len(apdu)), protocol, header, maxExtended, 0)
	if err != nil {
		return nil, err
	}
	n := field(b, 6)
	if err := rv(b); err != nil {
		return nil, err
	}
	if n > maxExtended {
		_ = p.c.Close() // what follows cannot be read any more
		return nil, fmt.Errorf("pcscd: a response of %d bytes is longer than was asked for", n)
	}
	return p.read(p.rbuf[:n])
}
