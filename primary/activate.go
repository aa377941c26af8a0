package primary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl/gate"
)

// activate wants ops. All that can fail and all that takes time happens while
// the old bundle still serves; then the two are exchanged with the network
// locked.
func (p *Platform) activate(ctx context.Context, b *bundle) error {
	switch {
	case !b.Enabled:
		return &Refusal{Op: "activate", Bundle: b.name, Reason: ErrDisabled, Do: "enable it first"}
	case p.isActive(b):
		return nil
	}
	s, err := p.boot(ctx, b)
	if err != nil {
		return fmt.Errorf("activate %s: %w", b.name, err)
	}
	p.network.Exclusive(func() { err = p.exchange(s) })
	if err != nil {
		s.end()
		return fmt.Errorf("activate %s: %w", b.name, err)
	}
	if err := p.saveActive(b.id); err != nil {
		p.log.Warn("the next start will not know which bundle was active", "bundle", b.name, "why", err)
	}
	return nil
}

// deactivate wants ops. It leaves no bundle active.
func (p *Platform) deactivate() {
	p.network.Exclusive(func() { _ = p.exchange(nil) })
}

// exchange takes the active bundle out of the network and brings s in, nil for
// none. It runs with the network locked. When s cannot come in, the old one is
// back; terminals then saw a card leave and come.
func (p *Platform) exchange(s *spb) error {
	old := p.active
	if old != nil {
		_ = p.network.Deregister(old.host)
	}
	p.setActive(s)
	if s != nil {
		if err := s.join(); err != nil {
			p.setActive(old)
			if old != nil {
				err = errors.Join(err, old.join())
			}
			return err
		}
	}
	if old != nil {
		old.kill()
		p.tell(old.b, Event{Kind: Deactivated})
	}
	if s != nil {
		s.live()
		p.tell(s.b, Event{Kind: Activated})
	}
	return nil
}

// setActive is the one place that changes which bundle is active. The network is
// locked.
func (p *Platform) setActive(s *spb) {
	p.mu.Lock()
	p.active = s
	p.mu.Unlock()
}

// boot makes a bundle run: instance, persona if it needs one, on_init. Nobody
// talks to it yet.
func (p *Platform) boot(ctx context.Context, b *bundle) (*spb, error) {
	pkg, module, err := p.compiled(ctx, b)
	if err != nil {
		return nil, err
	}
	w, err := p.wanted(b, pkg)
	if err != nil {
		return nil, err
	}
	s := p.newSPB(b, module)
	if s.inst, err = module.Instantiate(s.env); err != nil {
		return nil, err
	}
	if w != nil {
		err = p.personalise(b, pkg, s.inst, w)
	}
	if err == nil {
		err = s.inst.Init(vm.Start)
	}
	if err == nil {
		s.gates, err = s.inst.Gates()
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// join brings the host of the bundle into the network, with its gates. The APDU
// gate comes last: whoever sees it may use it.
func (s *spb) join() (err error) {
	n := s.p.network
	if s.host, err = n.Register("SPB "+s.b.name, s.b.id, n.Profile().Host.UICC); err != nil {
		return err
	}
	err = gate.Standard(s.host, gate.Info{VendorName: "sspemu", VersionSW: versionBytes(s.b.Manifest.Version)})
	if err == nil {
		err = s.publish()
	}
	if err == nil {
		s.apduGate = gate.NewAPDU(n, s)
		err = s.host.Publish(n.Profile().Gate.UICCAPDU, s.apduGate)
	}
	if err != nil {
		_ = n.Deregister(s.host)
	}
	return err
}

// versionBytes is "major.minor" as two bytes and a zero; the loader has checked it.
func versionBytes(v string) (b [3]byte) {
	for i, s := range slices.Collect(strings.SplitSeq(v, ".")) {
		n, _ := strconv.Atoi(s)
		b[min(i, 2)] = byte(n)
	}
	return b
}

var _ gate.APDUService = (*spb)(nil)
