package tlspsk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// Types of records (RFC 5246 6.2.1).
const (
	changeCipherSpec byte = 20
	alertRecord      byte = 21
	handshake        byte = 22
	applicationData  byte = 23
)

const (
	maxPlain  = 1 << 14 // octets of a fragment (6.2.1)
	maxCipher = maxPlain + 2048
	version   = 0x0303
	macSize   = sha256.Size
)

// protection is that of the records of one direction. The zero value is none.
type protection struct {
	suite uint16
	mac   []byte
	block cipher.Block
	aead  cipher.AEAD
	salt  []byte
	seq   uint64
}

// sizes of the keys of a suite: MAC, cipher, salt.
func sizes(suite uint16) (mac, key, salt int) {
	switch suite {
	case AES128GCM:
		return 0, 16, 4
	case AES128CBC:
		return macSize, 16, 0
	}
	return macSize, 0, 0
}

func protect(suite uint16, mac, key, salt []byte) (p protection, err error) {
	p = protection{suite: suite, mac: mac, salt: salt}
	if len(key) > 0 {
		if p.block, err = aes.NewCipher(key); err != nil {
			return p, err
		}
	}
	if suite == AES128GCM {
		p.aead, err = cipher.NewGCM(p.block)
	}
	return p, err
}

// head is what a code is over beside the fragment.
func (p *protection) head(typ byte, n int) []byte {
	b := binary.BigEndian.AppendUint64(nil, p.seq)
	return append(b, typ, version>>8, version&0xFF, byte(n>>8), byte(n))
}

func (p *protection) code(typ byte, fragment []byte) []byte {
	h := hmac.New(sha256.New, p.mac)
	h.Write(p.head(typ, len(fragment)))
	h.Write(fragment)
	return h.Sum(nil)
}

// seal is the fragment of a record, protected.
func (p *protection) seal(typ byte, plain []byte, random func([]byte)) (b []byte) {
	switch p.suite {
	case 0:
		return plain
	case AES128GCM:
		b = binary.BigEndian.AppendUint64(nil, p.seq) // an explicit nonce that never comes again (RFC 5288 3)
		b = p.aead.Seal(b, append(append([]byte{}, p.salt...), b...), plain, p.head(typ, len(plain)))
	default:
		b = append(append([]byte{}, plain...), p.code(typ, plain)...)
		if p.suite == AES128CBC {
			pad := 15 - len(b)%16
			for range pad + 1 {
				b = append(b, byte(pad))
			}
			iv := make([]byte, 16)
			random(iv)
			cipher.NewCBCEncrypter(p.block, iv).CryptBlocks(b, b)
			b = append(iv, b...)
		}
	}
	p.seq++
	return b
}

// open takes the protection off; false for whatever is wrong.
func (p *protection) open(typ byte, b []byte) (plain []byte, ok bool) {
	switch p.suite {
	case 0:
		return b, true
	case AES128GCM:
		if len(b) < 8+16 {
			return nil, false
		}
		plain, err := p.aead.Open(nil, append(append([]byte{}, p.salt...), b[:8]...), b[8:], p.head(typ, len(b)-8-16))
		if err != nil {
			return nil, false
		}
		p.seq++
		return plain, true
	case AES128CBC:
		if len(b) < 16+48 || len(b)%16 != 0 {
			return nil, false
		}
		iv, in := b[:16], append([]byte{}, b[16:]...)
		cipher.NewCBCDecrypter(p.block, iv).CryptBlocks(in, in)
		pad := int(in[len(in)-1])
		ok = len(in) >= pad+1+macSize
		if !ok {
			pad = 0 // goes on, as if it were right
		}
		for _, x := range in[len(in)-1-pad:] {
			ok = ok && x == byte(pad)
		}
		b = in[:len(in)-1-pad]
	default:
		ok = true
	}
	if len(b) < macSize {
		return nil, false
	}
	plain, code := b[:len(b)-macSize], b[len(b)-macSize:]
	if subtle.ConstantTimeCompare(p.code(typ, plain), code) != 1 || !ok {
		return nil, false
	}
	p.seq++
	return plain, true
}
