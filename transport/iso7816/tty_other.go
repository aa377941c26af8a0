//go:build !linux

package iso7816

import "errors"

var errNoTTY = errors.New("serial devices are there on Linux only (tcp: is everywhere)")

func openTTY(string, serialOptions) (port, error) { return nil, errNoTTY }

func newPTY(string) (port, string, error) { return nil, "", errNoTTY }
