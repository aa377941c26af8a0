package mrtd

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pace"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// algs are the ciphers of secure messaging.
var algs = map[lds.Cipher]sm.Alg{lds.TDES: sm.TDES, lds.AES128: sm.AES128, lds.AES192: sm.AES192, lds.AES256: sm.AES256}

// bac is basic access control (Doc 9303-11 4.3).
func (s *inspection) bac(ctx context.Context) error {
	const clause = "Doc 9303-11 4.3"
	hash := sha1.Sum([]byte(s.Passwords.MRZ))
	kenc, kmac := sm.KDF(sm.TDES, hash[:16], 1, nil), sm.KDF(sm.TDES, hash[:16], 2, nil)
	challenge := command(0, 0x84, 0, 0, nil, 8)
	before, err := s.ch.must(ctx, "GET CHALLENGE", challenge)
	if err != nil {
		return err
	}
	ic, err := s.ch.must(ctx, "GET CHALLENGE", challenge)
	if err != nil {
		return err
	}
	if len(ic) != 8 {
		return fmt.Errorf("GET CHALLENGE gives %d octets, eight are the challenge", len(ic))
	}
	if constant(before, ic) {
		s.r.Fail(nameBACChallenge, "Doc 9303-11 4.3.1", "the chip gives the same challenge twice, so that a recorded session can be played again")
	} else {
		s.r.Pass(nameBACChallenge, "Doc 9303-11 4.3.1", "two challenges of the chip differ")
	}
	own := make([]byte, 8+16)
	if _, err := io.ReadFull(s.Random, own); err != nil {
		return err
	}
	ifd, kifd := own[:8], own[8:]
	e, err := pace.CBC(sm.TDES, kenc, nil, slices.Concat(ifd, ic, kifd), false)
	if err != nil {
		return err
	}
	m := sm.MAC(sm.TDES, kmac, e)
	answer, sw, err := s.ch.send(ctx, command(0, 0x82, 0, 0, append(e, m...), 40))
	switch {
	case err != nil:
		return err
	case sw == 0x6300 || sw == 0x6982 || sw == 0x6988 || sw&0xFFF0 == 0x63C0:
		return fmt.Errorf("%w: the chip does not accept it (%04X): the MRZ information is not that of this document", errPassword, uint16(sw))
	case sw != 0x9000:
		return &statusError{"EXTERNAL AUTHENTICATE", sw}
	case len(answer) != 40:
		return fmt.Errorf("EXTERNAL AUTHENTICATE answers %d octets, 40 are right (%s.2)", len(answer), clause)
	}
	if subtle.ConstantTimeCompare(sm.MAC(sm.TDES, kmac, answer[:32]), answer[32:]) != 1 {
		return errors.New("the MAC of the chip's answer is wrong: the chip does not know the MRZ information")
	}
	r, err := pace.CBC(sm.TDES, kenc, nil, answer[:32], true)
	if err != nil {
		return err
	}
	if !bytes.Equal(r[:8], ic) || !bytes.Equal(r[8:16], ifd) {
		return errors.New("the chip's answer does not hold both challenges")
	}
	seed := make([]byte, 16)
	subtle.XORBytes(seed, kifd, r[16:])
	s.ch.secure(sm.TDES, sm.KDF(sm.TDES, seed, 1, nil), sm.KDF(sm.TDES, seed, 2, nil), slices.Concat(ic[4:], ifd[4:]))
	s.id = []byte(idIC(s.Passwords.MRZ))
	return nil
}

// idIC is what terminal authentication knows the chip by after BAC: document number with
// its check digit (TR-03110-1 3.5.1).
func idIC(mrz string) string {
	if len(mrz) < 24 {
		return ""
	}
	return mrz[:len(mrz)-14]
}

// Checks of what has to be fresh.
const (
	namePACENonce    = "PACE: nonce"
	nameBACChallenge = "BAC: challenge"
)

var errPassword = errors.New("wrong password")

// References of passwords (Doc 9303-11 4.4.4.1).
const (
	refMRZ byte = 1
	refCAN byte = 2
	refPIN byte = 3
)

// password is what PACE is done with.
func (p *Passwords) password() (ref byte, name string, secret []byte) {
	switch {
	case p.CAN != "":
		return refCAN, "CAN", []byte(p.CAN)
	case p.PIN != "":
		return refPIN, "PIN", []byte(p.PIN)
	}
	h := sha1.Sum([]byte(p.MRZ))
	return refMRZ, "MRZ", h[:]
}

// strength orders what a chip offers: CAM before GM before IM, longer keys first.
func strength(i *lds.SecurityInfo) int {
	n := int(i.Protocol.Cipher) * 10
	if c, ok := ec.ByID(i.Parameters); ok {
		n += c.Size * 100
	}
	switch i.Protocol.Mapping {
	case lds.ChipAuthentication:
		n += 100000
	case lds.Generic:
		n += 5
	}
	return n
}

// choose is the way to do PACE: the one of that name, or the strongest that this
// inspection system can do; nil: there is none.
func choose(infos []lds.SecurityInfo, name string) (*lds.SecurityInfo, error) {
	var best *lds.SecurityInfo
	var all []string
	for i := range infos {
		x := &infos[i]
		if x.Protocol == nil || x.Protocol.Kind != lds.KindPACE {
			continue
		}
		c, ok := ec.ByID(x.Parameters)
		if !ok {
			all = append(all, fmt.Sprintf("%s with parameters %d", x.Protocol.Name, x.Parameters))
			continue
		}
		full := x.Protocol.Name + " " + c.Name
		all = append(all, full)
		if x.Protocol.Agreement != lds.ECDH || name != "" && !matches(full, name) {
			continue
		}
		if best == nil || strength(x) > strength(best) {
			best = x
		}
	}
	if best == nil && name != "" {
		return nil, fmt.Errorf("the chip offers no PACE of that name (%s); it has: %s", name, strings.Join(all, "; "))
	}
	if best == nil && len(all) > 0 {
		return nil, fmt.Errorf("the chip offers PACE only in ways that this inspection system cannot do: %s", strings.Join(all, "; "))
	}
	return best, nil
}

// matches tells whether every word of name is in full: "gm brainpoolP256r1", "CAM".
func matches(full, name string) bool {
	full = strings.ToLower(strings.ReplaceAll(full, "-", " "))
	parts := strings.Fields(full)
	for _, w := range strings.Fields(strings.ToLower(strings.ReplaceAll(name, "-", " "))) {
		if !slices.Contains(parts, w) {
			return false
		}
	}
	return true
}

// general is one GENERAL AUTHENTICATE of PACE or chip authentication: the object in 7C
// that is sent, and those that come back.
func (s *inspection) general(ctx context.Context, what string, last bool, data []byte) ([]byte, error) {
	cla := byte(0x10)
	if last {
		cla = 0
	}
	out := tlv.Append(nil, 0x7C, data...)
	answer, sw, err := s.ch.send(ctx, command(cla, 0x86, 0, 0, out, 0))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case sw == 0x6300 || sw == 0x63C0 || sw == 0x63C1 || sw == 0x63C2:
		return nil, fmt.Errorf("%w: %s: the chip answers %04X", errPassword, what, uint16(sw))
	case sw != 0x9000:
		return nil, &statusError{what, sw}
	}
	v, err := tlv.Find(answer, 0x7C)
	if err != nil {
		return nil, fmt.Errorf("%s: the answer has no dynamic authentication data 7C", what)
	}
	return v, nil
}

func object(v []byte, t tlv.Tag, what string) ([]byte, error) {
	b, err := tlv.Find(v, t)
	if err != nil {
		return nil, fmt.Errorf("%s: data object %02X is not in the answer", what, uint32(t))
	}
	return b, nil
}

// scalar is a fresh private key on c.
func (s *inspection) scalar(c *ec.Curve) ([]byte, error) {
	seed := make([]byte, c.OrderSize()+8)
	if _, err := io.ReadFull(s.Random, seed); err != nil {
		return nil, err
	}
	return c.Scalar(seed), nil
}

// pace is password authenticated connection establishment (Doc 9303-11 4.4) in the way
// that info announces.
func (s *inspection) pace(ctx context.Context, info *lds.SecurityInfo, several bool) error {
	p := info.Protocol
	curve, _ := ec.ByID(info.Parameters)
	alg := algs[p.Cipher]
	ref, _, secret := s.Passwords.password()
	set := tlv.Append(nil, 0x80, p.OID...)
	set = tlv.Append(set, 0x83, ref)
	if several {
		set = tlv.Append(set, 0x84, byte(info.Parameters))
	}
	_, sw, err := s.ch.send(ctx, command(0, 0x22, 0xC1, 0xA4, set, -1))
	if err != nil {
		return err
	}
	if sw != 0x9000 && sw&0xFFF0 != 0x63C0 {
		return &statusError{"MSE:Set AT of PACE", sw}
	}
	if sw&0xFFF0 == 0x63C0 {
		s.r.Note("the chip has %d tries left for this password", sw&0xF)
	}

	v, err := s.general(ctx, "PACE: nonce", false, nil)
	if err != nil {
		return err
	}
	z, err := object(v, 0x80, "PACE: nonce")
	if err != nil {
		return err
	}
	nonce, err := pace.CBC(alg, sm.KDF(alg, secret, 3, nil), nil, z, true)
	if err != nil {
		return fmt.Errorf("PACE: nonce: %w", err)
	}
	weak := bytes.Count(nonce, []byte{0}) == len(nonce)

	generator, mapped, err := s.mapping(ctx, curve, p, alg, nonce)
	if err != nil {
		return err
	}
	private, err := s.scalar(curve)
	if err != nil {
		return err
	}
	own, err := curve.Mult(generator, private)
	if err != nil {
		return err
	}
	if v, err = s.general(ctx, "PACE: key agreement", false, tlv.Append(nil, 0x83, own.Bytes()...)); err != nil {
		return err
	}
	b, err := object(v, 0x84, "PACE: key agreement")
	if err != nil {
		return err
	}
	chip, err := curve.Parse(b)
	if err != nil {
		return fmt.Errorf("PACE: the chip's ephemeral public key: %w", err)
	}
	if bytes.Equal(chip.X(), own.X()) {
		return errors.New("PACE: the chip gives the terminal's own ephemeral public key back (Doc 9303-11 4.4.1: they have to differ)")
	}
	shared, err := curve.Mult(chip, private)
	if err != nil {
		return err
	}
	kenc, kmac := sm.KDF(alg, shared.X(), 1, nil), sm.KDF(alg, shared.X(), 2, nil)
	v, err = s.general(ctx, "PACE: mutual authentication", true, tlv.Append(nil, 0x85, pace.Token(alg, kmac, p.OID, chip)...))
	if err != nil {
		return err
	}
	t, err := object(v, 0x86, "PACE: mutual authentication")
	if err != nil {
		return err
	}
	if !bytes.Equal(t, pace.Token(alg, kmac, p.OID, own)) {
		return errors.New("PACE: the authentication token of the chip is wrong: it does not know the password")
	}
	if weak {
		s.r.Fail(namePACENonce, "Doc 9303-11 4.4.4", "the nonce is zero: it is not chosen at random, so that the password protects nothing")
	} else {
		s.r.Pass(namePACENonce, "Doc 9303-11 4.4.4", "it is not zero")
	}
	if p.Mapping == lds.ChipAuthentication {
		if c, err := object(v, 0x8A, "PACE-CAM"); err != nil {
			s.camWrong = err
		} else {
			s.cam, s.camWrong = openCAM(alg, kenc, c)
			s.camMapped, s.camCurve = mapped, curve
		}
	}
	s.ch.secure(alg, kenc, kmac, nil)
	s.id = chip.X()
	s.references(v)
	return nil
}

// references are the names of trust points that PACE gives (tags 87 and 88).
func (s *inspection) references(v []byte) {
	for _, t := range []tlv.Tag{0x87, 0x88} {
		if b, err := tlv.Find(v, t); err == nil && len(b) > 0 && len(b) <= 16 {
			s.cars = append(s.cars, string(b))
		}
	}
}

// mapping makes the generator of the nonce (Doc 9303-11 4.4.3.3); mapped is the chip's
// public key of it, which chip authentication mapping is about.
func (s *inspection) mapping(ctx context.Context, curve *ec.Curve, p *lds.Protocol, alg sm.Alg, nonce []byte) (generator, mapped ec.Point, err error) {
	if p.Mapping == lds.Integrated {
		t := make([]byte, alg.KeySize())
		if _, err := io.ReadFull(s.Random, t); err != nil {
			return generator, mapped, err
		}
		if _, err := s.general(ctx, "PACE: integrated mapping", false, tlv.Append(nil, 0x81, t...)); err != nil {
			return generator, mapped, err
		}
		generator, err = pace.Integrated(curve, alg, nonce, t)
		return generator, mapped, err
	}
	private, err := s.scalar(curve)
	if err != nil {
		return generator, mapped, err
	}
	own, err := curve.Base(private)
	if err != nil {
		return generator, mapped, err
	}
	v, err := s.general(ctx, "PACE: generic mapping", false, tlv.Append(nil, 0x81, own.Bytes()...))
	if err != nil {
		return generator, mapped, err
	}
	b, err := object(v, 0x82, "PACE: generic mapping")
	if err != nil {
		return generator, mapped, err
	}
	if mapped, err = curve.Parse(b); err != nil {
		return generator, mapped, fmt.Errorf("PACE: the chip's public key of the mapping: %w", err)
	}
	h, err := curve.Mult(mapped, private)
	if err != nil {
		return generator, mapped, err
	}
	if bytes.Count(nonce, []byte{0}) == len(nonce) { // of a weak chip
		return h, mapped, nil
	}
	g, err := curve.Base(nonce)
	if err != nil {
		return generator, mapped, err
	}
	generator, err = curve.Add(g, h)
	return generator, mapped, err
}

// openCAM decrypts the chip authentication data (Doc 9303-11 4.4.3.5).
func openCAM(alg sm.Alg, kenc, c []byte) ([]byte, error) {
	ff := bytes.Repeat([]byte{0xFF}, 16)
	iv, err := pace.CBC(alg, kenc, nil, ff, false)
	if err != nil {
		return nil, err
	}
	m, err := pace.CBC(alg, kenc, iv, c, true)
	if err != nil {
		return nil, err
	}
	data, ok := sm.Unpad(m)
	if !ok {
		return nil, errors.New("the chip authentication data are not padded as they have to be")
	}
	return data, nil
}
