package primary

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/internal/vpp"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// stream joins the TCP or the UDP gate of an SPB to the bundle: gate.StreamService
// on one side, on_message and scl_send of the ABI on the other.
type stream struct {
	s    *spb
	id   uint32 // of the gate, in the numbering of the ABI
	gate *gate.Stream
	open map[uint32]*scl.Pipe // sessions, by pipe
}

// errBundle: there is no instance to serve a session.
var errBundle = errors.New("the bundle does not run")

// Opened asks the bundle whether it takes the session.
func (g *stream) Opened(p *scl.Pipe) error {
	id := uint32(p.ID())
	g.open[id] = p
	err := g.s.message(g.id, id, vm.Opened, nil)
	if err != nil {
		delete(g.open, id)
	}
	return err
}

// Data brings it what came.
func (g *stream) Data(p *scl.Pipe, data []byte) {
	if err := g.s.message(g.id, uint32(p.ID()), vm.Data, data); errors.Is(err, vm.ErrMessageTooLong) && g.id == vm.GateTCP {
		g.end(p, gate.Reset) // a datagram that is too long is lost, a stream with a hole is none
	}
}

// Credit tells it that it may send more.
func (g *stream) Credit(p *scl.Pipe, n int) {
	_ = g.s.message(g.id, uint32(p.ID()), vm.Credit, binary.BigEndian.AppendUint32(g.s.small[:0], uint32(n)))
}

// Closed tells it that the session is over.
func (g *stream) Closed(p *scl.Pipe, reason byte) {
	id := uint32(p.ID())
	if g.open[id] != p {
		return
	}
	delete(g.open, id)
	_ = g.s.message(g.id, id, vm.Closed, append(g.s.small[:0], reason))
}

func (g *stream) end(p *scl.Pipe, reason byte) {
	id := uint32(p.ID())
	if g.open[id] == p {
		delete(g.open, id)
		g.gate.End(p, reason)
	}
}

// send is scl_send.
func (s *spb) send(gateID, pipe uint32, instruction byte, data []byte) vpp.Errno {
	g := s.streams[gateID]
	if g == nil || g.open[pipe] == nil {
		return vpp.EUnknownHandle
	}
	p := g.open[pipe]
	var err error
	switch instruction {
	case vm.Data:
		err = g.gate.Send(p, data)
	case vm.Credit:
		if gateID != vm.GateTCP || len(data) != 4 {
			return vpp.EIllegalParameter
		}
		err = p.Grant(int(binary.BigEndian.Uint32(data)))
	case vm.Closed:
		if len(data) > 1 {
			return vpp.EIllegalParameter
		}
		reason := gate.Normal
		if len(data) == 1 {
			reason = data[0]
		}
		g.end(p, reason)
	}
	switch {
	case err == nil:
		return vpp.ENone
	case errors.Is(err, scl.ErrNoCredit):
		return vpp.ENoCredit
	case errors.Is(err, scl.ErrCmdParUnknown), errors.Is(err, scl.ErrMessageTooLong):
		return vpp.EIllegalParameter
	}
	return vpp.EUnknownHandle
}

// delayed is a message that came while the bundle was in a call: sending from within
// brought an answer at once.
type delayed struct {
	gate, pipe  uint32
	instruction byte
	data        []byte
}

// maxDelayed bounds those, in octets.
const maxDelayed = 256 << 10

// message hands the bundle a message of another gate than UICC APDU, or keeps it
// until the call that is under way is over.
func (s *spb) message(gateID, pipe uint32, instruction byte, data []byte) error {
	if s.inst == nil {
		return errBundle
	}
	if s.busy {
		if s.waiting += len(data) + 32; s.waiting > maxDelayed {
			return fmt.Errorf("more than %d octets came during one call: %w", maxDelayed, vm.ErrMessageTooLong)
		}
		s.later = append(s.later, delayed{gateID, pipe, instruction, append([]byte(nil), data...)})
		return nil
	}
	err := s.deliver(gateID, pipe, instruction, data)
	s.catchUp()
	return err
}

func (s *spb) deliver(gateID, pipe uint32, instruction byte, data []byte) error {
	if s.due() {
		s.ring()
	}
	if s.inst == nil {
		return errBundle
	}
	s.busy = true
	_, err := s.inst.Message(gateID, pipe, instruction, data)
	s.busy = false
	if err != nil && !errors.Is(err, vm.ErrMessageTooLong) {
		s.failed(err)
	}
	return err
}

// catchUp brings what came during a call.
func (s *spb) catchUp() {
	for len(s.later) > 0 && !s.busy {
		m := s.later[0]
		s.later = s.later[1:]
		if g := s.streams[m.gate]; g != nil && (g.open[m.pipe] != nil || m.instruction == vm.Closed) && s.inst != nil {
			_ = s.deliver(m.gate, m.pipe, m.instruction, m.data)
		}
	}
	s.waiting = 0
}

// endSessions ends all sessions: the instance that had them is gone.
func (s *spb) endSessions(reason byte) {
	s.later = nil
	for _, g := range s.streams {
		for _, p := range g.open {
			g.end(p, reason)
		}
	}
}

// publish offers the gates that the bundle serves.
func (s *spb) publish() error {
	n := s.p.network
	ids := n.Profile().Gate
	s.streams = map[uint32]*stream{}
	if s.gates>>vm.GateTCP&1 != 0 {
		g := &stream{s: s, id: vm.GateTCP, open: map[uint32]*scl.Pipe{}}
		g.gate = gate.NewTCP(n, g)
		s.streams[g.id] = g
		if err := s.host.Publish(ids.TCP, g.gate); err != nil {
			return err
		}
	}
	if s.gates>>vm.GateUDP&1 != 0 {
		g := &stream{s: s, id: vm.GateUDP, open: map[uint32]*scl.Pipe{}}
		g.gate = gate.NewUDP(n, g)
		s.streams[g.id] = g
		if err := s.host.Publish(ids.UDP, g.gate); err != nil {
			return err
		}
	}
	if s.gates>>vm.GateFiles&1 != 0 {
		return s.host.Publish(ids.FileSystem, gate.NewFiles(n, files{s}))
	}
	return nil
}

// files joins the file system gate to the bundle (gate.FileService). The coding is
// the same on both sides.
type files struct{ s *spb }

// Instructions at the file system gate in the numbering of the ABI.
const (
	fileList  byte = 1
	fileRead  byte = 2
	fileWrite byte = 3
)

// List lists a directory.
func (f files) List(path string) ([]byte, error) { return f.ask(fileList, []byte(path)) }

// Read reads a part of a file.
func (f files) Read(path string, off, n int) ([]byte, error) {
	return f.ask(fileRead, binary.BigEndian.AppendUint32(fileHead(path, off), uint32(n)))
}

// Write changes a part of a file.
func (f files) Write(path string, off int, data []byte) error {
	_, err := f.ask(fileWrite, append(fileHead(path, off), data...))
	return err
}

func fileHead(path string, off int) []byte {
	b := append(binary.BigEndian.AppendUint16(nil, uint16(len(path))), path...)
	return binary.BigEndian.AppendUint32(b, uint32(off))
}

// ask has the bundle carry out one instruction. The answer lies in its memory.
func (f files) ask(instruction byte, in []byte) ([]byte, error) {
	s := f.s
	if s.inst == nil || s.busy {
		return nil, errBundle
	}
	s.busy = true
	out, err := s.inst.Message(vm.GateFiles, 0, instruction, in)
	s.busy = false
	if len(s.later) > 0 {
		out = append([]byte(nil), out...)
		s.catchUp()
	}
	var refused vpp.Errno
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, vm.ErrMessageTooLong):
		return nil, gate.ErrNodeRange
	case errors.As(err, &refused):
		switch refused {
		case vpp.EUnknownID:
			return nil, gate.ErrNode
		case vpp.EAccessDenied:
			return nil, gate.ErrNodeAccess
		case vpp.EIllegalParameter:
			return nil, gate.ErrNodeRange
		}
		return nil, refused
	}
	s.failed(err)
	return nil, err
}
