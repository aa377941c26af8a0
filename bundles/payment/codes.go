package payment

import "github.com/sspemu/sspemu/internal/tlv"

// Instructions (EMV 4.4 Book 1 clause 11 and Book 3 table 10; Book C-2 for the last
// two). Their classes stand in commands.go.
const (
	insCardBlock          = 0x16
	insApplicationUnblock = 0x18
	insApplicationBlock   = 0x1E
	insVerify             = 0x20
	insPINChange          = 0x24
	insChecksum           = 0x2A // COMPUTE CRYPTOGRAPHIC CHECKSUM, Book C-2 5.2
	insExternalAuth       = 0x82
	insGetChallenge       = 0x84
	insInternalAuth       = 0x88
	insGetOptions         = 0xA8
	insSelect             = 0xA4
	insGenerateAC         = 0xAE
	insReadRecord         = 0xB2
	insGetData            = 0xCA
	insPutData            = 0xDA
	insUpdateRecord       = 0xDC
	insRelayResistance    = 0xEA // EXCHANGE RELAY RESISTANCE DATA, Book C-2 5.4
)

// Tags of data elements (Book 3 annex A; Book B for 9F2A; Books C-2 and C-3 for those
// of contactless).
const (
	tagAID            tlv.Tag = 0x4F
	tagLabel          tlv.Tag = 0x50
	tagTrack2         tlv.Tag = 0x57
	tagPAN            tlv.Tag = 0x5A
	tagHolder         tlv.Tag = 0x5F20
	tagExpires        tlv.Tag = 0x5F24
	tagEffective      tlv.Tag = 0x5F25
	tagCountry        tlv.Tag = 0x5F28
	tagCurrency       tlv.Tag = 0x5F2A // of the transaction
	tagLanguages      tlv.Tag = 0x5F2D
	tagServiceCode    tlv.Tag = 0x5F30
	tagPSN            tlv.Tag = 0x5F34
	tagEntry          tlv.Tag = 0x61
	tagFCI            tlv.Tag = 0x6F
	tagRecord         tlv.Tag = 0x70
	tagFormat2        tlv.Tag = 0x77
	tagFormat1        tlv.Tag = 0x80
	tagAIP            tlv.Tag = 0x82
	tagCommand        tlv.Tag = 0x83
	tagDFName         tlv.Tag = 0x84
	tagPriority       tlv.Tag = 0x87
	tagDirectory      tlv.Tag = 0x88
	tagARC            tlv.Tag = 0x8A
	tagCDOL1          tlv.Tag = 0x8C
	tagCDOL2          tlv.Tag = 0x8D
	tagAuthority      tlv.Tag = 0x8F
	tagIssuerKey      tlv.Tag = 0x90
	tagIssuerAuth     tlv.Tag = 0x91
	tagIssuerRest     tlv.Tag = 0x92
	tagStatic         tlv.Tag = 0x93
	tagAFL            tlv.Tag = 0x94
	tagTVR            tlv.Tag = 0x95
	tagDate           tlv.Tag = 0x9A
	tagType           tlv.Tag = 0x9C
	tagProprietary    tlv.Tag = 0xA5
	tagAmount         tlv.Tag = 0x9F02
	tagOther          tlv.Tag = 0x9F03
	tagIAD            tlv.Tag = 0x9F10
	tagCodeTable      tlv.Tag = 0x9F11
	tagCalled         tlv.Tag = 0x9F12
	tagLastOnline     tlv.Tag = 0x9F13
	tagPINTries       tlv.Tag = 0x9F17
	tagTerminal       tlv.Tag = 0x9F1A // country of the terminal
	tagAC             tlv.Tag = 0x9F26
	tagCID            tlv.Tag = 0x9F27
	tagKernel         tlv.Tag = 0x9F2A
	tagPINCertificate tlv.Tag = 0x9F2D
	tagPINExponent    tlv.Tag = 0x9F2E
	tagPINRest        tlv.Tag = 0x9F2F
	tagIssuerExponent tlv.Tag = 0x9F32
	tagATC            tlv.Tag = 0x9F36
	tagUN             tlv.Tag = 0x9F37
	tagPDOL           tlv.Tag = 0x9F38
	tagOwnCurrency    tlv.Tag = 0x9F42
	tagICCCertificate tlv.Tag = 0x9F46
	tagICCExponent    tlv.Tag = 0x9F47
	tagICCRest        tlv.Tag = 0x9F48
	tagDDOL           tlv.Tag = 0x9F49
	tagStaticTags     tlv.Tag = 0x9F4A
	tagDynamic        tlv.Tag = 0x9F4B
	tagLogEntry       tlv.Tag = 0x9F4D
	tagLogFormat      tlv.Tag = 0x9F4F
	tagTTQ            tlv.Tag = 0x9F66
	tagCTQ            tlv.Tag = 0x9F6C
	tagDiscretionary  tlv.Tag = 0xBF0C
)

// Cryptogram information data: the type in bits 8 and 7 (Book 3 table 15), as in P1
// of GENERATE AC (table 12).
const (
	cidAAC  = 0x00
	cidTC   = 0x40
	cidARQC = 0x80
	cidType = 0xC0
	p1CDA   = 0x10
)

// Reasons in bits 3 to 1 of the cryptogram information data (Book 3 table 15).
const (
	reasonPINTries   = 0x02
	reasonIssuerAuth = 0x03
)

// Status words that Book 3 gives another meaning, or that ISO/IEC 7816-4 has and the
// platform's list has not.
const (
	swAuthFailed   = 0x6300 // EXTERNAL AUTHENTICATE, Book 3 table 9
	swMACMissing   = 0x6987 // expected secure messaging objects missing
	swMACIncorrect = 0x6988 // incorrect secure messaging objects
)
