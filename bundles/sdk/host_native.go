//go:build !wasip1

package sdk

import (
	"strings"
	"sync"
)

// Host is the platform of a bundle that runs natively: the imports of
// docs/abi.md as Go methods. Negative results are -Error. Package sdktest has
// one that keeps everything in memory.
type Host interface {
	Time() int64
	Commit() int32
	Rollback() int32
	WaitSignal(ticks int64)
	NVMGet(key string, off int, buf []byte) int32
	NVMPut(key string, val []byte) int32
	NVMWrite(key string, off int, val []byte) int32
	NVMDelete(key string) int32
	NVMNext(key string, buf []byte) int32
	Random(p []byte)
	ModExp(dst, base, exp, m []byte) int32
	GenerateRSA(seed []byte, bits int, e uint32, dst []byte) int32 // dst: p, then q
	ECPublic(curve int, key, dst []byte) int32
	ECDH(curve int, key, point, dst []byte) int32
	ECSign(curve int, key, digest, dst []byte) int32
	ECVerify(curve int, point, digest, sig []byte) int32 // 1: right
	Log(level int32, msg string)
	Event(name string, data []byte)
	Send(gate, pipe uint32, instruction byte, data []byte) int32
	Class() int32
}

// native is held during a call into an App: the functions of this package
// belong to the bundle that runs, and there is one at a time.
var (
	native sync.Mutex
	host   Host
	idle   = cur // between calls
)

func hostTime() int64                                 { return host.Time() }
func hostCommit() int32                               { return host.Commit() }
func hostRollback() int32                             { return host.Rollback() }
func hostWait(ticks int64)                            { host.WaitSignal(ticks) }
func hostGet(key string, off int, buf []byte) int32   { return host.NVMGet(key, off, buf) }
func hostPut(key string, val []byte) int32            { return host.NVMPut(key, val) }
func hostWrite(key string, off int, val []byte) int32 { return host.NVMWrite(key, off, val) }
func hostDelete(key string) int32                     { return host.NVMDelete(key) }
func hostNext(key string, buf []byte) int32           { return host.NVMNext(key, buf) }
func hostRandom(p []byte)                             { host.Random(p) }
func hostModExp(dst, base, exp, m []byte) int32       { return host.ModExp(dst, base, exp, m) }
func hostRSA(seed []byte, bits int, e uint32, dst []byte) int32 {
	return host.GenerateRSA(seed, bits, e, dst)
}
func hostECPublic(curve int, key, dst []byte) int32    { return host.ECPublic(curve, key, dst) }
func hostECDH(curve int, key, point, dst []byte) int32 { return host.ECDH(curve, key, point, dst) }
func hostECSign(curve int, key, digest, dst []byte) int32 {
	return host.ECSign(curve, key, digest, dst)
}
func hostECVerify(curve int, point, digest, sig []byte) int32 {
	return host.ECVerify(curve, point, digest, sig)
}
func hostLog(level int32, msg string)    { host.Log(level, msg) }
func hostEvent(name string, data []byte) { host.Event(name, data) }
func hostClass() int32                   { return host.Class() }
func hostSend(gate, pipe uint32, instruction byte, data []byte) int32 {
	return host.Send(gate, pipe, instruction, data)
}

// Bundle is an App on a Host, called through the same entry points as the
// WebAssembly module (docs/abi.md). Only for tests; it does not exist in a
// guest.
type Bundle struct {
	m *machine
	h Host
}

// NewBundle puts a on h.
func NewBundle(a App, h Host) *Bundle { return &Bundle{&machine{app: a}, h} }

func (b *Bundle) enter() {
	native.Lock()
	cur, host = b.m, b.h
}

func (b *Bundle) leave() {
	cur, host = idle, nil
	native.Unlock()
}

// Init is on_init; the result is 0 or -Error.
func (b *Bundle) Init(reason Reason) int32 {
	b.enter()
	defer b.leave()
	return cur.init(reason)
}

// Personalise is on_personalise: nil, or a *PersonaError, or an Error.
func (b *Bundle) Personalise(doc []byte) error {
	b.enter()
	defer b.leave()
	if len(doc) > len(cur.in) {
		return ErrIllegalParameter
	}
	copy(cur.in[:], doc)
	n := cur.personalise(len(doc))
	switch {
	case n < 0:
		return Error(-n)
	case n > 0:
		pointer, reason, _ := strings.Cut(string(cur.out[:n]), "\x00")
		return &PersonaError{pointer, reason}
	}
	return nil
}

// Message is on_message. The answer is valid until the next call.
func (b *Bundle) Message(gate, pipe uint32, instr byte, in []byte) ([]byte, error) {
	b.enter()
	defer b.leave()
	if len(in) > len(cur.in) {
		return nil, ErrIllegalParameter
	}
	copy(cur.in[:], in)
	n := cur.message(gate, pipe, instr, len(in))
	if n < 0 {
		return nil, Error(-n)
	}
	return cur.out[:n], nil
}

// Gates is scl_gates: a bitmap of the gates that the bundle serves.
func (b *Bundle) Gates() int32 {
	b.enter()
	defer b.leave()
	return cur.gates()
}

// Signal is on_signal.
func (b *Bundle) Signal(s Signal) {
	b.enter()
	defer b.leave()
	cur.signal(s)
}
