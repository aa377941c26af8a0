package piv

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"

	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Secure messaging of PIV (SP 800-73-4 part 2 4): one exchange by which both ends agree
// on keys and the card proves that it has the key of its certificate, then protected
// commands.
//
//	GENERAL AUTHENTICATE 27|2E 04   81 control, ID of the host, its ephemeral key
//	                              < 82 control, nonce, cryptogram, CVC of the card
//	0C xx                           87 97 8E   counter and chained MAC
//	                              < 87 99 8E
//
// Layouts are those that public implementations of both ends have: unverified, the text
// was not at hand.

// slotSecure is the reference of the key (part 1 table 4b).
const slotSecure = 0x04

// suite is a cipher suite (SP 800-78-4 table 7).
type suite struct {
	alg   byte
	name  string
	curve *ec.Curve
	key   int // length of AES keys
	nonce int
	id    byte // algorithm identifier of keys in the key derivation
	hash  crypto.Hash
}

var suites = [...]suite{
	{0x27, "cs2", ec.P256, 16, 16, 0x09, crypto.SHA256},
	{0x2E, "cs7", ec.P384, 32, 24, 0x0D, crypto.SHA384},
}

func suiteOf(alg byte) *suite {
	for i := range suites {
		if suites[i].alg == alg {
			return &suites[i]
		}
	}
	return nil
}

func (s *suite) digest(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	if s.hash == crypto.SHA384 {
		h := sha512.Sum384(b)
		return h[:]
	}
	h := sha256.Sum256(b)
	return h[:]
}

// secureKeys are the four keys of a session.
type secureKeys struct{ confirm, mac, enc, rmac []byte }

// derive is the one-step key derivation of SP 800-56A with the information of part 2
// 4.1.6: who took part, and with what.
func (s *suite) derive(z, idHost, ephemeral, idCard, nonce []byte) secureKeys {
	info := []byte{4, s.id, s.id, s.id, s.id, 8}
	info = append(info, idHost...)
	info = append(info, 1, 0, 16)
	info = append(info, ephemeral[1:17]...)
	info = append(append(info, 8), idCard...)
	info = append(append(info, byte(len(nonce))), nonce...)
	info = append(info, 1, 0)
	var b []byte
	for i := uint32(1); len(b) < 4*s.key; i++ {
		b = append(b, s.digest(binary.BigEndian.AppendUint32(nil, i), z, info)...)
	}
	n := s.key
	return secureKeys{b[:n], b[n : 2*n], b[2*n : 3*n], b[3*n : 4*n]}
}

// confirmation is the card's cryptogram (part 2 4.1.5).
func confirmation(key, idCard, idHost, ephemeral []byte) []byte {
	in := append([]byte("KC_1_V"), idCard...)
	return sm.CMAC(key, append(append(in, idHost...), ephemeral[1:]...))
}

// session is secure messaging of one side. Both sides use the same code: what the one
// sends the other checks.
type session struct {
	enc       cipher.Block
	mac, rmac []byte
	mcv, rmcv [16]byte // MAC chaining values of commands and responses
	count     uint32
}

func newSession(k secureKeys) *session {
	enc, err := aes.NewCipher(k.enc)
	if err != nil {
		panic("piv: a key of the wrong length")
	}
	return &session{enc: enc, mac: k.mac, rmac: k.rmac}
}

// iv is that of the message under way: the counter, of responses with 80 in front.
func (s *session) iv(first byte) []byte {
	iv := make([]byte, 16)
	iv[0] = first
	binary.BigEndian.PutUint32(iv[12:], s.count)
	s.enc.Encrypt(iv, iv)
	return iv
}

// open checks what is protected with a code over chain, head and all objects before it,
// and deciphers it. allowed is the tag between the cryptogram and the code: 97 or 99.
func (s *session) open(data, key, head []byte, chain *[16]byte, first byte, allowed tlv.Tag) (plain, between []byte, sw sdk.SW) {
	var cryptogram, code []byte
	covered := 0
	r := tlv.Read(data)
	for r.Next() && code == nil {
		switch {
		case r.Tag == 0x87 && cryptogram == nil && between == nil && len(r.Value) > 1 && r.Value[0] == 1 && len(r.Value)%16 == 1:
			cryptogram = r.Value[1:]
		case r.Tag == allowed && between == nil && len(r.Value) > 0:
			between = r.Value
		case r.Tag == 0x8E && len(r.Value) == 8:
			code = r.Value
			continue
		default:
			return nil, nil, swObjectsIncorrect
		}
		covered = len(data) - len(r.Rest())
	}
	switch {
	case r.Err() != nil:
		return nil, nil, swObjectsIncorrect
	case code == nil:
		return nil, nil, swObjectsMissing
	case len(tlv.Append(nil, 0x8E, code...))+covered != len(data):
		return nil, nil, swObjectsIncorrect
	}
	whole := sm.CMAC(key, append(append(append([]byte{}, chain[:]...), head...), data[:covered]...))
	if subtle.ConstantTimeCompare(whole[:8], code) != 1 {
		return nil, nil, swObjectsIncorrect
	}
	copy(chain[:], whole)
	if first == 0 {
		s.count++
	}
	if cryptogram != nil {
		plain = append([]byte{}, cryptogram...)
		cipher.NewCBCDecrypter(s.enc, s.iv(first)).CryptBlocks(plain, plain)
		p, ok := sm.Unpad(plain)
		if !ok {
			return nil, nil, swObjectsIncorrect
		}
		plain = p
	}
	return plain, between, apdu.OK
}

// seal protects plain and what stands between it and the code.
func (s *session) seal(plain, between, key, head []byte, chain *[16]byte, first byte) []byte {
	if first == 0 {
		s.count++
	}
	var out []byte
	if len(plain) > 0 {
		b := sm.Pad(append([]byte{}, plain...), 16)
		cipher.NewCBCEncrypter(s.enc, s.iv(first)).CryptBlocks(b, b)
		out = tlv.Append(nil, 0x87, append([]byte{1}, b...)...)
	}
	out = append(out, between...)
	whole := sm.CMAC(key, append(append(append([]byte{}, chain[:]...), head...), out...))
	copy(chain[:], whole)
	return tlv.Append(out, 0x8E, whole[:8]...)
}

// header is the class to P2 of a command with padding (part 2 4.2.3).
func header(ins, p1, p2 byte) []byte {
	return append([]byte{0x0C, ins, p1, p2, 0x80}, make([]byte, 11)...)
}

// Status words of secure messaging (part 2 table 8).
const (
	swObjectsMissing   sdk.SW = 0x6987
	swObjectsIncorrect sdk.SW = 0x6988
)

// establish is GENERAL AUTHENTICATE with key 04.
func (c *Card) establish(alg byte, challenge []byte, r *sdk.Response) sdk.SW {
	s := suiteOf(alg)
	if s == nil {
		return apdu.WrongP1P2
	}
	key, ok := sdk.NVM.Get(secureKey(alg))
	if !ok {
		return apdu.WrongP1P2
	}
	n := 1 + 2*s.curve.Size
	if len(challenge) != 9+n {
		return apdu.WrongData
	}
	if challenge[0]&0xF0 != 0 { // persistent binding and the like
		return swObjectsIncorrect
	}
	idHost, ephemeral := challenge[1:9], challenge[9:]
	point, err := s.curve.Parse(ephemeral)
	if err != nil {
		return apdu.WrongData
	}
	z, err := s.curve.SharedSecret(key, point)
	if err != nil {
		return apdu.WrongData
	}
	cvc, _ := sdk.NVM.Get(secureKey(alg) + "/cvc")
	id := sha256.Sum256(cvc)
	nonce := make([]byte, s.nonce)
	sdk.Random(nonce)
	k := s.derive(z, idHost, ephemeral, id[:8], nonce)
	c.secure, c.paired = newSession(k), false
	m := r.Begin(0x7C)
	v := r.Begin(tagResponse)
	r.Byte(0)
	r.Append(nonce)
	r.Append(confirmation(k.confirm, id[:8], idHost, ephemeral))
	r.Append(cvc)
	r.End(v)
	r.End(m)
	return apdu.OK
}

func secureKey(alg byte) string { return "sm/" + suiteOf(alg).name }

// protected carries out a command that came in secure messaging. A session that has seen
// anything wrong is over.
func (c *Card) protected(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	s := c.secure
	if s == nil {
		if _, ok := sdk.NVM.Get("sm/cs2"); !ok {
			if _, ok = sdk.NVM.Get("sm/cs7"); !ok {
				return apdu.SecureMessagingNotSup
			}
		}
		return apdu.SecurityNotSatisfied
	}
	plain, le, sw := s.open(cmd.Data, s.mac, header(cmd.INS, cmd.P1, cmd.P2), &s.mcv, 0, 0x97)
	if sw != apdu.OK {
		c.secure, c.paired = nil, false
		return sw
	}
	inner := sdk.Command{INS: cmd.INS, P1: cmd.P1, P2: cmd.P2, Data: plain, Extended: cmd.Extended}
	if le != nil {
		inner.Ne = apdu.MaxExtendedNe
	}
	c.within = true
	sw = c.plain(&inner, r)
	c.within = false
	if sw >= apdu.ExecutionError && sw <= 0x6FFF {
		r.Reset()
	}
	if c.secure == nil { // the command was its end
		return sw
	}
	r.Set(s.seal(r.Bytes(), tlv.Append(nil, 0x99, byte(sw>>8), byte(sw)), s.rmac, nil, &s.rmcv, 0x80))
	return sw
}

// virtual tells whether the command came over the virtual contact interface: in secure
// messaging, after the pairing code where there is one (part 1 5.5).
func (c *Card) virtual() bool {
	_, code := sdk.NVM.Get("pairing")
	return c.within && (c.paired || !code)
}

// refPairing is the key reference of the pairing code (part 1 table 4b).
const refPairing = 0x98

// pair is VERIFY of the pairing code (part 2 3.2.1): in secure messaging only, and it has
// no counter, being printed for everybody who holds the card.
func (c *Card) pair(cmd *sdk.Command) sdk.SW {
	code, ok := sdk.NVM.Get("pairing")
	switch {
	case !ok:
		return apdu.ReferencedDataNotFound
	case !c.within:
		return apdu.SecurityNotSatisfied
	case cmd.P1 == 0xFF && len(cmd.Data) == 0:
		c.paired = false
		return apdu.OK
	case cmd.P1 != 0:
		return apdu.WrongP1P2
	case len(cmd.Data) == 0:
		if c.paired {
			return apdu.OK
		}
		return 0x6300
	case len(cmd.Data) != len(code):
		return apdu.WrongData
	}
	c.paired = subtle.ConstantTimeCompare(code, cmd.Data) == 1
	if !c.paired {
		return 0x6300
	}
	return apdu.OK
}
