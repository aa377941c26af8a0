package coap_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// faced counts commands and describes itself.
type faced struct{ n int64 }

func (a *faced) Personalise(*sdk.Doc) error { return nil }
func (a *faced) Init(sdk.Reason) error      { return nil }
func (a *faced) Signal(sdk.Signal)          {}
func (a *faced) APDU(c *sdk.Command, _ *sdk.Response) sdk.SW {
	a.n += int64(c.P1)
	return sdk.OK
}
func (a *faced) Gates() sdk.Gates {
	s := coap.New()
	s.Face(func() face.Description {
		return face.Description{Name: "faced", Title: "T", Counters: []face.Counter{{Name: "n", Value: a.n}}}
	})
	return sdk.Gates{UDP: s}
}

// TestFace: the description at the root, the state at /state, whose observers are
// told what an APDU changed, and only that.
func TestFace(t *testing.T) {
	c := sdktest.New(t, func() sdk.App { return &faced{} })
	c.PowerOn()
	p, err := c.Open(sdk.GateUDP, 2, 1<<20)
	require.NoError(t, err)
	peer := make([]byte, sdk.PeerLength)
	ask := func(datagram ...byte) string {
		p.Out = nil
		p.Send(append(append([]byte{}, peer...), datagram...))
		require.Len(t, p.Out, 1)
		return string(p.Out[0][sdk.PeerLength:])
	}
	require.Contains(t, ask(0x40, 0x01, 0, 1, 0xD1, 0x04, 50), `{"name":"faced","title":"T"`, "GET /, Accept JSON")
	require.Contains(t, ask(0x40, 0x01, 0, 2), "efaced", "CBOR")
	require.Contains(t, ask(0x41, 0x01, 0, 3, 7, 0x60, 0x55, 's', 't', 'a', 't', 'e', 0x61, 50), `"n":0`, "GET /state, Observe, Accept JSON")
	p.Out = nil
	c.Transmit("00000000")
	require.Empty(t, p.Out, "nothing changed")
	c.Transmit("00000500")
	require.Len(t, p.Out, 1)
	require.Contains(t, string(p.Out[0]), `"n":5`)
}
