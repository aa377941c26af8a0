package profile

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Limits that the schema says too; the rest of them stands in persona.schema.json.
const (
	MinBits = 1024 // of an RSA key: EMV Book 2 annex D1
	MaxBits = 1984
)

// Read reads a persona that fits the schema. What follows from several values
// together is checked here; the error is an *sdk.PersonaError.
func Read(doc *sdk.Doc) (*Profile, error) {
	p := &Profile{
		Seed:     doc.Get("seed").Text(),
		Platform: optional(doc, "cryptography", "platform") == "platform",
		PSE:      flag(doc, "pse", true),
		PPSE:     flag(doc, "ppse", true),
		Blocked:  flag(doc, "blocked", false),
	}
	for _, l := range doc.Get("languages").Items() {
		p.Languages = append(p.Languages, l.Text()...)
	}
	if t := doc.Get("issuer_code_table"); t.Exists() {
		p.CodeTable = byte(t.Int(1, 16))
	}
	for _, read := range []func(*sdk.Doc) error{p.authorities, p.issuers, p.applications} {
		if err := read(doc); err != nil {
			return nil, err
		}
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

func flag(d *sdk.Doc, name string, otherwise bool) bool {
	if f := d.Get(name); f.Exists() {
		return f.Bool()
	}
	return otherwise
}

func optional(d *sdk.Doc, name, otherwise string) string {
	if f := d.Get(name); f.Exists() {
		return f.Text()
	}
	return otherwise
}

func number(d *sdk.Doc, name string, otherwise, lo, hi int64) int64 {
	if f := d.Get(name); f.Exists() {
		return f.Int(lo, hi)
	}
	return otherwise
}

// fixed reads hexadecimal of the length of to.
func fixed(d *sdk.Doc, to []byte) error {
	b := d.Hex()
	if len(b) != len(to) {
		return d.Refuse("is not " + strconv.Itoa(len(to)) + " bytes")
	}
	copy(to, b)
	return nil
}

func rsa(d *sdk.Doc) RSA {
	r := RSA{Bits: int(d.Get("bits").Int(MinBits, MaxBits)), Exponent: 3}
	if e := d.Get("exponent"); e.Exists() {
		r.Exponent = uint32(e.Int(3, 65537))
		if r.Exponent != 3 && r.Exponent != 65537 {
			e.Fail("is neither 3 nor 65537 (EMV Book 2 annex B2.1)")
		}
	}
	return r
}

func (p *Profile) authorities(doc *sdk.Doc) error {
	for _, d := range doc.Get("authorities").Items() {
		a := Authority{RSA: rsa(d), Index: byte(d.Get("index").Int(0, 255))}
		if err := fixed(d.Get("rid"), a.RID[:]); err != nil {
			return err
		}
		if a.RID[0]>>4 != 0xF {
			return d.Get("rid").Refuse("is not a test RID: it has to begin with F (ISO/IEC 7816-4, proprietary without registration)")
		}
		for _, o := range p.Authorities {
			if o.RID == a.RID && o.Index == a.Index {
				return d.Refuse("has RID and index of another authority")
			}
		}
		p.Authorities = append(p.Authorities, a)
	}
	return doc.Err()
}

func (p *Profile) issuers(doc *sdk.Doc) error {
	for _, d := range doc.Get("issuers").Items() {
		i := Issuer{RSA: rsa(d), Name: d.Get("name").Text(), Identifier: d.Get("identifier").Text(), Defect: oda.Defect(optional(d, "defect", ""))}
		if err := fixed(d.Get("serial"), i.Serial[:]); err != nil {
			return err
		}
		if err := fixed(d.Get("expires"), i.Expires[:]); err != nil {
			return err
		}
		var rid [5]byte
		if err := fixed(d.Get("rid"), rid[:]); err != nil {
			return err
		}
		index := byte(d.Get("index").Int(0, 255))
		for n := range p.Authorities {
			if a := &p.Authorities[n]; a.RID == rid && a.Index == index {
				i.Authority = a
			}
		}
		if i.Authority == nil {
			return d.Refuse("names an authority (rid, index) that there is not")
		}
		if i.Bits > i.Authority.Bits {
			return d.Get("bits").Refuse("is more than the " + strconv.Itoa(i.Authority.Bits) + " of its authority (EMV Book 2 annex D1)")
		}
		for _, o := range p.Issuers {
			if o.Name == i.Name {
				return d.Get("name").Refuse("is the name of another issuer")
			}
		}
		p.Issuers = append(p.Issuers, i)
	}
	return doc.Err()
}

func (p *Profile) applications(doc *sdk.Doc) error {
	for _, d := range doc.Get("applications").Items() {
		a := Application{
			Name: d.Get("name").Text(), AID: d.Get("aid").Hex(), Label: d.Get("label").Text(), Called: optional(d, "preferred_name", ""),
			Priority: byte(number(d, "priority", 0, 0, 15)), Confirm: flag(d, "confirm", false), Blocked: flag(d, "blocked", false),
			PAN: d.Get("pan").Text(), PSN: byte(number(d, "psn", 0, 0, 99)), Holder: optional(d, "holder", ""),
			ServiceCode: optional(d, "service_code", "201"), Discretionary: optional(d, "discretionary", ""),
			Format: byte(number(d, "response_format", 2, 1, 2)), DKI: byte(number(d, "dki", 1, 0, 255)), ARPC: int(number(d, "arpc", 1, 1, 2)),
			StaticDefect: oda.Defect(optional(d, "static_defect", "")),
		}
		if len(a.AID) < 5 || len(a.AID) > 16 {
			return d.Get("aid").Refuse("is not 5 to 16 bytes")
		}
		if a.AID[0]>>4 != 0xF {
			return d.Get("aid").Refuse("does not begin with F: only test identifiers are allowed")
		}
		for _, o := range p.Applications {
			if string(o.AID) == string(a.AID) {
				return d.Get("aid").Refuse("is that of another application")
			}
		}
		if !luhn(a.PAN) {
			return d.Get("pan").Refuse("has a wrong check digit (ISO/IEC 7812-1 annex B)")
		}
		if a.PAN[0] != '9' {
			return d.Get("pan").Refuse("does not begin with 9: numbers that an issuer could have given out are refused")
		}
		for _, f := range []struct {
			name string
			to   []byte
		}{{"expires", a.Expires[:]}, {"effective", a.Effective[:]}, {"country", a.Country[:]}, {"currency", a.Currency[:]}} {
			if err := fixed(d.Get(f.name), f.to); err != nil {
				return err
			}
		}
		for _, read := range []func(*sdk.Doc, *Application) error{p.icc, a.elements, a.interfaces, a.records, a.cryptography, a.behaviour} {
			if err := read(d, &a); err != nil {
				return err
			}
		}
		p.Applications = append(p.Applications, a)
	}
	return doc.Err()
}

// luhn tells whether the last digit is the check digit of the others.
func luhn(pan string) bool {
	sum := 0
	for i := range len(pan) {
		n := int(pan[len(pan)-1-i] - '0')
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return len(pan) > 0 && sum%10 == 0
}

func (p *Profile) icc(d *sdk.Doc, a *Application) error {
	k := d.Get("icc")
	if !k.Exists() {
		return nil
	}
	a.ICC = ICC{RSA: rsa(k), Defect: oda.Defect(optional(k, "defect", ""))}
	if err := fixed(k.Get("serial"), a.ICC.Serial[:]); err != nil {
		return err
	}
	if err := fixed(k.Get("expires"), a.ICC.Expires[:]); err != nil {
		return err
	}
	name := k.Get("issuer").Text()
	for n := range p.Issuers {
		if p.Issuers[n].Name == name {
			a.ICC.Issuer = &p.Issuers[n]
		}
	}
	i := a.ICC.Issuer
	switch {
	case i == nil:
		return k.Get("issuer").Refuse("is not the name of an issuer")
	case string(i.Authority.RID[:]) != string(a.AID[:5]):
		return k.Get("issuer").Refuse("has an authority of another RID than the application")
	case a.ICC.Bits > i.Bits:
		return k.Get("bits").Refuse("is more than the " + strconv.Itoa(i.Bits) + " of the issuer (EMV Book 2 annex D1)")
	}
	if k := d.Get("pin_key"); k.Exists() {
		r := rsa(k)
		if a.PINKey = &r; r.Bits > i.Bits {
			return k.Get("bits").Refuse("is more than the " + strconv.Itoa(i.Bits) + " of the issuer (EMV Book 2 annex D1)")
		}
	}
	return nil
}

// TagOf is the tag that hexadecimal text names, 0 when it is none.
func tagOf(b []byte) tlv.Tag {
	t, v, rest, err := tlv.Next(append(b[:len(b):len(b)], 0))
	if err != nil || len(v)+len(rest) > 0 || t == 0 {
		return 0
	}
	return t
}

func tags(l *sdk.Doc) (out []tlv.Tag) {
	for _, d := range l.Items() {
		t := tagOf(d.Hex())
		if t == 0 {
			d.Fail("is not one tag")
		}
		out = append(out, t)
	}
	return out
}

func dol(d *sdk.Doc) []byte {
	if !d.Exists() {
		return nil
	}
	b := d.Hex()
	if _, err := emv.ParseDOL(b); err != nil {
		d.Fail("is not a data object list: " + err.Error())
	}
	return b
}

func (*Application) elements(d *sdk.Doc, a *Application) error {
	a.CDOL1, a.CDOL2, a.DDOL = dol(d.Get("cdol1")), dol(d.Get("cdol2")), dol(d.Get("ddol"))
	if s := d.Get("static_tags"); s.Exists() {
		a.Static = s.Hex()
	}
	for name, v := range d.Get("data").Members() {
		e := Element{Value: v.Hex()}
		if b, ok := hexText(name); ok {
			e.Tag = tagOf(b)
		}
		if e.Tag == 0 {
			return v.Refuse("is not under one tag in hexadecimal")
		}
		if len(e.Value) > 252 {
			return v.Refuse("is longer than 252 bytes")
		}
		a.Data = append(a.Data, e)
	}
	a.GetData = tags(d.Get("get_data"))
	return nil
}

func hexText(s string) ([]byte, bool) {
	if len(s)%2 != 0 {
		return nil, false
	}
	b := make([]byte, 0, len(s)/2)
	for i := 0; i < len(s); i += 2 {
		v, err := strconv.ParseUint(s[i:i+2], 16, 8)
		if err != nil {
			return nil, false
		}
		b = append(b, byte(v))
	}
	return b, true
}

// aips are the words for the bits of the AIP (Book 3 annex C1; Book C-2 for the
// last two).
var aips = []struct {
	word string
	bit  [2]byte
}{
	{"sda", [2]byte{0x40}}, {"dda", [2]byte{0x20}}, {"cardholder-verification", [2]byte{0x10}},
	{"terminal-risk-management", [2]byte{0x08}}, {"issuer-authentication", [2]byte{0x04}}, {"cda", [2]byte{0x01}},
	{"on-device-verification", [2]byte{0x02}}, {"emv-mode", [2]byte{0, 0x80}}, {"relay-resistance", [2]byte{0, 0x01}},
}

func side(d *sdk.Doc) *Interface {
	i := &Interface{PDOL: dol(d.Get("pdol"))}
	for _, w := range d.Get("aip").Items() {
		s, known := w.Text(), false
		for _, a := range aips {
			if a.word == s {
				i.AIP[0] |= a.bit[0]
				i.AIP[1] |= a.bit[1]
				known = true
			}
		}
		if !known {
			w.Fail("is not a word for a bit of the AIP")
		}
	}
	if f := d.Get("afl"); f.Exists() {
		i.AFL = f.Hex()
	}
	return i
}

func (*Application) interfaces(d *sdk.Doc, a *Application) error {
	if c := d.Get("contact"); c.Exists() {
		a.Contact = side(c)
	}
	if c := d.Get("contactless"); c.Exists() {
		i := side(c)
		i.Kernel = byte(c.Get("kernel").Int(2, 3))
		i.Stripe = flag(c, "magnetic_stripe", false)
		i.Fast = flag(c, "offline_authentication", false)
		i.Online = uint64(number(c, "online_above", 0, 0, 999999999999))
		if q := c.Get("ctq"); q.Exists() {
			if err := fixed(q, i.CTQ[:]); err != nil {
				return err
			}
		}
		if r := c.Get("relay_resistance"); r.Exists() {
			i.Relay = &Relay{uint16(r.Get("min").Int(0, 65535)), uint16(r.Get("max").Int(0, 65535)), uint16(r.Get("estimate").Int(0, 65535))}
		}
		a.Contactless = i
	}
	if a.Contact == nil && a.Contactless == nil {
		return d.Refuse("has neither contact nor contactless")
	}
	return nil
}

func (*Application) records(d *sdk.Doc, a *Application) error {
	for _, r := range d.Get("records").Items() {
		rec := Record{SFI: byte(r.Get("sfi").Int(1, 30)), Number: byte(r.Get("record").Int(1, 254)), Signed: flag(r, "signed", false), On: Contact | Contactless}
		if on := r.Get("on"); on.Exists() {
			if rec.On = Contact; on.Text() == "contactless" {
				rec.On = Contactless
			}
		}
		for _, o := range a.Records {
			if o.SFI == rec.SFI && o.Number == rec.Number && o.On&rec.On != 0 {
				return r.Refuse("is there twice")
			}
		}
		switch raw := r.Get("raw"); {
		case raw.Exists() == r.Has("tags"):
			return r.Refuse("needs either tags or raw")
		case raw.Exists():
			rec.Raw = raw.Hex()
			if rec.Raw == nil {
				rec.Raw = []byte{}
			}
		default:
			rec.Tags = tags(r.Get("tags"))
		}
		a.Records = append(a.Records, rec)
	}
	return nil
}

func (*Application) cryptography(d *sdk.Doc, a *Application) error {
	name := d.Get("cryptogram").Text()
	v, ok := cryptogram.ByName(name)
	if !ok {
		return d.Get("cryptogram").Refuse("is not a known cryptogram version")
	}
	a.Version = v
	k := d.Get("master_keys")
	for _, m := range []struct {
		name string
		to   *[]byte
	}{{"ac", &a.Master.AC}, {"smi", &a.Master.SMI}, {"smc", &a.Master.SMC}} {
		if key := k.Get(m.name); key.Exists() {
			if *m.to = key.Hex(); len(*m.to) != 16 {
				return key.Refuse("is not 16 bytes")
			}
		}
	}
	return nil
}

func (*Application) behaviour(d *sdk.Doc, a *Application) error {
	if pin := d.Get("pin"); pin.Exists() {
		a.PIN = pin.Get("value").Text()
		a.PINTries = byte(pin.Get("tries").Int(1, 15))
	}
	if c := d.Get("counters"); c.Exists() {
		a.Counters = Counters{
			ATC: uint16(number(c, "atc", 0, 0, 65535)), LastOnline: uint16(number(c, "last_online_atc", 0, 0, 65535)),
			Consecutive: byte(number(c, "consecutive_offline", 0, 0, 255)), Cumulative: uint64(number(c, "cumulative_offline", 0, 0, 999999999999)),
		}
		if a.Counters.LastOnline > a.Counters.ATC {
			return c.Get("last_online_atc").Refuse("is above atc")
		}
	}
	for _, r := range d.Get("risk").Items() {
		rule := Rule{}
		c, t := word(conditions[:], r.Get("if").Text()), word(actions[:], r.Get("then").Text())
		if c < 0 {
			return r.Get("if").Refuse("is not a known condition")
		}
		if t < 0 {
			return r.Get("then").Refuse("is none of online, decline-if-offline, decline")
		}
		rule.Condition, rule.Action = Condition(c), Action(t)
		if rule.Condition.limited() != r.Has("limit") {
			return r.Refuse("limit belongs to the conditions that end in above, and they need it")
		}
		if rule.Condition.limited() {
			rule.Limit = uint64(r.Get("limit").Int(0, 999999999999))
		}
		a.Risk = append(a.Risk, rule)
	}
	if l := d.Get("log"); l.Exists() {
		a.Log = &Log{SFI: byte(l.Get("sfi").Int(11, 30)), Records: byte(l.Get("records").Int(1, 30)), Format: dol(l.Get("format"))}
		for _, r := range a.Records {
			if r.SFI == a.Log.SFI {
				return l.Get("sfi").Refuse("is that of a record")
			}
		}
		entries, _ := emv.ParseDOL(a.Log.Format)
		if emv.Length(entries) > 250 {
			return l.Get("format").Refuse("makes records of more than 250 bytes")
		}
	}
	return nil
}
