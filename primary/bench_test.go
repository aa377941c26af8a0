package primary

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
)

// BenchmarkAPDU is READ BINARY of 10 bytes from the network through the gate,
// the APDU service and the bundle, and back.
func BenchmarkAPDU(b *testing.B) {
	w := start(b, Config{Builtins: builtins(b, 1), Active: "one"})
	c := w.terminal()
	require.Equal(b, "9000", c.send("00D600000A 00*10"))
	m := scl.Message{Type: scl.Event, Instruction: w.n.Profile().Event.CAPDU, Data: []byte{0x00, 0xB0, 0x00, 0x00, 0x0A}}
	w.n.Lock()
	defer w.n.Unlock()
	b.ReportAllocs()
	for b.Loop() {
		_ = c.pipe.Send(m)
	}
	require.Len(b, c.got, 12)
}

// BenchmarkActivate switches between two small bundles.
func BenchmarkActivate(b *testing.B) {
	w := start(b, Config{Builtins: builtins(b, 2)})
	require.NoError(b, w.Warm(b.Context()))
	names := []string{"one", "two"}
	i := 0
	for b.Loop() {
		require.NoError(b, w.Activate(b.Context(), names[i%2]))
		i++
	}
}
