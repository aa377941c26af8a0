package spectests

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/capability"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// InProcess says what InProcess.Target is made of.
type InProcess struct {
	Engine  *vm.Engine
	Package []byte // the bundle under test (.spb)
	Spare   []byte // another bundle, for the lifecycle; nil: cases about it are not covered
	Persona []byte // YAML; nil: the default of the package
	Profile *scl.Profile
	Tracer  *trace.Tracer
	Log     *slog.Logger
}

// Target makes a platform in memory with one bundle, active, and a terminal at
// the other end of a mem: link. close ends all of it; the engine stays.
//
//	runner ──> terminal.Client ──mem:──> terminal.Adapter ──SCL──> SPB ──> bundle
func (o InProcess) Target(ctx context.Context) (t *Target, close func() error, err error) {
	pkg, err := loader.Parse(o.Package)
	if err != nil {
		return nil, nil, err
	}
	if o.Profile == nil {
		o.Profile = scl.DefaultProfile()
	}
	if o.Persona == nil {
		o.Persona = pkg.DefaultPersona
	}
	told := &Target{Name: pkg.Name + " over mem", Fresh: true}
	if err := told.Tell(o.Persona); err != nil {
		return nil, nil, err
	}
	told.Vars["accessor_pin"], told.Vars["accessor_token"] = upper(accessorPIN), upper(accessorToken)
	var closers []func() error
	end := func() error {
		var err error
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	state := nvm.OpenMemory(nvm.Options{})
	closers = append(closers, state.Close)
	network := scl.NewNetwork(o.Profile, o.Tracer)
	clock := primary.RealClock()
	if err := o.controller(network, clock); err != nil {
		return nil, nil, err
	}
	platform, err := primary.New(ctx, primary.Config{
		State: state, Engine: o.Engine, Network: network, Clock: clock, Active: pkg.Name,
		Builtins: []primary.Builtin{{Name: pkg.Name, Open: func() ([]byte, error) { return o.Package, nil }, Enabled: true}},
		Personas: map[string]primary.Persona{pkg.Name: {File: "persona.yaml", YAML: o.Persona}},
		Tracer:   o.Tracer, Log: o.Log,
	})
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, platform.Close)
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	closers = append(closers, func() error { cancel(); return nil })
	attach := func(_ context.Context, l transport.Link) (func() error, error) {
		adapter, err := terminal.NewAdapter(network, l)
		if err != nil {
			return nil, err
		}
		return adapter.Close, adapter.Open(life)
	}
	dial := func(ctx context.Context) (transport.Link, func() error, error) {
		controller, target := transport.Mem()
		gone, err := attach(ctx, target)
		return controller, gone, err
	}
	controller, gone, err := dial(life)
	if gone != nil {
		closers = append(closers, gone)
	}
	if err != nil {
		return nil, nil, err
	}
	client := terminal.NewClient(controller)
	if err := client.Open(life); err != nil {
		return nil, nil, err
	}
	closers = append(closers, client.Close)
	t = told
	t.Terminal, t.Network, t.Dial, t.Attach = FromClient(client), network, dial, attach
	if o.Spare != nil {
		t.Platform = OfPlatform(platform, o.Spare)
	}
	t.Personalise = func(ctx context.Context, changes []Change) (*Target, func() error, error) {
		p, err := changed(o.Persona, changes)
		if err != nil {
			return nil, nil, err
		}
		with := o
		with.Persona, with.Spare = p, nil
		return with.Target(ctx)
	}
	return t, end, nil
}

// Secrets of the accessors of an InProcess.
var (
	accessorPIN   = []byte("2468")
	accessorToken = []byte("conformance token")
)

// controller gives the network controller host its gates: anonymous hosts may open
// every gate but that of the file system.
func (o InProcess) controller(n *scl.Network, clock gate.Clock) error {
	g := n.Profile().Gate
	files := []scl.GateID{g.FileSystem}
	accessors, err := gate.NewAccessors(n, []gate.Accessor{
		{ID: 0, Name: "anonymous", Kind: gate.Anonymous},
		{ID: 1, Name: "operator", Kind: gate.PIN, Secret: accessorPIN, Tries: 3, Gates: files},
		{ID: 2, Name: "lab", Kind: gate.Token, Secret: accessorToken, Gates: files},
	}, gate.Volatile{}, nil)
	if err != nil {
		return err
	}
	n.Exclusive(func() {
		c := n.Controller()
		err = errors.Join(
			gate.Standard(c, gate.Info{VendorName: "sspemu", Exchange: exchange}),
			c.Publish(g.Timer, gate.NewTimers(n, clock)),
			c.Publish(g.Accessor, accessors),
		)
		n.SetAccess(func(from, _ *scl.Host, id scl.GateID) error {
			if id != g.FileSystem || accessors.May(from, id) {
				return nil
			}
			return scl.ErrPipeAccessDenied
		})
	})
	return err
}

// exchange is the capability exchange: an integrated SSP with a UICC.
func exchange(terminal []byte) ([]byte, error) {
	if _, err := capability.ParseTerminal(terminal); err != nil {
		return nil, err
	}
	return capability.SSPCapability{
		Release: capability.Version{Major: 15}, Class: capability.Integrated,
		UICC: &capability.UICCCapability{LogicalChannels: 4, FileSystem: true, Toolkit: true},
	}.Encode()
}

// OfPlatform makes a Platform for the cases of p; spare is the package that they
// install and delete.
func OfPlatform(p *primary.Platform, spare []byte) Platform { return platform{p, spare} }

type platform struct {
	p     *primary.Platform
	spare []byte
}

func (p platform) Bundles() map[string]State {
	m := map[string]State{}
	for _, i := range p.p.List() {
		m[i.Name] = State(i.State)
	}
	return m
}

func (p platform) Enable(_ context.Context, id string) error  { return p.p.Enable(id) }
func (p platform) Disable(_ context.Context, id string) error { return p.p.Disable(id) }
func (p platform) Delete(_ context.Context, id string) error  { return p.p.Delete(id) }

func (p platform) Activate(ctx context.Context, id string) error { return p.p.Activate(ctx, id) }

func (p platform) Install(ctx context.Context) (string, error) {
	pkg, err := loader.Parse(p.spare)
	if err != nil {
		return "", err
	}
	for _, i := range p.p.List() {
		if i.Name == pkg.Name {
			return "", fmt.Errorf("%s is installed already: the cases about the lifecycle need it for themselves", pkg.Name)
		}
	}
	i, err := p.p.Install(ctx, p.spare, "conformance")
	return i.Name, err
}
