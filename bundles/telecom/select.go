package telecom

import (
	"bytes"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// selectFile is SELECT (ETSI TS 102 221 11.1.1). A command that fails leaves the
// selection as it was.
func (c *Card) selectFile(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	answer := cmd.P2 & returnMask
	switch {
	case answer != returnFCP && answer != returnNothing && !(answer == returnFCI && cmd.P1 == selectByName):
		return apdu.WrongP1P2
	case cmd.P1 == selectByName:
		return c.selectName(ch, cmd, r)
	case cmd.P2&(sessionMask|occurrenceMask) != 0:
		return apdu.WrongP1P2
	}
	f, sw := c.find(ch, cmd)
	if sw != apdu.OK {
		return sw
	}
	ch.makeCurrent(f)
	return c.selected(f, cmd.P2, r)
}

// makeCurrent makes f the current file of the channel (TS 102 221 8.4.1).
func (ch *channel) makeCurrent(f *file) {
	ch.record = 0
	if f.directory() {
		ch.df, ch.ef = f, nil
	} else {
		ch.df, ch.ef = f.parent, f
	}
}

// selected answers as P2 asks.
func (c *Card) selected(f *file, p2 byte, r *sdk.Response) sdk.SW {
	if p2&returnMask != returnNothing {
		c.fcp(f, r)
	}
	if !c.activated(f) {
		return apdu.FileDeactivated
	}
	return apdu.OK
}

// find is the file that SELECT, not by name, asks for.
func (c *Card) find(ch *channel, cmd *sdk.Command) (*file, sdk.SW) {
	d := cmd.Data
	switch cmd.P1 {
	case selectByFID:
		if len(d) == 0 {
			if cmd.P2 != returnNothing {
				return nil, apdu.WrongP1P2
			}
			return c.mf, apdu.OK
		}
		if len(d) != 2 {
			return nil, apdu.WrongLength
		}
		return found(c.byFID(ch, fid(d)))
	case selectChildDF:
		if len(d) != 2 {
			return nil, apdu.WrongLength
		}
		f := c.child(ch.df, fid(d))
		if f != nil && !f.directory() {
			f = nil
		}
		return found(f)
	case selectParentDF:
		if len(d) != 0 {
			return nil, apdu.WrongLength
		}
		return found(ch.df.parent)
	}
	return c.path(ch, cmd.P1, d)
}

func fid(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func found(f *file) (*file, sdk.SW) {
	if f == nil {
		return nil, apdu.FileNotFound
	}
	return f, apdu.OK
}

// byFID finds a file by its identifier alone (TS 102 221 8.4.1 and 11.1.1.2): a
// child of the current directory, its parent, a DF beside it, itself, the MF or
// the current application.
func (c *Card) byFID(ch *channel, id uint16) *file {
	switch id {
	case fidMF:
		return c.mf
	case fidCurrentADF:
		return ch.app
	}
	if f := c.child(ch.df, id); f != nil {
		return f
	}
	if ch.df.kind == kindDF && ch.df.fid == id {
		return ch.df
	}
	if up := ch.df.parent; up != nil {
		if up.kind == kindDF && up.fid == id {
			return up
		}
		if f := c.child(up, id); f != nil && f.directory() {
			return f
		}
	}
	return nil
}

// path follows a path from the MF, in which 7FFF may stand for the current
// application at the beginning, or from the current directory (TS 102 221 8.4.2).
func (c *Card) path(ch *channel, p1 byte, d []byte) (*file, sdk.SW) {
	if len(d) == 0 || len(d)%2 != 0 {
		return nil, apdu.WrongLength
	}
	f := ch.df
	if p1 == selectPathFromMF {
		f = c.mf
		if fid(d) == fidCurrentADF {
			f, d = ch.app, d[2:]
		}
	}
	for ; len(d) > 0 && f != nil; d = d[2:] {
		if !f.directory() {
			return nil, apdu.FileNotFound
		}
		f = c.child(f, fid(d))
	}
	return found(f)
}

// selectName is SELECT by DF name: the AID or its beginning, and which of
// several (TS 102 221 8.5.1 and 11.1.1.2). Termination ends the application
// session: what was verified with PINs of the application is forgotten.
func (c *Card) selectName(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	session := cmd.P2 & sessionMask
	switch {
	case session != sessionActivate && session != sessionTerminate:
		return apdu.WrongP1P2
	case len(cmd.Data) == 0 || len(cmd.Data) > 16:
		return apdu.WrongLength
	}
	f := c.byName(ch.app, cmd.Data, cmd.P2&occurrenceMask)
	if f == nil {
		return apdu.FileNotFound
	}
	if session == sessionTerminate {
		return c.terminate(ch, f, cmd.P2, r)
	}
	ch.app = f
	ch.makeCurrent(f)
	return c.selected(f, cmd.P2, r)
}

// byName is the application whose AID begins with name: the first, the last, or
// the next or previous to cur.
func (c *Card) byName(cur *file, name []byte, occurrence byte) *file {
	if cur != nil && !bytes.HasPrefix(cur.aid, name) {
		cur = nil
	}
	i, step := 0, 1
	switch occurrence {
	case occurrenceLast:
		i, step = len(c.files)-1, -1
	case occurrenceNext:
		if cur != nil {
			i = cur.index + 1
		}
	case occurrencePrev:
		i, step = len(c.files)-1, -1
		if cur != nil {
			i = cur.index - 1
		}
	}
	for ; i >= 0 && i < len(c.files); i += step {
		if f := &c.files[i]; f.kind == kindADF && bytes.HasPrefix(f.aid, name) {
			return f
		}
	}
	return nil
}

// terminate ends the session of application f on the channel (TS 102 221
// 8.5.1.3). unverified: that the MF is selected afterwards and that 6985 answers
// for an application without a session.
func (c *Card) terminate(ch *channel, f *file, p2 byte, r *sdk.Response) sdk.SW {
	if ch.app != f {
		return apdu.ConditionsNotSatisfied
	}
	ch.app = nil
	if ch.df.app == f {
		ch.makeCurrent(c.mf)
	}
	for i := range c.channels {
		if c.channels[i].app == f {
			return c.selected(f, p2, r) // the session goes on, on another channel
		}
	}
	c.security++
	for i := range c.pins {
		if c.pins[i].app == f {
			c.pins[i].verified = false
		}
	}
	return c.selected(f, p2, r)
}

// status is STATUS (TS 102 221 11.1.2): about the current directory, or the name
// of the current application.
func (c *Card) status(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch cmd.P2 {
	case statusFCP:
		c.fcp(ch.df, r)
	case statusName:
		if ch.app == nil {
			return apdu.ConditionsNotSatisfied // unverified: the clause does not name a status word
		}
		r.TLV(tagDFName, ch.app.aid)
	}
	return apdu.OK
}
