package spectests

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	iot "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/telecom/milenage"
)

// Tell gives t the persona of its card: variables, and the profile of a payment card.
func (t *Target) Tell(persona []byte) (err error) {
	switch PersonaBundle(persona) {
	case "iot":
		t.Device, t.Vars, err = iotVars(persona)
		return err
	case "eid":
		if t.Vars, err = eidVars(persona); err != nil {
			return err
		}
		if t.Document, err = documentOf(persona); err != nil {
			return err
		}
		more, err := pivVars(persona)
		maps.Copy(t.Vars, more)
		return err
	case DefaultBundle:
		t.Vars, err = telecomVars(persona)
		return err
	}
	if t.Profile, err = profile.FromYAML(persona, "persona", nil); err != nil {
		return err
	}
	t.Vars = map[string]string{}
	for _, a := range t.Profile.Applications {
		if !isName(a.Name) {
			continue
		}
		t.Vars[a.Name+"_aid"] = upper(a.AID)
		pan := a.PAN
		if len(pan)%2 != 0 {
			pan += "F"
		}
		t.Vars[a.Name+"_pan"] = pan
	}
	return nil
}

// PersonaBundle is the bundle that a persona is for, by what it holds: payment cards
// have applications, IoT SAFE applets private keys, eID cards one of the documents.
func PersonaBundle(persona []byte) string {
	var doc struct {
		Applications   []any
		Private        []any `yaml:"private_keys"`
		MRTD, PIV, MDL map[string]any
	}
	switch err := yaml.Unmarshal(persona, &doc); {
	case err == nil && len(doc.Applications) > 0:
		return "payment"
	case err == nil && len(doc.Private) > 0:
		return "iot"
	case err == nil && len(doc.MRTD)+len(doc.PIV)+len(doc.MDL) > 0:
		return "eid"
	}
	return DefaultBundle
}

// iotVars reads a persona of the IoT bundle and the variables of a Target: aid, other_aid
// if there is a second one, and domain_tar, that of the first security domain, if there is
// one.
func iotVars(persona []byte) (*iot.Profile, map[string]string, error) {
	p, err := iot.FromYAML(persona, "persona", nil)
	if err != nil {
		return nil, nil, err
	}
	vars := map[string]string{}
	for i, name := range []string{"aid", "other_aid"} {
		if i < len(p.AIDs) {
			vars[name] = upper(p.AIDs[i])
		}
	}
	if len(p.Domains) > 0 {
		vars["domain_tar"] = upper(p.Domains[0].TAR[:])
	}
	return p, vars, nil
}

// telecomVars reads the variables of a Target off a persona of the telecom
// bundle: iccid and imsi as their files hold them, aid_usim, pin1, puk1, pin2,
// puk2 and adm1 as commands carry them, k, opc and amf. What the persona lacks
// is left out.
func telecomVars(persona []byte) (map[string]string, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(persona, &doc); err != nil {
		return nil, fmt.Errorf("persona: %w", err)
	}
	vars := map[string]string{}
	visit(doc, func(m map[string]any) {
		switch name := text(m["name"]); {
		case name == "EF.ICCID":
			vars["iccid"] = digitsOf(m, "iccid", "")
		case name == "EF.IMSI":
			if s := digitsOf(m, "imsi", "9"); s != "" {
				vars["imsi"] = fmt.Sprintf("%02X", len(s)/2) + s
				vars["imsi"] += strings.Repeat("F", 18-len(vars["imsi"]))
			}
		case name == "ADF.USIM":
			vars["aid_usim"] = text(m["aid"])
		}
		if ref := strings.ToLower(text(m["ref"])); ref != "" {
			if key := text(m["key"]); key != "" {
				vars[ref] = key
			} else {
				vars[ref] = pinBytes(text(m["value"]))
			}
			if puk := text(m["puk"]); puk != "" {
				vars[strings.Replace(ref, "pin", "puk", 1)] = pinBytes(puk)
			}
		}
	})
	if a, ok := doc["authentication"].(map[string]any); ok {
		vars["k"], vars["amf"], vars["opc"] = text(a["k"]), text(a["amf"]), text(a["opc"])
		if op, k := unhex(text(a["op"])), unhex(text(a["k"])); len(op) == 16 && len(k) == 16 {
			opc := milenage.OPc((*[16]byte)(k), (*[16]byte)(op))
			vars["opc"] = upper(opc[:])
		}
	}
	for name, v := range vars {
		if v = strings.ToUpper(strings.ReplaceAll(v, " ", "")); v == "" {
			delete(vars, name)
		} else {
			vars[name] = v
		}
	}
	return vars, nil
}

// visit calls f for every map in v.
func visit(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, e := range v {
			visit(e, f)
		}
	case []any:
		for _, e := range v {
			visit(e, f)
		}
	}
}

func text(v any) string { s, _ := v.(string); return s }

func unhex(s string) []byte {
	b, _ := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	return b
}

// digitsOf is the content of a file that holds digits: hexadecimal, or the
// digits under word after prefix, low nibble first, filled with F.
func digitsOf(file map[string]any, word, prefix string) string {
	content, ok := file["content"].(map[string]any)
	if !ok {
		return ""
	}
	s := prefix + text(content[word])
	if s == prefix {
		return ""
	}
	if word == "imsi" && len(s)%2 == 1 {
		s = "1" + s[1:] // an even number of digits (3GPP TS 31.102 4.2.2)
	}
	if len(s)%2 == 1 {
		s += "F"
	}
	b := []byte(s)
	for i := 0; i < len(b); i += 2 {
		b[i], b[i+1] = b[i+1], b[i]
	}
	return string(b)
}

// pinBytes is a PIN as commands carry it: digits in ASCII, filled with FF (ETSI
// TS 102 221 9.5.1).
func pinBytes(s string) string {
	if s == "" {
		return ""
	}
	return upper([]byte(s)) + strings.Repeat("FF", max(0, 8-len(s)))
}

// changed is the persona with the changes made.
func changed(persona []byte, changes []Change) ([]byte, error) {
	var doc any
	if err := yaml.Unmarshal(persona, &doc); err != nil {
		return nil, fmt.Errorf("persona: %w", err)
	}
	for _, c := range changes {
		var err error
		if doc, err = put(doc, strings.Split(c.Pointer, "/")[1:], c.Value); err != nil {
			return nil, fmt.Errorf("persona: %s: %w", c.Pointer, err)
		}
	}
	return yaml.Marshal(doc)
}

// put is doc with the value at keys, nil takes it away. A map that there is not is
// made; a list takes the index of one of its elements, or - to have one more (RFC 6901
// clause 4).
func put(doc any, keys []string, value any) (any, error) {
	if len(keys) == 0 {
		return value, nil
	}
	k, last := keys[0], len(keys) == 1
	switch at := doc.(type) {
	case nil:
		return put(map[string]any{}, keys, value)
	case map[string]any:
		if last && value == nil {
			delete(at, k)
			return at, nil
		}
		v, err := put(at[k], keys[1:], value)
		at[k] = v
		return at, err
	case []any:
		if k == "-" {
			v, err := put(nil, keys[1:], value)
			return append(at, v), err
		}
		i, err := strconv.Atoi(k)
		if err != nil || i < 0 || i >= len(at) {
			return nil, fmt.Errorf("%q is not an index of a list of %d", k, len(at))
		}
		if last && value == nil {
			return slices.Delete(at, i, i+1), nil
		}
		at[i], err = put(at[i], keys[1:], value)
		return at, err
	}
	return nil, fmt.Errorf("%q is not in a map or list", k)
}
