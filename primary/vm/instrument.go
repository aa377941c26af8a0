package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// deadlineGlobal is the name under which an instrumented module exports the
// global that ends it: while it is 0 the bundle runs, else it traps at the next
// loop turn or function entry.
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
// figures. Custom sections are dropped: they do not run. Tables are kept from
// growing beyond maxTableEntries.
//
// The interpreter has to use wazero's way, which looks at loop heads only; for it
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
	w := &rewriter{out: make([]byte, 0, len(wasm)+len(wasm)/5+256), interpreted: interpreted}
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
	w.before(order(secDataCount) + 1)
	return w.out, nil
}

// Section identifiers (5.5.2).
const (
	secCustom    = 0
	secImport    = 2
	secTable     = 4
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secCode      = 10
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

// rewriter writes an instrumented module.
type rewriter struct {
	out         []byte
	interpreted bool
	globals     uint32 // of the module: the index of ours
	hasGlobal   bool   // ours is written
	hasExport   bool
}

// before writes what has to stand before a section at place and does not.
func (w *rewriter) before(place int) {
	if !w.hasGlobal && place > order(secGlobal) {
		w.vector(secGlobal, 0, nil, w.global())
	}
	if !w.hasExport && place > order(secExport) {
		w.vector(secExport, 0, nil, w.export())
	}
}

// global is the definition: i32, mutable, i32.const 0, end.
func (w *rewriter) global() []byte {
	w.hasGlobal = true
	return []byte{0x7F, 0x01, 0x41, 0x00, 0x0B}
}

// export gives it a name: kind 3 is a global.
func (w *rewriter) export() []byte {
	w.hasExport = true
	b := append([]byte{byte(len(deadlineGlobal))}, deadlineGlobal...)
	return binary.AppendUvarint(append(b, 0x03), uint64(w.globals))
}

// section writes a section, with what has to change in it.
func (w *rewriter) section(id byte, body []byte) error {
	r := &reader{b: body}
	switch id {
	case secStart:
		return errors.New("a start function runs outside of any budget; export _initialize instead")
	case secImport:
		if err := onlyFunctions(r); err != nil {
			return err
		}
	case secTable:
		tables, err := clampTables(r)
		if err != nil {
			return err
		}
		body = tables
	case secGlobal, secExport:
		n := r.u32()
		if r.err != nil {
			return r.err
		}
		extra := w.global
		if id == secGlobal {
			w.globals = n
		} else {
			extra = w.export
		}
		w.vector(id, n, body[r.off:], extra())
		return nil
	case secCode:
		return w.code(r)
	}
	w.out = binary.AppendUvarint(append(w.out, id), uint64(len(body)))
	w.out = append(w.out, body...)
	return nil
}

// vector writes a section of n elements and one more.
func (w *rewriter) vector(id byte, n uint32, elements, extra []byte) {
	count := binary.AppendUvarint(nil, uint64(n)+1)
	w.out = binary.AppendUvarint(append(w.out, id), uint64(len(count)+len(elements)+len(extra)))
	w.out = append(append(append(w.out, count...), elements...), extra...)
}

// onlyFunctions reads an import section (5.5.5): the ABI has nothing but
// functions to offer.
func onlyFunctions(r *reader) error {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		mod, name := r.bytes(r.u32()), r.bytes(r.u32())
		if kind := r.byte(); kind != 0 && r.err == nil {
			return fmt.Errorf("it imports %.64q from %.64q, which is not a function", name, mod)
		}
		r.u32()
	}
	return r.err
}

// clampTables gives every table (5.5.7) a maximum.
func clampTables(r *reader) ([]byte, error) {
	n := r.u32()
	if n > maxTables {
		return nil, fmt.Errorf("%d tables, %d at most", n, maxTables)
	}
	out := binary.AppendUvarint(nil, uint64(n))
	for ; n > 0 && r.err == nil; n-- {
		kind, flags := r.byte(), r.byte()
		least, most := r.u32(), uint32(maxTableEntries)
		if flags&1 != 0 {
			most = min(r.u32(), most)
		}
		if r.err == nil && (flags > 1 || least > maxTableEntries) {
			return nil, fmt.Errorf("a table of %d elements, limits %#x; %d at most", least, flags, maxTableEntries)
		}
		out = binary.AppendUvarint(append(out, kind, 1), uint64(least))
		out = binary.AppendUvarint(out, uint64(most))
	}
	return out, r.err
}

// code writes the code section (5.5.13).
func (w *rewriter) code(r *reader) error {
	check := binary.AppendUvarint([]byte{opGlobalGet}, uint64(w.globals))
	check = append(check, opIf, blockVoid, opUnreachable, opEnd)
	entry := check
	if w.interpreted {
		entry = []byte{opLoop, blockVoid, opEnd}
	}
	w.out = append(w.out, secCode, 0, 0, 0, 0, 0) // the size comes when it is known, in 5 bytes
	start := len(w.out)
	n := r.u32()
	w.out = binary.AppendUvarint(w.out, uint64(n))
	var loops []int
	for i := uint32(0); i < n && r.err == nil; i++ {
		body := r.bytes(r.u32())
		if r.err != nil {
			break
		}
		var first int
		var err error
		if first, loops, err = walk(body, loops[:0]); err != nil {
			return fmt.Errorf("function body %d: %w", i, err)
		}
		w.out = binary.AppendUvarint(w.out, uint64(len(body)+len(entry)+len(loops)*len(check)))
		w.out = append(append(w.out, body[:first]...), entry...)
		for _, at := range loops {
			w.out = append(append(w.out, body[first:at]...), check...)
			first = at
		}
		w.out = append(w.out, body[first:]...)
	}
	size := len(w.out) - start
	for i := range 5 {
		w.out[start-5+i] = byte(size>>(7*i))&0x7F | 0x80
	}
	w.out[start-1] &= 0x7F
	return r.err
}

// walk finds where in a function body (5.4.9) the code starts, behind the locals,
// and where the body of each loop does.
func walk(body []byte, loops []int) (first int, _ []int, err error) {
	r := &reader{b: body}
	locals := uint64(0)
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		locals += uint64(r.u32())
		r.byte()
	}
	if locals > maxLocals {
		r.fail("%d locals, %d at most", locals, maxLocals)
	}
	if r.err != nil {
		return 0, nil, r.err
	}
	first = r.off
	for r.off < len(body) {
		op := body[r.off]
		r.off++
		switch operands[op] {
		case 2:
			r.leb()
			r.leb()
		case 1:
			r.leb()
			if op == opLoop {
				loops = append(loops, r.off)
			}
		case 0:
		default:
			r.special(op)
		}
		if r.off > len(body) {
			r.fail("it ends too early")
		}
		if r.err != nil {
			return 0, nil, r.err
		}
	}
	return first, loops, nil
}
