package primary

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/internal/persona"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
)

// A bundle is personalised when it is activated for the first time, and again
// when its persona is another one than then:
//
//	persona given   partition holds            done
//	yes             the same persona           nothing
//	yes             another one, or none       wiped, personalised
//	no              one that was given before  nothing: leaving out --persona loses nothing
//	no              the default of the package nothing, unless that default changed
//	no              none                       personalised with the default
//
// Wiping, the bundle's work and storing are one transaction: when the bundle
// refuses its persona or fails, the partition holds what it held.
type perso struct {
	yaml   []byte // nil: the default of the package
	file   string // "" the default
	source string // SHA-256 of YAML and schema
	doc    []byte // CBOR
	sum    string // SHA-256 of doc
}

// wanted is the personalisation that a bundle needs, nil for none.
func (p *Platform) wanted(b *bundle, pkg *loader.Package) (*perso, error) {
	given, ok := p.personas[b.id]
	if !ok && b.Persona != "" && b.PersonaFile != "" {
		return nil, nil
	}
	w := &perso{}
	yaml := pkg.DefaultPersona
	if ok {
		w.yaml, w.file = given.YAML, given.File
		yaml = given.YAML
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d:%s%s", len(yaml), yaml, pkg.Schema)
	w.source = hex.EncodeToString(h.Sum(nil))
	if b.Persona != "" && b.PersonaSource == w.source {
		return nil, nil // cheaper than converting it
	}
	var err error
	if w.doc, err = pkg.Persona(w.yaml, w.file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPersona, err)
	}
	sum := sha256.Sum256(w.doc)
	if w.sum = hex.EncodeToString(sum[:]); b.Persona == w.sum {
		return nil, nil // written differently, but the same
	}
	return w, nil
}

// personalise hands w to a new instance on the partition of b; the instance
// commits.
func (p *Platform) personalise(b *bundle, pkg *loader.Package, inst *vm.Instance, w *perso) error {
	b.part.Wipe()
	if err := inst.Personalise(w.doc); err != nil {
		b.part.Rollback()
		var refused *vm.PersonaError
		if !errors.As(err, &refused) {
			return err
		}
		file := w.file
		if w.yaml == nil {
			file = pkg.Name + " default persona"
		}
		return fmt.Errorf("%w: %w", ErrPersona, &persona.Error{
			File: file, Line: pkg.Locate(w.yaml, refused.Pointer), Pointer: refused.Pointer, Reason: refused.Reason,
		})
	}
	r := b.record
	r.Persona, r.PersonaSource, r.PersonaFile = w.sum, w.source, w.file
	if err := p.save(b.id, &r); err != nil {
		return err
	}
	p.mu.Lock()
	b.record = r
	p.mu.Unlock()
	p.tell(b, Event{Kind: Personalised, Name: w.file})
	return nil
}
