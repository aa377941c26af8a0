package pki_test

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
)

func FuzzCertificate(f *testing.F) {
	for _, k := range []int{0, 6} { // those with RSA are in testdata: their keys take long
		c := newCountry(f, kinds()[k])
		f.Add(c.root.Raw)
		f.Add(c.signer.Raw)
		f.Add(c.master.Raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := pki.ParseCertificate(b)
		if err != nil {
			return
		}
		require.Equal(t, b, c.Raw)
		_, checks := (&pki.Store{Anchors: []*pki.Certificate{c}}).Verify(c, time.Now())
		require.NotEmpty(t, checks)
		c.Profile(pki.DocSigner)
		// What both read says the same.
		if std, err := x509.ParseCertificate(b); err == nil {
			require.Equal(t, std.RawTBSCertificate, c.TBS)
			require.True(t, std.NotAfter.Equal(c.NotAfter))
			require.Equal(t, std.IsCA, c.CA)
		}
	})
}

func FuzzCRL(f *testing.F) {
	c := newCountry(f, kinds()[0])
	f.Add(c.crl.Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := pki.ParseCRL(b)
		if err != nil {
			return
		}
		l.Revokes([]byte{1})
		require.NotEmpty(t, l.Verify(c.root, time.Now()))
	})
}

func FuzzSignedData(f *testing.F) {
	k := kinds()[6]
	c := newCountry(f, k)
	for _, ski := range []bool{false, true} {
		cms, err := pki.SignData(pki.Sign{Key: c.ds, Algorithm: k.alg, Certificate: c.signer, BySKI: ski, Time: day("2026-01-01")}, pki.OIDMasterList, pki.BuildMasterList(c.root))
		require.NoError(f, err)
		f.Add(cms)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := pki.ParseSignedData(b)
		if err != nil {
			return
		}
		s.Verify()
		_, _, _ = pki.ParseMasterList(s.Content)
	})
}

func FuzzCVC(f *testing.F) {
	c := newChain(f, cvKinds()[0])
	for _, x := range c.cvcs {
		f.Add(x.Raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := pki.ParseCVC(b)
		if err != nil {
			return
		}
		require.Equal(t, b, x.Raw)
		require.True(t, bytes.Contains(b, x.Body))
		for _, above := range c.cvcs {
			_ = x.Follows(above, above.Key.With(c.cvcs[0].Key), cvDate("260101"), rsakey.ModExp)
		}
	})
}

func FuzzPublicKey(f *testing.F) {
	k, err := maker.EC("fuzz", ec.BrainpoolP256r1)
	require.NoError(f, err)
	for _, form := range []pki.Form{pki.Named, pki.Explicit, pki.Standardized} {
		f.Add(k.Info(form))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := pki.ParsePublicKey(b)
		if err != nil {
			return
		}
		again, err := pki.ParsePublicKey(p.Info(p.Form))
		require.NoError(t, err)
		require.True(t, again.Equal(p))
	})
}

// TestExtensionsOfVersion1: RFC 5280 4.1.2.9 has them in version 3 only, and software that
// reads others passes over them.
func TestExtensionsOfVersion1(t *testing.T) {
	der := newCountry(t, kinds()[0]).root.Raw
	for _, version := range []string{"\x00", "\x01", "\x03"} {
		_, err := pki.ParseCertificate([]byte(strings.Replace(string(der), "\xA0\x03\x02\x01\x02", "\xA0\x03\x02\x01"+version, 1)))
		require.ErrorContains(t, err, "it has extensions, but is not of version 3")
	}
}
