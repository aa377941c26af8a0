package terminal

import (
	"context"
	"fmt"
	"time"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/apdu"
)

// restrictions are the processing restrictions (Book 3 10.4).
func (r *run) restrictions(context.Context) error {
	var notes []string
	set := func(bit byte, what string) {
		r.tvr[1] |= bit
		notes = append(notes, what)
	}
	if v := r.data[0x9F08]; v != nil && string(v) != string(r.data[0x9F09]) {
		set(0x80, fmt.Sprintf("version %X of the application is not the terminal's %X", v, r.data[0x9F09]))
	}
	if auc := r.data[0x9F07]; len(auc) == 2 {
		if auc[0]&0x01 == 0 {
			set(0x10, "service not allowed: terminals other than ATMs")
		}
		if issuer := r.data[0x5F28]; len(issuer) == 2 { // Book 3 table 36
			abroad, allowed := "", [3]byte{auc[0] & 0x80, auc[0] & 0x28, auc[1] & 0x80} // cash, goods or services, cashback
			if string(issuer) != string(r.Country[:]) {
				abroad, allowed = " abroad", [3]byte{auc[0] & 0x40, auc[0] & 0x14, auc[1] & 0x40}
			}
			if r.Type == typeCash && allowed[0] == 0 {
				set(0x10, "service not allowed: cash"+abroad)
			}
			if r.Type != typeCash && allowed[1] == 0 {
				set(0x10, "service not allowed: goods and services"+abroad)
			}
			if r.cashback() && allowed[2] == 0 {
				set(0x10, "service not allowed: cashback"+abroad)
			}
		}
	}
	for _, t := range []emv.Tag{0x5F24, 0x5F25} {
		if v := r.data[t]; v != nil && !isDate(v) {
			return wrong("EMV Book 3 7.5", "%s (%X) %X is no date", emv.Name(t), uint32(t), v)
		}
	}
	if v := r.data[0x5F25]; len(v) == 3 && day(v) > day(r.data[0x9A]) {
		set(0x20, "application not yet effective")
	}
	if r.expired() {
		set(0x40, "application expired")
	}
	if notes == nil {
		notes = []string{"none apply"}
	}
	r.note("Processing restrictions", notes...)
	return nil
}

// Types of transactions, 9C.
const (
	typeCash     = 0x01
	typeCashback = 0x09
)

// isDate tells whether v is YYMMDD.
func isDate(v []byte) bool {
	_, err := time.Parse("060102", fmt.Sprintf("%X", v))
	return err == nil && len(v) == 3
}

// day orders dates YYMMDD; years from 50 on are of the last century (Book 4 6.7.3).
func day(v []byte) int {
	d := int(v[0])<<16 | int(v[1])<<8 | int(v[2])
	if v[0] < 0x50 {
		d += 1 << 24
	}
	return d
}

// expired tells whether the application's expiration date is over (Book 3 10.4.3).
func (r *run) expired() bool {
	v := r.data[0x5F24]
	return len(v) == 3 && day(r.data[0x9A]) > day(v)
}

// Cardholder verification methods (Book 3 annex C3).
const (
	cvmFail           = 0x00
	cvmPlain          = 0x01
	cvmOnline         = 0x02
	cvmPlainSignature = 0x03
	cvmCipher         = 0x04
	cvmCipherSign     = 0x05
	cvmSignature      = 0x1E
	cvmNone           = 0x1F
	cvmNext           = 0x40
	noCVM             = 0x3F // no CVM performed

	resultUnknown = 0
	resultFailed  = 1
	resultRight   = 2
)

// verify is cardholder verification (Book 3 10.5): the first rule of the CVM list whose
// condition holds and that succeeds. CVM results are those of Book 4 table 2.
func (r *run) verify(ctx context.Context) error {
	if r.aip[0]&aipCVM == 0 {
		return nil
	}
	list := r.data[0x8E]
	if len(list) < 10 {
		r.tvr[0] |= tvr1Missing
		r.note("Cardholder verification", "the CVM list is missing or has no rules")
		return nil
	}
	if len(list)%2 != 0 {
		return wrong("EMV Book 3 7.5", "the CVM list has %d bytes, half a rule", len(list))
	}
	r.tsi[0] |= tsiCVM
	r.data[0x9F34] = []byte{noCVM, 0x00, resultFailed}
	x, y := amount32(list), amount32(list[4:])
	for rules := list[8:]; len(rules) >= 2; rules = rules[2:] {
		method, cond := rules[0], rules[1]
		if !r.condition(cond, method, x, y) {
			continue
		}
		if r.supports(method & 0x3F) {
			result, err := r.perform(ctx, method&0x3F)
			if err != nil {
				return err
			}
			r.data[0x9F34] = []byte{method, cond, result}
			if result != resultFailed {
				r.res.CVM = emv.CVMName(method)
				r.note("Cardholder verification", emv.Words(0x9F34, r.data[0x9F34])...)
				return nil
			}
		} else {
			r.unsupported(method & 0x3F)
		}
		if method&cvmNext == 0 || method&0x3F == cvmFail {
			break
		}
	}
	r.tvr[2] |= 0x80
	r.note("Cardholder verification", append([]string{"not successful"}, emv.Words(0x9F34, r.data[0x9F34])...)...)
	return nil
}

// unsupported is a rule whose condition holds and whose method the terminal does not
// know, or knows and has no device for (Book 3 10.5 step 1).
func (r *run) unsupported(method byte) {
	can := r.data[0x9F33][1]
	switch {
	case method == cvmOnline, method >= cvmPlain && method <= cvmCipherSign && can&0x90 == 0:
		r.tvr[2] |= 0x10
	case method >= 0x06 && method <= 0x0F: // biometric
		r.tvr[3] |= 0x02
	case method > 0x0F && method != cvmSignature && method != cvmNone:
		r.tvr[2] |= 0x40
	}
}

func amount32(b []byte) uint64 {
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

// condition tells whether a CV rule applies (Book 3 table 44): the terminal is attended.
func (r *run) condition(cond, method byte, x, y uint64) bool {
	cash, cashback := r.Type == typeCash, r.cashback()
	own := string(r.data[0x9F42]) == string(r.Currency[:])
	switch cond {
	case 0x00:
		return true
	case 0x01:
		return false
	case 0x02:
		return !cash && !cashback
	case 0x03:
		return r.supports(method & 0x3F)
	case 0x04:
		return cash
	case 0x05:
		return cashback
	case 0x06:
		return own && r.total() < x
	case 0x07:
		return own && r.total() > x
	case 0x08:
		return own && r.total() < y
	case 0x09:
		return own && r.total() > y
	}
	return false
}

// supports tells whether the terminal can do a method: what 9F33 says. To fail it can
// always.
func (r *run) supports(method byte) bool {
	bit, known := map[byte]byte{cvmFail: 0, cvmPlain: 0x80, cvmOnline: 0x40, cvmSignature: 0x20, cvmCipher: 0x10, cvmNone: 0x08, cvmPlainSignature: 0x80 | 0x20, cvmCipherSign: 0x10 | 0x20}[method]
	return known && r.data[0x9F33][1]&bit == bit
}

// perform does a method that the terminal supports.
func (r *run) perform(ctx context.Context, method byte) (result byte, err error) {
	switch method {
	case cvmFail:
		return resultFailed, nil
	case cvmNone:
		return resultRight, nil
	case cvmSignature:
		return resultUnknown, nil
	}
	if r.PIN == "" { // Book 4 6.3.4.3
		r.tvr[2] |= 0x08
		return resultFailed, nil
	}
	if method == cvmOnline {
		r.tvr[2] |= 0x04
		return resultUnknown, nil
	}
	ok, err := r.offlinePIN(ctx, method == cvmCipher || method == cvmCipherSign)
	switch {
	case err != nil || !ok:
		return resultFailed, err
	case method == cvmPlainSignature || method == cvmCipherSign:
		return resultUnknown, nil
	}
	return resultRight, nil
}

// offlinePIN is the verification of a PIN by the card (Book 3 10.5.1, Book 2 7.2).
func (r *run) offlinePIN(ctx context.Context, enciphered bool) (ok bool, err error) {
	tries := -1
	err = r.send(ctx, "GET DATA: PIN try counter", apdu.Command{CLA: 0x80, INS: 0xCA, P1: 0x9F, P2: 0x17, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return []string{"the card does not tell"}, nil
		}
		if len(data) == 4 {
			tries = int(data[3])
		}
		return []string{fmt.Sprintf("%d tries left", tries)}, nil
	})
	if err != nil {
		return false, err
	}
	if tries == 0 {
		r.tvr[2] |= 0x20
		return false, nil
	}
	block, err := oda.PINBlock(r.PIN)
	if err != nil {
		return false, err
	}
	cmd := apdu.Command{INS: 0x20, P2: 0x80, Data: block[:]}
	if enciphered {
		if r.pinKey == nil {
			before := r.tvr[0]
			if err := r.recoverICC(); err != nil { // Book 3 10.5.1, 7.5: this method is not successful, no more
				r.tvr[0] = before
				return false, r.goOn("PIN encipherment", err)
			}
		}
		var challenge [8]byte
		err = r.send(ctx, "GET CHALLENGE", apdu.Command{INS: 0x84, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
			if sw != apdu.OK || len(data) != 8 {
				return nil, unexpected("EMV Book 2 7.2", "GET CHALLENGE", sw)
			}
			copy(challenge[:], data)
			return nil, nil
		})
		if err != nil {
			return false, r.goOn("PIN encipherment", err)
		}
		if cmd.Data, err = oda.EncipherPIN(oda.Soft, *r.pinKey, block, challenge, r.Random); err != nil {
			return false, err
		}
		cmd.P2 = 0x88
	}
	err = r.send(ctx, "VERIFY", cmd, func(_ []byte, sw apdu.SW) ([]string, error) {
		switch {
		case sw == apdu.OK:
			ok = true
			return []string{"the PIN is right"}, nil
		case sw&0xFFF0 == apdu.Counter:
			if sw == apdu.Counter {
				r.tvr[2] |= 0x20
			}
			return []string{fmt.Sprintf("the PIN is wrong, %d tries left", sw&0xF)}, nil
		case sw == apdu.AuthBlocked, sw == apdu.ReferencedDataInvalid:
			r.tvr[2] |= 0x20
			return []string{"the PIN is blocked"}, nil
		}
		return nil, unexpected("EMV Book 3 10.5.1", "VERIFY", sw)
	})
	return ok, err
}
