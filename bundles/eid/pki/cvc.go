package pki

import (
	"bytes"
	"crypto"
	"errors"

	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Data objects of CV certificates (TR-03110-3 D.2 table 26).
const (
	TagCVC           tlv.Tag = 0x7F21
	tagCVBody        tlv.Tag = 0x7F4E
	tagCVProfile     tlv.Tag = 0x5F29
	tagCAR           tlv.Tag = 0x42
	tagCVKey         tlv.Tag = 0x7F49
	tagCHR           tlv.Tag = 0x5F20
	tagCHAT          tlv.Tag = 0x7F4C
	tagCVFrom        tlv.Tag = 0x5F25
	tagCVTo          tlv.Tag = 0x5F24
	tagCVExtensions  tlv.Tag = 0x65
	tagCVSignature   tlv.Tag = 0x5F37
	tagDiscretionary tlv.Tag = 0x53
)

// Object identifiers of terminal authentication (TR-03110-3 A.1.1.3, C.4): contents octets.
var (
	oidTARSA   = OID("0.4.0.127.0.7.2.2.2.1")
	oidTAECDSA = OID("0.4.0.127.0.7.2.2.2.2")
	RoleIS     = OID("0.4.0.127.0.7.3.1.2.1")
	RoleAT     = OID("0.4.0.127.0.7.3.1.2.2")
	RoleST     = OID("0.4.0.127.0.7.3.1.2.3")
)

var taRSA = []Algorithm{
	{Scheme: RSA, Hash: crypto.SHA1}, {Scheme: RSA, Hash: crypto.SHA256}, {Scheme: RSAPSS, Hash: crypto.SHA1},
	{Scheme: RSAPSS, Hash: crypto.SHA256}, {Scheme: RSA, Hash: crypto.SHA512}, {Scheme: RSAPSS, Hash: crypto.SHA512},
}

// TAOID is the object identifier of an algorithm of terminal authentication, nil if it is
// none.
func TAOID(a Algorithm) []byte {
	if a.Scheme == ECDSA {
		for _, h := range hashes {
			if h.hash == a.Hash {
				return append(bytes.Clone(oidTAECDSA), h.plain)
			}
		}
		return nil
	}
	for i, x := range taRSA {
		if x.Scheme == a.Scheme && x.Hash == a.Hash {
			return append(bytes.Clone(oidTARSA), byte(i+1))
		}
	}
	return nil
}

// TAAlgorithm is the algorithm of an object identifier of terminal authentication.
func TAAlgorithm(oid []byte) (Algorithm, bool) {
	n := len(oid) - 1
	if n != len(oidTARSA) {
		return Algorithm{}, false
	}
	last := int(oid[n])
	switch {
	case bytes.Equal(oid[:n], oidTAECDSA) && last >= 1 && last <= len(hashes):
		return Algorithm{Scheme: ECDSA, Hash: hashes[last-1].hash, Plain: true}, true
	case bytes.Equal(oid[:n], oidTARSA) && last >= 1 && last <= len(taRSA):
		return taRSA[last-1], true
	}
	return Algorithm{}, false
}

// Level is the place of a holder in the hierarchy: the two highest bits of the
// authorization (TR-03110-3 C.4).
type Level byte

// The levels.
const (
	Terminal   Level = 0
	DVForeign  Level = 1
	DVDomestic Level = 2
	CVCA       Level = 3
)

func (l Level) String() string {
	return [...]string{"terminal", "foreign DV", "domestic DV", "CVCA"}[l&3]
}

// CVDate is a date of CV certificates, YYMMDD, a digit an octet.
type CVDate [6]byte

func (d CVDate) valid() bool {
	for _, c := range d {
		if c > 9 {
			return false
		}
	}
	m, day := 10*d[2]+d[3], 10*d[4]+d[5]
	return m >= 1 && m <= 12 && day >= 1 && day <= 31
}

// After tells whether d is a later day. All are of this century (TR-03110-3 D.2.1.3).
func (d CVDate) After(o CVDate) bool { return bytes.Compare(d[:], o[:]) > 0 }

func (d CVDate) String() string {
	s := []byte("2000-00-00")
	for i, at := range []int{2, 3, 5, 6, 8, 9} {
		s[at] = '0' + d[i]%10
	}
	return string(s)
}

// CVKey is the public key of a CV certificate. Without domain parameters, Curve is nil
// until With takes them from the issuer.
type CVKey struct {
	OID       []byte // of terminal authentication
	Algorithm Algorithm
	RSA       rsakey.PublicKey
	Curve     *ec.Curve
	Point     []byte // 04 || X || Y
}

// With takes the domain parameters of the key above, if the key has none of its own
// (TR-03110-3 C.1.3, D.3.3).
func (k CVKey) With(above CVKey) CVKey {
	if k.Curve == nil && k.Algorithm.Scheme == ECDSA {
		k.Curve = above.Curve
	}
	return k
}

// Public is the key as such.
func (k CVKey) Public() (PublicKey, error) {
	if k.Algorithm.Scheme != ECDSA {
		return PublicKey{RSA: k.RSA}, nil
	}
	if k.Curve == nil {
		return PublicKey{}, errors.New("pki: the key has no domain parameters, nor has the one above")
	}
	return ECPublicKey(k.Curve, k.Point)
}

// CVC is a card verifiable certificate.
type CVC struct {
	Raw, Body         []byte // the whole, and the signed 7F4E
	Authority, Holder string // CAR, CHR
	Key               CVKey
	Role              []byte // RoleIS, RoleAT, RoleST
	Rights            []byte // authorization, the level in its highest bits
	From, To          CVDate
	Extensions        []byte // contents of 65
	Signature         []byte
}

// Level is the place in the hierarchy.
func (c *CVC) Level() Level { return Level(c.Rights[0] >> 6) }

// MaxCVC is the length of a certificate that is still read: RSA of 4096 bits has room.
const MaxCVC = 4096

// ParseCVC reads a CV certificate, 7F21.
func ParseCVC(b []byte) (*CVC, error) {
	var fail error
	if len(b) > MaxCVC {
		return nil, malformed("CV certificate", errMore)
	}
	r := open(b, &fail)
	c := parseCVC(&r)
	r.end()
	if fail != nil {
		return nil, malformed("CV certificate", fail)
	}
	return c, nil
}

// ParseCVContents reads the contents of 7F21 alone, as PSO:VERIFY CERTIFICATE has them.
func ParseCVContents(b []byte) (*CVC, error) { return ParseCVC(wrap(TagCVC, b)) }

// ParseCVCs reads CV certificates one after the other.
func ParseCVCs(b []byte) (all []*CVC, err error) {
	var fail error
	for r := open(b, &fail); r.more(); {
		if len(all) == 64 {
			r.err(errMore)
			break
		}
		all = append(all, parseCVC(&r))
	}
	if fail != nil {
		return nil, malformed("CV certificates", fail)
	}
	return all, nil
}

func parseCVC(r *reader) *CVC {
	c := &CVC{Raw: r.raw(TagCVC)}
	whole := reader{c.Raw, r.fail}
	outer := whole.in(TagCVC)
	c.Body = outer.raw(tagCVBody)
	c.Signature = outer.value(tagCVSignature)
	outer.end()
	body := reader{c.Body, r.fail}
	t := body.in(tagCVBody)
	if v := t.value(tagCVProfile); *r.fail == nil && !bytes.Equal(v, []byte{0}) {
		r.err(errors.New("its profile is not 0"))
	}
	c.Authority = reference(&t, tagCAR)
	key := t.in(tagCVKey)
	c.Key = parseCVKey(&key)
	c.Holder = reference(&t, tagCHR)
	chat := t.in(tagCHAT)
	c.Role = chat.oid()
	c.Rights = chat.value(tagDiscretionary)
	chat.end()
	if *r.fail == nil && (len(c.Rights) == 0 || len(c.Rights) > 16) {
		r.err(errMissing)
	}
	date(&t, tagCVFrom, &c.From)
	date(&t, tagCVTo, &c.To)
	if t.more() {
		c.Extensions = t.value(tagCVExtensions)
	}
	t.end()
	return c
}

func date(r *reader, tag tlv.Tag, to *CVDate) {
	v := r.value(tag)
	if *r.fail != nil {
		return
	}
	copy(to[:], v)
	if len(v) != len(to) || !to.valid() {
		r.err(errors.New("it has a date that is none"))
	}
}

// reference is a certificate holder or authority reference: country, mnemonic, sequence
// number (TR-03110-3 C.2).
func reference(r *reader, tag tlv.Tag) string {
	v := r.value(tag)
	if *r.fail == nil && (len(v) < 1 || len(v) > 16) {
		r.err(errors.New("a reference has 1 to 16 characters"))
	}
	return string(v)
}

func parseCVKey(r *reader) (k CVKey) {
	k.OID = r.oid()
	if *r.fail != nil {
		return k
	}
	var ok bool
	if k.Algorithm, ok = TAAlgorithm(k.OID); !ok {
		r.err(errors.New("its key is of the unknown algorithm " + Dotted(k.OID)))
		return k
	}
	plain := func(v []byte) []byte {
		for len(v) > 0 && v[0] == 0 {
			v = v[1:]
		}
		return v
	}
	if k.Algorithm.Scheme != ECDSA {
		k.RSA = rsakey.PublicKey{Modulus: plain(r.value(0x81)), Exponent: plain(r.value(0x82))}
		r.end()
		if *r.fail == nil && !usableRSA(k.RSA.Modulus, k.RSA.Exponent) {
			r.err(errRSA)
		}
		return k
	}
	if r.is(0x81) {
		p, a, b, g, n := r.value(0x81), r.value(0x82), r.value(0x83), r.value(0x84), r.value(0x85)
		k.Point = r.value(0x86)
		if h := r.value(0x87); *r.fail == nil && !bytes.Equal(plain(h), []byte{1}) {
			r.err(ErrCurve)
		}
		if *r.fail == nil {
			if k.Curve, ok = ec.ByParameters(p, a, b, g, n); !ok {
				r.err(ErrCurve)
			}
		}
	} else {
		k.Point = r.value(0x86)
	}
	r.end()
	if *r.fail == nil && k.Curve != nil {
		if _, err := k.Curve.Parse(k.Point); err != nil {
			r.err(err)
		}
	}
	return k
}

// Errors of chains of CV certificates.
var (
	ErrCVAuthority = errors.New("pki: the certificate is not of the authority above")
	ErrCVLevel     = errors.New("pki: the authority above may not sign a certificate of this level or role")
	ErrCVExpired   = errors.New("pki: the certificate, or the CVCA above it, is expired")
)

// Follows verifies that a certificate follows from another, as a chip does (TR-03110-3
// 2.5): reference, role and level, signature, and date of expiry with the current date
// of the chip. key is that of the one above, with domain parameters. A link certificate
// of a CVCA does not expire for the chip; an expired CVCA has nothing below it but links.
func (c *CVC) Follows(above *CVC, key CVKey, today CVDate, power rsakey.Power) error {
	switch {
	case c.Authority != above.Holder:
		return ErrCVAuthority
	case !bytes.Equal(c.Role, above.Role), !mayFollow(above.Level(), c.Level()):
		return ErrCVLevel
	}
	p, err := key.Public()
	if err != nil {
		return err
	}
	if err := p.VerifyWith(power, key.Algorithm, c.Body, c.Signature); err != nil {
		return err
	}
	if c.Level() != CVCA && (today.After(c.To) || above.Level() == CVCA && today.After(above.To)) {
		return ErrCVExpired
	}
	return nil
}

// Dates tells whether the chip learns the date from the effective date of a certificate:
// from links and those of DVs, the foreign ones too, since the CVCA made them, and from
// terminals of a domestic DV (TR-03110-3 2.5, 2.7.2).
func (c *CVC) Dates(above *CVC) bool {
	return c.Level() != Terminal || above.Level() == DVDomestic
}

func mayFollow(above, below Level) bool {
	switch above {
	case CVCA:
		return below != Terminal
	case DVDomestic, DVForeign:
		return below == Terminal
	}
	return false
}

// VerifyCVCs verifies a chain, the first of which is trusted, and says what was checked.
// It gives the effective authorization: what all of them have.
func VerifyCVCs(chain []*CVC, today CVDate) (rights []byte, checks Checks) {
	if !checks.require("CVC: certificates are there", len(chain) > 0, "pki: there are none") {
		return nil, checks
	}
	key := chain[0].Key
	rights = bytes.Clone(chain[0].Rights)
	for i, c := range chain {
		if i > 0 {
			checks.add(c.Holder+": follows from "+chain[i-1].Holder, c.Follows(chain[i-1], key, today, rsakey.ModExp))
			checks.require(c.Holder+": effective date", !c.From.After(c.To), "pki: it expires before it begins")
			key = c.Key.With(key)
		}
		if len(c.Rights) != len(rights) {
			checks.add(c.Holder+": authorization", errors.New("pki: it is of another length than that above"))
			return nil, checks
		}
		for n, b := range c.Rights {
			rights[n] &= b
		}
	}
	rights[0] = rights[0]&0x3F | chain[len(chain)-1].Rights[0]&0xC0
	return rights, checks
}

// CVRequest is what a CV certificate is to say.
type CVRequest struct {
	Holder     string // CHR: country, mnemonic, sequence number of five characters
	Key        PublicKey
	Algorithm  Algorithm // with which the holder signs
	Role       []byte    // RoleIS ...
	Rights     []byte    // authorization with the level in its highest bits: 0xC3 is a CVCA for data groups 3 and 4
	From, To   CVDate
	Extensions []byte // contents of 65
}

// CVIssuer signs CV certificates.
type CVIssuer struct {
	Key       *Key
	Algorithm Algorithm
	Reference string // CAR
}

// Issue makes a CV certificate. The key of a CVCA has its domain parameters with it.
func (i *CVIssuer) Issue(r CVRequest) (*CVC, error) {
	oid := TAOID(r.Algorithm)
	if oid == nil || TAOID(i.Algorithm) == nil || len(r.Rights) == 0 || (r.Algorithm.Scheme == ECDSA) != (r.Key.Curve != nil) {
		return nil, ErrAlgorithm
	}
	key := [][]byte{object(oid)}
	put := func(t tlv.Tag, v []byte) { key = append(key, tlv.Append(nil, t, v...)) }
	if r.Key.Curve == nil {
		put(0x81, r.Key.RSA.Modulus)
		put(0x82, r.Key.RSA.Exponent)
	} else {
		all := Level(r.Rights[0]>>6) == CVCA
		if all {
			p, a, b, g, n := r.Key.Curve.Parameters()
			for n, v := range [][]byte{p, a, b, g, n} {
				put(0x81+tlv.Tag(n), v)
			}
		}
		put(0x86, r.Key.Point.Bytes())
		if all {
			put(0x87, []byte{1})
		}
	}
	body := [][]byte{
		tlv.Append(nil, tagCVProfile, 0), tlv.Append(nil, tagCAR, []byte(i.Reference)...), wrap(tagCVKey, key...),
		tlv.Append(nil, tagCHR, []byte(r.Holder)...), wrap(tagCHAT, object(r.Role), tlv.Append(nil, tagDiscretionary, r.Rights...)),
		tlv.Append(nil, tagCVFrom, r.From[:]...), tlv.Append(nil, tagCVTo, r.To[:]...),
	}
	if r.Extensions != nil {
		body = append(body, tlv.Append(nil, tagCVExtensions, r.Extensions...))
	}
	b := wrap(tagCVBody, body...)
	a := i.Algorithm
	a.Plain = a.Scheme == ECDSA
	sig, err := i.Key.Sign(a, b)
	if err != nil {
		return nil, err
	}
	return ParseCVC(wrap(TagCVC, b, tlv.Append(nil, tagCVSignature, sig...)))
}
