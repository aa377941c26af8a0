package pki

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // of key identifiers, and in old documents
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384, SHA-512
	"errors"

	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// Object identifiers of keys and signatures.
var (
	oidECPublicKey  = OID("1.2.840.10045.2.1")     // RFC 5480 2.1.1
	oidPrimeField   = OID("1.2.840.10045.1.1")     // RFC 3279 2.3.5
	oidStandardized = OID("0.4.0.127.0.7.1.2")     // TR-03110-3 A.2.1.1
	oidRSA          = OID("1.2.840.113549.1.1.1")  // RFC 8017 A.1
	oidMGF1         = OID("1.2.840.113549.1.1.8")  // RFC 8017 A.2.1
	oidPSS          = OID("1.2.840.113549.1.1.10") // RFC 8017 A.2.3
	oidPlainECDSA   = OID("0.4.0.127.0.7.1.1.4.1") // TR-03111 5.2.1.1, and one more arc
	oidSpecified    = OID("1.2.840.10045.4.3")     // ecdsa-with-Specified, the hash as parameter
)

var hashes = []struct {
	hash            crypto.Hash
	oid, rsa, ecdsa []byte // RFC 8017 A.2, RFC 5758 3.2
	plain           byte   // last arc of oidPlainECDSA
}{
	{crypto.SHA1, OID("1.3.14.3.2.26"), OID("1.2.840.113549.1.1.5"), OID("1.2.840.10045.4.1"), 1},
	{crypto.SHA224, OID("2.16.840.1.101.3.4.2.4"), OID("1.2.840.113549.1.1.14"), OID("1.2.840.10045.4.3.1"), 2},
	{crypto.SHA256, OID("2.16.840.1.101.3.4.2.1"), OID("1.2.840.113549.1.1.11"), OID("1.2.840.10045.4.3.2"), 3},
	{crypto.SHA384, OID("2.16.840.1.101.3.4.2.2"), OID("1.2.840.113549.1.1.12"), OID("1.2.840.10045.4.3.3"), 4},
	{crypto.SHA512, OID("2.16.840.1.101.3.4.2.3"), OID("1.2.840.113549.1.1.13"), OID("1.2.840.10045.4.3.4"), 5},
}

// HashOID is the object identifier of a hash function, nil for none that is used here.
func HashOID(h crypto.Hash) []byte {
	for _, x := range hashes {
		if x.hash == h {
			return x.oid
		}
	}
	return nil
}

// HashByOID is the hash function of an object identifier.
func HashByOID(oid []byte) (crypto.Hash, bool) {
	for _, x := range hashes {
		if bytes.Equal(x.oid, oid) {
			return x.hash, true
		}
	}
	return 0, false
}

// Scheme is a way to sign.
type Scheme byte

// The schemes.
const (
	ECDSA  Scheme = iota + 1
	RSA           // RSASSA-PKCS1-v1_5
	RSAPSS        // RSASSA-PSS
)

// Algorithm is a signature algorithm.
type Algorithm struct {
	Scheme Scheme
	Hash   crypto.Hash
	MGF    crypto.Hash // RSAPSS: hash of the mask, 0: the same
	Salt   int         // RSAPSS: its length, 0: that of the hash value, below 0: none
	Plain  bool        // ECDSA: r || s instead of a SEQUENCE (TR-03111 5.2.1)
}

func (a Algorithm) mgf() crypto.Hash {
	if a.MGF == 0 {
		return a.Hash
	}
	return a.MGF
}

func (a Algorithm) salt() int {
	if a.Salt == 0 {
		return a.Hash.Size()
	}
	return max(a.Salt, 0)
}

func (a Algorithm) String() string {
	s := map[Scheme]string{ECDSA: "ECDSA", RSA: "RSA PKCS #1 v1.5", RSAPSS: "RSA-PSS"}[a.Scheme]
	if a.Plain {
		s = "plain " + s
	}
	return s + " with " + a.Hash.String()
}

// Errors of keys and signatures.
var (
	ErrSignature = errors.New("pki: the signature is not that of this key over these data")
	ErrAlgorithm = errors.New("pki: the signature algorithm is not known, or not one of this key")
	ErrCurve     = errors.New("pki: the curve is none of those of ec")
)

func hashIdentifier(h crypto.Hash, parameters bool) []byte {
	if parameters {
		return seq(object(HashOID(h)), null)
	}
	return seq(object(HashOID(h)))
}

// identifier is the AlgorithmIdentifier.
func (a Algorithm) identifier() ([]byte, error) {
	for _, x := range hashes {
		if x.hash != a.Hash {
			continue
		}
		switch {
		case a.Scheme == RSA:
			return seq(object(x.rsa), null), nil
		case a.Scheme == ECDSA && a.Plain:
			return seq(object(append(bytes.Clone(oidPlainECDSA), x.plain))), nil
		case a.Scheme == ECDSA:
			return seq(object(x.ecdsa)), nil
		case a.Scheme == RSAPSS && HashOID(a.mgf()) != nil:
			return seq(object(oidPSS), seq(
				wrap(0xA0, hashIdentifier(a.Hash, true)),
				wrap(0xA1, seq(object(oidMGF1), hashIdentifier(a.mgf(), true))),
				wrap(0xA2, number(a.salt())))), nil
		}
	}
	return nil, ErrAlgorithm
}

// parseAlgorithm reads an AlgorithmIdentifier of a signature. An algorithm that is not
// known has scheme 0. rsaEncryption and ecPublicKey, which CMS allows, have no hash.
func parseAlgorithm(r *reader) (a Algorithm) {
	in := r.in(tagSeq)
	oid := in.oid()
	var param []byte
	if in.more() {
		_, _, param = in.any()
		in.end()
	}
	for _, x := range hashes {
		switch {
		case bytes.Equal(oid, x.rsa):
			return Algorithm{Scheme: RSA, Hash: x.hash}
		case bytes.Equal(oid, x.ecdsa):
			return Algorithm{Scheme: ECDSA, Hash: x.hash}
		case bytes.HasPrefix(oid, oidPlainECDSA) && len(oid) == len(oidPlainECDSA)+1 && oid[len(oid)-1] == x.plain:
			return Algorithm{Scheme: ECDSA, Hash: x.hash, Plain: true}
		}
	}
	switch {
	case bytes.Equal(oid, oidRSA):
		return Algorithm{Scheme: RSA}
	case bytes.Equal(oid, oidECPublicKey):
		return Algorithm{Scheme: ECDSA}
	case bytes.Equal(oid, oidSpecified):
		p := open(param, r.fail)
		return Algorithm{Scheme: ECDSA, Hash: parseHash(&p)}
	case bytes.Equal(oid, oidPSS):
		return parsePSS(param, r.fail)
	}
	return Algorithm{}
}

// parseHash reads the AlgorithmIdentifier of a hash function, with NULL or without
// parameters; 0: not known.
func parseHash(r *reader) crypto.Hash {
	in := r.in(tagSeq)
	h, _ := HashByOID(in.oid())
	if in.more() {
		if len(in.value(tagNull)) != 0 {
			in.err(errDER)
		}
		in.end()
	}
	return h
}

// parsePSS reads RSASSA-PSS-params; everything may be left out (RFC 8017 A.2.3).
func parsePSS(param []byte, fail *error) Algorithm {
	a := Algorithm{Scheme: RSAPSS, Hash: crypto.SHA1, MGF: crypto.SHA1, Salt: 20}
	if param == nil || bytes.Equal(param, null) {
		return a
	}
	r := open(param, fail)
	in := r.in(tagSeq)
	r.end()
	if in.is(0xA0) {
		h := in.in(0xA0)
		a.Hash = parseHash(&h)
		h.end()
	}
	if in.is(0xA1) {
		g := in.in(0xA1)
		m := g.in(tagSeq)
		if !bytes.Equal(m.oid(), oidMGF1) {
			return Algorithm{}
		}
		a.MGF = parseHash(&m)
		m.end()
	}
	if in.is(0xA2) {
		s := in.in(0xA2)
		if a.Salt = s.small(tagInteger); a.Salt == 0 {
			a.Salt = -1
		}
		s.end()
	}
	if in.is(0xA3) {
		s := in.in(0xA3)
		if s.small(tagInteger) != 1 {
			return Algorithm{}
		}
		s.end()
	}
	in.end()
	if a.Hash == 0 || a.MGF == 0 {
		return Algorithm{}
	}
	return a
}

// Form is how a public key tells its curve.
type Form byte

// The forms.
const (
	Named        Form = iota // by object identifier
	Explicit                 // by the parameters, as Doc 9303-12 4.1.6.1 demands
	Standardized             // by the number of TR-03110-3 A.2.1.1
)

// PublicKey is a key of RSA or, with a curve, of elliptic curves.
type PublicKey struct {
	Curve *ec.Curve
	Point ec.Point
	RSA   rsakey.PublicKey
	Form  Form // how it was encoded
}

// ECPublicKey is the public key 04 || X || Y.
func ECPublicKey(c *ec.Curve, point []byte) (PublicKey, error) {
	p, err := c.Parse(point)
	return PublicKey{Curve: c, Point: p}, err
}

func (k PublicKey) String() string {
	if k.Curve != nil {
		return k.Curve.Name
	}
	return "RSA " + itoa(k.Bits())
}

// Bits is the length of the order of the curve, or of the modulus.
func (k PublicKey) Bits() int {
	if k.Curve != nil {
		return k.Curve.Order().BitLen()
	}
	n := 8 * len(k.RSA.Modulus)
	for i := byte(0x80); len(k.RSA.Modulus) > 0 && i > k.RSA.Modulus[0]; i >>= 1 {
		n--
	}
	return n
}

// Equal tells whether both are the same key.
func (k PublicKey) Equal(o PublicKey) bool {
	if k.Curve != nil || o.Curve != nil {
		return k.Curve == o.Curve && k.Point.Equal(o.Point)
	}
	return bytes.Equal(k.RSA.Modulus, o.RSA.Modulus) && bytes.Equal(k.RSA.Exponent, o.RSA.Exponent)
}

// Info is the SubjectPublicKeyInfo, with the curve in the form that is wanted.
func (k PublicKey) Info(f Form) []byte { return seq(k.identifier(f), bits(k.bits())) }

func (k PublicKey) bits() []byte {
	if k.Curve != nil {
		return k.Point.Bytes()
	}
	return seq(integer(k.RSA.Modulus), integer(k.RSA.Exponent))
}

func (k PublicKey) identifier(f Form) []byte {
	switch {
	case k.Curve == nil:
		return seq(object(oidRSA), null)
	case f == Named:
		return seq(object(oidECPublicKey), object(k.Curve.OID))
	case f == Standardized:
		return seq(object(oidStandardized), number(k.Curve.ID))
	}
	p, a, b, g, n := k.Curve.Parameters()
	return seq(object(oidECPublicKey), seq(number(1), seq(object(oidPrimeField), integer(p)),
		seq(octets(a), octets(b)), octets(g), integer(n), number(1)))
}

// ID is the key identifier: SHA-1 of the key (RFC 5280 4.2.1.2 method 1).
func (k PublicKey) ID() []byte {
	s := sha1.Sum(k.bits()) //nolint:gosec // the standard's
	return s[:]
}

// ParsePublicKey reads a SubjectPublicKeyInfo in any of the forms.
func ParsePublicKey(der []byte) (PublicKey, error) {
	var fail error
	r := open(der, &fail)
	k := parsePublicKey(&r)
	r.end()
	return k, malformed("public key", fail)
}

func parsePublicKey(r *reader) (k PublicKey) {
	info := r.in(tagSeq)
	alg := info.in(tagSeq)
	oid := alg.oid()
	var curve *ec.Curve
	switch {
	case bytes.Equal(oid, oidRSA), bytes.Equal(oid, oidPSS):
		key := info.bitString()
		info.end()
		return parseRSA(key, r)
	case bytes.Equal(oid, oidStandardized):
		curve, _ = ec.ByID(alg.small(tagInteger))
		k.Form = Standardized
	case !bytes.Equal(oid, oidECPublicKey):
		r.err(errors.New("it is a key of the unknown algorithm " + Dotted(oid)))
		return k
	case alg.is(tagOID):
		curve, _ = ec.ByOID(alg.oid())
	default:
		curve = explicit(&alg)
		k.Form = Explicit
	}
	alg.end()
	point := info.bitString()
	info.end()
	if *r.fail != nil {
		return k
	}
	if curve == nil {
		r.err(ErrCurve)
		return k
	}
	p, err := curve.Parse(point)
	if err != nil {
		r.err(err)
		return k
	}
	k.Curve, k.Point = curve, p
	return k
}

// explicit reads ECParameters (RFC 3279 2.3.5) of a curve that is known.
func explicit(r *reader) *ec.Curve {
	p := r.in(tagSeq)
	if v := p.small(tagInteger); v < 1 || v > 3 {
		p.err(errMissing)
	}
	field := p.in(tagSeq)
	if !bytes.Equal(field.oid(), oidPrimeField) {
		p.err(ErrCurve)
	}
	prime := field.positive(tagInteger)
	field.end()
	curve := p.in(tagSeq)
	a, b := curve.value(tagOctets), curve.value(tagOctets)
	if curve.more() {
		curve.value(tagBits) // seed
		curve.end()
	}
	g, n := p.value(tagOctets), p.positive(tagInteger)
	if p.more() && p.small(tagInteger) != 1 { // cofactor
		p.err(ErrCurve)
	}
	if *p.fail != nil {
		return nil
	}
	c, _ := ec.ByParameters(prime, a, b, g, n)
	return c
}

func parseRSA(der []byte, parent *reader) (k PublicKey) {
	if *parent.fail != nil {
		return k
	}
	r := open(der, parent.fail)
	in := r.in(tagSeq)
	r.end()
	n, e := in.positive(tagInteger), in.positive(tagInteger)
	in.end()
	if *parent.fail == nil && !usableRSA(n, e) {
		r.err(errRSA)
	}
	k.RSA = rsakey.PublicKey{Modulus: n, Exponent: e}
	return k
}

var errRSA = errors.New("an RSA key here has an odd modulus of 512 to 4096 bits and an odd exponent of 3 to 2^64")

func usableRSA(n, e []byte) bool {
	return len(n) >= rsakey.MinBits/8 && len(n) <= rsakey.MaxBits/8 && n[len(n)-1]&1 == 1 && n[0] != 0 &&
		len(e) > 0 && len(e) <= 8 && e[len(e)-1]&1 == 1 && (len(e) > 1 || e[0] >= 3)
}

// Key is a private key with its public one.
type Key struct {
	PublicKey
	d     []byte
	p, q  []byte
	rsa   *rsakey.PrivateKey
	power rsakey.Power
}

// ECKey is the private key d on a curve.
func ECKey(c *ec.Curve, d []byte) (*Key, error) {
	p, err := c.Base(d)
	if err != nil {
		return nil, err
	}
	return &Key{PublicKey: PublicKey{Curve: c, Point: p}, d: bytes.Clone(d)}, nil
}

// RSAKey is the key of two primes, p > q. power is sdk.ModExp in the guest, else
// rsakey.ModExp.
func RSAKey(p, q []byte, e uint32, power rsakey.Power) (*Key, error) {
	k, err := rsakey.New(p, q, e)
	if err != nil {
		return nil, err
	}
	return &Key{PublicKey: PublicKey{RSA: k.PublicKey}, rsa: k, power: power, p: bytes.Clone(p), q: bytes.Clone(q)}, nil
}

// Maker makes keys that follow from a seed and a name: the same for ever, and another
// one for each name.
type Maker struct {
	Seed     []byte
	Generate func(seed []byte, bits int, e uint32) (p, q []byte, err error) // sdk.GenerateRSA or rsakey.Generate
	Power    rsakey.Power                                                   // sdk.ModExp or rsakey.ModExp
}

// Secret is n octets for a purpose: HKDF with SHA-256 (RFC 5869). n is at most 8160.
func (m Maker) Secret(purpose string, n int) []byte {
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	prk := mac([]byte("sspemu eid pki"), m.Seed)
	var out, t []byte
	for i := byte(1); len(out) < n; i++ {
		t = mac(prk, t, []byte(purpose), []byte{i})
		out = append(out, t...)
	}
	return out[:n]
}

// EC is the key of a name on a curve.
func (m Maker) EC(name string, c *ec.Curve) (*Key, error) {
	return ECKey(c, c.Scalar(m.Secret("ec\x00"+c.Name+"\x00"+name, c.OrderSize()+16)))
}

// RSA is the key of a name with a modulus of so many bits and exponent 65537.
func (m Maker) RSA(name string, bits int) (*Key, error) {
	const e = 65537
	p, q, err := m.Generate(m.Secret("rsa\x00"+itoa(bits)+"\x00"+name, 32), bits, e)
	if err != nil {
		return nil, err
	}
	return RSAKey(p, q, e, m.Power)
}

// PKCS8 is the PrivateKeyInfo (RFC 5208, RFC 5915, RFC 8017 A.1.2), with a named curve.
func (k *Key) PKCS8() []byte {
	if k.Curve != nil {
		return seq(number(0), k.identifier(Named), octets(seq(number(1), octets(k.d), wrap(0xA1, bits(k.Point.Bytes())))))
	}
	return seq(number(0), k.identifier(Named), octets(k.rsa1()))
}
