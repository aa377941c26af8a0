package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/transport/shdlc"
	"github.com/sspemu/sspemu/transport/tunnel"
)

// TestProfileOfLinks: the links' own numbers are those of the profile.
func TestProfileOfLinks(t *testing.T) {
	p := scl.DefaultProfile()
	require.Equal(t, tunnel.Default(), tunnelConfig(p))
	require.Equal(t, shdlc.Default(), shdlcConfig(p))
	require.Equal(t, p.Packet.MTU, shdlc.Default().MTU(), "a packet is not cut")
}
