package example

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// files is the file system gate of the bundle: one file, /counter, with the counter
// in decimal, to be read.
type files struct{ a *App }

const counterFile = "counter"

func (f files) text() []byte { return strconv.AppendInt(nil, int64(f.a.value()), 10) }

// List lists the root.
func (f files) List(path string) ([]sdk.Node, error) {
	switch path {
	case "/":
		return []sdk.Node{{Name: counterFile, Size: len(f.text()), Readable: true}}, nil
	case "/" + counterFile:
		return nil, sdk.ErrIllegalParameter
	}
	return nil, sdk.ErrUnknownID
}

// Read reads the counter.
func (f files) Read(path string, off, n int) ([]byte, error) {
	b := f.text()
	switch {
	case path == "/", off > len(b):
		return nil, sdk.ErrIllegalParameter
	case path != "/"+counterFile:
		return nil, sdk.ErrUnknownID
	}
	return b[off:min(len(b), off+n)], nil
}

// Write is refused: to count is what POST and the command are for.
func (f files) Write(path string, _ int, _ []byte) error {
	if path == "/"+counterFile {
		return sdk.ErrAccessDenied
	}
	return sdk.ErrUnknownID
}
