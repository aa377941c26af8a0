package primary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
)

// Builtin is a bundle that comes with the binary. Its package is not stored.
type Builtin struct {
	Name string // as in its manifest
	// Fingerprint changes whenever the package does; with it the package need not
	// be opened to know that. "" opens it at every start.
	Fingerprint string
	// Manifest is its bundle.json: with it the package is not opened before it is
	// compiled. nil: the package tells.
	Manifest []byte
	Open     func() ([]byte, error)
	// Enabled enables a bundle that is seen for the first time. VPP starts with
	// disabled ones, which stay so.
	Enabled bool
}

// Persona is a persona in the form that people write.
type Persona struct {
	File string // its name, for errors
	YAML []byte
}

// Config of a Platform. State, Engine and Network are needed; the Platform does
// not close them.
type Config struct {
	Class    Class // default Integrated
	State    *nvm.Store
	Engine   *vm.Engine
	Network  *scl.Network
	Clock    Clock              // default RealClock
	Seed     *uint64            // of all randomness; nil: the system's
	Inactive Policy             // default Reject
	Builtins []Builtin          // bundles that come with the binary
	Personas map[string]Persona // by name or firmware identifier, instead of the package's default
	// Active is the bundle to start with, enabled if it is not; "": the one that
	// was active last, if any.
	Active string
	Limits vm.Limits
	Quota  int // NVM of each bundle in bytes; default nvm.DefaultQuota
	Tracer *trace.Tracer
	Log    *slog.Logger // default: none
}

// Platform is the Primary Platform. It is safe for use by several goroutines.
type Platform struct {
	class    Class
	state    *nvm.Store
	engine   *vm.Engine
	network  *scl.Network
	clock    Clock
	policy   Policy
	builtins []Builtin
	limits   vm.Limits
	quota    int
	tracer   *trace.Tracer
	log      *slog.Logger
	events   *events

	ops    sync.Mutex // one management operation at a time
	closed bool
	random randomness

	mu       sync.Mutex // the package comment has the order of locks
	bundles  map[loader.UUID]*bundle
	personas map[loader.UUID]Persona
	// active is the one bundle that runs. Only setActive changes it.
	active *spb

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	warm   chan struct{}  // closed when the others are compiled
	behind sync.WaitGroup // what else goes on in the background
}

// New starts a platform: it reads the records in cfg.State, adds the built-in
// bundles that are not known yet, and activates one. The other bundles are
// compiled in the background. ctx is for the start only.
func New(ctx context.Context, cfg Config) (*Platform, error) {
	p := &Platform{
		class: cfg.Class, state: cfg.State, engine: cfg.Engine, network: cfg.Network, clock: cfg.Clock,
		policy: cfg.Inactive, builtins: cfg.Builtins, limits: cfg.Limits, quota: cfg.Quota,
		tracer: cfg.Tracer, log: cfg.Log, random: randomness{seed: cfg.Seed},
		bundles: map[loader.UUID]*bundle{}, personas: map[loader.UUID]Persona{},
		warm: make(chan struct{}),
	}
	if p.class == "" {
		p.class = Integrated
	}
	if p.policy == "" {
		p.policy = Reject
	}
	if p.clock == nil {
		p.clock = RealClock()
	}
	if p.quota == 0 {
		p.quota = nvm.DefaultQuota
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.events = newEvents()
	if err := p.start(ctx, cfg); err != nil {
		close(p.warm)
		return nil, errors.Join(err, p.Close())
	}
	go p.compileAll()
	return p, nil
}

func (p *Platform) start(ctx context.Context, cfg Config) error {
	list, err := p.records()
	if err != nil {
		return err
	}
	if list, err = p.addBuiltins(list); err != nil {
		return err
	}
	for _, r := range list {
		if r.Deleted {
			continue
		}
		b := newBundle(r)
		if b.part, err = p.state.Partition(b.id.String(), p.quota); err != nil {
			return err
		}
		p.bundles[b.id] = b
	}
	first, err := p.first(cfg.Active)
	if err != nil {
		return err
	}
	if err := p.setPersonas(cfg.Personas); err != nil || first == nil {
		return err
	}
	if !first.Enabled {
		if err := p.setEnabled(first, true); err != nil {
			return err
		}
	}
	return p.activate(ctx, first)
}

// addBuiltins brings the records up to date with the built-in bundles.
func (p *Platform) addBuiltins(list []record) ([]record, error) {
	for _, x := range p.builtins {
		if x.Fingerprint != "" && slices.ContainsFunc(list, func(r record) bool { return r.Builtin == x.Name && r.Fingerprint == x.Fingerprint }) {
			continue
		}
		m, err := x.manifest()
		if err != nil {
			return nil, fmt.Errorf("built-in bundle %s: %w", x.Name, err)
		}
		r := record{Enabled: x.Enabled}
		i := slices.IndexFunc(list, func(r record) bool { return r.Manifest.ID == m.ID })
		if i >= 0 {
			r = list[i]
		} else if j := slices.IndexFunc(list, func(r record) bool { return r.Manifest.Name == m.Name && !r.Deleted }); j >= 0 {
			p.log.Warn("a built-in bundle is left out: an installed one has its name", "bundle", m.Name, "id", list[j].Manifest.ID)
			continue
		}
		r.Builtin, r.Fingerprint = x.Name, x.Fingerprint
		if r.Package == "" { // else the user installed another package of the same bundle
			r.Manifest, r.Origin = m, "built-in"
		}
		if err := p.save(m.ID, &r); err != nil {
			return nil, err
		}
		if i >= 0 {
			list[i] = r
		} else {
			list = append(list, r)
		}
	}
	return list, nil
}

func (x Builtin) manifest() (loader.Manifest, error) {
	if x.Manifest != nil {
		return loader.ParseManifest(x.Manifest)
	}
	b, err := x.Open()
	if err != nil {
		return loader.Manifest{}, err
	}
	pkg, err := loader.Parse(b)
	if err != nil {
		return loader.Manifest{}, err
	}
	return pkg.Manifest, nil
}

// first is the bundle to start with, nil for none.
func (p *Platform) first(want string) (*bundle, error) {
	if p.class == Embedded1 {
		return p.onlyOne(want)
	}
	if want != "" {
		return p.find("activate", want)
	}
	b := p.lastActive()
	if b != nil && !b.Enabled {
		b = nil
	}
	return b, nil
}

// lastActive is the bundle that was active when the platform last ran.
func (p *Platform) lastActive() *bundle {
	var id loader.UUID
	last, ok := p.state.Registry().Get([]byte(activeKey))
	if !ok || id.UnmarshalText(last) != nil {
		return nil
	}
	return p.bundles[id]
}

// onlyOne leaves one bundle: the operating system of an eSSP of type 1.
func (p *Platform) onlyOne(want string) (b *bundle, err error) {
	switch {
	case want != "":
		if b, err = p.find("start", want); err != nil {
			return nil, err
		}
	case len(p.bundles) == 1:
		for _, b = range p.bundles {
		}
	default:
		if b = p.lastActive(); b == nil {
			return nil, fmt.Errorf("class %s: it has one operating system, and there are %d bundles (choose one with --active)", Embedded1, len(p.bundles))
		}
	}
	p.bundles = map[loader.UUID]*bundle{b.id: b}
	return b, nil
}

// setPersonas checks the personas that were given against the schemas of their
// bundles.
func (p *Platform) setPersonas(personas map[string]Persona) error {
	for _, ref := range slices.Sorted(maps.Keys(personas)) {
		b, err := p.find("personalise", ref)
		if err != nil {
			return err
		}
		pkg, err := p.open(b.record)
		if err == nil {
			_, err = pkg.Persona(personas[ref].YAML, personas[ref].File)
		}
		if err != nil {
			return &Refusal{Op: "personalise", Bundle: b.name, Reason: fmt.Errorf("%w: %w", ErrPersona, err)}
		}
		p.personas[b.id] = personas[ref]
	}
	return nil
}

// compileAll compiles the enabled bundles, so that they start fast. The code of a disabled
// one takes no memory.
func (p *Platform) compileAll() {
	defer close(p.warm)
	p.mu.Lock()
	list := slices.SortedFunc(maps.Values(p.bundles), byName)
	p.mu.Unlock()
	for _, b := range list {
		p.prepare(b)
	}
}

// prepare compiles a bundle if it is enabled.
func (p *Platform) prepare(b *bundle) {
	enabled := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return b.Enabled && p.bundles[b.id] == b
	}
	if p.ctx.Err() != nil || !enabled() {
		return
	}
	if _, _, err := p.compiled(p.ctx, b); err != nil && p.ctx.Err() == nil {
		p.log.Warn("a bundle cannot be compiled", "id", b.id, "why", err)
	}
	p.ops.Lock()
	defer p.ops.Unlock()
	if !enabled() { // meanwhile
		p.unload(b)
	}
}

// unload lets go of the code of a bundle that does not run. It wants ops.
func (p *Platform) unload(b *bundle) {
	p.mu.Lock()
	m := b.module
	b.module = nil
	p.mu.Unlock()
	release(m)
}

// Warm waits until the bundles that were there at the start are compiled, so
// that activating them takes milliseconds.
func (p *Platform) Warm(ctx context.Context) error {
	select {
	case <-p.warm:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// compiled gives package (without code) and code of a bundle.
func (p *Platform) compiled(ctx context.Context, b *bundle) (*loader.Package, *vm.Module, error) {
	p.mu.Lock()
	r, pkg, module := b.record, b.pkg, b.module
	p.mu.Unlock()
	if module != nil {
		return pkg, module, nil
	}
	pkg, err := p.open(r)
	if err == nil {
		module, err = p.engine.Compile(ctx, pkg.Name, pkg.Wasm, p.limits)
	}
	if ctx.Err() != nil {
		release(module)
		return nil, nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.record.Package != r.Package { // an update came in between, which has code of its own
		release(module)
		return b.pkg, b.module, err
	}
	if b.problem = err; err != nil {
		return nil, nil, err
	}
	release(b.module) // somebody else compiled it, too
	b.pkg, b.module = withoutCode(pkg), module
	return b.pkg, module, nil
}

// withoutCode lets go of the code, which the engine has.
func withoutCode(pkg *loader.Package) *loader.Package {
	return &loader.Package{Manifest: pkg.Manifest, DefaultPersona: slices.Clone(pkg.DefaultPersona), Schema: slices.Clone(pkg.Schema)}
}

// find is the bundle with that name or firmware identifier.
func (p *Platform) find(op, ref string) (*bundle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for _, b := range p.bundles {
		if b.name == ref || strings.EqualFold(b.id.String(), ref) {
			return b, nil
		}
		names = append(names, b.name)
	}
	slices.Sort(names)
	do := "none is installed"
	if names != nil {
		do = "there are " + strings.Join(names, ", ")
	}
	return nil, &Refusal{Op: op, Bundle: ref, Reason: ErrUnknown, Do: do}
}

func byName(a, b *bundle) int { return strings.Compare(a.name, b.name) }

// Class is the class of SSP.
func (p *Platform) Class() Class { return p.class }

// Info describes a bundle.
type Info struct {
	loader.Manifest
	State   State
	Origin  string // "built-in", or where the package came from
	NVMUsed int    // bytes of keys and values
	Problem error  // why it cannot run, if that is known
}

// State of a bundle.
type State string

// The states; the active bundle is enabled as well.
const (
	StateDisabled State = "disabled"
	StateEnabled  State = "enabled"
	StateActive   State = "active"
)

// info wants mu.
func (p *Platform) info(b *bundle) Info {
	i := Info{Manifest: b.Manifest, State: StateDisabled, Origin: b.Origin, NVMUsed: b.part.Used(), Problem: b.problem}
	switch {
	case p.active != nil && p.active.b == b:
		i.State = StateActive
	case b.Enabled:
		i.State = StateEnabled
	}
	return i
}

// List describes the bundles, by name (Retrieve_Firmware_Header and
// Is_Firmware_Enabled of VPP).
func (p *Platform) List() []Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Info
	for _, b := range slices.SortedFunc(maps.Values(p.bundles), byName) {
		list = append(list, p.info(b))
	}
	return list
}

// Active describes the active bundle; ok is false when there is none.
func (p *Platform) Active() (i Info, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active == nil {
		return Info{}, false
	}
	return p.info(p.active.b), true
}

// Close deactivates the active bundle and ends. The next platform on the same
// state starts with the same bundle.
func (p *Platform) Close() error {
	p.ops.Lock()
	if p.closed {
		p.ops.Unlock()
		return nil
	}
	p.closed = true
	p.cancel()
	p.deactivate()
	p.ops.Unlock()
	<-p.warm
	p.behind.Wait()
	p.events.close()
	return nil
}
