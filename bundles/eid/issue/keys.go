package issue

import (
	"crypto/sha1" //nolint:gosec // the standard's
	"crypto/sha256"
	"crypto/sha512"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Power is who computes RSA: the platform, for the guest, or Native.
type Power struct {
	Generate func(seed []byte, bits int, e uint32) (p, q []byte, err error)
	ModExp   rsakey.Power
}

// Platform is the platform that the guest runs on.
var Platform = Power{sdk.GenerateRSA, sdk.ModExp}

// exponent of RSA keys.
const exponent = 65537

// rsaKey is the RSA key of a label.
func (w Power) rsaKey(seed, label string, bits int) (key *rsakey.PrivateKey, p, q []byte, err error) {
	if p, q, err = w.Generate(derive(seed, label, 32), bits, exponent); err != nil {
		return nil, nil, nil, err
	}
	key, err = rsakey.New(p, q, exponent)
	return key, p, q, err
}

// digest is the hash of a file.
func digest(h Hash, b []byte) []byte {
	switch h {
	case SHA1:
		s := sha1.Sum(b) //nolint:gosec // the standard's
		return s[:]
	case SHA224:
		s := sha256.Sum224(b)
		return s[:]
	case SHA384:
		s := sha512.Sum384(b)
		return s[:]
	case SHA512:
		s := sha512.Sum512(b)
		return s[:]
	}
	s := sha256.Sum256(b)
	return s[:]
}

// hashOID is the object identifier of a hash function (RFC 8017 B.1): contents octets.
func hashOID(h Hash) []byte {
	if h == SHA1 {
		return []byte("\x2B\x0E\x03\x02\x1A")
	}
	last := map[Hash]byte{SHA256: 1, SHA384: 2, SHA512: 3, SHA224: 4}[h]
	return append([]byte("\x60\x86\x48\x01\x65\x03\x04\x02"), last)
}

// rsaPublicKey is a SubjectPublicKeyInfo with rsaEncryption (RFC 8017 A.1).
func rsaPublicKey(k rsakey.PublicKey) []byte {
	seq := func(parts ...[]byte) []byte {
		b, m := tlv.Begin(nil, 0x30)
		for _, p := range parts {
			b = append(b, p...)
		}
		return tlv.End(b, m)
	}
	number := func(b []byte) []byte {
		if b[0] >= 0x80 {
			b = append([]byte{0}, b...)
		}
		return tlv.Append(nil, 0x02, b...)
	}
	algorithm := seq(tlv.Append(nil, 0x06, []byte("\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01")...), []byte{0x05, 0x00})
	return seq(algorithm, tlv.Append(nil, 0x03, append([]byte{0}, seq(number(k.Modulus), number(k.Exponent))...)...))
}

// activeKey is the key of active authentication and its SubjectPublicKeyInfo.
func (p *profile) activeKey(w Power) (*AAKey, []byte, error) {
	if p.aa.scheme == ecdsa {
		d := private(p.seed, "aa", p.aa.curve)
		public, err := publicKeyInfo(p.aa.curve.ID, d, pki.Explicit)
		return &AAKey{Hash: p.aa.hash, Parameters: p.aa.curve.ID, Private: d}, public, err
	}
	key, x, y, err := w.rsaKey(p.seed, "aa", p.aa.bits)
	if err != nil {
		return nil, nil, err
	}
	return &AAKey{Hash: p.aa.hash, P: x, Q: y, Exponent: exponent}, rsaPublicKey(key.PublicKey), nil
}

// point is the public key of a private one.
func point(c *ec.Curve, private []byte) ([]byte, error) {
	p, err := c.Base(private)
	if err != nil {
		return nil, err
	}
	return p.Bytes(), nil
}
