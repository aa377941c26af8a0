package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// allowed tells whether the access rule of f lets the command be done to it:
// either mode, the bit of an access mode byte, or the command's header is in the
// rule, and one of the security conditions behind it holds. What a rule does not
// name is never allowed (ETSI TS 102 221 9.2.4 and 9.2.7, ISO/IEC 7816-4 9.3.3).
// mode 0: only the header counts.
func (c *Card) allowed(ch *channel, f *file, mode byte, cmd *sdk.Command) bool {
	app := f.app
	if app == nil {
		app = ch.app
	}
	if mode != 0 && f.granted == (grant{c.security, app, mode}) {
		return true
	}
	rules := f.rules
	if rules == nil || f.ruleRecord == 0 || int(f.ruleRecord) > rules.records {
		return false
	}
	named, condition, lasting := false, false, false
	for b := rules.record(int(f.ruleRecord)); len(b) > 0 && b[0] != recordFilling; {
		tag, value, rest, err := tlv.Next(b)
		if err != nil || tag == 0 {
			return false
		}
		b = rest
		if tag >= tagAccessMode && tag <= tagAccessMode|headerBitsMask {
			if condition { // a new rule begins
				named, condition, lasting = false, false, false
			}
			if names(byte(tag), value, mode, cmd) {
				named = true
				lasting = lasting || tag == tagAccessMode
			}
			continue
		}
		condition = true
		if named && c.holds(tag, value, app) {
			if lasting {
				f.granted = grant{c.security, app, mode}
			}
			return true
		}
	}
	return false
}

// grant remembers that a mode was allowed, so that the next command of its kind
// needs no look at the rule. It counts while Card.security is the same and the
// same application is meant.
type grant struct {
	security uint32
	app      *file
	mode     byte
}

// names tells whether an access mode data object means the command.
func names(tag byte, value []byte, mode byte, cmd *sdk.Command) bool {
	fields := tag & headerBitsMask
	if fields == 0 {
		return len(value) == 1 && value[0]&0x80 == 0 && value[0]&mode != 0
	}
	for _, x := range [...]struct{ bit, v byte }{
		{headerBitCLA, sdk.Class(cmd.CLA)}, {headerBitINS, cmd.INS}, {headerBitP1, cmd.P1}, {headerBitP2, cmd.P2},
	} {
		if fields&x.bit == 0 {
			continue
		}
		if len(value) == 0 || value[0] != x.v {
			return false
		}
		value = value[1:]
	}
	return true
}

// holds tells whether a security condition is met; one that is not understood is
// not.
func (c *Card) holds(tag tlv.Tag, value []byte, app *file) bool {
	switch tag {
	case tagAlways:
		return true
	case tagUserAuth:
		ref, err := tlv.Find(value, tagKeyReference)
		return err == nil && len(ref) == 1 && c.keyVerified(ref[0], app)
	case tagOr, tagAnd, tagNot:
		met, all := 0, 0
		r := tlv.Read(value)
		for r.Next() {
			all++
			if c.holds(r.Tag, r.Value, app) {
				met++
			}
		}
		if r.Err() != nil || all == 0 {
			return false
		}
		return tag == tagOr && met > 0 || tag == tagAnd && met == all || tag == tagNot && met == 0
	}
	return false
}

// access finds out whether the command may be done to EF f.
func (c *Card) access(ch *channel, f *file, mode byte, cmd *sdk.Command) sdk.SW {
	if !c.allowed(ch, f, mode, cmd) {
		return apdu.SecurityNotSatisfied
	}
	if !c.activated(f) {
		return apdu.ConditionsNotSatisfied // unverified: of 6984 and 6985, which the table allows both
	}
	return apdu.OK
}
