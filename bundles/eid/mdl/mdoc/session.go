package mdoc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
)

// Version is that of engagement, request, response and MSO.
const Version = "1.0"

// Status codes of SessionData (ISO/IEC 18013-5 9.1.1.4, table 20).
const (
	StatusEncryption  = 10 // session encryption error
	StatusCBOR        = 11 // CBOR decoding error
	StatusTermination = 20 // session termination
)

// cipherSuite 1: ECDH, HKDF-SHA-256, AES-256-GCM (9.1.5.2, table 22).
const cipherSuite = 1

// Retrieval by NFC in a DeviceEngagement (8.2.1.1): type 1, version 1.
const (
	retrievalNFC   = 1
	optionCommand  = 0
	optionResponse = 1
)

// Engagement is the DeviceEngagement of a document holder.
type Engagement struct {
	Key PublicKey // EDeviceKey
	// Retrieval by NFC: the longest command and response data, 0: not told (static
	// handover tells it in a record of its own).
	Command, Response int
}

// Encode is the DeviceEngagement (8.2.1.1).
func (e Engagement) Encode() []byte {
	n := 2
	if e.Command > 0 {
		n = 3
	}
	b := AppendText(AppendInt(AppendMap(nil, n), 0), Version)
	b = AppendInt(AppendArray(AppendInt(b, 1), 2), cipherSuite)
	b = append(b, Encoded24(e.Key.CoseKey())...)
	if e.Command > 0 {
		b = AppendArray(AppendArray(AppendInt(b, 2), 1), 3)
		b = AppendInt(AppendInt(b, retrievalNFC), 1)
		b = AppendInt(AppendInt(AppendMap(b, 2), optionCommand), int64(e.Command))
		b = AppendInt(AppendInt(b, optionResponse), int64(e.Response))
	}
	return b
}

// ParseEngagement reads a DeviceEngagement; other ways of retrieval than NFC are left out.
func ParseEngagement(b []byte) (e Engagement, err error) {
	v, err := Decode(b)
	if err != nil {
		return e, err
	}
	version, ok := v.At(0).Text()
	if !ok || len(version) < 2 || version[:2] != "1." {
		return e, ErrType
	}
	sec, _ := v.At(1).Array()
	if len(sec) != 2 {
		return e, ErrType
	}
	if suite, ok := sec[0].Int(); !ok || suite != cipherSuite {
		return e, errors.New("mdoc: a cipher suite that is not known")
	}
	raw, ok := sec[1].Encoded()
	if !ok {
		return e, ErrType
	}
	k, err := Decode(raw)
	if err != nil {
		return e, err
	}
	if e.Key, err = ParseCoseKey(k); err != nil {
		return e, err
	}
	methods, _ := v.At(2).Array()
	for _, m := range methods {
		a, _ := m.Array()
		if len(a) < 3 {
			return e, ErrType
		}
		if t, _ := a[0].Int(); t == retrievalNFC {
			e.Command, _ = a[2].At(optionCommand).Int()
			e.Response, _ = a[2].At(optionResponse).Int()
		}
	}
	return e, nil
}

// NFCHandover is the handover of NFC: the Handover Select message, and the Handover
// Request message unless the handover was static (9.1.5.1).
func NFCHandover(sel, req []byte) []byte {
	b := AppendBytes(AppendArray(nil, 2), sel)
	if req == nil {
		return AppendNull(b)
	}
	return AppendBytes(b, req)
}

// QRHandover is the handover of a QR code: null.
func QRHandover() []byte { return AppendNull(nil) }

// Transcript is the SessionTranscript (9.1.5.1) of octets as they went over the line: the
// DeviceEngagement, the COSE_Key of the reader, the encoded handover.
func Transcript(engagement, readerKey, handover []byte) []byte {
	b := AppendArray(nil, 3)
	b = append(b, Encoded24(engagement)...)
	b = append(b, Encoded24(readerKey)...)
	return append(b, handover...)
}

// Message is a SessionEstablishment or SessionData (9.1.1.4).
type Message struct {
	ReaderKey []byte // COSE_Key as it was sent: SessionEstablishment only
	Data      []byte // encrypted; nil: there is none
	Status    int    // 0: there is none
}

// Encode is the message.
func (m Message) Encode() []byte {
	n := 0
	for _, there := range []bool{m.ReaderKey != nil, m.Data != nil, m.Status != 0} {
		if there {
			n++
		}
	}
	b := AppendMap(nil, n)
	if m.ReaderKey != nil {
		b = append(AppendText(b, "eReaderKey"), Encoded24(m.ReaderKey)...)
	}
	if m.Data != nil {
		b = AppendBytes(AppendText(b, "data"), m.Data)
	}
	if m.Status != 0 {
		b = AppendInt(AppendText(b, "status"), int64(m.Status))
	}
	return b
}

// ParseMessage reads a message.
func ParseMessage(b []byte) (m Message, err error) {
	v, err := Decode(b)
	if err != nil {
		return m, err
	}
	if !v.IsMap() {
		return m, ErrType
	}
	ok := true
	if k := v.Get("eReaderKey"); k.Exists() {
		if m.ReaderKey, ok = k.Encoded(); !ok {
			return m, ErrType
		}
	}
	if d := v.Get("data"); d.Exists() {
		if m.Data, ok = d.Bytes(); !ok {
			return m, ErrType
		}
	}
	if s := v.Get("status"); s.Exists() {
		if m.Status, ok = s.Int(); !ok || m.Status <= 0 {
			return m, ErrType
		}
	}
	if m.Data == nil && (m.Status == 0 || m.ReaderKey != nil) {
		return m, ErrType
	}
	return m, nil
}

// Session is an encrypted session, at either end (9.1.1.5).
type Session struct {
	send, receive     cipher.AEAD
	sendID, receiveID byte
	sent, received    uint32
	Transcript        []byte
}

// identifiers of 9.1.1.5, the last of eight octets.
const (
	idReader = 0
	idDevice = 1
)

// ErrDecrypt: a message is not of this session, or not the next one.
var ErrDecrypt = errors.New("mdoc: the message cannot be decrypted")

// NewSession makes the session keys of the secret that both ephemeral keys give.
func NewSession(secret, transcript []byte, device bool) (*Session, error) {
	aead := func(info string) (cipher.AEAD, error) {
		k, err := SessionKey(secret, transcript, info)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	}
	r, err := aead("SKReader")
	if err != nil {
		return nil, err
	}
	d, err := aead("SKDevice")
	if err != nil {
		return nil, err
	}
	if device {
		return &Session{send: d, receive: r, sendID: idDevice, receiveID: idReader, Transcript: transcript}, nil
	}
	return &Session{send: r, receive: d, sendID: idReader, receiveID: idDevice, Transcript: transcript}, nil
}

// SessionKey is HKDF with SHA-256, salted with the hash of SessionTranscriptBytes: info is
// SKReader, SKDevice or EMacKey (9.1.1.5, 9.1.3.5).
func SessionKey(secret, transcript []byte, info string) ([]byte, error) {
	salt := sha256.Sum256(Encoded24(transcript))
	return hkdf.Key(sha256.New, secret, salt[:], info, 32)
}

// nonce is the identifier and the counter, which begins with 1.
func nonce(id byte, n uint32) []byte {
	return []byte{0, 0, 0, 0, 0, 0, 0, id, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// Seal encrypts the next message.
func (s *Session) Seal(plain []byte) []byte {
	s.sent++
	return s.send.Seal(nil, nonce(s.sendID, s.sent), plain, nil)
}

// Open decrypts the next message of the other end.
func (s *Session) Open(data []byte) ([]byte, error) {
	s.received++
	plain, err := s.receive.Open(nil, nonce(s.receiveID, s.received), data, nil)
	if err != nil {
		return nil, ErrDecrypt
	}
	return plain, nil
}
