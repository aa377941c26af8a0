package spectests

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/ec/std"
	"github.com/sspemu/sspemu/internal/tlv"
)

// iotChecks are the device, its cloud and its peer: they make what a device sends, and
// look at the answers of an IoT SAFE applet with keys of their own and what the applet
// tells. The steps between them are plain APDUs:
//
//	80CD0000 03 850101 00        iot_key own 13
//	802B8001 {...} 00            iot_signed own sha256 74657874
//	                             iot_peer p256: {peer} is a point for PUT PUBLIC KEY
//	80460000 06 840104 850105 00 iot_shared own
var iotChecks = map[string]check{
	"iot_key":         {doc: "the data is a public key in tag 34, of the key type TYPE; NAME stands for it", args: 2, run: iotKey},
	"iot_pair":        {doc: "the data is the answer of GENERATE KEY PAIR for the containers PRIVATE and PUBLIC; NAME stands for the public key of TYPE", args: 4, run: iotPair},
	"iot_differs":     {doc: "the public keys NAME and OTHER differ", args: 2, run: iotDiffers},
	"iot_same":        {doc: "the public keys NAME and OTHER are the same", args: 2, run: iotSame},
	"iot_signed":      {doc: "the data is tag 33 with a signature over TEXT with HASH by the key NAME; of RSA with PKCS#1", args: 3, run: func(d *Dialogue, a []string) error { return iotSigned(d, a, false) }},
	"iot_signed_pss":  {doc: "the data is tag 33 with an RSA-PSS signature over TEXT with HASH by the key NAME", args: 3, run: func(d *Dialogue, a []string) error { return iotSigned(d, a, true) }},
	"iot_digest":      {doc: "{digest} is HASH of TEXT", args: 2, sets: []string{"digest"}, run: iotDigest},
	"iot_last":        {doc: "{block}, {state} and {count} are the last block of TEXT, the HASH of what comes before, its length", args: 2, sets: []string{"block", "state", "count"}, run: iotLast},
	"iot_peer":        {doc: "the peer makes a key pair on CURVE (p256, p384, brainpoolP256r1); {peer} is its public key in tag 49, {off} the same with a point beside the curve", args: 1, sets: []string{"peer", "off"}, run: iotPeer},
	"iot_peer_signs":  {doc: "{signature} is the peer's signature over TEXT with HASH, {wrong} one over another text", args: 2, sets: []string{"signature", "wrong"}, run: iotPeerSigns},
	"iot_shared":      {doc: "the data is the secret that the peer shares with the owner of the key NAME", args: 1, run: iotShared},
	"iot_certificate": {doc: "the certificate in the file with identifier FILE verifies under the one in file CA on 23 November 2026, and is for the key NAME", args: 3, run: iotCertificate},
	"iot_list":        {doc: "the whole object list, as far as P2 01 goes on, has COUNT objects, each as GET DATA tells of it alone", args: 1, run: iotList},
	"iot_random":      {doc: "another GET RANDOM of 32 bytes gives others", run: iotRandom},
}

// iotState is what the device and its peer know.
type iotState struct {
	keys map[string]crypto.PublicKey
	peer *std.Key
}

func (d *Dialogue) iotNow() *iotState {
	if d.iot == nil {
		d.iot = &iotState{keys: map[string]crypto.PublicKey{}}
	}
	return d.iot
}

func (s *iotState) key(name string) (crypto.PublicKey, error) {
	k, ok := s.keys[name]
	if !ok {
		return nil, fmt.Errorf("no iot_key %s before", name)
	}
	return k, nil
}

// keyType reads the number of a key type.
func keyType(s string) (byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 1 {
		return 0, fmt.Errorf("%q is not a key type", s)
	}
	return b[0], nil
}

func (s *iotState) learn(name, typ string, data []byte) error {
	t, err := keyType(typ)
	if err != nil {
		return err
	}
	v, err := tlv.Find(data, iotsafe.TagPublicKey)
	if err != nil {
		return err
	}
	s.keys[name], err = profile.ParsePublic(t, v)
	return err
}

func iotKey(d *Dialogue, a []string) error {
	tag, _, rest, err := tlv.Next(d.data)
	if err != nil || tag != iotsafe.TagPublicKey || len(rest) > 0 {
		return errors.New("the data is not one object with tag 34")
	}
	return d.iotNow().learn(a[0], a[1], d.data)
}

func iotPair(d *Dialogue, a []string) error {
	r := tlv.Read(d.data)
	for _, want := range []struct {
		tag   tlv.Tag
		value string
	}{{iotsafe.TagPrivateID, a[0]}, {iotsafe.TagPublicID, a[1]}, {iotsafe.TagPublicKey, ""}} {
		if !r.Next() || r.Tag != want.tag || want.value != "" && upper(r.Value) != want.value {
			return fmt.Errorf("tag %02X %s is not where it belongs", uint32(want.tag), want.value)
		}
	}
	if r.Next() || r.Err() != nil {
		return errors.New("there is more than identifiers and public key")
	}
	return d.iotNow().learn(a[2], a[3], d.data)
}

func (d *Dialogue) iotEqual(a []string) (bool, error) {
	x, err := d.iotNow().key(a[0])
	if err != nil {
		return false, err
	}
	y, err := d.iotNow().key(a[1])
	return bytes.Equal(profile.EncodePublic(x), profile.EncodePublic(y)), err
}

func iotDiffers(d *Dialogue, a []string) error {
	if same, err := d.iotEqual(a); err != nil || same {
		return errors.Join(err, errors.New("they are the same"))
	}
	return nil
}

func iotSame(d *Dialogue, a []string) error {
	if same, err := d.iotEqual(a); err != nil || !same {
		return errors.Join(err, errors.New("they differ"))
	}
	return nil
}

var iotHashes = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

func hashed(name, text string) (h crypto.Hash, digest []byte, err error) {
	h, ok := iotHashes[name]
	if !ok {
		return h, nil, fmt.Errorf("%q is none of sha256, sha384, sha512", name)
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return h, nil, err
	}
	x := h.New()
	x.Write(b)
	return h, x.Sum(nil), nil
}

func iotSigned(d *Dialogue, a []string, pss bool) error {
	k, err := d.iotNow().key(a[0])
	if err != nil {
		return err
	}
	h, digest, err := hashed(a[1], a[2])
	if err != nil {
		return err
	}
	tag, sig, rest, err := tlv.Next(d.data)
	if err != nil || tag != iotsafe.TagSignature || len(rest) > 0 {
		return errors.New("the data is not one object with tag 33")
	}
	switch k := k.(type) {
	case *rsa.PublicKey:
		if pss {
			return rsa.VerifyPSS(k, h, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.VerifyPKCS1v15(k, h, digest, sig)
	}
	curve, point := profile.Point(k)
	if curve == nil {
		return fmt.Errorf("no signatures are verified with a %T", k)
	}
	if n := curve.OrderSize(); len(sig) != 2*n {
		return fmt.Errorf("the signature has %d bytes, r and s have %d", len(sig), 2*n)
	}
	if good, err := std.Verify(curve.ID, point, digest, sig); err != nil || !good {
		return errors.Join(err, errors.New("the signature is not right"))
	}
	return nil
}

func iotDigest(d *Dialogue, a []string) error {
	_, digest, err := hashed(a[0], a[1])
	d.vars["digest"] = upper(digest)
	return err
}

func iotLast(d *Dialogue, a []string) error {
	h, ok := iotHashes[a[0]]
	if !ok {
		return fmt.Errorf("%q is no hash", a[0])
	}
	text, err := hex.DecodeString(a[1])
	if err != nil {
		return err
	}
	x := h.New()
	n := (len(text) - 1) / x.BlockSize() * x.BlockSize()
	x.Write(text[:n])
	b, err := x.(encoding.BinaryMarshaler).MarshalBinary() // 4 bytes that name it, then the value
	if err != nil {
		return err
	}
	size := 64
	if h == crypto.SHA256 {
		size = 32
	}
	d.vars["block"], d.vars["state"], d.vars["count"] = upper(text[n:]), upper(b[4:4+size]), fmt.Sprintf("%08X", n)
	return nil
}

func iotPeer(d *Dialogue, a []string) error {
	c := map[string]*ec.Curve{"p256": ec.P256, "p384": ec.P384, "brainpoolP256r1": ec.BrainpoolP256r1}[a[0]]
	if c == nil {
		return fmt.Errorf("%q is none of p256, p384, brainpoolP256r1", a[0])
	}
	seed := make([]byte, c.OrderSize()+8)
	_, _ = rand.Read(seed)
	k, err := std.NewKey(c.ID, c.Scalar(seed))
	if err != nil {
		return err
	}
	d.iotNow().peer = k
	point, err := k.Public()
	if err != nil {
		return err
	}
	b := profile.EncodePublic(&profile.ECPublicKey{Curve: c, Point: point})
	d.vars["peer"] = upper(b)
	b[len(b)-1] ^= 1
	d.vars["off"] = upper(b)
	return nil
}

func iotPeerSigns(d *Dialogue, a []string) error {
	k := d.iotNow().peer
	if k == nil {
		return errors.New("no iot_peer before")
	}
	_, digest, err := hashed(a[0], a[1])
	if err != nil {
		return err
	}
	for _, name := range []string{"signature", "wrong"} {
		sig, err := k.Sign(digest)
		if err != nil {
			return err
		}
		d.vars[name] = upper(sig)
		digest[0] ^= 1
	}
	return nil
}

func iotShared(d *Dialogue, a []string) error {
	k, err := d.iotNow().key(a[0])
	if err != nil {
		return err
	}
	peer := d.iotNow().peer
	curve, point := profile.Point(k)
	if peer == nil || curve != peer.Curve() {
		return errors.New("no iot_peer before, or the key is not on its curve")
	}
	want, err := peer.ECDH(point)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, d.data) {
		return errors.New("the peer has another secret")
	}
	return nil
}

// iotFile reads a whole file.
func (d *Dialogue) iotFile(id string) ([]byte, error) {
	b, err := hex.DecodeString(id)
	if err != nil {
		return nil, err
	}
	var all []byte
	for {
		c := append([]byte{0x80, iotsafe.ReadFile, byte(len(all) >> 8), byte(len(all)), byte(len(b) + 2), iotsafe.TagFileID, byte(len(b))}, b...)
		if err := d.transmit(append(c, 0xF0)); err != nil {
			return nil, err
		}
		if d.sw != 0x9000 {
			return nil, fmt.Errorf("file %s: status %04X", id, uint16(d.sw))
		}
		if len(d.data) == 0 {
			return all, nil
		}
		all = append(all, d.data...)
	}
}

func iotCertificate(d *Dialogue, a []string) error {
	var c [2]*x509.Certificate
	for i := range c {
		b, err := d.iotFile(a[i])
		if err != nil {
			return err
		}
		if c[i], err = x509.ParseCertificate(b); err != nil {
			return fmt.Errorf("file %s: %w", a[i], err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(c[1])
	if _, err := c[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return err
	}
	k, err := d.iotNow().key(a[2])
	if err != nil {
		return err
	}
	if !bytes.Equal(profile.EncodePublic(k), profile.EncodePublic(c[0].PublicKey)) {
		return errors.New("the certificate is for another key")
	}
	return nil
}

func iotList(d *Dialogue, a []string) error {
	var all []byte
	for p2 := byte(iotsafe.DataFirst); ; p2 = iotsafe.DataNext {
		if err := d.transmit([]byte{0x80, iotsafe.GetData, iotsafe.DataObjectList, p2, 0}); err != nil {
			return err
		}
		all = append(all, d.data...)
		if d.sw == 0x9000 {
			break
		}
		if d.sw != iotsafe.SWMoreData || len(d.data) == 0 {
			return fmt.Errorf("status %04X", uint16(d.sw))
		}
	}
	n := 0
	r := tlv.Read(all)
	for r.Next() {
		n++
		for k := profile.Private; k <= profile.File; k++ {
			if r.Tag != tlv.Tag(k.InfoTag()) {
				continue
			}
			id, err := tlv.Find(r.Value, tlv.Tag(k.IDTag()))
			if err != nil {
				return err
			}
			ref := tlv.Append(nil, tlv.Tag(k.IDTag()), id...)
			if err := d.transmit(append(append([]byte{0x80, iotsafe.GetData, k.InfoTag(), 0, byte(len(ref))}, ref...), 0)); err != nil {
				return err
			}
			if want := tlv.Append(nil, r.Tag, r.Value...); !bytes.Equal(want, d.data) {
				return fmt.Errorf("%s %X: the list has %X", k, id, want)
			}
		}
	}
	if r.Err() != nil {
		return r.Err()
	}
	if fmt.Sprint(n) != a[0] {
		return fmt.Errorf("%d objects", n)
	}
	return nil
}

func iotRandom(d *Dialogue, _ []string) error {
	before := bytes.Clone(d.data)
	if err := d.transmit([]byte{0x80, iotsafe.GetRandom, 0, 0, 0x20}); err != nil {
		return err
	}
	if len(before) != 32 || len(d.data) != 32 || bytes.Equal(before, d.data) {
		return fmt.Errorf("%X, then %X", before, d.data)
	}
	return nil
}
