package oda

import (
	"errors"
	"io"
)

// pinHeader begins the data of an enciphered PIN (7.2, table 24).
const pinHeader = 0x7F

// What is wrong with a PIN.
var (
	ErrPINBlock  = errors.New("oda: the PIN block is not of format 2: 2, length 4 to C, digits, F (Book 3 6.5.12)")
	ErrPINData   = errors.New("oda: the deciphered PIN data do not begin with 7F (Book 2 7.2)")
	ErrChallenge = errors.New("oda: the PIN was enciphered with another unpredictable number (Book 2 7.2)")
)

// PINBlock is the PIN block of format 2 (Book 3 6.5.12 table 24).
func PINBlock(pin string) (block [8]byte, err error) {
	if len(pin) < 4 || len(pin) > 12 {
		return block, ErrPINBlock
	}
	for i := range block {
		block[i] = 0xFF
	}
	block[0] = 0x20 | byte(len(pin))
	for i := range len(pin) {
		d := pin[i] - '0'
		if d > 9 {
			return block, ErrPINBlock
		}
		at := 2 + i
		shift := 4 * (1 - at%2)
		block[at/2] = block[at/2]&^(0xF<<shift) | d<<shift
	}
	return block, nil
}

// ParsePINBlock gives the digits of a PIN block of format 2.
func ParsePINBlock(block [8]byte) (pin string, err error) {
	n := int(block[0] & 0xF)
	if block[0]>>4 != 2 || n < 4 || n > 12 {
		return "", ErrPINBlock
	}
	out := make([]byte, 0, n)
	for at := 2; at < 16; at++ {
		d := block[at/2] >> (4 * (1 - at%2)) & 0xF
		switch {
		case at < 2+n && d <= 9:
			out = append(out, '0'+d)
		case at < 2+n || d != 0xF:
			return "", ErrPINBlock
		}
	}
	return string(out), nil
}

// EncipherPIN is the data of VERIFY with an enciphered PIN (7.2): header, PIN block, the
// card's unpredictable number, random filling.
func EncipherPIN(m ModExp, key PublicKey, block, challenge [8]byte, random io.Reader) ([]byte, error) {
	b := make([]byte, len(key.Modulus))
	if len(b) < 17 {
		return nil, errLength
	}
	b[0] = pinHeader
	copy(b[1:], block[:])
	copy(b[9:], challenge[:])
	if _, err := io.ReadFull(random, b[17:]); err != nil {
		return nil, err
	}
	return key.Apply(m, b)
}

// DecipherPIN is the card's side of EncipherPIN.
func DecipherPIN(m ModExp, key *PrivateKey, data []byte, challenge [8]byte) (block [8]byte, err error) {
	b, err := key.Apply(m, data)
	switch {
	case err != nil:
		return block, err
	case b[0] != pinHeader:
		return block, ErrPINData
	case [8]byte(b[9:17]) != challenge:
		return block, ErrChallenge
	}
	return [8]byte(b[1:9]), nil
}
