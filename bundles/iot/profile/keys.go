package profile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"math/big"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/ec/std"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Exponent of RSA keys.
const Exponent = 65537

// Curve of a key type; nil: it has none.
func Curve(keyType byte) *ec.Curve {
	switch keyType {
	case iotsafe.P256, iotsafe.P256Volatile:
		return ec.P256
	case iotsafe.P384, iotsafe.P384Volatile:
		return ec.P384
	case iotsafe.BrainpoolP256, iotsafe.BrainpoolP256Volatile:
		return ec.BrainpoolP256r1
	}
	return nil
}

// library is the standard library's name of a curve; nil: it has none.
func library(c *ec.Curve) elliptic.Curve {
	switch c {
	case ec.P256:
		return elliptic.P256()
	case ec.P384:
		return elliptic.P384()
	}
	return nil
}

// Size is the length of a coordinate, and of a private key, of a curve.
func Size(c elliptic.Curve) int { return (c.Params().BitSize + 7) / 8 }

// Generator makes primes of RSA keys from a seed: sdk.GenerateRSA or rsakey.Generate.
type Generator func(seed []byte, bits int, e uint32) (p, q []byte, err error)

// stream gives n bytes for a label: SHA-512 of seed, 00, label, 00 and a counter.
func (p *Profile) stream(label string, counter uint32, n int) []byte {
	var out []byte
	for block := uint32(0); len(out) < n; block++ {
		b := append([]byte(p.Seed), 0)
		b = append(append(b, label...), 0)
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, counter), block)
		sum := sha512.Sum512(b)
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// scalar is the private key for a label: the first candidate of the stream that is one.
func (p *Profile) scalar(label string, c *ec.Curve) ([]byte, error) {
	for counter := range uint32(100) {
		if k := p.stream(label, counter, c.OrderSize()); c.Key(k) {
			return k, nil
		}
	}
	return nil, errors.New("profile: no private key in a hundred candidates")
}

// signer is scalar for crypto/x509.
func (p *Profile) signer(label string, c *ec.Curve) (*ecdsa.PrivateKey, error) {
	k, err := p.scalar(label, c)
	if err != nil {
		return nil, err
	}
	return ecdsa.ParseRawPrivateKey(library(c), k)
}

const hexDigits = "0123456789ABCDEF"

// Hex is b in upper-case hexadecimal.
func Hex(b []byte) string {
	s := make([]byte, 0, 2*len(b))
	for _, c := range b {
		s = append(s, hexDigits[c>>4], hexDigits[c&15])
	}
	return string(s)
}

// Stored is the private or secret key that container i holds at the beginning, as the
// store keeps it (see Pair); nil: it is empty. Labels of the seed are private/ID and
// secret/ID.
func (p *Profile) Stored(g Generator, i int) ([]byte, error) {
	c := &p.Containers[i]
	if !c.Seeded {
		return c.Value, nil
	}
	label := Hex(c.ID)
	switch {
	case c.Kind == Secret:
		return p.stream("secret/"+label, 0, 32), nil
	case c.Type == iotsafe.RSA2048:
		x, y, err := g(p.stream("private/"+label, 0, 32), 2048, Exponent)
		return append(x[:len(x):len(x)], y...), err
	}
	return p.scalar("private/"+label, Curve(c.Type))
}

// Pair is a key pair of the store: on a curve the scalar, of RSA both primes.
type Pair struct {
	EC  *std.Key
	RSA *rsakey.PrivateKey
}

// ParsePair reads a private key of the store.
func ParsePair(keyType byte, stored []byte) (k Pair, err error) {
	if c := Curve(keyType); c != nil {
		k.EC, err = std.NewKey(c.ID, stored)
		return k, err
	}
	if keyType != iotsafe.RSA2048 || len(stored) != 256 {
		return k, errors.New("profile: no private key of that type")
	}
	k.RSA, err = rsakey.New(stored[:128], stored[128:], Exponent)
	return k, err
}

// Public is the public key of a pair: *ecdsa.PublicKey, *ECPublicKey or *rsa.PublicKey.
func (k Pair) Public() (crypto.PublicKey, error) {
	if k.EC == nil {
		return &rsa.PublicKey{N: new(big.Int).SetBytes(k.RSA.Modulus), E: Exponent}, nil
	}
	point, err := k.EC.Public()
	if err != nil {
		return nil, err
	}
	return parsePoint(k.EC.Curve(), point)
}

// ECPublicKey is a public key on a curve that crypto/ecdsa does not have: brainpool.
type ECPublicKey struct {
	Curve *ec.Curve
	Point []byte // 04 || X || Y
}

// Equal tells whether x is the same key.
func (k *ECPublicKey) Equal(x crypto.PublicKey) bool {
	o, ok := x.(*ECPublicKey)
	return ok && o.Curve == k.Curve && string(o.Point) == string(k.Point)
}

// Point of a public key on a curve: 04 || X || Y; nil: it is none that the applet has.
func Point(pub crypto.PublicKey) (*ec.Curve, []byte) {
	switch pub := pub.(type) {
	case *ECPublicKey:
		return pub.Curve, pub.Point
	case *ecdsa.PublicKey:
		c, ok := ec.ByName(pub.Params().Name)
		if !ok {
			return nil, nil
		}
		point, err := pub.Bytes()
		if err != nil {
			return nil, nil
		}
		return c, point
	}
	return nil, nil
}

func parsePoint(c *ec.Curve, point []byte) (crypto.PublicKey, error) {
	if l := library(c); l != nil {
		return ecdsa.ParseUncompressedPublicKey(l, point)
	}
	if _, err := c.Parse(point); err != nil {
		return nil, err
	}
	return &ECPublicKey{c, append([]byte(nil), point...)}, nil
}

var errPublic = errors.New("profile: no public key of that type")

// EncodePublic is a public key as commands carry it in tag 34; nil for a key that the
// applet does not have.
func EncodePublic(pub crypto.PublicKey) []byte {
	b, m := tlv.Begin(nil, iotsafe.TagECKey)
	switch pub := pub.(type) {
	case *ecdsa.PublicKey, *ECPublicKey:
		c, point := Point(pub)
		if c == nil {
			return nil
		}
		b = tlv.Append(b, iotsafe.TagECPoint, point...)
	case *rsa.PublicKey:
		b = tlv.Append(b, iotsafe.TagModulus, pub.N.Bytes()...)
		b = tlv.Append(b, iotsafe.TagExponent, big.NewInt(int64(pub.E)).Bytes()...)
	default:
		return nil
	}
	return tlv.End(b, m)
}

// ParsePublic reads a public key as commands carry it. A point that is not on the
// curve, or is infinity, is refused.
func ParsePublic(keyType byte, b []byte) (crypto.PublicKey, error) {
	t, in, rest, err := tlv.Next(b)
	if err != nil || t != iotsafe.TagECKey || len(rest) > 0 {
		return nil, errPublic
	}
	if c := Curve(keyType); c != nil {
		t, point, rest, err := tlv.Next(in)
		if err != nil || t != iotsafe.TagECPoint || len(rest) > 0 {
			return nil, errPublic
		}
		return parsePoint(c, point)
	}
	t, n, in, err := tlv.Next(in)
	if err != nil || t != iotsafe.TagModulus || keyType != iotsafe.RSA2048 {
		return nil, errPublic
	}
	t, e, rest, err := tlv.Next(in)
	if err != nil || t != iotsafe.TagExponent || len(rest) > 0 || len(e) == 0 || len(e) > 4 {
		return nil, errPublic
	}
	mod, exp := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e).Uint64()
	if mod.BitLen() != 2048 || mod.Bit(0) == 0 || exp < 3 || exp%2 == 0 || exp > 1<<31-1 {
		return nil, errPublic
	}
	return &rsa.PublicKey{N: mod, E: int(exp)}, nil
}

// wellFormed tells whether the value that the persona gives is one of its kind and type.
func (c *Container) wellFormed() bool {
	switch {
	case c.Kind == Private:
		_, err := ParsePair(c.Type, c.Value)
		return err == nil
	case c.Kind == Public:
		if Curve(c.Type) == nil {
			return false
		}
		pub, err := parsePoint(Curve(c.Type), c.Value)
		if err != nil {
			return false
		}
		c.Value = EncodePublic(pub)
		return true
	case c.Kind == Secret:
		return len(c.Value) > 0 && len(c.Value) <= 64
	}
	return false
}

// AuthorityKey is the key of an authority: label authority/NAME.
func (p *Profile) AuthorityKey(a *Authority) (*ecdsa.PrivateKey, error) {
	return p.signer("authority/"+a.Name, Curve(a.Type))
}

// serial of a certificate: 16 bytes of the stream, positive.
func (p *Profile) serial(label string) *big.Int {
	b := p.stream("serial/"+label, 0, 16)
	b[0] = b[0]&0x3F | 0x40
	return new(big.Int).SetBytes(b)
}

// algorithm of a signature that a key makes.
func algorithm(k *ecdsa.PrivateKey) x509.SignatureAlgorithm {
	if k.Curve == elliptic.P384() {
		return x509.ECDSAWithSHA384
	}
	return x509.ECDSAWithSHA256
}

func authorityTemplate(a *Authority, serial *big.Int) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: a.Name}, NotBefore: a.From, NotAfter: a.Until,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// AuthorityCertificate is the certificate of an authority, signed by itself: DER.
func (p *Profile) AuthorityCertificate(a *Authority) ([]byte, error) {
	k, err := p.AuthorityKey(a)
	if err != nil {
		return nil, err
	}
	t := authorityTemplate(a, p.serial("authority/"+a.Name))
	t.SignatureAlgorithm = algorithm(k)
	return x509.CreateCertificate(nil, t, t, &k.PublicKey, k)
}

// Certify makes a certificate for a public key: DER. A nil source of random bytes makes
// the signature deterministic.
func (p *Profile) Certify(x *Certificate, pub crypto.PublicKey) ([]byte, error) {
	ca, err := p.AuthorityKey(x.Authority)
	if err != nil {
		return nil, err
	}
	switch x.Defect {
	case OtherIssuer:
		ca, err = p.signer("nobody", Curve(x.Authority.Type))
	case OtherKey:
		var k *ecdsa.PrivateKey
		if k, err = p.signer("nobody", ec.P256); err == nil {
			pub = &k.PublicKey
		}
	}
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: p.serial("certificate/" + x.Name), Subject: pkix.Name{CommonName: x.Name}, NotBefore: x.From, NotAfter: x.Until,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: x.DNS,
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		SignatureAlgorithm: algorithm(ca),
	}
	parent := authorityTemplate(x.Authority, p.serial("authority/"+x.Authority.Name))
	der, err := x509.CreateCertificate(nil, t, parent, pub, ca)
	if err == nil && x.Defect == WrongSignature {
		der[len(der)-1] ^= 1
	}
	return der, err
}

// Content is what is in file i at the beginning; pair gives the key pair of a container.
func (p *Profile) Content(i int, pair func(i int) (Pair, error)) ([]byte, error) {
	c := &p.Containers[i]
	switch {
	case c.Anchor != nil:
		return p.AuthorityCertificate(c.Anchor)
	case c.Certificate != nil:
		k, err := pair(c.Certificate.Key)
		if err != nil {
			return nil, err
		}
		pub, err := k.Public()
		if err != nil {
			return nil, err
		}
		return p.Certify(c.Certificate, pub)
	}
	return c.Value, nil
}
