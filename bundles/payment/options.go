package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// lastATC is where an application ends: it begins no further transaction.
const lastATC = 0xFFFF

// getOptions is GET PROCESSING OPTIONS (Book 3 6.5.8): a transaction begins, the ATC
// goes up by one and is stored before anything else happens.
func (c *Card) getOptions(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	t := &c.now
	a, here := t.app, t.here()
	tag, options, rest, err := tlv.Next(cmd.Data)
	if err != nil || tag != tagCommand || len(rest) > 0 {
		return apdu.WrongData
	}
	pdol, _ := emv.ParseDOL(here.PDOL)
	if len(options) != emv.Length(pdol) {
		return apdu.WrongLength
	}
	if a.state.atc == lastATC {
		return apdu.ConditionsNotSatisfied
	}
	a.state.atc++
	if a.commit() != nil {
		return apdu.MemoryProblem
	}
	t.options = append(t.options[:0], options...)
	if here.Kernel == 3 {
		return c.quick(r)
	}
	t.state = initiated
	afl, _ := sdk.NVM.Get(a.key(aflKey(t.side)))
	if a.Format == 1 {
		m := r.Begin(uint32(tagFormat1))
		r.Append(here.AIP[:])
		r.Append(afl)
		r.End(m)
		return apdu.OK
	}
	m := r.Begin(uint32(tagFormat2))
	r.TLV(uint32(tagAIP), here.AIP[:])
	r.TLV(uint32(tagAFL), afl)
	r.End(m)
	return apdu.OK
}
