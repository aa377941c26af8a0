package spectests

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/telecom/milenage"
)

// aucVars are what a challenge sets: RAND and AUTN, an AUTN with a wrong MAC,
// the expected results, the SQN of the challenge and SQNMS before it.
var aucVars = []string{"rand", "autn", "autn_bad", "res", "ck", "ik", "kc", "sres", "sqn", "sqn_ms"}

const (
	seqShift = 5 // bits of IND in the profiles of TS 33.102 C.3
	indMask  = 1<<seqShift - 1
)

// auc is the authentication centre of the subscriber that the variables name.
func (d *Dialogue) auc() (m *milenage.Milenage, amf [2]byte, err error) {
	get := func(name string, n int) []byte {
		b, e := hex.DecodeString(d.vars[name])
		if e == nil && len(b) != n {
			e = fmt.Errorf("it has %d bytes, %d are needed", len(b), n)
		}
		if e != nil {
			err = fmt.Errorf("{%s}: %w", name, e)
			return make([]byte, n)
		}
		return b
	}
	k, opc := [16]byte(get("k", 16)), [16]byte(get("opc", 16))
	if d.vars["amf"] != "" {
		amf = [2]byte(get("amf", 2))
	}
	return milenage.New(&k, &opc, milenage.Default), amf, err
}

// challenge makes RAND and AUTN for sqn. RAND is derived from it, so that two
// runs send the same bytes.
func (d *Dialogue) challenge(sqn milenage.SQN) error {
	m, amf, err := d.auc()
	if err != nil {
		return err
	}
	b := sqn.Bytes()
	var rand [16]byte
	for i := range rand {
		rand[i] = b[i%6] ^ byte(i)<<4
	}
	res, ck, ik, ak := m.F2345(&rand)
	mac, _ := m.F1(&rand, sqn, amf)
	sres, kc := milenage.GSM(&res, &ck, &ik)
	d.vars["sqn"] = upper(b[:])
	for i := range ak {
		b[i] ^= ak[i]
	}
	autn := append(append(b[:], amf[:]...), mac[:]...)
	d.vars["autn"] = upper(autn)
	autn[15] ^= 1
	d.vars["autn_bad"] = upper(autn)
	for name, v := range map[string][]byte{"rand": rand[:], "res": res[:], "ck": ck[:], "ik": ik[:], "kc": kc[:], "sres": sres[:]} {
		d.vars[name] = upper(v)
	}
	return nil
}

// resynchronise learns SQNMS from the card: a challenge with SQN zero never is
// fresh and gives an AUTS.
func (d *Dialogue) resynchronise() (milenage.SQN, error) {
	if err := d.challenge(0); err != nil {
		return 0, err
	}
	c, err := hex.DecodeString("008800812210" + d.vars["rand"] + "10" + d.vars["autn"] + "00")
	if err != nil {
		return 0, err
	}
	if err := d.transmit(c); err != nil {
		return 0, err
	}
	if d.sw != 0x9000 {
		return 0, fmt.Errorf("AUTHENTICATE with SQN zero answers %04X, expected an AUTS", uint16(d.sw))
	}
	return d.auts()
}

// auts is SQNMS of the AUTS in the data, if its MAC-S is right (TS 33.102 6.3.5).
func (d *Dialogue) auts() (milenage.SQN, error) {
	if len(d.data) != 16 || d.data[0] != 0xDC || d.data[1] != 14 {
		return 0, errors.New("the data is not DC 0E and 14 bytes of AUTS")
	}
	m, _, err := d.auc()
	if err != nil {
		return 0, err
	}
	b, err := hex.DecodeString(d.vars["rand"])
	if err != nil || len(b) != 16 {
		return 0, errors.New("no challenge was made before")
	}
	rand := [16]byte(b)
	ak := m.F5Star(&rand)
	for i := range ak {
		ak[i] ^= d.data[2+i]
	}
	sqn := milenage.ParseSQN(ak)
	if _, mac := m.F1(&rand, sqn, [2]byte{}); mac != [8]byte(d.data[8:]) {
		return 0, fmt.Errorf("MAC-S does not fit SQNMS %012X", uint64(sqn))
	}
	return sqn, nil
}

func checkFirst(d *Dialogue, _ []string) error { return d.challenge(0) }

func checkAUC(d *Dialogue, a []string) error {
	offset, err := strconv.ParseInt(a[0], 10, 48)
	if err != nil {
		return fmt.Errorf("%q is not an offset", a[0])
	}
	ms, err := d.resynchronise()
	if err != nil {
		return err
	}
	ind := ms & indMask
	switch a[1] {
	case "next":
		ind = (ind + 1) & indMask
	case "same":
	default:
		return fmt.Errorf("%q is neither same nor next", a[1])
	}
	seq := int64(ms>>seqShift) + offset
	if seq < 0 {
		return fmt.Errorf("SQNMS is %012X, nothing is %d before it", uint64(ms), -offset)
	}
	sqn := milenage.SQN(seq)<<seqShift | ind
	b := ms.Bytes()
	d.note("SQNMS is %012X, the challenge has SQN %012X", uint64(ms), uint64(sqn))
	if err := d.challenge(sqn); err != nil {
		return err
	}
	d.vars["sqn_ms"] = upper(b[:])
	return nil
}

func checkAUTS(d *Dialogue, a []string) error {
	sqn, err := d.auts()
	if err != nil {
		return err
	}
	b := sqn.Bytes()
	want := d.vars["sqn_ms"]
	if a[0] == "moved" {
		want = d.vars["sqn"]
	}
	if want != upper(b[:]) {
		return fmt.Errorf("SQNMS is %s, expected %s", upper(b[:]), want)
	}
	return nil
}

func checkKeys(d *Dialogue, a []string) error {
	want := "DB" + lv(d.vars["res"]) + lv(d.vars["ck"]) + lv(d.vars["ik"])
	if a[0] == "with" {
		want += lv(d.vars["kc"])
	}
	if got := upper(d.data); got != want {
		return fmt.Errorf("the data is not %s", want)
	}
	return nil
}

func lv(hexadecimal string) string {
	return fmt.Sprintf("%02X", len(hexadecimal)/2) + strings.ToUpper(hexadecimal)
}
