package terminal_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
)

// disk is a gate.FileService with one file.
type disk struct{ body []byte }

func (d *disk) List(path string) ([]byte, error) {
	if path != "/" {
		return nil, gate.ErrNode
	}
	return gate.AppendNode(nil, gate.Node{Name: "big", Size: uint32(len(d.body)), Readable: true, Writable: true}), nil
}

func (d *disk) Read(path string, off, n int) ([]byte, error) {
	switch {
	case path == "/":
		return nil, gate.ErrNodeRange
	case path != "/big":
		return nil, gate.ErrNode
	}
	return d.body[min(off, len(d.body)):min(off+n, len(d.body))], nil
}

func (d *disk) Write(path string, off int, data []byte) error {
	if path != "/big" {
		return gate.ErrNodeAccess
	}
	copy(d.body[off:], data)
	return nil
}

func TestFiles(t *testing.T) {
	s := newSSP(t)
	ctx := context.Background()
	_, err := s.t.Files(ctx)
	require.ErrorIs(t, err, terminal.ErrNoService)
	d := &disk{body: bytes.Repeat([]byte("0123456789"), 10000)}
	s.n.Exclusive(func() {
		require.NoError(t, s.spb.Publish(s.n.Profile().Gate.FileSystem, gate.NewFiles(s.n, d)))
	})
	f, err := s.t.Files(ctx)
	require.NoError(t, err)
	nodes, err := f.List(ctx, "/")
	require.NoError(t, err)
	require.Equal(t, []gate.Node{{Name: "big", Size: 100000, Readable: true, Writable: true}}, nodes)
	require.NoError(t, f.Write(ctx, "/big", 5, []byte("xyz")))
	b, err := f.Read(ctx, "/big", 1<<20)
	require.NoError(t, err)
	require.Equal(t, d.body, b)
	_, err = f.Read(ctx, "/other", 10)
	require.ErrorIs(t, err, gate.ErrNode)
	_, err = f.Read(ctx, "/", 10)
	require.ErrorIs(t, err, gate.ErrNodeRange)
	require.ErrorIs(t, f.Write(ctx, "/other", 0, nil), gate.ErrNodeAccess)
	s.leave(t)
	_, err = f.List(ctx, "/")
	require.ErrorIs(t, err, terminal.ErrRemoved)
	require.NoError(t, f.Close())
}
