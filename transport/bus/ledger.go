package bus

import (
	"fmt"
	"strings"
	"time"
)

// Cause is what a bit time of a wire was spent for.
type Cause uint8

// The causes. Data, with Ack on I2C, is all that a protocol moves: its payload and
// its own prologues, checks and acknowledgements, which the wire cannot tell apart.
const (
	Data    Cause = iota // bits of bytes that were written, or read when there was something
	Ack                  // I2C: the ninth bits of these
	Address              // I2C: address bytes and their ninth bits
	Framing              // I2C: START, repeated START, STOP, one bit time each
	Poll                 // what found nothing: idle bytes on SPI, unacknowledged accesses on I2C
	Select               // SPI: set-up and hold of CS
	Guard                // the least time between two accesses, as far as it had to be waited for
	Stretch              // I2C: the target held SCL
	Idle                 // nothing moved
	causes
)

func (c Cause) String() string { return causeNames[c] }

var causeNames = [causes]string{"data", "acknowledge bits", "addresses", "start and stop", "polling", "chip select", "guard", "clock stretching", "idle"}

// Ledger is what a wire has done with its time.
type Ledger struct {
	Physical Physical
	Hz       int64                 // the speed now
	Accesses int64                 // Tx, whatever came of it
	NACKs    int64                 // that were not acknowledged
	Bits     [causes]int64         // bits that are clocked, and START and STOP
	Busy     time.Duration         // how long these took
	Time     [causes]time.Duration // what the other causes took
}

// Clocked is the number of all bits.
func (l Ledger) Clocked() (n int64) {
	for _, b := range l.Bits {
		n += b
	}
	return n
}

// BitTimes is what a cause cost, in bit times of the speed now for those causes that
// are not clocked.
func (l Ledger) BitTimes(c Cause) float64 {
	if c >= Select {
		return float64(l.Time[c]) * float64(l.Hz) / 1e9
	}
	return float64(l.Bits[c])
}

// Sub is what happened since earlier.
func (l Ledger) Sub(earlier Ledger) Ledger {
	l.Accesses -= earlier.Accesses
	l.NACKs -= earlier.NACKs
	l.Busy -= earlier.Busy
	for i := range l.Bits {
		l.Bits[i] -= earlier.Bits[i]
		l.Time[i] -= earlier.Time[i]
	}
	return l
}

// payloadBits is what n bytes need: 8 bits each, or 9 on I2C.
func (l Ledger) payloadBits(n int64) float64 {
	if l.Physical == I2C {
		return float64(9 * n)
	}
	return float64(8 * n)
}

// Efficiency is the part of all bit times, but for idle time, that went into payload
// bytes, 9 bits a byte on I2C.
func (l Ledger) Efficiency(payload int64) float64 {
	var all float64
	for c := Data; c < Idle; c++ {
		all += l.BitTimes(c)
	}
	if all == 0 {
		return 0
	}
	return l.payloadBits(payload) / all
}

// Report is a table of where the bit times went, beside payload bytes.
func (l Ledger) Report(payload int64) string {
	var all float64
	for c := Data; c < Idle; c++ {
		all += l.BitTimes(c)
	}
	var b strings.Builder
	line := func(what string, bits float64) {
		if bits != 0 {
			fmt.Fprintf(&b, "%-22s %12.1f  %8.4f\n", what, bits, bits/max(all, 1))
		}
	}
	used := l.payloadBits(payload)
	line("payload", used)
	line("protocol", l.BitTimes(Data)+l.BitTimes(Ack)-used)
	for c := Address; c < Idle; c++ {
		line(c.String(), l.BitTimes(c))
	}
	fmt.Fprintf(&b, "%-22s %12.1f  at %d Hz, %d accesses, idle %v\n", "all bit times", all, l.Hz, l.Accesses, l.Time[Idle])
	return b.String()
}
