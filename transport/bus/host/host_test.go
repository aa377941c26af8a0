package host_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus/host"
)

func TestWhatToDo(t *testing.T) {
	_, err := host.SPI("/dev/spidev9999.7")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "/dev/spidev9999.7")
	require.ErrorContains(t, err, "dtparam=spi=on")
	_, err = host.I2C("/dev/i2c-9999")
	require.ErrorContains(t, err, "dtparam=i2c_arm=on")
	for _, path := range []string{"", "/dev/spidev0", "/dev/spidev0.0.0", "/dev/spidev-1.0", "/dev/ttyS0"} {
		_, err := host.SPI(path)
		require.ErrorContains(t, err, "write spi:/dev/spidev0.0")
	}
	for _, path := range []string{"", "/dev/i2c-", "/dev/i2c-1.0", "/dev/ttyS0"} {
		_, err := host.I2C(path)
		require.ErrorContains(t, err, "write i2c:/dev/i2c-1")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "spidev0.1"), nil, 0o600))
	require.ErrorContains(t, host.Usable(filepath.Join(dir, "spidev0.1"), "spi", "x"), "not a device")
	require.ErrorContains(t, host.Usable(filepath.Join(dir, "spidev0.0"), "spi", "x"), "there are "+filepath.Join(dir, "spidev0.1"))
	require.ErrorContains(t, host.Usable(filepath.Join(dir, "i2c-1"), "i2c", "x"), "there is none on this machine")
	require.NoError(t, host.Usable("/dev/null", "", ""))
	denied := fmt.Errorf("open /dev/spidev0.0: %w", fs.ErrPermission)
	require.EqualError(t, host.Explain("/dev/spidev0.0", denied, "spi", ""),
		"open /dev/spidev0.0: permission denied (add yourself to the group spi: sudo usermod -aG spi $USER, then log in again)")
}

func TestPins(t *testing.T) {
	for url, want := range map[string]string{
		"spi:/dev/spidev0.0?irq=GPIO9999":               "irq=GPIO9999",
		"spi:/dev/spidev0.0?reset=NOSUCHPIN":            "reset=NOSUCHPIN",
		"spi:/dev/spidev0.0?irqlevel=low":               "add irq=GPIO25",
		"spi:/dev/spidev0.0?irq=GPIO25&irqlevel=medium": "irqlevel=medium is not known (use one of high, low)",
	} {
		u, err := transport.Parse(url)
		require.NoError(t, err)
		_, err = host.Pins(u)
		require.ErrorContains(t, err, want)
	}
	u, err := transport.Parse("spi:/dev/spidev0.0")
	require.NoError(t, err)
	p, err := host.Pins(u)
	require.NoError(t, err)
	require.Nil(t, p.IRQ)
	require.Nil(t, p.Reset)
}
