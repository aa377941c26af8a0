package mdl

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// TagAID is the NDEF tag application (NFC Forum Type 4 Tag 2.0).
var TagAID = []byte{0xD2, 0x76, 0x00, 0x00, 0x85, 0x01, 0x01}

// Files of the tag.
const (
	fidCC   = 0xE103 // capability container
	fidNDEF = 0xE104
)

// maxNDEF is the size of the NDEF file that the capability container tells.
const maxNDEF = 0x0400

// capability is the container: mapping version 2.0, 255 octets to read and write at once,
// the NDEF file, which is read freely and not written.
var capability = []byte{0x00, 0x0F, 0x20, 0x00, 0xFF, 0x00, 0xFF, 0x04, 0x06, fidNDEF >> 8, fidNDEF & 0xFF, maxNDEF >> 8, maxNDEF & 0xFF, 0x00, 0xFF}

// Tag is a type 4 tag whose message is the Handover Select of a reader's engagement, an
// sdk.Applet.
type Tag struct {
	card *Card
	file uint16
}

// Select begins an engagement.
func (t *Tag) Select(int, *sdk.Command, *sdk.Response) sdk.SW {
	if t.card.set.count == 0 {
		return apdu.FileNotFound
	}
	t.file = 0
	return sdk.OK
}

// APDU answers SELECT by file identifier and READ BINARY.
func (t *Tag) APDU(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cls := sdk.Class(cmd.CLA); cls != 0x00 {
		if cls == 0x08 || cls == 0x0C {
			return apdu.SecureMessagingNotSup
		}
		return apdu.ClaNotSupported
	}
	switch cmd.INS {
	case 0xA4:
		if cmd.P1 != 0x00 || cmd.P2 != 0x0C && cmd.P2 != 0x00 {
			return apdu.WrongP1P2
		}
		if len(cmd.Data) != 2 {
			return apdu.WrongLength
		}
		f := uint16(cmd.Data[0])<<8 | uint16(cmd.Data[1])
		if f != fidCC && f != fidNDEF {
			return apdu.FileNotFound
		}
		t.file = f
		return sdk.OK
	case 0xB0:
		return t.read(cmd, r)
	case 0xD6:
		return apdu.SecurityNotSatisfied // the capability container says so
	}
	return apdu.InsNotSupported
}

func (t *Tag) read(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	var b []byte
	switch t.file {
	case fidCC:
		b = capability
	case fidNDEF:
		c := t.card
		if c.nfc == nil {
			e, err := c.offer(true)
			if err != nil {
				return apdu.NoPreciseDiagnosis
			}
			c.nfc = e
		}
		n := len(c.nfc.ndef)
		b = append([]byte{byte(n >> 8), byte(n)}, c.nfc.ndef...)
	default:
		return apdu.NoCurrentEF
	}
	if cmd.P1&0x80 != 0 {
		return apdu.WrongP1P2
	}
	if len(cmd.Data) > 0 {
		return apdu.WrongLength
	}
	off := int(cmd.P1)<<8 | int(cmd.P2)
	if off >= len(b) {
		return apdu.WrongP1P2NoInfo
	}
	b = b[off:]
	r.Append(b[:min(len(b), cmd.Ne)])
	return sdk.OK
}

// handoverSelect is the message of a static handover (ISO/IEC 18013-5 8.2.2.1, D.3.2): the
// Handover Select record with one carrier, the carrier's configuration and the
// DeviceEngagement.
func handoverSelect(engagement []byte, command, response int) []byte {
	const carrier, mdoc = "nfc", "mdoc"
	// Alternative carrier record: active, data reference, one auxiliary reference.
	ac := []byte{0x01, byte(len(carrier))}
	ac = append(append(append(ac, carrier...), 0x01, byte(len(mdoc))), mdoc...)
	hs := append([]byte{0x15}, record(0xD1, "ac", "", ac)...) // version 1.5
	b := record(0x91, "Hs", "", hs)
	// Version 1, the longest command data and response data (8.2.2.2); 65536 does not fit
	// into two octets.
	number := func(b []byte, tag byte, n int) []byte {
		if n > 0xFFFF {
			return append(b, 4, tag, byte(n>>16), byte(n>>8), byte(n))
		}
		return append(b, 3, tag, byte(n>>8), byte(n))
	}
	cfg := number(number([]byte{0x01}, 0x01, command), 0x02, response)
	b = append(b, record(0x1C, "iso.org:18013:nfc", carrier, cfg)...)
	return append(b, record(0x5C, "iso.org:18013:deviceengagement", mdoc, engagement)...)
}

// record is a short NDEF record: flags and type name format, type, identifier, payload.
func record(flags byte, typ, id string, payload []byte) []byte {
	b := []byte{flags, byte(len(typ)), byte(len(payload))}
	if id != "" {
		b = append(b, byte(len(id)))
	}
	b = append(append(b, typ...), id...)
	return append(b, payload...)
}
