package payment

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// maxRecord is how long a record can be, template and all (Book 3 6.5.11).
const maxRecord = 254

// Personalise makes the card of a persona: keys from the seed, certificates, records.
func (c *Card) Personalise(doc *sdk.Doc) error {
	p, err := profile.Read(doc)
	if err != nil {
		return err
	}
	c.use(p)
	w := &writer{}
	w.put(keyPersona, doc.CBOR())
	w.put(keyCard, []byte{truth(p.Blocked)})
	for i := range c.apps {
		a := &c.apps[i]
		a.state = state{
			atc: a.Counters.ATC, lastOnline: a.Counters.LastOnline, tries: a.PINTries,
			consecutive: a.Counters.Consecutive, cumulative: a.Counters.Cumulative,
		}
		a.state.set(isBlocked, a.Blocked)
		b := a.state.bytes()
		w.put(a.key("state"), b[:])
		w.put(a.key("pin"), []byte(a.PIN))
		w.put(a.key("log"), nil)
		at := doc.Get("applications")
		for n, d := range at.Items() {
			if n == i {
				at = d
			}
		}
		k, err := c.makeKeys(w, a)
		if err != nil {
			return at.Refuse(err.Error())
		}
		for _, s := range []profile.Side{profile.Contact, profile.Contactless} {
			if a.On(s) == nil {
				continue
			}
			if err := c.issue(w, a, s, k, at); err != nil {
				return err
			}
		}
	}
	return w.err
}

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// writer keeps the first error.
type writer struct{ err error }

func (w *writer) put(key string, val []byte) {
	if w.err == nil {
		w.err = sdk.NVM.Put(key, val)
	}
}

// chain is the keys of an application, from the authority down.
type chain struct{ authority, issuer, icc, pin *oda.PrivateKey }

func (c *Card) makeKeys(w *writer, a *application) (k chain, err error) {
	i := a.ICC.Issuer
	if i == nil {
		return k, nil
	}
	if k.authority, err = c.profile.AuthorityKey(sdk.GenerateRSA, i.Authority); err != nil {
		return k, err
	}
	if k.issuer, err = c.profile.IssuerKey(sdk.GenerateRSA, i); err != nil {
		return k, err
	}
	keep := func(name string) profile.Generator {
		return func(seed []byte, bits int, e uint32) (p, q []byte, err error) {
			if p, q, err = sdk.GenerateRSA(seed, bits, e); err == nil {
				w.put(a.key(name), append(p[:len(p):len(p)], q...))
			}
			return p, q, err
		}
	}
	if k.icc, err = c.profile.ICCKey(keep("rsa/icc"), a.Application); err != nil {
		return k, err
	}
	if k.pin = k.icc; a.PINKey != nil {
		k.pin, err = c.profile.PINKey(keep("rsa/pin"), a.Application)
	}
	return k, err
}

// issue makes certificates, AFL and records of one side of an application.
func (c *Card) issue(w *writer, a *application, s profile.Side, k chain, at *sdk.Doc) error {
	v := values{app: a, side: s, chain: k, rsa: c.rsa, made: map[tlv.Tag][]byte{}}
	var static []byte
	afl := a.On(s).AFL
	if afl == nil {
		var err string
		if afl, err = locator(a, s); err != "" {
			return at.Get("records").Refuse(err)
		}
	}
	// Signed records first: the certificate of the ICC signs what they hold.
	for _, signed := range []bool{true, false} {
		if !signed {
			if err := v.certify(static); err != nil {
				return at.Refuse(err.Error())
			}
		}
		for n, d := range at.Get("records").Items() {
			r := &a.Records[n]
			if r.On&s == 0 || r.Signed != signed {
				continue
			}
			rec, missing := v.record(r)
			switch {
			case missing != 0:
				return d.Refuse("has tag " + hexTag(missing) + ", which the application does not have")
			case len(rec) > maxRecord:
				return d.Refuse("is " + strconv.Itoa(len(rec)) + " bytes; a record has 254 at most (EMV Book 3 6.5.11)")
			}
			w.put(a.key(recordKey(s, r.SFI, r.Number)), rec)
			if signed {
				static = append(static, signedPart(r.SFI, rec)...)
			}
		}
	}
	w.put(a.key(aflKey(s)), afl)
	return nil
}

// signedPart is what of a record goes into offline data authentication: without its
// template in files 1 to 10, all of it above (Book 3 10.3).
func signedPart(sfi byte, rec []byte) []byte {
	if sfi <= 10 {
		if v, err := tlv.Find(rec, tagRecord); err == nil {
			return v
		}
	}
	return rec
}

// locator is the AFL that follows from the records of a side: by file in the order of
// the persona, consecutive records together, signed ones first (Book 3 10.2). Text
// tells why there is none.
func locator(a *application, s profile.Side) (afl []byte, text string) {
	for i := range a.Records {
		r := &a.Records[i]
		if r.On&s == 0 {
			continue
		}
		n := len(afl) - 4
		if n >= 0 && afl[n] == r.SFI<<3 && afl[n+2]+1 == r.Number {
			allSigned := afl[n+3] == afl[n+2]-afl[n+1]+1
			if !r.Signed || allSigned {
				afl[n+2]++
				afl[n+3] += truth(r.Signed)
				continue
			}
		}
		if n >= 0 && afl[n]>>3 > r.SFI {
			return nil, "are not in the order of their files"
		}
		afl = append(afl, r.SFI<<3, r.Number, r.Number, truth(r.Signed))
	}
	if len(afl) > 252 {
		return nil, "make an AFL of more than 252 bytes"
	}
	return afl, ""
}

// values makes the data elements that records hold.
type values struct {
	app   *application
	side  profile.Side
	chain chain
	rsa   oda.ModExp
	made  map[tlv.Tag][]byte // certificates and signatures
}

// record is the content of r, or the tag that the application does not have.
func (v *values) record(r *profile.Record) (rec []byte, missing tlv.Tag) {
	if r.Raw != nil {
		return r.Raw, 0
	}
	b, m := tlv.Begin(nil, tagRecord)
	for _, t := range r.Tags {
		val, ok := v.value(t)
		if !ok {
			return nil, t
		}
		if val != nil {
			b = tlv.Append(b, t, val...)
		}
	}
	return tlv.End(b, m), 0
}

// value is the value of a data element: of the persona if it has one, else what
// follows from it. nil and ok: it is left out, as an empty remainder is.
func (v *values) value(t tlv.Tag) (val []byte, ok bool) {
	a := v.app
	for _, e := range a.Data {
		if e.Tag == t {
			return e.Value, true
		}
	}
	if val, ok = v.made[t]; ok {
		return val, true
	}
	switch t {
	case tagTrack2:
		val = track2(a)
	case tagPAN:
		val = bcd(a.PAN, 0xF)
	case tagHolder:
		val = []byte(a.Holder)
	case tagExpires:
		val = a.Expires[:]
	case tagEffective:
		val = a.Effective[:]
	case tagCountry:
		val = a.Country[:]
	case tagOwnCurrency:
		val = a.Currency[:]
	case tagServiceCode:
		val = bcd("0"+a.ServiceCode, 0)
	case tagPSN:
		val = []byte{a.PSN/10<<4 | a.PSN%10}
	case tagCDOL1:
		val = a.CDOL1
	case tagCDOL2:
		val = a.CDOL2
	case tagDDOL:
		val = a.DDOL
	case tagStaticTags:
		val = a.Static
	case tagAIP:
		val = a.On(v.side).AIP[:]
	case tagAuthority:
		if a.ICC.Issuer != nil {
			val = []byte{a.ICC.Issuer.Authority.Index}
		}
	}
	return val, len(val) > 0
}

// certify makes certificates and signatures over the data to be authenticated.
func (v *values) certify(static []byte) error {
	a, k := v.app, v.chain
	i := a.ICC.Issuer
	if i == nil {
		return nil
	}
	if v.has(tagStaticTags) && len(a.Static) > 0 {
		static = append(static, a.On(v.side).AIP[:]...) // Book 3 10.3: the tag list holds 82 alone
	}
	cert, rest, err := oda.IssuerCertificate{
		Identifier: i.Identifier, Expires: i.Expires, Serial: i.Serial, Key: k.issuer.PublicKey, Defect: i.Defect,
	}.Sign(v.rsa, k.authority)
	if err != nil {
		return err
	}
	v.made[tagIssuerKey], v.made[tagIssuerRest], v.made[tagIssuerExponent] = cert, rest, k.issuer.Exponent
	if v.has(tagStatic) {
		code := [2]byte{0xDA, 0xC0} // data authentication code, of the issuer's choice (Book 2 table 3)
		if v.made[tagStatic], err = oda.SignStatic(v.rsa, k.issuer, code, static, a.StaticDefect); err != nil {
			return err
		}
	}
	icc := oda.ICCCertificate{PAN: a.PAN, Expires: a.ICC.Expires, Serial: a.ICC.Serial, Key: k.icc.PublicKey, Static: static, Defect: a.ICC.Defect}
	if v.has(tagICCCertificate) {
		if cert, rest, err = icc.Sign(v.rsa, k.issuer); err != nil {
			return err
		}
		v.made[tagICCCertificate], v.made[tagICCRest], v.made[tagICCExponent] = cert, rest, k.icc.Exponent
	}
	if v.has(tagPINCertificate) {
		icc.Key, icc.Static, icc.Defect = k.pin.PublicKey, nil, "" // Book 2 7.1: no static data
		if cert, rest, err = icc.Sign(v.rsa, k.issuer); err != nil {
			return err
		}
		v.made[tagPINCertificate], v.made[tagPINRest], v.made[tagPINExponent] = cert, rest, k.pin.Exponent
	}
	return nil
}

// has tells whether a record of this side holds t.
func (v *values) has(t tlv.Tag) bool {
	for i := range v.app.Records {
		if r := &v.app.Records[i]; r.On&v.side != 0 {
			for _, u := range r.Tags {
				if u == t {
					return true
				}
			}
		}
	}
	return false
}

// bcd is digits, two a byte; an odd last half is fill.
func bcd(digits string, fill byte) []byte {
	b := make([]byte, 0, (len(digits)+1)/2)
	for i := 0; i < len(digits); i += 2 {
		lo := fill
		if i+1 < len(digits) {
			lo = digits[i+1] - '0'
		}
		b = append(b, (digits[i]-'0')<<4|lo)
	}
	return b
}

// track2 is the track 2 equivalent data (Book 3 annex A): PAN, D, expiry date YYMM,
// service code, discretionary data, F up to a whole byte. '=' is D as a digit.
func track2(a *application) []byte {
	month := func(b byte) string { return string([]byte{'0' + b>>4, '0' + b&15}) }
	s := a.PAN + "=" + month(a.Expires[0]) + month(a.Expires[1]) + a.ServiceCode + a.Discretionary
	return bcd(s, 0xF)
}

func hexTag(t tlv.Tag) string {
	b := tlv.AppendHeader(nil, t, 0)
	return profile.Hex(b[:len(b)-1])
}
