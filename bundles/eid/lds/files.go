package lds

import "github.com/sspemu/sspemu/internal/tlv"

// ATRInfo is EF.ATR/INFO (Doc 9303-10 table 29; ISO/IEC 7816-4 12.1.1.9, 12.7.1).
type ATRInfo struct {
	Capabilities [3]byte // 47: the three software function tables
	Command      int     // 7F66: most octets of a command APDU; 0: left out
	Response     int     // most octets of a response APDU
}

// Capabilities of a document: selection by DF name and short identifier; data units of
// one octet; chaining, extended lengths, and their limits in EF.ATR/INFO.
var Capabilities = [3]byte{0x84, 0x01, 0xE0}

const (
	tagCapabilities tlv.Tag = 0x47
	tagExtended     tlv.Tag = 0x7F66
)

// Build is the content of EF.ATR/INFO.
func (a *ATRInfo) Build() []byte {
	b := tlv.Append(nil, tagCapabilities, a.Capabilities[:]...)
	if a.Command > 0 {
		b = append(b, seq(tagExtended, integer(a.Command), integer(a.Response))...)
	}
	return b
}

// ParseATRInfo reads EF.ATR/INFO; data objects that are not known are ignored.
func ParseATRInfo(file []byte) (*ATRInfo, error) {
	a := &ATRInfo{}
	r := tlv.Read(file)
	for r.Next() {
		switch r.Tag {
		case tagCapabilities:
			if len(r.Value) != 3 {
				return nil, bad("EF.ATR/INFO", "the card capabilities are not three octets")
			}
			copy(a.Capabilities[:], r.Value)
		case tagExtended:
			in := tlv.Read(r.Value)
			for _, to := range []*int{&a.Command, &a.Response} {
				ok := in.Next() && in.Tag == tagInteger
				if ok {
					*to, ok = number(in.Value)
				}
				if !ok {
					return nil, bad("EF.ATR/INFO", "the extended length information is not two numbers")
				}
			}
		}
	}
	if r.Err() != nil {
		return nil, malformed("EF.ATR/INFO", r.Err())
	}
	return a, nil
}

const (
	tagApplication tlv.Tag = 0x61
	tagAID         tlv.Tag = 0x4F
)

// DIR is the content of EF.DIR with these applications (Doc 9303-10 table 31).
func DIR(aids ...[]byte) []byte {
	var b []byte
	for _, a := range aids {
		b = append(b, seq(tagApplication, tlv.Append(nil, tagAID, a...))...)
	}
	return b
}

// ParseDIR are the applications in EF.DIR.
func ParseDIR(file []byte) ([][]byte, error) {
	var aids [][]byte
	r := tlv.Read(file)
	for r.Next() {
		if r.Tag != tagApplication {
			continue
		}
		aid, err := tlv.Find(r.Value, tagAID)
		if err != nil {
			return nil, malformed("EF.DIR", err)
		}
		aids = append(aids, aid)
	}
	if r.Err() != nil {
		return nil, malformed("EF.DIR", r.Err())
	}
	return aids, nil
}

// sizeCVCA is the length of EF.CVCA (TR-03110-3 A.3).
const sizeCVCA = 36

const tagCAR tlv.Tag = 0x42

// CVCA is the content of EF.CVCA: the names of one or two trust points, newest first.
func CVCA(references ...string) []byte {
	var b []byte
	for _, r := range references {
		b = tlv.Append(b, tagCAR, []byte(r)...)
	}
	for len(b) < sizeCVCA {
		b = append(b, 0)
	}
	return b
}

// ParseCVCA are the names in EF.CVCA.
func ParseCVCA(file []byte) ([]string, error) {
	var names []string
	r := tlv.Read(file)
	for r.Next() {
		if r.Tag != tagCAR || len(r.Value) == 0 || len(r.Value) > 16 {
			return nil, bad("EF.CVCA", "has something else than names of certification authorities")
		}
		names = append(names, string(r.Value))
	}
	if r.Err() != nil {
		return nil, malformed("EF.CVCA", r.Err())
	}
	return names, nil
}
