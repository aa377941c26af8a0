package acl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
)

// tool is the controller end: a Test Tool Agent, which listens. The SE Agent on the
// CONTACT interface is the card in the reader; its other interfaces may come and get
// the start-up sequence, ACTIVATE and DEACTIVATE, and nothing after it.
//
// A frame activates the interface when it is not: that is no reset, so a Block goes
// to whatever state the card is in. GetATR gives the ATR of the last reset.
type tool struct {
	url, addr string
	timeout   time.Duration

	mu      sync.Mutex
	ln      net.Listener
	conn    net.Conn           // CONTACT
	conns   map[net.Conn]bool  // all
	cancel  context.CancelFunc // nil while closed
	ended   chan struct{}      // closed when the goroutines of the last Open have gone
	queue   []job              // what is to be sent, in order
	wake    chan struct{}      // has a token when there is some
	trouble error              // why the last command has no answer
}

// String implements transport.Link. While the link is open it names the port that is
// listened on, also when the URL asked for any (port 0).
func (t *tool) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ln != nil {
		return "acl://" + t.ln.Addr().String()
	}
	return t.url
}

// Trouble implements transport.Troubled: the error of the last command, which had no
// answer therefore.
func (t *tool) Trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}

// Open implements transport.Link. It fails when the port is taken.
func (t *tool) Open(ctx context.Context, r transport.Receiver) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		return transport.ErrOpen
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", t.addr)
	if err != nil {
		return fmt.Errorf("link %q: the Test Tool Agent cannot listen: %w (is a test tool running?)", t.url, err)
	}
	before, ended := t.ended, make(chan struct{})
	ctx, t.cancel = context.WithCancel(ctx)
	t.ln, t.ended, t.conns = ln, ended, map[net.Conn]bool{}
	context.AfterFunc(ctx, func() { t.close(ended) })
	go func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		t.run(ctx, r, ln)
	}()
	return nil
}

// Close implements transport.Link.
func (t *tool) Close() error {
	t.close(nil)
	return nil
}

func (t *tool) close(session chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel == nil || session != nil && session != t.ended {
		return
	}
	t.cancel()
	t.cancel = nil
	_ = t.ln.Close()
	for c := range t.conns {
		_ = c.Close()
	}
	t.ln, t.conn, t.conns, t.queue = nil, nil, nil, nil
}

// maxConns is how many connections there may be: an SE Agent has three.
const maxConns = 8

// run takes in one SE Agent after the other.
func (t *tool) run(ctx context.Context, r transport.Receiver, ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var one sync.Mutex // one CONTACT at a time; the next one waits
	for ctx.Err() == nil {
		c, err := ln.Accept()
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
		t.mu.Lock()
		full := t.ln != ln || len(t.conns) >= maxConns
		if !full {
			t.conns[c] = true
		}
		t.mu.Unlock()
		if full {
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer func() {
				_ = c.Close()
				t.mu.Lock()
				delete(t.conns, c)
				t.mu.Unlock()
			}()
			t.serve(ctx, r, c, &one)
		})
	}
}

// session is the server's side of one connection.
type session struct {
	c      net.Conn
	limit  time.Duration
	in     <-chan []byte // messages; closed when the connection has ended
	active bool
	atr    []byte
}

// serve is for one connection, to its end.
func (t *tool) serve(ctx context.Context, r transport.Receiver, c net.Conn, one *sync.Mutex) {
	guard := time.AfterFunc(stall, func() { _ = c.Close() }) // who connects and says nothing
	hello, err := readMessage(c, nil, maxHello)
	guard.Stop()
	if err != nil {
		return
	}
	in := make(chan []byte)
	go func() {
		defer close(in)
		for {
			p, err := readMessage(c, nil, maxPayload)
			if err != nil {
				return
			}
			select {
			case in <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		_ = c.Close()
		for range in { // until the goroutine has gone
		}
	}()
	s := &session{c: c, in: in, limit: t.timeout}
	for _, q := range []request{reqActivate, reqDeactivate} {
		if _, err := s.do(q, nil); err != nil {
			return
		}
	}
	if word := string(hello); strings.Contains(word, contactless) || !strings.Contains(word, contact) {
		<-in // the end, or what nobody asked for
		return
	}
	one.Lock()
	defer one.Unlock()
	wake := make(chan struct{}, 1)
	t.mu.Lock()
	if t.cancel == nil || ctx.Err() != nil {
		t.mu.Unlock()
		return
	}
	t.conn, t.wake, t.queue, t.trouble = c, wake, nil, nil
	t.mu.Unlock()
	r.Frame(transport.Inserted, nil)
	t.converse(ctx, r, s, wake)
	t.mu.Lock()
	left := t.conn == c
	if left {
		t.conn, t.queue = nil, nil
	}
	t.mu.Unlock()
	if left && ctx.Err() == nil {
		r.Frame(transport.Removed, nil)
	}
}

// converse sends what is queued, one command after the other.
func (t *tool) converse(ctx context.Context, r transport.Receiver, s *session, wake <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.in: // the end, or what nobody asked for
			return
		case <-wake:
		}
		for {
			t.mu.Lock()
			if t.conn != s.c || len(t.queue) == 0 {
				t.mu.Unlock()
				break
			}
			j := t.queue[0]
			t.queue = t.queue[1:]
			t.mu.Unlock()
			k, p, err := s.carryOut(j)
			t.mu.Lock()
			t.trouble = err
			gone := t.conn != s.c
			t.mu.Unlock()
			if gone || errors.Is(err, errViolation) || errors.Is(err, transport.ErrNoPeer) {
				return
			}
			if err == nil && k != transport.PowerOff {
				r.Frame(k, p)
			}
		}
	}
}

// carryOut sends one frame and gives the one that answers it.
func (s *session) carryOut(j job) (k transport.Kind, p []byte, err error) {
	if j.k == transport.PowerOff {
		s.active = false
		s.atr = nil
		_, err = s.do(reqDeactivate, nil)
		return j.k, nil, err
	}
	if !s.active {
		if _, err := s.do(reqActivate, nil); err != nil {
			return 0, nil, err
		}
		s.active = true
	}
	switch {
	case j.k == transport.Block:
		p, err = s.do(reqCommand, j.p)
		return transport.Block, p, err
	case j.k == transport.GetATR && s.atr != nil:
		return transport.ATR, s.atr, nil
	case j.k == transport.Reset:
		p, err = s.do(reqWarmReset, nil)
	default:
		p, err = s.do(reqColdReset, nil)
	}
	s.atr = p
	return transport.ATR, p, err
}

// do sends one command and waits for its response.
func (s *session) do(q request, data []byte) ([]byte, error) {
	m, _ := json.Marshal(command{Data: encodeHex(data), Request: q, Timeout: s.limit.Milliseconds()}) // it cannot fail
	_ = s.c.SetWriteDeadline(time.Now().Add(stall))
	if _, err := s.c.Write(appendMessage(nil, m)); err != nil {
		return nil, transport.ErrNoPeer
	}
	limit := time.NewTimer(s.limit + margin)
	defer limit.Stop()
	var m2 []byte
	select {
	case p, ok := <-s.in:
		if !ok {
			return nil, transport.ErrNoPeer
		}
		m2 = p
	case <-limit.C:
		return nil, fmt.Errorf("acl: no response to %s within %s: %w", q, s.limit+margin, transport.ErrNoPeer)
	}
	r, err := decodeResponse(m2)
	if err == nil {
		err = r.err()
	}
	if err != nil {
		return nil, err
	}
	if r.Response == textOK && (q != reqCommand && q != reqColdReset && q != reqWarmReset) {
		return nil, nil
	}
	p, err := decodeHex(r.Response)
	if err != nil || len(p) > transport.MaxFrame {
		return nil, fmt.Errorf("%w: the response to %s is not hexadecimal data of at most %d bytes", errViolation, q, transport.MaxFrame)
	}
	return p, nil
}

// Send implements transport.Link. Frames wait until those before them are answered.
func (t *tool) Send(k transport.Kind, p []byte) error {
	if err := transport.Check(transport.Controller, k, len(p), 0, transport.MaxFrame); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.cancel == nil:
		return transport.ErrClosed
	case t.conn == nil:
		return transport.ErrNoPeer
	}
	t.queue = append(t.queue, job{k: k, p: append([]byte(nil), p...)})
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return nil
}
