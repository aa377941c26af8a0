package t1

import (
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/transport"
)

// Config says what one end of the protocol is. The zero value of a field is its
// default.
type Config struct {
	// Prime: T=1' instead of T=1.
	Prime bool
	// Role is the end: Controller is the interface device, Target the card.
	Role transport.Role
	// Format: T=1 has LRC unless it says CRC; T=1' has LEN of two bytes and CRCX25.
	Format Format
	// NAD of the controller's blocks; the target's have its nibbles swapped. A target
	// answers whoever asks and does not need it. Default 0, T=1' 21.
	NAD byte
	// Own is the longest INF that this end takes: IFSD at the controller, IFSC at the
	// target. Default 254, T=1' FF9.
	Own int
	// Peer is the longest INF that the other end takes as long as no S(IFS request)
	// says otherwise: IFSC from ATR or CIP at the controller, IFSD at the target.
	// Default 32, T=1' 254 (unverified).
	Peer int
	// MaxAPDU bounds what is sent and received. Default transport.MaxFrame.
	MaxAPDU int
	// Retries is how often the same is tried again. Default 2 (ISO/IEC 7816-3 11.6.3.2
	// rule 7.4), T=1' 10 as NXP's drivers do it.
	Retries int
	// Resynchs is how many resynchronisations an APDU may take before the target has
	// to be reset. Default 3.
	Resynchs int
	// MaxWTX is how many S-block requests in a row a controller answers. Default 500.
	MaxWTX int
	// WTXAnswer is INF of S(WTX response), 0 that of the request (NXP drivers: 01).
	WTXAnswer byte
	// NoResynch: when the answers to a controller are unreadable, the target is reset
	// without an S(RESYNCH request) before (Infineon).
	NoResynch bool
}

// defaultIFS is IFSC and IFSD of T=1 before they are told (ISO/IEC 7816-3 11.4.2).
const defaultIFS = 32

// primeIFSD is IFSD of T=1' before it is told (unverified; what NXP's driver has).
const primeIFSD = MaxINF

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.Prime {
		if c.Format == (Format{}) {
			c.Format = Format{Wide: true, EDC: CRCX25}
		}
		if c.NAD == 0 {
			c.NAD = Infineon.NAD
		}
		def(&c.Peer, primeIFSD)
		def(&c.Retries, 10)
	}
	def(&c.Own, c.Format.MaxINF())
	def(&c.Peer, defaultIFS)
	def(&c.MaxAPDU, transport.MaxFrame)
	def(&c.Retries, 2)
	def(&c.Resynchs, 3)
	def(&c.MaxWTX, 500)
	c.Own = min(c.Own, c.Format.MaxINF())
	c.Peer = min(c.Peer, c.Format.MaxINF())
	return c
}

// Event is what an Action tells beside the block to transmit.
type Event uint8

const (
	None      Event = iota
	Delivered       // an APDU has come: INF. A target answers it with Send
	Answered        // the S-block request of Request has its response: PCB, INF
	Asked           // target, T=1': an S-block request that Respond may answer: PCB, INF
	Restarted       // target: S(RESYNCH request); an APDU that is being worked on is void
	Failed          // controller: the exchange has failed: Err; the next one may go better
	Reset           // controller: it has failed, and nothing goes before a reset: Err
)

func (e Event) String() string {
	return [...]string{"none", "delivered", "answered", "asked", "restarted", "failed", "reset"}[min(int(e), 6)]
}

// Action is what is to be done next. Its slices are valid until the next call.
type Action struct {
	// Block is to be transmitted, after the guard time; nil: nothing.
	Block []byte
	// Wait is for how many block waiting times the controller then waits for a block,
	// before it calls Timeout; 0: none is awaited.
	Wait  int
	Event Event
	PCB   PCB
	INF   []byte
	Err   error
}

// What Send, Request and the events Failed and Reset say.
var (
	ErrBusy    = errors.New("t1: an exchange is under way")
	ErrUnasked = errors.New("t1: no command waits for an answer")
	ErrTooLong = errors.New("t1: the APDU is longer than this end takes")
	ErrAborted = errors.New("t1: the other end has aborted the chain")
	ErrSilent  = errors.New("t1: no block within the block waiting time")
	ErrReset   = errors.New("t1: the target has to be reset")
	ErrWTX     = errors.New("t1: the target asks for more time without end")

	errINF      = errors.New("t1: an INF that this block cannot have")
	errSequence = errors.New("t1: a block that is not expected here")
	errNAD      = errors.New("t1: a node address that is not in use")
)

// state is whose turn it is, and with what.
type state uint8

const (
	idle      state = iota // nothing has been sent; a controller may Send
	sending                // an I-block waits for its acknowledgement
	receiving              // a chain is coming in
	working                // target: an APDU was delivered and not answered yet
	aborted                // controller: S(ABORT response) was sent, an R-block gives the turn back
	dead                   // controller: reset needed
)

// Engine is one end of T=1 or T=1'. It is not safe for concurrent use.
type Engine struct {
	cfg Config
	f   Format

	state  state
	ns, nr byte // N(S) of the I-block to be acknowledged or sent next; N(S) expected
	peer   int  // the longest INF that the other end takes
	size   int  // the longest that is sent, less on a noisy line
	own    int  // the longest that the other end was told to send, less on a noisy line
	nad    byte

	tx     []byte // the APDU that is being sent
	off, n int    // the I-block that waits: tx[off:off+n]
	held   bool   // target: it waits until req has its response
	ask    bool   // controller: after S(IFS response) the answer is asked for again
	good   int    // exchanges since the blocks became shorter or longer
	rx     []byte // the APDU that is coming in

	req    PCB // S-block request that waits for its response; 0: none
	reqINF []byte
	asked  bool // by Request, not by recovery

	last     PCB  // transmitted last
	spoken   bool // something was transmitted since the reset
	heard    bool // an error-free block came since the reset
	bad      int  // blocks in a row that brought nothing
	again    int  // retransmissions of the same I-block
	resynchs int
	wtx      int // S-block requests in a row

	out []byte
}

// New makes an engine as it is after a reset.
func New(cfg Config) *Engine {
	cfg = cfg.withDefaults()
	e := &Engine{cfg: cfg, f: cfg.Format}
	e.out = make([]byte, 0, e.f.Max())
	e.reqINF = make([]byte, 0, e.f.MaxINF())
	e.Reset()
	return e
}

// Format is how the engine's blocks are written.
func (e *Engine) Format() Format { return e.f }

// Reset puts the engine where it is after a reset of the target.
func (e *Engine) Reset() {
	e.state, e.ns, e.nr = idle, 0, 0
	e.peer, e.size, e.own = e.cfg.Peer, e.cfg.Peer, e.cfg.Own
	if e.nad = e.cfg.NAD; e.cfg.Role == transport.Target {
		e.nad = e.nad<<4 | e.nad>>4 // until it knows who asks
	}
	e.forget()
	e.spoken, e.heard, e.last = false, false, 0
	e.bad, e.again, e.resynchs, e.wtx = 0, 0, 0, 0
}

// SetPeerIFS says what the other end takes: IFSC of an ATR or a CIP.
func (e *Engine) SetPeerIFS(n int) {
	e.peer = max(1, min(n, e.f.MaxINF()))
	e.size = e.peer
	e.cfg.Peer = e.peer
}

// Idle tells whether a controller may Send.
func (e *Engine) Idle() bool { return e.state == idle && e.req == 0 }

// Working tells whether a target owes an answer.
func (e *Engine) Working() bool { return e.state == working }

// forget drops what is being sent, received and requested.
func (e *Engine) forget() {
	e.tx, e.rx = e.tx[:0], e.rx[:0]
	e.off, e.n, e.held, e.ask = 0, 0, false, false
	e.req, e.asked = 0, false
}

// Send begins to send an APDU, which is not kept: a command of a controller that is
// Idle, the answer of a target that is Working. ErrBusy, ErrUnasked, ErrTooLong.
func (e *Engine) Send(apdu []byte) (Action, error) {
	switch {
	case len(apdu) > e.cfg.MaxAPDU:
		return Action{}, ErrTooLong
	case e.cfg.Role == transport.Target && e.state != working:
		return Action{}, ErrUnasked
	case e.state == dead:
		return Action{}, ErrReset
	case e.cfg.Role == transport.Controller && !e.Idle():
		return Action{}, ErrBusy
	}
	e.tx = append(e.tx[:0], apdu...)
	e.off, e.state = 0, sending
	e.bad, e.again, e.resynchs, e.wtx = 0, 0, 0, 0
	if e.req != 0 { // S(WTX request) has no response yet
		e.held = true
		return Action{}, nil
	}
	if e.good >= calm {
		e.good = 0
		e.size = min(e.peer, 2*e.size)
		if e.own < e.cfg.Own {
			e.own = min(e.cfg.Own, 2*e.own)
			return e.tellIFS(), nil
		}
	}
	return e.fresh(), nil
}

// On a line so noisy that a long block fails twice in a row, a controller of T=1' has
// the blocks cut in half, down to shortest, and after so many calm exchanges doubled
// again. Before blocks are cut anew, an S(IFS request) and its response make sure that
// nothing sent before is still on its way, because then N(S) could stand for either.
const (
	shortest = 64
	calm     = 16
)

// noisy tells whether to cut blocks of up to n bytes in half, after so many failures.
func (e *Engine) noisy(n, failures int) bool {
	return failures >= 2 && n > shortest && e.cfg.Prime && !e.cfg.NoResynch && e.cfg.Role == transport.Controller
}

// tellIFS tells what this end takes now; then the I-block that waits is sent.
func (e *Engine) tellIFS() Action {
	var inf [2]byte
	e.asked, e.again, e.good = false, 0, 0
	return e.request(IFS, appendIFS(inf[:0], e.own))
}

// Request sends an S-block request: of a controller that is Idle, of a target that
// is Working. What becomes of it is told by Answered, Failed or Reset.
func (e *Engine) Request(pcb PCB, inf []byte) (Action, error) {
	switch {
	case e.state == dead && pcb != SWR:
		return Action{}, ErrReset
	case e.req != 0, e.cfg.Role == transport.Controller && e.state != idle && e.state != dead:
		return Action{}, ErrBusy
	case e.cfg.Role == transport.Target && e.state != working:
		return Action{}, ErrUnasked
	case !pcb.IsS() || pcb.IsResponse() || len(inf) > e.f.MaxINF():
		return Action{}, errINF
	}
	if e.state == dead {
		e.state = idle
	}
	e.bad, e.resynchs, e.wtx, e.asked = 0, 0, 0, true
	return e.request(pcb, inf), nil
}

// AnnounceIFS is Request of S(IFS request) with what this end takes.
func (e *Engine) AnnounceIFS() (Action, error) {
	var b [2]byte
	e.own = e.cfg.Own
	return e.Request(IFS, appendIFS(b[:0], e.own))
}

// Extend makes a target that is Working ask for more time, multiplier times the
// block waiting time; nothing when it has asked already.
func (e *Engine) Extend(multiplier byte) Action {
	if e.cfg.Role != transport.Target || e.state != working || e.req != 0 {
		return Action{}
	}
	return e.request(WTX, append(e.reqINF[:0], max(1, multiplier)))
}

// Respond answers an S-block request that came as Asked.
func (e *Engine) Respond(request PCB, inf []byte) Action {
	return e.put(request.Response(), inf[:min(len(inf), e.f.MaxINF())])
}

// Timeout tells a controller that no block has come within Wait.
func (e *Engine) Timeout() Action {
	if e.cfg.Role == transport.Target {
		return Action{}
	}
	return e.invalid(rOther, ErrSilent)
}

// Receive takes a block as it came from the wire, whole or not; err says that it is
// known to be damaged (a parity error, too few bytes).
func (e *Engine) Receive(b []byte, err error) Action {
	var blk Block
	if err == nil {
		blk, err = e.f.Parse(b)
	}
	if err != nil {
		return e.invalid(rEDC, err)
	}
	if err := e.accept(blk); err != nil {
		return e.invalid(rOther, err)
	}
	if e.state == dead {
		return Action{}
	}
	e.heard = true
	if e.cfg.Role == transport.Target {
		e.bad = 0
	}
	switch {
	case blk.PCB.IsI():
		return e.iBlock(blk)
	case blk.PCB.IsR():
		return e.rBlock(blk)
	case blk.PCB.IsResponse():
		return e.response(blk)
	}
	return e.asks(blk)
}

// accept checks what does not depend on the state.
func (e *Engine) accept(b Block) error {
	swapped := b.NAD<<4 | b.NAD>>4
	if e.cfg.Role == transport.Controller {
		if swapped != e.nad {
			return errNAD
		}
	} else if b.NAD == 0xFF {
		return errNAD
	}
	switch {
	case b.PCB.IsI():
		if b.PCB&0x1F != 0 || len(b.INF) > e.cfg.Own || len(b.INF) == 0 && b.PCB.More() {
			return errINF
		}
	case b.PCB.IsR():
		if b.PCB&0x2C != 0 || len(b.INF) != 0 {
			return errINF
		}
	}
	if e.cfg.Role == transport.Target {
		e.nad = swapped
	}
	return nil
}

func (e *Engine) iBlock(b Block) Action {
	final := e.state == sending && !e.held && e.off+e.n == len(e.tx)
	switch {
	case e.state == working && e.req == 0:
		return e.Extend(1)
	case e.state == idle && e.cfg.Role == transport.Controller:
		return Action{}
	case b.PCB.NS() != e.nr, e.req != 0, e.state != idle && e.state != receiving && !final:
		return e.invalid(rOther, errSequence)
	}
	if e.state == sending {
		e.ns ^= 1 // tx is kept: it may have to be sent again
	}
	if e.state != receiving {
		e.rx = e.rx[:0]
	}
	e.state = receiving
	e.nr ^= 1
	e.bad, e.again, e.wtx = 0, 0, 0
	if len(e.rx)+len(b.INF) > e.cfg.MaxAPDU { // rule 9
		e.rx = e.rx[:0]
		e.asked = false
		return e.request(Abort, nil)
	}
	e.rx = append(e.rx, b.INF...)
	if b.PCB.More() {
		return e.put(rBlock(e.nr, rFree), nil)
	}
	e.good++
	e.state = idle
	if e.cfg.Role == transport.Target {
		e.state = working
	}
	return Action{Event: Delivered, INF: e.rx}
}

func (e *Engine) rBlock(b Block) Action {
	switch {
	case e.state == working && e.req == 0:
		return e.Extend(1) // the controller's patience is at its end
	case e.req != 0:
		return e.invalid(rOther, errSequence) // rule 7.3
	case e.state == aborted:
		e.ns = b.PCB.NR()
		e.state = idle
		e.forget()
		return Action{Event: Failed, Err: ErrAborted}
	case e.state == sending && b.PCB.NR() == e.ns:
		e.bad = 0
		if e.again++; e.again > e.cfg.Retries && e.cfg.Role == transport.Controller {
			return e.resynch(fmt.Errorf("the target refuses %s", iBlock(e.ns, e.off+e.n < len(e.tx))))
		}
		if e.noisy(e.n, e.again) {
			e.size = max(shortest, e.n/2)
			return e.tellIFS()
		}
		e.n = min(e.n, e.size) // S(IFS request) may have come since
		return e.block()
	case e.state == sending && e.off+e.n < len(e.tx):
		e.off += e.n
		e.ns ^= 1
		e.bad, e.again, e.wtx = 0, 0, 0
		return e.fresh()
	case e.state == idle && e.cfg.Role == transport.Controller:
		return Action{}
	}
	return e.invalid(rOther, errSequence)
}

// response takes an S-block response.
func (e *Engine) response(b Block) Action {
	req := b.PCB.Request()
	ok := e.req != 0 && req == e.req
	switch {
	case !ok:
	case req == Resynch || req == Abort:
		ok = len(b.INF) == 0
	case req == IFS:
		ok = string(b.INF) == string(e.reqINF)
	case req == WTX:
		ok = len(b.INF) == 1
	}
	if !ok {
		if e.req == 0 && (e.state == working || e.Idle()) {
			return Action{} // a response that came twice
		}
		return e.invalid(rOther, errSequence)
	}
	e.req, e.bad = 0, 0
	done := Action{Event: Answered, PCB: req, INF: b.INF}
	switch req {
	case Resynch:
		e.ns, e.nr = 0, 0
		if !e.cfg.Prime {
			e.peer = e.cfg.Peer // everything is as after the ATR
			e.size = min(e.size, e.peer)
		}
		if e.asked {
			e.state = idle
			return done
		}
		e.rx, e.off, e.again, e.state = e.rx[:0], 0, 0, sending
		if !e.cfg.Prime && e.own != defaultIFS {
			return e.tellIFS()
		}
		return e.fresh()
	case Abort:
		if e.cfg.Role == transport.Target {
			e.state = idle
			return e.put(rBlock(e.nr, rFree), nil) // gives the turn back
		}
		e.state = idle
		if e.asked {
			return done
		}
		return Action{Event: Failed, Err: ErrTooLong}
	case WTX:
		if e.held {
			e.held = false
			return e.fresh()
		}
		return Action{}
	}
	if !e.asked { // S(IFS request) of tellIFS
		if e.ask {
			e.ask = false
			return e.put(rBlock(e.nr, rOther), nil)
		}
		return e.fresh()
	}
	return done
}

// asks takes an S-block request.
func (e *Engine) asks(b Block) Action {
	target := e.cfg.Role == transport.Target
	if !target {
		if e.Idle() {
			return Action{}
		}
		if e.wtx++; e.wtx > e.cfg.MaxWTX {
			return e.fail(fmt.Errorf("%w: %d requests in a row", ErrWTX, e.cfg.MaxWTX))
		}
	}
	switch req := b.PCB; {
	case req == Resynch && target && len(b.INF) == 0: // rules 6.1 to 6.3
		e.state, e.ns, e.nr = idle, 0, 0
		e.bad, e.again = 0, 0
		e.forget()
		if !e.cfg.Prime {
			e.peer = e.cfg.Peer
			e.size = min(e.size, e.peer)
		}
		a := e.put(Resynch.Response(), nil)
		a.Event = Restarted
		return a
	case req == IFS:
		n := parseIFS(b.INF, e.cfg.Prime)
		if n == 0 {
			return e.invalid(rOther, errINF)
		}
		e.peer = min(n, e.f.MaxINF())
		e.size = e.peer
		e.bad = 0
		return e.put(IFS.Response(), b.INF)
	case req == Abort && len(b.INF) == 0: // rule 9
		e.bad = 0
		e.rx = e.rx[:0]
		if target {
			if e.state == sending {
				e.ns ^= 1
			}
			if e.state != working {
				e.state = idle
				e.forget()
			}
		} else if e.req == 0 {
			e.state = aborted
		}
		return e.put(Abort.Response(), nil)
	case req == WTX && !target && len(b.INF) == 1 && b.INF[0] != 0 && e.req == 0:
		e.bad = 0
		inf := [1]byte{b.INF[0]}
		wait := int(inf[0])
		if e.cfg.WTXAnswer != 0 {
			inf[0] = e.cfg.WTXAnswer
		}
		a := e.put(WTX.Response(), inf[:])
		a.Wait = wait
		return a
	case !target || !e.cfg.Prime:
	case req == CIPRequest, req == Release, req == SWR, req == PowerOnReset, req == ColdReset, req == DeepPowerDown:
		return Action{Event: Asked, PCB: req, INF: b.INF}
	}
	return e.invalid(rOther, errSequence)
}

// invalid answers a block that is damaged or out of place, or that did not come.
func (e *Engine) invalid(code PCB, why error) Action {
	if e.state == dead || e.state == working && e.req == 0 || e.Idle() && e.cfg.Role == transport.Controller {
		return Action{}
	}
	e.bad++
	if e.bad > e.cfg.Retries {
		if e.cfg.Role == transport.Target {
			return Action{} // rule 7.4.3: it only listens
		}
		switch {
		case e.req != 0:
			return e.fail(fmt.Errorf("%s is not answered: %w", e.req, why))
		case !e.heard: // rule 7.4.1
			return e.fail(fmt.Errorf("no answer to %s: %w", e.last, why))
		case e.cfg.NoResynch:
			return e.fail(why)
		}
		return e.resynch(why)
	}
	switch {
	case e.req != 0: // rules 7.3, 8
		return e.put(e.req, e.reqINF)
	case (why == ErrEDC || why == ErrLength) && e.state != aborted && e.noisy(e.own, e.bad):
		e.own = max(shortest, e.own/2)
		e.ask = true
		return e.tellIFS()
	case e.spoken && e.last.IsR(): // rule 7.2
		return e.put(e.last, nil)
	}
	return e.put(rBlock(e.nr, code), nil) // rules 7.1, 7.3, 7.5, 7.6
}

// resynch begins a resynchronisation of a controller (rules 6.4, 7.4.2), after which
// the APDU is sent again from its first byte.
func (e *Engine) resynch(why error) Action {
	if e.resynchs++; e.resynchs > e.cfg.Resynchs {
		return e.fail(fmt.Errorf("%w, after %d resynchronisations", why, e.cfg.Resynchs))
	}
	e.bad, e.again, e.asked = 0, 0, false
	return e.request(Resynch, nil)
}

// fail ends the exchange of a controller for good.
func (e *Engine) fail(why error) Action {
	e.state = dead
	e.forget()
	return Action{Event: Reset, Err: fmt.Errorf("%w: %w", ErrReset, why)}
}

// fresh transmits the I-block that begins at off.
func (e *Engine) fresh() Action {
	e.n = min(e.size, len(e.tx)-e.off)
	return e.block()
}

// block transmits the I-block that waits.
func (e *Engine) block() Action {
	return e.put(iBlock(e.ns, e.off+e.n < len(e.tx)), e.tx[e.off:e.off+e.n])
}

// request transmits an S-block request.
func (e *Engine) request(pcb PCB, inf []byte) Action {
	e.req = pcb
	e.reqINF = append(e.reqINF[:0], inf...)
	return e.put(pcb, e.reqINF)
}

func (e *Engine) put(pcb PCB, inf []byte) Action {
	e.out = e.f.Append(e.out[:0], e.nad, pcb, inf)
	e.last, e.spoken = pcb, true
	if e.cfg.Role == transport.Target {
		return Action{Block: e.out}
	}
	return Action{Block: e.out, Wait: 1}
}

// appendIFS writes INF of S(IFS request): one byte up to FE, two in T=1' above.
func appendIFS(b []byte, n int) []byte {
	if n > MaxINF {
		b = append(b, byte(n>>8))
	}
	return append(b, byte(n))
}

// parseIFS reads it; 0 when it is none.
func parseIFS(b []byte, prime bool) int {
	switch {
	case len(b) == 1 && b[0] != 0xFF:
		return int(b[0])
	case len(b) == 2 && prime:
		if n := int(b[0])<<8 | int(b[1]); n > MaxINF && n <= MaxPrimeINF {
			return n
		}
	}
	return 0
}
