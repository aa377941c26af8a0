package example_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/example"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

const (
	selectApp = "00A4040008F0535350454D5501"
	fci       = "6F1A8408F0535350454D5501500E737370656D75206578616D706C65" + "9000"
)

func newCard(t testing.TB) *sdktest.Card {
	card := sdktest.New(t, func() sdk.App { return example.New() })
	require.NoError(t, card.PersonaliseFiles("persona.yaml", "persona.schema.json"))
	return card
}

// play sends lines of "command > answer".
func play(t testing.TB, card *sdktest.Card, script string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
		cmd, want, _ := strings.Cut(strings.ReplaceAll(line, " ", ""), ">")
		require.Equal(t, strings.TrimSpace(want), card.Transmit(strings.TrimSpace(cmd)), line)
	}
}

func TestCounter(t *testing.T) {
	card := newCard(t)
	play(t, card, `
		80 12 0000 04 > 6985
		`+selectApp+` > `+fci+`
		80 12 0000 04 > 00000029 9000
		80 10 0000 04 > 0000002A 9000
		80 14 0000 > 6982
		00 20 0001 04 31323334 > 9000
		80 14 0000 > 9000
		80 12 0000 04 > 00000000 9000
		80 FE 0000 > 6D00
		90 10 0000 > 6E00`)
	require.Equal(t, []sdktest.Event{{Name: "counter.cleared"}}, card.Events)
	card.PowerOn()
	play(t, card, "80 12 0000 04 > 6985\n"+selectApp+" > "+fci+"\n80 14 0000 > 6982\n80 10 0000 04 > 00000001 9000")
}

func TestPIN(t *testing.T) {
	card := newCard(t)
	play(t, card, selectApp+" > "+fci+`
		00 20 0001 > 63C3
		00 20 0001 04 39393939 > 63C2
		00 20 0001 04 31323334 > 9000
		00 20 0001 > 9000
		00 20 0001 05 3132333430 > 63C2
		00 20 0001 04 39393939 > 63C1
		00 20 0001 04 39393939 > 63C0
		00 20 0001 04 31323334 > 6983
		00 20 0001 > 6983
		00 20 0002 > 6A88`)
	require.Equal(t, []sdktest.Event{{Name: "pin.blocked"}}, card.Events)
}

func TestPINIsPerChannel(t *testing.T) {
	play(t, newCard(t), selectApp+" > "+fci+`
		00 70 0000 01 > 01 9000
		01 A4 0400 08 F0535350454D5501 > `+fci+`
		00 20 0001 04 31323334 > 9000
		81 14 0000 > 6982
		80 14 0000 > 9000
		00 70 0013 > 9000
		4F A4 0400 08 F0535350454D5501 > `+fci+`
		CF 12 0000 04 > 00000000 9000`)
}

func TestPINTryIsCountedBeforeTheComparison(t *testing.T) {
	card := newCard(t)
	for _, pin := range []string{"31323334", "39393939"} {
		play(t, card, selectApp+" > "+fci)
		b, err := hex.DecodeString("0020000104" + pin)
		require.NoError(t, err)
		card.CutPowerDuring(b)
	}
	play(t, card, selectApp+" > "+fci+"\n00 20 0001 > 63C1")
}

func TestLater(t *testing.T) {
	card := newCard(t)
	play(t, card, selectApp+" > "+fci+"\n80 16 0002 > 9000")
	card.Advance(1999 * time.Millisecond)
	require.Empty(t, card.Events)
	card.Advance(time.Millisecond)
	require.Equal(t, []sdktest.Event{{Name: "counter.later"}}, card.Events)
	play(t, card, "80 12 0000 04 > 0000002A 9000\n80 16 0001 > 9000")
	card.Reset()
	card.Advance(time.Hour)
	require.Len(t, card.Events, 1, "a reset stops the timer")
}

func TestRandom(t *testing.T) {
	card := newCard(t)
	play(t, card, selectApp+" > "+fci+"\n00 84 0000 > 6700")
	a, b := card.Transmit("00 84 0000 08"), card.Transmit("00 84 0000 08")
	require.Len(t, a, 20)
	require.NotEqual(t, a, b)
}

func TestCounterEnds(t *testing.T) {
	card := sdktest.New(t, func() sdk.App { return example.New() })
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	require.NoError(t, card.PersonaliseYAML([]byte("{label: x, counter: 4294967295, pin: {value: '0000', tries: 1}}"), schema))
	play(t, card, selectApp+" > 6F0D8408F0535350454D5501500178 9000\n80 10 0000 04 > 6985")
}

func TestPersonaRefused(t *testing.T) {
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	for yaml, want := range map[string]string{
		"{label: ééééééééééééééééé, pin: {value: '0000', tries: 1}}": "/label: is longer than 32 bytes",
		"{label: x,\n pin: {value: 1234, tries: 1}}":                 "persona:2: /pin/value: is a number; a text is needed (put it in quotes): 4 to 8 digits",
		"{label: x, pin: {value: '1234', tries: 16}}":                "persona:1: /pin/tries: maximum: got 16, want 15: wrong PINs in a row until it blocks",
	} {
		card := sdktest.New(t, func() sdk.App { return example.New() })
		require.EqualError(t, card.PersonaliseYAML([]byte(yaml), schema), want)
		require.Empty(t, card.NVM())
	}
}
