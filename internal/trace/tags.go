package trace

import (
	"fmt"

	"github.com/sspemu/sspemu/internal/tlv"
)

// maxDepth bounds how deep data objects are taken apart.
const maxDepth = 6

// templates tells whether data is a row of known templates.
func templates(data []byte) bool {
	r := tlv.Read(data)
	for r.Next() {
		if tagNames[tagKey{0, r.Tag}] == "" {
			return false
		}
	}
	return r.Err() == nil
}

// appendObjects adds a line for each data object in data, which is the value of
// parent; parent is 0 at the outermost level.
func appendObjects(b, data []byte, parent tlv.Tag, depth int) []byte {
	r := tlv.Read(data)
	for r.Next() {
		b = fmt.Appendf(b, "%s%X", pad(valueColumn+2*depth), uint32(r.Tag))
		if name := tagName(parent, r.Tag); name != "" {
			b = append(b, ' ')
			b = append(b, name...)
		}
		if constructed(parent, r.Tag) && depth < maxDepth && wellFormed(r.Value) {
			b = append(b, '\n')
			b = appendObjects(b, r.Value, r.Tag, depth+1)
			continue
		}
		b = appendHex(b, r.Value)
		if words := valueWords(parent, r.Tag, r.Value); words != "" {
			b = fmt.Appendf(b, " (%s)", words)
		}
		b = append(b, '\n')
	}
	return b
}

// constructed tells whether the value is made of data objects: bit 6 of the tag
// says so, but for two that have been given tags without it.
func constructed(parent, tag tlv.Tag) bool {
	return tag.Constructed() || tagKey{parent, tag} == tagKey{0x62, 0xC6} || tagKey{parent, tag} == tagKey{0, 0xD0}
}

func wellFormed(data []byte) bool {
	r := tlv.Read(data)
	for r.Next() {
	}
	return r.Err() == nil
}

// tagKey is a tag inside a template; the same tag means other things elsewhere.
type tagKey struct{ parent, tag tlv.Tag }

func tagName(parent, tag tlv.Tag) string {
	if s := tagNames[tagKey{parent, tag}]; s != "" {
		return s
	}
	return anywhere[tag]
}

// tagNames holds, with parent 0, the templates that are taken apart, and what
// they contain. ISO/IEC 7816-4 5.3.3 and ETSI TS 102 221 11.1.1.4 (62, 64, 6F),
// TS 102 221 11.1.19.2 (A9), TS 102 223 9 (D0 to D7), EMV book 1 11.3 (A5 in 6F).
var tagNames = map[tagKey]string{
	{0, 0x61}: "application template",
	{0, 0x62}: "FCP template",
	{0, 0x64}: "FMD template",
	{0, 0x6F}: "FCI template",
	{0, 0x70}: "record template",
	{0, 0x77}: "response template",
	{0, 0xA9}: "terminal capability",
	{0, 0xD0}: "proactive command",
	{0, 0xE3}: "GlobalPlatform registry data",

	{0x62, 0x80}: "file size",
	{0x62, 0x81}: "total file size",
	{0x62, 0x82}: "file descriptor",
	{0x62, 0x83}: "file identifier",
	{0x62, 0x84}: "DF name",
	{0x62, 0x85}: "proprietary information",
	{0x62, 0x86}: "security attributes, proprietary",
	{0x62, 0x88}: "short file identifier",
	{0x62, 0x8A}: "life cycle status",
	{0x62, 0x8B}: "security attributes, reference to EF.ARR",
	{0x62, 0x8C}: "security attributes, compact",
	{0x62, 0x8D}: "EF with security environments",
	{0x62, 0xA0}: "security attributes for data objects",
	{0x62, 0xA5}: "proprietary information",
	{0x62, 0xAB}: "security attributes, expanded",
	{0x62, 0xC6}: "PIN status template",

	{0xA5, 0x80}: "UICC characteristics",
	{0xA5, 0x81}: "application power consumption",
	{0xA5, 0x82}: "minimum clock frequency",
	{0xA5, 0x83}: "available memory",
	{0xA5, 0x84}: "file details",
	{0xA5, 0x85}: "reserved file size",
	{0xA5, 0x86}: "maximum file size",
	{0xA5, 0x87}: "supported system commands",
	{0xA5, 0x88}: "environmental conditions",
	{0xA5, 0x89}: "secured APDU",
	{0xA5, 0xC0}: "special file information",
	{0xA5, 0xC1}: "filling pattern",
	{0xA5, 0xC2}: "repeat pattern",

	{0xC6, 0x90}: "PS_DO, PINs enabled",
	{0xC6, 0x95}: "usage qualifier",
	{0xC6, 0x83}: "key reference",

	{0x6F, 0x84}: "DF name",
	{0x6F, 0xA5}: "proprietary information",
	{0x6F, 0x85}: "proprietary information",

	{0xA9, 0x80}: "terminal power supply",
	{0xA9, 0x81}: "extended logical channels",
	{0xA9, 0x82}: "additional interfaces",
	{0xA9, 0x83}: "eUICC related capabilities",

	{0xD0, 0x01}: "command details",
	{0xD0, 0x02}: "device identities",
	{0xD0, 0x04}: "duration",
	{0xD0, 0x05}: "alpha identifier",
	{0xD0, 0x06}: "address",
	{0xD0, 0x0D}: "text string",
	{0xD0, 0x0F}: "item",
	{0xD0, 0x12}: "file list",
	{0xD0, 0x19}: "event list",
	{0xD0, 0x81}: "command details",
	{0xD0, 0x82}: "device identities",
	{0xD0, 0x84}: "duration",
	{0xD0, 0x85}: "alpha identifier",
	{0xD0, 0x86}: "address",
	{0xD0, 0x8B}: "SMS TPDU",
	{0xD0, 0x8D}: "text string",
	{0xD0, 0x8F}: "item",
	{0xD0, 0x92}: "file list",
	{0xD0, 0x99}: "event list",
}

// anywhere holds tags that mean the same wherever they are (ISO/IEC 7816-6, EMV
// book 3 annex A).
var anywhere = map[tlv.Tag]string{
	0x4F:   "application identifier",
	0x50:   "application label",
	0x57:   "track 2 equivalent data",
	0x5A:   "application PAN",
	0x5F20: "cardholder name",
	0x5F24: "application expiration date",
	0x5F2D: "language preference",
	0x61:   "application template",
	0x6F:   "FCI template",
	0x70:   "record template",
	0x73:   "discretionary data objects",
	0x82:   "application interchange profile",
	0x84:   "DF name",
	0x87:   "application priority indicator",
	0x88:   "short file identifier",
	0x94:   "application file locator",
	0x9F11: "issuer code table index",
	0x9F12: "application preferred name",
	0x9F26: "application cryptogram",
	0x9F27: "cryptogram information data",
	0x9F36: "application transaction counter",
	0x9F38: "PDOL",
	0xA5:   "proprietary information",
	0xBF0C: "FCI issuer discretionary data",
	0xC5:   "privileges",
	0x9F70: "life cycle state",
}

// valueWords says what the values say that one looks up most.
func valueWords(parent, tag tlv.Tag, v []byte) string {
	if len(v) == 0 {
		return ""
	}
	switch (tagKey{parent, tag}) {
	case tagKey{0x62, 0x80}, tagKey{0x62, 0x81}:
		if len(v) <= 4 {
			n := 0
			for _, c := range v {
				n = n<<8 | int(c)
			}
			return fmt.Sprintf("%d bytes", n)
		}
	case tagKey{0x62, 0x82}:
		return fileDescriptor(v)
	case tagKey{0x62, 0x83}:
		if len(v) == 2 {
			return fileNames[uint16(v[0])<<8|uint16(v[1])]
		}
	case tagKey{0x62, 0x88}:
		return fmt.Sprintf("%02X", v[0]>>3)
	case tagKey{0x62, 0x8A}:
		return lifeCycle(v[0])
	case tagKey{0x62, 0x8B}:
		if len(v) == 3 {
			return fmt.Sprintf("record %d of EF %02X%02X", v[2], v[0], v[1])
		}
	case tagKey{0xC6, 0x83}:
		return keyReference(v[0])
	case tagKey{parent, 0x50}, tagKey{parent, 0x9F12}, tagKey{parent, 0x5F2D}:
		return fmt.Sprintf("%q", v)
	}
	return ""
}

// fileDescriptor explains the file descriptor (TS 102 221 11.1.1.4.3).
func fileDescriptor(v []byte) string {
	var s string
	switch v[0] & 0xBF {
	case 0x38:
		return "DF or ADF"
	case 0x39:
		return "BER-TLV EF"
	case 0x01, 0x09:
		return "transparent EF"
	case 0x02, 0x0A:
		s = "linear fixed EF"
	case 0x06, 0x0E:
		s = "cyclic EF"
	default:
		return ""
	}
	if len(v) == 5 {
		s += fmt.Sprintf(", %d records of %d bytes", v[4], int(v[2])<<8|int(v[3]))
	}
	return s
}

// lifeCycle explains the life cycle status (ISO/IEC 7816-4 7.4.10).
func lifeCycle(v byte) string {
	switch {
	case v == 0:
		return "no information"
	case v == 1:
		return "creation"
	case v == 3:
		return "initialisation"
	case v&0xFD == 0x05:
		return "operational, activated"
	case v&0xFD == 0x04:
		return "operational, deactivated"
	case v&0xFC == 0x0C:
		return "termination"
	}
	return ""
}

// keyReference names a PIN (TS 102 221 9.5.1).
func keyReference(v byte) string {
	switch {
	case v >= 0x01 && v <= 0x08:
		return fmt.Sprintf("PIN of application %d", v)
	case v >= 0x0A && v <= 0x0E:
		return fmt.Sprintf("ADM%d", v-0x09)
	case v == 0x11:
		return "universal PIN"
	case v >= 0x81 && v <= 0x88:
		return fmt.Sprintf("second PIN of application %d", v-0x80)
	case v >= 0x8A && v <= 0x8E:
		return fmt.Sprintf("ADM%d", v-0x84)
	}
	return ""
}

// fileNames are the files that are the same on every UICC (TS 102 221 13).
var fileNames = map[uint16]string{
	0x3F00: "MF",
	0x7FFF: "ADF of the current application",
	0x2F00: "EF.DIR",
	0x2F05: "EF.PL",
	0x2F06: "EF.ARR",
	0x2F08: "EF.UMPC",
	0x2FE2: "EF.ICCID",
	0x7F10: "DF.TELECOM",
	0x7F20: "DF.GSM",
}
