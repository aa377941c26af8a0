package spectests

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary/loader"
)

var update = flag.Bool("update", false, "write what the tests find to testdata")

// faults are ways to break the telecom bundle. testdata/broken.yaml says which
// cases each of them must make fail, and only those.
var faults = map[string]struct {
	persona [2]string // replaced in the default persona
	reset   func(atr []byte) []byte
	send    func(capdu []byte) []byte
	receive func(capdu, rapdu []byte) []byte
	vars    map[string]string
}{
	"EF.IMSI is readable without PIN": {persona: [2]string{
		`{name: EF.IMSI, fid: "6F07", sfi: 0x07, type: transparent, access: pin-adm`,
		`{name: EF.IMSI, fid: "6F07", sfi: 0x07, type: transparent, access: open`}},
	"PIN1 has five tries": {persona: [2]string{
		`{ref: PIN1, value: "1234", tries: 3`, `{ref: PIN1, value: "1234", tries: 5`}},
	"the PUK has three tries":    {persona: [2]string{`puk: "12345678", puk_tries: 10`, `puk: "12345678", puk_tries: 3`}},
	"EF.EPSLOCI is a byte short": {persona: [2]string{`size: 18, content: "FFFFFFFFFFFFFFFFFFFFFFFF 00F110 0000 01"`, `size: 17, content: "FFFFFFFFFFFFFFFFFFFFFFFF 00F110 0000"`}},
	"service 38 lacks":           {persona: [2]string{"34, 38, 42", "34, 42"}},
	"another key":                {vars: map[string]string{"k": "000102030405060708090A0B0C0D0E0F"}},
	"the ATR has a wrong TCK": {reset: func(atr []byte) []byte {
		atr = bytes.Clone(atr)
		atr[len(atr)-1] ^= 1
		return atr
	}},
	"unknown AIDs are accepted": {receive: func(c, r []byte) []byte {
		if len(c) > 4 && c[1] == 0xA4 && c[2] == 0x04 && bytes.Equal(r, []byte{0x6A, 0x82}) {
			return []byte{0x90, 0x00}
		}
		return r
	}},
	"GET RESPONSE loses a byte": {receive: func(c, r []byte) []byte {
		if len(c) > 1 && c[1] == 0xC0 && len(r) > 2 {
			return slices.Delete(bytes.Clone(r), len(r)-3, len(r)-2)
		}
		return r
	}},
	"logical channels are ignored": {send: func(c []byte) []byte {
		if len(c) >= 4 && c[0]&0x60 == 0 && c[1] != 0x70 {
			c = bytes.Clone(c)
			c[0] &^= 0x03
		}
		return c
	}},
	"classes are ignored": {send: func(c []byte) []byte {
		if len(c) >= 4 && (c[0] == 0xA0 || c[0] == 0x20) {
			c = bytes.Clone(c)
			c[0] = 0
		}
		return c
	}},
	"wrong PINs are told, not counted": {receive: func(c, r []byte) []byte {
		if len(c) > 4 && c[1] == 0x20 && len(r) == 2 && r[0] == 0x63 {
			return []byte{0x63, 0xC3}
		}
		return r
	}},
}

// brokenTerminal is a terminal with a fault.
type brokenTerminal struct {
	Terminal
	reset   func(atr []byte) []byte
	send    func(capdu []byte) []byte
	receive func(capdu, rapdu []byte) []byte
}

func (b brokenTerminal) Reset(ctx context.Context, cold bool) ([]byte, error) {
	atr, err := b.Terminal.Reset(ctx, cold)
	if b.reset != nil && err == nil {
		atr = b.reset(atr)
	}
	return atr, err
}

func (b brokenTerminal) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	c := capdu
	if b.send != nil {
		c = b.send(c)
	}
	r, err := b.Terminal.Transmit(ctx, c, dst)
	if b.receive != nil && err == nil {
		r = b.receive(capdu, r)
	}
	return r, err
}

// TestBroken: each fault makes exactly the cases fail that are about it.
func TestBroken(t *testing.T) {
	const file = "testdata/broken.yaml"
	spb, err := bundles.Open("telecom")
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	suites, err := Suites()
	require.NoError(t, err)
	suites, err = Select(suites, []string{"iso_7816_4", "ts_102_221", "ts_31_102"})
	require.NoError(t, err)
	want := map[string][]string{}
	if b, err := os.ReadFile(file); err == nil {
		require.NoError(t, yaml.Unmarshal(b, &want))
	}
	got := map[string][]string{}
	for name, f := range faults {
		persona := string(pkg.DefaultPersona)
		if f.persona[0] != "" {
			require.Contains(t, persona, f.persona[0], name)
			persona = strings.Replace(persona, f.persona[0], f.persona[1], 1)
		}
		target, stop, err := InProcess{Engine: engine, Package: spb, Persona: []byte(persona)}.Target(context.Background())
		require.NoError(t, err, name)
		target.Terminal = brokenTerminal{target.Terminal, f.reset, f.send, f.receive}
		target.Personalise = nil // those cards would be whole
		maps.Copy(target.Vars, f.vars)
		rep, err := Run(context.Background(), target, suites, nil)
		require.NoError(t, err)
		require.NoError(t, stop())
		require.False(t, rep.OK(), name)
		for _, s := range rep.Suites {
			for _, r := range s.Results {
				if r.Outcome == Fail {
					require.NotEmpty(t, r.Dialogue)
					require.Equal(t, "problem", r.Dialogue[len(r.Dialogue)-1].Kind)
					got[name] = append(got[name], s.Name+"/"+r.Case)
				}
			}
		}
	}
	if *update {
		b, err := yaml.Marshal(got)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append([]byte("# Which cases each fault of broken_test.go makes fail; go test ./spec-tests -run Broken -update\n"), b...), 0o644))
		return
	}
	require.Equal(t, want, got)
}
