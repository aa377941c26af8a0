package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// toolkit is the proactive side of the card (ETSI TS 102 221 7.4.2 and 11.2,
// ETSI TS 102 223): commands that wait, one after the other, for a terminal that
// has sent its profile.
//
//	TERMINAL PROFILE ──> 91xx ──> FETCH ──> TERMINAL RESPONSE ──> 91xx or 9000
type toolkit struct {
	commands [][]byte // from the persona
	waiting  [][]byte // the rest of them, once a profile is there
	fetched  bool     // the first of waiting is with the terminal
}

func (t *toolkit) reset() { t.waiting, t.fetched = nil, false }

// announce is the status word of a success: 91xx when a command waits.
func (t *toolkit) announce() sdk.SW {
	if len(t.waiting) == 0 || t.fetched {
		return apdu.OK
	}
	return apdu.ProactivePending | sdk.SW(len(t.waiting[0]))
}

// terminalProfile is TERMINAL PROFILE (TS 102 221 11.2.1).
func (c *Card) terminalProfile(_ *channel, _ *sdk.Command, _ *sdk.Response) sdk.SW {
	c.cat.waiting, c.cat.fetched = c.cat.commands, false
	return apdu.OK
}

// fetch is FETCH (TS 102 221 11.2.3). It can be repeated until the response is
// there. unverified: 6985 when nothing waits.
func (c *Card) fetch(_ *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if len(c.cat.waiting) == 0 {
		return apdu.ConditionsNotSatisfied
	}
	p := c.cat.waiting[0]
	if cmd.Ne != 0 && cmd.Ne < len(p) {
		return wrongLe(len(p))
	}
	r.Append(p)
	c.cat.fetched = true
	return apdu.OK
}

// terminalResponse is TERMINAL RESPONSE (TS 102 221 11.2.4, TS 102 223 6.8): the
// command details of what was fetched, device identities and a result.
// unverified: 6985 when nothing was fetched.
func (c *Card) terminalResponse(_ *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	if !c.cat.fetched {
		return apdu.ConditionsNotSatisfied
	}
	_, content, _, _ := tlv.Next(c.cat.waiting[0])
	details, ok := object(content, tagCommandDetails)
	got, there := object(cmd.Data, tagCommandDetails)
	if !ok || !there || string(details) != string(got) {
		return apdu.WrongData
	}
	if d, ok := object(cmd.Data, tagDevices); !ok || len(d) != 2 {
		return apdu.WrongData
	}
	if res, ok := object(cmd.Data, tagResult); !ok || len(res) == 0 {
		return apdu.WrongData
	}
	sdk.Event("toolkit.response", cmd.Data)
	c.cat.waiting, c.cat.fetched = c.cat.waiting[1:], false
	return apdu.OK
}

// object finds a comprehension TLV data object, whether comprehension is
// required of it or not (TS 102 223 clause 7.1 of ETSI TS 101 220).
func object(b []byte, tag byte) ([]byte, bool) {
	r := tlv.Read(b)
	for r.Next() {
		if r.Tag == tlv.Tag(tag) || r.Tag == tlv.Tag(tag|comprehension) {
			return r.Value, true
		}
	}
	return nil, false
}

// envelope is ENVELOPE (TS 102 221 11.2.2): any of the templates is accepted and
// answered without data, which allows a call or a short message.
func (c *Card) envelope(_ *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	tag, value, rest, err := tlv.Next(cmd.Data)
	known := tag >= envelopeFirst && tag <= envelopeLast || tag >= envelopeExtraLow && tag <= envelopeExtra
	if err != nil || !known || len(rest) > 0 || len(value) == 0 {
		return apdu.WrongData
	}
	sdk.Event("toolkit.envelope", cmd.Data)
	return apdu.OK
}

// detailsOf is the command details of a proactive command, which must be one
// whole data object.
func detailsOf(command []byte) ([]byte, bool) {
	_, content, rest, err := tlv.Next(command)
	if err != nil || len(rest) > 0 {
		return nil, false
	}
	d, ok := object(content, tagCommandDetails)
	return d, ok && len(d) == 3
}

// menu makes SET UP MENU (ETSI TS 102 223 6.6.7) of a title and items, which are
// numbered from 1.
func menu(d *sdk.Doc) ([]byte, error) {
	var body []byte
	add := func(tag byte, v ...byte) {
		body = append(append(body, tag|comprehension, byte(len(v))), v...)
	}
	add(tagCommandDetails, 1, typeSetUpMenu, 0)
	add(tagDevices, deviceUICC, deviceTerminal)
	title, err := alpha(d.Get("title"))
	if err != nil {
		return nil, err
	}
	body = append(append(body, tagAlpha|comprehension, byte(len(title))), title...)
	for i, e := range d.Get("items").Items() {
		text, err := alpha(e)
		if err != nil {
			return nil, err
		}
		add(tagItem, append([]byte{byte(i + 1)}, text...)...)
	}
	if len(body) > maxProactive-3 {
		return nil, d.Refuse("is longer than 252 bytes")
	}
	return tlv.Append(nil, tagProactive, body...), nil
}
