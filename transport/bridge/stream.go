package bridge

import (
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sspemu/sspemu/transport"
)

// opener opens the stream to a board.
type opener func() (io.ReadWriteCloser, error)

// newOpener reads from a URL where the board is.
func newOpener(u transport.URL) (opener, error) {
	if u.Host != "" {
		if u.Path != "" || u.Port <= 0 {
			return nil, u.Errorf("write bridge://HOST:PORT")
		}
		return dialer("tcp", net.JoinHostPort(u.Host, strconv.Itoa(u.Port))), nil
	}
	if path, ok := strings.CutPrefix(u.Path, "unix:"); ok && path != "" {
		return dialer("unix", path), nil
	}
	if !strings.HasPrefix(u.Path, "/") {
		return nil, u.Errorf("write bridge:/dev/ttyACM0, bridge:unix:/PATH or bridge://HOST:PORT")
	}
	return func() (io.ReadWriteCloser, error) { return openSerial(u.Path) }, nil
}

func dialer(network, addr string) opener {
	return func() (io.ReadWriteCloser, error) {
		c, err := net.DialTimeout(network, addr, 5*time.Second)
		if err != nil {
			return nil, err
		}
		return stream{c}, nil
	}
}

// stream is a connection whose writes have an end.
type stream struct{ net.Conn }

func (s stream) Write(p []byte) (int, error) {
	_ = s.SetWriteDeadline(time.Now().Add(answerWait)) // fails on a closed connection only, as Write will
	return s.Conn.Write(p)
}
