package telecom

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/bundles/telecom/milenage"
	"github.com/sspemu/sspemu/bundles/telecom/milenage/vectors"
)

// akaApp is a bundle that does nothing but AUTHENTICATE.
type akaApp struct {
	aka
	state *akaState
}

func (a *akaApp) Personalise(d *sdk.Doc) error { return personaliseAKA(d) }
func (a *akaApp) Init(sdk.Reason) error        { return a.load() }
func (a *akaApp) Signal(sdk.Signal)            {}
func (a *akaApp) APDU(c *sdk.Command, r *sdk.Response) sdk.SW {
	return a.authenticate(c, r, *a.state)
}

// newAKA is a card with the persona and every condition met.
func newAKA(t *testing.T, persona string) (*sdktest.Card, *akaState) {
	s := &akaState{usim: true, verified: true, gsmAccess: true, gsmContext: true}
	c := sdktest.New(t, func() sdk.App { return &akaApp{state: s} })
	require.NoError(t, c.PersonaliseYAML([]byte(persona), nil))
	return c, s
}

func up(b ...[]byte) string {
	s := ""
	for _, p := range b {
		s += hex.EncodeToString(p)
	}
	return strings.ToUpper(s)
}

// autn is what the network of a set sends.
func autn(s vectors.Set) []byte {
	b := make([]byte, 6)
	for i, v := range s.Get("sqn") {
		b[i] = v ^ s.Get("f5")[i]
	}
	return append(append(b, s.Get("amf")...), s.Get("f1")...)
}

// TestAuthenticateKnownAnswers plays every test set of TS 35.207 and TS 35.208,
// once with OP and once with OPc, in both contexts.
func TestAuthenticateKnownAnswers(t *testing.T) {
	for _, standard := range []string{"TS 35.207", "TS 35.208"} {
		sets, err := vectors.All(standard)
		require.NoError(t, err)
		for i, s := range sets {
			t.Run(fmt.Sprintf("%s set %d", standard, s.Number), func(t *testing.T) {
				variant := "op"
				if i%2 == 1 {
					variant = "opc"
				}
				c, _ := newAKA(t, fmt.Sprintf("k: %q\n%s: %q\nsqn: {delta: 0}\n", up(s.Get("k")), variant, up(s.Get(variant))))
				keys := "DB08" + up(s.Get("f2")) + "10" + up(s.Get("f3")) + "10" + up(s.Get("f4")) + "08"
				if s.GSM() > 0 {
					keys += up(s.Get("kc")) + "9000"
					require.Equal(t, "04"+up(s.Get("sres"))+"08"+up(s.Get("kc"))+"9000", c.Transmit("0088008011 10"+up(s.Get("rand"))+"00"))
				}
				got := c.Transmit("0088008122 10" + up(s.Get("rand")) + "10" + up(autn(s)) + "00")
				require.Equal(t, keys, got[:len(keys)])
				got = c.Transmit("0088008122 10" + up(s.Get("rand")) + "10" + up(autn(s)) + "00")
				require.Equal(t, "DC0E", got[:4], "the same vector again is not fresh")
				auts, err := hex.DecodeString(got[4 : 4+28])
				require.NoError(t, err)
				for i, ak := range s.Get("f5*") {
					auts[i] ^= ak
				}
				require.Equal(t, up(s.Get("sqn")), up(auts[:6]), "SQNMS is the sequence number accepted")
			})
		}
	}
}

const akaPersona = "k: 465B5CE8B199B49FAA5F0A2EE238A6BC\nopc: CD63CB71954A9F4E48A5994E37A02BAF\namf: B9B9\nsqn: {ind_bits: 5, delta: 268435456, initial: '000000000040'}\n"

// challenge is RAND and AUTN of the network of akaPersona for a sequence number.
func challenge(t *testing.T, sqn milenage.SQN) string {
	k, err := hex.DecodeString("465B5CE8B199B49FAA5F0A2EE238A6BC")
	require.NoError(t, err)
	opc, err := hex.DecodeString("CD63CB71954A9F4E48A5994E37A02BAF")
	require.NoError(t, err)
	m := milenage.New((*[16]byte)(k), (*[16]byte)(opc), milenage.Default)
	var rand [16]byte
	rand[0] = byte(sqn)
	_, _, _, ak := m.F2345(&rand)
	mac, _ := m.F1(&rand, sqn, [2]byte{0xB9, 0xB9})
	b := sqn.Bytes()
	for i := range ak {
		b[i] ^= ak[i]
	}
	return "0088008122 10" + up(rand[:]) + "10" + up(b[:], []byte{0xB9, 0xB9}, mac[:]) + "00"
}

func TestAuthenticateStatusWords(t *testing.T) {
	good := challenge(t, 0x60)
	gsm := "0088008011 10" + strings.Repeat("00", 16) + "00"
	for _, c := range []struct {
		name, capdu string
		change      func(*akaState)
		sw          string
	}{
		{"3G context", good, nil, "9000"},
		{"GSM context", gsm, nil, "9000"},
		{"MAC wrong", good[:len(good)-4] + "FF00", nil, "9862"},
		{"P1 not zero", "0088018122" + good[10:], nil, "6A86"},
		{"VGCS/VBS context", "0088008222" + good[10:], nil, "6A86"},
		{"GBA context", "0088008422" + good[10:], nil, "6A86"},
		{"no specific key", "0088000022" + good[10:], nil, "6A86"},
		{"no data", "0088008100", nil, "6700"},
		{"RAND of 15 bytes", "0088008122 0F" + strings.ReplaceAll(good, " ", "")[12:], nil, "6700"},
		{"AUTN lacks", "0088008111 10" + strings.Repeat("00", 16), nil, "6700"},
		{"a byte too much", "0088008012 10" + strings.Repeat("00", 17), nil, "6700"},
		{"PIN not verified", good, func(s *akaState) { s.verified = false }, "6982"},
		{"GSM, PIN not verified", gsm, func(s *akaState) { s.verified = false }, "6982"},
		{"no USIM selected", good, func(s *akaState) { s.usim = false }, "6985"},
		{"no GSM context in this USIM", gsm, func(s *akaState) { s.gsmContext = false }, "9864"},
	} {
		t.Run(c.name, func(t *testing.T) {
			card, s := newAKA(t, akaPersona)
			if c.change != nil {
				c.change(s)
			}
			before := card.NVM()
			got := card.Transmit(c.capdu)
			require.Equal(t, c.sw, got[len(got)-4:])
			if c.sw != "9000" || c.capdu == gsm {
				require.Equal(t, before, card.NVM(), "nothing is stored")
			} else {
				require.NotEqual(t, before, card.NVM())
			}
		})
	}
}

// TestSequenceSurvives: a sequence number that was answered is never fresh
// again, whatever happens to the card; one whose answer did not leave still is.
func TestSequenceSurvives(t *testing.T) {
	card, s := newAKA(t, akaPersona)
	require.Equal(t, "DC", card.Transmit(challenge(t, 0x40))[:2], "the initial one counts as accepted")
	require.Equal(t, "DB", card.Transmit(challenge(t, 0x60))[:2])
	card.PowerOn()
	require.Equal(t, "DC", card.Transmit(challenge(t, 0x60))[:2])
	cut, err := hex.DecodeString(strings.ReplaceAll(challenge(t, 0x80), " ", ""))
	require.NoError(t, err)
	card.CutPowerDuring(cut)
	require.Equal(t, "DB", card.Transmit(challenge(t, 0x80))[:2])
	require.Equal(t, "DB", card.Transmit(challenge(t, 0x61))[:2], "older, in another entry of the array")
	s.gsmAccess = false
	got := card.Transmit(challenge(t, 0xA0))
	require.Len(t, got, 2*(1+1+8+1+16+1+16+2), "without service 27 there is no Kc")
}

func TestAKAPersonaRefused(t *testing.T) {
	for _, c := range []struct{ name, persona, pointer string }{
		{"no k", "opc: 00", "/k"},
		{"k too short", "k: 0011\nopc: '00000000000000000000000000000000'", "/k"},
		{"neither op nor opc", "k: '00000000000000000000000000000000'", "/opc"},
		{"both", "k: '00000000000000000000000000000000'\nop: '00000000000000000000000000000000'\nopc: '00000000000000000000000000000000'", "/op"},
		{"tuak", akaPersona + "algorithm: tuak", "/algorithm"},
		{"rotation of 128", akaPersona + "r: [64, 0, 32, 64, 128]", "/r/4"},
		{"four rotations", akaPersona + "r: [64, 0, 32, 64]", "/r"},
		{"constant too short", akaPersona + "c: ['00', '01', '02', '04', '08']", "/c/0"},
		{"IND of 9 bits", strings.Replace(akaPersona, "ind_bits: 5", "ind_bits: 9", 1), "/sqn/ind_bits"},
		{"AMF of one byte", strings.Replace(akaPersona, "B9B9", "B9", 1), "/amf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			card := sdktest.New(t, func() sdk.App { return &akaApp{state: new(akaState)} })
			err := card.PersonaliseYAML([]byte(c.persona), nil)
			var p *sdk.PersonaError
			require.ErrorAs(t, err, &p)
			require.Equal(t, c.pointer, p.Pointer)
		})
	}
}

func TestAuthenticateDoesNotAllocate(t *testing.T) {
	card, _ := newAKA(t, akaPersona)
	good, err := hex.DecodeString(strings.ReplaceAll(challenge(t, 0x40), " ", ""))
	require.NoError(t, err)
	b := card.Bundle()
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = b.Message(sdk.GateAPDU, 0, 0x10, good) }))
}
