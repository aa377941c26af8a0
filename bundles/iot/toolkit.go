package iot

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/cat"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Commands of the card application toolkit that bring short messages and take responses,
// and by which the terminal carries the octets of administration.go: they need no applet. Instructions are those of TS 102 221 table 10.5, tags those of TS
// 102 223 and TS 101 220 table 7.23, and of a recorded session (internal/scp80,
// testdata/sms.txt).
const (
	insTerminalProfile  = 0x10
	insFetch            = 0x12
	insTerminalResponse = 0x14
	insEnvelope         = 0xC2

	tagProactive = 0xD0
	tagDetails   = 0x81 // command number, type, qualifier
	tagDevices   = 0x82
	tagAlpha     = 0x05
	tagTPDU      = 0x8B

	typeSendShortMessage = 0x13
	deviceUICC           = 0x81
	deviceNetwork        = 0x83
)

// swToolkitBusy: the command cannot be carried out now (TS 102 221 10.2.1.2).
const swToolkitBusy sdk.SW = 0x9300

// maxProactive commands wait for FETCH; with more, the toolkit is busy.
const maxProactive = 4

// proactive is a command for the terminal; done takes its response, unless nil.
type proactive struct {
	b    []byte
	done func(c *Card, response []byte)
}

// toolkit answers a command that is not an applet's; ok is false when it is none of
// these. Class 80 is the standard's, A0 that of old terminals, 00 what some clients send.
func (c *Card) toolkit(cmd *sdk.Command, r *sdk.Response) (sw sdk.SW, ok bool) {
	switch cmd.INS {
	case insTerminalProfile, insFetch, insTerminalResponse, insEnvelope:
	default:
		return 0, false
	}
	if cla := sdk.Class(cmd.CLA); cla != 0x80 && cla != 0x00 && cmd.CLA != 0xA0 {
		return 0, false
	}
	ch := sdk.Channel(cmd.CLA)
	switch {
	case !c.applets.IsOpen(ch):
		return sdk.ChannelNotSupported, true
	case cmd.P1 != 0 || cmd.P2 != 0:
		return sdk.WrongP1P2, true
	case cmd.INS == insFetch:
		sw = c.fetch(cmd, r)
	case len(cmd.Data) == 0:
		return sdk.WrongLength, true
	case cmd.INS == insTerminalProfile:
		sw = sdk.OK
	case cmd.INS == insTerminalResponse:
		sw = c.terminalResponse(cmd)
	default:
		sw = c.envelope(cmd, r)
	}
	if sw == sdk.OK && len(c.proactive) > 0 && !c.fetched {
		sw = sdk.ProactivePending | sdk.SW(byte(len(c.proactive[0].b)))
	}
	return sw, true
}

// envelope is ENVELOPE with an event, or with an SMS-PP download. The response packet is its answer, or
// waits as a proactive command. unverified: the status words of messages that hold no
// packet, and 9000 with the report of an error.
func (c *Card) envelope(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.Data[0] == byte(cat.TagEvent) {
		return c.event(cmd.Data)
	}
	if len(c.proactive) >= maxProactive {
		return swToolkitBusy
	}
	e, err := scp80.ParseEnvelope(cmd.Data)
	if err != nil {
		return sdk.WrongData
	}
	m, err := scp80.ParseDeliver(e.TPDU)
	if err == scp80.ErrNoPacket {
		return sdk.ConditionsNotSatisfied
	} else if err != nil {
		return sdk.WrongData
	}
	s, err := scp80.ParseUserData(m.UserData)
	if err != nil {
		return sdk.WrongData
	}
	packet, err := c.assembler.Add(m.From, s)
	switch {
	case err == scp80.ErrNoPacket:
		return sdk.ConditionsNotSatisfied
	case err != nil:
		return sdk.WrongData
	case packet == nil: // others come
		return sdk.OK
	}
	p, sw := c.receive(packet, byReport)
	if sw != sdk.OK || p.packet == nil {
		return sw
	}
	if p.submit {
		parts, err := scp80.SplitResponse(p.packet, byte(len(c.proactive)))
		if err != nil {
			return sdk.NoPreciseDiagnosis
		}
		for _, b := range parts {
			c.proactive = append(c.proactive, proactive{b: sendShortMessage(m.From, b)})
		}
		return sdk.OK
	}
	r.Append(scp80.ResponseHeader)
	r.Append(p.packet)
	return sdk.OK
}

// sendShortMessage is the proactive command SEND SHORT MESSAGE with a response packet, or
// part of one (TS 102 223 6.6.9).
func sendShortMessage(to, userData []byte) []byte {
	b, m := tlv.Begin(nil, tagProactive)
	b = tlv.Append(b, tagDetails, 1, typeSendShortMessage, 0)
	b = tlv.Append(b, tagDevices, deviceUICC, deviceNetwork)
	b = tlv.Append(b, tagAlpha)
	b = tlv.Append(b, tagTPDU, scp80.Submit(to, userData)...)
	return tlv.End(b, m)
}

// fetch is FETCH: the proactive command that waits.
func (c *Card) fetch(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch {
	case len(cmd.Data) > 0:
		return sdk.WrongLength
	case len(c.proactive) == 0:
		return sdk.ConditionsNotSatisfied
	case cmd.Ne != len(c.proactive[0].b) && cmd.Ne != apdu.MaxShortNe:
		return apdu.WrongLe | sdk.SW(byte(len(c.proactive[0].b)))
	}
	r.Append(c.proactive[0].b)
	c.fetched = true
	return sdk.OK
}

// terminalResponse is TERMINAL RESPONSE: the command that was fetched is done, well or
// not.
func (c *Card) terminalResponse(cmd *sdk.Command) sdk.SW {
	if !c.fetched {
		return sdk.ConditionsNotSatisfied
	}
	p := c.proactive[0]
	typ, qualifier, _, _, _ := cat.Parse(p.b)
	if t, details, _, err := tlv.Next(cmd.Data); err != nil || t&^0x80 != cat.TagDetails || string(details) != string([]byte{1, typ, qualifier}) {
		return sdk.WrongData
	}
	c.proactive, c.fetched = c.proactive[1:], false
	if p.done != nil {
		p.done(c, cmd.Data)
	} else if c.admin != nil && len(c.proactive) == 0 {
		c.advance() // a visit may have waited for this one
	}
	return sdk.OK
}
