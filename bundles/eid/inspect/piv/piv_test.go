package piv_test

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	reader "github.com/sspemu/sspemu/bundles/eid/inspect/piv"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/tlv"
)

// card is a card without a platform.
type card struct {
	*sdktest.Card
	answer func(capdu, rapdu string) string // what becomes of an answer; nil: itself
	sent   []string
}

func (c *card) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	cmd := strings.ToUpper(hex.EncodeToString(capdu))
	c.sent = append(c.sent, cmd)
	r := c.Card.Transmit(cmd)
	if c.answer != nil {
		r = c.answer(cmd, r)
	}
	b, err := hex.DecodeString(r)
	return append(dst[:0], b...), err
}

const folder = "../../"

func newCard(t testing.TB, replace ...string) (*card, *pki.Store) {
	yaml, err := os.ReadFile(folder + "persona.yaml")
	require.NoError(t, err)
	text := string(yaml)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, text, replace[i])
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	schema, err := os.ReadFile(folder + "persona.schema.json")
	require.NoError(t, err)
	c := &card{Card: sdktest.New(t, func() sdk.App { return eid.New() })}
	require.NoError(t, c.PersonaliseYAML([]byte(text), schema))
	doc, err := issue.FromYAML([]byte(text), "persona", schema)
	require.NoError(t, err)
	der, err := piv.Anchor(doc.Get("piv"), doc.Get("seed").Text())
	require.NoError(t, err)
	anchor, err := pki.ParseCertificate(der)
	require.NoError(t, err)
	return c, &pki.Store{Anchors: []*pki.Certificate{anchor}}
}

const issuedKeys = `  keys:
    - {slot: 9a, algorithm: P-384}
    - {slot: 9c, algorithm: RSA-2048}
    - {slot: 9d, algorithm: P-256}
    - {slot: "82", algorithm: RSA-3072}
    - {slot: "83", algorithm: P-384}
`

func look(t testing.TB, c *card, config reader.Config) *inspect.Report {
	r := &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	require.NoError(t, reader.Inspect(context.Background(), c, config, r))
	return r
}

// TestIssued: a card with keys in every kind of slot is in order; without the PIN its keys
// are left out, but for 9E; without anchors the chains.
func TestIssued(t *testing.T) {
	c, anchors := newCard(t, "  keys: ", "  #", "    - {slot: 9e, algorithm: P-256}\n", issuedKeys+"    - {slot: 9e, algorithm: RSA-2048}\n")
	r := look(t, c, reader.Config{PIN: "123456", Anchors: anchors})
	for _, x := range r.Checks {
		require.Equal(t, inspect.Pass, x.Result, "%s: %s", x.Name, x.Why)
	}
	for _, s := range []string{"(9A)", "(9C)", "(9D)", "(9E)", "1 (82)", "2 (83)"} {
		found := false
		for _, x := range r.Checks {
			found = found || strings.HasSuffix(x.Name, s+": possession")
		}
		require.True(t, found, s)
	}
	c.sent = nil
	r = look(t, c, reader.Config{})
	require.True(t, r.OK())
	require.Equal(t, 5, count(r, ": possession", inspect.NotDone))
	require.Equal(t, 1, count(r, ": possession", inspect.Pass))
	require.Equal(t, 7, count(r, ": chain", inspect.NotDone))
	for _, s := range c.sent {
		require.False(t, strings.HasPrefix(s, "0020008008"), "no PIN is sent")
	}
}

func count(r *inspect.Report, suffix string, res inspect.Result) (n int) {
	for _, x := range r.Checks {
		if strings.HasSuffix(x.Name, suffix) && x.Result == res {
			n++
		}
	}
	return n
}

// TestPIN: a wrong one fails a check and costs a try; the last try is not spent.
func TestPIN(t *testing.T) {
	c, _ := newCard(t)
	for left := 3; left > 1; left-- {
		r := look(t, c, reader.Config{PIN: "654321"})
		x, ok := r.Find("PIN")
		require.True(t, ok)
		require.Equal(t, inspect.Fail, x.Result)
	}
	r := look(t, c, reader.Config{PIN: "123456"})
	x, _ := r.Find("PIN")
	require.Equal(t, inspect.NotDone, x.Result)
	c.Card.Transmit("0020008008363534333231FFFF")
	r = look(t, c, reader.Config{PIN: "123456"})
	x, _ = r.Find("PIN")
	require.Equal(t, inspect.Warning, x.Result)
	require.ErrorIs(t, reader.Inspect(context.Background(), newCardOnly(t), reader.Config{PIN: "1"}, &inspect.Report{}), reader.ErrPIN)
}

func newCardOnly(t testing.TB) *card { c, _ := newCard(t); return c }

// TestOpenSSL verifies the signature of the CHUID.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		require.Empty(t, os.Getenv("CI"), "openssl: not installed (apt-get install openssl)")
		t.Log("not run: openssl is not installed")
		return
	}
	c, anchors := newCard(t)
	c.Card.Transmit("00A404000BA000000308000010000100")
	b, err := hex.DecodeString(c.Card.Transmit("00CB3FFF0000055C035FC1020000"))
	require.NoError(t, err)
	sig, err := tlv.Path(b[:len(b)-2], 0x53, 0x3E)
	require.NoError(t, err)
	var signed []byte
	v, err := tlv.Find(b[:len(b)-2], 0x53)
	require.NoError(t, err)
	for rd := tlv.Read(v); rd.Next(); {
		if rd.Tag != 0x3E {
			signed = tlv.Append(signed, rd.Tag, rd.Value...)
		}
	}
	dir := t.TempDir()
	name := func(s string) string { return filepath.Join(dir, s) }
	require.NoError(t, os.WriteFile(name("sig"), sig, 0o600))
	require.NoError(t, os.WriteFile(name("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: anchors.Anchors[0].Raw}), 0o600))
	verify := func(content []byte) (string, error) {
		require.NoError(t, os.WriteFile(name("content"), content, 0o600))
		out, err := exec.Command("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", name("sig"), "-content", name("content"), "-CAfile", name("ca.pem"), "-purpose", "any", "-attime", "1795392000", "-out", name("out")).CombinedOutput()
		return string(out), err
	}
	out, err := verify(signed)
	require.NoError(t, err, out)
	signed[5] ^= 1
	_, err = verify(signed)
	require.Error(t, err)
}

// FuzzInspect: whatever a card answers, an inspection ends, and says no more than it saw.
func FuzzInspect(f *testing.F) {
	c, anchors := newCard(f)
	var recorded []byte
	c.answer = func(_, r string) string {
		b, _ := hex.DecodeString(r)
		recorded = append(append(recorded, byte(len(b)>>8), byte(len(b))), b...)
		return r
	}
	look(f, c, reader.Config{PIN: "123456", Anchors: anchors})
	f.Add(recorded)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, answers []byte) {
		r := &inspect.Report{Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
		_ = reader.Inspect(context.Background(), &script{answers}, reader.Config{PIN: "123456", Anchors: anchors}, r)
		require.Less(t, len(r.Checks), 500)
	})
}

// script answers with octets that each have their length before them.
type script struct{ b []byte }

func (s *script) Transmit(_ context.Context, _, dst []byte) ([]byte, error) {
	if len(s.b) < 2 {
		return append(dst[:0], 0x6A, 0x82), nil
	}
	n := min(int(s.b[0])<<8|int(s.b[1]), len(s.b)-2)
	out := append(dst[:0], s.b[2:2+n]...)
	s.b = s.b[2+n:]
	return out, nil
}
