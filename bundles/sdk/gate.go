package sdk

import "github.com/sspemu/sspemu/internal/vpp"

// Gates in the numbering of the ABI (docs/abi.md); the platform maps them to the
// gate identifiers of the SCL profile.
const (
	GateAPDU  = 1 // UICC APDU
	GateTCP   = 2 // TCP: streams of octets, one a pipe; HTTP rides on it
	GateUDP   = 3 // UDP: datagrams with the address of the peer; CoAP rides on it
	GateFiles = 4 // UICC/SSP file system: the nodes that the bundle exposes
)

// Instructions at the TCP and UDP gates, in the numbering of the ABI.
//
//	instruction   to the bundle                          from the bundle (Send)
//	Opened  1     a pipe session begins; no data         -
//	Data    2     TCP: octets of the stream              the same
//	              UDP: peer (Peer), then a datagram
//	Credit  3     4 octets, big-endian: so much more     TCP: so much more may come;
//	              may be sent                            UDP: the platform sees to that
//	Closed  4     one octet, a reason: the session ends  ends the session
//
// Credit is counted in octets: Data of n octets costs n+1. Both directions begin
// with none.
const (
	Opened byte = 1
	Data   byte = 2
	Credit byte = 3
	Closed byte = 4
)

// PeerLength is the length of a peer in front of a datagram: an IPv6 address
// (IPv4 mapped, RFC 4291 2.5.5.2) and a port, both big-endian.
const PeerLength = 18

// Gate is a service of a bundle at the TCP or UDP gate.
type Gate interface {
	// Message takes what arrives on a pipe. data is valid during the call. An
	// error refuses Opened; after anything else it is logged. What was written to
	// NVM is stored when Message returns, also with an error.
	Message(pipe uint32, instruction byte, data []byte) error
}

// WithIdle is a Gate that wants to look around when the bundle has been at work:
// Idle is called after every command, signal and message, before what that wrote is
// stored.
type WithIdle interface{ Idle() }

// Gates are what a bundle serves beside the UICC APDU gate; nil: it has no such
// gate.
type Gates struct {
	TCP   Gate  // package web has one for an http.Handler
	UDP   Gate  // package coap has one for resources
	Files Files // the file system gate
}

// Server is what an App is as well when it serves more gates than UICC APDU.
type Server interface {
	// Gates is called once, before Init.
	Gates() Gates
}

// ErrNoCredit: the terminal has to read first; Credit tells when it did. Nothing
// of the message was sent.
const ErrNoCredit = vpp.ENoCredit

// ErrUnknownHandle: the pipe is not open.
const ErrUnknownHandle = vpp.EUnknownHandle

// MaxSend is the most data of one Send.
const MaxSend = 65536

// Send sends a message on an open pipe of the TCP or UDP gate. It has left when
// Send returns; data is not kept. ErrNoCredit, ErrUnknownHandle; ErrIllegalParameter
// for an unknown gate or instruction, or data longer than MaxSend.
func Send(gate, pipe uint32, instruction byte, data []byte) error {
	if r := hostSend(gate, pipe, instruction, data); r < 0 {
		return Error(-r)
	}
	return nil
}

// Node is an entry of a directory of the file system gate.
type Node struct {
	Name     string // without a slash
	Dir      bool
	Size     int // octets; of a file
	Readable bool
	Writable bool
}

// Files are the nodes that a bundle exposes at the file system gate. Paths begin
// with "/", which is the root. The errors are ErrUnknownID (no such node),
// ErrAccessDenied and ErrIllegalParameter (an offset beyond the end, a directory
// instead of a file).
type Files interface {
	List(path string) ([]Node, error)
	// Read gives at most n octets from off on; fewer at the end of the file. The
	// platform copies them before the next call.
	Read(path string, off, n int) ([]byte, error)
	// Write changes a part of the file, which does not grow.
	Write(path string, off int, data []byte) error
}

// Instructions at the file system gate. Paths are UTF-8; numbers are big-endian.
//
//	FileList  1   path                                 answer: nodes
//	FileRead  2   length of path (2), path, offset (4), length (4)   the octets
//	FileWrite 3   length of path (2), path, offset (4), octets       none
//
// A node is: attributes (1: bit 1 directory, bit 2 readable, bit 3 writable), size
// (4), length of the name (1), name.
const (
	FileList  byte = 1
	FileRead  byte = 2
	FileWrite byte = 3
)

// gates is the bitmap of scl_gates: bit n is gate n.
func (m *machine) gates() int32 {
	g := int32(1) << GateAPDU
	if m.served.TCP != nil {
		g |= 1 << GateTCP
	}
	if m.served.UDP != nil {
		g |= 1 << GateUDP
	}
	if m.served.Files != nil {
		g |= 1 << GateFiles
	}
	return g
}

// rest lets the gates look around.
func (m *machine) rest() {
	for _, g := range m.idle {
		g.Idle()
	}
}

// serve asks the App for its gates.
func (m *machine) serve() {
	s, ok := m.app.(Server)
	if !ok {
		return
	}
	m.served, m.idle = s.Gates(), nil
	for _, g := range []Gate{m.served.TCP, m.served.UDP} {
		if w, ok := g.(WithIdle); ok {
			m.idle = append(m.idle, w)
		}
	}
}

// gate takes a message to another gate than UICC APDU.
func (m *machine) gate(gate, pipe uint32, instruction byte, n int) int32 {
	var g Gate
	switch gate {
	case GateTCP:
		g = m.served.TCP
	case GateUDP:
		g = m.served.UDP
	case GateFiles:
		if m.served.Files != nil {
			return m.file(instruction, m.in[:n])
		}
	}
	if g == nil {
		return -int32(ErrUnknownID)
	}
	err := g.Message(pipe, instruction, m.in[:n])
	m.rest()
	if err == nil || instruction == Opened {
		return code(err)
	}
	Log(Fault, err.Error())
	return 0
}

// file carries out an instruction of the file system gate.
func (m *machine) file(instruction byte, in []byte) int32 {
	if instruction == FileList {
		list, err := m.served.Files.List(string(in))
		if err != nil {
			return refusal(err)
		}
		b := m.out[:0]
		for _, e := range list {
			if len(e.Name) > 255 || len(b)+6+len(e.Name) > len(m.out) {
				return -int32(ErrNoSpace)
			}
			var a byte
			for i, set := range [...]bool{e.Dir, e.Readable, e.Writable} {
				if set {
					a |= 1 << i
				}
			}
			b = append(b, a, byte(e.Size>>24), byte(e.Size>>16), byte(e.Size>>8), byte(e.Size), byte(len(e.Name)))
			b = append(b, e.Name...)
		}
		return int32(len(b))
	}
	if len(in) < 2 {
		return -int32(ErrIllegalParameter)
	}
	k := int(in[0])<<8 | int(in[1])
	if in = in[2:]; len(in) < k+4 {
		return -int32(ErrIllegalParameter)
	}
	path, in := string(in[:k]), in[k:]
	off, in := number(in), in[4:]
	switch instruction {
	case FileRead:
		if len(in) != 4 || off < 0 || number(in) < 0 {
			return -int32(ErrIllegalParameter)
		}
		b, err := m.served.Files.Read(path, off, min(number(in), len(m.out)))
		if err != nil {
			return refusal(err)
		}
		return int32(copy(m.out[:], b))
	case FileWrite:
		if off < 0 {
			return -int32(ErrIllegalParameter)
		}
		return refusal(m.served.Files.Write(path, off, in))
	}
	return -int32(ErrIllegalParameter)
}

// refusal is code without a line in the log: a terminal may ask for anything.
func refusal(err error) int32 {
	if e, ok := err.(Error); ok && e > 0 {
		return -int32(e)
	}
	return code(err)
}

func number(b []byte) int {
	return int(int32(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])))
}
