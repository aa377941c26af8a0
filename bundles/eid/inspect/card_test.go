package inspect_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/internal/apdu"
)

type cardFunc func(capdu []byte) []byte

func (f cardFunc) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) { return f(capdu), nil }

func TestExchange(t *testing.T) {
	ctx := context.Background()
	var sent [][]byte
	answers := [][]byte{{1, 2, 0x61, 0x02}, {3, 0x6C, 0x01}, {4, 0x90, 0x00}}
	data, sw, err := inspect.Exchange(ctx, cardFunc(func(c []byte) []byte {
		sent = append(sent, bytes.Clone(c))
		r := answers[0]
		answers = answers[1:]
		return r
	}), []byte{0x00, 0xB0, 0, 0, 0})
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3, 4}, data)
	require.Equal(t, apdu.SW(0x9000), sw)
	require.Equal(t, [][]byte{{0, 0xB0, 0, 0, 0}, {0, 0xC0, 0, 0, 2}, {0, 0xC0, 0, 0, 1}}, sent)

	for _, r := range [][]byte{{0x61, 0}, append(make([]byte, 256), 0x61, 0)} {
		_, _, err = inspect.Exchange(ctx, cardFunc(func([]byte) []byte { return r }), []byte{0, 0xB0, 0, 0, 0})
		require.ErrorIs(t, err, inspect.ErrEndless)
	}
	_, sw, err = inspect.Exchange(ctx, cardFunc(func([]byte) []byte { return []byte{0x6C, 0x05} }), []byte{0, 0xB0, 0, 0, 0})
	require.NoError(t, err)
	require.Equal(t, apdu.SW(0x6C05), sw)
	for _, r := range [][]byte{nil, {0x90}} {
		_, _, err = inspect.Exchange(ctx, cardFunc(func([]byte) []byte { return r }), []byte{0, 0xB0, 0, 0, 0})
		require.ErrorContains(t, err, "no status word")
	}
}
