package gate

import (
	"strings"

	"github.com/sspemu/sspemu/scl"
)

// Info is what a host says of itself in the registry of its identity gate.
type Info struct {
	VersionSW, VersionHW [3]byte // manufacturer's
	Version              byte    // of the SCL; HCI_VERSION in HCI
	VendorName           string  // UTF-8; cut to 20 octets
	ModelID              byte
}

// maxVendorName is the longest VENDOR_NAME in octets: unverified for HCI, from
// memory; based on UTF8String (SIZE 1..20) for vendor names in the ASN.1 module of
// TS 103 666-1.
const maxVendorName = 20

// Identity is the identity gate of h: a registry with GATES_LIST, always up to
// date, and what i says. Basis: ETSI TS 102 622, identity management gate.
func Identity(h *scl.Host, i Info) scl.Registry {
	p := h.Network().Profile()
	r := &p.Registry
	return scl.Registry{
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
}

// Standard publishes what every host has: its identity and its loopback gate.
func Standard(h *scl.Host, i Info) error {
	g := h.Network().Profile().Gate
	if err := h.Publish(g.Identity, Identity(h, i)); err != nil {
		return err
	}
	return h.Publish(g.Loopback, Loopback{})
}
