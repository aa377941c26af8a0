package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
)

// defaultAPI is where serve listens and where commands look for it.
var defaultAPI = console.DefaultAddress

// off is the address of a service that is not wanted.
const off = "off"

// apiFile is the file in the state directory (or in XDG_RUNTIME_DIR, for a serve
// without one) that says where the control API of the running serve is.
const apiFile = "api.json"

// apiAddress is what the file holds.
type apiAddress struct {
	Schema  int    `json:"schema"`
	Address string `json:"address"`
	Token   string `json:"token,omitempty"`
	PID     int    `json:"pid"`
}

// apiFilePath is where the file of a serve on that state is; "" where there can be
// none.
func apiFilePath(state string) string {
	if state != "" {
		return filepath.Join(state, apiFile)
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		return filepath.Join(d, "sspemu", apiFile)
	}
	return ""
}

// publish writes the file; remove takes it away again.
func publish(state string, a apiAddress) (remove func() error, err error) {
	path := apiFilePath(state)
	if path == "" {
		return func() error { return nil }, nil
	}
	b, err := json.Marshal(a)
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			tmp := path + ".new"
			if err = os.WriteFile(tmp, b, 0o600); err == nil {
				err = os.Rename(tmp, path)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("address of the control API: %w", err)
	}
	return func() error { return os.Remove(path) }, nil
}

// remote is the emulator that runs already, as the flags of a command name it.
type remote struct{ api, token, tokenFile, state string }

func (r *remote) add(f *pflag.FlagSet) {
	f.StringVar(&r.api, "api", "", "control API of the running serve, `HOST:PORT`, or off to ignore it (default: as it says in its state directory)")
	f.StringVar(&r.token, "api-token", "", "`TOKEN` of the control API")
	f.StringVar(&r.tokenFile, "api-token-file", "", "`FILE` with the token of the control API")
	f.StringVar(&r.state, "state", "", "state `DIR` of the serve that is meant")
}

// clients are where the emulator may be, the surest place first. All but the
// last-but-one guess are named by the user or by a file that serve wrote.
func (r *remote) clients() ([]*console.Client, error) {
	token, err := readToken(r.token, r.tokenFile)
	if err != nil || r.api == off {
		return nil, err
	}
	if r.api != "" {
		return []*console.Client{{Address: r.api, Token: token}}, nil
	}
	states := []string{r.state}
	if r.state == "" {
		if d, err := defaultState(); err == nil {
			states = []string{d, ""}
		}
	}
	var list []*console.Client
	for _, s := range states {
		var a apiAddress
		b, err := os.ReadFile(apiFilePath(s))
		if err != nil || json.Unmarshal(b, &a) != nil || a.Address == "" {
			continue // nobody has been there
		}
		if token != "" {
			a.Token = token
		}
		list = append(list, &console.Client{Address: a.Address, Token: a.Token})
	}
	if r.state == "" {
		list = append(list, &console.Client{Address: defaultAPI, Token: token})
	}
	return list, nil
}

// probeTime bounds how long a place that may be stale is asked.
const probeTime = 3 * time.Second

// find is the running emulator, nil if there is none.
func (r *remote) find(ctx context.Context) (*console.Client, error) {
	list, err := r.clients()
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		probe, cancel := context.WithTimeout(ctx, probeTime)
		_, err := c.Status(probe)
		cancel()
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case r.api != "": // the user named it
			return nil, hint(err)
		case errors.Is(err, console.ErrNotRunning), errors.Is(err, console.ErrForeign), errors.Is(err, context.DeadlineExceeded):
			// an old file, or somebody else's port
		default:
			return nil, hint(err)
		}
	}
	return nil, nil
}

// hint says what to do.
func hint(err error) error {
	var p *console.Problem
	switch {
	case errors.Is(err, console.ErrNotRunning):
		return fmt.Errorf("%w (start one with `sspemu serve`)", err)
	case errors.As(err, &p) && p.Code == 401:
		return fmt.Errorf("control API: %w (--api-token or --api-token-file)", err)
	}
	return err
}

// readToken is the token of the flags, "" for none.
func readToken(token, file string) (string, error) {
	if file == "" {
		return token, nil
	}
	if token != "" {
		return "", usage(errors.New("--api-token and --api-token-file: give one of them"))
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("token of the control API: %w", err)
	}
	token = strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("token of the control API: %s is empty", file)
	}
	return token, nil
}

// either is the emulator that a command works on: the one that runs, else one of its
// own, about which it says so.
type either struct {
	remote
	settings
}

func (x *either) add(f *pflag.FlagSet) {
	x.remote.add(f)
	x.settings.add(f)
}

// open finds or starts it. where names it for people; close ends what was started.
func (x *either) open(cmd *cobra.Command) (e console.Emulator, where string, close func() error, err error) {
	ctx, none := cmd.Context(), func() error { return nil }
	c, err := x.find(ctx)
	if err != nil {
		return nil, "", none, err
	}
	if c != nil {
		if name := x.settings.given(cmd.Flags()); name != "" {
			return nil, "", none, usage(fmt.Errorf("--%s: does nothing to the serve that runs at %s (--api off starts a platform of its own)", name, c.Address))
		}
		return c, "serve " + c.Address, none, nil
	}
	own, where, err := x.start(cmd)
	if err != nil {
		return nil, "", none, err
	}
	return own, where, own.Close, nil
}

// start starts an emulator in this process: on the state that the user named, else
// on none.
func (x *either) start(cmd *cobra.Command) (*emulator, string, error) {
	s := x.settings
	s.state = x.remote.state
	where := "an ephemeral platform"
	if s.state != "" {
		if _, err := os.Stat(s.state); errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("state directory %s: is not there (serve makes it)", s.state)
		}
		where = "the state " + s.state
	}
	if x.api != off {
		fmt.Fprintf(cmd.ErrOrStderr(), "no serve is running: using %s in this process\n", where)
	}
	e, err := startEmulator(cmd.Context(), s, cmd.Flags(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	return e, where, err
}

// listen opens the address of the control API. What others can reach wants a token.
func listen(address, token string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, usage(fmt.Errorf("control API: %q: not of the form HOST:PORT, nor off", address))
	}
	if token == "" && !console.Loopback(address) {
		return nil, usage(fmt.Errorf("control API: %s can be reached from other machines (give --api-token-file, or listen on 127.0.0.1)", address))
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("control API: %w (does another serve run? --api 127.0.0.1:0 takes any free port)", err)
	}
	return l, nil
}
