package terminal_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
)

func TestChannel(t *testing.T) {
	s := newSSP(t)
	ctx := context.Background()
	_, err := s.t.APDU(ctx)
	require.ErrorIs(t, err, terminal.ErrNoCard, "an SPB without an APDU gate")
	card := &card{name: 'a'}
	s.n.Exclusive(func() {
		require.NoError(t, s.spb.Publish(s.n.Profile().Gate.UICCAPDU, gate.NewAPDU(s.n, card)))
	})
	c, err := s.t.APDU(ctx)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 'a'}, c.ATR())
	var dst []byte
	for i := range 3000 {
		in := make([]byte, i*20)
		dst, err = c.Transmit(ctx, in, dst[:0])
		require.NoError(t, err)
		require.Equal(t, len(in)+2, len(dst))
	}
	atr, err := c.Reset(ctx)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 'a'}, atr)
	s.n.Exclusive(func() { require.Equal(t, []int{1, 1}, []int{card.colds, card.warms}) })

	off, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.Transmit(off, []byte{0}, nil)
	require.ErrorIs(t, err, context.Canceled)
	s.leave(t)
	_, err = c.Transmit(ctx, []byte{0}, nil)
	require.ErrorIs(t, err, terminal.ErrRemoved)
	require.NoError(t, c.Close())
}
