package spi_test

import (
	"context"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus/buslink"
	"github.com/sspemu/sspemu/transport/linktest"
	"github.com/sspemu/sspemu/transport/spi"
)

func TestLinks(t *testing.T) {
	both := func(url string) func(t *testing.T) (controller, target transport.Link) {
		return func(t *testing.T) (controller, target transport.Link) {
			controller, target, err := transport.Pair(url, spi.Schemes)
			require.NoError(t, err)
			return controller, target
		}
	}
	t.Run("T=1'", func(t *testing.T) { linktest.Run(t, both("simspi:links")) })
	t.Run("SHDLC", func(t *testing.T) { linktest.RunPackets(t, both("simspi:links?protocol=shdlc&mode=3")) })
}

func TestWrongURLs(t *testing.T) {
	for url, want := range map[string]string{
		"simspi:":                             "the bus needs a name",
		"simspi://host/x":                     "is inside this process",
		"simspi:x?protocol=t1":                "use one of t1prime, shdlc",
		"simspi:x?addr=0x48":                  `unknown parameter "addr"`,
		"simspi:x?hz=0":                       "hz=0: not a speed in Hz",
		"simspi:x?hz=10M":                     "hz=10M: not a speed in Hz",
		"simspi:x?mode=4":                     "mode=4: not an SPI mode",
		"simspi:x?guard=-1s":                  "guard=-1s: not a time",
		"simspi:x?irq=GPIO25":                 "irq=GPIO25: not on or off",
		"simspi:x?ber=2":                      "ber=2: not a probability",
		"simspi:x?ber=NaN":                    "ber=NaN: not a probability",
		"simspi:x?drop=x":                     "drop=x: not a probability",
		"simspi:x?dup=-1":                     "dup=-1: not a probability",
		"simspi:x?seed=-1":                    "seed=-1: not a whole number",
		"simspi:x?cut=0":                      "cut=0: not the number of a byte",
		"simspi:x?stuck=MISO":                 "stuck=MISO: not LINE:low|high:FROM:FOR",
		"simspi:x?stuck=RST:low:0:1":          "not LINE:low|high:FROM:FOR",
		"simspi:x?protocol=shdlc&ifs=100":     `unknown parameter "ifs"`,
		"simspi:x?ifs=0":                      "ifs=0",
		"simspi:x?vendor=acme":                "vendor=acme",
		"spi:":                                "write spi:/dev/spidev0.0",
		"spi://host/dev/spidev0.0":            "write spi:/dev/spidev0.0",
		"spi:/dev/spidev0.0?addr=1":           `unknown parameter "addr"`,
		"spi:/dev/spidev0.0?hz=fast":          "hz=fast: not a speed in Hz",
		"spi:/dev/spidev0.0?mode=x":           "mode=x: not an SPI mode",
		"spi:/dev/spidev0.0?ber=1e-4":         `unknown parameter "ber"`,
		"spi:/dev/spidev0.0?protocol=seriell": "use one of t1prime, shdlc",
	} {
		_, err := transport.Open(url, transport.Controller, spi.Schemes)
		require.ErrorContains(t, err, want, url)
		require.ErrorContains(t, err, url)
	}
	_, err := transport.Open("spi:/dev/spidev0.0", transport.Target, spi.Schemes)
	require.ErrorContains(t, err, "is the controller of its bus")
}

// nobody is a Receiver that does not care.
type nobody struct{}

func (nobody) Frame(transport.Kind, []byte) {}

func TestDevicesThatAreNotThere(t *testing.T) {
	for url, want := range map[string]string{
		"spi:/dev/spidev9999.0": "dtparam=spi=on",
		"spi:/dev/null":         "not the name of an SPI device",
	} {
		for _, protocol := range []string{"", "?protocol=shdlc"} {
			l, err := transport.Open(url+protocol, transport.Controller, spi.Schemes)
			require.NoError(t, err)
			err = l.Open(context.Background(), nobody{})
			require.ErrorContains(t, err, want)
			require.NoError(t, l.Close())
		}
	}
	l, err := transport.Open("spi:/dev/spidev9999.0", transport.Controller, spi.Schemes)
	require.NoError(t, err)
	require.ErrorIs(t, l.Open(context.Background(), nobody{}), fs.ErrNotExist)
}

func TestNames(t *testing.T) {
	open := func(url string, role transport.Role) (transport.Link, error) {
		l, err := transport.Open(url, role, spi.Schemes)
		require.NoError(t, err)
		return l, l.Open(context.Background(), nobody{})
	}
	first, err := open("simspi:names?hz=1000000", transport.Target)
	require.NoError(t, err)
	_, err = open("simspi:names", transport.Target)
	require.ErrorContains(t, err, "there is a target on this bus already")
	_, err = open("simspi:names?hz=2000000", transport.Controller)
	require.ErrorContains(t, err, "the bus is in use with hz=1000000 (give the same at both ends, or none at the second)")
	second, err := open("simspi:names?ber=0.001&seed=3", transport.Controller)
	require.NoError(t, err, "faults may come from either end")
	_, err = open("simspi:names", transport.Controller)
	require.ErrorContains(t, err, "there is a controller on this bus already")
	other, err := open("simspi:names2?hz=2000000", transport.Target)
	require.NoError(t, err, "another bus")
	for _, l := range []transport.Link{first, second, other} {
		require.NoError(t, l.Close())
	}
	first, err = open("simspi:names?hz=2000000", transport.Target)
	require.NoError(t, err, "nobody used it any more")
	require.NoError(t, first.Close())
}

func TestJoin(t *testing.T) {
	u, err := transport.Parse("simspi:watched?hz=1000000")
	require.NoError(t, err)
	w, leave, err := buslink.Join(u)
	require.NoError(t, err)
	controller, target, err := transport.Pair("simspi:watched", spi.Schemes)
	require.NoError(t, err)
	require.NoError(t, target.Open(context.Background(), nobody{}))
	require.NoError(t, controller.Open(context.Background(), nobody{}))
	require.NoError(t, controller.Send(transport.PowerOn, nil))
	require.NoError(t, controller.Close())
	require.NoError(t, target.Close())
	require.NotZero(t, w.Ledger().Accesses)
	require.EqualValues(t, 1_000_000, w.Ledger().Hz)
	leave()
	leave()
	u, err = transport.Parse("spi:/dev/spidev0.0")
	require.NoError(t, err)
	_, _, err = buslink.Join(u)
	require.ErrorContains(t, err, "is not a simulated bus")
}
