// Package piv looks at a PIV card as a door or a workstation does, and says what holds: the
// card holder unique identifier and its signature, the certificates, that the keys are
// there, the security object, what vendors add.
//
//	Config (PIN, anchors) ──> Inspect ──APDU──> card
//	                             └─> inspect.Report
//
//	piv.go      the procedure       chuid.go  CHUID, FASC-N, security object
//	keys.go     possession of keys  slots.go  certificates
//
// Real cards are often half filled: what is optional may be missing. Nothing is changed on
// the card, but a wrong PIN costs a try: with only one left it is not sent.
//
// Sources: NIST SP 800-73-4 part 1 (objects) and part 2 (commands), SP 800-78-4
// (algorithms), FIPS 201-2; commands of vendors are those of public tools (unverified).
package piv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Config is what the one who looks knows.
type Config struct {
	PIN     string     // of the application; "": keys and objects that need it are left out
	Anchors *pki.Store // nil: certificates are verified, but not up to a trust anchor
	Random  io.Reader  // nil: crypto/rand
}

// inspection is one card being looked at.
type inspection struct {
	Config
	card inspect.Card
	r    *inspect.Report

	objects  map[tlv.Tag][]byte // contents of template 53 that were read
	guid     []byte
	fascn    []byte
	signer   *pki.Certificate // of the CHUID
	verified bool             // the PIN was
	retired  int              // keys that the key history promises on the card
	slots    []slot
}

// Objects that are read, with the PIN or without (part 1 table 2).
var objects = []struct {
	tag       tlv.Tag
	name      string
	mandatory bool
	pin       bool
}{
	{0x5FC107, "Card capability container", true, false},
	{0x5FC102, "Card holder unique identifier", true, false},
	{0x5FC106, "Security object", false, false},
	{0x5FC10C, "Key history object", false, false},
	{0x5FC109, "Printed information", false, true},
	{0x5FC103, "Cardholder fingerprints", false, true},
	{0x5FC108, "Cardholder facial image", false, true},
	{0x5FC121, "Cardholder iris images", false, true},
	{0x5FC122, "Secure messaging certificate signer", false, false},
}

// Inspect reads and verifies. The error says why there is nothing to verify.
func Inspect(ctx context.Context, card inspect.Card, c Config, r *inspect.Report) error {
	r.Kind = "PIV card"
	if c.Random == nil {
		c.Random = rand.Reader
	}
	s := &inspection{Config: c, card: card, r: r, objects: map[tlv.Tag][]byte{}}
	if err := s.application(ctx); err != nil {
		return err
	}
	if err := s.discovery(ctx); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	for _, o := range objects {
		if o.pin && !s.verified {
			continue
		}
		if err := s.read(ctx, o.tag, o.name, o.mandatory); err != nil {
			return err
		}
	}
	s.chuid()
	s.history()
	s.capabilities()
	s.printed()
	if err := s.certificates(ctx); err != nil {
		return err
	}
	s.securityObject()
	if err := s.possession(ctx); err != nil {
		return err
	}
	return s.vendor(ctx)
}

// send exchanges one command.
func (s *inspection) send(ctx context.Context, cla, ins, p1, p2 byte, data []byte, le bool) ([]byte, apdu.SW, error) {
	for len(data) > 255 { // command chaining (ISO/IEC 7816-4 5.3.3)
		b := append([]byte{cla | 0x10, ins, p1, p2, 255}, data[:255]...)
		if _, sw, err := inspect.Exchange(ctx, s.card, b); err != nil || sw != apdu.OK {
			return nil, sw, err
		}
		data = data[255:]
	}
	b := []byte{cla, ins, p1, p2}
	if len(data) > 0 {
		b = append(append(b, byte(len(data))), data...)
	}
	if le {
		b = append(b, 0)
	}
	return inspect.Exchange(ctx, s.card, b)
}

func status(sw apdu.SW) string { return fmt.Sprintf("status %04X, %s", uint16(sw), sw.Words()) }

// application selects it and reads its property template (part 2 3.1.1).
func (s *inspection) application(ctx context.Context) error {
	const name, clause = "Application", "SP 800-73-4 part 2 3.1.1"
	b, sw, err := s.send(ctx, 0, 0xA4, 4, 0, piv.AID[:5], true)
	if err != nil {
		return err
	}
	if sw != apdu.OK {
		err := fmt.Errorf("there is no PIV application: %s", status(sw))
		s.r.Fail(name, clause, "%s", err)
		return err
	}
	template, err := tlv.Find(b, 0x61)
	if err != nil {
		s.r.Fail(name, clause, "SELECT does not answer with an application property template (61)")
		return nil
	}
	id, err1 := tlv.Find(template, 0x4F)
	authority, err2 := tlv.Path(template, 0x79, 0x4F)
	switch {
	case err1 != nil || err2 != nil:
		s.r.Fail(name, clause, "the application property template has no identifier (4F) or no authority (79)")
	case string(authority) != string(piv.AID[:5]):
		s.r.Fail(name, clause, "the authority of the template is %X, not NIST", authority)
	default:
		s.r.Pass(name, clause, "the card has a PIV application, identifier %X", id)
	}
	section := s.r.Section("Card")
	if label, err := tlv.Find(template, 0x50); err == nil {
		section.Add("Label", string(label))
	}
	if url, err := tlv.Find(template, 0x5F50); err == nil {
		section.Add("Reference", string(url))
	}
	for rd := tlv.Read(template); rd.Next(); {
		if alg, err := tlv.Find(rd.Value, 0x80); rd.Tag == 0xAC && err == nil && len(alg) == 1 {
			section.Add("Secure messaging", map[byte]string{0x27: "cipher suite 2 (P-256, AES-128)", 0x2E: "cipher suite 7 (P-384, AES-256)"}[alg[0]])
		}
	}
	return nil
}

// get is GET DATA (part 2 3.1.2); nil: the card has no such object, or it is for others.
func (s *inspection) get(ctx context.Context, t tlv.Tag) ([]byte, apdu.SW, error) {
	list := []byte{0x5C, 3, byte(t >> 16), byte(t >> 8), byte(t)}
	if t < 0x100 {
		list = []byte{0x5C, 1, byte(t)}
	}
	return s.send(ctx, 0, 0xCB, 0x3F, 0xFF, list, true)
}

// read keeps the content of an object.
func (s *inspection) read(ctx context.Context, t tlv.Tag, name string, mandatory bool) error {
	const clause = "SP 800-73-4 part 1 3.1, 3.2"
	b, sw, err := s.get(ctx, t)
	switch {
	case err != nil:
		return err
	case sw == apdu.FileNotFound && mandatory:
		s.r.Fail(name, clause, "it is mandatory, and not there")
	case sw == apdu.FileNotFound || sw == apdu.SecurityNotSatisfied:
	case sw != apdu.OK:
		s.r.Fail(name, clause, "it cannot be read: %s", status(sw))
	default:
		tag, v, rest, err := tlv.Next(b)
		if err != nil || tag != 0x53 || len(rest) > 0 {
			s.r.Fail(name, clause, "the answer is not one template 53: %s", shape(b, err))
			return nil
		}
		if len(v) == 0 {
			if mandatory {
				s.r.Fail(name, clause, "it is mandatory, and empty")
			}
			return nil
		}
		s.objects[t] = v
	}
	return nil
}

// shape says in which way octets are no template.
func shape(b []byte, err error) string {
	if err != nil {
		return fmt.Sprintf("%d octets that end too early, or say a length that is none", len(b))
	}
	return fmt.Sprintf("%d octets, which begin with another tag or go on behind it", len(b))
}

// discovery reads the discovery object: what it says has to be true (part 1 3.3.2).
func (s *inspection) discovery(ctx context.Context) error {
	const name, clause = "Discovery object", "SP 800-73-4 part 1 3.3.2"
	b, sw, err := s.get(ctx, 0x7E)
	if err != nil || sw != apdu.OK {
		return err
	}
	aid, err1 := tlv.Path(b, 0x7E, 0x4F)
	policy, err2 := tlv.Path(b, 0x7E, 0x5F2F)
	switch {
	case err1 != nil || err2 != nil || len(policy) != 2:
		s.r.Fail(name, clause, "it has no application identifier (4F) or no PIN usage policy of two octets (5F2F)")
		return nil
	case !strings.HasPrefix(string(aid), string(piv.AID[:9])):
		s.r.Fail(name, clause, "it is about %X, which is not the PIV application", aid)
		return nil
	case policy[0]&0x40 == 0:
		s.r.Fail(name, clause, "the PIN usage policy %X does not have the PIN of the application", policy)
		return nil
	}
	s.r.Pass(name, clause, "it is about the PIV application; PIN usage policy %X: %s", policy, policyWords(policy[0]))
	return nil
}

func policyWords(b byte) string {
	words := []string{"PIN of the application"}
	for _, w := range []struct {
		bit  byte
		text string
	}{{0x20, "global PIN"}, {0x10, "biometric comparison on the card"}, {0x08, "virtual contact interface"}, {0x04, "without pairing code"}} {
		if b&w.bit != 0 {
			words = append(words, w.text)
		}
	}
	return strings.Join(words, ", ")
}

// ErrPIN: the PIN is wrong, or may not be tried.
var ErrPIN = errors.New("the PIN")

// enter tells how many tries there are, and shows the PIN (part 2 3.2.1).
func (s *inspection) enter(ctx context.Context) error {
	const name, clause = "PIN", "SP 800-73-4 part 2 3.2.1"
	_, sw, err := s.send(ctx, 0, 0x20, 0, 0x80, nil, false)
	if err != nil {
		return err
	}
	left := -1
	switch {
	case sw&0xFFF0 == 0x63C0:
		left = int(sw & 15)
	case sw == apdu.AuthBlocked:
		left = 0
	}
	if left >= 0 {
		s.r.Section("Card").Add("PIN tries left", fmt.Sprint(left))
	}
	switch {
	case left == 0:
		s.r.Warn(name, clause, "it is blocked: the PUK makes a new one")
		return nil
	case s.PIN == "":
		return nil
	case left == 1:
		s.r.NotDone(name, clause, "there is one try left; a wrong PIN would block it")
		return nil
	}
	if len(s.PIN) < 6 || len(s.PIN) > 8 {
		return fmt.Errorf("%w: it has 6 to 8 characters", ErrPIN)
	}
	v := append([]byte(s.PIN), "\xFF\xFF"...)[:8]
	_, sw, err = s.send(ctx, 0, 0x20, 0, 0x80, v, false)
	if err != nil {
		return err
	}
	if sw != apdu.OK {
		s.r.Fail(name, clause, "the card does not take it: %s", status(sw))
		return nil
	}
	s.verified = true
	s.r.Pass(name, clause, "the card takes it")
	return nil
}

// history reads how many retired keys there are (part 1 3.3.3).
func (s *inspection) history() {
	const name, clause = "Key history object", "SP 800-73-4 part 1 3.3.3"
	v, ok := s.objects[0x5FC10C]
	if !ok {
		return
	}
	on, err1 := tlv.Find(v, 0xC1)
	off, err2 := tlv.Find(v, 0xC2)
	if err1 != nil || err2 != nil || len(on) != 1 || len(off) != 1 || int(on[0])+int(off[0]) > 20 {
		s.r.Fail(name, clause, "it does not say how many certificates are on the card (C1) and elsewhere (C2), 20 at most")
		return
	}
	s.retired = int(on[0])
	s.r.Pass(name, clause, "%d retired keys have their certificates on the card, %d elsewhere", on[0], off[0])
}

// capabilities looks at the card capability container (part 1 table 8).
func (s *inspection) capabilities() {
	const name, clause = "Card capability container", "SP 800-73-4 part 1 3.1.1"
	v, ok := s.objects[0x5FC107]
	if !ok {
		return
	}
	id, err := tlv.Find(v, 0xF0)
	model, err2 := tlv.Find(v, 0xF5)
	switch {
	case err != nil || err2 != nil:
		s.r.Fail(name, clause, "it has no card identifier (F0) or no registered data model number (F5)")
	case len(id) != 21 && len(id) != 0:
		s.r.Fail(name, clause, "the card identifier has %d octets, 21 are wanted", len(id))
	case len(model) != 1 || model[0] != 0x10:
		s.r.Fail(name, clause, "the data model is %X; that of PIV is 10", model)
	default:
		s.r.Pass(name, clause, "card identifier and data model are there")
	}
}

// printed tells what is printed on the card (part 1 table 14).
func (s *inspection) printed() {
	const name, clause = "Printed information", "SP 800-73-4 part 1 3.2.3"
	v, ok := s.objects[0x5FC109]
	if !ok {
		if s.PIN == "" {
			s.r.NotDone(name, clause, "it needs the PIN")
		}
		return
	}
	section := s.r.Section("Holder")
	rd := tlv.Read(v)
	for rd.Next() {
		section.Add(map[tlv.Tag]string{0x01: "Name", 0x02: "Affiliation", 0x04: "Expiration date", 0x05: "Agency card serial number", 0x06: "Issuer", 0x07: "Organization", 0x08: "Organization"}[rd.Tag], string(rd.Value))
	}
	if rd.Err() != nil {
		s.r.Fail(name, clause, "it ends too early")
		return
	}
	s.r.Pass(name, clause, "it can be read with the PIN")
}

// vendor asks what public tools ask for: version and serial number.
func (s *inspection) vendor(ctx context.Context) error {
	b, sw, err := s.send(ctx, 0, 0xFD, 0, 0, nil, true)
	if err != nil {
		return err
	}
	if sw == apdu.OK && len(b) == 3 {
		s.r.Section("Card").Add("Version (vendor)", fmt.Sprintf("%d.%d.%d", b[0], b[1], b[2]))
	}
	b, sw, err = s.send(ctx, 0, 0xF8, 0, 0, nil, true)
	if err != nil {
		return err
	}
	if sw == apdu.OK && len(b) == 4 {
		s.r.Section("Card").Add("Serial number (vendor)", fmt.Sprint(uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3])))
	}
	return s.attestation(ctx)
}
