// Package pigpio makes a Raspberry Pi the SSP's plug on an I2C bus: the BSC peripheral
// of the Pi is the I2C target, and pigpiod, the Pi's own daemon, hands its bytes over
// TCP. The emulator may run anywhere.
//
//	sspemu ── pigpio://PI:8888/i2c ──TCP── pigpiod ── BSC ~~ SDA SCL ~~ controller
//	   bus.Socket                                       └ GPIO ~~ IRQ, RST ~~
//
//	client.go   the daemon's socket protocol: the commands that are used here
//	socket.go   the bus.Socket: two queues kept in step with the two FIFOs
//
// What the peripheral cannot do, and what follows:
//
//   - It acknowledges its address always. A controller that reads when nothing lies
//     ready gets bytes of 00, not a NACK; both are idle for T=1' and SHDLC.
//   - Its FIFOs hold 16 bytes. The daemon serves them by itself while the bus is busy,
//     for up to 512 bytes that it was given before; on a fast bus or a slow network a
//     read may run dry, and is then filled with 00, which the CRC of the protocol finds.
//   - It does not tell where an access begins and ends. Bytes are taken for one access
//     until the bus rests.
//   - A Pi 5 has no such peripheral. That of the Pi 4 is at GPIO 10 and 11 instead of
//     18 and 19, and pigpio's documentation says of it that I2C does not work there.
//
// Sources: pigpio's documentation of its socket interface and of bsc_xfer, and Debian's
// python3-pigpio 1.78 as the reference client; Broadcom BCM2835 ARM Peripherals chapter
// 11 (BSC/SPI slave). Not run on a Pi.
package pigpio

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/bus/buslink"
)

// port is the daemon's.
const port = 8888

// Params are the parameters of a pigpio: URL beside those of the protocol.
var Params = []string{"addr", "irq", "irqlevel", "poll", "reset"}

// With are the links of this package:
//
//	pigpio://PI[:8888]/i2c?addr=0x48[&irq=24][&irqlevel=high|low][&reset=25][&poll=2ms]
//
// irq and reset are GPIO numbers of the Pi: it drives the one and watches the other,
// which is active low.
func With(c buslink.Config) transport.Schemes {
	return transport.Schemes{"pigpio": func(u transport.URL, role transport.Role) (transport.Link, error) {
		if role == transport.Controller {
			return nil, u.Errorf("pigpio: is the SSP's end of the bus (the terminal's end on a Pi is i2c:/dev/i2c-1, on the Pi itself)")
		}
		s, err := Socket(u)
		if err != nil {
			return nil, err
		}
		return c.Place(u, Params, s)
	}}
}

// Schemes is With the numbers of scl-profile-0.
var Schemes = With(buslink.Default())

// Socket is the place on the bus that a URL names. It does not look at parameters that
// are not its own.
func Socket(u transport.URL) (bus.Socket, error) {
	if u.Host == "" || u.Path != "i2c" || u.Port == 0 {
		return nil, u.Errorf("write pigpio://HOST:%d/i2c?addr=0x48 (HOST is the Raspberry Pi that runs pigpiod)", port)
	}
	s := &socket{url: u.String(), addr: u.Addr(port), irq: -1, reset: -1, poll: 2 * time.Millisecond}
	a, err := buslink.Addr(u)
	if err != nil {
		return nil, err
	}
	s.control = uint32(a)<<controlAddr | controlI2C
	if s.irq, err = pin(u, "irq"); err != nil {
		return nil, err
	}
	if s.reset, err = pin(u, "reset"); err != nil {
		return nil, err
	}
	if s.irq >= 0 && s.irq == s.reset {
		return nil, u.Errorf("irq and reset are the same GPIO")
	}
	level, err := u.OneOf("irqlevel", "high", "low")
	if err != nil {
		return nil, err
	}
	if _, ok := u.Params["irqlevel"]; ok && s.irq < 0 {
		return nil, u.Errorf("irqlevel= says how the interrupt line is, but there is none (add irq=24)")
	}
	s.irqLow = level == "low"
	if v, ok := u.Params["poll"]; ok {
		if s.poll, err = time.ParseDuration(v); err != nil || s.poll < 100*time.Microsecond || s.poll > time.Second {
			return nil, u.Errorf("poll=%s is not a time from 100us to 1s", v)
		}
	}
	return s, nil
}

// pin reads a GPIO number, with or without the word GPIO; -1 when there is none.
func pin(u transport.URL, param string) (int, error) {
	v, ok := u.Params[param]
	if !ok {
		return -1, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(strings.ToUpper(v), "GPIO"))
	switch {
	case err != nil || n < 0 || n > 27:
		return -1, u.Errorf("%s=%s is not a GPIO of the Pi's header, 0 to 27", param, v)
	case n == 18 || n == 19 || n == 10 || n == 11:
		return -1, u.Errorf("%s=%s: GPIO 18 and 19, on a Pi 4 10 and 11, are SDA and SCL of the I2C target", param, v)
	}
	return n, nil
}

// daemonError is a negative result of the daemon.
type daemonError struct {
	cmd command
	res int32
}

func (e daemonError) Error() string {
	text := map[int32]string{
		-2: "bad user GPIO", -3: "bad GPIO", -4: "bad mode", -5: "bad level", -24: "no handle left", -25: "bad handle",
		-41: "GPIO not permitted (see pigpiod -x)", -88: "unknown command",
	}[e.res]
	if text == "" {
		text = "see its documentation"
	}
	return fmt.Sprintf("pigpiod: %s gave error %d (%s)", e.cmd, e.res, text)
}
