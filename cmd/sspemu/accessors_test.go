package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
)

func TestAccessorsRefused(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"nothing", "", "there is none (an anonymous one is needed)"},
		{"not YAML", "accessors: [", "did not find expected node content"},
		{"unknown key", "accessors:\n  - {id: 0, kind: anonymous, colour: red}\n", "field colour not found"},
		{"kind", "accessors:\n  - {id: 0, name: x, kind: friend}\n", `number 1 (x): kind "friend": there are anonymous, pin and token`},
		{"gate", "accessors:\n  - {id: 0, kind: anonymous, gates: [door]}\n", `gate "door": there are every, uicc_apdu, tcp, udp, file_system`},
		{"secret", "accessors:\n  - {id: 0, kind: token, secret: 'hex:0'}\n", "the secret is not hexadecimal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := filepath.Join(t.TempDir(), "a.yaml")
			require.NoError(t, os.WriteFile(f, []byte(tt.yaml), 0o600))
			_, err := readAccessors(f, scl.DefaultProfile())
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, "a.yaml")
		})
	}
	_, err := readAccessors("nowhere.yaml", scl.DefaultProfile())
	require.EqualError(t, err, "accessors: open nowhere.yaml: no such file or directory")
	list, err := readAccessors("", scl.DefaultProfile())
	require.NoError(t, err)
	require.Empty(t, list)
}

// TestAccessorsDecide: rights are asked for when a pipe is made; the tries of a PIN
// last longer than the process.
func TestAccessorsDecide(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`accessors:
  - {id: 0, name: anonymous, kind: anonymous, gates: [uicc_apdu, tcp]}
  - {id: 1, name: operator, kind: pin, secret: "2468", tries: 2, gates: [file_system]}
`), 0o600))
	ctx := context.Background()
	run := func(f func(p *scl.Profile, h *scl.Host, auth *scl.Pipe)) {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		s := settings{}
		s.add(flags)
		require.NoError(t, flags.Parse([]string{"--accessors", file, "--active", "example"}))
		s.state = filepath.Join(dir, "state")
		e, err := startEmulator(ctx, s, flags, os.Stdout, nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close()) }()
		e.network.Exclusive(func() {
			p := e.profile
			h, err := e.network.Register("host", [16]byte{7}, 0)
			require.NoError(t, err)
			auth, err := h.Bind(p.Host.NetworkController, p.Gate.Accessor, nil)
			require.NoError(t, err)
			f(p, h, auth)
		})
	}
	say := func(p *scl.Profile, auth *scl.Pipe, pin string) (code byte, left []byte) {
		code, left, err := auth.Call(p.Command.AccessorAuthenticate, append([]byte{1}, pin...))
		require.NoError(t, err)
		return code, left
	}
	run(func(p *scl.Profile, h *scl.Host, auth *scl.Pipe) {
		_, err := h.Bind(p.Host.UICC, p.Gate.TCP, nil)
		require.NoError(t, err)
		_, err = h.Bind(p.Host.UICC, p.Gate.UDP, nil)
		require.ErrorIs(t, err, scl.ErrPipeAccessDenied)
		_, err = h.Bind(p.Host.UICC, p.Gate.FileSystem, nil)
		require.ErrorIs(t, err, scl.ErrPipeAccessDenied)
		code, _ := say(p, auth, "2468")
		require.Equal(t, p.Response.AnyOK, code)
		_, err = h.Bind(p.Host.UICC, p.Gate.FileSystem, nil)
		require.NoError(t, err)
		code, left := say(p, auth, "1111")
		require.Equal(t, p.Response.AnyEAuthentication, code)
		require.Equal(t, []byte{1}, left)
	})
	run(func(p *scl.Profile, h *scl.Host, auth *scl.Pipe) {
		_, left := say(p, auth, "1111")
		require.Equal(t, []byte{0}, left, "the first wrong one was not forgotten")
		code, left := say(p, auth, "2468")
		require.Equal(t, p.Response.AnyEAuthentication, code)
		require.Equal(t, []byte{0}, left, "blocked")
	})
}
