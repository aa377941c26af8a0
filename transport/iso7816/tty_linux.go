package iso7816

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	ttys "github.com/sspemu/sspemu/internal/tty"
)

// tty is a terminal device.
type tty struct{ *os.File }

// control runs f on the descriptor.
func (t tty) control(f func(fd int) error) error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	return errors.Join(raw.Control(func(fd uintptr) { failed = f(int(fd)) }), failed)
}

// openTTY opens a device: a uart if it has modem lines and reset names one.
func openTTY(name string, o serialOptions) (port, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w (is the device plugged in? a PTY is there as long as its other end is open)", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w (the user has to be in the group that owns it, often dialout)", err)
	case err != nil:
		return nil, err
	}
	t := tty{f}
	lines := false
	err = t.control(func(fd int) error {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS2); err != nil {
			return fmt.Errorf("%s is no serial device: %w", name, err)
		}
		_, err := unix.IoctlGetInt(fd, unix.TIOCMGET)
		lines = err == nil
		return nil
	})
	if err == nil && !lines && o.reset != "" && o.reset != "inband" {
		err = fmt.Errorf("%s has no modem lines, so reset=%s cannot be (leave it out)", name, o.reset)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	if !lines || o.reset == "inband" {
		return t, t.close(t.mode(o.baud, 0, false))
	}
	u := &realUART{tty: t, o: o, gone: make(chan struct{})}
	return u, t.close(errors.Join(u.rate(time.Second/time.Duration(o.baud), 0), u.reset(false)))
}

// close closes the device when there is an error, which it gives back.
func (t tty) close(err error) error {
	if err != nil {
		_ = t.Close()
	}
	return err
}

// mode makes the device raw, with so many baud; real: 8E2 for T=0, 8E1 for T=1, and
// wrong parity is marked.
func (t tty) mode(baud int, protocol byte, real bool) error {
	return t.control(func(fd int) error {
		m, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
		if err != nil {
			return err
		}
		m.Iflag = unix.IGNBRK
		m.Oflag, m.Lflag = 0, 0
		m.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.BOTHER
		if real {
			m.Iflag |= unix.INPCK | unix.PARMRK
			m.Cflag |= unix.PARENB
			if protocol == 0 {
				m.Cflag |= unix.CSTOPB
			}
		}
		m.Ispeed, m.Ospeed = uint32(baud), uint32(baud)
		m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(fd, unix.TCSETSW2, m); err != nil {
			return fmt.Errorf("%s: %d baud: %w", t.Name(), baud, err)
		}
		return nil
	})
}

// realUART is a device with modem lines.
type realUART struct {
	tty
	o    serialOptions
	once sync.Once
	gone chan struct{}
}

func (u *realUART) Close() error {
	u.once.Do(func() { close(u.gone) })
	return u.tty.Close()
}

func (u *realUART) rate(etu time.Duration, t byte) error {
	return u.mode(int((time.Second+etu/2)/etu), t, true)
}

// reset: an active modem line is what pulls the reset of a Phoenix interface.
func (u *realUART) reset(down bool) error {
	bit, req := unix.TIOCM_RTS, uint(unix.TIOCMBIC)
	switch {
	case u.o.reset == "none":
		return nil
	case u.o.reset == "dtr":
		bit = unix.TIOCM_DTR
	}
	if down {
		req = unix.TIOCMBIS
	}
	return u.control(func(fd int) error { return unix.IoctlSetPointerInt(fd, req, bit) })
}

// watch looks at the line that a null modem joins with that of the other end.
func (u *realUART) watch(f func()) {
	bit := unix.TIOCM_CTS
	switch u.o.reset {
	case "none":
		return
	case "dtr":
		bit = unix.TIOCM_DSR
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	pulled := false
	for {
		select {
		case <-u.gone:
			return
		case <-look.C:
		}
		var lines int
		if u.control(func(fd int) (err error) {
			lines, err = unix.IoctlGetInt(fd, unix.TIOCMGET)
			return err
		}) != nil {
			return
		}
		now := lines&bit != 0
		if pulled && !now {
			f()
		}
		pulled = now
	}
}

// newPTY makes a pseudo-terminal and gives the side that is ours and the name of the
// other. That one is held open, too, so that it may be opened and closed by others.
func newPTY(link string) (port, string, error) {
	p, err := ttys.NewPTY(link)
	if err != nil {
		return nil, "", err
	}
	return &master{tty{p.File}, p}, p.Name, nil
}

// master is our side of a pseudo-terminal.
type master struct {
	tty
	p *ttys.PTY
}

// pending is how much the other side has written that was not read here.
func (m *master) pending() int { return m.tty.waiting() }

// unread is how much was written here that the other side has not read.
func (m *master) unread() int { return tty{m.p.Other}.waiting() }

// waiting is how much can be read at once.
func (t tty) waiting() (n int) {
	_ = t.control(func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		return err
	})
	return n
}

func (m *master) Close() error { return m.p.Close() }
