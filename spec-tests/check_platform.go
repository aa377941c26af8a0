package spectests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// yard is what a check of the lifecycle works on: the platform of the target and
// a spare bundle on it. Afterwards the bundle that was active is active again and
// the spare one is gone.
type yard struct {
	*Dialogue
	p     Platform
	first string // the bundle that was active
	spare string
}

// inYard makes a check of f.
func inYard(f func(*yard) error) func(*Dialogue, []string) error {
	return func(d *Dialogue, _ []string) error {
		y := &yard{Dialogue: d, p: d.target.Platform}
		if y.first = y.active(); y.first == "" {
			return errors.New("no bundle is active to start with")
		}
		var err error
		if y.spare, err = y.p.Install(d.ctx); err != nil {
			return fmt.Errorf("install a spare bundle: %w", err)
		}
		defer func() {
			_ = y.p.Enable(d.ctx, y.first)
			_ = y.p.Activate(d.ctx, y.first)
			_ = y.p.Disable(d.ctx, y.spare)
			_ = y.p.Delete(d.ctx, y.spare)
		}()
		return f(y)
	}
}

// active is the active bundle, "" if there is none.
func (y *yard) active() string {
	for id, s := range y.p.Bundles() {
		if s == Active {
			return id
		}
	}
	return ""
}

// only fails unless id is the one bundle that is active ("": none is).
func (y *yard) only(id string) error {
	var l []string
	for b, s := range y.p.Bundles() {
		if s == Active {
			l = append(l, b)
		}
	}
	switch {
	case id == "" && len(l) == 0, len(l) == 1 && l[0] == id:
		return nil
	case id == "":
		id = "none"
	}
	slices.Sort(l)
	return fmt.Errorf("active is %q, expected %s", l, id)
}

func (y *yard) is(id string, s State) error {
	return equal("the state of "+id, y.p.Bundles()[id], s)
}

// do runs the calls until one fails.
func (y *yard) do(calls ...func() error) error {
	for _, c := range calls {
		if err := c(); err != nil {
			return err
		}
	}
	return nil
}

func (y *yard) enable(id string) func() error {
	return func() error { return y.p.Enable(y.ctx, id) }
}
func (y *yard) disable(id string) func() error {
	return func() error { return y.p.Disable(y.ctx, id) }
}
func (y *yard) activate(id string) func() error {
	return func() error { return y.p.Activate(y.ctx, id) }
}
func (y *yard) delete(id string) func() error {
	return func() error { return y.p.Delete(y.ctx, id) }
}
func (y *yard) state(id string, s State) func() error {
	return func() error { return y.is(id, s) }
}
func (y *yard) one(id string) func() error { return func() error { return y.only(id) } }

func refused(what string, call func() error) func() error {
	return func() error {
		if err := call(); err == nil {
			return fmt.Errorf("%s: it was done, expected to be refused", what)
		}
		return nil
	}
}

var platformChecks = map[string]check{
	"platform_start": platformCheck("exactly one bundle is active", func(y *yard) error { return y.only(y.first) }),
	"platform_install": platformCheck("a bundle that is installed is disabled", func(y *yard) error {
		return y.do(y.state(y.spare, Disabled), y.one(y.first))
	}),
	"platform_enable": platformCheck("enabling a bundle does not activate it", func(y *yard) error {
		return y.do(y.enable(y.spare), y.state(y.spare, Enabled), y.one(y.first))
	}),
	"platform_switch": platformCheck("activating a bundle deactivates the other, which stays enabled", func(y *yard) error {
		return y.do(y.enable(y.spare), y.activate(y.spare), y.one(y.spare), y.state(y.first, Enabled))
	}),
	"platform_back": platformCheck("switching there and back works", func(y *yard) error {
		return y.do(y.enable(y.spare), y.activate(y.spare), y.activate(y.first), y.one(y.first), y.state(y.spare, Enabled))
	}),
	"platform_again": platformCheck("activating the active bundle leaves it active", func(y *yard) error {
		_ = y.p.Activate(y.ctx, y.first)
		return y.only(y.first)
	}),
	"platform_disabled": platformCheck("a disabled bundle cannot be activated", func(y *yard) error {
		return y.do(refused("activate a disabled bundle", y.activate(y.spare)), y.one(y.first))
	}),
	"platform_unknown": platformCheck("a bundle that is not there cannot be activated, enabled, disabled or deleted", func(y *yard) error {
		const no = "no-such-bundle"
		return y.do(refused("activate", y.activate(no)), refused("enable", y.enable(no)), refused("disable", y.disable(no)), refused("delete", y.delete(no)), y.one(y.first))
	}),
	"platform_delete": platformCheck("a disabled bundle can be deleted", func(y *yard) error {
		if err := y.p.Delete(y.ctx, y.spare); err != nil {
			return err
		}
		if s, ok := y.p.Bundles()[y.spare]; ok {
			return fmt.Errorf("it is still there, %s", s)
		}
		return y.only(y.first)
	}),
	"platform_delete_active": platformCheck("after an attempt to delete the active bundle at most one is active, and none that is gone", func(y *yard) error {
		if err := y.do(y.enable(y.spare), y.activate(y.spare)); err != nil {
			return err
		}
		if err := y.p.Delete(y.ctx, y.spare); err != nil {
			return y.only(y.spare)
		}
		if a := y.active(); a == y.spare {
			return errors.New("the deleted bundle is active")
		}
		return nil
	}),
	"platform_disable_active": platformCheck("disabling the active bundle leaves none active, or is refused", func(y *yard) error {
		if err := y.do(y.enable(y.spare), y.activate(y.spare)); err != nil {
			return err
		}
		if err := y.p.Disable(y.ctx, y.spare); err != nil {
			return y.only(y.spare)
		}
		return y.do(y.state(y.spare, Disabled), y.one(""))
	}),
	"platform_race": platformCheck("while many activate at once, never more than one is active", platformRace),
	"platform_card": {doc: "the terminal talks to the bundle that is active", needs: []string{AbilityPlatform, "aid_usim"}, run: inYard(platformCard)},
}

func platformCheck(doc string, f func(*yard) error) check {
	return check{doc: doc, needs: []string{AbilityPlatform}, run: inYard(f)}
}

// platformRace activates the two bundles from many goroutines and looks all the
// while.
func platformRace(y *yard) error {
	if err := y.p.Enable(y.ctx, y.spare); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(y.ctx)
	defer stop()
	worst := make(chan map[string]State, 1)
	go func() {
		defer close(worst)
		for ctx.Err() == nil {
			b := y.p.Bundles()
			n := 0
			for _, s := range b {
				if s == Active {
					n++
				}
			}
			if n > 1 {
				worst <- maps.Clone(b)
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 4 {
				_ = y.p.Activate(y.ctx, []string{y.first, y.spare}[i%2])
			}
		})
	}
	wg.Wait()
	stop()
	if b, ok := <-worst; ok {
		return fmt.Errorf("two at once: %v", b)
	}
	if a := y.active(); a != y.first && a != y.spare {
		return fmt.Errorf("afterwards %q is active", a)
	}
	return nil
}

// platformCard: an application that only the first bundle has is there before
// and after, and not while the other is active.
func platformCard(y *yard) error {
	ask := func(there bool) func() error {
		return func() error {
			if err := y.reset(true); err != nil {
				return err
			}
			c, err := template{[]part{{hex: "00A4040C"}, {name: "aid_usim", form: "lv"}}}.bytes(y.vars)
			if err != nil {
				return err
			}
			if err := y.transmit(c); err != nil {
				return err
			}
			if (y.sw == 0x9000) != there {
				return fmt.Errorf("SELECT of the USIM answers %04X", uint16(y.sw))
			}
			return nil
		}
	}
	return y.do(ask(true), y.enable(y.spare), y.activate(y.spare), ask(false), y.activate(y.first), ask(true))
}
