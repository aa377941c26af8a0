// Package issue is the issuer of travel documents: it turns a persona into what is on
// the chip, and into what inspection systems have to know to trust it.
//
//	persona (seed, mrtd) ─┬─ New ───> Chip      files, passwords, keys: the guest, mrtd
//	                      └─ Trust ─> Anchors   certificates, master list, CRL: sspemu persona eid
//
// Every key follows from the seed, so that the same persona is the same document for
// ever, certificates included. New runs in the guest.
//
// Sources: ICAO Doc 9303-10 (files and access), -11 (protocols), -12 (PKI); BSI
// TR-03110-1, -3 (extended access).
package issue

import "github.com/sspemu/sspemu/bundles/eid/lds"

// Chip is a travel document that is ready to be handed out.
type Chip struct {
	Files     []File
	Passwords Passwords
	BAC       bool    // basic access control is there
	PACE      []PACE  // in the order of EF.CardAccess; none: the chip has no PACE
	CA        []CAKey // chip authentication; none: the chip has none
	AA        *AAKey  // active authentication; nil: the chip has none
	TA        *TA     // terminal authentication; nil: the chip has none
	Defects   []Defect
}

// DF says in which directory a file is.
type DF byte

// The directories.
const (
	MF   DF = iota // master file
	LDS1           // the eMRTD application, lds.AID
)

// Access is the condition to read a file (Doc 9303-10 3.9, 3.11).
type Access byte

// Access conditions.
const (
	Always      Access = iota
	AfterPACE          // EF.CardSecurity
	AfterAccess        // BAC or PACE; always when the chip has neither
	Extended           // after terminal authentication with File.Right, in the session of chip authentication
)

// Rights of a terminal: bits of the last octet of the effective authorization (TR-03110-3 C.4.1).
const (
	RightDG3 byte = 0x01
	RightDG4 byte = 0x02
)

// File is one elementary file, transparent.
type File struct {
	DF     DF
	FID    uint16
	SFI    byte
	Access Access
	Right  byte   // of Extended: RightDG3 or RightDG4
	Data   []byte // whole content; its size is that of the file, whatever the TLV length in it says
}

// Passwords of BAC and PACE; "": the document has no such password.
type Passwords struct {
	MRZ string // MRZ information: document number, date of birth, date of expiry, each with its check digit (Doc 9303-11 4.3.2, 4.4.1)
	CAN string // card access number
	PIN string
	// PINTries is the retry counter of the PIN. MRZ and CAN never block.
	PINTries byte
}

// PACE is one way to do PACE that EF.CardAccess announces.
type PACE struct {
	lds.Protocol
	Parameters int    // standardized domain parameters (TR-03110-3 table 4): ec.ByID
	Static     []byte // private key of chip authentication mapping on these parameters; else nil
}

// CAKey is a key of chip authentication.
type CAKey struct {
	Protocols  []lds.Protocol // that may be used with it
	ID         int            // key reference; -1: the only key, without reference
	Parameters int            // standardized domain parameters: ec.ByID
	Private    []byte
	Public     []byte // 04||X||Y
}

// AAKey is the key of active authentication: one of RSA and ECDSA.
type AAKey struct {
	Hash Hash

	// RSA with ISO/IEC 9796-2 scheme 1: the primes, for internal/rsakey.
	P, Q     []byte
	Exponent uint32

	// ECDSA, plain signature r||s.
	Parameters int // ec.ByID, 0: RSA
	Private    []byte
}

// Hash is a hash function by the length of its output in bits; 1 is SHA-1.
type Hash int

// The hash functions.
const (
	SHA1   Hash = 1
	SHA224 Hash = 224
	SHA256 Hash = 256
	SHA384 Hash = 384
	SHA512 Hash = 512
)

// TA is what the chip begins terminal authentication with.
type TA struct {
	TrustPoints [][]byte // CV certificates (7F21) of CVCAs, newest first; two at most are used
	Date        [6]byte  // current date as the chip knows it: YYMMDD, one digit an octet
}

// Defect is a way in which the chip does not do what the standard says; the rest of
// what can be wrong is in files and keys.
type Defect string

// Defects of the protocols, done by mrtd.
const (
	DefectSSC       Defect = "wrong-ssc"          // responses are protected with a counter that is one too far
	DefectMAC       Defect = "wrong-mac"          // a bit of the MAC of each protected response is wrong
	DefectSMStatus  Defect = "wrong-protected-sw" // 99 says another status word than the response
	DefectNonce     Defect = "weak-nonce"         // the nonce of PACE is zero
	DefectToken     Defect = "wrong-token"        // authentication token of PACE is wrong
	DefectChallenge Defect = "constant-challenge" // GET CHALLENGE gives the same each time
	DefectCAMData   Defect = "wrong-cam-data"     // chip authentication data of PACE-CAM are of another key
	DefectAATrailer Defect = "wrong-aa-trailer"   // RSA: trailer of ISO/IEC 9796-2 wrong; ECDSA: s is changed
	DefectNoBAC     Defect = "no-access-control"  // files are read without BAC or PACE
	DefectShortRead Defect = "short-read"         // READ BINARY gives half of what was asked for, with 9000
	DefectEndless   Defect = "endless"            // READ BINARY behind the end of a file gives octets for ever
	DefectPlain     Defect = "plain-after-sm"     // errors in a session leave it standing, answers in plain are given
	DefectReflect   Defect = "reflected-key"      // PACE: the chip answers with the ephemeral key of the terminal
)

// Defects of what the issuer made, done by New; the chip behaves well.
const (
	DefectUnknownCSCA  Defect = "unknown-csca"         // another authority of the same name signed the document signer's certificate
	DefectRevoked      Defect = "revoked-ds"           // the CRL of the trust anchors names the document signer
	DefectSignature    Defect = "wrong-sod-signature"  // the signature of EF.SOD is that of other hashes
	DefectCountry      Defect = "wrong-sod-country"    // the document signer is of another state than the document
	DefectClonedAA     Defect = "cloned-aa"            // the key of active authentication is not that of data group 15
	DefectClonedCA     Defect = "cloned-ca"            // the keys of chip authentication are not those of data group 14
	DefectClonedCAM    Defect = "cloned-cam"           // the keys of chip authentication mapping are not those of EF.CardSecurity
	DefectCOMMore      Defect = "com-lists-more"       // EF.COM lists a data group that is nowhere else
	DefectCOMLess      Defect = "com-lists-less"       // EF.COM lists data groups 1 and 2 only
	DefectSODLess      Defect = "sod-lists-less"       // EF.SOD has no hash of the last data group
	DefectCardSecurity Defect = "cardsecurity-differs" // EF.CardAccess has a protocol that EF.CardSecurity and data group 14 have not
	DefectCheckDigit   Defect = "wrong-check-digit"    // the composite check digit of data group 1 is wrong
)

// Has tells whether the chip has a defect.
func (c *Chip) Has(d Defect) bool {
	for _, x := range c.Defects {
		if x == d {
			return true
		}
	}
	return false
}

// String is the name of the hash function: SHA-256.
func (h Hash) String() string {
	if h == SHA1 {
		return "SHA-1"
	}
	return "SHA-" + string([]byte{'0' + byte(h/100), '0' + byte(h/10%10), '0' + byte(h%10)})
}

func (a Access) String() string {
	return [...]string{"always", "PACE", "BAC or PACE", "terminal authentication"}[a]
}

// Name is the name of the file: EF.SOD, DG1.
func (f *File) Name() string {
	switch {
	case f.FID == lds.FIDATRInfo:
		return "EF.ATR/INFO"
	case f.FID == lds.FIDDIR:
		return "EF.DIR"
	case f.DF == MF && f.FID == lds.FIDCardAccess:
		return "EF.CardAccess"
	case f.DF == MF && f.FID == lds.FIDCardSecurity:
		return "EF.CardSecurity"
	case f.FID == lds.FIDCOM:
		return "EF.COM"
	case f.FID == lds.FIDSOD:
		return "EF.SOD"
	case f.FID == lds.FIDCVCA:
		return "EF.CVCA"
	}
	n := f.FID & 0xFF
	if n > 9 {
		return "DG1" + string(rune('0'+n-10))
	}
	return "DG" + string(rune('0'+n))
}
