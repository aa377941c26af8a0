// Package profile is the persona of the payment bundle as a Go value, and the keys
// that follow from it. The card reads it when it is personalised, the issuer host and
// the terminal to know the other half of each key.
//
//	persona.yaml ── CBOR ──> Read ──> Profile ─┬─> card: applications, records, rules
//	                                           ├─> issuer host: master keys
//	                                           └─> terminal: certification authorities
//
// Every key that the persona does not give comes from its seed, so that the same
// persona is the same card for ever, certificates included (Keys).
//
// Sources: EMV 4.4 Book 1 (application selection), Book 2 (keys), Book 3 (data
// elements, annex A and C); EMV Contactless Book B (PPSE). Words of the persona that
// have no counterpart there are ours.
package profile

import (
	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Profile is one card.
type Profile struct {
	Seed     string // keys come from it
	Platform bool   // RSA is the platform's work, not the bundle's

	Languages []byte // 5F2D, two letters each
	CodeTable byte   // 9F11, 0: none
	PSE, PPSE bool
	Blocked   bool // by CARD BLOCK

	Authorities  []Authority
	Issuers      []Issuer
	Applications []Application
}

// RSA is the form of a key.
type RSA struct {
	Bits     int // of the modulus
	Exponent uint32
}

// Authority is a certification authority, whose public key terminals hold.
type Authority struct {
	RSA
	RID   [5]byte
	Index byte // 8F
}

// Issuer has a certificate of an authority.
type Issuer struct {
	RSA
	Name       string
	Authority  *Authority
	Identifier string // leftmost 3 to 8 digits of its PANs
	Serial     [3]byte
	Expires    [2]byte // MMYY
	Defect     oda.Defect
}

// Application is one application of the card.
type Application struct {
	Name     string
	AID      []byte
	Label    string // 50
	Called   string // 9F12, "": none
	Priority byte   // 87, 1 the highest, 0: none
	Confirm  bool   // the cardholder has to confirm its selection
	Blocked  bool

	PAN           string
	PSN           byte // 5F34
	Expires       [3]byte
	Effective     [3]byte
	Holder        string // 5F20
	ServiceCode   string // 5F30
	Discretionary string // digits at the end of track 2
	Country       [2]byte
	Currency      [2]byte

	Data    []Element // data elements by tag, in the order of the persona
	CDOL1   []byte
	CDOL2   []byte
	DDOL    []byte
	Records []Record
	Static  []byte // 9F4A
	GetData []tlv.Tag
	Format  byte // of the responses of GET PROCESSING OPTIONS and GENERATE AC, 1 or 2

	Contact     *Interface
	Contactless *Interface

	ICC          ICC
	PINKey       *RSA // of its own for enciphered PINs; nil: that of the ICC
	StaticDefect oda.Defect

	Version cryptogram.Version
	DKI     byte // derivation key index
	ARPC    int  // method, 1 or 2
	Master  Master

	PIN      string // digits
	PINTries byte

	Counters Counters
	Risk     []Rule
	Log      *Log
}

// Element is a data element with its value.
type Element struct {
	Tag   tlv.Tag
	Value []byte
}

// Record is a record of a file, of which elements it is made.
type Record struct {
	SFI, Number byte
	Tags        []tlv.Tag
	Raw         []byte // content instead of Tags, template and all; nil: Tags
	Signed      bool   // takes part in offline data authentication
	On          Side
}

// Side is where something exists.
type Side byte

// Sides of a card.
const (
	Contact Side = 1 << iota
	Contactless
)

// Interface is what is different between contacts and contactless.
type Interface struct {
	AIP  [2]byte // 82
	PDOL []byte  // 9F38
	AFL  []byte  // 94, instead of that which follows from the records; nil: that

	// Of the contactless side (EMV Contactless Books B, C-2, C-3).
	Kernel byte    // 2 or 3: the style of the transaction
	CTQ    [2]byte // 9F6C, kernel 3
	Online uint64  // above this amount, in minor units, kernel 3 style asks to go online; 0: always
	Stripe bool    // kernel 2 style: magnetic-stripe mode as well
	Relay  *Relay  // kernel 2 style: relay resistance protocol
	Fast   bool    // kernel 3 style: offline data authentication (fDDA)
}

// Relay holds the timings of the relay resistance protocol, in units of 100
// microseconds (EMV Contactless Book C-2).
type Relay struct{ Min, Max, Estimate uint16 }

// ICC is the key of the card.
type ICC struct {
	RSA
	Issuer  *Issuer // nil: the card has no certificates
	Serial  [3]byte
	Expires [2]byte
	Defect  oda.Defect
}

// Master are the issuer master keys of an application; nil: from the seed.
type Master struct{ AC, SMI, SMC []byte }

// Counters are where a new card begins.
type Counters struct {
	ATC, LastOnline uint16
	Consecutive     byte   // transactions offline in a row
	Cumulative      uint64 // their amount, in minor units
}

// Log is the transaction log (Book 3 annex D).
type Log struct {
	SFI, Records byte
	Format       []byte // 9F4F, a DOL
}

// KernelID is 9F2A of the directory entry: kernel 2 or 3.
func (i *Interface) KernelID() byte { return i.Kernel }

// On tells whether the application exists on a side.
func (a *Application) On(s Side) *Interface {
	if s == Contactless {
		return a.Contactless
	}
	return a.Contact
}
