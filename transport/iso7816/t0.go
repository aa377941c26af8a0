package iso7816

import (
	"errors"
	"fmt"
	"slices"
)

// T=0 (ISO/IEC 7816-3 10) as two machines without I/O. Each is fed bytes and says
// what to send and what has come to an end; slices are valid until the next call.
//
//	terminal ── CLA INS P1 P2 P3 ──> card
//	         <── procedure byte ──       NULL: wait; ACK, its complement: all, one byte; SW1
//	         ── data, or <── data
//	         <── SW1 SW2 ────────
const (
	t0Null        = 0x60
	t0GetResponse = 0xC0
	t0Header      = 5
	// t0MaxNull is how many NULLs in a row a terminal believes.
	t0MaxNull = 500
)

// What ends an exchange of T=0 before its status words.
var (
	ErrT0Command   = errors.New("t0: not a short command APDU (4 to 261 bytes, INS neither 6X nor 9X)")
	ErrT0Procedure = errors.New("t0: a byte that is no procedure byte (10.3.3)")
	ErrT0Null      = errors.New("t0: the card asks for more time without end")
	ErrT0Silent    = errors.New("t0: no character within the work waiting time")
	ErrT0Parity    = errors.New("t0: a character with wrong parity")
)

// badINS: such an instruction could not be told from SW1.
func badINS(ins byte) bool { return ins&0xF0 == 0x60 || ins&0xF0 == 0x90 }

// t0Terminal is the terminal's machine.
type t0Terminal struct {
	header [t0Header]byte
	data   []byte // to be sent still
	want   int    // data bytes that may come still
	run    int    // data bytes that come before the next procedure byte
	nulls  int
	answer []byte
	sw1    bool // SW1 is the last byte of answer
	busy   bool
}

// start begins with a command APDU of case 1, 2S, 3S or 4S and gives its header. Le
// of case 4S is not sent: the card says 61XX.
func (m *t0Terminal) start(apdu []byte) ([]byte, error) {
	*m = t0Terminal{answer: m.answer[:0], data: m.data[:0]}
	n := len(apdu)
	if n < 4 || n > 261 || badINS(apdu[1]) {
		return nil, ErrT0Command
	}
	copy(m.header[:], apdu)
	switch {
	case n == 5:
		m.want = expected(apdu[4])
	case n > 5:
		lc := int(apdu[4])
		if lc == 0 || n != 5+lc && n != 6+lc {
			return nil, ErrT0Command
		}
		m.data = append(m.data, apdu[5:5+lc]...)
	}
	m.busy = true
	return m.header[:], nil
}

// expected is how many bytes an Le of one byte stands for.
func expected(le byte) int {
	if le == 0 {
		return 256
	}
	return int(le)
}

// take takes one character. Done tells that answer is the whole response APDU.
func (m *t0Terminal) take(b byte) (send []byte, done bool, err error) {
	ins := m.header[1]
	switch {
	case !m.busy:
		return nil, false, ErrT0Procedure
	case m.run > 0:
		m.answer = append(m.answer, b)
		m.run--
		return nil, false, nil
	case m.sw1:
		m.answer = append(m.answer, b)
		m.busy = false
		return nil, true, nil
	case b == t0Null:
		if m.nulls++; m.nulls > t0MaxNull {
			m.busy = false
			return nil, false, ErrT0Null
		}
		return nil, false, nil
	case badINS(b):
		m.answer = append(m.answer, b)
		m.sw1 = true
		return nil, false, nil
	case b != ins && b != ^ins, len(m.data) == 0 && m.want == 0:
		m.busy = false
		return nil, false, fmt.Errorf("%w: %02X for INS %02X", ErrT0Procedure, b, ins)
	}
	m.nulls = 0
	if len(m.data) > 0 {
		n := len(m.data)
		if b != ins {
			n = 1
		}
		send, m.data = m.data[:n], m.data[n:]
		return send, false, nil
	}
	m.run = m.want
	if b != ins {
		m.run = 1
	}
	m.want -= m.run
	return nil, false, nil
}

// t0Card is the card's machine. In T=0 nothing but the header says in which direction
// data go: from the card when P3 = 00, for what the function outgoing knows and for the
// instructions of the field; else to the card.
//
// A Receiver that gives whole answers is served, too: what does not fit P3 is kept,
// 61XX or 6CXX says so, and GET RESPONSE or the same command with another P3 gets it.
type t0Card struct {
	outgoing []byte // further INS

	cmd  []byte // header and data that have come
	need int    // length of cmd when the command is complete; 0: the header is coming
	work bool   // the command was delivered and has no answer yet

	kept   []byte  // answer that was announced and not sent
	before [4]byte // CLA INS P1 P2 of the last command
	repeat bool    // it was answered 6CXX
	out    []byte
}

// outgoing tells whether the data of a command with that header come from the card, as
// ISO/IEC 7816-4, TS 102 221 10.1.2 and TS 102 223 have it.
func outgoing(h []byte) bool {
	switch h[1] {
	case 0x12, // FETCH
		0x70, // MANAGE CHANNEL
		0x84, // GET CHALLENGE
		0xB0, // READ BINARY
		0xB2, // READ RECORD
		0xC0, // GET RESPONSE
		0xCA: // GET DATA
		return true
	case 0x75: // TRANSACT DATA
		return h[2]&0x04 == 0
	case 0xF2: // STATUS; GET STATUS of GlobalPlatform has data and a P1 of 10 and more
		return h[2] < 0x10
	}
	return false
}

// isOutgoing tells the direction of the command in m.cmd. One that is repeated after
// 6CXX brings data.
func (m *t0Card) isOutgoing() bool {
	return m.cmd[4] == 0 || outgoing(m.cmd) || slices.Contains(m.outgoing, m.cmd[1]) || m.repeat && m.same()
}

// same tells whether the command in m.cmd has the header of the one before.
func (m *t0Card) same() bool { return [4]byte(m.cmd[:4]) == m.before }

func (m *t0Card) reset() {
	m.cmd, m.need, m.work, m.kept, m.repeat = m.cmd[:0], 0, false, m.kept[:0], false
}

// waits tells whether a command has begun to come in and is not whole.
func (m *t0Card) waits() bool { return len(m.cmd) > 0 && !m.work }

// drop forgets a command that has begun to come in.
func (m *t0Card) drop() { m.cmd, m.need = m.cmd[:0], 0 }

// take takes one character: what to send, and the command when it is whole.
func (m *t0Card) take(b byte) (send, command []byte) {
	if m.work { // the terminal has no say now
		return nil, nil
	}
	m.cmd = append(m.cmd, b)
	switch {
	case len(m.cmd) < t0Header, len(m.cmd) < m.need:
		return nil, nil
	case m.need == 0:
		if badINS(m.cmd[1]) {
			m.reset()
			return m.say(0x6D, 0x00), nil
		}
		if send = m.resume(); send != nil {
			return send, nil
		}
		m.kept = m.kept[:0]
		if !m.isOutgoing() {
			m.need = t0Header + int(m.cmd[4])
			return m.say(m.cmd[1]), nil
		}
	}
	m.work = true
	return nil, m.cmd
}

func (m *t0Card) say(b ...byte) []byte {
	m.out = append(m.out[:0], b...)
	return m.out
}

// resume answers a command that asks for what is kept; nil when this one does not.
func (m *t0Card) resume() []byte {
	if len(m.kept) == 0 || m.cmd[1] != t0GetResponse && !(m.repeat && m.same()) {
		return nil
	}
	ins, ne := m.cmd[1], expected(m.cmd[4])
	copy(m.before[:], m.cmd)
	m.drop()
	return m.give(ins, ne)
}

// give sends ne bytes of what is kept, or says how many there are.
func (m *t0Card) give(ins byte, ne int) []byte {
	n := len(m.kept) - 2
	if m.repeat = ne > n; m.repeat {
		return m.say(0x6C, byte(n))
	}
	m.out = append(append(m.out[:0], ins), m.kept[:ne]...)
	m.kept = append(m.kept[:0], m.kept[ne:]...)
	if ne < n {
		m.out = append(m.out, 0x61, more(n-ne))
	} else {
		m.out = append(m.out, m.kept...)
		m.kept = m.kept[:0]
	}
	return m.out
}

// more is XX of 61XX when n bytes wait.
func more(n int) byte {
	if n > 255 {
		return 0
	}
	return byte(n)
}

// null asks for more time while a command is worked on.
func (m *t0Card) null() []byte {
	if !m.work {
		return nil
	}
	return []byte{t0Null}
}

// answer takes the response APDU of the command that was delivered.
func (m *t0Card) answer(r []byte) []byte {
	if !m.work {
		return nil
	}
	out, ins, ne := m.isOutgoing(), m.cmd[1], expected(m.cmd[4])
	copy(m.before[:], m.cmd)
	m.work = false
	m.drop()
	n := len(r) - 2
	if n <= 0 {
		m.repeat = len(r) == 2 && r[0] == 0x6C
		return m.say(r...)
	}
	m.repeat = false
	m.kept = append(m.kept[:0], r...)
	if out {
		return m.give(ins, ne)
	}
	return m.say(0x61, more(n))
}
