package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/transport"
)

// defaultLink is where Debian's virtual reader driver waits for a card.
const defaultLink = "vpcd://127.0.0.1:35963"

// server is one run of serve.
type server struct {
	settings
	config    string
	ephemeral bool
	links     []string
	services  services
	api       string
	token     string
	tokenFile string
	asJSON    bool

	out     io.Writer
	outLock sync.Mutex
}

func newServe() *cobra.Command {
	s := &server{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start the emulator",
		Long: `Starts the emulator, prints where it listens and what to try, and then ready on a
line of its own. It ends on SIGINT and SIGTERM.

The link to the virtual reader is tried again until pcscd is there; sspemu doctor
tells what is missing. A state directory has one serve at a time.`,
		Example: `  sspemu serve
  sspemu serve --ephemeral --trace -
  sspemu serve --persona telecom=my-sim.yaml --active telecom`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.config != "" {
				if err := readConfig(s.config, cmd.Flags()); err != nil {
					return err
				}
			}
			s.out = cmd.OutOrStdout()
			return s.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.config, "config", "", "YAML `FILE` with the names of these flags as keys")
	f.StringVar(&s.state, "state", "", "state `DIR` (default: $XDG_STATE_HOME/sspemu)")
	f.BoolVar(&s.ephemeral, "ephemeral", false, "keep nothing")
	f.StringArrayVar(&s.links, "link", []string{defaultLink}, "link to be the card of, may be repeated, off or a `URL`: "+toReaders)
	f.StringVar(&s.api, "api", defaultAPI, "control API, `HOST:PORT` or off; port 0 takes a free one")
	f.StringVar(&s.token, "api-token", "", "`TOKEN` that the control API asks for")
	f.StringVar(&s.tokenFile, "api-token-file", "", "`FILE` with that token")
	f.BoolVar(&s.asJSON, "json", false, "print one JSON object a line")
	s.services.add(f)
	s.settings.add(f)
	return cmd
}

func (s *server) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	links, err := s.check()
	if err != nil {
		return err
	}
	var listener net.Listener
	if s.api != off {
		if listener, err = listen(s.api, s.token); err != nil {
			return err
		}
		defer listener.Close()
	}
	open, err := s.services.open(cmd.Flags(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer open.Close()
	e, err := startEmulator(ctx, s.settings, cmd.Flags(), s.out, cmd.ErrOrStderr())
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to end before it was ready
		}
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	for _, l := range links {
		if err := e.serveLink(ctx, l); err != nil {
			return err
		}
	}
	failed := make(chan error, 1)
	if listener != nil {
		end, err := s.serveAPI(e, listener, failed)
		if err != nil {
			return err
		}
		defer end()
	}
	endServices, err := open.start(e, failed)
	if err != nil {
		return err
	}
	defer endServices()
	if err := s.announce(ctx, e); err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.Events(following, e.events.last(), s.printEvent)
	}()
	e.setReady()
	go e.giveBack(following)
	if err := s.printReady(); err != nil {
		return err
	}
	notify("READY=1")
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	notify("STOPPING=1")
	stop()
	<-done
	return err
}

// check looks at everything that can be wrong before anything starts.
func (s *server) check() (links []transport.Link, err error) {
	if s.ephemeral {
		if s.state != "" {
			return nil, usage(errors.New("--ephemeral and --state: give one of them"))
		}
	} else if s.state == "" {
		if s.state, err = defaultState(); err != nil {
			return nil, err
		}
	}
	if s.asJSON && s.trace == "-" {
		return nil, usage(errors.New("--json and --trace -: both write to standard output (give --trace FILE)"))
	}
	if s.token, err = readToken(s.token, s.tokenFile); err != nil {
		return nil, err
	}
	profile, err := s.sclProfile()
	if err != nil {
		return nil, err
	}
	for _, url := range s.links {
		if url == off {
			continue
		}
		l, err := transport.Open(url, transport.Target, schemes(profile)...)
		if err != nil {
			return nil, usage(err)
		}
		if transport.Inside(url) {
			return nil, usage(fmt.Errorf("link %q: joins two ends inside one process, where nobody else can reach it (sspemu apdu --link %s has an SSP at its other end)", url, url))
		}
		links = append(links, l)
	}
	return links, nil
}

// serveAPI starts the control API and writes down where it is.
func (s *server) serveAPI(e *emulator, l net.Listener, failed chan<- error) (end func(), err error) {
	e.mu.Lock()
	e.api = l.Addr().String()
	e.mu.Unlock()
	unpublish, err := publish(s.state, apiAddress{console.SchemaVersion, e.api, s.token, os.Getpid()})
	if err != nil {
		return nil, err
	}
	base, cancel := context.WithCancel(context.Background())
	h := &http.Server{
		Handler:           console.NewServer(e, s.token),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 5 * time.Second,
	}
	go func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("control API: %w", err)
		}
	}()
	return func() {
		_ = unpublish()
		cancel() // streams of events end
		ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
		defer stop()
		_ = h.Shutdown(ctx) // who is not done by then is cut off
		_ = h.Close()
	}, nil
}

// line is what serve prints with --json.
type line struct {
	Schema  int              `json:"schema"`
	Type    string           `json:"type"` // status, ready, event
	Status  *console.Status  `json:"status,omitempty"`
	Bundles []console.Bundle `json:"bundles,omitempty"`
	Event   *console.Event   `json:"event,omitempty"`
}

func (s *server) printLine(l line) error {
	l.Schema = console.SchemaVersion
	s.outLock.Lock()
	defer s.outLock.Unlock()
	return json.NewEncoder(s.out).Encode(l)
}

// announce prints what runs.
func (s *server) announce(ctx context.Context, e *emulator) error {
	st, err := e.Status(ctx)
	if err != nil {
		return err
	}
	list, err := e.Bundles(ctx)
	if err != nil {
		return err
	}
	if s.asJSON {
		return s.printLine(line{Type: "status", Status: &st, Bundles: list})
	}
	rows := [][]string{{"class", st.Class}}
	for i, b := range list {
		rows = append(rows, []string{once(i, "bundles"), b.Name + " " + b.Version, b.State, b.Title + problem(b)})
	}
	for i, l := range st.Links {
		rows = append(rows, []string{once(i, "links"), l, linkState(l)})
	}
	if len(st.Links) == 0 {
		rows = append(rows, []string{"links", "none"})
	}
	for i, v := range [][2]string{{"http", st.HTTP}, {"coap", st.CoAP}, {"coaps", st.CoAPS}} {
		if v[1] != "" {
			rows = append(rows, []string{once(i, "services"), v[0] + "://" + v[1]})
		}
	}
	api, state := off, st.State
	if st.API != "" {
		api = "http://" + st.API + "/api/v1"
	}
	if state == "" {
		state = "nothing is kept (--ephemeral)"
	}
	rows = append(rows, []string{"control API", api}, []string{"SCL profile", st.Profile + provisional(e.profile.Provisional)}, []string{"state", state})
	if err := table(s.out, rows...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "\nTry:\n%s\n", strings.Join(s.suggestions(st, list), "\n"))
	return err
}

// once is a heading in the first row only.
func once(i int, s string) string {
	if i == 0 {
		return s
	}
	return ""
}

func provisional(p bool) string {
	if p {
		return " (provisional)"
	}
	return ""
}

// linkState says whether somebody listens where a link goes to, if that can be seen
// without disturbing it.
func linkState(url string) string {
	u, err := transport.Parse(url)
	if err != nil || u.Scheme != "vpcd" {
		return ""
	}
	open, known := portOpen(u.Host, portOf(u))
	switch {
	case !known:
		return ""
	case open:
		return "the virtual reader is there"
	}
	return "waiting for pcscd (sspemu doctor tells what it needs)"
}

// suggestions are lines to paste.
func (s *server) suggestions(st console.Status, list []console.Bundle) []string {
	name, flags := os.Args[0], ""
	if strings.ContainsAny(name, " '\"") {
		name = "sspemu"
	}
	switch def, err := defaultState(); {
	case st.API == "":
		flags = " --api off"
	case s.state != "" && (err != nil || def != s.state):
		flags = " --state " + s.state
	case s.state == "" && st.API != defaultAPI && apiFilePath("") == "":
		flags = " --api " + st.API
	}
	other := "telecom"
	for _, b := range list {
		if b.State == "enabled" {
			other = b.Name
			break
		}
	}
	try := []string{
		"  " + name + " apdu" + flags + " 00A40004023F00",
		"  " + name + " bundle activate" + flags + " " + other,
	}
	if st.HTTP != "" {
		try = append(try, "  curl http://"+st.HTTP+"/")
	}
	return append(try, "  opensc-tool --list-readers --atr")
}

func (s *server) printReady() error {
	if s.asJSON {
		return s.printLine(line{Type: "ready"})
	}
	s.outLock.Lock()
	defer s.outLock.Unlock()
	_, err := fmt.Fprintln(s.out, "\nready")
	return err
}

// printEvent shows what happens while serve runs.
func (s *server) printEvent(e console.Event) (stop bool) {
	if e.Name == "ready" {
		return false // has its own line
	}
	if s.asJSON {
		return s.printLine(line{Type: "event", Event: &e}) != nil
	}
	s.outLock.Lock()
	defer s.outLock.Unlock()
	_, err := fmt.Fprintln(s.out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", time.Now().Format(time.TimeOnly), e.Bundle, e.Name, e.Detail)))
	return err != nil
}
