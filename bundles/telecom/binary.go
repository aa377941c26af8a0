package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// binary is the transparent EF and offset that P1 and P2 of READ and UPDATE
// BINARY name; an EF named by SFI becomes the current one (ETSI TS 102 221
// 11.1.3).
func (c *Card) binary(ch *channel, cmd *sdk.Command, mode byte) (f *file, offset int, sw sdk.SW) {
	f, offset = ch.ef, int(cmd.P1)<<8|int(cmd.P2)
	if cmd.P1&p1SFI != 0 {
		if cmd.P1&p1SFIRFU != 0 {
			return nil, 0, apdu.WrongP1P2
		}
		offset = int(cmd.P2)
		if f = c.bySFI(ch.df, cmd.P1&p1SFIMask); f == nil {
			return nil, 0, apdu.FileNotFound
		}
		ch.makeCurrent(f)
	}
	switch {
	case f == nil:
		return nil, 0, apdu.NoCurrentEF
	case f.kind != kindTransparent:
		return nil, 0, apdu.CommandIncompatible
	}
	if sw = c.access(ch, f, mode, cmd); sw != apdu.OK {
		return nil, 0, sw
	}
	if offset >= len(f.body) {
		return nil, 0, apdu.WrongP1P2NoInfo
	}
	return f, offset, apdu.OK
}

// readBinary is READ BINARY (TS 102 221 11.1.3). Le 00 asks for all there is, up
// to 256 bytes; a longer one than there is gets 6Cxx.
func (c *Card) readBinary(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	f, offset, sw := c.binary(ch, cmd, amRead)
	if sw != apdu.OK {
		return sw
	}
	rest := f.body[offset:]
	n := min(cmd.Ne, len(rest))
	switch {
	case cmd.Ne == 0:
		n = min(len(rest), apdu.MaxShortNe)
	case cmd.Ne == apdu.MaxShortNe, cmd.Ne == apdu.MaxExtendedNe:
	case cmd.Ne > len(rest):
		return wrongLe(len(rest))
	}
	r.Append(rest[:n])
	return apdu.OK
}

// wrongLe is 6Cxx, the length that would be right, when a byte can tell it.
func wrongLe(n int) sdk.SW {
	if n > apdu.MaxShortNe {
		return apdu.WrongLength
	}
	return apdu.WrongLe | sdk.SW(byte(n))
}

// updateBinary is UPDATE BINARY (TS 102 221 11.1.4).
func (c *Card) updateBinary(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	f, offset, sw := c.binary(ch, cmd, amUpdate)
	if sw != apdu.OK {
		return sw
	}
	if offset+len(cmd.Data) > len(f.body) {
		return apdu.WrongLength
	}
	return c.write(f, offset, cmd.Data)
}

// write stores p in the body of f at offset, in NVM and then in memory.
func (c *Card) write(f *file, offset int, p []byte) sdk.SW {
	if sdk.NVM.Write(f.key, offset, p) != nil {
		return apdu.MemoryProblem
	}
	copy(f.body[offset:], p)
	if f.kind == kindLinear { // it may be an EF.ARR
		c.security++
	}
	return apdu.OK
}
