// Package transport moves frames between a terminal and an SSP. It knows
// nothing of the SCL, of the platform or of bundles.
//
//	controller end (terminal)                 target end (SSP)
//	  Link.Send(Block, C-APDU) ───────────────> Receiver.Frame(Block, C-APDU)
//	  Receiver.Frame(Block, R-APDU) <────────── Link.Send(Block, R-APDU)
//	  Link.Send(PowerOn) ─────────────────────> Receiver.Frame(PowerOn)
//	  Receiver.Frame(ATR, 3B..) <────────────── Link.Send(ATR, 3B..)
//
// A Link is a URL, the same for both roles (see Parse). It pushes: frames that
// arrive are handed to a Receiver, so that an in-memory link costs one function
// call and a link on a wire one goroutine. Wrappers compose, because a wrapper
// is a Link around a Link.
//
// Sources: ISO/IEC 7816-3 (activation, reset, ATR); the frame kinds are ours.
package transport

import (
	"context"
	"errors"
)

// Role is the end of a link that is ours.
type Role uint8

const (
	Controller Role = iota // the terminal: gives power, clock and commands
	Target                 // the SSP: answers
)

func (r Role) String() string {
	if r == Target {
		return "target"
	}
	return "controller"
}

// Kind says what a frame is.
type Kind uint8

const (
	Block    Kind = iota // bytes: an APDU, a T=1' block, as the link's framing has it
	PowerOn              // controller: activation (cold reset), ISO/IEC 7816-3 6.2; answered by ATR
	PowerOff             // controller: deactivation, ISO/IEC 7816-3 6.4; not answered
	Reset                // controller: warm reset, ISO/IEC 7816-3 6.2.3; answered by ATR
	GetATR               // controller: asks for the ATR again without a reset; answered by ATR
	ATR                  // target: Answer-to-Reset, ISO/IEC 7816-3 8
	Removed              // target: the card leaves the terminal
	Inserted             // target: a card enters the terminal
	Packet               // an SCL packet, both ways, on links that carry them (PacketCarrier)
)

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

var kindNames = [...]string{"block", "power on", "power off", "reset", "get ATR", "ATR", "removed", "inserted", "packet"}

// MaxFrame bounds a frame on every link: an extended APDU and room for framing.
const MaxFrame = 66 * 1024

// Receiver takes the frames that arrive at one end. A link calls it from one
// goroutine at a time; p is only valid during the call. A Receiver may call
// Send of the same link from within Frame.
type Receiver interface{ Frame(k Kind, p []byte) }

// Link is one end of a connection between a terminal and an SSP. What a user of
// either end may rely on is in linktest, which every link passes.
type Link interface {
	// Open starts the link; frames that arrive go to r until Close or until ctx
	// is done. It returns as soon as the link is usable or will become so by
	// itself (a vpcd link retries until pcscd is there). The controller's
	// Receiver gets Inserted when the target is there, maybe before Open returns,
	// and Removed when it has left; the target's gets PowerOff when the
	// controller has left. A closed link may be opened again.
	Open(ctx context.Context, r Receiver) error
	// Send hands one frame to the other end; p is not kept. It is safe for use
	// by several goroutines. The errors to tell apart are ErrClosed, ErrNoPeer,
	// ErrTooLong and ErrTooShort.
	Send(k Kind, p []byte) error
	// Close ends the link; a second Close does nothing. A Frame that is under
	// way may still run to its end, no further one begins.
	Close() error
	// String is the URL.
	String() string
}

// Limiter is an ability of links that cannot carry a Block of every length up to
// MaxFrame: min and max are the bounds of what Send of this end takes, in bytes.
type Limiter interface{ Limits() (min, max int) }

// Limits tells what lengths of Block Send of l takes: those of its Limiter, else
// 0 to MaxFrame.
func Limits(l Link) (min, max int) {
	if b, ok := l.(Limiter); ok {
		return b.Limits()
	}
	return 0, MaxFrame
}

// PacketCarrier is an ability of links that carry SCL packets beside Blocks: frames
// of the kind Packet, of 1 to PacketMTU bytes. They pass whether or not a card is
// in. Other links refuse them with ErrDirection. A Receiver that gets a Packet of no
// bytes is told by the link that whoever sent packets so far is gone; the next ones
// are from somebody new.
type PacketCarrier interface{ PacketMTU() int }

// Troubled is an ability of links that can tell why packets do not pass; nil when
// nothing is known of it.
type Troubled interface{ Trouble() error }

// Trouble is what l tells as a Troubled.
func Trouble(l Link) error {
	if t, ok := l.(Troubled); ok {
		return t.Trouble()
	}
	return nil
}

// WholeAnswers is an ability of links at whose other end nobody asks for the rest
// of an answer (GET RESPONSE after 61xx): a terminal that speaks T=1 and sent no Le
// gets the whole answer at once. 61xx belongs to T=0 (ETSI TS 102 221 7.3.1.1).
type WholeAnswers interface{ WholeAnswers() bool }

// Sentinel errors, one for each decision a caller can take.
var (
	// ErrClosed: the link is not open at this end.
	ErrClosed = errors.New("transport: link is closed")
	// ErrOpen: Open of a link that is open.
	ErrOpen = errors.New("transport: link is open already")
	// ErrNoPeer: nobody is at the other end now; it may come back.
	ErrNoPeer = errors.New("transport: no peer on the link")
	// ErrTooLong: a frame is longer than the link carries (see Limits).
	ErrTooLong = errors.New("transport: frame is longer than the link carries")
	// ErrTooShort: a frame is shorter than the link can express (see Limits).
	ErrTooShort = errors.New("transport: frame is shorter than the link can express")
	// ErrReset: the card was reset by another program that uses it, and the frame was
	// not sent; GetATR, Reset and PowerOn take the card up again.
	ErrReset = errors.New("transport: another program has reset the card")
	// ErrDirection: a frame of a kind that this end does not send, such as ATR
	// from a controller.
	ErrDirection = errors.New("transport: frame of a kind that only the other end sends")
)

// Check tells whether the end in the given role may send a frame of kind k and
// of n bytes over a link that carries Blocks of min to max bytes.
func Check(role Role, k Kind, n, min, max int) error {
	switch k {
	case Block:
		if n < min {
			return ErrTooShort
		}
		if n > max {
			return ErrTooLong
		}
		return nil
	case PowerOn, PowerOff, Reset, GetATR:
		if role == Controller {
			return nil
		}
	case ATR, Removed, Inserted:
		if n > max {
			return ErrTooLong
		}
		if role == Target {
			return nil
		}
	}
	return ErrDirection
}
