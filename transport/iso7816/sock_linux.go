package iso7816

import (
	"syscall"

	"golang.org/x/sys/unix"
)

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
func giveUp(c syscall.RawConn, millis int) {
	_ = c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, millis)
	})
}
