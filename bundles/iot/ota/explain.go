package ota

import (
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Explain says in words what bytes are: the data of an ENVELOPE, or the command itself, a
// short message, user data, a command packet or a response packet. With the keys of a
// domain of p it looks inside; p may be nil. A response packet is for the domain with its
// TAR, secured as that domain's server asks.
func Explain(b []byte, p *profile.Profile) ([]string, error) {
	e := &explainer{p: p}
	e.anything(b)
	if !e.found {
		return nil, fmt.Errorf("ota: %X is no ENVELOPE, short message, command packet or response packet", b)
	}
	return e.lines, nil
}

type explainer struct {
	p     *profile.Profile
	lines []string
	found bool
}

func (e *explainer) say(format string, args ...any) {
	e.lines = append(e.lines, fmt.Sprintf(format, args...))
}

func (e *explainer) anything(b []byte) {
	if c, err := apdu.Parse(b); err == nil && c.INS == 0xC2 && len(c.Data) > 0 {
		e.say("ENVELOPE, class %02X", c.CLA)
		b = c.Data
	}
	if x, err := scp80.ParseEnvelope(b); err == nil {
		e.say("SMS-PP download, %d bytes", len(b))
		b = x.TPDU
	}
	if ud, err := scp80.ParseSubmit(b); err == nil {
		e.say("SMS-SUBMIT")
		b = ud
	} else if m, err := scp80.ParseDeliver(b); err == nil {
		e.say("SMS-DELIVER: PID %02X, DCS %02X, %d bytes of user data", m.PID, m.DCS, len(m.UserData))
		b = m.UserData
	}
	if s, err := scp80.ParseUserData(b); err == nil && (s.Packet || s.Response || s.Total > 1) {
		kind := "part of a packet"
		if s.Packet {
			kind = "command packet"
		} else if s.Response {
			kind = "response packet"
		}
		e.say("user data: %s, message %d of %d, %d bytes", kind, s.Number, s.Total, len(s.Data))
		e.found = true
		if s.Total > 1 {
			return
		}
		if b = s.Data; s.Response {
			e.response(b)
			return
		}
	}
	if _, err := scp80.ParseHeader(b); err == nil {
		e.command(b)
		return
	}
	e.response(b)
}

// domain is who has a TAR.
func (e *explainer) domain(tar scp80.TAR) *profile.Domain {
	if e.p != nil {
		for i := range e.p.Domains {
			if d := &e.p.Domains[i]; d.TAR == tar {
				return d
			}
		}
	}
	return nil
}

func (e *explainer) command(b []byte) {
	h, err := scp80.ParseHeader(b)
	if err != nil {
		return
	}
	e.found = true
	e.say("command packet: CPL %d, CHL %d", len(b)-2, b[2])
	e.say("  SPI %02X %02X: %s", h.SPI[0], h.SPI[1], SPIWords(h.SPI))
	e.say("  KIc %02X: key %d, %s", h.KIc, h.KIc>>4, algorithmWords(h.KIc))
	if h.SPI.Check() == scp80.RC {
		e.say("  KID %02X: %s", h.KID, map[byte]string{1: "CRC-16", 5: "CRC-32"}[h.KID&15])
	} else {
		e.say("  KID %02X: key %d, %s", h.KID, h.KID>>4, algorithmWords(h.KID))
	}
	d := e.domain(h.TAR)
	if d == nil {
		e.say("  TAR %X: no domain of the persona", h.TAR)
		if h.SPI.Ciphered() {
			return
		}
	} else {
		e.say("  TAR %X: %s", h.TAR, d.Name)
	}
	var k scp80.Keys
	if d != nil {
		k = e.p.DomainKeys(d)
	}
	c, s := scp80.Open(b, k)
	if s != scp80.OK {
		e.say("  cannot be opened with those keys: %v", s)
		return
	}
	e.say("  counter %d, %d bytes of data", c.Counter, len(c.Data))
	e.script(c.Data)
}

func (e *explainer) script(b []byte) {
	form := scp80.FormOf(b)
	e.say("  script, %s: %X", [...]string{"compact", "expanded with definite length", "expanded with indefinite length"}[form], b)
	if form == scp80.Compact {
		return
	}
	for w := scp80.Expanded(b); ; {
		c := w.Next()
		if c == nil {
			if w.Bad != scp80.WellFormed {
				e.say("    the rest is malformed")
			}
			return
		}
		e.say("    %X  %s", c, commandWords(c))
	}
}

func (e *explainer) response(b []byte) {
	if len(b) < 13 || int(b[0])<<8|int(b[1]) != len(b)-2 {
		return
	}
	var tar scp80.TAR
	copy(tar[:], b[3:])
	d := e.domain(tar)
	h, k := scp80.Header{}, scp80.Keys{}
	name := "no domain of the persona"
	if d != nil {
		s := New(e.p, d, nil)
		h, k, name = s.Header, s.Keys, d.Name
	}
	r, plain, err := scp80.OpenResponse(b, h, k)
	if err != nil {
		r, plain, err = scp80.OpenResponse(b, scp80.Header{}, scp80.Keys{})
	}
	if err != nil && d == nil {
		return
	}
	e.found = true
	e.say("response packet: RPL %d, RHL %d", len(b)-2, b[2])
	e.say("  TAR %X: %s", tar, name)
	if err != nil {
		e.say("  cannot be opened with those keys: %v", err)
		return
	}
	e.say("  counter %d, status %02X: %v%s", r.Counter, byte(r.Status), r.Status, map[bool]string{true: " (in clear)"}[plain])
	if len(r.Data) == 0 {
		return
	}
	for _, form := range []scp80.Form{scp80.Definite, scp80.Indefinite, scp80.Compact} {
		res, err := scp80.ParseResult(r.Data, form)
		if err != nil {
			continue
		}
		e.say("  %d commands were executed", res.Executed)
		for _, x := range res.Responses {
			data, sw, _ := apdu.Status(x)
			e.say("    %04X %s  %X", uint16(sw), Words(sw), data)
		}
		return
	}
}

// SPIWords says what an SPI asks for.
func SPIWords(s scp80.SPI) string {
	checks := [...]string{"no check", "redundancy check", "checksum", "signature"}
	l := []string{checks[s.Check()]}
	if s.Ciphered() {
		l = append(l, "ciphered")
	}
	l = append(l, [...]string{"no counter", "counter unchecked", "counter higher", "counter next"}[s.Counter()])
	switch s.PoR() {
	case scp80.PoRAlways:
		l = append(l, "proof of receipt")
	case scp80.PoROnError:
		l = append(l, "proof of receipt on errors")
	default:
		return strings.Join(append(l, "no proof of receipt"), ", ")
	}
	l = append(l, "with "+checks[s.PoRCheck()])
	if s.PoRCiphered() {
		l = append(l, "ciphered")
	}
	if s.PoRSubmit() {
		return strings.Join(append(l, "by SMS-SUBMIT"), ", ")
	}
	return strings.Join(append(l, "by SMS-DELIVER-REPORT"), ", ")
}

func algorithmWords(b byte) string {
	switch scp80.Algorithm(b & 15) {
	case scp80.Implicit:
		return "algorithm known to both"
	case scp80.AES:
		return "AES"
	case scp80.TripleDES2:
		return "3DES with two keys"
	case scp80.TripleDES3:
		return "3DES with three keys"
	}
	return fmt.Sprintf("algorithm %X", b&15)
}

func commandWords(b []byte) string {
	c, err := apdu.Parse(b)
	if err != nil {
		return "no command"
	}
	name := map[byte]string{
		iotsafe.GetData: "GET DATA", iotsafe.ReadFile: "READ FILE", iotsafe.ReadPublicKey: "READ PUBLIC KEY",
		iotsafe.GenerateKeyPair: "GENERATE KEY PAIR", iotsafe.StoreData: fmt.Sprintf("STORE DATA, block %d", c.P2), iotsafe.Delete: "DELETE",
	}[c.INS]
	if t, v, _, err := tlv.Next(c.Data); err == nil && t > 0 && !(c.INS == iotsafe.StoreData && c.P2 > 0) {
		for k := profile.Private; k <= profile.File; k++ {
			if t == tlv.Tag(k.IDTag()) {
				name += fmt.Sprintf(" of %s %X", k, v)
			} else if t == tlv.Tag(k.LabelTag()) {
				name += fmt.Sprintf(" of %s %q", k, v)
			}
		}
	}
	return name
}
