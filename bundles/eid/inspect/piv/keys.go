package piv

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"math/big"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// algorithm of a key as GENERAL AUTHENTICATE names it (SP 800-78-4 table 6-2; from vendors
// the longer ones of RSA); 0: there is none.
func algorithm(k pki.PublicKey) byte {
	switch {
	case k.Curve == ec.P256:
		return 0x11
	case k.Curve == ec.P384:
		return 0x14
	case k.Curve != nil:
		return 0
	}
	return map[int]byte{1024: 0x06, 2048: 0x07, 3072: 0x05, 4096: 0x16}[k.Bits()]
}

// possession challenges every key whose certificate is there (part 2 appendix A): a card
// that is a copy has the certificates, but not the keys.
func (s *inspection) possession(ctx context.Context) error {
	for _, k := range s.slots {
		name, clause := k.name+": possession", "SP 800-73-4 part 2 appendix A.2, A.4"
		switch {
		case k.ref != 0x9E && !s.verified:
			s.r.NotDone(name, clause, "the key needs the PIN")
			continue
		case algorithm(k.cert.Key) == 0:
			s.r.NotDone(name, clause, "%s is no algorithm of PIV", k.cert.Key)
			continue
		}
		if k.ref == 0x9C { // always: the PIN once more
			v := append([]byte(s.PIN), "\xFF\xFF"...)[:8]
			if _, _, err := s.send(ctx, 0, 0x20, 0, 0x80, v, false); err != nil {
				return err
			}
		}
		var err error
		switch {
		case k.ref != 0x9D && k.ref >= 0x96:
			err = s.signs(ctx, k)
		case k.cert.Key.Curve != nil:
			err = s.agrees(ctx, k)
		default:
			err = s.deciphers(ctx, k)
		}
		var refused *refusal
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		s.r.Is(err, name, clause, "the card has the private key of the certificate")
	}
	return nil
}

// refusal is an answer of the card that proves nothing.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

// authenticate is GENERAL AUTHENTICATE with one object, and gives the response (82).
func (s *inspection) authenticate(ctx context.Context, k slot, tag tlv.Tag, v []byte) ([]byte, error) {
	data := tlv.Append(tlv.Append(nil, 0x82), tag, v...)
	b, sw, err := s.send(ctx, 0, 0x87, algorithm(k.cert.Key), k.ref, tlv.Append(nil, 0x7C, data...), true)
	if err != nil {
		return nil, err
	}
	if sw != apdu.OK {
		return nil, &refusal{"GENERAL AUTHENTICATE: " + status(sw)}
	}
	r, err := tlv.Path(b, 0x7C, 0x82)
	if err != nil {
		return nil, &refusal{"the answer is no template 7C with a response (82)"}
	}
	return r, nil
}

func (s *inspection) random(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(s.Random, b)
	return b, err
}

var errWrong = &refusal{"the answer was not made with the private key of the certificate: the card is a copy, or the certificate is for another key"}

// signs has the key sign random octets.
func (s *inspection) signs(ctx context.Context, k slot) error {
	message, err := s.random(32)
	if err != nil {
		return err
	}
	a := pki.Algorithm{Scheme: pki.ECDSA, Hash: crypto.SHA256}
	if k.cert.Key.Curve == ec.P384 {
		a.Hash = crypto.SHA384
	}
	challenge := sum(a.Hash, message)
	if k.cert.Key.Curve == nil {
		a.Scheme = pki.RSA
		// DigestInfo of SHA-256 (RFC 8017 9.2 note 1) behind padding.
		info := append([]byte{0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, challenge...)
		challenge = bytes.Repeat([]byte{0xFF}, len(k.cert.Key.RSA.Modulus))
		challenge[0], challenge[1], challenge[len(challenge)-len(info)-1] = 0, 1, 0
		copy(challenge[len(challenge)-len(info):], info)
	}
	sig, err := s.authenticate(ctx, k, 0x81, challenge)
	if err != nil {
		return err
	}
	if k.cert.Key.Verify(a, message, sig) != nil {
		return errWrong
	}
	return nil
}

// agrees has the key agree with a key of ours (ECDH).
func (s *inspection) agrees(ctx context.Context, k slot) error {
	c := k.cert.Key.Curve
	seed, err := s.random(c.OrderSize() + 8)
	if err != nil {
		return err
	}
	own := c.Scalar(seed)
	point, err := c.Base(own)
	if err != nil {
		return err
	}
	want, err := c.SharedSecret(own, k.cert.Key.Point)
	if err != nil {
		return err
	}
	got, err := s.authenticate(ctx, k, 0x85, point.Bytes())
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errWrong
	}
	return nil
}

// deciphers has the key decipher what was enciphered with the certificate (RSA).
func (s *inspection) deciphers(ctx context.Context, k slot) error {
	n := len(k.cert.Key.RSA.Modulus)
	plain, err := s.random(n)
	if err != nil {
		return err
	}
	plain[0] = 0
	mod := new(big.Int).SetBytes(k.cert.Key.RSA.Modulus)
	x := new(big.Int).Exp(new(big.Int).SetBytes(plain), new(big.Int).SetBytes(k.cert.Key.RSA.Exponent), mod)
	got, err := s.authenticate(ctx, k, 0x81, x.FillBytes(make([]byte, n)))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, plain) {
		return errWrong
	}
	return nil
}

// attestation asks for the certificates that say that keys were made on the card (vendor);
// the certificate of the attesting key is object 5FFF01.
func (s *inspection) attestation(ctx context.Context) error {
	const clause = "vendor (unverified)"
	if err := s.read(ctx, 0x5FFF01, "Attestation certificate", false); err != nil {
		return err
	}
	v, ok := s.objects[0x5FFF01]
	if !ok {
		return nil
	}
	above, err := parseContainer(v)
	if !s.r.Is(err, "Attestation certificate", clause, "the card has a key that attests others: %s", subjectOf(above)) {
		return nil
	}
	for _, k := range slotNames {
		b, sw, err := s.send(ctx, 0, 0xF9, k.ref, 0, nil, true)
		if err != nil {
			return err
		}
		if sw != apdu.OK { // no key there, or one that was brought in
			continue
		}
		name := k.name + ": attestation"
		c, err := pki.ParseCertificate(b)
		if err == nil {
			err = c.SignedBy(above)
		}
		if err != nil {
			s.r.Fail(name, clause, "%s", why(err))
			continue
		}
		s.r.Pass(name, clause, "the key (%s) was made on the card", c.Key)
		for _, have := range s.slots {
			if have.ref == k.ref && !have.cert.Key.Equal(c.Key) {
				s.r.Fail(name, clause, "the certificate of the slot is for another key than the one on the card")
			}
		}
	}
	return nil
}
