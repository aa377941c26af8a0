package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/scl"
)

// settings are the flags that say what platform runs in this process.
type settings struct {
	class, active, inactive string
	clock, profile, trace   string
	accessors               string
	seed                    uint64
	personas                []string

	state     string // directory; "" keeps nothing
	flagNames []string
}

// add adds the flags to those of a command.
func (s *settings) add(f *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.StringVar(&s.class, "class", string(primary.Integrated), "class of SSP: integrated, embedded1, embedded2 or removable")
	own.StringVar(&s.active, "active", "", "bundle to start with (default: the last one, at first telecom)")
	own.StringVar(&s.inactive, "inactive", string(primary.Reject), "traffic for a bundle that is not active: reject or switch")
	own.StringArrayVar(&s.personas, "persona", nil, "persona of a bundle, `BUNDLE=FILE`; may be repeated")
	own.StringVar(&s.trace, "trace", "", "write a trace to `FILE`, or to standard output (-)")
	own.Uint64Var(&s.seed, "seed", 0, "random bytes come from this `NUMBER` (default: from the system)")
	own.StringVar(&s.clock, "clock", "real", "clock of the platform: real or virtual")
	own.StringVar(&s.profile, "scl-profile", "", "SCL profile to use instead of the built-in one, a `FILE`")
	own.StringVar(&s.accessors, "accessors", "", "who may open which gate, a `FILE` (docs/scl.md); default: everybody every gate")
	own.VisitAll(func(x *pflag.Flag) { s.flagNames = append(s.flagNames, x.Name) })
	f.AddFlagSet(own)
}

// given is the first of the flags that the user has set, "" for none.
func (s *settings) given(f *pflag.FlagSet) (name string) {
	f.Visit(func(x *pflag.Flag) {
		if name == "" && slices.Contains(s.flagNames, x.Name) {
			name = x.Name
		}
	})
	return name
}

// foreign refuses flags of the platform for a link to an SSP that is not ours; the
// profile and the trace are of both sides of a link.
func (s *settings) foreign(f *pflag.FlagSet, link string) (err error) {
	f.Visit(func(x *pflag.Flag) {
		if err == nil && x.Name != "scl-profile" && x.Name != "trace" && slices.Contains(s.flagNames, x.Name) {
			err = usage(fmt.Errorf("--%s: does nothing to an SSP on %s", x.Name, link))
		}
	})
	return err
}

// config turns the flags into what the platform wants; mistakes are usage errors.
func (s *settings) config(f *pflag.FlagSet) (c primary.Config, profile *scl.Profile, err error) {
	if c.Class, err = primary.ParseClass(s.class); err != nil {
		return c, nil, usage(err)
	}
	if c.Inactive, err = primary.ParsePolicy(s.inactive); err != nil {
		return c, nil, usage(err)
	}
	switch s.clock {
	case "real":
		c.Clock = primary.RealClock()
	case "virtual":
		c.Clock = primary.NewVirtualClock()
	default:
		return c, nil, usage(fmt.Errorf("clock %q: there are real and virtual", s.clock))
	}
	if f.Changed("seed") {
		c.Seed = &s.seed
	}
	if c.Personas, err = readPersonas(s.personas); err != nil {
		return c, nil, err
	}
	c.Active = s.active
	profile, err = s.sclProfile()
	return c, profile, err
}

// sclProfile is the profile that the user wants.
func (s *settings) sclProfile() (*scl.Profile, error) {
	if s.profile == "" {
		return scl.DefaultProfile(), nil
	}
	return scl.LoadProfile(s.profile)
}

func readPersonas(list []string) (map[string]primary.Persona, error) {
	all := map[string]primary.Persona{}
	for _, p := range list {
		bundle, file, ok := strings.Cut(p, "=")
		if !ok || bundle == "" || file == "" {
			return nil, usage(fmt.Errorf("persona %q: not of the form BUNDLE=FILE", p))
		}
		yaml, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("persona of %s: %w", bundle, err)
		}
		all[bundle] = primary.Persona{File: file, YAML: yaml}
	}
	return all, nil
}

// defaultState is the state directory for users who name none.
func defaultState() (string, error) {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "sspemu"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("state directory: neither XDG_STATE_HOME nor HOME is set (name one with --state DIR)")
	}
	return filepath.Join(home, ".local", "state", "sspemu"), nil
}
