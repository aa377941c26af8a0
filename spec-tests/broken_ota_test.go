package spectests

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// tamperedOTA is one way to tamper with what a card does with its security domains.
type tamperedOTA struct {
	Name    string         `yaml:"name"`
	Persona map[string]any `yaml:"persona,flow,omitempty"` // of the card; the servers have the default one
	Fails   []string       `yaml:"fails"`                  // the cases that fail, and no others
}

func enveloped(c []byte) bool { return len(c) > 5 && c[1] == 0xC2 }

// plainReport tells whether an answer is the report of an error in clear.
func plainReport(r []byte) bool {
	return len(r) == 18 && bytes.HasPrefix(r, []byte{2, 0x71, 0, 0, 0x0B, 0x0A})
}

// otaFaults are those that are not in the persona: a card that answers wrong.
var otaFaults = map[string]func(capdu, rapdu []byte) []byte{
	"a bit of every proof of receipt is wrong": func(c, r []byte) []byte {
		if enveloped(c) && len(r) > 20 {
			r = bytes.Clone(r)
			r[len(r)-3] ^= 1
		}
		return r
	},
	"the card is silent": func(c, r []byte) []byte {
		if enveloped(c) && len(r) > 2 {
			return []byte{0x90, 0x00}
		}
		return r
	},
	"every error is told as a wrong checksum": func(c, r []byte) []byte {
		if enveloped(c) && plainReport(r) {
			r = bytes.Clone(r)
			r[15] = 1
		}
		return r
	},
	"a wrong checksum is told as done": func(c, r []byte) []byte {
		if enveloped(c) && plainReport(r) && r[15] == 1 {
			r = bytes.Clone(r)
			r[15] = 0
		}
		return r
	},
	"messages are not put together": func(c, r []byte) []byte {
		if enveloped(c) && (bytes.Contains(c, []byte{0x00, 3, 9, 3}) || bytes.Contains(c, []byte{8, 4, 1, 9, 3}) || bytes.Contains(c, []byte{0, 3, 2, 6})) && len(r) > 2 {
			return []byte{0x90, 0x00}
		}
		return r
	},
	"class A0 is not known": func(c, r []byte) []byte {
		if len(c) > 0 && c[0] == 0xA0 {
			return []byte{0x6E, 0x00}
		}
		return r
	},
	"nothing comes by SMS-SUBMIT": func(c, r []byte) []byte {
		if enveloped(c) && len(r) == 2 && r[0] == 0x91 {
			return []byte{0x90, 0x00}
		}
		return r
	},
	"sessions go on with what has changed": func(_, r []byte) []byte {
		if bytes.Equal(r, []byte{0x69, 0x84}) {
			return []byte{0x90, 0x00}
		}
		return r
	},
	"nobody is told that objects have changed": func(_, r []byte) []byte {
		if n := len(r); n > 2 && r[n-2] == 0x63 && r[n-1] == 0xCF {
			r = append(bytes.Clone(r[:n-2]), 0x90, 0x00)
		}
		return r
	},
}

// TestTamperedOTA: each way to tamper with security domains makes exactly the cases fail
// that are about it.
func TestTamperedOTA(t *testing.T) {
	const file = "testdata/tampered_ota.yaml"
	x, more := tamper(t, "iot", "ts_102_225"), tamper(t, "iot", "ts_102_226")
	x.suites = append(x.suites, more.suites...)
	_, servers := device(t)
	want := known[tamperedOTA](t, file)
	got := slices.Clone(want)
	for i := range got {
		c := &got[i]
		receive := otaFaults[c.Name]
		require.True(t, receive != nil != (c.Persona != nil), c.Name)
		target, stop := x.target(x.persona(c.Persona), receive)
		target.Device = servers
		c.Fails = x.fails(target)
		require.NoError(t, stop())
		require.NotEmpty(t, c.Fails, c.Name)
	}
	confirm(t, file, "# Tampered security domains: changes of the card's persona, and which cases fail. A name\n# without changes is a fault of broken_ota_test.go.\n# go test ./spec-tests -run TamperedOTA -update\n", want, got)
}
