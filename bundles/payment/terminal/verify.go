package terminal

import (
	"context"
	"fmt"

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
		home := string(r.data[0x5F28]) == string(r.Country[:])
		need, what := byte(0x20), "goods" // domestic goods; services at the same terminal
		if r.Type == 0x01 {
			need, what = 0x80, "cash"
		}
		if !home {
			need >>= 1
		}
		if auc[0]&need == 0 && !(what == "goods" && auc[0]&(need>>2) != 0) || auc[0]&0x01 == 0 {
			set(0x10, "service not allowed: "+what)
		}
	}
	today := r.today()
	later := func(a, b []byte) bool { return string(a) > string(b) } // all of this century
	if v := r.data[0x5F25]; len(v) == 3 && later(v, today[:]) {
		set(0x20, "application not yet effective")
	}
	if v := r.data[0x5F24]; len(v) == 3 && later(today[:], v) {
		set(0x40, "application expired")
	}
	if notes == nil {
		notes = []string{"none apply"}
	}
	r.note("Processing restrictions", notes...)
	return nil
}

// Cardholder verification methods (Book 3 annex C3).
const (
	cvmPlain          = 0x01
	cvmOnline         = 0x02
	cvmPlainSignature = 0x03
	cvmCipher         = 0x04
	cvmCipherSign     = 0x05
	cvmSignature      = 0x1E
	cvmNone           = 0x1F
	cvmNext           = 0x40

	resultUnknown = 0
	resultFailed  = 1
	resultRight   = 2
)

// verify is cardholder verification (Book 3 10.5): the first rule of the CVM list whose
// condition holds and that succeeds.
func (r *run) verify(ctx context.Context) error {
	list := r.data[0x8E]
	if r.aip[0]&aipCVM == 0 || len(list) < 10 {
		return nil
	}
	r.tsi[0] |= tsiCVM
	x, y := binary32(list), binary32(list[4:])
	for rules := list[8:]; len(rules) >= 2; rules = rules[2:] {
		method, cond := rules[0], rules[1]
		if !r.condition(cond, method, x, y) {
			continue
		}
		result, known, err := r.perform(ctx, method&0x3F)
		if err != nil {
			return err
		}
		if !known {
			r.tvr[2] |= 0x40
		}
		r.data[0x9F34] = []byte{method, cond, result}
		if result != resultFailed {
			r.res.CVM = emv.CVMName(method)
			r.note("Cardholder verification", emv.Words(0x9F34, r.data[0x9F34])...)
			return nil
		}
		if method&cvmNext == 0 {
			break
		}
	}
	if len(r.data[0x9F34]) == 3 && r.data[0x9F34][0] == 0x3F {
		r.data[0x9F34] = []byte{0x3F, 0x00, resultFailed}
	}
	r.tvr[2] |= 0x80
	r.note("Cardholder verification", "not successful")
	return nil
}

func binary32(b []byte) uint64 {
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

// condition tells whether a CV rule applies (Book 3 table 40): the terminal is attended.
func (r *run) condition(cond, method byte, x, y uint64) bool {
	cash, cashback := r.Type == 0x01, r.Type == 0x09
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
		return own && r.Amount < x
	case 0x07:
		return own && r.Amount >= x
	case 0x08:
		return own && r.Amount < y
	case 0x09:
		return own && r.Amount >= y
	}
	return false
}

// supports tells whether the terminal can do a method: what 9F33 says.
func (r *run) supports(method byte) bool {
	bit := map[byte]byte{cvmPlain: 0x80, cvmOnline: 0x40, cvmSignature: 0x20, cvmCipher: 0x10, cvmNone: 0x08, cvmPlainSignature: 0x80 | 0x20, cvmCipherSign: 0x10 | 0x20}[method]
	return bit != 0 && r.data[0x9F33][1]&bit == bit
}

// perform does a method.
func (r *run) perform(ctx context.Context, method byte) (result byte, known bool, err error) {
	switch method {
	case 0x00:
		return resultFailed, true, nil
	case cvmNone:
		return resultRight, true, nil
	case cvmSignature:
		return resultUnknown, true, nil
	case cvmOnline:
		if r.PIN == "" {
			r.tvr[2] |= 0x10
			return resultFailed, true, nil
		}
		r.tvr[2] |= 0x04
		return resultUnknown, true, nil
	case cvmPlain, cvmPlainSignature, cvmCipher, cvmCipherSign:
		if r.PIN == "" {
			r.tvr[2] |= 0x10
			return resultFailed, true, nil
		}
		ok, err := r.offlinePIN(ctx, method == cvmCipher || method == cvmCipherSign)
		if err != nil || !ok {
			return resultFailed, true, err
		}
		if method == cvmPlainSignature || method == cvmCipherSign {
			return resultUnknown, true, nil
		}
		return resultRight, true, nil
	}
	return resultFailed, false, nil
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
			if err := r.recoverICC(); err != nil {
				return false, err
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
			return false, err
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
