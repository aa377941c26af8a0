package mrtd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/lds"
)

// Passwords are what the holder shows: the MRZ information, a card access number, a PIN.
type Passwords struct {
	MRZ string // information: number, birth, expiry, each with its check digit
	CAN string
	PIN string

	zone *lds.MRZ // when the whole machine readable zone is known
}

// none tells whether nothing is known.
func (p *Passwords) none() bool { return p.MRZ == "" && p.CAN == "" && p.PIN == "" }

// FromMRZ takes a machine readable zone, or the MRZ information itself. Line breaks,
// spaces and commas between lines do not matter.
func (p *Passwords) FromMRZ(s string) error {
	s = strings.NewReplacer("\n", "", "\r", "", " ", "", ",", "", "/", "").Replace(strings.ToUpper(s))
	m, wrong, err := lds.ParseMRZ(s)
	if err == nil {
		if len(wrong) > 0 {
			return fmt.Errorf("check digits are wrong: %s", strings.Join(wrong, ", "))
		}
		p.MRZ, p.zone = m.Information(), m
		return nil
	}
	if n := len(s); n >= 24 && n <= 40 { // number of 9 and more, two dates
		for _, part := range []string{s[:n-14], s[n-14 : n-7], s[n-7:]} {
			if lds.Check(part[:len(part)-1]) != part[len(part)-1] {
				return fmt.Errorf("the check digit of %q is wrong", part)
			}
		}
		p.MRZ = s
		return nil
	}
	return fmt.Errorf("%d characters: a machine readable zone has 90, 72 or 88, MRZ information 24", len(s))
}

// FromFields makes the MRZ information of what is printed on the document.
func (p *Passwords) FromFields(number, birth, expiry string) error {
	number = strings.ToUpper(strings.ReplaceAll(number, " ", ""))
	if number == "" || len(number) > 22 {
		return errors.New("the document number has 1 to 22 characters")
	}
	for _, c := range number {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '<' {
			return fmt.Errorf("the document number has %q, which no machine readable zone has", c)
		}
	}
	dates := [2]string{birth, expiry}
	for i, d := range dates {
		d = strings.ReplaceAll(d, "-", "")
		if len(d) == 8 {
			d = d[2:]
		}
		if len(d) != 6 || strings.Trim(d, "0123456789<") != "" {
			return fmt.Errorf("%q is neither YYMMDD nor YYYY-MM-DD", dates[i])
		}
		dates[i] = d
	}
	m := lds.MRZ{Number: number, Birth: dates[0], Expiry: dates[1]}
	p.MRZ = m.Information()
	return nil
}
