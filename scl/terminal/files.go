package terminal

import (
	"context"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// Files is a pipe session to the file system gate of the active SPB. It is safe for
// use by several goroutines. Errors of the gate are gate.ErrNode, gate.ErrNodeAccess
// and gate.ErrNodeRange.
type Files struct {
	t *Terminal
	c gate.FileClient
}

// Files opens one. ErrNoCard, ErrNoService.
func (t *Terminal) Files(ctx context.Context) (*Files, error) {
	f := &Files{t: t}
	err := t.do(ctx, func() (err error) {
		f.c.Pipe, err = t.open(t.p.Gate.FileSystem, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// List lists a directory; "/" is the root.
func (f *Files) List(ctx context.Context, path string) (nodes []gate.Node, err error) {
	err = f.do(ctx, func() (err error) {
		nodes, err = f.c.List(path)
		return err
	})
	return nodes, err
}

// Read reads a whole file of at most max octets.
func (f *Files) Read(ctx context.Context, path string, max int) (b []byte, err error) {
	err = f.do(ctx, func() (err error) {
		b, err = f.c.Read(path, max)
		return err
	})
	return b, err
}

// Write changes a part of a file, which does not grow.
func (f *Files) Write(ctx context.Context, path string, off int, data []byte) error {
	return f.do(ctx, func() error { return f.c.Write(path, off, data) })
}

// Close ends the session.
func (f *Files) Close() error {
	return f.t.do(context.Background(), f.c.Pipe.Delete)
}

func (f *Files) do(ctx context.Context, ask func() error) error {
	return f.t.do(ctx, func() error {
		err := ask()
		if errors.Is(err, scl.ErrPipeDeleted) {
			return fmt.Errorf("%w: %w", ErrRemoved, err)
		}
		return err
	})
}
