package mdl_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/persona"
	"github.com/sspemu/sspemu/internal/tlv"
)

const (
	space  = "org.iso.18013.5.1"
	typ    = "org.iso.18013.5.1.mDL"
	pid    = "eu.europa.ec.eudi.pid.1"
	secret = "\x05\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
)

// yaml is the default persona, changed: old, new, old, new ...
func yaml(t testing.TB, changes ...string) []byte {
	b, err := os.ReadFile("../persona.yaml")
	require.NoError(t, err)
	s := string(b)
	for i := 0; i < len(changes); i += 2 {
		require.Contains(t, s, changes[i])
		s = strings.Replace(s, changes[i], changes[i+1], 1)
	}
	return []byte(s)
}

func schema(t testing.TB) []byte {
	b, err := os.ReadFile("../persona.schema.json")
	require.NoError(t, err)
	return b
}

func newCard(t testing.TB, changes ...string) *sdktest.Card {
	c := sdktest.New(t, func() sdk.App { return eid.New() })
	require.NoError(t, c.PersonaliseYAML(yaml(t, changes...), schema(t)))
	return c
}

func anchors(t testing.TB) *mdl.Anchors {
	b, err := persona.Convert(yaml(t), "persona.yaml", schema(t))
	require.NoError(t, err)
	doc, err := sdk.ParseDoc(b)
	require.NoError(t, err)
	a, err := mdl.Trust(doc)
	require.NoError(t, err)
	return a
}

func send(t testing.TB, c *sdktest.Card, command, sw string) []byte {
	t.Helper()
	r := c.Transmit(command)
	require.True(t, strings.HasSuffix(r, sw), "%s: %s, not %s", command, r, sw)
	b, err := hex.DecodeString(strings.TrimSuffix(r, sw))
	require.NoError(t, err)
	return b
}

// readTag is the Handover Select message.
func readTag(t testing.TB, c *sdktest.Card) []byte {
	send(t, c, "00A4040007D276000085010100", "9000")
	send(t, c, "00A4000C02E103", "9000")
	require.Equal(t, "000F2000FF00FF0406E104040000FF", strings.ToUpper(hex.EncodeToString(send(t, c, "00B000000F", "9000"))))
	send(t, c, "00A4000C02E104", "9000")
	n := send(t, c, "00B0000002", "9000")
	return send(t, c, fmt.Sprintf("00B00002%02X", int(n[0])<<8|int(n[1])), "9000")
}

// reader is the other end.
type reader struct {
	t       testing.TB
	session *mdoc.Session
	key     []byte // COSE_Key
	post    func(message []byte) []byte
	begun   bool
}

func newReader(t testing.TB, device, handover []byte, post func([]byte) []byte) *reader {
	e, err := mdoc.ParseEngagement(device)
	require.NoError(t, err)
	own, err := mdoc.Public(e.Key.Kind, []byte(secret))
	require.NoError(t, err)
	z, err := mdoc.Agree(e.Key.Curve, []byte(secret), e.Key)
	require.NoError(t, err)
	r := &reader{t: t, key: own.CoseKey(), post: post}
	r.session, err = mdoc.NewSession(z, mdoc.Transcript(device, r.key, handover), false)
	require.NoError(t, err)
	return r
}

// tap reads the tag and selects data retrieval.
func tap(t testing.TB, c *sdktest.Card) *reader {
	hs := readTag(t, c)
	at := bytes.Index(hs, []byte("deviceengagementmdoc")) + 20
	r := newReader(t, hs[at:], mdoc.NFCHandover(hs, nil), func(m []byte) []byte { return envelope(t, c, m, "9000") })
	send(t, c, "00A4040007A000000248040000", "9000")
	return r
}

// envelope sends DO 53 and gives what is in the answer's.
func envelope(t testing.TB, c *sdktest.Card, m []byte, sw string) []byte {
	t.Helper()
	d := tlv.Append(nil, 0x53, m...)
	b := send(t, c, fmt.Sprintf("00C3000000%04X%X0000", len(d), d), sw)
	if len(b) == 0 {
		return nil
	}
	tag, v, rest, err := tlv.Next(b)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, tlv.Tag(0x53), tag)
	return v
}

func (r *reader) message(plain []byte) mdoc.Message {
	m := mdoc.Message{Data: r.session.Seal(plain)}
	if !r.begun {
		m.ReaderKey = r.key
	}
	r.begun = true
	return m
}

// ask sends a request and gives the DeviceResponse.
func (r *reader) ask(q ...mdoc.Query) mdoc.Value {
	r.t.Helper()
	return r.plain(mdoc.Request{Documents: q}.Encode())
}

func (r *reader) plain(b []byte) mdoc.Value {
	r.t.Helper()
	m, err := mdoc.ParseMessage(r.post(r.message(b).Encode()))
	require.NoError(r.t, err)
	require.Zero(r.t, m.Status)
	b, err = r.session.Open(m.Data)
	require.NoError(r.t, err)
	v, err := mdoc.Decode(b)
	require.NoError(r.t, err)
	return v
}

func elements(ns string, names ...string) (e []mdoc.Element) {
	for _, n := range names {
		e = append(e, mdoc.Element{NameSpace: ns, Name: n})
	}
	return e
}

// shown are the names of the elements of a document.
func shown(t testing.TB, v mdoc.Value, doc int, ns string) (names []string) {
	docs, _ := v.Get("documents").Array()
	require.Greater(t, len(docs), doc)
	items, _ := docs[doc].Get("issuerSigned").Get("nameSpaces").Get(ns).Array()
	for _, x := range items {
		b, _ := x.Encoded()
		i, err := mdoc.ParseItem(b)
		require.NoError(t, err)
		names = append(names, i.Name)
	}
	return names
}

// TestRetrieval: what is asked for is shown, and no more; errors tell what lacks.
func TestRetrieval(t *testing.T) {
	c := newCard(t)
	r := tap(t, c)
	v := r.ask(
		mdoc.NewQuery(typ, append(elements(space, "family_name", "age_over_19", "age_over_62", "weight", "signature_usual_mark"), mdoc.Element{NameSpace: "nobody", Name: "x"})...),
		mdoc.NewQuery(pid, elements(pid, "family_name", "age_over_18")...),
		mdoc.NewQuery("unknown", elements(space, "family_name")...))
	require.Equal(t, []string{"family_name", "age_over_21", "age_over_60"}, shown(t, v, 0, space))
	require.Equal(t, []string{"family_name", "age_over_18"}, shown(t, v, 1, pid))
	docs, _ := v.Get("documents").Array()
	for _, n := range []string{"weight", "signature_usual_mark"} {
		code, ok := docs[0].Get("errors").Get(space).Get(n).Int()
		require.True(t, ok)
		require.Zero(t, code)
	}
	require.True(t, docs[0].Get("errors").Get("nobody").Get("x").Exists())
	refused, _ := v.Get("documentErrors").Array()
	require.True(t, refused[0].Get("unknown").Exists())
	// Another request in the same session, then the end.
	require.Len(t, shown(t, r.ask(mdoc.NewQuery(typ, elements(space, "portrait")...)), 0, space), 1)
	require.Nil(t, envelope(t, c, mdoc.Message{Status: mdoc.StatusTermination}.Encode(), "9000"))
	envelope(t, c, mdoc.Message{Data: []byte{1}}.Encode(), "6985")
}

// TestReaderAuthentication: what only known readers get.
func TestReaderAuthentication(t *testing.T) {
	a := anchors(t)
	r := tap(t, newCard(t))
	q := mdoc.NewQuery(typ, elements(space, "resident_address")...)
	v := r.ask(q)
	require.False(t, v.Get("documents").Exists())
	key := readerKey(t, a)
	require.NoError(t, q.Sign(mdoc.Kinds[0], key, [][]byte{a.Reader.Raw}, r.session.Transcript))
	require.Equal(t, []string{"resident_address"}, shown(t, r.ask(q), 0, space))
	// Of another session; of another authority.
	require.NoError(t, q.Sign(mdoc.Kinds[0], key, [][]byte{a.Reader.Raw}, r.session.Transcript[1:]))
	require.False(t, r.ask(q).Get("documents").Exists())
	require.NoError(t, q.Sign(mdoc.Kinds[0], key, [][]byte{a.Signer.Raw}, r.session.Transcript))
	require.False(t, r.ask(q).Get("documents").Exists())
}

// readerKey is the private key of the anchors' reader: the last octets of its ECPrivateKey.
func readerKey(t testing.TB, a *mdl.Anchors) []byte {
	der := a.ReaderKey.PKCS8()
	at := bytes.Index(der, []byte{0x04, 0x20})
	require.Positive(t, at)
	return der[at+2 : at+34]
}

// TestConsent: never, or some elements.
func TestConsent(t *testing.T) {
	r := tap(t, newCard(t, "consent: always", "consent: never"))
	require.False(t, r.ask(mdoc.NewQuery(typ, elements(space, "family_name")...)).Get("documents").Exists())
	r = tap(t, newCard(t, "consent: always", "consent: [given_name, age_over_18]"))
	require.Equal(t, []string{"given_name", "age_over_18"}, shown(t, r.ask(mdoc.NewQuery(typ, elements(space, "family_name", "given_name", "age_over_17")...)), 0, space))
}

// TestSessionErrors: each error ends the session and destroys the key (9.1.1.4).
func TestSessionErrors(t *testing.T) {
	c := newCard(t)
	status := func(m []byte, want int) {
		t.Helper()
		got, err := mdoc.ParseMessage(envelope(t, c, m, "9000"))
		require.NoError(t, err)
		require.Equal(t, want, got.Status)
		require.Nil(t, got.Data)
	}
	request := mdoc.Request{Documents: []mdoc.Query{mdoc.NewQuery(typ, elements(space, "family_name")...)}}.Encode()
	r := tap(t, c)
	first := r.message(request).Encode()
	broken := bytes.Clone(first)
	broken[len(broken)-1] ^= 1
	status(broken, mdoc.StatusEncryption)
	envelope(t, c, first, "6985") // the key is gone

	r = tap(t, c)
	first = r.message(request).Encode()
	require.NotNil(t, envelope(t, c, first, "9000"))
	status(first, mdoc.StatusEncryption) // replayed
	r = tap(t, c)
	require.NotNil(t, envelope(t, c, r.message(request).Encode(), "9000"))
	status([]byte{0xFF}, mdoc.StatusCBOR)
	envelope(t, c, r.message(request).Encode(), "6985")
	r = tap(t, c)
	m := r.message(request)
	m.ReaderKey = []byte{0xA0}
	status(m.Encode(), mdoc.StatusCBOR)

	// Inside the session, requests that cannot be read.
	r = tap(t, c)
	for want, b := range map[int][]byte{mdoc.DecodingError: {0xFF}, mdoc.ValidationError: {0xA0}} {
		code, _ := r.plain(b).Get("status").Int()
		require.Equal(t, want, code)
	}
	// Selecting something else ends the session; so does a reset.
	send(t, c, "00A4040007D276000085010100", "9000")
	send(t, c, "00A4040007A000000248040000", "9000")
	envelope(t, c, r.message(request).Encode(), "6985")
	r = tap(t, c)
	c.Reset()
	send(t, c, "00A4040007A000000248040000", "9000")
	envelope(t, c, r.message(request).Encode(), "6985")
}

// TestCommands: exact status words of both applets.
func TestCommands(t *testing.T) {
	c := newCard(t)
	for _, x := range []struct{ command, sw string }{
		{"00A4040007A000000248040000", "9000"},
		{"00C30000 03 530101", "6985"},
		{"00C30000", "6700"},
		{"00C30100 03 530101", "6A86"},
		{"00C30000 03 530201", "6A80"},
		{"00C30000 03 540101", "6A80"},
		{"00C30000 04 53010100", "6A80"},
		{"00B0000000", "6D00"},
		{"80C30000 03 530101", "6E00"},
		{"0CC30000 03 530101", "6988"},
		{"00A4040007D276000085010100", "9000"},
		{"00B0000002", "6986"},
		{"00A4000C02E105", "6A82"},
		{"00A4020C02E103", "6A86"},
		{"00A4000C01E1", "6700"},
		{"00A4000C02E103", "9000"},
		{"00B0000F01", "6B00"},
		{"00B0800001", "6A86"},
		{"00D600000100", "6982"},
		{"00C0000000", "6D00"},
		{"80B0000001", "6E00"},
	} {
		r := c.Transmit(x.command)
		if x.command[:2] == "0C" {
			require.NotEqual(t, "9000", r)
			continue
		}
		require.Equal(t, x.sw, r, x.command)
	}
}

// TestSameBytes: the same seed gives the same documents, another seed others; the keys are
// only under names of the secure area.
func TestSameBytes(t *testing.T) {
	a, b := newCard(t).NVM(), newCard(t).NVM()
	require.Equal(t, a["d/d0"], b["d/d0"])
	require.Equal(t, a["d/k0"], b["d/k0"])
	require.NotEqual(t, a["d/k0"], a["d/k1"])
	require.NotEqual(t, a["d/k0"], newCard(t, "seed: sspemu eID test", "seed: another").NVM()["d/k0"])
	for name, v := range a {
		if !strings.HasPrefix(name, "d/k") {
			require.False(t, bytes.Contains(v, a["d/k0"][1:]), name)
		}
	}
}

// TestKinds: every kind of device key and ephemeral key, each way to authenticate.
func TestKinds(t *testing.T) {
	for _, k := range mdoc.Kinds {
		r := tap(t, newCard(t, "device_auth: mac", "device_auth: signature", "device_key: P-256", "device_key: "+k.Name))
		v := r.ask(mdoc.NewQuery(typ, elements(space, "family_name")...))
		docs, _ := v.Get("documents").Array()
		auth, err := mdoc.ParseCose(docs[0].Get("deviceSigned").Get("deviceAuth").Get("deviceSignature"))
		require.NoError(t, err)
		iss, err := mdoc.ParseCose(docs[0].Get("issuerSigned").Get("issuerAuth"))
		require.NoError(t, err)
		p, err := mdoc.Decode(iss.Payload)
		require.NoError(t, err)
		raw, _ := p.Encoded()
		mso, err := mdoc.Decode(raw)
		require.NoError(t, err)
		key, err := mdoc.ParseCoseKey(mso.Get("deviceKeyInfo").Get("deviceKey"))
		require.NoError(t, err)
		require.Equal(t, k.Name, key.Name)
		require.True(t, auth.VerifySign1(key, mdoc.DeviceAuthentication(r.session.Transcript, typ, mdoc.Encoded24([]byte{0xA0}))), k.Name)
	}
	c := sdktest.New(t, func() sdk.App { return eid.New() })
	err := c.PersonaliseYAML(yaml(t, "device_key: P-256", "device_key: P-384"), schema(t))
	require.ErrorContains(t, err, "a MAC needs the same one")
}

// TestQR: the engagement of a QR code is for HTTP, CoAP and APDU, once.
func TestQR(t *testing.T) {
	c := newCard(t)
	link := get(t, c, "GET /mdl/engagement HTTP/1.1\r\nHost: card\r\n\r\n")
	head, body, _ := strings.Cut(link, "\r\n\r\n")
	require.Contains(t, head, "200 OK")
	text, ok := strings.CutPrefix(strings.TrimSpace(body), "mdoc:")
	require.True(t, ok, body)
	device, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	post := func(m []byte) []byte {
		a := get(t, c, fmt.Sprintf("POST /mdl/session HTTP/1.1\r\nHost: card\r\nContent-Type: application/cbor\r\nContent-Length: %d\r\n\r\n%s", len(m), m))
		head, body, _ := strings.Cut(a, "\r\n\r\n")
		require.Contains(t, head, "200 OK", a)
		return []byte(body)
	}
	e, err := mdoc.ParseEngagement(device)
	require.NoError(t, err)
	require.Equal(t, 65535, e.Command)
	r := newReader(t, device, mdoc.QRHandover(), post)
	require.Equal(t, []string{"given_name"}, shown(t, r.ask(mdoc.NewQuery(typ, elements(space, "given_name")...)), 0, space))
	require.NotEqual(t, link, get(t, c, "GET /mdl/engagement HTTP/1.1\r\nHost: card\r\n\r\n"))
	for _, bad := range [][2]string{
		{"POST /mdl/session HTTP/1.1\r\nHost: card\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx", "415"},
		{"GET /mdl/session HTTP/1.1\r\nHost: card\r\n\r\n", "404"},
	} {
		require.Contains(t, get(t, c, bad[0]), "HTTP/1.1 "+bad[1])
	}
	c.Reset()
	a := get(t, c, "POST /mdl/session HTTP/1.1\r\nHost: card\r\nContent-Type: application/cbor\r\nContent-Length: 1\r\n\r\n\xff")
	require.Contains(t, a, "409 Conflict")
	require.Contains(t, a, "application/problem+json")
	require.NotContains(t, get(t, c, "GET / HTTP/1.1\r\nHost: card\r\nAccept: application/json\r\n\r\n"), "Anna")
}

func get(t testing.TB, c *sdktest.Card, request string) string {
	p, err := c.Open(sdk.GateTCP, 1, 1<<17)
	require.NoError(t, err)
	p.Send([]byte(request))
	b := p.Bytes()
	require.NoError(t, p.Close(0))
	return string(b)
}

// TestSilence: logs and events tell nothing of the holder.
func TestSilence(t *testing.T) {
	c := newCard(t)
	tap(t, c).ask(mdoc.NewQuery(typ, elements(space, "family_name", "given_name")...))
	all := strings.Join(c.Logs, "\n")
	for _, e := range c.Events {
		all += e.Name + string(e.Data)
	}
	require.NotContains(t, all, "Eriksson")
	require.NotContains(t, all, "family_name")
	require.Contains(t, all, "mdl.request")
}
