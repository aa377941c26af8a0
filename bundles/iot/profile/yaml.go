//go:build !wasip1

package profile

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/persona"
)

// FromYAML reads a persona file and checks it against the schema of the bundle. The
// errors name file and line.
func FromYAML(yaml []byte, file string, schema []byte) (*Profile, error) {
	cbor, err := persona.Convert(yaml, file, schema)
	if err != nil {
		return nil, err
	}
	doc, err := sdk.ParseDoc(cbor)
	if err != nil {
		return nil, &persona.Error{File: file, Reason: err.Error()}
	}
	p, err := Read(doc)
	if refused, ok := err.(*sdk.PersonaError); ok {
		return nil, &persona.Error{File: file, Line: persona.Locate(yaml, refused.Pointer), Pointer: refused.Pointer, Reason: refused.Reason}
	}
	return p, err
}
