package shdlc

import (
	"fmt"
	"time"
)

// Config are the numbers of both ends of a link. Those of LLC and those of our
// provisional MAC are also entries llc.* and mac.* of the SCL profile.
type Config struct {
	// LLC (SHDLC).
	Window     int           // most I-frames that are not acknowledged, 2 to 4
	SREJ       bool          // selective reject; used when both ends have it
	MaxLPDU    int           // longest LPDU in octets, control field included
	T2         time.Duration // retransmission of I-frames, at least 10 ms
	T3         time.Duration // repetition of RSET, at least 5 ms
	ResetTries int           // RSETs until the link is given up
	Retries    int           // retransmissions in a row until the link is given up

	// MAC.
	LengthOctets int           // width of the length of a MAC frame, 1 or 2
	Poll         time.Duration // between two looks at a target that has no interrupt line
}

// Default is what scl-profile-0 has.
func Default() Config {
	return Config{
		Window: 4, SREJ: true, MaxLPDU: 1025, T2: 300 * time.Millisecond, T3: 5 * time.Millisecond, ResetTries: 5, Retries: 20,
		LengthOctets: 2, Poll: time.Millisecond,
	}
}

// Check tells what is wrong with c.
func (c Config) Check() error {
	for _, x := range []struct {
		name             string
		value, low, high int64
	}{
		{"window", int64(c.Window), 2, maxWindow},
		{"longest LPDU", int64(c.MaxLPDU), 2, c.longest()},
		{"T2 in ms", c.T2.Milliseconds(), 10, 60_000},
		{"T3 in ms", c.T3.Milliseconds(), 5, 60_000},
		{"tries of RSET", int64(c.ResetTries), 1, 100},
		{"retransmissions", int64(c.Retries), 1, 1000},
		{"octets of length", int64(c.LengthOctets), 1, 2},
		{"poll time in µs", c.Poll.Microseconds(), 1, 1_000_000},
	} {
		if x.value < x.low || x.value > x.high {
			return fmt.Errorf("shdlc: %s: %d is outside %d to %d", x.name, x.value, x.low, x.high)
		}
	}
	return nil
}

// longest is the longest LPDU that the length of a MAC frame can tell: its first
// octet is never that of an idle bus.
func (c Config) longest() int64 {
	if c.LengthOctets == 1 {
		return 0xFE
	}
	return 0x7FFF
}

// MTU is the longest packet: an LPDU without its control field.
func (c Config) MTU() int { return c.MaxLPDU - 1 }

// t1 is how long an acknowledgement may wait for an I-frame that takes it along
// (TS 102 613 10.6.1).
func t1(window int) time.Duration { return time.Duration(window) * 5 * time.Millisecond / 4 }
