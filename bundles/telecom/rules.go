package telecom

import (
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// accesses are the words for what a rule allows, in the order in which they are
// coded: a bit of the access mode byte, or an instruction.
var accesses = []struct {
	word      string
	mode, ins byte
	directory bool
}{
	{word: "read", mode: amRead},
	{word: "update", mode: amUpdate},
	{word: "delete_child", mode: amDeleteChild, directory: true},
	{word: "create_ef", mode: amCreateEF, directory: true},
	{word: "create_df", mode: amCreateDF, directory: true},
	{word: "deactivate", mode: amDeactivate},
	{word: "activate", mode: amActivate},
	{word: "terminate", mode: amTerminate},
	{word: "delete", mode: amDelete},
	{word: "increase", ins: insIncrease},
	{word: "resize", ins: insResizeFile},
}

// rule codes one access rule in expanded format (ETSI TS 102 221 9.2.4, ISO/IEC
// 7816-4 9.3.3): accesses with the same condition share an access mode byte.
func (k *compiler) rule(d *sdk.Doc) ([]byte, error) {
	var out []byte
	var done []string
	file, dir := false, false
	for i, a := range accesses {
		e := d.Get(a.word)
		if !e.Exists() {
			continue
		}
		if a.directory {
			dir = true
		} else if a.mode&(amRead|amUpdate) != 0 || a.ins != 0 {
			file = true
		}
		if file && dir {
			return nil, e.Refuse("mixes accesses to directories and to EFs, which share their bits")
		}
		text := e.Text()
		condition, err := k.condition(e, text)
		if err != nil {
			return nil, err
		}
		if a.ins != 0 {
			out = append(append(out, tagHeaderMode, 1, a.ins), condition...)
			continue
		}
		if contains(done, text) {
			continue
		}
		done = append(done, text)
		mode := a.mode
		for _, o := range accesses[i+1:] {
			if o.ins == 0 && d.Has(o.word) && d.Get(o.word).Text() == text {
				mode |= o.mode
			}
		}
		out = append(append(out, tagAccessMode, 1, mode), condition...)
	}
	return out, nil
}

func contains(l []string, s string) bool {
	for _, x := range l {
		if x == s {
			return true
		}
	}
	return false
}

// condition codes a security condition: ALW, NEV, or names of PINs joined by &
// and, weaker, by |.
func (k *compiler) condition(d *sdk.Doc, text string) ([]byte, error) {
	switch text {
	case "ALW":
		return []byte{tagAlways, 0}, nil
	case "NEV":
		return []byte{tagNever, 0}, nil
	}
	var any []byte
	alternatives := strings.Split(text, "|")
	for _, alt := range alternatives {
		var all []byte
		names := strings.Split(alt, "&")
		for _, name := range names {
			ref, ok := keyReference(strings.TrimSpace(name))
			if !ok {
				return nil, d.Refuse("is not ALW, NEV or names of PINs with & and | between them")
			}
			k.refs = append(k.refs, ruleRef{ref, d})
			all = append(all, tagUserAuth, 6, tagKeyReference, 1, ref, tagUsageQualifier, 1, usageVerify)
		}
		if len(names) > 1 {
			all = append([]byte{tagAnd, byte(len(all))}, all...)
		}
		any = append(any, all...)
	}
	if len(any) > 120 {
		return nil, d.Refuse("is longer than 120 bytes when coded")
	}
	if len(alternatives) > 1 {
		any = append([]byte{tagOr, byte(len(any))}, any...)
	}
	return any, nil
}

// keyReference is the number of a PIN by its name (ETSI TS 102 221 table 9.3):
// PIN1, PIN2 (the local one of 3GPP TS 31.102), UPIN (the universal PIN), ADM1
// to ADM10, or REF and two digits for any other.
func keyReference(name string) (byte, bool) {
	switch {
	case name == "PIN1":
		return refPIN1, true
	case name == "PIN2":
		return refPIN2, true
	case name == "UPIN":
		return refUniversal, true
	case name == "ADM10":
		return refADM6 + 4, true
	case len(name) == 4 && name[:3] == "ADM" && name[3] >= '1' && name[3] <= '5':
		return refADM1 + name[3] - '1', true
	case len(name) == 4 && name[:3] == "ADM" && name[3] >= '6' && name[3] <= '9':
		return refADM6 + name[3] - '6', true
	case len(name) == 5 && name[:3] == "REF":
		hi, lo := strings.IndexByte(hexUpper, name[3]), strings.IndexByte(hexUpper, name[4])
		ref := byte(hi<<4 | lo)
		return ref, hi >= 0 && lo >= 0 && ref&^refLocal != 0 && ref&refRFU == 0
	}
	return 0, false
}

const hexUpper = "0123456789ABCDEF"
