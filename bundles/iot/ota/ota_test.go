package ota_test

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/scp80"
)

func persona(t testing.TB) *profile.Profile {
	yaml, err := os.ReadFile("../persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("../persona.schema.json")
	require.NoError(t, err)
	p, err := profile.FromYAML(yaml, "persona", schema)
	require.NoError(t, err)
	return p
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// packets are a command packet of the first domain and its response.
func packets(t testing.TB, s *ota.Server) (command, response []byte) {
	command, err := s.Packet(scp80.Script(s.Form, append(s.Delete(ota.Ref{Kind: profile.File, ID: []byte{2}}), s.Put(ota.Ref{Kind: profile.File, Label: "x"}, []byte("abc"))...)...))
	require.NoError(t, err)
	res := scp80.Result{Executed: 2, Responses: [][]byte{{0x90, 0}, {0x6A, 0x82}}}
	r := scp80.Response{TAR: s.Header.TAR, Counter: s.Counter, Data: res.Append(nil, s.Form)}
	response, err = r.Append(nil, s.Header, s.Keys)
	require.NoError(t, err)
	return command, response
}

// TestExplain: what the bytes of an exchange are, in words.
func TestExplain(t *testing.T) {
	p := persona(t)
	s := ota.New(p, &p.Domains[0], nil)
	command, response := packets(t, s)
	parts, err := scp80.Split(command, 1)
	require.NoError(t, err)
	d := scp80.Deliver{From: []byte{2, 0x81, 0x21}, PID: scp80.PIDDownload, DCS: scp80.DCSDownload, UserData: parts[0]}
	e := scp80.Envelope{TPDU: d.Append(nil)}
	data := e.Append(nil)
	envelope := append([]byte{0x80, 0xC2, 0, 0, byte(len(data))}, data...)
	l, err := ota.Explain(envelope, p)
	require.NoError(t, err)
	require.Equal(t, []string{
		"ENVELOPE, class 80", "SMS-PP download, 83 bytes", "SMS-DELIVER: PID 7F, DCS F6, 61 bytes of user data", "user data: command packet, message 1 of 1, 58 bytes",
		"command packet: CPL 56, CHL 21",
		"  SPI 16 19: checksum, ciphered, counter higher, proof of receipt, with checksum, ciphered, by SMS-DELIVER-REPORT",
		"  KIc 12: key 1, AES", "  KID 12: key 1, AES", "  TAR 494F41: public cloud A", "  counter 1, 28 bytes of data",
		"  script, expanded with definite length: AA1A220980E400000383010200220D80E28000087301785303616263",
		"    80E400000383010200  DELETE of file 02", `    80E28000087301785303616263  STORE DATA, block 0 of file "x"`,
	}, l)
	l, err = ota.Explain(append([]byte{2, 0x71, 0}, response...), p)
	require.NoError(t, err)
	require.Equal(t, []string{
		"user data: response packet, message 1 of 1, 38 bytes", "response packet: RPL 36, RHL 18", "  TAR 494F41: public cloud A", "  counter 1, status 00: done",
		"  2 commands were executed", "    9000 ok  ", "    6A82 object not found, or no such applet  ",
	}, l)
	l, err = ota.Explain(command, nil)
	require.NoError(t, err)
	require.Contains(t, l[len(l)-1], "no domain of the persona")
	for _, bad := range []string{"", "01", "80C2000001D1", "D100"} {
		_, err = ota.Explain(unhex(t, bad), p)
		require.Error(t, err)
	}
}

// TestProofs: what a server takes as proof of receipt.
func TestProofs(t *testing.T) {
	p := persona(t)
	s := ota.New(p, &p.Domains[0], nil)
	_, response := packets(t, s)
	r, err := s.Check(response)
	require.NoError(t, err)
	require.Equal(t, uint64(1), r.Counter)
	_, err = s.Check(nil)
	require.ErrorIs(t, err, ota.ErrSilent)
	s.Counter++
	_, err = s.Check(response)
	require.ErrorIs(t, err, ota.ErrProof, "that of the packet before")
	other := ota.New(p, &p.Domains[1], nil)
	_, err = other.Check(response)
	require.Error(t, err)
	response[len(response)-1] ^= 1
	_, err = s.Check(response)
	require.ErrorIs(t, err, scp80.ErrResponse)
	_, err = s.Check((&scp80.Response{TAR: s.Header.TAR, Status: scp80.CheckFailed}).AppendPlain(nil))
	require.ErrorIs(t, err, &ota.StatusError{Status: scp80.CheckFailed})
	require.ErrorContains(t, err, "status 01, RC, CC or DS failed (in clear)")
	_, err = s.Check((&scp80.Response{TAR: s.Header.TAR}).AppendPlain(nil))
	require.ErrorIs(t, err, scp80.ErrUnprotected, "nobody says done in clear")
}

// TestSenders: cards and servers that answer nonsense.
func TestSenders(t *testing.T) {
	for _, c := range []struct {
		answers []string
		want    string
	}{
		{[]string{"6D00"}, "ENVELOPE: status 6D00"},
		{[]string{"90"}, "no status word"},
		{[]string{"0102039000"}, "no response packet"},
		{[]string{"6105", "9000"}, ""},
		{[]string{"6103", "6D00"}, "GET RESPONSE"},
		{[]string{"9110", "9000"}, "no short message"},
		{[]string{"9110", "D0028B009000"}, "malformed"},
		{[]string{"9110", "6985"}, "FETCH: status 6985"},
		{nil, "gone"},
	} {
		n := 0
		send := ota.Envelopes(func(context.Context, []byte) ([]byte, error) {
			if n == len(c.answers) {
				return nil, errors.New("gone")
			}
			n++
			return unhex(t, c.answers[n-1]), nil
		}, nil)
		b, err := send(context.Background(), make([]byte, 20))
		if c.want == "" {
			require.NoError(t, err)
			require.Nil(t, b)
			continue
		}
		require.ErrorContains(t, err, c.want, c.answers)
	}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }))
	defer h.Close()
	_, err := ota.HTTP(h.Client(), h.URL, nil)(context.Background(), nil)
	require.ErrorContains(t, err, "418 I'm a teapot: no")
	_, err = ota.HTTP(h.Client(), "http://127.0.0.1:1/", nil)(context.Background(), nil)
	require.Error(t, err)
}

// FuzzExplain: any bytes are explained or refused.
func FuzzExplain(f *testing.F) {
	p := persona(f)
	for i := range p.Domains {
		command, response := packets(f, ota.New(p, &p.Domains[i], nil))
		f.Add(command)
		f.Add(append([]byte{2, 0x71, 0}, response...))
	}
	f.Add([]byte{0x80, 0xC2, 0, 0, 2, 0xD1, 0})
	s := ota.New(p, &p.Domains[0], nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ota.Explain(b, p)
		require.Equal(t, err == nil, len(l) > 0)
		_, _ = s.Check(b)
	})
}
