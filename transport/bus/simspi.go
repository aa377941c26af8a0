package bus

import (
	"fmt"
	"slices"
)

// txSPI is one access between two edges of CS; w.access is held.
func (w *Wire) txSPI(i *injector, out, in []byte, quit func() bool) error {
	n := max(len(out), len(in))
	switch {
	case out != nil && in != nil && len(out) != len(in):
		return errLengths
	case n%(w.o.Word/8) != 0:
		return fmt.Errorf("bus: %d bytes are not whole words of %d bits", n, w.o.Word)
	}
	start := w.guard(quit)
	t := w.alive()
	drop := i.hits(i.Drop) || i.stuck(SCK) || i.stuck(CS)
	twice := i.hits(i.Duplicate)
	if drop {
		t = nil
	}
	pass, cut := i.upTo(n)

	// From the target.
	w.calls.Lock()
	var ready int
	if t != nil {
		p := t.Pending()
		ready = min(len(p), n)
		copy(in, p[:min(ready, pass)])
	}
	w.calls.Unlock()
	if in != nil {
		fill(in[min(ready, pass):], IdleByte)
		i.from.flip(in)
		if i.stuck(MISO) {
			fill(in, level(i.StuckHigh))
		}
	}

	// To the target. p is out itself as long as nothing happens to it.
	p := out
	if out == nil || i.BER > 0 || i.stuck(MOSI) {
		w.buf = slices.Grow(w.buf[:0], n)[:n]
		p = w.buf
		clear(p[copy(p, out):])
		i.to.flip(p)
		if i.stuck(MOSI) {
			fill(p, level(i.StuckHigh))
		}
	}

	// The time it takes, and what for.
	setup, hold := w.o.Setup, w.o.Hold
	if setup == 0 {
		setup = w.halves(1)
	}
	bits := w.halves(16 * int64(n))
	if hold == 0 {
		hold = w.halves(1)
	}
	useful := n
	if out == nil {
		useful = ready
	}
	w.mu.Lock()
	l := &w.ledger
	l.Accesses++
	l.Bits[Data] += 8 * int64(useful)
	l.Bits[Poll] += 8 * int64(n-useful)
	l.Busy += bits
	l.Time[Select] += setup + hold
	w.mu.Unlock()
	if w.watched() {
		w.drawSPI(start, setup, hold, bits, p, in)
	}
	w.end = w.clock.pass(setup+bits+hold, quit)
	w.flush()

	switch {
	case cut:
		w.cutPower(i.CutFor)
	case t != nil && t == w.alive():
		w.calls.Lock()
		defer w.calls.Unlock()
		if ready > 0 && !twice {
			t.Taken(ready)
		}
		t.Written(p)
		if twice {
			t.Written(p)
		}
	}
	return nil
}

func fill(p []byte, b byte) {
	for i := range p {
		p[i] = b
	}
}

// level is a byte of bits of a line that does not move.
func level(high bool) byte {
	if high {
		return 0xFF
	}
	return 0
}
