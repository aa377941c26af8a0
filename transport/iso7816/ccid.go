package iso7816

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// openCCID is the transport.Opener of ccid:[LINK]: a card reader on a pseudo-terminal,
// with the SSP in it as a card.
//
//	PC/SC client ── pcscd ── libccidtwin.so ── PTY ── reader (ccid.go) ── characters ── serialCard
//
// The driver is Debian's, for GemPC Twin readers: it makes the blocks of T=1 and the PPS
// by itself, so that a stack that is not ours proves the card's side of ISO/IEC 7816-3.
func openCCID(u transport.URL, role transport.Role) (transport.Link, error) {
	if err := u.Only("protocol"); err != nil {
		return nil, err
	}
	protocol, err := u.OneOf("protocol", "t1", "t0")
	if err != nil {
		return nil, err
	}
	switch {
	case u.Host != "":
		return nil, u.Errorf("write ccid: for a reader on a new pseudo-terminal, or ccid:LINK for one with a symbolic link to it")
	case role == transport.Controller:
		return nil, u.Errorf("is the reader's end; a terminal uses the reader through pcscd (pcsc:READER)")
	}
	o := serialOptions{protocol: -1, baud: 9600, ifs: 254}
	if protocol == "t0" {
		o.protocol = 0
	}
	l := &ccidLine{link: u.Path, arrived: make(chan struct{}, 1)}
	end := newEnd(u.String(), role, o, l)
	l.called = end.called
	return end, nil
}

// Messages of CCID revision 1.1 (USB Device Class: Smart Card CCID, tables 6.1-1 and
// 6.2-1).
const (
	pcSetParameters   = 0x61
	pcIccPowerOn      = 0x62
	pcIccPowerOff     = 0x63
	pcGetSlotStatus   = 0x65
	pcEscape          = 0x6B
	pcGetParameters   = 0x6C
	pcResetParameters = 0x6D
	pcIccClock        = 0x6E
	pcXfrBlock        = 0x6F
	pcAbort           = 0x72
	pcSetDataRate     = 0x73

	rdrDataBlock  = 0x80
	rdrSlotStatus = 0x81
	rdrParameters = 0x82
	rdrEscape     = 0x83
	rdrDataRate   = 0x84
)

// bStatus and bError (6.2.6, tables 6.2-2 and 6.2-3). An error from 01 to 7F is the place
// of the byte in the message that is not supported.
const (
	iccActive   = 0
	iccInactive = 1
	iccAbsent   = 2
	cmdFailed   = 0x40

	errNotSupported = 0x00 // the command itself
	errBadLength    = 1    // dwLength
	errBadSlot      = 5    // bSlot
	errBadParameter = 7    // bPowerSelect, bProtocolNum, bClockCommand
	errBadINS       = ccidHeader + 1
	errMute         = 0xFE // ICC_MUTE
	errOverrun      = 0xFC // XFR_OVERRUN
	errNoProtocol   = 0xF6 // ICC_PROTOCOL_NOT_SUPPORTED
	errProcedure    = 0xF4 // PROCEDURE_BYTE_CONFLICT
)

// Of the three voltages and of the clock, which the card does not have.
const (
	mostVoltage  = 3 // bPowerSelect: automatic, 5 V, 3 V, 1.8 V
	clockRuns    = 0
	clockStopped = 1 // bClockCommand: stop; bClockStatus: stopped in state L
)

// Waiting times of the reader.
const (
	ccidFirst = 10 * time.Second // for the first character of an answer: the card may have to be started
	ccidNext  = 2 * time.Second  // for each one that follows
	ccidMore  = time.Second      // how often the driver, which waits 3 s, is asked for more time
	ccidBye   = time.Second      // for the driver to take the last answer before the reader goes
)

// ccidLine is the reader: a line between the driver at the other end of a
// pseudo-terminal and a card on characters.
type ccidLine struct {
	link   string // symbolic link to the pseudo-terminal, "" none
	called func(name string)

	mu      sync.Mutex
	p       ccidPort      // nil while closed
	served  chan struct{} // closed when nobody serves p any more
	in      []byte
	arrived chan struct{} // has a token when characters of the card came
	present bool
	moved   bool        // the driver does not know yet
	left    time.Time   // when the card left last
	coming  *time.Timer // of a card that stays out until pcscd has looked

	// Of the goroutine that serves the driver.
	s       sink
	powered bool
	inverse bool // the convention of the card
	fresh   bool // no protocol was begun yet: FF begins a PPS
	number  byte // of the protocol, bProtocolNum
	data    [2][]byte
	clk     byte // bClockStatus
}

// ccidPort is the reader's side of a pseudo-terminal.
type ccidPort interface {
	port
	SetReadDeadline(t time.Time) error
	// pending is how much the other end has written that was not read here, unread how
	// much was written here that it has not read.
	pending() int
	unread() int
}

func (l *ccidLine) clock() bus.Clock                    { return bus.Real() }
func (l *ccidLine) traits() traits                      { return traits{grace: streamGrace} }
func (l *ccidLine) rate(time.Duration, byte) error      { return nil }
func (l *ccidLine) idle(<-chan struct{}, time.Duration) {}

func (l *ccidLine) open(_ context.Context, s sink) error {
	made, name, err := newPTY(l.link)
	if err != nil {
		return err
	}
	p := made.(ccidPort)
	l.called("ccid:" + name)
	served := make(chan struct{})
	l.mu.Lock()
	l.p, l.served, l.in, l.present, l.moved = p, served, nil, false, false
	l.mu.Unlock()
	l.s, l.powered = s, false
	go func() {
		defer close(served)
		s.signalled(sigUp)
		l.serve(p)
	}()
	return nil
}

// close takes the reader away when the driver has got the answer that it waits for. The
// driver of libccid 1.5.2 reads for ever from a pseudo-terminal that has gone while it
// waits; before it writes again it finds out.

func (l *ccidLine) close() {
	l.mu.Lock()
	p, served := l.p, l.served
	l.p = nil
	if l.coming != nil {
		l.coming.Stop()
		l.coming = nil
	}
	l.mu.Unlock()
	if p == nil {
		return
	}
	l.ring() // who waits for the card sees that it has gone
	_ = p.SetReadDeadline(time.Now())
	<-served // soon: every wait ends with the card, every write has a deadline
	_ = p.Close()
}

// settled tells whether the driver has taken its last answer and says nothing more; it
// waits for that, until the time end at most.
func settled(p ccidPort, end time.Time) bool {
	begin := time.Now()
	for seen := false; ; time.Sleep(20 * time.Microsecond) {
		switch now := time.Now(); {
		case p.pending() > 0:
			return false
		case now.After(end):
			return true
		case p.unread() > 0:
			seen = true
		case seen, now.Sub(begin) > ccidSettle: // what was written takes a moment to get there
			return true
		}
	}
}

// ccidSettle is how long what is written into a pseudo-terminal may take to be seen at
// its other end.
const ccidSettle = 5 * time.Millisecond

// ring wakes who waits for the card.
func (l *ccidLine) ring() {
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

// write implements line: characters of the card.
func (l *ccidLine) write(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.p == nil {
		return transport.ErrNoPeer
	}
	l.in = append(l.in, p...)
	l.ring()
	return nil
}

// signal implements line: the card comes and goes. One that comes back at once stays out
// until pcscd has seen it gone (see away).
func (l *ccidLine) signal(s signal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coming != nil {
		l.coming.Stop()
		l.coming = nil
	}
	switch wait := away - time.Since(l.left); {
	case s == sigGone && l.present:
		l.left = time.Now()
		l.move(false)
	case s == sigHere && !l.present && wait > 0:
		p := l.p
		l.coming = time.AfterFunc(wait, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.p == p && p != nil && l.coming != nil {
				l.coming = nil
				l.move(true)
			}
		})
	case s == sigHere && !l.present:
		l.move(true)
	}
	return nil
}

// move puts the card in or out; mu is held.
func (l *ccidLine) move(here bool) {
	l.present, l.moved = here, true
	l.ring()
}

// serve answers the driver until the pseudo-terminal is closed.
func (l *ccidLine) serve(p ccidPort) {
	var d ccidFrames
	buf := make([]byte, 512)
	last := time.Now()
	var end time.Time // set once the reader is to go
	for {
		n, err := p.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if end.IsZero() {
				end = time.Now().Add(ccidBye)
			}
			if settled(p, end) {
				return
			}
			_ = p.SetReadDeadline(end.Add(ccidBye)) // there is something to read
			continue
		case err != nil:
			return
		}
		if time.Since(last) > ccidNext {
			d.drop() // the rest of a frame does not come that late
		}
		last = time.Now()
		for _, b := range buf[:n] {
			frame, bad := d.take(b)
			switch {
			case bad:
				l.send(p, ccidNAK)
			case frame != nil:
				l.answer(p, frame)
			}
		}
		if !end.IsZero() {
			_ = p.SetReadDeadline(time.Now())
		}
	}
}

// send writes to the driver; one that does not read any more finds out itself.
func (l *ccidLine) send(p port, b []byte) {
	_ = p.SetWriteDeadline(time.Now().Add(streamStall))
	_, _ = p.Write(b)
}

// answer serves one frame: the driver gets it back first, as over the wire of the reader,
// then what changed in the slot, then the answer.
func (l *ccidLine) answer(p port, frame []byte) {
	frame = slices.Clone(frame)
	msg := frame[2 : len(frame)-1]
	l.mu.Lock()
	moved, present := l.moved, l.present
	l.moved = false
	if !present {
		l.powered = false
	}
	l.mu.Unlock()
	echo := frame
	if moved {
		echo = append(slices.Clone(echo), ccidSlotChange, slotAbsent)
		if present {
			echo[len(echo)-1] = slotPresent
		}
	}
	l.send(p, echo)
	stop := l.every(func() { l.send(p, []byte{ccidTime}) })
	out := l.message(msg)
	stop()
	l.send(p, appendCCIDFrame(nil, out))
}

// every asks the driver for more time while the card works; stop returns when no further
// one will be sent.
func (l *ccidLine) every(ask func()) (stop func()) {
	end, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		t := time.NewTicker(ccidMore)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				ask()
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-gone }
}

// message answers one message (6.1).
func (l *ccidLine) message(m []byte) []byte {
	data := m[ccidHeader:]
	if m[5] != 0 {
		return l.failed(m, errBadSlot)
	}
	switch m[0] {
	case pcIccPowerOn, pcIccPowerOff, pcGetSlotStatus, pcGetParameters, pcResetParameters, pcIccClock, pcAbort:
		if len(data) > 0 {
			return l.failed(m, errBadLength)
		}
	}
	switch m[0] {
	case pcIccPowerOn:
		if m[7] > mostVoltage {
			return l.failed(m, errBadParameter)
		}
		return l.powerOn(m)
	case pcIccPowerOff:
		if l.powered {
			l.powered = false
			l.s.signalled(sigOff)
		}
		return l.slotStatus(m)
	case pcGetSlotStatus, pcAbort:
		return l.slotStatus(m)
	case pcIccClock:
		switch {
		case m[7] > clockStopped:
			return l.failed(m, errBadParameter)
		case !l.ready():
			return l.failed(m, errMute)
		}
		l.clk = m[7]
		return l.slotStatus(m)
	case pcXfrBlock:
		return l.transfer(m, data)
	case pcGetParameters, pcResetParameters:
		if m[0] == pcResetParameters && l.ready() {
			l.reset()
		}
		return l.parameters(m)
	case pcSetParameters:
		switch {
		case m[7] > 1:
			return l.failed(m, errBadParameter)
		case l.ready() && len(data) != len(l.data[m[7]]):
			return l.failed(m, errBadLength)
		case l.ready():
			l.number = m[7]
			l.data[m[7]] = slices.Clone(data)
		}
		return l.parameters(m)
	case pcEscape:
		if string(data) == "\x02" { // GemPC Twin: the firmware
			return l.reply(m, rdrEscape, 0, 0, []byte("sspemu serial CCID reader"))
		}
		return l.reply(m, rdrEscape, 0, 0, nil)
	case pcSetDataRate:
		if len(data) != 8 {
			return l.failed(m, errBadLength)
		}
		return l.reply(m, rdrDataRate, 0, 0, data)
	}
	return l.failed(m, errNotSupported)
}

// ready tells whether there is a card with power.
func (l *ccidLine) ready() bool { return l.status() == iccActive }

// status is bmICCStatus.
func (l *ccidLine) status() byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.present:
		return iccAbsent
	case !l.powered:
		return iccInactive
	}
	return iccActive
}

// reply is a message to the driver; the last byte of its header is third.
func (l *ccidLine) reply(m []byte, kind, err, third byte, data []byte) []byte {
	out := make([]byte, ccidHeader, ccidHeader+len(data))
	out[0] = kind
	binary.LittleEndian.PutUint32(out[1:], uint32(len(data)))
	out[5], out[6] = m[5], m[6]
	out[7], out[8], out[9] = l.status(), err, third
	return append(out, data...)
}

// failed is the answer of the kind that the message has, without data (6.1).
func (l *ccidLine) failed(m []byte, err byte) []byte {
	kind := byte(rdrSlotStatus)
	switch m[0] {
	case pcIccPowerOn, pcXfrBlock:
		kind = rdrDataBlock
	case pcGetParameters, pcResetParameters, pcSetParameters:
		kind = rdrParameters
	case pcEscape:
		kind = rdrEscape
	case pcSetDataRate:
		kind = rdrDataRate
	}
	out := l.reply(m, kind, err, 0, nil)
	out[7] |= cmdFailed
	return out
}

// slotStatus is the answer about the slot (6.2.2).
func (l *ccidLine) slotStatus(m []byte) []byte { return l.reply(m, rdrSlotStatus, 0, l.clk, nil) }

// parameters is the answer about the protocol's parameters (6.2.3).
func (l *ccidLine) parameters(m []byte) []byte {
	if !l.ready() {
		return l.failed(m, errMute)
	}
	return l.reply(m, rdrParameters, 0, l.number, l.data[l.number])
}

// reset makes the parameters those of the beginning (6.2.3): Fi and Di by default, LRC,
// direct convention.
func (l *ccidLine) reset() {
	l.data[0] = []byte{fdDefault, 0x00, 0x00, 0x0A, 0x00}
	l.data[1] = []byte{fdDefault, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00}
}

// powerOn resets the card, a cold reset when it was off and a warm one else, and gives
// the ATR (6.1.1).
func (l *ccidLine) powerOn(m []byte) []byte {
	if l.status() == iccAbsent {
		return l.failed(m, errMute)
	}
	sig := sigCold
	if l.powered {
		sig = sigWarm
	}
	l.powered, l.inverse, l.clk = false, false, clockRuns
	l.flush()
	l.s.signalled(sig)
	var atr []byte
	var parsed ATR
	for wait := ccidFirst; ; wait = ccidNext {
		b, ok := l.char(wait)
		if !ok || len(atr) == maxATRSize {
			return l.failed(m, errMute)
		}
		if len(atr) == 0 && b == tsInverseRaw {
			l.inverse, b = true, tsInverse
		}
		atr = append(atr, b)
		var err error
		if parsed, err = ParseATR(atr); err == nil {
			break
		}
	}
	offered, _ := parsed.Parameters() // the card has looked at them
	at := slices.IndexFunc(offered.Protocols, func(t byte) bool { return t <= 1 })
	if at < 0 {
		return l.failed(m, errNoProtocol)
	}
	l.powered, l.fresh, l.number = true, true, offered.Protocols[at]
	l.reset()
	return l.reply(m, rdrDataBlock, 0, 0, atr)
}

// flush forgets what the card said.
func (l *ccidLine) flush() {
	l.mu.Lock()
	l.in = l.in[:0]
	l.mu.Unlock()
}

// char is the next character of the card; false when none comes for d, or the card has
// left.
func (l *ccidLine) char(d time.Duration) (byte, bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		l.mu.Lock()
		gone := l.p == nil || !l.present
		if len(l.in) > 0 && !gone {
			b := l.in[:1]
			l.in = l.in[1:]
			l.mu.Unlock()
			if l.inverse {
				invert(b)
			}
			return b[0], true
		}
		l.mu.Unlock()
		if gone {
			return 0, false
		}
		select {
		case <-l.arrived:
		case <-t.C:
			return 0, false
		}
	}
}

// transfer is XfrBlock at the level of TPDUs (6.1.4): a PPS, a block of T=1, or a command
// of T=0, for which the reader knows procedure bytes.
func (l *ccidLine) transfer(m, data []byte) []byte {
	switch {
	case !l.ready():
		return l.failed(m, errMute)
	case len(data) == 0:
		return l.failed(m, errBadLength)
	}
	l.clk = clockRuns
	l.flush()
	var out []byte
	var ok bool
	switch {
	case l.fresh && data[0] == ppss:
		l.say(data)
		out, ok = l.pps()
		return l.block(m, out, ok)
	case l.number == 1:
		l.fresh = false
		l.say(data)
		out, ok = l.t1Block()
	default:
		l.fresh = false
		var err error
		out, ok, err = l.t0(data)
		switch {
		case errors.Is(err, ErrT0Command) && len(data) > 1 && badINS(data[1]):
			return l.failed(m, errBadINS)
		case errors.Is(err, ErrT0Command):
			return l.failed(m, errBadLength)
		case errors.Is(err, ErrT0Procedure):
			return l.failed(m, errProcedure)
		}
	}
	return l.block(m, out, ok)
}

// block is the answer with what the card said.
func (l *ccidLine) block(m, out []byte, ok bool) []byte {
	switch {
	case !ok:
		return l.failed(m, errMute)
	case len(out) > ccidMax-ccidHeader:
		return l.failed(m, errOverrun)
	}
	return l.reply(m, rdrDataBlock, 0, 0, out)
}

// say sends characters to the card.
func (l *ccidLine) say(p []byte) {
	if l.inverse {
		p = slices.Clone(p)
		invert(p)
	}
	l.s.chars(p, false)
}

// read takes n characters more; the first one of an answer may take long.
func (l *ccidLine) read(out []byte, n int) ([]byte, bool) {
	for range n {
		wait := ccidNext
		if len(out) == 0 {
			wait = ccidFirst
		}
		b, ok := l.char(wait)
		if !ok {
			return out, false
		}
		out = append(out, b)
	}
	return out, true
}

func (l *ccidLine) pps() (out []byte, ok bool) {
	if out, ok = l.read(nil, 2); ok {
		out, ok = l.read(out, sizePPS(out[1])-2)
	}
	return out, ok
}

// t1Block takes one block: prologue, INF, LRC or CRC as the parameters say.
func (l *ccidLine) t1Block() (out []byte, ok bool) {
	edc := 1
	if d := l.data[1]; len(d) > 1 && d[1]&1 != 0 {
		edc = 2
	}
	if out, ok = l.read(nil, 3); ok {
		out, ok = l.read(out, int(out[2])+edc)
	}
	return out, ok
}

// t0 plays the terminal of T=0 for one TPDU.
func (l *ccidLine) t0(tpdu []byte) (out []byte, ok bool, err error) {
	var t t0Terminal
	send, err := t.start(tpdu)
	for err == nil {
		if len(send) > 0 {
			l.say(send)
		}
		b, ok := l.char(ccidFirst)
		if !ok {
			return nil, false, nil
		}
		var done bool
		if send, done, err = t.take(b); done {
			return t.answer, true, nil
		}
	}
	return nil, false, err
}

// Framing of GemPC Twin readers (public source of Debian's driver, libccid 1.5).
const (
	ccidSync       = 0x03
	ccidACK        = 0x06
	ccidNAKMark    = 0x15
	ccidSlotChange = 0x50
	slotAbsent     = 0x02
	slotPresent    = 0x03
	ccidTime       = 0x80 // this and above: more time is needed

	ccidHeader = 10
	ccidMax    = 271 // of a message
)

// ccidNAK asks for the last frame again.
var ccidNAK = []byte{ccidSync, ccidNAKMark, ccidSync ^ ccidNAKMark}

// appendCCIDFrame adds a message as it goes over the line: 03 06, the message, the
// exclusive-or of all of it.
func appendCCIDFrame(dst, msg []byte) []byte {
	at := len(dst)
	dst = append(append(dst, ccidSync, ccidACK), msg...)
	return append(dst, xor(dst[at:]))
}

// ccidFrames takes frames apart. A frame with a wrong check, or longer than a message can
// be, is dropped and asked for again; what comes before a frame means nothing.
type ccidFrames struct{ b []byte }

func (d *ccidFrames) drop() { d.b = d.b[:0] }

// take takes one character: a whole frame, valid until the next call, or bad.
func (d *ccidFrames) take(c byte) (frame []byte, bad bool) {
	d.b = append(d.b, c)
	switch n := len(d.b); {
	case n == 1 && c != ccidSync:
		d.drop()
	case n == 2 && c != ccidACK:
		d.drop()
		if c == ccidSync {
			d.b = append(d.b, c)
		}
	case n < 2+ccidHeader:
	default:
		size := binary.LittleEndian.Uint32(d.b[3:])
		if size > ccidMax-ccidHeader {
			d.drop()
			return nil, true
		}
		if n == 2+ccidHeader+int(size)+1 {
			frame, d.b = d.b, d.b[:0]
			if xor(frame) != 0 {
				return nil, true
			}
			return frame, false
		}
	}
	return nil, false
}
