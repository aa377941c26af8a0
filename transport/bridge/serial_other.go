//go:build !linux

package bridge

import (
	"errors"
	"io"
)

func openSerial(string) (io.ReadWriteCloser, error) {
	return nil, errors.New("serial devices are there on Linux only (bridge://HOST:PORT works everywhere)")
}
