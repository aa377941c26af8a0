package capability_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/scl/capability"
)

// both is the same for TerminalCapability and SSPCapability.
type both interface {
	Encode() ([]byte, error)
	String() string
}

var readers = map[string]func(b []byte) (both, error){
	"terminal": func(b []byte) (both, error) { return capability.ParseTerminal(b) },
	"ssp":      func(b []byte) (both, error) { return capability.ParseSSP(b) },
}

type vector struct{ Name, Type, DER, Words, Error string }

func vectors(t testing.TB) (all []vector) {
	b, err := os.ReadFile("testdata/vectors.yaml")
	require.NoError(t, err)
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&all))
	require.NotEmpty(t, all)
	return all
}

func (v vector) octets(t testing.TB) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(v.DER, " ", ""))
	require.NoError(t, err, v.Name)
	return b
}

// TestVectors plays testdata/vectors.yaml.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Type+" "+v.Name, func(t *testing.T) {
			b := v.octets(t)
			before := bytes.Clone(b)
			c, err := readers[v.Type](b)
			if v.Error != "" {
				require.EqualError(t, err, v.Error)
				var e *capability.Error
				require.ErrorAs(t, err, &e)
				return
			}
			require.NoError(t, err)
			require.Equal(t, v.Words, c.String())
			for i := range b {
				b[i] = 0xAA // nothing of it is kept
			}
			again, err := c.Encode()
			require.NoError(t, err)
			require.Equal(t, before, again)
		})
	}
}

// TestCut: no encoding is valid when its end is missing.
func TestCut(t *testing.T) {
	for _, v := range vectors(t) {
		if b := v.octets(t); v.Error == "" {
			for n := range b {
				_, err := readers[v.Type](b[:n])
				require.Error(t, err, "%s, %d octets", v.Name, n)
			}
		}
	}
}

// TestFields: what is in the structs is what was written.
func TestFields(t *testing.T) {
	terminal := capability.TerminalCapability{
		Release: capability.Version{Major: 15, Minor: 1}, VendorName: "ACME", InterfacePower: 60, ExternalPower: 1000,
		ToolkitProfile: []byte{0xFF}, Additions: []byte{0x85, 0x00},
	}
	b, err := terminal.Encode()
	require.NoError(t, err)
	gotTerminal, err := capability.ParseTerminal(b)
	require.NoError(t, err)
	require.Equal(t, terminal, gotTerminal)

	ssp := capability.SSPCapability{
		Release: capability.Version{Major: 15, Minor: 1}, VendorName: "sspemu", Class: capability.EmbeddedType2, ClassSpecific: []byte{0x05, 0x00},
		UICC:          &capability.UICCCapability{LogicalChannels: 20, ProactivePolling: true, FileSystem: true, Toolkit: true, Additions: []byte{0x84, 0x00}},
		UserInterface: []byte{0xA5, 0x00}, Additions: []byte{0x86, 0x00},
	}
	b, err = ssp.Encode()
	require.NoError(t, err)
	gotSSP, err := capability.ParseSSP(b)
	require.NoError(t, err)
	require.Equal(t, ssp, gotSSP)

	empty := capability.SSPCapability{ClassSpecific: []byte{}, UserInterface: []byte{}, Additions: []byte{}, UICC: &capability.UICCCapability{LogicalChannels: 1, Additions: []byte{}}}
	_, err = empty.Encode()
	require.NoError(t, err, "empty is absent")
}

// TestCannotBeEncoded: Encode makes nothing that the other side would refuse.
func TestCannotBeEncoded(t *testing.T) {
	type (
		terminal = capability.TerminalCapability
		ssp      = capability.SSPCapability
		uicc     = capability.UICCCapability
	)
	long := strings.Repeat("x", 21)
	for _, c := range []struct {
		name string
		c    both
		want string
	}{
		{"power negative", terminal{InterfacePower: -1}, "TerminalCapability.aInterfacePowerSupply, octet 8: -1 is outside 0..1000"},
		{"power too high", terminal{ExternalPower: 1001}, "TerminalCapability.aExternalPowerSupply, octet 8: 1001 is outside 0..1000"},
		{"power far too high", terminal{ExternalPower: 1 << 40}, "TerminalCapability.aExternalPowerSupply, octet 8: a number of 6 octets is outside 0..1000"},
		{"name too long", terminal{VendorName: long}, "TerminalCapability.aTerminalVendorName, octet 8: a text of 21 characters is outside 1..20"},
		{"name not UTF-8", terminal{VendorName: "\xFF"}, "TerminalCapability.aTerminalVendorName, octet 8: it is not UTF-8"},
		{"additions malformed", terminal{Additions: []byte{0x85}}, "TerminalCapability, octet 7: the encoding ends before its time"},
		{"additions with the tag of a component", terminal{Additions: []byte{0x84, 0x00}}, "TerminalCapability, octet 8: it would read as something else: what is kept as it came has to have tags of its own"},
		{"additions with the tag of a component that is there", terminal{ToolkitProfile: []byte{}, Additions: []byte{0x84, 0x00}}, "TerminalCapability, octet 8: [4] is there twice or out of order"},
		{"class negative", ssp{Class: -1}, "SSPCapability.aSspClass, octet 8: -1 is outside 0..2147483647"},
		{"name of an SSP too long", ssp{VendorName: long}, "SSPCapability.aSspVendorName, octet 8: a text of 21 characters is outside 1..20"},
		{"no channel", ssp{UICC: &uicc{}}, "SSPCapability.aSspUicc.aNumberOfLogicalChannels, octet 13: 0 is outside 1..20"},
		{"class specific capabilities are no object", ssp{ClassSpecific: []byte{1, 2}}, "SSPCapability.aClassSpecificCapabilities, octet 13: a value of 2 octets is wanted, 0 are left"},
		{"user interface with another tag", ssp{UserInterface: []byte{0x86, 0x00}}, "SSPCapability, octet 11: it would read as something else: what is kept as it came has to have tags of its own"},
		{"UICC additions with the tag of a component", ssp{UICC: &uicc{LogicalChannels: 1, Additions: []byte{0x83, 0x01, 0xFF}}}, "SSPCapability, octet 14: it would read as something else: what is kept as it came has to have tags of its own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := c.c.Encode()
			require.EqualError(t, err, "capability: "+c.want)
			require.Nil(t, b)
			var e *capability.Error
			require.True(t, errors.As(err, &e))
		})
	}
}

// FuzzParse: what is read is written as it was, and everything else is refused with a
// place inside of what there is.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.octets(f))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range readers {
			c, err := read(b)
			if err != nil {
				var e *capability.Error
				require.ErrorAs(t, err, &e)
				require.LessOrEqual(t, e.Offset, len(b))
				require.NotEmpty(t, e.Field)
				continue
			}
			require.NotEmpty(t, c.String())
			again, err := c.Encode()
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
	})
}
