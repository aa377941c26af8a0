package scp80

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the standard's
	"crypto/subtle"
	"errors"
	"hash/crc32"

	"github.com/sspemu/sspemu/internal/cmac"
)

// What Keys cannot do.
var (
	ErrAlgorithm = errors.New("scp80: an algorithm that is not supported: there are 3DES with two or three keys, AES, CRC-16, CRC-32")
	ErrKey       = errors.New("scp80: the key has another length than its algorithm wants")
)

// KeySize tells whether a key of n bytes is one of algorithm a.
func (a Algorithm) KeySize(n int) bool {
	switch a {
	case TripleDES2:
		return n == 16
	case TripleDES3:
		return n == 24
	case AES:
		return n == 16 || n == 24 || n == 32
	}
	return false
}

func (a Algorithm) block(key []byte) (cipher.Block, error) {
	switch a {
	case TripleDES2, TripleDES3:
		if !a.KeySize(len(key)) {
			return nil, ErrKey
		}
		if a == TripleDES2 {
			key = append(key[:16:16], key[:8]...)
		}
		return des.NewTripleDESCipher(key)
	case AES:
		if !a.KeySize(len(key)) {
			return nil, ErrKey
		}
		return aes.NewCipher(key)
	}
	return nil, ErrAlgorithm
}

// checkSize is the length of a check: 0 when the algorithm is not there.
func checkSize(c Check, a Algorithm) int {
	switch {
	case c == RC && a == CRC16:
		return 2
	case c == RC && a == CRC32:
		return 4
	case c == CC && (a == AES || a == TripleDES2 || a == TripleDES3):
		return 8
	}
	return 0
}

// check is the RC or CC over b.
func check(c Check, a Algorithm, key, b []byte) ([]byte, error) {
	switch {
	case c == RC && a == CRC16:
		s := crc16(b)
		return []byte{byte(s >> 8), byte(s)}, nil
	case c == RC && a == CRC32:
		s := crc32.ChecksumIEEE(b)
		return []byte{byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)}, nil
	case c != CC:
		return nil, ErrAlgorithm
	}
	block, err := a.block(key)
	if err != nil {
		return nil, err
	}
	if a == AES {
		return cmac.Sum(block, b)[:8], nil
	}
	// ISO/IEC 9797-1 MAC algorithm 1 with padding method 1, of triple DES.
	var h [8]byte
	for len(b) > 0 {
		n := subtle.XORBytes(h[:], h[:], b[:min(8, len(b))])
		block.Encrypt(h[:], h[:])
		b = b[n:]
	}
	return h[:], nil
}

// crc16 is that of ISO/IEC 13239: X^16 + X^12 + X^5 + 1.
func crc16(b []byte) uint16 {
	c := uint16(0xFFFF)
	for _, x := range b {
		c ^= uint16(x)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0x8408
			} else {
				c >>= 1
			}
		}
	}
	return ^c
}
