// Package tlspsk is TLS 1.2 with a key that both ends have: what protects the
// administration of a card over HTTP (SCP81). Go's crypto/tls has no such keys.
//
//	octets of the peer ──> Feed ──> Conn ──> Read  ──> what the peer says
//	octets for the peer <─ Output ─  │  <─── Write <── what is to be said
//	                                 │
//	          conn.go: the handshake, both ends; record.go: records and their protection
//
// A Conn is a state machine: it has no network, no goroutine, and never waits, so that it
// works inside a guest. The card is the client, the server of an administrator the other
// end. It is a leaf.
//
// Nothing is resumed and nothing renegotiated. Errors of a record are told apart for
// nobody; how long it takes to find one is not hidden (an emulator has nothing to hide in
// time).
//
// Sources: RFC 5246 (TLS 1.2), RFC 4279 (pre-shared keys), RFC 5487 (the cipher suites),
// RFC 5288 (GCM), RFC 6066 clause 4 (length of fragments), RFC 5746 (renegotiation), RFC
// 7627 (extended master secret). Which suites an SCP81 card has is recalled from
// GlobalPlatform Amendment B (unverified).
package tlspsk

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
)

// Cipher suites.
const (
	AES128GCM uint16 = 0x00A8 // TLS_PSK_WITH_AES_128_GCM_SHA256 (RFC 5487 2)
	AES128CBC uint16 = 0x00AE // TLS_PSK_WITH_AES_128_CBC_SHA256 (RFC 5487 3.1)
	Null      uint16 = 0x00B0 // TLS_PSK_WITH_NULL_SHA256: integrity alone (RFC 5487 3.1)
	scsv      uint16 = 0x00FF // TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 3.3)
)

// Default are the suites of a Config without any.
var Default = []uint16{AES128GCM, AES128CBC}

// SuiteName is the name of a cipher suite.
func SuiteName(s uint16) string {
	switch s {
	case AES128GCM:
		return "TLS_PSK_WITH_AES_128_GCM_SHA256"
	case AES128CBC:
		return "TLS_PSK_WITH_AES_128_CBC_SHA256"
	case Null:
		return "TLS_PSK_WITH_NULL_SHA256"
	}
	return "no suite"
}

// Config is what an end knows.
type Config struct {
	Random func([]byte) // fills with random octets
	Suites []uint16     // in the order of preference; nil: Default

	// Of the client.
	Identity, Key []byte
	Fragment      int // longest fragment to ask for: 512, 1024, 2048 or 4096 octets; 0: as TLS has it

	// Of the server: the key of an identity, nil for one that is not known.
	Lookup func(identity []byte) []byte
}

// Alert is the description of an alert (RFC 5246 7.2).
type Alert byte

// The alerts that are sent.
const (
	closeNotify       Alert = 0
	UnexpectedMessage Alert = 10
	BadRecordMAC      Alert = 20
	RecordOverflow    Alert = 22
	HandshakeFailure  Alert = 40
	IllegalParameter  Alert = 47
	DecodeError       Alert = 50
	DecryptError      Alert = 51
	ProtocolVersion   Alert = 70
	InternalError     Alert = 80
	noRenegotiation   Alert = 100
	UnknownIdentity   Alert = 115 // unknown_psk_identity (RFC 4279 2)

	UnsupportedExtension Alert = 110
)

var alertNames = map[Alert]string{
	closeNotify: "close_notify", UnexpectedMessage: "unexpected_message", BadRecordMAC: "bad_record_mac", RecordOverflow: "record_overflow",
	HandshakeFailure: "handshake_failure", IllegalParameter: "illegal_parameter", DecodeError: "decode_error", DecryptError: "decrypt_error",
	ProtocolVersion: "protocol_version", InternalError: "internal_error", noRenegotiation: "no_renegotiation", UnknownIdentity: "unknown_psk_identity", UnsupportedExtension: "unsupported_extension",
}

func (a Alert) String() string {
	if n := alertNames[a]; n != "" {
		return n
	}
	return "alert " + string([]byte{'0' + byte(a)/100, '0' + byte(a)/10%10, '0' + byte(a)%10})
}

// Error is a fatal alert that ended the connection: this end sent it, or the peer did.
type Error struct {
	Alert  Alert
	Remote bool // the peer's
}

func (e *Error) Error() string {
	if e.Remote {
		return "tlspsk: the peer ended the session: " + e.Alert.String()
	}
	return "tlspsk: " + e.Alert.String()
}

// What is refused before there is anything to send.
var (
	ErrState  = errors.New("tlspsk: there is no session to write to")
	ErrClosed = errors.New("tlspsk: the session is over")
)

// prf is the pseudo random function with SHA-256 (RFC 5246 5).
func prf(n int, secret []byte, label string, seeds ...[]byte) []byte {
	seed := []byte(label)
	for _, s := range seeds {
		seed = append(seed, s...)
	}
	h := hmac.New(sha256.New, secret)
	sum := func(parts ...[]byte) []byte {
		h.Reset()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

// premaster is that of a pre-shared key alone (RFC 4279 2).
func premaster(key []byte) []byte {
	n := []byte{byte(len(key) >> 8), byte(len(key))}
	b := append(append([]byte{}, n...), make([]byte, len(key))...)
	return append(append(b, n...), key...)
}
