package buslink

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// wires are the simulated buses of this process that somebody uses, by scheme and name.
var wires = struct {
	sync.Mutex
	m map[string]*shared
}{m: map[string]*shared{}}

type shared struct {
	w      *bus.Wire
	given  string // the parameters of the bus that the first one gave
	faults bus.Faults
	users  int
}

// simulated is one end of a simulated bus, as a URL names it.
type simulated struct {
	u      transport.URL
	key    string
	o      bus.Options
	given  string
	faults bool // the URL has parameters for faults
}

// Parameters of simulated buses.
var (
	faultParams = []string{"ber", "cut", "drop", "dup", "nack", "seed", "stretch", "stuck"}
	wireParams  = []string{"guard", "hz", "irq", "reset"}
	spiParams   = []string{"mode"}
	i2cParams   = []string{"addr"}
)

// simParams are the parameters of a simulated bus of that kind.
func simParams(p bus.Physical) []string {
	if p == bus.I2C {
		return slices.Concat(wireParams, i2cParams, faultParams)
	}
	return slices.Concat(wireParams, spiParams, faultParams)
}

func newSimulated(u transport.URL, p bus.Physical) (*simulated, error) {
	s := &simulated{u: u, key: u.Scheme + ":" + u.Path}
	switch {
	case u.Host != "":
		return nil, u.Errorf("a simulated bus is inside this process (write %s:NAME)", u.Scheme)
	case u.Path == "":
		return nil, u.Errorf("the bus needs a name, by which its two ends meet (write %s:NAME)", u.Scheme)
	}
	s.o = bus.Options{Physical: p, Name: u.Path}
	for _, k := range slices.Concat(wireParams, spiParams, i2cParams) {
		v, ok := u.Params[k]
		if !ok {
			continue
		}
		s.given += " " + k + "=" + v
		if err := wireParam(&s.o, k, v); err != nil {
			return nil, u.Errorf("%s=%s: %w", k, v, err)
		}
	}
	for _, k := range faultParams {
		v, ok := u.Params[k]
		if !ok {
			continue
		}
		s.faults = true
		if err := faultParam(&s.o.Faults, k, v); err != nil {
			return nil, u.Errorf("%s=%s: %w", k, v, err)
		}
	}
	if _, err := bus.NewWire(s.o); err != nil { // for its errors
		return nil, u.Errorf("%w", err)
	}
	return s, nil
}

// hertz reads a speed.
func hertz(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || n > 1e9 {
		return 0, fmt.Errorf("not a speed in Hz, from 1 to 1000000000")
	}
	return n, nil
}

// mode reads an SPI mode.
func mode(v string) (uint8, error) {
	if len(v) == 1 && v[0] >= '0' && v[0] <= '3' {
		return v[0] - '0', nil
	}
	return 0, fmt.Errorf("not an SPI mode, 0 to 3")
}

// address reads an I2C address.
func address(v string) (uint16, error) {
	n, err := strconv.ParseUint(v, 0, 16)
	if err != nil || n < 0x08 || n > 0x77 {
		return 0, fmt.Errorf("not an I2C address of 7 bits, 0x08 to 0x77")
	}
	return uint16(n), nil
}

func duration(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > time.Hour {
		return 0, fmt.Errorf("not a time such as 50us or 2ms")
	}
	return d, nil
}

func wireParam(o *bus.Options, k, v string) (err error) {
	switch k {
	case "hz":
		o.Hz, err = hertz(v)
	case "mode":
		o.Mode, err = mode(v)
	case "addr":
		o.Addr, err = address(v)
	case "guard":
		o.Guard, err = duration(v)
	case "irq":
		o.NoIRQ, err = off(v)
	case "reset":
		o.NoReset, err = off(v)
	}
	return err
}

// off reads a line that may be left out.
func off(v string) (bool, error) {
	if v != "on" && v != "off" {
		return false, fmt.Errorf("not on or off")
	}
	return v == "off", nil
}

// chance reads a probability.
func chance(v string) (float64, error) {
	p, err := strconv.ParseFloat(v, 64)
	if err != nil || !(p >= 0 && p <= 1) || math.IsNaN(p) {
		return 0, fmt.Errorf("not a probability, 0 to 1")
	}
	return p, nil
}

func faultParam(f *bus.Faults, k, v string) (err error) {
	switch k {
	case "ber":
		f.BER, err = chance(v)
	case "nack":
		f.NACK, err = chance(v)
	case "drop":
		f.Drop, err = chance(v)
	case "dup":
		f.Duplicate, err = chance(v)
	case "seed":
		if f.Seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			err = fmt.Errorf("not a whole number")
		}
	case "cut":
		if f.Cut, err = strconv.ParseInt(v, 10, 64); err != nil || f.Cut < 1 {
			err = fmt.Errorf("not the number of a byte, from 1")
		}
	case "stretch": // TIME[:CHANCE]
		d, p, given := strings.Cut(v, ":")
		f.StretchChance = 1
		if f.Stretch, err = duration(d); err == nil && given {
			f.StretchChance, err = chance(p)
		}
	case "stuck":
		err = stuck(f, v)
	}
	return err
}

// stuck reads LINE:LEVEL:FROM:FOR, such as MISO:low:100:5.
func stuck(f *bus.Faults, v string) error {
	wrong := fmt.Errorf("not LINE:low|high:FROM:FOR with FROM and FOR counted in accesses, such as SDA:low:100:5")
	parts := strings.Split(v, ":")
	if len(parts) != 4 || parts[1] != "low" && parts[1] != "high" {
		return wrong
	}
	from, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || from < 0 {
		return wrong
	}
	n, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil || n < 1 {
		return wrong
	}
	for l := bus.SCK; l <= bus.IRQ; l++ {
		if l.String() == strings.ToUpper(parts[0]) {
			f.Stuck, f.StuckHigh, f.StuckFrom, f.StuckFor = l, parts[1] == "high", from, n
			return nil
		}
	}
	return wrong
}

// join is the bus, which is made for the first who uses it and forgotten when leave
// was called as often. Who joins with parameters must give those of the first; faults
// are the exception, either end may bring them.
func (s *simulated) join() (w *bus.Wire, leave func(), err error) {
	wires.Lock()
	defer wires.Unlock()
	e := wires.m[s.key]
	switch {
	case e == nil:
		if w, err = bus.NewWire(s.o); err != nil {
			return nil, nil, err
		}
		e = &shared{w: w, given: s.given, faults: s.o.Faults}
		wires.m[s.key] = e
	case s.given != "" && s.given != e.given:
		have := "no parameters"
		if e.given != "" {
			have = strings.TrimSpace(e.given)
		}
		return nil, nil, s.u.Errorf("the bus is in use with %s (give the same at both ends, or none at the second)", have)
	case s.faults && s.o.Faults != e.faults:
		e.faults = s.o.Faults
		e.w.SetFaults(e.faults)
	}
	e.users++
	return e.w, sync.OnceFunc(func() {
		wires.Lock()
		defer wires.Unlock()
		if e.users--; e.users == 0 {
			delete(wires.m, s.key)
		}
	}), nil
}

// dial opens the controller's end.
func (s *simulated) dial() (bus.Controller, error) {
	w, leave, err := s.join()
	if err != nil {
		return nil, err
	}
	c, err := w.Controller()
	if err != nil {
		leave()
		return nil, s.u.Errorf("%w", err)
	}
	return &guest{c, leave}, nil
}

// guest is a Controller that leaves the bus when it is closed. It has the abilities
// of what is inside.
type guest struct {
	bus.Controller
	leave func()
}

func (g *guest) Close() error {
	defer g.leave()
	return g.Controller.Close()
}

// Wake implements bus.Waker.
func (g *guest) Wake() { g.Controller.(bus.Waker).Wake() }

// Presence implements bus.Presence.
func (g *guest) Presence(f func(there bool)) { g.Controller.(bus.Presence).Presence(f) }

// place is the target's end: the bus is joined with Attach and left with Close.
type place struct {
	s *simulated

	mu    sync.Mutex
	w     *bus.Wire
	leave func()
}

func (p *place) Physical() bus.Physical { return p.s.o.Physical }
func (p *place) String() string         { return p.s.key }

// Attach implements bus.Socket.
func (p *place) Attach(t bus.Target) (bus.Lines, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, leave, err := p.s.join()
	if err != nil {
		return nil, err
	}
	l, err := w.Socket().Attach(t)
	if err != nil {
		leave()
		return nil, p.s.u.Errorf("%w", err)
	}
	p.w, p.leave = w, leave
	return l, nil
}

// Close implements bus.Socket.
func (p *place) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil {
		return nil
	}
	err := p.w.Socket().Close()
	p.leave()
	p.w = nil
	return err
}

// Join is the simulated bus that a URL names, for somebody who wants to watch it; it
// is kept until leave is called.
func Join(u transport.URL) (w *bus.Wire, leave func(), err error) {
	p, ok := simulations[u.Scheme]
	if !ok {
		return nil, nil, u.Errorf("%s: is not a simulated bus (use simspi:NAME or simi2c:NAME)", u.Scheme)
	}
	s, err := newSimulated(u, p)
	if err != nil {
		return nil, nil, err
	}
	return s.join()
}

// simulations are the schemes of simulated buses.
var simulations = map[string]bus.Physical{"simspi": bus.SPI, "simi2c": bus.I2C}
