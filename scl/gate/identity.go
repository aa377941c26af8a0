package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sspemu/sspemu/scl"
)

// Info is what a host says of itself in the registry of its identity gate.
type Info struct {
	VersionSW, VersionHW [3]byte // manufacturer's
	Version              byte    // of the SCL; HCI_VERSION in HCI
	VendorName           string  // UTF-8; cut to 20 octets
	ModelID              byte
	// Exchange takes the capabilities of a terminal (TerminalCapability in DER) and
	// gives those of the SSP (SSPCapability), current ones at each call; the error
	// refuses the terminal's. nil: the host has no capability exchange.
	Exchange func(terminal []byte) (ssp []byte, err error)
}

// maxVendorName is the longest VENDOR_NAME in octets: unverified for HCI, from
// memory; based on UTF8String (SIZE 1..20) for vendor names in the ASN.1 module of
// TS 103 666-1.
const maxVendorName = 20

// Identity is the identity gate of h: a registry with GATES_LIST, always up to
// date, and what i says.
//
// Capability exchange is a parameter of it: the terminal writes its capabilities
// first, and can read those of the SSP then, for as long as its pipe session lasts.
//
//	terminal                                   identity gate
//	ANY_SET_PARAMETER TerminalCapability ───────>│ checked
//	<──────────────────── ANY_OK, or CMD_PAR_UNKNOWN
//	ANY_GET_PARAMETER ──────────────────────────>│
//	<─────── ANY_OK SSPCapability, or REG_ACCESS_DENIED before the terminal's
//
// Basis: ETSI TS 102 622, identity management gate; module SSPDefinitions of TS 103
// 666-1. That the exchange is a parameter of this gate is from memory.
type Identity struct {
	h *scl.Host
	i Info
}

// Opened takes every pipe; there are no messages but those of the registry.
func (g Identity) Opened(*scl.Pipe) (scl.PipeReceiver, error) { return nil, nil }

// PipeRegistry is the registry as one terminal sees it.
func (g Identity) PipeRegistry(*scl.Pipe) scl.Registry {
	h, i := g.h, g.i
	p := h.Network().Profile()
	r := &p.Registry
	uuid := h.UUID()
	reg := scl.Registry{
		r.HostUUID:   scl.Value(uuid[:]),
		r.VersionSW:  scl.Value(i.VersionSW[:]),
		r.HCIVersion: scl.Value([]byte{i.Version}),
		r.VersionHW:  scl.Value(i.VersionHW[:]),
		r.VendorName: scl.Value([]byte(strings.ToValidUTF8(i.VendorName[:min(len(i.VendorName), maxVendorName)], ""))),
		r.ModelID:    scl.Value([]byte{i.ModelID}),
		r.GatesList: {Get: func() []byte {
			var b []byte
			for _, id := range h.Gates() {
				b = p.AppendGateID(b, id)
			}
			return b
		}},
	}
	if i.Exchange != nil {
		var ssp func() []byte
		reg[r.CapabilityExchange] = scl.Parameter{
			Set: func(terminal []byte) error {
				terminal = slices.Clone(terminal)
				if _, err := i.Exchange(terminal); err != nil {
					return fmt.Errorf("%w: %w", scl.ErrCmdParUnknown, err)
				}
				ssp = func() []byte { b, _ := i.Exchange(terminal); return b }
				return nil
			},
			Get: func() []byte {
				if ssp == nil {
					return nil
				}
				return ssp()
			},
		}
	}
	return reg
}

// Standard publishes what every host has: its identity and its loopback gate.
func Standard(h *scl.Host, i Info) error {
	g := h.Network().Profile().Gate
	if err := h.Publish(g.Identity, Identity{h, i}); err != nil {
		return err
	}
	return h.Publish(g.Loopback, Loopback{})
}
