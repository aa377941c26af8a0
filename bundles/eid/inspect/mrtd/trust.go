package mrtd

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/sspemu/sspemu/bundles/eid/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Anchors are what signatures have to lead to.
type Anchors struct {
	CSCA [][]byte // certificates, DER
	CRLs [][]byte
}

// signed is a CMS SignedData.
type signed struct {
	kind, content []byte
	raw           []byte
}

// parseSigned reads a ContentInfo with SignedData (RFC 5652 3, 5.1).
func parseSigned(cms []byte) (*signed, error) {
	v, err := tlv.Path(cms, 0x30, 0xA0, 0x30, 0x30)
	if err != nil {
		return nil, errors.New("is no signed message (RFC 5652 5.1)")
	}
	m := &signed{raw: cms}
	if m.kind, err = tlv.Find(v, 0x06); err != nil {
		return nil, errors.New("has no content type")
	}
	if m.content, err = tlv.Path(v, 0xA0, 0x04); err != nil {
		return nil, errors.New("has no content")
	}
	return m, nil
}

// signature verifies a signed file up to a trust anchor.
func (s *inspection) signature(file, signer string, m *signed) {
	s.r.NotDone("Signature of "+file, clausePA, "not there yet")
}

// publicKey reads a SubjectPublicKeyInfo: *rsa.PublicKey or ec.Point.
func publicKey(spki []byte) (any, error) {
	bad := errors.New("is no SubjectPublicKeyInfo of a kind that documents have")
	v, err := tlv.Path(spki, 0x30)
	if err != nil {
		return nil, bad
	}
	r := tlv.Read(v)
	if !r.Next() || r.Tag != 0x30 {
		return nil, bad
	}
	algorithm := r.Value
	if !r.Next() || r.Tag != 0x03 || len(r.Value) < 2 || r.Value[0] != 0 {
		return nil, bad
	}
	key := r.Value[1:]
	a := tlv.Read(algorithm)
	if !a.Next() || a.Tag != 0x06 {
		return nil, bad
	}
	switch string(a.Value) {
	case "\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01": // rsaEncryption
		v, err := tlv.Path(key, 0x30)
		if err != nil {
			return nil, bad
		}
		in := tlv.Read(v)
		if !in.Next() || in.Tag != 0x02 {
			return nil, bad
		}
		n := new(big.Int).SetBytes(in.Value)
		if !in.Next() || in.Tag != 0x02 || len(in.Value) == 0 || len(in.Value) > 4 {
			return nil, bad
		}
		e := new(big.Int).SetBytes(in.Value)
		if n.BitLen() < 512 || n.BitLen() > 16384 || n.Bit(0) == 0 || e.Int64() < 3 {
			return nil, fmt.Errorf("is an RSA key of %d bits with the exponent %d", n.BitLen(), e)
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case "\x2A\x86\x48\xCE\x3D\x02\x01", "\x2B\x81\x04\x01\x0C": // id-ecPublicKey, id-ecDH
		if !a.Next() {
			return nil, bad
		}
		c, ok := curveOf(a.Tag, a.Value)
		if !ok {
			return nil, errors.New("is on a curve that is not known")
		}
		return c.Parse(key)
	}
	return nil, bad
}

// curveOf reads the parameters of a key: the name of a curve, or all of its numbers, as
// Doc 9303-12 wants it.
func curveOf(t tlv.Tag, v []byte) (*ec.Curve, bool) {
	if t == 0x06 {
		return ec.ByOID(v)
	}
	var fields [][]byte
	for r := tlv.Read(v); r.Next(); {
		fields = append(fields, r.Value)
	}
	if t != 0x30 || len(fields) < 5 {
		return nil, false
	}
	prime, err1 := tlv.Find(fields[1], 0x02)
	r := tlv.Read(fields[2])
	if err1 != nil || !r.Next() || r.Tag != 0x04 {
		return nil, false
	}
	a := r.Value
	if !r.Next() || r.Tag != 0x04 {
		return nil, false
	}
	base := fields[3]
	if len(base) > 0 && base[0] != 4 { // compressed: the named curves decide by the rest
		for _, c := range ec.Curves() {
			p, _, _, g, _ := c.Parameters()
			if bytes.Equal(bytes.TrimLeft(prime, "\x00"), bytes.TrimLeft(p, "\x00")) && bytes.Equal(base[1:], g[1:1+c.Size]) {
				base = g
			}
		}
	}
	return ec.ByParameters(prime, a, r.Value, base, fields[4])
}
