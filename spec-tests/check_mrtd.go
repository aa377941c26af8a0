package spectests

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// mrtdChecks are the terminal of a travel document: they do the protocols with the
// passwords and the keys of the persona, and send what is protected. The steps between
// them are plain APDUs:
//
//	00A4040C 07 A0000002471001           mrtd_bac
//	                                     mrtd_send 00B09E0004 9000
//	                                     mrtd_wrong mac 00B0000004 6988
//	                                     mrtd_over
var mrtdChecks = map[string]check{
	"mrtd_bac":    {doc: "basic access control with the MRZ information of the persona, or with a wrong one (right, wrong)", args: 1, needs: []string{AbilityDocument}, run: mrtdBAC},
	"mrtd_pace":   {doc: "PACE in the way that has these WORDS in its name, joined by _, with a PASSWORD: mrz, can, pin, or wrong", args: 2, needs: []string{AbilityDocument}, run: mrtdPACE},
	"mrtd_send":   {doc: "the COMMAND, protected, has a protected answer with the status word SW", args: 2, needs: []string{AbilityDocument}, run: mrtdSend},
	"mrtd_wrong":  {doc: "a protected COMMAND in which HOW is wrong (mac, no-mac, replay, counter, padding, order, behind, length, plain) is answered in plain with SW", args: 3, needs: []string{AbilityDocument}, run: mrtdWrong},
	"mrtd_over":   {doc: "the session is over: a command that is protected as it was to be is refused", needs: []string{AbilityDocument}, run: mrtdOver},
	"mrtd_file":   {doc: "the file NAME (dg1, com, sod ...) is read in the session and is that of the persona", args: 1, needs: []string{AbilityDocument}, run: mrtdFile},
	"mrtd_ca":     {doc: "chip authentication with this CIPHER (3des, aes-128, aes-256); secure messaging goes on with the new keys", args: 1, needs: []string{AbilityDocument}, run: mrtdCA},
	"mrtd_aa":     {doc: "active authentication: the chip has the key of DG15", needs: []string{AbilityDocument}, run: func(d *Dialogue, _ []string) error { return d.mrtdDo((*mrtd.Steps).ActiveAuthentication) }},
	"mrtd_ta":     {doc: "terminal authentication: the chip accepts the chain of the persona, and the signature", needs: []string{AbilityDocument}, run: func(d *Dialogue, _ []string) error { return d.mrtdDo((*mrtd.Steps).TerminalAuthentication) }},
	"mrtd_passes": {doc: "in a whole inspection on 23 November 2026 the check NAME passes, with _ for spaces", args: 1, needs: []string{AbilityDocument}, run: mrtdPasses},
	"mrtd_random": {doc: "another answer to the command COMMAND is another one", args: 1, run: emvRandom},
}

// Document is the travel document of a persona: what its holder shows and what its
// issuer tells inspection systems.
type Document struct {
	Chip     *issue.Chip
	Anchors  *mrtd.Anchors
	Terminal *mrtd.Terminal
}

// documentOf is the travel document of a persona of the bundle eid, nil when it has none.
func documentOf(persona []byte) (*Document, error) {
	var has struct {
		MRTD map[string]any `yaml:"mrtd"`
	}
	if err := yaml.Unmarshal(persona, &has); err != nil || len(has.MRTD) == 0 {
		return nil, err
	}
	doc, err := issue.FromYAML(persona, "persona", nil)
	if err != nil {
		return nil, err
	}
	out := &Document{Anchors: &mrtd.Anchors{}, Terminal: &mrtd.Terminal{}}
	if out.Chip, err = issue.NewWith(doc, issue.Native); err != nil {
		return nil, err
	}
	a, err := issue.Trust(doc)
	if err != nil {
		return nil, err
	}
	for _, f := range a.Files() {
		if err := out.Anchors.Add(out.Terminal, f.Name, f.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return out, nil
}

// mrtdState is the conversation with a travel document.
type mrtdState struct {
	steps *mrtd.Steps
	last  []byte // the last protected command
	was   *sm.Session
}

func (d *Dialogue) mrtdConfig() mrtd.Config {
	t := d.target.Document
	return mrtd.Config{Anchors: t.Anchors, Terminal: t.Terminal, Short: true}
}

// seen is the card, which writes what is sent into the dialogue.
type seen struct{ d *Dialogue }

func (s seen) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	err := s.d.transmit(capdu)
	if err != nil {
		return nil, err
	}
	return s.d.sw.Append(append(dst[:0], s.d.data...)), nil
}

// begin begins a conversation with a password.
func (d *Dialogue) mrtdBegin(password string) error {
	p := d.target.Document.Chip.Passwords
	c := d.mrtdConfig()
	switch password {
	case "mrz", "right":
		c.Passwords.MRZ = p.MRZ
	case "can":
		c.Passwords.CAN = p.CAN
	case "pin":
		c.Passwords.PIN = p.PIN
	case "wrong":
		if err := c.Passwords.FromFields("X00000000", "000101", "990101"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q is none of mrz, can, pin, wrong", password)
	}
	d.mrtd = &mrtdState{steps: mrtd.Begin(seen{d}, c)}
	return nil
}

func (d *Dialogue) mrtdDo(f func(*mrtd.Steps, context.Context) error) error {
	if d.mrtd == nil {
		return errors.New("no mrtd_bac or mrtd_pace before")
	}
	err := f(d.mrtd.steps, d.ctx)
	d.mrtd.was = d.mrtd.steps.Session()
	return err
}

func mrtdBAC(d *Dialogue, a []string) error {
	if err := d.mrtdBegin(a[0]); err != nil {
		return err
	}
	err := d.mrtdDo((*mrtd.Steps).BAC)
	if a[0] != "wrong" {
		return err
	}
	return d.refused(err, "BAC")
}

// refused wants that the card refused a wrong password with a status word of a wrong key,
// and that nothing can be read after.
func (d *Dialogue) refused(err error, what string) error {
	if err == nil {
		return fmt.Errorf("%s with a wrong password succeeded", what)
	}
	if sw := d.sw; sw != 0x6300 && sw&0xFFF0 != 0x63C0 && sw != 0x6982 && sw != 0x6988 {
		return fmt.Errorf("a wrong password has the status word %04X", uint16(sw))
	}
	return nil
}

func mrtdPACE(d *Dialogue, a []string) error {
	if err := d.mrtdBegin(a[1]); err != nil {
		return err
	}
	err := d.mrtdDo(func(s *mrtd.Steps, ctx context.Context) error {
		return s.PACE(ctx, strings.ReplaceAll(a[0], "_", " "))
	})
	if a[1] != "wrong" {
		return err
	}
	return d.refused(err, "PACE")
}

func mrtdCA(d *Dialogue, a []string) error {
	return d.mrtdDo(func(s *mrtd.Steps, ctx context.Context) error { return s.ChipAuthentication(ctx, a[0]) })
}

// expected tells whether sw is one of "6982|6985".
func expected(sw apdu.SW, want string) error {
	for _, w := range strings.Split(want, "|") {
		if fmt.Sprintf("%04X", uint16(sw)) == w {
			return nil
		}
	}
	return fmt.Errorf("status %04X (%s), expected %s", uint16(sw), sw.Words(), want)
}

func mrtdSend(d *Dialogue, a []string) error {
	capdu, err := hex.DecodeString(a[0])
	if err != nil {
		return err
	}
	return d.mrtdDo(func(s *mrtd.Steps, ctx context.Context) error {
		if s.Session() == nil {
			return errors.New("there is no session")
		}
		data, sw, err := s.Send(ctx, capdu)
		if err != nil {
			return err
		}
		d.mrtd.last = bytes.Clone(d.sent)
		d.data = data
		return expected(sw, a[1])
	})
}

// mrtdWrong damages a protected command, which the session counts.
func mrtdWrong(d *Dialogue, a []string) error {
	capdu, err := hex.DecodeString(a[1])
	if err != nil {
		return err
	}
	if d.mrtd == nil || d.mrtd.steps.Session() == nil {
		return errors.New("there is no session")
	}
	s := d.mrtd.steps.Session()
	if a[0] == "counter" {
		s.Skew()
	}
	p, err := s.Protect(capdu)
	if err != nil {
		return err
	}
	c, err := apdu.Parse(p)
	if err != nil {
		return err
	}
	objects := bytes.Clone(c.Data)
	mac := len(objects) - 10
	switch a[0] {
	case "mac":
		objects[len(objects)-1] ^= 1
	case "no-mac":
		objects = objects[:mac]
	case "replay":
		if d.mrtd.last == nil {
			return errors.New("no mrtd_send before")
		}
		p = d.mrtd.last
	case "padding": // the cryptogram, not its MAC
		objects[mac-1] ^= 1
	case "order":
		objects = append(bytes.Clone(objects[mac:]), objects[:mac]...)
	case "behind":
		objects = append(objects, 0x97, 0x01, 0x00)
	case "length":
		objects[len(objects)-9] = 0x7F
	case "plain":
		p = capdu
	case "counter":
	default:
		return fmt.Errorf("%q is no way to be wrong", a[0])
	}
	if a[0] != "replay" && a[0] != "plain" {
		p = (&apdu.Command{CLA: c.CLA, INS: c.INS, P1: c.P1, P2: c.P2, Data: objects, Ne: c.Ne, Extended: c.Extended}).Append(nil)
	}
	if err := d.transmit(p); err != nil {
		return err
	}
	if _, err := tlv.Find(d.data, 0x99); err == nil {
		return errors.New("the answer is protected")
	}
	if len(d.data) > 0 {
		return fmt.Errorf("the answer has %d octets of data", len(d.data))
	}
	return expected(d.sw, a[2])
}

func mrtdOver(d *Dialogue, _ []string) error {
	if d.mrtd == nil || d.mrtd.was == nil {
		return errors.New("there was no session")
	}
	p, err := d.mrtd.was.Protect([]byte{0x00, 0xB0, 0x9E, 0x00, 0x04})
	if err != nil {
		return err
	}
	if err := d.transmit(p); err != nil {
		return err
	}
	if len(d.data) > 0 || d.sw>>8 == 0x90 || d.sw>>8 == 0x62 {
		return errors.New("the session goes on")
	}
	// Nor is anything read in plain.
	if err := d.transmit([]byte{0x00, 0xB0, 0x9E, 0x00, 0x04}); err != nil {
		return err
	}
	if len(d.data) > 0 || d.sw>>8 == 0x90 {
		return errors.New("the file is read in plain after the session")
	}
	return nil
}

func mrtdFile(d *Dialogue, a []string) error {
	name := map[string]string{"com": "EF.COM", "sod": "EF.SOD", "cardsecurity": "EF.CardSecurity", "cardaccess": "EF.CardAccess"}[a[0]]
	if name == "" {
		name = strings.ToUpper(a[0])
	}
	for i := range d.target.Document.Chip.Files {
		f := &d.target.Document.Chip.Files[i]
		if f.Name() != name {
			continue
		}
		return d.mrtdDo(func(s *mrtd.Steps, ctx context.Context) error {
			b, err := s.File(ctx, f.FID)
			if err == nil && !bytes.Equal(b, f.Data) {
				err = fmt.Errorf("%s is another one than that of the persona", name)
			}
			return err
		})
	}
	return fmt.Errorf("the persona has no %s", name)
}

// inspectionDate is the day of whole inspections.
var inspectionDate = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func mrtdPasses(d *Dialogue, a []string) error {
	c := d.mrtdConfig()
	c.Passwords.MRZ = d.target.Document.Chip.Passwords.MRZ
	r := &inspect.Report{Date: inspectionDate}
	if err := mrtd.Inspect(d.ctx, seen{d}, c, r); err != nil {
		return err
	}
	return inOrder(r, strings.ReplaceAll(a[0], "_", " "))
}

// inOrder tells whether the checks of a name, or of a beginning with *, passed, and that
// there are any.
func inOrder(r *inspect.Report, name string) error {
	found := false
	for _, x := range r.Checks {
		if x.Name != name && !(strings.HasSuffix(name, "*") && strings.HasPrefix(x.Name, strings.TrimSuffix(name, "*"))) {
			continue
		}
		if found = true; x.Result != inspect.Pass {
			return fmt.Errorf("%s: %s: %s (%s)", x.Name, x.Result, x.Why, x.Clause)
		}
	}
	if !found {
		return fmt.Errorf("%s: it was not checked", name)
	}
	return nil
}
