package terminal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sspemu/sspemu/transport"
)

// What can go wrong with a Client, one for each decision its user can take.
var (
	// ErrNoCard: the terminal has no card; it may be inserted later.
	ErrNoCard = errors.New("terminal: no card (no bundle is active)")
	// ErrRemoved: the card left during the exchange, or since the last power on;
	// power on again.
	ErrRemoved = errors.New("terminal: the card was removed")
	// ErrNoService: the active bundle has no such gate.
	ErrNoService = errors.New("terminal: the active bundle does not offer this service")
	// ErrTimeout: the bundle ran over its time.
	ErrTimeout = errors.New("terminal: the bundle ran over its time")
	// ErrReset: the bundle ended the connection with an error.
	ErrReset = errors.New("terminal: the bundle ended the connection with an error")
	// ErrAbandoned: an earlier exchange was given up and its answer may still
	// come; power on or reset first.
	ErrAbandoned = errors.New("terminal: an earlier exchange was abandoned")
)

// Client is a terminal: the controller end of a link, one exchange at a time. It
// is safe for use by several goroutines; they take turns.
type Client struct {
	link transport.Link

	mu        sync.Mutex
	busy      bool           // an exchange is under way
	queue     int            // goroutines that wait for their turn
	want      transport.Kind // answer that is waited for, none when it has come
	waiting   bool           // the goroutine of the exchange waits for done
	buf       []byte         // where the answer goes
	err       error          // instead of an answer
	removed   bool           // since the last power on
	abandoned bool           // an answer that nobody waits for may still come
	notify    func(transport.Kind)

	// Each takes one token, and gets one only when somebody waits for it: an
	// answer that is there when Send returns costs no channel operation.
	turn, done chan struct{}
}

// NewClient makes a terminal at the controller end of l. Open starts it.
func NewClient(l transport.Link) *Client {
	return &Client{link: l, want: none, turn: make(chan struct{}, 1), done: make(chan struct{}, 1)}
}

// Notify has f called with transport.Removed and transport.Inserted when the
// card leaves and comes. f runs in the goroutine of the link and must not use
// the Client; nil ends it.
func (c *Client) Notify(f func(k transport.Kind)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify = f
}

// Open opens the link, for as long as ctx lasts.
func (c *Client) Open(ctx context.Context) error { return c.link.Open(ctx, c) }

// Close closes the link.
func (c *Client) Close() error { return c.link.Close() }

// PowerOn gives power: a cold reset. atr is the Answer-to-Reset; it is the
// caller's.
func (c *Client) PowerOn(ctx context.Context) (atr []byte, err error) {
	return c.reset(ctx, transport.PowerOn)
}

// Reset is a warm reset.
func (c *Client) Reset(ctx context.Context) (atr []byte, err error) {
	return c.reset(ctx, transport.Reset)
}

// ATR asks for the Answer-to-Reset again, without a reset.
func (c *Client) ATR(ctx context.Context) (atr []byte, err error) {
	return c.exchange(ctx, transport.GetATR, transport.ATR, nil, nil)
}

func (c *Client) reset(ctx context.Context, k transport.Kind) ([]byte, error) {
	return c.exchange(ctx, k, transport.ATR, nil, nil)
}

// PowerOff takes power away.
func (c *Client) PowerOff(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	c.mu.Unlock()
	err := c.link.Send(transport.PowerOff, nil)
	c.mu.Lock()
	c.end()
	if err != nil {
		return fmt.Errorf("terminal: power off on %s: %w", c.link, err)
	}
	return nil
}

// Transmit sends a C-APDU and returns the R-APDU, which it puts into dst[:0],
// grown where needed. ErrNoCard, ErrRemoved and ErrAbandoned ask for a PowerOn
// first; ctx bounds the wait. With a dst that is large enough it does not
// allocate.
func (c *Client) Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error) {
	return c.exchange(ctx, transport.Block, transport.Block, capdu, dst[:0])
}

// begin waits for the turn of the caller; with it, mu is held.
func (c *Client) begin(ctx context.Context) error {
	c.mu.Lock()
	if !c.busy {
		c.busy = true
		return nil
	}
	c.queue++
	c.mu.Unlock()
	select {
	case <-c.turn:
		c.mu.Lock()
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	select {
	case <-c.turn: // it came at the last moment; pass it on
		c.end()
	default:
		c.queue--
		c.mu.Unlock()
	}
	return context.Cause(ctx)
}

// end gives the turn away; mu is held before and not after.
func (c *Client) end() {
	if c.queue > 0 {
		c.queue--
		c.turn <- struct{}{}
	} else {
		c.busy = false
	}
	c.mu.Unlock()
}

// exchange sends a frame and waits for the answer of the kind want.
func (c *Client) exchange(ctx context.Context, k, want transport.Kind, p, dst []byte) ([]byte, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	if k == transport.Block && (c.abandoned || c.removed) {
		err := ErrRemoved
		if c.abandoned {
			err = ErrAbandoned
		}
		c.end()
		return nil, err
	}
	c.want, c.buf, c.err = want, dst, nil
	c.mu.Unlock()

	err := c.link.Send(k, p)

	c.mu.Lock()
	defer c.end()
	if err != nil {
		c.want = none
		if errors.Is(err, transport.ErrNoPeer) {
			return nil, fmt.Errorf("%w: %s on %s: %w", ErrNoCard, k, c.link, err)
		}
		return nil, fmt.Errorf("terminal: %s on %s: %w", k, c.link, err)
	}
	if c.want != none && !c.wait(ctx) {
		c.want, c.buf, c.abandoned = none, nil, true
		return nil, fmt.Errorf("terminal: no answer to %s on %s: %w", k, c.link, context.Cause(ctx))
	}
	answer := c.buf
	c.buf = nil
	if c.err != nil {
		return nil, c.err
	}
	return answer, nil
}

// wait waits for the answer until ctx is done and tells whether it came; mu is
// held before and after.
func (c *Client) wait(ctx context.Context) bool {
	c.waiting = true
	c.mu.Unlock()
	select {
	case <-c.done:
		c.mu.Lock()
		return true
	case <-ctx.Done():
	}
	c.mu.Lock()
	c.waiting = false
	if c.want != none {
		return false
	}
	<-c.done // it came at the last moment
	return true
}

// Frame takes what the card sends (transport.Receiver).
func (c *Client) Frame(k transport.Kind, p []byte) {
	c.mu.Lock()
	switch {
	case k == transport.Removed && c.want != none:
		c.removed = true
		c.err = ErrRemoved
		if c.want == transport.ATR {
			c.err = ErrNoCard
		}
		c.answer()
	case k == transport.Removed:
		c.removed = true
	case k == c.want:
		if k == transport.ATR { // everything earlier has come by now
			c.removed, c.abandoned = false, false
		}
		c.buf = append(c.buf, p...)
		c.answer()
	}
	notify := c.notify
	c.mu.Unlock()
	if notify != nil && (k == transport.Removed || k == transport.Inserted) {
		notify(k)
	}
}

// answer ends the wait; mu is held.
func (c *Client) answer() {
	c.want = none
	if c.waiting {
		c.waiting = false
		c.done <- struct{}{}
	}
}
