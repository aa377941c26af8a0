// Package bus is the seam between what speaks on an SPI or I2C bus and the bus
// itself, which may be a device of Linux, a Raspberry Pi far away, a
// microcontroller or a simulated wire.
//
//	controller end (terminal)                      target end (SSP)
//	T=1', SHDLC                                    T=1', SHDLC
//	   │ Controller.Tx, WaitIRQ                       ▲ Target.Written, Pending, Taken
//	   ▼                                              │ Lines.SetIRQ
//	spi:, i2c: (periph)  ~~~ SCK MOSI MISO CS ~~~  Socket: pigpio:, bridge:
//	simspi:, simi2c:     ~~~ SCL SDA  IRQ RST ~~~  simspi:, simi2c:
//
// A target does not decide when it speaks: it is two queues. What the controller
// wrote is handed to it after the access, and what it wants read lies ready before.
//
// Sources: NXP UM10204 (I2C-bus specification) for the words; SPI has no standard.
package bus

import (
	"errors"
	"time"
)

// Physical is the kind of a bus.
type Physical uint8

// The buses; the numbers are those of PLID in the CIP of T=1' (GPC_SPE_172).
const (
	SPI Physical = 1
	I2C Physical = 2
)

func (p Physical) String() string {
	if p == I2C {
		return "I2C"
	}
	return "SPI"
}

// What an access may end with.
var (
	// ErrNACK: the target does not acknowledge its address: it has nothing to say
	// or is not there (I2C).
	ErrNACK = errors.New("bus: the target does not acknowledge")
	// ErrStuck: a line does not move: a short, or a target that stretches the clock
	// for ever.
	ErrStuck = errors.New("bus: a line is stuck")
	// ErrNoLine: the bus was given no such line.
	ErrNoLine = errors.New("bus: the line is not connected")
	// ErrClosed: the bus was given back.
	ErrClosed = errors.New("bus: closed")
)

// Controller is the controller's end of a bus with one target. It is used by one
// goroutine at a time.
type Controller interface {
	Physical() Physical
	// Tx is one access.
	//
	// SPI: w goes out and r comes in at the same time, between two edges of CS; they
	// have the same length, or one of them is nil: then zeros go out, or what comes
	// is dropped.
	//
	// I2C: w is written, then r is read after a repeated start; one of them may be
	// nil. ErrNACK.
	Tx(w, r []byte) error
	// SetSpeed sets the clock, in Hz, as far as the bus goes.
	SetSpeed(hz int64) error
	// WaitIRQ waits until the target's interrupt line is active, in the time of the
	// Clock; false after the time-out. A time-out below 0 has no end but Close, and
	// takes no time of a virtual clock; such a wait may go on beside Tx. ErrNoLine.
	WaitIRQ(timeout time.Duration) (bool, error)
	// Reset pulls the reset line of the target. ErrNoLine.
	Reset() error
	// Clock is the time of the bus.
	Clock() Clock
	// Close gives the bus back; who waits is told.
	Close() error
	String() string
}

// Waker is an ability of Controllers whose user has something to send while it
// waits for the target: Wake ends a WaitIRQ that is under way, else the next one,
// which says false. Any goroutine may call it.
type Waker interface{ Wake() }

// Presence is an ability of a Controller that learns when a target comes and goes,
// as on simulated wires and bridges; a plain bus has no way to tell.
type Presence interface {
	// Presence calls f whenever that changes, and once, before it returns, when a
	// target is there already. f must return soon and may be told the same twice.
	// There is one f.
	Presence(f func(there bool))
}

// Target is the target's end. Its methods are called by the bus, one at a time, and
// must return soon; what takes time is done elsewhere, under Clock.Hold.
type Target interface {
	// Written takes what the controller wrote in one access; p is not kept. On SPI
	// it comes after Taken of the same access.
	Written(p []byte)
	// Pending is what the controller may read, from the next byte on; it is sampled
	// when an access begins. When there is none, an I2C bus that can does not
	// acknowledge the address, and others give IdleByte. It is valid until the next
	// call.
	Pending() []byte
	// Taken tells that the controller read the first n bytes of Pending.
	Taken(n int)
	// Reset tells that the reset line was pulled, or power came back.
	Reset()
}

// Powered is an ability of a Target that wants to know when its power goes: it was
// cut, or the controller has left. Reset tells when it is back.
type Powered interface{ PowerOff() }

// IdleByte is what is read when the target has nothing to say.
const IdleByte = 0xFF

// Lines are what a target moves by itself.
type Lines interface {
	// SetIRQ makes the interrupt line active or not; without the line nothing
	// happens. It may be called at any time.
	SetIRQ(active bool)
	// Clock is the time of the bus.
	Clock() Clock
}

// Socket is the place of a target on a bus.
type Socket interface {
	Physical() Physical
	// Attach puts the target in; from then on the controller can talk to it.
	Attach(t Target) (Lines, error)
	// Close takes it out.
	Close() error
	String() string
}

// Clock is the time of a bus: real, or that of a simulated wire, which passes only
// when bits do and when somebody sleeps.
type Clock interface {
	// Now is the time since the bus came up.
	Now() time.Duration
	// Sleep waits. In virtual time it moves the time on, runs what AfterFunc gave it
	// up to then, and waits in reality for as long as Hold says.
	Sleep(d time.Duration)
	// AfterFunc runs f after d, in a goroutine of its own or in that which moves
	// the time on; so f does not wait for the time (Sleep, Tx, WaitIRQ). stop tells
	// whether it kept f from running.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
	// Hold keeps virtual time where it is until Release: something is done that
	// takes no time of the bus. Holds add up. Who holds does not wait for the other
	// end, because an access waits for Release, too. Real time does not mind.
	Hold()
	Release()
}
