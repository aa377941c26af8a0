package telecom

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// newCard is a card with the default persona, or with one of testdata.
func newCard(t testing.TB, persona string) *sdktest.Card {
	c := sdktest.New(t, func() sdk.App { return New() })
	require.NoError(t, c.PersonaliseFiles(persona, "persona.schema.json"))
	return c
}

// TestDialogues plays testdata/dialogues, each file on a fresh card.
//
//	# comment
//	persona FILE     of testdata, at the beginning; else the default persona
//	> command        hexadecimal; spaces do not matter; ~ at the end: FF up to Lc
//	< answer         with status word; X: any digit, *: any number of bytes
//	! reset, ! power
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			play(t, f, string(text))
		})
	}
}

func play(t *testing.T, file, text string) {
	persona, sent := "persona.yaml", ""
	var card *sdktest.Card
	for n, line := range strings.Split(text, "\n") {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "persona" {
			persona = "testdata/" + rest
			continue
		}
		if word == "" || word == "#" {
			continue
		}
		if card == nil {
			card = newCard(t, persona)
		}
		switch {
		case word == ">":
			sent = filledUp(t, rest)
		case word == "<":
			got := card.Transmit(sent)
			require.Truef(t, matches(rest, got), "%s:%d: %s\n got %s\nwant %s", file, n+1, sent, got, rest)
		case line == "! reset":
			card.Reset()
		case line == "! power":
			card.PowerOn()
		default:
			t.Fatalf("%s:%d: %q is no line of a dialogue", file, n+1, line)
		}
	}
}

// filledUp puts as many FF as Lc asks for in the place of ~.
func filledUp(t *testing.T, command string) string {
	data, tilde := strings.CutSuffix(strings.ReplaceAll(command, " ", ""), "~")
	if !tilde {
		return command
	}
	lc, err := strconv.ParseUint(data[8:10], 16, 8)
	require.NoError(t, err)
	return data + strings.Repeat("FF", int(lc)-(len(data)-10)/2)
}

// matches compares an answer with its pattern.
func matches(pattern, got string) bool {
	p := strings.NewReplacer(" ", "", "X", ".", "*", "(..)*").Replace(pattern)
	return regexp.MustCompile("^" + p + "$").MatchString(got)
}
