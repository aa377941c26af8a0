package iso7816

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket reads a TCP connection in the fastest way there is for one goroutine that
// waits for one peer: the thread itself waits in the system, which saves the way
// through the poller of the Go runtime with its two further system calls and a
// switch, some 6 us of the 150 that an exchange through pcscd takes.
type socket struct {
	raw  syscall.RawConn
	read func(fd uintptr) // made once: a closure for each read would allocate

	p   []byte
	n   int
	err error
}

// newSource makes c blocking. Its other end, and Close, see no difference, if Close
// comes after CloseRead.
func newSource(c *net.TCPConn) (source, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{raw: raw}
	s.read = func(fd uintptr) {
		quickACK(fd)
		for {
			if s.n, s.err = unix.Read(int(fd), s.p); s.err != unix.EINTR {
				return
			}
		}
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		giveUp(fd)
		timeout := unix.NsecToTimeval(int64(stall))
		failed = errors.Join(
			unix.SetsockoptTimeval(int(fd), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
			unix.SetNonblock(int(fd), false))
	})
	return s.Read, errors.Join(err, failed)
}

// Read is a source.
func (s *socket) Read(p []byte) (int, error) {
	s.p = p
	err := s.raw.Control(s.read)
	s.p = nil
	switch {
	case err != nil:
		return 0, err
	case s.err == unix.EAGAIN:
		return 0, os.ErrDeadlineExceeded
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// quickACK makes the kernel acknowledge at once what arrives next. Linux falls
// back to delayed acknowledgements by itself, hence before every read. Debian's
// driver sends length and payload in two segments and its Nagle algorithm holds
// the second one back until the first is acknowledged: 40 ms for each APDU
// without this.
func quickACK(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}

// giveUp bounds how long sent bytes may stay unacknowledged before the
// connection counts as lost.
func giveUp(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lost/time.Millisecond))
}
