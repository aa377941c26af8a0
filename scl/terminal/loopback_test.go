package terminal_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/tunnel"
)

func TestLoopback(t *testing.T) {
	s := newSSP(t)
	l, err := s.t.Loopback(t.Context())
	require.NoError(t, err)
	for _, n := range []int{0, 1, 1023, 100_000} {
		data := bytes.Repeat([]byte{byte(n)}, n)
		back, err := l.Echo(t.Context(), data)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, back), n)
	}
	require.NoError(t, l.Close())
	_, err = l.Echo(t.Context(), []byte{1})
	require.Error(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.t.Loopback(gone)
	require.ErrorIs(t, err, context.Canceled)
}

// apdus hides that a link carries packets.
type apdus struct{ transport.Link }

// TestTunnel: a terminal host on a link for APDUs, until another one takes its place.
func TestTunnel(t *testing.T) {
	p := newPlatform(nil)
	p.Activate(t, &card{name: 1})
	controller, target := transport.Mem()
	cfg := tunnel.Default()
	a, err := terminal.NewAdapter(p.n, tunnel.Target(apdus{target}, cfg))
	require.NoError(t, err)
	require.NoError(t, a.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	link := tunnel.Controller(apdus{controller}, cfg)
	first, err := terminal.Open(t.Context(), link, nil)
	require.NoError(t, err)
	_, err = first.APDU(t.Context())
	require.NoError(t, err)
	select {
	case <-first.Done():
		t.Fatal("lost")
	default:
	}
	// The card loses its power: the session is over on both sides.
	require.NoError(t, controller.Send(transport.PowerOff, nil))
	select {
	case <-first.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the terminal should be told")
	}
	_, err = first.APDU(t.Context())
	require.Error(t, err)
	require.NoError(t, first.Close())
	second, err := terminal.OpenAs(t.Context(), link, nil, "second", [16]byte{2})
	require.NoError(t, err)
	channel, err := second.APDU(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 1}, channel.ATR())
	// Nobody says goodbye; the next one is not taken for the one before.
	require.NoError(t, link.Close())
	third, err := terminal.OpenAs(t.Context(), link, nil, "third", [16]byte{2})
	require.NoError(t, err)
	require.NoError(t, third.Close())
	<-third.Done()
}
