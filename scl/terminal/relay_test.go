package terminal_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// TestRelay: a terminal at one link uses the SPB at the end of another; the card
// goes and comes with it.
func TestRelay(t *testing.T) {
	p := newPlatform(nil)
	first := &card{name: 1}
	p.Activate(t, first)
	inner, target := transport.Mem()
	a, err := terminal.NewAdapter(p.n, target)
	require.NoError(t, err)
	require.NoError(t, a.Open(t.Context()))
	far, err := terminal.Open(t.Context(), inner, nil)
	require.NoError(t, err)

	controller, outer := transport.Mem()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	c := terminal.NewClient(controller)
	came := make(chan transport.Kind, 8)
	c.Notify(func(k transport.Kind) { came <- k })
	require.NoError(t, c.Open(t.Context()))
	go func() { ended <- terminal.NewRelay(readsAnswers{outer}, far.APDU).Serve(ctx) }()
	expect := func(k transport.Kind) {
		t.Helper()
		select {
		case got := <-came:
			require.Equal(t, k, got)
		case <-time.After(10 * time.Second):
			t.Fatalf("%s did not come", k)
		}
	}
	expect(transport.Inserted)
	transmit := func(in ...byte) []byte {
		t.Helper()
		out, err := c.Transmit(t.Context(), in, nil)
		require.NoError(t, err)
		return out
	}
	require.Equal(t, []byte{0x6F, 0x00}, transmit(0, 1, 2, 3), "no power")
	atr, err := c.PowerOn(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 1}, atr)
	require.Equal(t, []byte{0, 1, 2, 3, 0x90, 0}, transmit(0, 1, 2, 3))
	_, err = c.Reset(t.Context())
	require.NoError(t, err)
	_, err = c.PowerOn(t.Context())
	require.NoError(t, err)
	p.n.Exclusive(func() { require.Equal(t, []int{2, 1}, []int{first.colds, first.warms}) })
	again, err := c.ATR(t.Context())
	require.NoError(t, err)
	require.Equal(t, atr, again)

	left := 300
	p.n.Exclusive(func() {
		first.do = func(in []byte) []byte {
			if in[1] == 0xA4 {
				return []byte{0x61, 0x00}
			}
			n := min(left, 256)
			if left -= n; left > 0 {
				return append(make([]byte, n), 0x61, byte(left))
			}
			return append(make([]byte, n), 0x90, 0x00)
		}
	})
	require.Len(t, transmit(0, 0xA4, 4, 0), 258, "the terminal of this link does not ask for the first 256 bytes")

	p.Activate(t, nil)
	_, err = c.ATR(t.Context())
	require.ErrorIs(t, err, terminal.ErrNoCard)
	expect(transport.Removed)
	p.Activate(t, &card{name: 2})
	expect(transport.Inserted)
	atr, err = c.PowerOn(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 2}, atr)
	p.Activate(t, &card{name: 3})
	_, err = c.Transmit(t.Context(), []byte{0, 1, 2, 3}, nil)
	require.ErrorIs(t, err, terminal.ErrRemoved)
	expect(transport.Removed)
	expect(transport.Inserted)
	atr, err = c.PowerOn(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 3}, atr)
	require.NoError(t, c.PowerOff(t.Context()))

	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, far.Close())
	require.NoError(t, a.Close())
}
