package oda_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"math/rand"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// published reads testdata/published.txt: sections of names and values.
func published(t testing.TB) map[string]map[string]string {
	f, err := os.Open("testdata/published.txt")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	all := map[string]map[string]string{}
	var section map[string]string
	last := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = map[string]string{}
			all[strings.Trim(line, "[]")] = section
		case line[0] == ' ':
			section[last] += strings.TrimSpace(line)
		default:
			name, val, _ := strings.Cut(line, " ")
			section[name], last = val, name
		}
	}
	return all
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// day is a date within the validity of the published certificates.
var day = [3]byte{0x25, 0x05, 0x06}

// TestPublished recovers keys and signatures that somebody else made.
func TestPublished(t *testing.T) {
	all := published(t)
	for _, name := range []string{"issuer 1984", "issuer 1408"} {
		t.Run(name, func(t *testing.T) {
			v := all[name]
			ca := oda.PublicKey{Modulus: unhex(t, v["ca"]), Exponent: []byte{3}}
			sum := oda.Hash(unhex(t, v["rid"]), unhex(t, v["index"]), ca.Modulus, ca.Exponent)
			require.Equal(t, unhex(t, v["checksum"]), sum[:], "Book 2 table 30")
			c, err := oda.RecoverIssuer(oda.Soft, ca, unhex(t, v["certificate"]), nil, []byte{3}, v["pan"], day)
			require.NoError(t, err)
			require.Equal(t, v["identifier"], c.Identifier)
			require.Equal(t, unhex(t, v["expires"]), c.Expires[:])
			require.Equal(t, unhex(t, v["serial"]), c.Serial[:])
			require.Equal(t, unhex(t, v["key"]), c.Key.Modulus)

			_, err = oda.RecoverIssuer(oda.Soft, ca, unhex(t, v["certificate"]), nil, []byte{1, 0, 1}, v["pan"], day)
			require.EqualError(t, err, "EMV Book 2 6.3 step 7: the hash of the issuer certificate differs: certificate, remainder, exponent or static data were changed")
		})
	}
	t.Run("combined", func(t *testing.T) {
		v := all["combined"]
		key := oda.PublicKey{Modulus: unhex(t, v["key"]), Exponent: []byte{3}}
		c, err := oda.VerifyCombined(oda.Soft, key, unhex(t, v["signed"]), unhex(t, v["un"]))
		require.NoError(t, err)
		require.Equal(t, unhex(t, v["number"]), c.Number)
		require.Equal(t, unhex(t, v["cid"])[0], c.CID)
		require.Equal(t, unhex(t, v["ac"]), c.AC[:])
		require.Equal(t, unhex(t, v["hash"]), c.Hash[:])
		_, err = oda.VerifyCombined(oda.Soft, key, unhex(t, v["signed"]), []byte{0, 0, 0, 0})
		require.ErrorContains(t, err, "6.5.2 step 7")
	})
}

func key(t testing.TB, name string, bits int, e uint32) *oda.PrivateKey {
	p, q, err := rsakey.Generate([]byte(name), bits, e)
	require.NoError(t, err)
	k, err := oda.NewPrivateKey(p, q, e)
	require.NoError(t, err)
	return k
}

const pan = "9999990000000014"

// cardOf issues a chain of certificates.
type cardOf struct {
	ca, issuer, icc            *oda.PrivateKey
	issuerCert, issuerRest     []byte
	iccCert, iccRest, ssad     []byte
	static                     []byte
	issuerDefect, iccDefect, d oda.Defect
}

func (c *cardOf) issue(t testing.TB) {
	var err error
	c.static = []byte("static data to be authenticated")
	c.issuerCert, c.issuerRest, err = oda.IssuerCertificate{Identifier: "999999", Expires: [2]byte{0x12, 0x30}, Serial: [3]byte{1, 2, 3}, Key: c.issuer.PublicKey, Defect: c.issuerDefect}.Sign(oda.Soft, c.ca)
	require.NoError(t, err)
	c.iccCert, c.iccRest, err = oda.ICCCertificate{PAN: pan, Expires: [2]byte{0x12, 0x30}, Serial: [3]byte{4, 5, 6}, Key: c.icc.PublicKey, Static: c.static, Defect: c.iccDefect}.Sign(oda.Soft, c.issuer)
	require.NoError(t, err)
	c.ssad, err = oda.SignStatic(oda.Soft, c.issuer, [2]byte{0xDA, 0xC0}, c.static, c.d)
	require.NoError(t, err)
}

// verify is what a terminal does with it.
func (c *cardOf) verify() (err error) {
	i, err := oda.RecoverIssuer(oda.Soft, c.ca.PublicKey, c.issuerCert, c.issuerRest, c.issuer.Exponent, pan, day)
	if err != nil {
		return err
	}
	if _, err = oda.VerifyStatic(oda.Soft, i.Key, c.ssad, c.static); err != nil {
		return err
	}
	icc, err := oda.RecoverICC(oda.Soft, i.Key, c.iccCert, c.iccRest, c.icc.Exponent, c.static, pan, day)
	if err != nil {
		return err
	}
	dynamic := append([]byte{8}, "dynamic!"...)
	signed, err := oda.SignDynamic(oda.Soft, c.icc, dynamic, []byte{1, 2, 3, 4})
	if err != nil {
		return err
	}
	_, err = oda.VerifyDynamic(oda.Soft, icc.Key, signed, []byte{1, 2, 3, 4})
	return err
}

// TestLengths: every length of modulus, so that keys fit, fill the certificate exactly,
// and leave a remainder.
func TestLengths(t *testing.T) {
	for _, l := range []struct{ ca, issuer, icc int }{
		{1024, 1024, 1024}, {1152, 1024, 1024}, {1312, 1024, 1024}, {1360, 1024, 1024}, {1408, 1408, 1032}, {1984, 1408, 1408}, {1984, 1984, 1984}, {1976, 1696, 1360},
	} {
		for _, e := range []uint32{3, 65537} {
			c := &cardOf{ca: key(t, "ca", l.ca, e), issuer: key(t, "issuer", l.issuer, e), icc: key(t, "icc", l.icc, e)}
			c.issue(t)
			require.Len(t, c.issuerRest, max(0, l.issuer/8-(l.ca/8-36)), "Book 2 6.1: remainder of the issuer key")
			require.Len(t, c.iccRest, max(0, l.icc/8-(l.issuer/8-42)), "Book 2 6.1: remainder of the ICC key")
			require.NoError(t, c.verify(), "%+v", l)
		}
	}
}

// TestDefects: each defect fails at the step that is there to find it.
func TestDefects(t *testing.T) {
	want := map[oda.Defect]string{
		oda.WrongHeader: "step 3", oda.WrongTrailer: "step 2", oda.WrongFormat: "step 4", oda.WrongHash: "step 7",
		oda.WrongAlgorithm: "step 6", oda.WrongKey: "step 11", oda.WrongIdentifier: "step 8", oda.WrongRemainder: "step 7", oda.WrongLength: "step 1",
	}
	ca, issuer, icc := key(t, "ca", 1152, 3), key(t, "issuer", 1152, 3), key(t, "icc", 1152, 3)
	for _, d := range oda.Defects {
		c := &cardOf{ca: ca, issuer: issuer, icc: icc, issuerDefect: d}
		c.issue(t)
		require.ErrorContains(t, c.verify(), "EMV Book 2 6.3 "+want[d]+":", "issuer certificate: %s", d)
		c = &cardOf{ca: ca, issuer: issuer, icc: icc, iccDefect: d}
		c.issue(t)
		require.ErrorContains(t, c.verify(), "EMV Book 2 6.4 "+want[d]+":", "ICC certificate: %s", d)
		switch d {
		case oda.WrongKey, oda.WrongIdentifier, oda.WrongRemainder:
			continue // static data have none of these
		}
		c = &cardOf{ca: ca, issuer: issuer, icc: icc, d: d}
		c.issue(t)
		require.ErrorContains(t, c.verify(), "EMV Book 2 5.4 "+want[d]+":", "static data: %s", d)
	}
}

func TestExpiry(t *testing.T) {
	ca, issuer := key(t, "ca", 1152, 3), key(t, "issuer", 1152, 3)
	for _, c := range []struct {
		expires [2]byte
		today   [3]byte
		ok      bool
	}{
		{[2]byte{0x05, 0x25}, [3]byte{0x25, 0x05, 0x31}, true}, // the last day of the month
		{[2]byte{0x05, 0x25}, [3]byte{0x25, 0x06, 0x01}, false},
		{[2]byte{0x12, 0x49}, [3]byte{0x25, 0x06, 0x01}, true},
		{[2]byte{0x12, 0x99}, [3]byte{0x25, 0x06, 0x01}, false}, // 1999
		{[2]byte{0x12, 0x99}, [3]byte{0x99, 0x06, 0x01}, true},
		{[2]byte{0x01, 0x00}, [3]byte{0x99, 0x12, 0x31}, true},
		{[2]byte{0x13, 0x30}, [3]byte{0x25, 0x06, 0x01}, false}, // no month
	} {
		cert, rest, err := oda.IssuerCertificate{Identifier: "999999", Expires: c.expires, Key: issuer.PublicKey}.Sign(oda.Soft, ca)
		require.NoError(t, err)
		_, err = oda.RecoverIssuer(oda.Soft, ca.PublicKey, cert, rest, issuer.Exponent, pan, c.today)
		if c.ok {
			require.NoError(t, err, "%X %X", c.expires, c.today)
		} else {
			require.ErrorContains(t, err, "6.3 step 9: the issuer certificate expired", "%X %X", c.expires, c.today)
		}
	}
}

func TestCombined(t *testing.T) {
	k := key(t, "icc", 1408, 3)
	ac := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	sum := oda.Hash([]byte("transaction data"))
	signed, err := oda.SignCombined(oda.Soft, k, []byte("number12"), 0x80, ac, sum, []byte{9, 9, 9, 9}, 0xAA, 0xBB)
	require.NoError(t, err)
	c, err := oda.VerifyCombined(oda.Soft, k.PublicKey, signed, []byte{9, 9, 9, 9})
	require.NoError(t, err)
	require.Equal(t, oda.Combined{Number: []byte("number12"), CID: 0x80, AC: ac, Hash: sum, More: []byte{0xAA, 0xBB}}, c)
}

func TestPIN(t *testing.T) {
	for pin, want := range map[string]string{"1234": "241234FFFFFFFFFF", "123456789012": "2C123456789012FF", "98765": "2598765FFFFFFFFF"} {
		b, err := oda.PINBlock(pin)
		require.NoError(t, err)
		require.Equal(t, strings.ToLower(want), hex.EncodeToString(b[:]))
		back, err := oda.ParsePINBlock(b)
		require.NoError(t, err)
		require.Equal(t, pin, back)
	}
	for _, pin := range []string{"", "123", "1234567890123", "12a4"} {
		_, err := oda.PINBlock(pin)
		require.ErrorIs(t, err, oda.ErrPINBlock, pin)
	}
	for _, b := range []string{
		"141234FFFFFFFFFF", "041234FFFFFFFFFF", "231234FFFFFFFFFF", "2D1234567890123F", "2412345FFFFFFFFF", "24123FFFFFFFFFFF", "24A234FFFFFFFFFF", "241234FFFFFFFFF0", "0000000000000000", "FFFFFFFFFFFFFFFF",
	} {
		_, err := oda.ParsePINBlock([8]byte(unhex(t, b)))
		require.ErrorIs(t, err, oda.ErrPINBlock, b)
	}
	k := key(t, "pin", 1024, 65537)
	block, err := oda.PINBlock("1234")
	require.NoError(t, err)
	challenge := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	data, err := oda.EncipherPIN(oda.Soft, k.PublicKey, block, challenge, rand.New(rand.NewSource(1)))
	require.NoError(t, err)
	got, err := oda.DecipherPIN(oda.Soft, k, data, challenge)
	require.NoError(t, err)
	require.Equal(t, block, got)
	_, err = oda.DecipherPIN(oda.Soft, k, data, [8]byte{})
	require.ErrorIs(t, err, oda.ErrChallenge)
	data[100] ^= 1
	_, err = oda.DecipherPIN(oda.Soft, k, data, challenge)
	require.Error(t, err)
	_, err = oda.DecipherPIN(oda.Soft, k, data[1:], challenge)
	require.Error(t, err)
	_, err = oda.DecipherPIN(oda.Soft, k, bytes.Repeat([]byte{0xFF}, 128), challenge)
	require.Error(t, err, "not below the modulus")
}

func TestNoKey(t *testing.T) {
	for _, c := range [][2]int64{{0, 0}, {7, 0}, {7, 7}, {5, 7}, {8, 7}} {
		_, err := oda.NewPrivateKey([]byte{byte(c[0])}, []byte{byte(c[1])}, 3)
		require.Error(t, err, "%v", c)
	}
}

func FuzzRecover(f *testing.F) {
	ca, issuer := key(f, "ca", 1024, 3), key(f, "issuer", 1024, 3)
	c := &cardOf{ca: ca, issuer: issuer, icc: issuer}
	c.issue(f)
	f.Add(c.issuerCert, c.issuerRest, []byte{3}, pan)
	f.Add(c.iccCert, c.iccRest, []byte{3}, pan)
	f.Add(c.ssad, c.static, []byte{}, "")
	f.Fuzz(func(_ *testing.T, a, b, e []byte, pan string) {
		// Signed by anybody: what matters is that nothing is read beyond its end.
		open := func(dst, base, _, _ []byte) error { copy(dst, base); return nil }
		for _, k := range []oda.PublicKey{issuer.PublicKey, {Modulus: a, Exponent: []byte{1}}} {
			_, _ = oda.RecoverIssuer(open, k, a, b, e, pan, day)
			_, _ = oda.RecoverICC(open, k, a, b, e, b, pan, day)
			_, _ = oda.VerifyStatic(open, k, a, b)
			_, _ = oda.VerifyCombined(open, k, a, b)
		}
		_, _ = oda.RecoverIssuer(oda.Soft, ca.PublicKey, a, b, e, pan, day)
	})
}

func FuzzDecipherPIN(f *testing.F) {
	k := key(f, "pin", 1024, 3)
	f.Add(make([]byte, 128))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if b, err := oda.DecipherPIN(oda.Soft, k, data, [8]byte{}); err == nil {
			_, _ = oda.ParsePINBlock(b)
		}
	})
}
