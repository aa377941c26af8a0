package oda

import (
	"bytes"
	"strconv"
)

// stepError is a check of Book 2 that failed.
type stepError struct{ clause, step, what string }

func (e *stepError) Error() string {
	return "EMV Book 2 " + e.clause + " step " + e.step + ": " + e.what
}

// open applies the key and checks lengths, trailer and header: steps 1 to 3 of every
// recovery. The result is what lies between header and hash, and the hash.
func open(m ModExp, k PublicKey, clause, what string, signed []byte) (body, sum []byte, err error) {
	if len(signed) != len(k.Modulus) {
		return nil, nil, &stepError{clause, "1", what + " is " + strconv.Itoa(len(signed)) + " bytes, the key that signed it " + strconv.Itoa(len(k.Modulus))}
	}
	b, err := k.Apply(m, signed)
	if err != nil {
		return nil, nil, &stepError{clause, "2", what + " is not below the modulus of the key"}
	}
	switch n := len(b); {
	case n < 1+20+1 || b[n-1] != trailer:
		return nil, nil, &stepError{clause, "2", what + " does not end with the trailer BC: another key signed it"}
	case b[0] != header:
		return nil, nil, &stepError{clause, "3", what + " does not begin with the header 6A"}
	}
	return b[1 : len(b)-21], b[len(b)-21 : len(b)-1], nil
}

// certified is what the two kinds of certificates have in common.
type certified struct {
	expires [2]byte
	serial  [3]byte
	key     PublicKey
}

// recover reads a certificate whose subject is n bytes long.
func recoverKey(m ModExp, k PublicKey, clause, what string, form byte, n int, certificate, remainder, exponent, static []byte) (subject []byte, c certified, err error) {
	body, sum, err := open(m, k, clause, what, certificate)
	if err != nil {
		return nil, c, err
	}
	if len(body) < 1+n+2+3+4 {
		return nil, c, &stepError{clause, "1", "the key is too short for " + what}
	}
	if body[0] != form {
		return nil, c, &stepError{clause, "4", what + " has format " + hexByte(body[0]) + ", not " + hexByte(form)}
	}
	rest := body[1+n:]
	copy(c.expires[:], rest)
	copy(c.serial[:], rest[2:])
	alg, pk, size, expSize := rest[5], rest[6], int(rest[7]), int(rest[8])
	if alg != hashSHA1 {
		return nil, c, &stepError{clause, "6", "the hash algorithm of " + what + " is " + hexByte(alg) + ", not 01 (SHA-1)"}
	}
	if got := Hash(body, remainder, exponent, static); !bytes.Equal(got[:], sum) {
		return nil, c, &stepError{clause, "7", "the hash of " + what + " differs: certificate, remainder, exponent or static data were changed"}
	}
	left := rest[9:]
	switch {
	case pk != signRSA:
		return nil, c, &stepError{clause, "11", "the algorithm of the key in " + what + " is " + hexByte(pk) + ", not 01 (RSA)"}
	case expSize != len(exponent):
		return nil, c, &stepError{clause, "12", "the exponent has " + strconv.Itoa(len(exponent)) + " bytes, " + what + " says " + strconv.Itoa(expSize)}
	case size <= len(left):
		c.key.Modulus = bytes.Clone(left[:size])
	case size == len(left)+len(remainder):
		c.key.Modulus = append(bytes.Clone(left), remainder...)
	default:
		return nil, c, &stepError{clause, "12", "the key has " + strconv.Itoa(len(left)+len(remainder)) + " bytes, " + what + " says " + strconv.Itoa(size)}
	}
	if len(c.key.Modulus) == 0 || c.key.Modulus[len(c.key.Modulus)-1]&1 == 0 {
		return nil, c, &stepError{clause, "12", "the modulus in " + what + " is even"}
	}
	c.key.Exponent = bytes.Clone(exponent)
	return body[1 : 1+n], c, nil
}

// RecoverIssuer checks an issuer certificate (6.3) and gives what it holds. today is
// YYMMDD; the PAN must begin with the issuer identifier.
func RecoverIssuer(m ModExp, ca PublicKey, certificate, remainder, exponent []byte, pan string, today [3]byte) (c IssuerCertificate, err error) {
	const clause, what = "6.3", "the issuer certificate"
	subject, k, err := recoverKey(m, ca, clause, what, formIssuer, 4, certificate, remainder, exponent, nil)
	if err != nil {
		return c, err
	}
	id, ok := number(subject)
	if !ok || len(id) < 3 || len(pan) < len(id) || pan[:len(id)] != id {
		return c, &stepError{clause, "8", "the issuer identifier " + id + " is not the beginning of the PAN"}
	}
	if expired(k.expires, today) {
		return c, &stepError{clause, "9", "the issuer certificate expired in " + month(k.expires)}
	}
	return IssuerCertificate{Identifier: id, Expires: k.expires, Serial: k.serial, Key: k.key}, nil
}

// RecoverICC checks an ICC certificate (6.4), or one for enciphered PINs (7.1, where
// static is nil).
func RecoverICC(m ModExp, issuer PublicKey, certificate, remainder, exponent, static []byte, pan string, today [3]byte) (c ICCCertificate, err error) {
	const clause, what = "6.4", "the ICC certificate"
	subject, k, err := recoverKey(m, issuer, clause, what, formICC, 10, certificate, remainder, exponent, static)
	if err != nil {
		return c, err
	}
	id, ok := number(subject)
	if !ok || id != pan {
		return c, &stepError{clause, "8", "the PAN of the ICC certificate is not that of the application"}
	}
	if expired(k.expires, today) {
		return c, &stepError{clause, "9", "the ICC certificate expired in " + month(k.expires)}
	}
	return ICCCertificate{PAN: id, Expires: k.expires, Serial: k.serial, Key: k.key, Static: static}, nil
}

// VerifyStatic checks signed static application data (5.4) and gives the data
// authentication code, tag 9F45.
func VerifyStatic(m ModExp, issuer PublicKey, ssad, static []byte) (code [2]byte, err error) {
	const clause, what = "5.4", "the signed static application data"
	body, sum, err := open(m, issuer, clause, what, ssad)
	if err != nil {
		return code, err
	}
	if len(body) < 4 || body[0] != formStatic {
		return code, &stepError{clause, "4", what + " does not have format 03"}
	}
	if body[1] != hashSHA1 {
		return code, &stepError{clause, "6", "the hash algorithm is " + hexByte(body[1]) + ", not 01 (SHA-1)"}
	}
	if got := Hash(body, static); !bytes.Equal(got[:], sum) {
		return code, &stepError{clause, "7", "the hash of " + what + " differs: the data of the card were changed"}
	}
	return [2]byte(body[2:4]), nil
}

// VerifyDynamic checks signed dynamic application data (6.5.2) and gives the ICC
// dynamic data.
func VerifyDynamic(m ModExp, icc PublicKey, sdad, terminalData []byte) (dynamic []byte, err error) {
	const clause, what = "6.5.2", "the signed dynamic application data"
	body, sum, err := open(m, icc, clause, what, sdad)
	if err != nil {
		return nil, err
	}
	if len(body) < 3 || body[0] != formDynamic {
		return nil, &stepError{clause, "4", what + " do not have format 05"}
	}
	if body[1] != hashSHA1 {
		return nil, &stepError{clause, "6", "the hash algorithm is " + hexByte(body[1]) + ", not 01 (SHA-1)"}
	}
	if got := Hash(body, terminalData); !bytes.Equal(got[:], sum) {
		return nil, &stepError{clause, "7", "the hash of " + what + " differs: it is not over what the terminal sent"}
	}
	n := int(body[2])
	if n == 0 || 3+n > len(body) {
		return nil, &stepError{clause, "4", "the ICC dynamic data have a wrong length"}
	}
	return bytes.Clone(body[3 : 3+n]), nil
}

// Combined is what a combined signature holds (table 18).
type Combined struct {
	Number []byte // ICC dynamic number, 9F4C
	CID    byte
	AC     [8]byte
	Hash   [20]byte // over the transaction data
	More   []byte   // what follows, of contactless kernel 2
}

// VerifyCombined checks a combined signature (6.6.2) up to its hash over the
// unpredictable number; the terminal compares CID and Hash with its own.
func VerifyCombined(m ModExp, icc PublicKey, sdad, un []byte) (c Combined, err error) {
	dynamic, err := VerifyDynamic(m, icc, sdad, un)
	if err != nil {
		return c, err
	}
	n := int(dynamic[0])
	if n < 2 || n > 8 || len(dynamic) < 1+n+1+8+20 {
		return c, &stepError{"6.6.2", "6", "the ICC dynamic data are not those of a combined signature"}
	}
	c.Number = dynamic[1 : 1+n]
	rest := dynamic[1+n:]
	c.CID = rest[0]
	copy(c.AC[:], rest[1:])
	copy(c.Hash[:], rest[9:])
	c.More = rest[29:]
	return c, nil
}

// number reads digits that are filled up with F.
func number(b []byte) (s string, ok bool) {
	out := make([]byte, 0, 2*len(b))
	end := false
	for i := range 2 * len(b) {
		d := b[i/2] >> (4 * (1 - i%2)) & 0xF
		switch {
		case d == 0xF:
			end = true
		case d > 9 || end:
			return string(out), false
		default:
			out = append(out, '0'+d)
		}
	}
	return string(out), true
}

// expired tells whether the month MMYY lies before today, YYMMDD. Years 50 to 99 are
// those of the 20th century (Book 4 6.7.3).
func expired(mmyy [2]byte, today [3]byte) bool {
	year := func(b byte) int {
		y := int(b>>4)*10 + int(b&15)
		if y < 50 {
			y += 100
		}
		return y
	}
	m := func(b byte) int { return int(b>>4)*10 + int(b&15) }
	if m(mmyy[0]) < 1 || m(mmyy[0]) > 12 {
		return true
	}
	return year(mmyy[1])*12+m(mmyy[0]) < year(today[0])*12+m(today[1])
}

func month(mmyy [2]byte) string { return hexByte(mmyy[0]) + "/" + hexByte(mmyy[1]) }

func hexByte(b byte) string {
	const d = "0123456789ABCDEF"
	return string([]byte{d[b>>4], d[b&15]})
}
