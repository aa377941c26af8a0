package iso7816

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
)

// How a vpcd link behaves when the other end is slow, silent or away.
const (
	// retryFirst and retryMost bound the wait between two attempts to reach the
	// reader; it doubles from one to the other.
	retryFirst = 50 * time.Millisecond
	retryMost  = 500 * time.Millisecond
	// stall is how long a message that has begun may take to arrive, and twice
	// that at most; a peer that announces more than it sends is cut off then.
	// A read that brings nothing comes back after that time, too.
	stall = 10 * time.Second
	// lost is how long a peer may leave bytes or probes unacknowledged: a host
	// that vanished without closing (a half-open connection) is noticed so.
	lost = 20 * time.Second
	// away is how long a card that was taken out stays out at least. pcscd looks
	// every 400 ms whether there is a card (PCSCLITE_STATUS_POLL_RATE). When a
	// card is back before it has looked and a program has used the reader in
	// between, pcscd sees no change and may even believe the reader empty until
	// the next one.
	away = 500 * time.Millisecond
)

// openVPCD is the transport.Opener of vpcd://HOST[:PORT][?protocol=t1|t0].
func openVPCD(u transport.URL, role transport.Role) (transport.Link, error) {
	switch {
	case u.Host == "" || u.Path != "":
		return nil, u.Errorf("write vpcd://HOST:PORT, such as vpcd://127.0.0.1:%d", vpcdPort)
	case u.Port == 0 && role == transport.Target:
		return nil, u.Errorf("port 0 cannot be connected to (the virtual reader listens on %d)", vpcdPort)
	}
	if role == transport.Target {
		if err := u.Only("protocol"); err != nil {
			return nil, err
		}
		protocol, err := u.OneOf("protocol", "t1", "t0")
		if err != nil {
			return nil, err
		}
		return &vpcdCard{vpcd: vpcd{addr: u.Addr(vpcdPort)}, t0: protocol == "t0"}, nil
	}
	if err := u.Only(); err != nil {
		return nil, err
	}
	return &vpcdReader{vpcd: vpcd{addr: u.Addr(vpcdPort)}}, nil
}

// vpcd is what both ends share: one TCP connection at a time, read by one
// goroutine that also calls the Receiver.
type vpcd struct {
	addr string

	mu     sync.Mutex // guards the fields below; never held while bytes move or a Receiver runs
	conn   *net.TCPConn
	ln     net.Listener       // the reader's
	cancel context.CancelFunc // nil while closed
	ended  chan struct{}      // closed when the goroutine of the last Open has gone
	left   time.Time          // when this end took its leave last

	wmu  sync.Mutex // one message after the other; taken before mu
	wbuf []byte
}

// start marks the link open and runs run in the link's goroutine, after that of
// an earlier Open has gone; v.mu is held.
func (v *vpcd) start(ctx context.Context, run func(context.Context)) {
	before, ended := v.ended, make(chan struct{})
	ctx, v.cancel = context.WithCancel(ctx)
	v.ended = ended
	context.AfterFunc(ctx, func() { v.close(ended) })
	go func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		run(ctx)
	}()
}

// Close implements transport.Link.
func (v *vpcd) Close() error {
	v.close(nil)
	return nil
}

// close ends the link, unless it has been opened anew since session began; nil
// stands for whichever session there is.
func (v *vpcd) close(session chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cancel == nil || session != nil && session != v.ended {
		return
	}
	v.cancel()
	v.cancel = nil
	v.left = time.Now()
	v.hangUp()
	if v.ln != nil {
		_ = v.ln.Close() // nothing to learn from it, either
		v.ln = nil
	}
}

// hangUp ends the connection, if there is one; v.mu is held.
func (v *vpcd) hangUp() {
	if v.conn != nil {
		// Nothing is to be learnt from the errors of a connection that is given up.
		// Close alone would wait for a read that is under way.
		_ = v.conn.CloseRead()
		_ = v.conn.CloseWrite()
		_ = v.conn.Close()
		v.conn = nil
	}
}

// parted forgets c after it ended and tells whether it was the other end that
// ended it.
func (v *vpcd) parted(c *net.TCPConn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conn != c {
		return false
	}
	v.hangUp()
	return true
}

// write sends v.wbuf over c; v.wmu is held.
func (v *vpcd) write(c *net.TCPConn) error {
	if _, err := c.Write(v.wbuf); err != nil {
		return transport.ErrNoPeer
	}
	return nil
}

// serve reads c until it ends and hands every message to each.
func (v *vpcd) serve(ctx context.Context, c *net.TCPConn, each func(msg []byte)) {
	// All of these are improvements; a system that has none of them still works.
	_ = c.SetNoDelay(true)
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: lost / 2, Interval: lost / 4, Count: 2})
	if read, err := newSource(c); err == nil {
		readMessages(ctx, read, each)
	}
}

// source is a Read that gives os.ErrDeadlineExceeded when nothing has come for the
// time stall.
type source func(p []byte) (n int, err error)

// patient is the source that every connection has.
func patient(c net.Conn) source {
	return func(p []byte) (int, error) {
		_ = c.SetReadDeadline(time.Now().Add(stall)) // fails on a closed connection only, as Read will
		return c.Read(p)
	}
}

// readMessages cuts what is read into messages. It gives up when a message takes
// longer than stall to arrive.
func readMessages(ctx context.Context, read source, each func(msg []byte)) {
	buf := make([]byte, vpcdHeader+vpcdMax)
	have := 0
	var begun time.Time // when the message that is arriving began to; zero when none is
	for ctx.Err() == nil {
		n, err := read(buf[have:])
		have += n
		done := 0
		for ctx.Err() == nil {
			msg, n := nextMessage(buf[done:have])
			if n == 0 {
				break
			}
			done += n
			begun = time.Time{}
			each(msg)
		}
		have = copy(buf, buf[done:have])
		switch {
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return
		case have == 0:
		case begun.IsZero():
			begun = time.Now()
		case time.Since(begun) >= stall:
			return
		}
	}
}

// vpcdCard is the target end: the card, which connects to the reader.
//
// How the frames of a Link map to the protocol: the driver sends vpcdOn and
// vpcdReset without waiting for an answer and asks for the ATR with vpcdATR
// afterwards. A Link's target answers PowerOn, Reset and GetATR with an ATR
// each; so an ATR goes out only while a vpcdATR waits for one, and is dropped
// otherwise. A Block goes out only while a command waits for it, because the
// driver would take any other for the answer to its next command.
//
// Removed hangs up and Inserted connects again, not before pcscd has had the time
// to look: it sees the card go and come.
//
// The driver does not tell the card which protocol pcscd has chosen. With
// protocol=t1 the card answers as on T=1, a terminal that sent no Le gets the whole
// answer; that serves programs on T=0 as well, but is not what they would see on a
// wire. With protocol=t0 it answers 61xx and waits for GET RESPONSE.
type vpcdCard struct {
	vpcd
	t0 bool

	// guarded by mu
	out      bool          // Removed was sent
	again    chan struct{} // wakes the goroutine that waits for Inserted
	atrs     int           // vpcdATR messages that wait for an ATR
	commands int           // commands that wait for a response
}

// String implements transport.Link.
func (v *vpcdCard) String() string {
	if v.t0 {
		return "vpcd://" + v.addr + "?protocol=t0"
	}
	return "vpcd://" + v.addr
}

// WholeAnswers implements transport.WholeAnswers.
func (v *vpcdCard) WholeAnswers() bool { return !v.t0 }

// Limits implements transport.Limiter: a response of 65,536 bytes and its status
// word do not fit the two bytes of length.
func (v *vpcdCard) Limits() (min, max int) { return 0, vpcdMax }

// Open implements transport.Link. It returns at once; the reader may come later,
// go and come back.
func (v *vpcdCard) Open(ctx context.Context, r transport.Receiver) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cancel != nil {
		return transport.ErrOpen
	}
	again := make(chan struct{}, 1)
	v.out, v.again = false, again
	v.start(ctx, func(ctx context.Context) { v.run(ctx, r, again) })
	return nil
}

// run connects and serves, over and over.
func (v *vpcdCard) run(ctx context.Context, r transport.Receiver, again <-chan struct{}) {
	wait := retryFirst
	for ctx.Err() == nil {
		var c *net.TCPConn
		pause := v.outside()
		if pause <= 0 {
			if c = v.connect(ctx); c == nil {
				pause, wait = wait, min(2*wait, retryMost)
			}
		}
		if c == nil {
			select {
			case <-time.After(pause):
			case <-again:
			case <-ctx.Done():
			}
			continue
		}
		wait = retryFirst
		v.serve(ctx, c, func(msg []byte) {
			k := vpcdKind(msg)
			if v.arrived(c, k) {
				if k != transport.Block {
					msg = nil
				}
				r.Frame(k, msg)
			}
		})
		if v.parted(c) {
			r.Frame(transport.PowerOff, nil) // who gave the power has gone
		}
	}
}

// outside is how long the card is to stay out of the reader; none when not
// positive.
func (v *vpcdCard) outside() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.out {
		return time.Hour
	}
	return away - time.Since(v.left)
}

// connect makes the connection to the reader; nil when there is none now or the
// card is out.
func (v *vpcdCard) connect(ctx context.Context) *net.TCPConn {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", v.addr)
	if err != nil {
		return nil
	}
	c := conn.(*net.TCPConn)
	v.mu.Lock()
	defer v.mu.Unlock()
	// A connection to a free port of this host can come to be its own peer
	// (simultaneous open): that is not the reader.
	self := c.LocalAddr().String() == c.RemoteAddr().String()
	if self || v.out || ctx.Err() != nil {
		_ = c.Close()
		return nil
	}
	v.conn, v.atrs, v.commands = c, 0, 0
	return c
}

// arrived notes what the reader wants an answer to; false when c is no longer
// the connection.
func (v *vpcdCard) arrived(c *net.TCPConn, k transport.Kind) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conn != c {
		return false
	}
	switch k {
	case transport.GetATR:
		v.atrs++
	case transport.Block:
		v.commands++
	}
	return true
}

// Send implements transport.Link.
func (v *vpcdCard) Send(k transport.Kind, p []byte) error {
	if err := transport.Check(transport.Target, k, len(p), 0, vpcdMax); err != nil {
		return err
	}
	if k == transport.Removed || k == transport.Inserted {
		return v.move(k)
	}
	v.wmu.Lock()
	defer v.wmu.Unlock()
	c, err := v.answer(k)
	if c == nil {
		return err
	}
	v.wbuf = appendMessage(v.wbuf[:0], p)
	return v.write(c)
}

// move takes the card out of the reader or puts it back.
func (v *vpcdCard) move(k transport.Kind) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cancel == nil {
		return transport.ErrClosed
	}
	if k == transport.Removed {
		if !v.out {
			v.left = time.Now()
		}
		v.out = true
		v.hangUp()
	} else if v.out {
		v.out = false
		select {
		case v.again <- struct{}{}:
		default:
		}
	}
	return nil
}

// answer is the connection over which an answer of kind k is to go; nil without
// an error when nobody wants it.
func (v *vpcdCard) answer(k transport.Kind) (*net.TCPConn, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.cancel == nil:
		return nil, transport.ErrClosed
	case v.conn == nil:
		return nil, transport.ErrNoPeer
	case k == transport.ATR && v.atrs == 0:
		return nil, nil
	case k == transport.ATR:
		v.atrs--
	case v.commands == 0:
		return nil, errUnasked
	default:
		v.commands--
	}
	return v.conn, nil
}

var errUnasked = fmt.Errorf("vpcd: no command waits for this response: %w", transport.ErrNoPeer)

// vpcdReader is the controller end: the reader, which listens for a card. One
// card at a time is in it; a second one waits until the first has gone.
type vpcdReader struct {
	vpcd

	expect []transport.Kind // answers that are on their way, in order; guarded by mu
}

// String implements transport.Link. While the link is open it names the port
// that is listened on, also when the URL asked for any (port 0).
func (v *vpcdReader) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ln != nil {
		return "vpcd://" + v.ln.Addr().String()
	}
	return "vpcd://" + v.addr
}

// Limits implements transport.Limiter: a message of one byte is a control.
func (v *vpcdReader) Limits() (min, max int) { return 2, vpcdMax }

// Open implements transport.Link. It fails when the port is taken.
func (v *vpcdReader) Open(ctx context.Context, r transport.Receiver) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cancel != nil {
		return transport.ErrOpen
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", v.addr)
	if err != nil {
		return fmt.Errorf("link %q: the reader's end cannot listen: %w (pcscd's virtual reader may have the port)", "vpcd://"+v.addr, err)
	}
	v.ln = ln
	v.start(ctx, func(ctx context.Context) { v.run(ctx, r, ln) })
	return nil
}

// run takes in one card after the other.
func (v *vpcdReader) run(ctx context.Context, r transport.Receiver, ln net.Listener) {
	for ctx.Err() == nil {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors, or the like: it passes
			case <-time.After(retryMost):
			case <-ctx.Done():
			}
			continue
		}
		c := conn.(*net.TCPConn)
		v.mu.Lock()
		if v.ln != ln {
			v.mu.Unlock()
			_ = c.Close()
			return
		}
		v.conn, v.expect = c, v.expect[:0]
		v.mu.Unlock()
		r.Frame(transport.Inserted, nil)
		v.serve(ctx, c, func(msg []byte) {
			if k, ok := v.arrived(c); ok {
				r.Frame(k, msg)
			}
		})
		if v.parted(c) {
			r.Frame(transport.Removed, nil)
		}
	}
}

// arrived tells what a message from the card answers; false when nothing was
// asked or c is no longer the connection.
func (v *vpcdReader) arrived(c *net.TCPConn) (transport.Kind, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conn != c || len(v.expect) == 0 {
		return 0, false
	}
	k := v.expect[0]
	v.expect = v.expect[:copy(v.expect, v.expect[1:])]
	return k, true
}

// Send implements transport.Link.
func (v *vpcdReader) Send(k transport.Kind, p []byte) error {
	lo, hi := v.Limits()
	if err := transport.Check(transport.Controller, k, len(p), lo, hi); err != nil {
		return err
	}
	v.wmu.Lock()
	defer v.wmu.Unlock()
	c, err := v.ask(k)
	if err != nil {
		return err
	}
	v.wbuf = v.wbuf[:0]
	if k == transport.Block {
		v.wbuf = appendMessage(v.wbuf, p)
	} else {
		v.wbuf = append(v.wbuf, vpcdControl(k)...)
	}
	return v.write(c)
}

// ask notes what answer a frame of kind k will have.
func (v *vpcdReader) ask(k transport.Kind) (*net.TCPConn, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cancel == nil {
		return nil, transport.ErrClosed
	}
	if v.conn == nil {
		return nil, transport.ErrNoPeer
	}
	switch k {
	case transport.Block:
		v.expect = append(v.expect, transport.Block)
	case transport.PowerOff:
	default:
		v.expect = append(v.expect, transport.ATR)
	}
	return v.conn, nil
}
