// Package piv is a PIV card application: PIN, objects, keys that never leave the card.
//
//	terminal ─ APDU ─> sdk.Applets ─> Card.APDU ─┬─ VERIFY, CHANGE, RESET      pins.go
//	                                             ├─ GET DATA, PUT DATA         objects.go
//	                                             ├─ GENERAL AUTHENTICATE       authenticate.go
//	                                             ├─ GENERATE, keys             keys.go
//	                                             ├─ secure messaging           secure.go
//	                                             └─ commands of vendors        vendor.go
//	                            NVM <── persona
//
// Sources: NIST SP 800-73-4 part 1 (objects, access rules) and part 2 (commands), SP
// 800-78-4 (algorithms). Commands of vendors are those of public tools for YubiKeys,
// recalled (unverified).
package piv

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/internal/apdu"
)

// AID is that of the PIV card application, version 1.0 (part 1 2.2).
var AID = []byte{0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00}

// Card is the application, an sdk.Applet.
type Card struct {
	verified bool   // the PIN was verified since SELECT
	global   bool   // the PIN of the card was verified since the reset
	just     bool   // and no key with the policy "always" was used since
	admin    bool   // the administration key was used
	expect   []byte // what the next step of GENERAL AUTHENTICATE with that key has to bring

	secure *session // secure messaging
	within bool     // the command under way came in it
	paired bool     // the pairing code was shown
}

// New gives a card that is not loaded yet.
func New() *Card { return &Card{} }

// Load has nothing to load: commands read what they need.
func (c *Card) Load() error { return nil }

// Forget drops the security status: the card was reset.
func (c *Card) Forget() { *c = Card{} }

// Deselect implements sdk.Deselecter: another application ends the security status of
// this one, and not that of the card (part 2 3.1.1).
func (c *Card) Deselect(int) { *c = Card{global: c.global} }

// Select answers with the application property template (part 2 table 3).
func (c *Card) Select(_ int, _ *sdk.Command, r *sdk.Response) sdk.SW {
	if _, ok := sdk.NVM.Size("pin"); !ok { // the persona has no PIV card
		return apdu.FileNotFound
	}
	c.Deselect(0)
	m := r.Begin(0x61)
	r.TLV(0x4F, AID[5:])
	n := r.Begin(0x79)
	r.TLV(0x4F, AID[:5])
	r.End(n)
	r.TLV(0x50, []byte("sspemu PIV"))
	for i := range suites {
		if _, ok := sdk.NVM.Get(secureKey(suites[i].alg)); ok {
			n := r.Begin(0xAC)
			r.TLV(0x80, []byte{suites[i].alg})
			r.TLV(0x06, []byte{0})
			r.End(n)
		}
	}
	r.End(m)
	return sdk.OK
}

// command is a row of part 2 table 2, and of vendors.
type command struct {
	ins byte
	run func(*Card, *sdk.Command, *sdk.Response) sdk.SW
}

var commands = [...]command{
	{0x20, (*Card).verify},
	{0x24, (*Card).changeReference},
	{0x2C, (*Card).resetRetry},
	{0x47, (*Card).generate},
	{0x87, (*Card).authenticate},
	{0xCB, (*Card).getData},
	{0xDB, (*Card).putData},
	{0xF7, (*Card).metadata},
	{0xF8, (*Card).serial},
	{0xF9, (*Card).attest},
	{0xFA, (*Card).setTries},
	{0xFB, (*Card).reset},
	{0xFD, (*Card).version},
	{0xFE, (*Card).importKey},
	{0xFF, (*Card).setManagementKey},
}

// APDU answers a command, in secure messaging or not.
func (c *Card) APDU(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch sdk.Class(cmd.CLA) {
	case 0x00:
		return c.plain(cmd, r)
	case 0x0C:
		return c.protected(cmd, r)
	case 0x08:
		return apdu.SecureMessagingNotSup
	}
	return apdu.ClaNotSupported
}

func (c *Card) plain(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.INS != 0x87 {
		c.expect = nil
	}
	for i := range commands {
		if commands[i].ins == cmd.INS {
			return commands[i].run(c, cmd, r)
		}
	}
	return apdu.InsNotSupported
}

// Describe adds what everybody may know.
func (c *Card) Describe(d *face.Description) {
	d.Applications = append(d.Applications, face.Application{AID: AID, Label: "PIV"})
	for _, p := range []struct {
		name string
		ref  byte
	}{{"PIV PIN", refPIN}, {"Global PIN", refGlobal}, {"PUK", refPUK}} {
		if left, most, ok := tries(p.ref); ok {
			d.PINs = append(d.PINs, face.PIN{Name: p.name, Enabled: true, Verified: p.ref == refPIN && c.verified || p.ref == refGlobal && c.global, Left: left, Most: most})
		}
	}
	n := int64(0)
	for key, ok := sdk.NVM.Next(""); ok; key, ok = sdk.NVM.Next(key) {
		if len(key) == 4 && key[:2] == "k/" {
			n++
		}
	}
	d.Counters = append(d.Counters, face.Counter{Name: "keys", Value: n})
}
