package payment

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Keys of NVM. An application is named by its index in the persona.
//
//	persona                 the persona, CBOR
//	card                    one byte: the card is blocked
//	I/state                 counters and flags, see state
//	I/pin                   the PIN, digits
//	I/log                   the transaction log: records, newest first
//	I/data/TAG              a data element that PUT DATA changed
//	I/rsa/icc, I/rsa/pin    primes: the longer half first
//	I/afl/SIDE              application file locator
//	I/rec/SIDE/SFI/NUMBER   a record, template and all
const (
	keyPersona = "persona"
	keyCard    = "card"
)

// key is a key of the application.
func (a *application) key(name string) string { return strconv.Itoa(a.index) + "/" + name }

func recordKey(s profile.Side, sfi, n byte) string {
	return "rec/" + strconv.Itoa(int(s)) + "/" + strconv.Itoa(int(sfi)) + "/" + strconv.Itoa(int(n))
}

func aflKey(s profile.Side) string { return "afl/" + strconv.Itoa(int(s)) }

func dataKey(t tlv.Tag) string { return "data/" + strconv.FormatUint(uint64(t), 16) }

// state is what an application keeps between transactions.
type state struct {
	flags       flags
	atc         uint16
	lastOnline  uint16 // ATC of the last transaction that was completed online
	tries       byte   // of the PIN, left
	consecutive byte   // transactions offline in a row
	scripts     byte   // commands of the last script
	cumulative  uint64 // amount of those transactions, in minor units
}

// flags of the state.
type flags byte

const (
	isBlocked       flags = 1 << iota
	onlineOpen            // an ARQC was given, and no second GENERATE AC came
	issuerAuthWrong       // last issuer authentication failed
	scriptWrong           // last script failed
	odaWrong              // offline data authentication failed in the last transaction offline
)

func (s *state) has(f flags) bool { return s.flags&f != 0 }

func (s *state) set(f flags, on bool) {
	if s.flags &^= f; on {
		s.flags |= f
	}
}

const stateSize = 16

func (s *state) bytes() (b [stateSize]byte) {
	b[0] = byte(s.flags)
	b[1], b[2] = byte(s.atc>>8), byte(s.atc)
	b[3], b[4] = byte(s.lastOnline>>8), byte(s.lastOnline)
	b[5], b[6], b[7] = s.tries, s.consecutive, s.scripts
	for i := range 8 {
		b[8+i] = byte(s.cumulative >> (56 - 8*i))
	}
	return b
}

func (s *state) parse(b *[stateSize]byte) {
	s.flags = flags(b[0])
	s.atc, s.lastOnline = uint16(b[1])<<8|uint16(b[2]), uint16(b[3])<<8|uint16(b[4])
	s.tries, s.consecutive, s.scripts = b[5], b[6], b[7]
	s.cumulative = 0
	for _, c := range b[8:] {
		s.cumulative = s.cumulative<<8 | uint64(c)
	}
}

// save writes the state; it is stored with the answer of the command. When it cannot be
// written, nothing of the command is, and the state is what it was.
func (a *application) save() error {
	b := a.state.bytes()
	err := sdk.NVM.Put(a.key("state"), b[:])
	if err != nil {
		a.restore()
	}
	return err
}

// commit stores the state now.
func (a *application) commit() error {
	if err := a.save(); err != nil {
		return err
	}
	err := sdk.NVM.Commit()
	if err != nil {
		a.restore()
	}
	return err
}

// restore undoes what the command wrote.
func (a *application) restore() {
	sdk.NVM.Rollback()
	var b [stateSize]byte
	if n, err := sdk.NVM.Read(a.key("state"), 0, b[:]); err == nil && n == stateSize {
		a.state.parse(&b)
	}
}

// load reads the card from NVM.
func (c *Card) load() error {
	cbor, ok := sdk.NVM.Get(keyPersona)
	if !ok {
		return sdk.ErrInternal
	}
	doc, err := sdk.ParseDoc(cbor)
	if err != nil {
		return err
	}
	p, err := profile.Read(doc)
	if err != nil {
		return err
	}
	c.use(p)
	card, ok := sdk.NVM.Get(keyCard)
	if !ok || len(card) != 1 {
		return sdk.ErrInternal
	}
	c.blocked = card[0] != 0
	for i := range c.apps {
		a := &c.apps[i]
		var b [stateSize]byte
		if n, err := sdk.NVM.Read(a.key("state"), 0, b[:]); err != nil || n != stateSize {
			return sdk.ErrInternal
		}
		a.state.parse(&b)
		if a.keys, err = p.Keys(a.Application); err != nil {
			return err
		}
		if a.ICC.Issuer == nil {
			continue
		}
		if a.icc, err = a.loadKey("rsa/icc", a.ICC.RSA); err != nil {
			return err
		}
		a.pin = a.icc
		if a.PINKey != nil {
			if a.pin, err = a.loadKey("rsa/pin", *a.PINKey); err != nil {
				return err
			}
		}
	}
	return nil
}

// use makes the applications of a profile.
func (c *Card) use(p *profile.Profile) {
	c.profile = p
	if c.rsa = oda.Soft; p.Platform {
		c.rsa = sdk.ModExp
	}
	c.apps = make([]application, len(p.Applications))
	for i := range c.apps {
		c.apps[i] = application{Application: &p.Applications[i], index: i}
	}
}

func (a *application) loadKey(name string, r profile.RSA) (*oda.PrivateKey, error) {
	b, ok := sdk.NVM.Get(a.key(name))
	if !ok || len(b)%2 != 0 {
		return nil, sdk.ErrInternal
	}
	return oda.NewPrivateKey(b[:len(b)/2], b[len(b)/2:], r.Exponent)
}
