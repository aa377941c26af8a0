// Package host finds the buses and pins of the machine that a controller runs on,
// through periph.io, and says what to do when they are not there.
//
//	transport/spi, transport/i2c
//	        │ SPI, I2C, Pins
//	host ───┴──> periph.io/x/host: /dev/spidev*, /dev/i2c-*, GPIO
//
// Sources: Linux, Documentation/spi/spidev.rst, Documentation/i2c/dev-interface.rst;
// the settings and groups are those of Raspberry Pi OS.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpioreg"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/host/v3"
	"periph.io/x/host/v3/sysfs"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// initOnce loads the drivers of periph.io, which look at the machine.
var initOnce = sync.OnceValue(func() error {
	_, err := host.Init()
	return err
})

// SPI opens a device such as /dev/spidev0.0.
func SPI(path string) (spi.PortCloser, error) {
	var n, cs int
	if err := numbers(path, "/dev/spidev", ".", &n, &cs); err != nil {
		return nil, fmt.Errorf("%s is not the name of an SPI device (write spi:/dev/spidev0.0)", path)
	}
	if err := Usable(path, "spi", "dtparam=spi=on"); err != nil {
		return nil, err
	}
	if err := initOnce(); err != nil {
		return nil, err
	}
	return sysfs.NewSPI(n, cs)
}

// I2C opens a bus such as /dev/i2c-1.
func I2C(path string) (i2c.BusCloser, error) {
	var n int
	if err := numbers(path, "/dev/i2c-", "", &n); err != nil {
		return nil, fmt.Errorf("%s is not the name of an I2C bus (write i2c:/dev/i2c-1)", path)
	}
	if err := Usable(path, "i2c", "dtparam=i2c_arm=on"); err != nil {
		return nil, err
	}
	return sysfs.NewI2C(n)
}

// numbers takes the numbers out of a path: prefix, number, separator, number.
func numbers(path, prefix, separator string, to ...*int) error {
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok {
		return fs.ErrInvalid
	}
	parts := []string{rest}
	if separator != "" {
		parts = strings.Split(rest, separator)
	}
	if len(parts) != len(to) {
		return fs.ErrInvalid
	}
	for i, s := range parts {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return err
		}
		*to[i] = int(n)
	}
	return nil
}

// Usable tells whether a device can be opened for reading and writing, and if not,
// what to do. Setting is what makes a Raspberry Pi have it.
func Usable(path, group, setting string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return Explain(path, err, group, setting)
	}
	if info, err := f.Stat(); err == nil && info.Mode()&fs.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is a file, not a device", path)
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// Explain says what to do when a device cannot be opened.
func Explain(path string, err error, group, setting string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		there, _ := filepath.Glob(strings.TrimRight(path, "0123456789.") + "*") // the pattern is well-formed
		have := "there is none on this machine"
		if len(there) > 0 {
			have = "there are " + strings.Join(there, ", ")
		}
		return fmt.Errorf("%w; %s (on a Raspberry Pi put %s into /boot/firmware/config.txt and reboot; see docs/hardware.md)", err, have, setting)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (add yourself to the group %s: sudo usermod -aG %s $USER, then log in again)", err, group, group)
	}
	return err
}

// PinParams are the URL parameters that Pins reads.
var PinParams = []string{"irq", "irqlevel", "reset"}

// Pins are the lines that the parameters of a URL name: irq=GPIO25, irqlevel=high or
// low, reset=GPIO24.
func Pins(u transport.URL) (p bus.Pins, err error) {
	level, err := u.OneOf("irqlevel", "high", "low")
	if err != nil {
		return p, err
	}
	p.IRQLow = level == "low"
	if name, ok := u.Params["irq"]; ok {
		if p.IRQ, err = pin(u, "irq", name); err != nil {
			return p, err
		}
	} else if _, ok := u.Params["irqlevel"]; ok {
		return p, u.Errorf("irqlevel= says how the interrupt line is, but there is none (add irq=GPIO25)")
	}
	if name, ok := u.Params["reset"]; ok {
		if p.Reset, err = pin(u, "reset", name); err != nil {
			return p, err
		}
	}
	return p, nil
}

func pin(u transport.URL, param, name string) (gpio.PinIO, error) {
	if err := initOnce(); err != nil {
		return nil, u.Errorf("%s=%s: %w", param, name, err)
	}
	p := gpioreg.ByName(name)
	if p == nil {
		all := gpioreg.All()
		if len(all) == 0 {
			return nil, u.Errorf("%s=%s: this machine has no GPIO pins, or no permission for them (ls -l /dev/gpiochip*; group gpio)", param, name)
		}
		return nil, u.Errorf("%s=%s: there is no such pin (%d pins, such as %s)", param, name, len(all), all[0].Name())
	}
	return p, nil
}
