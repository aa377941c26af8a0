package spectests_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot"
	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

var compiledIoT = compile("../bundles/iot")

func newIoTPair(t testing.TB) *pair {
	return newPair(t, compiledIoT, func() sdk.App { return iot.New() })
}

// iotCommands are what a device sends to the IoT bundle, a purpose a line.
var iotCommands = func() (flows [][][]byte) {
	const (
		selected = "00A4040007A0000005590010 "
		digest   = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
		g        = "04" + "6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296" + "4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5" // the base point of P-256
	)
	for _, line := range []string{
		selected + "80CB000000 80CB010000 80CB010100 80CB010100 80CBC1000384010100 80CBC3000383010200",
		selected + "80B0000003830102F0 80B000F003830102F0 80CD00000385010100 80CD00000000038501310000",
		selected + "802A00010D840101A101039102000192010400 802B8001229E20" + digest + "00 802A0101",
		selected + "802A00010D840121A101019102000292010400 802B0001069B0474657874 802B8001069B047465787400 802A0101",
		selected + "802A00010D840131A101039102000192010200 802B8001000022" + "9E20" + digest + "0000 802A0101",
		selected + "802A00010D840101A101029102000192010400 802B80012E9A04747874659C20" + digest + "9D040000004000",
		selected + "80B900000384015100 80B900000384010400 80240002038501" + "05 80D8800247344549438641" + g + " 8024010200 804600000684010485010500",
		selected + "802C00010D850105A1010391020001920104 802D8001649E20" + digest + "3340" + digest + digest + " 802C010100",
		selected + "804801000C860141D20474657374D3013000 804A00000786014191020001" + "00 8084000020",
		"0070000001 01A404000FA00000003053F12401770101495341 81CB000000 812A00010D840101A1010391020001920104 0070800100",
	} {
		var flow [][]byte
		for _, s := range strings.Fields(line) {
			b, err := hex.DecodeString(s)
			if err != nil {
				panic(s)
			}
			flow = append(flow, b)
		}
		flows = append(flows, flow)
	}
	return flows
}()

// iotFlows are those, and what servers of security domains have terminals send: packets in
// short messages, and a visit as far as it goes without a server.
func iotFlows(t testing.TB) [][][]byte {
	c, err := compiledIoT()
	require.NoError(t, err)
	doc, err := sdk.ParseDoc(c.persona)
	require.NoError(t, err)
	p, err := profile.Read(doc)
	require.NoError(t, err)
	flows := slices.Clone(iotCommands)
	for _, d := range []*profile.Domain{p.Domain("public cloud A"), p.Domain("service provider")} {
		var flow [][]byte
		native := sdktest.New(t, func() sdk.App { return iot.New() })
		require.NoError(t, native.Personalise(c.persona))
		transmit := func(_ context.Context, b []byte) ([]byte, error) {
			flow = append(flow, bytes.Clone(b))
			return native.Send(b), nil
		}
		key := ota.Ref{Kind: profile.Private, ID: []byte{0x01}}
		if d.Kind == "sam" {
			key.ID[0] = 0x51
		}
		s := ota.New(p, d, ota.Envelopes(transmit, nil))
		_, err := s.Run(context.Background(), s.Generate(key)...)
		require.NoError(t, err)
		s.Header.SPI[1] |= 0x20
		_, err = s.Run(context.Background(), s.Delete(key)...)
		require.NoError(t, err)
		s.Header.SPI[1] &^= 0x20
		s.Send = ota.NewTerminal(transmit, nil).Send
		require.NoError(t, s.Trigger(context.Background(), nil))
		for _, x := range []string{
			"8012000000", "8014000009 8103010500 8202 8281 830100", // SET UP EVENT LIST
			"8012000000", "8014000011 8103014001 82028281 830100 B8028100", // OPEN CHANNEL
			"8012000000", "801400000C 8103014301 82028281 830100", // SEND DATA: a client hello
			"80C200000E D60C 990109 82028281 B70107",                                  // seven octets have come
			"8012000000", "8014000015 8103014200 82028281 830100 B607 15030300020228", // an alert
			"8012000000", "8014000009 8103014100 82028281 830100",
		} {
			b, err := hex.DecodeString(strings.ReplaceAll(x, " ", ""))
			require.NoError(t, err)
			if b[1] == 0x14 || b[1] == 0xC2 {
				b[4] = byte(len(b) - 5)
			}
			flow = append(flow, b)
		}
		flows = append(flows, flow)
	}
	return flows
}

// TestIoTNativeAndWasmAgree plays what devices send, whole and disturbed, to the IoT bundle
// as Go code and as WebAssembly: answers and stored bytes are the same. So its keys and
// signatures follow from the random bytes of the platform alone.
func TestIoTNativeAndWasmAgree(t *testing.T) {
	p := newIoTPair(t)
	good, flows := 0, iotFlows(t)
	for seed := range int64(2) {
		r := rand.New(rand.NewSource(seed))
		for range 40 {
			for _, c := range flows[r.Intn(len(flows))] {
				c = bytes.Clone(c)
				cut := false
				switch r.Intn(20) {
				case 0:
					c[r.Intn(len(c))] = byte(r.Intn(256))
				case 1:
					c = c[:1+r.Intn(len(c))]
				case 2:
					p.reset()
				case 3:
					cut = true
				}
				if bytes.HasSuffix(p.send(c, cut), []byte{0x90, 0x00}) {
					good++
				}
			}
		}
		p.agree()
		p.another()
	}
	require.Greater(t, good, 150, "most commands should work")
}

// FuzzIoT sends any commands in any order to both: [length, command]...
func FuzzIoT(f *testing.F) {
	p := newIoTPair(f)
	for _, flow := range iotFlows(f) {
		var in []byte
		for _, c := range flow {
			in = append(append(in, byte(len(c))), c...)
		}
		f.Add(in)
	}
	p.fuzz(f, 50)
}
