package primary

import (
	"fmt"
	"slices"
)

// Class is the class of SSP that is emulated (SSPClass in the ASN.1 module of
// ETSI TS 103 666-1).
type Class string

// The classes.
const (
	Integrated Class = "integrated" // iSSP, part of a system on chip
	Embedded1  Class = "embedded1"  // eSSP type 1: one operating system, no bundles to manage
	Embedded2  Class = "embedded2"  // eSSP type 2: primary platform and bundles
	Removable  Class = "removable"  // rSSP, a card
)

// number is that of SSPClass in the module SSPDefinitions of ETSI TS 103 666-1.
func (c Class) number() int {
	return max(0, slices.Index([]Class{Integrated, Embedded1, Embedded2, Removable}, c))
}

// ParseClass reads the name of a class.
func ParseClass(s string) (Class, error) {
	switch c := Class(s); c {
	case Integrated, Embedded1, Embedded2, Removable:
		return c, nil
	}
	return "", fmt.Errorf("class %q: there are %s, %s, %s and %s", s, Integrated, Embedded1, Embedded2, Removable)
}

// Policy is what happens to traffic for a bundle that is enabled but not active.
type Policy string

// The policies.
const (
	Reject Policy = "reject" // it is refused
	Switch Policy = "switch" // the bundle becomes active
)

// ParsePolicy reads the name of a policy.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case Reject, Switch:
		return p, nil
	}
	return "", fmt.Errorf("policy %q: there are %s and %s", s, Reject, Switch)
}
