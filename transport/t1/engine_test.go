package t1_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/t1"
)

// pair makes both ends of one configuration; the target answers what answer says.
func pair(cfg t1.Config) (ifd, card *t1.Engine) {
	cfg.Role = transport.Controller
	ifd = t1.New(cfg)
	cfg.Role = transport.Target
	return ifd, t1.New(cfg)
}

// exchange carries a command and its answer over a clean wire and counts blocks.
func exchange(t testing.TB, ifd, card *t1.Engine, command []byte, answer func([]byte) []byte) (got []byte, blocks int) {
	t.Helper()
	a, err := ifd.Send(command)
	require.NoError(t, err)
	for a.Event != t1.Delivered {
		require.Equal(t, t1.None, a.Event, "%v", a.Err)
		require.NotEmpty(t, a.Block)
		b := card.Receive(a.Block, nil)
		blocks++
		if b.Event == t1.Delivered {
			b, err = card.Send(answer(b.INF))
			require.NoError(t, err)
		}
		require.NotEmpty(t, b.Block)
		a = ifd.Receive(b.Block, nil)
		blocks++
	}
	return a.INF, blocks
}

func echo(b []byte) []byte { return b }

func TestCleanExchanges(t *testing.T) {
	for _, cfg := range []t1.Config{
		{}, {Format: crc}, {Peer: 254, NAD: 0x21}, {Prime: true}, {Prime: true, Peer: 0xFF9}, {Prime: true, Peer: 8},
		t1.Infineon.Config(), t1.NXP.Config(), t1.NXPeUICC.Config(), t1.UM11225.Config(),
	} {
		ifd, card := pair(cfg)
		for _, n := range []int{0, 1, 8, 9, 31, 32, 33, 64, 253, 254, 255, 256, 4088, 4089, 4090, 65544, transport.MaxFrame} {
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(i*7 + n)
			}
			got, _ := exchange(t, ifd, card, p, echo)
			require.True(t, bytes.Equal(p, got), "%+v %d", cfg, n)
		}
		_, err := ifd.Send(make([]byte, transport.MaxFrame+1))
		require.ErrorIs(t, err, t1.ErrTooLong)
		_, err = card.Send(nil)
		require.ErrorIs(t, err, t1.ErrUnasked)
	}
}
