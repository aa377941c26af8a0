package spectests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// emvChecks are the terminal and the issuer of EMV: they make what a terminal sends,
// and look at the answers with the keys of the persona. The steps between them are
// plain APDUs, so that a suite reads like a dialogue:
//
//	emv_app debit contact         {gpo}, {cdol1}, {cdol2}, {ddol}: data by the lists of the card
//	80A80000 {gpo:lv} 00          emv_options
//	80AE8000 {cdol1:lv} 00        emv_ac arqc
//	0082000008 {arpc:lv}          after emv_arpc
//	841E000008 {mac}              after emv_mac
var emvChecks = map[string]check{
	"emv_app":     {doc: "the terminal has selected the application NAME over contact or contactless: it makes what the lists of the card ask for", args: 2, sets: emvVars, needs: []string{AbilityProfile}, run: emvApp},
	"emv_set":     {doc: "the terminal's data element TAG has another VALUE from now on", args: 2, sets: emvVars, needs: []string{AbilityProfile}, run: emvSet},
	"emv_fci":     {doc: "the data is the FCI of the application NAME (Book 1 table 45)", args: 1, sets: emvVars, needs: []string{AbilityProfile}, run: emvFCI},
	"emv_options": {doc: "the data is AIP and a well-formed AFL, in template 80 or 77 (Book 3 6.5.8, 10.2)", needs: []string{AbilityProfile}, run: emvOptions},
	"emv_records": {doc: "the records of the AFL can be read, are templates 70, have no data object twice and what is mandatory (Book 3 7.2, 10.2)", needs: []string{AbilityProfile}, run: emvRecords},

	"emv_keys":    {doc: "the keys of issuer and card can be recovered from the certificates (Book 2 6.3, 6.4)", needs: []string{AbilityProfile}, run: func(d *Dialogue, _ []string) error { _, _, err := d.emvKeys(); return err }},
	"emv_issuer":  {doc: "the key of the issuer can be recovered from its certificate (Book 2 5.3)", needs: []string{AbilityProfile}, run: func(d *Dialogue, _ []string) error { _, err := d.emvIssuer(); return err }},
	"emv_static":  {doc: "the signed static application data is right (Book 2 5.4)", needs: []string{AbilityProfile}, run: emvStatic},
	"emv_dynamic": {doc: "the data is signed dynamic application data over what was sent (Book 2 6.5.2)", needs: []string{AbilityProfile}, run: emvDynamic},
	"emv_fdda":    {doc: "the signature of kernel 3 style is right", needs: []string{AbilityProfile}, run: emvFast},

	"emv_ac":    {doc: "the data is an application cryptogram of KIND (tc, arqc, aac), right and of the next ATC or of the last; with a combined signature if it has one (Book 2 6.6.2, 8.1)", args: 1, needs: []string{AbilityProfile}, run: emvAC},
	"emv_cda":   {doc: "the last cryptogram came with or without a combined signature", args: 1, needs: []string{AbilityProfile}, run: emvCDA},
	"emv_quick": {doc: "the data is the answer to GET PROCESSING OPTIONS in kernel 3 style with a right cryptogram of KIND", args: 1, needs: []string{AbilityProfile}, run: emvQuick},
	"emv_cvr":   {doc: "the card verification results of the last cryptogram have NAME set, yes or no", args: 2, needs: []string{AbilityProfile}, run: emvCVR},
	"emv_atc":   {doc: "the ATC is N more than when it was looked at before; first: it is looked at", args: 1, run: emvATC},

	"emv_pin":       {doc: "{pin} is the plain block of a PIN; right is that of the persona, wrong another, else its digits", args: 1, sets: []string{"pin"}, needs: []string{AbilityProfile}, run: emvPIN},
	"emv_pin_rsa":   {doc: "{pin} is an enciphered PIN (right, wrong or digits) with the challenge in the data; HOW is well, header, challenge or block, what is wrong with it", args: 2, sets: []string{"pin"}, needs: []string{AbilityProfile}, run: emvPINRSA},
	"emv_arpc":      {doc: "{arpc} is issuer authentication data, right or wrong, with the card status update CSU if the card has method 2; {cdol2} has it too", args: 2, sets: append([]string{"arpc"}, emvVars...), needs: []string{AbilityProfile}, run: emvARPC},
	"emv_mac":       {doc: "{mac} is the MAC of the next script command with HEADER and DATA (- for none), {script} the command", args: 2, sets: []string{"mac", "script"}, needs: []string{AbilityProfile}, run: func(d *Dialogue, a []string) error { return d.emvMAC(a, true) }},
	"emv_mac_wrong": {doc: "{mac} is a wrong MAC of the next script command with HEADER and DATA", args: 2, sets: []string{"mac"}, needs: []string{AbilityProfile}, run: func(d *Dialogue, a []string) error { return d.emvMAC(a, false) }},
	"emv_encipher":  {doc: "{enciphered} is the block of a PIN (digits, or 16 hexadecimal digits) enciphered for a script, with the current PIN mixed in or alone", args: 2, sets: []string{"enciphered"}, needs: []string{AbilityProfile}, run: emvEncipher},

	"emv_signed": {doc: "the last combined signature holds DATA behind the hash", args: 1, needs: []string{AbilityProfile}, run: emvSigned},
	"emv_random": {doc: "two answers to the command COMMAND differ", args: 1, run: emvRandom},
}

var emvVars = []string{"gpo", "cdol1", "cdol2", "ddol"}

// emvState is what terminal and issuer know of one transaction.
type emvState struct {
	app    *profile.Application
	side   profile.Side
	values map[emv.Tag][]byte // of the terminal

	options, first, second []byte // what it sent by PDOL, CDOL1, CDOL2
	aip, afl               []byte
	tags                   map[emv.Tag][]byte // of the card's records
	static                 []byte             // of them, what is signed

	cid         byte
	atc         uint16
	ac          [8]byte // the last cryptogram
	iad         []byte
	combined    bool
	more        []byte  // what else was signed with it
	base, chain [8]byte // of the script: the first cryptogram, the last MAC
}

// emvDefaults are the data elements of a terminal in Germany on 23 November 2026, for
// 10.00 euro.
var emvDefaults = map[emv.Tag]string{
	0x9F02: "000000001000", 0x9F03: "000000000000", 0x9F1A: "0276", 0x95: "0000000000", 0x5F2A: "0978", 0x9A: "261123", 0x9C: "00",
	0x9F37: "11223344", 0x9F35: "22", 0x9F34: "1F0000", 0x8A: "3030", 0x9F66: "26000000", 0x9F33: "E0F8C8", 0x9F40: "6000F0A001",
}

func (d *Dialogue) emvNow() (*emvState, error) {
	if d.emv == nil {
		return nil, errors.New("no emv_app before")
	}
	return d.emv, nil
}

func emvApp(d *Dialogue, a []string) error {
	p := d.target.Profile
	i := slices.IndexFunc(p.Applications, func(x profile.Application) bool { return x.Name == a[0] })
	if i < 0 {
		return fmt.Errorf("the persona has no application %q", a[0])
	}
	s := &emvState{app: &p.Applications[i], side: profile.Contact, values: map[emv.Tag][]byte{}, tags: map[emv.Tag][]byte{}}
	if a[1] == "contactless" {
		s.side = profile.Contactless
	}
	if s.app.On(s.side) == nil {
		return fmt.Errorf("%s is not there over %s", a[0], a[1])
	}
	for t, v := range emvDefaults {
		s.values[t] = unhex(v)
	}
	d.emv = s
	return d.emvFill()
}

// emvFill makes the variables anew.
func (d *Dialogue) emvFill() error {
	s := d.emv
	for name, list := range map[string][]byte{"gpo": s.app.On(s.side).PDOL, "cdol1": s.app.CDOL1, "cdol2": s.app.CDOL2, "ddol": s.app.DDOL} {
		dol, err := emv.ParseDOL(list)
		if err != nil {
			return err
		}
		b := emv.Fill(dol, func(t emv.Tag) []byte { return s.values[t] })
		if name == "gpo" {
			b = tlv.Append(nil, 0x83, b...)
		}
		d.vars[name] = upper(b)
	}
	return nil
}

func emvSet(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	t, err := strconv.ParseUint(a[0], 16, 24)
	if err != nil {
		return err
	}
	v, err := hex.DecodeString(a[1])
	if err != nil {
		return err
	}
	s.values[emv.Tag(t)] = v
	return d.emvFill()
}

// body is the command data of the command that was sent last.
func (d *Dialogue) body() []byte {
	if len(d.sent) < 5 || len(d.sent) < 5+int(d.sent[4]) {
		return nil
	}
	return d.sent[5 : 5+int(d.sent[4])]
}

func emvFCI(d *Dialogue, a []string) error {
	if err := emvApp(d, []string{a[0], "contact"}); err != nil {
		return err
	}
	app := d.emv.app
	if err := walk(d.data); err != nil {
		return err
	}
	tag, fci, rest, err := tlv.Next(d.data)
	if err != nil || tag != 0x6F || len(rest) > 0 {
		return errors.New("it is not one template 6F")
	}
	name, err := tlv.Find(fci, 0x84)
	if err != nil || !bytes.Equal(name, app.AID) {
		return fmt.Errorf("84 is %X, expected %X", name, app.AID)
	}
	known := []tlv.Tag{0x50, 0x87, 0x9F38, 0x5F2D, 0x9F11, 0x9F12, 0xBF0C}
	own, err := tlv.Find(fci, 0xA5)
	if err != nil {
		return fmt.Errorf("A5: %w", err)
	}
	r := tlv.Read(own)
	seen := map[tlv.Tag]bool{}
	for r.Next() {
		if seen[r.Tag] || !slices.Contains(known, r.Tag) {
			return fmt.Errorf("A5 has %X, which table 45 does not have, or not twice", uint32(r.Tag))
		}
		seen[r.Tag] = true
	}
	label, err := tlv.Find(own, 0x50)
	if err != nil || len(label) < 1 || len(label) > 16 {
		return fmt.Errorf("50, the application label, is %q", label)
	}
	for _, c := range label {
		if c < 0x20 || c > 0x7E {
			return fmt.Errorf("50 has the byte %02X", c)
		}
	}
	if seen[0x9F12] && !seen[0x9F11] {
		return errors.New("9F12 is there without 9F11, its code table")
	}
	return nil
}

func emvOptions(d *Dialogue, _ []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	if _, s.options, _, err = tlv.Next(d.body()); err != nil {
		return fmt.Errorf("what was sent: %w", err)
	}
	s.options = bytes.Clone(s.options)
	tag, v, rest, err := tlv.Next(d.data)
	switch {
	case err != nil || len(rest) > 0:
		return errors.New("it is not one template")
	case tag == 0x80 && len(v) >= 2:
		s.aip, s.afl = bytes.Clone(v[:2]), bytes.Clone(v[2:])
	case tag == 0x77:
		if s.aip, err = tlv.Find(v, 0x82); err != nil {
			return fmt.Errorf("82: %w", err)
		}
		if s.afl, err = tlv.Find(v, 0x94); err != nil {
			return fmt.Errorf("94: %w", err)
		}
		s.aip, s.afl = bytes.Clone(s.aip), bytes.Clone(s.afl)
	default:
		return fmt.Errorf("template %X is neither 80 nor 77", uint32(tag))
	}
	want := s.app.On(s.side).AIP
	if !bytes.Equal(s.aip, want[:]) {
		return fmt.Errorf("AIP %X, expected %X", s.aip, want)
	}
	return wellFormedAFL(s.afl)
}

// wellFormedAFL: Book 3 10.2.
func wellFormedAFL(afl []byte) error {
	if len(afl) == 0 || len(afl)%4 != 0 || len(afl) > 252 {
		return fmt.Errorf("an AFL of %d bytes", len(afl))
	}
	for ; len(afl) > 0; afl = afl[4:] {
		if sfi := afl[0] >> 3; afl[0]&7 != 0 || sfi == 0 || sfi == 31 || afl[1] == 0 || afl[2] < afl[1] || afl[3] > afl[2]-afl[1]+1 {
			return fmt.Errorf("the AFL entry %X", afl[:4])
		}
	}
	return nil
}

func emvRecords(d *Dialogue, _ []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	for afl := s.afl; len(afl) > 0; afl = afl[4:] {
		sfi := afl[0] >> 3
		for n, signed := afl[1], afl[3]; ; n++ {
			if err := d.transmit([]byte{0x00, 0xB2, n, afl[0] | 4, 0x00}); err != nil {
				return err
			}
			if d.sw != 0x9000 {
				return fmt.Errorf("record %d of file %d: status %04X", n, sfi, uint16(d.sw))
			}
			if err := s.record(sfi, bytes.Clone(d.data), signed > 0); err != nil {
				return fmt.Errorf("record %d of file %d: %w", n, sfi, err)
			}
			if signed > 0 {
				signed--
			}
			if n == afl[2] {
				break
			}
		}
	}
	must := []emv.Tag{0x5F24, 0x5A} // Book 3 table 26
	if s.side == profile.Contact || s.app.Contactless.Kernel == 2 {
		must = append(must, 0x8C, 0x8D)
	}
	for _, t := range must {
		if _, ok := s.tags[t]; !ok {
			return fmt.Errorf("%X is mandatory and in no record", uint32(t))
		}
	}
	return nil
}

// record takes a record of the AFL.
func (s *emvState) record(sfi byte, rec []byte, signed bool) error {
	if sfi > 10 {
		if signed {
			s.static = append(s.static, rec...)
		}
		return nil
	}
	tag, v, rest, err := tlv.Next(rec)
	if err != nil || tag != 0x70 || len(rest) > 0 {
		return errors.New("it is not one template 70")
	}
	if signed {
		s.static = append(s.static, v...)
	}
	r := tlv.Read(v)
	for r.Next() {
		if _, ok := s.tags[r.Tag]; ok {
			return fmt.Errorf("data object %X a second time", uint32(r.Tag))
		}
		s.tags[r.Tag] = r.Value
	}
	return r.Err()
}

// today is the date of the terminal.
func (s *emvState) today() (b [3]byte) { copy(b[:], s.values[0x9A]); return b }

func (d *Dialogue) emvIssuer() (k oda.PublicKey, err error) {
	s, err := d.emvNow()
	if err != nil {
		return k, err
	}
	index := s.tags[0x8F]
	for i := range d.target.Profile.Authorities {
		a := &d.target.Profile.Authorities[i]
		if len(index) != 1 || a.Index != index[0] || !bytes.HasPrefix(s.app.AID, a.RID[:]) {
			continue
		}
		ca, err := d.target.Profile.AuthorityKey(rsakey.Generate, a)
		if err != nil {
			return k, err
		}
		c, err := oda.RecoverIssuer(oda.Soft, ca.PublicKey, s.tags[0x90], s.tags[0x92], s.tags[0x9F32], s.pan(), s.today())
		return c.Key, err
	}
	return k, fmt.Errorf("8F is %X, which names no authority of the persona", index)
}

// pan is the PAN of the records, without its filling.
func (s *emvState) pan() string { return strings.TrimRight(upper(s.tags[0x5A]), "F") }

// signed is the static data to be authenticated (Book 3 10.3).
func (s *emvState) signed() ([]byte, error) {
	out := bytes.Clone(s.static)
	if l, ok := s.tags[0x9F4A]; ok {
		if !bytes.Equal(l, []byte{0x82}) {
			return nil, fmt.Errorf("9F4A is %X, 82 alone is allowed", l)
		}
		out = append(out, s.aip...)
	}
	return out, nil
}

// emvKeys are the keys of the card: for signatures and for PINs.
func (d *Dialogue) emvKeys() (icc, pin oda.PublicKey, err error) {
	issuer, err := d.emvIssuer()
	if err != nil {
		return icc, pin, err
	}
	s := d.emv
	static, err := s.signed()
	if err != nil {
		return icc, pin, err
	}
	c, err := oda.RecoverICC(oda.Soft, issuer, s.tags[0x9F46], s.tags[0x9F48], s.tags[0x9F47], static, s.pan(), s.today())
	if err != nil {
		return icc, pin, err
	}
	p := c
	if cert, ok := s.tags[0x9F2D]; ok {
		p, err = oda.RecoverICC(oda.Soft, issuer, cert, s.tags[0x9F2F], s.tags[0x9F2E], nil, s.pan(), s.today())
	}
	return c.Key, p.Key, err
}

func emvStatic(d *Dialogue, _ []string) error {
	issuer, err := d.emvIssuer()
	if err != nil {
		return err
	}
	static, err := d.emv.signed()
	if err != nil {
		return err
	}
	_, err = oda.VerifyStatic(oda.Soft, issuer, d.emv.tags[0x93], static)
	return err
}

// template is the value of the only template of the data: 80, or the object t in 77.
func (d *Dialogue) template(t tlv.Tag) ([]byte, error) {
	tag, v, rest, err := tlv.Next(d.data)
	switch {
	case err != nil || len(rest) > 0:
		return nil, errors.New("it is not one template")
	case tag == 0x80:
		return v, nil
	case tag == 0x77:
		return tlv.Find(v, t)
	}
	return nil, fmt.Errorf("template %X is neither 80 nor 77", uint32(tag))
}

func emvDynamic(d *Dialogue, _ []string) error {
	signed, err := d.template(0x9F4B)
	if err != nil {
		return err
	}
	icc, _, err := d.emvKeys()
	if err != nil {
		return err
	}
	n, err := oda.VerifyDynamic(oda.Soft, icc, signed, d.body())
	if err == nil && (len(n) < 3 || n[0] < 2 || n[0] > 8 || len(n) < 1+int(n[0])) {
		err = fmt.Errorf("the ICC dynamic data %X have no ICC dynamic number of 2 to 8 bytes (Book 2 table 14)", n)
	}
	return err
}

var emvKinds = map[string]byte{"aac": 0x00, "tc": 0x40, "arqc": 0x80}

func emvAC(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	second := s.first != nil && s.cid&0xC0 == 0x80
	if body := bytes.Clone(d.body()); second {
		s.second = body
	} else {
		s.first, s.second = body, nil
	}
	was := s.atc
	tag, v, rest, err := tlv.Next(d.data)
	if err != nil || len(rest) > 0 {
		return errors.New("it is not one template")
	}
	var ac, signed, atc []byte
	switch {
	case tag == 0x80 && len(v) >= 11 && len(v) <= 43: // Book 3 table 13
		s.cid, atc, ac, s.iad = v[0], v[1:3], v[3:11], bytes.Clone(v[11:])
	case tag == 0x77:
		get := func(t tlv.Tag) []byte { b, _ := tlv.Find(v, t); return bytes.Clone(b) }
		cid := get(0x9F27)
		atc, ac, s.iad, signed = get(0x9F36), get(0x9F26), get(0x9F10), get(0x9F4B)
		if len(cid) != 1 {
			return errors.New("9F27 lacks")
		}
		s.cid = cid[0]
	default:
		return fmt.Errorf("template %X with %d bytes", uint32(tag), len(v))
	}
	if len(atc) != 2 || len(s.iad) > 32 {
		return fmt.Errorf("9F36 has %d bytes, 9F10 %d", len(atc), len(s.iad))
	}
	s.atc = uint16(atc[0])<<8 | uint16(atc[1])
	if second && s.atc != was || !second && was != 0 && s.atc <= was {
		return fmt.Errorf("ATC %04X after %04X", s.atc, was)
	}
	want, ok := emvKinds[a[0]]
	if !ok {
		return fmt.Errorf("%q is none of tc, arqc, aac", a[0])
	}
	if s.cid&0xC0 != want {
		return fmt.Errorf("the cryptogram information data are %02X, not %s", s.cid, a[0])
	}
	s.combined = signed != nil
	if signed != nil {
		if ac, err = d.emvCombined(v, signed); err != nil {
			return err
		}
	}
	if len(ac) != 8 {
		return errors.New("9F26 lacks")
	}
	expected, err := d.emvCryptogram(second)
	if err != nil {
		return err
	}
	if copy(s.ac[:], ac); s.ac != expected {
		return fmt.Errorf("the cryptogram is %X, expected %X", ac, expected)
	}
	if !second {
		s.base, s.chain = s.ac, s.ac
	}
	return nil
}

// emvCombined is the cryptogram within a combined signature; v is the template.
func (d *Dialogue) emvCombined(v, signed []byte) ([]byte, error) {
	s := d.emv
	icc, _, err := d.emvKeys()
	if err != nil {
		return nil, err
	}
	c, err := oda.VerifyCombined(oda.Soft, icc, signed, s.sent(0x9F37))
	if err != nil {
		return nil, err
	}
	hashed := slices.Concat(s.options, s.first, s.second) // Book 2 6.6.2 step 10
	r := tlv.Read(v)
	for r.Next() {
		if r.Tag != 0x9F4B {
			hashed = tlv.Append(hashed, r.Tag, r.Value...)
		}
	}
	if c.CID != s.cid {
		return nil, fmt.Errorf("EMV Book 2 6.6.2 step 6: the signature has CID %02X, the answer %02X", c.CID, s.cid)
	}
	if c.Hash != oda.Hash(hashed) {
		return nil, errors.New("EMV Book 2 6.6.2 step 12: the transaction data hash code differs")
	}
	s.more = c.More
	return c.AC[:], nil
}

// sent is the value of a data element that the terminal sent, the latest one.
func (s *emvState) sent(t emv.Tag) []byte {
	for _, l := range []struct{ dol, data []byte }{{s.app.CDOL2, s.second}, {s.app.CDOL1, s.first}, {s.app.On(s.side).PDOL, s.options}} {
		if dol, err := emv.ParseDOL(l.dol); err == nil && len(l.data) > 0 {
			if v := emv.Find(dol, l.data, t); v != nil {
				return v
			}
		}
	}
	return nil
}

func (d *Dialogue) emvCryptogram(second bool) (ac [8]byte, err error) {
	s := d.emv
	keys, err := d.target.Profile.Keys(s.app)
	if err != nil {
		return ac, err
	}
	in := &cryptogram.Input{AIP: s.app.On(s.side).AIP, ATC: s.atc, IAD: s.iad, CDOL: s.first}
	if second {
		in.CDOL = s.second
	}
	for t, to := range map[emv.Tag][]byte{
		0x9F02: in.Amount[:], 0x9F03: in.Other[:], 0x9F1A: in.Country[:], 0x95: in.TVR[:], 0x5F2A: in.Currency[:], 0x9A: in.Date[:], 0x9F37: in.UN[:],
	} {
		copy(to, s.sent(t))
	}
	if v := s.sent(0x9C); len(v) == 1 {
		in.Type = v[0]
	}
	return s.app.Version.Cryptogram(keys.AC, in), nil
}

func emvCDA(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err == nil && s.combined != (a[0] == "with") {
		err = fmt.Errorf("it came %s one", map[bool]string{true: "with", false: "without"}[s.combined])
	}
	return err
}

func emvSigned(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	p, err := parsePattern(a[0])
	if err == nil {
		err = p.match(s.more, d.vars)
	}
	return err
}

// emvQuick is the answer of kernel 3 style: everything in one template.
func emvQuick(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	if _, s.options, _, err = tlv.Next(d.body()); err != nil {
		return fmt.Errorf("what was sent: %w", err)
	}
	s.options = bytes.Clone(s.options)
	v, err := find(d.data, "77")
	if err != nil {
		return err
	}
	get := func(t tlv.Tag) []byte { b, _ := tlv.Find(v, t); return bytes.Clone(b) }
	cid, atc, ac := get(0x9F27), get(0x9F36), get(0x9F26)
	if len(cid) != 1 || len(atc) != 2 || len(ac) != 8 {
		return errors.New("9F27, 9F36 or 9F26 lacks")
	}
	was := s.atc
	s.cid, s.atc, s.iad, s.aip, s.afl = cid[0], uint16(atc[0])<<8|uint16(atc[1]), get(0x9F10), get(0x82), get(0x94)
	if was != 0 && s.atc <= was {
		return fmt.Errorf("ATC %04X after %04X", s.atc, was)
	}
	if want := emvKinds[a[0]]; s.cid&0xC0 != want {
		return fmt.Errorf("the cryptogram information data are %02X, not %s", s.cid, a[0])
	}
	s.tags[0x9F4B], s.tags[0x9F69] = get(0x9F4B), get(0x9F69)
	if s.tags[0x9F4B] == nil {
		delete(s.tags, 0x9F4B)
	}
	expected, err := d.emvCryptogram(false)
	if err == nil && [8]byte(ac) != expected {
		err = fmt.Errorf("the cryptogram is %X, expected %X", ac, expected)
	}
	return err
}

func emvFast(d *Dialogue, _ []string) error {
	icc, _, err := d.emvKeys()
	if err != nil {
		return err
	}
	s := d.emv
	_, err = oda.VerifyDynamic(oda.Soft, icc, s.tags[0x9F4B], slices.Concat(s.sent(0x9F37), s.sent(0x9F02), s.sent(0x5F2A), s.tags[0x9F69]))
	return err
}

// emvResults are the card verification results by name.
var emvResults = map[string]func(c *cryptogram.CVR) bool{
	"dda":                       func(c *cryptogram.CVR) bool { return c.DDA },
	"cda":                       func(c *cryptogram.CVR) bool { return c.CDA },
	"pin-verified":              func(c *cryptogram.CVR) bool { return c.PINVerified },
	"pin-failed":                func(c *cryptogram.CVR) bool { return c.PINFailed },
	"pin-blocked":               func(c *cryptogram.CVR) bool { return c.PINTryLimitExceeded },
	"unable-online":             func(c *cryptogram.CVR) bool { return c.UnableOnline },
	"last-online-not-completed": func(c *cryptogram.CVR) bool { return c.LastOnlineNotCompleted },
	"issuer-auth-failed":        func(c *cryptogram.CVR) bool { return c.IssuerAuthFailed },
	"issuer-auth-not-performed": func(c *cryptogram.CVR) bool { return c.IssuerAuthNotPerformed },
	"script-received":           func(c *cryptogram.CVR) bool { return c.ScriptReceived },
	"script-failed":             func(c *cryptogram.CVR) bool { return c.ScriptFailed },
	"offline-auth-failed":       func(c *cryptogram.CVR) bool { return c.OfflineAuthFailed },
}

func emvCVR(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	f, ok := emvResults[a[0]]
	if !ok {
		return fmt.Errorf("no result is called %q", a[0])
	}
	_, cvr, _, err := cryptogram.ParseIAD(s.iad)
	if err == nil && f(&cvr) != (a[1] == "yes") {
		err = fmt.Errorf("it is not so in %X", s.iad)
	}
	return err
}

const varATC = "emv_atc"

func emvATC(d *Dialogue, a []string) error {
	if err := d.transmit(unhex("80CA9F3600")); err != nil {
		return err
	}
	v, err := find(d.data, "9F36")
	if err != nil || len(v) != 2 {
		return fmt.Errorf("GET DATA of the ATC: %X, status %04X", d.data, uint16(d.sw))
	}
	was := unhex(d.vars[varATC])
	d.vars[varATC] = upper(v)
	if a[0] == "first" {
		return nil
	}
	n, err := strconv.Atoi(a[0])
	if err != nil || len(was) != 2 {
		return errors.New("emv_atc first lacks")
	}
	return equal("the ATC", int(v[0])<<8|int(v[1]), int(was[0])<<8+int(was[1])+n)
}

// pin gives the digits of right, wrong or of digits.
func (s *emvState) pin(word string) string {
	switch word {
	case "right":
		return s.app.PIN
	case "wrong":
		b := []byte(s.app.PIN)
		b[0] = '0' + (b[0]-'0'+1)%10
		return string(b)
	}
	return word
}

func emvPIN(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	block, err := oda.PINBlock(s.pin(a[0]))
	d.vars["pin"] = upper(block[:])
	return err
}

func emvPINRSA(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	if len(d.data) != 8 {
		return fmt.Errorf("the data is not a challenge of 8 bytes")
	}
	challenge := [8]byte(d.data)
	block, err := oda.PINBlock(s.pin(a[0]))
	if err != nil {
		return err
	}
	_, key, err := d.emvKeys()
	if err != nil {
		return err
	}
	switch a[1] {
	case "challenge":
		challenge[7] ^= 1
	case "block":
		block[0] ^= 0x10
	case "header":
		b := make([]byte, len(key.Modulus))
		b[0] = 0x6F
		copy(b[1:], block[:])
		copy(b[9:], challenge[:])
		if b, err = key.Apply(oda.Soft, b); err != nil {
			return err
		}
		d.vars["pin"] = upper(b)
		return nil
	}
	b, err := oda.EncipherPIN(oda.Soft, key, block, challenge, bytes.NewReader(bytes.Repeat([]byte{0x5A}, 256)))
	d.vars["pin"] = upper(b)
	return err
}

func emvARPC(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	keys, err := d.target.Profile.Keys(s.app)
	if err != nil {
		return err
	}
	var b []byte
	if s.app.ARPC == 2 {
		csu := unhex(a[1])
		if len(csu) != 4 {
			return fmt.Errorf("a card status update of %d bytes", len(csu))
		}
		arpc := s.app.Version.ARPC2(keys.AC, s.atc, s.ac, [4]byte(csu), nil)
		b = slices.Concat(arpc[:], csu)
	} else {
		arc := s.values[0x8A]
		arpc := s.app.Version.ARPC1(keys.AC, s.atc, s.ac, [2]byte(arc))
		b = slices.Concat(arpc[:], arc)
	}
	if a[0] == "wrong" {
		b[0] ^= 1
	}
	d.vars["arpc"] = upper(b)
	s.values[0x91] = b
	return d.emvFill()
}

func (d *Dialogue) emvMAC(a []string, right bool) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	keys, err := d.target.Profile.Keys(s.app)
	if err != nil {
		return err
	}
	header, data := unhex(a[0]), unhex(a[1])
	if len(header) != 4 {
		return fmt.Errorf("a header of %d bytes", len(header))
	}
	v := s.app.Version
	mac, next := v.ScriptMAC(v.ScriptKey(keys.SMI, s.atc, s.base), s.chain, s.atc, [4]byte(header), data, 8)
	mac = bytes.Clone(mac)
	if right {
		s.chain = next
	} else {
		mac[7] ^= 1
	}
	d.vars["mac"] = upper(mac)
	d.vars["script"] = upper(slices.Concat(header, []byte{byte(len(data) + len(mac))}, data, mac))
	return nil
}

func emvEncipher(d *Dialogue, a []string) error {
	s, err := d.emvNow()
	if err != nil {
		return err
	}
	keys, err := d.target.Profile.Keys(s.app)
	if err != nil {
		return err
	}
	block, err := oda.PINBlock(s.pin(a[0]))
	if b := unhex(a[0]); len(b) == 8 {
		block, err = [8]byte(b), nil
	}
	current := ""
	if a[1] == "current" {
		current = s.app.PIN
	}
	v := s.app.Version
	d.vars["enciphered"] = upper(v.EncipherPIN(keys.AC, v.ScriptKey(keys.SMC, s.atc, s.base), block, current))
	return err
}

func emvRandom(d *Dialogue, a []string) error {
	var seen [2][32]byte
	for i := range seen {
		if err := d.transmit(unhex(a[0])); err != nil {
			return err
		}
		if d.sw != 0x9000 {
			return fmt.Errorf("status %04X", uint16(d.sw))
		}
		seen[i] = sha256.Sum256(d.data)
	}
	if seen[0] == seen[1] {
		return errors.New("they do not")
	}
	return nil
}
