package lds

import (
	"bytes"
	"sort"

	"github.com/sspemu/sspemu/internal/tlv"
)

// SecurityInfo is one entry of EF.CardAccess, EF.CardSecurity and data group 14 (Doc
// 9303-11 9.2). What a kind does not have is -1 or nil.
type SecurityInfo struct {
	OID        []byte    // of the protocol: contents octets
	Protocol   *Protocol // nil: a protocol that is not known here
	Version    int
	Parameters int    // PACE: standardized domain parameters, -1: none are named
	KeyID      int    // key reference of chip authentication, -1: none
	PublicKey  []byte // SubjectPublicKeyInfo of chip authentication
	Signature  []byte // active authentication: object identifier of the signature, contents octets
	FID        int    // terminal authentication: file of the trust points, -1: EF.CVCA
	SFI        int
	Raw        []byte // the whole SEQUENCE
}

// PACEInfo announces PACE with standardized domain parameters (Doc 9303-11 9.2.1).
func PACEInfo(p Protocol, parameters int) []byte {
	return seq(tagSeq, oid(p.OID), integer(2), integer(parameters))
}

// ChipAuthenticationInfo announces chip authentication with the key of this reference,
// -1: the only one (Doc 9303-11 9.2.5).
func ChipAuthenticationInfo(p Protocol, key int) []byte {
	return seq(tagSeq, oid(p.OID), integer(1), reference(key))
}

// ChipAuthenticationPublicKeyInfo gives a public key, a SubjectPublicKeyInfo (Doc 9303-11
// 9.2.6).
func ChipAuthenticationPublicKeyInfo(a Agreement, key []byte, id int) []byte {
	p, _ := Find(KindPublicKey, a, 0, 0)
	return seq(tagSeq, oid(p.OID), key, reference(id))
}

// TerminalAuthenticationInfo announces terminal authentication of version 1; the trust
// points are in EF.CVCA (Doc 9303-11 9.2.7; TR-03110-3 A.1.1.4).
func TerminalAuthenticationInfo() []byte {
	return seq(tagSeq, oid([]byte(oidTA)), integer(1))
}

// ActiveAuthenticationInfo tells the signature of active authentication with ECDSA by
// its object identifier (Doc 9303-11 9.2.8).
func ActiveAuthenticationInfo(signature []byte) []byte {
	return seq(tagSeq, oid([]byte(oidAA)), integer(1), oid(signature))
}

// PlainECDSA is the object identifier of ECDSA with plain signatures and a hash of so
// many bits, 1: SHA-1 (TR-03111 5.2.1.1): contents octets; nil: there is none.
func PlainECDSA(hash int) []byte {
	for i, h := range []int{1, 224, 256, 384, 512} {
		if h == hash {
			return append([]byte("\x04\x00\x7F\x00\x07\x01\x01\x04\x01"), byte(i+1))
		}
	}
	return nil
}

// PlainECDSAHash is the hash that PlainECDSA names, in bits, 1: SHA-1; 0: none.
func PlainECDSAHash(oid []byte) int {
	for _, h := range []int{1, 224, 256, 384, 512} {
		if bytes.Equal(oid, PlainECDSA(h)) {
			return h
		}
	}
	return 0
}

func oid(contents []byte) []byte { return tlv.Append(nil, tagOID, contents...) }

func reference(id int) []byte {
	if id < 0 {
		return nil
	}
	return integer(id)
}

// BuildSecurityInfos is a SET OF SecurityInfo, in the order of DER (ISO/IEC 8825-1 11.6):
// EF.CardAccess, and what EF.CardSecurity signs.
func BuildSecurityInfos(infos ...[]byte) []byte {
	infos = append([][]byte(nil), infos...)
	sort.SliceStable(infos, func(i, j int) bool { return bytes.Compare(infos[i], infos[j]) < 0 })
	return seq(tagSet, infos...)
}

// DG14 is the content of data group 14 with a SET OF SecurityInfo.
func DG14(infos []byte) []byte { return seq(GroupTag(14), infos) }

// ParseDG14 reads data group 14.
func ParseDG14(file []byte) ([]SecurityInfo, error) {
	v, err := Unwrap("DG14", file, GroupTag(14))
	if err != nil {
		return nil, err
	}
	return ParseSecurityInfos("DG14", v)
}

// ParseSecurityInfos reads a SET OF SecurityInfo; what names the file in errors. Entries
// of protocols that are not known are there with OID and Raw.
func ParseSecurityInfos(what string, set []byte) ([]SecurityInfo, error) {
	v, err := Unwrap(what, set, tagSet)
	if err != nil {
		return nil, err
	}
	var infos []SecurityInfo
	r := tlv.Read(v)
	for r.Next() {
		if r.Tag != tagSeq {
			return nil, bad(what, "has a SecurityInfo that is no SEQUENCE")
		}
		i, err := parseInfo(what, r.Value)
		if err != nil {
			return nil, err
		}
		infos = append(infos, i)
	}
	if r.Err() != nil {
		return nil, malformed(what, r.Err())
	}
	return infos, nil
}

func parseInfo(what string, v []byte) (SecurityInfo, error) {
	i := SecurityInfo{Parameters: -1, KeyID: -1, FID: -1, SFI: -1, Raw: seq(tagSeq, v)}
	r := tlv.Read(v)
	if !r.Next() || r.Tag != tagOID {
		return i, bad(what, "has a SecurityInfo without protocol")
	}
	i.OID = r.Value
	p, ok := ProtocolByOID(i.OID)
	if !ok {
		return i, nil
	}
	i.Protocol = &p
	wrong := bad(what, p.Name+" has a malformed SecurityInfo")
	num := func(to *int) bool {
		if r.Tag != tagInteger {
			return false
		}
		n, ok := number(r.Value)
		*to = n
		return ok
	}
	if !r.Next() {
		return i, wrong
	}
	if p.Kind == KindPublicKey {
		if r.Tag != tagSeq {
			return i, wrong
		}
		i.PublicKey = seq(tagSeq, r.Value)
	} else if !num(&i.Version) {
		return i, wrong
	}
	if r.Next() {
		ok := true
		switch p.Kind {
		case KindPACE:
			ok = num(&i.Parameters)
		case KindPublicKey, KindCA:
			ok = num(&i.KeyID)
		case KindAA:
			i.Signature, ok = r.Value, r.Tag == tagOID
		case KindTA: // FileID ::= SEQUENCE { fid OCTET STRING, sfi OCTET STRING OPTIONAL }
			ok = r.Tag == tagSeq && i.file(r.Value)
		}
		if !ok {
			return i, wrong
		}
	} else if p.Kind == KindAA {
		return i, wrong
	}
	for r.Next() { // of later versions
	}
	if r.Err() != nil {
		return i, malformed(what, r.Err())
	}
	return i, nil
}

func (i *SecurityInfo) file(v []byte) bool {
	r := tlv.Read(v)
	if !r.Next() || r.Tag != tagOctets || len(r.Value) != 2 {
		return false
	}
	i.FID = int(r.Value[0])<<8 | int(r.Value[1])
	if r.Next() {
		if r.Tag != tagOctets || len(r.Value) != 1 {
			return false
		}
		i.SFI = int(r.Value[0])
	}
	return r.Err() == nil
}

// SecurityObject is what a document signer signs in EF.SOD: the hashes of the data
// groups (Doc 9303-10 4.6.2).
type SecurityObject struct {
	Version int    // 0, or 1: with LDS and Unicode version
	Hash    []byte // object identifier of the hash function, contents octets
	Groups  []GroupHash
	LDS     string // "0108"
	Unicode string // "040000"
}

// GroupHash is the hash of one data group.
type GroupHash struct {
	Group int
	Hash  []byte
}

// OIDSecurityObject is the content type of EF.SOD, 2.23.136.1.1.1 (Doc 9303-10
// 4.6.2.3), OIDCardSecurity that of EF.CardSecurity, 0.4.0.127.0.7.3.2.1 (3.11.4):
// contents octets.
var (
	OIDSecurityObject = []byte("\x67\x81\x08\x01\x01\x01")
	OIDCardSecurity   = []byte("\x04\x00\x7F\x00\x07\x03\x02\x01")
)

// Build is the LDSSecurityObject in DER. Parameters of the hash function are left out
// (Doc 9303-10 4.6.2.3 note 2).
func (o *SecurityObject) Build() []byte {
	var list []byte
	for _, g := range o.Groups {
		list = append(list, seq(tagSeq, integer(g.Group), tlv.Append(nil, tagOctets, g.Hash...))...)
	}
	parts := [][]byte{integer(o.Version), seq(tagSeq, oid(o.Hash)), seq(tagSeq, list)}
	if o.Version > 0 {
		parts = append(parts, seq(tagSeq, tlv.Append(nil, tagPrint, []byte(o.LDS)...), tlv.Append(nil, tagPrint, []byte(o.Unicode)...)))
	}
	return seq(tagSeq, parts...)
}

// ParseSecurityObject reads an LDSSecurityObject.
func ParseSecurityObject(der []byte) (*SecurityObject, error) {
	const what = "LDS security object"
	v, err := Unwrap(what, der, tagSeq)
	if err != nil {
		return nil, err
	}
	o := &SecurityObject{}
	r := tlv.Read(v)
	next := func(t tlv.Tag) []byte {
		if err == nil && (!r.Next() || r.Tag != t) {
			err = bad(what, "is not what Doc 9303-10 4.6.2.3 says")
		}
		if err != nil {
			return nil
		}
		return r.Value
	}
	version := next(tagInteger)
	algorithm := next(tagSeq)
	list := next(tagSeq)
	if err != nil {
		return nil, err
	}
	var ok bool
	if o.Version, ok = number(version); !ok {
		return nil, bad(what, "has no version")
	}
	if o.Hash, err = tlv.Find(algorithm, tagOID); err != nil {
		return nil, malformed(what, err)
	}
	hashes := tlv.Read(list)
	for hashes.Next() {
		in := tlv.Read(hashes.Value)
		if hashes.Tag != tagSeq || !in.Next() || in.Tag != tagInteger {
			return nil, bad(what, "has a malformed hash")
		}
		g := GroupHash{}
		if g.Group, ok = number(in.Value); !ok || !in.Next() || in.Tag != tagOctets {
			return nil, bad(what, "has a malformed hash")
		}
		g.Hash = in.Value
		o.Groups = append(o.Groups, g)
	}
	if hashes.Err() != nil {
		return nil, malformed(what, hashes.Err())
	}
	if r.Next() && r.Tag == tagSeq {
		in := tlv.Read(r.Value)
		for _, to := range []*string{&o.LDS, &o.Unicode} {
			if !in.Next() || in.Tag != tagPrint {
				return nil, bad(what, "has a malformed LDS version")
			}
			*to = string(in.Value)
		}
	}
	if r.Err() != nil {
		return nil, malformed(what, r.Err())
	}
	if o.Version > 0 && o.LDS == "" {
		return nil, bad(what, "is of version 1 and has no LDS version")
	}
	return o, nil
}

// SOD is the content of EF.SOD with a ContentInfo.
func SOD(cms []byte) []byte { return seq(TagSOD, cms) }

// ParseSOD is the ContentInfo in EF.SOD.
func ParseSOD(file []byte) ([]byte, error) {
	v, err := Unwrap("EF.SOD", file, TagSOD)
	if err != nil {
		return nil, err
	}
	if _, err := Unwrap("EF.SOD", v, tagSeq); err != nil {
		return nil, err
	}
	return v, nil
}
