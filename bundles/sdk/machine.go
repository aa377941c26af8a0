package sdk

import (
	"errors"

	"github.com/sspemu/sspemu/internal/apdu"
)

// machine is a bundle between the ABI and its App.
type machine struct {
	app    App
	served Gates
	idle   []WithIdle             // of served
	in     [apdu.MaxCommand]byte  // IPC COM to MAIN: the platform writes
	out    [apdu.MaxResponse]byte // IPC MAIN to COM: the bundle writes
	cmd    Command
	resp   Response
	timers []*Timer
}

// cur is the bundle that runs. A guest has one for its whole life.
var cur = new(machine)

func (m *machine) init(r Reason) int32 {
	m.serve()
	return code(m.app.Init(r))
}

// code makes the negative number of an error for the platform.
func code(err error) int32 {
	if err == nil {
		return 0
	}
	Log(Fault, err.Error())
	var e Error
	if errors.As(err, &e) && e > 0 {
		return -int32(e)
	}
	return -int32(ErrInternal)
}

// personalise hands the persona in m.in[:n] to the App: 0, the length of a
// refusal in m.out, or -Error.
func (m *machine) personalise(n int) int32 {
	if n < 0 || n > len(m.in) {
		return -int32(ErrIllegalParameter)
	}
	doc, err := ParseDoc(m.in[:n])
	if err == nil {
		err = m.app.Personalise(doc)
		if first := doc.Err(); first != nil {
			err = first // what the App says is most likely its consequence
		}
	}
	var p *PersonaError
	if !errors.As(err, &p) {
		return code(err)
	}
	b := append(m.out[:0], p.Pointer...)
	b = append(b, 0)
	b = append(b, p.Reason...)
	return int32(copy(m.out[:], b))
}

// message answers one message to a gate: the length of the answer in m.out, or
// -Error.
func (m *machine) message(gate, pipe uint32, instruction byte, n int) int32 {
	if n < 0 || n > len(m.in) {
		return -int32(ErrIllegalParameter)
	}
	if gate != GateAPDU {
		return m.gate(gate, pipe, instruction, n)
	}
	r := &m.resp
	if r.buf == nil {
		r.buf = m.out[:0:apdu.MaxExtendedNe]
	}
	r.Reset()
	sw := WrongLength
	var err error
	if m.cmd, err = apdu.Parse(m.in[:n]); err == nil {
		sw = m.app.APDU(&m.cmd, r)
		m.rest()
	}
	if r.overflow {
		r.Reset()
		sw = NoPreciseDiagnosis
		Log(Fault, "answer longer than 65536 bytes")
	}
	n = len(r.buf)
	m.out[n], m.out[n+1] = byte(sw>>8), byte(sw)
	return int32(n + 2)
}

func (m *machine) signal(s Signal) {
	if s.Has(SignalTimeOut) {
		m.runTimers()
		s &^= SignalTimeOut
	}
	if s != 0 {
		m.app.Signal(s)
	}
	m.rest()
}
