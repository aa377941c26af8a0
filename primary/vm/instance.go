package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/internal/vpp"
)

// Version of the ABI: major and minor. A bundle of the same major version runs.
const Version = 0x0103

// Gates in the numbering of the ABI.
const (
	GateAPDU  = 1 // UICC APDU; every bundle has it
	GateTCP   = 2
	GateUDP   = 3
	GateFiles = 4 // UICC/SSP file system
)

// Instructions at the TCP and UDP gates in the numbering of the ABI.
const (
	Opened byte = 1
	Data   byte = 2
	Credit byte = 3
	Closed byte = 4
)

// MaxSend is the most that a bundle sends at once.
const MaxSend = 65536

// Reason of on_init.
type Reason int32

// Reasons of on_init.
const (
	Start   Reason = 0 // the bundle becomes active
	Restart Reason = 1 // a fault ended the instance before
)

// ErrMessageTooLong: the message is longer than the area in which the bundle
// takes messages. Nothing happened.
var ErrMessageTooLong = errors.New("message is longer than the bundle's IPC")

// PersonaError is a persona that the bundle refused.
type PersonaError struct {
	Pointer string // JSON pointer of the place, RFC 6901
	Reason  string
}

func (e *PersonaError) Error() string { return e.Pointer + ": " + e.Reason }

// Instance is a bundle that runs. It is not safe for use by several goroutines.
type Instance struct {
	module *Module
	env    Env
	ctx    context.Context
	mod    api.Module
	memory api.Memory
	in     area // IPC COM to MAIN
	out    area // IPC MAIN to COM

	onInit, onPersonalise, onMessage, onSignal api.Function

	stack          [4]uint64
	fault          *Fault
	lastError      vpp.Errno
	subject        []byte // what a host call is about, for the trace
	moved          int    // and how many bytes of it
	logged         int    // bytes in this call
	stdout, stderr stdio
	said           string // first line on standard error in this call
	watch          watchdog
	notice         atomic.Bool // the watchdog wants Env.Working called
	flag           sync.Mutex  // of deadline
	deadline       api.MutableGlobal
}

// area is an IPC in the bundle's memory.
type area struct{ ptr, len uint32 }

// Instantiate makes an instance. Init comes next.
func (m *Module) Instantiate(env Env) (*Instance, error) {
	i := &Instance{module: m, env: env}
	i.ctx = &callContext{context.Background(), i}
	i.stdout, i.stderr = stdio{i: i, l: Info}, stdio{i: i, l: Warn}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithStdout(&i.stdout).WithStderr(&i.stderr).
		WithRandSource(env.Random).
		WithWalltime(func() (int64, int32) {
			t := env.Clock.Wall()
			return t.Unix(), int32(t.Nanosecond())
		}, sys.ClockResolution(time.Millisecond)).
		// The Go runtime refuses to start at zero nanoseconds, where a virtual clock begins.
		WithNanotime(func() int64 { return int64(env.Clock.Now()) + 1 }, sys.ClockResolution(time.Microsecond)).
		WithNanosleep(func(ns int64) { env.Clock.Sleep(min(time.Duration(ns), m.limits.Call)) })
	mod, err := m.runtime.InstantiateModule(i.ctx, m.compiled, config)
	if err != nil {
		return nil, fmt.Errorf("instantiate bundle %s: %w", m.name, err)
	}
	i.mod, i.memory = mod, mod.ExportedMemory(exportMemory)
	i.onInit, i.onPersonalise = mod.ExportedFunction(exportInit), mod.ExportedFunction(exportPersonalise)
	i.onMessage, i.onSignal = mod.ExportedFunction(exportMessage), mod.ExportedFunction(exportSignal)
	if !m.interpreted {
		i.deadline = mod.ExportedGlobal(deadlineGlobal).(api.MutableGlobal)
	}
	i.watch.start(m.limits.Call, i.kill, i.remind)
	if err := i.prepare(); err != nil {
		i.Close()
		return nil, fmt.Errorf("instantiate bundle %s: %w", m.name, err)
	}
	return i, nil
}

// kill ends a call that is under way: by the global of instrument, or for the
// interpreter, which cannot read a global that changes, in its own way.
func (i *Instance) kill() {
	if i.deadline == nil {
		_ = i.mod.CloseWithExitCode(context.Background(), sys.ExitCodeDeadlineExceeded)
		return
	}
	i.flag.Lock()
	defer i.flag.Unlock()
	i.deadline.Set(endCall)
}

// remind has the bundle pause soon, so that goOn runs in the goroutine of its call.
func (i *Instance) remind() {
	if i.env.Working != nil && i.deadline != nil {
		i.flag.Lock()
		defer i.flag.Unlock()
		i.notice.Store(true)
		i.deadline.Set(goesOn)
	}
}

// goOn tells that the call goes on. It runs in the call, from mk_get_time.
func (i *Instance) goOn() {
	i.flag.Lock()
	i.deadline.Set(0)
	if i.watch.state.Load()&killed != 0 { // at this very moment
		i.deadline.Set(endCall)
	}
	i.flag.Unlock()
	i.env.Working()
}

// prepare runs the initialiser of a reactor and asks for version and areas.
func (i *Instance) prepare() error {
	if f := i.mod.ExportedFunction(exportInitialize); f != nil {
		if err := i.call(exportInitialize, f); err != nil {
			return err
		}
	}
	if err := i.call(exportABI, i.mod.ExportedFunction(exportABI)); err != nil {
		return err
	}
	if v := uint32(i.stack[0]); v>>8 != Version>>8 {
		return i.die(exportABI, BadInterface, "it is for ABI %d.%d, this platform speaks %d.%d", v>>8, v&0xFF, Version>>8, Version&0xFF)
	}
	for _, a := range []struct {
		name string
		area *area
	}{{exportComMain, &i.in}, {exportMainCom, &i.out}} {
		if err := i.call(a.name, i.mod.ExportedFunction(a.name)); err != nil {
			return err
		}
		a.area.ptr, a.area.len = uint32(i.stack[0]>>32), uint32(i.stack[0])
		if a.area.len < vpp.IPCComLength || a.area.len > vpp.MaxIPC {
			return i.die(a.name, BadInterface, "an IPC has %d to %d bytes, not %d", vpp.IPCComLength, vpp.MaxIPC, a.area.len)
		}
		if _, ok := i.memory.Read(a.area.ptr, a.area.len); !ok {
			return i.die(a.name, BadInterface, "%d bytes at %#x are not within its memory of %d bytes", a.area.len, a.area.ptr, i.memory.Size())
		}
	}
	i.env.NVM.Rollback() // nothing is stored before on_personalise or on_init
	return nil
}

// Close ends the instance at once. It may be called twice, but not during a call.
func (i *Instance) Close() {
	i.watch.stop()
	_ = i.mod.Close(context.Background())
	if i.fault == nil {
		i.fault = &Fault{Exit, "close", "the instance was closed"}
	}
}

// Init lets the bundle load its state (on_init); what it writes is committed.
func (i *Instance) Init(r Reason) error {
	i.stack[0] = api.EncodeI32(int32(r))
	if err := i.call(exportInit, i.onInit); err != nil {
		return err
	}
	if n := api.DecodeI32(i.stack[0]); n != 0 {
		return i.die(exportInit, Refused, "%v", i.errno(n))
	}
	return i.commit(exportInit)
}

// Gates asks which gates the bundle serves (scl_gates, optional): bit n stands for
// gate n.
func (i *Instance) Gates() (bitmap uint32, err error) {
	const apdu = 1 << GateAPDU
	f := i.mod.ExportedFunction(exportGates)
	if f == nil {
		return apdu, nil
	}
	if err := i.call(exportGates, f); err != nil {
		return 0, err
	}
	i.env.NVM.Rollback()
	return uint32(i.stack[0]) | apdu, nil
}

// Personalise hands the bundle its persona as CBOR (on_personalise); what it
// writes is committed. A *PersonaError is the bundle's refusal.
func (i *Instance) Personalise(doc []byte) error {
	if err := i.put(doc); err != nil {
		return fmt.Errorf("persona: %w", err)
	}
	i.stack[0] = uint64(len(doc))
	if err := i.call(exportPersonalise, i.onPersonalise); err != nil {
		return err
	}
	n := api.DecodeI32(i.stack[0])
	if n == 0 {
		return i.commit(exportPersonalise)
	}
	i.env.NVM.Rollback()
	if n < 0 {
		return i.die(exportPersonalise, Refused, "%v", i.errno(n))
	}
	text, err := i.answer(exportPersonalise, n)
	if err != nil {
		return err
	}
	pointer, reason, ok := bytes.Cut(text, []byte{0})
	if !ok {
		return i.die(exportPersonalise, BadAnswer, "the refusal of a persona is pointer, zero byte, reason")
	}
	return &PersonaError{string(pointer), string(reason)}
}

// Message hands the bundle a message to one of its gates and gives its answer,
// which is valid until the next call (on_message); what it wrote is committed by
// then. It does not allocate. A vpp.Errno is the bundle's refusal, which drops
// what it wrote and after which it goes on; a *Fault ends it.
func (i *Instance) Message(gate, pipe uint32, instruction byte, in []byte) (out []byte, err error) {
	if err := i.put(in); err != nil {
		return nil, err
	}
	i.stack = [4]uint64{uint64(gate), uint64(pipe), uint64(instruction), uint64(len(in))}
	if i.env.Trace.On() {
		i.env.Trace.Emit(trace.Event{Layer: trace.Bundle, Dir: trace.In, Name: exportMessage, Where: i.module.name})
	}
	if err := i.call(exportMessage, i.onMessage); err != nil {
		return nil, err
	}
	n := api.DecodeI32(i.stack[0])
	if n < -int32(vpp.EMax) {
		return nil, i.die(exportMessage, BadAnswer, "%d is neither a length nor an error", n)
	}
	if n < 0 {
		i.env.NVM.Rollback()
		return nil, i.errno(n)
	}
	if out, err = i.answer(exportMessage, n); err != nil {
		return nil, err
	}
	return out, i.commit(exportMessage)
}

// Signal hands the bundle signals (on_signal); what it writes is committed, or
// dropped when it gives an error.
func (i *Instance) Signal(s vpp.Signal) error {
	i.stack[0] = uint64(s)
	if i.env.Trace.On() {
		i.env.Trace.Emit(trace.Event{Layer: trace.Bundle, Dir: trace.In, Name: exportSignal, Where: i.module.name, Note: fmt.Sprintf("%#x", uint32(s))})
	}
	if err := i.call(exportSignal, i.onSignal); err != nil {
		return err
	}
	if n := api.DecodeI32(i.stack[0]); n != 0 {
		i.env.NVM.Rollback()
		return i.errno(n)
	}
	return i.commit(exportSignal)
}

// Memory is the size of the bundle's linear memory in bytes.
func (i *Instance) Memory() uint32 { return i.memory.Size() }

func (i *Instance) put(in []byte) error {
	if i.fault != nil {
		return i.fault
	}
	if len(in) > int(i.in.len) {
		return fmt.Errorf("%w: %d bytes for %d", ErrMessageTooLong, len(in), i.in.len)
	}
	i.memory.Write(i.in.ptr, in)
	return nil
}

func (i *Instance) answer(call string, n int32) ([]byte, error) {
	if uint32(n) > i.out.len {
		return nil, i.die(call, BadAnswer, "an answer of %d bytes in an IPC of %d", n, i.out.len)
	}
	b, _ := i.memory.Read(i.out.ptr, uint32(n))
	return b, nil
}

// call runs an export on i.stack under the budget. A fault drops what the call
// wrote.
func (i *Instance) call(name string, f api.Function) error {
	if i.fault != nil {
		return i.fault
	}
	i.logged, i.said = 0, ""
	i.watch.begin()
	err := f.CallWithStack(i.ctx, i.stack[:])
	killed := i.watch.end()
	if len(i.stdout.line)+len(i.stderr.line) > 0 {
		i.stdout.flush()
		i.stderr.flush()
	}
	if killed {
		return i.die(name, TimeOut, "it ran longer than %v", i.module.limits.Call)
	}
	if err != nil {
		i.env.NVM.Rollback()
		i.fault = newFault(name, err)
		if i.said != "" {
			i.fault.Detail += ": " + i.said
		}
		return i.fault
	}
	return nil
}

// commit ends a call that went well.
func (i *Instance) commit(call string) error {
	if err := i.env.NVM.Commit(); err != nil {
		return i.die(call, NotStored, "%v", err)
	}
	return nil
}

// die ends the instance and drops what the call wrote.
func (i *Instance) die(call string, k FaultKind, format string, a ...any) error {
	i.env.NVM.Rollback()
	i.fault = &Fault{k, call, fmt.Sprintf(format, a...)}
	return i.fault
}

// errno is what a negative result of the bundle says.
func (i *Instance) errno(n int32) error {
	if n >= 0 || n < -int32(vpp.EMax) {
		return vpp.EInternal
	}
	return vpp.Errno(-n)
}

// watchdog ends a call that runs longer than its budget. The path of a call is
// two atomic writes; a goroutine looks now and then whether it still is the same
// call, and then sets the global that every loop of the bundle reads.
type watchdog struct {
	state atomic.Uint64 // number of the call << 2 | killed << 1 | running
	quit  chan struct{}
}

const (
	running = 1
	killed  = 2
)

func (w *watchdog) begin() { w.state.Store(w.state.Load()>>2<<2 + 4 | running) }

// end tells whether the call was killed, if only in its last moment.
func (w *watchdog) end() bool {
	s := w.state.Load()
	return !w.state.CompareAndSwap(s, s&^running) || s&killed != 0
}

// start begins to watch: remind is called for every quarter of the budget that a
// call takes, end when all of it is gone.
func (w *watchdog) start(budget time.Duration, end, remind func()) {
	quit := make(chan struct{})
	w.quit = quit
	go func() {
		tick := time.NewTicker(min(max(budget/20, time.Millisecond), 100*time.Millisecond))
		defer tick.Stop()
		var seen uint64
		var since time.Time
		reminded := 0
		for {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				s := w.state.Load()
				switch {
				case s&running == 0 || s != seen:
					seen, since, reminded = s, now, 0
				case now.Sub(since) >= budget && w.state.CompareAndSwap(s, s|killed):
					end()
					return
				case now.Sub(since) >= budget/4*time.Duration(reminded+1):
					reminded++
					remind()
				}
			}
		}
	}()
}

func (w *watchdog) stop() {
	if w.quit != nil {
		close(w.quit)
		w.quit = nil
	}
}
