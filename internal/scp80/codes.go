package scp80

// Security mechanisms, in SPI, KIc and KID (TS 102 225 5.1.1 to 5.1.3). The text was not at
// hand; the code points are those of pySim/ota.py (osmocom), asterix/SecurePacket.py and
// gsm0348 (opentelecoms), which agree, and of the packets in testdata/packets.txt.

// Check is how integrity is protected (bits 1 and 2 of SPI1, bits 3 and 4 of SPI2).
type Check byte

// Checks, the stronger one is the higher.
const (
	NoCheck   Check = 0
	RC        Check = 1 // redundancy check
	CC        Check = 2 // cryptographic checksum
	Signature Check = 3 // digital signature: not here
)

// CounterMode is what the counter is for (bits 4 and 5 of SPI1).
type CounterMode byte

// Counter modes, the stricter one is the higher.
const (
	NoCounter        CounterMode = 0
	CounterAvailable CounterMode = 1 // neither replay nor sequence is checked
	CounterHigher    CounterMode = 2 // than the one that was accepted last
	CounterNext      CounterMode = 3 // exactly one higher
)

// PoRMode is when there is a proof of receipt (bits 1 and 2 of SPI2).
type PoRMode byte

// Modes of the proof of receipt; 3 is reserved.
const (
	NoPoR      PoRMode = 0
	PoRAlways  PoRMode = 1
	PoROnError PoRMode = 2
)

// Bits of SPI1 and SPI2 by themselves.
const (
	spiCiphered    = 0x04 // SPI1
	spiPoRCiphered = 0x10 // SPI2
	spiPoRSubmit   = 0x20 // SPI2 (TS 31.115 4.2): by SMS-SUBMIT, else SMS-DELIVER-REPORT
)

// Algorithm is the low half of KIc, and of KID with a cryptographic checksum; the high
// half is the number of the key.
type Algorithm byte

// Algorithms. Single DES (1, 0D) is not here.
const (
	Implicit   Algorithm = 0x0 // known to both
	AES        Algorithm = 0x2 // CBC; CMAC of which eight bytes are sent
	TripleDES2 Algorithm = 0x5 // CBC with two keys
	TripleDES3 Algorithm = 0x9 // CBC with three keys
)

// Low half of KID with a redundancy check (TS 102 225 5.1.3.2).
const (
	CRC16 Algorithm = 0x1
	CRC32 Algorithm = 0x5
)

// Status is the response status code (TS 102 225 table 5, TS 31.115 clause 7).
type Status byte

// Response status codes.
const (
	OK                   Status = 0x00
	CheckFailed          Status = 0x01 // RC, CC or DS
	CounterLow           Status = 0x02
	CounterHigh          Status = 0x03
	CounterBlocked       Status = 0x04
	CipheringError       Status = 0x05
	SecurityError        Status = 0x06 // unidentified
	NoMemory             Status = 0x07
	MoreTime             Status = 0x08
	UnknownTAR           Status = 0x09
	InsufficientSecurity Status = 0x0A
	BySubmit             Status = 0x0B // the response comes in an SMS-SUBMIT
	ByUSSD               Status = 0x0C
)

var statusWords = [...]string{
	OK: "done", CheckFailed: "RC, CC or DS failed", CounterLow: "counter low", CounterHigh: "counter high",
	CounterBlocked: "counter blocked", CipheringError: "ciphering error", SecurityError: "unidentified security error",
	NoMemory: "insufficient memory", MoreTime: "more time needed", UnknownTAR: "TAR unknown",
	InsufficientSecurity: "insufficient security level", BySubmit: "the response comes by SMS-SUBMIT", ByUSSD: "the response comes by USSD",
}

// String is the status in words.
func (s Status) String() string {
	if int(s) < len(statusWords) {
		return statusWords[s]
	}
	return "reserved status"
}

// Information elements of a user data header (TS 23.040 9.2.3.24).
const (
	elementConcatenation     = 0x00 // reference of one byte
	elementConcatenationWide = 0x08 // reference of two bytes
	elementCommand           = 0x70 // TS 31.115 4.1: a command packet
	elementResponse          = 0x71 // a response packet
)

// SMS-PP download (TS 31.111 7.1.1, TS 101 220 table 7.14 and 7.23).
const (
	tagDownload = 0xD1
	tagDevices  = 0x02 // device identities; bit 8 of the tags is the comprehension flag
	tagAddress  = 0x06
	tagTPDU     = 0x0B
	fromNetwork = 0x83
	toUICC      = 0x81
)
