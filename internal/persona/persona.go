// Package persona turns the persona of a bundle, a YAML file that people write,
// into the CBOR document that the bundle reads, and says by file and line what is
// wrong with it.
//
//	persona.yaml ──> tree ──> schema check ──> CBOR ──> bundle (sdk.Doc)
//	                  │            │                       │
//	                  └────────────┴── file:line: reason <─┘ Locate
//
// The YAML is a subset: maps with text keys, lists, texts, whole numbers, truth
// values and null. Bytes are written as hexadecimal text. Sizes are bounded, so
// that a hostile file costs little.
//
// Sources: YAML 1.2, JSON Schema 2020-12, RFC 6901 (JSON pointer), RFC 8949 4.2.1
// (core deterministic encoding).
package persona

import (
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// Limits of a persona.
const (
	MaxFile  = 1 << 20 // bytes of YAML
	MaxDoc   = 65536   // bytes of CBOR: what fits in the IPC area of a bundle
	MaxDepth = 32      // lists and maps in each other
	MaxNodes = 1 << 16 // values, aliases counted each time they are used
)

// Error is what is wrong with a persona and where. Line counts from 1; 0 when no
// line is to blame. Pointer is the JSON pointer of the value.
type Error struct {
	File    string
	Line    int
	Pointer string
	Reason  string
	More    int // how many further errors were found behind this one
}

// Error is "file:line: pointer: reason", on one line.
func (e *Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	if e.Pointer != "" {
		s += ": " + e.Pointer
	}
	s += ": " + e.Reason
	if e.More > 0 {
		s += fmt.Sprintf(" (and %d more)", e.More)
	}
	return oneLine.Replace(s)
}

// oneLine keeps what a file quotes from breaking the line of an error.
var oneLine = strings.NewReplacer("\n", `\n`, "\r", `\r`)

var encoder = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// Convert reads the YAML in b, checks it against schema (JSON Schema; nil: none)
// and gives it as CBOR. file is the name for the errors, which are all *Error.
// An error of the schema itself is one as well, under the name "schema".
func Convert(b []byte, file string, schema []byte) ([]byte, error) {
	t, err := parse(b, file)
	if err != nil {
		return nil, err
	}
	if schema != nil {
		if err := t.check(schema); err != nil {
			return nil, err
		}
	}
	doc, err := encoder.Marshal(t.value)
	if err != nil {
		return nil, &Error{File: file, Reason: err.Error()}
	}
	if len(doc) > MaxDoc {
		return nil, &Error{File: file, Reason: fmt.Sprintf("is %d bytes as CBOR; %d are allowed", len(doc), MaxDoc)}
	}
	return doc, nil
}

// CheckSchema tells whether schema is a JSON Schema that Convert can use.
func CheckSchema(schema []byte) error {
	_, _, err := compile(schema)
	return err
}

// Locate is the line of the value that a JSON pointer names, or of the nearest
// one around it; 1 when the YAML cannot be read.
func Locate(b []byte, pointer string) int {
	t, err := parse(b, "")
	if err != nil {
		return 1
	}
	return t.line(splitPointer(pointer))
}
