package piv

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Data objects (part 1 table 2): those that need the PIN, and those with a template of
// their own.
const (
	tagDiscovery tlv.Tag = 0x7E
	tagBIT       tlv.Tag = 0x7F61

	tagCHUID        tlv.Tag = 0x5FC102
	tagFingerprints tlv.Tag = 0x5FC103
	tagSecurity     tlv.Tag = 0x5FC106
	tagCCC          tlv.Tag = 0x5FC107
	tagFace         tlv.Tag = 0x5FC108
	tagPrinted      tlv.Tag = 0x5FC109
	tagHistory      tlv.Tag = 0x5FC10C
	tagIris         tlv.Tag = 0x5FC121
	tagSigner       tlv.Tag = 0x5FC122 // secure messaging certificate signer
	tagPairing      tlv.Tag = 0x5FC123 // pairing code reference data
	tagCardCert     tlv.Tag = 0x5FC101 // of slot 9E
)

func objectKey(t tlv.Tag) string { return "o/" + strconv.FormatUint(uint64(t), 16) }

func needsPIN(t tlv.Tag) bool {
	return t == tagFingerprints || t == tagFace || t == tagPrinted || t == tagIris || t == tagPairing
}

// free tells whether an object can be read over every interface (part 1 table 2).
func free(t tlv.Tag) bool {
	return t == tagCHUID || t == tagCardCert || t == tagSigner || t == tagBIT
}

// usage is the PIN usage policy of the discovery object (part 1 3.3.2): 40 the PIN of the
// application, 20 that of the card too, and which of them is asked for first (10, 20); 08
// that there is a virtual contact interface, 04 without a pairing code.
func usage() []byte {
	b, first := byte(0x40), byte(0x00)
	if isPIN(refGlobal) {
		b, first = 0x60, 0x10
		if v, _ := sdk.NVM.Get("global/primary"); len(v) > 0 {
			first = 0x20
		}
	}
	_, cs2 := sdk.NVM.Get("sm/cs2")
	_, cs7 := sdk.NVM.Get("sm/cs7")
	if cs2 || cs7 {
		b |= 0x08
		if _, ok := sdk.NVM.Get("pairing"); !ok {
			b |= 0x04
		}
	}
	return []byte{b, first}
}

// contact tells whether the terminal reaches the card by contacts.
func (c *Card) contact() bool {
	v, _ := sdk.NVM.Get("contactless")
	return len(v) == 0
}

// may tells whether something that is not for everybody goes over this interface: by
// contacts, or virtually (part 1 table 2, 4).
func (c *Card) may(free bool) bool { return free || c.contact() || c.virtual() }

// object reads the tag list that GET DATA and PUT DATA begin with; rest follows it.
func object(data []byte) (t tlv.Tag, rest []byte, ok bool) {
	tag, name, rest, err := tlv.Next(data)
	if err != nil || tag != 0x5C || len(name) == 0 || len(name) > 3 {
		return 0, nil, false
	}
	for _, b := range name {
		t = t<<8 | tlv.Tag(b)
	}
	return t, rest, true
}

// getData is GET DATA (part 2 3.1.2).
func (c *Card) getData(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 != 0x3F || cmd.P2 != 0xFF {
		return apdu.WrongP1P2
	}
	t, rest, ok := object(cmd.Data)
	switch {
	case !ok || len(rest) > 0:
		return apdu.WrongData
	case t == tagDiscovery: // part 1 3.3.2
		m := r.Begin(uint32(tagDiscovery))
		r.TLV(0x4F, AID)
		r.TLV(0x5F2F, usage())
		r.End(m)
		return apdu.OK
	case needsPIN(t) && !c.pin(), !c.may(free(t)):
		return apdu.SecurityNotSatisfied
	}
	v, ok := sdk.NVM.Get(objectKey(t))
	if !ok {
		return apdu.FileNotFound
	}
	if t == tagBIT {
		r.TLV(uint32(tagBIT), v)
	} else {
		r.TLV(0x53, v)
	}
	return apdu.OK
}

// putData is PUT DATA (part 2 3.3.1); an empty object is taken away.
func (c *Card) putData(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	if cmd.P1 != 0x3F || cmd.P2 != 0xFF {
		return apdu.WrongP1P2
	}
	if !c.admin {
		return apdu.SecurityNotSatisfied
	}
	var t tlv.Tag
	var v []byte
	if tag, value, rest, err := tlv.Next(cmd.Data); err == nil && (tag == tagDiscovery || tag == tagBIT) && len(rest) == 0 {
		t, v = tag, value
	} else {
		rest, ok := []byte(nil), false
		if t, rest, ok = object(cmd.Data); !ok || t&0xFFFF00 != 0x5FC100 && t&0xFFFF00 != 0x5FFF00 {
			return apdu.WrongData
		}
		if tag, value, end, err := tlv.Next(rest); err != nil || tag != 0x53 || len(end) > 0 {
			return apdu.WrongData
		} else {
			v = value
		}
	}
	if len(v) == 0 {
		_ = sdk.NVM.Delete(objectKey(t)) // there may be none
		return apdu.OK
	}
	if sdk.NVM.Put(objectKey(t), v) != nil {
		return apdu.NotEnoughMemory
	}
	return apdu.OK
}
