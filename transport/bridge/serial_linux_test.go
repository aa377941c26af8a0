package bridge

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sspemu/sspemu/transport/bus"
)

// TestSerial: a board on a pseudo-terminal; it is raw, and its end is noticed.
func TestSerial(t *testing.T) {
	board, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer board.Close()
	raw, err := board.SyscallConn()
	require.NoError(t, err)
	var n int
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	}))
	require.NoError(t, err)
	echo := newPair(bus.I2C)
	defer pairController{echo}.Close()
	all := make([]byte, 256) // every byte passes, 03, 04, 0D and 11 too
	for i := range all {
		all[i] = byte(i)
	}
	lines, err := pairSocket{echo}.Attach(&ready{all})
	require.NoError(t, err)
	require.NotNil(t, lines)
	go func() { _ = ServeController(board, pairController{echo}, "pty") }()
	c, err := newPlaceOf(t, "bridge:/dev/pts/"+strconv.Itoa(n)).dial()
	require.NoError(t, err)
	defer c.Close()
	r := make([]byte, 256)
	require.NoError(t, c.Tx(all, r))
	require.Equal(t, all, r)
	require.NoError(t, board.Close())
	require.Eventually(t, func() bool { return c.Tx(all, nil) != nil }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, c.Tx(all, nil), bus.ErrClosed)
}

// ready is a bus.Target that always has the same to say.
type ready struct{ p []byte }

func (r *ready) Written([]byte)  {}
func (r *ready) Pending() []byte { return r.p }
func (r *ready) Taken(int)       {}
func (r *ready) Reset()          {}
