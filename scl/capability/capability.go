package capability

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Version is VersionType: the release of the specification.
type Version struct{ Major, Minor byte }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Bounds of the module.
const (
	maxName     = 20   // characters of a vendor name
	maxPower    = 1000 // the unit is unverified
	maxChannels = 20
	maxClass    = 1<<31 - 1 // ours: SSPClass is extensible
)

// TerminalCapability is what the terminal says.
type TerminalCapability struct {
	Release        Version // aTerminalRelease
	VendorName     string  // aTerminalVendorName, 1 to 20 characters; "": absent
	InterfacePower int     // aInterfacePowerSupply, 0 to 1000; unit unverified
	ExternalPower  int     // aExternalPowerSupply, likewise
	ToolkitProfile []byte  // aToolkitTerminalProfile, as in TERMINAL PROFILE (ETSI TS 102 223 5.2); nil: absent
	Additions      []byte  // components that are not known, as they came
}

func (c *TerminalCapability) sequence() sequence {
	return sequence{"TerminalCapability", []component{
		version("aTerminalRelease", &c.Release),
		text("aTerminalVendorName", &c.VendorName, maxName),
		integer("aInterfacePowerSupply", &c.InterfacePower, 0, maxPower, 0),
		integer("aExternalPowerSupply", &c.ExternalPower, 0, maxPower, 0),
		octets("aToolkitTerminalProfile", &c.ToolkitProfile),
	}, &c.Additions}
}

// ParseTerminal reads a TerminalCapability. An error is an *Error. Nothing of b is
// kept.
func ParseTerminal(b []byte) (TerminalCapability, error) {
	var c TerminalCapability
	if err := parse(b, c.sequence()); err != nil {
		return TerminalCapability{}, err
	}
	return c, nil
}

// Encode writes c. It refuses, with an *Error, what ParseTerminal would refuse.
func (c TerminalCapability) Encode() ([]byte, error) {
	c.Additions = orNil(c.Additions)
	b := tlv.Append(nil, 0x30, c.sequence().append(nil)...)
	back, err := ParseTerminal(b)
	return encoded(b, reflect.DeepEqual(back, c), "TerminalCapability", err)
}

// String is c in words, what is at its DEFAULT left out.
func (c TerminalCapability) String() string {
	w := words{"terminal of release " + c.Release.String()}
	w.name(c.VendorName)
	w.add(c.InterfacePower != 0, "interface power %d", c.InterfacePower)
	w.add(c.ExternalPower != 0, "external power %d", c.ExternalPower)
	w.octets("toolkit profile", c.ToolkitProfile)
	w.octets("unknown components", c.Additions)
	return w.String()
}

// SSPClass is the class of an SSP (ETSI TS 103 666-1 clause 11). It is extensible:
// there may be others.
type SSPClass int

// The classes of the module.
const (
	Integrated    SSPClass = iota // iSSP
	EmbeddedType1                 // eSSP without a primary platform
	EmbeddedType2                 // eSSP with a primary platform
	Removable                     // rSSP
)

func (c SSPClass) String() string {
	if names := [...]string{"integrated", "embedded type 1", "embedded type 2", "removable"}; c >= 0 && int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("class %d", int(c))
}

// SSPCapability is what the SSP says.
type SSPCapability struct {
	Release       Version         // aSspRelease
	VendorName    string          // aSspVendorName, 1 to 20 characters; "": absent
	Class         SSPClass        // aSspClass
	ClassSpecific []byte          // aClassSpecificCapabilities, the data object inside the tag; nil: absent
	UICC          *UICCCapability // aSspUicc; nil: absent
	UserInterface []byte          // aSspUserInterface, the data object with its tag [5]; nil: absent
	Additions     []byte          // components that are not known, as they came
}

// UICCCapability is SspUiccCapability, as far as it is known. Its zero value is not
// valid: there is at least one logical channel.
type UICCCapability struct {
	LogicalChannels  int    // aNumberOfLogicalChannels, 1 to 20
	ProactivePolling bool   // aProactivePollingRequirement
	FileSystem       bool   // aSupportOfUiccFileSystem
	Toolkit          bool   // aSupportOfCardApplicationToolkit
	Additions        []byte // components from [4] on, which were not seen, as they came
}

func (c *SSPCapability) sequence() sequence {
	class := component{name: "aSspClass", form: primitive, mandatory: true, read: func(o object) error {
		n, err := integerOf(o, 0, maxClass)
		c.Class = SSPClass(n)
		return err
	}, write: func() []byte { return integerOctets(int(c.Class)) }}

	uicc := component{name: "aSspUicc", form: constructed, read: func(o object) error {
		c.UICC = &UICCCapability{LogicalChannels: 1}
		return c.UICC.sequence().parse(o.value, o.from)
	}, write: func() []byte {
		if c.UICC == nil {
			return nil
		}
		return c.UICC.sequence().append([]byte{})
	}}

	return sequence{"SSPCapability", []component{
		version("aSspRelease", &c.Release),
		text("aSspVendorName", &c.VendorName, maxName),
		class,
		anything("aClassSpecificCapabilities", &c.ClassSpecific),
		uicc,
		unknown("aSspUserInterface", &c.UserInterface),
	}, &c.Additions}
}

func (c *UICCCapability) sequence() sequence {
	return sequence{"SSPCapability.aSspUicc", []component{
		integer("aNumberOfLogicalChannels", &c.LogicalChannels, 1, maxChannels, 1),
		boolean("aProactivePollingRequirement", &c.ProactivePolling),
		boolean("aSupportOfUiccFileSystem", &c.FileSystem),
		boolean("aSupportOfCardApplicationToolkit", &c.Toolkit),
	}, &c.Additions}
}

// ParseSSP reads an SSPCapability. An error is an *Error. Nothing of b is kept.
func ParseSSP(b []byte) (SSPCapability, error) {
	var c SSPCapability
	if err := parse(b, c.sequence()); err != nil {
		return SSPCapability{}, err
	}
	return c, nil
}

// Encode writes c. It refuses, with an *Error, what ParseSSP would refuse.
func (c SSPCapability) Encode() ([]byte, error) {
	c.Additions, c.ClassSpecific, c.UserInterface = orNil(c.Additions), orNil(c.ClassSpecific), orNil(c.UserInterface)
	if c.UICC != nil {
		u := *c.UICC
		u.Additions, c.UICC = orNil(u.Additions), &u
	}
	b := tlv.Append(nil, 0x30, c.sequence().append(nil)...)
	back, err := ParseSSP(b)
	return encoded(b, reflect.DeepEqual(back, c), "SSPCapability", err)
}

// String is c in words, what is at its DEFAULT left out.
func (c SSPCapability) String() string {
	w := words{fmt.Sprintf("%s SSP of release %s", c.Class, c.Release)}
	w.name(c.VendorName)
	w.octets("class specific capabilities", c.ClassSpecific)
	if u := c.UICC; u != nil {
		w.add(true, "UICC")
		w.add(true, "logical channels %d", u.LogicalChannels)
		w.add(u.ProactivePolling, "proactive polling required")
		w.add(u.FileSystem, "UICC file system")
		w.add(u.Toolkit, "card application toolkit")
		w.octets("unknown UICC components", u.Additions)
	}
	w.octets("user interface", c.UserInterface)
	w.octets("unknown components", c.Additions)
	return w.String()
}

// encoded is the end of Encode: what was written has to read as what was meant.
func encoded(b []byte, same bool, field string, err error) ([]byte, error) {
	if err == nil && !same {
		err = &Error{Field: field, Offset: len(b), Reason: "it would read as something else: what is kept as it came has to have tags of its own"}
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// words collects the parts of a String.
type words []string

func (w *words) add(there bool, format string, a ...any) {
	if there {
		*w = append(*w, fmt.Sprintf(format, a...))
	}
}

func (w *words) name(s string) { w.add(s != "", "vendor %q", s) }

func (w *words) octets(what string, b []byte) { w.add(b != nil, "%s (octets: %d)", what, len(b)) }

func (w words) String() string { return strings.Join(w, ", ") }
