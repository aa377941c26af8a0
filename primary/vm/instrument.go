package vm

import (
	"errors"
	"fmt"
)

// deadlineGlobal is the name under which an instrumented module exports the
// global that ends it: while it is 0 the bundle runs, else it traps at the next
// loop turn or function entry.
const deadlineGlobal = "sspemu:deadline"

// errWasm is the reason for every refusal of instrument.
var errWasm = errors.New("not a WebAssembly module this platform can run")

// instrument adds the deadline to a module: one mutable i32 global behind all
// others, exported as deadlineGlobal, and at every function entry and loop head
//
//	global.get $deadline
//	if
//	  unreachable
//	end
//
// so that a call which runs too long can be ended from outside. wazero's own way
// (WithCloseOnContextDone) costs ten times the call itself; RATIONALE.md has the
// figures. Custom sections are dropped: they do not run.
//
// The interpreter has to use wazero's way, which looks at loop heads only; for it
// every function entry gets an empty loop as well, so that endless recursion ends
// too.
func instrument(wasm []byte, interpreted bool) ([]byte, error) {
	if len(wasm) < 8 || string(wasm[:4]) != "\x00asm" {
		return nil, fmt.Errorf("%w: it does not start with the magic bytes 00 61 73 6D", errWasm)
	}
	if string(wasm[4:8]) != "\x01\x00\x00\x00" {
		return nil, fmt.Errorf("%w: it is not of version 1", errWasm)
	}
	r := &reader{b: wasm, off: 8}
	var secs []section
	for r.off < len(r.b) && r.err == nil {
		id := r.byte()
		n := r.u32()
		body := r.bytes(int(n))
		if id != secCustom {
			secs = append(secs, section{id, body})
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", errWasm, r.err)
	}
	var globals uint32
	for _, s := range secs {
		var err error
		switch s.id {
		case secStart: // it would run where no budget holds it
			err = errors.New("it has a start section; a bundle has the export _initialize instead")
		case secImport:
			globals, err = importedGlobals(s.body)
		case secGlobal:
			q := &reader{b: s.body}
			globals += q.u32()
			err = q.err
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWasm, err)
		}
	}
	out := make([]byte, 0, len(wasm)+len(wasm)/8)
	out = append(out, wasm[:8]...)
	doneGlobal, doneExport := false, false
	add := func(id byte, body []byte) {
		out = append(out, id)
		out = appendU32(out, uint32(len(body)))
		out = append(out, body...)
	}
	global := []byte{0x7F, 0x01, 0x41, 0x00, 0x0B} // i32, mutable, i32.const 0, end
	export := append([]byte{byte(len(deadlineGlobal))}, deadlineGlobal...)
	export = appendU32(append(export, 0x03), globals)
	// before makes sure that the sections of ours stand where the order asks for.
	before := func(id byte) {
		if !doneGlobal && order(id) > order(secGlobal) {
			add(secGlobal, append([]byte{1}, global...))
			doneGlobal = true
		}
		if !doneExport && order(id) > order(secExport) {
			add(secExport, append([]byte{1}, export...))
			doneExport = true
		}
	}
	for _, s := range secs {
		before(s.id)
		switch s.id {
		case secGlobal, secExport:
			extra := global
			if s.id == secExport {
				extra = export
			}
			q := &reader{b: s.body}
			n := q.u32()
			if q.err != nil {
				return nil, fmt.Errorf("%w: %w", errWasm, q.err)
			}
			body := appendU32(make([]byte, 0, len(s.body)+len(extra)+5), n+1)
			body = append(append(body, s.body[q.off:]...), extra...)
			add(s.id, body)
			doneGlobal = doneGlobal || s.id == secGlobal
			doneExport = doneExport || s.id == secExport
		case secCode:
			body, err := instrumentCode(s.body, globals, interpreted)
			if err != nil {
				return nil, fmt.Errorf("%w: code section: %w", errWasm, err)
			}
			add(secCode, body)
		default:
			add(s.id, s.body)
		}
	}
	before(255)
	return out, nil
}

type section struct {
	id   byte
	body []byte
}

// Section identifiers (WebAssembly core specification 5.5.2).
const (
	secCustom    = 0
	secImport    = 2
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secCode      = 10
	secDataCount = 12
	secTag       = 13
)

// order is the place of a section in a module: identifiers ascend, but for tag
// (after memory) and data count (before code).
func order(id byte) int {
	switch id {
	case secTag:
		return 5*2 + 1
	case secDataCount:
		return 9*2 + 1
	}
	return int(id) * 2
}

func importedGlobals(body []byte) (n uint32, err error) {
	r := &reader{b: body}
	for range r.u32() {
		if r.err != nil {
			break
		}
		r.bytes(int(r.u32()))
		r.bytes(int(r.u32()))
		switch k := r.byte(); k {
		case 0: // function
			r.u32()
		case 1: // table
			r.byte()
			r.limits()
		case 2: // memory
			r.limits()
		case 3: // global
			r.bytes(2)
			n++
		default:
			r.fail("import of kind %d", k)
		}
	}
	return n, r.err
}

// instrumentCode rewrites the code section.
func instrumentCode(body []byte, global uint32, interpreted bool) ([]byte, error) {
	check := appendU32([]byte{0x23}, global)      // global.get
	check = append(check, 0x04, 0x40, 0x00, 0x0B) // if (void) unreachable end
	entry := check
	if interpreted {
		entry = []byte{opLoop, 0x40, opEnd} // loop (void) end
	}
	r := &reader{b: body}
	n := r.u32()
	out := appendU32(make([]byte, 0, len(body)+len(body)/6), n)
	var fn []byte
	for i := uint32(0); i < n && r.err == nil; i++ {
		code := r.bytes(int(r.u32()))
		if r.err != nil {
			break
		}
		var err error
		fn, err = instrumentFunc(fn[:0], code, entry, check)
		if err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, err)
		}
		out = appendU32(out, uint32(len(fn)))
		out = append(out, fn...)
	}
	return out, r.err
}

// instrumentFunc appends one function body to dst, with entry at its start and
// check at every loop head.
func instrumentFunc(dst, code, entry, check []byte) ([]byte, error) {
	r := &reader{b: code}
	for range r.u32() { // locals
		if r.err != nil {
			break
		}
		r.u32()
		r.byte()
	}
	if r.err != nil {
		return nil, r.err
	}
	dst = append(dst, code[:r.off]...)
	dst = append(dst, entry...)
	from := r.off
	for r.off < len(code) {
		op := r.byte()
		r.immediates(op)
		if r.err != nil {
			return nil, r.err
		}
		if op == opLoop {
			dst = append(dst, code[from:r.off]...)
			dst = append(dst, check...)
			from = r.off
		}
	}
	return append(dst, code[from:]...), nil
}

// Opcodes with immediates that are not those of their range (WebAssembly core
// specification 5.4).
const (
	opBlock, opLoop, opIf              = 0x02, 0x03, 0x04
	opBr, opBrIf, opBrTable            = 0x0C, 0x0D, 0x0E
	opCall, opCallIndirect             = 0x10, 0x11
	opReturnCall, opReturnCallIndirect = 0x12, 0x13
	opSelectT                          = 0x1C
	opLocalGet, opTableSet             = 0x20, 0x26 // local.get .. table.set: one index
	opLoad, opStore                    = 0x28, 0x3E // i32.load .. i64.store32: memarg
	opMemorySize, opMemoryGrow         = 0x3F, 0x40
	opI32Const, opI64Const             = 0x41, 0x42
	opF32Const, opF64Const             = 0x43, 0x44
	opNumericFirst, opNumericLast      = 0x45, 0xC4
	opRefNull, opRefIsNull, opRefFunc  = 0xD0, 0xD1, 0xD2
	opMisc, opSIMD                     = 0xFC, 0xFD
	opUnreachable, opNop, opElse       = 0x00, 0x01, 0x05
	opEnd, opReturn, opDrop, opSelect  = 0x0B, 0x0F, 0x1A, 0x1B
)

// immediates skips what follows an opcode.
func (r *reader) immediates(op byte) {
	switch {
	case op == opUnreachable, op == opNop, op == opElse, op == opEnd, op == opReturn, op == opDrop, op == opSelect, op == opRefIsNull,
		op >= opNumericFirst && op <= opNumericLast:
	case op == opBlock, op == opLoop, op == opIf, op == opI32Const, op == opI64Const, op == opRefNull:
		r.leb() // block type as s33, numbers and heap type alike
	case op == opBr, op == opBrIf, op == opCall, op == opReturnCall, op == opRefFunc,
		op >= opLocalGet && op <= opTableSet, op == opMemorySize, op == opMemoryGrow:
		r.leb()
	case op == opBrTable:
		for range r.u32() {
			if r.leb(); r.err != nil {
				return
			}
		}
		r.leb()
	case op == opCallIndirect, op == opReturnCallIndirect:
		r.leb()
		r.leb()
	case op == opSelectT:
		r.bytes(int(r.u32()))
	case op >= opLoad && op <= opStore:
		r.leb()
		r.leb()
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opMisc:
		switch sub := r.u32(); {
		case sub <= 7: // saturating truncation
		case sub == 8, sub == 10, sub == 12, sub == 14: // memory.init, memory.copy, table.init, table.copy
			r.leb()
			r.leb()
		case sub == 9, sub == 11, sub == 13, sub >= 15 && sub <= 17: // data.drop, memory.fill, elem.drop, table.grow, size, fill
			r.leb()
		default:
			r.fail("opcode FC %d is unknown", sub)
		}
	case op == opSIMD:
		switch sub := r.u32(); {
		case sub <= 11, sub == 92, sub == 93: // v128 load and store
			r.leb()
			r.leb()
		case sub == 12, sub == 13: // v128.const, i8x16.shuffle
			r.bytes(16)
		case sub >= 21 && sub <= 34: // lanes
			r.byte()
		case sub >= 84 && sub <= 91: // load and store of a lane
			r.leb()
			r.leb()
			r.byte()
		case sub <= 255:
		default:
			r.fail("opcode FD %d is unknown", sub)
		}
	default:
		r.fail("opcode %02X is unknown", op)
	}
}

// reader reads a binary module; after the first error it reads nothing.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d: "+format, append([]any{r.off}, a...)...)
	}
}

func (r *reader) byte() byte {
	if r.err != nil || r.off >= len(r.b) {
		r.fail("it ends too early")
		return 0
	}
	r.off++
	return r.b[r.off-1]
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b)-r.off {
		r.fail("it ends too early")
		return nil
	}
	r.off += n
	return r.b[r.off-n : r.off]
}

func (r *reader) u32() (v uint32) {
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint32(c&0x7F) << shift
		if c < 0x80 {
			if shift == 28 && c > 0x0F {
				break
			}
			return v
		}
	}
	r.fail("a number is longer than 32 bits")
	return 0
}

// leb skips a LEB128 number of up to 64 bits, signed or not.
func (r *reader) leb() {
	for range 10 {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail("a number is longer than 64 bits")
}

func (r *reader) limits() {
	f := r.byte()
	r.leb()
	if f&1 != 0 {
		r.leb()
	}
}

func appendU32(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}
