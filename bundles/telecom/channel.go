package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// manageChannel is MANAGE CHANNEL (ETSI TS 102 221 11.1.17). The card assigns
// the number: 1 to 3 first, then 4 to 19 if the terminal said that it supports
// them. A channel that is opened from another than the basic one begins where
// that one is (8.7).
func (c *Card) manageChannel(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	n := int(cmd.P2)
	if cmd.P1 != channelOpen {
		switch {
		case n == 0 || n >= len(c.channels):
			return apdu.WrongP1P2
		case !c.channels[n].open:
			return apdu.ChannelNotSupported
		}
		c.channels[n] = channel{number: n}
		return apdu.OK
	}
	if n != 0 { // table 11.20, note 2
		return apdu.WrongP1P2
	}
	last := channelStandard
	if c.extended {
		last = len(c.channels) - 1
	}
	for n = 1; n <= last && c.channels[n].open; n++ {
	}
	if n > last {
		return apdu.FunctionNotSupported
	}
	c.channels[n] = channel{open: true, number: n, df: c.mf}
	if ch.number != 0 {
		c.channels[n].df, c.channels[n].app = ch.df, ch.app
	}
	r.Byte(byte(n))
	return apdu.OK
}
