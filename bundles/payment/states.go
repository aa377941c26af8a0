package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// phase is a state of the transaction. Names as in the EMV Common Payment
// Application, recalled (unverified).
//
//	       SELECT          GET PROCESSING OPTIONS        GENERATE AC
//	IDLE ─────────> SELECTED ─────────────────> INITIATED ─┬─ ARQC ──> ONLINE
//	                   ^  directory: DIRECTORY             │             │ GENERATE AC
//	                   └──────── TC, AAC ──────────────────┘             v
//	                                                                  SCRIPT
type phase byte

const (
	idle      phase = iota // nothing is selected
	directory              // PSE or PPSE is selected
	selected               // an application is
	initiated              // GET PROCESSING OPTIONS was answered
	online                 // an ARQC was given
	script                 // the second GENERATE AC was answered
	phases
)

// in is a set of phases.
type in byte

func (s in) has(p phase) bool { return s>>p&1 != 0 }

const (
	inDirectory in = 1 << directory
	inSelected  in = 1 << selected
	inInitiated in = 1 << initiated
	inOnline    in = 1 << online
	inScript    in = 1 << script
	inAny          = inSelected | inInitiated | inOnline | inScript
)

// command is a row of the table of commands: where it is allowed. In another phase it
// gets 6985, which changes nothing.
type command struct {
	class   byte // 00, 80, 84
	ins     byte
	allowed in
	p1      string // allowed values; "": run looks
	p2      string
	run     func(*Card, *sdk.Command, *sdk.Response) sdk.SW
}

const zero = "\x00"

// commands is the whole state machine. Scripts come before (tag 71) or after (tag 72)
// the second GENERATE AC (Book 4 6.3.9).
var commands = [...]command{
	{0x00, insReadRecord, inAny | inDirectory, "", "", (*Card).readRecord},
	{0x80, insGetData, inAny, "", "", (*Card).getData},
	{0x80, insGetOptions, inSelected, zero, zero, (*Card).getOptions},
	{0x00, insInternalAuth, inInitiated, zero, zero, (*Card).internalAuthenticate},
	{0x00, insGetChallenge, inInitiated, zero, zero, (*Card).getChallenge},
	{0x00, insVerify, inInitiated, zero, "\x80\x88", (*Card).verify},
	{0x80, insGenerateAC, inInitiated | inOnline, "", zero, (*Card).generateAC},
	{0x00, insExternalAuth, inOnline, zero, zero, (*Card).externalAuthenticate},
	{0x84, insApplicationBlock, inOnline | inScript, zero, zero, (*Card).script},
	{0x84, insApplicationUnblock, inOnline | inScript, zero, zero, (*Card).script},
	{0x84, insCardBlock, inOnline | inScript, zero, zero, (*Card).script},
	{0x84, insPINChange, inOnline | inScript, zero, "\x00\x01\x02", (*Card).script},
	{0x84, insPutData, inOnline | inScript, "", "", (*Card).script},
	{0x84, insUpdateRecord, inOnline | inScript, "", "", (*Card).script},
	{0x80, insRelayResistance, inInitiated, zero, zero, (*Card).relayResistance},
	{0x80, insChecksum, inInitiated, "\x8E", "\x80", (*Card).checksum},
	{0x00, insSelect, 0, "", "", nil},
}

// commandOf finds the row of an instruction: 6D00 when there is none, 6E00 when it
// has another class, 6881 on another channel than the basic one.
func commandOf(cla, ins byte) (*command, sdk.SW) {
	switch cla &^ 0x03 {
	default:
		return nil, apdu.ClaNotSupported
	case 0x00, 0x80, 0x84:
		if cla&0x03 != 0 {
			return nil, apdu.ChannelNotSupported // there is the basic channel only
		}
	}
	sw := sdk.SW(apdu.InsNotSupported)
	for i := range commands {
		if d := &commands[i]; d.ins == ins {
			if d.class == cla {
				return d, apdu.OK
			}
			sw = apdu.ClaNotSupported
		}
	}
	return nil, sw
}

func (d *command) check(cmd *sdk.Command) sdk.SW {
	if d.p1 != "" && !has(d.p1, cmd.P1) || d.p2 != "" && !has(d.p2, cmd.P2) {
		return apdu.WrongP1P2
	}
	return apdu.OK
}

func has(set string, b byte) bool {
	for i := range len(set) {
		if set[i] == b {
			return true
		}
	}
	return false
}

// transaction is what a terminal has done since SELECT.
type transaction struct {
	state phase
	dir   profile.Side // of the directory that is selected
	list  profile.Side // side from which applications are selected: that of the last directory
	app   *application // nil: none
	side  profile.Side

	options []byte // values of the PDOL
	first   []byte // values of CDOL1
	second  []byte // values of CDOL2

	verify     outcome // of VERIFY
	challenged bool
	challenge  [8]byte
	dynamic    bool     // INTERNAL AUTHENTICATE was answered
	combined   bool     // a signature went with the first cryptogram
	relays     byte     // how often relay resistance data were exchanged
	relay      [14]byte // entropy of the terminal and of the card, timings
	ac         [8]byte  // the last cryptogram
	base       [8]byte  // the cryptogram of the first GENERATE AC, from which script keys come
	given      byte     // and its type, CID
	issuer     outcome  // of issuer authentication
	chain      [8]byte  // MAC of the last script command
	failed     bool     // one of them failed
	limits     [4]bool  // see Card.limits
	csu        [4]byte  // card status update of the issuer, ARPC method 2
}

// outcome of something that may not have been done.
type outcome byte

const (
	notDone outcome = iota
	passed
	wrong
)

// begin starts over with the application a on side s.
func (t *transaction) begin(a *application, s profile.Side) {
	*t = transaction{state: selected, list: t.list, app: a, side: s}
}

// here is what the application is on this side.
func (t *transaction) here() *profile.Interface { return t.app.On(t.side) }
