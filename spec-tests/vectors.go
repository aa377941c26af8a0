package spectests

import (
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/bundles/telecom/milenage"
	"github.com/sspemu/sspemu/bundles/telecom/milenage/vectors"
)

// vectorSuites makes a suite of the test sets of TS 35.207 and one of those of TS
// 35.208: each set is a case on a card that is personalised with its key.
func vectorSuites(sequences map[string][]Step) ([]*Suite, error) {
	var out []*Suite
	for _, v := range []struct{ name, standard, version, title string }{
		{"ts_35_207", "TS 35.207", "implementors' test data", "MILENAGE, implementors' test data"},
		{"ts_35_208", "TS 35.208", "design conformance test data", "MILENAGE, design conformance test data"},
	} {
		sets, err := vectors.All(v.standard)
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "suite: %s\nstandard: 3GPP %s\nversion: %q\ntitle: %q\nclauses:\n", v.name, v.standard, v.version, v.title)
		b.WriteString("  \"4.3\": f1 to f5* through AUTHENTICATE\ncases:\n")
		for _, s := range sets {
			vectorCase(&b, s)
		}
		suite, err := parse(v.name+".yaml", []byte(b.String()), sequences)
		if err != nil {
			return nil, fmt.Errorf("made of vectors.txt: %w", err)
		}
		for i := range suite.Cases {
			suite.Cases[i].Where = fmt.Sprintf("vectors.txt: %s set %d", v.standard, sets[i].Number)
		}
		out = append(out, suite)
	}
	return out, nil
}

// vectorCase writes the case of one set: f2 to f5 and f1 show in the answer to
// AUTHENTICATE, f1* and f5* in the AUTS that answers the same challenge again
// (f1* there is over an AMF of zero, so it is not the number of the set).
func vectorCase(b *strings.Builder, s vectors.Set) {
	autn := make([]byte, 6)
	for i, v := range s.Get("sqn") {
		autn[i] = v ^ s.Get("f5")[i]
	}
	autn = append(append(autn, s.Get("amf")...), s.Get("f1")...)
	fmt.Fprintf(b, "  - id: set-%d\n    clause: \"4.3\"\n    title: Test set %d\n", s.Number, s.Number)
	fmt.Fprintf(b, "    persona: {/authentication/k: %q, /authentication/op: %q, /authentication/opc: null, /authentication/amf: %q, /authentication/sqn/delta: 0, /authentication/sqn/initial: \"000000000000\"}\n",
		upper(s.Get("k")), upper(s.Get("op")), upper(s.Get("amf")))
	b.WriteString("    given: [usim, pin1]\n    steps:\n")
	if s.GSM() > 0 {
		fmt.Fprintf(b, "      - {send: \"0088008011 10%s 00\", expect: \"04%s 08%s\"}\n", upper(s.Get("rand")), upper(s.Get("sres")), upper(s.Get("kc")))
	}
	fmt.Fprintf(b, "      - {send: \"0088008122 10%s 10%s 00\", expect: \"DB 08%s 10%s 10%s *\"}\n",
		upper(s.Get("rand")), upper(autn), upper(s.Get("f2")), upper(s.Get("f3")), upper(s.Get("f4")))
	auts := milenage.New((*[16]byte)(s.Get("k")), (*[16]byte)(s.Get("opc")), milenage.Default).AUTS((*[16]byte)(s.Get("rand")), milenage.ParseSQN([6]byte(s.Get("sqn"))))
	fmt.Fprintf(b, "      - {send: \"0088008122 10%s 10%s 00\", expect: \"DC 0E%s\"}\n", upper(s.Get("rand")), upper(autn), upper(auts[:]))
}
