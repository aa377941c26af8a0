package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// pin is a PIN or administrative key with its unblocking key (ETSI TS 102 221
// 9.4 and 9.5). A global one is of the whole card, a local one of an application.
type pin struct {
	ref   byte
	app   *file // of a local one
	state [pinStateSize]byte
	tries [2]byte // left: of the PIN, of the PUK

	stateKey, triesKey string // in NVM
	verified           bool
	eventRef           [1]byte // data of an event
}

// Layout of the state in NVM. The tries have a value of their own.
const (
	pinFlags     = 0
	pinMost      = 1 // two bytes: tries of the PIN and of the PUK
	pinValue     = 3
	pukValue     = pinValue + pinSize
	pinStateSize = pukValue + pinSize
)

// Bits of pinFlags.
const (
	flagEnabled    = 0x01
	flagReplaced   = 0x02 // disabled, the universal PIN takes its place
	flagCanDisable = 0x04
	flagUnblocks   = 0x08 // it has a PUK
	flagDigits     = 0x10 // 4 to 8 digits, filled up with FF
)

// What is counted.
const (
	countPIN = 0
	countPUK = 1
)

func (p *pin) has(flag byte) bool { return p.state[pinFlags]&flag != 0 }
func (p *pin) enabled() bool      { return p.has(flagEnabled) }

// valid tells whether p can be meant inside of application app (nil: outside).
func (p *pin) valid(app *file) bool { return p.app == nil || p.app == app }

// pin is the PIN with key reference ref as seen from application app.
func (c *Card) pin(ref byte, app *file) *pin {
	for i := range c.pins {
		if p := &c.pins[i]; p.ref == ref && p.valid(app) {
			return p
		}
	}
	return nil
}

// keyVerified tells whether the access condition "key ref" is met: verified,
// disabled, or replaced by the universal PIN, which is verified (TS 102 221
// 11.1.11).
func (c *Card) keyVerified(ref byte, app *file) bool {
	p := c.pin(ref, app)
	switch {
	case p == nil:
		return false
	case p.enabled():
		return p.verified && !c.stranger
	case p.has(flagReplaced):
		return c.keyVerified(refUniversal, nil)
	}
	return true
}

// universalInUse tells whether the universal PIN takes the place of another.
func (c *Card) universalInUse() bool {
	for i := range c.pins {
		if c.pins[i].has(flagReplaced) {
			return true
		}
	}
	return false
}

// qualified is the PIN that P2 names (TS 102 221 table 11.15). Every PIN command
// begins here: what was allowed before is not taken for granted any more.
func (c *Card) qualified(ch *channel, p2 byte) (*pin, sdk.SW) {
	if p2 == 0 || p2&refRFU != 0 {
		return nil, apdu.WrongP1P2
	}
	p := c.pin(p2, ch.app)
	if p == nil {
		return nil, apdu.ReferencedDataNotFound
	}
	c.security++
	return p, apdu.OK
}

// left is 63Cx.
func (p *pin) left(count int) sdk.SW { return apdu.Counter | sdk.SW(p.tries[count]) }

// present compares what was presented with the PIN or the PUK. The try is
// counted, and is in NVM, before the comparison.
func (p *pin) present(count int, given []byte) sdk.SW {
	if p.tries[count] == 0 {
		return apdu.AuthBlocked
	}
	p.tries[count]--
	if sdk.NVM.Write(p.triesKey, 0, p.tries[:]) != nil || sdk.NVM.Commit() != nil {
		p.undo()
		return apdu.MemoryProblem
	}
	at := pinValue
	if count == countPUK {
		at = pukValue
	}
	if !same(p.state[at:at+pinSize], given) {
		if count == countPIN {
			p.verified = false
		}
		if p.tries[count] == 0 {
			p.eventRef[0] = p.ref
			sdk.Event(blockedEvent[count], p.eventRef[:])
		}
		return p.left(count)
	}
	p.tries[count] = p.state[pinMost+count]
	return apdu.OK
}

// blockedEvent names the events of the last wrong try.
var blockedEvent = [...]string{countPIN: "pin.blocked", countPUK: "puk.blocked"}

// same compares in a time that does not depend on where a differs from b.
func same(a, b []byte) bool {
	var diff byte
	for i := range a {
		diff |= a[i] ^ b[i]
	}
	return diff == 0
}

// store writes tries and, when it changed, the state; the PIN counts as verified
// from now on.
func (p *pin) store(state bool) sdk.SW {
	if sdk.NVM.Write(p.triesKey, 0, p.tries[:]) != nil ||
		state && sdk.NVM.Write(p.stateKey, 0, p.state[:]) != nil {
		p.undo()
		return apdu.MemoryProblem
	}
	p.verified = true
	return apdu.OK
}

// undo makes memory what is committed in NVM.
func (p *pin) undo() {
	sdk.NVM.Rollback()
	_, _ = sdk.NVM.Read(p.triesKey, 0, p.tries[:])
	_, _ = sdk.NVM.Read(p.stateKey, 0, p.state[:])
}

func (p *pin) set(flags, clear byte) {
	p.state[pinFlags] = p.state[pinFlags]&^clear | flags
}

// acceptable tells whether v can be a new value of p.
func (p *pin) acceptable(v []byte) bool { return !p.has(flagDigits) || digits(v) }

// digits tells whether v is 4 to 8 digits in ASCII, filled up with FF (TS 102 221
// 9.5.1, ITU-T T.50).
func digits(v []byte) bool {
	n := 0
	for n < len(v) && v[n] >= '0' && v[n] <= '9' {
		n++
	}
	for _, b := range v[n:] {
		if b != 0xFF {
			return false
		}
	}
	return n >= 4
}

// verifyPIN is VERIFY PIN (TS 102 221 11.1.9). Without data it tells how many
// tries are left.
func (c *Card) verifyPIN(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	p, sw := c.qualified(ch, cmd.P2)
	switch {
	case sw != apdu.OK:
		return sw
	case len(cmd.Data) == 0:
		return p.left(countPIN)
	case len(cmd.Data) != pinSize:
		return apdu.WrongLength
	case !p.enabled():
		return apdu.ReferencedDataInvalid
	}
	if sw = p.present(countPIN, cmd.Data); sw != apdu.OK {
		return sw
	}
	return p.store(false)
}

// changePIN is CHANGE PIN (TS 102 221 11.1.10): old value, new value.
func (c *Card) changePIN(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	p, sw := c.qualified(ch, cmd.P2)
	switch {
	case sw != apdu.OK:
		return sw
	case len(cmd.Data) != 2*pinSize:
		return apdu.WrongLength
	case !p.enabled():
		return apdu.ReferencedDataInvalid
	case p.tries[countPIN] == 0:
		return apdu.AuthBlocked
	case !p.acceptable(cmd.Data[pinSize:]):
		return apdu.WrongData
	}
	if sw = p.present(countPIN, cmd.Data[:pinSize]); sw != apdu.OK {
		return sw
	}
	copy(p.state[pinValue:], cmd.Data[pinSize:])
	return p.store(true)
}

// disablePIN is DISABLE PIN (TS 102 221 11.1.11). P1 may name the universal PIN
// as the one that takes the place.
func (c *Card) disablePIN(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	flags := byte(0)
	if cmd.P1 != 0 {
		if cmd.P1 != disableReplace|refUniversal || cmd.P2 == refUniversal {
			return apdu.WrongP1P2
		}
		if c.pin(refUniversal, nil) == nil {
			return apdu.ReferencedDataNotFound
		}
		flags = flagReplaced
	}
	p, sw := c.qualified(ch, cmd.P2)
	switch {
	case sw != apdu.OK:
		return sw
	case len(cmd.Data) != pinSize:
		return apdu.WrongLength
	case !p.enabled():
		return apdu.ReferencedDataInvalid
	case !p.has(flagCanDisable):
		return apdu.ConditionsNotSatisfied // unverified: of 6984 and 6985
	}
	if sw = p.present(countPIN, cmd.Data); sw != apdu.OK {
		return sw
	}
	p.set(flags, flagEnabled)
	return p.store(true)
}

// enablePIN is ENABLE PIN (TS 102 221 11.1.12).
func (c *Card) enablePIN(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	p, sw := c.qualified(ch, cmd.P2)
	switch {
	case sw != apdu.OK:
		return sw
	case len(cmd.Data) != pinSize:
		return apdu.WrongLength
	case p.enabled():
		return apdu.ReferencedDataInvalid // unverified: of 6984 and 6985
	}
	if sw = p.present(countPIN, cmd.Data); sw != apdu.OK {
		return sw
	}
	p.set(flagEnabled, flagReplaced)
	return p.store(true)
}

// unblockPIN is UNBLOCK PIN (TS 102 221 11.1.13): PUK, new PIN, which is enabled
// and verified then. Without data it tells how many tries are left. A wrong PUK
// does nothing to the PIN.
func (c *Card) unblockPIN(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	p, sw := c.qualified(ch, cmd.P2)
	switch {
	case sw != apdu.OK:
		return sw
	case !p.has(flagUnblocks):
		return apdu.ReferencedDataNotFound
	case len(cmd.Data) == 0:
		return p.left(countPUK)
	case len(cmd.Data) != 2*pinSize:
		return apdu.WrongLength
	case p.tries[countPUK] == 0:
		return apdu.AuthBlocked
	case !p.acceptable(cmd.Data[pinSize:]):
		return apdu.WrongData
	}
	if sw = p.present(countPUK, cmd.Data[:pinSize]); sw != apdu.OK {
		return sw
	}
	copy(p.state[pinValue:], cmd.Data[pinSize:])
	p.tries[countPIN] = p.state[pinMost+countPIN]
	p.set(flagEnabled, flagReplaced)
	return p.store(true)
}
