// Package telecom is the USIM bundle: a UICC with its file system, access rules,
// PINs, logical channels and toolkit, and the USIM application on it.
//
//	terminal ─ APDU ─> PLATFORM ─> sdk ─> Card.APDU
//	                                        │ class, channel, command table
//	             ┌──────────┬──────────┬────┴─────┬──────────┬─────────┐
//	          SELECT      BINARY     RECORD      PIN      CHANNEL   TOOLKIT ...
//	             └──────────┴───┬──────┴──────────┘
//	                       files, access rules, PINs  <── NVM <── persona.yaml
//
// What the card holds comes from its persona: Personalise checks it and compiles
// it into NVM, Init loads that into memory. Commands read memory and write both;
// what one command wrote is one transaction of the platform, so a power cut at
// any moment leaves whole commands. Only the try counters of PINs are stored
// earlier, before the comparison. Selections, verified PINs and open channels are
// volatile.
//
// Sources: ETSI TS 102 221 (clauses 8 to 11), 3GPP TS 31.102. codes.go is the
// only table of numbers. docs/telecom.md says what is supported, clause by
// clause.
package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// Card is the bundle, an sdk.App. The zero value is not usable: see New.
type Card struct {
	files []file // in the order of the tree: a directory comes before its children
	mf    *file
	life  []byte // life cycle status of files, by index; the NVM value keyLife
	pins  []pin
	chars characteristics

	// security counts whenever what access rules say may change: a PIN command, a
	// write to a linear fixed EF, the end of an application, a reset.
	security uint32
	stranger bool // access rules are asked for somebody who has verified nothing

	channels [sdk.Channels]channel
	extended bool // the terminal supports channels 4 to 19 (TERMINAL CAPABILITY)
	cat      toolkit
	auth     aka
}

// channel is one logical channel (ETSI TS 102 221 8.7).
type channel struct {
	open   bool
	number int
	df     *file // current directory
	ef     *file // current EF, nil: none
	app    *file // current application, the ADF that 7FFF stands for; nil: none
	record int   // current record of ef, 0: not set
}

// New gives a card that is not started yet.
func New() *Card { return &Card{} }

// Init loads the card from NVM.
func (c *Card) Init(sdk.Reason) error {
	if err := c.load(); err != nil {
		return err
	}
	if err := c.auth.load(); err != nil {
		return err
	}
	c.reset()
	return nil
}

// Signal drops the volatile state when the terminal resets the card.
func (c *Card) Signal(s sdk.Signal) {
	if s.Has(sdk.SignalReset) {
		c.reset()
	}
}

// reset brings everything volatile to what it is after the ATR: the basic
// channel alone, with the MF selected (ETSI TS 102 221 8.4.1).
func (c *Card) reset() {
	c.security++
	for i := range c.channels {
		c.channels[i] = channel{number: i}
	}
	c.channels[0].open = true
	c.channels[0].df = c.mf
	for i := range c.pins {
		c.pins[i].verified = false
	}
	c.extended = false
	c.cat.reset()
}

// APDU answers one command. It does not allocate.
func (c *Card) APDU(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	table, other, secured := classOf(cmd.CLA)
	if table == nil {
		return apdu.ClaNotSupported
	}
	ch := &c.channels[apdu.Channel(cmd.CLA)]
	if !ch.open {
		return apdu.ChannelNotSupported
	}
	if secured {
		return apdu.SecureMessagingNotSup
	}
	d := table[cmd.INS]
	if d == nil {
		if other[cmd.INS] != nil {
			return apdu.ClaNotSupported
		}
		return apdu.InsNotSupported
	}
	if sw := d.check(ch, cmd); sw != apdu.OK {
		return sw
	}
	sw := d.run(c, ch, cmd, r)
	if sw == apdu.OK && ch.number == 0 {
		sw = c.cat.announce()
	}
	return sw
}
