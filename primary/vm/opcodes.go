package vm

import "fmt"

// Opcodes that instrument writes or that have operands of their own kind
// (WebAssembly core specification 2.0, 5.4).
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0B
	opBr           = 0x0C
	opBrIf         = 0x0D
	opBrTable      = 0x0E
	opReturn       = 0x0F
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1A
	opSelectT      = 0x1C
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32Eq        = 0x46
	opI32LeS       = 0x4C
	opI32Sub       = 0x6B
	opRefNull      = 0xD0
	opMisc         = 0xFC // saturating truncation, bulk memory, tables
	opSIMD         = 0xFD

	blockVoid = 0x40 // block type without parameters and results
)

// Value types (5.3.1 to 5.3.4). Others, of proposals, are longer than a byte and
// would be read wrongly.
const (
	typeExtern  = 0x6F
	typeFunc    = 0x70
	typeVector  = 0x7B
	typeInteger = 0x7F
)

// special marks an opcode for reader.special.
const special = 0xFF

// operands is how many LEB128 numbers follow an opcode.
var operands = func() (n [256]byte) {
	set := func(first, last int, v byte) {
		for op := first; op <= last; op++ {
			n[op] = v
		}
	}
	set(0x00, 0xFF, special)
	set(0x00, 0x01, 0) // unreachable, nop
	set(0x02, 0x04, 1) // block, loop, if: type as s33, see reader.blockType
	set(0x05, 0x05, 0) // else
	set(0x0B, 0x0B, 0) // end
	set(0x0C, 0x0D, 1) // br, br_if
	set(0x0F, 0x0F, 0) // return
	set(0x10, 0x10, 1) // call
	set(0x11, 0x11, 2) // call_indirect: type, table
	set(0x1A, 0x1B, 0) // drop, select
	set(0x20, 0x26, 1) // local.get to table.set: index
	set(0x28, 0x3E, 2) // i32.load to i64.store32: alignment, offset
	set(0x3F, 0x40, 1) // memory.size, memory.grow
	set(0x41, 0x42, 1) // i32.const, i64.const
	set(0x45, 0xC4, 0) // numeric
	set(0xD1, 0xD1, 0) // ref.is_null
	set(0xD2, 0xD2, 1) // ref.func
	return n
}()

// special skips the operands of an opcode that operands does not know, and tells
// whether it is a bulk operation.
func (r *reader) special(op byte) (bulk bool) {
	switch op {
	case opBrTable:
		for n := r.u32(); n > 0 && r.err == nil; n-- {
			r.u32()
		}
		r.u32()
	case opSelectT:
		for _, t := range r.bytes(r.u32()) {
			r.valueType(t)
		}
	case opRefNull:
		r.valueType(r.byte())
	case opF32Const:
		r.bytes(4)
	case opF64Const:
		r.bytes(8)
	case opMisc:
		switch sub := r.u32(); {
		case sub <= 7: // i32.trunc_sat_f32_s to i64.trunc_sat_f64_u
		case sub == 8, sub == 10, sub == 12, sub == 14: // memory.init, memory.copy, table.init, table.copy
			r.leb()
			r.leb()
			bulk = true
		case sub <= 17: // data.drop, memory.fill, elem.drop, table.grow, table.size, table.fill
			r.leb()
			bulk = true
		default:
			r.fail("opcode FC %d is unknown", sub)
		}
	case opSIMD:
		switch sub := r.u32(); {
		case sub <= 11, sub == 92, sub == 93: // v128.load to v128.store, load32_zero, load64_zero
			r.leb()
			r.leb()
		case sub <= 13: // v128.const, i8x16.shuffle
			r.bytes(16)
		case sub >= 21 && sub <= 34: // extract_lane, replace_lane
			r.byte()
		case sub >= 84 && sub <= 91: // load and store of one lane
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
	return bulk
}

// valueType refuses what is no value type.
func (r *reader) valueType(t byte) {
	if t != typeExtern && t != typeFunc && (t < typeVector || t > typeInteger) {
		r.fail("type %02X is unknown", t)
	}
}

// blockType skips a block type: nothing, a value type or the index of a function
// type, which is not negative.
func (r *reader) blockType() {
	t := r.byte()
	switch {
	case t >= 0x80:
		r.leb()
		if r.off <= len(r.b) && r.b[r.off-1]&0x40 != 0 {
			r.fail("a block type is negative")
		}
	case t > blockVoid:
		r.valueType(t)
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
		r.err = fmt.Errorf("at byte %d: "+format, append([]any{min(r.off, len(r.b))}, a...)...)
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

func (r *reader) bytes(n uint32) []byte {
	if r.err != nil || int64(n) > int64(len(r.b)-r.off) {
		r.fail("it ends too early")
		return nil
	}
	r.off += int(n)
	return r.b[r.off-int(n) : r.off]
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

// leb skips a LEB128 number, perhaps beyond the end: whoever calls it looks.
func (r *reader) leb() {
	for r.off < len(r.b) && r.b[r.off] >= 0x80 {
		r.off++
	}
	r.off++
}
