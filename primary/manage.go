package primary

import (
	"context"
	"fmt"

	"github.com/sspemu/sspemu/internal/vpp"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
)

// manage begins a management operation: unlock ends it.
func (p *Platform) manage(op, ref string) (unlock func(), err error) {
	p.ops.Lock()
	switch {
	case p.closed:
		err = &Refusal{Op: op, Bundle: ref, Reason: ErrClosed}
	case p.class == Embedded1:
		err = &Refusal{Op: op, Bundle: ref, Reason: ErrClass, Do: "start with another --class"}
	default:
		return p.ops.Unlock, nil
	}
	p.ops.Unlock()
	return nil, err
}

// managed begins a management operation on a bundle that is there.
func (p *Platform) managed(c vpp.Command, op, ref string) (b *bundle, unlock func(), err error) {
	if unlock, err = p.manage(op, ref); err != nil {
		return nil, nil, err
	}
	if b, err = p.find(op, ref); err != nil {
		unlock()
		return nil, nil, err
	}
	p.log.Debug(c.String(), "bundle", b.name)
	return b, unlock, nil
}

// isActive tells whether b is the active bundle.
func (p *Platform) isActive(b *bundle) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active != nil && p.active.b == b
}

// Install stores a package (.spb). A new bundle is disabled; one with the same
// firmware identifier is replaced, and keeps its state and its NVM. origin says
// where the package came from. The package is compiled first: what cannot run is
// refused. (Store_Firmware_Header and Allocate_Firmware of VPP)
func (p *Platform) Install(ctx context.Context, spb []byte, origin string) (Info, error) {
	unlock, err := p.manage("install", origin)
	if err != nil {
		return Info{}, err
	}
	defer unlock()
	p.log.Debug(vpp.StoreFirmwareHeader.String(), "origin", origin)
	refuse := func(err error) (Info, error) {
		return Info{}, &Refusal{Op: "install", Bundle: origin, Reason: fmt.Errorf("%w: %w", ErrPackage, err)}
	}
	pkg, err := loader.Parse(spb)
	if err != nil {
		return refuse(err)
	}
	if _, err := pkg.Persona(nil, ""); err != nil {
		return refuse(err)
	}
	module, err := p.engine.Compile(ctx, pkg.Name, spb, p.limits)
	if err != nil {
		if ctx.Err() != nil {
			return Info{}, err
		}
		return refuse(err)
	}
	return p.store(pkg, module, spb, origin)
}

// setEnabled wants ops.
func (p *Platform) setEnabled(b *bundle, enabled bool) error {
	r := b.record
	r.Enabled = enabled
	if err := p.save(b.id, &r); err != nil {
		return err
	}
	p.mu.Lock()
	b.record = r
	p.mu.Unlock()
	kind := Disabled
	if enabled {
		kind = Enabled
	}
	p.tell(b, Event{Kind: kind})
	return nil
}

// Enable lets a bundle become active (Enable_Firmware of VPP).
func (p *Platform) Enable(ref string) error {
	b, unlock, err := p.managed(vpp.EnableFirmware, "enable", ref)
	if err != nil {
		return err
	}
	defer unlock()
	if b.Enabled {
		return nil
	}
	if err := p.setEnabled(b, true); err != nil {
		return err
	}
	p.behind.Go(func() { p.prepare(b) })
	return nil
}

// Disable keeps a bundle from becoming active; the active one is deactivated
// first (Disable_Firmware of VPP).
func (p *Platform) Disable(ref string) error {
	b, unlock, err := p.managed(vpp.DisableFirmware, "disable", ref)
	if err != nil {
		return err
	}
	defer unlock()
	if !b.Enabled {
		return nil
	}
	if p.isActive(b) {
		p.deactivate()
	}
	p.unload(b)
	return p.setEnabled(b, false)
}

// Activate makes a bundle the active one (the policy of sspemu on top of VPP).
// When it fails, the one that was active still is.
func (p *Platform) Activate(ctx context.Context, ref string) error {
	unlock, err := p.manage("activate", ref)
	if err != nil {
		return err
	}
	defer unlock()
	b, err := p.find("activate", ref)
	if err != nil {
		return err
	}
	return p.activate(ctx, b)
}

// Delete removes a bundle with its NVM. A built-in one stays deleted until it is
// installed again (Delete_Firmware of VPP).
func (p *Platform) Delete(ref string) error {
	b, unlock, err := p.managed(vpp.DeleteFirmware, "delete", ref)
	if err != nil {
		return err
	}
	defer unlock()
	if p.isActive(b) {
		return &Refusal{Op: "delete", Bundle: b.name, Reason: ErrActive, Do: "disable it or activate another one first"}
	}
	// Record first: a partition without a record is wiped by the next first activation.
	var tombstone *record
	if p.isBuiltin(b.Builtin) {
		tombstone = &record{Manifest: b.Manifest, Builtin: b.Builtin, Fingerprint: b.Fingerprint, Deleted: true}
	}
	if err := p.save(b.id, tombstone); err != nil {
		return err
	}
	p.mu.Lock()
	delete(p.bundles, b.id)
	code := b.module
	p.mu.Unlock()
	release(code)
	p.tell(b, Event{Kind: Deleted})
	p.dropFiles()
	return p.state.Drop(b.id.String())
}

func (p *Platform) isBuiltin(name string) bool {
	for _, x := range p.builtins {
		if x.Name == name && name != "" {
			return true
		}
	}
	return false
}

// store makes or replaces the record of a package that was checked.
func (p *Platform) store(pkg *loader.Package, module *vm.Module, spb []byte, origin string) (Info, error) {
	kept := false
	defer func() {
		if !kept {
			release(module)
		}
	}()
	p.mu.Lock()
	b := p.bundles[pkg.ID]
	var taken *bundle
	for _, x := range p.bundles {
		if x.name == pkg.Name && x != b {
			taken = x
		}
	}
	p.mu.Unlock()
	if taken != nil {
		return Info{}, &Refusal{Op: "install", Bundle: pkg.Name, Reason: ErrName, Do: "delete " + taken.id.String() + " first"}
	}
	sum, err := p.state.AddFile(spb)
	if err != nil {
		return Info{}, err
	}
	if b != nil && p.isActive(b) {
		if b.Package != sum {
			p.dropFiles()
			return Info{}, &Refusal{Op: "install", Bundle: pkg.Name, Reason: ErrActive, Do: "activate another bundle or disable it first"}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.info(b), nil
	}
	r := p.buried(pkg.ID)
	if b != nil {
		r = b.record
	}
	r.Manifest, r.Origin, r.Package = pkg.Manifest, origin, sum
	if err := p.save(pkg.ID, &r); err != nil {
		return Info{}, err
	}
	part, err := p.state.Partition(pkg.ID.String(), p.quota)
	if err != nil {
		return Info{}, err
	}
	p.mu.Lock()
	if b == nil {
		b = newBundle(r)
		p.bundles[b.id] = b
	}
	old := b.module
	b.record, b.name, b.part = r, pkg.Name, part
	b.pkg, b.module, b.problem, kept = withoutCode(pkg), module, nil, true
	info := p.info(b)
	p.mu.Unlock()
	p.tell(b, Event{Kind: Installed})
	release(old)
	if !r.Enabled {
		p.unload(b)
	}
	p.dropFiles()
	return info, nil
}

// release lets go of code that a bundle does not need any more; nil is none.
func release(m *vm.Module) {
	if m != nil {
		_ = m.Close()
	}
}

// dropFiles removes the packages that no record names.
func (p *Platform) dropFiles() {
	used := map[string]bool{}
	p.mu.Lock()
	for _, b := range p.bundles {
		used[b.Package] = true
	}
	p.mu.Unlock()
	if err := p.state.KeepFiles(func(sum string) bool { return used[sum] }); err != nil {
		p.log.Warn("packages that are no longer needed stay", "why", err)
	}
}

// Route says what becomes of traffic for a bundle: nil when it is the active one,
// or has become that by the policy Switch; else a *Refusal.
func (p *Platform) Route(ctx context.Context, ref string) error {
	b, err := p.find("route to", ref)
	if err != nil {
		return err
	}
	switch {
	case p.isActive(b):
		return nil
	case p.policy == Switch:
		return p.Activate(ctx, ref)
	}
	return &Refusal{Op: "route to", Bundle: ref, Reason: ErrInactive, Do: fmt.Sprintf("activate it, or start with --inactive %s", Switch)}
}
