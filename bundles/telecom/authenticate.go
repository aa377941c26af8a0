package telecom

import "github.com/sspemu/sspemu/bundles/sdk"

// Services of EF.UST that AUTHENTICATE looks at (3GPP TS 31.102 4.2.8), and the
// beginning of a USIM's AID (ETSI TS 101 220 annex E: RID of 3GPP, application
// code 1002).
const (
	fidUST            = 0x6F38
	serviceGSMAccess  = 27
	serviceGSMContext = 38
	usimAID           = "\xA0\x00\x00\x00\x87\x10\x02"
)

// authenticate is AUTHENTICATE (ETSI TS 102 221 11.1.16, 3GPP TS 31.102 7.1).
func (c *Card) authenticate(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	var s akaState
	if app := ch.app; app != nil && ch.df.app == app && len(app.aid) >= len(usimAID) && string(app.aid[:len(usimAID)]) == usimAID {
		s.usim = true
		s.verified = c.pin(refPIN1, app) == nil || c.keyVerified(refPIN1, app)
		if ust := c.child(app, fidUST); ust != nil {
			s.gsmAccess = service(ust.body, serviceGSMAccess)
			s.gsmContext = service(ust.body, serviceGSMContext)
		}
	}
	return c.auth.authenticate(cmd, r, s)
}

// service tells whether service n, counted from 1, is available in a service
// table: bit 1 of byte 1 is service 1 (3GPP TS 31.102 4.2.8).
func service(table []byte, n int) bool {
	i := (n - 1) / 8
	return i < len(table) && table[i]>>((n-1)%8)&1 == 1
}
