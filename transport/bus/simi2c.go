package bus

import (
	"slices"
	"time"
)

// txI2C is one access from START to STOP; w.access is held. In bit times:
//
//	START 1, address 9, each byte written 9, STOP 1
//	START 1, address 9, written 9 each, repeated START 1, address 9, read 9 each, STOP 1
//
// An address that is not acknowledged ends it: START, 9, STOP. With nothing to write
// and nothing to read it is a look whether somebody acknowledges the address.
func (w *Wire) txI2C(i *injector, addr uint16, out, in []byte, quit func() bool) error {
	a := accessI2C{w: w, i: i, quit: quit, at: w.guard(quit)}
	err := a.run(addr, out, in)
	w.mu.Lock()
	l := &w.ledger
	l.Accesses++
	if err == ErrNACK {
		l.NACKs++
	}
	if err == ErrNACK && a.data == 0 {
		l.Bits[Poll] += a.address + a.framing // it moved nothing
	} else {
		l.Bits[Data] += a.data
		l.Bits[Ack] += a.data / 8
		l.Bits[Address] += a.address
		l.Bits[Framing] += a.framing
	}
	l.Busy += a.busy
	l.Time[Stretch] += a.stretch
	w.mu.Unlock()
	w.end = w.clock.Now()
	w.flush()
	return err
}

// accessI2C is an access under way, and its part of the ledger.
type accessI2C struct {
	w    *Wire
	i    *injector
	quit func() bool
	at   time.Duration // where the next bit begins

	data, address, framing int64 // bits
	busy, stretch          time.Duration
}

func (a *accessI2C) run(addr uint16, out, in []byte) error {
	w, i := a.w, a.i
	t := w.alive()
	if i.hits(i.Drop) || i.hits(i.NACK) || addr != w.o.Addr {
		t = nil
	}
	twice := i.hits(i.Duplicate)
	var held time.Duration
	if i.hits(i.StretchChance) {
		held = i.Stretch
	}
	if i.stuck(SDA) || i.stuck(SCL) || held >= stuckAfter {
		line := SCL
		if i.stuck(SDA) {
			line = SDA
		}
		a.stretch = stuckAfter
		w.edge(line, held < stuckAfter && i.StuckHigh)
		w.clock.pass(stuckAfter, a.quit)
		w.edge(line, true)
		return ErrStuck
	}
	if len(out) > 0 || len(in) == 0 {
		err := a.write(addr, t, out, held, twice)
		if err != nil || len(in) == 0 {
			a.stop()
			return err
		}
		held = 0
		a.at = w.clock.pass(0, a.quit) // the target may have to think
		t = w.alive()
	}
	err := a.read(addr, t, in, held, twice)
	a.stop()
	return err
}

// write is START, the address and the bytes of out.
func (a *accessI2C) write(addr uint16, t *seat, out []byte, held time.Duration, twice bool) error {
	w, i := a.w, a.i
	p := out
	if i.BER > 0 {
		w.buf = append(slices.Grow(w.buf[:0], len(out)), out...)
		p = w.buf
	}
	acked, n := t != nil, len(p)
	for done, all := 0, 9*(1+n); acked && done < all; done++ {
		wrong := i.to.within(int64(all - done))
		if wrong < 0 {
			break
		}
		done += int(wrong)
		switch b := done/9 - 1; {
		case b < 0:
			acked = false
		case done%9 < 8:
			p[b] ^= 0x80 >> (done % 9)
		default: // the acknowledgement: the controller stops
			n, all = b+1, 0
		}
	}
	if !acked {
		n = 0
	}
	pass, cut := i.upTo(n)
	a.segment(addr<<1, acked, p[:n], n == len(p) && !cut, held)
	if cut {
		w.cutPower(i.CutFor)
		n = min(n, pass)
	} else if acked && n > 0 && t == w.alive() {
		w.calls.Lock()
		t.Written(p[:n])
		if twice {
			t.Written(p[:n])
		}
		w.calls.Unlock()
	}
	if !acked || n < len(out) {
		return ErrNACK
	}
	return nil
}

// read is START or repeated START, the address and the bytes of in.
func (a *accessI2C) read(addr uint16, t *seat, in []byte, held time.Duration, twice bool) error {
	w, i := a.w, a.i
	ready := 0
	if t != nil {
		w.calls.Lock()
		ready = copy(in, t.Pending())
		w.calls.Unlock()
	}
	acked := ready > 0 // who has nothing to say does not acknowledge
	pass, cut := 0, false
	if acked {
		pass, cut = i.upTo(len(in))
		ready = min(ready, pass)
		fill(in[ready:], IdleByte)
	}
	for done, all := 0, 9*(1+len(in)); acked && done < all; done++ {
		wrong := i.from.within(int64(all - done))
		if wrong < 0 {
			break
		}
		done += int(wrong)
		switch b := done/9 - 1; {
		case b < 0:
			acked = false
		case done%9 < 8:
			in[b] ^= 0x80 >> (done % 9)
		case b < ready: // the acknowledgement: the target stops
			ready = b + 1
			fill(in[ready:], IdleByte)
		}
	}
	if !acked {
		fill(in, IdleByte)
		a.segment(addr<<1|1, false, nil, false, held)
		return ErrNACK
	}
	a.segment(addr<<1|1, true, in, false, held)
	if cut {
		w.cutPower(i.CutFor)
	} else if !twice && ready > 0 && t == w.alive() {
		w.calls.Lock()
		t.Taken(ready)
		w.calls.Unlock()
	}
	return nil
}

// segment lets START, an address and the bytes p pass; lastAck tells whether the last
// of them is acknowledged.
func (a *accessI2C) segment(addr uint16, acked bool, p []byte, lastAck bool, held time.Duration) {
	a.framing++
	a.address += 9
	a.data += 8 * int64(len(p))
	a.stretch += held
	if a.w.watched() {
		a.w.drawI2C(a.at, byte(addr), acked, p, lastAck, held)
	}
	d := a.w.halves(2 * int64(1+9+9*len(p)))
	a.busy += d
	a.at = a.w.clock.pass(d+held, a.quit)
}

// stop is STOP.
func (a *accessI2C) stop() {
	a.framing++
	if a.w.watched() {
		a.w.drawStop(a.at)
	}
	d := a.w.halves(2)
	a.busy += d
	a.at = a.w.clock.pass(d, a.quit)
}
