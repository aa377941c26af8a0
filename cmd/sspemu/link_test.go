package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/transport/tunnel"
)

// TestProfileOfLinks: the links' own numbers are those of the profile.
func TestProfileOfLinks(t *testing.T) {
	require.Equal(t, tunnel.Default(), tunnelConfig(scl.DefaultProfile()))
}
