// Package tunnel carries SCL packets over links that have APDUs only, such as a card
// reader: in the command TRANSACT DATA of ETSI TS 102 221. It wraps both ends of such
// a link, and what it makes is a transport.PacketCarrier.
//
//	terminal host                                             SCL network
//	  │ Packet   ^ Packet                                       ^ Packet   │ Packet
//	  v          │                                              │          v
//	Controller: queue, poll ──┐                        ┌── Target: queue, hands over
//	  │ Block                 v                        v                   ^ Block
//	  └──────────> one command at a time ══ link ══ TRANSACT DATA? ────────┘ others
//
// Packets travel as BER-TLV data objects, one behind the other. A transfer to the
// card is cut into blocks; P2 counts those that are still to come. A card cannot
// speak first, so it says 92XX when packets wait, and the terminal asks from time to
// time while nothing happens.
//
//	terminal                                   card
//	00 75 C2 00 ──────────────────────────────>│ forgets what was: a session begins
//	<──────────────────────────────── 92 C0 ───│
//	00 75 C4 01 FF  80 82 01 2C ... ──────────>│ a block, one more to come
//	<──────────────────────────────── 92 C0 ───│
//	00 75 C4 00 31  ... ──────────────────────>│ the last: its packets are handed over
//	<──────────────────────────────── 92 C1 ───│ packets wait
//	00 75 C0 00 00 ───────────────────────────>│
//	<── 80 05 82 ... 92 C0 ────────────────────│ all there is
//
// A command has data or an answer, never both (case 2 or 3, TS 102 221 11.1.21.1), so
// T=0 needs no GET RESPONSE. Where the link does not give whole answers a wrong Le is
// answered with 6CXX, as T=0 has it. Commands of the other three sessions, and every
// other command, pass to the card.
//
// Status words of the target:
//
//	9000, 92XX  done                      6A80  not a row of packets
//	6700        Lc or Le is wrong here    6A84  more than is held
//	6985        no session                6A86  RFU bits, P2 out of order, retransmission
//
// Sources: ETSI TS 102 221 V17.1.0 11.1.21 and 10.2.1.1, as far as public pages show
// them: class, instruction, session number, "command contains data" and "abort" of P1,
// P2, BER-TLV and 92XX are verified; the tag, the lower bits of SW2 and that an abort
// begins a session are ours; asking for a retransmission (P1) was not at hand. That the
// SCL is carried so is our choice: see the profile, entries tunnel.*.
package tunnel

import (
	"errors"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Config holds the numbers of a tunnel; both ends must have the same ones. The
// profile of the SCL has them as entries tunnel.*.
type Config struct {
	CLA, INS byte
	Session  byte // data transfer session number of P1, 0 to 3
	Data     byte // bit of P1: the command contains data
	Abort    byte // bit of P1: abort the session, here: begin anew
	Tag      byte // of the data object that holds a packet
	Pending  byte // lower six bits of SW2: packets wait
	Ongoing  byte // lower six bits of SW2: none wait
	Command  int  // most octets of data in a command; more than 255 makes it extended
	Response int  // most octets of data in a response; more than 256 makes it extended
	MTU      int  // longest packet

	Queue     int           // octets of packets that wait at one end, at most
	PollFirst time.Duration // the terminal asks so long after packets have passed,
	PollMost  time.Duration // then ever less often, up to this
	Timeout   time.Duration // bounds the wait for an answer and for a card
}

// Default is the numbers of scl-profile-0.
func Default() Config {
	return Config{
		CLA: 0x00, INS: 0x75, Session: 3, Data: 0x04, Abort: 0x02,
		Tag: 0x80, Pending: 0x01, Ongoing: 0x00,
		Command: apdu.MaxShortNc, Response: apdu.MaxShortNe, MTU: 1024,
		Queue: 4 << 20, PollFirst: 2 * time.Millisecond, PollMost: 200 * time.Millisecond, Timeout: 20 * time.Second,
	}
}

// Where things stand in P1 and SW2 (TS 102 221 11.1.21.2).
const (
	sessionShift = 6
	rfu          = 0x38
	retransmit   = 0x01 // unverified: the bit that Data and Abort leave
	lower        = 1<<sessionShift - 1
	transferring = 0x92 // SW1: extra information concerning a data transfer session
	maxBlocks    = 256  // P2 counts from 255 down to 0
)

// p1 is P1 with the given bits.
func (c *Config) p1(bits byte) byte { return c.Session<<sessionShift | bits }

// status is 92XX.
func (c *Config) status(pending bool) apdu.SW {
	sw2 := c.Ongoing
	if pending {
		sw2 = c.Pending
	}
	return transferring<<8 | apdu.SW(c.p1(sw2))
}

// mine tells whether a command belongs to the tunnel.
func (c *Config) mine(b []byte) bool {
	return len(b) >= 4 && b[0] == c.CLA && b[1] == c.INS && b[2]>>sessionShift == c.Session
}

var errObject = errors.New("tunnel: not a data object with a packet")

// appendPacket adds the data object with a packet.
func (c *Config) appendPacket(dst, packet []byte) []byte {
	return append(tlv.AppendHeader(dst, tlv.Tag(c.Tag), len(packet)), packet...)
}

// nextPacket splits the first packet off b. It has no bytes when there is no whole
// one yet; b that will never become one is errObject.
func (c *Config) nextPacket(b []byte) (packet, rest []byte, err error) {
	t, v, rest, err := tlv.Next(b)
	switch {
	case err == tlv.ErrShort && len(b) <= c.MTU+maxHeader:
		return nil, b, nil
	case err != nil, t != 0 && t != tlv.Tag(c.Tag), len(v) > c.MTU, t != 0 && len(v) == 0:
		return nil, nil, errObject
	}
	return v, rest, nil
}

// maxHeader is the longest tag and length.
const maxHeader = 1 + 5

// whole is how many octets of a row of packets are whole packets and at most n.
func (c *Config) whole(b []byte, n int) int {
	if len(b) <= n {
		return len(b)
	}
	end := 0
	for rest := b; ; {
		_, after, err := c.nextPacket(rest)
		if err != nil || len(b)-len(after) > n || len(after) == len(rest) {
			return end
		}
		end, rest = len(b)-len(after), after
	}
}
