package eid_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
)

// TestNamesOfKeys: everybody in a persona has a key of their own, also where all are on
// the same curve, where the documents are cloned or signed by strangers, and with
// another seed.
func TestNamesOfKeys(t *testing.T) {
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	whole, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	_, licence, ok := strings.Cut(string(whole), "\nmdl:\n")
	require.True(t, ok)
	const persona = `
mrtd:
  document: {format: td3, state: UTO, number: X1, issued: "20260105", expires: "20360104"}
  holder: {surname: Eriksson, nationality: UTO, birth: "19740812"}
  can: "123456"
  pace: [ecdh-cam aes-128 P-256]
  chip_authentication: [aes-128 P-256]
  active_authentication: ecdsa P-256 sha-256
  extended_access: {algorithm: ecdsa P-256 sha-256}
  csca: {algorithm: ecdsa P-256 sha-256}
  document_signer: {algorithm: ecdsa P-256 sha-256}
`
	seen := map[string]string{}
	// key is a public key that may be seen again under the same name only.
	key := func(who string, point []byte) {
		if other, ok := seen[string(point)]; ok {
			require.Equal(t, who, other, "two have the same key")
		}
		seen[string(point)] = who
	}
	private := func(who string, d []byte) {
		p, err := ec.P256.Base(d)
		require.NoError(t, err)
		key(who, p.Bytes())
	}
	cloned := map[string]string{"cloned-aa": "AA", "cloned-ca": "CA", "cloned-cam": "CAM"}
	for _, seed := range []string{"one", "two", "one/clone"} {
		for _, defect := range []string{"", "unknown-csca", "cloned-aa", "cloned-ca", "cloned-cam"} {
			yaml := "seed: " + seed + persona
			if defect != "" {
				yaml += "  defects: [" + defect + "]\n"
			}
			doc, err := issue.FromYAML([]byte(yaml+"mdl:\n"+licence), "persona", schema)
			require.NoError(t, err)
			chip, err := issue.NewWith(doc, issue.Native)
			require.NoError(t, err)
			trust, err := issue.Trust(doc)
			require.NoError(t, err)
			if seed != "one/clone" { // whose keys are those that the clones of "one" have
				for who, d := range map[string][]byte{"AA": chip.AA.Private, "CA": chip.CA[0].Private, "CAM": chip.PACE[0].Static} {
					if cloned[defect] == who {
						who += " cloned"
					}
					private(seed+": "+who, d)
				}
			}
			key(seed+": CSCA", trust.CSCA.Key.Point.Bytes())
			key(seed+": document signer", trust.Signer.Key.Point.Bytes())
			list, err := pki.ParseSignedData(trust.MasterList)
			require.NoError(t, err)
			key(seed+": master list signer", list.Signer(&list.Signers[0]).Key.Point.Bytes())
			for _, c := range []*pki.CVC{trust.CVCA, trust.DV, trust.IS} {
				key(seed+": "+c.Holder, c.Key.Point)
			}
			if defect == "unknown-csca" {
				require.NotEqual(t, trust.CSCA.SKI, trust.Signer.AKI)
			} else {
				require.Equal(t, trust.CSCA.SKI, trust.Signer.AKI)
			}
			m, err := mdl.Trust(doc)
			require.NoError(t, err)
			for who, c := range map[string]*pki.Certificate{"IACA": m.IACA, "mdoc signer": m.Signer, "reader CA": m.ReaderCA, "reader": m.Reader} {
				key(seed+": "+who, c.Key.Point.Bytes())
			}
		}
	}
	require.Len(t, seen, 3*10+2*6)
}
