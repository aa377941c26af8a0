package lds

// Protocol is a security protocol that a chip announces in a SecurityInfo: the object
// identifier and what it means.
type Protocol struct {
	Name      string // "id-PACE-ECDH-GM-AES-CBC-CMAC-128"
	OID       []byte // contents octets of the DER encoding
	Kind      Kind
	Agreement Agreement // of PACE, chip authentication and its public keys
	Mapping   Mapping   // of PACE
	Cipher    Cipher    // of the secure messaging that follows
}

// Kind is what a protocol is for.
type Kind byte

// The kinds of protocols.
const (
	KindPACE      Kind = iota + 1 // id-PACE-…
	KindPublicKey                 // id-PK-…: a public key for chip authentication
	KindCA                        // id-CA-…
	KindTA                        // id-TA
	KindAA                        // id-icao-mrtd-security-aaProtocolObject
)

// Agreement is the kind of key agreement.
type Agreement byte

// The key agreements.
const (
	DH Agreement = iota + 1
	ECDH
)

// Mapping is how PACE maps the nonce.
type Mapping byte

// The mappings of PACE.
const (
	Generic Mapping = iota + 1
	Integrated
	ChipAuthentication // generic, and the chip proves its static key
)

// Cipher is what secure messaging is made of. The values are the last arc of the
// object identifiers.
type Cipher byte

// The ciphers of secure messaging.
const (
	TDES   Cipher = 1 // 3DES in CBC mode, retail MAC
	AES128 Cipher = 2 // AES in CBC mode, CMAC
	AES192 Cipher = 3
	AES256 Cipher = 4
)

// Object identifiers of TR-03110-3 A.1.1 and Doc 9303-11 9.2: contents octets.
const (
	oidPK   = "\x04\x00\x7F\x00\x07\x02\x02\x01" // 0.4.0.127.0.7.2.2.1
	oidTA   = "\x04\x00\x7F\x00\x07\x02\x02\x02"
	oidCA   = "\x04\x00\x7F\x00\x07\x02\x02\x03"
	oidPACE = "\x04\x00\x7F\x00\x07\x02\x02\x04"
	oidAA   = "\x67\x81\x08\x01\x01\x05" // 2.23.136.1.1.5
)

var ciphers = []string{"3DES-CBC-CBC", "AES-CBC-CMAC-128", "AES-CBC-CMAC-192", "AES-CBC-CMAC-256"}

// Protocols are those of Doc 9303-11 9.2.
var Protocols = protocols()

func protocols() (all []Protocol) {
	add := func(kind Kind, name, oid string, a Agreement, m Mapping, lowest Cipher) {
		for c := lowest; c <= AES256; c++ {
			all = append(all, Protocol{Name: name + ciphers[c-1], OID: append([]byte(oid), byte(c)), Kind: kind, Agreement: a, Mapping: m, Cipher: c})
		}
	}
	add(KindPACE, "id-PACE-DH-GM-", oidPACE+"\x01", DH, Generic, TDES)
	add(KindPACE, "id-PACE-ECDH-GM-", oidPACE+"\x02", ECDH, Generic, TDES)
	add(KindPACE, "id-PACE-DH-IM-", oidPACE+"\x03", DH, Integrated, TDES)
	add(KindPACE, "id-PACE-ECDH-IM-", oidPACE+"\x04", ECDH, Integrated, TDES)
	add(KindPACE, "id-PACE-ECDH-CAM-", oidPACE+"\x06", ECDH, ChipAuthentication, AES128)
	add(KindCA, "id-CA-DH-", oidCA+"\x01", DH, 0, TDES)
	add(KindCA, "id-CA-ECDH-", oidCA+"\x02", ECDH, 0, TDES)
	return append(all,
		Protocol{Name: "id-PK-DH", OID: []byte(oidPK + "\x01"), Kind: KindPublicKey, Agreement: DH},
		Protocol{Name: "id-PK-ECDH", OID: []byte(oidPK + "\x02"), Kind: KindPublicKey, Agreement: ECDH},
		Protocol{Name: "id-TA", OID: []byte(oidTA), Kind: KindTA},
		Protocol{Name: "id-icao-mrtd-security-aaProtocolObject", OID: []byte(oidAA), Kind: KindAA},
	)
}

// ProtocolByOID finds a protocol by its object identifier.
func ProtocolByOID(oid []byte) (Protocol, bool) {
	for _, p := range Protocols {
		if string(p.OID) == string(oid) {
			return p, true
		}
	}
	return Protocol{}, false
}

// Find finds a protocol by what it is.
func Find(k Kind, a Agreement, m Mapping, c Cipher) (Protocol, bool) {
	for _, p := range Protocols {
		if p.Kind == k && p.Agreement == a && p.Mapping == m && p.Cipher == c {
			return p, true
		}
	}
	return Protocol{}, false
}
