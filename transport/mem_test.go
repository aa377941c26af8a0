package transport_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/linktest"
)

func TestMem(t *testing.T) {
	linktest.Run(t, func(*testing.T) (controller, target transport.Link) { return transport.Mem() })
}

// receiver is a function as a Receiver.
type receiver func(k transport.Kind, p []byte)

func (f receiver) Frame(k transport.Kind, p []byte) { f(k, p) }

// openMem opens a pair whose target echoes and whose controller counts blocks.
func openMem(t testing.TB, blocks *int) (controller, target transport.Link) {
	controller, target = transport.Mem()
	require.NoError(t, controller.Open(context.Background(), receiver(func(k transport.Kind, _ []byte) {
		if k == transport.Block {
			*blocks++
		}
	})))
	require.NoError(t, target.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		if k == transport.Block {
			if err := target.Send(k, p); err != nil {
				t.Error(err)
			}
		}
	})))
	return controller, target
}

func TestMemIsSynchronous(t *testing.T) {
	var blocks int
	controller, _ := openMem(t, &blocks)
	for i := range 10 {
		require.NoError(t, controller.Send(transport.Block, []byte("x")))
		require.Equal(t, i+1, blocks, "the answer is there when Send returns")
	}
}

func TestMemDoesNotAllocate(t *testing.T) {
	var blocks int
	controller, _ := openMem(t, &blocks)
	p := make([]byte, 256)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _ = controller.Send(transport.Block, p) }))
	require.NotZero(t, blocks)
}

func BenchmarkMemExchange(b *testing.B) {
	var blocks int
	controller, _ := openMem(b, &blocks)
	p := make([]byte, 12)
	b.ReportAllocs()
	for b.Loop() {
		if err := controller.Send(transport.Block, p); err != nil {
			b.Fatal(err)
		}
	}
}
