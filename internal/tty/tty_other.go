//go:build !linux

package tty

import (
	"errors"
	"os"
)

var errLinux = errors.New("serial devices and pseudo-terminals are there on Linux only")

// Open opens a serial device.
func Open(string) (*os.File, error) { return nil, errLinux }

// PTY is our end of a pseudo-terminal.
type PTY struct {
	*os.File
	Name  string
	Other *os.File
}

// NewPTY makes a pseudo-terminal.
func NewPTY(string) (*PTY, error) { return nil, errLinux }

// Close takes the pseudo-terminal away.
func (p *PTY) Close() error { return nil }
