package milenage

import "math/bits"

// aes128 is encryption with AES and a key of 128 bits (FIPS 197), which TS
// 35.206 5.1 names as the kernel. It looks tables up by key bytes: enough for
// an emulator, not for a secret.
type aes128 struct{ key [44]uint32 } // words w[0] to w[43] of FIPS 197 5.2

// sbox is the S-box; round is the column of SubBytes and MixColumns for one byte
// in the first row, the other rows are rotations of it.
var sbox, round = tables()

func tables() (s [256]byte, r [256]uint32) {
	// p and q walk the multiplicative group in opposite directions: q is always
	// the inverse of p (FIPS 197 5.1.1).
	p, q := byte(1), byte(1)
	for {
		p ^= double(p)
		q ^= q << 1
		q ^= q << 2
		q ^= q << 4
		if q&0x80 != 0 {
			q ^= 0x09
		}
		s[p] = q ^ bits.RotateLeft8(q, 1) ^ bits.RotateLeft8(q, 2) ^ bits.RotateLeft8(q, 3) ^ bits.RotateLeft8(q, 4) ^ 0x63
		if p == 1 {
			break
		}
	}
	s[0] = 0x63
	for i, v := range s {
		d := double(v)
		r[i] = uint32(d)<<24 | uint32(v)<<16 | uint32(v)<<8 | uint32(d^v)
	}
	return s, r
}

// double multiplies by x in GF(2^8).
func double(b byte) byte {
	if b&0x80 != 0 {
		return b<<1 ^ 0x1B
	}
	return b << 1
}

func load(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func sub(w uint32) uint32 {
	return uint32(sbox[w>>24])<<24 | uint32(sbox[w>>16&0xFF])<<16 | uint32(sbox[w>>8&0xFF])<<8 | uint32(sbox[w&0xFF])
}

// expand is the key schedule of FIPS 197 5.2.
func (a *aes128) expand(k *[16]byte) {
	for i := range 4 {
		a.key[i] = load(k[4*i:])
	}
	rcon := byte(1)
	for i := 4; i < len(a.key); i++ {
		t := a.key[i-1]
		if i%4 == 0 {
			t = sub(bits.RotateLeft32(t, 8)) ^ uint32(rcon)<<24
			rcon = double(rcon)
		}
		a.key[i] = a.key[i-4] ^ t
	}
}

// encrypt encrypts b in place.
func (a *aes128) encrypt(b *[16]byte) {
	var s, t [4]uint32
	for i := range s {
		s[i] = load(b[4*i:]) ^ a.key[i]
	}
	for n := 1; n < 10; n++ {
		for i := range t {
			t[i] = round[s[i]>>24] ^
				bits.RotateLeft32(round[s[(i+1)&3]>>16&0xFF], -8) ^
				bits.RotateLeft32(round[s[(i+2)&3]>>8&0xFF], -16) ^
				bits.RotateLeft32(round[s[(i+3)&3]&0xFF], -24) ^
				a.key[4*n+i]
		}
		s = t
	}
	for i := range t {
		w := sub(s[i]&0xFF000000|s[(i+1)&3]&0x00FF0000|s[(i+2)&3]&0x0000FF00|s[(i+3)&3]&0x000000FF) ^ a.key[40+i]
		b[4*i], b[4*i+1], b[4*i+2], b[4*i+3] = byte(w>>24), byte(w>>16), byte(w>>8), byte(w)
	}
}
