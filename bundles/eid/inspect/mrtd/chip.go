package mrtd

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	_ "crypto/sha1" // hash functions of documents
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

const (
	nameCA = "Chip authentication"
	nameAA = "Active authentication"
)

// caChoice is a way to do chip authentication.
type caChoice struct {
	protocol *lds.Protocol
	id       int
	curve    *ec.Curve
	public   ec.Point
}

// caWays are the ways of data group 14, the strongest first.
func caWays(infos []lds.SecurityInfo) (best *caChoice, err error) {
	plain, _ := lds.ProtocolByOID(append([]byte("\x04\x00\x7F\x00\x07\x02\x02\x03\x02"), byte(lds.TDES)))
	announced := slices.ContainsFunc(infos, func(i lds.SecurityInfo) bool { return i.Protocol != nil && i.Protocol.Kind == lds.KindCA })
	for i := range infos {
		k := &infos[i]
		if k.Protocol == nil || k.Protocol.Kind != lds.KindPublicKey {
			continue
		}
		if k.Protocol.Agreement != lds.ECDH {
			err = errors.New("the chip has a DH key, which this inspection system cannot use")
			continue
		}
		key, kerr := publicKey(k.PublicKey)
		point, ok := key.(ec.Point)
		if kerr != nil || !ok {
			err = fmt.Errorf("public key of chip authentication in DG14: %w", errors.Join(kerr, errors.New("it is none on a known curve")))
			continue
		}
		found := false
		for j := range infos {
			p := infos[j].Protocol
			if p == nil || p.Kind != lds.KindCA || p.Agreement != lds.ECDH || infos[j].KeyID != k.KeyID {
				continue
			}
			found = true
			if best == nil || p.Cipher > best.protocol.Cipher {
				best = &caChoice{p, k.KeyID, point.Curve(), point}
			}
		}
		if !found && best == nil && !announced { // older documents: 3DES (TR-03110-3 A.1.1.2)
			best = &caChoice{&plain, k.KeyID, point.Curve(), point}
		}
	}
	return best, err
}

// chipAuthentication proves that the chip has the private key of data group 14, and
// restarts secure messaging (Doc 9303-11 6.2).
func (s *inspection) chipAuthentication(ctx context.Context, infos []lds.SecurityInfo) (failed error) {
	const clause = "Doc 9303-11 6.2"
	w, err := caWays(infos)
	switch {
	case w == nil && err != nil:
		s.r.NotDone(nameCA, clause, "%s", err)
		return nil
	case w == nil:
		s.r.NotDone(nameCA, clause, "DG14 has no key for it")
		return nil
	}
	private, err := s.scalar(w.curve)
	if err != nil {
		return err
	}
	own, err := w.curve.Base(private)
	if err != nil {
		return err
	}
	shared, err := w.curve.Mult(w.public, private)
	if err != nil {
		s.r.Fail(nameCA, clause, "%s", err)
		return err
	}
	alg := algs[w.protocol.Cipher]
	reference := func(b []byte) []byte {
		if w.id >= 0 {
			id := big.NewInt(int64(w.id)).Bytes()
			if len(id) == 0 {
				id = []byte{0}
			}
			b = tlv.Append(b, 0x84, id...)
		}
		return b
	}
	if w.protocol.Cipher == lds.TDES {
		_, err = s.ch.must(ctx, "MSE:Set KAT of chip authentication", command(0, 0x22, 0x41, 0xA6, reference(tlv.Append(nil, 0x91, own.Bytes()...)), -1))
	} else {
		if _, err = s.ch.must(ctx, "MSE:Set AT of chip authentication", command(0, 0x22, 0x41, 0xA4, reference(tlv.Append(nil, 0x80, w.protocol.OID...)), -1)); err == nil {
			_, err = s.general(ctx, "GENERAL AUTHENTICATE of chip authentication", true, tlv.Append(nil, 0x80, own.Bytes()...))
		}
	}
	if err != nil {
		s.r.Fail(nameCA, clause, "%s", err)
		return err
	}
	s.ch.secure(alg, sm.KDF(alg, shared.X(), 1, nil), sm.KDF(alg, shared.X(), 2, nil), nil)
	s.ephemeral = own.X()
	// The first protected answer shows that the chip has the key.
	if _, err := s.ch.file(ctx, lds.FIDCOM, false); err != nil && !errors.Is(err, errAbsent) && !errors.Is(err, errRefused) {
		s.r.Fail(nameCA, clause, "the chip does not speak with the key that follows from its public key in DG14: it is a copy (%s)", err)
		return err
	}
	s.r.Pass(nameCA, clause, "the chip has the private key of DG14 on %s; secure messaging goes on with %s", w.curve.Name, w.protocol.Name)
	return nil
}

// camCheck verifies the chip authentication data of PACE-CAM with the public key of
// EF.CardSecurity (Doc 9303-11 4.4.3.5.2).
func (s *inspection) camCheck(infos []lds.SecurityInfo, err error) {
	const name, clause = "PACE: chip authentication mapping", "Doc 9303-11 4.4.3.5.2"
	switch {
	case s.camCurve == nil && s.camWrong == nil:
		return
	case s.camWrong != nil:
		s.r.Fail(name, clause, "%s", s.camWrong)
		return
	case err != nil:
		s.r.Fail(name, clause, "EF.CardSecurity, which has the public key: %s", err)
		return
	}
	var last error = errors.New("EF.CardSecurity has no public key on the curve of PACE")
	for i := range infos {
		if p := infos[i].Protocol; p == nil || p.Kind != lds.KindPublicKey {
			continue
		}
		key, err := publicKey(infos[i].PublicKey)
		point, ok := key.(ec.Point)
		if err != nil || !ok || point.Curve() != s.camCurve {
			continue
		}
		q, err := s.camCurve.Mult(point, s.cam)
		if err == nil && q.Equal(s.camMapped) {
			s.r.Pass(name, clause, "the chip has the private key of EF.CardSecurity: it is the chip that was issued")
			return
		}
		last = errors.New("the chip does not have the private key of EF.CardSecurity: it is a copy")
	}
	s.r.Fail(name, clause, "%s", last)
}

// hashes are hash functions by what lds calls them.
var hashes = map[int]crypto.Hash{1: crypto.SHA1, 224: crypto.SHA224, 256: crypto.SHA256, 384: crypto.SHA384, 512: crypto.SHA512}

// activeAuthentication proves that the chip has the private key of data group 15 (Doc
// 9303-11 6.1).
func (s *inspection) activeAuthentication(ctx context.Context, dg15 []byte, infos []lds.SecurityInfo) error {
	const clause = "Doc 9303-11 6.1"
	spki, err := lds.ParseDG15(dg15)
	if err != nil {
		s.r.Fail(nameAA, clause, "%s", err)
		return nil
	}
	key, err := publicKey(spki)
	if err != nil {
		s.r.Fail(nameAA, clause, "public key in DG15: %s", err)
		return nil
	}
	challenge := make([]byte, 8)
	if _, err := io.ReadFull(s.Random, challenge); err != nil {
		return err
	}
	le := 0
	if s.ch.extended > 0 {
		le = min(s.ch.extended, 65536)
	}
	signature, err := s.ch.must(ctx, "INTERNAL AUTHENTICATE", command(0, 0x88, 0, 0, challenge, le))
	if err != nil {
		s.r.Fail(nameAA, clause, "%s", err)
		if s.ch.sm == nil && s.secured {
			return err
		}
		return nil
	}
	const copied = "the chip does not have the private key of DG15: it is a copy"
	switch k := key.(type) {
	case *rsa.PublicKey:
		hash, err := verify9796(k, signature, challenge)
		if err != nil {
			s.r.Fail(nameAA, "Doc 9303-11 6.1.2.2; ISO/IEC 9796-2 8", "%s: %s", copied, err)
			return nil
		}
		s.r.Pass(nameAA, clause, "the chip signed a fresh challenge with the RSA key of DG15, %d bits, %s", k.N.BitLen(), hash)
	case ec.Point:
		bits := 0
		for i := range infos {
			if p := infos[i].Protocol; p != nil && p.Kind == lds.KindAA {
				bits = lds.PlainECDSAHash(infos[i].Signature)
			}
		}
		note := ""
		if bits == 0 { // DG14 has to say it (Doc 9303-11 9.2.8); the size of the key otherwise
			bits = 256
			note = "; DG14 does not say with which hash"
		}
		h := hashes[bits].New()
		h.Write(challenge)
		n := len(signature) / 2
		if len(signature)%2 != 0 || n != k.Curve().OrderSize() {
			s.r.Fail(nameAA, "Doc 9303-11 6.1.2.3", "the signature has %d octets, r and s have %d each on %s", len(signature), k.Curve().OrderSize(), k.Curve().Name)
			return nil
		}
		if !k.Curve().Verify(k, h.Sum(nil), signature[:n], signature[n:]) {
			s.r.Fail(nameAA, "Doc 9303-11 6.1.2.3", copied)
			return nil
		}
		s.r.Pass(nameAA, clause, "the chip signed a fresh challenge with the key of DG15 on %s, %s%s", k.Curve().Name, hashes[bits], note)
	}
	return nil
}

// trailers of ISO/IEC 9796-2 with a hash identifier (ISO/IEC 10118-3) before CC.
var trailers = map[byte]crypto.Hash{0x33: crypto.SHA1, 0x34: crypto.SHA256, 0x35: crypto.SHA512, 0x36: crypto.SHA384, 0x38: crypto.SHA224}

// rsaPublic is a key with numbers.
func rsaPublic(k rsakey.PublicKey) (*rsa.PublicKey, error) {
	e := new(big.Int).SetBytes(k.Exponent)
	if !e.IsInt64() || e.Int64() > 1<<31-1 {
		return nil, errors.New("is an RSA key with a large exponent")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(k.Modulus), E: int(e.Int64())}, nil
}

// verify9796 verifies a signature of ISO/IEC 9796-2 scheme 1 with partial recovery over
// M1 || challenge.
func verify9796(k *rsa.PublicKey, signature, challenge []byte) (crypto.Hash, error) {
	if len(signature) != k.Size() {
		return 0, fmt.Errorf("the signature has %d octets, the key %d", len(signature), k.Size())
	}
	n := new(big.Int).SetBytes(signature)
	if n.Cmp(k.N) >= 0 {
		return 0, errors.New("the signature is larger than the modulus")
	}
	m := n.Exp(n, big.NewInt(int64(k.E)), k.N).FillBytes(make([]byte, k.Size()))
	hash, end := crypto.SHA1, len(m)-1
	switch m[len(m)-1] {
	case 0xBC:
	case 0xCC:
		end--
		var ok bool
		if hash, ok = trailers[m[end]]; !ok {
			return 0, fmt.Errorf("the trailer %02XCC names no hash function", m[end])
		}
	default:
		return 0, fmt.Errorf("the trailer %02X is neither BC nor CC", m[len(m)-1])
	}
	if m[0]&0xF0 != 0x60 && m[0]&0xF0 != 0x40 {
		return 0, fmt.Errorf("the header is %02X, 6A is right", m[0])
	}
	start := 1
	if m[0]&0x0F == 0x0B { // filling to the border
		start = bytes.IndexByte(m, 0xBA) + 1
	}
	if end-hash.Size() < start {
		return 0, errors.New("there is no room for a hash")
	}
	h := hash.New()
	h.Write(m[start : end-hash.Size()])
	h.Write(challenge)
	if !bytes.Equal(h.Sum(nil), m[end-hash.Size():end]) {
		return 0, errors.New("the hash is not that of the challenge")
	}
	return hash, nil
}
