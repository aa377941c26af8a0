package primary

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
)

// record is what the platform stores about a bundle: one JSON value in the
// registry, under recordPrefix and the firmware identifier.
type record struct {
	Manifest loader.Manifest `json:"manifest"`
	Enabled  bool            `json:"enabled"`
	Origin   string          `json:"origin"`
	// Package is the SHA-256 of the stored package; "" when it comes with the
	// binary, as Builtin.
	Package     string `json:"package,omitempty"`
	Builtin     string `json:"builtin,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"` // of the built-in package, when the record was made
	// Deleted: the user does not want this built-in bundle.
	Deleted bool `json:"deleted,omitempty"`

	// What the partition was personalised with; "" when it was not.
	Persona       string `json:"persona,omitempty"`        // SHA-256 of the document
	PersonaSource string `json:"persona_source,omitempty"` // SHA-256 of YAML and schema
	PersonaFile   string `json:"persona_file,omitempty"`   // "" the default of the package
}

const (
	recordPrefix = "bundle/"
	activeKey    = "active" // firmware identifier of the bundle to start with
)

// bundle is a bundle on the platform. Guarded by Platform.mu, and changed with
// Platform.ops only; id and name of the active one do not change.
type bundle struct {
	record
	id   loader.UUID
	name string

	part *nvm.Partition
	// Once the package was needed: pkg without its code, and the code.
	pkg     *loader.Package
	module  *vm.Module
	problem error // why it cannot run, if that is known
}

func newBundle(r record) *bundle { return &bundle{record: r, id: r.Manifest.ID, name: r.Manifest.Name} }

func recordKey(id loader.UUID) []byte { return []byte(recordPrefix + id.String()) }

// save stores records and the active bundle in one transaction; a nil record
// deletes.
func (p *Platform) save(id loader.UUID, r *record) error {
	reg := p.state.Registry()
	var err error
	if r == nil {
		if err = reg.Delete(recordKey(id)); err == nil {
			err = reg.Commit()
		}
	} else {
		var b []byte
		if b, err = json.Marshal(r); err == nil {
			if err = reg.Put(recordKey(id), b); err == nil {
				err = reg.Commit()
			}
		}
	}
	if err != nil {
		reg.Rollback()
	}
	return err
}

// saveActive stores which bundle to start with.
func (p *Platform) saveActive(id loader.UUID) error {
	reg := p.state.Registry()
	err := reg.Put([]byte(activeKey), []byte(id.String()))
	if err == nil {
		err = reg.Commit()
	}
	if err != nil {
		reg.Rollback()
	}
	return err
}

// records reads all of them, tombstones included.
func (p *Platform) records() (list []record, err error) {
	reg := p.state.Registry()
	for key, ok := reg.Next([]byte(recordPrefix)); ok; key, ok = reg.Next(key) {
		if len(key) <= len(recordPrefix) || string(key[:len(recordPrefix)]) != recordPrefix {
			break
		}
		var r record
		b, _ := reg.Get(key)
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("record %s: %w: %w", key, nvm.ErrDamaged, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// buried is the start of a new record: it remembers that there is a built-in
// bundle of that identifier, if one was deleted.
func (p *Platform) buried(id loader.UUID) record {
	var r record
	if b, ok := p.state.Registry().Get(recordKey(id)); ok && json.Unmarshal(b, &r) == nil {
		return record{Builtin: r.Builtin, Fingerprint: r.Fingerprint}
	}
	return record{}
}

// open reads the package of a bundle.
func (p *Platform) open(r record) (*loader.Package, error) {
	var b []byte
	var err error
	switch {
	case r.Package != "":
		b, err = p.state.File(r.Package)
	default:
		err = fmt.Errorf("it is no longer part of this sspemu (delete it)")
		for _, x := range p.builtins {
			if x.Name == r.Builtin {
				b, err = x.Open()
			}
		}
	}
	if err != nil {
		return nil, err
	}
	pkg, err := loader.Parse(b)
	if err != nil {
		return nil, err
	}
	if pkg.ID != r.Manifest.ID {
		return nil, errors.New("the package has another firmware identifier than its record (delete it)")
	}
	return pkg, nil
}
