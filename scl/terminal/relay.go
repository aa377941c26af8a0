package terminal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/transport"
)

// Relay shows the active SPB at the end of one link as a card at another: a PC/SC
// client sees the SSP that is on an SPI bus.
//
//	PC/SC client ── pcscd ── link, target end ── Relay ── APDU channel ── Terminal ══ any link ══ SSP
//
// The card leaves when the channel is lost, and comes when there can be one again.
type Relay struct {
	link    transport.Link
	channel func(ctx context.Context) (*Channel, error)

	mu    sync.Mutex
	ctx   context.Context // of Serve
	c     *Channel        // nil: no power
	atr   []byte          // of this card
	out   []byte
	whole *whole
	away  chan struct{} // the card has left; holds at most one
}

// comeBack is how often a Relay without a card looks for one; chosen.
const comeBack = 500 * time.Millisecond

// NewRelay makes a relay to the target end of a link; channel opens an APDU channel.
func NewRelay(l transport.Link, channel func(ctx context.Context) (*Channel, error)) *Relay {
	r := &Relay{link: l, channel: channel, away: make(chan struct{}, 1)}
	if w, ok := l.(transport.WholeAnswers); ok && w.WholeAnswers() {
		r.whole = &whole{command: r.command}
	}
	return r
}

// Serve opens the link and relays until ctx is done.
func (r *Relay) Serve(ctx context.Context) error {
	r.ctx = ctx
	if err := r.link.Open(ctx, r); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			err := r.link.Close()
			r.mu.Lock()
			r.powerOff()
			r.mu.Unlock()
			return err
		case <-r.away:
			r.await(ctx)
		}
	}
}

// await waits until there is a card again, and puts it in.
func (r *Relay) await(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(comeBack):
		}
		if c, err := r.channel(ctx); err == nil {
			_ = c.Close()
			_ = r.link.Send(transport.Inserted, nil) // it is in for who asks next
			return
		}
	}
}

// Frame takes what the terminal of the link sends (transport.Receiver).
func (r *Relay) Frame(k transport.Kind, p []byte) {
	answer, data := r.exchange(k, p)
	if answer != none {
		_ = r.link.Send(answer, data) // a terminal that is gone misses its answer
	}
	if answer == transport.Removed {
		select {
		case r.away <- struct{}{}:
		default:
		}
	}
}

func (r *Relay) exchange(k transport.Kind, p []byte) (transport.Kind, []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch k {
	case transport.PowerOff:
		r.powerOff()
	case transport.PowerOn:
		r.powerOff()
		return r.power()
	case transport.Reset:
		if r.c == nil {
			return r.power()
		}
		atr, err := r.c.Reset(r.ctx)
		if err != nil {
			return r.lost()
		}
		r.atr = atr
		return transport.ATR, r.atr
	case transport.GetATR: // readers ask from time to time whether the card is there
		switch {
		case r.c != nil && r.c.Err() != nil:
			return r.lost()
		case len(r.atr) == 0:
			return r.power()
		}
		return transport.ATR, r.atr
	case transport.Block:
		return r.transmit(p)
	}
	return none, nil
}

// power opens a channel, which is a cold reset.
func (r *Relay) power() (transport.Kind, []byte) {
	c, err := r.channel(r.ctx)
	if err != nil {
		return r.lost()
	}
	r.c, r.atr = c, c.ATR()
	return transport.ATR, r.atr
}

func (r *Relay) powerOff() {
	if r.c != nil {
		_ = r.c.Close()
		r.c = nil
	}
}

func (r *Relay) lost() (transport.Kind, []byte) {
	r.powerOff()
	r.atr = nil
	return transport.Removed, nil
}

// transmit relays a command. Without power, and when the card is lost under way, the
// answer is 6F00, as an Adapter has it.
func (r *Relay) transmit(p []byte) (transport.Kind, []byte) {
	had := r.c != nil
	r.out = r.command(p, r.out)
	if r.whole != nil && r.c != nil {
		r.out = r.whole.answer(p, r.out)
	}
	if had && r.c == nil {
		return r.lost()
	}
	if len(r.out) < 2 || len(r.out) > transport.MaxFrame {
		r.out = apdu.NoPreciseDiagnosis.Append(r.out[:0])
	}
	return transport.Block, r.out
}

// command sends a C-APDU and puts the R-APDU into out[:0]; an empty one tells that
// the card did not answer. A card that is lost has no channel any more.
func (r *Relay) command(c, out []byte) []byte {
	out = out[:0]
	if r.c == nil {
		return out
	}
	answer, err := r.c.Transmit(r.ctx, c, out)
	switch {
	case err == nil:
		return answer
	case !errors.Is(err, ErrTimeout):
		r.powerOff()
	}
	return out
}
