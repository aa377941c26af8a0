package primary

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/internal/vpp"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// spb is a bundle that runs: the service behind its UICC APDU gate. Once it is
// active everything in it happens with the network locked; before, in the
// goroutine that activates it.
type spb struct {
	p      *Platform
	b      *bundle
	module *vm.Module
	env    vm.Env
	host   *scl.Host

	inst     *vm.Instance // nil: it did not start again after a fault
	apdu     apduService
	apduGate *gate.APDU
	atr      []byte
	instr    byte // the event that brings a C-APDU, for the bundle to see
	serving  bool // from live to kill
	ringsAt  time.Duration
	armed    bool
	disarm   func() // of the timer of the clock; nil: none
	sw       [2]byte

	gates   uint32 // that it serves, a bitmap in the numbering of the ABI
	streams map[uint32]*stream
	busy    bool      // the bundle is in a call
	later   []delayed // came meanwhile
	waiting int       // octets of it
	small   [8]byte
}

// defaultATR answers for bundles that bring none of their own: T=0 and T=1, and
// "sspemu" as historical bytes.
var defaultATR = withTCK([]byte{0x3B, 0x86, 0x80, 0x01, 's', 's', 'p', 'e', 'm', 'u'})

// withTCK adds the check byte of ISO/IEC 7816-3 8.2.5.
func withTCK(atr []byte) []byte {
	var tck byte
	for _, b := range atr[1:] {
		tck ^= b
	}
	return append(atr, tck)
}

func (p *Platform) newSPB(b *bundle, module *vm.Module) *spb {
	s := &spb{p: p, b: b, module: module, atr: b.Manifest.ATR, instr: p.network.Profile().Event.CAPDU}
	if len(s.atr) == 0 {
		s.atr = defaultATR
	}
	s.apdu.bundle, s.apdu.parts = s.command, b.Manifest.Chaining == loader.ChainedByBundle
	name := b.name
	s.env = vm.Env{
		NVM:    b.part,
		Clock:  p.clock,
		Random: p.random.of(b.id),
		Log: func(l vm.Level, line []byte) {
			p.log.Log(p.ctx, slogLevel(l), string(line), "bundle", name)
		},
		Event: func(event string, data []byte) {
			p.tell(b, Event{Kind: Told, Name: event, Data: bytes.Clone(data)})
		},
		Alarm: s.alarm,
		Send:  s.send,
		Working: func() {
			if s.apduGate != nil {
				s.apduGate.Wait()
			}
		},
		Trace: p.tracer,
		Class: p.class.number(),
	}
	return s
}

// ATR is that of the manifest (gate.APDUService).
func (s *spb) ATR() []byte { return s.atr }

// APDU answers a C-APDU (gate.APDUService).
func (s *spb) APDU(in []byte) []byte {
	if s.due() {
		s.ring()
	}
	return s.apdu.APDU(in)
}

// Reset drops the session: the terminal gave power, or reset the card
// (gate.APDUService). A bundle that could not start again tries once more.
func (s *spb) Reset(bool) {
	s.apdu.reset()
	if s.inst == nil {
		s.again()
		return
	}
	s.signal(vpp.Reset)
}

// command hands a whole command to the bundle. What it wrote is stored before the
// answer leaves.
func (s *spb) command(in []byte) []byte {
	if s.inst == nil {
		return s.status(apdu.NoPreciseDiagnosis)
	}
	s.busy = true
	out, err := s.inst.Message(vm.GateAPDU, 0, s.instr, in)
	s.busy = false
	if len(s.later) > 0 { // the answer lies in the bundle's memory
		out = bytes.Clone(out)
		s.catchUp()
	}
	if err == nil {
		if len(out) >= 2 && len(out) <= apdu.MaxResponse {
			return out
		}
		err = &vm.Fault{Kind: vm.BadAnswer, Call: "on_message", Detail: fmt.Sprintf("%d bytes are not an R-APDU", len(out))}
	}
	if errors.Is(err, vm.ErrMessageTooLong) {
		return s.status(apdu.WrongLength)
	}
	s.failed(err)
	var f *vm.Fault
	if errors.As(err, &f) && f.Kind == vm.NotStored {
		return s.status(apdu.MemoryProblem)
	}
	return s.status(apdu.NoPreciseDiagnosis)
}

func (s *spb) status(sw apdu.SW) []byte {
	s.sw = [2]byte{byte(sw >> 8), byte(sw)}
	return s.sw[:]
}

// signal hands signals to the bundle.
func (s *spb) signal(bits vpp.Signal) {
	if s.inst == nil {
		return
	}
	s.busy = true
	err := s.inst.Signal(bits)
	s.busy = false
	if err != nil {
		s.failed(err)
	}
	s.catchUp()
}

// failed deals with a call that gave an error. A refusal is the bundle's good
// right. A fault resets it: its memory and what the call wrote are gone, the next
// command finds a new instance.
func (s *spb) failed(err error) {
	var refused vpp.Errno
	if errors.As(err, &refused) {
		s.p.log.Debug("bundle refuses a call", "bundle", s.b.name, "why", err)
		return
	}
	s.p.tell(s.b, Event{Kind: Faulted, Why: err})
	reason := gate.Reset
	if f := new(vm.Fault); errors.As(err, &f) && f.Kind == vm.TimeOut {
		reason = gate.TimeOut
	}
	s.end()
	s.endSessions(reason)
	if s.serving {
		s.apdu.reset()
		s.again()
	}
}

// again makes a new instance after a fault.
func (s *spb) again() {
	inst, err := s.module.Instantiate(s.env)
	if err == nil {
		s.inst = inst
		err = s.inst.Init(vm.Restart)
	}
	if err != nil {
		s.end()
		s.p.tell(s.b, Event{Kind: Faulted, Why: fmt.Errorf("it does not start again: %w", err)})
	}
}

// end drops instance and alarm.
func (s *spb) end() {
	s.alarm(0)
	if s.inst != nil {
		s.inst.Close()
		s.inst = nil
	}
}

// live begins the time as the active bundle.
func (s *spb) live() {
	s.serving = true
	if s.armed {
		s.startTimer()
	}
}

// kill ends the time as the active bundle: it may store what it wants to keep
// (KILL_REQUESTED of VPP), then it is gone. What it forgot is dropped: a bundle
// can be torn down at any instant.
func (s *spb) kill() {
	s.serving = false
	s.signal(vpp.KillRequested)
	s.end()
}

// alarm is mk_wait_signal: TIME_OUT after d, once; 0 takes that back.
func (s *spb) alarm(d time.Duration) {
	if s.disarm != nil {
		s.disarm()
		s.disarm = nil
	}
	s.armed = d > 0
	if s.armed {
		s.ringsAt = s.p.clock.Now() + d
		if s.serving {
			s.startTimer()
		}
	}
}

func (s *spb) startTimer() {
	s.disarm = s.p.clock.AfterFunc(max(0, s.ringsAt-s.p.clock.Now()), func() {
		s.p.network.Exclusive(func() {
			if s.serving && s.due() {
				s.ring()
			}
		})
	})
}

func (s *spb) due() bool { return s.armed && s.p.clock.Now() >= s.ringsAt }

// ring delivers the alarm.
func (s *spb) ring() {
	s.alarm(0)
	tr := s.p.tracer
	if tr.On() {
		if _, outer := tr.Begin(); outer {
			defer tr.End()
		}
		tr.Emit(trace.Event{Layer: trace.Platform, Name: "signal", Where: s.b.name, Note: "TIME_OUT"})
	}
	s.signal(vpp.TimeOut)
}
