package cryptogram

// Version is a cryptogram version: which key, which data, which issuer application
// data.
type Version struct {
	Name   string // as personas call it
	Number byte   // in the issuer application data
	Cipher Cipher
	style  style
}

// style is a family of versions.
type style byte

const (
	styleMaster  style = iota // the ICC master key itself: 10, 17
	styleSession              // common session keys, the data of version 10 with all of the IAD: 18
	styleCCD                  // common core definitions
)

// versions are all there are. The number of CCD is its common core identifier: format
// code A, cryptogram version 5 (triple DES) or 6 (AES): Book 3 annex C7.2; 6 is
// recalled (unverified).
var versions = [...]Version{
	{"10", 0x0A, TDES, styleMaster},
	{"17", 0x11, TDES, styleMaster},
	{"18", 0x12, TDES, styleSession},
	{"ccd", 0xA5, TDES, styleCCD},
	{"ccd-aes", 0xA6, AES, styleCCD},
}

// ByName finds a version as personas call it.
func ByName(name string) (Version, bool) {
	for _, v := range versions {
		if v.Name == name {
			return v, true
		}
	}
	return Version{}, false
}

// Input is what goes into an application cryptogram: of the terminal's data those that
// Book 2 table 26 recommends, of the card AIP, ATC and issuer application data. Amounts
// and dates as data elements have them.
type Input struct {
	Amount, Other [6]byte // 9F02, 9F03
	Country       [2]byte // 9F1A
	TVR           [5]byte // 95
	Currency      [2]byte // 5F2A
	Date          [3]byte // 9A
	Type          byte    // 9C
	UN            [4]byte // 9F37
	AIP           [2]byte // 82
	ATC           uint16  // 9F36
	IAD           []byte  // 9F10
	CDOL          []byte  // what the terminal sent by CDOL1 or CDOL2, for CCD
}

// data is the input of a version as bytes, with its padding.
func (v Version) data(in *Input) ([]byte, Padding) {
	atc := []byte{byte(in.ATC >> 8), byte(in.ATC)}
	if v.style == styleCCD { // Book 2 8.1.1 with Book 3 annex C: CDOL data, AIP, ATC, IAD
		b := append([]byte{}, in.CDOL...)
		b = append(b, in.AIP[:]...)
		b = append(b, atc...)
		return append(b, in.IAD...), Method2
	}
	var b []byte
	if v.Number == 0x11 {
		b = append(b, in.Amount[:]...)
		b = append(b, in.UN[:]...)
		b = append(b, atc...)
		if len(in.IAD) > 4 {
			b = append(b, in.IAD[4])
		}
		return b, Method1
	}
	for _, p := range [][]byte{in.Amount[:], in.Other[:], in.Country[:], in.TVR[:], in.Currency[:], in.Date[:], {in.Type}, in.UN[:], in.AIP[:], atc} {
		b = append(b, p...)
	}
	if v.style == styleSession {
		return append(b, in.IAD...), Method2
	}
	if len(in.IAD) >= 7 {
		b = append(b, in.IAD[3:7]...) // the CVR
	}
	return b, Method1
}

// key is the key of a cryptogram and its ARPC.
func (v Version) key(mk []byte, atc uint16) []byte {
	if v.style == styleMaster {
		return mk
	}
	return SessionKey(v.Cipher, mk, atc)
}

// Cryptogram is the application cryptogram (8.1). mk is the ICC master key.
func (v Version) Cryptogram(mk []byte, in *Input) (ac [8]byte) {
	data, p := v.data(in)
	copy(ac[:], MAC(v.Cipher, v.key(mk, in.ATC), data, 8, p))
	return ac
}

// ARPC1 is the authorisation response cryptogram by method 1 (8.2.1): the cryptogram
// exclusive-or the response code, enciphered. With AES the block is filled with zeros
// and its first half counts (recalled, unverified).
func (v Version) ARPC1(mk []byte, atc uint16, ac [8]byte, arc [2]byte) (arpc [8]byte) {
	x := make([]byte, 16)
	copy(x, ac[:])
	x[0] ^= arc[0]
	x[1] ^= arc[1]
	k := v.Cipher.block(v.key(mk, atc))
	x = x[:k.BlockSize()]
	k.Encrypt(x, x)
	copy(arpc[:], x)
	return arpc
}

// ARPC2 is the authorisation response cryptogram by method 2 (8.2.2): 4 bytes of a MAC
// over the cryptogram, the card status update and proprietary data of 0 to 8 bytes.
func (v Version) ARPC2(mk []byte, atc uint16, ac [8]byte, csu [4]byte, proprietary []byte) (arpc [4]byte) {
	b := append([]byte{}, ac[:]...)
	b = append(b, csu[:]...)
	b = append(b, proprietary...)
	copy(arpc[:], MAC(v.Cipher, v.key(mk, atc), b, 4, Method2))
	return arpc
}
