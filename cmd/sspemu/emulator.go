package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// firstActive is the bundle that is active on a state that is new.
const firstActive = "telecom"

var _ console.Emulator = (*emulator)(nil)

// emulator is a whole SSP in this process: the rooms, put together.
//
//	links ── terminal.Adapter ──┐
//	                            ├── scl.Network ── primary.Platform ── vm.Engine, nvm.Store
//	POST /apdu ── port (mem:) ──┘
type emulator struct {
	settings settings
	profile  *scl.Profile
	tracer   *trace.Tracer
	store    *nvm.Store
	engine   *vm.Engine
	network  *scl.Network
	platform *primary.Platform
	clock    primary.Clock
	events   *eventLog
	closers  []func() error // in the order of opening

	mu       sync.Mutex
	port     *port    // the terminal of POST /apdu; nil until it is needed
	links    []string // URLs
	api      string   // address
	services console.Services
	ready    bool
}

// startEmulator starts what the settings say. What it has to tell people goes to
// notes, which may be nil.
func startEmulator(ctx context.Context, s settings, f *pflag.FlagSet, stdout, notes io.Writer) (e *emulator, err error) {
	if notes == nil {
		notes = io.Discard
	}
	c, profile, err := s.config(f)
	if err != nil {
		return nil, err
	}
	if len(bundles.Names()) == 0 {
		return nil, bundles.ErrNone
	}
	e = &emulator{settings: s, profile: profile, clock: c.Clock, events: newEventLog()}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
			e = nil
		}
	}()
	e.tracer = trace.New(c.Clock.Now)
	if err := e.openTrace(stdout); err != nil {
		return e, err
	}
	if e.store, err = openStore(s.state); err != nil {
		return e, err
	}
	e.closers = append(e.closers, e.store.Close)
	if e.engine, err = openEngine(notes); err != nil {
		return e, err
	}
	e.closers = append(e.closers, e.engine.Close)
	e.network = scl.NewNetwork(profile, e.tracer)
	if err := e.publishController(); err != nil {
		return e, err
	}
	if _, used := e.store.Registry().Next(nil); !used && c.Active == "" {
		c.Active = first(bundles.Names())
	}
	c.State, c.Engine, c.Network, c.Tracer = e.store, e.engine, e.network, e.tracer
	c.Builtins = builtins()
	c.Log = slog.New(slog.NewTextHandler(notes, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slow := time.AfterFunc(400*time.Millisecond, func() {
		fmt.Fprintln(notes, "compiling the active bundle (the first time only)")
	})
	defer slow.Stop()
	if e.platform, err = primary.New(ctx, c); err != nil {
		return e, err
	}
	e.closers = append(e.closers, e.platform.Close)
	e.platform.Watch(func(ev primary.Event) { e.events.add(toEvent(ev)) })
	return e, nil
}

func openStore(dir string) (*nvm.Store, error) {
	if dir == "" {
		return nvm.OpenMemory(nvm.Options{}), nil
	}
	return nvm.Open(dir, nvm.Options{})
}

// openEngine uses the cache on disk if there can be one.
func openEngine(notes io.Writer) (*vm.Engine, error) {
	dir, err := os.UserCacheDir()
	if err == nil {
		var e *vm.Engine
		if e, err = vm.New(vm.Config{CacheDir: filepath.Join(dir, "sspemu")}); err == nil {
			return e, nil
		}
	}
	fmt.Fprintf(notes, "no cache, so every start compiles: %v\n", err)
	return vm.New(vm.Config{})
}

// openTrace adds the sink that --trace asks for.
func (e *emulator) openTrace(stdout io.Writer) error {
	end, err := e.settings.addTrace(e.tracer, stdout)
	if err == nil {
		e.closers = append(e.closers, end)
	}
	return err
}

// addTrace is openTrace for any tracer; end closes the file.
func (s *settings) addTrace(t *trace.Tracer, stdout io.Writer) (end func() error, err error) {
	none := func() error { return nil }
	switch s.trace {
	case "":
		return none, nil
	case "-":
		t.Add(trace.NewText(stdout))
		return none, nil
	}
	f, err := os.Create(s.trace)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	t.Add(trace.NewText(f))
	return f.Close, nil
}

// builtins are the bundles of the binary. They start enabled: so any of them can be
// activated at once.
func builtins() (list []primary.Builtin) {
	for _, name := range bundles.Names() {
		list = append(list, primary.Builtin{
			Name:        name,
			Fingerprint: bundles.Fingerprint(name),
			Manifest:    bundles.Manifest(name),
			Open:        func() ([]byte, error) { return bundles.Open(name) },
			Enabled:     true,
		})
	}
	return list
}

func first(names []string) string {
	if slices.Contains(names, firstActive) {
		return firstActive
	}
	return names[0]
}

// attach puts the SSP at the target end of a link.
func (e *emulator) attach(ctx context.Context, l transport.Link) error {
	l = terminal.AsTarget(l, e.profile)
	a, err := terminal.NewAdapter(e.network, l)
	if err != nil {
		return err
	}
	if err := a.Open(ctx); err != nil {
		return errors.Join(fmt.Errorf("link %s: %w", l, err), a.Close())
	}
	e.closers = append(e.closers, a.Close)
	return nil
}

// mem starts a terminal at the other end of a link in this process.
func (e *emulator) mem(ctx context.Context) (*port, error) {
	controller, err := e.pair(ctx, memLink)
	if err != nil {
		return nil, err
	}
	return openPort(ctx, controller)
}

// terminalOn starts a terminal host at the other end of a link in this process; it
// lasts as long as the emulator. Its UUID follows from its name, so that two runs give
// the same bytes.
func (e *emulator) terminalOn(ctx context.Context, link, name string) (*terminal.Terminal, error) {
	controller, err := e.pair(ctx, link)
	if err != nil {
		return nil, err
	}
	t, err := terminal.OpenAs(ctx, terminal.AsController(controller, e.profile, 0), e.profile, name, uuid.NewSHA1(uuid.NameSpaceURL, []byte("sspemu:"+name)))
	if err != nil {
		return nil, err
	}
	e.closers = append(e.closers, t.Close)
	return t, nil
}

// serveLink is attach for a link that status shows.
func (e *emulator) serveLink(ctx context.Context, l transport.Link) error {
	if err := e.attach(ctx, l); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links = append(e.links, l.String())
	return nil
}

// Close ends everything, in the reverse order of its beginning.
func (e *emulator) Close() error {
	var errs []error
	for _, f := range slices.Backward(e.closers) {
		errs = append(errs, f())
	}
	e.closers = nil
	return errors.Join(errs...)
}

// Status implements console.Emulator.
func (e *emulator) Status(context.Context) (console.Status, error) {
	s := console.Status{
		Schema: console.SchemaVersion, Version: version().Version, PID: os.Getpid(),
		Class: string(e.platform.Class()), Policy: e.settings.inactive, State: e.store.Dir(),
		Clock: e.settings.clock, Profile: e.profile.Name, Memory: residentMemory(), Seq: e.events.last(),
	}
	if a, ok := e.platform.Active(); ok {
		s.Active = a.Name
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.API, s.Ready, s.Links, s.Services = e.api, e.ready, slices.Clone(e.links), e.services
	return s, nil
}

// residentMemory is what the process holds in memory, in bytes: of the system, as
// the code and the memories of bundles are not Go's.
func residentMemory() uint64 {
	var size, resident uint64
	b, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(b), &size, &resident)
	}
	if err != nil { // not on Linux
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.Sys - m.HeapReleased
	}
	return resident * uint64(os.Getpagesize())
}

// Bundles implements console.Emulator.
func (e *emulator) Bundles(context.Context) (list []console.Bundle, err error) {
	for _, i := range e.platform.List() {
		list = append(list, toBundle(i))
	}
	return list, nil
}

func toBundle(i primary.Info) console.Bundle {
	b := console.Bundle{
		Name: i.Name, ID: i.ID.String(), Family: i.Family.String(), Title: i.Title, Version: i.Version,
		Type: i.Type, State: string(i.State), Origin: i.Origin, Standards: i.Standards, NVM: i.NVMUsed,
	}
	if i.Problem != nil {
		b.Problem = i.Problem.Error()
	}
	return b
}

func toEvent(ev primary.Event) console.Event {
	e := console.Event{Time: ev.Time, Name: string(ev.Kind), Bundle: ev.Bundle, ID: ev.ID.String()}
	switch {
	case ev.Kind == primary.Told:
		e.Name, e.Detail = ev.Name, detail(ev.Data)
	case ev.Why != nil:
		e.Detail = ev.Why.Error()
	}
	return e
}

// detail is the data of a bundle's event: as it is when it is text, else in hexadecimal.
func detail(data []byte) string {
	text := string(data)
	if !utf8.Valid(data) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%X", data)
	}
	return text
}

// Install implements console.Emulator.
func (e *emulator) Install(ctx context.Context, name string, spb []byte) (console.Bundle, error) {
	i, err := e.platform.Install(ctx, spb, name)
	if err != nil {
		return console.Bundle{}, withStatus(err)
	}
	return toBundle(i), nil
}

// Lifecycle implements console.Emulator.
func (e *emulator) Lifecycle(ctx context.Context, verb, id string) (err error) {
	switch verb {
	case "enable":
		err = e.platform.Enable(id)
	case "disable":
		err = e.platform.Disable(id)
	case "activate":
		err = e.platform.Activate(ctx, id)
	case "delete":
		err = e.platform.Delete(id)
	default:
		err = fmt.Errorf("bundles have no verb %q", verb)
	}
	return withStatus(err)
}

// withStatus gives an error of the platform its HTTP status.
func withStatus(err error) error {
	if err == nil {
		return nil
	}
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, primary.ErrUnknown):
		code = http.StatusNotFound
	case errors.Is(err, primary.ErrPackage), errors.Is(err, primary.ErrPersona):
		code = http.StatusUnprocessableEntity
	case errors.As(err, new(*primary.Refusal)):
		code = http.StatusConflict
	case errors.Is(err, terminal.ErrNoCard), errors.Is(err, terminal.ErrRemoved):
		code = http.StatusConflict
	case errors.As(err, new(usageError)):
		code = http.StatusBadRequest
	}
	return statusError{err, code}
}

// statusError is an error with an HTTP status.
type statusError struct {
	error
	code int
}

func (e statusError) Unwrap() error { return e.error }
func (e statusError) Status() int   { return e.code }

// APDU implements console.Emulator.
func (e *emulator) APDU(ctx context.Context, q console.APDURequest) (console.APDUResponse, error) {
	p, err := e.ownPort()
	if err != nil {
		return console.APDUResponse{}, withStatus(err)
	}
	a, err := p.converse(ctx, q)
	return a, withStatus(err)
}

// ownPort is the terminal of POST /apdu. It lasts as long as the emulator.
func (e *emulator) ownPort() (*port, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.port == nil {
		p, err := e.mem(context.Background())
		if err != nil {
			return nil, err
		}
		e.port = p
	}
	return e.port, nil
}

// Profile implements console.Emulator.
func (e *emulator) Profile(context.Context) (console.Profile, error) {
	return toProfile(e.profile), nil
}

// Events implements console.Emulator.
func (e *emulator) Events(ctx context.Context, since uint64, f func(console.Event) (stop bool)) error {
	return e.events.follow(ctx, since, f)
}

// giveBack returns to the system what compiling took, and what the code of disabled
// bundles did; the runtime alone would keep it for minutes.
func (e *emulator) giveBack(ctx context.Context) {
	e.platform.Watch(func(ev primary.Event) {
		if ev.Kind == primary.Disabled || ev.Kind == primary.Deleted {
			go debug.FreeOSMemory()
		}
	})
	if e.platform.Warm(ctx) == nil {
		debug.FreeOSMemory()
	}
}

// setReady tells everybody who waits.
func (e *emulator) setReady() {
	e.mu.Lock()
	e.ready = true
	e.mu.Unlock()
	e.events.add(console.Event{Time: e.clock.Now(), Name: "ready"})
}
