package terminal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/scl"
)

// Channel is an APDU channel: a pipe session to the UICC APDU gate of the active
// SPB. One command at a time; several goroutines take turns.
type Channel struct {
	t    *Terminal
	p    *scl.Pipe
	wake *sync.Cond // of the domain's lock, which guards what follows

	wait  time.Duration // MAX_WAIT_TIME
	limit time.Time     // of the command under way
	busy  bool
	atr   []byte
	rapdu []byte
	came  bool // the answer that is waited for
	err   error
}

// APDU opens an APDU channel, which gives power: a cold reset. ErrNoCard.
func (t *Terminal) APDU(ctx context.Context) (*Channel, error) {
	c := &Channel{t: t}
	c.wake = sync.NewCond(t.d)
	err := t.do(ctx, func() (err error) {
		if c.p, err = t.open(t.p.Gate.UICCAPDU, c); err != nil {
			if errors.Is(err, ErrNoService) {
				err = ErrNoCard
			}
			return err
		}
		v, err := c.p.Get(t.p.Registry.MaxWaitTime)
		if err != nil || len(v) != 2 {
			return fmt.Errorf("MAX_WAIT_TIME: %w", errors.Join(err, scl.ErrRegParUnknown))
		}
		c.wait = time.Duration(binary.BigEndian.Uint16(v)) * time.Millisecond
		return c.until(ctx, func() bool { return c.atr != nil })
	})
	if err != nil {
		if c.p != nil {
			_ = c.Close()
		}
		return nil, err
	}
	return c, nil
}

// ATR is the Answer-to-Reset of the last reset.
func (c *Channel) ATR() []byte {
	c.t.d.Lock()
	defer c.t.d.Unlock()
	return slices.Clone(c.atr)
}

// Transmit sends a C-APDU and returns the R-APDU, appended to dst. ErrRemoved;
// ErrTimeout when the gate neither answers nor asks for more time (EVT_WTX) within
// its MAX_WAIT_TIME.
func (c *Channel) Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error) {
	e := &c.t.p.Event
	err = c.exchange(ctx, scl.Message{Type: scl.Event, Instruction: e.CAPDU, Data: capdu}, func() { dst = append(dst, c.rapdu...) })
	return dst, err
}

// Reset drops what is under way and makes a warm reset (EVT_ABORT).
func (c *Channel) Reset(ctx context.Context) (atr []byte, err error) {
	err = c.exchange(ctx, scl.Message{Type: scl.Event, Instruction: c.t.p.Event.Abort}, func() { atr = slices.Clone(c.atr) })
	return atr, err
}

// Err tells why no command gets an answer any more; nil while they do.
func (c *Channel) Err() error {
	c.t.d.Lock()
	defer c.t.d.Unlock()
	return c.err
}

// Close tells that no more commands come (EVT_END_OF_APDU_TRANSFER) and takes power
// away.
func (c *Channel) Close() error {
	c.t.d.Lock()
	defer c.t.d.Unlock()
	if c.p.State() == scl.Open {
		_ = c.p.Send(scl.Message{Type: scl.Event, Instruction: c.t.p.Event.EndOfAPDUTransfer})
	}
	_ = c.p.Delete() // the other side may have done so
	c.end(ErrRemoved)
	return nil
}

func (c *Channel) exchange(ctx context.Context, m scl.Message, done func()) error {
	return c.t.do(ctx, func() error {
		if err := c.until(ctx, func() bool { return !c.busy }); err != nil {
			return err
		}
		c.busy, c.came = true, false
		defer func() {
			c.busy = false
			c.wake.Broadcast()
		}()
		if err := c.p.Send(m); err != nil {
			return fmt.Errorf("%w: %w", ErrRemoved, err)
		}
		if err := c.until(ctx, func() bool { return c.came }); err != nil {
			return err
		}
		done()
		return nil
	})
}

// until waits until done, MAX_WAIT_TIME at most; the domain is locked.
func (c *Channel) until(ctx context.Context, done func() bool) error {
	c.limit = time.Now().Add(c.wait)
	var stop func() bool
	var timer *time.Timer
	for !done() {
		if stop == nil { // a link in this process has answered by the time the lock is back
			c.t.d.Unlock()
			c.t.d.Lock()
			stop = context.AfterFunc(ctx, c.nudge)
			timer = time.AfterFunc(time.Until(c.limit), c.nudge)
			defer stop()
			defer timer.Stop()
			continue
		}
		switch now := time.Now(); {
		case c.err != nil:
			return c.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !now.Before(c.limit):
			return ErrTimeout
		default:
			timer.Reset(c.limit.Sub(now))
		}
		c.wake.Wait()
	}
	return nil
}

func (c *Channel) nudge() {
	c.t.d.Lock()
	c.wake.Broadcast()
	c.t.d.Unlock()
}

// Message takes the events of the gate (scl.PipeReceiver).
func (c *Channel) Message(p *scl.Pipe, m scl.Message) {
	e := &c.t.p.Event
	switch {
	case m.Type == scl.Command:
		_ = p.Respond(c.t.p.Response.AnyECmdNotSupported, nil)
	case m.Type != scl.Event:
	case m.Instruction == e.RAPDU:
		c.rapdu, c.came = append(c.rapdu[:0], m.Data...), true
	case m.Instruction == e.ATR:
		c.atr, c.came = append([]byte{}, m.Data...), true
	case m.Instruction == e.WTX:
		c.limit = time.Now().Add(c.wait)
	}
	c.wake.Broadcast()
}

// Closed tells that the SPB left (scl.PipeReceiver).
func (c *Channel) Closed(*scl.Pipe) { c.end(ErrRemoved) }

func (c *Channel) end(err error) {
	if c.err == nil {
		c.err = err
	}
	c.wake.Broadcast()
}
