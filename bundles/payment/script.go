package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// macSize is the length of the MAC at the end of a script command (Book 2 9.2.3: 4 to
// 8).
const macSize = 8

// script is every command that an issuer script can hold (Book 3 6.5 and table 10):
// format 2 secure messaging (Book 2 9.2.1.2), data and then the MAC. The MAC is
// checked before anything else of the command; each is a link of a chain that begins
// with the cryptogram.
func (c *Card) script(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	t := &c.now
	a := t.app
	if len(cmd.Data) < macSize {
		return c.scripted(swMACMissing)
	}
	data, mac := cmd.Data[:len(cmd.Data)-macSize], cmd.Data[len(cmd.Data)-macSize:]
	key := a.Version.ScriptKey(a.keys.SMI, a.state.atc, t.base)
	want, chain := a.Version.ScriptMAC(key, t.chain, a.state.atc, [4]byte{cmd.CLA, cmd.INS, cmd.P1, cmd.P2}, data, macSize)
	if !equal(want, mac) {
		return c.scripted(swMACIncorrect)
	}
	t.chain = chain
	if a.state.scripts < 0x0F {
		a.state.scripts++
	}
	return c.scripted(c.carryOut(cmd, data))
}

// scripted stores how a script command ended.
func (c *Card) scripted(sw sdk.SW) sdk.SW {
	t := &c.now
	if sw != apdu.OK {
		sdk.NVM.Rollback() // nothing is half-applied
		t.failed = true
		t.app.state.set(scriptWrong, true)
	}
	if t.app.save() != nil {
		card, _ := sdk.NVM.Get(keyCard)
		c.blocked = len(card) == 1 && card[0] != 0
		return apdu.MemoryProblem
	}
	return sw
}

func (c *Card) carryOut(cmd *sdk.Command, data []byte) sdk.SW {
	a := c.now.app
	switch cmd.INS {
	case insApplicationBlock, insApplicationUnblock, insCardBlock:
		if len(data) > 0 {
			return apdu.WrongLength
		}
	}
	switch cmd.INS {
	case insApplicationBlock:
		a.state.set(isBlocked, true)
		sdk.Event("application.blocked", []byte(a.Name))
	case insApplicationUnblock:
		a.state.set(isBlocked, false)
		sdk.Event("application.unblocked", []byte(a.Name))
	case insCardBlock:
		if sdk.NVM.Put(keyCard, []byte{1}) != nil {
			return apdu.MemoryProblem
		}
		c.blocked = true
		sdk.Event("card.blocked", nil)
	case insPINChange:
		return c.changePIN(cmd.P2, data)
	case insUpdateRecord:
		return c.updateRecord(cmd, data)
	case insPutData:
		return c.putData(tlv.Tag(cmd.P1)<<8|tlv.Tag(cmd.P2), data)
	}
	return apdu.OK
}

// changePIN is PIN CHANGE/UNBLOCK (Book 3 6.5.10): P2 00 gives the tries back, 01 and 02
// set a new PIN, an enciphered PIN block, as well; 01 mixes the current one in.
func (c *Card) changePIN(p2 byte, data []byte) sdk.SW {
	a := c.now.app
	if a.PINTries == 0 {
		return apdu.FunctionNotSupported
	}
	if p2 == 0x00 && len(data) > 0 {
		return apdu.WrongLength
	}
	if p2 != 0x00 {
		current := ""
		if p2 == 0x01 {
			b, _ := sdk.NVM.Get(a.key("pin"))
			current = string(b)
		}
		key := a.Version.ScriptKey(a.keys.SMC, a.state.atc, c.now.base)
		block, err := a.Version.DecipherPIN(a.keys.AC, key, data, current)
		if err != nil {
			return apdu.WrongData
		}
		pin, err := oda.ParsePINBlock(block)
		if err != nil {
			return apdu.WrongData
		}
		if sdk.NVM.Put(a.key("pin"), []byte(pin)) != nil {
			return apdu.MemoryProblem
		}
		sdk.Event("pin.changed", []byte(a.Name))
	}
	a.state.tries = a.PINTries
	return apdu.OK
}

// updateRecord is UPDATE RECORD: P1 the number, P2 the file and 4, the whole record.
func (c *Card) updateRecord(cmd *sdk.Command, rec []byte) sdk.SW {
	a := c.now.app
	sfi := cmd.P2 >> 3
	if cmd.P2&7 != 4 || sfi == 0 || cmd.P1 == 0 {
		return apdu.WrongP1P2
	}
	if len(rec) == 0 || len(rec) > maxRecord {
		return apdu.WrongLength
	}
	if sfi <= 10 {
		if t, _, rest, err := tlv.Next(rec); err != nil || t != tagRecord || len(rest) > 0 {
			return apdu.WrongData
		}
	}
	found := false
	for _, s := range []profile.Side{profile.Contact, profile.Contactless} {
		key := a.key(recordKey(s, sfi, cmd.P1))
		if _, ok := sdk.NVM.Size(key); !ok {
			continue
		}
		found = true
		if sdk.NVM.Put(key, rec) != nil {
			return apdu.MemoryProblem
		}
	}
	if !found {
		return apdu.RecordNotFound
	}
	return apdu.OK
}

// putData is PUT DATA: a data element of the persona that GET DATA gives. Counters are
// not among them.
func (c *Card) putData(t tlv.Tag, val []byte) sdk.SW {
	a := c.now.app
	for _, g := range a.GetData {
		if g != t {
			continue
		}
		for _, e := range a.Data {
			if e.Tag != t {
				continue
			}
			if len(val) != len(e.Value) {
				return apdu.WrongLength
			}
			if sdk.NVM.Put(a.key(dataKey(t)), val) != nil {
				return apdu.MemoryProblem
			}
			return apdu.OK
		}
	}
	return apdu.ReferencedDataNotFound
}
