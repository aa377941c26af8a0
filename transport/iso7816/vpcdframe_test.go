package iso7816

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
)

func TestVPCDKinds(t *testing.T) {
	for _, c := range []struct {
		msg  string
		want transport.Kind
	}{
		{"\x00", transport.PowerOff},
		{"\x01", transport.PowerOn},
		{"\x02", transport.Reset},
		{"\x04", transport.GetATR},
		{"\x03", transport.Block},
		{"\x05", transport.Block},
		{"\xFF", transport.Block},
		{"", transport.Block},
		{"\x00\x00", transport.Block},
		{"\x04\x04", transport.Block},
	} {
		require.Equal(t, c.want, vpcdKind([]byte(c.msg)), "% X", c.msg)
	}
}

// A peer that announces more than it sends is cut off; one that is merely idle
// is not.
func TestVPCDStalledMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, c := net.Pipe()
		got := make(chan string, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			readMessages(context.Background(), patient(c), func(msg []byte) { got <- string(msg) })
		}()
		time.Sleep(time.Hour)
		_, err := peer.Write([]byte("\x00\x02ok"))
		require.NoError(t, err)
		require.Equal(t, "ok", <-got)
		time.Sleep(time.Hour + stall/2)

		begun := time.Now()
		_, err = peer.Write([]byte("\xFF\xFFlies"))
		require.NoError(t, err)
		<-ended
		require.GreaterOrEqual(t, time.Since(begun), stall)
		require.LessOrEqual(t, time.Since(begun), 2*stall)
	})
}

// chunks is a source of data in pieces of the given sizes, over and over.
type chunks struct {
	data  []byte
	sizes []byte
	i     int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := len(c.data)
	if len(c.sizes) > 0 {
		n = int(c.sizes[c.i%len(c.sizes)])%n + 1
		c.i++
	}
	n = copy(p, c.data[:n])
	c.data = c.data[n:]
	return n, nil
}

// However the bytes are cut up on their way, the same messages come out, and
// they are what the length fields say.
func FuzzVPCDMessages(f *testing.F) {
	f.Add([]byte{0, 1, 4, 0, 1, 1, 0, 5, 0, 0xA4, 0, 4, 0}, []byte{1})
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0}, []byte{2, 1})
	f.Add([]byte{0xFF, 0xFF, 1, 2, 3}, []byte{})
	f.Add([]byte{0}, []byte{0})
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		var out []byte
		read := func(c *chunks) (n int) {
			readMessages(context.Background(), c.Read, func(msg []byte) {
				vpcdKind(msg)
				out = appendMessage(out, msg)
				n++
			})
			return n
		}
		whole := read(&chunks{data: stream})
		require.LessOrEqual(t, len(out), len(stream))
		require.Equal(t, stream[:len(out)], append([]byte{}, out...), "messages encode back to what arrived")
		_, rest := nextMessage(stream[len(out):])
		require.Zero(t, rest, "what is left is not a message")
		out = nil
		require.Equal(t, whole, read(&chunks{data: stream, sizes: sizes}))
	})
}
