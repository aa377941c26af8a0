package shdlc

import "time"

// State is that of an Engine; the package comment has the table.
type State uint8

const (
	Idle      State = iota // there is no link
	Resetting              // RSET was sent
	Accepted               // UA was sent; nothing shows yet that it arrived
	Connected
)

func (s State) String() string {
	return [...]string{"idle", "resetting", "accepted", "connected"}[s&3]
}

// Event is what the user of an Engine must know.
type Event uint8

const (
	Nothing  Event = iota
	Up             // the link is there
	WasReset       // the other end began anew: what was under way is lost
	Down           // the other end does not answer any more
)

// Sizes of the two rings. The receiver says RNR when busyAt I-frames wait for its
// user, and there is room for two windows that are on their way then.
const (
	txSlots  = 8
	rxSlots  = 16
	busyAt   = 8
	readyAt  = 4
	probable = 2 // T2s without a sign of an end that said RNR, until it is tried
)

// never is a deadline that is not set.
const never = time.Duration(1<<63 - 1)

// Stats counts what an Engine has seen.
type Stats struct {
	Sent, Resent, Received uint64 // I-frames
	Duplicate, OutOfOrder  uint64 // I-frames that came twice, or too early
	Garbled                uint64 // what could not be read
	Wrong                  uint64 // LPDUs that make no sense in this state
}

// Engine is one end of an SHDLC link, without clock and without wire: LPDUs that
// arrive and the time go in, LPDUs to be sent and a deadline come out. Both ends are
// the same but for initiator, which sets up the link again when it is in doubt. It
// does not allocate. It is not safe for concurrent use.
type Engine struct {
	cfg       Config
	initiator bool
	state     State
	window    int  // negotiated
	srej      bool // negotiated

	// The sender. Numbers count up; modulo 8 they are N(S) and N(R).
	tx        [txSlots]slot
	acked     uint32 // oldest that is not acknowledged: DN(R)
	next      uint32 // next to be sent, or to be sent again
	high      uint32 // next that was never sent: N(S)
	end       uint32 // behind the last that is queued
	again     bool   // acked is to be sent again by itself: SREJ
	busyThere bool   // the other end said RNR
	tries     int    // retransmissions, or RSETs, in a row
	sending   byte   // control field of what Next gave and Sent has not seen; 0: none

	// The receiver.
	rx       [rxSlots]slot
	want     uint32 // next in order: N(R)
	taken    uint32 // next that goes to the user
	unacked  int    // I-frames received since the last acknowledgement
	busyHere bool   // RNR was said
	dropped  bool   // I-frames were dropped since then
	clearing int    // times that the end of it was told; 0 when it is known to have arrived
	asked    bool   // REJ or SREJ for want is on its way
	farthest uint32 // of what came too early since then

	// What is to be sent beside I-frames.
	rset, ua, rej, rr, askLater bool

	// Deadlines.
	t1, t2, t3 time.Duration
	tBusy      time.Duration // RNR, or the RR after it, is said again
	tAsk       time.Duration // REJ or SREJ may be said again

	askedAt  time.Duration // when REJ or SREJ left
	patience time.Duration // how long what it asks for takes

	ctl   [3]byte
	stats Stats
}

// slot holds an I-frame: control field and information.
type slot struct {
	b    []byte
	full bool
}

// NewEngine makes an Engine in the state Idle. cfg has passed Check.
func NewEngine(cfg Config, initiator bool) *Engine {
	e := &Engine{cfg: cfg, initiator: initiator}
	all := make([]byte, (txSlots+rxSlots)*cfg.MaxLPDU)
	room := func(i int) []byte { return all[i*cfg.MaxLPDU : i*cfg.MaxLPDU : (i+1)*cfg.MaxLPDU] }
	for i := range e.tx {
		e.tx[i].b = room(i)
	}
	for i := range e.rx {
		e.rx[i].b = room(txSlots + i)
	}
	e.Drop()
	return e
}

// State is the state of the link.
func (e *Engine) State() State { return e.state }

// Stats is what was counted since NewEngine.
func (e *Engine) Stats() Stats { return e.stats }

// Drop makes the link Idle without a word.
func (e *Engine) Drop() {
	e.state = Idle
	e.clear()
	e.offer(e.cfg.Window, e.cfg.SREJ)
	e.rset, e.ua, e.tries, e.sending = false, false, 0, 0
}

// clear sets all counters to 0 and forgets everything that is queued.
func (e *Engine) clear() {
	e.acked, e.next, e.high, e.end, e.again, e.busyThere = 0, 0, 0, 0, false, false
	e.want, e.taken, e.unacked, e.busyHere, e.dropped, e.clearing = 0, 0, 0, false, false, 0
	e.asked, e.askLater, e.farthest, e.rej, e.rr = false, false, 0, false, false
	e.t1, e.t2, e.t3, e.tBusy, e.tAsk = never, never, never, never, never
	for i := range e.rx {
		e.rx[i].full = false
	}
}

// offer settles window and SREJ, or what is offered in a RSET.
func (e *Engine) offer(window int, srej bool) {
	e.window = max(minWindow, min(window, e.cfg.Window))
	e.srej = srej && e.cfg.SREJ
}

// Connect sets the link up, anew if there is one.
func (e *Engine) Connect() {
	e.Drop()
	e.state, e.rset, e.tries = Resetting, true, 1
}

// Send queues p, of 0 to MTU octets, as an I-frame; false when there is no room, or
// no link.
func (e *Engine) Send(p []byte) bool {
	if !e.Room() || len(p) > e.cfg.MTU() {
		return false
	}
	s := &e.tx[e.end%txSlots]
	s.b = append(append(s.b[:0], ctlI), p...)
	e.end++
	return true
}

// Room tells whether Send would take something.
func (e *Engine) Room() bool { return e.state == Connected && e.end-e.acked < txSlots }

// Take appends the next information that arrived to dst; false when there is none.
func (e *Engine) Take(dst []byte) ([]byte, bool) {
	for e.taken != e.want {
		s := &e.rx[e.taken%rxSlots]
		s.full = false
		e.taken++
		if e.busyHere && e.want-e.taken <= readyAt {
			e.busyHere, e.clearing, e.tBusy = false, 1, never
			e.sayReady()
		}
		if len(s.b) > 0 { // an empty one only says that its sender goes on
			return append(dst, s.b...), true
		}
	}
	return dst, false
}

// Waiting tells whether Take may have something.
func (e *Engine) Waiting() bool { return e.taken != e.want }

// Speaks tells whether Next has something.
func (e *Engine) Speaks() bool {
	return e.sending == 0 && (e.rset || e.ua || e.state == Connected &&
		(e.rr || e.rej && !e.busyHere || e.again || e.next != e.end && e.next-e.acked < uint32(e.window) && !e.busyThere))
}

// sayReady has the end of RNR told: by RR, or by REJ when I-frames were dropped.
func (e *Engine) sayReady() {
	if e.dropped {
		e.rej = true
	} else {
		e.rr = true
	}
}

// Deadline is the time at which Expire is wanted; false for none.
func (e *Engine) Deadline() (time.Duration, bool) {
	t := min(e.t1, e.t2, e.t3, e.tBusy)
	if e.askLater {
		t = min(t, e.tAsk)
	}
	return t, t != never
}

// Next is the next LPDU to be sent, or nil. Until Sent there is no other; it is
// valid until then.
func (e *Engine) Next() []byte {
	if e.sending != 0 {
		return nil
	}
	var f []byte
	switch {
	case e.rset:
		e.rset = false
		e.ctl = [3]byte{ctlRST, byte(e.window), 0}
		if e.srej {
			e.ctl[2] = abilitySREJ
		}
		f = e.ctl[:]
	case e.ua:
		e.ua = false
		f = e.short(ctlUA)
	case e.state != Connected:
		return nil
	case e.rej && !e.busyHere:
		f = e.ask()
	case e.busyHere && e.rr:
		f = e.supervise(ctlRNR)
	case e.again:
		e.again = false
		e.stats.Resent++
		f = e.information(e.acked)
	case e.next != e.end && e.next-e.acked < uint32(e.window) && !e.busyThere:
		if e.next == e.high {
			e.high++
			e.stats.Sent++
		} else {
			e.stats.Resent++
		}
		f = e.information(e.next)
		e.next++
	case e.rr:
		f = e.supervise(ctlRR)
	default:
		return nil
	}
	e.sending = f[0]
	return f
}

func (e *Engine) short(control byte) []byte {
	e.ctl[0] = control
	return e.ctl[:1]
}

// information is I-frame n with the acknowledgement that it takes along.
func (e *Engine) information(n uint32) []byte {
	f := e.tx[n%txSlots].b
	f[0] = ctlI | byte(n%modulus)<<3 | byte(e.want%modulus)
	if !e.busyHere && e.clearing == 0 {
		e.rr = false
	}
	e.unacked, e.t1 = 0, never
	return f
}

// supervise is an S-frame.
func (e *Engine) supervise(control byte) []byte {
	e.rr, e.unacked, e.t1 = false, 0, never
	return e.short(control | byte(e.want%modulus))
}

// ask is SREJ or REJ for the I-frame that is wanted next.
func (e *Engine) ask() []byte {
	e.rej, e.askLater, e.asked, e.tAsk = false, false, true, never
	if e.srej && !e.dropped {
		return e.supervise(ctlSRJ)
	}
	e.dropped = false
	return e.supervise(ctlREJ)
}

// Sent tells that what Next gave has left.
func (e *Engine) Sent(now time.Duration) {
	c := e.sending
	e.sending = 0
	switch {
	case c == ctlRST:
		if e.state == Resetting {
			e.t3 = now + e.cfg.T3
		}
	case c == ctlUA:
		if e.state == Accepted && e.initiator {
			e.t2 = now + e.cfg.T2
		}
	case e.state != Connected:
	case c&0xC0 == ctlI:
		e.t2 = now + e.cfg.T2
	case c&0xF8 == ctlRNR:
		if e.busyHere {
			e.tBusy = now + e.cfg.T2
		}
	case c&0xF8 == ctlRR || c&0xF8 == ctlREJ || c&0xF8 == ctlSRJ:
		if e.clearing > 0 {
			e.tBusy = now + e.cfg.T2
		}
		if e.asked && c&0xF8 != ctlRR {
			e.askedAt, e.tAsk = now, now+e.patience
		}
	}
}

// Expire does what is due.
func (e *Engine) Expire(now time.Duration) Event {
	if now >= e.t1 {
		e.t1, e.rr = never, true
	}
	if e.askLater && now >= e.tAsk {
		e.rej, e.askLater = true, false
	}
	if now >= e.tBusy {
		e.tBusy = never
		switch {
		case e.busyHere:
			e.rr = true // as RNR
		case e.clearing > 0 && e.clearing <= e.cfg.Retries:
			e.clearing++
			e.sayReady()
		default:
			e.clearing = 0
		}
	}
	if now >= e.t3 {
		e.t3 = never
		if e.tries++; e.tries > e.cfg.ResetTries {
			e.Drop()
			return Down
		}
		e.rset = true
	}
	if now >= e.t2 {
		e.t2 = never
		switch {
		case e.state == Accepted: // the other end has not got the UA, or is gone
			e.Connect()
		case e.acked != e.high:
			e.next, e.again = e.acked, false
			e.busyThere = false // if not, it says so again
			return e.retry()
		default:
			e.busyThere = false // likewise
		}
	}
	return Nothing
}

// retry counts a retransmission.
func (e *Engine) retry() Event {
	if e.tries++; e.tries > e.cfg.Retries {
		e.Drop()
		return Down
	}
	return Nothing
}

// Garbled tells that something arrived that could not be read. What is wanted next
// is asked for at once: on a bus with two ends there is no other sign of it when
// nothing follows.
func (e *Engine) Garbled(now time.Duration) {
	e.stats.Garbled++
	if e.state != Connected {
		return
	}
	if e.asked {
		e.askAgain(now)
	} else {
		e.rej, e.farthest = true, e.want
	}
}

// askAgain has want asked for once more, as soon as the answer should be there.
func (e *Engine) askAgain(now time.Duration) {
	if now >= e.tAsk {
		e.rej = true
	} else {
		e.askLater = true
	}
}

// Receive takes an LPDU; b is not kept.
func (e *Engine) Receive(now time.Duration, b []byte) Event {
	f, ok := decode(b)
	if !ok || len(b) > e.cfg.MaxLPDU {
		e.stats.Wrong++
		return Nothing
	}
	switch f.kind {
	case kindRSET:
		return e.receiveRSET(f)
	case kindUA:
		if e.state == Idle || e.state == Connected {
			e.stats.Wrong++
			return Nothing
		}
		e.connected()
		e.rr = true // the other end learns that its UA arrived
		return Up
	}
	ev := Nothing
	switch e.state {
	case Idle: // the other end believes in a link that is gone
		e.stats.Wrong++
		e.Connect()
		return Nothing
	case Resetting: // of the link before
		e.stats.Wrong++
		return Nothing
	case Accepted:
		e.connected()
		ev = Up
	}
	if !e.acknowledged(now, f.nr) {
		e.stats.Wrong++
		return ev
	}
	if f.kind != kindI && e.farthest == e.want { // an S-frame was garbled, no I-frame
		e.asked, e.askLater = false, false
	}
	wasBusy := e.busyThere
	e.busyThere = f.kind == kindRNR || e.busyThere && f.kind == kindI
	switch f.kind {
	case kindI:
		e.receiveI(now, f)
	case kindRNR:
		e.tries = 0
		e.t2 = now + probable*e.cfg.T2
	case kindREJ, kindSREJ:
		switch { // what this end said last may be what could not be read
		case e.asked:
			e.askAgain(now)
		case e.acked == e.high:
			e.rr = true
		}
		if e.acked != e.high {
			if e.retry() == Down {
				return Down
			}
			if f.kind == kindREJ {
				e.next, e.again = e.acked, false
			} else if e.next != e.acked {
				e.again = true
			}
		}
	}
	if wasBusy && !e.busyThere && e.next == e.end {
		e.Send(nil) // the other end learns that its RR arrived (TS 102 613 10.7.7)
	}
	return ev
}

// connected begins the link with what was negotiated.
func (e *Engine) connected() {
	e.state, e.tries, e.rset = Connected, 0, false
	e.clear()
	e.patience = t1(e.window)
}

func (e *Engine) receiveRSET(f lpdu) Event {
	ev := Nothing
	if e.state == Connected {
		ev = WasReset
	}
	tries := e.tries
	if e.state != Resetting {
		tries = 0
	}
	e.Drop()
	e.offer(f.window, f.srej)
	if f.window == e.window && f.srej == e.srej {
		e.state, e.ua = Accepted, true
		return ev
	}
	// Too much for this end: it offers what both can (unverified).
	if tries >= e.cfg.ResetTries {
		return max(ev, Down)
	}
	e.state, e.rset, e.tries = Resetting, true, tries+1
	return ev
}

// acknowledged takes N(R); false when it is no number of an I-frame on its way.
func (e *Engine) acknowledged(now time.Duration, nr uint8) bool {
	n := (uint32(nr) - e.acked) % modulus
	if n > e.high-e.acked {
		return false
	}
	if n == 0 {
		return true
	}
	e.acked += n
	e.tries, e.again = 0, false
	if int32(e.next-e.acked) < 0 {
		e.next = e.acked
	}
	switch {
	case e.acked == e.high && !e.busyThere:
		e.t2 = never
	case e.t2 != never:
		e.t2 = now + e.cfg.T2
	}
	return true
}

func (e *Engine) receiveI(now time.Duration, f lpdu) {
	if e.clearing > 0 && e.tBusy != never {
		e.clearing, e.tBusy = 0, never
	}
	ahead := (uint32(f.ns) - e.want) % modulus
	n := e.want + ahead
	switch {
	case ahead >= modulus-uint32(e.window):
		e.stats.Duplicate++
		e.rr = true // the acknowledgement was lost
		return
	case ahead >= uint32(e.window):
		e.stats.Wrong++
		return
	case n-e.taken >= rxSlots:
		e.rr, e.dropped = true, true // RNR was not heeded, or comes too late
		return
	case ahead > 0:
		e.stats.OutOfOrder++
		if !e.asked || int32(n-e.farthest) <= 0 { // lost, or lost once more
			e.rej = true
		}
		e.farthest = n
		if e.srej {
			e.store(n, f.info)
		}
		return
	}
	e.store(n, f.info)
	if e.asked && e.tAsk != never {
		// Twice what it took this time, so that the next one is not asked for in vain.
		e.patience = min(2*(now-e.askedAt), t1(e.window))
	}
	for e.want-e.taken < rxSlots && e.rx[e.want%rxSlots].full {
		e.want++
		e.unacked++
		e.stats.Received++
	}
	e.asked, e.askLater, e.rej, e.tAsk, e.farthest = false, false, false, never, e.want
	for n = e.want; n-e.want < uint32(e.window) && n-e.taken < rxSlots; n++ {
		if e.rx[n%rxSlots].full { // the next gap is known already
			e.rej, e.farthest = true, n
		}
	}
	switch {
	case e.want-e.taken >= busyAt:
		if !e.busyHere {
			e.busyHere, e.dropped = true, false
		}
		e.rr = true
	case e.unacked >= (e.window+1)/2: // half a window: its sender need not wait
		e.rr = true
	case e.t1 == never:
		e.t1 = now + t1(e.window)
	}
}

func (e *Engine) store(n uint32, info []byte) {
	s := &e.rx[n%rxSlots]
	s.b, s.full = append(s.b[:0], info...), true
}
