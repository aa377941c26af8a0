package proxy_test

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/scl/terminal/proxy"
)

// FuzzCoAPNobody: whatever a client sends while no bundle is active, the proxy
// answers with one message of CoAP or not at all.
func FuzzCoAPNobody(f *testing.F) {
	s := newCoAPSSP(f)
	conn, err := net.DialUDP("udp", nil, s.serve())
	require.NoError(f, err)
	f.Cleanup(func() { conn.Close() })
	for _, seed := range []string{"4201000101 07b573746f7265", "40000002", "490100040102030405060708", "60000001", "8001", "5f01"} {
		b, err := hex.DecodeString(strings.ReplaceAll(seed, " ", ""))
		require.NoError(f, err)
		f.Add(b)
	}
	ping := []byte{0x40, 0, 0xFF, 0xFE}
	in := make([]byte, 2000)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 60000 || len(b) >= 4 && b[2] == ping[2] && b[3] == ping[3] {
			return
		}
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err := conn.Write(b)
		require.NoError(t, err)
		_, err = conn.Write(ping)
		require.NoError(t, err)
		for answers := 0; ; answers++ {
			n, err := conn.Read(in)
			require.NoError(t, err)
			m := message.Message{Options: make(message.Options, 0, 8)}
			_, err = coder.DefaultCoder.Decode(in[:n], &m)
			require.NoError(t, err)
			if m.Type == message.Reset && m.MessageID == 0xFFFE {
				return
			}
			require.Zero(t, answers)
		}
	})
}

// FuzzPSK: what is read is what the lines say.
func FuzzPSK(f *testing.F) {
	for _, seed := range []string{"me:0aFF\n", "# x\n\n a:b:00", "x", ":", "a:0", "a:00\na:01"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := proxy.ReadPSK(strings.NewReader(text))
		if err != nil {
			return
		}
		for identity, key := range keys {
			require.Contains(t, strings.ToLower(text), strings.ToLower(identity)+":"+hex.EncodeToString(key))
		}
	})
}
