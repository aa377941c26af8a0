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
	// ErrAbandoned: an earlier exchange was given up and its answer may still
	// come; power on or reset first.
	ErrAbandoned = errors.New("terminal: an earlier exchange was abandoned")
)

// Client is a terminal: the controller end of a link, one exchange at a time. It
// is safe for use by several goroutines.
type Client struct {
	link transport.Link
	turn chan struct{} // holds one token: who has it may exchange

	mu        sync.Mutex
	want      transport.Kind // answer that is waited for, none if nobody waits
	buf       []byte         // where it goes
	err       error          // instead of an answer
	removed   bool           // since the last power on
	abandoned bool           // an answer that nobody waits for may still come
	notify    func(transport.Kind)
	done      chan struct{} // one token when want has come
}

// NewClient makes a terminal at the controller end of l. Open starts it.
func NewClient(l transport.Link) *Client {
	c := &Client{link: l, want: none, turn: make(chan struct{}, 1), done: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
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
	if err := c.take(ctx); err != nil {
		return err
	}
	defer func() { c.turn <- struct{}{} }()
	if err := c.link.Send(transport.PowerOff, nil); err != nil {
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

func (c *Client) take(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	default:
	}
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// exchange sends a frame and waits for the answer of the kind want.
func (c *Client) exchange(ctx context.Context, k, want transport.Kind, p, dst []byte) ([]byte, error) {
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	defer func() { c.turn <- struct{}{} }()

	c.mu.Lock()
	switch {
	case k != transport.Block:
	case c.abandoned:
		c.mu.Unlock()
		return nil, ErrAbandoned
	case c.removed:
		c.mu.Unlock()
		return nil, ErrRemoved
	}
	c.want, c.buf, c.err = want, dst, nil
	select {
	case <-c.done: // left over from an abandoned exchange
	default:
	}
	c.mu.Unlock()

	if err := c.link.Send(k, p); err != nil {
		c.mu.Lock()
		c.want = none
		c.mu.Unlock()
		if errors.Is(err, transport.ErrNoPeer) {
			return nil, fmt.Errorf("%w: %s on %s: %w", ErrNoCard, k, c.link, err)
		}
		return nil, fmt.Errorf("terminal: %s on %s: %w", k, c.link, err)
	}
	select {
	case <-c.done: // a synchronous link has answered already
	default:
		select {
		case <-c.done:
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.want != none {
				c.want, c.buf, c.abandoned = none, nil, true
				return nil, fmt.Errorf("terminal: no answer to %s on %s: %w", k, c.link, context.Cause(ctx))
			}
			<-c.done // it came at the last moment
			return c.buf, c.err
		}
	}
	return c.buf, c.err
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

func (c *Client) answer() {
	c.want = none
	c.done <- struct{}{}
}
