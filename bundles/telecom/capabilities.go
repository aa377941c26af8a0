package telecom

import (
	"bytes"
	"unicode/utf8"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// The numbers of EXCHANGE CAPABILITIES. ETSI TS 102 221 V17 11.1.24 refers to ETSI
// TS 103 666-1, for an SSP only; the latter's text is not at hand. INS 7A, class 80
// and that there are command and response data: pySim, pySim/apdu/ts_102_221.py,
// which cites 11.1.24. The data: ASN.1 module SSPDefinitions of TS 103 666-1.
// unverified: P1 and P2; that the two structures are the whole data, in DER.
const (
	insExchangeCapabilities = 0x7A

	tagSequence       = 0x30
	tagRelease        = 0x80 // aTerminalRelease, two bytes
	tagVendor         = 0x81 // aTerminalVendorName, 1 to 20 characters
	tagInterfacePower = 0x82 // aInterfacePowerSupply, 0 to 1000, DEFAULT 0
	tagExternalPower  = 0x83 // aExternalPowerSupply, likewise
	tagProfile        = 0x84 // aToolkitTerminalProfile
	firstUnknown      = 0x05 // number of the first component that is not known
	contextClass      = 0x80
	maxVendor         = 20
	maxPowerSupply    = 1000
)

// sspCapability is the SSPCapability of this card, but for the class, which is the
// platform's. chosen: the release.
const sspCapability = "\x30\x1A" +
	"\x80\x02\x0F\x00" + // aSspRelease: 15.0
	"\x81\x06sspemu" + // aSspVendorName
	"\x82\x01\x00" + // aSspClass, at atClass
	"\xA4\x09" + // aSspUicc
	"\x80\x01\x14" + // aNumberOfLogicalChannels: 20
	"\x82\x01\xFF" + // aSupportOfUiccFileSystem
	"\x83\x01\xFF" // aSupportOfCardApplicationToolkit

// atClass is where the value of aSspClass stands in sspCapability.
const atClass = 2 + 4 + 8 + 2

// exchangeCapabilities is EXCHANGE CAPABILITIES (TS 102 221 11.1.24): the terminal
// sends its TerminalCapability and gets the SSPCapability. A toolkit profile in it
// does what TERMINAL PROFILE does. unverified: that, and 6A80.
func (c *Card) exchangeCapabilities(_ *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	profile, ok := terminalCapabilities(cmd.Data)
	if !ok {
		return apdu.WrongData
	}
	if profile {
		c.cat.waiting, c.cat.fetched = c.cat.commands, false
	}
	r.Append([]byte(sspCapability[:atClass]))
	r.Byte(byte(sdk.SSPClass()))
	r.Append([]byte(sspCapability[atClass+1:]))
	return apdu.OK
}

// terminalCapabilities tells whether b is a TerminalCapability in DER, and whether
// there is a toolkit profile in it. The type is extensible: components behind those
// that are known are passed over. It does not allocate.
func terminalCapabilities(b []byte) (profile, ok bool) {
	tag, b, rest, ok := shortest(b)
	if !ok || tag != tagSequence || len(rest) > 0 {
		return false, false
	}
	last := -1
	for len(b) > 0 {
		var v []byte
		if tag, v, b, ok = shortest(b); !ok {
			return false, false
		}
		first := int(tag)
		for first > 0xFF {
			first >>= 8
		}
		number := first & 0x1F
		switch {
		case first&0xC0 != contextClass, number < last, number == last && tag <= 0xFF:
			return false, false
		case last < 0 && tag != tagRelease: // mandatory
			return false, false
		}
		last = number
		switch tag {
		case tagRelease:
			ok = len(v) == 2
		case tagVendor:
			n := utf8.RuneCount(v)
			ok = utf8.Valid(v) && n >= 1 && n <= maxVendor
		case tagInterfacePower, tagExternalPower:
			ok = powerSupply(v)
		case tagProfile:
			profile = true
		default:
			ok = number >= firstUnknown
		}
		if !ok {
			return false, false
		}
	}
	return profile, last >= 0
}

// powerSupply tells whether v is an INTEGER of 1 to 1000 in its shortest form; 0,
// the DEFAULT, is left out in DER (ITU-T X.690 11.5).
func powerSupply(v []byte) bool {
	switch len(v) {
	case 1:
		return v[0] > 0 && v[0] < 0x80
	case 2:
		n := int(v[0])<<8 | int(v[1])
		return n >= 0x80 && n <= maxPowerSupply
	}
	return false
}

// shortest splits a data object off b whose tag and length are in their shortest
// form, as DER has them (ITU-T X.690 10.1).
func shortest(b []byte) (tag tlv.Tag, value, rest []byte, ok bool) {
	tag, value, rest, err := tlv.Next(b)
	if err != nil {
		return 0, nil, nil, false
	}
	var head [8]byte
	h := tlv.AppendHeader(head[:0], tag, len(value))
	return tag, value, rest, len(h)+len(value)+len(rest) == len(b) && bytes.HasPrefix(b, h)
}
