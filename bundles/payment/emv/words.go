package emv

import (
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Words says what the value of a data element means: a line for each bit that is set,
// each entry of a list. nil: the value speaks for itself. A PAN is masked.
func Words(t Tag, v []byte) []string {
	if f, ok := bitWords[t]; ok {
		return bits(f, v)
	}
	switch t {
	case 0x5A:
		return []string{MaskPAN(strings.TrimRight(fmt.Sprintf("%X", v), "F"))}
	case 0x57:
		pan, rest, _ := strings.Cut(fmt.Sprintf("%X", v), "D")
		if len(rest) >= 7 {
			return []string{fmt.Sprintf("%s, expires %s/20%s, service code %s", MaskPAN(pan), rest[2:4], rest[:2], rest[4:7])}
		}
	case 0x50, 0x5F20, 0x5F2D, 0x5F50, 0x8A, 0x89, 0x9F12, 0x9F0B:
		return []string{fmt.Sprintf("%q", v)}
	case 0x5F24, 0x5F25, 0x9A:
		if len(v) == 3 {
			return []string{fmt.Sprintf("20%02X-%02X-%02X", v[0], v[1], v[2])}
		}
	case 0x9F02, 0x9F03:
		return []string{amount(v)}
	case 0x5F28, 0x9F1A:
		return one(countries, v)
	case 0x5F2A, 0x9F42:
		return one(currencies, v)
	case 0x9C:
		return one(types, v)
	case 0x9F27:
		if len(v) == 1 {
			return []string{CryptogramName(v[0])}
		}
	case 0x8C, 0x8D, 0x97, 0x9F38, 0x9F49, 0x9F4F:
		return dolWords(v)
	case 0x94:
		return aflWords(v)
	case 0x8E:
		return cvmWords(v)
	case 0x9F34:
		if len(v) == 3 {
			return []string{CVMName(v[0]) + ", " + condition(v[1]) + ": " + []string{"unknown", "failed", "successful"}[v[2]%3]}
		}
	case 0x87:
		if len(v) == 1 {
			w := []string{fmt.Sprintf("priority %d", v[0]&0xF)}
			if v[0]&0x80 != 0 {
				w = append(w, "cardholder has to confirm")
			}
			return w
		}
	}
	return nil
}

// MaskPAN shows the first six and the last four digits.
func MaskPAN(pan string) string {
	if len(pan) <= 10 {
		return pan
	}
	return pan[:6] + strings.Repeat("*", len(pan)-10) + pan[len(pan)-4:]
}

// Shown is the value of a data element as it may be shown: hexadecimal, of PAN and
// track 2 only what Words gives.
func Shown(t Tag, v []byte) string {
	switch t {
	case 0x5A, 0x57, 0x9F1F, 0x9F20:
		if w := Words(t, v); len(w) == 1 {
			return w[0]
		}
		return strings.Repeat("*", 2*len(v))
	}
	return fmt.Sprintf("%X", v)
}

// CryptogramName is the type of an application cryptogram by its CID (Book 3 table 15).
func CryptogramName(cid byte) string {
	s := []string{"AAC: declined", "TC: approved", "ARQC: go online", "reserved"}[cid>>6]
	if cid&8 != 0 {
		s += ", advice required"
	}
	return s + []string{"", ", service not allowed", ", PIN try limit exceeded", ", issuer authentication failed", "", "", "", ""}[cid&7]
}

func amount(v []byte) string {
	s := strings.TrimLeft(fmt.Sprintf("%X", v), "0")
	for len(s) < 3 {
		s = "0" + s
	}
	return s[:len(s)-2] + "." + s[len(s)-2:]
}

func one(list map[string]string, v []byte) []string {
	if w, ok := list[fmt.Sprintf("%X", v)]; ok {
		return []string{w}
	}
	return nil
}

// Countries and currencies of ISO 3166 and ISO 4217 that tests use.
var (
	countries  = map[string]string{"0056": "Belgium", "0124": "Canada", "0208": "Denmark", "0250": "France", "0276": "Germany", "0380": "Italy", "0392": "Japan", "0528": "Netherlands", "0578": "Norway", "0724": "Spain", "0752": "Sweden", "0756": "Switzerland", "0826": "United Kingdom", "0840": "United States"}
	currencies = map[string]string{"0978": "euro", "0840": "US dollar", "0826": "pound sterling", "0756": "Swiss franc", "0392": "yen", "0752": "Swedish krona", "0208": "Danish krone", "0999": "none", "0963": "test"}
	types      = map[string]string{"00": "goods and services", "01": "cash", "09": "goods with cashback", "20": "refund", "30": "balance enquiry"}
)

func dolWords(v []byte) (w []string) {
	list, err := ParseDOL(v)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range list {
		w = append(w, fmt.Sprintf("%X (%d): %s", uint32(e.Tag), e.Len, Name(e.Tag)))
	}
	return w
}

func aflWords(v []byte) (w []string) {
	for ; len(v) >= 4; v = v[4:] {
		w = append(w, fmt.Sprintf("file %d, records %d to %d, %d of them signed", v[0]>>3, v[1], v[2], v[3]))
	}
	return w
}

// CVMName is the method of the first byte of a CV rule (Book 3 annex C3).
func CVMName(b byte) string {
	names := map[byte]string{
		0x00: "fail CVM processing", 0x01: "plaintext PIN by ICC", 0x02: "enciphered PIN online", 0x03: "plaintext PIN by ICC and signature",
		0x04: "enciphered PIN by ICC", 0x05: "enciphered PIN by ICC and signature", 0x1E: "signature", 0x1F: "no CVM required", 0x3F: "no CVM performed",
	}
	if n, ok := names[b&0x3F]; ok {
		return n
	}
	return fmt.Sprintf("method %02X", b&0x3F)
}

func condition(b byte) string {
	names := []string{"always", "if unattended cash", "if not unattended cash, manual cash or purchase with cashback", "if the terminal supports it", "if manual cash", "if purchase with cashback",
		"if in application currency and under X", "if in application currency and over X", "if in application currency and under Y", "if in application currency and over Y"}
	if int(b) < len(names) {
		return names[b]
	}
	return fmt.Sprintf("condition %02X", b)
}

func cvmWords(v []byte) (w []string) {
	if len(v) < 8 {
		return nil
	}
	for r := v[8:]; len(r) >= 2; r = r[2:] {
		s := CVMName(r[0]) + ", " + condition(r[1])
		if r[0]&0x40 != 0 {
			s += "; else the next one"
		}
		w = append(w, s)
	}
	return w
}

// bits gives the words of the bits that are set, from bit 8 of the first byte on.
func bits(words [][8]string, v []byte) (w []string) {
	for i := range min(len(v), len(words)) {
		for bit := range 8 {
			if v[i]&(0x80>>bit) == 0 {
				continue
			}
			s := words[i][bit]
			if s == "" {
				s = fmt.Sprintf("byte %d bit %d, reserved", i+1, 8-bit)
			}
			w = append(w, s)
		}
	}
	return w
}

// bitWords are the elements whose bits have words (Book 3 annex C, Book 4 annex A; TTQ
// and CTQ: Book C-3, recalled, unverified).
var bitWords = map[Tag][][8]string{
	0x82: {{"", "SDA supported", "DDA supported", "cardholder verification supported", "terminal risk management to be performed", "issuer authentication supported", "on-device cardholder verification supported", "CDA supported"},
		{"EMV mode supported", "", "", "", "", "", "", "relay resistance protocol supported"}},
	0x95: tvr, 0x9F0D: tvr, 0x9F0E: tvr, 0x9F0F: tvr,
	0x9B: {{"offline data authentication was performed", "cardholder verification was performed", "card risk management was performed", "issuer authentication was performed", "terminal risk management was performed", "script processing was performed"}, {}},
	0x9F07: {{"valid for domestic cash", "valid for international cash", "valid for domestic goods", "valid for international goods", "valid for domestic services", "valid for international services", "valid at ATMs", "valid at terminals other than ATMs"},
		{"domestic cashback allowed", "international cashback allowed"}},
	0x9F33: {{"manual key entry", "magnetic stripe", "IC with contacts"}, {"plaintext PIN by ICC", "enciphered PIN online", "signature", "enciphered PIN by ICC", "no CVM required"}, {"SDA", "DDA", "card capture", "", "CDA"}},
	0x9F66: {{"magnetic-stripe mode supported", "", "EMV mode supported", "EMV contact chip supported", "offline-only reader", "online PIN supported", "signature supported", "offline data authentication for online supported"},
		{"online cryptogram required", "CVM required", "contact chip offline PIN supported"}, {"issuer update processing supported", "consumer device CVM supported"}, {}},
	0x9F6C: {{"online PIN required", "signature required", "go online if offline data authentication fails", "switch interface if it fails", "go online if application expired", "switch interface for cash", "switch interface for cashback"},
		{"consumer device CVM performed", "card supports issuer update processing at the POS"}},
}

var tvr = [][8]string{
	{"offline data authentication was not performed", "SDA failed", "ICC data missing", "card appears on the exception file", "DDA failed", "CDA failed", "SDA selected"},
	{"ICC and terminal have different application versions", "expired application", "application not yet effective", "service not allowed for the card", "new card"},
	{"cardholder verification was not successful", "unrecognised CVM", "PIN try limit exceeded", "PIN required, no PIN pad or not working", "PIN required, not entered", "online PIN entered"},
	{"transaction exceeds floor limit", "lower consecutive offline limit exceeded", "upper consecutive offline limit exceeded", "transaction selected randomly for online", "merchant forced transaction online"},
	{"default TDOL used", "issuer authentication failed", "script failed before final GENERATE AC", "script failed after final GENERATE AC", "relay resistance threshold exceeded", "relay resistance time limits exceeded"},
}

// Line is a data element for people: depth, tag, name, value, words.
type Line struct {
	Depth int
	Tag   Tag
	Name  string
	Value string // "" for a template
	Words []string
}

// Lines takes BER-TLV data apart, templates into what they hold; rest is what could not
// be read.
func Lines(b []byte) (lines []Line, rest []byte) { return appendLines(nil, b, 0) }

func appendLines(lines []Line, b []byte, depth int) ([]Line, []byte) {
	for len(b) > 0 {
		t, v, next, err := tlv.Next(b)
		if err != nil || t == 0 {
			return lines, b
		}
		l := Line{Depth: depth, Tag: t, Name: Name(t)}
		if t.Constructed() && depth < 8 {
			lines = append(lines, l)
			if lines, _ = appendLines(lines, v, depth+1); len(v) == 0 {
				lines[len(lines)-1].Value = "(empty)"
			}
		} else {
			l.Value, l.Words = Shown(t, v), Words(t, v)
			lines = append(lines, l)
		}
		b = next
	}
	return lines, nil
}
