package emv

import (
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
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
	case 0x56:
		parts := strings.Split(string(v), "^")
		if len(parts) == 3 && len(parts[2]) >= 7 && len(parts[0]) > 1 {
			return []string{fmt.Sprintf("%s, %q, expires %s/20%s, service code %s", MaskPAN(parts[0][1:]), parts[1], parts[2][2:4], parts[2][:2], parts[2][4:7])}
		}
	case 0x57, 0x9F6B:
		pan, rest, _ := strings.Cut(fmt.Sprintf("%X", v), "D")
		if len(rest) >= 7 {
			return []string{fmt.Sprintf("%s, expires %s/20%s, service code %s", MaskPAN(pan), rest[2:4], rest[:2], rest[4:7])}
		}
	case 0x50, 0x5F20, 0x5F2D, 0x5F50, 0x89, 0x9F12, 0x9F0B, 0x9F16, 0x9F1C, 0x9F1E, 0x9F4E:
		return []string{fmt.Sprintf("%q", v)}
	case 0x8A:
		return []string{ResponseCode(string(v))}
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
			return []string{CVMName(v[0]) + ", " + condition(v[1]) + ": " + cvmResult(v[2])}
		}
	case 0x9F35:
		if len(v) == 1 {
			return []string{terminalType(v[0])}
		}
	case 0x9F10:
		return iadWords(v)
	case 0x9F4D:
		if len(v) == 2 {
			return []string{fmt.Sprintf("file %d, %d records", v[0], v[1])}
		}
	case 0x9F5B:
		return scriptWords(v)
	case 0x9F39:
		return one(entryModes, v)
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

// MaskPAN shows the first six and the last four digits; of one that is too short to be
// masked so, the last four only.
func MaskPAN(pan string) string {
	if n := len(pan) - 4; len(pan) <= 10 {
		return strings.Repeat("*", max(n, 0)) + pan[max(n, 0):]
	}
	return pan[:6] + strings.Repeat("*", len(pan)-10) + pan[len(pan)-4:]
}

// Shown is the value of a data element as it may be shown: hexadecimal, of PAN and
// track 2 only what Words gives.
func Shown(t Tag, v []byte) string {
	if Secret(t) {
		if w := Words(t, v); len(w) == 1 {
			return w[0]
		}
		return strings.Repeat("*", 2*len(v))
	}
	return fmt.Sprintf("%X", v)
}

// Secret tells whether a data element holds the PAN, all of it or much, or a PIN.
func Secret(t Tag) bool {
	switch t {
	case 0x56, 0x57, 0x5A, 0x99, 0x9F1F, 0x9F20, 0x9F6B:
		return true
	}
	return false
}

// CryptogramName is the type of an application cryptogram by its CID (Book 3 table 15).
func CryptogramName(cid byte) string {
	s := []string{"AAC: declined", "TC: approved", "ARQC: go online", "reserved"}[cid>>6]
	if cid&8 != 0 {
		s += ", advice required"
	}
	return s + []string{"", ", service not allowed", ", PIN try limit exceeded", ", issuer authentication failed", "", "", "", ""}[cid&7]
}

// ResponseCode is an authorisation response code with its meaning, for those of Book 4
// annex A6 and the common ones of ISO 8583.
func ResponseCode(arc string) string {
	w := map[string]string{
		"Y1": "offline approved", "Z1": "offline declined", "Y3": "unable to go online, offline approved", "Z3": "unable to go online, offline declined",
		"00": "approved", "01": "referral", "02": "referral", "05": "declined", "08": "approved with identification", "10": "approved for a part", "11": "approved, VIP",
		"12": "invalid transaction", "14": "invalid card number", "51": "insufficient funds", "54": "expired card", "55": "incorrect PIN", "75": "PIN tries exceeded", "91": "issuer unavailable",
	}[arc]
	if w == "" {
		return fmt.Sprintf("%q", arc)
	}
	return fmt.Sprintf("%q, %s", arc, w)
}

// terminalType is 9F35 in words (Book 4 table 24).
func terminalType(b byte) string {
	who := map[byte]string{1: "financial institution", 2: "merchant", 3: "cardholder"}[b>>4]
	how := map[byte]string{1: "attended, online only", 2: "attended, offline with online capability", 3: "attended, offline only",
		4: "unattended, online only", 5: "unattended, offline with online capability", 6: "unattended, offline only"}[b&0xF]
	if who == "" || how == "" {
		return "reserved"
	}
	return how + ", operated by the " + who
}

// iadWords is the issuer application data as the card's version of cryptograms has it.
func iadWords(v []byte) []string {
	version, c, dki, err := cryptogram.ParseIAD(v)
	if err != nil {
		return nil
	}
	w := []string{fmt.Sprintf("cryptogram version %s, derivation key index %02X", version.Name, dki)}
	for _, f := range []struct {
		set  bool
		what string
	}{
		{c.CDA, "CDA performed"}, {c.DDA, "DDA performed"}, {c.PINVerified, "offline PIN verified"}, {c.PINFailed, "offline PIN failed"},
		{c.PINTryLimitExceeded, "PIN try limit exceeded"}, {c.UnableOnline, "unable to go online"}, {c.LastOnlineNotCompleted, "last online transaction not completed"},
		{c.IssuerAuthFailed, "issuer authentication failed"}, {c.IssuerAuthNotPerformed, "issuer authentication not performed after online"},
		{c.LowerConsecutive, "lower consecutive offline limit exceeded"}, {c.UpperConsecutive, "upper consecutive offline limit exceeded"},
		{c.LowerCumulative, "lower cumulative offline limit exceeded"}, {c.UpperCumulative, "upper cumulative offline limit exceeded"},
		{c.ScriptReceived, "script received"}, {c.ScriptFailed, "script failed"}, {c.OfflineAuthFailed, "last offline data authentication failed"}, {c.NewCard, "new card"},
	} {
		if f.set {
			w = append(w, f.what)
		}
	}
	return w
}

// scriptWords is 9F5B (Book 4 table 34): five bytes for each script.
func scriptWords(v []byte) (w []string) {
	for ; len(v) >= 5; v = v[5:] {
		s := []string{"script not performed", "script failed", "script successful"}[min(v[0]>>4, 2)]
		if n := v[0] & 0xF; v[0]>>4 == 1 && n > 0 {
			s += fmt.Sprintf(" at command %d", n)
		}
		w = append(w, fmt.Sprintf("%s, identifier %X", s, v[1:5]))
	}
	return w
}

// entryModes are values of 9F39 (ISO 8583:1987 4.3.14).
var entryModes = map[string]string{"01": "manual", "02": "magnetic stripe", "05": "chip", "07": "contactless chip", "80": "fallback to magnetic stripe", "90": "magnetic stripe, complete", "91": "contactless magnetic stripe"}

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
	countries = map[string]string{
		"0036": "Australia", "0040": "Austria", "0056": "Belgium", "0076": "Brazil", "0124": "Canada", "0156": "China", "0203": "Czechia", "0208": "Denmark",
		"0246": "Finland", "0250": "France", "0276": "Germany", "0300": "Greece", "0344": "Hong Kong", "0356": "India", "0372": "Ireland", "0380": "Italy",
		"0392": "Japan", "0442": "Luxembourg", "0484": "Mexico", "0528": "Netherlands", "0554": "New Zealand", "0578": "Norway", "0616": "Poland",
		"0620": "Portugal", "0702": "Singapore", "0710": "South Africa", "0724": "Spain", "0752": "Sweden", "0756": "Switzerland", "0792": "Turkey",
		"0826": "United Kingdom", "0840": "United States",
	}
	currencies = map[string]string{
		"0036": "Australian dollar", "0124": "Canadian dollar", "0156": "yuan", "0203": "Czech koruna", "0208": "Danish krone", "0344": "Hong Kong dollar",
		"0356": "Indian rupee", "0392": "yen", "0484": "Mexican peso", "0554": "New Zealand dollar", "0578": "Norwegian krone", "0702": "Singapore dollar",
		"0710": "rand", "0752": "Swedish krona", "0756": "Swiss franc", "0826": "pound sterling", "0840": "US dollar", "0949": "Turkish lira",
		"0963": "test", "0978": "euro", "0985": "zloty", "0986": "real", "0999": "none",
	}
	types = map[string]string{"00": "goods and services", "01": "cash", "09": "goods with cashback", "20": "refund", "30": "balance enquiry"}
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
		0x06: "facial biometric by ICC", 0x07: "facial biometric online", 0x08: "finger biometric by ICC", 0x09: "finger biometric online", 0x0A: "palm biometric by ICC",
		0x0B: "palm biometric online", 0x0C: "iris biometric by ICC", 0x0D: "iris biometric online", 0x0E: "voice biometric by ICC", 0x0F: "voice biometric online",
		0x00: "fail CVM processing", 0x01: "plaintext PIN by ICC", 0x02: "enciphered PIN online", 0x03: "plaintext PIN by ICC and signature",
		0x04: "enciphered PIN by ICC", 0x05: "enciphered PIN by ICC and signature", 0x1E: "signature", 0x1F: "no CVM required", 0x3F: "no CVM performed",
	}
	if n, ok := names[b&0x3F]; ok {
		return n
	}
	return fmt.Sprintf("method %02X", b&0x3F)
}

func cvmResult(b byte) string {
	if b > 2 {
		return fmt.Sprintf("result %02X", b)
	}
	return []string{"unknown", "failed", "successful"}[b]
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
	for i, x := range []string{"X", "Y"} {
		if n := v[4*i : 4*i+4]; string(n) != "\x00\x00\x00\x00" {
			w = append(w, fmt.Sprintf("%s is %d", x, uint32(n[0])<<24|uint32(n[1])<<16|uint32(n[2])<<8|uint32(n[3])))
		}
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
	0x82: {{"XDA supported", "SDA supported", "DDA supported", "cardholder verification supported", "terminal risk management to be performed", "issuer authentication supported", "on-device cardholder verification supported", "CDA supported"},
		{"EMV mode supported", "mobile phone", "contactless transaction", "", "", "", "", "relay resistance protocol supported"}},
	0x95: tvr, 0x9F0D: tvr, 0x9F0E: tvr, 0x9F0F: tvr,
	0x9B: {{"offline data authentication was performed", "cardholder verification was performed", "card risk management was performed", "issuer authentication was performed", "terminal risk management was performed", "script processing was performed"}, {}},
	0x9F07: {{"valid for domestic cash", "valid for international cash", "valid for domestic goods", "valid for international goods", "valid for domestic services", "valid for international services", "valid at ATMs", "valid at terminals other than ATMs"},
		{"domestic cashback allowed", "international cashback allowed"}},
	0x9F33: {{"manual key entry", "magnetic stripe", "IC with contacts"}, {"plaintext PIN by ICC", "enciphered PIN online", "signature", "enciphered PIN by ICC", "no CVM required", "online biometric", "offline biometric", "enciphered PIN by ICC (ECC)"}, {"SDA", "DDA", "card capture", "", "CDA", "XDA"}},
	0x9F40: {{"cash", "goods", "services", "cashback", "inquiry", "transfer", "payment", "administrative"}, {"cash deposit"},
		{"numeric keys", "alphabetic and special keys", "command keys", "function keys"},
		{"print for the attendant", "print for the cardholder", "display for the attendant", "display for the cardholder", "", "", "code table 10", "code table 9"},
		{"code table 8", "code table 7", "code table 6", "code table 5", "code table 4", "code table 3", "code table 2", "code table 1"}},
	0x9F30: {{"facial, offline", "finger, offline", "iris, offline", "palm, offline", "voice, offline"}, {"facial, online", "finger, online", "iris, online", "palm, online", "voice, online"}, {}},
	0x9F66: {{"magnetic-stripe mode supported", "", "EMV mode supported", "EMV contact chip supported", "offline-only reader", "online PIN supported", "signature supported", "offline data authentication for online supported"},
		{"online cryptogram required", "CVM required", "contact chip offline PIN supported"}, {"issuer update processing supported", "consumer device CVM supported"}, {}},
	0x9F6C: {{"online PIN required", "signature required", "go online if offline data authentication fails", "switch interface if it fails", "go online if application expired", "switch interface for cash", "switch interface for cashback"},
		{"consumer device CVM performed", "card supports issuer update processing at the POS"}},
}

// tvr are the bits of Book 3 table 46; byte 5 bits 4 to 1 are those of contactless too
// (Book C-2, recalled, unverified).
var tvr = [][8]string{
	{"offline data authentication was not performed", "SDA failed", "ICC data missing", "card appears on the exception file", "DDA failed", "CDA failed", "SDA selected", "XDA selected"},
	{"ICC and terminal have different application versions", "expired application", "application not yet effective", "service not allowed for the card", "new card", "",
		"biometric performed and successful", "biometric template format not supported"},
	{"cardholder verification was not successful", "unrecognised CVM", "PIN try limit exceeded", "PIN required, no PIN pad or not working", "PIN required, not entered", "online PIN entered",
		"biometric required, capture device not working", "biometric required, capture bypassed"},
	{"transaction exceeds floor limit", "lower consecutive offline limit exceeded", "upper consecutive offline limit exceeded", "transaction selected randomly for online", "merchant forced transaction online",
		"biometric try limit exceeded", "biometric type not supported", "XDA signature verification failed"},
	{"default TDOL used", "issuer authentication failed", "script failed before final GENERATE AC", "script failed after final GENERATE AC", "relay resistance threshold exceeded",
		"CA ECC key missing, or relay resistance time limits exceeded", "ECC key recovery failed, or relay resistance performed", "relay resistance not performed"},
}

// Format1 takes the value of a response of format 1 (template 80) apart, which holds data
// elements without tags: to GET PROCESSING OPTIONS, GENERATE AC and INTERNAL
// AUTHENTICATE (Book 3 6.5.8.4, 6.5.5.4, 6.5.9.4). nil: it does not say what it holds.
func Format1(ins byte, v []byte) (objects []byte) {
	switch {
	case ins == 0xA8 && len(v) >= 2:
		return tlv.Append(tlv.Append(nil, 0x82, v[:2]...), 0x94, v[2:]...)
	case ins == 0xAE && len(v) >= 11:
		objects = tlv.Append(tlv.Append(tlv.Append(nil, 0x9F27, v[0]), 0x9F36, v[1:3]...), 0x9F26, v[3:11]...)
		if len(v) > 11 {
			objects = tlv.Append(objects, 0x9F10, v[11:]...)
		}
	case ins == 0x88 && len(v) > 0:
		return tlv.Append(nil, 0x9F4B, v...)
	}
	return objects
}

// Line is a data element for people; its depth tells the templates around it.
type Line struct {
	Depth int
	Tag   Tag
	Name  string
	Value string // "" for a template
	Words []string
}

// Lines takes BER-TLV data apart, templates into what they hold; rest is what could not
// be read.
func Lines(b []byte) (lines []Line, rest []byte) { return appendLines(nil, b, 0, 0) }

func appendLines(lines []Line, b []byte, template Tag, depth int) ([]Line, []byte) {
	for len(b) > 0 {
		t, v, next, err := tlv.Next(b)
		if err != nil || t == 0 {
			return lines, b
		}
		l := Line{Depth: depth, Tag: t, Name: Name(t)}
		e, within := LookupIn(t, template)
		if within {
			l.Name = e.Name
		}
		if t.Constructed() && depth < 8 {
			lines = append(lines, l)
			if lines, _ = appendLines(lines, v, t, depth+1); len(v) == 0 {
				lines[len(lines)-1].Value = "(empty)"
			}
		} else {
			l.Value = Shown(t, v)
			if c, _ := Lookup(t); !within || c.Name == e.Name { // else the tag has another meaning here
				l.Words = Words(t, v)
			}
			lines = append(lines, l)
		}
		b = next
	}
	return lines, nil
}
