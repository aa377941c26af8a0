// Package sm is secure messaging of travel documents, for both ends, and the key
// derivation and message authentication codes that go with it.
//
//	chip      mrtd         ── Unwrap(command) ──> plain ── Wrap(response, SW) ──> protected
//	terminal  inspect/mrtd ── Protect(command) ──> protected ── Unprotect(response) ──> plain
//
// A session is a pair of keys and a send sequence counter, which goes one up before
// every command and every response. One that has seen anything wrong is over: neither
// end may use it again.
//
// Sources: ICAO Doc 9303-11 9.7 (key derivation), 9.8 (secure messaging); ISO/IEC 7816-4
// 10 (data objects); ISO/IEC 9797-1 algorithm 3 and padding method 2; NIST SP 800-38B.
package sm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the standard's
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Alg is the pair of cipher and code that a session uses (Doc 9303-11 9.8.6, 9.8.7).
type Alg byte

// The algorithms.
const (
	TDES   Alg = iota + 1 // two-key triple DES in CBC mode, retail MAC
	AES128                // AES in CBC mode, CMAC of which eight octets are sent
	AES192
	AES256
)

// KeySize is the length of a key in octets.
func (a Alg) KeySize() int { return [...]int{0, 16, 16, 24, 32}[a] }

// Block is the block size of the cipher, which is the length of the send sequence
// counter as well.
func (a Alg) Block() int {
	if a == TDES {
		return 8
	}
	return 16
}

// Cipher is the block cipher with a key of KeySize; of TDES the third part is the first.
func (a Alg) Cipher(key []byte) cipher.Block {
	var b cipher.Block
	var err error
	if a == TDES && len(key) == 16 {
		b, err = des.NewTripleDESCipher(append(key[:16:16], key[:8]...))
	} else {
		b, err = aes.NewCipher(key)
	}
	if err != nil {
		panic("sm: a key of the wrong length")
	}
	return b
}

// KDF derives a key from a shared secret (Doc 9303-11 9.7.1): counter 1 for encryption,
// 2 for the code, 3 for a password. nonce comes between, where a protocol has one.
func KDF(a Alg, secret []byte, counter uint32, nonce []byte) []byte {
	in := append(append([]byte{}, secret...), nonce...)
	in = binary.BigEndian.AppendUint32(in, counter)
	var key []byte
	if a == TDES || a == AES128 {
		h := sha1.Sum(in) //nolint:gosec // the standard's
		key = h[:16]
	} else {
		h := sha256.Sum256(in)
		key = h[:a.KeySize()]
	}
	if a == TDES { // odd parity, 9.7.1.1
		for i, b := range key {
			ones := byte(0)
			for v := b >> 1; v > 0; v &= v - 1 {
				ones ^= 1
			}
			key[i] = b&^1 | ones ^ 1
		}
	}
	return key
}

// Pad adds 80 and zeros up to a multiple of block (ISO/IEC 9797-1 padding method 2).
func Pad(b []byte, block int) []byte {
	b = append(b, 0x80)
	for len(b)%block != 0 {
		b = append(b, 0)
	}
	return b
}

// Unpad takes that away again; false when it is not there.
func Unpad(b []byte) ([]byte, bool) {
	for i := len(b) - 1; i >= 0; i-- {
		switch b[i] {
		case 0:
			continue
		case 0x80:
			return b[:i], true
		}
		break
	}
	return nil, false
}

// MAC is the code over data, eight octets: the retail MAC with padding method 2 (Doc
// 9303-11 9.8.6.1), or the first half of CMAC (9.8.7.1).
func MAC(a Alg, key, data []byte) []byte {
	m := newMAC(a, key)
	m.write(data)
	return m.sum()[:8]
}

// CMAC is the whole code of NIST SP 800-38B with AES.
func CMAC(key, data []byte) []byte {
	m := newMAC(AES128, key)
	m.write(data)
	return m.sum()
}

// mac is a code under way. Blocks are worked in as they come.
type mac struct {
	alg    Alg
	block  cipher.Block // CBC
	last   cipher.Block // of the right part of a retail MAC key
	k1, k2 [16]byte     // subkeys of CMAC

	h, in [16]byte
	n     int // octets of in
}

func newMAC(a Alg, key []byte) *mac {
	m := &mac{alg: a}
	if a == TDES {
		left, err1 := des.NewCipher(key[:8])
		right, err2 := des.NewCipher(key[8:16])
		if err1 != nil || err2 != nil {
			panic("sm: a key of the wrong length")
		}
		m.block, m.last = left, right
		return m
	}
	m.block = a.Cipher(key)
	m.block.Encrypt(m.k1[:], m.k1[:])
	double(&m.k1)
	m.k2 = m.k1
	double(&m.k2)
	return m
}

// double is multiplication by x in GF(2^128).
func double(b *[16]byte) {
	carry := b[0] >> 7
	for i := range 15 {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[15] = b[15]<<1 ^ carry*0x87
}

func (m *mac) reset() { m.h, m.n = [16]byte{}, 0 }

// write works data in; a whole block waits until it is known not to be the last.
func (m *mac) write(p []byte) {
	size := m.alg.Block()
	for len(p) > 0 {
		if m.n == size {
			m.step()
		}
		n := copy(m.in[m.n:size], p)
		m.n, p = m.n+n, p[n:]
	}
}

// pad fills the block that is under way, if there is one.
func (m *mac) pad() {
	if m.n == 0 {
		return
	}
	if m.n == m.alg.Block() {
		m.step()
	}
	m.write([]byte{0x80})
	for m.n < m.alg.Block() {
		m.in[m.n] = 0
		m.n++
	}
}

func (m *mac) step() {
	size := m.alg.Block()
	subtle.XORBytes(m.h[:size], m.h[:size], m.in[:size])
	m.block.Encrypt(m.h[:size], m.h[:size])
	m.n = 0
}

// sum ends the code.
func (m *mac) sum() []byte {
	size := m.alg.Block()
	if m.alg == TDES {
		if m.n == size {
			m.step()
		}
		m.write([]byte{0x80})
		for m.n < size {
			m.in[m.n] = 0
			m.n++
		}
		m.step()
		m.last.Decrypt(m.h[:8], m.h[:8])
		m.block.Encrypt(m.h[:8], m.h[:8])
		return m.h[:8]
	}
	sub := &m.k1
	if m.n < size {
		sub = &m.k2
		m.in[m.n] = 0x80
		clear(m.in[m.n+1 : size])
	}
	subtle.XORBytes(m.in[:], m.in[:], sub[:])
	m.step()
	return m.h[:]
}

// Session is secure messaging with one pair of keys.
type Session struct {
	alg Alg
	enc cipher.Block
	mac *mac
	ssc [16]byte // the first Block octets

	odd     bool // the command had an odd instruction: DO'85'
	scratch []byte
}

// New begins a session. ssc has the block size of the algorithm; nil is zero.
func New(a Alg, kenc, kmac, ssc []byte) *Session {
	s := &Session{alg: a, enc: a.Cipher(kenc), mac: newMAC(a, kmac)}
	copy(s.ssc[:a.Block()], ssc)
	return s
}

// Alg is the algorithm of the session.
func (s *Session) Alg() Alg { return s.alg }

// Skew moves the send sequence counter on by one, as a chip or a terminal does that has
// lost count.
func (s *Session) Skew() { s.count() }

func (s *Session) count() {
	for i := s.alg.Block() - 1; i >= 0; i-- {
		if s.ssc[i]++; s.ssc[i] != 0 {
			return
		}
	}
}

// iv is the initial vector of the message under way (Doc 9303-11 9.8.6.1, 9.8.7.1).
func (s *Session) iv() []byte {
	iv := make([]byte, s.alg.Block())
	if s.alg != TDES {
		s.enc.Encrypt(iv, s.ssc[:16])
	}
	return iv
}

// begin starts the code of a message with the counter and, of a command, the header.
func (s *Session) begin(header []byte) {
	s.mac.reset()
	s.mac.write(s.ssc[:s.alg.Block()])
	if header != nil {
		s.mac.write(header)
		s.mac.pad()
	}
}

// end is the code of the message. What follows the header is padded; when nothing does,
// the header's padding was the last.
func (s *Session) end(objects bool) []byte {
	m := s.mac
	if objects || m.n == 0 {
		m.pad()
	}
	// Both codes are over whole blocks now, and add nothing of their own.
	if s.alg == TDES {
		m.step()
		m.last.Decrypt(m.h[:8], m.h[:8])
		m.block.Encrypt(m.h[:8], m.h[:8])
		return m.h[:8]
	}
	subtle.XORBytes(m.in[:], m.in[:], m.k1[:])
	m.step()
	return m.h[:8]
}

// Tags of secure messaging (ISO/IEC 7816-4 table 49).
const (
	tagPlain      = 0x85 // cryptogram of data objects, without padding indicator
	tagCryptogram = 0x87 // padding indicator and cryptogram
	tagLe         = 0x97
	tagStatus     = 0x99
	tagMAC        = 0x8E
)

// objects are the data objects of a protected message.
type objects struct {
	cryptogram, le, status, mac []byte
	odd                         bool // 85 instead of 87
	covered                     []byte
}

// Errors of a protected message; the chip answers 6987 and 6988.
var (
	ErrMissing   = errors.New("sm: expected secure messaging data objects are missing")
	ErrIncorrect = errors.New("sm: secure messaging data objects are incorrect")
	ErrCommand   = errors.New("sm: the command is malformed")
)

// split takes a message apart. Objects have to be in the order of Doc 9303-11 9.8.4, 9.8.5.
func split(b []byte, command bool) (o objects, err error) {
	last := tlv.Tag(0)
	r := tlv.Read(b)
	covered := 0
	for r.Next() {
		if o.mac != nil {
			return o, ErrIncorrect // something behind the code
		}
		switch {
		case r.Tag == tagCryptogram && last == 0 && len(r.Value) > 1 && r.Value[0] == 1:
			o.cryptogram = r.Value[1:]
		case r.Tag == tagPlain && last == 0 && len(r.Value) > 0:
			o.cryptogram, o.odd = r.Value, true
		case r.Tag == tagLe && command && last != tagLe && (len(r.Value) == 1 || len(r.Value) == 2):
			o.le = r.Value
		case r.Tag == tagStatus && !command && last != tagStatus && len(r.Value) == 2:
			o.status = r.Value
		case r.Tag == tagMAC && len(r.Value) == 8:
			o.mac = r.Value
			o.covered = b[:covered]
		default:
			return o, ErrIncorrect
		}
		last = r.Tag
		covered = len(b) - len(r.Rest())
	}
	switch {
	case r.Err() != nil:
		return o, ErrIncorrect
	case o.mac == nil:
		return o, ErrMissing
	}
	return o, nil
}

// decipher gives what a cryptogram holds.
func (s *Session) decipher(b []byte) ([]byte, error) {
	if len(b)%s.alg.Block() != 0 {
		return nil, ErrIncorrect
	}
	cipher.NewCBCDecrypter(s.enc, s.iv()).CryptBlocks(b, b)
	plain, ok := Unpad(b)
	if !ok || len(b)-len(plain) > s.alg.Block() {
		return nil, ErrIncorrect
	}
	return plain, nil
}

// cryptogram appends data enciphered as DO'87' or DO'85'.
func (s *Session) cryptogram(out, data []byte, odd bool) []byte {
	n := len(data)/s.alg.Block()*s.alg.Block() + s.alg.Block()
	if odd {
		out = tlv.AppendHeader(out, tagPlain, n)
	} else {
		out = append(tlv.AppendHeader(out, tagCryptogram, n+1), 1)
	}
	at := len(out)
	out = append(append(out, data...), 0x80)
	for len(out)-at < n {
		out = append(out, 0)
	}
	cipher.NewCBCEncrypter(s.enc, s.iv()).CryptBlocks(out[at:], out[at:])
	return out
}

// Unwrap is the chip's: it checks a protected command and gives the plain one. Its class
// byte says nothing of secure messaging any more. After an error the session is over.
func (s *Session) Unwrap(c *apdu.Command) (apdu.Command, error) {
	s.count()
	b := append(s.scratch[:0], c.Data...)
	s.scratch = b
	o, err := split(b, true)
	if err != nil {
		return apdu.Command{}, err
	}
	s.odd = c.INS&1 == 1
	if o.cryptogram != nil && o.odd != s.odd {
		return apdu.Command{}, ErrIncorrect
	}
	s.begin([]byte{c.CLA, c.INS, c.P1, c.P2})
	s.mac.write(o.covered)
	if subtle.ConstantTimeCompare(s.end(len(o.covered) > 0), o.mac) != 1 {
		return apdu.Command{}, ErrIncorrect
	}
	plain := apdu.Command{CLA: c.CLA &^ 0x0C, INS: c.INS, P1: c.P1, P2: c.P2, Extended: c.Extended}
	if o.cryptogram != nil {
		if plain.Data, err = s.decipher(o.cryptogram); err != nil {
			return apdu.Command{}, err
		}
	}
	switch len(o.le) {
	case 1:
		if plain.Ne = int(o.le[0]); plain.Ne == 0 {
			plain.Ne = 256
		}
	case 2:
		if plain.Ne = int(o.le[0])<<8 | int(o.le[1]); plain.Ne == 0 {
			plain.Ne = 65536
		}
	}
	return plain, nil
}

// Wrap is the chip's: it protects an answer, which may be the data of r itself.
func (s *Session) Wrap(out, data []byte, sw apdu.SW) []byte {
	s.count()
	at := len(out)
	if len(data) > 0 {
		out = s.cryptogram(out, data, s.odd)
	}
	out = tlv.Append(out, tagStatus, byte(sw>>8), byte(sw))
	s.begin(nil)
	s.mac.write(out[at:])
	return tlv.Append(out, tagMAC, s.end(true)...)
}

// Protect is the terminal's: it makes a protected command of a plain one.
func (s *Session) Protect(command []byte) ([]byte, error) {
	c, err := apdu.Parse(command)
	if err != nil {
		return nil, errors.Join(ErrCommand, err)
	}
	s.count()
	s.odd = c.INS&1 == 1
	var b []byte
	if len(c.Data) > 0 {
		b = s.cryptogram(nil, c.Data, s.odd)
	}
	switch {
	case c.Ne > 256 || c.Extended && c.Ne > 0:
		b = tlv.Append(b, tagLe, byte(c.Ne>>8), byte(c.Ne))
	case c.Ne > 0:
		b = tlv.Append(b, tagLe, byte(c.Ne))
	}
	cla := c.CLA | 0x0C
	s.begin([]byte{cla, c.INS, c.P1, c.P2})
	s.mac.write(b)
	b = tlv.Append(b, tagMAC, s.end(len(b) > 0)...)
	extended := c.Extended || len(b) > 255 || c.Ne > 256
	p := apdu.Command{CLA: cla, INS: c.INS, P1: c.P1, P2: c.P2, Data: b, Ne: 256, Extended: extended}
	if extended {
		p.Ne = 65536
	}
	return p.Append(nil), nil
}

// Unprotect is the terminal's: it checks a protected response and gives the plain one
// with the status word that was protected. After an error the session is over.
func (s *Session) Unprotect(response []byte) ([]byte, error) {
	data, sw, ok := apdu.Status(response)
	if !ok {
		return nil, ErrMissing
	}
	s.count()
	b := append([]byte{}, data...)
	o, err := split(b, false)
	switch {
	case err != nil:
		return nil, err
	case o.status == nil:
		return nil, ErrMissing
	case o.cryptogram != nil && o.odd != s.odd:
		return nil, ErrIncorrect
	}
	s.begin(nil)
	s.mac.write(o.covered)
	if subtle.ConstantTimeCompare(s.end(true), o.mac) != 1 {
		return nil, ErrIncorrect
	}
	if apdu.SW(o.status[0])<<8|apdu.SW(o.status[1]) != sw {
		return nil, ErrIncorrect // what was sent in plain is not what was protected
	}
	var plain []byte
	if o.cryptogram != nil {
		if plain, err = s.decipher(o.cryptogram); err != nil {
			return nil, err
		}
	}
	return sw.Append(plain), nil
}
