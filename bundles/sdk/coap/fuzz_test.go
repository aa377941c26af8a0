package coap_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// FuzzDatagram: whatever comes, the server goes on, answers with at most one
// datagram of CoAP to whom it came from, and never with a response to an
// acknowledgement.
func FuzzDatagram(f *testing.F) {
	for _, text := range []string{
		"CON 1 GET token=01 path=temperature",
		"CON 2 GET token=01 observe=0 path=long block2=0/0/16",
		"NON 3 PUT path=store block1=0/1/16 '0123456789abcdef'",
		"CON 4 GET etag=01 path=.well-known path=core query=rt=a* accept=40 size2=0",
		"CON 5 POST path=echo path=a ct=0 tag=0102 'hello'",
		"0x4f010002 0102030405060708090a0b0c0d0e0f",
		"0x4001000b e0fff2e0ffff", "0x40010010 d0ff", "0x60000001", "0x70000001", "0x80",
	} {
		f.Add(encode(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > sdk.MaxSend-sdk.PeerLength {
			return
		}
		st := newStage(t, house(), 1<<20)
		for range 2 { // the second is a duplicate
			st.pipe.Send(append(peerAddr(1), b...))
			require.LessOrEqual(t, len(st.pipe.Out), 2) // a change may be notified
			for _, out := range st.pipe.Out {
				require.True(t, bytes.HasPrefix(out, peerAddr(1)))
				m := message.Message{Options: make(message.Options, 0, 64)}
				_, err := coder.DefaultCoder.Decode(out[sdk.PeerLength:], &m)
				require.NoError(t, err)
				require.NotContains(t, []byte{2, 3}, b[0]>>4&3)
			}
			st.pipe.Out = nil
		}
		st.play("> CON 0xfffe EMPTY\n< RST 0xfffe EMPTY")
		st.Advance(1e12)
	})
}

// BenchmarkGet is a GET that is answered at once; it does not allocate in the
// server.
func BenchmarkGet(b *testing.B) {
	st := newStage(b, house(), 1<<40)
	req := append(peerAddr(1), encode(b, "CON 1 GET token=01020304 path=temperature")...)
	b.ReportAllocs()
	for i := range b.N {
		req[sdk.PeerLength+2], req[sdk.PeerLength+3] = byte(i>>8), byte(i)
		st.pipe.Send(req)
		st.pipe.Out = st.pipe.Out[:0]
	}
}
