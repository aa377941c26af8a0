package mdoc_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/internal/ec"
)

// FuzzDecode: CBOR of anybody is read or refused, and what was read is in the message.
func FuzzDecode(f *testing.F) {
	for _, b := range annexD(f) {
		f.Add(b)
	}
	for _, b := range [][]byte{{0xFF}, {0x9F, 0x01, 0xFF}, {0xBF, 0x01, 0x02, 0xFF}, {0x5F, 0x41, 0x00, 0xFF}, {0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
		{0xA2, 0x01, 0x02, 0x01, 0x03}, bytes.Repeat([]byte{0x81}, 100), bytes.Repeat([]byte{0x80}, 5000), {0xFB, 1, 2, 3, 4, 5, 6, 7, 8}, {0xD8, 0x18}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := mdoc.Decode(b)
		if err != nil {
			return
		}
		require.Equal(t, b, v.Raw)
		_, _ = mdoc.ParseCoseKey(v)
		_, _ = mdoc.ParseCose(v)
		if i, err := mdoc.ParseItem(b); err == nil {
			again, err := mdoc.ParseItem(i.Encode())
			require.NoError(t, err)
			require.Equal(t, i, again)
		}
		_, _ = mdoc.ParseEngagement(b)
	})
}

// FuzzRequest: a request is within its bounds, and the same when it is written again.
func FuzzRequest(f *testing.F) {
	d := annexD(f)
	m, err := mdoc.ParseMessage(d["session_establishment"])
	require.NoError(f, err)
	v, err := mdoc.Decode(m.ReaderKey)
	require.NoError(f, err)
	reader, err := mdoc.ParseCoseKey(v)
	require.NoError(f, err)
	p, err := ec.P256.Parse(reader.Bytes)
	require.NoError(f, err)
	z, err := ec.P256.SharedSecret(d["e_device_key_d"], p)
	require.NoError(f, err)
	tr, err := mdoc.Decode(d["session_transcript"])
	require.NoError(f, err)
	transcript, _ := tr.Encoded()
	s, err := mdoc.NewSession(z, transcript, true)
	require.NoError(f, err)
	plain, err := s.Open(m.Data)
	require.NoError(f, err)
	f.Add(plain)
	f.Add(mdoc.Request{Documents: []mdoc.Query{mdoc.NewQuery("a", mdoc.Element{NameSpace: "b", Name: "c", Retain: true})}}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := mdoc.ParseRequest(b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(r.Documents), mdoc.MaxDocuments)
		for _, q := range r.Documents {
			require.NotEmpty(t, q.Elements)
			require.LessOrEqual(t, len(q.Elements), mdoc.MaxElements)
		}
		again, err := mdoc.ParseRequest(r.Encode())
		require.NoError(t, err)
		require.Equal(t, r.Encode(), again.Encode())
	})
}

// FuzzMessage: session messages.
func FuzzMessage(f *testing.F) {
	f.Add(annexD(f)["session_establishment"])
	f.Add(mdoc.Message{Status: mdoc.StatusTermination}.Encode())
	f.Add(mdoc.Message{Data: []byte{1}, Status: mdoc.StatusTermination}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := mdoc.ParseMessage(b)
		if err != nil {
			return
		}
		again, err := mdoc.ParseMessage(m.Encode())
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

// TestLimits: what is decoded is bounded, and what the standard's limits refuse is told
// apart from what is no CBOR.
func TestLimits(t *testing.T) {
	for _, x := range []struct {
		b    []byte
		want error
	}{
		{nil, mdoc.ErrCBOR},
		{[]byte{0x01, 0x01}, mdoc.ErrCBOR},
		{[]byte{0x41}, mdoc.ErrCBOR},
		{[]byte{0x61, 0xFF}, mdoc.ErrCBOR},                                       // not UTF-8
		{[]byte{0xA2, 0x01, 0x02, 0x01, 0x03}, mdoc.ErrCBOR},                     // a key twice
		{[]byte{0xF8, 0x10}, mdoc.ErrCBOR},                                       // a simple value in the long form
		{[]byte{0x5F, 0x41, 0x00, 0xFF}, mdoc.ErrLimit},                          // a string in pieces
		{bytes.Repeat([]byte{0x81}, 20), mdoc.ErrLimit},                          // deep
		{append([]byte{0x99, 0x10, 0x00}, make([]byte, 4096)...), mdoc.ErrLimit}, // many
		{[]byte{0x9B, 0, 0, 0, 1, 0, 0, 0, 0}, mdoc.ErrCBOR},                     // a count that lies
		{[]byte{0x9F, 0x01, 0xFF}, nil},
	} {
		_, err := mdoc.Decode(x.b)
		require.ErrorIs(t, err, x.want, "%x", x.b)
	}
}
