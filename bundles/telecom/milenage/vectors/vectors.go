// Package vectors holds the known answers of MILENAGE as data: vectors.txt says
// where they are from. Tests and the conformance suites read them; no guest does.
package vectors

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

//go:embed vectors.txt
var text string

// Set is one test set: the standard and number under which it stands there, and
// its fields by the names of the file ("k", "rand", "f1*").
type Set struct {
	Standard string
	Number   int
	fields   map[string][]byte
	gsm      int
}

// Get is a field of the set, nil when the set has none of that name.
func (s Set) Get(name string) []byte { return s.fields[name] }

// GSM is the number of the same set in TS 55.205; 0: it is not there.
func (s Set) GSM() int { return s.gsm }

// All are the sets of one standard, in the order of the file: "TS 35.207", "TS
// 35.208" or "TS 35.208 AES".
func All(standard string) ([]Set, error) {
	var out []Set
	cur := Set{fields: map[string][]byte{}}
	add := func() {
		if cur.Standard == standard {
			out = append(out, cur)
		}
		cur = Set{fields: map[string][]byte{}}
	}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			if cur.Standard != "" {
				add()
			}
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		var err error
		switch {
		case !ok:
			err = fmt.Errorf("no name and value")
		case name == "standard":
			cur.Standard = value
		case name == "set":
			cur.Number, err = strconv.Atoi(value)
		case name == "gsm":
			cur.gsm, err = strconv.Atoi(value)
		default:
			cur.fields[name], err = hex.DecodeString(value)
		}
		if err != nil {
			return nil, fmt.Errorf("vectors.txt:%d: %q: %w", i+1, line, err)
		}
	}
	if cur.Standard != "" {
		add()
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("vectors.txt: no set of %q", standard)
	}
	return out, nil
}
