package telecom

import (
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Gates are the services beside UICC APDU: the description of the card, over HTTP at
// the TCP gate and over CoAP at the UDP gate, and its file system.
func (c *Card) Gates() sdk.Gates {
	things := coap.New()
	things.Face(c.describe)
	return sdk.Gates{TCP: web.New(web.Face(c.describe)), UDP: things, Files: nodes{c}}
}

// Files that everybody may know something of.
const (
	fidDIR   = 0x2F00 // TS 102 221 13.1
	fidICCID = 0x2FE2 // TS 102 221 13.2
	fidIMSI  = 0x6F07 // TS 31.102 4.2.2
	fidSPN   = 0x6F46 // TS 31.102 4.2.12
	fidAD    = 0x6FAD // TS 31.102 4.2.18
)

// describe tells what everybody may know about the card: what is printed on it, or
// lies in files that can always be read (EF.DIR, EF.ICCID, EF.SPN, EF.AD). Of the
// IMSI only the network is shown. Keys, PINs and sequence numbers have no way into
// a face.Description.
func (c *Card) describe() face.Description {
	d := face.Description{
		Name:      "telecom",
		Title:     "USIM on a UICC: file system, PINs, toolkit, AKA",
		Standards: []string{"ETSI TS 102 221", "ETSI TS 102 223", "3GPP TS 31.101", "3GPP TS 31.102", "3GPP TS 35.206", "3GPP TS 33.102"},
	}
	add := func(name, value string) {
		if value != "" {
			d.Persona = append(d.Persona, face.Field{Name: name, Value: value})
		}
	}
	add("ICCID", digitsOf(c.content(c.mf, fidICCID)))
	for i := range c.files {
		f := &c.files[i]
		if f.kind != kindADF {
			continue
		}
		if len(d.Applications) == 0 {
			add("IMSI", masked(c.content(f, fidIMSI), c.content(f, fidAD)))
			add("service provider", nameOf(c.content(f, fidSPN)))
		}
		d.Applications = append(d.Applications, face.Application{AID: f.aid, Label: c.labelOf(f.aid)})
	}
	for i := range c.pins {
		p := &c.pins[i]
		name := referenceName(p.ref)
		if p.app != nil && len(d.Applications) > 1 {
			name += " of " + c.labelOf(p.app.aid)
		}
		d.PINs = append(d.PINs, face.PIN{
			Name: name, Enabled: p.enabled(), Verified: p.verified,
			Left: int(p.tries[countPIN]), Most: int(p.state[pinMost+countPIN]),
			Unblock: int(p.tries[countPUK]), UnblocksMost: int(p.state[pinMost+countPUK]),
		})
	}
	channels := int64(0)
	for i := range c.channels {
		if c.channels[i].open {
			channels++
		}
	}
	d.Counters = []face.Counter{
		{Name: "files", Value: int64(len(c.files))},
		{Name: "octets in files", Value: int64(c.mf.total)},
		{Name: "open logical channels", Value: channels},
	}
	return d
}

// content is the body of the activated EF fid in directory d, nil when there is
// none.
func (c *Card) content(d *file, fid uint16) []byte {
	if f := c.child(d, fid); f != nil && !f.directory() && c.activated(f) {
		return f.body
	}
	return nil
}

// labelOf is the label of an application in EF.DIR, or its AID.
func (c *Card) labelOf(aid []byte) string {
	label := ""
	for _, b := range aid {
		label += string([]byte{hexUpper[b>>4], hexUpper[b&15]})
	}
	dir := c.child(c.mf, fidDIR)
	if dir == nil || dir.kind != kindLinear || !c.activated(dir) {
		return label
	}
	for n := range dir.records {
		id, err := tlv.Path(dir.record(n+1), tagApplication, tagAID)
		if err != nil || string(id) != string(aid) {
			continue
		}
		if l, err := tlv.Path(dir.record(n+1), tagApplication, tagLabel); err == nil {
			return plainText(l)
		}
	}
	return label
}

// nameOf is the name in EF.SPN.
func nameOf(spn []byte) string {
	if len(spn) == 0 {
		return ""
	}
	return plainText(spn[1:])
}

// plainText is a text in the GSM default alphabet, up to its filling; other
// characters than those of alpha are "?".
func plainText(b []byte) string {
	var s []byte
	for _, c := range b {
		if c == 0xFF {
			break
		}
		if c < ' ' || c > 'z' || c == '$' || c == '@' || c > 'Z' && c < 'a' {
			c = '?'
		}
		s = append(s, c)
	}
	return string(s)
}

// digitsOf is BCD, the low half of a byte first, up to its filling.
func digitsOf(b []byte) string {
	var s []byte
	for i := range 2 * len(b) {
		d := b[i/2] >> (i % 2 * 4) & 0xF
		if d > 9 {
			break
		}
		s = append(s, '0'+d)
	}
	return string(s)
}

// masked is the IMSI of EF.IMSI without the number of the subscriber: MCC and, as
// long as EF.AD says (TS 31.102 4.2.18), MNC.
func masked(imsi, ad []byte) string {
	if len(imsi) < 2 || int(imsi[0]) >= len(imsi) {
		return ""
	}
	digits := digitsOf(imsi[1 : 1+imsi[0]])
	network := 1 + 3 + 2 // with the parity in front
	if len(ad) > 3 && ad[3]&0xF == 3 {
		network++
	}
	if len(digits) <= network {
		return ""
	}
	return digits[1:network] + strings.Repeat("*", len(digits)-network)
}

// referenceName is what keyReference calls ref.
func referenceName(ref byte) string {
	switch {
	case ref == refPIN1:
		return "PIN1"
	case ref == refPIN2:
		return "PIN2"
	case ref == refUniversal:
		return "UPIN"
	case ref >= refADM1 && ref < refADM1+5:
		return "ADM" + plain(int(ref-refADM1)+1)
	case ref >= refADM6 && ref < refADM6+5:
		return "ADM" + plain(int(ref-refADM6)+6)
	}
	return "REF" + string([]byte{hexUpper[ref>>4], hexUpper[ref&15]})
}
