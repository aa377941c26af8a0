package telecom

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// look asks the card over HTTP for its description.
func look(t testing.TB, card *sdktest.Card, accept string) []byte {
	t.Helper()
	p, err := card.Open(sdk.GateTCP, 1, 1<<20)
	require.NoError(t, err)
	p.Send([]byte("GET / HTTP/1.1\r\nHost: card\r\nAccept: " + accept + "\r\n\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Bytes())), nil)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	require.True(t, strings.HasPrefix(res.Header.Get("Content-Type"), accept))
	require.NoError(t, p.Close(0))
	return b
}

// TestFace: the description follows the card.
func TestFace(t *testing.T) {
	type state struct {
		Name       string
		Enabled    bool
		Verified   bool
		Blocked    bool
		Tries_left int
	}
	var d struct {
		Name, Title  string
		Standards    []string
		Persona      map[string]string
		Pins         []state
		Counters     map[string]int
		Applications []map[string]string
	}
	card := newCard(t, "persona.yaml")
	pins := func() []state {
		d.Pins = nil
		require.NoError(t, json.Unmarshal(look(t, card, "application/json"), &d))
		return d.Pins
	}
	require.Equal(t, []state{{"PIN1", true, false, false, 3}, {"ADM1", true, false, false, 10}, {"PIN2", true, false, false, 3}}, pins())
	require.Equal(t, map[string]string{"ICCID": "8900101000000000001", "IMSI": "00101**********", "service provider": "sspemu"}, d.Persona)
	require.Equal(t, []map[string]string{{"aid": "A0000000871002FF49FF05890000FF01", "label": "sspemu USIM"}}, d.Applications)
	require.Equal(t, 1, d.Counters["open logical channels"])
	require.Greater(t, d.Counters["files"], 20)

	var manifest struct {
		Name, Title string
		Standards   []string
	}
	b, err := os.ReadFile("bundle.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &manifest))
	require.Equal(t, manifest.Name, d.Name)
	require.Equal(t, manifest.Title, d.Title)
	require.Equal(t, manifest.Standards, d.Standards)

	for _, c := range []struct {
		command string
		want    state
	}{
		{"002000010831313131FFFFFFFF", state{"PIN1", true, false, false, 2}},
		{"002000010831323334FFFFFFFF", state{"PIN1", true, true, false, 3}},
		{"002600010831323334FFFFFFFF", state{"PIN1", false, true, false, 3}},
		{"002800010831313131FFFFFFFF", state{"PIN1", false, false, false, 2}},
		{"002800010831323334FFFFFFFF", state{"PIN1", true, true, false, 3}},
		{"002000010831313131FFFFFFFF", state{"PIN1", true, false, false, 2}},
		{"002000010831313131FFFFFFFF", state{"PIN1", true, false, false, 1}},
		{"002000010831313131FFFFFFFF", state{"PIN1", true, false, true, 0}},
		{"002C000110313233343536373834333231FFFFFFFF", state{"PIN1", true, true, false, 3}},
	} {
		card.Transmit(c.command)
		require.Equal(t, c.want, pins()[0], c.command)
	}
	card.Reset()
	require.False(t, pins()[0].Verified)
	require.Contains(t, string(look(t, card, "text/html")), "<h1>"+d.Title+"</h1>")
}

// TestFaceOfSeveralApplications: PINs of applications say whose they are; files
// that are deactivated or hold nothing are left out.
func TestFaceOfSeveralApplications(t *testing.T) {
	page := string(look(t, newCard(t, "testdata/small.yaml"), "application/json"))
	require.Contains(t, page, `"persona":{}`)
	require.Contains(t, page, `"name":"PIN2 of F00000000101"`)
	require.Contains(t, page, `"name":"UPIN"`)
}

func TestReferenceNames(t *testing.T) {
	for ref := range 256 {
		if back, ok := keyReference(referenceName(byte(ref))); ok {
			require.Equal(t, byte(ref), back)
		}
	}
}

// secretsOf is every secret of the card as it is now: K and OPc, sequence numbers,
// PINs, PUKs and administrative keys, the number of the subscriber.
func secretsOf(t *testing.T, card *sdktest.Card) (all [][]byte) {
	nvm := card.NVM()
	all = append(all, nvm[akaKey][offK:offOPc], nvm[akaKey][offOPc:offC])
	for sqn := range slices.Chunk(nvm[akaSQN], 6) {
		if !bytes.Equal(sqn, make([]byte, 6)) {
			all = append(all, sqn)
		}
	}
	for k, v := range nvm {
		if strings.HasPrefix(k, keyPIN) {
			all = append(all, v[pinValue:pukValue], v[pukValue:])
		}
	}
	imsi := []byte{0x09, 0x10, 0x10, 0x07, 0x00, 0x00, 0x00, 0x24} // 001017000000042
	require.True(t, slices.ContainsFunc(slices.Collect(maps.Values(nvm)), func(v []byte) bool { return bytes.HasSuffix(v, imsi) }))
	return append(all, imsi, []byte("7000000042"))
}

// forms is how a secret could be written.
func forms(secret []byte) (all []string) {
	for _, b := range [][]byte{secret, bytes.TrimRight(secret, "\xFF")} {
		if len(bytes.Trim(b, "\x00\xFF")) < 4 {
			continue // no secret: it is not set
		}
		n := new(big.Int).SetBytes(b)
		all = append(all, string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), n.String(),
			base64.RawStdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b))
	}
	return all
}

// TestFaceHidesSecrets looks for every secret of the card, in every form, in every
// description, in every state of the PINs.
func TestFaceHidesSecrets(t *testing.T) {
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	for old, other := range map[string]string{
		`value: "1234"`: `value: "7351"`, `puk: "12345678"`: `puk: "60718294"`, `value: "5678"`: `value: "24680"`,
		`puk: "87654321"`: `puk: "93572468"`, `key: "3838383838383838"`: `key: "4B65795F41444D31"`, `imsi: "001010000000001"`: `imsi: "001017000000042"`,
	} {
		require.Equal(t, 1, bytes.Count(yaml, []byte(old)), old)
		yaml = bytes.Replace(yaml, []byte(old), []byte(other), 1)
	}
	card := sdktest.New(t, func() sdk.App { return New() })
	require.NoError(t, card.PersonaliseYAML(yaml, schema))

	wrong := []string{"002000010830303030FFFFFFFF", "002000810830303030FFFFFFFF", "0020000A083030303030303030", "002C0001103030303030303030" + "30303030FFFFFFFF"}
	states := [][]string{
		{"80C2000000"},
		{"00A4040C07A0000000871002", "002000010837333531FFFFFFFF", "00200081083234363830FFFFFF", "0020000A084B65795F41444D31"},
		{"002600010837333531FFFFFFFF"},
		{"002800010837333531FFFFFFFF", "002400011037333531FFFFFFFF3833393132FFFFFF"}, // PIN1 is 83912 now
	}
	for range 10 {
		states = append(states, wrong)
	}
	found := 0
	for _, commands := range states {
		for _, c := range commands {
			card.Transmit(c)
		}
		for _, accept := range []string{"text/html", "application/json", "application/cbor"} {
			b := look(t, card, accept)
			for _, s := range secretsOf(t, card) {
				for _, f := range forms(s) {
					require.False(t, bytes.Contains(b, []byte(f)), "%s: %q", accept, f)
					found++
				}
			}
		}
	}
	require.Greater(t, found, 1000)
	require.Contains(t, string(look(t, card, "application/json")), `"name":"ADM1","enabled":true,"verified":false,"blocked":true`)
}
