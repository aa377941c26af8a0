package spectests

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/internal/tlv"
	"github.com/sspemu/sspemu/transport/iso7816"
)

// check is a named check: what hexadecimal and masks cannot say.
type check struct {
	doc   string // what must hold; the arguments in capitals
	args  int
	sets  []string // variables that it sets
	needs []string // abilities and variables that it needs
	run   func(d *Dialogue, args []string) error
}

// checks are all named checks. Those that start with scl_, link_, http_, coap_,
// platform_, cell, emv_, iot_, ota_, mdl_, mrtd_ and piv_ are in files of their own.
var checks map[string]check

func init() { // not in the declaration: the checks look the table up
	checks = map[string]check{
		"tlvs":     {doc: "the data is a row of BER-TLV data objects", run: checkTLVs},
		"tlv":      {doc: "the object at PATH (62/83) has the value VALUE, ? for any digit", args: 2, run: checkTLV},
		"has":      {doc: "there is an object at PATH", args: 1, run: func(d *Dialogue, a []string) error { _, err := find(d.data, a[0]); return err }},
		"lacks":    {doc: "there is no object at PATH", args: 1, run: checkLacks},
		"differs":  {doc: "the object at PATH is not VALUE", args: 2, run: checkDiffers},
		"length":   {doc: "the data has N bytes", args: 1, run: checkLength},
		"at_least": {doc: "the data has at least N bytes", args: 1, run: checkAtLeast},
		"not":      {doc: "the data is not VALUE", args: 1, run: checkNot},
		"fcp":      {doc: "the data is a file control parameters template with everything that is mandatory for a KIND: mf, df, adf, transparent, linear or cyclic (TS 102 221 11.1.1.3)", args: 1, run: checkFCP},
		"atr":      {doc: "the last Answer-to-Reset is well formed (ISO/IEC 7816-3 8.2)", run: checkATR},
		"atr_t":    {doc: "the last Answer-to-Reset offers the protocol T=N", args: 1, run: checkATRProtocol},
		"bcd":      {doc: "the data is digits, low nibble first, filled with F", run: checkBCD},
		"imsi":     {doc: "the data is an IMSI: a length of 1 to 8, a parity nibble of 1 or 9, digits (TS 31.102 4.2.2)", run: checkIMSI},
		"service":  {doc: "bit N (from 1) of the service table is set", args: 1, run: checkService},

		"increased": {doc: "the data is OLD plus ADDED, then ADDED (TS 102 221 11.1.8)", args: 2, run: checkIncreased},
		"rules":     {doc: "the data is access rules in expanded format, filled with FF (TS 102 221 9.2.4)", run: checkRules},
		"apdu_long": {doc: "a command with 65535 bytes of data is answered with an error, and the next one works", run: checkLong},
		"same_atr":  {doc: "another cold reset gives the same Answer-to-Reset", run: checkSameATR},

		"auc":       {doc: "the network makes a challenge whose SEQ is OFFSET (+1, 0, -3) from that of SQNMS, IND the same or next", args: 2, sets: aucVars, needs: []string{"k", "opc", "amf"}, run: checkAUC},
		"auc_auts":  {doc: "the data is tag DC and an AUTS with the right MAC-S, for SQNMS SAME or MOVED to the last challenge", args: 1, needs: []string{"k", "opc"}, run: checkAUTS},
		"auc_keys":  {doc: "the data is tag DB with RES, CK, IK of the last challenge, and Kc WITH or WITHOUT", args: 1, run: checkKeys},
		"auc_first": {doc: "the network makes a challenge with SQN zero", sets: aucVars, needs: []string{"k", "opc", "amf"}, run: checkFirst},
	}
	for _, more := range []map[string]check{sclChecks, linkChecks, httpChecks, coapChecks, platformChecks, cellChecks, emvChecks, iotChecks, otaChecks, mdlChecks, mrtdChecks, pivChecks} {
		maps.Copy(checks, more)
	}
}

// parsePath reads the tags of a path, from the outside in: "62/A5/80".
func parsePath(s string) ([]tlv.Tag, error) {
	var out []tlv.Tag
	for _, w := range strings.Split(s, "/") {
		v, err := strconv.ParseUint(w, 16, 24)
		if err != nil || len(w)%2 != 0 {
			return nil, fmt.Errorf("%q is not a path of tags like 62/A5/80", s)
		}
		out = append(out, tlv.Tag(v))
	}
	return out, nil
}

func find(b []byte, path string) ([]byte, error) {
	tags, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	v, err := tlv.Path(b, tags...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func walk(b []byte) error {
	r := tlv.Read(b)
	for r.Next() {
		if r.Tag.Constructed() {
			if err := walk(r.Value); err != nil {
				return fmt.Errorf("in %X: %w", uint32(r.Tag), err)
			}
		}
	}
	return r.Err()
}

func checkTLVs(d *Dialogue, _ []string) error {
	if len(d.data) == 0 {
		return errors.New("there is no data")
	}
	return walk(d.data)
}

func checkTLV(d *Dialogue, a []string) error {
	v, err := find(d.data, a[0])
	if err != nil {
		return err
	}
	p, err := parsePattern(a[1])
	if err != nil {
		return err
	}
	if err := p.match(v, d.vars); err != nil {
		return fmt.Errorf("it is %s: %w", upper(v), err)
	}
	return nil
}

func checkLacks(d *Dialogue, a []string) error {
	v, err := find(d.data, a[0])
	if err == nil {
		return fmt.Errorf("it is there: %s", upper(v))
	}
	if !errors.Is(err, tlv.ErrNotFound) {
		return err
	}
	return nil
}

func checkDiffers(d *Dialogue, a []string) error {
	v, err := find(d.data, a[1])
	if err == nil && upper(v) == a[0] {
		err = fmt.Errorf("%s is %s", a[1], a[0])
	}
	return err
}

func checkLength(d *Dialogue, a []string) error {
	n, err := strconv.Atoi(a[0])
	if err == nil && n != len(d.data) {
		err = fmt.Errorf("it has %d", len(d.data))
	}
	return err
}

func checkAtLeast(d *Dialogue, a []string) error {
	n, err := strconv.Atoi(a[0])
	if err == nil && n > len(d.data) {
		err = fmt.Errorf("it has %d", len(d.data))
	}
	return err
}

func checkNot(d *Dialogue, a []string) error {
	b, err := hex.DecodeString(a[0])
	if err == nil && bytes.Equal(b, d.data) {
		err = errors.New("it is")
	}
	return err
}

func checkBCD(d *Dialogue, _ []string) error {
	end := false
	for i, b := range d.data {
		for _, n := range []byte{b & 0x0F, b >> 4} {
			switch {
			case n == 0x0F:
				end = true
			case n > 9 || end:
				return fmt.Errorf("byte %d is %02X", i, b)
			}
		}
	}
	return nil
}

func checkIMSI(d *Dialogue, _ []string) error {
	if len(d.data) != 9 || d.data[0] < 1 || d.data[0] > 8 {
		return errors.New("it has not 9 bytes of which the first is 1 to 8")
	}
	if p := d.data[1] & 0x0F; p != 1 && p != 9 {
		return fmt.Errorf("the parity nibble is %X", p)
	}
	digits := *d
	digits.data = bytes.Clone(d.data[1:])
	return checkBCD(&digits, nil)
}

func checkService(d *Dialogue, a []string) error {
	n, err := strconv.Atoi(a[0])
	if err == nil && (n < 1 || (n-1)/8 >= len(d.data) || d.data[(n-1)/8]>>((n-1)%8)&1 == 0) {
		err = errors.New("it is not")
	}
	return err
}

func checkATR(d *Dialogue, _ []string) error {
	_, err := iso7816.ParseATR(d.atr)
	return err
}

func checkATRProtocol(d *Dialogue, args []string) error {
	a, err := iso7816.ParseATR(d.atr)
	if err != nil {
		return err
	}
	t, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if got := protocols(a); !slices.Contains(got, t) {
		return fmt.Errorf("it offers %v", got)
	}
	return nil
}

// protocols are the values of T that the ATR offers: T=0 when there is no TD1
// (ISO/IEC 7816-3 8.2.3).
func protocols(a iso7816.ATR) []int {
	if len(a.Groups) < 2 {
		return []int{0}
	}
	var l []int
	for _, g := range a.Groups[1:] {
		if g.T != 15 && !slices.Contains(l, int(g.T)) {
			l = append(l, int(g.T))
		}
	}
	return l
}

func checkSameATR(d *Dialogue, _ []string) error {
	before := upper(d.atr)
	if err := d.reset(true); err != nil {
		return err
	}
	return equal("the Answer-to-Reset", upper(d.atr), before)
}

func checkIncreased(d *Dialogue, a []string) error {
	old, err := strconv.ParseUint(a[0], 16, 64)
	if err != nil {
		return err
	}
	added, err := strconv.ParseUint(a[1], 16, 64)
	if err != nil {
		return err
	}
	return equal("the data", upper(d.data), fmt.Sprintf("%0*X%s", len(a[0]), old+added, a[1]))
}

func checkRules(d *Dialogue, _ []string) error {
	rest := bytes.TrimRight(d.data, "\xFF")
	if len(rest) == 0 {
		return errors.New("the record is empty")
	}
	mode := false
	for len(rest) > 0 {
		tag, value, after, err := tlv.Next(rest)
		if err != nil {
			return err
		}
		switch {
		case tag >= 0x80 && tag <= 0x8F:
			mode = true
		case !mode:
			return fmt.Errorf("security condition %X before any access mode", uint32(tag))
		case tag != 0x90 && tag != 0x97 && tag != 0x9E && tag != 0xA0 && tag != 0xA4 && tag != 0xA7 && tag != 0xAF:
			return fmt.Errorf("%X is no security condition", uint32(tag))
		}
		if tag.Constructed() {
			if err := walk(value); err != nil {
				return err
			}
		}
		rest = after
	}
	return nil
}

// checkLong sends the longest command there is. Its first and last bytes would
// do in the dialogue, so it is sent past it.
func checkLong(d *Dialogue, _ []string) error {
	c := make([]byte, 7+65535)
	copy(c, []byte{0x00, 0xD6, 0x00, 0x00, 0x00, 0xFF, 0xFF})
	d.note("UPDATE BINARY with 65535 bytes of data")
	r, err := d.target.Terminal.Transmit(d.ctx, c, nil)
	if err != nil {
		return err
	}
	if len(r) != 2 || r[0] == 0x90 || r[0] == 0x61 {
		return fmt.Errorf("it answers %X", r[:min(len(r), 16)])
	}
	if err := d.transmit([]byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00}); err != nil {
		return err
	}
	return equal("the status of the next command", d.sw, 0x9000)
}

// fcpRule is what TS 102 221 tables 11.3, 11.3a, 11.4 and 11.5 make mandatory,
// and the file descriptor byte (table 11.5), shareable or not.
var fcpRule = map[string]struct {
	descriptor byte
	must       []string
}{
	"mf":          {0x38, []string{"83", "A5", "8A", "C6"}},
	"df":          {0x38, []string{"83", "8A", "C6"}},
	"adf":         {0x38, []string{"84", "8A", "C6"}},
	"transparent": {0x01, []string{"83", "8A", "80"}},
	"linear":      {0x02, []string{"83", "8A", "80"}},
	"cyclic":      {0x06, []string{"83", "8A", "80"}},
}

func checkFCP(d *Dialogue, a []string) error {
	rule, ok := fcpRule[a[0]]
	if !ok {
		return fmt.Errorf("%q is no kind of file", a[0])
	}
	if err := walk(d.data); err != nil {
		return err
	}
	tag, fcp, rest, err := tlv.Next(d.data)
	if err != nil || tag != 0x62 || len(rest) > 0 {
		return errors.New("it is not one template 62")
	}
	desc, err := tlv.Find(fcp, 0x82)
	if err != nil || len(desc) < 2 {
		return errors.New("82, the file descriptor, lacks or is shorter than 2 bytes")
	}
	if desc[0]&^0x40 != rule.descriptor {
		return fmt.Errorf("the file descriptor byte %02X is not that of %s", desc[0], a[0])
	}
	for _, m := range rule.must {
		if _, err := find(fcp, m); err != nil {
			return fmt.Errorf("mandatory object %w", err)
		}
	}
	return checkFCPValues(fcp, desc)
}

func checkFCPValues(fcp, desc []byte) error {
	security := 0
	for _, t := range []tlv.Tag{0x8B, 0x8C, 0xAB} {
		if _, err := tlv.Find(fcp, t); err == nil {
			security++
		}
	}
	if security != 1 {
		return fmt.Errorf("%d security attributes 8B, 8C and AB, expected one", security)
	}
	if life, _ := tlv.Find(fcp, 0x8A); len(life) != 1 {
		return fmt.Errorf("8A, the life cycle status, has %d bytes", len(life))
	}
	if id, err := tlv.Find(fcp, 0x83); err == nil && len(id) != 2 {
		return fmt.Errorf("83, the file identifier, has %d bytes", len(id))
	}
	if name, err := tlv.Find(fcp, 0x84); err == nil && (len(name) < 1 || len(name) > 16) {
		return fmt.Errorf("84, the DF name, has %d bytes", len(name))
	}
	if sfi, err := tlv.Find(fcp, 0x88); err == nil && (len(sfi) > 1 || len(sfi) == 1 && sfi[0]&0x07 != 0) {
		return fmt.Errorf("88, the SFI, is %X", sfi)
	}
	if kind := desc[0] & 0x07; kind == 2 || kind == 6 {
		if len(desc) != 5 {
			return fmt.Errorf("82 of an EF with records has %d bytes, expected 5", len(desc))
		}
		size, _ := tlv.Find(fcp, 0x80)
		n := 0
		for _, b := range size {
			n = n<<8 | int(b)
		}
		if length := int(desc[2])<<8 | int(desc[3]); length*int(desc[4]) != n {
			return fmt.Errorf("%d records of %d bytes do not make the file size %d", desc[4], length, n)
		}
	}
	return nil
}
