package issue_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/rsakey"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// passive is passive authentication as an inspection system does it: the signature of
// EF.SOD, the chain up to the CSCA, the hashes.
func passive(c *issue.Chip, a *issue.Anchors, at time.Time) error {
	var sod []byte
	for i := range c.Files {
		if c.Files[i].Name() == "EF.SOD" {
			sod = c.Files[i].Data
		}
	}
	cms, err := lds.ParseSOD(sod)
	if err != nil {
		return err
	}
	signed, err := pki.ParseSignedData(cms)
	if err != nil {
		return err
	}
	signer, checks := signed.Verify()
	if err := checks.Err(); err != nil {
		return err
	}
	store := pki.Store{Anchors: []*pki.Certificate{a.CSCA}, CRLs: []*pki.CRL{a.CRL}}
	_, checks = store.Verify(signer, at)
	if err := checks.Err(); err != nil {
		return err
	}
	return signer.Profile(pki.DocSigner).Err()
}

func anchors(t testing.TB, yaml string) *issue.Anchors {
	t.Helper()
	a, err := issue.Trust(document(t, yaml))
	require.NoError(t, err)
	return a
}

func TestTrust(t *testing.T) {
	yaml := file(t, "persona.yaml")
	a, c := anchors(t, yaml), chip(t, yaml)
	require.NoError(t, passive(c, a, now))
	require.NoError(t, a.CSCA.Profile(pki.CSCA).Err())
	require.NoError(t, a.CRL.Verify(a.CSCA, now).Err())
	require.Equal(t, "UT", a.CSCA.Subject.Get("C"))

	list, err := pki.ParseSignedData(a.MasterList)
	require.NoError(t, err)
	signer, checks := list.Verify()
	require.NoError(t, checks.Err())
	require.NoError(t, signer.SignedBy(a.CSCA))
	certificates, skipped, err := pki.ParseMasterList(list.Content)
	require.NoError(t, err)
	require.Zero(t, skipped)
	require.Equal(t, a.CSCA.Raw, certificates[0].Raw)

	rights, checks := pki.VerifyCVCs([]*pki.CVC{a.CVCA, a.DV, a.IS}, pki.CVDate{2, 6, 1, 1, 2, 3})
	require.NoError(t, checks.Err())
	require.Equal(t, []byte{issue.RightDG3 | issue.RightDG4}, rights)
	require.Equal(t, c.TA.TrustPoints[0], a.CVCA.Raw)

	// EF.CardSecurity: signed by the same signer, with what EF.CardAccess says and the key.
	signed, err := pki.ParseSignedData(find(t, c, "EF.CardSecurity").Data)
	require.NoError(t, err)
	_, checks = signed.Verify()
	require.NoError(t, checks.Err())
	require.Equal(t, lds.OIDCardSecurity, signed.ContentType)
	infos, err := lds.ParseSecurityInfos("EF.CardSecurity", signed.Content)
	require.NoError(t, err)
	require.Len(t, infos, len(c.PACE)+1)

	// Keys of the chip are those of the files.
	key, err := lds.ParseDG15(find(t, c, "DG15").Data)
	require.NoError(t, err)
	public, err := pki.ParsePublicKey(key)
	require.NoError(t, err)
	own, err := public.Curve.Base(c.AA.Private)
	require.NoError(t, err)
	require.Equal(t, own.Bytes(), public.Point.Bytes())
	require.Equal(t, anchors(t, yaml), a, "the same persona has the same trust anchors")
}

// TestAlgorithms: what signs may be ECDSA on any curve, RSA, RSA-PSS.
func TestAlgorithms(t *testing.T) {
	for _, alg := range []string{
		"ecdsa P-224 sha-224", "ecdsa P-521 sha-512", "ecdsa brainpoolP320r1 sha-384", "ecdsa brainpoolP512r1 sha-512",
		"rsa 2048 sha-1", "rsa 2048 sha-256", "rsa-pss 2048 sha-256", "rsa-pss 2048 sha-512",
	} {
		t.Run(alg, func(t *testing.T) {
			yaml := minimal + "  csca: {algorithm: " + alg + "}\n  document_signer: {algorithm: " + alg + "}\n"
			require.NoError(t, passive(chip(t, yaml), anchors(t, yaml), now))
		})
	}
	for _, alg := range []string{"ecdsa P-256 sha-256", "ecdsa brainpoolP512r1 sha-512", "rsa 2048 sha-256", "rsa-pss 2048 sha-1"} {
		t.Run("terminal authentication with "+alg, func(t *testing.T) {
			a := anchors(t, minimal+"  chip_authentication: [aes-128 P-256]\n  extended_access: {algorithm: "+alg+", rights: [dg3]}\n")
			rights, checks := pki.VerifyCVCs([]*pki.CVC{a.CVCA, a.DV, a.IS}, pki.CVDate{2, 6, 1, 1, 2, 3})
			require.NoError(t, checks.Err())
			require.Equal(t, []byte{issue.RightDG3}, rights)
		})
	}
}

// TestTamperedTrust: passive authentication sees what is wrong with the signers.
func TestTamperedTrust(t *testing.T) {
	yaml := file(t, "persona.yaml")
	good := anchors(t, yaml)
	for line, want := range map[string]string{
		"defects: [unknown-csca]":                                 "not among the trust anchors",
		"defects: [revoked-ds]":                                   "revoked",
		"defects: [wrong-sod-signature]":                          "signature",
		"defects: [wrong-sod-country]":                            "different countries",
		"document_signer: {from: \"20260101\", to: \"20260601\"}": "expired",
		"document_signer: {from: \"20300101\"}":                   "valid",
		"csca: {from: \"20200101\", to: \"20260301\"}":            "expired",
	} {
		changed := strings.Replace(yaml, "mrtd:\n", "mrtd:\n  "+line+"\n", 1)
		a := anchors(t, changed)
		require.ErrorContains(t, passive(chip(t, changed), a, now), want, line)
		if !strings.HasPrefix(line, "csca") {
			require.Equal(t, good.CSCA, a.CSCA, "the trust anchor is the right one")
		}
	}
}

// TestOpenSSL: another implementation takes the chain and the key.
func TestOpenSSL(t *testing.T) {
	dir := t.TempDir()
	yaml := strings.Replace(file(t, "persona.yaml"), "mrtd:\n", "mrtd:\n  named_curves: true\n", 1)
	require.ErrorContains(t, passive(chip(t, yaml), anchors(t, yaml), now), "not told by its parameters")
	for _, f := range anchors(t, yaml).Files() {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600))
	}
	for _, args := range []string{
		"verify -check_ss_sig -attime 1795435200 -CAfile csca.pem ds.pem", // 2026-11-23
		"crl -inform DER -in csca.crl -CAfile csca.pem -noout",
		"cms -verify -inform DER -in masterlist.ml -CAfile csca.pem -attime 1795435200 -purpose any -out list.der",
		"pkey -in is.pem -check -noout",
	} {
		cmd := exec.Command("openssl", strings.Fields(args)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "openssl %s: %s", args, out)
	}
}

// TestRSAByPlatform: New takes RSA from the platform that it runs on.
func TestRSAByPlatform(t *testing.T) {
	asked := 0
	power := issue.Power{ModExp: rsakey.ModExp, Generate: func(seed []byte, bits int, e uint32) (p, q []byte, err error) {
		asked++
		return rsakey.Generate(seed, bits, e)
	}}
	c, err := issue.NewWith(document(t, minimal+"  active_authentication: rsa 1024 sha-256\n"), power)
	require.NoError(t, err)
	require.Equal(t, 1, asked)
	require.Equal(t, issue.SHA256, c.AA.Hash)
}
