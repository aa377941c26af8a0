package terminal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// wire is the controller end of a link whose other end is the test: it says for
// each frame what comes back, and when.
type wire struct {
	r      transport.Receiver
	send   func(k transport.Kind, p []byte) error
	opened context.Context
}

func (w *wire) Open(ctx context.Context, r transport.Receiver) error {
	w.r, w.opened = r, ctx
	return nil
}
func (w *wire) Send(k transport.Kind, p []byte) error { return w.send(k, p) }
func (w *wire) Close() error                          { return nil }
func (w *wire) String() string                        { return "wire:" }

func newWire(t *testing.T) (*wire, *terminal.Client) {
	w := &wire{}
	c := terminal.NewClient(w)
	require.NoError(t, c.Open(t.Context()))
	return w, c
}

func TestClientLateAnswer(t *testing.T) {
	w, c := newWire(t)
	asked := make(chan struct{}, 1)
	w.send = func(k transport.Kind, _ []byte) error {
		asked <- struct{}{}
		return nil
	}
	go func() { // a link with a goroutine of its own
		<-asked
		w.r.Frame(transport.Inserted, nil)
		w.r.Frame(transport.ATR, []byte{0x3B})
		<-asked
		w.r.Frame(transport.Block, []byte{0x90, 0x00})
	}()
	atr, err := c.PowerOn(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B}, atr)
	r, err := c.Transmit(t.Context(), []byte{0, 0, 0, 0}, make([]byte, 5))
	require.NoError(t, err)
	require.Equal(t, []byte{0x90, 0x00}, r)
}

// TestClientAbandons: the answer of an exchange that was given up must never be
// taken for the answer of the next.
func TestClientAbandons(t *testing.T) {
	w, c := newWire(t)
	reason := errors.New("no patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	w.send = func(transport.Kind, []byte) error { cancel(reason); return nil }
	_, err := c.Transmit(ctx, []byte{0, 0, 0, 0}, nil)
	require.ErrorIs(t, err, reason)
	require.ErrorContains(t, err, "no answer to block on wire:")

	w.send = func(transport.Kind, []byte) error {
		w.r.Frame(transport.Block, []byte{0x6A, 0x82})
		return nil
	}
	_, err = c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
	require.ErrorIs(t, err, terminal.ErrAbandoned)
	w.r.Frame(transport.Block, []byte{0x90, 0x00}) // the late one: nobody waits

	w.send = func(k transport.Kind, _ []byte) error {
		if k == transport.Block {
			w.r.Frame(transport.Block, []byte{0x6A, 0x82})
		} else {
			w.r.Frame(transport.ATR, []byte{0x3B})
		}
		return nil
	}
	_, err = c.Reset(t.Context())
	require.NoError(t, err)
	r, err := c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0x6A, 0x82}, r)
}

func TestClientRemovedDuringExchange(t *testing.T) {
	w, c := newWire(t)
	w.send = func(k transport.Kind, _ []byte) error {
		w.r.Frame(transport.Removed, nil)
		w.r.Frame(transport.Inserted, nil)
		return nil
	}
	_, err := c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
	require.ErrorIs(t, err, terminal.ErrRemoved)
	_, err = c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
	require.ErrorIs(t, err, terminal.ErrRemoved, "until power on")
	_, err = c.PowerOn(t.Context())
	require.ErrorIs(t, err, terminal.ErrNoCard)
}

func TestClientSendFails(t *testing.T) {
	w, c := newWire(t)
	w.send = func(transport.Kind, []byte) error { return transport.ErrClosed }
	_, err := c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
	require.ErrorIs(t, err, transport.ErrClosed)
	require.ErrorIs(t, c.PowerOff(t.Context()), transport.ErrClosed)
	w.send = func(transport.Kind, []byte) error { return transport.ErrNoPeer }
	_, err = c.PowerOn(t.Context())
	require.ErrorIs(t, err, terminal.ErrNoCard)
	require.ErrorIs(t, err, transport.ErrNoPeer)
}

func TestClientTakesTurns(t *testing.T) {
	w, c := newWire(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.send = func(transport.Kind, []byte) error { // the first exchange is under way: the second cannot begin
		cancel()
		_, err := c.Transmit(ctx, nil, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, c.PowerOff(ctx), context.Canceled)
		w.r.Frame(transport.Block, []byte{0x90, 0x00})
		return nil
	}
	_, err := c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
}
