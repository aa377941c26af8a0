package acl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
)

// agent is the target end: the SE Agent, which connects to the Test Tool Agent.
//
//	connection ── decode ──> at once: ECHO, DIAG, ACTIVATE, what is wrong
//	                 └─────> jobs ── worker ──> Receiver.Frame
//	                                               │ Link.Send, or the time-out
//	connection <── response <──────────────────────┘
//
// The connection is read while a command is under way, so that a second one is
// noticed: that ends the connection, as does everything that is not a message.
//
// Removed hangs up and Inserted connects again. After DISCONNECT, too, the agent is
// soon there again.
type agent struct {
	url, addr   string
	iface, name string

	wmu sync.Mutex // one response after the other; taken before mu

	mu      sync.Mutex // guards the fields below; never held while bytes move or a Receiver runs
	conn    net.Conn
	cancel  context.CancelFunc // nil while closed
	ended   chan struct{}      // closed when the goroutines of the last Open have gone
	out     bool               // Removed was sent
	again   chan struct{}      // wakes the goroutine that waits for Inserted
	active  bool               // ACTIVATE was sent last, not DEACTIVATE
	pending *asked             // what the server waits for
	jobs    []job              // what the Receiver has not got yet
	work    chan struct{}      // has a token when there are jobs
	owed    []owed             // what the Receiver has to answer, in order
	notes   []byte             // HCI notifications, encoded
}

// asked is a command that the card is to answer.
type asked struct {
	conn  net.Conn
	timer *time.Timer
}

// job is a frame for the Receiver, and the command that it is of.
type job struct {
	k   transport.Kind
	p   []byte
	cmd *asked // nil: of none
}

// owed is an answer that the Receiver will give; nobody waits for it any more when cmd
// is not pending.
type owed struct {
	k   transport.Kind
	cmd *asked
}

// maxJobs bounds the commands that wait for a Receiver that does not come back.
const maxJobs = 8

// Notifier is an ability of the SE Agent on the EVENTS interface.
type Notifier interface {
	// Notify queues an HCI notification until the test tool asks: the octet of type
	// and instruction, then the parameters. ErrTooLong, also when too many wait.
	Notify(hci []byte) error
}

// String implements transport.Link.
func (a *agent) String() string { return a.url }

// WholeAnswers implements transport.WholeAnswers: a response is whatever the card
// answers, nobody asks for the rest of it.
func (a *agent) WholeAnswers() bool { return true }

// Open implements transport.Link. It returns at once; the test tool may come later,
// go and come back.
func (a *agent) Open(ctx context.Context, r transport.Receiver) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel != nil {
		return transport.ErrOpen
	}
	before, ended := a.ended, make(chan struct{})
	ctx, a.cancel = context.WithCancel(ctx)
	a.ended, a.again, a.work = ended, make(chan struct{}, 1), make(chan struct{}, 1)
	a.out, a.jobs, a.owed, a.notes = false, nil, nil, nil
	again, work := a.again, a.work
	context.AfterFunc(ctx, func() { a.close(ended) })
	go func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		var wg sync.WaitGroup
		wg.Go(func() { a.serveCard(ctx, r, work) })
		a.run(ctx, again)
		wg.Wait()
	}()
	return nil
}

// Close implements transport.Link.
func (a *agent) Close() error {
	a.close(nil)
	return nil
}

// close ends the link, unless it has been opened anew since session began; nil stands
// for whichever session there is.
func (a *agent) close(session chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel == nil || session != nil && session != a.ended {
		return
	}
	a.cancel()
	a.cancel = nil
	a.hangUp()
}

// hangUp ends the connection, if there is one; a.mu is held.
func (a *agent) hangUp() {
	if a.conn != nil {
		_ = a.conn.Close() // a connection that is given up has nothing to tell
		a.conn = nil
	}
	a.forget()
}

// forget gives up the command that is under way; a.mu is held.
func (a *agent) forget() {
	if a.pending != nil {
		a.pending.timer.Stop()
		a.pending = nil
	}
}

// run connects and serves, over and over.
func (a *agent) run(ctx context.Context, again <-chan struct{}) {
	wait := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		if c := a.connect(ctx); c != nil {
			a.serve(ctx, c)
			a.parted(c)
			if time.Since(began) >= retryMost { // not one that hangs up at once
				wait = retryFirst
			}
		}
		pause := wait
		wait = min(2*wait, retryMost)
		if a.outside() {
			pause = time.Hour
		}
		select {
		case <-time.After(pause):
		case <-again:
			wait = retryFirst
		case <-ctx.Done():
		}
	}
}

func (a *agent) outside() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out
}

// connect makes the connection to the server and says who is there; nil when there is
// no server now or the card is out.
func (a *agent) connect(ctx context.Context) net.Conn {
	if a.outside() {
		return nil
	}
	d := net.Dialer{
		Timeout:         5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: lost / 2, Interval: lost / 4, Count: 2},
	}
	c, err := d.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return nil
	}
	a.mu.Lock()
	// A connection to a free port of this host can come to be its own peer
	// (simultaneous open): that is not the server.
	self := c.LocalAddr().String() == c.RemoteAddr().String()
	if self || a.out || a.cancel == nil || ctx.Err() != nil {
		a.mu.Unlock()
		_ = c.Close()
		return nil
	}
	a.conn, a.active = c, false
	a.mu.Unlock()
	a.wmu.Lock()
	defer a.wmu.Unlock()
	a.write(c, []byte("client_"+a.iface+" - "+a.name))
	return c
}

// parted forgets c after it ended. When it was the other end that ended it, the card
// loses its power with it.
func (a *agent) parted(c net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != c {
		return
	}
	a.hangUp()
	if a.iface == contact {
		a.enqueue(job{k: transport.PowerOff})
	}
}

// enqueue gives the worker a job; a.mu is held. One PowerOff is as good as two.
func (a *agent) enqueue(j job) {
	if n := len(a.jobs); j.k == transport.PowerOff && j.cmd == nil && n > 0 && a.jobs[n-1].k == j.k && a.jobs[n-1].cmd == nil {
		return
	}
	a.jobs = append(a.jobs, j)
	select {
	case a.work <- struct{}{}:
	default:
	}
}

// write sends one message; a.wmu is held. A server that takes nothing is hung up on.
func (a *agent) write(c net.Conn, payload []byte) {
	_ = c.SetWriteDeadline(time.Now().Add(stall)) // fails on a closed connection only, as Write will
	if _, err := c.Write(appendMessage(nil, payload)); err != nil {
		_ = c.Close()
	}
}

// serve reads c until it ends or breaks the protocol.
func (a *agent) serve(ctx context.Context, c net.Conn) {
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		p, err := readMessage(c, buf, maxPayload)
		if err != nil {
			return
		}
		buf = p[:cap(p)]
		if !a.command(c, p) {
			return
		}
	}
}

// command takes one command; false ends the connection.
func (a *agent) command(c net.Conn, payload []byte) bool {
	a.mu.Lock()
	busy := a.pending != nil
	a.mu.Unlock()
	if busy {
		return false // two commands at once
	}
	cmd, err := decodeCommand(payload)
	if errors.Is(err, errViolation) {
		return false
	}
	text := ""
	if err == nil {
		var later bool
		if text, later, err = a.carryOut(c, cmd); later {
			return true
		}
	}
	var f *fault
	errors.As(err, &f)
	a.wmu.Lock()
	defer a.wmu.Unlock()
	a.write(c, encodeResponse(text, f))
	return err != nil || cmd.Request != reqDisconnect
}

// carryOut is the response to a command, which comes later when the card has to answer.
func (a *agent) carryOut(c net.Conn, cmd command) (text string, later bool, err error) {
	fail := func(who layer, code int, format string, v ...any) (string, bool, error) {
		return "", false, &fault{who, code, fmt.Sprintf(format, v...)}
	}
	if !cmd.Request.on(a.iface) {
		return fail(client, codeInvalidRequest, "request %d (%s) is not for the %s interface", int(cmd.Request), cmd.Request, a.iface)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch cmd.Request {
	case reqDiag:
		state := "deactivated"
		if a.active {
			state = "active"
		}
		return fmt.Sprintf("%s: %s interface, %s", a.name, a.iface, state), false, nil
	case reqEcho:
		return cmd.Data, false, nil
	case reqActivate:
		a.active = true
		return "", false, nil
	case reqDisconnect:
		return "", false, nil
	}
	if cmd.Request.reserved() {
		return "", false, nil
	}
	if !a.active && cmd.Request != reqDeactivate {
		return fail(client, codeInvalidState, "the interface is deactivated (send ACTIVATE_INTERFACE first)")
	}
	j := job{}
	switch cmd.Request {
	case reqGetNotifications:
		text, a.notes = encodeHex(a.notes), nil
		return text, false, nil
	case reqClearNotifications:
		a.notes = nil
		return "", false, nil
	case reqDeactivate:
		was := a.active
		a.active = false
		if a.iface == events || !was {
			return "", false, nil
		}
		j.k = transport.PowerOff
	case reqColdReset:
		j.k = transport.PowerOn
	case reqWarmReset:
		j.k = transport.Reset
	case reqCommand:
		j.k = transport.Block
		if j.p, err = decodeHex(cmd.Data); err != nil {
			return fail(client, codeInvalidRequest, "data: %v", err)
		}
		if len(j.p) > transport.MaxFrame {
			return fail(client, codeInvalidRequest, "data: %d bytes, the longest command has %d", len(j.p), transport.MaxFrame)
		}
	}
	if a.conn != c {
		return fail(client, codeClientClosed, "the link is closed")
	}
	if len(a.jobs) >= maxJobs {
		return fail(card, codeTimeout, "the card is still busy with earlier commands")
	}
	q := &asked{conn: c}
	q.timer = time.AfterFunc(cmd.limit(), func() {
		a.respond(q, "", &fault{card, codeTimeout, fmt.Sprintf("the card did not answer %s within %d ms", cmd.Request, cmd.limit().Milliseconds())})
	})
	a.pending, j.cmd = q, q
	a.enqueue(j)
	return "", true, nil
}

// respond sends the response to q, if the server still waits for it.
func (a *agent) respond(q *asked, text string, f *fault) {
	a.wmu.Lock()
	defer a.wmu.Unlock()
	a.mu.Lock()
	if a.pending != q {
		a.mu.Unlock()
		return
	}
	a.forget()
	a.mu.Unlock()
	a.write(q.conn, encodeResponse(text, f))
}

// serveCard is the worker, which calls the Receiver.
func (a *agent) serveCard(ctx context.Context, r transport.Receiver, work <-chan struct{}) {
	for {
		select {
		case <-work:
		case <-ctx.Done():
			return
		}
		for {
			j, ok := a.next(ctx)
			if !ok {
				break
			}
			r.Frame(j.k, j.p)
			if j.k == transport.PowerOff && j.cmd != nil {
				a.respond(j.cmd, "", nil)
			}
		}
	}
}

// next is the next job. A command that was given up is not carried out, but for
// PowerOff.
func (a *agent) next(ctx context.Context) (j job, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ctx.Err() == nil && len(a.jobs) > 0 {
		j, a.jobs = a.jobs[0], a.jobs[1:]
		switch {
		case j.k == transport.PowerOff:
			return j, true
		case j.cmd != a.pending:
			continue
		case j.k == transport.Block:
			a.owed = append(a.owed, owed{transport.Block, j.cmd})
		default:
			a.owed = append(a.owed, owed{transport.ATR, j.cmd})
		}
		return j, true
	}
	return job{}, false
}

// Send implements transport.Link.
func (a *agent) Send(k transport.Kind, p []byte) error {
	if err := transport.Check(transport.Target, k, len(p), 0, transport.MaxFrame); err != nil {
		return err
	}
	a.mu.Lock()
	if k == transport.Removed || k == transport.Inserted {
		defer a.mu.Unlock()
		return a.move(k)
	}
	q, err := a.answer(k)
	a.mu.Unlock()
	if q != nil {
		a.respond(q, encodeHex(p), nil)
	}
	return err
}

// move takes the card out of the reader or puts it back; a.mu is held.
func (a *agent) move(k transport.Kind) error {
	switch {
	case a.cancel == nil:
		return transport.ErrClosed
	case k == transport.Removed:
		a.out = true
		a.hangUp()
	case a.out:
		a.out = false
		select {
		case a.again <- struct{}{}:
		default:
		}
	}
	return nil
}

// answer is the command that an answer of kind k is for; nil when nobody waits for it.
// A card answers in order: what was owed before this answer will never come. a.mu is held.
func (a *agent) answer(k transport.Kind) (*asked, error) {
	if a.cancel == nil {
		return nil, transport.ErrClosed
	}
	for i, o := range a.owed {
		if o.k == k {
			a.owed = append(a.owed[:0], a.owed[i+1:]...)
			switch {
			case a.conn == nil:
				return nil, transport.ErrNoPeer
			case o.cmd != a.pending && k == transport.Block:
				return nil, errLate
			case o.cmd != a.pending:
				return nil, nil
			}
			return o.cmd, nil
		}
	}
	if a.conn == nil {
		return nil, transport.ErrNoPeer
	}
	if k == transport.ATR {
		return nil, nil
	}
	return nil, errUnasked
}

var (
	errUnasked = fmt.Errorf("acl: no command waits for this response: %w", transport.ErrNoPeer)
	errLate    = fmt.Errorf("acl: the command of this response was given up: %w", transport.ErrNoPeer)
)

// Notify implements Notifier.
func (a *agent) Notify(hci []byte) error {
	if a.iface != events {
		return transport.ErrDirection
	}
	if len(hci) == 0 {
		return transport.ErrTooShort
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.cancel == nil:
		return transport.ErrClosed
	case len(hci) > maxNotification || len(a.notes)+2+len(hci) > transport.MaxFrame:
		return transport.ErrTooLong
	}
	a.notes = appendNotification(a.notes, hci)
	return nil
}
