package mrtd

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// terminal is terminal authentication version 1 under way (Doc 9303-11 7.1; TR-03110-1
// 3.5).
type terminal struct {
	above  *pki.CVC  // MSE:Set DST: who has signed the next certificate
	key    pki.CVKey // its key, with domain parameters
	last   *pki.CVC  // the last one that was verified
	chain  byte      // what all certificates so far allow
	ready  bool      // MSE:Set AT has named the last one
	rights byte      // effective, once the terminal is authenticated: issue.RightDG3 ...
}

// trustPoints is how many the chip holds (TR-03110-3 2.2.3: two at most).
const trustPoints = 2

func trustKey(i int) string { return "m/cvca/" + strconv.Itoa(i) }

// trustPoint is a CVCA that the chip trusts, 0 the newest; nil: there is none.
func (c *Card) trustPoint(i int) *pki.CVC {
	if c.chip.TA == nil {
		return nil
	}
	b, ok := sdk.NVM.Get(trustKey(i))
	if !ok {
		return nil
	}
	cert, err := pki.ParseCVC(b)
	if err != nil {
		return nil
	}
	return cert
}

// trusted are the references of the trust points.
func (c *Card) trusted() (names []string) {
	for i := range trustPoints {
		if p := c.trustPoint(i); p != nil {
			names = append(names, p.Holder)
		}
	}
	return names
}

// today is the date as the chip knows it, from the certificates that it has seen.
func (c *Card) today() (d pki.CVDate) {
	v, _ := sdk.NVM.Get("m/date")
	copy(d[:], v)
	return d
}

// setIssuer is MSE:Set DST: the reference of who signed the next certificate.
func (c *Card) setIssuer(data []byte) sdk.SW {
	name, err := tlv.Find(data, 0x83)
	if err != nil {
		return apdu.WrongData
	}
	t := &c.terminal
	t.ready = false
	if t.last != nil && t.last.Holder == string(name) {
		t.above = t.last
		return apdu.OK
	}
	for i := range trustPoints {
		if p := c.trustPoint(i); p != nil && p.Holder == string(name) {
			*t = terminal{above: p, key: p.Key, chain: p.Rights[len(p.Rights)-1], rights: 0}
			return apdu.OK
		}
	}
	return apdu.ReferencedDataNotFound
}

// verifyCertificate is PSO:VERIFY CERTIFICATE. The certificate of a new CVCA becomes a
// trust point.
func (c *Card) verifyCertificate(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	t := &c.terminal
	switch {
	case cmd.P1 != 0 || cmd.P2 != 0xBE:
		return apdu.WrongP1P2
	case c.session == nil || c.ephemeral == nil || c.chip.TA == nil:
		return apdu.SecurityNotSatisfied
	case t.above == nil:
		return apdu.ConditionsNotSatisfied
	}
	cert, err := pki.ParseCVContents(cmd.Data)
	if err != nil {
		return apdu.WrongData
	}
	if err := cert.Follows(t.above, t.key, c.today(), sdk.ModExp); err != nil {
		*t = terminal{}
		return authenticationFailed
	}
	newest, _ := sdk.NVM.Get(trustKey(0))
	if cert.Level() == pki.CVCA && string(newest) != string(cert.Raw) {
		if sdk.NVM.Put(trustKey(1), newest) != nil || sdk.NVM.Put(trustKey(0), cert.Raw) != nil {
			return apdu.NotEnoughMemory
		}
	}
	if cert.Dates(t.above) && cert.From.After(c.today()) {
		if sdk.NVM.Put("m/date", cert.From[:]) != nil {
			return apdu.NotEnoughMemory
		}
	}
	t.key, t.last, t.above = cert.Key.With(t.key), cert, nil
	t.chain &= cert.Rights[len(cert.Rights)-1]
	return apdu.OK
}

// setTerminal is MSE:Set AT: the certificate by which the terminal authenticates.
func (c *Card) setTerminal(data []byte) sdk.SW {
	name, err := tlv.Find(data, 0x83)
	if err != nil {
		return apdu.WrongData
	}
	t := &c.terminal
	t.ready = t.last != nil && t.last.Holder == string(name) && t.last.Level() == pki.Terminal
	if !t.ready {
		return apdu.ReferencedDataNotFound
	}
	return apdu.OK
}

// authenticateTerminal verifies the terminal's signature over what it knows of the chip,
// the challenge and its ephemeral key, and gives the rights.
func (c *Card) authenticateTerminal(cmd *sdk.Command) sdk.SW {
	t := &c.terminal
	if !t.ready {
		return apdu.ConditionsNotSatisfied
	}
	t.ready = false
	message := append(append(append([]byte{}, c.id...), c.challenge...), c.ephemeral...)
	key, err := t.key.Public()
	if err != nil || key.VerifyWith(sdk.ModExp, t.key.Algorithm, message, cmd.Data) != nil {
		return authenticationFailed
	}
	t.rights = t.chain & 0x3F
	return apdu.OK
}
