package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
)

// States of a check of doctor.
const (
	checkOK      = "ok"
	checkMissing = "missing" // needed for PC/SC clients
	checkNote    = "note"    // good to know
)

// check is one thing that doctor looked at.
type check struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Text  string `json:"text"`
	Next  string `json:"next,omitempty"` // command that mends it
}

func newDoctor() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what this machine needs, and say how to get it",
		Long: `Looks at what PC/SC clients need to see the emulator as a card: pcscd, the driver
of the virtual reader, its port, permissions. What is missing comes with the command
that mends it; the exit code is 1 then. sspemu apdu needs none of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks := doctor(cmd.Context(), host{root: "/", path: os.Getenv("PATH"), remote: &r})
			ok := true
			for _, c := range checks {
				ok = ok && c.State != checkMissing
			}
			if err := printChecks(cmd, checks, ok, asJSON); err != nil {
				return err
			}
			if !ok {
				return silentError{}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	r.add(cmd.Flags())
	return cmd
}

func printChecks(cmd *cobra.Command, checks []check, ok, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Schema int     `json:"schema"`
			OK     bool    `json:"ok"`
			Checks []check `json:"checks"`
		}{console.SchemaVersion, ok, checks})
	}
	var rows [][]string
	for _, c := range checks {
		rows = append(rows, []string{c.State, c.Name, c.Text})
		if c.Next != "" {
			rows = append(rows, []string{"", "", "  " + c.Next})
		}
	}
	return table(cmd.OutOrStdout(), rows...)
}

// host is the machine that is looked at.
type host struct {
	root   string // of the file system
	path   string // PATH
	remote *remote
}

// Where Debian's packages put things.
const (
	pcscdSocket  = "run/pcscd/pcscd.comm"
	driverConfig = "etc/reader.conf.d/vpcd"
	systemd      = "run/systemd/system"
	driverFile   = "libifdvpcd.so"
)

// driverDirs are where the virtual reader driver may be.
var driverDirs = []string{"usr/lib/pcsc/drivers/serial", "usr/local/lib/pcsc/drivers/serial", "usr/lib64/pcsc/drivers/serial"}

func doctor(ctx context.Context, h host) []check {
	checks := []check{h.bundles(), h.state(), h.cache(), h.serve(ctx), h.pcscd(), h.driver()}
	daemon := h.daemon()
	checks = append(checks, daemon)
	checks = append(checks, h.reader(daemon.State == checkOK))
	return append(checks, h.clients())
}

func (h host) file(name string) string { return filepath.Join(h.root, name) }

func (h host) exists(name string) bool {
	_, err := os.Stat(h.file(name))
	return err == nil
}

// program finds a program, also where only root's PATH leads to.
func (h host) program(name string) (string, bool) {
	for _, dir := range append(filepath.SplitList(h.path), "/usr/sbin", "/sbin", "/usr/local/sbin") {
		path := h.file(filepath.Join(dir, name))
		if i, err := os.Stat(path); err == nil && i.Mode()&0o111 != 0 && !i.IsDir() {
			return path, true
		}
	}
	return "", false
}

func (h host) bundles() check {
	names := bundles.Names()
	if len(names) == 0 {
		return check{"bundles", checkMissing, "this binary was built without bundles", "make build"}
	}
	return check{"bundles", checkOK, strings.Join(names, ", "), ""}
}

func (h host) state() check {
	dir := h.remote.state
	var err error
	if dir == "" {
		dir, err = defaultState()
	}
	if err == nil {
		err = writable(dir)
	}
	if err != nil {
		return check{"state", checkMissing, err.Error(), "sspemu serve --state DIR   (or --ephemeral)"}
	}
	return check{"state", checkOK, dir, ""}
}

func (h host) cache() check {
	dir, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "sspemu")
		err = writable(dir)
	}
	if err != nil {
		return check{"cache", checkNote, "every start compiles the bundles: " + err.Error(), "export XDG_CACHE_HOME=DIR"}
	}
	return check{"cache", checkOK, dir, ""}
}

// writable tells whether files can be made in dir, or dir itself.
func writable(dir string) error {
	for {
		f, err := os.CreateTemp(dir, ".sspemu-doctor-*")
		switch {
		case err == nil:
			_ = f.Close()
			return os.Remove(f.Name())
		case errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir:
			dir = filepath.Dir(dir)
		default:
			return fmt.Errorf("%s: cannot be written: %w", dir, errors.Unwrap(err))
		}
	}
}

func (h host) serve(ctx context.Context) check {
	c, err := h.remote.find(ctx)
	switch {
	case err != nil:
		return check{"serve", checkNote, err.Error(), ""}
	case c == nil:
		if _, err := (&console.Client{Address: defaultAPI}).Status(ctx); errors.Is(err, console.ErrForeign) {
			return check{"serve", checkNote, "not running; another program uses " + defaultAPI, "sspemu serve --api 127.0.0.1:0"}
		}
		return check{"serve", checkNote, "not running", "sspemu serve"}
	}
	s, err := c.Status(ctx)
	if err != nil {
		return check{"serve", checkNote, err.Error(), ""}
	}
	return check{"serve", checkOK, fmt.Sprintf("runs as process %d at %s, active: %s", s.PID, c.Address, s.Active), ""}
}

func (h host) pcscd() check {
	if path, ok := h.program("pcscd"); ok {
		return check{"pcscd", checkOK, path, ""}
	}
	return check{"pcscd", checkMissing, "the PC/SC daemon is not installed", "sudo apt-get install pcscd"}
}

func (h host) driver() check {
	const name = "reader driver"
	var lib string
	for _, d := range driverDirs {
		if h.exists(filepath.Join(d, driverFile)) {
			lib = h.file(filepath.Join(d, driverFile))
		}
	}
	if lib == "" {
		return check{name, checkMissing, "the driver of the virtual reader (vpcd) is not installed", "sudo apt-get install vsmartcard-vpcd"}
	}
	if !h.exists(driverConfig) {
		return check{name, checkMissing, h.file(driverConfig) + " is not there, so pcscd does not load " + lib,
			"sudo apt-get install --reinstall -o Dpkg::Options::=--force-confmiss vsmartcard-vpcd"}
	}
	return check{name, checkOK, lib, ""}
}

// daemon tells whether pcscd runs and this user may talk to it.
func (h host) daemon() check {
	const name = "pcscd running"
	start := "sudo pcscd"
	if h.exists(systemd) {
		start = "sudo systemctl start pcscd.socket pcscd"
	}
	c, err := net.DialTimeout("unix", h.file(pcscdSocket), time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return check{name, checkOK, "it listens at " + h.file(pcscdSocket), ""}
	case errors.Is(err, fs.ErrPermission):
		return check{name, checkMissing, "it runs, but this user may not talk to it (" + h.file(pcscdSocket) + ")", "sudo sspemu doctor   (and see the polkit rules of pcscd)"}
	case h.exists(pcscdSocket):
		return check{name, checkMissing, "its socket is there, but nobody listens: it ended without cleaning up", start}
	}
	return check{name, checkMissing, "it does not run", start}
}

// reader tells whether the virtual reader waits for a card. It does not connect: to
// the reader that would be a card.
func (h host) reader(daemon bool) check {
	const name = "virtual reader"
	const port = 35963
	open, known := h.portOpen("127.0.0.1", port)
	for range 20 { // systemd may have started pcscd only just now
		if open || !daemon || !known {
			break
		}
		time.Sleep(50 * time.Millisecond)
		open, known = h.portOpen("127.0.0.1", port)
	}
	restart := "sudo pkill pcscd; sudo pcscd"
	if h.exists(systemd) {
		restart = "sudo systemctl restart pcscd"
	}
	switch {
	case !known:
		return check{name, checkNote, "cannot be looked at on this system", ""}
	case open && daemon:
		return check{name, checkOK, fmt.Sprintf("it waits for a card on port %d", port), ""}
	case open:
		return check{name, checkMissing, fmt.Sprintf("port %d is in use, and not by pcscd: two of them, or another program", port), fmt.Sprintf("ss -ltnp 'sport = :%d'", port)}
	case daemon:
		return check{name, checkMissing, fmt.Sprintf("pcscd runs without it (nobody listens on port %d): it was started before the driver was installed", port), restart}
	}
	return check{name, checkMissing, "comes with pcscd", ""}
}

func (h host) clients() check {
	const name = "clients"
	var lacking []string
	for _, p := range []struct{ program, pkg string }{{"opensc-tool", "opensc"}, {"pcsc_scan", "pcsc-tools"}} {
		if _, ok := h.program(p.program); !ok {
			lacking = append(lacking, p.pkg)
		}
	}
	if lacking != nil {
		return check{name, checkNote, "tools to look at cards are not installed: " + strings.Join(lacking, ", "), "sudo apt-get install " + strings.Join(lacking, " ")}
	}
	return check{name, checkOK, "opensc-tool, pcsc_scan", ""}
}
