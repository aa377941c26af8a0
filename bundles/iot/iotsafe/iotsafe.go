// Package iotsafe holds the code points of GSMA IoT.05 (IoT Security Applet Interface
// Description, version 1.0, December 2019): instructions, tags, values, status words.
// The applet and the device use the same table.
//
//	applet (bundles/iot) ── iotsafe ── device (bundles/iot/host)
//
// It is a leaf and safe inside a guest.
//
// Sources. The text of IoT.05 was not at hand; the code points are those that public
// clients and applets of it use, and the letters behind them say which:
//
//	O  Orange-OpenSource/IoT-SAFE-APDU-library, src/iot_safe.h, iot_safe_internal.h
//	T  ThalesGroup/iot-safe-middleware, iotsafelib, and iot-safe-middleware-pkcs11
//	W  wolfSSL, wolfcrypt/port/iotsafe (it names clauses 2.5.1 to 2.5.14)
//	N  an applet by NTT, described in namiops/latte-ai, ns/iot/demo/e-sim/doc (it names
//	   clauses 2.5.7 and 2.14.4)
//
// What none of them says is marked unverified, with what it is based on.
package iotsafe

import "github.com/sspemu/sspemu/internal/apdu"

// AIDs that public middleware selects.
const (
	AID       = "A0000005590010"                 // O, W
	AIDThales = "A00000003053F12401770101495341" // T: its first version; ends in "ISA"
)

// Instructions. Clients use class 00 (O, T) and 80 (W), with the logical channel.
const (
	PutPublicKeyInit       = 0x24 // O T W
	ComputeSignatureInit   = 0x2A // O T W
	ComputeSignatureUpdate = 0x2B // O T W
	VerifySignatureInit    = 0x2C // O W
	VerifySignatureUpdate  = 0x2D // O W
	ComputeDH              = 0x46 // O T W
	ComputePRF             = 0x48 // O T
	ComputeHKDF            = 0x4A // O W: it is HKDF-Extract
	GetRandom              = 0x84 // O T W
	ReadFile               = 0xB0 // O T W: P1 P2 are the offset
	GenerateKeyPair        = 0xB9 // O T W
	GetData                = 0xCB // O T W
	ReadPublicKey          = 0xCD // O T W
	PutPublicKeyUpdate     = 0xD8 // O T W
)

// Instructions of remote administration, in scripts of a security domain. unverified: what
// IoT.05 uses is not public; these are GlobalPlatform's.
const (
	StoreData = 0xE2 // reference and content in blocks: P1 00 or 80 (last), P2 their number
	Delete    = 0xE4 // a reference
)

// P1 of GET DATA. A list that does not fit in an answer ends with 6300; P2 then asks
// for the next part (T).
const (
	DataApplication = 0x00 // O
	DataObjectList  = 0x01 // O T
	DataFirst       = 0x00 // P2 (O T)
	DataNext        = 0x01 // P2 (T)
	// Else the tag of an information object: InfoPrivateKey to InfoSecretKey (O W).
)

// P1 of the INIT commands, P2 is the number of the session; P1 of the UPDATE commands.
const (
	SessionOpen  = 0x00 // O T W
	SessionClose = 0x01 // O T W
	MoreBlocks   = 0x00 // T
	LastBlock    = 0x80 // O T W
)

// P1 of COMPUTE PRF (T): what the secret of the PRF is made of.
const (
	PRFGeneral  = 0x00 // the secret of the command
	PRFPSK      = 0x01 // a pre-shared key: RFC 4279 clause 2
	PRFPSKECDHE = 0x02 // a pre-shared key and the result of ECDH: RFC 5489 clause 2
)

// Tags. All have one byte; lengths are those of BER (N: ETSI TS 101 220 7.1.2), but
// see Signature.
const (
	TagVersion      = 0x10 // O: one byte
	TagAppletID     = 0x11 // O: 32 bytes
	TagFileSize     = 0x20 // O T W N: two bytes, the high one first (T W N)
	TagFileUsage    = 0x21 // O T
	TagSignature    = 0x33 // O T W; the length: O T BER, W two bytes, T two bytes for RSA
	TagPublicKey    = 0x34 // O T W
	TagState        = 0x4A // O T W
	TagKeyType      = 0x4B // O T W N
	TagKeyUsage     = 0x4E // O T W
	TagAccess       = 0x60 // O T W
	TagFunctions    = 0x61 // O T W: of a key
	TagAgreement    = 0x6F // O T W: of a key
	TagFileLabel    = 0x73 // O T N
	TagPrivateLabel = 0x74 // O T N
	TagPublicLabel  = 0x75 // O T N
	TagSecretLabel  = 0x76 // O T
	TagFileID       = 0x83 // O T W N
	TagPrivateID    = 0x84 // O T W N
	TagPublicID     = 0x85 // O T W N
	TagSecretID     = 0x86 // O T
	TagFunctionsAll = 0x90 // O: of the applet
	TagHash         = 0x91 // O T W: two bytes
	TagSignatureAlg = 0x92 // O T W
	TagAgreementAll = 0x93 // O: of the applet
	TagDerivation   = 0x94 // O
	TagLastBlock    = 0x9A // O T: at most 128 bytes (T)
	TagText         = 0x9B // O T: data to be signed
	TagIntermediate = 0x9C // O T: intermediate hash, 32 to 64 bytes (T)
	TagHashed       = 0x9D // O T: number of bytes hashed before, four bytes (T)
	TagDigest       = 0x9E // O T W: final hash
	TagMode         = 0xA1 // O T W
	TagMaxFiles     = 0xB1 // O
	TagMaxPrivate   = 0xB2 // O
	TagMaxPublic    = 0xB3 // O
	TagMaxSecret    = 0xB4 // O
	TagMaxSessions  = 0xB7 // O
	InfoPrivateKey  = 0xC1 // O T
	InfoPublicKey   = 0xC2 // O T
	InfoFile        = 0xC3 // O T W
	InfoSecretKey   = 0xC4 // O T
	TagSecret       = 0xD1 // O T W: of PRF, input keying material of HKDF
	TagLabelSeed    = 0xD2 // O T: label and seed of the PRF
	TagLength       = 0xD3 // O T: pseudo random length, one byte (T)
	TagPremaster    = 0xD4 // T: the result of ECDH, for PRFPSKECDHE
	TagSalt         = 0xD5 // O W
)

// TagContent is new content of a file or a secret key in StoreData. unverified: chosen,
// discretionary data of ISO/IEC 7816-4; that of a public key is TagPublicKey.
const TagContent = 0x53

// Inside TagPublicKey.
const (
	TagECKey   = 0x49 // T W (W calls it clause 2.5.7): holds TagECPoint
	TagECPoint = 0x86 // T W: uncompressed, 04 X Y
	// unverified: IoT.05 has an RSA public key as well, no client reads one. As in
	// ISO/IEC 7816-8 the modulus is 81 and the exponent 82, in the same template.
	TagModulus  = 0x81
	TagExponent = 0x82
)

// Lengths of references.
const (
	MaxLabel    = 60 // O
	MaxID       = 20 // O
	AppletIDLen = 32 // O
)

// Hash algorithms, a bit each (O T W, clause 2.5.1).
const (
	SHA256 = 0x01
	SHA384 = 0x02
	SHA512 = 0x04
)

// Signature algorithms, a bit each (O T W, clause 2.5.2).
const (
	RSAPKCS1 = 0x01
	RSAPSS   = 0x02
	ECDSA    = 0x04
)

// ECKA is ECKAS-DH1 of IEEE 1363 (O W, clause 2.5.3): the x coordinate.
const ECKA = 0x01

// Key derivation algorithms, a bit each (O W, clause 2.5.4).
const (
	PRFSHA256 = 0x01
	HKDF      = 0x02
)

// Cryptographic functions, a bit each (O W).
const (
	FuncSignature  = 0x01
	FuncGeneration = 0x02
	FuncAgreement  = 0x04
	FuncDerivation = 0x08
)

// Key types.
const (
	RSA2048      = 0x03 // O W
	P256         = 0x13 // O T W N
	P256Volatile = 0x14 // O T W
	// unverified: version 1 of IoT.05 has no P-384; these follow the pattern of the
	// others and are not known to any client.
	P384         = 0x33
	P384Volatile = 0x34
	// facts of the type list; which of the two is volatile is unverified, after the
	// pattern of P-256.
	BrainpoolP256         = 0x23
	BrainpoolP256Volatile = 0x24
	HMAC                  = 0xA0 // O T W
)

// Key usages (O W): a hint for the device; the applet reports them.
const (
	UsageGeneral = 0x01
	UsageTLS12   = 0x02
	UsageTLS13   = 0x03
)

// File usages (O T).
const (
	FileGeneral     = 0x01
	FileCertificate = 0x02
)

// Access conditions of an object, a bit each (O W).
const (
	AccessRead   = 0x01
	AccessUpdate = 0x02
)

// States of an object (O W).
const (
	Deactivated = 0x00 // the container is empty
	Activated   = 0x01
)

// Modes of operation of signature commands (O T W, clause 2.5.14).
const (
	FullText   = 0x01
	LastOfText = 0x02 // all but the last block was hashed outside
	PadAndSign = 0x03 // all was hashed outside
)

// Status words (O) that ISO/IEC 7816-4 does not have, or to which IoT.05 gives a
// meaning of its own. 63CF and 6984 are for remote administration, and so is 6989. When
// they come is unverified: here 6984 answers UPDATE in a session whose object was changed,
// 6989 also INIT for an object whose new content is under way, 63CF the first GET DATA
// after objects were changed.
const (
	SWAdministered apdu.SW = 0x63CF
	SWMoreData     apdu.SW = 0x6300 // GET DATA: ask again with P2 01
	SWIntegrity    apdu.SW = 0x6400 // the content of the object is damaged
	SWCapacity     apdu.SW = 0x6989 // no session is free
	SWMismatch     apdu.SW = 0x6D01 // the signature is not right
)

// Words says what a status word of the applet means.
func Words(sw apdu.SW) string {
	switch sw {
	case SWMoreData:
		return "more data available"
	case SWAdministered:
		return "done, and remote administration has changed objects"
	case SWIntegrity:
		return "integrity of the applet store"
	case apdu.CommandIncompatible:
		return "the object cannot do that"
	case apdu.ReferencedDataInvalid:
		return "referenced data invalidated: remote administration has changed the object"
	case apdu.ConditionsNotSatisfied:
		return "conditions of use not satisfied: state or access condition of the object, or order of the commands"
	case SWCapacity:
		return "no session is free, or remote administration of the object is under way"
	case apdu.WrongData:
		return "incorrect data"
	case apdu.FileNotFound:
		return "object not found, or no such applet"
	case SWMismatch:
		return "the signature does not match"
	}
	return sw.Words()
}

// Volatile tells whether a key of this type is lost with power.
func Volatile(keyType byte) bool {
	return keyType == P256Volatile || keyType == P384Volatile || keyType == BrainpoolP256Volatile
}

// TypeName is what the persona calls a key type; "" for none.
func TypeName(keyType byte) string {
	switch keyType {
	case RSA2048:
		return "rsa2048"
	case P256:
		return "p256"
	case P256Volatile:
		return "p256-volatile"
	case P384:
		return "p384"
	case P384Volatile:
		return "p384-volatile"
	case BrainpoolP256:
		return "brainpoolP256r1"
	case BrainpoolP256Volatile:
		return "brainpoolP256r1-volatile"
	case HMAC:
		return "hmac"
	}
	return ""
}
