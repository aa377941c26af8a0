package sdk_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
)

// named answers everything with its name and the channel, and writes down its
// deselections.
type named struct {
	name   string
	refuse apdu.SW
	gone   *[]string
}

func (n *named) Select(ch int, _ *apdu.Command, r *sdk.Response) apdu.SW {
	if n.refuse != 0 {
		return n.refuse
	}
	return n.say(ch, r)
}

func (n *named) APDU(ch int, c *apdu.Command, r *sdk.Response) apdu.SW {
	if c.CLA&0x80 == 0 && c.INS != 0xCA {
		return apdu.InsNotSupported
	}
	return n.say(ch, r)
}

func (n *named) say(ch int, r *sdk.Response) apdu.SW {
	r.Append([]byte(n.name))
	r.Byte(byte(ch))
	return apdu.OK
}

func (n *named) Deselect(ch int) { *n.gone = append(*n.gone, n.name+string(rune('0'+ch))) }

// shared is an App that is nothing but its Applets.
type shared struct{ sdk.Applets }

func (*shared) Personalise(*sdk.Doc) error { return nil }
func (*shared) Init(sdk.Reason) error      { return nil }
func (s *shared) Signal(g sdk.Signal) {
	if g.Has(sdk.SignalReset) {
		s.Reset()
	}
}

func newShared(gone *[]string) *shared {
	s := new(shared)
	s.Register([]byte("\xA0\x00\x00\x00\x01A"), &named{name: "A", gone: gone})
	s.Register([]byte("\xA0\x00\x00\x00\x02X"), &named{name: "X", gone: gone, refuse: apdu.ConditionsNotSatisfied})
	s.Register([]byte("\xA0\x00\x00\x00\x01B"), &named{name: "B", gone: gone})
	return s
}

func TestApplets(t *testing.T) {
	for _, tc := range []struct {
		name string
		play string // "command>answer", a line each; RESET is a signal
		gone string // deselections: applet and channel
	}{
		{"nothing selected", `
			00CA0000>6985
			80CA0000>6985
			00A40000023F00>6A82`, ""},
		{"exact, partial, unknown AID", `
			00A4040006A00000000142>42009000
			00A4040006A00000000141>41009000
			00A4040002A000>41009000
			00A4040006A00000000143>6A82
			00CA0000>41009000`, "B0"},
		{"no data is the first", "00A40400>41009000", ""},
		{"next until the end keeps the last", `
			00A4040005A000000001>41009000
			00A4040205A000000001>42009000
			00A4040205A000000001>6A82
			00CA0000>42009000`, "A0"},
		{"last and previous", `
			00A4040105A000000001>42009000
			00A4040305A000000001>41009000
			00A4040305A000000001>6A82`, "B0"},
		{"next of another beginning starts anew", `
			00A4040006A00000000142>42009000
			00A4040206A00000000141>41009000`, "B0"},
		{"a refused selection changes nothing", `
			00A4040006A00000000141>41009000
			00A4040006A00000000258>6985
			00CA0000>41009000`, ""},
		{"malformed SELECT", `
			00A4041006A00000000141>6A86
			00A4040011A00000000141A00000000141A000000001>6700`, ""},
		{"unknown class and instruction", `
			00A4040006A00000000141>41009000
			FFCA0000>6E00
			20CA0000>6E00
			00FE0000>6D00
			80FE0000>41009000`, ""},
		{"channels have their own selection", `
			00A4040006A00000000141>41009000
			0070000001>019000
			01CA0000>6985
			01A4040006A00000000142>42019000
			00CA0000>41009000
			81CA0000>42019000
			00708001>9000
			01CA0000>6881`, "B1"},
		{"opened from another channel inherits", `
			0070000001>019000
			01A4040006A00000000142>42019000
			0170000001>029000
			02CA0000>42029000`, ""},
		{"close by class byte, twice, basic, unknown", `
			00700007>9000
			43708000>9000
			43708000>6881
			00708007>6881
			00708000>6A86
			00708014>6A86
			00701000>6A86
			0070000001AA>6700`, ""},
		{"open what is open", `
			00700003>9000
			00700003>6A86
			00700014>6A86`, ""},
		{"reset", `
			00A4040006A00000000141>41009000
			0070000001>019000
			RESET>
			00CA0000>6985
			01CA0000>6881`, "A0"},
		{"all channels", strings.Repeat("0070000001>*9000\n", 19) + "0070000001>6A81", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var gone []string
			card := sdktest.New(t, func() sdk.App { return newShared(&gone) })
			card.PowerOn()
			for _, line := range strings.Fields(tc.play) {
				cmd, want, _ := strings.Cut(line, ">")
				if cmd == "RESET" {
					card.Reset()
					continue
				}
				got := card.Transmit(cmd)
				if suffix, ok := strings.CutPrefix(want, "*"); ok {
					require.True(t, strings.HasSuffix(got, suffix), line)
				} else {
					require.Equal(t, want, got, line)
				}
			}
			require.Equal(t, tc.gone, strings.Join(gone, " "))
		})
	}
}

func TestRegisterPanics(t *testing.T) {
	require.Panics(t, func() { new(sdk.Applets).Register([]byte{1, 2, 3, 4}, nil) })
}
