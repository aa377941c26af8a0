// Package cmac is the message authentication code CMAC with AES, where a whole message is
// at hand.
//
//	bundles (cryptograms), internal/scp80 ── message ──> Sum ──> 16 octets
//
// It is a leaf and safe inside a guest. Source: NIST SP 800-38B; its examples are those of
// RFC 4493, which the test has.
package cmac

import "crypto/cipher"

// Sum is the code of data, 16 octets; b is AES with the key.
func Sum(b cipher.Block, data []byte) []byte {
	var sub, h [16]byte
	b.Encrypt(sub[:], sub[:])
	double(&sub)
	for ; len(data) > 16; data = data[16:] {
		xor(&h, data)
		b.Encrypt(h[:], h[:])
	}
	if len(data) < 16 {
		double(&sub)
		h[len(data)] ^= 0x80
	}
	xor(&h, data)
	xor(&h, sub[:])
	b.Encrypt(h[:], h[:])
	return h[:]
}

func xor(h *[16]byte, b []byte) {
	for i := range min(len(b), 16) {
		h[i] ^= b[i]
	}
}

// double is multiplication by x in GF(2^128).
func double(b *[16]byte) {
	carry := b[0] >> 7
	for i := range 15 {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[15] = b[15]<<1 ^ carry*0x87
}
