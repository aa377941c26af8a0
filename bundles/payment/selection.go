package payment

import (
	"bytes"

	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Names of the directories (Book 1 12.2.2, Book B 3.3.1).
const (
	namePSE  = "1PAY.SYS.DDF01"
	namePPSE = "2PAY.SYS.DDF01"
)

// sfiDirectory is the file of the payment system directory (Book 1 12.2.3).
const sfiDirectory = 1

// confirm is bit 8 of the application priority indicator (Book 1 table 48).
const confirm = 0x80

// selectApplication is SELECT by name (Book 1 11.3): a directory, or an application
// by its AID or the beginning of it; P2 02 gives the next one that fits (12.3.1).
//
// After the directory of contactless, PPSE, the applications are those of contactless,
// else those of contacts: a bundle does not see the field.
func (c *Card) selectApplication(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch {
	case c.blocked:
		return apdu.FunctionNotSupported // Book 1 11.3.5
	case cmd.P1 != 0x04 || cmd.P2&^0x02 != 0:
		return apdu.WrongP1P2
	case len(cmd.Data) > 16:
		return apdu.WrongLength
	}
	name := string(cmd.Data)
	next := cmd.P2 == 0x02
	switch {
	case c.profile.PSE && name == namePSE && !next:
		return c.selectDirectory(profile.Contact, r)
	case c.profile.PPSE && name == namePPSE && !next:
		return c.selectDirectory(profile.Contactless, r)
	case len(name) < 5:
		return apdu.FileNotFound
	}
	s := c.now.list
	if s == 0 {
		s = profile.Contact
	}
	i := 0
	if next {
		if c.now.app == nil || !bytes.HasPrefix(c.now.app.AID, cmd.Data) {
			return apdu.FileNotFound
		}
		i = c.now.app.index + 1
	}
	for ; i < len(c.apps); i++ {
		a := &c.apps[i]
		if a.On(s) == nil || !bytes.HasPrefix(a.AID, cmd.Data) {
			continue
		}
		c.now.begin(a, s)
		c.fci(a, s, r)
		if a.state.has(isBlocked) {
			return apdu.FileDeactivated // 6283, Book 1 table 37
		}
		return apdu.OK
	}
	return apdu.FileNotFound
}

func (c *Card) selectDirectory(s profile.Side, r *sdk.Response) sdk.SW {
	c.now = transaction{state: directory, dir: s, list: s}
	fci := r.Begin(uint32(tagFCI))
	if s == profile.Contact {
		r.TLV(uint32(tagDFName), []byte(namePSE))
		p := r.Begin(uint32(tagProprietary))
		r.TLV(uint32(tagDirectory), []byte{sfiDirectory})
		c.languages(r)
		r.End(p)
	} else { // Book B table 3-2
		r.TLV(uint32(tagDFName), []byte(namePPSE))
		p := r.Begin(uint32(tagProprietary))
		d := r.Begin(uint32(tagDiscretionary))
		for i := range c.apps {
			if a := &c.apps[i]; a.Contactless != nil && !a.state.has(isBlocked) {
				r.Append(entry(a, profile.Contactless))
			}
		}
		r.End(d)
		r.End(p)
	}
	r.End(fci)
	return apdu.OK
}

// languages adds language preference and issuer code table index (Book 1 table 45).
func (c *Card) languages(r *sdk.Response) {
	if len(c.profile.Languages) > 0 {
		r.TLV(uint32(tagLanguages), c.profile.Languages)
	}
	if c.profile.CodeTable > 0 {
		r.TLV(uint32(tagCodeTable), []byte{c.profile.CodeTable})
	}
}

// priority is the application priority indicator, ok when there is one.
func priority(a *application) (b byte, ok bool) {
	b = a.Priority
	if a.Confirm {
		b |= confirm
	}
	return b, b != 0
}

// entry is the directory entry of an application (Book 1 table 47, Book B table 3-3).
func entry(a *application, s profile.Side) []byte {
	b, m := tlv.Begin(nil, tagEntry)
	b = tlv.Append(b, tagAID, a.AID...)
	b = tlv.Append(b, tagLabel, []byte(a.Label)...)
	if a.Called != "" && s == profile.Contact {
		b = tlv.Append(b, tagCalled, []byte(a.Called)...)
	}
	if p, ok := priority(a); ok {
		b = tlv.Append(b, tagPriority, p)
	}
	if s == profile.Contactless {
		b = tlv.Append(b, tagKernel, a.Contactless.Kernel)
	}
	return tlv.End(b, m)
}

// directoryRecord is record n of the payment system directory: one application each
// (Book 1 12.2.3). nil: there is no such record.
func (c *Card) directoryRecord(n int) []byte {
	for i := range c.apps {
		a := &c.apps[i]
		if a.Contact == nil {
			continue
		}
		if n--; n == 0 {
			b, m := tlv.Begin(nil, tagRecord)
			return tlv.End(append(b, entry(a, profile.Contact)...), m)
		}
	}
	return nil
}

// fci is the answer to SELECT of an application (Book 1 table 45).
func (c *Card) fci(a *application, s profile.Side, r *sdk.Response) {
	fci := r.Begin(uint32(tagFCI))
	r.TLV(uint32(tagDFName), a.AID)
	p := r.Begin(uint32(tagProprietary))
	r.TLV(uint32(tagLabel), []byte(a.Label))
	if b, ok := priority(a); ok {
		r.TLV(uint32(tagPriority), []byte{b})
	}
	if i := a.On(s); len(i.PDOL) > 0 {
		r.TLV(uint32(tagPDOL), i.PDOL)
	}
	c.languages(r)
	if a.Called != "" {
		r.TLV(uint32(tagCalled), []byte(a.Called))
	}
	if a.Log != nil {
		d := r.Begin(uint32(tagDiscretionary))
		r.TLV(uint32(tagLogEntry), []byte{a.Log.SFI, a.Log.Records})
		r.End(d)
	}
	r.End(p)
	r.End(fci)
}
