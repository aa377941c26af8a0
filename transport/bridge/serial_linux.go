package bridge

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openSerial opens a serial device raw, 8N1. A USB device of the CDC class does not
// mind the speed; others get 115,200 baud.
func openSerial(name string) (io.ReadWriteCloser, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w (is the board plugged in?)", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w (the user has to be in the group that owns it, often dialout)", err)
	case err != nil:
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = makeRaw(int(fd)) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		_ = f.Close() // err tells more
		return nil, fmt.Errorf("%s is no serial device: %w", name, err)
	}
	return serial{f}, nil
}

func makeRaw(fd int) error {
	m, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	m.Iflag, m.Oflag, m.Lflag = unix.IGNBRK, 0, 0
	m.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, m)
}

// serial is a device whose writes have an end.
type serial struct{ *os.File }

func (s serial) Write(p []byte) (int, error) {
	_ = s.SetWriteDeadline(time.Now().Add(answerWait)) // a device that knows no deadline blocks, as ever
	return s.File.Write(p)
}
