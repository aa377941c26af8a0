package mdoc_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/ec"
)

// annexD are the examples of the standard.
func annexD(t testing.TB) map[string][]byte {
	text, err := os.ReadFile("testdata/annex_d.txt")
	require.NoError(t, err)
	words, name := map[string]string{}, ""
	for _, line := range strings.Split(string(text), "\n") {
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
		require.NoError(t, err, n)
	}
	return all
}

func decode(t testing.TB, b []byte) mdoc.Value {
	v, err := mdoc.Decode(b)
	require.NoError(t, err)
	return v
}

// TestAnnexDEngagement: D.3.1 is read; the engagement of the transcript (D.3.3) is
// written, octet by octet.
func TestAnnexDEngagement(t *testing.T) {
	d := annexD(t)
	e, err := mdoc.ParseEngagement(d["device_engagement"])
	require.NoError(t, err)
	require.Zero(t, e.Command) // Bluetooth only
	k, err := mdoc.Public(mdoc.Kinds[0], d["e_device_key_d"])
	require.NoError(t, err)
	require.Equal(t, k, e.Key)
	in, _ := decode(t, d["session_transcript"]).Encoded()
	parts, _ := decode(t, in).Array()
	engagement, _ := parts[0].Encoded()
	require.Equal(t, engagement, mdoc.Engagement{Key: k}.Encode())
}

// TestAnnexDSession: D.5.1, the secret, the keys, the message and the request in it.
func TestAnnexDSession(t *testing.T) {
	d := annexD(t)
	m, err := mdoc.ParseMessage(d["session_establishment"])
	require.NoError(t, err)
	require.Equal(t, d["session_establishment"], m.Encode())
	reader, err := mdoc.ParseCoseKey(decode(t, m.ReaderKey))
	require.NoError(t, err)
	own, err := mdoc.Public(mdoc.Kinds[0], d["e_reader_key_d"])
	require.NoError(t, err)
	require.Equal(t, own, reader)
	require.Equal(t, m.ReaderKey, reader.CoseKey())

	transcript, ok := decode(t, d["session_transcript"]).Encoded()
	require.True(t, ok)
	parts, _ := decode(t, transcript).Array()
	engagement, _ := parts[0].Encoded()
	handover, _ := parts[2].Array()
	sel, _ := handover[0].Bytes()
	req, _ := handover[1].Bytes()
	require.Equal(t, transcript, mdoc.Transcript(engagement, m.ReaderKey, mdoc.NFCHandover(sel, req)))
	require.Equal(t, d["session_transcript"], mdoc.Encoded24(transcript))

	p, err := ec.P256.Parse(reader.Bytes)
	require.NoError(t, err)
	secret, err := ec.P256.SharedSecret(d["e_device_key_d"], p)
	require.NoError(t, err)
	require.Equal(t, d["shared_secret"], secret)
	for info, want := range map[string]string{"SKReader": "sk_reader", "SKDevice": "sk_device"} {
		k, err := mdoc.SessionKey(secret, transcript, info)
		require.NoError(t, err)
		require.Equal(t, d[want], k)
	}
	device, err := mdoc.NewSession(secret, transcript, true)
	require.NoError(t, err)
	plain, err := device.Open(m.Data)
	require.NoError(t, err)
	r, err := mdoc.NewSession(secret, transcript, false)
	require.NoError(t, err)
	require.Equal(t, m.Data, r.Seal(plain))

	request, err := mdoc.ParseRequest(plain)
	require.NoError(t, err)
	require.Len(t, request.Documents, 1)
	q := request.Documents[0]
	require.Equal(t, "org.iso.18013.5.1.mDL", q.DocType)
	require.Equal(t, "family_name", q.Elements[0].Name)
	require.True(t, q.Elements[0].Retain)
	require.Equal(t, plain, request.Encode())

	// The request is signed by a reader; its certificate brings the key.
	cert, err := pki.ParseCertificate(q.ReaderAuth.Chain[0])
	require.NoError(t, err)
	require.NoError(t, cert.KeyErr)
	require.True(t, cert.HasPurpose(pki.PurposeReader))
	key, err := mdoc.FromCertificate(cert)
	require.NoError(t, err)
	require.True(t, q.VerifyReader(key, transcript))
	require.False(t, q.VerifyReader(key, transcript[1:]))
}

// TestAnnexDResponse: D.4.1.2 and D.5.2, D.5.3: digests, the issuer's signature, the MAC of
// the device; everything is written again as it was.
func TestAnnexDResponse(t *testing.T) {
	d := annexD(t)
	r := decode(t, d["device_response"])
	docs, _ := r.Get("documents").Array()
	doc := docs[0]
	issued := doc.Get("issuerSigned")
	auth, err := mdoc.ParseCose(issued.Get("issuerAuth"))
	require.NoError(t, err)
	cert, err := pki.ParseCertificate(auth.Chain[0])
	require.NoError(t, err)
	key, err := mdoc.FromCertificate(cert)
	require.NoError(t, err)
	require.True(t, auth.VerifySign1(key, nil))

	raw, ok := decode(t, auth.Payload).Encoded()
	require.True(t, ok)
	mso := decode(t, raw)
	digests := mso.Get("valueDigests").Get("org.iso.18013.5.1")
	items, _ := issued.Get("nameSpaces").Get("org.iso.18013.5.1").Array()
	require.Len(t, items, 6)
	names := mdoc.NameSpace{Name: "org.iso.18013.5.1"}
	for _, x := range items {
		in, _ := x.Encoded()
		item, err := mdoc.ParseItem(in)
		require.NoError(t, err)
		require.Equal(t, in, item.Encode())
		h := sha256.Sum256(x.Raw)
		want, _ := digests.At(item.Digest).Bytes()
		require.Equal(t, want, h[:], item.Name)
		names.Items = append(names.Items, in)
	}

	// MSO and response, made by us of the same parts.
	device, err := mdoc.Public(mdoc.Kinds[0], d["device_key_d"])
	require.NoError(t, err)
	m := mdoc.MSO{Digest: "SHA-256", DocType: "org.iso.18013.5.1.mDL", Device: device,
		Signed: "2020-10-01T13:30:02Z", From: "2020-10-01T13:30:02Z", Until: "2021-10-01T13:30:02Z"}
	pairs := mso.Get("valueDigests").Pairs()
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].Text()
		ns := mdoc.Digests{Name: name}
		p := pairs[i+1].Pairs()
		for j := 0; j < len(p); j += 2 {
			id, _ := p[j].Int()
			v, _ := p[j+1].Bytes()
			ns.Values = append(ns.Values, mdoc.DigestValue{ID: id, Value: v})
		}
		m.Digests = append(m.Digests, ns)
	}
	require.Equal(t, raw, m.Encode())

	transcript, _ := decode(t, d["session_transcript"]).Encoded()
	parts, _ := decode(t, transcript).Array()
	readerKey, _ := parts[1].Encoded()
	reader, err := mdoc.ParseCoseKey(decode(t, readerKey))
	require.NoError(t, err)
	area := mdoc.Soft{Kind: mdoc.Kinds[0], Private: d["device_key_d"]}
	z, err := area.Agree(reader)
	require.NoError(t, err)
	require.Equal(t, d["z_ab"], z)
	mac, err := mdoc.SessionKey(z, transcript, "EMacKey")
	require.NoError(t, err)
	require.Equal(t, d["e_mac_key"], mac)
	signed, err := mdoc.DeviceMAC(area, reader, transcript, "org.iso.18013.5.1.mDL")
	require.NoError(t, err)
	got := mdoc.Response{Documents: []mdoc.Shown{{
		DocType: "org.iso.18013.5.1.mDL", NameSpaces: []mdoc.NameSpace{names}, IssuerAuth: issued.Get("issuerAuth").Raw, DeviceSigned: signed,
	}}}
	require.True(t, bytes.Equal(d["device_response"], got.Encode()), "%x", got.Encode())
}
