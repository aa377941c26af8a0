package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Faults is what goes wrong with the Blocks and Packets of a link. The same Seed and
// the same frames meet the same faults, in each direction by itself.
//
// What a fault means depends on what is below. Links of this package and of iso7816
// hand over whole frames, and nothing repairs them:
//
//	Drop       a command or its answer is lost: the terminal runs into its time-out
//	Duplicate  a command is carried out twice; its second answer is one that nobody
//	           asked for, which vpcd: refuses and a terminal takes for the next one
//	Reorder    Packets only: a Block waits for its answer, so there is no order to change
//	BitErrors  the other end gets another command, or another answer
//	Cut        the power fails: the frame is lost, the SSP gets PowerOff, the terminal
//	           sees the card leave and come
//
// The simulated buses have faults of their own, below T=1' and SHDLC, which repair them.
type Faults struct {
	Seed                     uint64
	Drop, Duplicate, Reorder float64 // probability for each frame
	BitErrors                float64 // probability for each bit
	Cut                      int64   // the power fails once, with this byte, counted in both directions from 1; 0: never
}

// ParseFaults reads what a URL has as fault=: NAME:VALUE, separated by commas.
//
//	drop:0.01,dup:0.01,reorder:0.1,ber:1e-6,cut:5000,seed:7
func ParseFaults(s string) (f Faults, err error) {
	err = pairs(s, func(name, value string) (err error) {
		switch name {
		case "drop":
			f.Drop, err = probability(value)
		case "dup":
			f.Duplicate, err = probability(value)
		case "reorder":
			f.Reorder, err = probability(value)
		case "ber":
			f.BitErrors, err = probability(value)
		case "cut":
			if f.Cut, err = strconv.ParseInt(value, 10, 64); err != nil || f.Cut < 1 {
				err = errors.New("not the number of a byte, from 1")
			}
		case "seed":
			if f.Seed, err = strconv.ParseUint(value, 10, 64); err != nil {
				err = errors.New("not a whole number")
			}
		default:
			err = errors.New("unknown (there are drop, dup, reorder, ber, cut, seed)")
		}
		return err
	})
	return f, err
}

// String is what ParseFaults reads.
func (f Faults) String() string {
	var s []string
	for _, x := range []struct {
		name  string
		value float64
	}{{"drop", f.Drop}, {"dup", f.Duplicate}, {"reorder", f.Reorder}, {"ber", f.BitErrors}} {
		if x.value != 0 {
			s = append(s, fmt.Sprintf("%s:%g", x.name, x.value))
		}
	}
	if f.Cut != 0 {
		s = append(s, fmt.Sprintf("cut:%d", f.Cut))
	}
	return strings.Join(append(s, fmt.Sprintf("seed:%d", f.Seed)), ",")
}

// pairs cuts NAME:VALUE,NAME:VALUE.
func pairs(s string, each func(name, value string) error) error {
	for _, part := range strings.Split(s, ",") {
		name, value, _ := strings.Cut(part, ":")
		if err := each(name, value); err != nil {
			return fmt.Errorf("%q: %w", part, err)
		}
	}
	return nil
}

func probability(s string) (float64, error) {
	p, err := strconv.ParseFloat(s, 64)
	if err != nil || !(p >= 0 && p <= 1) {
		return 0, errors.New("not a probability from 0 to 1")
	}
	return p, nil
}

// Fault puts faults on the end of a link in that role.
func Fault(l Link, role Role, f Faults) Link {
	return around(l, &fault{Link: l, role: role, f: f})
}

// patience is how long a frame that is to come after the next one waits for that.
const patience = 20 * time.Millisecond

type fault struct {
	Link
	role Role
	f    Faults

	mu    sync.Mutex
	lanes *faultLanes // of the last Open
}

// faultLanes is what lasts from Open to the next: it is the Receiver of the link below.
type faultLanes struct {
	f      *fault
	inbox  Inbox // what comes in, for the user
	mu     sync.Mutex
	lanes  [2]lane // out, in
	passed int64   // bytes
	off    bool    // the power has failed
}

// lane is one direction.
type lane struct {
	dice, noise *rand.Rand
	gap         int64  // bits until the next error
	held        []byte // comes after the next one
}

const (
	outward = iota
	inward
)

func (f *fault) String() string { return withParam(f.Link.String(), "fault", f.f.String()) }

func (f *fault) Open(ctx context.Context, r Receiver) error {
	n := &faultLanes{f: f}
	for i := range n.lanes {
		// The direction counts, not the end at which the wrapper is.
		way := uint64(0)
		if towards(f.role, i == outward) {
			way = 1
		}
		n.lanes[i].dice = rand.New(rand.NewPCG(f.f.Seed, way))
		n.lanes[i].noise = rand.New(rand.NewPCG(f.f.Seed, way|2))
		n.lanes[i].gap = n.lanes[i].nextError(f.f.BitErrors)
	}
	n.inbox.Receive(r)
	f.mu.Lock()
	before := f.lanes
	f.lanes = n
	f.mu.Unlock()
	err := f.Link.Open(ctx, n)
	if err != nil {
		f.mu.Lock()
		f.lanes = before
		f.mu.Unlock()
	}
	return err
}

// Close implements Link.
func (f *fault) Close() error {
	f.mu.Lock()
	n := f.lanes
	f.mu.Unlock()
	if n != nil {
		n.mu.Lock()
		n.lanes[inward].held, n.lanes[outward].held = nil, nil
		n.mu.Unlock()
	}
	return f.Link.Close()
}

// Send implements Link.
func (f *fault) Send(k Kind, p []byte) error {
	f.mu.Lock()
	n := f.lanes
	f.mu.Unlock()
	if n == nil {
		return f.Link.Send(k, p) // which is closed
	}
	lo, hi := Limits(f.Link)
	if k == Block {
		if err := Check(f.role, k, len(p), lo, hi); err != nil {
			return err
		}
	}
	return n.pass(outward, k, p, f.Link.Send)
}

// Frame implements Receiver.
func (n *faultLanes) Frame(k Kind, p []byte) {
	_ = n.pass(inward, k, p, func(k Kind, p []byte) error {
		n.inbox.Deliver(k, p)
		return nil
	})
}

// pass has a frame meet its faults.
func (n *faultLanes) pass(way int, k Kind, p []byte, on func(Kind, []byte) error) error {
	n.mu.Lock()
	if k == PowerOn || k == Reset {
		n.off = false
	}
	if k != Block && k != Packet || len(p) == 0 {
		n.mu.Unlock()
		return on(k, p)
	}
	if n.off {
		n.mu.Unlock()
		return nil
	}
	f, l := &n.f.f, &n.lanes[way]
	before := n.passed
	n.passed += int64(len(p))
	if before < f.Cut && n.passed >= f.Cut {
		n.off = true
		n.mu.Unlock()
		n.cut()
		return nil
	}
	// All dice are thrown for each frame, so that one fault does not move the others.
	drop, double, late := l.dice.Float64() < f.Drop, l.dice.Float64() < f.Duplicate, l.dice.Float64() < f.Reorder
	if p = l.corrupt(p, f.BitErrors); drop {
		n.mu.Unlock()
		return nil
	}
	held := l.held
	l.held = nil
	if late && k == Packet && held == nil {
		l.held = append([]byte{}, p...)
		n.mu.Unlock()
		time.AfterFunc(patience, func() { n.release(way, on) })
		return nil
	}
	n.mu.Unlock()
	err := on(k, p)
	if double {
		_ = on(k, p)
	}
	if held != nil {
		_ = on(Packet, held)
	}
	return err
}

// release lets a frame go that no other one came after.
func (n *faultLanes) release(way int, on func(Kind, []byte) error) {
	n.mu.Lock()
	held := n.lanes[way].held
	n.lanes[way].held = nil
	n.mu.Unlock()
	if held != nil {
		_ = on(Packet, held)
	}
}

// cut takes the power away: the SSP loses it, the terminal sees the card go and come.
func (n *faultLanes) cut() {
	if n.f.role == Controller {
		_ = n.f.Link.Send(PowerOff, nil)
		n.inbox.Deliver(Removed, nil)
		n.inbox.Deliver(Inserted, nil)
		return
	}
	n.inbox.Deliver(PowerOff, nil)
	_ = n.f.Link.Send(Removed, nil)
	_ = n.f.Link.Send(Inserted, nil)
}

// corrupt gives p with bits turned over; p itself stays.
func (l *lane) corrupt(p []byte, rate float64) []byte {
	bits := 8 * int64(len(p))
	if l.gap >= bits {
		l.gap -= bits
		return p
	}
	// A copy of its own: the frame may be under way while the next one comes.
	p = append([]byte{}, p...)
	at := l.gap
	for ; at < bits; at += 1 + l.nextError(rate) {
		p[at/8] ^= 0x80 >> (at % 8)
	}
	l.gap = at - bits
	return p
}

// nextError is how many bits are right before the next one that is wrong.
func (l *lane) nextError(rate float64) int64 {
	const never = math.MaxInt64 / 2
	if rate <= 0 {
		return never
	}
	g := math.Log1p(-l.noise.Float64()) / math.Log1p(-rate)
	if !(g < never) {
		return never
	}
	return int64(g)
}
