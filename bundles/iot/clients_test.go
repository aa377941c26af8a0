package iot

import (
	"bufio"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClients: what public clients send is answered as they expect.
func TestClients(t *testing.T) {
	f, err := os.Open("testdata/clients.txt")
	require.NoError(t, err)
	defer f.Close()
	card := newCard(t)
	card.Reset()
	var got, sent string
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.ReplaceAll(s.Text(), " ", "")
		switch {
		case strings.HasPrefix(line, ">"):
			sent = line[1:]
			got = card.Transmit(sent)
		case strings.HasPrefix(line, "<"):
			want := strings.NewReplacer("?", "[0-9A-F]", "*", "[0-9A-F]*").Replace(line[1:])
			require.Regexp(t, regexp.MustCompile("^"+want+"$"), got, sent)
			n++
		}
	}
	require.Greater(t, n, 50)
}
