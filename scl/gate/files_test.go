package gate_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// folder is a FileService over a map; it writes down what it is asked.
type folder struct {
	files map[string][]byte
	nodes []byte // answer to List
	asked []string
	fail  error
	more  int // octets that Read gives too many
}

func (f *folder) ask(what, path string) ([]byte, error) {
	f.asked = append(f.asked, what+" "+path)
	switch {
	case f.fail != nil:
		return nil, f.fail
	case path == "/secret":
		return nil, gate.ErrNodeAccess
	}
	b, ok := f.files[path]
	if !ok && what != "list" {
		return nil, gate.ErrNode
	}
	return b, nil
}

func (f *folder) List(path string) ([]byte, error) {
	_, err := f.ask("list", path)
	if path != "/" && err == nil {
		err = gate.ErrNode
	}
	return f.nodes, err
}

func (f *folder) Read(path string, off, n int) ([]byte, error) {
	b, err := f.ask("read", path)
	if err == nil && off > len(b) {
		err = gate.ErrNodeRange
	}
	if err != nil {
		return []byte("not this"), err
	}
	b = b[off:]
	return append(bytes.Clone(b[:min(n, len(b))]), make([]byte, f.more)...), nil
}

func (f *folder) Write(path string, off int, data []byte) error {
	b, err := f.ask("write", path)
	if err == nil && off+len(data) > len(b) {
		err = gate.ErrNodeRange
	}
	if err == nil {
		copy(b[off:], data)
	}
	return err
}

// fileBench is a network, locked, of a terminal and an SPB with the file system gate.
func fileBench(t *testing.T, f *folder) (*scl.Pipe, gate.FileClient) {
	n := scl.NewNetwork(profile, nil)
	n.Lock()
	t.Cleanup(n.Unlock)
	terminal, err := n.Register("terminal", [16]byte{1}, 0)
	require.NoError(t, err)
	spb, err := n.Register("SPB", [16]byte{2}, n.Profile().Host.UICC)
	require.NoError(t, err)
	require.NoError(t, spb.Publish(n.Profile().Gate.FileSystem, gate.NewFiles(n, f)))
	p, err := terminal.Bind(spb.ID(), n.Profile().Gate.FileSystem, nil)
	require.NoError(t, err)
	return p, gate.FileClient{Pipe: p}
}

var someNodes = []gate.Node{
	{Name: "mf", Dir: true, Readable: true},
	{Name: "EF.ICCID", Readable: true, Size: 10},
	{Name: "Größe", Readable: true, Writable: true, Size: 1<<32 - 1},
	{Name: strings.Repeat("x", 255)},
}

func encodeNodes(nodes ...gate.Node) (b []byte) {
	for _, n := range nodes {
		b = gate.AppendNode(b, n)
	}
	return b
}

func TestNodes(t *testing.T) {
	b := encodeNodes(someNodes...)
	require.Equal(t, []byte("\x03\x00\x00\x00\x00\x02mf\x02\x00\x00\x00\x0A\x08EF.ICCID"), b[:8+14])
	nodes, err := gate.ParseNodes(b)
	require.NoError(t, err)
	require.Equal(t, someNodes, nodes)
	nodes, err = gate.ParseNodes(nil)
	require.NoError(t, err)
	require.Empty(t, nodes)
	for _, tt := range []struct{ name, in, want string }{
		{"attributes alone", "\x01", "gate: node 0, octet 0: it is cut"},
		{"without a name", "\x02\x00\x00\x00\x01", "gate: node 0, octet 0: it is cut"},
		{"name cut", "\x02\x00\x00\x00\x01\x02a", "gate: node 0, octet 0: it is cut"},
		{"second one cut", "\x02\x00\x00\x00\x01\x01a\x01", "gate: node 1, octet 7: it is cut"},
		{"attributes", "\x08\x00\x00\x00\x01\x01a", "gate: node 0, octet 0: attributes 08, of which only three bits are known"},
		{"empty name", "\x02\x00\x00\x00\x01\x00", `gate: node 0, octet 6: "" is no name`},
		{"name with a slash", "\x02\x00\x00\x00\x01\x03a/b", `gate: node 0, octet 6: "a/b" is no name`},
		{"the directory above", "\x01\x00\x00\x00\x00\x02..", `gate: node 0, octet 6: ".." is no name`},
		{"name with a zero", "\x02\x00\x00\x00\x01\x01\x00", `gate: node 0, octet 6: "\x00" is no name`},
		{"name not UTF-8", "\x02\x00\x00\x00\x01\x01\xFF", `gate: node 0, octet 6: "\xff" is no name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := gate.ParseNodes([]byte(tt.in))
			require.EqualError(t, err, tt.want)
		})
	}
}

func TestFileList(t *testing.T) {
	f := &folder{nodes: encodeNodes(someNodes...)}
	_, c := fileBench(t, f)
	nodes, err := c.List("/")
	require.NoError(t, err)
	require.Equal(t, someNodes, nodes)
	_, err = c.List("/mf/nothing")
	require.ErrorIs(t, err, gate.ErrNode)
	_, err = c.List("/secret")
	require.ErrorIs(t, err, gate.ErrNodeAccess)
	require.Equal(t, []string{"list /", "list /mf/nothing", "list /secret"}, f.asked)

	f.nodes = nil
	nodes, err = c.List("/")
	require.NoError(t, err)
	require.Empty(t, nodes)
	f.nodes = []byte{1, 2, 3}
	_, err = c.List("/")
	require.ErrorIs(t, err, scl.ErrNOK, "a bundle that talks nonsense is not passed on")
	f.nodes = bytes.Repeat(encodeNodes(gate.Node{Name: strings.Repeat("x", 250)}), profile.Message.MaxLength/256+1)
	_, err = c.List("/")
	require.ErrorIs(t, err, scl.ErrNOK, "longer than a message")
}

// TestFileRead: files around the length of one piece come back whole.
func TestFileRead(t *testing.T) {
	for _, tt := range []struct{ n, calls int }{
		{0, 1}, {1, 1}, {gate.MaxPiece - 1, 1}, {gate.MaxPiece, 2}, {gate.MaxPiece + 1, 2}, {3*gate.MaxPiece + 5, 4},
	} {
		want := make([]byte, tt.n)
		for i := range want {
			want[i] = byte(i) ^ byte(i>>8)
		}
		f := &folder{files: map[string][]byte{"/mf/EF.ICCID": want}}
		_, c := fileBench(t, f)
		got, err := c.Read("/mf/EF.ICCID", tt.n)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "%d octets", tt.n)
		require.Len(t, f.asked, tt.calls)
		if tt.n > 0 {
			_, err = c.Read("/mf/EF.ICCID", tt.n-1)
			require.ErrorIs(t, err, gate.ErrFileTooLong)
		}
	}
}

func TestFileWrite(t *testing.T) {
	f := &folder{files: map[string][]byte{"/a": make([]byte, 3*gate.MaxPiece)}}
	_, c := fileBench(t, f)
	data := bytes.Repeat([]byte{7}, 2*gate.MaxPiece)
	require.NoError(t, c.Write("/a", 100, data))
	require.Len(t, f.asked, 2)
	got, err := c.Read("/a", 1<<20)
	require.NoError(t, err)
	want := make([]byte, 3*gate.MaxPiece)
	copy(want[100:], data)
	require.True(t, bytes.Equal(want, got))

	require.NoError(t, c.Write("/a", len(want), nil), "nothing, at the end")
	require.ErrorIs(t, c.Write("/a", len(want), []byte{1}), gate.ErrNodeRange, "it does not grow")
	require.ErrorIs(t, c.Write("/b", 0, []byte{1}), gate.ErrNode)
	require.ErrorIs(t, c.Write("/secret", 0, []byte{1}), gate.ErrNodeAccess)
	asked := len(f.asked)
	require.ErrorIs(t, c.Write("/a", -1, []byte{1}), gate.ErrNodeRange)
	require.ErrorIs(t, c.Write("/a", 1<<40, []byte{1}), gate.ErrNodeRange)
	require.Len(t, f.asked, asked, "that is seen before it is sent")
}

func TestFileErrors(t *testing.T) {
	f := &folder{files: map[string][]byte{"/a": {1, 2, 3}}}
	p, c := fileBench(t, f)
	_, err := c.Read("/b", 9)
	require.EqualError(t, err, "read /b: gate: no such node")
	for _, path := range []string{"", "a", "/a/", "//", "/../a", "/./a", "/a\x00", "/\xFF", "/" + strings.Repeat("x", 256), strings.Repeat("/xxxxxxx", 129)} {
		_, err := c.Read(path, 9)
		require.ErrorIs(t, err, gate.ErrNodeRange, path)
	}
	require.Len(t, f.asked, 1)

	f.more = gate.MaxPiece
	_, err = c.Read("/a", 1<<20)
	require.ErrorIs(t, err, scl.ErrNOK, "more than was asked for")
	f.fail = errors.New("the bundle faulted")
	_, err = c.Read("/a", 9)
	require.ErrorIs(t, err, scl.ErrNOK)
	_, err = c.List("/")
	require.ErrorIs(t, err, scl.ErrNOK)

	require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: profile.Command.FileList, Data: []byte("/")}))
	require.NoError(t, p.Send(scl.Message{Type: scl.Response}))
	require.Len(t, f.asked, 4, "neither event nor response does anything")
	require.NoError(t, p.Delete())
	_, err = c.Read("/a", 9)
	require.ErrorIs(t, err, scl.ErrPipeDeleted)
}

// TestFileBadInput: what a terminal may send that does not keep to the coding.
func TestFileBadInput(t *testing.T) {
	f := &folder{files: map[string][]byte{"/a": {1, 2, 3}}, nodes: encodeNodes(someNodes...)}
	p, _ := fileBench(t, f)
	c := profile.Command
	for _, tt := range []struct {
		name    string
		command byte
		data    string
		want    error
	}{
		{"list nothing", c.FileList, "", scl.ErrCmdParUnknown},
		{"list a relative path", c.FileList, "a", scl.ErrCmdParUnknown},
		{"list above", c.FileList, "/..", scl.ErrCmdParUnknown},
		{"list with a length in front", c.FileList, "\x00\x01/", scl.ErrCmdParUnknown},
		{"list a long path", c.FileList, strings.Repeat("/xxxxxxx", 129), scl.ErrCmdParUnknown},
		{"read without parameters", c.FileRead, "", scl.ErrCmdParUnknown},
		{"read half a length", c.FileRead, "\x00", scl.ErrCmdParUnknown},
		{"read a path that is cut", c.FileRead, "\x00\x03/a", scl.ErrCmdParUnknown},
		{"read without an offset", c.FileRead, "\x00\x02/a", scl.ErrCmdParUnknown},
		{"read without a length", c.FileRead, "\x00\x02/a\x00\x00\x00\x00", scl.ErrCmdParUnknown},
		{"read with more", c.FileRead, "\x00\x02/a\x00\x00\x00\x00\x00\x00\x00\x01\x00", scl.ErrCmdParUnknown},
		{"read no path", c.FileRead, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", scl.ErrCmdParUnknown},
		{"read far behind the end", c.FileRead, "\x00\x02/a\x80\x00\x00\x00\x00\x00\x00\x01", scl.ErrCmdParUnknown},
		{"read behind the end", c.FileRead, "\x00\x02/a\x00\x00\x00\x04\x00\x00\x00\x01", scl.ErrCmdParUnknown},
		{"read what is not there", c.FileRead, "\x00\x02/b\x00\x00\x00\x00\x00\x00\x00\x01", scl.ErrRegParUnknown},
		{"read what is not for this host", c.FileRead, "\x00\x07/secret\x00\x00\x00\x00\x00\x00\x00\x01", scl.ErrRegAccessDenied},
		{"write without an offset", c.FileWrite, "\x00\x02/a", scl.ErrCmdParUnknown},
		{"write more than a piece", c.FileWrite, "\x00\x02/a\x00\x00\x00\x00" + strings.Repeat("x", gate.MaxPiece+1), scl.ErrCmdParUnknown},
		{"write behind the end", c.FileWrite, "\x00\x02/a\x00\x00\x00\x03x", scl.ErrCmdParUnknown},
		{"write what is not there", c.FileWrite, "\x00\x02/b\x00\x00\x00\x00x", scl.ErrRegParUnknown},
		{"unknown command", 0x3D, "", scl.ErrCmdNotSupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, r, err := p.Call(tt.command, []byte(tt.data))
			require.NoError(t, err)
			require.ErrorIs(t, profile.Err(code), tt.want)
			require.Empty(t, r)
		})
	}
	code, r, err := p.Call(c.FileRead, []byte("\x00\x02/a\x00\x00\x00\x01\xFF\xFF\xFF\xFF"))
	require.NoError(t, err)
	require.Equal(t, profile.Response.AnyOK, code)
	require.Equal(t, []byte{2, 3}, r, "a length above the bound is cut to it")
}

// liar answers FS_READ as no gate of ours does.
type liar struct{ b []byte }

func (l liar) Opened(*scl.Pipe) (scl.PipeReceiver, error) { return l, nil }
func (liar) Closed(*scl.Pipe)                             {}
func (l liar) Message(p *scl.Pipe, _ scl.Message)         { _ = p.Respond(profile.Response.AnyOK, l.b) }

// TestFileClientTrustsNobody: more than was asked for, nodes that are none.
func TestFileClientTrustsNobody(t *testing.T) {
	_, terminal, spb := hosts(t, nil)
	require.NoError(t, spb.Publish(profile.Gate.FileSystem, liar{make([]byte, gate.MaxPiece+1)}))
	p, err := terminal.Bind(spb.ID(), profile.Gate.FileSystem, nil)
	require.NoError(t, err)
	_, err = gate.FileClient{Pipe: p}.Read("/a", 1<<20)
	require.EqualError(t, err, "read /a: 32769 octets came, 32768 were wanted")
	_, err = gate.FileClient{Pipe: p}.List("/")
	require.EqualError(t, err, `list /: gate: node 0, octet 6: "" is no name`)
}

// FuzzNodes: nodes that read, write as they were.
func FuzzNodes(f *testing.F) {
	f.Add(encodeNodes(someNodes...))
	f.Add([]byte("\x02\x00\x00\x00\x01\x02a"))
	f.Add([]byte("\x08\x00\x00\x00\x01\x01a\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		nodes, err := gate.ParseNodes(b)
		if err == nil {
			require.True(t, bytes.Equal(b, encodeNodes(nodes...)))
		}
	})
}

// FuzzFiles sends one command to the gate: what the service sees is always a path in
// its shortest form, and an offset that fits.
func FuzzFiles(f *testing.F) {
	c := profile.Command
	f.Add(c.FileList, []byte("/"))
	f.Add(c.FileRead, []byte("\x00\x02/a\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add(c.FileWrite, []byte("\x00\x02/a\x00\x00\x00\x01xy"))
	f.Add(c.FileRead, []byte("\x00\x04/../\xFF\xFF\xFF\xFF\x00\x00\x00\x01"))
	f.Add(byte(0x3D), []byte{})
	f.Fuzz(func(t *testing.T, command byte, data []byte) {
		if command > 0x3F || command <= 0x04 || len(data) > profile.Message.MaxLength { // what every gate has
			return
		}
		s := &folder{files: map[string][]byte{"/a": {1, 2, 3}}, nodes: encodeNodes(someNodes...)}
		p, _ := fileBench(t, s)
		code, _, err := p.Call(command, data)
		require.NoError(t, err)
		require.NotErrorIs(t, profile.Err(code), scl.ErrNOK)
		for _, a := range s.asked {
			_, path, _ := strings.Cut(a, " ")
			require.True(t, strings.HasPrefix(path, "/"))
			require.NotContains(t, path+"/", "/../")
			if command != c.FileList {
				require.Equal(t, len(path), int(binary.BigEndian.Uint16(data)))
			}
		}
	})
}
