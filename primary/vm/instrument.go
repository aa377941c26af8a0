package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// deadlineGlobal is the name under which an instrumented module exports the
// global that ends it: while it is 0 the bundle runs, else it traps at its next
// pause.
const deadlineGlobal = "sspemu:deadline"

// errWasm is the reason for every refusal of instrument.
var errWasm = errors.New("not a WebAssembly module this platform can run")

// Limits of a module that cost the platform memory before a bundle has any of its
// own (docs/abi.md).
const (
	maxTables       = 16
	maxTableEntries = 1 << 16
	maxLocals       = 50_000
)

// A bundle pauses after so many loop turns and function entries; a bulk operation
// on memory or a table counts as bulkSteps of them.
const (
	pauseSteps = 1 << 13
	bulkSteps  = 1 << 7

	// What $deadline says: end the call, or let the platform know that it goes on.
	endCall = 1
	goesOn  = 2
)

// instrument makes a module interruptible. Compiled code does not give way to the
// Go scheduler: a bundle that spins would stop the garbage collector, and with it
// every goroutine, the one that is to end it too. So it counts its steps, in a
// global behind all others, at every loop head and function entry:
//
//	global.get $left   i32.const 1   i32.sub   global.set $left
//	global.get $left   i32.const 0   i32.le_s
//	if
//	  call $pause
//	end
//
// and the function $pause, behind all others too, goes through the Go runtime
// with the cheapest instruction that does, and looks whether it is time to end:
//
//	i32.const 0   memory.grow   drop
//	i32.const pauseSteps   global.set $left
//	global.get $deadline
//	if
//	  global.get $deadline   i32.const endCall   i32.eq
//	  if
//	    unreachable
//	  end
//	  call mk_get_time   drop
//	end
//
// The call, in a bundle that has that import, is a moment at which the platform can
// tell the terminal that the bundle still works (Env.Working).
//
// wazero's own way (WithCloseOnContextDone) costs ten times the call itself;
// RATIONALE.md has the figures. Custom sections are dropped: they do not run.
// Tables are kept from growing beyond maxTableEntries.
//
// The interpreter is Go code and gives way, but does not see a global that changes
// from outside; it has to use wazero's way, which looks at loop heads only. For it
// every function entry gets an empty loop instead, so that endless recursion ends
// too.
//
// Layout: WebAssembly core specification 2.0, chapter 5.
func instrument(wasm []byte, interpreted bool) ([]byte, error) {
	if len(wasm) < 8 || string(wasm[:4]) != "\x00asm" {
		return nil, fmt.Errorf("%w: it does not start with the magic bytes 00 61 73 6D", errWasm)
	}
	if string(wasm[4:8]) != "\x01\x00\x00\x00" {
		return nil, fmt.Errorf("%w: it is not of version 1", errWasm)
	}
	w := &rewriter{time: -1, out: make([]byte, 0, len(wasm)+len(wasm)/3+256), interpreted: interpreted}
	w.out = append(w.out, wasm[:8]...)
	r := &reader{b: wasm, off: 8}
	last := 0
	for r.off < len(r.b) && r.err == nil {
		at := r.off
		id := r.byte()
		body := r.bytes(r.u32())
		switch place := order(id); {
		case r.err != nil, id == secCustom:
		case id > secDataCount || place <= last:
			r.off = at
			r.fail("section %d is unknown or out of order", id)
		default:
			last = place
			w.before(place)
			if err := w.section(id, body); err != nil {
				return nil, fmt.Errorf("%w: section %d: %w", errWasm, id, err)
			}
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", errWasm, r.err)
	}
	w.before(order(secCode) + 1)
	return w.out, nil
}

// Section identifiers (5.5.2).
const (
	secCustom    = 0
	secType      = 1
	secImport    = 2
	secFunction  = 3
	secTable     = 4
	secMemory    = 5
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secElement   = 9
	secCode      = 10
	secData      = 11
	secDataCount = 12
)

// order is the place of a section in a module: identifiers ascend, but data count
// stands before code.
func order(id byte) int {
	if id == secDataCount {
		return 2*secCode - 1
	}
	return 2 * int(id)
}

// grown are the sections that get something of ours, in order.
var grown = [...]byte{secType, secFunction, secGlobal, secExport, secCode}

// rewriter writes an instrumented module.
type rewriter struct {
	out         []byte
	interpreted bool
	done        int // of grown

	// Of the module itself, and so the indices of ours.
	types, functions, globals uint32
	hasMemory                 bool
	time                      int // mk_get_time of the imports; -1: it does not import it
}

// before writes what has to stand before a section at place and is not there.
func (w *rewriter) before(place int) {
	for w.done < len(grown) && order(grown[w.done]) < place {
		id := grown[w.done]
		_ = w.grow(id, &reader{b: []byte{0}}) // an empty vector has no errors
	}
}

// section writes a section, with what has to change in it.
func (w *rewriter) section(id byte, body []byte) error {
	r := &reader{b: body}
	switch id {
	case secStart:
		return errors.New("a start function runs outside of any budget; export _initialize instead")
	case secTable:
		tables, err := clampTables(r)
		if err != nil {
			return err
		}
		body = tables
	case secType:
		readTypes(r)
	case secImport:
		w.functions, w.time = readImports(r)
	case secFunction:
		readFunctions(r)
	case secMemory:
		w.hasMemory = readMemories(r) > 0
	case secGlobal:
		readGlobals(r)
	case secExport:
		readExports(r)
	case secElement:
		readElements(r)
	case secData:
		readData(r)
	case secDataCount:
		r.u32()
	default: // code is read as it is rewritten
		r.off = len(r.b)
	}
	if r.off < len(r.b) {
		r.fail("%d bytes too many", len(r.b)-r.off)
	}
	if r.err != nil {
		return r.err
	}
	if slices.Contains(grown[:], id) {
		return w.grow(id, &reader{b: body})
	}
	w.out = binary.AppendUvarint(append(w.out, id), uint64(len(body)))
	w.out = append(w.out, body...)
	return nil
}

// grow writes a section that is a vector, with what is ours behind it.
func (w *rewriter) grow(id byte, r *reader) error {
	w.done++
	n := r.vector()
	if r.err != nil {
		return r.err
	}
	rest := r.b[r.off:]
	w.out = append(w.out, id, 0, 0, 0, 0, 0) // the size comes when it is known, in 5 bytes
	start := len(w.out)
	if more := uint64(n) + 1; id == secGlobal {
		w.out = binary.AppendUvarint(w.out, more+1)
	} else {
		w.out = binary.AppendUvarint(w.out, more)
	}
	if id == secCode {
		if err := w.code(r, n); err != nil {
			return err
		}
	} else {
		w.out = append(w.out, rest...)
	}
	switch id {
	case secType: // () -> ()
		w.types = n
		w.out = append(w.out, 0x60, 0, 0)
	case secFunction:
		w.functions += n
		w.out = binary.AppendUvarint(w.out, uint64(w.types))
	case secGlobal: // $left and $deadline: i32, mutable
		w.globals = n
		w.out = append(appendConst(append(w.out, 0x7F, 1), pauseSteps), opEnd)
		w.out = append(appendConst(append(w.out, 0x7F, 1), 0), opEnd)
	case secExport: // kind 3 is a global
		w.out = append(append(w.out, byte(len(deadlineGlobal))), deadlineGlobal...)
		w.out = binary.AppendUvarint(append(w.out, 0x03), uint64(w.globals+1))
	case secCode:
		pause := w.pause()
		w.out = append(binary.AppendUvarint(w.out, uint64(len(pause))), pause...)
	}
	size := len(w.out) - start
	for i := range 5 {
		w.out[start-5+i] = byte(size>>(7*i))&0x7F | 0x80
	}
	w.out[start-1] &= 0x7F
	return nil
}

// charge takes n steps off.
func (w *rewriter) charge(n int32) []byte {
	b := binary.AppendUvarint([]byte{opGlobalGet}, uint64(w.globals))
	b = append(appendConst(b, n), opI32Sub, opGlobalSet)
	return binary.AppendUvarint(b, uint64(w.globals))
}

// step takes one off and pauses when none is left.
func (w *rewriter) step() []byte {
	b := binary.AppendUvarint(append(w.charge(1), opGlobalGet), uint64(w.globals))
	b = append(appendConst(b, 0), opI32LeS, opIf, blockVoid, opCall)
	return append(binary.AppendUvarint(b, uint64(w.functions)), opEnd)
}

// pause is the body of $pause.
func (w *rewriter) pause() []byte {
	b := []byte{0} // no locals
	if w.hasMemory {
		b = append(appendConst(b, 0), opMemoryGrow, 0, opDrop)
	}
	b = append(appendConst(b, pauseSteps), opGlobalSet)
	b = append(binary.AppendUvarint(b, uint64(w.globals)), opGlobalGet)
	b = binary.AppendUvarint(b, uint64(w.globals+1))
	b = append(b, opIf, blockVoid, opGlobalGet)
	b = binary.AppendUvarint(b, uint64(w.globals+1))
	b = append(appendConst(b, endCall), opI32Eq, opIf, blockVoid, opUnreachable, opEnd)
	if w.time >= 0 {
		b = append(binary.AppendUvarint(append(b, opCall), uint64(w.time)), opDrop)
	}
	return append(b, opEnd, opEnd)
}

// appendConst appends i32.const n, n not negative.
func appendConst(b []byte, n int32) []byte {
	b = append(b, opI32Const)
	for ; n > 0x3F; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// code writes n function bodies (5.5.13).
func (w *rewriter) code(r *reader, n uint32) error {
	entry, loop, bulk := w.step(), w.step(), w.charge(bulkSteps)
	if w.interpreted {
		entry, loop, bulk = []byte{opLoop, blockVoid, opEnd}, nil, nil
	}
	var marks []mark
	for i := uint32(0); i < n; i++ {
		body := r.bytes(r.u32())
		if r.err != nil {
			return r.err
		}
		var err error
		if marks, err = walk(body, marks[:0]); err != nil {
			return fmt.Errorf("function body %d: %w", i, err)
		}
		insert := [...][]byte{atEntry: entry, atLoop: loop, atBulk: bulk}
		size := len(body)
		for _, m := range marks {
			size += len(insert[m.kind])
		}
		w.out = binary.AppendUvarint(w.out, uint64(size))
		from := 0
		for _, m := range marks {
			w.out = append(append(w.out, body[from:m.at]...), insert[m.kind]...)
			from = m.at
		}
		w.out = append(w.out, body[from:]...)
	}
	if r.off < len(r.b) {
		r.fail("%d bytes too many", len(r.b)-r.off)
	}
	return r.err
}

// mark is a place in a function body where something is inserted.
type mark struct {
	at   int
	kind uint8
}

const (
	atEntry = iota // where the code starts, behind the locals
	atLoop         // where the body of a loop starts
	atBulk         // before a bulk operation
)

// walk finds the marks of a function body (5.4.9). A function that comes to a loop
// straight away needs none at its entry.
func walk(body []byte, marks []mark) ([]mark, error) {
	r := &reader{b: body}
	locals := uint64(0)
	for n := r.vector(); n > 0 && r.err == nil; n-- {
		locals += uint64(r.u32())
		r.valueType(r.byte())
	}
	if locals > maxLocals {
		r.fail("%d locals, %d at most", locals, maxLocals)
	}
	marks = append(marks, mark{r.off, atEntry})
	straight := true
	for r.off < len(body) && r.err == nil {
		at := r.off
		op := body[at]
		r.off++
		switch operands[op] {
		case 2:
			r.leb()
			r.leb()
			straight = straight && op != opCallIndirect
		case 1:
			if op >= opBlock && op <= opIf {
				r.blockType()
			} else {
				r.leb()
			}
			switch op {
			case opLoop:
				if straight {
					marks = marks[:0]
					straight = false
				}
				marks = append(marks, mark{r.off, atLoop})
			case opIf, opBr, opBrIf, opCall:
				straight = false
			}
		case 0:
			straight = straight && op != opReturn && op != opUnreachable && op != opElse && op != opEnd
		default:
			if r.special(op) {
				marks = append(marks, mark{at, atBulk})
			}
			straight = straight && op != opBrTable
		}
		if r.off > len(body) {
			r.fail("it ends too early")
		}
	}
	return marks, r.err
}
