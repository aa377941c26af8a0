package telecom

import (
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// handler answers one command on an open channel.
type handler func(c *Card, ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW

// presence says whether a command has a data field.
type presence byte

const (
	optional presence = iota
	without
	needed
)

// command is one row of ETSI TS 102 221 table 10.5: what is the same for every
// use of an instruction is checked from here, the rest by the handler.
type command struct {
	ins   byte
	p1    string // allowed values; "": the handler looks
	p2    string
	data  presence
	basic bool // on the basic channel only
	run   handler
}

const zero = "\x00"

// Commands of class 0X, 4X and 6X (ETSI TS 102 221 table 10.5).
var interindustry = [...]command{
	{ins: insSelect, p1: "\x00\x01\x03\x04\x08\x09", run: (*Card).selectFile},
	{ins: insReadBinary, data: without, run: (*Card).readBinary},
	{ins: insUpdateBinary, data: needed, run: (*Card).updateBinary},
	{ins: insReadRecord, data: without, run: (*Card).readRecord},
	{ins: insUpdateRecord, data: needed, run: (*Card).updateRecord},
	{ins: insSearchRecord, data: needed, run: (*Card).searchRecord},
	{ins: insVerifyPIN, p1: zero, run: (*Card).verifyPIN},
	{ins: insChangePIN, p1: zero, data: needed, run: (*Card).changePIN},
	{ins: insDisablePIN, data: needed, run: (*Card).disablePIN},
	{ins: insEnablePIN, p1: zero, data: needed, run: (*Card).enablePIN},
	{ins: insUnblockPIN, p1: zero, run: (*Card).unblockPIN},
	{ins: insDeactivateFile, p1: "\x00\x08\x09", p2: zero, run: (*Card).deactivateFile},
	{ins: insActivateFile, p1: "\x00\x08\x09", p2: zero, run: (*Card).activateFile},
	{ins: insAuthenticate, data: needed, run: (*Card).authenticate},
	{ins: insManageChannel, p1: "\x00\x80", data: without, run: (*Card).manageChannel},
	{ins: insGetChallenge, p1: zero, p2: zero, data: without, run: (*Card).getChallenge},
}

// Commands of class 8X, CX and EX, those of the toolkit in class 80 alone.
var proprietary = [...]command{
	{ins: insStatus, p1: "\x00\x01\x02", p2: "\x00\x01\x0C", data: without, run: (*Card).status},
	{ins: insIncrease, p2: zero, data: needed, run: (*Card).increase},
	{ins: insTerminalCapability, p1: zero, p2: zero, data: needed, run: (*Card).terminalCapability},
	{ins: insExchangeCapabilities, p1: zero, p2: zero, data: needed, basic: true, run: (*Card).exchangeCapabilities},
	{ins: insTerminalProfile, p1: zero, p2: zero, data: needed, basic: true, run: (*Card).terminalProfile},
	{ins: insEnvelope, p1: zero, p2: zero, data: needed, basic: true, run: (*Card).envelope},
	{ins: insFetch, p1: zero, p2: zero, data: without, basic: true, run: (*Card).fetch},
	{ins: insTerminalResponse, p1: zero, p2: zero, data: needed, basic: true, run: (*Card).terminalResponse},
}

// table finds a command by its instruction.
type table [256]*command

func index(rows []command) *table {
	t := new(table)
	for i := range rows {
		t[rows[i].ins] = &rows[i]
	}
	return t
}

var (
	interindustryTable = index(interindustry[:])
	proprietaryTable   = index(proprietary[:])
)

// classOf gives the commands of a class byte, those of the other class, and
// whether it asks for secure messaging; nil when the class is not one of ETSI TS
// 102 221 tables 10.3 and 10.4a.
func classOf(cla byte) (t, other *table, secured bool) {
	switch cla & 0xF0 {
	case 0x00:
		return interindustryTable, proprietaryTable, cla&0x0C != 0
	case 0x40, 0x60:
		return interindustryTable, proprietaryTable, cla&0x20 != 0
	case 0x80:
		return proprietaryTable, interindustryTable, cla&0x0C != 0
	case 0xC0, 0xE0:
		return proprietaryTable, interindustryTable, cla&0x20 != 0
	}
	return nil, nil, false
}

func (d *command) check(ch *channel, cmd *sdk.Command) sdk.SW {
	switch {
	case d.basic && ch.number != 0:
		return apdu.ClaNotSupported
	case d.p1 != "" && strings.IndexByte(d.p1, cmd.P1) < 0,
		d.p2 != "" && strings.IndexByte(d.p2, cmd.P2) < 0:
		return apdu.WrongP1P2
	case d.data == needed && len(cmd.Data) == 0,
		d.data == without && len(cmd.Data) > 0:
		return apdu.WrongLength
	}
	return apdu.OK
}
