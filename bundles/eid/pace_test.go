package eid_test

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/pace"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// document is a card with a travel document alone; access is what its persona has beside
// document and holder. They are those of the worked examples of Doc 9303-11 appendix G.
func document(t testing.TB, access ...string) *sdktest.Card {
	c := sdktest.New(t, func() sdk.App { return eid.New() })
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	lines := append([]string{
		"seed: sspemu eID test\nmrtd:",
		`document: {format: td3, state: UTO, number: T22000129, issued: "20001101", expires: "20101031"}`,
		`holder: {surname: Eriksson, given_names: Anna Maria, nationality: UTO, sex: F, birth: "19640812"}`,
	}, access...)
	require.NoError(t, c.PersonaliseYAML([]byte(strings.Join(lines, "\n  ")+"\n"), schema))
	return c
}

// less is a private key as the card makes it of randomness, which is one less.
func less(private string, n int) []byte {
	k, _ := new(big.Int).SetString(private, 16)
	return k.Sub(k, big.NewInt(1)).FillBytes(make([]byte, n))
}

// TestWorkedExamples are those of Doc 9303-11 appendix G, the chip's side: what it answers
// with the random numbers of the document.
func TestWorkedExamples(t *testing.T) {
	for _, v := range []struct {
		name, pace string
		random     []byte
		dialogue   [][2]string // command, data of the answer
	}{
		{"G.1 ECDH", "ecdh-gm aes-128 brainpoolP256r1", slices.Concat(unhex(t, "3F00C4D39D153F2B2A214A078D899B22"),
			less("498FF49756F2DC1587840041839A85982BE7761D14715FB091EFA7BCE9058560", 40), less("107CF58696EF6155053340FD633392BA81909DF7B9706F226F32086C7AFF974A", 40)),
			[][2]string{
				{"0022C1A40F800A04007F00070202040202830101", ""},
				{"10860000027C0000", "7C12801095A3A016522EE98D01E76CB6B98B42C3"},
				{"10860000457C438141047ACF3EFC982EC45565A4B155129EFBC74650DCBFA6362D896FC70262E0C2CC5E544552DCB6725218799115B55C9BAA6D9F6BC3A9618E70C25AF71777A9C4922D00",
					"7C43824104824FBA91C9CBE26BEF53A0EBE7342A3BF178CEA9F45DE0B70AA601651FBA3F5730D8C879AAA9C9F73991E61B58F4D52EB87A0A0C709A49DC63719363CCD13C54"},
				{"10860000457C438341042DB7A64C0355044EC9DF190514C625CBA2CEA48754887122F3A5EF0D5EDD301C3556F3B3B186DF10B857B58F6A7EB80F20BA5DC7BE1D43D9BF850149FBB3646200",
					"7C438441049E880F842905B8B3181F7AF7CAA9F0EFB743847F44A306D2D28C1D9EC65DF6DB7764B22277A2EDDC3C265A9F018F9CB852E111B768B326904B59A0193776F094"},
				{"008600000C7C0A8508C2B0BD78D94BA86600", "7C0A86083ABB9674BCE93C08"},
			}},
		{"G.2 DH", "dh-gm aes-128 dh-1024-160", slices.Concat(unhex(t, "FA5B7E3E49753A0DB9178B7B9BD898C8"),
			less("66DDAFEAC1609CB5B963BB0CB3FF8B3E047F336C", 28), less("A5B780126B7C980E9FCEA1D4539DA1D27C342DFA", 28)),
			[][2]string{
				{"0022C1A40F800A04007F00070202040102830101", ""},
				{"10860000027C0000", "7C128010854D8DF5827FA6852D1A4FA701CDDDCA"},
				{"10860000867C81838181 8023FB3749EA030D2A25B278D2A562047ADE3F01B74F17A15402CB7352CA7D2B3EB71C343DB13D1DEBCE9A3666DBCFC920B49174A602CB47965CAA73DC702489A44D41DB914DE9613DC5E98C94160551C0DF86274B9359BC0490D01B03AD54022DCB4F57FAD6322497D7A1E28D46710F461AFE710FBBBC5F8BA166F4311975EC6C00",
					"7C818382818078879F57225AA8080D52ED0FC890A4B25336F699AA89A2D3A189654AF70729E623EA5738B26381E4DA19E004706FACE7B235C2DBF2F38748312F3C98C2DD4882A41947B324AA1259AC22579DB93F7085655AF30889DBB845D9E6783FE42C9F2449400306254C8AE8EE9DD812A804C0B66E8CAFC14F84D8258950A91B44126EE6"},
				{"10860000867C81838381 80907D89E2D425A178AA81AF4A7774EC8E388C115CAE67031E85EECE520BD911551B9AE4D04369F29A02626C86FBC6747CC7BC352645B6161A2A42D44EDA80A08FA8D61B76D3A154AD8A5A51786B0BC07147057871A922212C5F67F431731722 36B7747D1671E6D692A3C7D40A0C3C5CE397545D015C175EB5130551EDBC2EE5D400",
					"7C8183848180075693D9AE941877573E634B6E644F8E60AF17A0076B8B123D9201074D36152BD8B3A213F53820C42ADC79AB5D0AEEC3AEFB91394DA476BD97B9B14D0A65C1FC71A0E019CB08AF55E1F729005FBA7E3FA5DC41899238A250767A6D46DB974064386CD456743585F8E5D90CC8B4004B1F6D866C79CE0584E49687FF61BC29AEA1"},
				{"008600000C7C0A8508B46DD9BD4D98381F00", "7C0A8608917F37B5C0E6D8D1"},
			}},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := document(t, "pace: ["+v.pace+"]")
			c.UseRandom(bytes.NewReader(v.random))
			for _, d := range v.dialogue {
				require.Equal(t, d[1], fmt.Sprintf("%X", send(t, c, d[0], "9000")), d[0])
			}
		})
	}
}

// TestIntegratedGroup is the generator of Doc 9303-11 appendix H.2.
func TestIntegratedGroup(t *testing.T) {
	g, _ := pace.GroupByID(0)
	got, err := g.Integrated(rsakey.ModExp, sm.AES128, unhex(t, "FA5B7E3E49753A0DB9178B7B9BD898C8"), unhex(t, "B3A6DB3C870C3E99245E0D1C06B747DE"))
	require.NoError(t, err)
	require.Equal(t, "1D7D767F11E333BCD6DBAEF40E799E7A926B96973550656FF3C830726D118D61C276CDCC61D475CF03A98E0C0E79CAEBA5BE25578BD4551D0B10903236F0B0F976852FA78EEA14EA0ACA87D1E91F688FE0DFF897BBE35A472621D343564B262F34223AE8FC59B664BFEDFA2BFE7516CA5510A6BBB633D517EC25D4E0BBAA16C2", fmt.Sprintf("%X", got))
}

// TestGroups: the numbers of RFC 5114 are those of a group, and nothing outside of it is a
// public key.
func TestGroups(t *testing.T) {
	for id, bits := range [][2]int{{1024, 160}, {2048, 224}, {2048, 256}} {
		g, ok := pace.GroupByID(id)
		require.True(t, ok)
		p, q := new(big.Int).SetBytes(g.P), new(big.Int).SetBytes(g.Q)
		require.Equal(t, bits, [2]int{p.BitLen(), q.BitLen()})
		require.True(t, p.ProbablyPrime(20) && q.ProbablyPrime(20))
		require.NoError(t, g.Check(rsakey.ModExp, g.G))
		n := len(g.P)
		for _, bad := range [][]byte{nil, make([]byte, n), big.NewInt(1).FillBytes(make([]byte, n)), big.NewInt(2).FillBytes(make([]byte, n)), g.P, new(big.Int).Sub(p, big.NewInt(1)).Bytes(), g.G[1:]} {
			require.Error(t, g.Check(rsakey.ModExp, bad))
		}
	}
	_, ok := pace.GroupByID(3)
	require.False(t, ok)
}

// door is where a terminal sends plain commands: in plain, or through a session.
type door func(command string) []byte

func plain(t testing.TB, c *sdktest.Card) door {
	return func(s string) []byte { return c.Send(unhex(t, s)) }
}

func through(t testing.TB, c *sdktest.Card, s *sm.Session) door {
	return func(command string) []byte { return unhex(t, exchange(t, c, s, command)) }
}

// gate is a terminal's PACE, generic mapping on P-256 with AES-128, written down once
// more. It gives the status word that the chip ended with.
func gate(t testing.TB, do door, ref byte, password string) (*sm.Session, string) {
	curve, oid := ec.P256, unhex(t, "04007F00070202040202")
	status := func(r []byte) string { return fmt.Sprintf("%X", r[len(r)-2:]) }
	sw := status(do(fmt.Sprintf("0022C1A40F800A%X8301%02X", oid, ref)))
	if sw != "9000" && sw[:3] != "63C" {
		return nil, sw
	}
	last := sw
	step := func(cla byte, tag tlv.Tag, v []byte) []byte {
		in := tlv.Append(nil, tag, v...)
		if tag == 0 {
			in = nil
		}
		cmd := apdu.Command{CLA: cla, INS: 0x86, Data: tlv.Append(nil, 0x7C, in...), Ne: 256}
		r := do(fmt.Sprintf("%X", cmd.Append(nil)))
		if last = status(r); last != "9000" {
			return nil
		}
		data, err := tlv.Find(r[:len(r)-2], 0x7C)
		require.NoError(t, err)
		return data
	}
	find := func(b []byte, tag tlv.Tag) []byte {
		v, err := tlv.Find(b, tag)
		require.NoError(t, err)
		return v
	}
	z := step(0x10, 0, nil)
	if z == nil {
		return nil, last
	}
	nonce, err := pace.CBC(sm.AES128, sm.KDF(sm.AES128, []byte(password), 3, nil), nil, find(z, 0x80), true)
	require.NoError(t, err)
	k1, k2 := curve.Scalar([]byte("mapping key of the terminal, at length....")), curve.Scalar([]byte("ephemeral key of the terminal, at length.."))
	point := func(p ec.Point, err error) ec.Point { require.NoError(t, err); return p }
	peer := point(curve.Parse(find(step(0x10, 0x81, point(curve.Base(k1)).Bytes()), 0x82)))
	g := point(curve.Add(point(curve.Base(nonce)), point(curve.Mult(peer, k1))))
	own := point(curve.Mult(g, k2))
	theirs := point(curve.Parse(find(step(0x10, 0x83, own.Bytes()), 0x84)))
	k, err := curve.SharedSecret(k2, theirs)
	require.NoError(t, err)
	kenc, kmac := sm.KDF(sm.AES128, k, 1, nil), sm.KDF(sm.AES128, k, 2, nil)
	answer := step(0, 0x85, pace.Token(sm.AES128, kmac, oid, theirs))
	if answer == nil {
		return nil, last
	}
	require.Equal(t, pace.Token(sm.AES128, kmac, oid, own), find(answer, 0x86))
	return sm.New(sm.AES128, kenc, kmac, nil), last
}

// TestPIN: tries count down, the last one wants the CAN before it, and then it is blocked;
// the CAN never is. A power cut gives no try back.
func TestPIN(t *testing.T) {
	c := document(t, `can: "123456"`, `pin: {value: "4711", tries: 3}`, "pace: [ecdh-gm aes-128 P-256]")
	try := func(ref byte, password string) string {
		c.Reset()
		_, sw := gate(t, plain(t, c), ref, password)
		return sw
	}
	require.Equal(t, "9000", try(3, "4711"))
	require.Equal(t, "63C2", try(3, "0000"))
	require.Equal(t, "9000", try(3, "4711"))
	require.Equal(t, "63C2", try(3, "0000"))
	require.Equal(t, "63C1", try(3, "0000"))
	require.Equal(t, "6985", try(3, "4711"), "suspended")
	for range 5 {
		require.Equal(t, "6300", try(2, "654321"))
	}
	c.PowerOn()
	require.Equal(t, "6985", try(3, "4711"))

	c.Reset()
	s, sw := gate(t, plain(t, c), 2, "123456")
	require.Equal(t, "9000", sw)
	inner, sw := gate(t, through(t, c, s), 3, "4711")
	require.Equal(t, "9000", sw, "resumed")
	require.Equal(t, "9000", exchange(t, c, inner, "00A4020C02011C"), "the new session")
	require.Equal(t, "9000", try(3, "4711"))

	for range 2 {
		try(3, "0000")
	}
	c.Reset()
	s, _ = gate(t, plain(t, c), 2, "123456")
	_, sw = gate(t, through(t, c, s), 3, "0000")
	require.Equal(t, "63C0", sw)
	require.Equal(t, "6983", try(3, "4711"))
	require.Equal(t, "9000", try(2, "123456"))
}

// TestTryIsTorn: the power goes off when the token of a wrong PIN comes. The try is gone.
func TestTryIsTorn(t *testing.T) {
	c := document(t, `pin: {value: "4711", tries: 3}`, "pace: [ecdh-gm aes-128 P-256]")
	for _, want := range []string{"63C2", "63C1"} {
		_, sw := gate(t, func(s string) []byte {
			if b := unhex(t, s); s[:2] != "00" || b[1] != 0x86 {
				return c.Send(b)
			}
			c.CutPowerDuring(unhex(t, s))
			return []byte{0x6F, 0x00}
		}, 3, "0000")
		require.Equal(t, "6F00", sw)
		send(t, c, "0022C1A40F800A04007F00070202040202830103", want)
	}
}

// TestGroupsEachWay: PACE with groups, both mappings, wrong keys.
func TestGroupsEachWay(t *testing.T) {
	c := document(t, "pace: [dh-gm 3des dh-2048-224, dh-im aes-256 dh-2048-256]")
	one := fmt.Sprintf("%X", big.NewInt(1).FillBytes(make([]byte, 256)))
	send(t, c, "0022C1A40F800A04007F00070202040101830101", "9000")
	require.Len(t, send(t, c, "10860000027C0000", "9000"), 20)
	send(t, c, "10860000 000108 7C820104 81820100"+one+"0000", "6A80")
	send(t, c, "10860000027C0000", "6985")
	send(t, c, "0022C1A40F800A04007F00070202040304830101", "9000")
	require.Len(t, send(t, c, "10860000027C0000", "9000"), 36)
	send(t, c, "10860000047C028100", "6A80")
	send(t, c, "0022C1A40F800A04007F00070202040304830101", "9000")
	nonce := send(t, c, "10860000027C0000", "9000")[4:]
	mrz := "7E2D2A41C74EA0B38CD36F863939BFA8E9032AAD" // SHA-1 of the MRZ, appendix G.1
	s, err := pace.CBC(sm.AES256, sm.KDF(sm.AES256, unhex(t, mrz), 3, nil), nil, nonce, true)
	require.NoError(t, err)
	tt := bytes.Repeat([]byte{0x5A}, 32)
	require.Equal(t, unhex(t, "7C028200"), send(t, c, fmt.Sprintf("10860000247C228120%X00", tt), "9000"))
	g, _ := pace.GroupByID(2)
	gen, err := g.Integrated(rsakey.ModExp, sm.AES256, s, tt)
	require.NoError(t, err)
	k := g.Scalar(bytes.Repeat([]byte{7}, 40))
	own, err := g.Power(rsakey.ModExp, gen, k)
	require.NoError(t, err)
	answer := send(t, c, fmt.Sprintf("10860000 000108 7C820104 83820100%X0000", own), "9000")
	theirs := answer[8:]
	shared, err := g.Power(rsakey.ModExp, theirs, k)
	require.NoError(t, err)
	kenc, kmac, oid := sm.KDF(sm.AES256, shared, 1, nil), sm.KDF(sm.AES256, shared, 2, nil), unhex(t, "04007F00070202040304")
	answer = send(t, c, fmt.Sprintf("008600000C7C0A8508%X00", pace.TokenDH(sm.AES256, kmac, oid, theirs)), "9000")
	require.Equal(t, pace.TokenDH(sm.AES256, kmac, oid, own), answer[4:])
	require.Equal(t, "9000", exchange(t, c, sm.New(sm.AES256, kenc, kmac, nil), "00A4020C02011C"))
}

// TestOtherDocuments are read by the inspection side: RSA active authentication, chip
// authentication with 3DES, no access control at all, and all at once.
func TestOtherDocuments(t *testing.T) {
	for _, v := range [][]string{
		{"pace: [ecdh-gm aes-192 brainpoolP512r1]", "bac: false", "active_authentication: rsa 1280 sha-1"},
		{"chip_authentication: [3des P-256]", "active_authentication: rsa 1024 sha-256"},
		{"pace: [ecdh-cam aes-256 P-521]", "chip_authentication: [aes-192 P-521]", "active_authentication: ecdsa brainpoolP384r1 sha-384"},
		{"bac: false"},
	} {
		t.Run(strings.Join(v, ", "), func(t *testing.T) {
			config := mrtd.Config{}
			require.NoError(t, config.Passwords.FromFields("T22000129", "640812", "101031"))
			r := &inspect.Report{Date: today().AddDate(-20, 0, 0)}
			require.NoError(t, mrtd.Inspect(context.Background(), native{document(t, v...)}, config, r))
			var b bytes.Buffer
			require.NoError(t, r.Text(&b))
			require.True(t, r.OK(), b.String())
		})
	}
}

// TestLongFile: a file of more than 64 KiB in parts: short, extended, behind 32 KiB.
func TestLongFile(t *testing.T) {
	c := document(t, "bac: false", "groups: {dg2: {padding: 60000}}")
	send(t, c, selectMRTD, "9000")
	head := send(t, c, "00B0820006", "9000") // 75 83 length
	require.Equal(t, []byte{0x75, 0x83}, head[:2])
	size := 5 + int(head[2])<<16 + int(head[3])<<8 + int(head[4])
	require.Greater(t, size, 65536)
	send(t, c, "00A4020C020102", "9000")
	at := 0
	for {
		part := c.Send(unhex(t, fmt.Sprintf("00B10000055403%06X00", at)))
		if sw := part[len(part)-2:]; !bytes.Equal(sw, []byte{0x90, 0}) {
			require.Equal(t, []byte{0x6B, 0}, sw)
			break
		}
		v, err := tlv.Find(part[:len(part)-2], 0x53)
		require.NoError(t, err)
		at += len(v)
	}
	require.Equal(t, size, at)
	require.Len(t, send(t, c, "00B000000000FF", "9000"), 255)
	require.Greater(t, len(send(t, c, "00B00000000000", "9000")), 65000)
	require.Len(t, send(t, c, "00B07FFF00", "9000"), 256)
	end := fmt.Sprintf("00B10000 000005 5403%06X", size-4)
	require.Len(t, send(t, c, end+"0000", "9000"), 2+4)
	require.Len(t, send(t, c, end+"0040", "6282"), 2+4)
	send(t, c, fmt.Sprintf("00B10000055403%06X00", size), "6B00")
	send(t, c, "00B10000075405010000000000", "6A80")
	send(t, c, "00B10000045402000002", "6700")
	send(t, c, "00B1001F04540200000A", "6A86")
	require.Len(t, send(t, c, "00B1000204540200000A", "9000"), 10)
}
