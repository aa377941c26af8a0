package cryptogram

import "errors"

// NotRequested stands in CVR.Second for a second GENERATE AC that was not requested.
const NotRequested = 0x80

// CVR is the card verification results: what the card tells the issuer about this
// transaction and the ones before.
type CVR struct {
	First  byte // type of the first cryptogram: 00 AAC, 40 TC, 80 ARQC
	Second byte // of the second: 00 AAC, 40 TC, NotRequested

	DDA, CDA                           bool // performed
	PINVerified, PINFailed             bool // offline, in this transaction
	PINTries                           byte // left
	PINTryLimitExceeded                bool
	UnableOnline                       bool
	LastOnlineNotCompleted             bool
	IssuerAuthFailed                   bool // now or in the last transaction
	IssuerAuthNotPerformed             bool // although online
	LowerConsecutive, UpperConsecutive bool // limits of transactions offline in a row
	LowerCumulative, UpperCumulative   bool // limits of their amount
	ScriptReceived, ScriptFailed       bool
	Scripts                            byte // commands processed, 15 at most
	OfflineAuthFailed                  bool // in the last transaction, which was declined
	NewCard                            bool
}

// bit is a position in the coded results.
type bit struct {
	set    *bool
	at     int
	weight byte
}

// ccd are the bits of the common core definitions (Book 3 annex C7.3).
func (c *CVR) ccd() []bit {
	return []bit{
		{&c.CDA, 0, 0x08}, {&c.DDA, 0, 0x04}, {&c.IssuerAuthNotPerformed, 0, 0x02}, {&c.IssuerAuthFailed, 0, 0x01},
		{&c.PINFailed, 1, 0x04}, {&c.PINTryLimitExceeded, 1, 0x02}, {&c.LastOnlineNotCompleted, 1, 0x01},
		{&c.LowerConsecutive, 2, 0x80}, {&c.UpperConsecutive, 2, 0x40}, {&c.LowerCumulative, 2, 0x20}, {&c.UpperCumulative, 2, 0x10},
		{&c.ScriptFailed, 3, 0x08}, {&c.OfflineAuthFailed, 3, 0x04}, {&c.UnableOnline, 3, 0x01},
	}
}

// vis are the bits of versions 10, 17 and 18, behind the length (recalled from public
// descriptions, unverified).
func (c *CVR) vis() []bit {
	return []bit{
		{&c.IssuerAuthFailed, 0, 0x08}, {&c.UnableOnline, 0, 0x01},
		{&c.LastOnlineNotCompleted, 1, 0x80}, {&c.PINTryLimitExceeded, 1, 0x40}, {&c.LowerConsecutive, 1, 0x20}, {&c.NewCard, 1, 0x10},
		{&c.IssuerAuthNotPerformed, 1, 0x04}, {&c.ScriptFailed, 2, 0x08}, {&c.OfflineAuthFailed, 2, 0x04}, {&c.DDA, 2, 0x02},
	}
}

func encode(b []byte, list []bit) {
	for _, f := range list {
		if *f.set {
			b[f.at] |= f.weight
		}
	}
}

func decode(b []byte, list []bit) {
	for _, f := range list {
		*f.set = b[f.at]&f.weight != 0
	}
}

func truth(b bool, weight byte) byte {
	if b {
		return weight
	}
	return 0
}

// AppendIAD adds the issuer application data, tag 9F10: for CCD 32 bytes (Book 3 annex
// C7.2) with up to 8 bytes of counters and 15 of the issuer's in discretionary, else
// length, derivation key index, version, CVR.
func (v Version) AppendIAD(dst []byte, c CVR, dki byte, discretionary []byte) []byte {
	types := c.Second&0xC0 | c.First&0xC0>>2
	if v.style != styleCCD {
		b := []byte{0x06, dki, v.Number, 0x03, types, 0, c.Scripts << 4}
		encode(b[4:], c.vis())
		b[4] |= truth(c.PINVerified || c.PINFailed, 0x04) | truth(c.PINFailed, 0x02)
		return append(append(dst, b...), discretionary...)
	}
	b := make([]byte, 32)
	b[0], b[1], b[2] = 0x0F, v.Number, dki
	cvr := b[3:8]
	cvr[0] = types
	cvr[1] = c.PINTries<<4 | truth(c.PINVerified || c.PINFailed, 0x08)
	cvr[3] = c.Scripts << 4
	encode(cvr, c.ccd())
	b[16] = 0x0F
	copy(b[8:16], discretionary)
	if len(discretionary) > 8 {
		copy(b[17:], discretionary[8:])
	}
	return append(dst, b...)
}

// ErrIAD says that issuer application data are none of the forms that are known.
var ErrIAD = errors.New("cryptogram: issuer application data of an unknown form")

// ParseIAD reads what AppendIAD made.
func ParseIAD(b []byte) (v Version, c CVR, dki byte, err error) {
	number := byte(0)
	switch {
	case len(b) == 32 && b[0] == 0x0F && b[16] == 0x0F:
		number, dki = b[1], b[2]
	case len(b) >= 7 && b[0] == 0x06 && b[3] == 0x03:
		number, dki = b[2], b[1]
	}
	known := false
	for _, o := range versions {
		if o.Number == number {
			v, known = o, true
		}
	}
	if !known || (v.style == styleCCD) != (b[0] == 0x0F) {
		return Version{}, c, 0, ErrIAD
	}
	if v.style == styleCCD {
		cvr := b[3:8]
		decode(cvr, c.ccd())
		c.First, c.Second = cvr[0]<<2&0xC0, cvr[0]&0xC0
		c.PINTries, c.Scripts = cvr[1]>>4, cvr[3]>>4
		c.PINVerified = cvr[1]&0x08 != 0 && !c.PINFailed
	} else {
		cvr := b[4:7]
		decode(cvr, c.vis())
		c.First, c.Second = cvr[0]<<2&0xC0, cvr[0]&0xC0
		c.PINFailed = cvr[0]&0x02 != 0
		c.PINVerified = cvr[0]&0x04 != 0 && !c.PINFailed
		c.Scripts = cvr[2] >> 4
	}
	c.ScriptReceived = c.Scripts > 0
	return v, c, dki, nil
}

// CSU is the card status update, which the issuer sends with ARPC method 2 (Book 3
// annex C7.4).
type CSU struct {
	Proprietary      bool // proprietary authentication data are included
	PINTries         byte
	Approve          bool // the issuer approves the transaction
	BlockCard        bool
	BlockApplication bool
	UpdatePINTries   bool
	OnlineNext       bool
	ByProxy          bool
	Counters         byte // 0 leave, 1 to the upper limits, 2 to zero, 3 add the transaction
}

// ParseCSU reads the four bytes.
func ParseCSU(b [4]byte) CSU {
	return CSU{
		Proprietary: b[0]&0x80 != 0, PINTries: b[0] & 0x0F,
		Approve: b[1]&0x80 != 0, BlockCard: b[1]&0x40 != 0, BlockApplication: b[1]&0x20 != 0, UpdatePINTries: b[1]&0x10 != 0,
		OnlineNext: b[1]&0x08 != 0, ByProxy: b[1]&0x04 != 0, Counters: b[1] & 0x03,
	}
}

// Bytes codes it.
func (c CSU) Bytes() [4]byte {
	return [4]byte{
		truth(c.Proprietary, 0x80) | c.PINTries&0x0F,
		truth(c.Approve, 0x80) | truth(c.BlockCard, 0x40) | truth(c.BlockApplication, 0x20) | truth(c.UpdatePINTries, 0x10) |
			truth(c.OnlineNext, 0x08) | truth(c.ByProxy, 0x04) | c.Counters&0x03,
	}
}
