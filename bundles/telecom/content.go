package telecom

import (
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// helper codes a value that people write into what the EF holds, in b, which is
// filled with the pattern of the file. It returns how much of b it needs.
type helper func(d *sdk.Doc, b []byte) (need int, err error)

// helpers by the word in the persona; docs/telecom.md describes them.
var helpers = []struct {
	word string
	code helper
}{
	{"text", codeText},
	{"imsi", codeIMSI},
	{"iccid", codeICCID},
	{"languages", codeLanguages},
	{"services", codeServices},
	{"access_classes", codeAccessClasses},
	{"plmns", codePLMNs},
	{"plmns_act", codePLMNsAcT},
	{"spn", codeSPN},
	{"number", codeNumber},
	{"emergency", codeEmergency},
	{"service_centre", codeServiceCentre},
	{"application", codeApplication},
}

// put writes the content d, hexadecimal or one helper, into b.
func put(b []byte, d *sdk.Doc) error {
	if !d.Exists() {
		return nil
	}
	if d.Kind() == sdk.Text {
		v := d.Hex()
		if len(v) > len(b) {
			return tooLong(d, len(v), len(b))
		}
		copy(b, v)
		return nil
	}
	for word, v := range d.Members() {
		for _, h := range helpers {
			if h.word != word {
				continue
			}
			need, err := h.code(v, b)
			if err == nil && need > len(b) {
				err = tooLong(v, need, len(b))
			}
			return err
		}
	}
	return d.Refuse("has no content that is known")
}

func tooLong(d *sdk.Doc, is, room int) error {
	return d.Refuse("is " + strconv.Itoa(is) + " bytes; there is room for " + strconv.Itoa(room))
}

// alpha is a text in the GSM default alphabet, unpacked (3GPP TS 23.038 6.2.1):
// of ASCII, the characters that have the same code there.
func alpha(d *sdk.Doc) ([]byte, error) {
	s := d.Text()
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > 'z' || c == '$' || c == '@' || c > 'Z' && c < 'a' {
			return nil, d.Refuse("has a character that is not a letter, digit or simple punctuation of ASCII")
		}
	}
	return []byte(s), nil
}

func codeText(d *sdk.Doc, b []byte) (int, error) {
	v, err := alpha(d)
	copy(b, v)
	return len(v), err
}

// decimal is the text d, which must be min to max digits.
func decimal(d *sdk.Doc, min, max int) (string, error) {
	s := d.Text()
	if len(s) < min || len(s) > max || strings.Trim(s, "0123456789") != "" {
		return "", d.Refuse("is not " + strconv.Itoa(min) + " to " + strconv.Itoa(max) + " digits")
	}
	return s, nil
}

// swapped is BCD with the first digit in the low half of each byte, filled up
// with F; * and # are A and B (3GPP TS 31.102 4.4.2.3).
func swapped(s string) []byte {
	b := make([]byte, (len(s)+1)/2)
	for i := range b {
		b[i] = bcd(s[2*i]) | 0xF0
		if 2*i+1 < len(s) {
			b[i] = bcd(s[2*i]) | bcd(s[2*i+1])<<4
		}
	}
	return b
}

func bcd(c byte) byte {
	switch c {
	case '*':
		return 0xA
	case '#':
		return 0xB
	}
	return c - '0'
}

// codeIMSI is EF.IMSI (3GPP TS 31.102 4.2.2): length, then the digits behind a
// half byte that says whether their number is odd.
func codeIMSI(d *sdk.Doc, b []byte) (int, error) {
	s, err := decimal(d, 6, 15)
	if err != nil {
		return 0, err
	}
	parity := "1" // 0001: even
	if len(s)%2 == 1 {
		parity = "9"
	}
	v := swapped(parity + s)
	if len(b) < 9 {
		return 9, nil
	}
	b[0] = byte(len(v))
	copy(b[1:], v)
	return 9, nil
}

// codeICCID is EF.ICCID (ETSI TS 102 221 13.2): 19 or 20 digits, the last of
// which is the Luhn digit (ITU-T E.118).
func codeICCID(d *sdk.Doc, b []byte) (int, error) {
	s, err := decimal(d, 19, 20)
	if err != nil {
		return 0, err
	}
	if s[:2] != "89" {
		return 0, d.Refuse("does not begin with 89, the digits for telecommunication (ITU-T E.118)")
	}
	if want := luhn(s[:len(s)-1]); s[len(s)-1] != want {
		return 0, d.Refuse("has the check digit " + s[len(s)-1:] + "; " + string(rune(want)) + " is right (Luhn)")
	}
	v := swapped(s)
	copy(b, v)
	return len(v), nil
}

// luhn is the check digit behind s (ISO/IEC 7812-1 annex B).
func luhn(s string) byte {
	sum := 0
	for i := range len(s) {
		v := int(s[len(s)-1-i] - '0')
		if i%2 == 0 {
			v *= 2
		}
		sum += v/10 + v%10
	}
	return byte('0' + (10-sum%10)%10)
}

// codeLanguages is EF.PL and EF.LI: two letters of ISO 639 each (ETSI TS 102 221
// 13.3).
func codeLanguages(d *sdk.Doc, b []byte) (int, error) {
	n := 0
	for _, e := range d.Items() {
		s := e.Text()
		if len(s) != 2 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") != "" {
			return 0, e.Refuse("is not two small letters")
		}
		n += copy(b[min(n, len(b)):], s)
		if n%2 != 0 {
			return n + 1, nil
		}
	}
	return max(n, 2*d.Len()), nil
}

// codeServices is a service table: the numbers of what is available (3GPP TS
// 31.102 4.2.8, 4.2.47).
func codeServices(d *sdk.Doc, b []byte) (int, error) {
	clear(b)
	for _, e := range d.Items() {
		n := int(e.Int(1, int64(8*len(b))))
		if n == 0 {
			return 0, e.Refuse("is not a service that the size of the file has room for")
		}
		b[(n-1)/8] |= 1 << ((n - 1) % 8)
	}
	return len(b), nil
}

// codeAccessClasses is EF.ACC: bit 1 of the last byte is class 0 (3GPP TS 31.102
// 4.2.15).
func codeAccessClasses(d *sdk.Doc, b []byte) (int, error) {
	if len(b) < 2 {
		return 2, nil
	}
	v := 0
	for _, e := range d.Items() {
		v |= 1 << e.Int(0, 15)
	}
	b[0], b[1] = byte(v>>8), byte(v)
	return 2, nil
}

// plmn codes MCC/MNC in three bytes (3GPP TS 24.008 10.5.1.13).
func plmn(d *sdk.Doc, s string) ([3]byte, error) {
	mcc, mnc, ok := strings.Cut(s, "/")
	if !ok || len(mcc) != 3 || len(mnc) < 2 || len(mnc) > 3 || strings.Trim(mcc+mnc, "0123456789") != "" {
		return [3]byte{}, d.Refuse("is not MCC/MNC, like 001/01")
	}
	third := byte(0xF)
	if len(mnc) == 3 {
		third = bcd(mnc[2])
	}
	return [3]byte{bcd(mcc[1])<<4 | bcd(mcc[0]), third<<4 | bcd(mcc[2]), bcd(mnc[1])<<4 | bcd(mnc[0])}, nil
}

// codePLMNs is a list of networks, EF.FPLMN and EF.EHPLMN (3GPP TS 31.102
// 4.2.16).
func codePLMNs(d *sdk.Doc, b []byte) (int, error) {
	for i, e := range d.Items() {
		p, err := plmn(e, e.Text())
		if err != nil {
			return 0, err
		}
		copy(b[min(3*i, len(b)):], p[:])
	}
	return 3 * d.Len(), nil
}

// technologies are the bits of the access technology identifier (3GPP TS 31.102
// 4.2.5).
var technologies = []struct {
	word string
	bit  uint16
}{
	{"utran", 0x8000}, {"eutran", 0x4000}, {"ngran", 0x0800}, {"gsm", 0x0080},
}

// codePLMNsAcT is a list of networks with access technologies, EF.PLMNwAcT and
// its like (3GPP TS 31.102 4.2.5); unused entries are FFFFFF 0000.
func codePLMNsAcT(d *sdk.Doc, b []byte) (int, error) {
	for i := range b {
		b[i] = 0xFF
		if i%5 >= 3 {
			b[i] = 0
		}
	}
	for i, e := range d.Items() {
		p, err := plmn(e.Get("plmn"), e.Get("plmn").Text())
		if err != nil {
			return 0, err
		}
		act := uint16(0)
		for _, w := range e.Get("act").Items() {
			bit := uint16(0)
			for _, t := range technologies {
				if t.word == w.Text() {
					bit = t.bit
				}
			}
			if bit == 0 {
				return 0, w.Refuse("is not an access technology that is known")
			}
			act |= bit
		}
		copy(b[min(5*i, len(b)):], append(p[:], byte(act>>8), byte(act)))
	}
	return 5 * d.Len(), nil
}

// codeSPN is EF.SPN (3GPP TS 31.102 4.2.12): display condition and name.
func codeSPN(d *sdk.Doc, b []byte) (int, error) {
	name, err := alpha(d.Get("name"))
	if err != nil {
		return 0, err
	}
	b[0] = 0
	if v := d.Get("show_plmn"); v.Exists() && v.Bool() {
		b[0] |= 0x01
	}
	if v := d.Get("hide_when_roaming"); v.Exists() && v.Bool() {
		b[0] |= 0x02
	}
	copy(b[1:], name)
	return 1 + len(name), nil
}

// dialling is a dialling number: type of number and plan, then up to 20 digits.
func dialling(d *sdk.Doc) ([]byte, error) {
	s := d.Text()
	ton := byte(0x81) // unknown, ISDN plan (3GPP TS 24.008 10.5.4.7)
	if strings.HasPrefix(s, "+") {
		ton, s = 0x91, s[1:]
	}
	if len(s) < 1 || len(s) > 20 || strings.Trim(s, "0123456789*#") != "" {
		return nil, d.Refuse("is not a number of up to 20 digits, * and #, which may begin with +")
	}
	return append([]byte{ton}, swapped(s)...), nil
}

// codeNumber is a record of EF.ADN, EF.MSISDN and their like (3GPP TS 31.102
// 4.4.2.3): name, then 14 bytes with the number.
func codeNumber(d *sdk.Doc, b []byte) (int, error) {
	number, err := dialling(d.Get("number"))
	if err != nil {
		return 0, err
	}
	var name []byte
	if n := d.Get("name"); n.Exists() {
		if name, err = alpha(n); err != nil {
			return 0, err
		}
	}
	x := len(b) - 14
	if len(name) > max(x, 0) {
		return len(name) + 14, nil
	}
	if x < 0 {
		return 14, nil
	}
	copy(b, name)
	b[x] = byte(len(number))
	copy(b[x+1:], number)
	return len(b), nil
}

// codeEmergency is a record of EF.ECC (3GPP TS 31.102 4.2.21): number, name,
// category in the last byte.
func codeEmergency(d *sdk.Doc, b []byte) (int, error) {
	s := d.Get("number").Text()
	if len(s) < 1 || len(s) > 6 || strings.Trim(s, "0123456789") != "" {
		return 0, d.Get("number").Refuse("is not 1 to 6 digits")
	}
	var name []byte
	if n := d.Get("name"); n.Exists() {
		var err error
		if name, err = alpha(n); err != nil {
			return 0, err
		}
	}
	if need := 3 + len(name) + 1; need > len(b) {
		return need, nil
	}
	copy(b, swapped(s))
	copy(b[3:], name)
	b[len(b)-1] = 0
	if v := d.Get("category"); v.Exists() {
		b[len(b)-1] = byte(v.Int(0, 255))
	}
	return len(b), nil
}

// codeServiceCentre is a record of EF.SMSP (3GPP TS 31.102 4.2.27) of which only
// the service centre address is present.
func codeServiceCentre(d *sdk.Doc, b []byte) (int, error) {
	number, err := dialling(d)
	if err != nil {
		return 0, err
	}
	y := len(b) - 28
	if y < 0 {
		return 28, nil
	}
	b[y] = 0xFD // parameter indicators: bit 2, TS-service centre address, is present
	b[y+13] = byte(len(number))
	copy(b[y+14:], number)
	return len(b), nil
}

// codeApplication is a record of EF.DIR (ETSI TS 102 221 13.1).
func codeApplication(d *sdk.Doc, b []byte) (int, error) {
	aid := d.Get("aid").Hex()
	if len(aid) < 5 || len(aid) > 16 {
		return 0, d.Get("aid").Refuse("is not 5 to 16 bytes")
	}
	v := tlv.Append(nil, tagAID, aid...)
	if l := d.Get("label"); l.Exists() {
		label, err := alpha(l)
		if err != nil {
			return 0, err
		}
		if len(label) > 32 {
			return 0, l.Refuse("is longer than 32 characters")
		}
		v = tlv.Append(v, tagLabel, label...)
	}
	v = tlv.Append(nil, tagApplication, v...)
	copy(b, v)
	return len(v), nil
}
