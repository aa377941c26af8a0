package mrtd

import "github.com/sspemu/sspemu/bundles/eid/sm"

// status is what terminal and chip have proved to each other since the last reset. What
// each command needs of it, and the status word when it is not there:
//
//	command                      needs                                    else
//	SELECT, READ BINARY          the access condition of the file         6982
//	GET CHALLENGE                BAC: LDS1 and no session; terminal       6982
//	                             authentication: chip authentication
//	EXTERNAL AUTHENTICATE        the same, and a challenge just before    6982, 6985
//	INTERNAL AUTHENTICATE        LDS1 and access                          6982
//	MSE:Set AT of PACE           a way of PACE in EF.CardAccess           6A80, 6A88
//	GENERAL AUTHENTICATE         MSE:Set AT before it, the steps in order 6985
//	MSE:Set KAT, AT of chip      LDS1 and a session                       6982
//	MSE:Set DST, PSO:Verify      chip authentication in this session      6982
//	MSE:Set AT of terminal       the certificate of a terminal, verified  6A88
type status struct {
	session *sm.Session // nil: commands come in plain
	next    *sm.Session // begins with the next command
	end     bool        // the session ends with the answer

	access  bool   // BAC or PACE was done
	pace    bool   // PACE was done
	withCAN bool   // with the CAN: a PIN that is suspended may be tried
	id      []byte // what terminal authentication knows the chip by

	df   byte // issue.MF, issue.LDS1
	file int  // current file, 1 + index; 0: none

	challenge []byte     // of GET CHALLENGE just before
	agree     *agreement // PACE, or chip authentication, under way
	ephemeral []byte     // x of the terminal's key: chip authentication was done
	terminal  terminal
}

// Session is the session that protects the command under way, nil when there is none.
func (c *Card) Session() *sm.Session { return c.session }

// End ends the session with everything that was proved in it (Doc 9303-11 9.8.3): after
// an error in secure messaging, and after a command in plain. The selection stays.
func (c *Card) End() { c.status = status{df: c.df} }

// Turn is after the answer: a session that the command began is the one from now on.
func (c *Card) Turn() {
	switch {
	case c.end:
		c.End()
	case c.next != nil:
		c.session, c.next = c.next, nil
	}
}

// Forget is a reset of the card.
func (c *Card) Forget() { c.status = status{} }

// grant begins a session with what BAC or PACE proved; whatever was proved before is over.
func (c *Card) grant(s *sm.Session, pace bool, id []byte) {
	c.status = status{session: c.session, next: s, df: c.df, access: true, pace: pace, id: id}
}
