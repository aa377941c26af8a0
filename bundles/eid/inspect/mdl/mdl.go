// Package mdl is a reader of mobile documents: it engages, asks, decrypts, and verifies
// everything up to the issuing authority.
//
//	Transport: NFC(inspect.Card), HTTP(do) ──> Inspect ──> Report
//	                                             └─ Verify: DeviceResponse ─┬─ issuer   chain, MSO, digests, dates
//	                                                                        └─ device   signature or MAC
//
// Session encryption is shared with the card (bundles/eid/mdl/mdoc), whose known answers
// are the standard's. What verifies is not: CBOR by fxamacker/cbor, COSE_Sign1 by
// veraison/go-cose, certificates by crypto/x509. Keys on brainpool curves, which those do
// not know, are verified by internal/ec.
//
// Sources: ISO/IEC 18013-5:2021 9.3.1 (inspection), 9.1.2 to 9.1.4, annex B, as far as
// public sources tell; clause numbers unverified where annex D does not show them.
package mdl

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Document types and name spaces that are asked for by default.
const (
	TypeMDL  = "org.iso.18013.5.1.mDL"
	SpaceMDL = "org.iso.18013.5.1"
	TypePID  = "eu.europa.ec.eudi.pid.1"
)

// Defaults are the elements of a document type that are asked for when nobody says which:
// those that are mandatory, and an age (ISO/IEC 18013-5 table 5; of PID unverified).
var Defaults = map[string][]string{
	TypeMDL: {"family_name", "given_name", "birth_date", "issue_date", "expiry_date", "issuing_country", "issuing_authority",
		"document_number", "portrait", "driving_privileges", "un_distinguishing_sign", "age_over_18"},
	TypePID: {"family_name", "given_name", "birth_date", "place_of_birth", "nationality", "expiry_date", "issuing_authority", "issuing_country"},
}

// Space is the name space that the elements of a document type are in, if none is named.
func Space(docType string) string {
	if docType == TypeMDL {
		return SpaceMDL
	}
	return docType
}

// Config is the reader.
type Config struct {
	Queries []mdoc.Query        // none: all of Defaults
	Anchors []*x509.Certificate // of issuing authorities
	// ReaderKey and ReaderChain authenticate the reader; nil: it does not.
	ReaderKey   []byte
	ReaderKind  mdoc.Kind
	ReaderChain [][]byte
	// Ephemeral is the key of the session; nil: a random one.
	Ephemeral []byte
}

// Transport is the way to a document.
type Transport interface {
	// Engage gives the DeviceEngagement and the encoded handover.
	Engage(ctx context.Context) (device, handover []byte, err error)
	// Begin is called once before the first message.
	Begin(ctx context.Context, e mdoc.Engagement) error
	// Exchange sends a session message and gives the answer, nil for none.
	Exchange(ctx context.Context, message []byte) ([]byte, error)
}

// Query asks for elements by name, or by name space and name: "org.iso.18013.5.1/portrait".
func Query(docType string, names ...string) mdoc.Query {
	if len(names) == 0 {
		names = Defaults[docType]
	}
	var e []mdoc.Element
	for _, n := range names {
		ns := Space(docType)
		if at := strings.LastIndexByte(n, '/'); at >= 0 {
			ns, n = n[:at], n[at+1:]
		}
		e = append(e, mdoc.Element{NameSpace: ns, Name: n})
	}
	return mdoc.NewQuery(docType, e...)
}

// Session is a reader's session with a document.
type Session struct {
	engagement mdoc.Engagement
	session    *mdoc.Session
	key        []byte // COSE_Key
	begun      bool
	Transcript []byte
	Kind       mdoc.Kind
	Private    []byte // ephemeral
}

// Open engages.
func Open(ctx context.Context, t Transport, ephemeral []byte) (*Session, error) {
	device, handover, err := t.Engage(ctx)
	if err != nil {
		return nil, err
	}
	s, err := Begin(device, handover, ephemeral)
	if err != nil {
		return nil, err
	}
	return s, t.Begin(ctx, s.engagement)
}

// Begin makes a session of an engagement and its handover; ephemeral is the reader's key,
// nil for a random one.
func Begin(device, handover, ephemeral []byte) (*Session, error) {
	e, err := mdoc.ParseEngagement(device)
	if err != nil {
		return nil, fmt.Errorf("the engagement: %w", err)
	}
	if e.Key.Curve == nil {
		return nil, errors.New("the engagement has a key that cannot agree on a secret")
	}
	s := &Session{engagement: e, Kind: e.Key.Kind, Private: ephemeral}
	if s.Private == nil {
		seed := make([]byte, e.Key.Curve.OrderSize()+8)
		if _, err := rand.Read(seed); err != nil {
			return nil, err
		}
		s.Private = e.Key.Curve.Scalar(seed)
	}
	own, err := mdoc.Public(s.Kind, s.Private)
	if err != nil {
		return nil, err
	}
	secret, err := mdoc.Agree(e.Key.Curve, s.Private, e.Key)
	if err != nil {
		return nil, err
	}
	s.key = own.CoseKey()
	s.Transcript = mdoc.Transcript(device, s.key, handover)
	if s.session, err = mdoc.NewSession(secret, s.Transcript, false); err != nil {
		return nil, err
	}
	return s, nil
}

// Message is the next message of the session, with plain encrypted.
func (s *Session) Message(plain []byte) mdoc.Message {
	m := mdoc.Message{Data: s.session.Seal(plain)}
	if !s.begun {
		m.ReaderKey = s.key
	}
	s.begun = true
	return m
}

// Answer decrypts an answer.
func (s *Session) Answer(b []byte) ([]byte, error) {
	m, err := mdoc.ParseMessage(b)
	if err != nil {
		return nil, fmt.Errorf("the answer is no session message: %w", err)
	}
	if m.Data == nil {
		return nil, fmt.Errorf("the document ends the session with status %d (%s)", m.Status, statusWords[m.Status])
	}
	return s.session.Open(m.Data)
}

var statusWords = map[int]string{mdoc.StatusEncryption: "session encryption error", mdoc.StatusCBOR: "CBOR decoding error", mdoc.StatusTermination: "session termination"}

// Inspect reads and verifies. The error says why there is nothing to verify.
func Inspect(ctx context.Context, t Transport, c Config, r *inspect.Report) error {
	r.Kind = "Mobile document"
	s, err := Open(ctx, t, c.Ephemeral)
	if !r.Is(err, "Engagement", "ISO/IEC 18013-5 8.2", "the document tells version 1 and a key on a known curve") {
		return err
	}
	queries := c.Queries
	if queries == nil {
		queries = []mdoc.Query{Query(TypeMDL), Query(TypePID)}
	}
	if c.ReaderKey != nil {
		signed := append([]mdoc.Query(nil), queries...)
		for i := range signed {
			if err := signed[i].Sign(c.ReaderKind, c.ReaderKey, c.ReaderChain, s.Transcript); err != nil {
				return fmt.Errorf("reader authentication: %w", err)
			}
		}
		queries = signed
	}
	answer, err := t.Exchange(ctx, s.Message(mdoc.Request{Documents: queries}.Encode()).Encode())
	if err == nil && answer == nil {
		err = errors.New("the document answers nothing")
	}
	var plain []byte
	if err == nil {
		plain, err = s.Answer(answer)
	}
	if !r.Is(err, "Session", "ISO/IEC 18013-5 9.1.1", "the answer is encrypted with the keys of this session") {
		return err
	}
	if _, err := t.Exchange(ctx, mdoc.Message{Status: mdoc.StatusTermination}.Encode()); err != nil {
		r.Warn("Session termination", "ISO/IEC 18013-5 9.1.1.4", "%s", err)
	}
	return Verify(r, c.Anchors, queries, plain, s)
}

// nfc is data retrieval by APDUs.
type nfc struct {
	card inspect.Card
	max  int // octets of command data
}

// NFC engages by the NDEF tag and retrieves by ENVELOPE.
func NFC(card inspect.Card) Transport { return &nfc{card: card, max: 255} }

// send expects 9000.
func (n *nfc) send(ctx context.Context, what string, capdu []byte) ([]byte, error) {
	b, sw, err := inspect.Exchange(ctx, n.card, capdu)
	if err != nil {
		return nil, err
	}
	if sw != apdu.OK {
		return nil, fmt.Errorf("%s: status %04X, %s", what, uint16(sw), sw.Words())
	}
	return b, nil
}

func sel(aid ...byte) []byte {
	return append(append([]byte{0x00, 0xA4, 0x04, 0x00, byte(len(aid))}, aid...), 0x00)
}

func (n *nfc) Engage(ctx context.Context) (device, handover []byte, err error) {
	if _, err = n.send(ctx, "SELECT of the NDEF tag", sel(0xD2, 0x76, 0x00, 0x00, 0x85, 0x01, 0x01)); err != nil {
		return nil, nil, err
	}
	if _, err = n.send(ctx, "SELECT of the capability container", []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0xE1, 0x03}); err != nil {
		return nil, nil, err
	}
	cc, err := n.send(ctx, "READ BINARY of the capability container", []byte{0x00, 0xB0, 0x00, 0x00, 0x0F})
	if err != nil {
		return nil, nil, err
	}
	if len(cc) < 15 || cc[7] != 0x04 || cc[8] < 6 {
		return nil, nil, errors.New("the capability container has no NDEF file (NFC Forum Type 4 Tag)")
	}
	step := int(cc[3])<<8 | int(cc[4])
	if step < 15 {
		return nil, nil, errors.New("the capability container allows less than 15 octets at once")
	}
	if _, err = n.send(ctx, "SELECT of the NDEF file", []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, cc[9], cc[10]}); err != nil {
		return nil, nil, err
	}
	head, err := n.send(ctx, "READ BINARY of the NDEF file", []byte{0x00, 0xB0, 0x00, 0x00, 0x02})
	if err != nil {
		return nil, nil, err
	}
	if len(head) != 2 {
		return nil, nil, errors.New("the NDEF file has no length")
	}
	size := int(head[0])<<8 | int(head[1])
	if size > 0x7FFD {
		return nil, nil, errors.New("the NDEF file is longer than READ BINARY reaches")
	}
	var hs []byte
	for len(hs) < size {
		at := 2 + len(hs)
		part, err := n.send(ctx, "READ BINARY of the NDEF file", []byte{0x00, 0xB0, byte(at >> 8), byte(at), byte(min(size-len(hs), step, 255))})
		if err != nil {
			return nil, nil, err
		}
		if len(part) == 0 {
			return nil, nil, errors.New("the NDEF file is shorter than it says")
		}
		hs = append(hs, part...)
	}
	device, handover, _, n.max, err = parseHandover(hs[:size])
	return device, handover, err
}

// ParseHandover reads a Handover Select message: the DeviceEngagement, the handover of the
// transcript, and the message without what is behind it.
func ParseHandover(hs []byte) (device, handover, message []byte, err error) {
	device, handover, message, _, err = parseHandover(hs)
	return device, handover, message, err
}

func parseHandover(hs []byte) (device, handover, message []byte, limit int, err error) {
	records, message, err := parseNDEF(hs)
	if err != nil {
		return nil, nil, nil, 0, err
	}
	if len(records) == 0 || records[0].typ != "Hs" {
		return nil, nil, nil, 0, errors.New("the NDEF message is no Handover Select message")
	}
	limit = 255
	for _, x := range records[1:] {
		switch x.typ {
		case "iso.org:18013:deviceengagement":
			device = x.payload
		case "iso.org:18013:nfc":
			if p := x.payload; len(p) >= 5 && p[2] == 0x01 && p[1] == 3 {
				limit = max(255, int(p[3])<<8|int(p[4]))
			}
		}
	}
	if device == nil {
		return nil, nil, nil, 0, errors.New("the Handover Select message has no DeviceEngagement")
	}
	return device, mdoc.NFCHandover(message, nil), message, limit, nil
}

func (n *nfc) Begin(ctx context.Context, e mdoc.Engagement) error {
	if e.Command > n.max {
		n.max = e.Command
	}
	_, err := n.send(ctx, "SELECT of data retrieval", sel(0xA0, 0x00, 0x00, 0x02, 0x48, 0x04, 0x00))
	return err
}

func (n *nfc) Exchange(ctx context.Context, message []byte) ([]byte, error) {
	d := tlv.Append(nil, 0x53, message...)
	var b []byte
	for len(d) > 0 {
		part := d[:min(len(d), n.max)]
		d = d[len(part):]
		c := apdu.Command{INS: 0xC3, Data: part, Extended: len(part) > 255}
		if len(d) > 0 {
			c.CLA = 0x10
		} else if c.Ne = 256; c.Extended {
			c.Ne = 65536
		}
		var err error
		if b, err = n.send(ctx, "ENVELOPE", c.Append(nil)); err != nil {
			return nil, err
		}
	}
	if len(b) == 0 {
		return nil, nil
	}
	tag, v, rest, err := tlv.Next(b)
	if err != nil || tag != 0x53 || len(rest) > 0 {
		return nil, errors.New("ENVELOPE: the answer is not one data object 53 (ISO/IEC 18013-5 8.3.3.1.2)")
	}
	return v, nil
}

// ndef is a record of an NDEF message.
type ndef struct {
	typ, id string
	payload []byte
}

// parseNDEF reads an NDEF message (NFC Data Exchange Format 3.2), and gives it without
// what is behind its last record.
func parseNDEF(b []byte) (all []ndef, message []byte, err error) {
	cut := errors.New("the NDEF message is cut off")
	whole := b
	for len(all) < 32 {
		if len(b) < 3 {
			return nil, nil, cut
		}
		flags := b[0]
		t, n, i := int(b[1]), int(b[2]), 0
		rest := b[3:]
		if flags&0x10 == 0 {
			if len(b) < 6 {
				return nil, nil, cut
			}
			n, rest = int(b[2])<<24|int(b[3])<<16|int(b[4])<<8|int(b[5]), b[6:]
		}
		if flags&0x08 != 0 {
			if len(rest) == 0 {
				return nil, nil, cut
			}
			i, rest = int(rest[0]), rest[1:]
		}
		if n < 0 || n > len(b) || t+i+n > len(rest) {
			return nil, nil, cut
		}
		all = append(all, ndef{string(rest[:t]), string(rest[t : t+i]), rest[t+i : t+i+n]})
		b = rest[t+i+n:]
		if flags&0x40 != 0 { // message end
			return all, whole[:len(whole)-len(b)], nil
		}
	}
	return nil, nil, errors.New("the NDEF message has more than 32 records")
}

// Do sends an HTTP request and gives the body of the answer; an error for a status that is
// none of success.
type Do func(ctx context.Context, method, path, media string, body []byte) ([]byte, error)

type overHTTP struct{ do Do }

// HTTP engages by the text of a QR code and retrieves by POST. It is provisional.
func HTTP(do Do) Transport { return overHTTP{do} }

func (h overHTTP) Engage(ctx context.Context) (device, handover []byte, err error) {
	b, err := h.do(ctx, "GET", "/mdl/engagement", "", nil)
	if err != nil {
		return nil, nil, err
	}
	text, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte("mdoc:"))
	if !ok {
		return nil, nil, errors.New("/mdl/engagement: it is not the text of a QR code, mdoc: and base64url")
	}
	if device, err = base64.RawURLEncoding.DecodeString(string(text)); err != nil {
		return nil, nil, fmt.Errorf("/mdl/engagement: %w", err)
	}
	return device, mdoc.QRHandover(), nil
}

func (overHTTP) Begin(context.Context, mdoc.Engagement) error { return nil }

func (h overHTTP) Exchange(ctx context.Context, message []byte) ([]byte, error) {
	b, err := h.do(ctx, "POST", "/mdl/session", "application/cbor", message)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return b, nil
}

// ParseKey reads the private key of a reader: PKCS #8, on a curve of NIST or Ed25519.
func ParseKey(der []byte) (mdoc.Kind, []byte, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return mdoc.Kind{}, nil, err
	}
	switch k := k.(type) {
	case *ecdsa.PrivateKey:
		kind, ok := mdoc.KindByName(k.Curve.Params().Name)
		b, err := k.Bytes()
		if !ok {
			err = mdoc.ErrKey
		}
		return kind, b, err
	case ed25519.PrivateKey:
		kind, _ := mdoc.KindByName("Ed25519")
		return kind, k.Seed(), nil
	}
	return mdoc.Kind{}, nil, mdoc.ErrKey
}
