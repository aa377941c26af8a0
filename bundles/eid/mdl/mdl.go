// Package mdl is the mobile driving licence and its relatives on the card: mobile documents
// that a reader engages by NFC (or by a QR code, over HTTP or CoAP), asks under encryption,
// and verifies up to the issuing authority.
//
//	reader ─ SELECT D2760000850101, READ BINARY ─> Tag       engagement, static handover
//	       ─ SELECT A0000002480400, ENVELOPE ────> Card ─┐   data retrieval, DO 53
//	       ─ HTTP, CoAP /mdl/engagement, /session ───────┴─> line ─> mdoc.Session
//	                                                          └─> respond ─> documents in NVM
//	persona ─ Personalise ─> issue ─> documents, keys            └─> secureArea (keys)
//
// Sources: ISO/IEC 18013-5:2021 8.2.2, 8.3.3.1.2, 9.1 as far as public examples and suites
// tell it (see package mdoc); NFC Forum Type 4 Tag 2.0 and Connection Handover 1.5 by
// their public use (unverified). Retrieval over HTTP and CoAP is of our own making after
// the likeness of ISO/IEC TS 18013-7: provisional.
package mdl

import (
	"errors"
	"strconv"

	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// AID of data retrieval by NFC (ISO/IEC 18013-5 8.3.3.1.2).
var AID = []byte{0xA0, 0x00, 0x00, 0x02, 0x48, 0x04, 0x00}

// tagData is the data object of ENVELOPE and its answer (8.3.3.1.2).
const tagData tlv.Tag = 0x53

// Card is the application of data retrieval, an sdk.Applet.
type Card struct {
	set  settings
	tag  Tag
	nfc  *engagement // that the NDEF file tells
	qr   *engagement // that the QR code tells
	apdu line
	web  line
}

// New gives a card that is not loaded yet.
func New() *Card {
	c := &Card{}
	c.tag.card = c
	return c
}

// Tag is the applet of engagement by NFC.
func (c *Card) Tag() *Tag { return &c.tag }

// Load reads the settings from NVM.
func (c *Card) Load() error { return c.set.load() }

// Forget drops sessions and ephemeral keys.
func (c *Card) Forget() {
	c.apdu.end()
	c.web.end()
	c.nfc.forget()
	c.qr.forget()
	c.nfc, c.qr = nil, nil
	c.tag.file = 0
}

// Deselect implements sdk.Deselecter: another application ends the session.
func (c *Card) Deselect(int) { c.apdu.end() }

// Select begins data retrieval; there is no answer data.
func (c *Card) Select(int, *sdk.Command, *sdk.Response) sdk.SW {
	if c.set.count == 0 {
		return apdu.FileNotFound
	}
	c.apdu.end()
	return sdk.OK
}

// APDU answers ENVELOPE: chaining, GET RESPONSE and Le are the platform's work.
func (c *Card) APDU(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch sdk.Class(cmd.CLA) {
	case 0x00:
	case 0x08, 0x0C:
		return apdu.SecureMessagingNotSup
	default:
		return apdu.ClaNotSupported
	}
	if cmd.INS != 0xC3 {
		return apdu.InsNotSupported
	}
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return apdu.WrongP1P2
	}
	if len(cmd.Data) == 0 {
		return apdu.WrongLength
	}
	tag, message, rest, err := tlv.Next(cmd.Data)
	if err != nil || tag != tagData || len(rest) > 0 {
		c.apdu.end()
		return apdu.WrongData
	}
	answer, ok := c.exchange(&c.apdu, message, &c.nfc, &c.qr)
	if !ok {
		return apdu.ConditionsNotSatisfied
	}
	if answer != nil {
		r.Append(tlv.AppendHeader(nil, tagData, len(answer)))
		r.Append(answer)
	}
	return sdk.OK
}

// engagement is an offer to talk: an ephemeral key and how it is told. The key serves one
// session.
type engagement struct {
	private  []byte
	device   []byte // DeviceEngagement
	handover []byte // encoded, for the transcript
	ndef     []byte // Handover Select message
}

func (e *engagement) forget() {
	if e != nil {
		clear(e.private)
	}
}

// offer makes an engagement for NFC or QR.
func (c *Card) offer(nfc bool) (*engagement, error) {
	kind := c.set.session
	seed := make([]byte, kind.Curve.OrderSize()+8)
	sdk.Random(seed)
	e := &engagement{private: kind.Curve.Scalar(seed)}
	clear(seed)
	key, err := mdoc.Public(kind, e.private)
	if err != nil {
		return nil, err
	}
	told := mdoc.Engagement{Key: key}
	if nfc {
		e.device = told.Encode()
		e.ndef = handoverSelect(e.device, c.set.command, c.set.response)
		e.handover = mdoc.NFCHandover(e.ndef, nil)
		return e, nil
	}
	told.Command, told.Response = c.set.command, c.set.response
	e.device = told.Encode()
	e.handover = mdoc.QRHandover()
	return e, nil
}

// line is a way to a reader, and the session on it.
type line struct {
	session *mdoc.Session
	reader  mdoc.PublicKey
}

func (l *line) end() { *l = line{} }

// fail ends the session and says why (9.1.1.4).
func (l *line) fail(status int) ([]byte, bool) {
	l.end()
	return mdoc.Message{Status: status}.Encode(), true
}

// exchange takes a message of a reader. ok is false when there is no session and the
// message does not make one; no answer is the end.
func (c *Card) exchange(l *line, message []byte, offers ...**engagement) (answer []byte, ok bool) {
	m, err := mdoc.ParseMessage(message)
	if err != nil {
		if l.session == nil && *offers[0] == nil && *offers[len(offers)-1] == nil {
			return nil, false
		}
		return l.fail(mdoc.StatusCBOR)
	}
	var plain []byte
	switch {
	case m.ReaderKey != nil && l.session != nil:
		return l.fail(mdoc.StatusEncryption) // the key of the device has served
	case m.ReaderKey != nil:
		any := false
		for _, o := range offers {
			any = any || *o != nil
		}
		if !any {
			return nil, false
		}
		status := mdoc.StatusEncryption
		for _, o := range offers {
			if *o == nil || l.session != nil {
				continue
			}
			if plain, err = l.establish(*o, c.set.session, m); err == errReaderKey {
				status = mdoc.StatusCBOR
			}
			(*o).forget()
			*o = nil
		}
		if l.session == nil {
			return l.fail(status)
		}
	case l.session == nil:
		return nil, false
	case m.Data == nil:
		l.end() // status 20, or what the reader did not understand
		return nil, true
	default:
		if plain, err = l.session.Open(m.Data); err != nil {
			return l.fail(mdoc.StatusEncryption)
		}
	}
	b := c.respond(l, plain).Encode()
	if len(b) > maxResponse {
		b = mdoc.Response{Status: mdoc.GeneralError}.Encode()
	}
	reply := mdoc.Message{Data: l.session.Seal(b)}
	if m.Status != 0 {
		l.end()
		reply.Status = mdoc.StatusTermination
	}
	return reply.Encode(), true
}

// maxResponse is the longest DeviceResponse: an answer of 65536 octets without the heads
// of data object, message and encryption.
const maxResponse = 65536 - 128

// errReaderKey: the key of the reader cannot be used.
var errReaderKey = errors.New("mdl: the key of the reader is none of this session's curve")

// establish makes the session that a SessionEstablishment is about.
func (l *line) establish(e *engagement, kind mdoc.Kind, m mdoc.Message) ([]byte, error) {
	v, err := mdoc.Decode(m.ReaderKey)
	if err != nil {
		return nil, errReaderKey
	}
	reader, err := mdoc.ParseCoseKey(v)
	if err != nil {
		return nil, errReaderKey
	}
	secret, err := mdoc.Agree(kind.Curve, e.private, reader)
	if err != nil {
		return nil, errReaderKey
	}
	transcript := mdoc.Transcript(e.device, append([]byte(nil), m.ReaderKey...), e.handover)
	s, err := mdoc.NewSession(secret, transcript, true)
	clear(secret)
	if err != nil {
		return nil, err
	}
	plain, err := s.Open(m.Data)
	if err != nil {
		return nil, err
	}
	reader.Bytes = append([]byte(nil), reader.Bytes...)
	l.session, l.reader = s, reader
	return plain, nil
}

// Describe adds what everybody may know: applications and how many documents there are,
// nothing of whom they are about.
func (c *Card) Describe(d *face.Description) {
	if c.set.count == 0 {
		return
	}
	d.Standards = append(d.Standards, "ISO/IEC 18013-5")
	d.Applications = append(d.Applications,
		face.Application{AID: AID, Label: "mdoc"}, face.Application{AID: TagAID, Label: "NDEF"})
	for i := range c.set.count {
		if b, ok := sdk.NVM.Get(docName(i)); ok {
			if doc, err := readDocument(b); err == nil {
				d.Persona = append(d.Persona, face.Field{Name: "mobile document " + strconv.Itoa(i+1), Value: doc.docType})
			}
		}
	}
}
