package mrtd_test

import (
	"bytes"
	"context"
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/lds"
)

type cardFunc func(capdu []byte) []byte

func (f cardFunc) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) { return f(capdu), nil }

// plain is a chip without access control that has these files.
type plain struct {
	files map[uint16][]byte
	cur   []byte
}

func (p *plain) answer(c []byte) []byte {
	if len(c) < 4 {
		return []byte{0x67, 0x00}
	}
	switch {
	case c[1] == 0xA4 && c[2] == 2 && len(c) >= 7:
		f, ok := p.files[uint16(c[5])<<8|uint16(c[6])]
		if !ok {
			return []byte{0x6A, 0x82}
		}
		p.cur = f
		return []byte{0x90, 0x00}
	case c[1] == 0xA4:
		return []byte{0x90, 0x00}
	case c[1] == 0xB0:
		at := int(c[2])<<8 | int(c[3])
		if c[2]&0x80 != 0 {
			p.cur, at = p.files[lds.FIDCOM], int(c[3])
		}
		if at >= len(p.cur) {
			return []byte{0x6B, 0x00}
		}
		n := 256
		if len(c) == 5 && c[4] > 0 {
			n = int(c[4])
		}
		return append(bytes.Clone(p.cur[at:min(len(p.cur), at+n)]), 0x90, 0x00)
	}
	return []byte{0x6D, 0x00}
}

func specimen() *plain {
	return &plain{files: map[uint16][]byte{
		lds.FIDCOM: (&lds.COM{LDS: "0107", Unicode: "040000", Groups: []int{1}}).Build(),
		0x0101:     lds.DG1("P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<L898902C36UTO7408122F1204159ZE184226B<<<<<10"),
	}}
}

// look inspects with everything that an inspection system may know.
func look(t testing.TB, answer func([]byte) []byte) *inspect.Report {
	c := mrtd.Config{Random: rand.New(rand.NewSource(1)), Anchors: &mrtd.Anchors{}}
	require.NoError(t, c.Passwords.FromMRZ("L898902C3674081221204159"))
	sent := 0
	r := &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	require.NoError(t, mrtd.Inspect(context.Background(), cardFunc(func(c []byte) []byte {
		if sent++; sent > 25000 {
			t.Fatal("it goes on for ever")
		}
		return answer(c)
	}), c, r))
	return r
}

// result is how a check ended; "": it was not made.
func result(r *inspect.Report, name string) inspect.Result {
	c, _ := r.Find(name)
	return c.Result
}

func TestPlainChip(t *testing.T) {
	r := look(t, specimen().answer)
	require.Equal(t, inspect.Warning, result(r, "Access to the chip"))
	require.Equal(t, inspect.Pass, result(r, "DG1: check digits"))
	require.Equal(t, inspect.Pass, result(r, "DG1: the zone that was shown"))
	require.Equal(t, inspect.Fail, result(r, "Date of expiry"))
	require.Equal(t, inspect.Fail, result(r, "EF.SOD"))
	require.Equal(t, "ANNA MARIA ERIKSSON", r.Title)
}

// TestHostileCards: what a card says about its files is bounded.
func TestHostileCards(t *testing.T) {
	for name, head := range map[string][]byte{
		"4 GiB":              {0x60, 0x84, 0xFF, 0xFF, 0xFF, 0xFF},
		"longer than itself": {0x60, 0x82, 0x7F, 0xFF},
		"no length":          {0x60, 0x80, 0x00, 0x00},
		"one octet":          {0x60},
		"nothing":            {},
	} {
		p := specimen()
		p.files[lds.FIDCOM] = head
		r := look(t, p.answer)
		require.False(t, r.OK(), name)
	}
	// Octets for ever, one at a time; 61XX for ever; always fine.
	for name, a := range map[string][]byte{"one": {0x00, 0x90, 0x00}, "more": {0x61, 0x00}, "fine": {0x90, 0x00}, "short": {0x90}, "none": {}} {
		r := look(t, func([]byte) []byte { return a })
		require.False(t, r.OK(), name)
	}
}

// FuzzCard: no card makes the inspection system panic or go on for ever.
func FuzzCard(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{2, 0x6A, 0x82, 2, 0x90, 0x00, 6, 0x60, 0x84, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Add([]byte("\x02\x90\x00\x02\x90\x00\x14\x31\x12\x30\x10\x06\x0a\x04\x00\x7f\x00\x07\x02\x02\x04\x02\x02\x02\x01\x02\x02\x01\x0d\xff\x00"))
	f.Fuzz(func(t *testing.T, answers []byte) {
		p := specimen()
		r := look(t, func(c []byte) []byte {
			if len(answers) == 0 {
				return p.answer(c)
			}
			n := min(int(answers[0]), len(answers)-1)
			a := bytes.Clone(answers[1 : 1+n])
			answers = answers[1+n:]
			if n >= 2 && a[n-2] == 0xFF { // else it would hardly ever be one
				a[n-2], a[n-1] = 0x90, 0x00
			}
			return a
		})
		if len(r.Checks) == 0 {
			t.Fatal("nothing is told")
		}
	})
}

// FuzzFiles: the same with the files of a chip, which are whatever they are.
func FuzzFiles(f *testing.F) {
	for _, fid := range []uint16{lds.FIDCOM, lds.FIDSOD, 0x0101, 0x0102, 0x0103, 0x0107, 0x010B, 0x010D, 0x010E, 0x010F, 0x0110, lds.FIDCardAccess} {
		f.Add(fid, specimen().files[fid])
	}
	f.Fuzz(func(t *testing.T, fid uint16, content []byte) {
		p := specimen()
		p.files[lds.FIDCOM] = (&lds.COM{LDS: "0107", Unicode: "040000", Groups: []int{1, 2, 3, 4, 5, 7, 11, 12, 13, 14, 15, 16}}).Build()
		p.files[fid] = content
		look(t, p.answer)
	})
}
