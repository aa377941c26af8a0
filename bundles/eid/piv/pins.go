package piv

import (
	"crypto/subtle"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// Key references of PINs (part 1 table 4).
const (
	refGlobal = 0x00 // of the whole card, where the persona has one
	refPIN    = 0x80
	refPUK    = 0x81
)

// pinSize is the length of PIN and PUK, filled up with FF (part 2 2.4.3).
const pinSize = 8

// A PIN in NVM: its value, tries left, tries at most.
func pinKey(ref byte) string {
	switch ref {
	case refGlobal:
		return "global"
	case refPUK:
		return "puk"
	}
	return "pin"
}

// isPIN tells whether a key reference is that of a PIN that there is.
func isPIN(ref byte) bool {
	_, _, there := tries(ref)
	return there && (ref == refPIN || ref == refGlobal)
}

// pin tells whether a PIN was verified: that of the application or that of the card (part
// 1 3.3.2: either satisfies what needs a PIN).
func (c *Card) pin() bool { return c.verified || c.global }

// prove sets what is known of a PIN.
func (c *Card) prove(ref byte, good bool) {
	if ref == refGlobal {
		c.global = good
	} else {
		c.verified = good
	}
	c.just = good
}

// tries are those left and the most of a PIN.
func tries(ref byte) (left, most int, ok bool) {
	var b [2]byte
	n, err := sdk.NVM.Read(pinKey(ref), pinSize, b[:])
	return int(b[0]), int(b[1]), err == nil && n == 2
}

func storePIN(ref byte, value []byte, left, most int) error {
	b := append(append([]byte{}, value...), byte(left), byte(most))
	return sdk.NVM.Put(pinKey(ref), b)
}

// check compares a value with a PIN. The try is taken away and stored before.
func check(ref byte, value []byte) sdk.SW {
	stored, ok := sdk.NVM.Get(pinKey(ref))
	if !ok || len(stored) != pinSize+2 {
		return apdu.NoPreciseDiagnosis
	}
	left := stored[pinSize]
	if left == 0 {
		return apdu.AuthBlocked
	}
	if sdk.NVM.Write(pinKey(ref), pinSize, []byte{left - 1}) != nil || sdk.NVM.Commit() != nil {
		return apdu.MemoryProblem
	}
	if subtle.ConstantTimeCompare(stored[:pinSize], value) != 1 {
		if left == 1 {
			sdk.Event("pin.blocked", []byte(pinKey(ref)))
		}
		return apdu.Counter | sdk.SW(left-1)
	}
	if sdk.NVM.Write(pinKey(ref), pinSize, []byte{stored[pinSize+1]}) != nil {
		return apdu.MemoryProblem
	}
	return apdu.OK
}

// valid tells whether b is a PIN: 6 to 8 digits, filled up with FF (part 2 2.4.3). A PUK
// has any bytes.
func valid(ref byte, b []byte) bool {
	if len(b) != pinSize {
		return false
	}
	if ref == refPUK {
		return true
	}
	n := 0
	for n < pinSize && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	for _, f := range b[n:] {
		if f != 0xFF {
			return false
		}
	}
	return n >= 6
}

// verify is VERIFY (part 2 3.2.1). Without data it tells the status, P1 FF ends it.
func (c *Card) verify(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	if cmd.P2 == refPairing {
		return c.pair(cmd)
	}
	if !c.may(false) {
		return apdu.SecurityNotSatisfied
	}
	if !isPIN(cmd.P2) {
		return apdu.ReferencedDataNotFound
	}
	switch {
	case cmd.P1 == 0xFF && len(cmd.Data) == 0:
		c.prove(cmd.P2, false)
		return apdu.OK
	case cmd.P1 != 0x00:
		return apdu.WrongP1P2
	case len(cmd.Data) == 0:
		if c.verified && cmd.P2 == refPIN || c.global && cmd.P2 == refGlobal {
			return apdu.OK
		}
		left, _, _ := tries(cmd.P2)
		if left == 0 {
			return apdu.AuthBlocked
		}
		return apdu.Counter | sdk.SW(left)
	case !valid(cmd.P2, cmd.Data):
		return apdu.WrongData // it costs no try (part 2 3.2.1)
	}
	sw := check(cmd.P2, cmd.Data)
	c.prove(cmd.P2, sw == apdu.OK)
	return sw
}

// changeReference is CHANGE REFERENCE DATA (part 2 3.2.2): the old value, the new one.
func (c *Card) changeReference(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	switch {
	case !c.may(false):
		return apdu.SecurityNotSatisfied
	case cmd.P1 != 0x00:
		return apdu.WrongP1P2
	case !isPIN(cmd.P2) && cmd.P2 != refPUK:
		return apdu.ReferencedDataNotFound
	case len(cmd.Data) != 2*pinSize:
		return apdu.WrongLength
	case !valid(cmd.P2, cmd.Data[pinSize:]):
		return apdu.WrongData
	}
	sw := check(cmd.P2, cmd.Data[:pinSize])
	if sw != apdu.OK {
		if cmd.P2 != refPUK {
			c.prove(cmd.P2, false)
		}
		return sw
	}
	_, most, _ := tries(cmd.P2)
	if storePIN(cmd.P2, cmd.Data[pinSize:], most, most) != nil {
		return apdu.MemoryProblem
	}
	if cmd.P2 != refPUK {
		c.prove(cmd.P2, true)
	}
	return apdu.OK
}

// resetRetry is RESET RETRY COUNTER (part 2 3.2.3): the PUK, a new PIN.
func (c *Card) resetRetry(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	switch {
	case !c.contact(): // never contactless, not even virtually (part 1 table 4)
		return apdu.SecurityNotSatisfied
	case cmd.P1 != 0x00:
		return apdu.WrongP1P2
	case cmd.P2 != refPIN:
		return apdu.ReferencedDataNotFound
	case len(cmd.Data) != 2*pinSize:
		return apdu.WrongLength
	case !valid(refPIN, cmd.Data[pinSize:]):
		return apdu.WrongData
	}
	if sw := check(refPUK, cmd.Data[:pinSize]); sw != apdu.OK {
		return sw
	}
	_, most, _ := tries(refPIN)
	if storePIN(refPIN, cmd.Data[pinSize:], most, most) != nil {
		return apdu.MemoryProblem
	}
	return apdu.OK
}
