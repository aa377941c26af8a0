package payment

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
)

// newCard is a card of the default persona with some text of it replaced.
func newCard(t testing.TB, replace ...string) *sdktest.Card {
	t.Helper()
	card := sdktest.New(t, func() sdk.App { return New() })
	require.NoError(t, personalise(t, card, replace...))
	return card
}

func personalise(t testing.TB, card *sdktest.Card, replace ...string) error {
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(yaml), replace[i])
	}
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	return card.PersonaliseYAML([]byte(strings.NewReplacer(replace...).Replace(string(yaml))), schema)
}

// TestStates: docs/payment.md shows the table of commands as it is in the code.
func TestStates(t *testing.T) {
	var b strings.Builder
	fmt.Fprintln(&b, "| command | CLA INS | directory | SELECTED | INITIATED | ONLINE | SCRIPT |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|")
	for _, d := range commands {
		if d.ins == insSelect {
			continue
		}
		fmt.Fprintf(&b, "| %s | %02X %02X |", apdu.INSName(d.class, d.ins), d.class, d.ins)
		for _, p := range []phase{directory, selected, initiated, online, script} {
			if d.allowed.has(p) {
				fmt.Fprint(&b, " yes |")
			} else {
				fmt.Fprint(&b, " 6985 |")
			}
		}
		fmt.Fprintln(&b)
	}
	doc, err := os.ReadFile("../../docs/payment.md")
	require.NoError(t, err)
	require.Contains(t, string(doc), b.String())
}

// TestWrongOrder: in a state where it does not belong, every command gets 6985 and
// changes nothing.
func TestWrongOrder(t *testing.T) {
	to := map[phase][]string{
		idle:      nil,
		directory: {"00A404000E315041592E5359532E4444463031"},
		selected:  {"00A4040007F0535350450101"},
		initiated: {"00A4040007F0535350450101", "80A8000006830402760978"},
		online:    {"00A4040007F0535350450101", "80A8000006830402760978", firstAC},
		script:    {"00A4040007F0535350450101", "80A8000006830402760978", firstAC, secondAC},
	}
	for p, commandsTo := range to {
		card := newCard(t)
		for _, c := range commandsTo {
			require.True(t, strings.HasSuffix(card.Transmit(c), "9000"), c)
		}
		before := card.NVM()
		for _, d := range commands {
			if d.allowed.has(p) || d.ins == insSelect {
				continue
			}
			p2 := byte(0)
			if d.p2 != "" {
				p2 = d.p2[0]
			}
			p1 := byte(0)
			if d.p1 != "" {
				p1 = d.p1[0]
			}
			require.Equal(t, "6985", card.Transmit(fmt.Sprintf("%02X%02X%02X%02X0100", d.class, d.ins, p1, p2)), "%s in phase %d", apdu.INSName(d.class, d.ins), p)
		}
		require.Equal(t, before, card.NVM())
	}
}

const (
	firstAC  = "80AE800021" + "000000001000" + "000000000000" + "0276" + "0000008000" + "0978" + "261123" + "00" + "11223344" + "22" + "1F0002"
	secondAC = "80AE400015" + "00000000000000000000" + "5933" + "0000008000" + "11223344"
)

// TestClasses: what is no command of the card.
func TestClasses(t *testing.T) {
	card := newCard(t)
	for c, want := range map[string]string{
		"0070000001":             "6D00", // MANAGE CHANNEL
		"80F2000000":             "6D00",
		"00A8000002830000":       "6E00", // another class has it
		"80B2010C00":             "6E00",
		"0120000000":             "6881", // channel 1
		"81A8000002830000":       "6881",
		"20A4040000":             "6E00",
		"C0A8000002830000":       "6E00",
		"0CA40400":               "6E00", // secure messaging of ISO/IEC 7816-4
		"00A4000000":             "6A86",
		"00A404000400000000":     "6A82",
		"00A4040C05F053535045":   "6A86",
		"00A4040005A000000003":   "6A82",
		"00A4040205F053535045":   "6A82", // the next one of nothing
		"00A404000E315041592E53": "6700", // the platform's: shorter than Lc
	} {
		require.Equal(t, want, card.Transmit(c), c)
	}
}

// TestPersonaErrors: what a persona says is checked, and the place is named.
func TestPersonaErrors(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`pan: "9999990000000014"`, `pan: "9999990000000015"`, "/applications/0/pan: has a wrong check digit (ISO/IEC 7812-1 annex B)"},
		{`aid: "F0535350450101"`, `aid: "F0535350460101"`, "/applications/0/icc/issuer: has an authority of another RID than the application"},
		{`aid: "F0535350450201"`, `aid: "F0535350450101"`, "/applications/1/aid: is that of another application"},
		{"icc: {issuer: test bank, bits: 1408", "icc: {issuer: test bank, bits: 1416", "/applications/0/icc/bits: is more than the 1408 of the issuer (EMV Book 2 annex D1)"},
		{"icc: {issuer: test bank", "icc: {issuer: no bank", "/applications/0/icc/issuer: is not the name of an issuer"},
		{`identifier: "999999", serial: "000001", expires: "1235", bits: 1408`, `identifier: "999999", serial: "000001", expires: "1235", bits: 1984`, "/applications/0/records/6: is 255 bytes; a record has 254 at most (EMV Book 3 6.5.11)"},
		{"tags: [8F, 9F32, \"92\"]}\n      - {sfi: 3, record: 2, tags: [\"90\"]}\n      - {sfi: 3, record: 3, on: contact, tags: [\"93\"]}\n      - {sfi: 4, record: 1, tags: [9F46]}", "tags: [8F, DF01, \"92\"]}\n      - {sfi: 3, record: 2, tags: [\"90\"]}\n      - {sfi: 3, record: 3, on: contact, tags: [\"93\"]}\n      - {sfi: 4, record: 1, tags: [9F46]}", "/applications/0/records/3: has tag DF01, which the application does not have"},
		{"cdol1: 9F02 06 9F03 06 9F1A 02 95 05 5F2A 02 9A 03 9C 01 9F37 04 9F35 01 9F34 03", "cdol1: 9F02", "/applications/0/cdol1: is not a data object list: emv: a data object list is tags with one byte of length each (Book 3 5.4)"},
		{"- {if: pin-try-limit-exceeded, then: decline-if-offline}", "- {if: pin-try-limit-exceeded, limit: 3, then: decline-if-offline}", "/applications/0/risk/0: limit belongs to the conditions that end in above, and they need it"},
		{"{sfi: 1, record: 1, tags: [\"57\", 5F20]}\n      - {sfi: 2", "{sfi: 5, record: 1, tags: [\"57\", 5F20]}\n      - {sfi: 2", "/applications/0/records: are not in the order of their files"},
		{"log: {sfi: 11, records: 10, format: 9A 03 9C 01", "log: {sfi: 11, records: 10, format: 9A FF 9C 01", "/applications/0/log/format: makes records of more than 250 bytes"},
	} {
		card := sdktest.New(t, func() sdk.App { return New() })
		err := personalise(t, card, c.from, c.to)
		require.EqualError(t, err, c.want)
	}
}
