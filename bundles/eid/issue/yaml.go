//go:build !wasip1

package issue

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/persona"
)

// FromYAML is the document of a persona file, checked against the schema of the bundle,
// with what would refuse it as travel document. The errors name file and line.
func FromYAML(yaml []byte, file string, schema []byte) (*sdk.Doc, error) {
	cbor, err := persona.Convert(yaml, file, schema)
	if err != nil {
		return nil, err
	}
	doc, err := sdk.ParseDoc(cbor)
	if err != nil {
		return nil, &persona.Error{File: file, Reason: err.Error()}
	}
	if !doc.Has("mrtd") {
		return doc, nil
	}
	_, err = read(doc)
	if refused, ok := err.(*sdk.PersonaError); ok {
		return nil, &persona.Error{File: file, Line: persona.Locate(yaml, refused.Pointer), Pointer: refused.Pointer, Reason: refused.Reason}
	}
	return doc, err
}
