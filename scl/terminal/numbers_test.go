package terminal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport/shdlc"
	"github.com/sspemu/sspemu/transport/tunnel"
)

// TestNumbers: the links' own numbers are those of the profile.
func TestNumbers(t *testing.T) {
	p := scl.DefaultProfile()
	require.Equal(t, tunnel.Default(), terminal.TunnelConfig(p))
	require.Equal(t, shdlc.Default(), terminal.SHDLCConfig(p))
	require.Equal(t, p.Packet.MTU, shdlc.Default().MTU(), "a packet is not cut")
}
