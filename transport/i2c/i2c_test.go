package i2c_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/i2c"
	"github.com/sspemu/sspemu/transport/linktest"
)

func TestLinks(t *testing.T) {
	both := func(url string) func(t *testing.T) (controller, target transport.Link) {
		return func(t *testing.T) (controller, target transport.Link) {
			controller, target, err := transport.Pair(url, i2c.Schemes)
			require.NoError(t, err)
			return controller, target
		}
	}
	t.Run("T=1'", func(t *testing.T) { linktest.Run(t, both("simi2c:links?addr=0x20&hz=1000000")) })
	t.Run("SHDLC", func(t *testing.T) { linktest.RunPackets(t, both("simi2c:links?protocol=shdlc")) })
}

func TestWrongURLs(t *testing.T) {
	for url, want := range map[string]string{
		"simi2c:":                      "the bus needs a name",
		"simi2c:x?mode=1":              `unknown parameter "mode"`,
		"simi2c:x?addr=0x90":           "addr=0x90: not an I2C address of 7 bits, 0x08 to 0x77",
		"simi2c:x?addr=x":              "addr=x: not an I2C address",
		"simi2c:x?nack=1.5":            "nack=1.5: not a probability",
		"simi2c:x?stretch=soon":        "stretch=soon: not a time",
		"simi2c:x?stretch=1ms:2":       "stretch=1ms:2: not a probability",
		"simi2c:x?stuck=SDA:low:0:0":   "not LINE:low|high:FROM:FOR",
		"simi2c:x?reset=yes":           "reset=yes: not on or off",
		"i2c:":                         "write i2c:/dev/i2c-1",
		"i2c:/dev/i2c-1?addr=0x07":     "addr=0x07: not an I2C address",
		"i2c:/dev/i2c-1?mode=0":        `unknown parameter "mode"`,
		"i2c:/dev/i2c-1?hz=2000000000": "not a speed in Hz",
	} {
		_, err := transport.Open(url, transport.Controller, i2c.Schemes)
		require.ErrorContains(t, err, want, url)
		require.ErrorContains(t, err, url)
	}
	_, err := transport.Open("i2c:/dev/i2c-1", transport.Target, i2c.Schemes)
	require.ErrorContains(t, err, "is the controller of its bus")
}

// nobody is a Receiver that does not care.
type nobody struct{}

func (nobody) Frame(transport.Kind, []byte) {}

func TestDevicesThatAreNotThere(t *testing.T) {
	for url, want := range map[string]string{
		"i2c:/dev/i2c-9999": "dtparam=i2c_arm=on",
		"i2c:/dev/null":     "not the name of an I2C bus",
	} {
		l, err := transport.Open(url, transport.Controller, i2c.Schemes)
		require.NoError(t, err)
		require.ErrorContains(t, l.Open(context.Background(), nobody{}), want)
		require.NoError(t, l.Close())
	}
}

// TestFaultsOfTheBus: T=1' gets through all of them.
func TestFaultsOfTheBus(t *testing.T) {
	for _, faults := range []string{"ber=1e-4", "nack=0.1", "stretch=1ms:0.5", "drop=0.05", "dup=0.05", "stuck=SDA:low:40:3", "cut=3000"} {
		t.Run(faults, func(t *testing.T) {
			controller, target, err := transport.Pair("simi2c:faults?seed=4&"+faults, i2c.Schemes)
			require.NoError(t, err)
			card := &card{l: target}
			require.NoError(t, target.Open(context.Background(), card))
			term := &terminal{}
			require.NoError(t, controller.Open(context.Background(), term))
			require.NoError(t, controller.Send(transport.PowerOn, nil))
			right := 0
			for i := range 50 {
				p := make([]byte, 100)
				for k := range p {
					p[k] = byte(i + k)
				}
				term.last = nil
				if err := controller.Send(transport.Block, p); err == nil && term.last != nil {
					require.Equal(t, p, term.last, "whatever comes is right")
					right++
				}
			}
			require.GreaterOrEqual(t, right, 45)
			require.NoError(t, controller.Close())
			require.NoError(t, target.Close())
		})
	}
}

// card answers commands with themselves.
type card struct{ l transport.Link }

func (c *card) Frame(k transport.Kind, p []byte) {
	switch k {
	case transport.PowerOn, transport.Reset:
		_ = c.l.Send(transport.ATR, []byte{0x3B, 0x00})
	case transport.Block:
		_ = c.l.Send(transport.Block, p)
	}
}

type terminal struct{ last []byte }

func (t *terminal) Frame(k transport.Kind, p []byte) {
	if k == transport.Block {
		t.last = append([]byte(nil), p...)
	}
}
