package main

import (
	"slices"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/scl/capability"
)

// release is that of TS 103 666-1 whose module SSPDefinitions is known.
var release = capability.Version{Major: 15}

// classes are the classes of the command line in the words of the module.
var classes = map[primary.Class]capability.SSPClass{
	primary.Integrated: capability.Integrated,
	primary.Embedded1:  capability.EmbeddedType1,
	primary.Embedded2:  capability.EmbeddedType2,
	primary.Removable:  capability.Removable,
}

// exchange is the capability exchange: it checks what the terminal says and answers
// with what runs here now.
func (e *emulator) exchange(terminal []byte) (ssp []byte, err error) {
	if _, err := capability.ParseTerminal(terminal); err != nil {
		return nil, err
	}
	c := capability.SSPCapability{Release: release, VendorName: "sspemu"}
	if e.platform != nil {
		c.Class = classes[e.platform.Class()]
		if a, ok := e.platform.Active(); ok {
			c.UICC = uicc(a)
		}
	}
	return c.Encode()
}

// uicc is what a bundle can do as a UICC; nil when it is none. That is what its
// manifest says of its standards.
func uicc(b primary.Info) *capability.UICCCapability {
	if !slices.Contains(b.Standards, "ETSI TS 102 221") {
		return nil
	}
	return &capability.UICCCapability{
		LogicalChannels: sdk.Channels,
		FileSystem:      true, // TS 102 221 clause 8 is what a UICC has files by
		Toolkit:         slices.Contains(b.Standards, "ETSI TS 102 223"),
	}
}
