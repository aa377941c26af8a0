package bridge

import (
	"encoding/binary"
	"fmt"

	"github.com/sspemu/sspemu/transport/bus"
)

// message is the type of a frame. Host is our end, board the one with the wires.
type message byte

// The messages (docs/bridge.md); numbers have their most significant byte first.
const (
	msgHello message = 0x01 // host: what the board has to be; board: what it is
	msgError message = 0x02 // board: text; it does not do what was asked

	// The board is a target.
	msgWritten  message = 0x10 // board: what the controller wrote in one access
	msgReady    message = 0x11 // host: generation, what the controller may read
	msgTaken    message = 0x12 // board: generation, so many bytes of it were read, two bytes
	msgReset    message = 0x13 // board: the reset line was pulled, or power came back
	msgPowerOff message = 0x14 // board: power went
	msgIRQ      message = 0x15 // host: the interrupt line, 1 active

	// The board is a controller.
	msgTx    message = 0x20 // host: number, length to read in two bytes, bytes to write
	msgDone  message = 0x21 // board: number, result, bytes read
	msgSpeed message = 0x22 // host: number, Hz in four bytes; answered by msgDone
	msgPulse message = 0x23 // host: number; pulls the reset line; answered by msgDone
	msgLine  message = 0x24 // board: the interrupt line, 1 active
)

// Results of msgDone.
const (
	resultOK     = 0
	resultNACK   = 1
	resultStuck  = 2
	resultNoLine = 3
	resultFailed = 4 // the rest is text
)

// version is that of the framing and of its messages.
const version = 1

var magic = [4]byte{'S', 'S', 'P', 'B'}

// Roles of a board.
const (
	roleTarget     = 1
	roleController = 2
)

func roleName(r byte) string {
	if r == roleController {
		return "controller"
	}
	return "target"
}

// Lines of a board, bits of hello.lines.
const (
	lineIRQ   = 1
	lineReset = 2
)

// hello is the payload of msgHello: magic, version, role, bus (1 SPI, 2 I2C), lines,
// I2C address (2), longest access (2), Hz (4), name.
type hello struct {
	version  byte
	role     byte
	physical bus.Physical
	lines    byte
	addr     uint16
	max      uint16
	hz       uint32
	name     string
}

const helloLen = 16

func (h hello) bytes() []byte {
	b := append(magic[:len(magic):len(magic)], h.version, h.role, byte(h.physical), h.lines)
	b = binary.BigEndian.AppendUint16(b, h.addr)
	b = binary.BigEndian.AppendUint16(b, h.max)
	b = binary.BigEndian.AppendUint32(b, h.hz)
	return append(b, h.name...)
}

func parseHello(p []byte) (h hello, err error) {
	if len(p) < len(magic)+1 || [4]byte(p) != magic {
		return h, fmt.Errorf("bridge: HELLO is not one of this framing")
	}
	if h.version = p[4]; h.version != version {
		return h, fmt.Errorf("bridge: the board speaks version %d, this is version %d (put the script of this release on the board)", h.version, version)
	}
	if len(p) < helloLen {
		return h, fmt.Errorf("bridge: HELLO has %d bytes, not %d", len(p), helloLen)
	}
	h.role, h.physical, h.lines = p[5], bus.Physical(p[6]), p[7]
	h.addr, h.max, h.hz = binary.BigEndian.Uint16(p[8:]), binary.BigEndian.Uint16(p[10:]), binary.BigEndian.Uint32(p[12:])
	h.name = string(p[helloLen:])
	if h.role != roleTarget && h.role != roleController || h.physical != bus.SPI && h.physical != bus.I2C {
		return h, fmt.Errorf("bridge: HELLO has role %d and bus %d, which are not known", h.role, byte(h.physical))
	}
	return h, nil
}

// suits tells whether a board that said h is what was wanted.
func (h hello) suits(want hello) error {
	switch {
	case h.role != want.role:
		return fmt.Errorf("bridge: the board (%s) is a %s, a %s is needed", h.name, roleName(h.role), roleName(want.role))
	case h.physical != want.physical:
		return fmt.Errorf("bridge: the board (%s) is on %s, not on %s (bus=%s)", h.name, h.physical, want.physical, map[bus.Physical]string{bus.SPI: "spi", bus.I2C: "i2c"}[h.physical])
	case h.max < 16 || h.max > maxPayload-8:
		return fmt.Errorf("bridge: the board (%s) says that its longest access has %d bytes; 16 to %d are possible", h.name, h.max, maxPayload-8)
	}
	return nil
}
