package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Span is a time between two bounds, by chance.
type Span struct{ Least, Most time.Duration }

// Delays is how long frames take, in real time: commands towards the SSP, a slow
// terminal; answers towards the terminal, a slow card.
type Delays struct {
	Seed            uint64
	Command, Answer Span
}

// ParseDelays reads what a URL has as delay=: a time or a span for both ways, or
// each of them.
//
//	5ms    1ms..20ms    command:50ms,answer:1ms..2ms,seed:7
func ParseDelays(s string) (d Delays, err error) {
	if !strings.Contains(s, ":") {
		d.Command, err = parseSpan(s)
		d.Answer = d.Command
		return d, err
	}
	err = pairs(s, func(name, value string) (err error) {
		switch name {
		case "command":
			d.Command, err = parseSpan(value)
		case "answer":
			d.Answer, err = parseSpan(value)
		case "seed":
			if d.Seed, err = strconv.ParseUint(value, 10, 64); err != nil {
				err = errors.New("not a whole number")
			}
		default:
			err = errors.New("unknown (there are command, answer, seed)")
		}
		return err
	})
	return d, err
}

func parseSpan(s string) (p Span, err error) {
	least, most, two := strings.Cut(s, "..")
	if p.Least, err = time.ParseDuration(least); err == nil {
		p.Most = p.Least
		if two {
			p.Most, err = time.ParseDuration(most)
		}
	}
	if err != nil || p.Least < 0 || p.Most < p.Least {
		return p, errors.New("not a time such as 5ms, nor a span such as 1ms..20ms")
	}
	return p, nil
}

func (p Span) String() string {
	if p.Least == p.Most {
		return p.Least.String()
	}
	return p.Least.String() + ".." + p.Most.String()
}

// String is what ParseDelays reads.
func (d Delays) String() string {
	return fmt.Sprintf("command:%s,answer:%s,seed:%d", d.Command, d.Answer, d.Seed)
}

// Delay puts delays on the end of a link in that role. Whoever sends waits so long.
func Delay(l Link, role Role, d Delays) Link {
	return around(l, &delay{Link: l, role: role, d: d})
}

type delay struct {
	Link
	role Role
	d    Delays

	mu   sync.Mutex // of the dice
	dice [2]*rand.Rand
	done chan struct{} // closed by Close
}

func (d *delay) String() string { return withParam(d.Link.String(), "delay", d.d.String()) }

func (d *delay) Open(ctx context.Context, r Receiver) error {
	d.mu.Lock()
	before, dice := d.done, d.dice
	d.done = make(chan struct{})
	for i := range d.dice {
		d.dice[i] = rand.New(rand.NewPCG(d.d.Seed, uint64(i)))
	}
	done := d.done
	d.mu.Unlock()
	err := d.Link.Open(ctx, delayed{d, r, ctx, done})
	if err != nil {
		d.mu.Lock()
		d.done, d.dice = before, dice
		d.mu.Unlock()
	}
	return err
}

// Close implements Link.
func (d *delay) Close() error {
	d.mu.Lock()
	if d.done != nil {
		close(d.done)
		d.done = nil
	}
	d.mu.Unlock()
	return d.Link.Close()
}

// Send implements Link.
func (d *delay) Send(k Kind, p []byte) error {
	d.mu.Lock()
	done := d.done
	d.mu.Unlock()
	if done != nil {
		d.wait(k, true, context.Background(), done)
	}
	return d.Link.Send(k, p)
}

// delayed is the Receiver of the link below.
type delayed struct {
	d    *delay
	r    Receiver
	ctx  context.Context
	done chan struct{}
}

// Frame implements Receiver.
func (r delayed) Frame(k Kind, p []byte) {
	r.d.wait(k, false, r.ctx, r.done)
	r.r.Frame(k, p)
}

// wait lets the time pass that a frame takes. What tells of power and cards takes none.
func (d *delay) wait(k Kind, sent bool, ctx context.Context, done chan struct{}) {
	span, i := d.d.Answer, 0
	if towards(d.role, sent) {
		span, i = d.d.Command, 1
	}
	if span.Most == 0 || k == PowerOff || k == Removed || k == Inserted {
		return
	}
	pause := span.Least
	if n := int64(span.Most - span.Least); n > 0 {
		d.mu.Lock()
		pause += time.Duration(d.dice[i].Int64N(n + 1))
		d.mu.Unlock()
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-done:
	}
}
