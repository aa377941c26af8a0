// Package oda is offline data authentication: what card, issuer and terminal of EMV do
// with RSA.
//
//	CA key ──signs──> issuer certificate (90) ──signs──┬─> static application data (93)   SDA
//	                                                   └─> ICC certificate (9F46)
//	                                                          └─signs─> 9F4B   DDA, CDA
//	issue: IssuerCertificate.Sign ...      card: SignDynamic, SignCombined, DecipherPIN
//	terminal: RecoverIssuer, RecoverICC, VerifyStatic, VerifyDynamic, VerifyCombined, EncipherPIN
//
// A signature is one application of the private key to a block as long as the modulus
// (ISO/IEC 9796-2, annex A2.1): header 6A, data, SHA-1, trailer BC. Data that do not
// fit are hashed, and go beside it in clear: the remainder. Errors of recovery name the
// step of Book 2 that failed.
//
// The modular exponentiation is a parameter: the platform's, or Soft within the bundle.
// XDA, with elliptic curves, is not here: its text was not at hand.
//
// Sources: EMV 4.4 Book 2 clauses 5 to 7, annexes A2.1 and B2.1.
package oda

import (
	"crypto/sha1"

	"github.com/sspemu/sspemu/internal/rsakey"
)

// ModExp sets dst to base^exp mod m, big-endian; dst is as long as m.
type ModExp = rsakey.Power

// Soft is a ModExp without the platform.
func Soft(dst, base, exp, m []byte) error { return rsakey.ModExp(dst, base, exp, m) }

// Form of the blocks (annex A2.1 and the tables of clauses 5 and 6).
const (
	header  = 0x6A
	trailer = 0xBC
	filling = 0xBB

	formIssuer  = 0x02 // table 1
	formStatic  = 0x03 // table 3
	formICC     = 0x04 // table 10
	formDynamic = 0x05 // tables 14 and 17

	hashSHA1 = 0x01 // annex B3
	signRSA  = 0x01 // annex B2

	issuerFixed  = 36 // bytes of an issuer certificate beside the key
	iccFixed     = 42
	staticFixed  = 26
	dynamicFixed = 25
)

// Keys are those of package rsakey.
type (
	PublicKey  = rsakey.PublicKey
	PrivateKey = rsakey.PrivateKey
)

var errLength = rsakey.ErrLength

// NewPrivateKey is the key of the primes p > q with public exponent e.
func NewPrivateKey(p, q []byte, e uint32) (*PrivateKey, error) { return rsakey.New(p, q, e) }

// Hash is SHA-1 of the parts (annex B3.1).
func Hash(parts ...[]byte) (sum [20]byte) {
	h := sha1.New()
	for _, p := range parts {
		h.Write(p)
	}
	return [20]byte(h.Sum(nil))
}

// Defect is what is wrong with a certificate or signature on purpose.
type Defect string

// Defects, one for each check of a recovery.
const (
	NoDefect        Defect = ""
	WrongHeader     Defect = "header"
	WrongTrailer    Defect = "trailer"
	WrongFormat     Defect = "format"
	WrongHash       Defect = "hash"
	WrongAlgorithm  Defect = "algorithm"  // of the hash
	WrongKey        Defect = "key"        // algorithm of the key
	WrongIdentifier Defect = "identifier" // issuer identifier or PAN of somebody else
	WrongRemainder  Defect = "remainder"
	WrongLength     Defect = "length" // of the certificate: one byte less
)

// Defects are all of them.
var Defects = []Defect{WrongHeader, WrongTrailer, WrongFormat, WrongHash, WrongAlgorithm, WrongKey, WrongIdentifier, WrongRemainder, WrongLength}

// seal makes the block of body, which begins with the format, with the hash over body
// and what follows it, and applies the key.
func seal(m ModExp, k *PrivateKey, body []byte, d Defect, beyond ...[]byte) ([]byte, error) {
	sum := Hash(append([][]byte{body}, beyond...)...)
	if d == WrongHash {
		sum[19] ^= 1
	}
	b := append([]byte{header}, body...)
	b = append(b, sum[:]...)
	b = append(b, trailer)
	switch d {
	case WrongHeader:
		b[0] = 0x6B
	case WrongTrailer:
		b[len(b)-1] = 0xCC
	}
	out, err := k.Apply(m, b)
	if err == nil && d == WrongLength {
		out = out[:len(out)-1]
	}
	return out, err
}

// IssuerCertificate is the issuer public key certificate, tag 90 (6.3, table 1).
type IssuerCertificate struct {
	Identifier string  // leftmost 3 to 8 digits of the PAN
	Expires    [2]byte // MMYY
	Serial     [3]byte
	Key        PublicKey
	Defect     Defect
}

// Sign gives the certificate and the remainder of the key, tag 92, which is nil when
// the whole key fits.
func (c IssuerCertificate) Sign(m ModExp, ca *PrivateKey) (certificate, remainder []byte, err error) {
	id := c.Identifier
	if c.Defect == WrongIdentifier {
		id = flip(id)
	}
	body := append([]byte{formIssuer}, digits(id, 4)...)
	return certify(m, ca, body, c.Expires, c.Serial, c.Key, issuerFixed, c.Defect)
}

// flip changes the first digit.
func flip(digits string) string {
	if digits == "" {
		return digits
	}
	return string('0'+(digits[0]-'0'+1)%10) + digits[1:]
}

// ICCCertificate is the ICC public key certificate, tag 9F46 (6.4, table 10), and that
// of the key for enciphered PINs, tag 9F2D (7.1).
type ICCCertificate struct {
	PAN     string
	Expires [2]byte // MMYY
	Serial  [3]byte
	Key     PublicKey
	Static  []byte // static data to be authenticated; none for PIN encipherment
	Defect  Defect
}

// Sign gives the certificate and the remainder of the key, tag 9F48 or 9F2F.
func (c ICCCertificate) Sign(m ModExp, issuer *PrivateKey) (certificate, remainder []byte, err error) {
	pan := c.PAN
	if c.Defect == WrongIdentifier {
		pan = flip(pan)
	}
	body := append([]byte{formICC}, digits(pan, 10)...)
	return certify(m, issuer, body, c.Expires, c.Serial, c.Key, iccFixed, c.Defect, c.Static)
}

// certify puts as much of the key into the block as fits, and the rest into the
// remainder.
func certify(m ModExp, by *PrivateKey, body []byte, expires [2]byte, serial [3]byte, key PublicKey, fixed int, d Defect, static ...[]byte) (certificate, remainder []byte, err error) {
	room := len(by.Modulus) - fixed
	if room <= 0 || len(key.Modulus) > 255 || len(key.Exponent) > 255 {
		return nil, nil, errLength
	}
	switch d {
	case WrongFormat:
		body[0] ^= 0x10
	}
	body = append(body, expires[:]...)
	body = append(body, serial[:]...)
	alg, pk := byte(hashSHA1), byte(signRSA)
	if d == WrongAlgorithm {
		alg = 0x7F
	}
	if d == WrongKey {
		pk = 0x7F
	}
	body = append(body, alg, pk, byte(len(key.Modulus)), byte(len(key.Exponent)))
	if len(key.Modulus) > room {
		body = append(body, key.Modulus[:room]...)
		remainder = append([]byte(nil), key.Modulus[room:]...)
	} else {
		body = append(body, key.Modulus...)
		for range room - len(key.Modulus) {
			body = append(body, filling)
		}
	}
	beyond := append([][]byte{remainder, key.Exponent}, static...)
	certificate, err = seal(m, by, body, d, beyond...)
	if d == WrongRemainder && len(remainder) > 0 {
		remainder[0] ^= 0xFF
	}
	return certificate, remainder, err
}

// digits is a number, two digits a byte, filled with F to n bytes.
func digits(s string, n int) []byte {
	b := make([]byte, n)
	for i := range 2 * n {
		d := byte(0xF)
		if i < len(s) {
			d = s[i] - '0'
		}
		b[i/2] |= d << (4 * (1 - i%2))
	}
	return b
}

// SignStatic is the signed static application data, tag 93 (5.4, table 3).
func SignStatic(m ModExp, issuer *PrivateKey, code [2]byte, static []byte, d Defect) ([]byte, error) {
	room := len(issuer.Modulus) - staticFixed
	if room < 0 {
		return nil, errLength
	}
	body := []byte{formStatic, hashSHA1, code[0], code[1]}
	for range room {
		body = append(body, filling)
	}
	switch d {
	case WrongFormat:
		body[0] ^= 0x10
	case WrongAlgorithm:
		body[1] = 0x7F
	}
	return seal(m, issuer, body, d, static)
}

// SignDynamic is the signed dynamic application data, tag 9F4B, of INTERNAL
// AUTHENTICATE (6.5, table 14). dynamic is the ICC dynamic data: the length of the ICC
// dynamic number, the number, and what else the card adds.
func SignDynamic(m ModExp, icc *PrivateKey, dynamic, terminalData []byte) ([]byte, error) {
	room := len(icc.Modulus) - dynamicFixed - len(dynamic)
	if room < 0 || len(dynamic) > 255 {
		return nil, errLength
	}
	body := append([]byte{formDynamic, hashSHA1, byte(len(dynamic))}, dynamic...)
	for range room {
		body = append(body, filling)
	}
	return seal(m, icc, body, NoDefect, terminalData)
}

// SignCombined is the signed dynamic application data of GENERATE AC (CDA: 6.6, tables
// 17 and 18): number is the ICC dynamic number, transactionHash covers what the
// terminal sent and the other data of the response, un is the terminal's unpredictable
// number. more follows within the ICC dynamic data: the relay resistance data of
// contactless kernel 2.
func SignCombined(m ModExp, icc *PrivateKey, number []byte, cid byte, ac [8]byte, transactionHash [20]byte, un []byte, more ...byte) ([]byte, error) {
	dynamic := append([]byte{byte(len(number))}, number...)
	dynamic = append(dynamic, cid)
	dynamic = append(dynamic, ac[:]...)
	dynamic = append(dynamic, transactionHash[:]...)
	dynamic = append(dynamic, more...)
	return SignDynamic(m, icc, dynamic, un)
}
