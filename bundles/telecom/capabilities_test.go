package telecom

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The dialogues capabilities and small-capabilities play the command; this is the
// reader of what the terminal sends.
func FuzzTerminalCapabilities(f *testing.F) {
	for _, c := range commandsOf(f, "testdata/dialogues/capabilities.txt") {
		f.Add(c[min(5, len(c)):])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, ok := terminalCapabilities(b)
		if !ok {
			return
		}
		require.Equal(t, byte(tagSequence), b[0])
		for n := range b {
			_, ok = terminalCapabilities(b[:n])
			require.False(t, ok, "cut after %d bytes", n)
		}
		_, ok = terminalCapabilities(append(b, 0))
		require.False(t, ok, "a byte more")
	})
}

func TestTerminalCapabilitiesDoesNotAllocate(t *testing.T) {
	b := []byte("\x30\x0D\x80\x02\x0F\x00\x81\x01A\x82\x02\x03\xE8\x84\x00")
	require.Zero(t, testing.AllocsPerRun(10, func() {
		_, ok := terminalCapabilities(b)
		require.True(t, ok)
	}))
}

// TestClass: aSspClass is what the platform says.
func TestClass(t *testing.T) {
	card := newCard(t, "persona.yaml")
	for class := range 4 {
		card.Class = class
		require.Contains(t, card.Transmit("807A0000 06 300480020F00 00"), fmt.Sprintf("8201%02X", class))
	}
}
