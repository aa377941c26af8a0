package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/sspemu/sspemu/scl"
)

// FileService is what the file system gate asks of its host. It is called inside the
// network. Its errors are, or wrap, ErrNode, ErrNodeAccess and ErrNodeRange; any
// other one is ANY_E_NOK.
type FileService interface {
	// List gives the nodes of a directory, as AppendNode writes them. They are passed
	// on when they are well-formed.
	List(path string) ([]byte, error)
	// Read gives n octets from off on; fewer only at the end of the file, none when
	// off is there. They are valid until the next call.
	Read(path string, off, n int) ([]byte, error)
	// Write changes a part of the file, which does not grow. data is valid during the
	// call.
	Write(path string, off int, data []byte) error
}

// What a node refuses.
var (
	ErrNode       = errors.New("gate: no such node")
	ErrNodeAccess = errors.New("gate: the node cannot be read or written by this host")
	ErrNodeRange  = errors.New("gate: the node is of the other kind, or the offset is behind its end")
)

// fileErrors are the responses that stand for them.
var fileErrors = []struct{ service, response error }{
	{ErrNode, scl.ErrRegParUnknown},
	{ErrNodeAccess, scl.ErrRegAccessDenied},
	{ErrNodeRange, scl.ErrCmdParUnknown},
}

// Bounds of the file system gate, chosen.
const (
	MaxPath  = 1024    // octets
	MaxPiece = 1 << 15 // octets of a file in one message; at most half of message.max_length
)

// Files is the file system gate: the nodes that an SPB exposes.
//
//	terminal                                 gate                     service
//	FS_LIST path ──────────────────────────────>│── List ───────────────>│
//	<───────────────────────── ANY_OK nodes ────│<───────────────────────│
//	FS_READ path, offset, length ──────────────>│── Read ───────────────>│
//	<───────────────────────── ANY_OK octets ───│<── at most MaxPiece ───│
//	   ... until fewer come than were asked for
//	FS_WRITE path, offset, octets ─────────────>│── Write ──────────────>│
//	<───────────────────────── ANY_OK ──────────│<───────────────────────│
//
//	FS_LIST    path
//	FS_READ    length of path (2), path, offset (4), length (4)
//	FS_WRITE   length of path (2), path, offset (4), octets, at most MaxPiece
//	nodes      one after the other: attributes (1: bit 1 directory, bit 2 readable,
//	           bit 3 writable), size (4), length of the name (1), name
//
// Numbers are big-endian, paths are UTF-8, absolute and in their shortest form: "/"
// is the root, "/mf/EF.ICCID" a node. It is the coding of gate 4 of the bundle ABI
// (docs/abi.md). Each message is carried out by itself: there are no open files, and
// a file that is written in pieces is not written at once.
//
// No such node: ANY_E_REG_PAR_UNKNOWN. No right to it: ANY_E_REG_ACCESS_DENIED. Wrong
// parameters, an offset behind the end, a directory for a file or the other way:
// ANY_E_CMD_PAR_UNKNOWN.
//
// TS 103 666-1 has a UICC file system and an SSP file system; the coding is ours.
type Files struct {
	n *scl.Network
	s FileService
}

// NewFiles makes the file system gate of a host of n.
func NewFiles(n *scl.Network, s FileService) *Files { return &Files{n, s} }

// Opened takes every pipe.
func (g *Files) Opened(*scl.Pipe) (scl.PipeReceiver, error) { return g, nil }

// Closed has nothing to end.
func (g *Files) Closed(*scl.Pipe) {}

// Message takes the commands of the gate.
func (g *Files) Message(p *scl.Pipe, m scl.Message) {
	if m.Type != scl.Command {
		return
	}
	pr := g.n.Profile()
	var data []byte
	err := scl.ErrCmdNotSupported
	switch m.Instruction {
	case pr.Command.FileList:
		data, err = g.list(m.Data)
	case pr.Command.FileRead:
		data, err = g.read(m.Data)
	case pr.Command.FileWrite:
		err = g.write(m.Data)
	}
	for _, e := range fileErrors {
		if errors.Is(err, e.service) {
			err = e.response
		}
	}
	if err != nil {
		data = nil
	}
	if errors.Is(p.Respond(pr.Code(err), data), scl.ErrMessageTooLong) {
		_ = p.Respond(pr.Response.AnyENOK, nil)
	}
}

func (g *Files) list(b []byte) ([]byte, error) {
	if !validPath(b) {
		return nil, scl.ErrCmdParUnknown
	}
	nodes, err := g.s.List(string(b))
	if err == nil {
		_, err = ParseNodes(nodes)
	}
	return nodes, err
}

func (g *Files) read(b []byte) ([]byte, error) {
	path, off, b, ok := takeFile(b)
	if !ok || len(b) != 4 {
		return nil, scl.ErrCmdParUnknown
	}
	n := min(int(binary.BigEndian.Uint32(b)), piece(g.n.Profile()))
	data, err := g.s.Read(path, off, n)
	if err == nil && len(data) > n {
		err = fmt.Errorf("gate: %d octets were read, %d were wanted", len(data), n)
	}
	return data, err
}

func (g *Files) write(b []byte) error {
	path, off, b, ok := takeFile(b)
	if !ok || len(b) > piece(g.n.Profile()) {
		return scl.ErrCmdParUnknown
	}
	return g.s.Write(path, off, b)
}

// piece is the most octets of a file in one message of the profile, beside a path.
func piece(p *scl.Profile) int { return min(MaxPiece, p.Message.MaxLength/2) }

// takeFile takes length of path, path and offset off b.
func takeFile(b []byte) (path string, off int, rest []byte, ok bool) {
	if len(b) < 2 {
		return "", 0, nil, false
	}
	k := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; len(b) < k+4 || !validPath(b[:k]) {
		return "", 0, nil, false
	}
	at := binary.BigEndian.Uint32(b[k:])
	return string(b[:k]), int(at), b[k+4:], at <= math.MaxInt32
}

// validPath tells whether b is an absolute path in its shortest form.
func validPath(b []byte) bool {
	if len(b) == 0 || len(b) > MaxPath || b[0] != '/' || !utf8.Valid(b) {
		return false
	}
	if len(b) == 1 {
		return true
	}
	for name := range strings.SplitSeq(string(b[1:]), "/") {
		if !validName(name) {
			return false
		}
	}
	return true
}

func validName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 255 && utf8.ValidString(s) && !strings.ContainsAny(s, "/\x00")
}

// Node is an entry of a directory.
type Node struct {
	Name     string // 1 to 255 octets of UTF-8
	Dir      bool
	Readable bool
	Writable bool
	Size     uint32 // octets; of a file
}

// AppendNode adds the coding of a node.
func AppendNode(b []byte, n Node) []byte {
	var attributes byte
	for i, set := range [...]bool{n.Dir, n.Readable, n.Writable} {
		if set {
			attributes |= 1 << i
		}
	}
	b = binary.BigEndian.AppendUint32(append(b, attributes), n.Size)
	return append(append(b, byte(len(n.Name))), n.Name...)
}

// ParseNodes reads the nodes of a directory.
func ParseNodes(b []byte) (nodes []Node, err error) {
	for at := 0; len(b) > 0; {
		if len(b) < 6 || len(b) < 6+int(b[5]) {
			return nil, fmt.Errorf("gate: node %d, octet %d: it is cut", len(nodes), at)
		}
		k := 6 + int(b[5])
		n := Node{Name: string(b[6:k]), Dir: b[0]&1 != 0, Readable: b[0]&2 != 0, Writable: b[0]&4 != 0, Size: binary.BigEndian.Uint32(b[1:])}
		switch {
		case b[0] > 7:
			return nil, fmt.Errorf("gate: node %d, octet %d: attributes %02X, of which only three bits are known", len(nodes), at, b[0])
		case !validName(n.Name):
			return nil, fmt.Errorf("gate: node %d, octet %d: %q is no name", len(nodes), at+6, n.Name)
		}
		nodes, at, b = append(nodes, n), at+k, b[k:]
	}
	return nodes, nil
}

// FileClient is the other end of a file system gate: what a terminal does with a
// pipe to it. It is used inside the network. Its errors wrap ErrNode, ErrNodeAccess,
// ErrNodeRange or those of the pipe.
type FileClient struct{ Pipe *scl.Pipe }

// List gives the nodes of a directory.
func (c FileClient) List(path string) ([]Node, error) {
	b, err := c.call("list", path, c.profile().Command.FileList, []byte(path))
	if err != nil {
		return nil, err
	}
	nodes, err := ParseNodes(b)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	return nodes, nil
}

// Read gives the whole file, in as many pieces as it takes; ErrFileTooLong when it
// has more octets than max.
func (c FileClient) Read(path string, max int) ([]byte, error) {
	var file []byte
	for n := piece(c.profile()); ; {
		par := binary.BigEndian.AppendUint32(fileParameters(path, len(file)), uint32(n))
		b, err := c.call("read", path, c.profile().Command.FileRead, par)
		switch {
		case err != nil:
			return nil, err
		case len(b) > n:
			return nil, fmt.Errorf("read %s: %d octets came, %d were wanted", path, len(b), n)
		case len(file)+len(b) > max:
			return nil, fmt.Errorf("read %s: %w, %d", path, ErrFileTooLong, max)
		}
		if file = append(file, b...); len(b) < n {
			return file, nil
		}
	}
}

// ErrFileTooLong: the file is longer than the caller takes.
var ErrFileTooLong = errors.New("gate: the file has more octets than wanted")

// Write changes a part of a file, from off on, in as many pieces as it takes. After
// an error some of them may be written.
func (c FileClient) Write(path string, off int, data []byte) error {
	if off < 0 || off > math.MaxInt32-len(data) {
		return fmt.Errorf("write %s: offset %d: %w", path, off, ErrNodeRange)
	}
	for {
		n := min(len(data), piece(c.profile()))
		if _, err := c.call("write", path, c.profile().Command.FileWrite, append(fileParameters(path, off), data[:n]...)); err != nil {
			return err
		}
		if off, data = off+n, data[n:]; len(data) == 0 {
			return nil
		}
	}
}

func (c FileClient) profile() *scl.Profile { return c.Pipe.Host().Network().Profile() }

func (c FileClient) call(what, path string, command byte, par []byte) ([]byte, error) {
	if !validPath([]byte(path)) {
		return nil, fmt.Errorf("%s %q: it is no absolute path: %w", what, path, ErrNodeRange)
	}
	code, b, err := c.Pipe.Call(command, par)
	if err == nil {
		err = c.profile().Err(code)
	}
	for _, e := range fileErrors {
		if errors.Is(err, e.response) {
			err = e.service
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, path, err)
	}
	return b, nil
}

func fileParameters(path string, off int) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(path)))
	return binary.BigEndian.AppendUint32(append(b, path...), uint32(off))
}
