// Package loader reads and writes the package format of a Secondary Platform
// Bundle: a WebAssembly module that carries its own description.
//
//	bundle.json, persona.yaml, persona.schema.json, sources
//	        │ Build, Pack
//	        v
//	 .spb = wasm ‖ section ssp.manifest ‖ ssp.persona ‖ ssp.persona.schema
//	        │ Parse
//	        v
//	 Package ──> primary (identity, ATR), primary/vm (code), persona as CBOR
//
// A .spb is a valid module as it stands: any WebAssembly tool can look into it.
// Parse refuses what is not, what lacks a part or an entry point of the ABI, and
// says which; whether the code itself is sound is for primary/vm to find.
//
// Sources: WebAssembly Core 2.0 clause 5.5 (binary modules); GlobalPlatform VPP
// firmware descriptor (identifiers, version, type); docs/abi.md, docs/bundles.md.
package loader

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/internal/persona"
)

// MaxSize is the longest package, in bytes.
const MaxSize = 32 << 20

// Names of the custom sections of a .spb.
const (
	sectionManifest = "ssp.manifest"
	sectionPersona  = "ssp.persona"
	sectionSchema   = "ssp.persona.schema"
)

// What Parse refuses, besides a wrong manifest (ErrManifest).
var (
	ErrNotWasm   = errors.New("not WebAssembly (a bundle begins with 00 61 73 6D 01 00 00 00)")
	ErrTruncated = errors.New("truncated or damaged WebAssembly")
	ErrTooBig    = fmt.Errorf("longer than %d bytes", MaxSize)
	ErrMissing   = errors.New("lacks")
	ErrManifest  = errors.New("manifest")
)

// Package is a bundle ready to be installed.
type Package struct {
	Manifest
	// Wasm is the whole package; its custom sections do not disturb a runtime.
	Wasm []byte
	// DefaultPersona is the YAML that the package brings, nil when none.
	DefaultPersona []byte
	// Schema is the JSON Schema for personas, nil when every persona will do.
	Schema []byte
}

// Parse reads a package. It keeps spb, which must not change afterwards. The
// errors say what lacks or is wrong; they are one of those above.
func Parse(spb []byte) (*Package, error) {
	p, err := read(spb)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return p, nil
}

func read(spb []byte) (*Package, error) {
	if len(spb) > MaxSize {
		return nil, ErrTooBig
	}
	m, err := scan(spb)
	if err != nil {
		return nil, err
	}
	manifest, ok := m.custom[sectionManifest]
	if !ok {
		return nil, fmt.Errorf("%w the section %s (pack it with `sspemu bundle pack`)", ErrMissing, sectionManifest)
	}
	p := &Package{Wasm: spb, DefaultPersona: m.custom[sectionPersona], Schema: m.custom[sectionSchema]}
	if p.Manifest, err = ParseManifest(manifest); err != nil {
		return nil, err
	}
	if lacking := m.lacking(); len(lacking) > 0 {
		return nil, fmt.Errorf("%w the export %s of bundle ABI %s (docs/abi.md)", ErrMissing, strings.Join(lacking, ", "), ABI)
	}
	return p, nil
}

// Pack adds manifest, default persona and schema to a module; persona and schema
// may be nil. Sections of the same names that the module has are replaced. The
// same input gives the same bytes. A persona that does not fit the schema is
// refused.
func Pack(wasm []byte, m Manifest, defaultPersona, schema []byte) ([]byte, error) {
	mod, err := scan(wasm)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", m.Name, err)
	}
	if err := checkPersona(defaultPersona, "persona.yaml", schema); err != nil {
		return nil, err
	}
	out := mod.without(sectionManifest, sectionPersona, sectionSchema)
	out = appendCustom(out, sectionManifest, m.encode())
	if defaultPersona != nil {
		out = appendCustom(out, sectionPersona, defaultPersona)
	}
	if schema != nil {
		out = appendCustom(out, sectionSchema, schema)
	}
	if _, err := read(out); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", m.Name, err)
	}
	return out, nil
}

// checkPersona tells whether persona and schema, each of which may be nil, fit.
func checkPersona(yaml []byte, file string, schema []byte) error {
	if schema != nil {
		if err := persona.CheckSchema(schema); err != nil {
			return fmt.Errorf("persona.schema.json: %w", err)
		}
	}
	if yaml == nil {
		return nil
	}
	_, err := persona.Convert(yaml, file, schema)
	return err
}

// Persona checks yaml against the schema of the package and gives it as the
// document that the bundle reads: CBOR in core deterministic encoding. file is
// its name for the errors, which read "file:line: pointer: reason". A nil yaml
// is the default persona; when the package has none either, an empty map.
func (p *Package) Persona(yaml []byte, file string) (doc []byte, err error) {
	if yaml == nil {
		if yaml, file = p.DefaultPersona, p.Name+" default persona"; yaml == nil {
			yaml = []byte("{}")
		}
	}
	return persona.Convert(yaml, file, p.Schema)
}

// Locate is the line of yaml at which the value of a JSON pointer stands, for
// the errors that the bundle itself reports about a persona.
func (p *Package) Locate(yaml []byte, pointer string) int {
	if yaml == nil {
		yaml = p.DefaultPersona
	}
	return persona.Locate(yaml, pointer)
}
