package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// capabilitySizes are the lengths of the data objects in TERMINAL CAPABILITY
// (ETSI TS 102 221 11.1.19.2).
var capabilitySizes = [...]struct {
	tag      tlv.Tag
	min, max int
}{
	{tagTerminalPower, 3, 3},
	{tagExtendedChannels, 0, 0},
	{tagInterfaces, 1, 1},
	{tagEUICC, 1, 255},
}

// terminalCapability is TERMINAL CAPABILITY (TS 102 221 11.1.19). Data objects
// that are not known are passed over.
func (c *Card) terminalCapability(_ *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	tag, value, rest, err := tlv.Next(cmd.Data)
	if err != nil || tag != tagTerminalCapability || len(rest) > 0 {
		return apdu.WrongData
	}
	extended := false
	r := tlv.Read(value)
	for r.Next() {
		for _, s := range capabilitySizes {
			if r.Tag == s.tag && (len(r.Value) < s.min || len(r.Value) > s.max) {
				return apdu.WrongData
			}
		}
		extended = extended || r.Tag == tagExtendedChannels
	}
	if r.Err() != nil {
		return apdu.WrongData
	}
	c.extended = extended
	return apdu.OK
}

// getChallenge is GET CHALLENGE (TS 102 221 11.1.18).
func (c *Card) getChallenge(_ *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.Ne == 0 {
		return apdu.WrongLength
	}
	sdk.Random(r.Extend(min(cmd.Ne, apdu.MaxShortNe)))
	return apdu.OK
}
