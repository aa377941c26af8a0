package iso7816

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/t1"
)

// serialTerminal is the terminal's end of a link on characters. Each Send is one
// exchange, whose answer has arrived when Send returns (unless the Receiver was busy).
//
//	PowerOn   cold reset, then activation: ATR, PPS if needed, IFSD with T=1
//	Reset     warm reset, then activation
//	PowerOff  deactivation
//	GetATR    the ATR, after activation if there was none
//	Block     T=1 or T=0, after activation if there was none
type serialTerminal struct {
	o    serialOptions
	url  string
	line line

	life  sync.Mutex // one Open or Close at a time
	inbox transport.Inbox
	mu    sync.Mutex
	sess  *terminalSession // nil while closed
}

// terminalSession is what lasts from Open to Close; busy guards what exchanges use.
type terminalSession struct {
	l    *serialTerminal
	line line
	stop func() bool
	done chan struct{}

	mu      sync.Mutex // guards what the line tells
	closed  bool
	there   bool
	left    bool // the card has left since the last exchange
	deaf    bool // a reset was sent, and the card has not repeated it yet
	in      []char
	events  []bool // who came and went, not yet told
	bell    chan struct{}
	tellers chan struct{}

	busy    sync.Mutex // one exchange at a time
	active  bool
	narrow  bool // the card does not take S(IFS request)
	atr     []byte
	inverse bool
	times   times
	t       byte
	e       *t1.Engine
	t0      t0Terminal
	buf     []byte
}

// char is a character that has come in.
type char struct {
	b   byte
	bad bool
}

// maxIn bounds the characters that nobody has read.
const maxIn = 64 << 10

func (l *serialTerminal) called(string) {}

// String implements transport.Link.
func (l *serialTerminal) String() string { return l.url }

// WholeAnswers implements transport.WholeAnswers.
func (l *serialTerminal) WholeAnswers() bool { return l.o.protocol == 1 }

// Limits implements transport.Limiter.
func (l *serialTerminal) Limits() (min, max int) {
	if l.o.protocol == 0 {
		return 4, 261
	}
	return 0, transport.MaxFrame
}

// Open implements transport.Link.
func (l *serialTerminal) Open(ctx context.Context, r transport.Receiver) error {
	l.life.Lock()
	defer l.life.Unlock()
	l.mu.Lock()
	open := l.sess != nil
	l.mu.Unlock()
	if open {
		return transport.ErrOpen
	}
	s := &terminalSession{l: l, line: l.line, done: make(chan struct{}), bell: make(chan struct{}, 1), tellers: make(chan struct{}, 1)}
	l.inbox.Receive(r)
	if err := l.line.open(context.WithoutCancel(ctx), s); err != nil {
		l.inbox.Receive(nil)
		return fmt.Errorf("link %q: %w", l.url, err)
	}
	l.mu.Lock()
	l.sess = s
	l.mu.Unlock()
	s.stop = context.AfterFunc(ctx, func() { l.close(s) })
	go s.tell()
	return nil
}

// Close implements transport.Link.
func (l *serialTerminal) Close() error {
	l.close(nil)
	return nil
}

func (l *serialTerminal) close(s *terminalSession) {
	l.life.Lock()
	defer l.life.Unlock()
	l.mu.Lock()
	if l.sess == nil || s != nil && s != l.sess {
		l.mu.Unlock()
		return
	}
	s = l.sess
	l.sess = nil
	l.mu.Unlock()
	s.stop()
	l.inbox.Receive(nil)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.done)
	ring(s.bell)
	_ = l.line.signal(sigOff) // nobody may be there
	l.line.close()
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// chars implements sink.
func (s *terminalSession) chars(p []byte, bad bool) {
	s.mu.Lock()
	if !s.deaf && !s.closed && len(s.in)+len(p) <= maxIn {
		for i, b := range p {
			s.in = append(s.in, char{b, bad && i == len(p)-1})
		}
	}
	s.mu.Unlock()
	ring(s.bell)
}

// signalled implements sink.
func (s *terminalSession) signalled(sig signal) {
	inband := s.line.traits().inband
	switch {
	case sig == sigUp && inband:
		_ = s.line.signal(sigWho) // it goes down again if that fails
	case sig == sigHere && inband, sig == sigUp:
		s.presence(true)
	case sig == sigGone && inband, sig == sigDown:
		s.presence(false)
	case (sig == sigCold || sig == sigWarm) && inband:
		s.mu.Lock()
		s.deaf = false
		s.in = s.in[:0]
		s.mu.Unlock()
	}
}

// presence tells who is there.
func (s *terminalSession) presence(there bool) {
	s.mu.Lock()
	if s.closed || s.there == there {
		s.mu.Unlock()
		return
	}
	s.there = there
	s.left = s.left || !there
	s.events = append(s.events, there)
	s.mu.Unlock()
	ring(s.bell)
	ring(s.tellers)
}

// tell is the goroutine that tells the Receiver who is there.
func (s *terminalSession) tell() {
	for {
		s.mu.Lock()
		if len(s.events) == 0 || s.closed {
			s.mu.Unlock()
			select {
			case <-s.tellers:
				continue
			case <-s.done:
				return
			}
		}
		k := transport.Removed
		if s.events[0] {
			k = transport.Inserted
		}
		s.events = s.events[1:]
		s.mu.Unlock()
		s.l.inbox.Deliver(k, nil)
	}
}

// state is what ends an exchange that is under way.
func (s *terminalSession) state() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return transport.ErrClosed
	case !s.there && (s.line.traits().inband || s.left):
		return transport.ErrNoPeer
	}
	return nil
}

// Send implements transport.Link.
func (l *serialTerminal) Send(k transport.Kind, p []byte) error {
	lo, hi := l.Limits()
	if err := transport.Check(transport.Controller, k, len(p), lo, hi); err != nil {
		return err
	}
	l.mu.Lock()
	s := l.sess
	l.mu.Unlock()
	if s == nil {
		return transport.ErrClosed
	}
	if err := s.state(); err != nil {
		return err
	}
	s.busy.Lock()
	answer, err := s.serve(k, p)
	if err != nil {
		s.busy.Unlock()
		if gone := s.state(); gone != nil {
			return gone
		}
		return fmt.Errorf("link %q: %w", l.url, err)
	}
	if k == transport.PowerOff {
		s.busy.Unlock()
		return nil
	}
	// The next exchange may begin while the Receiver still reads this answer.
	answer = slices.Clone(answer)
	s.busy.Unlock()
	if k != transport.Block {
		k = transport.ATR
	}
	l.inbox.Deliver(k, answer)
	return nil
}

// serve carries one frame out.
func (s *terminalSession) serve(k transport.Kind, p []byte) ([]byte, error) {
	s.mu.Lock()
	if s.left {
		s.left, s.active = false, false
	}
	s.mu.Unlock()
	switch {
	case k == transport.PowerOff:
		s.active = false
		return nil, s.line.signal(sigOff)
	case k == transport.PowerOn, !s.active && k != transport.Reset:
		if err := s.activate(sigCold); err != nil {
			return nil, err
		}
	case k == transport.Reset:
		if err := s.activate(sigWarm); err != nil {
			return nil, err
		}
	}
	switch {
	case k != transport.Block:
		return s.atr, nil
	case s.t == 0:
		return s.exchange(p)
	}
	a, err := s.e.Send(p)
	if err != nil {
		return nil, err
	}
	a, err = s.run(a)
	return a.INF, err
}

// ErrATRNone: no ATR came.
var ErrATRNone = errors.New("atr: none came (8.1)")

// activate resets the card and does what comes before the first command. What did not
// go is tried again, without what the card did not like.
func (s *terminalSession) activate(reset signal) error {
	s.active = false
	pps := true
	for try := 1; ; try++ {
		p, err := s.reset(reset)
		if err == nil {
			err = s.agree(p, &pps)
		}
		if err == nil && s.t == 1 {
			err = s.begin(p)
		}
		if err == nil {
			s.active = true
			return nil
		}
		var final refusal
		if gone := s.state(); gone != nil {
			return gone
		}
		if errors.As(err, &final) || try == resets || errors.Is(err, ErrATRNone) && s.line.traits().inband {
			return err
		}
	}
}

// refusal is an error that another reset would not mend.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// reset resets the card and reads its ATR.
func (s *terminalSession) reset(reset signal) (Parameters, error) {
	initial := time.Second / time.Duration(s.l.o.baud)
	tr := s.line.traits()
	if err := s.line.rate(initial, 0); err != nil {
		return Parameters{}, err
	}
	s.flush()
	s.mu.Lock()
	s.deaf = tr.inband
	s.mu.Unlock()
	if err := s.line.signal(reset); err != nil {
		return Parameters{}, err
	}
	wait := atrWait
	if !tr.inband {
		wait = atrWaitReal
	}
	s.inverse = false
	b := s.buf[:0]
	for {
		c, ok := s.char(wait)
		if !ok {
			if len(b) == 0 {
				return Parameters{}, fmt.Errorf("%w: waited %v", ErrATRNone, wait)
			}
			return Parameters{}, fmt.Errorf("%w: % X", ErrATRShort, b)
		}
		s.inverse = s.inverse || len(b) == 0 && c.b == tsInverseRaw
		if s.wrong(c) {
			return Parameters{}, fmt.Errorf("atr: %w after % X", ErrT0Parity, b)
		}
		b = append(b, s.plain(c.b))
		s.buf = b
		a, err := ParseATR(b)
		if errors.Is(err, ErrATRShort) && (len(b) > 1 || b[0] == tsDirect || b[0] == tsInverse) {
			wait = initialEtus*initial + tr.grace
			continue
		}
		if err != nil {
			return Parameters{}, fmt.Errorf("%w: % X", err, b)
		}
		p, err := a.Parameters()
		if err != nil {
			return p, refusal{err}
		}
		s.atr = append(s.atr[:0], b...)
		return p, nil
	}
}

// agree settles protocol and rate: by PPS if they are not those that hold anyway.
func (s *terminalSession) agree(p Parameters, pps *bool) error {
	want := p.Protocols[0]
	if o := s.l.o.protocol; o >= 0 {
		want = byte(o)
	} else if want > 1 && p.offers(1) {
		want = 1
	} else if want > 1 && p.offers(0) {
		want = 0
	}
	if !p.offers(want) || want > 1 {
		return refusal{fmt.Errorf("the card offers %s, and %s was asked for (ATR % X)", protocolNames(p.Protocols), protocolNames([]byte{want}), s.atr)}
	}
	fd := byte(fdDefault)
	if p.Specific {
		fd = p.FD
	}
	faster := *pps && s.l.o.fast && !p.Specific && p.FD != fdDefault && s.line.traits().rates
	if faster || want != p.Protocols[0] {
		request := PPS{T: want}
		if faster {
			request.PPS1 = &p.FD
		}
		*pps = false // when it fails, the next one is about the protocol only
		got, err := s.negotiate(request)
		if err != nil {
			return err
		}
		if got.PPS1 != nil {
			fd = *got.PPS1
		}
	}
	s.t = want
	s.times = p.times(fd, s.l.o.baud)
	return s.line.rate(s.times.etu, s.t)
}

func protocolNames(list []byte) string {
	out := ""
	for i, t := range list {
		if i > 0 {
			out += " and "
		}
		out += fmt.Sprintf("T=%d", t)
	}
	return out
}

// negotiate is one PPS exchange.
func (s *terminalSession) negotiate(request PPS) (PPS, error) {
	if err := s.write(request.Bytes()); err != nil {
		return PPS{}, err
	}
	wait := initialEtus*time.Second/time.Duration(s.l.o.baud) + s.line.traits().grace
	var b []byte
	for n := 2; len(b) < n; {
		c, ok := s.char(wait)
		if !ok {
			return PPS{}, fmt.Errorf("%w: no answer to % X within %v", ErrPPSShort, request.Bytes(), wait)
		}
		if b = append(b, s.plain(c.b)); len(b) == 2 {
			n = sizePPS(b[1])
		}
	}
	got, err := ParsePPS(b)
	if err == nil {
		err = request.Accepts(got)
	}
	return got, err
}

// begin is the beginning of T=1.
func (s *terminalSession) begin(p Parameters) error {
	c := t1.Config{Role: transport.Controller, Own: s.l.o.ifs, Peer: p.IFSC}
	if p.CRC {
		c.Format.EDC = t1.CRC
	}
	s.e = t1.New(c)
	if s.narrow {
		return nil
	}
	a, err := s.e.AnnounceIFS()
	if err == nil {
		_, err = s.run(a)
	}
	if err != nil {
		s.narrow = true
	}
	return err
}

// run does what the engine of T=1 says, until an exchange has come to an end.
func (s *terminalSession) run(a t1.Action) (t1.Action, error) {
	for a.Event == t1.None {
		if err := s.state(); err != nil {
			s.active = false
			return a, err
		}
		s.flush()
		if err := s.write(a.Block); err != nil {
			s.active = false
			return a, err
		}
		b, err := s.block(time.Duration(a.Wait)*s.times.bwt + s.line.traits().grace)
		if errors.Is(err, t1.ErrSilent) {
			a = s.e.Timeout()
		} else {
			a = s.e.Receive(b, err)
		}
	}
	switch a.Event {
	case t1.Failed:
		return a, a.Err
	case t1.Reset:
		s.active = false
		return a, fmt.Errorf("%w (BWT %v)", a.Err, s.times.bwt)
	}
	return a, nil
}

// block reads a block that begins within wait. After one that is damaged it waits
// until the line is silent.
func (s *terminalSession) block(wait time.Duration) ([]byte, error) {
	f := s.e.Format()
	cwt := s.times.cwt + s.line.traits().grace
	b, bad := s.buf[:0], false
	var err error
	for n := f.Prologue(); len(b) < n && err == nil; {
		c, ok := s.char(wait)
		switch {
		case !ok && len(b) == 0:
			return nil, t1.ErrSilent
		case !ok:
			return nil, t1.ErrLength
		}
		wait = cwt
		bad = bad || s.wrong(c)
		b = append(b, s.plain(c.b))
		if len(b) == f.Prologue() {
			if n = f.Size(b); n == 0 {
				err = t1.ErrLength
			}
		}
	}
	s.buf = b
	if err == nil {
		_, err = f.Parse(b)
	}
	if bad && err == nil {
		err = t1.ErrEDC
	}
	if err != nil {
		for ok := true; ok; {
			_, ok = s.char(s.times.cwt)
		}
	}
	return b, err
}

// exchange is one command of T=0.
func (s *terminalSession) exchange(p []byte) ([]byte, error) {
	out, err := s.t0.start(p)
	if err != nil {
		return nil, err
	}
	s.flush()
	wait := s.times.wwt + s.line.traits().grace
	for {
		if len(out) > 0 {
			if err := s.write(out); err != nil {
				s.active = false
				return nil, err
			}
		}
		c, ok := s.char(wait)
		if !ok || s.wrong(c) {
			s.active = false
			if ok {
				return nil, ErrT0Parity
			}
			return nil, fmt.Errorf("%w %v", ErrT0Silent, s.times.wwt)
		}
		var done bool
		if out, done, err = s.t0.take(s.plain(c.b)); err != nil {
			s.active = false
			return nil, err
		}
		if done {
			return s.t0.answer, nil
		}
	}
}

// write sends characters in the convention of the card.
func (s *terminalSession) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if s.inverse {
		p = slices.Clone(p)
		invert(p)
	}
	return s.line.write(p)
}

// plain is a character in the convention of the card.
func (s *terminalSession) plain(b byte) byte {
	if s.inverse {
		p := [1]byte{b}
		invert(p[:])
		return p[0]
	}
	return b
}

// wrong tells whether a character has wrong parity. Devices look for even parity, which
// the inverse convention makes odd.
func (s *terminalSession) wrong(c char) bool {
	return c.bad != (s.inverse && s.line.traits().parity)
}

// flush forgets what has come in.
func (s *terminalSession) flush() {
	s.mu.Lock()
	s.in = s.in[:0]
	s.mu.Unlock()
}

// char is the next character, if one comes within wait.
func (s *terminalSession) char(wait time.Duration) (char, bool) {
	clock := s.line.clock()
	until := clock.Now() + wait
	for {
		s.mu.Lock()
		if len(s.in) > 0 {
			c := s.in[0]
			s.in = s.in[:copy(s.in, s.in[1:])]
			s.mu.Unlock()
			return c, true
		}
		over := s.closed || !s.there && s.left
		s.mu.Unlock()
		left := until - clock.Now()
		if over || left <= 0 {
			return char{}, false
		}
		s.line.idle(s.bell, left)
	}
}
