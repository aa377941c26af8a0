package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/sspemu/sspemu/internal/ec/std"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/internal/vpp"
)

// hostModule is the name of the imports of the ABI.
const hostModule = "vpp"

// Level of a log line (docs/abi.md).
type Level int32

// Levels of log.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// NVM is the non-volatile memory of one bundle: keys of 1 to 255 bytes, values
// within a quota, and a transaction that is open from one Commit or Rollback to
// the next. An Instance ends every call with one of the two; with nothing to do
// they cost next to nothing. Errors that the bundle is to see are vpp.Errno (errors.As); any other
// one becomes vpp.EInternal. Slices that it returns are valid until the next
// change.
type NVM interface {
	Get(key []byte) (val []byte, ok bool)
	Put(key, val []byte) error
	WriteAt(key []byte, off int, p []byte) error // within the value
	Delete(key []byte) error
	Next(key []byte) (next []byte, ok bool) // the key that follows; of nil: the first
	Commit() error
	Rollback()
}

// Clock is the time of the platform.
type Clock interface {
	Now() time.Duration // since the platform started
	Wall() time.Time
	Sleep(time.Duration)
}

// SendFunc sends a message of the bundle on an open pipe of one of its gates: 0,
// or why not. data is valid during the call only.
type SendFunc func(gate, pipe uint32, instruction byte, data []byte) vpp.Errno

// Env is all that a bundle can reach. NVM, Clock and Random are needed, the rest
// may be nil.
type Env struct {
	NVM    NVM
	Clock  Clock
	Random io.Reader
	Log    func(l Level, line []byte)     // line is valid during the call only
	Event  func(name string, data []byte) // data likewise
	Alarm  func(d time.Duration)          // wants vpp.TimeOut after d, once; 0: no longer
	Send   SendFunc
	// Working is called now and then during a call that takes long, in the goroutine
	// of the call.
	Working func()
	Class   int // SSPClass of the platform, as TS 103 666-1 numbers it
	Trace   *trace.Tracer
}

// hostFunction is one import of the ABI; f works on the stack as wazero has it:
// parameters in, result out at stack[0].
type hostFunction struct {
	signature
	f func(i *Instance, stack []uint64)
}

func fn(f func(i *Instance, stack []uint64), result api.ValueType, params ...api.ValueType) *hostFunction {
	return &hostFunction{signature{params, []api.ValueType{result}}, f}
}

// hostFunctions are the imports of the ABI (docs/abi.md).
var hostFunctions = map[string]*hostFunction{
	importTime:         fn(getTime, i64),
	"mk_get_error":     fn(getError, i32),
	"mk_commit":        fn(commit, i32),
	"mk_rollback":      fn(rollback, i32),
	"mk_wait_signal":   fn(waitSignal, i32, i64),
	"nvm_get":          fn(nvmGet, i32, i32, i32, i32, i32, i32),
	"nvm_put":          fn(nvmPut, i32, i32, i32, i32, i32),
	"nvm_write":        fn(nvmWrite, i32, i32, i32, i32, i32, i32),
	"nvm_delete":       fn(nvmDelete, i32, i32, i32),
	"nvm_next":         fn(nvmNext, i32, i32, i32, i32, i32),
	"vre_random":       fn(random, i32, i32, i32),
	"vre_mod_exp":      fn(modExp, i32, i32, i32, i32, i32, i32, i32, i32),
	"vre_rsa_generate": fn(rsaGenerate, i32, i32, i32, i32, i32, i32, i32),
	"vre_ec_public":    fn(ecPublic, i32, i32, i32, i32, i32, i32),
	"vre_ec_dh":        fn(ecDH, i32, i32, i32, i32, i32, i32, i32, i32),
	"vre_ec_sign":      fn(ecSign, i32, i32, i32, i32, i32, i32, i32, i32),
	"vre_ec_verify":    fn(ecVerify, i32, i32, i32, i32, i32, i32, i32, i32),
	"log":              fn(logLine, i32, i32, i32, i32),
	"event":            fn(event, i32, i32, i32, i32, i32),
	"ssp_class":        fn(sspClass, i32),
	"scl_send":         fn(sclSend, i32, i32, i32, i32, i32, i32),
}

// callContext carries the Instance to its host functions.
type callContext struct {
	context.Context
	i *Instance
}

type instanceKey struct{}

// Value finds the Instance before anything else.
func (c *callContext) Value(key any) any {
	if _, ok := key.(instanceKey); ok {
		return c.i
	}
	return c.Context.Value(key)
}

func instantiateHost(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(hostModule)
	for name, h := range hostFunctions {
		f := h.f
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
			f(ctx.Value(instanceKey{}).(*Instance), stack)
		}), h.params, h.results).Export(name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// bytes is the memory of the bundle from ptr on, n bytes. A bundle that points
// outside of its memory ends here: wazero hands the panic to the caller of the
// bundle as an error.
func (i *Instance) bytes(name string, ptr, n uint64) []byte {
	b, ok := i.memory.Read(uint32(ptr), uint32(n))
	if !ok {
		panic(&Fault{Kind: BadPointer, Detail: fmt.Sprintf("%s: %d bytes at %#x are not within its memory of %d bytes", name, uint32(n), uint32(ptr), i.memory.Size())})
	}
	return b
}

// key is the NVM key at ptr; ok is false when it has no length a key can have.
func (i *Instance) key(name string, ptr, n uint64) (key []byte, ok bool) {
	key = i.bytes(name, ptr, n)
	return key, len(key) >= 1 && len(key) <= 255
}

// result gives err to the bundle, and n when there is none.
func (i *Instance) result(stack []uint64, name string, n int, err error) {
	if err != nil {
		var e vpp.Errno
		if !errors.As(err, &e) || e <= 0 {
			e = vpp.EInternal
		}
		i.lastError = e
		n = -int(e)
	}
	stack[0] = api.EncodeI32(int32(n))
	if i.env.Trace.On() {
		i.traceHost(name, n, err)
	}
}

// about notes for the trace what a host call is about.
func (i *Instance) about(key []byte, bytes int) {
	if i.env.Trace.On() {
		i.subject, i.moved = key, bytes
	}
}

// traceHost tells about a host call: what it was about and what came of it. The
// bytes themselves stay out of the trace: keys of the bundle are among them.
func (i *Instance) traceHost(name string, n int, err error) {
	e := trace.Event{Layer: trace.Host, Name: name, Where: i.module.name, Note: fmt.Sprintf("= %d", n)}
	if err != nil {
		e.Note = err.Error()
	}
	if i.subject != nil {
		e.Note = fmt.Sprintf("%q, %d bytes %s", i.subject, i.moved, e.Note)
	}
	i.env.Trace.Emit(e)
	i.subject = nil
}

// importTime is also what the loader makes a bundle call that goes on for long.
const importTime = "mk_get_time"

func getTime(i *Instance, stack []uint64) {
	if i.notice.Load() && i.notice.CompareAndSwap(true, false) {
		i.goOn()
	}
	stack[0] = uint64(i.env.Clock.Now() / (time.Second / vpp.TicksPerSecond))
}

func getError(i *Instance, stack []uint64) { stack[0] = api.EncodeI32(int32(i.lastError)) }

func commit(i *Instance, stack []uint64) { i.result(stack, "mk_commit", 0, i.env.NVM.Commit()) }

func rollback(i *Instance, stack []uint64) {
	i.env.NVM.Rollback()
	i.result(stack, "mk_rollback", 0, nil)
}

func waitSignal(i *Instance, stack []uint64) {
	ticks := int64(stack[0])
	const most = int64(1) << 40 // 34 years
	if ticks < 0 || ticks > most {
		i.result(stack, "mk_wait_signal", 0, vpp.EIllegalParameter)
		return
	}
	if i.env.Alarm != nil {
		i.env.Alarm(time.Duration(ticks) * (time.Second / vpp.TicksPerSecond))
	}
	i.result(stack, "mk_wait_signal", 0, nil)
}

func nvmGet(i *Instance, stack []uint64) {
	const name = "nvm_get"
	key, ok := i.key(name, stack[0], stack[1])
	off, buf := api.DecodeI32(stack[2]), i.bytes(name, stack[3], stack[4])
	if !ok || off < 0 {
		i.result(stack, name, 0, vpp.EIllegalParameter)
		return
	}
	i.about(key, len(buf))
	val, ok := i.env.NVM.Get(key)
	if !ok {
		i.result(stack, name, 0, vpp.EUnknownID)
		return
	}
	if int(off) < len(val) {
		copy(buf, val[off:])
	}
	i.result(stack, name, len(val), nil)
}

func nvmPut(i *Instance, stack []uint64) {
	const name = "nvm_put"
	key, ok := i.key(name, stack[0], stack[1])
	val := i.bytes(name, stack[2], stack[3])
	if !ok {
		i.result(stack, name, 0, vpp.EIllegalParameter)
		return
	}
	i.about(key, len(val))
	i.result(stack, name, 0, i.env.NVM.Put(key, val))
}

func nvmWrite(i *Instance, stack []uint64) {
	const name = "nvm_write"
	key, ok := i.key(name, stack[0], stack[1])
	off, val := api.DecodeI32(stack[2]), i.bytes(name, stack[3], stack[4])
	if !ok || off < 0 {
		i.result(stack, name, 0, vpp.EIllegalParameter)
		return
	}
	i.about(key, len(val))
	i.result(stack, name, 0, i.env.NVM.WriteAt(key, int(off), val))
}

func nvmDelete(i *Instance, stack []uint64) {
	const name = "nvm_delete"
	key, ok := i.key(name, stack[0], stack[1])
	if !ok {
		i.result(stack, name, 0, vpp.EIllegalParameter)
		return
	}
	i.about(key, 0)
	i.result(stack, name, 0, i.env.NVM.Delete(key))
}

func nvmNext(i *Instance, stack []uint64) {
	const name = "nvm_next"
	key := i.bytes(name, stack[0], stack[1])
	buf := i.bytes(name, stack[2], stack[3])
	if len(key) > 255 {
		i.result(stack, name, 0, vpp.EIllegalParameter)
		return
	}
	next, ok := i.env.NVM.Next(key)
	if !ok {
		i.result(stack, name, 0, nil)
		return
	}
	copy(buf, next)
	i.result(stack, name, len(next), nil)
}

func random(i *Instance, stack []uint64) {
	_, err := io.ReadFull(i.env.Random, i.bytes("vre_random", stack[0], stack[1]))
	i.result(stack, "vre_random", 0, err)
}

// modExp is the costly part of RSA: base^exp mod m.
func modExp(i *Instance, stack []uint64) {
	const name = "vre_mod_exp"
	base, exp := i.bytes(name, stack[1], stack[2]), i.bytes(name, stack[3], stack[4])
	m := i.bytes(name, stack[5], stack[6])
	dst := i.bytes(name, stack[0], stack[6])
	out := make([]byte, len(m)) // dst may lie over the others
	err := rsakey.ModExp(out, base, exp, m)
	if err != nil {
		i.result(stack, name, 0, fmt.Errorf("%w: %w", vpp.EIllegalParameter, err))
		return
	}
	copy(dst, out)
	i.result(stack, name, 0, nil)
}

// rsaGenerate makes a key from a seed, or from random bytes when there is none.
func rsaGenerate(i *Instance, stack []uint64) {
	const name = "vre_rsa_generate"
	seed := i.bytes(name, stack[0], stack[1])
	bits, e := uint32(stack[2]), uint32(stack[3])
	dst := i.bytes(name, stack[4], stack[5])
	if bits > rsakey.MaxBits || len(seed) > maxSeed || len(dst) != 2*rsakey.Size(int(bits)) {
		i.result(stack, name, 0, vpp.EIllegalParameter)
		return
	}
	if len(seed) == 0 {
		seed = make([]byte, 32)
		if _, err := io.ReadFull(i.env.Random, seed); err != nil {
			i.result(stack, name, 0, err)
			return
		}
	}
	p, q, err := rsakey.Generate(seed, int(bits), e)
	if err != nil {
		i.result(stack, name, 0, fmt.Errorf("%w: %w", vpp.EIllegalParameter, err))
		return
	}
	copy(dst[copy(dst, p):], q)
	i.result(stack, name, 0, nil)
}

// ecPublic is the public key of a private one.
func ecPublic(i *Instance, stack []uint64) {
	const name = "vre_ec_public"
	key, dst := i.bytes(name, stack[1], stack[2]), i.bytes(name, stack[3], stack[4])
	out, err := std.Public(int(api.DecodeI32(stack[0])), key)
	i.computed(stack, name, dst, out, err)
}

// ecDH is the x coordinate of a key times a point.
func ecDH(i *Instance, stack []uint64) {
	const name = "vre_ec_dh"
	key, point := i.bytes(name, stack[1], stack[2]), i.bytes(name, stack[3], stack[4])
	dst := i.bytes(name, stack[5], stack[6])
	out, err := std.ECDH(int(api.DecodeI32(stack[0])), key, point)
	i.computed(stack, name, dst, out, err)
}

// ecSign is ECDSA.
func ecSign(i *Instance, stack []uint64) {
	const name = "vre_ec_sign"
	key, digest := i.bytes(name, stack[1], stack[2]), i.bytes(name, stack[3], stack[4])
	dst := i.bytes(name, stack[5], stack[6])
	out, err := std.Sign(int(api.DecodeI32(stack[0])), key, digest)
	i.computed(stack, name, dst, out, err)
}

// ecVerify gives 1 for a signature that is right, 0 for one that is not.
func ecVerify(i *Instance, stack []uint64) {
	const name = "vre_ec_verify"
	point, digest := i.bytes(name, stack[1], stack[2]), i.bytes(name, stack[3], stack[4])
	good, err := std.Verify(int(api.DecodeI32(stack[0])), point, digest, i.bytes(name, stack[5], stack[6]))
	n := 0
	if good {
		n = 1
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", vpp.EIllegalParameter, err)
	}
	i.result(stack, name, n, err)
}

// computed hands out to dst, which has to be as long.
func (i *Instance) computed(stack []uint64, name string, dst, out []byte, err error) {
	if err == nil && len(out) != len(dst) {
		err = fmt.Errorf("the result has %d octets, there is room for %d", len(out), len(dst))
	}
	if err != nil {
		i.result(stack, name, 0, fmt.Errorf("%w: %w", vpp.EIllegalParameter, err))
		return
	}
	copy(dst, out)
	i.result(stack, name, 0, nil)
}

// maxSeed bounds the seed of a key.
const maxSeed = 256

func logLine(i *Instance, stack []uint64) {
	i.log(Level(api.DecodeI32(stack[0])), i.bytes("log", stack[1], stack[2]))
	i.result(stack, "log", 0, nil)
}

// log hands a line on while the quota of the call lasts.
func (i *Instance) log(l Level, line []byte) {
	if i.env.Log == nil {
		return
	}
	room := i.module.limits.Log - i.logged
	i.logged += len(line) + 1
	switch {
	case room <= 0:
		return
	case len(line) >= room:
		i.env.Log(l, line[:room-1])
		i.env.Log(Warn, fmt.Appendf(nil, "the log quota of this call, %d bytes, is used up; the rest is dropped", i.module.limits.Log))
	default:
		i.env.Log(l, line)
	}
}

// stdio is where a guest's standard output goes: the log, line by line. A Go
// runtime writes a panic in many small pieces.
type stdio struct {
	i    *Instance
	l    Level
	line []byte // without its end yet
}

// maxLine is the longest line; a longer one is broken.
const maxLine = 1024

func (s *stdio) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		full := n >= 0
		if !full {
			n = len(rest)
		}
		if room := maxLine - len(s.line); n > room {
			n = room
			s.line = append(s.line, rest[:n]...)
			s.flush()
			rest = rest[n:]
			continue
		}
		s.line = append(s.line, rest[:n]...)
		rest = rest[n:]
		if full {
			rest = rest[1:]
			s.flush()
		}
	}
	return len(p), nil
}

// flush hands on what there is. The first line of standard error in a call is
// kept for the fault that may come.
func (s *stdio) flush() {
	if len(s.line) == 0 {
		return
	}
	if s.l == Warn && s.i.said == "" {
		s.i.said = string(s.line)
	}
	s.i.log(s.l, s.line)
	s.line = s.line[:0]
}

// maxEventName and maxEventData bound what event takes.
const (
	maxEventName = 64
	maxEventData = 4096
)

func event(i *Instance, stack []uint64) {
	const fname = "event"
	name, data := i.bytes(fname, stack[0], stack[1]), i.bytes(fname, stack[2], stack[3])
	if len(name) == 0 || len(name) > maxEventName || len(data) > maxEventData {
		i.result(stack, fname, 0, vpp.EIllegalParameter)
		return
	}
	if i.env.Event != nil {
		i.env.Event(string(name), data)
	}
	i.result(stack, fname, 0, nil)
}

// sclSend refuses what no gate takes; the rest is the network's to judge.
func sclSend(i *Instance, stack []uint64) {
	const name = "scl_send"
	gate, pipe, instruction := uint32(stack[0]), uint32(stack[1]), uint32(stack[2])
	data := i.bytes(name, stack[3], stack[4])
	if gate != GateTCP && gate != GateUDP || instruction < uint32(Data) || instruction > uint32(Closed) || len(data) > MaxSend {
		i.result(stack, name, 0, vpp.EIllegalParameter)
		return
	}
	e := vpp.EUnknownHandle
	if i.env.Send != nil {
		e = i.env.Send(gate, pipe, byte(instruction), data)
	}
	if e == vpp.ENone {
		i.result(stack, name, 0, nil)
	} else {
		i.result(stack, name, 0, e)
	}
}

func sspClass(i *Instance, stack []uint64) { i.result(stack, "ssp_class", i.env.Class, nil) }
