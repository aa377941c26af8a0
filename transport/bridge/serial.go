package bridge

import (
	"io"
	"os"
	"time"

	"github.com/sspemu/sspemu/internal/tty"
)

// openSerial opens a serial device raw.
func openSerial(name string) (io.ReadWriteCloser, error) {
	f, err := tty.Open(name)
	if err != nil {
		return nil, err
	}
	return serial{f}, nil
}

// serial is a device whose writes have an end.
type serial struct{ *os.File }

func (s serial) Write(p []byte) (int, error) {
	_ = s.SetWriteDeadline(time.Now().Add(answerWait)) // a device that knows no deadline blocks, as ever
	return s.File.Write(p)
}
