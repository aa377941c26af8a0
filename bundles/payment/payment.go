// Package payment is the payment bundle: a card with EMV applications for contacts
// and contactless.
//
//	terminal ─ APDU ─> PLATFORM ─> sdk ─> Card.APDU
//	                                        │ class, state (commands.go, states.go)
//	             ┌─────────┬─────────┬──────┴──┬──────────┬────────┐
//	          SELECT    OPTIONS   RECORDS   VERIFY   GENERATE AC  SCRIPTS
//	             └─────────┴────┬────┴─────────┴──────────┴────────┘
//	                  application: profile, keys, counters <── NVM <── persona.yaml
//	                            │
//	               oda (RSA), cryptogram (3DES, AES)
//
// The persona is the card: Personalise makes its keys from the seed, issues its
// certificates and stores the records. Counters are stored by application; the ATC is
// on the medium before a cryptogram leaves, a PIN try before the comparison. What a
// terminal did in a transaction is volatile.
//
// Sources: EMV 4.4 Books 1 to 3, EMV Contactless Books B, C-2, C-3. The states are
// those of the EMV Common Payment Application, recalled (unverified). codes.go holds
// the numbers; docs/payment.md says what is supported.
package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// Card is the bundle, an sdk.App. The zero value is not usable: see New.
type Card struct {
	profile *profile.Profile
	apps    []application
	blocked bool // by CARD BLOCK
	rsa     oda.ModExp

	now transaction
}

// application is an application of the card with what is not in the persona.
type application struct {
	*profile.Application
	index int
	keys  profile.CardKeys
	icc   *oda.PrivateKey // nil: no dynamic authentication
	pin   *oda.PrivateKey // for enciphered PINs
	state state
}

// New gives a card that is not started yet.
func New() *Card { return &Card{} }

// Init loads the card from NVM.
func (c *Card) Init(sdk.Reason) error {
	if err := c.load(); err != nil {
		return err
	}
	c.reset()
	return nil
}

// Signal ends the transaction when the terminal resets the card.
func (c *Card) Signal(s sdk.Signal) {
	if s.Has(sdk.SignalReset) {
		c.reset()
	}
}

// reset is the state after the ATR: nothing selected.
func (c *Card) reset() { c.now = transaction{} }

// APDU answers one command.
func (c *Card) APDU(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	d, sw := commandOf(cmd.CLA, cmd.INS)
	if sw != apdu.OK {
		return sw
	}
	if cmd.INS != insGetChallenge && cmd.INS != insVerify {
		c.now.challenged = false // a challenge is for the command that follows it
	}
	if cmd.INS == insSelect {
		return c.selectApplication(cmd, r)
	}
	if c.blocked {
		return apdu.FunctionNotSupported
	}
	if sw := d.check(cmd); sw != apdu.OK {
		return sw
	}
	if !d.allowed.has(c.now.state) {
		return apdu.ConditionsNotSatisfied
	}
	return d.run(c, cmd, r)
}
