package iso7816

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
)

// pcscSocket is where Debian's pcscd listens; the environment variable
// PCSCLITE_CSOCK_NAME overrides it, as for libpcsclite.
const pcscSocket = "/run/pcscd/pcscd.comm"

// openPCSC is the transport.Opener of pcsc:READER.
func openPCSC(u transport.URL, role transport.Role) (transport.Link, error) {
	if role == transport.Target {
		return nil, u.Errorf("pcsc: is the terminal's end (the card's end is vpcd://HOST:PORT)")
	}
	if u.Host != "" {
		return nil, u.Errorf("write pcsc:READER, with a part of the reader's name")
	}
	if err := u.Only("protocol"); err != nil {
		return nil, err
	}
	name, err := u.OneOf("protocol", "any", "t0", "t1")
	if err != nil {
		return nil, err
	}
	protocols := map[string]uint32{"any": protocolT0 | protocolT1, "t0": protocolT0, "t1": protocolT1}
	return &pcsc{url: u, protocols: protocols[name]}, nil
}

// pcsc is the controller end of a card in a reader that pcscd has: each Send is
// one call to pcscd, and its answer has arrived when Send returns (unless the
// Receiver was busy).
//
//	PowerOn   SCARD_RECONNECT with SCARD_UNPOWER_CARD, then the ATR
//	Reset     SCARD_RECONNECT with SCARD_RESET_CARD, then the ATR
//	GetATR    SCARD_RECONNECT with SCARD_LEAVE_CARD, then the ATR that pcscd has
//	PowerOff  SCARD_DISCONNECT with SCARD_UNPOWER_CARD
//	Block     SCARD_TRANSMIT
//
// With T=0 pcscd hands TPDUs to the card: 61xx and 6Cxx are for the caller.
// That card, reader or pcscd have gone is noticed at the next Send, which
// delivers Removed; a PowerOn that finds them again delivers Inserted. While another
// program has a transaction on the card Send waits, for the time sharing at most; after
// its reset of the card a Block is refused with transport.ErrReset.
type pcsc struct {
	url       transport.URL
	protocols uint32          // that may be used with the card
	inbox     transport.Inbox // of answers

	rpc  sync.Mutex // one call to pcscd at a time; taken before mu
	free [][]byte   // buffers for answers; guarded by rpc

	mu   sync.Mutex
	sess *pcscSession // nil while closed
}

// pcscSession is what lasts from Open to Close. All but conn is guarded by
// pcsc.rpc.
type pcscSession struct {
	pcscConn
	link     *pcsc
	ctx      context.Context
	cancel   context.CancelFunc
	context  uint32 // pcscd's
	reader   string // its whole name
	card     uint32 // pcscd's handle, while joined
	joined   bool
	gone     bool   // Removed was delivered
	protocol uint32 // of the card
}

// String implements transport.Link.
func (l *pcsc) String() string { return l.url.String() }

// Limits implements transport.Limiter. One byte is no command to any reader; the
// virtual one takes it for a control of its own and loses the card.
func (l *pcsc) Limits() (min, max int) { return 2, maxExtended }

// Open implements transport.Link. There must be a card in the reader.
func (l *pcsc) Open(ctx context.Context, r transport.Receiver) error {
	l.mu.Lock()
	if l.sess != nil {
		l.mu.Unlock()
		return transport.ErrOpen
	}
	s := &pcscSession{link: l}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.rbuf = make([]byte, maxExtended)
	if err := s.start(); err != nil {
		l.mu.Unlock()
		s.cancel()
		return fmt.Errorf("link %q: %w", l.url, err)
	}
	s.rbuf = nil
	context.AfterFunc(s.ctx, func() { l.close(s) })
	l.sess = s
	l.inbox.Receive(r)
	l.mu.Unlock()
	l.inbox.Deliver(transport.Inserted, nil)
	return nil
}

// Close implements transport.Link. The card is left as it is, for other
// programs; pcscd releases it when the connection ends.
func (l *pcsc) Close() error {
	l.close(nil)
	return nil
}

// close ends session s if it is the one under way; nil stands for whichever is.
func (l *pcsc) close(s *pcscSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sess == nil || s != nil && s != l.sess {
		return
	}
	l.sess.cancel() // which closes the connection, and ends a call that is under way
	l.sess = nil
	l.inbox.Receive(nil)
}

// Send implements transport.Link.
func (l *pcsc) Send(k transport.Kind, p []byte) error {
	lo, hi := l.Limits()
	if err := transport.Check(transport.Controller, k, len(p), lo, hi); err != nil {
		return err
	}
	l.rpc.Lock()
	l.mu.Lock()
	s := l.sess
	l.mu.Unlock()
	if s == nil {
		l.rpc.Unlock()
		return transport.ErrClosed
	}
	// The answer stays in a buffer of its own, because the next call may be made
	// while the Receiver still reads it.
	buf := l.buffer()
	s.rbuf = buf
	wasGone := s.gone
	answer, err := s.serve(k, p)
	gone := s.gone
	l.rpc.Unlock()

	switch {
	case gone && !wasGone:
		l.inbox.Deliver(transport.Removed, nil)
	case !gone && wasGone:
		l.inbox.Deliver(transport.Inserted, nil)
	}
	switch {
	case err != nil && s.ctx.Err() != nil:
		err = transport.ErrClosed
	case err != nil && errors.Is(err, pcscResetCard):
		err = fmt.Errorf("link %q: %w: %w", l.url, transport.ErrReset, err)
	case err != nil && gone:
		err = fmt.Errorf("link %q: %w: %w", l.url, transport.ErrNoPeer, err)
	case err != nil:
		err = fmt.Errorf("link %q: %w", l.url, err)
	case k == transport.Block:
		l.inbox.Deliver(transport.Block, answer)
	case k != transport.PowerOff:
		l.inbox.Deliver(transport.ATR, answer)
	}
	l.rpc.Lock()
	l.free = append(l.free, buf)
	l.rpc.Unlock()
	return err
}

// buffer is an unused one; l.rpc is held.
func (l *pcsc) buffer() []byte {
	if n := len(l.free); n > 0 {
		b := l.free[n-1]
		l.free = l.free[:n-1]
		return b
	}
	return make([]byte, maxExtended)
}

// serve carries one frame out; the answer is in s.rbuf or fresh.
func (s *pcscSession) serve(k transport.Kind, p []byte) (answer []byte, err error) {
	switch k {
	case transport.PowerOn:
		answer, err = s.reset(unpowerCard)
	case transport.Reset:
		answer, err = s.reset(resetCard)
	case transport.GetATR:
		answer, err = s.again()
	case transport.PowerOff:
		err = s.leave(unpowerCard)
	case transport.Block:
		if !s.joined {
			return nil, errNoPower
		}
		err = s.shared(func() (err error) {
			answer, err = s.transmit(s.card, s.protocol, p)
			return err
		})
	}
	s.gone = err != nil && (s.gone || !s.present())
	return answer, err
}

var errNoPower = errors.New("the card has no power (PowerOn comes first)")

// present tells, after an error, whether the card is still there.
func (s *pcscSession) present() bool {
	if s.c == nil {
		return false
	}
	r, err := s.find()
	if err != nil {
		s.hangUp() // pcscd or the reader has gone: PowerOn begins from the start
	}
	return err == nil && r.present
}

// reset gives a reset and returns the ATR. It finds card, reader and pcscd
// again when they had gone.
func (s *pcscSession) reset(init uint32) ([]byte, error) {
	if s.c == nil {
		if err := s.start(); err != nil {
			return nil, err
		}
	}
	if s.joined {
		err := s.take(init)
		if err == nil {
			return s.atr()
		}
		if e := pcscError(0); !errors.As(err, &e) {
			return nil, err
		}
		_ = s.leave(leaveCard) // the handle is of no use any more, whatever pcscd says to that
	}
	if err := s.join(); err != nil {
		return nil, err
	}
	return s.atr()
}

// take reconnects to the card.
func (s *pcscSession) take(init uint32) error {
	return s.shared(func() error {
		protocol, err := s.reconnect(s.card, s.link.protocols, init)
		if err == nil {
			s.protocol = protocol
		}
		return err
	})
}

// again takes the card up as it is, after another program's reset too.
func (s *pcscSession) again() ([]byte, error) {
	if s.joined {
		if err := s.take(leaveCard); err != nil {
			return nil, err
		}
	}
	return s.atr()
}

// sharing is how long another program may keep the card for itself.
const sharing = 5 * time.Second

// shared calls pcscd again as long as another program has the card for itself.
func (s *pcscSession) shared(call func() error) error {
	for start := time.Now(); ; {
		err := call()
		if !errors.Is(err, pcscSharing) || time.Since(start) > sharing {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.ctx.Done():
			return err
		}
	}
}

// start connects to pcscd, finds the reader and joins the card.
func (s *pcscSession) start() error {
	err := s.dial()
	if err == nil {
		s.context, err = s.establish()
	}
	var r pcscReader
	if err == nil {
		r, err = s.find()
	}
	if err == nil {
		s.reader = r.name
		err = s.join()
	}
	if err != nil {
		s.hangUp()
	}
	return err
}

func (s *pcscSession) hangUp() {
	if s.c != nil {
		_ = s.c.Close() // nothing to learn from it
	}
	s.c, s.joined = nil, false
}

// dial connects to pcscd and agrees on the protocol, in the daemon's version if
// it is another one that this client can speak.
func (s *pcscSession) dial() error {
	path := os.Getenv("PCSCLITE_CSOCK_NAME")
	if path == "" {
		path = pcscSocket
	}
	for minor := uint32(pcscMinor); ; {
		c, err := new(net.Dialer).DialContext(s.ctx, "unix", path)
		if err != nil {
			return fmt.Errorf("pcscd cannot be reached: %w (is the package pcscd installed and running?)", err)
		}
		context.AfterFunc(s.ctx, func() { c.Close() })
		s.c = c
		major, theirs, err := s.version(minor)
		if err == nil {
			return nil
		}
		s.hangUp()
		if !errors.Is(err, pcscServiceStopped) {
			return err
		}
		if theirs == minor || major != pcscMajor || theirs < pcscMinorFrom || theirs > pcscMinorTo {
			return fmt.Errorf("pcscd speaks protocol %d.%d (known: %d.%d to %d.%d)", major, theirs, pcscMajor, pcscMinorFrom, pcscMajor, pcscMinorTo)
		}
		minor = theirs
	}
}

// find looks for the reader: the one whose name is given, else one that has it
// in its name, rather with a card than without.
func (s *pcscSession) find() (pcscReader, error) {
	list, err := s.readers()
	if err != nil {
		return pcscReader{}, err
	}
	want := s.link.url.Path
	if s.reader != "" {
		want = s.reader
	}
	var found *pcscReader
	var names []string
	for i := range list {
		r := &list[i]
		if r.name == want {
			return *r, nil
		}
		names = append(names, r.name)
		if strings.Contains(r.name, want) && (found == nil || r.present && !found.present) {
			found = r
		}
	}
	switch {
	case found != nil:
		return *found, nil
	case len(names) == 0:
		return pcscReader{}, errors.New("pcscd has no reader (is one attached, is its driver installed?)")
	}
	return pcscReader{}, fmt.Errorf("no reader has %q in its name (there are: %s)", want, strings.Join(names, ", "))
}

// join connects to the card in the reader; pcscd gives it power if it has none.
func (s *pcscSession) join() error {
	card, protocol, err := s.connect(s.context, s.reader, s.link.protocols)
	if err != nil {
		return fmt.Errorf("reader %q: %w", s.reader, err)
	}
	s.card, s.protocol, s.joined = card, protocol, true
	return nil
}

// leave disconnects from the card.
func (s *pcscSession) leave(disposition uint32) error {
	if !s.joined {
		return nil
	}
	s.joined = false
	return s.disconnect(s.card, disposition)
}

// atr is the ATR that pcscd got last.
func (s *pcscSession) atr() ([]byte, error) {
	r, err := s.find()
	if err == nil && !r.present {
		err = pcscRemovedCard
	}
	return r.atr, err
}
