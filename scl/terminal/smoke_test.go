package terminal

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/transport"
)

type echo struct {
	out    []byte
	resets []bool
}

func (e *echo) APDU(in []byte) []byte {
	e.out = append(append(e.out[:0], in...), 0x90, 0)
	return e.out
}
func (e *echo) Reset(cold bool) { e.resets = append(e.resets, cold) }
func (e *echo) ATR() []byte     { return []byte{0x3B, 0x00} }

func newPair(tb testing.TB, s gate.APDUService) (*scl.Network, *Client) {
	n := scl.NewNetwork(scl.DefaultProfile(), nil)
	n.Exclusive(func() {
		h, err := n.Register("SPB", [16]byte{1}, n.Profile().Host.UICC)
		require.NoError(tb, err)
		require.NoError(tb, gate.Standard(h, gate.Info{}))
		require.NoError(tb, h.Publish(n.Profile().Gate.UICCAPDU, gate.NewAPDU(n, s)))
	})
	ctl, target := transport.Mem()
	a, err := NewAdapter(n, target)
	require.NoError(tb, err)
	require.NoError(tb, a.Open(tb.Context()))
	c := NewClient(ctl)
	require.NoError(tb, c.Open(tb.Context()))
	tb.Cleanup(func() { _ = a.Close(); _ = c.Close() })
	return n, c
}

func TestExchange(t *testing.T) {
	e := &echo{}
	_, c := newPair(t, e)
	ctx := context.Background()
	atr, err := c.PowerOn(ctx)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0}, atr)
	r, err := c.Transmit(ctx, []byte{1, 2, 3, 4}, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3, 4, 0x90, 0}, r)
	require.Equal(t, []bool{true}, e.resets)
}

func BenchmarkTransmit(b *testing.B) {
	_, c := newPair(b, &echo{})
	ctx := context.Background()
	_, err := c.PowerOn(ctx)
	require.NoError(b, err)
	in := []byte{0, 0xB0, 0, 0, 10}
	dst := make([]byte, 0, 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Transmit(ctx, in, dst); err != nil {
			b.Fatal(err)
		}
	}
}
