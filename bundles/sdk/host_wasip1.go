//go:build wasip1

package sdk

import "unsafe"

// The imports of docs/abi.md.

//go:wasmimport vpp mk_get_time
func mkGetTime() int64

//go:wasmimport vpp mk_commit
func mkCommit() int32

//go:wasmimport vpp mk_rollback
func mkRollback() int32

//go:wasmimport vpp mk_wait_signal
func mkWaitSignal(ticks int64) int32

//go:wasmimport vpp nvm_get
//go:noescape
func nvmGet(key unsafe.Pointer, klen, off int32, buf unsafe.Pointer, blen int32) int32

//go:wasmimport vpp nvm_put
//go:noescape
func nvmPut(key unsafe.Pointer, klen int32, val unsafe.Pointer, vlen int32) int32

//go:wasmimport vpp nvm_write
//go:noescape
func nvmWrite(key unsafe.Pointer, klen, off int32, val unsafe.Pointer, vlen int32) int32

//go:wasmimport vpp nvm_delete
//go:noescape
func nvmDelete(key unsafe.Pointer, klen int32) int32

//go:wasmimport vpp nvm_next
//go:noescape
func nvmNext(key unsafe.Pointer, klen int32, buf unsafe.Pointer, blen int32) int32

//go:wasmimport vpp vre_random
//go:noescape
func vreRandom(p unsafe.Pointer, n int32) int32

//go:wasmimport vpp vre_mod_exp
//go:noescape
func vreModExp(dst, base unsafe.Pointer, blen int32, exp unsafe.Pointer, elen int32, m unsafe.Pointer, mlen int32) int32

//go:wasmimport vpp vre_rsa_generate
//go:noescape
func vreRSAGenerate(seed unsafe.Pointer, slen, bits, e int32, dst unsafe.Pointer, dlen int32) int32

//go:wasmimport vpp vre_ec_public
//go:noescape
func vreECPublic(curve int32, key unsafe.Pointer, klen int32, dst unsafe.Pointer, dlen int32) int32

//go:wasmimport vpp vre_ec_dh
//go:noescape
func vreECDH(curve int32, key unsafe.Pointer, klen int32, point unsafe.Pointer, plen int32, dst unsafe.Pointer, dlen int32) int32

//go:wasmimport vpp vre_ec_sign
//go:noescape
func vreECSign(curve int32, key unsafe.Pointer, klen int32, digest unsafe.Pointer, hlen int32, dst unsafe.Pointer, dlen int32) int32

//go:wasmimport vpp vre_ec_verify
//go:noescape
func vreECVerify(curve int32, point unsafe.Pointer, plen int32, digest unsafe.Pointer, hlen int32, sig unsafe.Pointer, slen int32) int32

//go:wasmimport vpp log
//go:noescape
func vppLog(level int32, p unsafe.Pointer, n int32) int32

//go:wasmimport vpp event
//go:noescape
func vppEvent(name unsafe.Pointer, nlen int32, data unsafe.Pointer, dlen int32) int32

//go:wasmimport vpp ssp_class
func vppClass() int32

//go:wasmimport vpp scl_send
//go:noescape
func sclSend(gate, pipe, instruction int32, p unsafe.Pointer, n int32) int32

func ptr(b []byte) unsafe.Pointer    { return unsafe.Pointer(unsafe.SliceData(b)) }
func strPtr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

func hostTime() int64      { return mkGetTime() }
func hostCommit() int32    { return mkCommit() }
func hostRollback() int32  { return mkRollback() }
func hostWait(ticks int64) { mkWaitSignal(ticks) }
func hostRandom(p []byte)  { vreRandom(ptr(p), int32(len(p))) }

func hostModExp(dst, base, exp, m []byte) int32 {
	return vreModExp(ptr(dst), ptr(base), int32(len(base)), ptr(exp), int32(len(exp)), ptr(m), int32(len(m)))
}

func hostRSA(seed []byte, bits int, e uint32, dst []byte) int32 {
	return vreRSAGenerate(ptr(seed), int32(len(seed)), int32(bits), int32(e), ptr(dst), int32(len(dst)))
}

func hostECPublic(curve int, key, dst []byte) int32 {
	return vreECPublic(int32(curve), ptr(key), int32(len(key)), ptr(dst), int32(len(dst)))
}

func hostECDH(curve int, key, point, dst []byte) int32 {
	return vreECDH(int32(curve), ptr(key), int32(len(key)), ptr(point), int32(len(point)), ptr(dst), int32(len(dst)))
}

func hostECSign(curve int, key, digest, dst []byte) int32 {
	return vreECSign(int32(curve), ptr(key), int32(len(key)), ptr(digest), int32(len(digest)), ptr(dst), int32(len(dst)))
}

func hostECVerify(curve int, point, digest, sig []byte) int32 {
	return vreECVerify(int32(curve), ptr(point), int32(len(point)), ptr(digest), int32(len(digest)), ptr(sig), int32(len(sig)))
}

func hostGet(key string, off int, buf []byte) int32 {
	return nvmGet(strPtr(key), int32(len(key)), int32(off), ptr(buf), int32(len(buf)))
}

func hostPut(key string, val []byte) int32 {
	return nvmPut(strPtr(key), int32(len(key)), ptr(val), int32(len(val)))
}

func hostWrite(key string, off int, val []byte) int32 {
	return nvmWrite(strPtr(key), int32(len(key)), int32(off), ptr(val), int32(len(val)))
}

func hostDelete(key string) int32 { return nvmDelete(strPtr(key), int32(len(key))) }

func hostNext(key string, buf []byte) int32 {
	return nvmNext(strPtr(key), int32(len(key)), ptr(buf), int32(len(buf)))
}

func hostLog(level int32, msg string) { vppLog(level, strPtr(msg), int32(len(msg))) }

func hostEvent(name string, data []byte) {
	vppEvent(strPtr(name), int32(len(name)), ptr(data), int32(len(data)))
}

func hostClass() int32 { return vppClass() }

func hostSend(gate, pipe uint32, instruction byte, data []byte) int32 {
	return sclSend(int32(gate), int32(pipe), int32(instruction), ptr(data), int32(len(data)))
}

// The exports of docs/abi.md.

//go:wasmexport vpp_abi
func vppABI() int32 { return ABI }

//go:wasmexport ipc_com_main
func ipcComMain() int64 { return area(cur.in[:]) }

//go:wasmexport ipc_main_com
func ipcMainCom() int64 { return area(cur.out[:]) }

// area is address and length of an IPC. Go does not move memory once allocated,
// and cur is reachable for the life of the guest.
func area(b []byte) int64 {
	return int64(uintptr(ptr(b)))<<32 | int64(len(b))
}

//go:wasmexport on_init
func onInit(reason int32) int32 { return cur.init(Reason(reason)) }

//go:wasmexport on_personalise
func onPersonalise(n int32) int32 { return cur.personalise(int(n)) }

//go:wasmexport on_message
func onMessage(gate, pipe, instruction, n int32) int32 {
	return cur.message(uint32(gate), uint32(pipe), byte(instruction), int(n))
}

//go:wasmexport scl_gates
func sclGates() int32 { return cur.gates() }

//go:wasmexport on_signal
func onSignal(bitmap int32) int32 {
	cur.signal(Signal(bitmap))
	return 0
}
