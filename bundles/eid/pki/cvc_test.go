package pki_test

import (
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// chain is CVCA, its link to the next, DV and inspection system.
type chain struct {
	keys []*pki.Key
	cvcs []*pki.CVC
}

func cvDate(s string) (d pki.CVDate) {
	for i := range d {
		d[i] = s[i] - '0'
	}
	return d
}

func newChain(t testing.TB, k kind, to ...string) (c chain) {
	var above *pki.CVIssuer
	for _, v := range []struct {
		name  string
		level pki.Level
		to    string
	}{{"UTCVCA00001", pki.CVCA, "281231"}, {"UTCVCA00002", pki.CVCA, "301231"}, {"UTDV00001", pki.DVDomestic, "270101"}, {"UTIS00001", pki.Terminal, "260201"}} {
		key := k.key(t, v.name)
		if above == nil {
			above = &pki.CVIssuer{Key: key, Algorithm: k.alg, Reference: v.name}
		}
		if to != nil {
			v.to = to[0]
		}
		rights := byte(3)
		if v.level == pki.Terminal {
			rights = 1
		}
		cvc, err := above.Issue(pki.CVRequest{
			Holder: v.name, Key: key.PublicKey, Algorithm: k.alg, Role: pki.RoleIS, Rights: []byte{byte(v.level)<<6 | rights},
			From: cvDate("260101"), To: cvDate(v.to),
		})
		require.NoError(t, err)
		c.keys, c.cvcs = append(c.keys, key), append(c.cvcs, cvc)
		above = &pki.CVIssuer{Key: key, Algorithm: k.alg, Reference: v.name}
	}
	return c
}

func cvKinds() []kind {
	return []kind{
		onCurve(ec.BrainpoolP256r1, crypto.SHA256, pki.Named), onCurve(ec.BrainpoolP384r1, crypto.SHA384, pki.Named), onCurve(ec.BrainpoolP512r1, crypto.SHA512, pki.Named),
		onCurve(ec.P256, crypto.SHA256, pki.Named), onCurve(ec.P224, crypto.SHA224, pki.Named), onCurve(ec.P521, crypto.SHA512, pki.Named), onCurve(ec.BrainpoolP256r1, crypto.SHA1, pki.Named),
		withRSA(2048, pki.RSA, crypto.SHA256), withRSA(2048, pki.RSAPSS, crypto.SHA256), withRSA(2048, pki.RSA, crypto.SHA1), withRSA(2048, pki.RSAPSS, crypto.SHA512),
	}
}

func run(t testing.TB, name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %q\n%s", name, args, out)
	return string(out)
}

// TestOpenPACE: the tools of OpenPACE verify the CV certificates that are made here, and
// theirs are verified here.
func TestOpenPACE(t *testing.T) {
	schemes := map[string]string{
		"ECDSA with SHA-1": "ECDSA_SHA_1", "ECDSA with SHA-224": "ECDSA_SHA_224", "ECDSA with SHA-256": "ECDSA_SHA_256", "ECDSA with SHA-384": "ECDSA_SHA_384", "ECDSA with SHA-512": "ECDSA_SHA_512",
		"RSA PKCS #1 v1.5 with SHA-1": "RSA_v1_5_SHA_1", "RSA PKCS #1 v1.5 with SHA-256": "RSA_v1_5_SHA_256",
	}
	for _, k := range cvKinds() {
		t.Run(k.name, func(t *testing.T) {
			const end = "991231" // the tools know today's date
			c := newChain(t, k, end)
			dir := t.TempDir()
			for i, cvc := range c.cvcs {
				if i != 1 { // the directory is by holder: the second CVCA has a certificate of its own
					write(t, dir, cvc.Holder, cvc.Raw)
				}
			}
			second := &pki.CVIssuer{Key: c.keys[1], Algorithm: k.alg, Reference: c.cvcs[1].Holder}
			own, err := second.Issue(pki.CVRequest{Holder: second.Reference, Key: c.keys[1].PublicKey, Algorithm: k.alg, Role: pki.RoleIS, Rights: []byte{0xC3}, From: cvDate("260101"), To: cvDate(end)})
			require.NoError(t, err)
			write(t, dir, own.Holder, own.Raw)
			for _, cvc := range append(c.cvcs, own) {
				out := run(t, "cvc-print", "--cvc", write(t, dir, "x", cvc.Raw), "--cvc-dir", dir)
				require.Contains(t, out, "certificate verified")
				require.Contains(t, out, "CHR: "+cvc.Holder)
			}

			// OpenPACE signs with fewer octets than TR-03111 5.2.1 says where r and s are short
			// enough, as with P-521 they often are, and with the longest salt of RSA-PSS.
			scheme, ok := schemes[k.alg.String()]
			if !ok || k.alg.Scheme == pki.RSAPSS || k.name == "P-521 SHA-512" {
				return
			}
			in := func(name string) string { return filepath.Join(dir, name) }
			keys := []string{"ca", "dv", "is"}
			for i, key := range c.keys[1:] {
				write(t, dir, keys[i]+".key", key.PKCS8())
			}
			run(t, "cvc-create", "--role=cvca", "--type=is", "--chr=UTOTHER00001", "--issued=260101", "--expires="+end, "--scheme="+scheme,
				"--sign-with="+in("ca.key"), "--key="+in("ca.key"), "--read-finger", "--read-iris", "--out-cert="+in("ca.cv"))
			run(t, "cvc-create", "--role=dv_foreign", "--chr=XODV00001", "--issued=260101", "--expires="+end, "--scheme="+scheme,
				"--sign-with="+in("ca.key"), "--sign-as="+in("ca.cv"), "--key="+in("dv.key"), "--read-iris", "--read-finger", "--out-cert="+in("dv.cv"))
			run(t, "cvc-create", "--role=terminal", "--chr=XOIS00001", "--issued=260101", "--expires="+end, "--scheme="+scheme,
				"--sign-with="+in("dv.key"), "--sign-as="+in("dv.cv"), "--key="+in("is.key"), "--read-iris", "--out-cert="+in("is.cv"))
			var all []byte
			for _, name := range keys {
				b, err := os.ReadFile(in(name + ".cv"))
				require.NoError(t, err)
				all = append(all, b...)
			}
			cvcs, err := pki.ParseCVCs(all)
			require.NoError(t, err)
			rights, checks := pki.VerifyCVCs(cvcs, cvDate("260215"))
			require.NoError(t, checks.Err())
			require.Equal(t, []byte{0x02}, rights)
			public, err := cvcs[2].Key.With(cvcs[0].Key).Public()
			require.NoError(t, err)
			require.True(t, public.Equal(c.keys[3].PublicKey))
		})
	}
}

// TestCVChain: what a chip takes, and what it does not.
func TestCVChain(t *testing.T) {
	k := cvKinds()[0]
	c := newChain(t, k)
	today := cvDate("260115")
	rights, checks := pki.VerifyCVCs(c.cvcs, today)
	require.NoError(t, checks.Err())
	require.Equal(t, []byte{0x01}, rights)
	require.Equal(t, pki.DVDomestic, c.cvcs[2].Level())
	require.Equal(t, "2026-02-01", c.cvcs[3].To.String())

	root, link, dv, is := c.cvcs[0], c.cvcs[1], c.cvcs[2], c.cvcs[3]
	follows := func(below, above *pki.CVC, at string) error {
		return below.Follows(above, above.Key.With(root.Key), cvDate(at), rsakey.ModExp)
	}
	require.NoError(t, follows(link, root, "350101"), "links do not expire for the chip")
	require.ErrorIs(t, follows(is, dv, "260202"), pki.ErrCVExpired)
	require.NoError(t, follows(is, dv, "260201"), "the last day belongs to it")
	require.ErrorIs(t, follows(dv, root, "260101"), pki.ErrCVAuthority)
	require.True(t, link.Dates(root) && dv.Dates(link) && is.Dates(dv))
	require.ErrorIs(t, follows(is, link, "260101"), pki.ErrCVAuthority)

	sign := func(by int, r pki.CVRequest) *pki.CVC {
		i := pki.CVIssuer{Key: c.keys[by], Algorithm: k.alg, Reference: c.cvcs[by].Holder}
		r.Key, r.Algorithm, r.From = c.keys[3].PublicKey, k.alg, cvDate("260101")
		if r.To == (pki.CVDate{}) {
			r.To = cvDate("270101")
		}
		x, err := i.Issue(r)
		require.NoError(t, err)
		return x
	}
	for name, x := range map[string]struct {
		above *pki.CVC
		cvc   *pki.CVC
	}{
		"terminal below CVCA": {root, sign(0, pki.CVRequest{Holder: "UTIS00002", Role: pki.RoleIS, Rights: []byte{0x03}})},
		"DV below DV":         {dv, sign(2, pki.CVRequest{Holder: "UTDV00002", Role: pki.RoleIS, Rights: []byte{0x83}})},
		"below a terminal":    {is, sign(3, pki.CVRequest{Holder: "UTIS00003", Role: pki.RoleIS, Rights: []byte{0x03}})},
		"CVCA below DV":       {dv, sign(2, pki.CVRequest{Holder: "UTCVCA0009", Role: pki.RoleIS, Rights: []byte{0xC3}})},
		"another role":        {dv, sign(2, pki.CVRequest{Holder: "UTIS00004", Role: pki.RoleAT, Rights: []byte{0x03}})},
	} {
		require.ErrorIs(t, x.cvc.Follows(x.above, x.above.Key.With(root.Key), today, rsakey.ModExp), pki.ErrCVLevel, name)
	}
	foreign := sign(0, pki.CVRequest{Holder: "XODV00001", Role: pki.RoleIS, Rights: []byte{0x43}, To: cvDate("350101")})
	require.NoError(t, follows(foreign, root, "281231"))
	require.ErrorIs(t, follows(foreign, root, "290101"), pki.ErrCVExpired, "the CVCA is expired")
	require.True(t, foreign.Dates(root), "the CVCA says when")
	require.False(t, is.Dates(foreign), "a foreign DV does not")

	forged := sign(2, pki.CVRequest{Holder: "UTIS00005", Role: pki.RoleIS, Rights: []byte{0x03}})
	forged.Body[len(forged.Body)-1] ^= 1
	require.ErrorIs(t, forged.Follows(dv, dv.Key.With(root.Key), today, rsakey.ModExp), pki.ErrSignature)
	require.Error(t, is.Follows(dv, dv.Key, today, rsakey.ModExp), "no domain parameters")
}

// TestParseCVC: what is no CV certificate.
func TestParseCVC(t *testing.T) {
	c := newChain(t, cvKinds()[0]).cvcs[0]
	for name, change := range map[string]func(b []byte) []byte{
		"cut":         func(b []byte) []byte { return b[:len(b)-1] },
		"more":        func(b []byte) []byte { return append(b, 0) },
		"empty":       func([]byte) []byte { return nil },
		"profile 1":   func(b []byte) []byte { b[13] = 1; return b },
		"long length": func(b []byte) []byte { return append([]byte{0x7F, 0x21, 0x83, 0}, b[3:]...) },
		"month 19": func(b []byte) []byte {
			return replace(b, "\x5F\x25\x06\x02\x06\x00\x01", "\x5F\x25\x06\x02\x06\x01\x09")
		},
		"no digit":         func(b []byte) []byte { return replace(b, "\x5F\x24\x06\x02", "\x5F\x24\x06\x0A") },
		"unknown key":      func(b []byte) []byte { return replace(b, "\x02\x02\x02\x02\x03", "\x02\x02\x02\x02\x09") },
		"other generator":  func(b []byte) []byte { return replace(b, "\x84\x41\x04\x8B", "\x84\x41\x04\x8C") },
		"key off curve":    func(b []byte) []byte { return replace(b, "\x86\x41\x04", "\x86\x41\x03") },
		"cofactor 2":       func(b []byte) []byte { return replace(b, "\x87\x01\x01", "\x87\x01\x02") },
		"too long for all": func([]byte) []byte { return make([]byte, pki.MaxCVC+1) },
	} {
		b := change(append([]byte(nil), c.Raw...))
		_, err := pki.ParseCVC(b)
		require.Error(t, err, name)
	}
	same, err := pki.ParseCVContents(c.Raw[5:])
	require.NoError(t, err)
	require.Equal(t, c.Raw, same.Raw)
}

func replace(b []byte, old, by string) []byte {
	i := indexOf(b, old)
	copy(b[i:], by)
	return b
}

func indexOf(b []byte, s string) int {
	for i := range b {
		if len(b)-i >= len(s) && string(b[i:i+len(s)]) == s {
			return i
		}
	}
	panic("not there")
}
