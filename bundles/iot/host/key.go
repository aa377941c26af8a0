package host

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/tlv"
)

// PublicKey reads a public key: *ecdsa.PublicKey, *rsa.PublicKey, or of brainpool
// *profile.ECPublicKey.
func (a *Applet) PublicKey(ref Ref) (crypto.PublicKey, error) {
	o, err := a.Object(profile.Public, ref)
	if err != nil {
		return nil, err
	}
	b, err := a.command("READ PUBLIC KEY", iotsafe.ReadPublicKey, 0, 0, ref.add(nil, profile.Public))
	if err != nil {
		return nil, fmt.Errorf("public key %v: %w", ref, err)
	}
	return parsePublic(o.Type, b)
}

func parsePublic(keyType byte, b []byte) (crypto.PublicKey, error) {
	v, err := tlv.Find(b, iotsafe.TagPublicKey)
	if err != nil {
		return nil, err
	}
	return profile.ParsePublic(keyType, v)
}

// PutPublicKey stores a public key in a container that may be updated.
func (a *Applet) PutPublicKey(ref Ref, pub crypto.PublicKey) error {
	b := profile.EncodePublic(pub)
	if b == nil {
		return fmt.Errorf("PUT PUBLIC KEY: the applet has no keys of type %T", pub)
	}
	_, err := a.session("PUT PUBLIC KEY", iotsafe.PutPublicKeyInit, iotsafe.PutPublicKeyUpdate, ref.add(nil, profile.Public), tlv.Append(nil, iotsafe.TagPublicKey, b...))
	return err
}

// GenerateKeyPair has the applet make a new pair in the container of a private key, and
// gives its public key.
func (a *Applet) GenerateKeyPair(ref Ref) (crypto.PublicKey, error) {
	o, err := a.Object(profile.Private, ref)
	if err != nil {
		return nil, err
	}
	b, err := a.command("GENERATE KEY PAIR", iotsafe.GenerateKeyPair, 0, 0, ref.add(nil, profile.Private))
	if err != nil {
		return nil, fmt.Errorf("private key %v: %w", ref, err)
	}
	return parsePublic(o.Type, b)
}

// Key is a private key of the applet: a crypto.Signer, for crypto/tls, crypto/x509 (a
// certificate request, for example) and whoever takes one.
type Key struct {
	a      *Applet
	ref    Ref
	object Object
	public crypto.PublicKey
}

// Key is the private key in a container, with the public key of another.
func (a *Applet) Key(private, public Ref) (*Key, error) {
	o, err := a.Object(profile.Private, private)
	if err != nil {
		return nil, err
	}
	if !o.Active() {
		return nil, fmt.Errorf("private key %v: the container is empty (GENERATE KEY PAIR fills it)", private)
	}
	pub, err := a.PublicKey(public)
	if err != nil {
		return nil, err
	}
	return &Key{a, private, o, pub}, nil
}

// Public is the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Object tells the attributes of the key.
func (k *Key) Object() Object { return k.object }

// algorithms of a signature: its own and that of the hash.
func algorithms(pub crypto.PublicKey, opts crypto.SignerOpts) (sig, hash byte, err error) {
	switch opts.HashFunc() {
	case crypto.SHA256:
		hash = iotsafe.SHA256
	case crypto.SHA384:
		hash = iotsafe.SHA384
	case crypto.SHA512:
		hash = iotsafe.SHA512
	default:
		return 0, 0, fmt.Errorf("the applet has no %v", opts.HashFunc())
	}
	if c, _ := profile.Point(pub); c != nil {
		return iotsafe.ECDSA, hash, nil
	}
	if o, ok := opts.(*rsa.PSSOptions); ok {
		if o.SaltLength != rsa.PSSSaltLengthEqualsHash && o.SaltLength != rsa.PSSSaltLengthAuto && o.SaltLength != o.Hash.Size() {
			return 0, 0, errors.New("the applet takes a salt as long as the hash")
		}
		return iotsafe.RSAPSS, hash, nil
	}
	return iotsafe.RSAPKCS1, hash, nil
}

// signature are the parameters of a signature, in the mode in which all was hashed
// outside.
func signature(ref Ref, k profile.Kind, sig, hash byte) []byte {
	b := ref.add(nil, k)
	b = tlv.Append(b, iotsafe.TagMode, iotsafe.PadAndSign)
	b = tlv.Append(b, iotsafe.TagHash, 0, hash)
	return tlv.Append(b, iotsafe.TagSignatureAlg, sig)
}

// Sign signs a digest: in the form of ASN.1 with ECDSA, as crypto/ecdsa does. The random
// bytes are the applet's.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, hash, err := algorithms(k.public, opts)
	if err != nil {
		return nil, err
	}
	if len(digest) != opts.HashFunc().Size() {
		return nil, fmt.Errorf("the digest has %d bytes, %v has %d", len(digest), opts.HashFunc(), opts.HashFunc().Size())
	}
	b, err := k.a.session("COMPUTE SIGNATURE", iotsafe.ComputeSignatureInit, iotsafe.ComputeSignatureUpdate,
		signature(k.ref, profile.Private, sig, hash), tlv.Append(nil, iotsafe.TagDigest, digest...))
	if err != nil {
		return nil, fmt.Errorf("private key %v: %w", k.ref, err)
	}
	raw, err := signatureValue(b)
	if err != nil {
		return nil, err
	}
	curve, _ := profile.Point(k.public)
	if curve == nil {
		return raw, nil
	}
	n := curve.OrderSize()
	if len(raw) != 2*n { // some applets give it in the form of ASN.1
		if len(raw) > 0 && raw[0] == 0x30 {
			return raw, nil
		}
		return nil, fmt.Errorf("COMPUTE SIGNATURE: a signature of %d bytes; %d are expected", len(raw), 2*n)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:n]), new(big.Int).SetBytes(raw[n:])})
}

// signatureValue takes the signature out of its data object, whose length applets write
// in the forms of BER or in two bytes.
func signatureValue(b []byte) ([]byte, error) {
	if len(b) > 3 && b[0] == iotsafe.TagSignature && int(b[1])<<8|int(b[2]) == len(b)-3 {
		return b[3:], nil
	}
	return tlv.Find(b, iotsafe.TagSignature)
}

// Verify has the applet check the signature of a digest with the public key in a
// container; sig is in the form of ASN.1 with ECDSA. The error is a *StatusError with
// 6D01 when it is not right.
func (a *Applet) Verify(ref Ref, digest, sig []byte, opts crypto.SignerOpts) error {
	pub, err := a.PublicKey(ref)
	if err != nil {
		return err
	}
	alg, hash, err := algorithms(pub, opts)
	if err != nil {
		return err
	}
	if curve, _ := profile.Point(pub); curve != nil {
		var s struct{ R, S *big.Int }
		n := curve.OrderSize()
		if rest, err := asn1.Unmarshal(sig, &s); err != nil || len(rest) > 0 || s.R.Sign() < 0 || s.S.Sign() < 0 || s.R.BitLen() > 8*n || s.S.BitLen() > 8*n {
			return &StatusError{"VERIFY SIGNATURE UPDATE", iotsafe.SWMismatch}
		}
		sig = append(s.R.FillBytes(make([]byte, n)), s.S.FillBytes(make([]byte, n))...)
	}
	data := tlv.Append(tlv.Append(nil, iotsafe.TagDigest, digest...), iotsafe.TagSignature, sig...)
	_, err = a.session("VERIFY SIGNATURE", iotsafe.VerifySignatureInit, iotsafe.VerifySignatureUpdate, signature(ref, profile.Public, alg, hash), data)
	return err
}

// ECDH computes a shared secret with the private key in a container and the public key
// of a peer, *ecdsa.PublicKey or *profile.ECPublicKey, which is stored in another
// container for that.
func (a *Applet) ECDH(private, container Ref, peer crypto.PublicKey) ([]byte, error) {
	if err := a.PutPublicKey(container, peer); err != nil {
		return nil, err
	}
	data := container.add(private.add(nil, profile.Private), profile.Public)
	return a.command("COMPUTE DH", iotsafe.ComputeDH, 0, 0, data)
}

// AgreeWith is ECDH for the keys of crypto/ecdh.
func (a *Applet) AgreeWith(private, container Ref, peer *ecdh.PublicKey) ([]byte, error) {
	var curve elliptic.Curve
	switch peer.Curve() {
	case ecdh.P256():
		curve = elliptic.P256()
	case ecdh.P384():
		curve = elliptic.P384()
	default:
		return nil, fmt.Errorf("COMPUTE DH: the applet has no curve %v", peer.Curve())
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, peer.Bytes())
	if err != nil {
		return nil, err
	}
	return a.ECDH(private, container, pub)
}

// PRF is that of TLS 1.2 with SHA-256 (RFC 5246 clause 5), for a secret of the device.
func (a *Applet) PRF(secret []byte, label string, seed []byte, n int) ([]byte, error) {
	return a.prf(iotsafe.PRFGeneral, tlv.Append(nil, iotsafe.TagSecret, secret...), label, seed, n)
}

// PRFWithPSK is PRF with the premaster secret of a pre-shared key in a container (RFC
// 4279 clause 2); with the result of ECDH, if it is not nil (RFC 5489 clause 2).
func (a *Applet) PRFWithPSK(psk Ref, ecdhe []byte, label string, seed []byte, n int) ([]byte, error) {
	data, mode := psk.add(nil, profile.Secret), byte(iotsafe.PRFPSK)
	if ecdhe != nil {
		data, mode = tlv.Append(data, iotsafe.TagPremaster, ecdhe...), iotsafe.PRFPSKECDHE
	}
	return a.prf(mode, data, label, seed, n)
}

func (a *Applet) prf(mode byte, data []byte, label string, seed []byte, n int) ([]byte, error) {
	if n < 1 || n > 255 {
		return nil, errors.New("COMPUTE PRF gives 1 to 255 bytes")
	}
	data = tlv.Append(data, iotsafe.TagLabelSeed, append([]byte(label), seed...)...)
	return a.command("COMPUTE PRF", iotsafe.ComputePRF, mode, 0, tlv.Append(data, iotsafe.TagLength, byte(n)))
}

// Extract is HKDF-Extract (RFC 5869 2.2) of a secret of the device. Expand needs no
// secret of the applet: crypto/hkdf does it.
func (a *Applet) Extract(h crypto.Hash, secret, salt []byte) ([]byte, error) {
	return a.extract(h, tlv.Append(nil, iotsafe.TagSecret, secret...), salt)
}

// ExtractPSK is Extract of a pre-shared key in a container.
func (a *Applet) ExtractPSK(h crypto.Hash, psk Ref, salt []byte) ([]byte, error) {
	return a.extract(h, psk.add(nil, profile.Secret), salt)
}

func (a *Applet) extract(h crypto.Hash, data, salt []byte) ([]byte, error) {
	_, alg, err := algorithms(nil, h)
	if err != nil {
		return nil, err
	}
	data = tlv.Append(data, iotsafe.TagSalt, salt...)
	return a.command("COMPUTE HKDF", iotsafe.ComputeHKDF, 0, 0, tlv.Append(data, iotsafe.TagHash, 0, alg))
}

// X509 reads a certificate in a file, DER.
func (a *Applet) X509(file Ref) (*x509.Certificate, error) {
	b, err := a.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("file %v: %w", file, err)
	}
	return c, nil
}

// Certificate is an identity for crypto/tls, for TLS 1.2 and 1.3, of a client or a
// server: the key stays in the applet, the certificates come from its files, the
// identity's own first.
func (a *Applet) Certificate(k *Key, files ...Ref) (c tls.Certificate, err error) {
	for i, f := range files {
		x, err := a.X509(f)
		if err != nil {
			return c, err
		}
		if i == 0 {
			if p, ok := k.public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(x.PublicKey) {
				return c, fmt.Errorf("file %v: the certificate is for another key than %v", f, k.ref)
			}
			c.Leaf = x
		}
		c.Certificate = append(c.Certificate, x.Raw)
	}
	if c.Leaf == nil {
		return c, errors.New("an identity needs a certificate")
	}
	c.PrivateKey = k
	return c, nil
}
