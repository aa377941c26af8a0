package issue

import (
	"crypto/sha256"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
)

// profile is the persona as a Go value: seed and mrtd.
type profile struct {
	seed string
	doc  *sdk.Doc // mrtd

	mrz             lds.MRZ
	mrzText         string
	surname, given  string // as they are written
	issued, expires string // YYYYMMDD
	country         string // two letters, in certificates

	can, pin string
	tries    byte
	bac      bool
	pace     []PACE
	ca       []CAKey
	aa       *algorithm
	ta       *algorithm // of CV certificates; nil: no extended access
	taRights byte
	taTo     string

	lds              string
	hash             Hash
	csca, signer     authority
	form             pki.Form // of keys in certificates
	defects          []Defect
	fingers          int
	hasDG3, hasDG4   bool
	dg2Image         string
	quality, padding int
}

// authority is a certificate's key and validity.
type authority struct {
	algorithm
	from, to string // YYYYMMDD
}

// algorithm is a key with the signature that it makes.
type algorithm struct {
	scheme scheme
	curve  *ec.Curve // of ecdsa
	bits   int       // of RSA
	hash   Hash
}

type scheme byte

const (
	ecdsa scheme = iota + 1
	rsa          // PKCS #1 v1.5
	rsaPSS
)

// derive is so many octets that follow from seed and label: SHA-256 of both and a
// counter, joined.
func derive(seed, label string, n int) []byte {
	var b []byte
	for i := byte(0); len(b) < n; i++ {
		h := sha256.Sum256([]byte(seed + "\x00" + label + "\x00" + string(rune(i))))
		b = append(b, h[:]...)
	}
	return b[:n]
}

// private is the private key of a label on a curve.
func private(seed, label string, c *ec.Curve) []byte {
	return c.Scalar(derive(seed, label+"/"+c.Name, c.Size+16))
}

func (p *profile) has(d Defect) bool {
	for _, x := range p.defects {
		if x == d {
			return true
		}
	}
	return false
}

func text(d *sdk.Doc, name, otherwise string) string {
	if f := d.Get(name); f.Exists() {
		return f.Text()
	}
	return otherwise
}

func number(d *sdk.Doc, name string, otherwise, lo, hi int64) int {
	if f := d.Get(name); f.Exists() {
		return int(f.Int(lo, hi))
	}
	return int(otherwise)
}

// read reads seed and mrtd of a persona that fits the schema. What follows from several
// values together is checked here.
func read(doc *sdk.Doc) (*profile, error) {
	m := doc.Get("mrtd")
	if !m.Exists() {
		return nil, m.Refuse("is not there: the persona has no travel document")
	}
	p := &profile{seed: text(doc, "seed", "sspemu"), doc: m, country: "UT", bac: true, lds: text(m, "lds", "0108"), can: text(m, "can", "")}
	if b := m.Get("bac"); b.Exists() {
		p.bac = b.Bool()
	}
	for _, r := range []func(*sdk.Doc) error{p.readZone, p.readAccess, p.readKeys, p.readGroups} {
		if err := r(m); err != nil {
			return nil, err
		}
	}
	for _, d := range m.Get("defects").Items() {
		p.defects = append(p.defects, Defect(d.Text()))
	}
	return p, doc.Err()
}

// letters are the two letters that stand in certificates for the issuing state.
func letters(state string) string {
	for len(state) < 2 {
		state += "<"
	}
	return strings.ReplaceAll(state[:2], "<", "X")
}

func (p *profile) readZone(m *sdk.Doc) error {
	d, h := m.Get("document"), m.Get("holder")
	z := &p.mrz
	z.Format = map[string]lds.Format{"td1": lds.TD1, "td2": lds.TD2, "td3": lds.TD3}[d.Get("format").Text()]
	code := "ID"
	if z.Format == lds.TD3 {
		code = "PP"
	}
	z.Code, z.State, z.Number = text(d, "code", code), d.Get("state").Text(), d.Get("number").Text()
	if (z.Code[0] == 'P') != (z.Format == lds.TD3) {
		return d.Get("code").Refuse("begins with P in a passport (td3), and only there (Doc 9303-4 4.2.2)")
	}
	p.country = letters(z.State)
	p.issued, p.expires = d.Get("issued").Text(), d.Get("expires").Text()
	if p.issued >= p.expires {
		return d.Get("expires").Refuse("is not after the date of issue")
	}
	z.Optional, z.Optional2 = text(d, "optional", ""), text(d, "optional2", "")
	p.surname, p.given = h.Get("surname").Text(), text(h, "given_names", "")
	for name, to := range map[string]*string{"surname": &z.Primary, "given_names": &z.Secondary} {
		var ok bool
		if *to, ok = lds.Transliterate(text(h, name, "")); !ok {
			return h.Get(name).Refuse("has a letter that is not in the tables of Doc 9303-3 6; write it with letters A to Z")
		}
	}
	z.Nationality, z.Sex = h.Get("nationality").Text(), text(h, "sex", "")
	birth := h.Get("birth").Text()
	if len(birth) != 8 || len(p.expires) != 8 {
		return d.Refuse("has a date that is not eight digits")
	}
	z.Birth, z.Expiry = strings.ReplaceAll(birth[2:4]+"/"+birth[4:6]+"/"+birth[6:], "/00", "/<<"), p.expires[2:]
	z.Birth = strings.ReplaceAll(z.Birth, "/", "")
	var err error
	if p.mrzText, err = z.Text(); err != nil {
		return d.Refuse(strings.TrimPrefix(err.Error(), "MRZ: "))
	}
	return nil
}

// ciphers and mappings are the words of the persona.
var (
	ciphers    = map[string]lds.Cipher{"3des": lds.TDES, "aes-128": lds.AES128, "aes-192": lds.AES192, "aes-256": lds.AES256}
	mappings   = map[string]lds.Mapping{"gm": lds.Generic, "im": lds.Integrated, "cam": lds.ChipAuthentication}
	agreements = map[string]lds.Agreement{"dh": lds.DH, "ecdh": lds.ECDH}
	groupsDH   = map[string]int{"dh-1024-160": 0, "dh-2048-224": 1, "dh-2048-256": 2} // RFC 5114 2.1 to 2.3
	hashes     = map[string]Hash{"sha-1": SHA1, "sha-224": SHA224, "sha-256": SHA256, "sha-384": SHA384, "sha-512": SHA512}
)

const curveNames = "P-224, P-256, P-384, P-521, brainpoolP224r1, brainpoolP256r1, brainpoolP320r1, brainpoolP384r1, brainpoolP512r1"

func (p *profile) readAccess(m *sdk.Doc) error {
	for _, d := range m.Get("pace").Items() {
		w := strings.Fields(d.Text())
		if len(w) != 3 {
			return d.Refuse("is not MAPPING CIPHER CURVE")
		}
		kind, mapping, _ := strings.Cut(w[0], "-")
		proto, ok := lds.Find(lds.KindPACE, agreements[kind], mappings[mapping], ciphers[w[1]])
		if !ok {
			return d.Refuse("is no protocol of Doc 9303-11 9.2.1: " + w[0] + " with " + w[1])
		}
		pace := PACE{Protocol: proto}
		if proto.Agreement == lds.DH {
			if pace.Parameters, ok = groupsDH[w[2]]; !ok {
				return d.Refuse("names a group that there is not; there are dh-1024-160, dh-2048-224, dh-2048-256")
			}
		} else {
			c, ok := ec.ByName(w[2])
			if !ok {
				return d.Refuse("names a curve that there is not; there are " + curveNames)
			}
			if pace.Parameters = c.ID; proto.Mapping == lds.ChipAuthentication {
				pace.Static = private(p.seed, "cam", c)
			}
		}
		for _, o := range p.pace {
			if o.Name == pace.Name && o.Parameters == pace.Parameters {
				return d.Refuse("is there twice")
			}
		}
		p.pace = append(p.pace, pace)
	}
	if pin := m.Get("pin"); pin.Exists() {
		p.pin, p.tries = pin.Get("value").Text(), byte(pin.Get("tries").Int(1, 15))
	}
	if len(p.pace) == 0 && (p.pin != "" || p.can != "") {
		name := "can"
		if p.pin != "" {
			name = "pin"
		}
		return m.Get(name).Refuse("is a password of PACE, and the document has no PACE")
	}
	return nil
}

func (p *profile) readKeys(m *sdk.Doc) error {
	for _, d := range m.Get("chip_authentication").Items() {
		w := strings.Fields(d.Text())
		if len(w) != 2 {
			return d.Refuse("is not CIPHER CURVE")
		}
		c, ok := ec.ByName(w[1])
		if !ok {
			return d.Refuse("names a curve that there is not; there are " + curveNames)
		}
		proto, ok := lds.Find(lds.KindCA, lds.ECDH, 0, ciphers[w[0]])
		if !ok {
			return d.Refuse("is no protocol of Doc 9303-11 9.2.5")
		}
		var key *CAKey
		for i := range p.ca {
			if p.ca[i].Parameters == c.ID {
				key = &p.ca[i]
			}
		}
		if key == nil {
			p.ca = append(p.ca, CAKey{ID: len(p.ca) + 1, Parameters: c.ID, Private: private(p.seed, "ca", c)})
			key = &p.ca[len(p.ca)-1]
		}
		for _, o := range key.Protocols {
			if o.Name == proto.Name {
				return d.Refuse("is there twice")
			}
		}
		key.Protocols = append(key.Protocols, proto)
	}
	if len(p.ca) == 1 {
		p.ca[0].ID = -1
	}
	if d := m.Get("active_authentication"); d.Exists() {
		a, err := readAlgorithm(d)
		if err != nil {
			return err
		}
		if a.scheme == rsaPSS || a.scheme == rsa && (a.bits < 1024 || a.bits > 2048 || a.bits%64 != 0) {
			return d.Refuse("has not 1024 to 2048 bits (a multiple of 64): the response has to fit a short command, and longer keys take long")
		}
		p.aa = &a
	}
	if d := m.Get("extended_access"); d.Exists() {
		if len(p.ca) == 0 {
			return d.Refuse("needs chip_authentication: terminal authentication comes after it (TR-03110-1 3.1)")
		}
		a := algorithm{scheme: ecdsa, curve: ec.BrainpoolP256r1, hash: SHA256}
		if w := d.Get("algorithm"); w.Exists() {
			var err error
			if a, err = readAlgorithm(w); err != nil {
				return err
			}
		}
		if pki.TAOID(a.pki()) == nil {
			return d.Get("algorithm").Refuse("is none of terminal authentication (TR-03110-3 A.1.1.3)")
		}
		p.ta, p.taTo = &a, text(d, "expires", p.expires)
		p.taRights = RightDG3 | RightDG4
		if r := d.Get("rights"); r.Exists() {
			p.taRights = 0
			for _, w := range r.Items() {
				p.taRights |= map[string]byte{"dg3": RightDG3, "dg4": RightDG4}[w.Text()]
			}
		}
	}
	p.hash = hashes[text(m, "hash", "sha-256")]
	if p.form = pki.Explicit; m.Has("named_curves") && m.Get("named_curves").Bool() {
		p.form = pki.Named
	}
	// A signer signs for three months; its certificate lives as long as what it signed
	// (Doc 9303-12 4.1). The CSCA is older than both.
	p.signer = authority{algorithm{scheme: ecdsa, curve: ec.P256, hash: SHA256}, p.issued, years(p.expires, 1)}
	p.csca = authority{algorithm{scheme: ecdsa, curve: ec.BrainpoolP384r1, hash: SHA384}, years(p.issued, -1), years(p.expires, 2)}
	for name, a := range map[string]*authority{"csca": &p.csca, "document_signer": &p.signer} {
		d := m.Get(name)
		if !d.Exists() {
			continue
		}
		if w := d.Get("algorithm"); w.Exists() {
			var err error
			if a.algorithm, err = readAlgorithm(w); err != nil {
				return err
			}
		}
		if a.from, a.to = text(d, "from", a.from), text(d, "to", a.to); a.from >= a.to {
			return d.Get("to").Refuse("is not after the beginning of the validity, " + a.from)
		}
	}
	return nil
}

// years adds whole years to YYYYMMDD.
func years(day string, n int) string {
	if len(day) != 8 {
		return day
	}
	y, _ := strconv.Atoi(day[:4])
	s := strconv.Itoa(y + n)
	if day[4:] == "0229" {
		return s + "0228"
	}
	return s + day[4:]
}

func readAlgorithm(d *sdk.Doc) (a algorithm, err error) {
	w := strings.Fields(d.Text())
	if len(w) != 3 {
		return a, d.Refuse("is not SCHEME KEY HASH, like ecdsa P-256 sha-256")
	}
	var ok bool
	if a.hash, ok = hashes[w[2]]; !ok {
		return a, d.Refuse("names a hash function that there is not: " + w[2])
	}
	switch w[0] {
	case "ecdsa":
		if a.curve, ok = ec.ByName(w[1]); !ok {
			return a, d.Refuse("names a curve that there is not; there are " + curveNames)
		}
		a.scheme = ecdsa
		return a, nil
	case "rsa":
		a.scheme = rsa
	case "rsa-pss":
		a.scheme = rsaPSS
	default:
		return a, d.Refuse("is neither ecdsa, rsa nor rsa-pss")
	}
	if a.bits, err = strconv.Atoi(w[1]); err != nil || a.bits < 1024 || a.bits > 4096 || a.bits%64 != 0 {
		return a, d.Refuse("has an RSA key of another length than 1024 to 4096 bits, a multiple of 64")
	}
	return a, nil
}

func (p *profile) readGroups(m *sdk.Doc) error {
	g := m.Get("groups")
	p.dg2Image, p.quality = "jpeg", 0
	if !g.Exists() {
		return nil
	}
	if d := g.Get("dg2"); d.Exists() {
		p.dg2Image = text(d, "image", "jpeg")
		p.quality, p.padding = number(d, "quality", 0, 1, 100), number(d, "padding", 0, 0, 200000)
		if p.dg2Image != "jpeg" && (p.quality != 0 || p.padding != 0) {
			return d.Refuse("has quality or padding, which only a JPEG file can have")
		}
	}
	for n, has := range map[string]*bool{"dg3": &p.hasDG3, "dg4": &p.hasDG4} {
		d := g.Get(n)
		*has = d.Exists()
		if *has && p.ta == nil {
			return d.Refuse("is read after terminal authentication only: it needs extended_access (TR-03110-1 2.1)")
		}
	}
	if p.hasDG3 {
		p.fingers = number(g.Get("dg3"), "fingers", 1, 0, 2)
	}
	if d := g.Get("dg13"); d.Exists() && d.Get("content").Exists() == d.Get("size").Exists() {
		return d.Refuse("needs content or size, and not both")
	}
	return nil
}
