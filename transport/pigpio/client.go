package pigpio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// command is a number of pigpio's socket interface (PI_CMD_*).
type command uint32

// The commands that are used here (pigpio, socket interface).
const (
	cmdModes command = 0   // MODES gpio mode
	cmdPUD   command = 2   // PUD gpio pull
	cmdWrite command = 4   // WRITE gpio level
	cmdBR1   command = 10  // BR1: levels of GPIO 0 to 31
	cmdHWVER command = 17  // HWVER: hardware revision
	cmdNB    command = 19  // NB handle bits: which GPIO to tell of
	cmdNC    command = 21  // NC handle: no more notifications
	cmdPIGPV command = 26  // PIGPV: version of pigpio
	cmdNOIB  command = 99  // NOIB: notifications on this connection
	cmdBSCX  command = 114 // BSCX control 0 length, data: transfer with the BSC peripheral
	cmdEVM   command = 115 // EVM handle bits: which events to tell of
)

func (c command) String() string {
	for k, v := range map[command]string{
		cmdModes: "MODES", cmdPUD: "PUD", cmdWrite: "WRITE", cmdBR1: "BR1", cmdHWVER: "HWVER", cmdNB: "NB", cmdNC: "NC",
		cmdPIGPV: "PIGPV", cmdNOIB: "NOIB", cmdBSCX: "BSCX", cmdEVM: "EVM",
	} {
		if k == c {
			return v
		}
	}
	return fmt.Sprintf("command %d", uint32(c))
}

const (
	modeInput  = 0
	modeOutput = 1
	pullUp     = 2
)

// The control word of BSCX: bits 0 to 13 are the register CR, 16 to 22 the address.
const (
	controlEN   = 1 << 0 // peripheral on
	controlBK   = 1 << 7 // abort, and clear the FIFOs
	controlTE   = 1 << 8 // transmit
	controlRE   = 1 << 9 // receive
	controlAddr = 16
	controlI2C  = 1<<2 | controlEN | controlTE | controlRE
)

// The status word of BSCX: bits 0 to 15 are the register FR, then the count of bytes
// that went into the transmit FIFO.
type status uint32

func (s status) receiveBusy() bool { return s>>5&1 != 0 }
func (s status) transmitting() int { return int(s >> 6 & 31) } // bytes in the transmit FIFO
func (s status) copied() int       { return int(s >> 16 & 0x7FFF) }

const (
	// fifo is how much one BSCX carries each way; the peripheral itself holds 16.
	fifo = 512
	// eventBSC is the event of BSC activity (PI_EVENT_BSC).
	eventBSC = 31
	// wait is how long the daemon may take for anything.
	wait = 5 * time.Second
)

const header = 16

// client is one connection to the daemon, used by one goroutine at a time.
type client struct {
	c   net.Conn
	buf []byte
}

var errGarbage = errors.New("pigpiod: the answer is not to what was asked (is it pigpiod that listens there?)")

// do gives one command: four numbers, little-endian, and ext. The answer has the same
// first three, then the result, and for BSCX as many bytes as that says, which are
// valid until the next do.
func (c *client) do(cmd command, p1, p2 uint32, ext []byte) (res int32, out []byte, err error) {
	b := c.buf[:0]
	for _, v := range []uint32{uint32(cmd), p1, p2, uint32(len(ext))} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(b, ext...)
	c.buf = b
	_ = c.c.SetDeadline(time.Now().Add(wait)) // fails on a closed connection only, as Write will
	if _, err := c.c.Write(b); err != nil {
		return 0, nil, err
	}
	var h [header]byte
	if _, err := io.ReadFull(c.c, h[:]); err != nil {
		return 0, nil, fmt.Errorf("pigpiod: no answer to %s: %w", cmd, err)
	}
	if binary.LittleEndian.Uint32(h[:]) != uint32(cmd) {
		return 0, nil, errGarbage
	}
	res = int32(binary.LittleEndian.Uint32(h[12:]))
	if cmd != cmdBSCX {
		if res < 0 && cmd != cmdBR1 { // 32 levels, not a number
			return res, nil, daemonError{cmd, res}
		}
		return res, nil, nil
	}
	switch {
	case res < 0:
		return res, nil, daemonError{cmd, res}
	case res < 4 || res > 4+fifo:
		return res, nil, errGarbage
	}
	if cap(c.buf) < 4+fifo {
		c.buf = make([]byte, 4+fifo)
	}
	out = c.buf[:res]
	_, err = io.ReadFull(c.c, out)
	return res, out, err
}

// transfer is BSCX: tx goes to the transmit FIFO as far as there is room, rx is what
// was in the receive FIFO.
func (c *client) transfer(control uint32, tx []byte) (s status, rx []byte, err error) {
	_, out, err := c.do(cmdBSCX, control, 0, tx)
	if err != nil {
		return 0, nil, err
	}
	return status(binary.LittleEndian.Uint32(out)), out[4:], nil
}

// report is one notification: 12 bytes.
type report struct {
	flags uint16
	level uint32 // of GPIO 0 to 31
}

const reportLen = 12

func (c *client) report() (r report, err error) {
	var b [reportLen]byte
	if _, err = io.ReadFull(c.c, b[:]); err != nil {
		return r, err
	}
	return report{binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[8:])}, nil
}

// event tells whether it is of an event, and which.
func (r report) event() (n int, ok bool) { return int(r.flags & 31), r.flags&(1<<7) != 0 }

// edge tells whether it is of levels.
func (r report) edge() bool { return r.flags == 0 }
