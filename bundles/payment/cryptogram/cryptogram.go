// Package cryptogram is what card and issuer of EMV do with secret keys.
//
//	issuer master key ── PAN, PSN ──> ICC master key ── ATC ──> session key
//	                                                              │
//	terminal's data ── Version ──> input ── MAC ──> application cryptogram (AC)
//	                                                AC, response code ──> ARPC
//	                     ICC master key ── AC ──> script key ──> MAC, enciphered data
//
// Triple DES with keys of two parts, and AES with 128 bits.
//
// Sources: EMV 4.4 Book 2 clauses 8 and 9 and annex A1 (keys, MAC, encipherment), Book 3
// annex C (common core definitions). Cryptogram versions 10, 17 and 18 belong to a
// payment system: they are recalled from public descriptions and code (unverified).
package cryptogram

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the standard's
	"crypto/sha1"
	"errors"
	"math/bits"

	"github.com/sspemu/sspemu/internal/cmac"
)

// Cipher is the block cipher of an application.
type Cipher byte

// Ciphers (Book 2 annex B1).
const (
	TDES Cipher = iota // keys of 16 bytes, blocks of 8
	AES                // keys of 16 bytes, blocks of 16
)

// What is refused.
var (
	ErrKey    = errors.New("cryptogram: a key has 16 bytes")
	ErrPAN    = errors.New("cryptogram: a PAN is digits, 19 at most")
	ErrData   = errors.New("cryptogram: enciphered data are whole blocks, filled up with 80 and zeros")
	errParity = errors.New("cryptogram: not a key")
)

// block is the cipher with a key; a key of another length than 16 bytes is an error of
// the program.
func (c Cipher) block(key []byte) cipher.Block {
	var b cipher.Block
	var err error
	if c == AES {
		b, err = aes.NewCipher(key)
	} else {
		b, err = des.NewTripleDESCipher(append(append([]byte{}, key...), key[:8]...))
	}
	if err != nil {
		panic(errParity)
	}
	return b
}

// MasterKey derives the ICC master key from the issuer's (annex A1.4): option A for PANs
// up to 16 digits, option B for longer ones, option C with AES.
func MasterKey(c Cipher, imk []byte, pan string, psn byte) ([]byte, error) {
	if len(imk) != 16 {
		return nil, ErrKey
	}
	if len(pan) > 19 || pan == "" || psn > 99 {
		return nil, ErrPAN
	}
	s := pan + string([]byte{'0' + psn/10, '0' + psn%10})
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return nil, ErrPAN
		}
	}
	if c == AES { // option C
		out := make([]byte, 16)
		aesBlock := c.block(imk)
		aesBlock.Encrypt(out, bcd(s, 16))
		return out, nil
	}
	y := bcd(s, 8)
	if len(pan) > 16 { // option B
		y = decimalised(bcd(s, (len(s)+1)/2))
	}
	k := c.block(imk)
	out := make([]byte, 16)
	k.Encrypt(out[:8], y)
	for i := range y {
		y[i] ^= 0xFF
	}
	k.Encrypt(out[8:], y)
	oddParity(out)
	return out, nil
}

// bcd is the last 2n digits of s, filled with zeros in front.
func bcd(s string, n int) []byte {
	b := make([]byte, n)
	for i, at := len(s)-1, 2*n-1; i >= 0 && at >= 0; i, at = i-1, at-1 {
		b[at/2] |= (s[i] - '0') << (4 * (1 - at%2))
	}
	return b
}

// decimalised is the first 16 decimal digits of the SHA-1 of x, filled up with its
// letters as digits, A as 0 (annex A1.4.2).
func decimalised(x []byte) []byte {
	sum := sha1.Sum(x)
	digits := make([]byte, 0, 16)
	for pass := range 2 {
		for i := 0; i < 2*len(sum) && len(digits) < 16; i++ {
			d := sum[i/2] >> (4 * (1 - i%2)) & 0xF
			switch {
			case pass == 0 && d < 10:
				digits = append(digits, d)
			case pass == 1 && d >= 10:
				digits = append(digits, d-10)
			}
		}
	}
	out := make([]byte, 8)
	for i, d := range digits {
		out[i/2] |= d << (4 * (1 - i%2))
	}
	return out
}

func oddParity(key []byte) {
	for i, b := range key {
		if bits.OnesCount8(b)%2 == 0 {
			key[i] = b ^ 1
		}
	}
}

// session is the common session key derivation function (annex A1.3.1): r has the
// length of a block, or less, and is filled with zeros.
func session(c Cipher, mk, r []byte) []byte {
	out := make([]byte, 16)
	k := c.block(mk)
	if c == AES {
		var x [16]byte
		copy(x[:], r)
		k.Encrypt(out, x[:])
		return out
	}
	var x [8]byte
	copy(x[:], r)
	x[2] = 0xF0
	k.Encrypt(out[:8], x[:])
	x[2] = 0x0F
	k.Encrypt(out[8:], x[:])
	return out
}

// SessionKey is the session key of an application cryptogram and its ARPC: from the ATC.
func SessionKey(c Cipher, mk []byte, atc uint16) []byte {
	return session(c, mk, []byte{byte(atc >> 8), byte(atc)})
}

// Padding is how data become whole blocks.
type Padding byte

// Paddings of ISO/IEC 9797-1.
const (
	Method1 Padding = iota // zeros, none when the data are whole blocks already
	Method2                // 80 and zeros
)

func pad(data []byte, size int, p Padding) []byte {
	out := append([]byte{}, data...)
	if p == Method2 {
		out = append(out, 0x80)
	}
	for len(out)%size != 0 || len(out) == 0 {
		out = append(out, 0)
	}
	return out
}

// MAC is the leftmost n bytes of the MAC of data (annex A1.2): algorithm 3 of ISO/IEC
// 9797-1 with triple DES, CMAC with AES (which pads by itself).
func MAC(c Cipher, key, data []byte, n int, p Padding) []byte {
	full := retailMAC
	if c == AES {
		full = code
	}
	return full(key, data, p)[:n]
}

// retailMAC is DES in CBC with the left part of the key, and triple DES at the end.
func retailMAC(key, data []byte, p Padding) []byte {
	left, err := des.NewCipher(key[:8])
	if err != nil {
		panic(errParity)
	}
	right, err := des.NewCipher(key[8:])
	if err != nil {
		panic(errParity)
	}
	h := make([]byte, 8)
	for b := pad(data, 8, p); len(b) > 0; b = b[8:] {
		for i := range h {
			h[i] ^= b[i]
		}
		left.Encrypt(h, h)
	}
	right.Decrypt(h, h)
	left.Encrypt(h, h)
	return h
}

// code is CMAC, which pads by itself.
func code(key, data []byte, _ Padding) []byte { return cmac.Sum(AES.block(key), data) }

// Encipher is encipherment for confidentiality (9.3, annex A1.1): 80 00 .. as padding,
// CBC with zeros as initial vector.
func Encipher(c Cipher, key, plain []byte) []byte {
	k := c.block(key)
	b := pad(plain, k.BlockSize(), Method2)
	cipher.NewCBCEncrypter(k, make([]byte, k.BlockSize())).CryptBlocks(b, b)
	return b
}

// Decipher undoes Encipher.
func Decipher(c Cipher, key, in []byte) ([]byte, error) {
	k := c.block(key)
	if len(in) == 0 || len(in)%k.BlockSize() != 0 {
		return nil, ErrData
	}
	b := make([]byte, len(in))
	cipher.NewCBCDecrypter(k, make([]byte, k.BlockSize())).CryptBlocks(b, in)
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	if len(b) == 0 || b[len(b)-1] != 0x80 {
		return nil, ErrData
	}
	return b[:len(b)-1], nil
}

// Checksum is the dynamic CVC3 of magnetic-stripe mode in the style of kernel 2: the
// last two bytes of the enciphered static MAC, unpredictable number and ATC (recalled
// from public code, unverified).
func Checksum(mk, static []byte, un [4]byte, atc uint16) (cvc [2]byte) {
	iv := MAC(TDES, mk, static, 8, Method2)
	b := append([]byte{}, iv[6:]...)
	b = append(b, un[:]...)
	b = append(b, byte(atc>>8), byte(atc))
	TDES.block(mk).Encrypt(b, b)
	return [2]byte(b[6:])
}
