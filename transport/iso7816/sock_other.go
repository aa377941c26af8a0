//go:build !linux

package iso7816

import "syscall"

// quickACK: only Linux can do this, and only there the driver needs it.
func quickACK(uintptr) {}

// giveUp: the system's own bound holds.
func giveUp(syscall.RawConn, int) {}
