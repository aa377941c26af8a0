package mdl_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	reader "github.com/sspemu/sspemu/bundles/eid/inspect/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/persona"
)

var today = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type card struct{ *sdktest.Card }

func (c card) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	return append(dst[:0], c.Send(capdu)...), nil
}

func files(t testing.TB, changes ...string) (yaml, schema []byte) {
	yaml, err := os.ReadFile("../../persona.yaml")
	require.NoError(t, err)
	schema, err = os.ReadFile("../../persona.schema.json")
	require.NoError(t, err)
	s := string(yaml)
	for i := 0; i < len(changes); i += 2 {
		require.Contains(t, s, changes[i])
		s = strings.Replace(s, changes[i], changes[i+1], 1)
	}
	return []byte(s), schema
}

// inspection reads the default persona, changed, and knows the anchors of the default one.
func inspection(t testing.TB, c reader.Config, changes ...string) *inspect.Report {
	yaml, schema := files(t, changes...)
	chip := sdktest.New(t, func() sdk.App { return eid.New() })
	require.NoError(t, chip.PersonaliseYAML(yaml, schema))
	if c.Anchors == nil {
		c.Anchors = []*x509.Certificate{iaca(t)}
	}
	r := &inspect.Report{Date: today}
	_ = reader.Inspect(context.Background(), reader.NFC(card{chip}), c, r)
	return r
}

func anchors(t testing.TB) *mdl.Anchors {
	yaml, schema := files(t)
	b, err := persona.Convert(yaml, "persona.yaml", schema)
	require.NoError(t, err)
	doc, err := sdk.ParseDoc(b)
	require.NoError(t, err)
	a, err := mdl.Trust(doc)
	require.NoError(t, err)
	return a
}

func iaca(t testing.TB) *x509.Certificate {
	c, err := x509.ParseCertificate(anchors(t).IACA.Raw)
	require.NoError(t, err)
	return c
}

func text(t testing.TB, r *inspect.Report) string {
	var b bytes.Buffer
	require.NoError(t, r.Text(&b))
	return b.String()
}

// TestInspect: both documents of the default persona are in order, and the portrait is in
// the page.
func TestInspect(t *testing.T) {
	r := inspection(t, reader.Config{})
	require.True(t, r.OK(), text(t, r))
	require.Zero(t, r.Count(inspect.NotDone)+r.Count(inspect.Warning), text(t, r))
	require.Equal(t, 23, r.Count(inspect.Pass), text(t, r))
	require.Equal(t, "Anna Maria Eriksson", r.Title)
	var b bytes.Buffer
	require.NoError(t, r.HTML(&b))
	require.Contains(t, b.String(), "data:image/jpeg;base64,")
}

// TestKinds: each kind of key, verified by another implementation.
func TestKinds(t *testing.T) {
	for _, k := range mdoc.Kinds {
		r := inspection(t, reader.Config{}, "device_auth: mac", "device_auth: signature", "device_key: P-256", "device_key: "+k.Name)
		require.True(t, r.OK(), text(t, r))
		if k.Curve == nil {
			continue
		}
		r = inspection(t, reader.Config{}, "consent: always", "session_key: "+k.Name, "device_key: P-256", "device_key: "+k.Name)
		require.True(t, r.OK(), text(t, r))
	}
}

// TestReader: an authenticated reader gets what others do not.
func TestReader(t *testing.T) {
	a := anchors(t)
	der := a.ReaderKey.PKCS8()
	at := bytes.Index(der, []byte{0x04, 0x20})
	c := reader.Config{Queries: []mdoc.Query{reader.Query(reader.TypeMDL, "resident_address", "signature_usual_mark")}}
	require.False(t, inspection(t, c).OK())
	c.ReaderKind, c.ReaderKey, c.ReaderChain = mdoc.Kinds[0], der[at+2:at+34], [][]byte{a.Reader.Raw}
	r := inspection(t, c)
	require.True(t, r.OK(), text(t, r))
	require.Contains(t, text(t, r), "Rue de la Paix 1")
}

// TestDefects: what is wrong on purpose is seen, by exactly the check that is about it.
func TestDefects(t *testing.T) {
	for defect, check := range map[string]string{
		"wrong-digest": reader.CheckDigests, "digest-missing": reader.CheckDigests, "unknown-iaca": reader.CheckChain,
		"wrong-signature": reader.CheckSignature, "wrong-doctype": reader.CheckDocType, "other-device-key": reader.CheckDevice,
		"wrong-device-auth": reader.CheckDevice,
	} {
		for _, auth := range []string{"mac", "signature"} {
			// The first element of the name space, in the order of the encoding.
			c := reader.Config{Queries: []mdoc.Query{reader.Query(reader.TypeMDL, "sex", "family_name")}}
			r := inspection(t, c, "device_auth: mac", "device_auth: "+auth+"\n      defects: ["+defect+"]")
			require.Equal(t, 1, r.Count(inspect.Fail), "%s: %s", defect, text(t, r))
			failed := r.Failed()
			require.ErrorContains(t, failed, check, defect)
		}
	}
	for change, check := range map[[2]string]string{
		{`until: "20270331"`, `until: "20260601"`}:                                                   reader.CheckValidity,
		{"device_auth: mac", "device_auth: mac\n      tamper: {family_name: Musterfrau}"}:            reader.CheckDigests,
		{"  consent: always", "  consent: always\n  signer: {from: \"20260101\", to: \"20260601\"}"}: reader.CheckDates,
	} {
		r := inspection(t, reader.Config{Queries: []mdoc.Query{reader.Query(reader.TypeMDL)}}, change[0], change[1])
		require.Equal(t, 1, r.Count(inspect.Fail), text(t, r))
		require.ErrorContains(t, r.Failed(), check)
	}
}

// TestAnnexD: the response of the standard, verified by this reader.
func TestAnnexD(t *testing.T) {
	d := annexD(t)
	v, err := mdoc.Decode(d["session_transcript"])
	require.NoError(t, err)
	transcript, ok := v.Encoded()
	require.True(t, ok)
	s := &reader.Session{Transcript: transcript, Kind: mdoc.Kinds[0], Private: d["e_reader_key_d"]}
	r := &inspect.Report{Date: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)}
	q := []mdoc.Query{reader.Query(reader.TypeMDL, "family_name", "document_number", "driving_privileges", "issue_date", "expiry_date", "portrait")}
	require.NoError(t, reader.Verify(r, nil, q, d["device_response"], s))
	// The example's certificate tells where its CRL is as a dNSName, not as a URI.
	require.Equal(t, 1, r.Count(inspect.Fail), text(t, r))
	require.ErrorContains(t, r.Failed(), reader.CheckProfile)
	for _, name := range []string{reader.CheckSignature, reader.CheckDigests, reader.CheckDevice, reader.CheckValidity, reader.CheckDocType} {
		c, ok := r.Find(reader.TypeMDL + ": " + name)
		require.True(t, ok)
		require.Equal(t, inspect.Pass, c.Result, name)
	}
	require.Contains(t, text(t, r), "Doe")
	good := r.Count(inspect.Pass)
	// An octet of an element, of the portrait, of the MSO, of the MAC.
	for _, at := range []int{300, 1500, 2900, 3540} {
		b := bytes.Clone(d["device_response"])
		b[at] ^= 1
		r := &inspect.Report{Date: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)}
		_ = reader.Verify(r, nil, q, b, s)
		require.Less(t, r.Count(inspect.Pass), good, at)
	}
}

func annexD(t testing.TB) map[string][]byte {
	b, err := os.ReadFile("../../mdl/mdoc/testdata/annex_d.txt")
	require.NoError(t, err)
	words, name := map[string]string{}, ""
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if line[0] != ' ' {
			name, f = f[0], f[1:]
		}
		words[name] += strings.Join(f, "")
	}
	all := map[string][]byte{}
	for n, w := range words {
		all[n], err = hex.DecodeString(w)
		require.NoError(t, err)
	}
	return all
}

// FuzzVerify: no response makes the reader panic.
func FuzzVerify(f *testing.F) {
	d := annexD(f)
	v, err := mdoc.Decode(d["session_transcript"])
	require.NoError(f, err)
	transcript, _ := v.Encoded()
	s := &reader.Session{Transcript: transcript, Kind: mdoc.Kinds[0], Private: d["e_reader_key_d"]}
	f.Add(d["device_response"])
	q := []mdoc.Query{reader.Query(reader.TypeMDL)}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &inspect.Report{Date: today}
		_ = reader.Verify(r, nil, q, b, s)
		var out bytes.Buffer
		require.NoError(t, r.HTML(&out))
	})
}
