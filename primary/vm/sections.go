package vm

import (
	"encoding/binary"
	"fmt"
)

// Readers of the sections whose elements have lengths of their own. Who decodes
// the module afterwards makes room for as many bytes as a length says before it
// looks whether they are there; so a module of twenty bytes could ask for
// gigabytes. (WebAssembly core specification 2.0, 5.5.)

// vector reads the number of elements that follow, each of a byte at least.
func (r *reader) vector() uint32 {
	n := r.u32()
	if r.err == nil && int64(n) > int64(len(r.b)-r.off) {
		r.fail("%d elements do not fit in", n)
	}
	return n
}

// readTypes reads a type section: function types, 60 hex, parameters, results.
func readTypes(r *reader) {
	for n := r.vector(); n > 0 && r.err == nil; n-- {
		if form := r.byte(); form != 0x60 {
			r.fail("type of form %02X is unknown", form)
		}
		r.bytes(r.u32())
		r.bytes(r.u32())
	}
}

// readImports reads an import section: the ABI has nothing but functions to offer.
func readImports(r *reader) (functions uint32, time int) {
	functions, time = r.vector(), -1
	for n := functions; n > 0 && r.err == nil; n-- {
		mod, name := r.bytes(r.u32()), r.bytes(r.u32())
		if kind := r.byte(); kind != 0 {
			r.fail("it imports %.64q from %.64q, which is not a function", name, mod)
		}
		if string(mod) == hostModule && string(name) == importTime {
			time = int(functions - n)
		}
		r.u32()
	}
	return functions, time
}

// readFunctions reads a function section: indices of types.
func readFunctions(r *reader) {
	for n := r.vector(); n > 0 && r.err == nil; n-- {
		r.u32()
	}
}

// readMemories reads a memory section: limits.
func readMemories(r *reader) (n uint32) {
	n = r.vector()
	for m := n; m > 0 && r.err == nil; m-- {
		flags := r.byte()
		r.u32()
		if flags&1 != 0 {
			r.u32()
		}
	}
	return n
}

// readGlobals reads a global section: type, whether it is mutable, first value.
func readGlobals(r *reader) {
	for n := r.vector(); n > 0 && r.err == nil; n-- {
		r.valueType(r.byte())
		r.byte()
		r.constant()
	}
}

// clampTables reads a table section and gives every table a maximum.
func clampTables(r *reader) (section []byte, err error) {
	n := r.vector()
	if n > maxTables {
		return nil, fmt.Errorf("%d tables, %d at most", n, maxTables)
	}
	section = binary.AppendUvarint(nil, uint64(n))
	for ; n > 0 && r.err == nil; n-- {
		kind, flags := r.byte(), r.byte()
		r.valueType(kind)
		least, most := r.u32(), uint32(maxTableEntries)
		if flags&1 != 0 {
			most = min(r.u32(), most)
		}
		if flags > 1 || least > maxTableEntries {
			r.fail("a table of %d elements, limits %#x; %d at most", least, flags, maxTableEntries)
		}
		section = binary.AppendUvarint(append(section, kind, 1), uint64(least))
		section = binary.AppendUvarint(section, uint64(most))
	}
	return section, r.err
}

// readExports reads an export section: name, kind, index.
func readExports(r *reader) {
	for n := r.vector(); n > 0 && r.err == nil; n-- {
		r.bytes(r.u32())
		r.byte()
		r.u32()
	}
}

// readElements reads an element section. Of the flags, bit 0: passive or
// declared, bit 1: a table index or the word declared, bit 2: expressions
// instead of function indices.
func readElements(r *reader) {
	for n := r.vector(); n > 0 && r.err == nil; n-- {
		flags := r.u32()
		if flags > 7 {
			r.fail("element segment of kind %d is unknown", flags)
		}
		if flags&3 == 2 {
			r.u32()
		}
		if flags&1 == 0 {
			r.constant()
		}
		if flags&3 != 0 {
			r.byte() // kind or type
		}
		for m := r.vector(); m > 0 && r.err == nil; m-- {
			if flags&4 == 0 {
				r.u32()
			} else {
				r.constant()
			}
		}
	}
}

// readData reads a data section: active, passive, active with a memory index.
func readData(r *reader) {
	for n := r.vector(); n > 0 && r.err == nil; n-- {
		flags := r.u32()
		if flags > 2 {
			r.fail("data segment of kind %d is unknown", flags)
		}
		if flags == 2 {
			r.u32()
		}
		if flags != 1 {
			r.constant()
		}
		r.bytes(r.u32())
	}
}

// constant reads a constant expression up to its end.
func (r *reader) constant() {
	for r.err == nil {
		switch op := r.byte(); {
		case op == opEnd:
			return
		case op == opBlock, op == opLoop, op == opIf:
			r.fail("a block in a constant")
		case operands[op] == special:
			r.special(op)
		default:
			for range operands[op] {
				r.leb()
			}
		}
		if r.off > len(r.b) {
			r.fail("it ends too early")
		}
	}
}
