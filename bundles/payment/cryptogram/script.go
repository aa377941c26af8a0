package cryptogram

import "errors"

// Secure messaging of issuer scripts (Book 2 clause 9), format 2: data and MAC behind
// each other. Book 2 leaves its details to the payment systems; those here are recalled
// from public code and agree with its known answers (testdata/vectors.txt).

// ScriptKey is the session key of secure messaging. CCD: the common derivation from the
// application cryptogram (annex A1.3.1). Versions 10, 17 and 18: the master key, the ATC
// exclusive-or the end of its left half, the inverted ATC that of its right one.
func (v Version) ScriptKey(mk []byte, atc uint16, ac [8]byte) []byte {
	if v.style == styleCCD {
		return session(v.Cipher, mk, ac[:])
	}
	k := append([]byte{}, mk...)
	for i, b := range [2]byte{byte(atc >> 8), byte(atc)} {
		k[6+i] ^= b
		k[14+i] ^= ^b
	}
	return k
}

// ScriptMAC is the MAC of a script command, the leftmost n bytes of it, and the whole of
// it, with which the next command of the script goes on. chain is that of the command
// before, or the application cryptogram for the first one (9.2.3.1). It covers CLA INS P1
// P2, Lc with the MAC counted, ATC, chain and data.
func (v Version) ScriptMAC(key []byte, chain [8]byte, atc uint16, header [4]byte, data []byte, n int) (mac []byte, next [8]byte) {
	in := append([]byte{}, header[:]...)
	in = append(in, byte(len(data)+n), byte(atc>>8), byte(atc))
	in = append(in, chain[:]...)
	in = append(in, data...)
	copy(next[:], MAC(v.Cipher, key, in, 8, Method2))
	return next[:n:n], next
}

// ErrPINData says that the data of PIN CHANGE/UNBLOCK are no enciphered PIN.
var ErrPINData = errors.New("cryptogram: no enciphered PIN block")

// EncipherPIN makes the data of PIN CHANGE/UNBLOCK. block is a PIN block of format 2;
// current are the digits of the PIN that it replaces when P2 is 01, "" when it is 02.
// mkAC is the ICC master key of application cryptograms.
//
// CCD enciphers the block as it is. Versions 10, 17 and 18 make another block of it:
// length and digits exclusive-or the end of the left half of mkAC, and the current PIN,
// with a length in front of the block.
func (v Version) EncipherPIN(mkAC, key []byte, block [8]byte, current string) []byte {
	if v.style == styleCCD {
		return Encipher(v.Cipher, key, block[:])
	}
	b := v.mask(mkAC, current)
	block[0] &= 0x0F
	for i := range b {
		b[i] ^= block[i]
	}
	data := append([]byte{8}, b[:]...)
	out := pad(data, 8, Method2)
	k := v.Cipher.block(key)
	for i := 0; i < len(out); i += 8 {
		k.Encrypt(out[i:], out[i:])
	}
	return out
}

// DecipherPIN gives the PIN block of format 2 that EncipherPIN was given. Whether it is
// one is the caller's to see.
func (v Version) DecipherPIN(mkAC, key, data []byte, current string) (block [8]byte, err error) {
	if v.style == styleCCD {
		plain, err := Decipher(v.Cipher, key, data)
		if err != nil || len(plain) != 8 {
			return block, ErrPINData
		}
		return [8]byte(plain), nil
	}
	if len(data) != 16 {
		return block, ErrPINData
	}
	b := make([]byte, 16)
	k := v.Cipher.block(key)
	k.Decrypt(b, data)
	k.Decrypt(b[8:], data[8:])
	if b[0] != 8 || b[9] != 0x80 || string(b[10:]) != "\x00\x00\x00\x00\x00\x00" {
		return block, ErrPINData
	}
	block = [8]byte(b[1:9])
	for i, m := range v.mask(mkAC, current) {
		block[i] ^= m
	}
	if block[0]&0xF0 != 0 {
		return block, ErrPINData
	}
	block[0] |= 0x20
	return block, nil
}

// mask is what the PIN block of versions 10, 17 and 18 is exclusive-ored with.
func (v Version) mask(mkAC []byte, current string) (m [8]byte) {
	copy(m[4:], mkAC[4:8])
	for i := 0; i < len(current) && i < 16; i++ {
		m[i/2] ^= (current[i] - '0') << (4 * (1 - i%2))
	}
	return m
}
