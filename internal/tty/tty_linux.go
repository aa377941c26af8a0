package tty

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// control runs f on the descriptor of a file.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	return errors.Join(raw.Control(func(fd uintptr) { failed = do(int(fd)) }), failed)
}

// makeRaw: 8N1, no character means anything, 115,200 baud. Pseudo-terminals and USB
// devices of the CDC class do not mind the speed.
func makeRaw(f *os.File) error {
	return control(f, func(fd int) error {
		m, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		m.Iflag, m.Oflag, m.Lflag = unix.IGNBRK, 0, 0
		m.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
		m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 1, 0
		return unix.IoctlSetTermios(fd, unix.TCSETS, m)
	})
}

// Open opens a serial device. Its reads and writes take deadlines.
func Open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w (is the device plugged in? a PTY is there as long as its other end is open)", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w (the user has to be in the group that owns it, often dialout)", err)
	case err != nil:
		return nil, err
	}
	if err := makeRaw(f); err != nil {
		_ = f.Close() // err tells more
		return nil, fmt.Errorf("%s is no serial device: %w", name, err)
	}
	return f, nil
}

// PTY is our end of a pseudo-terminal. The other one is held open, too, so that it may be
// opened and closed by others.
type PTY struct {
	*os.File
	Name  string   // of the other end
	Other *os.File // the other end
	link  string
}

// NewPTY makes a pseudo-terminal, and the symbolic link to its other end, if link is not
// empty.
func NewPTY(link string) (*PTY, error) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	p := &PTY{File: f}
	var n uint32
	err = control(f, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetUint32(fd, unix.TIOCGPTN)
		}
		return err
	})
	p.Name = "/dev/pts/" + strconv.FormatUint(uint64(n), 10)
	if err == nil {
		p.Other, err = Open(p.Name)
	}
	if err == nil && link != "" {
		if err = symlink(p.Name, link); err == nil {
			p.link = link
		}
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close takes the pseudo-terminal and its link away. A link that somebody else has taken
// over stays.
func (p *PTY) Close() error {
	if to, err := os.Readlink(p.link); err == nil && to == p.Name {
		_ = os.Remove(p.link)
	}
	err := p.File.Close()
	if p.Other != nil {
		err = errors.Join(err, p.Other.Close())
	}
	return err
}

// symlink makes link point to name, in place of a symbolic link that is there already.
func symlink(name, link string) error {
	if i, err := os.Lstat(link); err == nil && i.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	return os.Symlink(name, link)
}
