package clients

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	mdlreader "github.com/sspemu/sspemu/bundles/eid/inspect/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/persona"
	"github.com/sspemu/sspemu/primary/loader"
)

// TestMobileDocuments: a library that knows nothing of us verifies what the card shows over
// HTTP, with a MAC and with a signature, and sees what is altered. SSPEMU_MDL is the
// directory of the npm package @auth0/mdl, where .ci/run has put it.
//
//	node, @auth0/mdl <── DeviceResponse ── reader ── HTTP ── bin/sspemu serve --active eid
func TestMobileDocuments(t *testing.T) {
	dir := os.Getenv("SSPEMU_MDL")
	if dir == "" {
		require.Empty(t, os.Getenv("CI"), "SSPEMU_MDL is not set: .ci/run sets it after npm install @auth0/mdl")
		t.Log("not run: SSPEMU_MDL is not set (npm install @auth0/mdl)")
		return
	}
	node := tool(t, "nodejs", "node")
	if node == "" {
		return
	}
	spb, err := bundles.Open("eid")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	cbor, err := persona.Convert(pkg.DefaultPersona, "persona", pkg.Schema)
	require.NoError(t, err)
	doc, err := sdk.ParseDoc(cbor)
	require.NoError(t, err)
	anchors, err := mdl.Trust(doc)
	require.NoError(t, err)

	s := serving(t)
	s.activate(t, "eid")
	do := func(ctx context.Context, method, path, media string, body []byte) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+s.http+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if media != "" {
			req.Header.Set("Content-Type", media)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode/100 != 2 {
			err = fmt.Errorf("%s: %s", resp.Status, b)
		}
		return b, err
	}
	ctx := context.Background()
	over := mdlreader.HTTP(do)
	session, err := mdlreader.Open(ctx, over, nil)
	require.NoError(t, err)
	queries := []mdoc.Query{mdlreader.Query(mdlreader.TypeMDL), mdlreader.Query(mdlreader.TypePID)}
	answer, err := over.Exchange(ctx, session.Message(mdoc.Request{Documents: queries}.Encode()).Encode())
	require.NoError(t, err)
	response, err := session.Answer(answer)
	require.NoError(t, err)

	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), session.Private)
	require.NoError(t, err)
	point, err := key.PublicKey.Bytes()
	require.NoError(t, err)
	// COSE_Key (RFC 9052 7): kty 2, crv 1, x, y, d.
	raw := []byte{0xA5, 0x01, 0x02, 0x20, 0x01}
	for label, v := range [][]byte{point[1:33], point[33:], session.Private} {
		raw = append(append(raw, 0x21+byte(label), 0x58, 0x20), v...)
	}
	verify := func(response []byte) (string, int) {
		in, err := json.Marshal(map[string]any{
			"response": hex.EncodeToString(response), "transcript": hex.EncodeToString(mdoc.Encoded24(session.Transcript)), "key": hex.EncodeToString(raw),
			"anchors": []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: anchors.IACA.Raw}))},
		})
		require.NoError(t, err)
		stdout, stderr, code := run(t, bytes.NewReader(in), node, "testdata/mdl_verify.mjs", dir, "2026-11-23T12:00:00Z")
		return stdout + stderr, code
	}
	out, code := verify(response)
	require.Zero(t, code, out)
	require.NotContains(t, out, "FAILED")
	for _, want := range []string{"PASSED Issuer signature must be valid", "PASSED Issuer certificate must be valid", "PASSED Device MAC must be valid", "PASSED Device signature must be valid",
		"READ org.iso.18013.5.1.mDL", "READ eu.europa.ec.eudi.pid.1", "portrait", "NAME Eriksson"} {
		require.Contains(t, out, want)
	}
	out, code = verify(bytes.Replace(response, []byte("Eriksson"), []byte("Erikssen"), 1))
	require.NotZero(t, code)
	require.Equal(t, 1, strings.Count(out, "FAILED"), out)
}
