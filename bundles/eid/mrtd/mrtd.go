// Package mrtd is the chip of a travel document: the files, who may read them, and the
// protocols by which chip and terminal show each other who they are.
//
//	eid.App ── plain commands ──> Card ── READ BINARY ──> NVM
//	   │                           │
//	   └─ Unwrap, Wrap <── Session ┴─ BAC, PACE ──> chip authentication ──> terminal authentication
//
// Secure messaging is unwrapped before a command comes here, and the answer wrapped after
// it (eid.App): the session that a protocol begins is for the next command.
//
// Sources: ICAO Doc 9303-10 3.6 (files, commands), 9303-11 4 (access), 6 (chip), 7
// (terminal), BSI TR-03110-1 and -3.
package mrtd

import (
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/internal/apdu"
)

// AID is the LDS1 eMRTD application (Doc 9303-10 4.1).
var AID = lds.AID

// Card is the chip, an sdk.Applet under AID; the master file is MF.
type Card struct {
	chip *issue.Chip // without the contents of files
	size []int       // of the files

	failures int64 // wrong passwords since the card has power
	status
}

// New gives a chip that is not loaded yet.
func New() *Card { return &Card{} }

// There tells whether the persona has a travel document.
func (c *Card) There() bool { return c.chip != nil }

// Has tells whether the chip has a defect; the defects of secure messaging are for the App.
func (c *Card) Has(d issue.Defect) bool { return c.chip != nil && c.chip.Has(d) }

func (c *Card) has(d issue.Defect) bool { return c.chip.Has(d) }

// Select selects the LDS1 application. It is on the basic channel only.
func (c *Card) Select(ch int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch {
	case !c.There():
		return apdu.FileNotFound
	case ch != 0:
		return apdu.ChannelNotSupported
	}
	c.df, c.file = byte(issue.LDS1), 0
	if cmd.P2&0x0C == 0 { // FCI
		m := r.Begin(0x6F)
		r.TLV(0x84, AID)
		r.End(m)
	}
	return apdu.OK
}

// Deselect implements sdk.Deselecter: the rights were for this application.
func (c *Card) Deselect(int) {
	c.df, c.file = byte(issue.MF), 0
	c.end = c.session != nil
}

// command is a row of the commands: Doc 9303-10 3.6.3, 9303-11.
type command struct {
	ins byte
	run func(*Card, *sdk.Command, *sdk.Response) sdk.SW
}

var commands = [...]command{
	{0x22, (*Card).manage},
	{0x2A, (*Card).verifyCertificate},
	{0x82, (*Card).externalAuthenticate},
	{0x84, (*Card).getChallenge},
	{0x86, (*Card).generalAuthenticate},
	{0x88, (*Card).internalAuthenticate},
	{0xA4, (*Card).selectFile},
	{0xB0, (*Card).readBinary},
	{0xB1, (*Card).readBinaryOdd},
}

// APDU answers a command for the LDS1 application, or for the master file when no
// application is selected.
func (c *Card) APDU(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch sdk.Class(cmd.CLA) &^ 0x10 {
	case 0x00:
	case 0x08, 0x0C: // there is no session, or it would have been unwrapped
		return apdu.SecureMessagingNotSup
	default:
		return apdu.ClaNotSupported
	}
	for i := range commands {
		if commands[i].ins == cmd.INS {
			return c.run(&commands[i], cmd, r)
		}
	}
	return apdu.InsNotSupported
}

func (c *Card) run(row *command, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	sw := row.run(c, cmd, r)
	if cmd.INS != 0x84 && cmd.INS != 0x22 { // the challenge is for the next command
		c.challenge = nil
	}
	if sw != apdu.OK && cmd.INS == 0x86 { // what was begun has to begin anew
		c.agree = nil
		r.Reset()
	}
	return sw
}

// random is n octets.
func random(n int) []byte {
	b := make([]byte, n)
	sdk.Random(b)
	return b
}

// getChallenge is GET CHALLENGE: of BAC without a session, of terminal authentication
// in that of chip authentication.
func (c *Card) getChallenge(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch {
	case cmd.P1 != 0 || cmd.P2 != 0:
		return apdu.WrongP1P2
	case len(cmd.Data) > 0:
		return apdu.WrongLength
	case cmd.Ne != 8 && cmd.Ne != 256 && cmd.Ne != 65536:
		return apdu.WrongLe | 8
	case c.df != byte(issue.LDS1), c.session == nil && !c.chip.BAC, c.session != nil && c.ephemeral == nil:
		return apdu.SecurityNotSatisfied
	}
	c.challenge = random(8)
	if c.has(issue.DefectChallenge) {
		c.challenge = []byte("constant")
	}
	r.Append(c.challenge)
	return apdu.OK
}

// externalAuthenticate ends BAC, or terminal authentication.
func (c *Card) externalAuthenticate(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch {
	case cmd.P1 != 0 || cmd.P2 != 0:
		return apdu.WrongP1P2
	case c.df != byte(issue.LDS1), c.session == nil && !c.chip.BAC:
		return apdu.SecurityNotSatisfied
	case c.challenge == nil:
		return apdu.ConditionsNotSatisfied
	case c.session == nil:
		return c.basicAccess(cmd, r)
	}
	return c.authenticateTerminal(cmd)
}

// manage is MANAGE SECURITY ENVIRONMENT.
func (c *Card) manage(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	switch p := uint16(cmd.P1)<<8 | uint16(cmd.P2); p {
	case 0xC1A4:
		return c.setPACE(cmd.Data)
	case 0x41A6, 0x41A4:
		if c.df != byte(issue.LDS1) || c.session == nil {
			return apdu.SecurityNotSatisfied
		}
		if p == 0x41A6 {
			return c.setKAT(cmd.Data)
		}
		return c.setChip(cmd.Data)
	case 0x81B6, 0x81A4:
		if c.session == nil || c.ephemeral == nil || c.chip.TA == nil {
			return apdu.SecurityNotSatisfied
		}
		if p == 0x81B6 {
			return c.setIssuer(cmd.Data)
		}
		return c.setTerminal(cmd.Data)
	}
	return apdu.WrongP1P2
}

// Describe adds what everybody may know: nothing of the holder.
func (c *Card) Describe(d *face.Description) {
	if !c.There() {
		return
	}
	d.Applications = append(d.Applications, face.Application{AID: AID, Label: "eMRTD"})
	d.Persona = append(d.Persona, face.Field{Name: "access to the travel document", Value: c.ways()})
	d.Counters = append(d.Counters,
		face.Counter{Name: "files of the travel document", Value: int64(len(c.chip.Files))},
		face.Counter{Name: "wrong passwords of the travel document", Value: c.failures})
	if c.chip.Passwords.PIN != "" {
		d.PINs = append(d.PINs, face.PIN{Name: "eMRTD PIN", Enabled: true, Left: int(c.tries()), Most: int(c.chip.Passwords.PINTries)})
	}
}

// ways are the protocols by which one gets at the document, by name.
func (c *Card) ways() string {
	s := ""
	if c.chip.BAC {
		s = ", BAC"
	}
	for i := range c.chip.PACE {
		s += ", " + c.chip.PACE[i].Name
	}
	if s == "" {
		return "none needed"
	}
	return s[2:]
}
