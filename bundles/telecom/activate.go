package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// deactivateFile is DEACTIVATE FILE (ETSI TS 102 221 11.1.14).
func (c *Card) deactivateFile(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	return c.setLife(ch, cmd, amDeactivate, lifeDeactivated)
}

// activateFile is ACTIVATE FILE (TS 102 221 11.1.15).
func (c *Card) activateFile(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	return c.setLife(ch, cmd, amActivate, lifeActivated)
}

// setLife changes the life cycle status of an EF: the current one, or the one
// that P1 and the data name as in SELECT, which becomes the current one.
func (c *Card) setLife(ch *channel, cmd *sdk.Command, mode, status byte) sdk.SW {
	f := ch.ef
	if cmd.P1 != selectByFID || len(cmd.Data) > 0 {
		var sw sdk.SW
		if f, sw = c.find(ch, cmd); sw != apdu.OK {
			return sw
		}
	}
	switch {
	case f == nil:
		return apdu.NoCurrentEF
	case f.directory():
		return apdu.CommandIncompatible
	case !c.allowed(ch, f, mode, cmd):
		return apdu.SecurityNotSatisfied
	}
	was := c.life[f.index]
	c.life[f.index] = status
	if sdk.NVM.Write(keyLife, f.index, c.life[f.index:f.index+1]) != nil {
		c.life[f.index] = was
		return apdu.MemoryProblem
	}
	if f != ch.ef {
		ch.makeCurrent(f)
	}
	return apdu.OK
}
