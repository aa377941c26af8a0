package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// accessorEntry is an accessor as people write it:
//
//	accessors:
//	  - {id: 0, name: anonymous, kind: anonymous, gates: [uicc_apdu, tcp, udp]}
//	  - {id: 1, name: operator, kind: pin, secret: "2468", tries: 3, gates: [file_system]}
//	  - {id: 2, name: lab, kind: token, secret: "hex:00112233445566778899AABBCCDDEEFF", gates: [every]}
//
// The identity, loopback, accessor and timer gates are open to everybody: they say
// nothing that is not public.
type accessorEntry struct {
	ID     byte     `yaml:"id"`
	Name   string   `yaml:"name"`
	Kind   string   `yaml:"kind"`
	Secret string   `yaml:"secret"`
	Tries  int      `yaml:"tries"`
	Gates  []string `yaml:"gates"`
}

// readAccessors reads the accessors of a file, none for "".
func readAccessors(file string, p *scl.Profile) ([]gate.Accessor, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("accessors: %w", err)
	}
	var doc struct {
		Accessors []accessorEntry `yaml:"accessors"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("accessors: %s: %s", file, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if len(doc.Accessors) == 0 {
		return nil, fmt.Errorf("accessors: %s: there is none (an anonymous one is needed)", file)
	}
	var list []gate.Accessor
	for i, e := range doc.Accessors {
		a, err := e.accessor(p)
		if err != nil {
			return nil, fmt.Errorf("accessors: %s: number %d (%s): %w", file, i+1, e.Name, err)
		}
		list = append(list, a)
	}
	return list, nil
}

func (e accessorEntry) accessor(p *scl.Profile) (a gate.Accessor, err error) {
	a = gate.Accessor{ID: e.ID, Name: e.Name, Secret: gate.Secret(e.Secret), Tries: e.Tries}
	switch e.Kind {
	case "anonymous":
		a.Kind = gate.Anonymous
	case "pin":
		a.Kind = gate.PIN
	case "token":
		a.Kind = gate.Token
	default:
		return a, fmt.Errorf("kind %q: there are anonymous, pin and token", e.Kind)
	}
	if digits, ok := strings.CutPrefix(e.Secret, "hex:"); ok {
		if a.Secret, err = hex.DecodeString(digits); err != nil {
			return a, errors.New("the secret is not hexadecimal")
		}
	}
	gates := accessorGates(p)
	for _, name := range e.Gates {
		if name == "every" {
			a.Every = true
			continue
		}
		i := slices.IndexFunc(gates, func(g namedGate) bool { return g.name == name })
		if i < 0 {
			var names []string
			for _, g := range gates {
				names = append(names, g.name)
			}
			return a, fmt.Errorf("gate %q: there are every, %s", name, strings.Join(names, ", "))
		}
		a.Gates = append(a.Gates, gates[i].id)
	}
	return a, nil
}

type namedGate struct {
	name string
	id   scl.GateID
}

// accessorGates are the gates that rights are about, by the names of the profile.
func accessorGates(p *scl.Profile) []namedGate {
	g := &p.Gate
	return []namedGate{{"uicc_apdu", g.UICCAPDU}, {"tcp", g.TCP}, {"udp", g.UDP}, {"file_system", g.FileSystem}}
}

// counters keep the tries of PIN accessors in the state of the platform.
type counters struct{ part *nvm.Partition }

func (c counters) Load(id byte) (int, bool) {
	v, ok := c.part.Get([]byte{id})
	if !ok || len(v) != 1 {
		return 0, false
	}
	return int(v[0]), true
}

func (c counters) Store(id byte, tries int) error {
	err := c.part.Put([]byte{id}, []byte{byte(tries)})
	if err == nil {
		err = c.part.Commit()
	}
	if err != nil {
		c.part.Rollback()
	}
	return err
}

// publishController gives the network controller host its gates and makes the rights
// of accessors the rule of the network.
func (e *emulator) publishController() error {
	p := e.profile
	list, err := readAccessors(e.settings.accessors, p)
	if err != nil {
		return err
	}
	part, err := e.store.Partition("accessors", 4096)
	if err != nil {
		return err
	}
	accessors, err := gate.NewAccessors(e.network, list, counters{part}, nil)
	if err != nil {
		return err
	}
	rights := accessorGates(p)
	e.network.Exclusive(func() {
		c := e.network.Controller()
		err = errors.Join(
			gate.Standard(c, gate.Info{VendorName: "sspemu", Exchange: e.exchange}),
			c.Publish(p.Gate.Timer, gate.NewTimers(e.network, e.clock)),
			c.Publish(p.Gate.Accessor, accessors),
		)
		e.network.SetAccess(func(from, _ *scl.Host, id scl.GateID) error {
			if !slices.ContainsFunc(rights, func(g namedGate) bool { return g.id == id }) || accessors.May(from, id) {
				return nil
			}
			return scl.ErrPipeAccessDenied
		})
	})
	return err
}
