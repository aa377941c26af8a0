package iso7816

import (
	"context"
	"math/bits"
	"time"

	"github.com/sspemu/sspemu/transport/bus"
)

// line carries characters and signals between a terminal and a card. It is opened and
// closed as often as the link is.
type line interface {
	// open begins; what arrives goes to s, from one goroutine at a time.
	open(ctx context.Context, s sink) error
	close()
	// write sends characters. ErrNoPeer, or why it cannot be done.
	write(p []byte) error
	// signal tells the other end something that is no character.
	signal(s signal) error
	// rate sets how long an etu is, and T=0 or T=1 for the characters.
	rate(etu time.Duration, t byte) error
	traits() traits
	clock() bus.Clock
	// idle waits until the bell rings, for d at most.
	idle(bell <-chan struct{}, d time.Duration)
}

// traits are what the ends have to know of a line.
type traits struct {
	inband bool          // the card says that it is there, and repeats a reset before its ATR
	rates  bool          // the rate can be changed
	parity bool          // characters with other than even parity are told
	grace  time.Duration // what waiting times are made longer by
}

// sink takes what arrives.
type sink interface {
	// chars takes characters; bad: the last one had wrong parity.
	chars(p []byte, bad bool)
	signalled(s signal)
}

// signal is what passes a line beside characters. Where there are no modem lines, it
// is an escape byte and the number (see appendSignal).
type signal byte

const (
	sigOff  signal = iota // controller: deactivation
	sigCold               // controller: cold reset; the target repeats it in front of its ATR
	sigWarm               // controller: warm reset; repeated, too
	sigHere               // target: the card is in
	sigGone               // target: the card is out
	sigWho                // controller: is a card in?
	signals               // how many there are

	// The line itself says these.
	sigUp   signal = 0x80 // the other end can be reached, as far as one can know
	sigDown signal = 0x81
)

// escape announces a signal on lines that have no modem lines: FF and the number of
// the signal; the character FF is FF FF.
const escape = 0xFF

// appendChars adds characters as such a line has them.
func appendChars(dst, p []byte) []byte {
	for _, b := range p {
		if dst = append(dst, b); b == escape {
			dst = append(dst, escape)
		}
	}
	return dst
}

func appendSignal(dst []byte, s signal) []byte { return append(dst, escape, byte(s)) }

// inband takes characters and signals apart. Escapes that are unknown mean nothing.
type inband struct {
	escaped bool
	out     []byte
}

func (d *inband) take(p []byte, s sink) {
	d.out = d.out[:0]
	flush := func() {
		if len(d.out) > 0 {
			s.chars(d.out, false)
			d.out = d.out[:0]
		}
	}
	for _, b := range p {
		switch {
		case !d.escaped && b == escape:
			d.escaped = true
			continue
		case d.escaped && b != escape:
			if signal(b) < signals {
				flush()
				s.signalled(signal(b))
			}
		default:
			d.out = append(d.out, b)
		}
		d.escaped = false
	}
	flush()
}

// invert is a byte in the inverse convention as the direct one reads it, and back: the
// most significant bit first, and low for one (ISO/IEC 7816-3 8.1).
func invert(p []byte) {
	for i, b := range p {
		p[i] = ^bits.Reverse8(b)
	}
}

// tsInverseRaw is TS = 3F as the direct convention reads it.
const tsInverseRaw = 0x03
