package iot

import (
	"errors"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// What the applet makes for an authority, in DER: public keys (SubjectPublicKeyInfo, RFC
// 5280 4.1.2.7) and certificate requests (RFC 2986), signed by the key that is asked for;
// and what it has to know of a certificate for that.

// Tags of ISO/IEC 8824-1.
const (
	asnInteger   tlv.Tag = 0x02
	asnBits      tlv.Tag = 0x03
	asnOctets    tlv.Tag = 0x04
	asnOID       tlv.Tag = 0x06
	asnUTF8      tlv.Tag = 0x0C
	asnSequence  tlv.Tag = 0x30
	asnSet       tlv.Tag = 0x31
	asnVersion   tlv.Tag = 0xA0 // of a certificate; the attributes of a request
	asnExtension tlv.Tag = 0xA3 // of a certificate
)

// Object identifiers, their contents octets.
const (
	oidECKey       = "\x2A\x86\x48\xCE\x3D\x02\x01"         // 1.2.840.10045.2.1, RFC 5480 2.1.1
	oidECDSA       = "\x2A\x86\x48\xCE\x3D\x04\x03"         // and 2, 3, 4: with SHA-256, 384, 512, RFC 5758 3.2
	oidRSA         = "\x2A\x86\x48\x86\xF7\x0D\x01\x01"     // and 1: a key, RFC 8017 A.1; 11, 12, 13: PKCS#1 v1.5 with SHA-256, 384, 512
	oidExtensions  = "\x2A\x86\x48\x86\xF7\x0D\x01\x09\x0E" // 1.2.840.113549.1.9.14, RFC 2985 5.4.2
	oidAlternative = "\x55\x1D\x11"                         // 2.5.29.17, RFC 5280 4.2.1.6
	oidCommonName  = "\x55\x04\x03"                         // 2.5.4.3
)

// wrap is a data object around others.
func wrap(t tlv.Tag, parts ...[]byte) []byte {
	b, m := tlv.Begin(nil, t)
	for _, p := range parts {
		b = append(b, p...)
	}
	return tlv.End(b, m)
}

func seq(parts ...[]byte) []byte { return wrap(asnSequence, parts...) }

func oid(s string) []byte { return tlv.Append(nil, asnOID, []byte(s)...) }

// natural is a positive INTEGER.
func natural(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 || b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return tlv.Append(nil, asnInteger, b...)
}

func bitString(b []byte) []byte { return tlv.Append(nil, asnBits, append([]byte{0}, b...)...) }

// publicParts are a point, or modulus and exponent, of a public key as commands carry it.
func publicParts(encoded []byte) (point, n, e []byte) {
	in, _ := tlv.Find(encoded, iotsafe.TagECKey)
	point, _ = tlv.Find(in, iotsafe.TagECPoint)
	n, _ = tlv.Find(in, iotsafe.TagModulus)
	e, _ = tlv.Find(in, iotsafe.TagExponent)
	return point, n, e
}

// publicInfo is the public key of a container as SubjectPublicKeyInfo.
func publicInfo(keyType byte, encoded []byte) []byte {
	point, n, e := publicParts(encoded)
	if c := profile.Curve(keyType); c != nil {
		return seq(seq(oid(oidECKey), tlv.Append(nil, asnOID, c.OID...)), bitString(point))
	}
	return seq(seq(oid(oidRSA+"\x01"), []byte{0x05, 0}), bitString(seq(natural(n), natural(e))))
}

// coseCurves are the numbers of curves in COSE, in CBOR: RFC 9053 7.1, and the registry
// that ISO/IEC 18013-5 table 22 refers to, 256 for brainpoolP256r1.
var coseCurves = map[string]string{"P-256": "\x01", "P-384": "\x02", "brainpoolP256r1": "\x19\x01\x00"}

// coseKey is the public key of a container as COSE_Key (RFC 9052 7), nil where COSE has no
// number for its curve.
func coseKey(keyType byte, encoded []byte) []byte {
	octets := func(dst, b []byte) []byte {
		switch n := len(b); {
		case n < 24:
			dst = append(dst, 0x40|byte(n))
		case n < 256:
			dst = append(dst, 0x58, byte(n))
		default:
			dst = append(dst, 0x59, byte(n>>8), byte(n))
		}
		return append(dst, b...)
	}
	point, n, e := publicParts(encoded)
	c := profile.Curve(keyType)
	if c == nil { // kty 3; n is -1, e is -2: RFC 8230 4
		return octets(append(octets([]byte{0xA3, 0x01, 0x03, 0x20}, n), 0x21), e)
	}
	id, ok := coseCurves[c.Name]
	if !ok || len(point) != 1+2*c.Size {
		return nil
	}
	// kty 2; crv is -1, x is -2, y is -3: RFC 9053 7.1.1
	x, y := point[1:1+c.Size], point[1+c.Size:]
	head := append(append([]byte{0xA4, 0x01, 0x02, 0x20}, id...), 0x21)
	return octets(append(octets(head, x), 0x22), y)
}

// certified is what the applet looks at in a certificate.
type certified struct {
	info        []byte // SubjectPublicKeyInfo
	subject     []byte // Name
	alternative []byte // the value of the extension subjectAltName; nil: there is none
	serial      []byte
}

var errCertificate = errors.New("iot: no certificate")

// parseCertificate reads a certificate in DER (RFC 5280 4.1); what follows it is not
// looked at.
func parseCertificate(der []byte) (c certified, err error) {
	outer, _ := element(&der, asnSequence, &err)
	tbs, _ := element(&outer, asnSequence, &err)
	if len(tbs) > 0 && tbs[0] == byte(asnVersion) {
		element(&tbs, asnVersion, &err)
	}
	c.serial, _ = element(&tbs, asnInteger, &err)
	element(&tbs, asnSequence, &err) // signature
	element(&tbs, asnSequence, &err) // issuer
	element(&tbs, asnSequence, &err) // validity
	_, c.subject = element(&tbs, asnSequence, &err)
	_, c.info = element(&tbs, asnSequence, &err)
	if err != nil {
		return certified{}, err
	}
	explicit, _ := tlv.Find(tbs, asnExtension)
	list, _ := tlv.Find(explicit, asnSequence)
	for r := tlv.Read(list); r.Next(); {
		if id, _ := tlv.Find(r.Value, asnOID); string(id) == oidAlternative {
			c.alternative, _ = tlv.Find(r.Value, asnOctets)
		}
	}
	return c, nil
}

// element takes the first data object off b: its value, and the whole of it.
func element(b *[]byte, want tlv.Tag, err *error) (value, raw []byte) {
	if *err != nil {
		return nil, nil
	}
	t, value, rest, wrong := tlv.Next(*b)
	if wrong != nil || t != want || (*b)[0] == 0 {
		*err = errCertificate
		return nil, nil
	}
	raw, *b = (*b)[:len(*b)-len(rest)], rest
	return value, raw
}

// maxCommonName is the upper bound of RFC 5280 A.1, in characters.
const maxCommonName = 64

// commonName is a Name with nothing else.
func commonName(name string) []byte {
	return seq(wrap(asnSet, seq(oid(oidCommonName), tlv.Append(nil, asnUTF8, []byte(name)...))))
}

// requestHash is the hash with which a key signs a request: that of its strength, or
// another one that it has; 0: it signs none.
func requestHash(o *object) byte {
	first := byte(iotsafe.SHA256)
	if c := profile.Curve(o.Type); c != nil {
		if o.Signatures&iotsafe.ECDSA == 0 {
			return 0
		}
		if c.Size > 32 {
			first = iotsafe.SHA384
		}
	} else if o.Signatures&iotsafe.RSAPKCS1 == 0 {
		return 0
	}
	for _, h := range []byte{first, iotsafe.SHA256, iotsafe.SHA384, iotsafe.SHA512} {
		if o.Hashes&h != 0 {
			return h
		}
	}
	return 0
}

// request is a certificate request (RFC 2986 4) in DER that the key signs. alternative is
// the value of subjectAltName, nil: without.
func (c *Card) request(o *object, subject, alternative []byte) ([]byte, error) {
	k, sw := o.private()
	if sw != sdk.OK {
		return nil, errKey
	}
	public, sw := c.objects[o.Pair].bytes()
	if sw != sdk.OK {
		return nil, errKey
	}
	attributes := wrap(asnVersion)
	if alternative != nil {
		extension := seq(oid(oidAlternative), tlv.Append(nil, asnOctets, alternative...))
		attributes = wrap(asnVersion, seq(oid(oidExtensions), wrap(asnSet, seq(extension))))
	}
	info := seq(natural([]byte{0}), subject, publicInfo(o.Type, public), attributes)
	hash := requestHash(o)
	h := newHash(hash)
	h.Write(info)
	digest := h.Sum(nil)
	n := map[byte]byte{iotsafe.SHA256: 0, iotsafe.SHA384: 1, iotsafe.SHA512: 2}[hash]
	if k.EC == nil {
		sig := signRSA(k.RSA, iotsafe.RSAPKCS1, digest, hash)
		if sig == nil {
			return nil, errKey
		}
		return seq(info, seq(oid(oidRSA+string(rune(11+n))), []byte{0x05, 0}), bitString(sig)), nil
	}
	sig, err := c.curves().sign(k.EC, digest)
	if err != nil {
		return nil, err
	}
	half := len(sig) / 2
	return seq(info, seq(oid(oidECDSA+string(rune(2+n)))), bitString(seq(natural(sig[:half]), natural(sig[half:])))), nil
}

var errKey = errors.New("iot: the key cannot be used")
